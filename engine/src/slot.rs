//! Which of the 16384 key slots a key belongs to, as Redis Cluster defines it.
//!
//! Promises: the same answer as every Redis Cluster client. The slot is the CRC16 (XMODEM: polynomial
//! 0x1021, start 0, not reflected) of the key, or of its hash tag, modulo [`SLOTS`]. The tag is what stands
//! between the first `{` and the first `}` after it, if that is not empty. Source: Redis Cluster
//! specification, "Keys distribution model". Does not know which shard owns a slot.

/// How many key slots there are.
pub const SLOTS: u16 = 16384;

const POLYNOMIAL: u16 = 0x1021;

/// How many bytes are taken at a time: one look-up for each, none of which waits for the one before.
const STRIDE: usize = 4;

/// What a byte does to the checksum with so many bytes behind it.
const TABLES: [[u16; 256]; STRIDE] = {
    let mut tables = [[0u16; 256]; STRIDE];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut behind = 1;
    while behind < STRIDE {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[behind - 1][byte];
            tables[behind][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
};

/// The slot of `key`: less than [`SLOTS`].
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

/// The part of `key` that alone decides its slot, if it has a tag.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|b| *b == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|b| *b == b'}')?;
    (close > 0).then(|| &rest[..close])
}

fn crc16(bytes: &[u8]) -> u16 {
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    let crc = strides.iter().fold(0u16, |crc, &[first, second, third, fourth]| {
        let [high, low] = crc.to_be_bytes();
        TABLES[3][usize::from(high ^ first)]
            ^ TABLES[2][usize::from(low ^ second)]
            ^ TABLES[1][usize::from(third)]
            ^ TABLES[0][usize::from(fourth)]
    });
    rest.iter().fold(crc, |crc, byte| (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn strides_are_as_good_as_single_bytes() {
        let bytes: Vec<u8> = (0..100u32).map(|at| (at * 151 + 7) as u8).collect();
        for len in 0..bytes.len() {
            let slowly = bytes[..len]
                .iter()
                .fold(0, |crc: u16, byte| (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)]);
            assert_eq!(crc16(&bytes[..len]), slowly, "{len} bytes");
        }
    }

    #[test]
    fn slots_that_redis_reports() {
        for (key, slot) in [("", 0), ("foo", 12182), ("bar", 5061), ("hello", 866), ("somekey", 11058)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn only_a_tag_that_is_not_empty_counts_and_only_the_first() {
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }
}
