//! The handshake by a shared key, and the records that follow: bytes in, bytes out. Pure.
//!
//! ```text
//!  client                                              server
//!   preamble, e                        ──>              same version? a suite that it knows?
//!                                      <── preamble, e, s    nothing here depends on the key
//!   s, mixed with the key              ──>              a wrong key ends here
//!                                      <── first record      and shows that the server has the key
//!   records: length (2), sealed bytes  <─>
//! ```
//!
//! `Noise_XXpsk3`: who only listens, or only connects, learns nothing by which to try keys, also
//! not later; each connection has keys of its own, so what was recorded opens nothing and means
//! nothing to another connection. The preamble is part of what both sides agree on: changed on the
//! way, the handshake fails.
//!
//! Everything that comes in is an attacker's until a record was opened.

use std::fmt;
use std::sync::OnceLock;

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState, TransportState};
use zeroize::Zeroizing;

use super::auth_key::AuthKey;
use super::cipher;

/// This version of what travels before the first record. What is inside the records has a version
/// of its own.
pub(crate) const VERSION: u16 = 1;

/// Bytes of the preamble: magic (4), version (2), suite (1), flags (1).
pub(crate) const PREAMBLE_LEN: usize = 8;

/// The lengths of the three messages of the handshake.
pub(crate) const MESSAGE_LENS: [usize; 3] = [48, 96, 64];

/// Bytes before each message and record: the length of the rest.
pub(crate) const PREFIX_LEN: usize = 2;

/// The longest record without its prefix.
pub(crate) const RECORD_LEN_MAX: usize = 65_535;

/// The most that one record holds.
pub(crate) const PLAIN_LEN_MAX: usize = RECORD_LEN_MAX - TAG_LEN;

/// What sealing adds.
pub(crate) const TAG_LEN: usize = 16;

const MAGIC: [u8; 4] = *b"cbd\n";

/// After how many records a direction goes on with a new key. At most 2^32 blocks of 16 bytes are
/// sealed under one: the odds that two of them let somebody tell them from noise are 2^-64.
const REKEY_AFTER: u64 = 1 << 20;

/// Says in a preamble that the server takes no more connections just now.
const BUSY: u8 = 1;

/// How records are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// The faster one where the processor has instructions for it.
    AesGcm = 1,
    /// The faster one elsewhere.
    ChaChaPoly = 2,
}

impl Suite {
    /// The one to ask for.
    pub(crate) fn preferred() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
        {
            return Self::AesGcm;
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull")
        {
            return Self::AesGcm;
        }
        Self::ChaChaPoly
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::AesGcm, Self::ChaChaPoly]
            .into_iter()
            .find(|suite| *suite as u8 == byte)
    }

    /// What makes handshakes and keys for it.
    fn builder<'a>(self) -> Result<Builder<'a>, NoiseError> {
        Ok(Builder::with_resolver(self.params()?, cipher::resolver()))
    }

    fn params(self) -> Result<NoiseParams, NoiseError> {
        let name = match self {
            Self::AesGcm => "Noise_XXpsk3_25519_AESGCM_BLAKE2s",
            Self::ChaChaPoly => "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s",
        };
        Ok(name.parse()?)
    }
}

/// What each side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) version: u16,
    suite: u8,
    flags: u8,
}

impl Preamble {
    pub(crate) fn new(suite: Suite) -> Self {
        Self {
            version: VERSION,
            suite: suite as u8,
            flags: 0,
        }
    }

    /// The server's that takes no more connections just now.
    pub(crate) fn busy() -> Self {
        Self {
            version: VERSION,
            suite: 0,
            flags: BUSY,
        }
    }

    pub(crate) fn is_busy(self) -> bool {
        self.flags == BUSY
    }

    /// The suite that it asks for, if there is one and nothing else is asked for.
    pub(crate) fn suite(self) -> Option<Suite> {
        Suite::of(self.suite).filter(|_| self.flags == 0)
    }

    pub(crate) fn bytes(self) -> [u8; PREAMBLE_LEN] {
        let [a, b, c, d] = MAGIC;
        let [low, high] = self.version.to_le_bytes();
        [a, b, c, d, low, high, self.suite, self.flags]
    }

    /// None: whoever sent this speaks another protocol.
    pub(crate) fn read(bytes: [u8; PREAMBLE_LEN]) -> Option<Self> {
        let [magic @ .., low, high, suite, flags] = bytes;
        (magic == MAGIC).then_some(Self {
            version: u16::from_le_bytes([low, high]),
            suite,
            flags,
        })
    }
}

/// Something did not fit. What exactly is nobody's business: it would be a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoiseError {
    /// The peer's bytes are not what they should be: another key, or changed on the way.
    #[error("what came was not sealed with this key")]
    Refused,
    /// This side cannot go on: no random bytes.
    #[error("the handshake cannot be made here")]
    Unable,
}

impl From<snow::Error> for NoiseError {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::Decrypt | snow::Error::Dh | snow::Error::Input => Self::Refused,
            _ => Self::Unable,
        }
    }
}

/// What this process calls itself by in all its handshakes, made anew with each process.
struct Identity(Zeroizing<Vec<u8>>);

fn identity() -> Result<&'static Identity, NoiseError> {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    if let Some(identity) = IDENTITY.get() {
        return Ok(identity);
    }
    let pair = Suite::AesGcm.builder()?.generate_keypair()?;
    Ok(IDENTITY.get_or_init(|| Identity(Zeroizing::new(pair.private))))
}

/// What a server adds of its own to one handshake: never to a second one.
pub(crate) struct Ephemeral(Zeroizing<Vec<u8>>);

impl Ephemeral {
    /// # Errors
    /// [`NoiseError::Unable`].
    pub(crate) fn new() -> Result<Self, NoiseError> {
        let pair = Suite::AesGcm.builder()?.generate_keypair()?;
        Ok(Self(Zeroizing::new(pair.private)))
    }
}

/// A handshake on its way.
pub(crate) struct Handshake(HandshakeState);

impl Handshake {
    /// The client's side.
    ///
    /// # Errors
    /// [`NoiseError::Unable`].
    pub(crate) fn initiate(key: &AuthKey, preamble: Preamble) -> Result<Self, NoiseError> {
        Self::build(key, preamble, |builder| builder.build_initiator())
    }

    /// The server's side, for a client with this preamble.
    ///
    /// # Errors
    /// [`NoiseError`]; refused is a preamble that asks for what there is not.
    pub(crate) fn respond(key: &AuthKey, preamble: Preamble) -> Result<Self, NoiseError> {
        Self::build(key, preamble, |builder| builder.build_responder())
    }

    /// The same by `own`: what it says to the same client does not depend on the key. The key is
    /// mixed in with the client's last message, and so that can be read by each of several.
    ///
    /// # Errors
    /// Those of [`respond`](Self::respond).
    pub(crate) fn respond_as(
        own: &Ephemeral,
        key: &AuthKey,
        preamble: Preamble,
    ) -> Result<Self, NoiseError> {
        // Its name warns of keys that are used twice. This one belongs to one connection.
        Self::build(key, preamble, |builder| {
            let builder = builder.fixed_ephemeral_key_for_testing_only(&own.0);
            builder.build_responder()
        })
    }

    fn build(
        key: &AuthKey,
        preamble: Preamble,
        build: impl FnOnce(Builder<'_>) -> Result<HandshakeState, snow::Error>,
    ) -> Result<Self, NoiseError> {
        let suite = preamble.suite().ok_or(NoiseError::Refused)?;
        let prologue = preamble.bytes();
        let builder = suite
            .builder()?
            .local_private_key(&identity()?.0)?
            .prologue(&prologue)?
            .psk(3, key.bytes())?;
        Ok(Self(build(builder)?))
    }

    /// The next message of this side, with its prefix.
    ///
    /// # Errors
    /// [`NoiseError::Unable`].
    pub(crate) fn write(&mut self) -> Result<Vec<u8>, NoiseError> {
        let mut message = vec![0; PREFIX_LEN + MESSAGE_LENS[1]];
        let len = self.0.write_message(&[], &mut message[PREFIX_LEN..])?;
        message.truncate(PREFIX_LEN + len);
        message[..PREFIX_LEN].copy_from_slice(&prefix(len));
        Ok(message)
    }

    /// Takes the peer's next message, without its prefix.
    ///
    /// # Errors
    /// [`NoiseError::Refused`]. The handshake is then of no more use.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<(), NoiseError> {
        let mut payload = [0; MESSAGE_LENS[1]];
        match self.0.read_message(message, &mut payload)? {
            0 => Ok(()),
            _ => Err(NoiseError::Refused),
        }
    }

    /// What follows the last message.
    ///
    /// # Errors
    /// [`NoiseError::Unable`] before that.
    pub(crate) fn finish(self) -> Result<Records, NoiseError> {
        Ok(Records {
            state: self.0.into_transport_mode()?,
            sealed: 0,
            opened: 0,
            rekey_after: REKEY_AFTER,
        })
    }
}

/// Seals what goes and opens what comes, each record once and in order.
pub(crate) struct Records {
    state: TransportState,
    sealed: u64,
    opened: u64,
    rekey_after: u64,
}

impl Records {
    /// Appends a record with `plain` in it to `output`.
    ///
    /// # Errors
    /// [`NoiseError::Unable`] when there is too much for one.
    pub(crate) fn seal(&mut self, plain: &[u8], output: &mut Vec<u8>) -> Result<(), NoiseError> {
        let len = plain.len() + TAG_LEN;
        let at = output.len();
        output.resize(at + PREFIX_LEN + len, 0);
        let (head, record) = output[at..].split_at_mut(PREFIX_LEN);
        head.copy_from_slice(&prefix(len));
        self.state.write_message(plain, record)?;
        self.sealed += 1;
        if self.sealed.is_multiple_of(self.rekey_after) {
            self.state.rekey_outgoing();
        }
        Ok(())
    }

    /// Opens the next record, which is without its prefix, into the beginning of `plain`.
    ///
    /// # Errors
    /// [`NoiseError::Refused`] when it is not the next one of this peer. Nothing that comes after
    /// that can be opened.
    pub(crate) fn open(&mut self, record: &[u8], plain: &mut [u8]) -> Result<usize, NoiseError> {
        let len = self.state.read_message(record, plain)?;
        self.opened += 1;
        if self.opened.is_multiple_of(self.rekey_after) {
            self.state.rekey_incoming();
        }
        Ok(len)
    }

    /// The same with new keys after each `count` records.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn rekeyed_after(mut self, count: u64) -> Self {
        self.rekey_after = count;
        self
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("sealed", &self.sealed)
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

fn prefix(len: usize) -> [u8; PREFIX_LEN] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// Both ends of a connection between two who have the same key.
#[cfg(any(test, fuzzing))]
pub(crate) fn pair(key: &AuthKey, suite: Suite) -> (Records, Records) {
    let preamble = Preamble::new(suite);
    let mut client = Handshake::initiate(key, preamble).expect("there are random bytes");
    let mut server = Handshake::respond(key, preamble).expect("there are random bytes");
    for turn in 0..MESSAGE_LENS.len() {
        let (writer, reader) = if turn % 2 == 0 {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        let message = writer.write().expect("it is its turn");
        let read = reader.read(&message[PREFIX_LEN..]);
        read.expect("they have the same key");
    }
    let ended = "that was the last message";
    (client.finish().expect(ended), server.finish().expect(ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [Suite; 2] = [Suite::AesGcm, Suite::ChaChaPoly];

    fn key(byte: u8) -> AuthKey {
        AuthKey::from([byte; 32])
    }

    /// The messages that go to and fro, until one is refused: which one that was.
    fn refused_at(
        (ours, client): (&AuthKey, Preamble),
        (theirs, server): (&AuthKey, Preamble),
        mut change: impl FnMut(usize, &mut [u8]),
    ) -> Option<usize> {
        let mut client = Handshake::initiate(ours, client).unwrap();
        let mut server = Handshake::respond(theirs, server).unwrap();
        for (turn, len) in MESSAGE_LENS.into_iter().enumerate() {
            let (writer, reader) = if turn % 2 == 0 {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            let mut message = writer.write().unwrap();
            assert_eq!(message.len(), PREFIX_LEN + len);
            assert_eq!(message[..PREFIX_LEN], prefix(len));
            change(turn, &mut message[PREFIX_LEN..]);
            if let Err(error) = reader.read(&message[PREFIX_LEN..]) {
                assert_eq!(error, NoiseError::Refused);
                return Some(turn);
            }
        }
        None
    }

    /// One key and one preamble on both sides are all that is needed; a wrong key shows at the last
    /// message, and nothing before that depends on it.
    #[test]
    fn keys_and_preambles_are_compared() {
        for suite in SUITES {
            let same = Preamble::new(suite);
            let kept = |_: usize, _: &mut [u8]| {};
            let met = |ours, theirs| refused_at((&ours, same), (&theirs, same), kept);
            assert_eq!(met(key(1), key(1)), None);
            assert_eq!(met(key(1), key(2)), Some(2));
            let other = Preamble { version: 2, ..same };
            let met = refused_at((&key(1), same), (&key(1), other), kept);
            assert_eq!(met, Some(0), "the first message has a tag");
        }
    }

    /// Whatever is changed in the handshake on the way ends it.
    #[test]
    fn changed_handshakes_fail() {
        let same = Preamble::new(Suite::AesGcm);
        for (changed, len) in MESSAGE_LENS.into_iter().enumerate() {
            for at in (0..len).step_by(5) {
                let flip = |turn: usize, message: &mut [u8]| {
                    if turn == changed {
                        message[at] ^= 1;
                    }
                };
                let met = refused_at((&key(1), same), (&key(1), same), flip);
                assert!(met.is_some(), "message {changed}, byte {at}");
            }
        }
    }

    fn seal_and_open(plain: &[u8], (from, to): (&mut Records, &mut Records), room: &mut [u8]) {
        let mut output = Vec::new();
        from.seal(plain, &mut output).unwrap();
        assert_eq!(output.len(), PREFIX_LEN + plain.len() + TAG_LEN);
        let len = to.open(&output[PREFIX_LEN..], room).unwrap();
        assert_eq!(&room[..len], plain);
    }

    /// Records come back in order, whatever their length, over many changes of the keys.
    #[test]
    fn records_round_trip() {
        for suite in SUITES {
            let (client, server) = pair(&key(1), suite);
            let (mut client, mut server) = (client.rekeyed_after(3), server.rekeyed_after(3));
            let mut opened = vec![0; PLAIN_LEN_MAX];
            for (number, len) in [0, 1, 15, 16, 17, 5000, PLAIN_LEN_MAX, 0, 3, 2, 1]
                .into_iter()
                .enumerate()
            {
                let plain = vec![u8::try_from(number).unwrap(); len];
                seal_and_open(&plain, (&mut client, &mut server), &mut opened);
                seal_and_open(&plain, (&mut server, &mut client), &mut opened);
            }
            let too_much = client.seal(&vec![0; PLAIN_LEN_MAX + 1], &mut Vec::new());
            assert!(too_much.is_err());
        }
    }

    /// A record that comes twice, in another place, from another connection, or changed in any
    /// byte is none.
    #[test]
    fn records_are_opened_once_and_in_order() {
        let sealed = |records: &mut Records| {
            let mut output = Vec::new();
            records.seal(b"pay 5", &mut output).unwrap();
            output.split_off(PREFIX_LEN)
        };
        let open = |records: &mut Records, record: &[u8]| records.open(record, &mut [0; 64]);
        for suite in SUITES {
            let (mut client, mut server) = pair(&key(1), suite);
            let (first, second) = (sealed(&mut client), sealed(&mut client));
            assert!(open(&mut server, &first).is_ok());
            assert!(open(&mut server, &first).is_err(), "replayed");
            let (mut client, mut server) = pair(&key(1), suite);
            assert!(open(&mut server, &second).is_err(), "of another connection");
            let _lost = sealed(&mut client);
            let next = sealed(&mut client);
            assert!(open(&mut server, &next).is_err(), "one is missing");
            for at in 0..first.len() {
                let (mut client, mut server) = pair(&key(1), suite);
                let mut record = sealed(&mut client);
                record[at] ^= 0x80;
                assert!(open(&mut server, &record).is_err(), "byte {at}");
            }
            let (mut client, _server) = pair(&key(1), suite);
            let own = sealed(&mut client);
            assert!(open(&mut client, &own).is_err(), "reflected");
            for len in 0..TAG_LEN {
                let (_client, mut server) = pair(&key(1), suite);
                assert!(open(&mut server, &vec![0; len]).is_err(), "{len} bytes");
            }
        }
    }

    /// Preambles are told from other protocols', and what asks for something unknown is no suite.
    #[test]
    fn preambles_are_read() {
        for suite in SUITES {
            let preamble = Preamble::new(suite);
            assert_eq!(Preamble::read(preamble.bytes()), Some(preamble));
            assert_eq!(preamble.suite(), Some(suite));
        }
        assert!(Preamble::busy().is_busy());
        assert_eq!(Preamble::busy().suite(), None);
        assert_eq!(Preamble::read(*b"GET / HT"), None);
        let mut bytes = Preamble::new(Suite::AesGcm).bytes();
        bytes[7] = 2;
        assert_eq!(Preamble::read(bytes).and_then(Preamble::suite), None);
        bytes[6..].copy_from_slice(&[9, 0]);
        assert_eq!(Preamble::read(bytes).and_then(Preamble::suite), None);
    }
}
