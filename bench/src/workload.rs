//! Values that say what they are: for which key, by which writer, the how manieth, with a checksum.
//!
//! A value read back can so be judged without any memory of it: a value for another key, a torn one or one
//! that nobody wrote is recognised as such. Values are printable, so that they can be looked at with
//! `redis-cli`. Nothing here knows which value *should* be there; that is [`crate::oracle`].

use thiserror::Error;

/// Who wrote a value, and the how manieth of that writer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Number of the writer; unique within a run.
    pub writer: u32,
    /// Counts the writes of that writer, from 1.
    pub sequence: u64,
}

/// Why bytes are not a value of ours for the key they were found under.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// The bytes do not have the shape of a value of ours.
    #[error("not a value of this workload ({0} bytes)")]
    Foreign(usize),
    /// The shape is right, the contents are not: torn, mixed or damaged.
    #[error("checksum says {stated:08x}, contents say {actual:08x}")]
    Checksum {
        /// What the value says of itself.
        stated: u32,
        /// What its contents amount to.
        actual: u32,
    },
    /// A sound value, but written for another key.
    #[error("a value of key {0:?}")]
    OtherKey(String),
}

/// First bytes of each value.
const MAGIC: &str = "baton";

/// Hexadecimal digits of the checksum that ends a value.
const CHECKSUM_DIGITS: usize = 8;

/// Writes the value of `stamp` for `key` into `out` (cleared first), padded to `bytes` if it is shorter.
/// The key must not contain a space; generated keys never do.
pub fn value(key: &str, stamp: Stamp, bytes: usize, out: &mut Vec<u8>) {
    debug_assert!(!key.contains(' '), "key {key:?} contains a space");
    out.clear();
    out.extend_from_slice(format!("{MAGIC} {key} {} {} ", stamp.writer, stamp.sequence).as_bytes());
    // The padding differs from value to value, so that a mix of two of equal length cannot pass for either.
    let mut at = stamp.sequence.wrapping_mul(31).wrapping_add(u64::from(stamp.writer));
    while out.len() + 1 + CHECKSUM_DIGITS < bytes {
        out.push(b'a' + (at % 26) as u8);
        at = at.wrapping_add(1);
    }
    out.push(b' ');
    let checksum = crc32fast::hash(out);
    out.extend_from_slice(format!("{checksum:08x}").as_bytes());
}

/// The stamp of a value found under `key`.
pub fn stamp_of(key: &str, value: &[u8]) -> Result<Stamp, ValueError> {
    let foreign = || ValueError::Foreign(value.len());
    let text = std::str::from_utf8(value).map_err(|_| foreign())?;
    if !text.starts_with(MAGIC) || !text.is_ascii() || text.len() < CHECKSUM_DIGITS {
        return Err(foreign());
    }
    let (body, checksum) = text.split_at(text.len() - CHECKSUM_DIGITS);
    let stated = u32::from_str_radix(checksum, 16).map_err(|_| foreign())?;
    let actual = crc32fast::hash(body.as_bytes());
    if stated != actual {
        return Err(ValueError::Checksum { stated, actual });
    }
    let mut words = body.split(' ').skip(1);
    let found = words.next().ok_or_else(foreign)?;
    let writer = words.next().and_then(|w| w.parse().ok()).ok_or_else(foreign)?;
    let sequence = words.next().and_then(|w| w.parse().ok()).ok_or_else(foreign)?;
    if found != key {
        return Err(ValueError::OtherKey(found.to_owned()));
    }
    Ok(Stamp { writer, sequence })
}

/// The name of key number `number` of the key space `space`; the keys spread over all slots.
pub fn key(space: &str, number: u64) -> String {
    format!("{space}:{number:08}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { writer: 3, sequence: 41 };

    fn sample(bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        value("k:1", STAMP, bytes, &mut out);
        out
    }

    #[test]
    fn values_come_back_at_any_size() {
        for bytes in [0, 10, 40, 100, 4096, 70_000] {
            let value = sample(bytes);
            assert_eq!(stamp_of("k:1", &value), Ok(STAMP));
            assert!(value.len() >= bytes, "{bytes} asked, {} written", value.len());
        }
        assert_eq!(sample(100).len(), 100);
    }

    #[test]
    fn a_flipped_byte_is_seen() {
        let good = sample(64);
        for at in MAGIC.len()..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(stamp_of("k:1", &bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_mix_of_two_values_is_seen() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        value("k:1", STAMP, 2000, &mut a);
        value("k:1", Stamp { sequence: 42, ..STAMP }, 2000, &mut b);
        a[1000..].copy_from_slice(&b[1000..]);
        assert!(matches!(stamp_of("k:1", &a), Err(ValueError::Checksum { .. })));
    }

    #[test]
    fn foreign_values_and_other_keys_are_named() {
        assert_eq!(stamp_of("k:1", b"hello"), Err(ValueError::Foreign(5)));
        assert_eq!(stamp_of("k:1", &[0xff; 20]), Err(ValueError::Foreign(20)));
        assert_eq!(stamp_of("k:2", &sample(64)), Err(ValueError::OtherKey("k:1".to_owned())));
    }
}
