//! What of a proxy travels in a message, and how who holds one enters. Pure.
//!
//! ```text
//!  a proxy ── Passport ──> a proxy elsewhere, without a link
//!                            └─ first use: Enter, with the memory of a link, or a connection
//! ```
//!
//! A passport says who the actor is and where it is reached; it opens nothing. Who wants to enter
//! has the key already.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::chain::ActorKey;
use super::hello::{Secret, Tables};

/// The most addresses of one actor that are looked at.
pub(crate) const ADDRESSES_MAX: usize = 64;

/// The longest [`Enter`] in bytes.
pub(crate) const ENTER_LEN_MAX: usize = 1024;

/// What an actor's process says to who has entered, before it closes: that the actor has ended in
/// order,
pub(crate) const BYE: &[u8] = b"bye";
/// that too many are there already,
pub(crate) const BUSY: &[u8] = b"busy";
/// that it has no descriptors or memory for one more,
pub(crate) const NO_ROOM: &[u8] = b"no room";
/// that it was another key.
pub(crate) const LOCKED: &[u8] = b"locked";

/// Who an actor is, and where it is reached.
#[doc(hidden)]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(
    archived = ArchivedPassport,
    resolver = PassportResolver,
    attr(
        doc = "What a message says of a proxy in it. Deserialised it is a proxy of the same actor."
    )
)]
pub struct Passport {
    /// The machine on which it was started.
    pub(crate) machine: u64,
    /// Its key among all of that machine.
    pub(crate) key: u64,
    /// Its process there.
    pub(crate) pid: u32,
    /// What it offers.
    pub(crate) tables: Tables,
    /// Where it lives, if it is known.
    pub(crate) home: Option<Home>,
    /// Where others connect to it.
    pub(crate) addresses: Vec<String>,
}

impl fmt::Debug for ArchivedPassport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedPassport")
            .field("pid", &self.pid.to_native())
            .finish_non_exhaustive()
    }
}

impl Passport {
    /// Whose it is.
    pub(crate) fn actor(&self) -> ActorKey {
        ActorKey::from_bits(self.machine, self.key)
    }

    /// Whether another one may follow it when it has ended.
    pub(crate) fn returns(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.returns)
    }

    /// Takes over what a later one of the same actor knows more.
    pub(crate) fn learn(&mut self, later: Self) {
        self.pid = later.pid;
        let returned = self.returns();
        if let Some(home) = later.home {
            let returns = home.returns || returned;
            self.home = Some(Home { returns, ..home });
        }
        for address in later.addresses {
            if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }
}

/// Where an actor lives: what its neighbours need to know.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// The family that it belongs to.
    pub(crate) family: u64,
    /// Where that enters.
    pub(crate) entrance: Entrance,
    /// When it has ended, another one may follow it, at the same entrance and addresses.
    pub(crate) returns: bool,
}

/// Where the processes of a family enter.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// The gateway's name.
    pub(crate) name: [u8; 16],
    /// Which process has opened it, and whose that is.
    pub(crate) opener: (u32, u32),
    /// The program that its process runs; 0: not known.
    pub(crate) program: u64,
    /// Which keys open it: one must have one of them.
    pub(crate) locks: Vec<u64>,
}

/// What a caller says that enters. The memory of the link, its bells and a way for blobs come with
/// it.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enter {
    /// That it has the key.
    pub(crate) proof: Secret,
    /// The program that it runs; 0: not known.
    pub(crate) program: u64,
    /// The capacity of each ring in bytes.
    pub(crate) ring_capacity: u64,
    /// How many calls it keeps in flight.
    pub(crate) slots: u64,
    /// How much memory each arena takes at most; 0: there are none.
    pub(crate) arena_limit: u64,
}

#[cfg(test)]
mod tests {
    use super::super::interface::Interface;
    use super::*;

    fn passport(entrance: Option<u8>, addresses: &[&str]) -> Passport {
        Passport {
            machine: 1,
            key: 2,
            pid: 3,
            tables: Tables::of(&Interface::NONE),
            home: entrance.map(|byte| Home {
                family: byte.into(),
                entrance: Entrance {
                    name: [byte; 16],
                    opener: (3, 4),
                    program: 0,
                    locks: vec![5],
                },
                returns: false,
            }),
            addresses: addresses.iter().map(|&address| address.into()).collect(),
        }
    }

    /// What was known stays known, and what comes later counts; nothing grows without end.
    #[test]
    fn passports_learn() {
        let mut known = passport(None, &["tcp://a:1"]);
        known.learn(passport(Some(7), &["tcp://a:1", "tcp://b:1"]));
        assert_eq!(known, passport(Some(7), &["tcp://a:1", "tcp://b:1"]));
        known.learn(passport(None, &[]));
        assert_eq!(known, passport(Some(7), &["tcp://a:1", "tcp://b:1"]));
        for port in 0..2 * ADDRESSES_MAX {
            known.learn(passport(Some(8), &[&format!("tcp://c:{port}")]));
        }
        assert_eq!(known.addresses.len(), ADDRESSES_MAX);
        assert_eq!(known.home.map(|home| home.family), Some(8));
    }
}
