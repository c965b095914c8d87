//! What is encoded comes back, and nothing else does.

use std::collections::HashMap;

use super::*;

fn archive<M: Message>(message: &M) -> Buffer {
    encode(message, usize::MAX, copy).unwrap()
}

/// Values of every shape that methods use come back as they were.
#[test]
fn values_round_trip() {
    let value = (7_u64, String::from("a name"), vec![Some(1.5_f64), None]);
    assert_eq!(
        decode::<(u64, String, Vec<Option<f64>>)>(&archive(&value)).unwrap(),
        value
    );
    decode::<()>(&archive(&())).unwrap();
    assert_eq!(decode::<u128>(&archive(&u128::MAX)).unwrap(), u128::MAX);
    assert_eq!(
        decode::<usize>(&archive(&0x1_0000_0005_usize)).unwrap(),
        0x1_0000_0005
    );
}

/// A message beyond the limit is an error that names both sizes, and the next one is fine.
#[test]
fn the_limit_names_both_sizes() {
    let error = encode(&vec![1_u8; 100], 64, |_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            EncodeError::TooLarge {
                len: 120,
                limit: 64
            }
        ),
        "{error}"
    );
    encode(&vec![1_u8; 16], 64, |_| ()).unwrap();
}

/// Cut, flipped and foreign bytes are errors or other values, never panics.
#[test]
fn foreign_bytes_are_refused() {
    let good = archive(&vec![
        String::from("one"),
        String::from("two, but longer than inline"),
    ]);
    assert!(decode::<Vec<String>>(&good[..good.len() - 1]).is_err());
    assert!(decode::<Vec<String>>(&[]).is_err());
    for at in 0..good.len() {
        for value in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] = value;
            let _may_be_either = decode::<Vec<String>>(&bad);
        }
    }
}

/// An archive at which rkyv's check panics, where overflow is checked, is an error as others
/// are.
#[test]
fn panics_of_the_check_are_errors() {
    let mut map = [0xFF; 32];
    map[..4].copy_from_slice(&[0x7E, 0x28, 0x7E, 0x36]);
    map[17] = 0xFE;
    assert!(decode::<HashMap<String, Vec<u32>>>(&copy(&map)).is_err());
}

#[derive(Archive, Serialize, Deserialize)]
#[rkyv(serialize_bounds(
    __S: rkyv::ser::Writer + rkyv::ser::Allocator,
    __S::Error: rkyv::rancor::Source
))]
#[rkyv(deserialize_bounds(__D::Error: rkyv::rancor::Source))]
#[rkyv(bytecheck(bounds(
    __C: rkyv::validation::ArchiveContext,
    __C::Error: rkyv::rancor::Source
)))]
struct Nested {
    #[rkyv(omit_bounds)]
    inner: Option<Box<Self>>,
}

/// A tree that is deeper than the limit is an error and no stack overflow.
#[test]
fn depth_bombs_are_refused() {
    let nest = |depth| {
        (0..depth).fold(Nested { inner: None }, |inner, _| Nested {
            inner: Some(Box::new(inner)),
        })
    };
    assert!(decode::<Nested>(&archive(&nest(100))).is_ok());
    let bomb = archive(&nest(2_000));
    let error = decode::<Nested>(&bomb).map(drop).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.len() <= Fault::LEN_MAX * 4, "{cause}");
}

/// What is secret lies in no memory that is used again.
#[test]
fn secrets_leave_nothing() {
    let secret = vec![0x5e_u8; 3000];
    let is_left = || SCRATCH.with_borrow(|scratch| scratch.bytes.contains(&0x5e));
    let seen = encode_secret(&secret, 4096, |archive| archive.contains(&0x5e));
    assert!(seen.unwrap() && !is_left());
    encode_secret(&secret, 1000, |_| ()).unwrap_err();
    assert!(!is_left());
    encode(&secret, 4096, |_| ()).unwrap();
    assert!(is_left(), "and other messages lie there");
}
