//! Durations as they are written in attributes: `"500ms"`, or an expression.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Expr, ExprLit, Lit, LitStr};

/// Units with their length in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("min", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", 24 * 3600 * SECOND),
];

const SECOND: u64 = 1_000_000_000;

/// The expression of a `Duration`: a literal is read now, any other is the compiler's to judge.
///
/// # Errors
/// The literal is none, or nothing.
pub(crate) fn duration(written: &Expr, what: &str) -> syn::Result<TokenStream> {
    let literal = match written {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => text,
        Expr::Lit(other) => {
            let text = format!("{what} has a unit: \"500ms\", \"1.5s\", \"2min\", \"1h\"");
            return Err(Error::new_spanned(other, text));
        }
        other => return Ok(quote!(#other)),
    };
    let nanoseconds = parse(literal)?;
    if nanoseconds == 0 {
        let text = format!("{what} is longer than nothing");
        return Err(Error::new_spanned(literal, text));
    }
    Ok(quote!(::core::time::Duration::from_nanos(#nanoseconds)))
}

fn parse(literal: &LitStr) -> syn::Result<u64> {
    let text = literal.value();
    let is_number = |character: char| character.is_ascii_digit() || character == '.';
    let number_len = text.find(|character| !is_number(character));
    let (number, unit) = text.split_at(number_len.unwrap_or(text.len()));
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim());
    let Some((whole, part)) = unit.and_then(|(_, length)| parts(number, *length)) else {
        let text =
            "a duration is a number and a unit (ns, us, ms, s, min, h, d): \"500ms\", \"1.5s\"";
        return Err(Error::new_spanned(literal, text));
    };
    let nanoseconds = whole
        .checked_add(part)
        .and_then(|sum| u64::try_from(sum).ok());
    let text = "this is longer than 584 years, which is as long as it gets";
    nanoseconds.ok_or_else(|| Error::new_spanned(literal, text))
}

/// The nanoseconds before and after the point of so many units of this length.
fn parts(number: &str, length: u64) -> Option<(u128, u128)> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let length = u128::from(length);
    // What is too long for a number is too long for a duration.
    let whole = whole
        .parse::<u64>()
        .map_or(u128::MAX / 2, |whole| u128::from(whole) * length);
    // No unit has more than 14 digits of nanoseconds.
    let part = &part[..part.len().min(18)];
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    Some((whole, part.parse::<u128>().ok()? * length / scale))
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;
    use syn::LitStr;

    use super::parse;

    /// Every unit, whole and broken numbers, spaces before the unit; and what is none of these.
    #[test]
    fn durations_are_numbers_and_units() {
        let parsed = |text| parse(&LitStr::new(text, Span::call_site())).ok();
        for (text, nanoseconds) in [
            ("7ns", 7),
            ("3us", 3_000),
            ("3\u{b5}s", 3_000),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            ("0.000000001s", 1),
            ("2 min", 120_000_000_000),
            ("0.5h", 1_800_000_000_000),
            ("1d", 86_400_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parsed(text), Some(nanoseconds), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "1.s",
            ".5s",
            "1.2.3s",
            "-1s",
            "1 fortnight",
            "1_0s",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        for text in ["300000d", "99999999999999999999999s"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
