//! Tests of blobs as values, within one process.

use super::super::attached::Attached;
use super::super::codec::{Buffer, encode_with};
use super::*;

/// A message as it travels, with what travels beside it.
pub(in crate::wire) fn sent<M: Message>(message: &M) -> (Buffer, Attached) {
    let encoded = encode_with(message, usize::MAX, |bytes, attached| {
        (codec::copy(bytes), attached.clone())
    });
    encoded.unwrap()
}

/// What it is again, there.
pub(in crate::wire) fn received<M: Message>(
    (bytes, attached): &(Buffer, Attached),
) -> Result<M, DecodeError> {
    attached.within(|| codec::decode::<M>(bytes))
}

/// Blobs travel in messages of any shape, each memory once, and come back as the same memory.
#[test]
fn blobs_are_values() {
    let (one, two) = (
        Blob::copy_from(b"one blob").unwrap(),
        Blob::copy_from(&[1.5_f64; 3]).unwrap(),
    );
    let message = (
        7_u8,
        vec![one.clone(), one.slice(4..)],
        Some(two.clone()),
        String::from("text"),
    );
    let sent = sent(&message);
    assert_eq!(sent.1.holds().count(), 2);
    let back: (u8, Vec<Blob>, Option<Blob<[f64]>>, String) = received(&sent).unwrap();
    assert_eq!(
        (back.0, &back.1[0][..], &back.1[1][..]),
        (7, &b"one blob"[..], &b"blob"[..])
    );
    let numbers = back.2.unwrap();
    assert_eq!((&numbers[..], back.3.as_str()), (&[1.5; 3][..], "text"));
    assert!(back.1[1].shares_memory(&one) && numbers.shares_memory(&two));
    assert_eq!(
        back.1[1].as_ptr(),
        one[4..].as_ptr(),
        "the very same mapping"
    );
    let whole = Bytes::from(back.1[0].clone());
    assert_eq!(whole.as_ptr(), one.as_ptr());
}

/// The size of a message does not depend on that of its blobs.
#[test]
fn blobs_are_small_in_messages() {
    let len = |len| sent(&Blob::alloc(len).unwrap().seal().unwrap()).0.len();
    assert_eq!([len(0), len(1), len(1 << 20)], [24; 3]);
}

/// A blob outside of a message, beyond its memory, of other memory, or of another type is an error.
#[test]
fn what_does_not_fit_is_refused() {
    let blob = Blob::copy_from(&[1_u8, 2, 3]).unwrap();
    assert!(
        codec::encode(&blob, usize::MAX, |_| ()).is_err(),
        "nothing may travel beside it"
    );
    assert!(rkyv::to_bytes::<rkyv::rancor::Error>(&blob).is_err());
    let nested = Blob::archive(&vec![blob.clone()]);
    assert!(matches!(nested, Err(BlobError::Content(_))));
    let good = sent(&blob);
    assert!(
        received::<Blob<[u16]>>(&good).is_err(),
        "three bytes are no such numbers"
    );
    assert!(received::<Blob<String>>(&good).is_err());
    assert!(
        codec::decode::<Blob>(&good.0).is_err(),
        "nothing came beside it"
    );
    let part = |memory, begin, len| {
        let part = Part { memory, begin, len };
        (sent(&part).0, good.1.clone())
    };
    assert_eq!(received::<Blob>(&part(0, 1, 2)).unwrap()[..], [2, 3]);
    for (memory, begin, len) in [
        (1, 0, 1),
        (0, 0, 4),
        (0, 4, 0),
        (0, u64::MAX, 2),
        (0, 2, u64::MAX),
    ] {
        assert!(received::<Blob>(&part(memory, begin, len)).is_err());
    }
}

/// Archives in blobs are read in place, and looked at once in a process.
#[test]
fn archives_are_read_in_place() {
    let words = vec![
        String::from("one"),
        String::from("two, and longer than inline"),
    ];
    let blob = Blob::archive(&words).unwrap();
    assert_eq!(blob[1].as_str(), "two, and longer than inline");
    let back: Blob<Vec<String>> = received(&sent(&blob)).unwrap();
    assert!(std::ptr::eq(back[0].as_ptr(), blob[0].as_ptr()));
    assert_eq!(back.deserialize().unwrap(), words);
    let bytes = back.untyped();
    assert_eq!(bytes.len(), blob.byte_len());
    assert_eq!(bytes.typed::<Vec<String>>().unwrap()[0].as_str(), "one");
    assert!(
        bytes.slice(..8).typed::<Vec<String>>().is_err(),
        "its root lies at the end"
    );
    assert!(bytes.typed::<[u64]>().is_ok());
}

/// Bytes are shared both ways, and what is no blob's is copied.
#[test]
fn bytes_are_shared() {
    let blob = Blob::copy_from(b"0123456789").unwrap();
    let bytes = Bytes::from(blob.slice(2..8));
    assert_eq!(bytes[..], *b"234567");
    let back = Blob::from_bytes(&bytes.slice(1..3)).unwrap();
    assert!(back[..] == *b"34" && back.shares_memory(&blob));
    drop((blob, back));
    assert_eq!(bytes[..], *b"234567", "they keep their memory");
    let copy = Blob::from_bytes(&Bytes::from_static(b"elsewhere")).unwrap();
    assert_eq!(copy[..], *b"elsewhere");
}

/// Slices of slices, and ranges of every form.
#[test]
fn slices_are_blobs() {
    let blob = Blob::copy_from(&[0_u32, 1, 2, 3, 4]).unwrap();
    assert_eq!(blob.slice(..)[..], [0, 1, 2, 3, 4]);
    assert_eq!(blob.slice(1..4).slice(1..)[..], [2, 3]);
    assert_eq!(blob.slice(..=1)[..], [0, 1]);
    assert!(blob.slice(5..).is_empty() && blob.slice(..0).byte_len() == 0);
    let beyond = std::panic::catch_unwind(|| blob.slice(3..6));
    assert!(beyond.is_err());
}

/// A builder takes what a reader gives, as far as there is room, and keeps it when reading fails.
#[test]
fn readers_fill_builders() {
    struct Failing(u8);
    impl io::Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(io::ErrorKind::Interrupted.into()),
                2 => {
                    buf[0] = b'x';
                    Ok(1)
                }
                _ => Err(io::Error::other("broken")),
            }
        }
    }
    let mut builder = Blob::alloc(6).unwrap();
    assert_eq!(builder.fill_from(&b"abc"[..]).unwrap(), 3);
    assert!(matches!(
        builder.fill_from(Failing(0)),
        Err(BlobError::Read(_))
    ));
    assert_eq!(builder.filled_len(), 4);
    assert_eq!(builder.fill_from(&b"too long"[..]).unwrap(), 2);
    assert_eq!(builder.seal().unwrap()[..], *b"abcxto");
}
