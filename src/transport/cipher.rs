//! The two ciphers of the sealed streams, for `snow`. Pure.
//!
//! Those of `ring` seal six times as fast as those that `snow` brings along, and a key is made
//! ready for use once, and not for each record. On the way nothing tells the one from the other.

use ring::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// Bytes behind what was sealed.
const TAG_LEN: usize = 16;

/// What a handshake and its records are made with.
pub(super) fn resolver() -> BoxedCryptoResolver {
    Box::new(Resolver(DefaultResolver))
}

/// `snow`'s own choice of everything but the ciphers.
struct Resolver(DefaultResolver);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        self.0.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        self.0.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        self.0.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(Box::new(Keyed::new(*choice)))
    }
}

/// One cipher with one key.
struct Keyed {
    choice: CipherChoice,
    key: LessSafeKey,
}

impl Keyed {
    /// Its key is all zeros until one is [set](Cipher::set), as with `snow`'s own.
    fn new(choice: CipherChoice) -> Self {
        let key = ready(choice, &[0; KEY_LEN]);
        Self { choice, key }
    }

    /// As the Noise protocol has it, which counts big-endian for the one and little-endian for the
    /// other.
    fn nonce(&self, count: u64) -> Nonce {
        let count = match self.choice {
            CipherChoice::ChaChaPoly => count.to_le_bytes(),
            CipherChoice::AESGCM => count.to_be_bytes(),
        };
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - count.len()..].copy_from_slice(&count);
        // Whoever counts never gives the same number twice under one key.
        Nonce::assume_unique_for_key(nonce)
    }
}

fn ready(choice: CipherChoice, key: &[u8; KEY_LEN]) -> LessSafeKey {
    let algorithm: &'static Algorithm = match choice {
        CipherChoice::ChaChaPoly => &CHACHA20_POLY1305,
        CipherChoice::AESGCM => &AES_256_GCM,
    };
    // The only error is a key of another length.
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("both ciphers have keys of 32 bytes"))
}

impl Cipher for Keyed {
    fn name(&self) -> &'static str {
        match self.choice {
            CipherChoice::ChaChaPoly => "ChaChaPoly",
            CipherChoice::AESGCM => "AESGCM",
        }
    }

    fn set(&mut self, key: &[u8; KEY_LEN]) {
        self.key = ready(self.choice, key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let len = plaintext.len();
        let (sealed, behind) = out.split_at_mut(len);
        sealed.copy_from_slice(plaintext);
        let (nonce, beside) = (self.nonce(nonce), Aad::from(authtext));
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, beside, sealed)
            // The only error: more than 64 GiB. A record is shorter.
            .expect("a record is not too long for its cipher");
        behind[..TAG_LEN].copy_from_slice(tag.as_ref());
        len + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (sealed, tag) = ciphertext
            .split_last_chunk::<TAG_LEN>()
            .ok_or(Error::Decrypt)?;
        let opened = out.get_mut(..sealed.len()).ok_or(Error::Decrypt)?;
        opened.copy_from_slice(sealed);
        let (nonce, beside) = (self.nonce(nonce), Aad::from(authtext));
        let key = &self.key;
        let opened = key.open_in_place_separate_tag(nonce, beside, (*tag).into(), opened, 0..);
        opened.map(|plain| plain.len()).map_err(|_| Error::Decrypt)
    }
}
