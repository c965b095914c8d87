//! What an actor offers, as both sides of a link compare it. Pure.
//!
//! A method is a name and a hash of its signature: its text and the size and alignment of its
//! archives. Two programs that were built apart may disagree on one method and still use the
//! others.

use std::borrow::Cow;
use std::mem::{align_of, size_of};

use super::codec::Message;
#[cfg(feature = "json")]
use super::json::Json;

/// The call that asks whoever owns the actor to end it. An actor has no method with this number or
/// one above it.
pub(crate) const ASK: u16 = u16::MAX - 3;

/// The call that begins a scope.
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
    /// In which lane of the mailbox its calls wait.
    pub(crate) priority: Priority,
    /// How it is called with JSON.
    #[cfg(feature = "json")]
    pub(crate) json: Option<Json>,
    /// How many of its calls run together at most; 0: each runs by itself.
    pub(crate) batch_max: u16,
}

/// Which calls come before which others.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "the macros write it down")]
pub enum Priority {
    /// After all others.
    Low,
    /// Without an attribute.
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// The lowest first.
    pub(crate) const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];
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
            priority: Priority::Normal,
            #[cfg(feature = "json")]
            json: None,
            batch_max: 0,
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

    /// The same, of this priority.
    #[must_use]
    pub const fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// The same, callable with JSON.
    #[cfg(feature = "json")]
    #[must_use]
    pub const fn json(self, json: Json) -> Self {
        Self {
            json: Some(json),
            ..self
        }
    }

    /// The same, run alone for up to `max` of its calls at once.
    #[must_use]
    pub const fn batch(self, max: u16) -> Self {
        Self {
            exclusive: true,
            waits: true,
            batch_max: max,
            ..self
        }
    }

    /// Whether its calls change their order in the mailbox.
    pub(crate) fn sorts(&self) -> bool {
        self.priority != Priority::Normal
    }
}

/// Everything that an actor offers, under a name that is the same in every build.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the macros write it down")]
pub struct Interface {
    /// The actor's name on the wire.
    pub name: &'static str,
    /// The name of its type, if that is generic: with the parameters, which belong to its name on
    /// the wire.
    pub instance: Option<fn() -> &'static str>,
    /// Its constructors; a constructor's number is its place here.
    pub constructors: &'static [Method],
    /// Its own methods; a method's number is its place here.
    pub methods: &'static [Method],
    /// Those that it has from elsewhere: of each of its traits, and of its fields. Their numbers go
    /// on where its own end.
    pub parts: &'static [&'static [Method]],
}

impl Interface {
    /// That of an actor whose type is not known.
    pub(crate) const NONE: Self = Self {
        name: "?",
        instance: None,
        constructors: &[],
        methods: &[],
        parts: &[],
    };

    /// Some methods of an interface that is not known.
    pub(crate) const fn alone(methods: &'static [Method]) -> Self {
        Self {
            methods,
            ..Self::NONE
        }
    }

    /// Its name on the wire, with the parameters of its type: `cells::Cell<u32>`.
    pub(crate) fn full_name(&self) -> Cow<'static, str> {
        let parameters = self.instance.and_then(|name| {
            let name = name();
            name.find('<').map(|at| &name[at..])
        });
        match parameters {
            None => Cow::Borrowed(self.name),
            Some(parameters) => Cow::Owned(format!("{}{parameters}", self.name)),
        }
    }

    /// One number for the whole interface: equal numbers mean equal methods in equal order.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = Fnv::new().text(&self.full_name());
        for method in self.constructors.iter().chain(self.all_methods()) {
            hash = hash.text(method.name).number(method.signature);
        }
        hash.number(self.constructors.len() as u64).0
    }

    /// Whether calls of one method or another run together.
    pub(crate) const fn has_batches(&self) -> bool {
        let mut has = any_batches(self.methods);
        let mut at = 0;
        while at < self.parts.len() {
            has |= any_batches(self.parts[at]);
            at += 1;
        }
        has
    }

    /// The method of this number.
    #[inline]
    pub(crate) fn method(&self, number: u16) -> Option<&'static Method> {
        let mut place = usize::from(number);
        if let Some(own) = self.methods.get(place) {
            return Some(own);
        }
        place -= self.methods.len();
        for part in self.parts {
            if let Some(method) = part.get(place) {
                return Some(method);
            }
            place -= part.len();
        }
        None
    }

    /// All methods, in the order of their numbers.
    pub(crate) fn all_methods(&self) -> impl Iterator<Item = &'static Method> {
        let parts = self.parts.iter().flat_map(|part| part.iter());
        self.methods.iter().chain(parts)
    }
}

const fn any_batches(methods: &[Method]) -> bool {
    let mut at = 0;
    while at < methods.len() {
        if methods[at].batch_max > 0 {
            return true;
        }
        at += 1;
    }
    false
}

/// The number of the first method of a part: behind `own` methods and the parts before it.
///
/// # Panics
/// When an actor has more methods than there are numbers; in a constant, so it does not compile.
#[doc(hidden)]
#[must_use]
pub const fn first(own: usize, before: &[&[Method]]) -> u16 {
    let mut count = own;
    let mut at = 0;
    while at < before.len() {
        count += before[at].len();
        at += 1;
    }
    assert!(
        count <= u16::MAX as usize,
        "an actor has at most 65535 methods"
    );
    #[expect(clippy::cast_possible_truncation, reason = "the line above")]
    {
        count as u16
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
            instance: None,
            constructors: &[],
            methods: &[A, B],
            parts: &[],
        };
        let two = Interface {
            name: "x",
            instance: None,
            constructors: &[],
            methods: &[B, A],
            parts: &[],
        };
        let three = Interface {
            name: "x",
            instance: None,
            constructors: &[A],
            methods: &[B],
            parts: &[],
        };
        assert_ne!(one.hash(), two.hash());
        assert_ne!(one.hash(), three.hash());
    }

    /// The parameters of a generic type are part of its name, a stable one too.
    #[test]
    fn parameters_belong_to_the_name() {
        let plain = Interface {
            name: "cell",
            instance: None,
            constructors: &[],
            methods: &[],
            parts: &[],
        };
        let generic = Interface {
            instance: Some(std::any::type_name::<Vec<u8>>),
            ..plain
        };
        assert_eq!(plain.full_name(), "cell");
        assert_eq!(generic.full_name(), "cell<u8>");
        assert_ne!(plain.hash(), generic.hash());
    }

    /// Numbers go on from a table to the next one, and end with the last.
    #[test]
    fn numbers_go_on_over_the_parts() {
        const A: Method = Method::new("a", 1);
        const B: Method = Method::new("b", 1);
        const C: Method = Method::new("c", 1);
        let interface = Interface {
            name: "x",
            instance: None,
            constructors: &[],
            methods: &[A],
            parts: &[&[], &[B], &[C, A]],
        };
        let names: Vec<&str> = (0..9)
            .map_while(|number| interface.method(number))
            .map(|method| method.name)
            .collect();
        assert_eq!(names, ["a", "b", "c", "a"]);
        assert_eq!(interface.all_methods().count(), 4);
        assert_eq!(first(1, &interface.parts[..2]), 2);
    }
}
