//! Tells code from comments and literals, as far as the rules need it. Pure.

/// The text with comments, strings and characters blanked.
pub(crate) fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let skipped = comment_len(&chars[at..]).max(literal_len(&chars[at..]));
        if skipped == 0 {
            code.push(chars[at]);
            at += 1;
        } else {
            let end = chars.len().min(at + skipped);
            code.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { c } else { ' ' }),
            );
            at = end;
        }
    }
    code
}

/// How long a comment that begins here is; 0 if none does.
fn comment_len(chars: &[char]) -> usize {
    if chars.starts_with(&['/', '/']) {
        return chars.iter().position(|&c| c == '\n').unwrap_or(chars.len());
    }
    let (mut depth, mut len) = (0, 0);
    loop {
        if chars[len..].starts_with(&['/', '*']) {
            depth += 1;
            len += 2;
        } else if depth > 0 && chars[len..].starts_with(&['*', '/']) {
            depth -= 1;
            len += 2;
        } else if depth > 0 && len < chars.len() {
            len += 1;
        }
        if depth == 0 || len == chars.len() {
            return len;
        }
    }
}

/// How long a string or character that begins here is; 0 if none does.
fn literal_len(chars: &[char]) -> usize {
    match chars {
        ['"', ..] => quoted_len(chars, '"'),
        ['r', '"' | '#', ..] => raw_len(chars),
        ['\'', '\\', ..] => quoted_len(chars, '\''),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn quoted_len(chars: &[char], quote: char) -> usize {
    let mut len = 1;
    while len < chars.len() && chars[len] != quote {
        len += if chars[len] == '\\' { 2 } else { 1 };
    }
    len + 1
}

/// A raw string; 0 for a raw identifier.
fn raw_len(chars: &[char]) -> usize {
    let hashes = chars[1..].iter().take_while(|&&c| c == '#').count();
    let open = hashes + 2;
    if chars.get(open - 1) != Some(&'"') {
        return 0;
    }
    let close: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let inside = chars[open..]
        .windows(close.len())
        .position(|window| window == close);
    inside.map_or(chars.len(), |inside| open + inside + close.len())
}

#[test]
fn comments_and_literals_are_no_code() {
    let blank = |text: &str| {
        code_of(text)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(blank("a /* b /* c */ d */ e // f\ng"), "a e g");
    assert_eq!(
        blank(r##"a "b \" c" d r#"e " f"# g r#type"##),
        "a d g r#type"
    );
    assert_eq!(
        blank(r"a 'b' '\'' 'c: loop {} '\u{41}' d"),
        "a 'c: loop {} d"
    );
    assert_eq!(blank("a \"b"), "a");
    assert_eq!(blank("a / b /* c"), "a / b");
    assert_eq!(code_of("a\n/* b\nc */\nd").lines().count(), 4);
}
