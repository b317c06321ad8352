//! Key slots: which of the 16384 slots of a cluster a key belongs to.

/// The number of slots.
pub const SLOTS: usize = 16384;

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

static TABLE: [u16; 256] = table();

/// The key's slot: CRC-16/XMODEM of the key, or of the part between its first `{` and the next `}` if that
/// part is not empty, modulo 16384.
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&len| len > 0).map(|len| &rest[..len])
    });
    let crc = tag
        .unwrap_or(key)
        .iter()
        .fold(0u16, |crc, &byte| (crc << 8) ^ TABLE[((crc >> 8) as u8 ^ byte) as usize]);
    crc % SLOTS as u16
}
