//! The two sides of a handshake over a stream, and the first packets behind it.
//!
//! Whoever is turned away is told the same bytes after the same time, whatever was wrong: a hint
//! for the honest, and none for the others. What is sent after that is sealed.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::auth_key::AuthKey;
use super::noise::{
    Ephemeral, Handshake, MESSAGE_LENS, NoiseError, PREAMBLE_LEN, PREFIX_LEN, Preamble, Suite,
    TAG_LEN, VERSION,
};
use super::sealed_stream::Sealed;

/// How long who connects may take to say something.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

/// How long a whole handshake may take at the server.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// How long after a failure it is told.
const TURNED_AWAY_AFTER: Duration = Duration::from_millis(100);

/// What those who are turned away are told. Its length is none that a message can have.
const TURNED_AWAY: [u8; PREFIX_LEN + 14] = *b"\x00\x0EERR AUTH......";

const _: () = assert!(TURNED_AWAY.len() - PREFIX_LEN < TAG_LEN);

/// Bytes before each packet: the length of the rest.
const PACKET_PREFIX_LEN: usize = 4;

/// Why a server did not let us in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnockError {
    #[error("the other side does not speak callboard's protocol")]
    Foreign,
    #[error("the other side speaks version {theirs} of the handshake, and this one {VERSION}")]
    Version { theirs: u16 },
    #[error("the other side takes no more connections just now")]
    Busy,
    #[error("the other side has rejected the key")]
    Rejected,
    #[error("the handshake cannot be made here")]
    Unable,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<NoiseError> for KnockError {
    fn from(error: NoiseError) -> Self {
        match error {
            NoiseError::Refused => Self::Rejected,
            NoiseError::Unable => Self::Unable,
        }
    }
}

/// The client's side. Must be called within a tokio runtime.
///
/// What comes back is open only for whoever has the key; that the server has it is shown by the
/// first packet that can be read.
///
/// # Errors
/// [`KnockError`].
///
/// # Cancel safety
/// Dropped, the stream is.
pub(crate) async fn knock<S>(mut stream: S, key: &AuthKey) -> Result<Sealed<S>, KnockError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let preamble = Preamble::new(Suite::preferred());
    let mut handshake = Handshake::initiate(key, preamble)?;
    let mut first = preamble.bytes().to_vec();
    first.extend_from_slice(&handshake.write()?);
    // A busy server may have closed already; what it said before that is still to be read.
    let written = stream.write_all(&first).await;
    crate::sys::failpoint::at("knock.first.sent");
    let mut bytes = [0; PREAMBLE_LEN];
    let read = stream.read_exact(&mut bytes).await;
    if let (Err(error), _) | (_, Err(error)) = (read.map(drop), written) {
        return Err(error.into());
    }
    let theirs = Preamble::read(bytes).ok_or(KnockError::Foreign)?;
    if theirs.version != VERSION {
        let theirs = theirs.version;
        return Err(KnockError::Version { theirs });
    }
    if theirs.is_busy() {
        return Err(KnockError::Busy);
    }
    let message = read_message(&mut stream, MESSAGE_LENS[1]).await?;
    crate::sys::failpoint::at("knock.second.read");
    handshake.read(&message.ok_or(KnockError::Rejected)?)?;
    stream.write_all(&handshake.write()?).await?;
    crate::sys::failpoint::at("knock.third.sent");
    Ok(Sealed::new(stream, handshake.finish()?))
}

/// Why somebody was not let in. He was told nothing of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmitError {
    #[error("it speaks another protocol")]
    Foreign,
    #[error("it speaks version {0} of the handshake")]
    Version(u16),
    #[error("it has another key, or its bytes were changed on the way")]
    Rejected,
    #[error("it took too long")]
    Late,
    #[error("the handshake cannot be made here")]
    Unable,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<NoiseError> for AdmitError {
    fn from(error: NoiseError) -> Self {
        match error {
            NoiseError::Refused => Self::Rejected,
            NoiseError::Unable => Self::Unable,
        }
    }
}

/// The server's side, for those who have one of `keys`; it ends within [`HANDSHAKE_WITHIN`] and a
/// moment. Must be called within a tokio runtime.
///
/// Of who is not let in, no more is read than the handshake has.
///
/// # Errors
/// [`AdmitError`]; whoever it was has been told what all are told.
///
/// # Cancel safety
/// Dropped, the stream is.
pub(crate) async fn admit<S>(mut stream: S, keys: &[AuthKey]) -> Result<Sealed<S>, AdmitError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let admitted = match timeout(HANDSHAKE_WITHIN, try_admit(&mut stream, keys)).await {
        Ok(admitted) => admitted,
        Err(_) => Err(AdmitError::Late),
    };
    match admitted {
        Ok(handshake) => Ok(Sealed::new(stream, handshake.finish()?)),
        Err(error) => {
            // Who speaks another protocol is told nothing, and another version its own.
            if !matches!(error, AdmitError::Foreign | AdmitError::Version(_)) {
                sleep(TURNED_AWAY_AFTER).await;
                let told = stream.write_all(&TURNED_AWAY);
                // It may take nothing any more, or not now.
                let _ = timeout(TURNED_AWAY_AFTER, told).await;
            }
            let _ = timeout(TURNED_AWAY_AFTER, stream.shutdown()).await;
            Err(error)
        }
    }
}

async fn try_admit<S>(stream: &mut S, keys: &[AuthKey]) -> Result<Handshake, AdmitError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = [0; PREAMBLE_LEN];
    let read = timeout(FIRST_WITHIN, stream.read_exact(&mut bytes)).await;
    read.map_err(|_| AdmitError::Late)??;
    crate::sys::failpoint::at("admit.preamble.read");
    let preamble = Preamble::read(bytes).ok_or(AdmitError::Foreign)?;
    if preamble.version != VERSION {
        let ours = Preamble::new(Suite::preferred());
        stream.write_all(&ours.bytes()).await?;
        return Err(AdmitError::Version(preamble.version));
    }
    let (key, others) = keys.split_first().ok_or(AdmitError::Rejected)?;
    let own = if others.is_empty() {
        None
    } else {
        Some(Ephemeral::new()?)
    };
    let begin = |key| match &own {
        None => Handshake::respond(key, preamble),
        Some(own) => Handshake::respond_as(own, key, preamble),
    };
    let mut handshake = begin(key)?;
    let first = read_message(stream, MESSAGE_LENS[0]).await?;
    crate::sys::failpoint::at("admit.first.read");
    let first = first.ok_or(AdmitError::Rejected)?;
    handshake.read(&first)?;
    let mut second = preamble.bytes().to_vec();
    second.extend_from_slice(&handshake.write()?);
    stream.write_all(&second).await?;
    crate::sys::failpoint::at("admit.second.sent");
    let third = read_message(stream, MESSAGE_LENS[2]).await?;
    crate::sys::failpoint::at("admit.third.read");
    let third = third.ok_or(AdmitError::Rejected)?;
    let mut read = handshake.read(&third);
    for key in others {
        if read.is_ok() {
            break;
        }
        handshake = begin(key)?;
        handshake.read(&first)?;
        // The same as was sent before.
        handshake.write()?;
        read = handshake.read(&third);
    }
    read?;
    Ok(handshake)
}

/// The next message of the handshake, if it is of this length: nothing else is read.
async fn read_message<S>(stream: &mut S, len: usize) -> io::Result<Option<Vec<u8>>>
where
    S: AsyncRead + Unpin,
{
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await?;
    if usize::from(u16::from_be_bytes(prefix)) != len {
        return Ok(None);
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Sends a packet over a stream that is sealed.
///
/// # Errors
/// The stream's.
pub(crate) async fn send_packet<S>(stream: &mut Sealed<S>, packet: &[u8]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let len = u32::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.extend_from_slice(packet);
    stream.write_all(&bytes).await
}

/// Receives a packet of at most so many bytes over a stream that is sealed.
///
/// # Errors
/// The stream's; `InvalidData` for what was not sealed by this peer, and for a longer packet.
pub(crate) async fn recv_packet<S>(stream: &mut Sealed<S>, len_max: usize) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut prefix = [0; PACKET_PREFIX_LEN];
    stream.read_exact(&mut prefix).await?;
    let len = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if len > len_max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = vec![0; len];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    type Met = (
        Result<Vec<u8>, KnockError>,
        Result<Sealed<DuplexStream>, AdmitError>,
    );

    fn key(byte: u8) -> AuthKey {
        AuthKey::from([byte; 32])
    }

    /// One who knocks, one who admits, and the first packet.
    async fn meet(ours: AuthKey, theirs: AuthKey) -> Met {
        let (near, far) = duplex(4096);
        let client = async move {
            let mut sealed = knock(near, &ours).await?;
            recv_packet(&mut sealed, 100)
                .await
                .map_err(|error| match error.kind() {
                    io::ErrorKind::InvalidData => KnockError::Rejected,
                    _ => KnockError::Io(error),
                })
        };
        let server = async move {
            let mut sealed = admit(far, &[theirs]).await?;
            send_packet(&mut sealed, b"welcome").await?;
            Ok(sealed)
        };
        tokio::join!(client, server)
    }

    /// Who has the key is let in, and sees that the server has it.
    #[tokio::test]
    async fn the_same_key_opens() {
        let (client, server) = meet(key(1), key(1)).await;
        assert_eq!(client.unwrap(), b"welcome");
        assert!(server.is_ok());
    }

    /// A server may have several keys, of which each lets in; whoever has none of them is rejected.
    #[tokio::test]
    async fn each_of_several_keys_opens() {
        for own in 1..=4 {
            let (near, far) = duplex(4096);
            let admitting = tokio::spawn(async move {
                let mut sealed = admit(far, &[key(1), key(2), key(3)]).await?;
                send_packet(&mut sealed, b"welcome").await?;
                Ok::<_, AdmitError>(())
            });
            let knocked = knock(near, &key(own)).await;
            let welcome = match knocked {
                Ok(mut sealed) => recv_packet(&mut sealed, 100).await.ok(),
                Err(_) => None,
            };
            let admitted = admitting.await.unwrap();
            if own < 4 {
                assert_eq!(welcome.as_deref(), Some(&b"welcome"[..]), "key {own}");
                assert!(admitted.is_ok(), "key {own}");
            } else {
                assert_eq!(welcome, None);
                assert!(matches!(admitted, Err(AdmitError::Rejected)));
            }
        }
    }

    /// Who has another key is told so, soon; the server knows why.
    #[tokio::test(start_paused = true)]
    async fn another_key_is_rejected() {
        let began = Instant::now();
        let (client, server) = meet(key(1), key(2)).await;
        assert!(matches!(client, Err(KnockError::Rejected)), "{client:?}");
        assert!(matches!(server, Err(AdmitError::Rejected)));
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    /// Who says this is told what all are who are turned away, when all are.
    async fn turned_away(mut near: DuplexStream, said: &[u8], case: usize) {
        let began = Instant::now();
        near.write_all(said).await.unwrap();
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, TURNED_AWAY, "case {case}");
        assert_eq!(began.elapsed().as_millis(), TURNED_AWAY_AFTER.as_millis());
    }

    /// Whatever is wrong, those who speak the protocol are told the same bytes at the same time.
    #[tokio::test(start_paused = true)]
    async fn failures_look_alike() {
        let preamble = Preamble::new(Suite::AesGcm);
        let first = Handshake::initiate(&key(1), preamble).unwrap().write();
        let first = first.unwrap();
        let mut unknown = preamble.bytes();
        unknown[6] = 77;
        let mut changed = first.clone();
        changed[20] ^= 1;
        let cases = [
            [&unknown[..], &first].concat(),
            [&preamble.bytes()[..], &changed].concat(),
            [&preamble.bytes()[..], &[0xFF, 0xFF], &[7; 46]].concat(),
            [&preamble.bytes()[..], &[0, 0], &[7; 46]].concat(),
        ];
        for (case, bytes) in cases.into_iter().enumerate() {
            let (near, far) = duplex(4096);
            let admitting = tokio::spawn(async move { admit(far, &[key(1)]).await.map(drop) });
            turned_away(near, &bytes, case).await;
            assert!(matches!(
                admitting.await.unwrap(),
                Err(AdmitError::Rejected)
            ));
        }
    }

    /// So it is at the last message, too: one by another key is told apart by nothing from one that
    /// was changed, is random, or announces more or less than there is.
    #[tokio::test(start_paused = true)]
    async fn another_key_looks_like_noise() {
        type Change = fn(&mut [u8]);
        let cases: [(u8, Change); 5] = [
            (2, |_| {}),
            (1, |third| third[PREFIX_LEN + 50] ^= 1),
            (1, |third| third[PREFIX_LEN..].fill(7)),
            (1, |third| third[..PREFIX_LEN].fill(0xFF)),
            (1, |third| third[..PREFIX_LEN].fill(0)),
        ];
        for (case, (number, change)) in cases.into_iter().enumerate() {
            let (mut near, far) = duplex(4096);
            let admitting = tokio::spawn(async move { admit(far, &[key(1)]).await.map(drop) });
            let preamble = Preamble::new(Suite::AesGcm);
            let mut handshake = Handshake::initiate(&key(number), preamble).unwrap();
            near.write_all(&preamble.bytes()).await.unwrap();
            near.write_all(&handshake.write().unwrap()).await.unwrap();
            let mut answer = [0; PREAMBLE_LEN];
            near.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, preamble.bytes(), "case {case}");
            let second = read_message(&mut near, MESSAGE_LENS[1]).await.unwrap();
            // It is the same for all: nothing in it depends on the key.
            handshake.read(&second.unwrap()).unwrap();
            let mut third = handshake.write().unwrap();
            change(&mut third);
            turned_away(near, &third, case).await;
            assert!(matches!(
                admitting.await.unwrap(),
                Err(AdmitError::Rejected)
            ));
        }
    }

    /// Who says nothing, or a byte now and then, is sent away when its time is over.
    #[tokio::test(start_paused = true)]
    async fn the_slow_are_sent_away() {
        for (pause, most) in [
            (60_000, FIRST_WITHIN),
            (300, FIRST_WITHIN),
            (200, HANDSHAKE_WITHIN),
        ] {
            let (mut near, far) = duplex(4096);
            let began = Instant::now();
            let admitting = tokio::spawn(async move { admit(far, &[key(1)]).await.map(drop) });
            let preamble = Preamble::new(Suite::AesGcm).bytes();
            let drops = preamble.into_iter().chain(std::iter::repeat(0));
            let dripping = tokio::spawn(async move {
                for byte in drops {
                    sleep(Duration::from_millis(pause)).await;
                    if near.write_all(&[byte]).await.is_err() {
                        break;
                    }
                }
            });
            let error = admitting.await.unwrap().unwrap_err();
            assert!(
                matches!(error, AdmitError::Late | AdmitError::Rejected),
                "{error}"
            );
            assert!(
                began.elapsed() <= most + 3 * TURNED_AWAY_AFTER,
                "{pause} ms"
            );
            dripping.abort();
        }
    }

    /// Another protocol is told nothing, another version its own, and both sides say which.
    #[tokio::test]
    async fn others_are_told_apart() {
        let (mut near, far) = duplex(4096);
        let admitting = tokio::spawn(async move { admit(far, &[key(1)]).await.map(drop) });
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.unwrap();
        assert!(told.is_empty());
        assert!(matches!(admitting.await.unwrap(), Err(AdmitError::Foreign)));

        let (near, mut far) = duplex(4096);
        let knocking = tokio::spawn(async move { knock(near, &key(1)).await.map(drop) });
        let mut newer = Preamble::new(Suite::AesGcm);
        newer.version = 7;
        far.write_all(&newer.bytes()).await.unwrap();
        let refused = knocking.await.unwrap();
        assert!(matches!(refused, Err(KnockError::Version { theirs: 7 })));

        let (mut near, far) = duplex(4096);
        let admitting = tokio::spawn(async move { admit(far, &[key(1)]).await.map(drop) });
        near.write_all(&newer.bytes()).await.unwrap();
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.unwrap();
        let told = Preamble::read(told.try_into().unwrap()).unwrap();
        assert_eq!(told.version, VERSION);
        assert!(matches!(
            admitting.await.unwrap(),
            Err(AdmitError::Version(7))
        ));

        for (says, expected) in [
            (&b"HTTP/1.1 400 Bad"[..], "foreign"),
            (&Preamble::busy().bytes(), "busy"),
        ] {
            let (near, mut far) = duplex(4096);
            let knocking = tokio::spawn(async move { knock(near, &key(1)).await.map(drop) });
            far.write_all(says).await.unwrap();
            let found = match knocking.await.unwrap() {
                Err(KnockError::Foreign) => "foreign",
                Err(KnockError::Busy) => "busy",
                other => panic!("{other:?}"),
            };
            assert_eq!(found, expected);
        }
    }

    /// What was recorded of one connection opens no other one.
    #[tokio::test(start_paused = true)]
    async fn recordings_open_nothing() {
        let (near, mut tap) = duplex(4096);
        let (mut tapped, far) = duplex(4096);
        let server = tokio::spawn(async move { admit(far, &[key(1)]).await.map(drop) });
        let client = tokio::spawn(async move { knock(near, &key(1)).await.map(drop) });
        let mut recorded = Vec::new();
        let lens = MESSAGE_LENS.map(|len| PREFIX_LEN + len);
        for (from_client, len) in [
            (true, PREAMBLE_LEN + lens[0]),
            (false, PREAMBLE_LEN + lens[1]),
            (true, lens[2]),
        ] {
            let mut bytes = vec![0; len];
            let (from, to) = if from_client {
                (&mut tap, &mut tapped)
            } else {
                (&mut tapped, &mut tap)
            };
            from.read_exact(&mut bytes).await.unwrap();
            to.write_all(&bytes).await.unwrap();
            if from_client {
                recorded.extend_from_slice(&bytes);
            }
        }
        client.await.unwrap().unwrap();
        server.await.unwrap().unwrap();
        let (mut near, far) = duplex(4096);
        let again = tokio::spawn(async move { admit(far, &[key(1)]).await.map(drop) });
        near.write_all(&recorded).await.unwrap();
        assert!(matches!(again.await.unwrap(), Err(AdmitError::Rejected)));
    }
}
