//! How people write sizes and spans of time: `"64MiB"`, `"30ms"`.
//!
//! Plain numbers are taken as bytes for sizes; a span always needs its unit. Numbers are whole.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written as a number or with one of `KiB`, `MiB`, `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A span of time, written with one of `us`, `ms`, `s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// What a text with a unit should have looked like.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("expected a number of bytes such as 4096, \"64MiB\" or \"1GiB\"")]
    Size,
    #[error("expected a span of time such as \"500us\", \"30ms\" or \"1s\"")]
    Span,
}

const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for ByteSize {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<ByteSize, UnitError> {
        let unit = SIZES.iter().find(|(suffix, _)| text.ends_with(suffix));
        let (digits, factor) = match unit {
            Some((suffix, factor)) => (text[..text.len() - suffix.len()].trim_end(), *factor),
            None => (text, 1),
        };
        let number: u64 = digits.parse().map_err(|_| UnitError::Size)?;
        number.checked_mul(factor).map(ByteSize).ok_or(UnitError::Size)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZES.iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((suffix, factor)) => write!(f, "{}{suffix}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Span {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Span, UnitError> {
        // "us" and "ms" end in "s" as well, so they are looked for first.
        let units = [("us", 1), ("ms", 1000), ("s", 1_000_000)];
        let (suffix, us) = units.iter().find(|(suffix, _)| text.ends_with(suffix)).ok_or(UnitError::Span)?;
        let digits = text[..text.len() - suffix.len()].trim_end();
        let number: u64 = digits.parse().map_err(|_| UnitError::Span)?;
        let us = number.checked_mul(*us).ok_or(UnitError::Span)?;
        Ok(Span(Duration::from_micros(us)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros();
        match us {
            _ if us > 0 && us.is_multiple_of(1_000_000) => write!(f, "{}s", us / 1_000_000),
            _ if us > 0 && us.is_multiple_of(1000) => write!(f, "{}ms", us / 1000),
            _ => write!(f, "{us}us"),
        }
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes such as 4096, \"64MiB\" or \"1GiB\"")
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<ByteSize, E> {
        u64::try_from(number).map(ByteSize).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(number))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
        from.deserialize_any(SizeVisitor)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|error: UnitError| D::Error::custom(format!("{text:?}: {error}")))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_as_they_are_written() {
        for size in [0, 1, 4096, 1000, 64 << 20, 3 << 30] {
            assert_eq!(ByteSize(size).to_string().parse(), Ok(ByteSize(size)));
        }
        for us in [0, 1, 999, 1000, 25_000, 60_000_000] {
            let span = Span(Duration::from_micros(us));
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        assert_eq!("30".parse::<Span>(), Err(UnitError::Span));
        assert_eq!("-1s".parse::<Span>(), Err(UnitError::Span));
        assert_eq!("1MB".parse::<ByteSize>(), Err(UnitError::Size));
        assert_eq!("99999999999GiB".parse::<ByteSize>(), Err(UnitError::Size));
    }
}
