//! Who of several gets the next call. Pure.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};

/// How a pool chooses the member for a call.
///
/// # Examples
/// ```
/// use callboard::pool::Routing;
///
/// assert_eq!(Routing::default(), Routing::LeastInFlight);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Routing {
    /// One after the other.
    RoundRobin,
    /// The one that owes this process the fewest answers; among equals, one after the other. The
    /// default: who is busy with a long call gets no further ones while others are free.
    #[default]
    LeastInFlight,
    /// The better of two that are picked at random: nearly as even as the least of all, at a cost
    /// that does not grow with the pool (Mitzenmacher, "The Power of Two Choices in Randomized Load
    /// Balancing", 2001).
    RandomOfTwo,
}

impl Routing {
    /// The place of the one that gets call number `turn`, of `count`. `load` tells how much one has
    /// to do; none: it takes nothing. None: nobody does.
    pub(super) fn pick(
        self,
        turn: u64,
        count: usize,
        load: impl Fn(usize) -> Option<usize>,
    ) -> Option<usize> {
        let place = |number: u64| usize::try_from(number % count.max(1) as u64).unwrap_or(0);
        let from = place(turn);
        let round = || (from..count).chain(0..from);
        match self {
            Self::RoundRobin => round().find(|at| load(*at).is_some()),
            Self::LeastInFlight => least(round(), load),
            Self::RandomOfTwo => {
                let random = mixed(turn);
                let first = place(random);
                // One of the others.
                let step =
                    1 + usize::try_from((random >> 32) % (count.max(2) as u64 - 1)).unwrap_or(0);
                let two = [first, (first + step) % count.max(1)];
                least(two.into_iter().take(count), &load).or_else(|| least(round(), &load))
            }
        }
    }
}

/// The one with the least to do, the first among equals. Who has nothing to do is not compared
/// with those behind it.
fn least(
    places: impl Iterator<Item = usize>,
    load: impl Fn(usize) -> Option<usize>,
) -> Option<usize> {
    let mut best = None;
    for at in places {
        match (load(at), best) {
            (Some(0), _) => return Some(at),
            (Some(load), None) => best = Some((load, at)),
            (Some(load), Some((least, _))) if load < least => best = Some((load, at)),
            _ => {}
        }
    }
    best.map(|(_, at)| at)
}

/// The place of `key` among `count`: the same as long as nothing changes. When one place comes or
/// goes, no keys move but those of that place (rendezvous hashing: Thaler and Ravishankar, 1998).
pub(super) fn place_of(
    key: &impl Hash,
    count: usize,
    is_there: impl Fn(usize) -> bool,
) -> Option<usize> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let weight = |at: &usize| hasher.hash_one((key, at));
    (0..count).filter(|at| is_there(*at)).max_by_key(weight)
}

/// A number of which each bit depends on all of `number` (splitmix64: Steele, Lea and Flood, 2014).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Routing; 3] = [
        Routing::RoundRobin,
        Routing::LeastInFlight,
        Routing::RandomOfTwo,
    ];

    proptest! {
        /// Whatever the loads, a call goes to somebody who takes one, if there is anybody.
        #[test]
        fn calls_go_to_who_takes_them(
            loads in prop::collection::vec(prop::option::of(0..5_usize), 0..9),
            turn: u64,
        ) {
            for routing in ALL {
                let picked = routing.pick(turn, loads.len(), |at| loads[at]);
                prop_assert_eq!(picked.is_some(), loads.iter().any(Option::is_some));
                prop_assert!(picked.is_none_or(|at| loads[at].is_some()));
                if routing == Routing::LeastInFlight {
                    prop_assert_eq!(
                        picked.and_then(|at| loads[at]),
                        loads.iter().flatten().min().copied()
                    );
                }
            }
        }

        /// A key stays where it is when others go, and finds another place when its own does.
        #[test]
        fn keys_stay(key: u64, count in 2..20_usize, gone in 0..20_usize) {
            let gone = gone % count;
            let before = place_of(&key, count, |_| true).unwrap();
            let after = place_of(&key, count, |at| at != gone).unwrap();
            prop_assert!(after != gone);
            prop_assert!(before == gone || after == before);
            let grown = place_of(&key, count + 1, |_| true).unwrap();
            prop_assert!(grown == before || grown == count);
        }
    }

    /// With nothing to do, calls go round; whichever way, all get about the same.
    #[test]
    fn calls_are_spread() {
        for routing in ALL {
            let mut counts = [0; 4];
            for turn in 0..4000 {
                counts[routing.pick(turn, 4, |_| Some(1)).unwrap()] += 1;
            }
            assert!(
                counts.iter().all(|count| (900..1100).contains(count)),
                "{routing:?}: {counts:?}"
            );
        }
        let mut counts = [0; 4];
        for key in 0..4000_u64 {
            counts[place_of(&key, 4, |_| true).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }

    /// Of two, the less busy gets the call, and one that is busier than all others gets none.
    #[test]
    fn of_two_the_better() {
        let loads = [9, 1, 1, 1];
        let picked = |turn| {
            Routing::RandomOfTwo
                .pick(turn, 4, |at| Some(loads[at]))
                .unwrap()
        };
        assert!((0..1000).map(picked).all(|at| at != 0));
    }
}
