//! `CONFIG GET`: what Redis clients and tools ask about, answered with what is true here.
//!
//! Does not change anything: the node's configuration is its file and its command line.

use super::{Call, CommandOutcome, Ran};
use crate::resp::parse::MAX_ANNOUNCED_BULK;

/// Whether `text` matches a glob of `*`, `?`, `[a-z]`, `[^a]` and `\x`, ignoring case, as Redis matches.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    match first {
        b'*' => {
            let rest = &pattern[pattern.iter().take_while(|b| **b == b'*').count()..];
            (0..=text.len()).any(|skipped| glob(rest, &text[skipped..]))
        }
        b'?' => !text.is_empty() && glob(rest, &text[1..]),
        b'[' => {
            let Some((byte, text)) = text.split_first() else { return false };
            let (matched, rest) = class(rest, *byte);
            matched && glob(rest, text)
        }
        literal => {
            let (literal, rest) = match (literal, rest) {
                (b'\\', [escaped, rest @ ..]) => (escaped, rest),
                _ => (literal, rest),
            };
            text.split_first()
                .is_some_and(|(byte, text)| byte.eq_ignore_ascii_case(literal) && glob(rest, text))
        }
    }
}

/// Whether `byte` is in the class that `pattern` starts within, and the pattern after it.
fn class(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let byte = byte.to_ascii_lowercase();
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut matched = false;
    loop {
        let (low, high);
        (low, high, rest) = match rest {
            [] | [b']', ..] => break,
            [b'\\', one, rest @ ..] => (one, one, rest),
            [low, b'-', high, rest @ ..] => (low, high, rest),
            [one, rest @ ..] => (one, one, rest),
        };
        let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
        matched |= (low.min(high)..=low.max(high)).contains(&byte);
    }
    (matched != negated, rest.get(1..).unwrap_or(b""))
}

/// Longest pattern looked at: a glob's work grows fast with its stars.
const MAX_PATTERN: usize = 64;

pub fn get(c: &mut Call<'_>) -> Ran {
    let ctx = c.ctx;
    let parameters = [
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("bind", "".to_owned()),
        ("cluster-enabled", "yes".to_owned()),
        ("databases", "1".to_owned()),
        ("io-threads", "1".to_owned()),
        ("maxclients", ctx.stats.max_clients.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("port", ctx.port.to_string()),
        ("proto-max-bulk-len", (ctx.limits.max_value_bytes as i64).min(MAX_ANNOUNCED_BULK).to_string()),
        ("save", "".to_owned()),
        ("timeout", "0".to_owned()),
    ];
    let patterns = || c.request.args_from(2).filter(|pattern| pattern.len() <= MAX_PATTERN);
    let asked_for = |name: &str| patterns().any(|pattern| glob(pattern, name.as_bytes()));
    let shown: Vec<_> = parameters.iter().filter(|(name, _)| asked_for(name)).collect();
    c.reply.map(shown.len());
    for (name, value) in shown {
        c.reply.bulk(name.as_bytes());
        c.reply.bulk(value.as_bytes());
    }
    Ok(CommandOutcome::Done)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs_match_as_in_redis() {
        let cases = [
            ("*", "save", true),
            ("", "save", false),
            ("sa*", "save", true),
            ("*e", "save", true),
            ("s?ve", "save", true),
            ("s?ve", "sve", false),
            ("S[a-c]VE", "save", true),
            ("s[^a]ve", "save", false),
            ("s\\*", "save", false),
            ("s\\*", "s*", true),
            ("**a**", "maxa", true),
            ("[", "[", false),
        ];
        for (pattern, text, matches) in cases {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), matches, "{pattern} {text}");
        }
    }
}
