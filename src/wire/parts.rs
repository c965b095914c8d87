//! The methods of an actor's parts, as the actor has them: by the names of both. Pure.
//!
//! ```text
//!  Playback           play, seek
//!  Player.playback    playback.play, playback.seek
//! ```
//!
//! All of it happens in constants: tables of methods are there before the program runs.

use super::interface::Method;

/// How long the names of all `methods` together are as those of the part called `part`.
#[doc(hidden)]
#[must_use]
pub const fn names_len(part: &str, methods: &[Method]) -> usize {
    let mut len = 0;
    let mut at = 0;
    while at < methods.len() {
        len += name_len(part, &methods[at]);
        at += 1;
    }
    len
}

/// A method that `#[cfg]` leaves out has no name.
const fn name_len(part: &str, method: &Method) -> usize {
    match method.name.len() {
        0 => 0,
        len => part.len() + 1 + len,
    }
}

/// Those names, one behind the other.
#[doc(hidden)]
#[must_use]
pub const fn names<const LEN: usize>(part: &str, methods: &[Method]) -> [u8; LEN] {
    let mut names = [0; LEN];
    let mut len = 0;
    let mut at = 0;
    while at < methods.len() {
        let name = methods[at].name;
        if !name.is_empty() {
            len = write(&mut names, len, part);
            len = write(&mut names, len, ".");
            len = write(&mut names, len, name);
        }
        at += 1;
    }
    names
}

const fn write(into: &mut [u8], start: usize, text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        into[start + at] = bytes[at];
        at += 1;
    }
    start + at
}

/// `methods` by those names.
///
/// # Panics
/// If `names` are those of others; in a constant, so it does not compile.
#[doc(hidden)]
#[must_use]
pub const fn within<const COUNT: usize>(
    part: &str,
    methods: &[Method],
    mut names: &'static [u8],
) -> [Method; COUNT] {
    let mut all = [Method::new("", 0); COUNT];
    let mut at = 0;
    while at < methods.len() {
        let (name, rest) = names.split_at(name_len(part, &methods[at]));
        let Ok(name) = std::str::from_utf8(name) else {
            panic!("names are made of whole names");
        };
        all[at] = Method {
            name,
            ..methods[at]
        };
        names = rest;
        at += 1;
    }
    all
}

/// Own methods, and behind them those of parts.
///
/// # Panics
/// If `COUNT` is not the number of all; in a constant, so it does not compile.
#[doc(hidden)]
#[must_use]
pub const fn joined<const COUNT: usize>(own: &[Method], parts: &[&[Method]]) -> [Method; COUNT] {
    let mut all = [Method::new("", 0); COUNT];
    let mut count = copy(&mut all, 0, own);
    let mut at = 0;
    while at < parts.len() {
        count = copy(&mut all, count, parts[at]);
        at += 1;
    }
    assert!(count == COUNT, "there are as many as there is room for");
    all
}

const fn copy(into: &mut [Method], start: usize, methods: &[Method]) -> usize {
    let mut at = 0;
    while at < methods.len() {
        into[start + at] = methods[at];
        at += 1;
    }
    start + at
}

/// The place of method `number` in a table of `count` methods whose first has the number `first`.
#[doc(hidden)]
#[inline]
#[must_use]
pub const fn place_in(number: u16, first: u16, count: usize) -> Option<u16> {
    match number.checked_sub(first) {
        Some(place) if (place as usize) < count => Some(place),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &[Method] = &[
        Method::new("play", 1).exclusive(),
        Method::new("", 2),
        Method::new("seek", 3),
    ];

    /// A part's methods are its own but for the name, and one without a name has none there.
    #[test]
    fn parts_lend_their_name() {
        const NAMES: &[u8] = &names::<{ names_len("deck", OWN) }>("deck", OWN);
        const WITHIN: &[Method] = &within::<3>("deck", OWN, NAMES);
        let all: Vec<_> = WITHIN.iter().map(|method| method.name).collect();
        assert_eq!(all, ["deck.play", "", "deck.seek"]);
        for (own, within) in OWN.iter().zip(WITHIN) {
            let renamed = Method {
                name: own.name,
                ..*within
            };
            assert_eq!(renamed, *own);
        }
        let both: [Method; 5] = joined(&OWN[..2], &[WITHIN, &[]]);
        assert_eq!(both[1..3], [OWN[1], WITHIN[0]]);
    }

    /// Numbers that are not of a table have no place in it.
    #[test]
    fn places_are_within_their_table() {
        let places = [2, 3, 5, 6].map(|number| place_in(number, 3, 3));
        assert_eq!(places, [None, Some(0), Some(2), None]);
    }
}
