//! What an actor offers, as both sides of a link compare it. Pure.
//!
//! A method is a name and a hash of its signature: its text and the size and alignment of its
//! archives. Two programs that were built apart may disagree on one method and still use the
//! others.

use std::mem::{align_of, size_of};

use super::codec::Message;

/// The call that begins a scope. An actor has no method with this number or one above it.
pub(crate) const ENTER: u16 = u16::MAX - 2;

/// The call that ends a scope.
pub(crate) const EXIT: u16 = u16::MAX - 1;

/// What an actor calls itself for; it never travels.
pub(crate) const OWN: u16 = u16::MAX;

/// One method or constructor of an interface.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    pub(crate) name: &'static str,
    pub(crate) signature: u64,
    /// It takes `&mut self`: it runs alone.
    pub(crate) exclusive: bool,
    /// It is async: it may wait.
    pub(crate) waits: bool,
}

impl Method {
    /// A method called `name` that takes `&self` and is not async.
    #[must_use]
    pub const fn new(name: &'static str, signature: u64) -> Self {
        Self {
            name,
            signature,
            exclusive: false,
            waits: false,
        }
    }

    /// The same, taking `&mut self`.
    #[must_use]
    pub const fn exclusive(self) -> Self {
        Self {
            exclusive: true,
            ..self
        }
    }

    /// The same, async.
    #[must_use]
    pub const fn waits(self) -> Self {
        Self {
            waits: true,
            ..self
        }
    }

    /// The same types with another meaning. The first meaning has no version.
    #[must_use]
    pub const fn version(self, version: u32) -> Self {
        let signature = match version {
            1 => self.signature,
            _ => Fnv(self.signature).number(version as u64).0,
        };
        Self { signature, ..self }
    }
}

/// Everything that an actor offers, under a name that is the same in every build.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the macros write it down")]
pub struct Interface {
    /// The actor's name on the wire.
    pub name: &'static str,
    /// Its constructors; a constructor's number is its place here.
    pub constructors: &'static [Method],
    /// Its methods; a method's number is its place here.
    pub methods: &'static [Method],
}

impl Interface {
    /// One number for the whole interface: equal numbers mean equal methods in equal order.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = Fnv::new().text(self.name);
        for method in self.constructors.iter().chain(self.methods) {
            hash = hash.text(method.name).number(method.signature);
        }
        hash.number(self.constructors.len() as u64).0
    }
}

/// The hash of a signature: its text and the shape of its archives.
#[doc(hidden)]
#[must_use]
pub const fn signature<Args: Message, Ok: Message, Err: Message>(text: &str) -> u64 {
    Fnv::new()
        .text(text)
        .number(size_of::<Args::Archived>() as u64)
        .number(align_of::<Args::Archived>() as u64)
        .number(size_of::<Ok::Archived>() as u64)
        .number(align_of::<Ok::Archived>() as u64)
        .number(size_of::<Err::Archived>() as u64)
        .0
}

/// FNV-1a, 64 bits: small, the same everywhere, and possible in constants. It tells builds apart;
/// it keeps nobody out.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    const fn text(self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut hash = self;
        let mut at = 0;
        while at < bytes.len() {
            hash = hash.byte(bytes[at]);
            at += 1;
        }
        // A separator, so that "ab" + "c" and "a" + "bc" differ.
        hash.byte(0xFF)
    }

    const fn number(self, number: u64) -> Self {
        let bytes = number.to_le_bytes();
        let mut hash = self;
        let mut at = 0;
        while at < bytes.len() {
            hash = hash.byte(bytes[at]);
            at += 1;
        }
        hash
    }

    const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x100_0000_01B3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature changes with its text and with the shape of what it carries.
    #[test]
    fn signatures_tell_changes_apart() {
        let add = signature::<(u64,), u64, ()>("add(u64)->u64");
        assert_eq!(add, signature::<(u64,), u64, ()>("add(u64)->u64"));
        assert_ne!(add, signature::<(u64,), u64, ()>("add(by)->u64"));
        assert_ne!(add, signature::<(u32,), u64, ()>("add(u64)->u64"));
    }

    /// A version is part of the signature, and the first one needs no mention.
    #[test]
    fn versions_tell_meanings_apart() {
        const GET: Method = Method::new("get", 7);
        assert_eq!(GET, GET.version(1));
        assert_ne!(GET.signature, GET.version(2).signature);
        assert_ne!(GET.version(2).signature, GET.version(3).signature);
    }

    /// The interface's number changes with the order of its methods.
    #[test]
    fn order_counts() {
        const A: Method = Method::new("a", 1);
        const B: Method = Method::new("b", 1);
        let one = Interface {
            name: "x",
            constructors: &[],
            methods: &[A, B],
        };
        let two = Interface {
            name: "x",
            constructors: &[],
            methods: &[B, A],
        };
        let three = Interface {
            name: "x",
            constructors: &[A],
            methods: &[B],
        };
        assert_ne!(one.hash(), two.hash());
        assert_ne!(one.hash(), three.hash());
    }
}
