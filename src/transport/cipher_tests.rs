//! The ciphers beside those that `snow` brings along.

use snow::params::CipherChoice;
use snow::types::Cipher;

use super::cipher::resolver;

/// Bytes behind what was sealed.
const TAG_LEN: usize = 16;

fn cipher(choice: CipherChoice) -> Box<dyn Cipher> {
    let cipher = resolver().resolve_cipher(&choice);
    cipher.expect("there are both")
}

/// What the ciphers of `snow` itself make of the same, and of nothing after a new key.
const AES_GCM: ([u8; 30], [u8; 16]) = (
    [
        115, 57, 4, 122, 253, 136, 122, 190, 112, 250, 156, 131, 123, 3, 178, 129, 77, 144, 55, 41,
        241, 225, 215, 107, 28, 4, 164, 27, 118, 99,
    ],
    [
        19, 117, 172, 206, 253, 212, 140, 58, 254, 94, 76, 191, 213, 116, 88, 73,
    ],
);
const CHA_CHA_POLY: ([u8; 30], [u8; 16]) = (
    [
        135, 33, 204, 144, 139, 80, 153, 56, 23, 206, 75, 160, 22, 28, 223, 124, 77, 215, 128, 2,
        1, 228, 143, 154, 39, 209, 149, 13, 12, 227,
    ],
    [
        35, 63, 3, 52, 21, 37, 216, 111, 208, 66, 39, 229, 35, 131, 23, 112,
    ],
);

const COUNT: u64 = 0x0102_0304_0506_0708;
const BESIDE: &[u8] = b"beside";
const PLAIN: &[u8] = b"what is sealed";

/// Both ciphers seal as everybody's do, also with a key that was derived from the last one, and
/// open what they have sealed.
#[test]
fn records_are_as_everywhere() {
    let known = [
        (CipherChoice::AESGCM, AES_GCM),
        (CipherChoice::ChaChaPoly, CHA_CHA_POLY),
    ];
    for (choice, (sealed, rekeyed)) in known {
        let mut cipher = cipher(choice);
        cipher.set(&std::array::from_fn(|at| at as u8));
        let mut out = [0; 64];
        let len = cipher.encrypt(COUNT, BESIDE, PLAIN, &mut out);
        assert_eq!(out[..len], sealed, "{}", cipher.name());
        let len = cipher.decrypt(COUNT, BESIDE, &sealed, &mut out).unwrap();
        assert_eq!(out[..len], *PLAIN);
        cipher.rekey();
        let len = cipher.encrypt(1, &[], &[], &mut out);
        assert_eq!(out[..len], rekeyed, "{}", cipher.name());
    }
}

/// Nothing is opened that was changed, is for another place or beside something else, or is too
/// short, nor into too little room.
#[test]
fn what_does_not_fit_is_refused() {
    for choice in [CipherChoice::AESGCM, CipherChoice::ChaChaPoly] {
        let cipher = cipher(choice);
        let mut sealed = [0; 30];
        cipher.encrypt(COUNT, BESIDE, PLAIN, &mut sealed);
        let open = |count, beside: &[u8], sealed: &[u8], room: usize| {
            cipher.decrypt(count, beside, sealed, &mut vec![0; room])
        };
        assert!(open(COUNT, BESIDE, &sealed, PLAIN.len()).is_ok());
        assert!(open(COUNT + 1, BESIDE, &sealed, 64).is_err());
        assert!(open(COUNT, b"besides", &sealed, 64).is_err());
        assert!(open(COUNT, BESIDE, &sealed[..TAG_LEN - 1], 64).is_err());
        assert!(open(COUNT, BESIDE, &sealed, PLAIN.len() - 1).is_err());
        for at in 0..sealed.len() {
            sealed[at] ^= 1;
            assert!(open(COUNT, BESIDE, &sealed, 64).is_err(), "byte {at}");
            sealed[at] ^= 1;
        }
    }
}
