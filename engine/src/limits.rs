//! Every bound of the engine by its name, and at compile time how the bounds relate.
//!
//! What else moves frames (messages, read buffers) derives its bounds from [`MAX_FRAME_BYTES`] and
//! [`MAX_FRAME_READ_BYTES`].

/// The unit of disk I/O: writes, reads and buffers are aligned to it. Sectors inside a block may be torn
/// apart by a crash; a sector (512 bytes) may not.
pub const BLOCK: u64 = 4096;
/// Frames start at multiples of this.
pub const FRAME_ALIGN: u64 = 8;
/// Length of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 48;
/// The longest key.
pub const MAX_KEY_BYTES: usize = u16::MAX as usize;
/// The longest value unless configured otherwise.
pub const DEFAULT_MAX_VALUE_BYTES: usize = 16 << 20;
/// The longest value that may be configured.
pub const MAX_VALUE_BYTES: usize = 64 << 20;
/// The largest frame of any shard, whatever is configured.
pub const MAX_FRAME_BYTES: u64 = max_frame_bytes(MAX_VALUE_BYTES);
/// The most bytes of whole blocks that hold one frame, wherever it begins.
pub const MAX_FRAME_READ_BYTES: u64 = block_ceil(MAX_FRAME_BYTES) + BLOCK;
/// The most operations in one batch.
pub const MAX_BATCH_OPS: usize = 1 << 16;
/// A segment file's size unless configured otherwise.
pub const DEFAULT_SEGMENT_BYTES: u64 = 256 << 20;
/// The smallest segment file (for tests).
pub const MIN_SEGMENT_BYTES: u64 = 256 << 10;
/// The largest segment file: the index has 25 bits for an offset in units of eight bytes.
pub const MAX_SEGMENT_BYTES: u64 = 256 << 20;
/// The most segments alive at once: the index has 16 bits for one.
pub const MAX_LIVE_SEGMENTS: u32 = u16::MAX as u32;
/// The most epochs that may begin inside one segment: their list lies in the footer's last block.
pub const MAX_EPOCHS_PER_SEGMENT: usize = 200;
/// The log buffer's size unless configured otherwise.
pub const DEFAULT_LOG_BUFFER_BYTES: u64 = 64 << 20;
/// The smallest log buffer (for tests).
pub const MIN_LOG_BUFFER_BYTES: u64 = 128 << 10;
/// The largest log buffer: it is mapped twice, and the kernel registers no buffer above 1 GiB.
pub const MAX_LOG_BUFFER_BYTES: u64 = 512 << 20;
/// The most bytes of one log write. A larger gathering becomes several writes.
pub const MAX_WRITE_BYTES: u64 = 1 << 20;
/// The most log writes in flight.
pub const MAX_WRITES_IN_FLIGHT: usize = 4;
/// The most writes that are waited for: those of the log, and the header of a segment that the log goes on in.
pub const MAX_TRACKED_WRITES: usize = MAX_WRITES_IN_FLIGHT + 1;
/// All that may be half written when the machine dies lies within this distance of the durable mark.
pub const MAX_BYTES_IN_FLIGHT: u64 = MAX_WRITE_BYTES * MAX_WRITES_IN_FLIGHT as u64;
/// From this size on, a leader pads a write to a block so that the next write need not wait for it.
pub const PAD_THRESHOLD: u64 = 64 << 10;
/// A footer is written in pieces of at most this size, one at a time, so that it never delays the log much.
pub const FOOTER_PIECE_BYTES: u64 = 256 << 10;
/// What a segment must hold besides one largest frame: header, seal, footer, with room to spare.
pub const DATA_AND_SEAL_BYTES: u64 = 8 * BLOCK;
/// The most shards in one data directory.
pub const MAX_SHARDS: u16 = 64;
/// The value cache's budget unless configured otherwise.
pub const DEFAULT_CACHE_BYTES: usize = 64 << 20;

const _: () = {
    // Units.
    assert!(BLOCK.is_power_of_two() && BLOCK.is_multiple_of(FRAME_ALIGN));
    assert!((FRAME_HEADER_BYTES as u64).is_multiple_of(FRAME_ALIGN));
    assert!(MAX_WRITE_BYTES.is_multiple_of(BLOCK) && FOOTER_PIECE_BYTES.is_multiple_of(BLOCK));
    // A frame's header has 32 bits for its length and its value's, 16 for its key's.
    assert!(MAX_FRAME_BYTES <= u32::MAX as u64 && MAX_KEY_BYTES <= u16::MAX as usize);
    assert!(DEFAULT_MAX_VALUE_BYTES <= MAX_VALUE_BYTES);
    // Pads and seals fit whatever the value limit.
    assert!(max_frame_bytes(0) >= 2 * BLOCK);
    // The index has 25 bits for an offset in units of eight bytes and 16 for a segment; 0 is no place.
    assert!(MAX_SEGMENT_BYTES / FRAME_ALIGN <= 1 << 25 && MAX_LIVE_SEGMENTS < 1 << 16);
    assert!(MIN_SEGMENT_BYTES.is_multiple_of(BLOCK) && MAX_SEGMENT_BYTES.is_multiple_of(BLOCK));
    assert!(MIN_SEGMENT_BYTES <= DEFAULT_SEGMENT_BYTES && DEFAULT_SEGMENT_BYTES <= MAX_SEGMENT_BYTES);
    // The largest frame has a segment that takes it, and so have the defaults and the smallest.
    assert!(least_segment_bytes(MAX_VALUE_BYTES) <= MAX_SEGMENT_BYTES);
    assert!(least_segment_bytes(DEFAULT_MAX_VALUE_BYTES) <= DEFAULT_SEGMENT_BYTES);
    assert!(least_segment_bytes(1) <= MIN_SEGMENT_BYTES);
    assert!(least_log_buffer_bytes(DEFAULT_MAX_VALUE_BYTES) <= DEFAULT_LOG_BUFFER_BYTES);
    assert!(least_log_buffer_bytes(MAX_VALUE_BYTES) <= MAX_LOG_BUFFER_BYTES);
    assert!(
        MIN_LOG_BUFFER_BYTES <= DEFAULT_LOG_BUFFER_BYTES && DEFAULT_LOG_BUFFER_BYTES <= MAX_LOG_BUFFER_BYTES
    );
    assert!(MAX_BYTES_IN_FLIGHT <= DEFAULT_LOG_BUFFER_BYTES);
    // A gathering that is worth a pad is worth less than a write, and a read length fits its 32 bits.
    assert!(PAD_THRESHOLD >= BLOCK && PAD_THRESHOLD <= MAX_WRITE_BYTES);
    assert!(MAX_FRAME_READ_BYTES <= MAX_SEGMENT_BYTES && MAX_SEGMENT_BYTES <= u32::MAX as u64);
};

/// The largest frame that a shard with this value limit accepts or sends: one operation with the longest key
/// and value, or a batch of the same size.
pub const fn max_frame_bytes(max_value_bytes: usize) -> u64 {
    (2 * FRAME_HEADER_BYTES + MAX_KEY_BYTES + max_value_bytes) as u64 / FRAME_ALIGN * FRAME_ALIGN
        + FRAME_ALIGN
}

/// The smallest segment file for this value limit.
pub const fn least_segment_bytes(max_value_bytes: usize) -> u64 {
    max_frame_bytes(max_value_bytes) + DATA_AND_SEAL_BYTES
}

/// The smallest log buffer for this value limit: one frame is on its way to the disk while the next is taken.
pub const fn least_log_buffer_bytes(max_value_bytes: usize) -> u64 {
    2 * max_frame_bytes(max_value_bytes) + 2 * BLOCK
}

/// `at` rounded down to a block.
pub const fn block_floor(at: u64) -> u64 {
    at / BLOCK * BLOCK
}

/// `at` rounded up to a block.
pub const fn block_ceil(at: u64) -> u64 {
    at.div_ceil(BLOCK) * BLOCK
}
