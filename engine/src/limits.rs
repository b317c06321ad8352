//! Every bound of the engine by its name, and at compile time how the bounds relate.
//!
//! What else moves frames (messages, read buffers) derives its bounds from [`MAX_BODY_BYTES`], [`MAX_FRAME_BYTES`]
//! and [`MAX_FRAME_READ_BYTES`]; what checks a configuration asks [`check_sizes`].

use thiserror::Error;

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
/// The longest body of a message between nodes. Whatever a node stores must fit into one: as a frame that is
/// replicated, or as the blocks around it that mend another's disk.
pub const MAX_BODY_BYTES: usize = 32 << 20;
/// The longest value that may be configured: with the longest key and the blocks around it, a body.
pub const MAX_VALUE_BYTES: usize = MAX_BODY_BYTES - (128 << 10);
/// The largest frame of any shard, whatever is configured.
pub const MAX_FRAME_BYTES: u64 = max_frame_bytes(MAX_VALUE_BYTES);
/// The most bytes of whole blocks that hold one frame, wherever it begins.
pub const MAX_FRAME_READ_BYTES: u64 = block_ceil(MAX_FRAME_BYTES) + BLOCK;
/// Values up to this length are read at once, and copied at once.
pub const LARGE_VALUE_BYTES: usize = 64 << 10;
/// A larger value is read, copied and sent in pieces of this length.
pub const READ_PIECE_BYTES: usize = 256 << 10;
/// What of a follower's received bytes is checked at once, and what of a leader's large value is appended at once.
pub const SLICE_BYTES: usize = 256 << 10;
/// Operations that are applied to the index in one turn. A part of a millisecond of a slow core.
pub const APPLY_STEPS: usize = 1024;
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
/// The most memory for lists of segments that an opening found sealed, committed and without a footer. Those that do
/// not fit get their footer at a later opening.
pub const OWED_FOOTER_BYTES: usize = 64 << 20;
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
    assert!((READ_PIECE_BYTES as u64).is_multiple_of(BLOCK) && LARGE_VALUE_BYTES <= READ_PIECE_BYTES);
    assert!(MAX_WRITE_BYTES.is_multiple_of(BLOCK) && FOOTER_PIECE_BYTES.is_multiple_of(BLOCK));
    // A frame's header has 32 bits for its length and its value's, 16 for its key's.
    assert!(MAX_FRAME_BYTES <= u32::MAX as u64 && MAX_KEY_BYTES <= u16::MAX as usize);
    assert!(DEFAULT_MAX_VALUE_BYTES <= MAX_VALUE_BYTES);
    // What may be stored may be sent: as a frame, or with the blocks around it.
    assert!(MAX_FRAME_READ_BYTES + BLOCK <= MAX_BODY_BYTES as u64);
    // And may be received: a follower takes at most half its log buffer at once.
    assert!(MAX_FRAME_BYTES <= least_log_buffer_bytes(MAX_VALUE_BYTES) / 2);
    assert!(MAX_BODY_BYTES as u64 <= MAX_LOG_BUFFER_BYTES / 2);
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

/// Why sizes do not fit together. Each names the bound that it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    #[error(
        "a value limit of {found} bytes is not from 1 to {MAX_VALUE_BYTES}: a value, its key and the blocks around it \
         travel in one message of {MAX_BODY_BYTES} bytes"
    )]
    Value { found: u64 },
    #[error(
        "a segment of {found} bytes is not from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES} bytes, in whole blocks of {BLOCK}"
    )]
    Segment { found: u64 },
    #[error(
        "a segment of {found} bytes is too small for values of {value} bytes: at least {least} are needed"
    )]
    SegmentForValue { found: u64, value: u64, least: u64 },
    #[error(
        "a log buffer of {found} bytes is not from {least}, for values of {value} bytes, to {MAX_LOG_BUFFER_BYTES}"
    )]
    LogBuffer { found: u64, value: u64, least: u64 },
}

/// Can values of up to `max_value_bytes` be stored in segments of `segment_bytes`, replicated, and received into
/// a log buffer of `log_buffer_bytes`? Everything that sets up shards, and the check of a configuration, asks
/// this.
///
/// # Errors
/// The first size that does not fit.
pub fn check_sizes(max_value_bytes: u64, segment_bytes: u64, log_buffer_bytes: u64) -> Result<(), SizeError> {
    let value = max_value_bytes;
    if value == 0 || value > MAX_VALUE_BYTES as u64 {
        return Err(SizeError::Value { found: value });
    }
    let in_bounds = (MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&segment_bytes);
    if !in_bounds || !segment_bytes.is_multiple_of(BLOCK) {
        return Err(SizeError::Segment { found: segment_bytes });
    }
    let least = least_segment_bytes(value as usize);
    if segment_bytes < least {
        return Err(SizeError::SegmentForValue { found: segment_bytes, value, least });
    }
    let least = least_log_buffer_bytes(value as usize);
    if !(least..=MAX_LOG_BUFFER_BYTES).contains(&log_buffer_bytes) {
        return Err(SizeError::LogBuffer { found: log_buffer_bytes, value, least });
    }
    Ok(())
}

/// `at` rounded down to a block.
pub const fn block_floor(at: u64) -> u64 {
    at / BLOCK * BLOCK
}

/// `at` rounded up to a block.
pub const fn block_ceil(at: u64) -> u64 {
    at.div_ceil(BLOCK) * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_replicated_is_refused_by_name() {
        let (most, segment) = (MAX_VALUE_BYTES as u64, MAX_SEGMENT_BYTES);
        let buffer = least_log_buffer_bytes(MAX_VALUE_BYTES);
        assert_eq!(check_sizes(most, segment, buffer), Ok(()));
        let error = check_sizes(most + 1, segment, MAX_LOG_BUFFER_BYTES).unwrap_err();
        assert_eq!(error, SizeError::Value { found: most + 1 });
        assert!(error.to_string().contains(&MAX_BODY_BYTES.to_string()), "{error}");
        assert_eq!(check_sizes(0, segment, buffer), Err(SizeError::Value { found: 0 }));
        assert_eq!(check_sizes(1, segment + 8, buffer), Err(SizeError::Segment { found: segment + 8 }));
        let least = least_segment_bytes(1 << 20);
        let small = SizeError::SegmentForValue { found: 1 << 20, value: 1 << 20, least };
        assert_eq!(check_sizes(1 << 20, 1 << 20, buffer), Err(small));
        let small = SizeError::LogBuffer { found: buffer - 1, value: most, least: buffer };
        assert_eq!(check_sizes(most, segment, buffer - 1), Err(small));
    }
}
