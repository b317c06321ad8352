//! The chunked transfer coding, undone.
//!
//! Promises: the size lines and trailer fields that are kept while incomplete are bounded; what could be read
//! in two ways (and so smuggle a request past a proxy) is refused: lines end in CRLF, and hold no control
//! bytes. Extensions and trailers are skipped.

use super::refusal::{MAX_HEAD_BYTES, RequestRefusal};

/// Longest line of a chunk's size with its extensions, and longest trailer line.
const MAX_LINE_BYTES: usize = 1 << 10;
/// Most bytes of all trailer lines.
const MAX_TRAILER_BYTES: usize = 8 << 10;

// All trailer lines together may be longer than one line, and are bounded like the rest of a head.
const _: () = assert!(MAX_LINE_BYTES <= MAX_TRAILER_BYTES && MAX_TRAILER_BYTES <= MAX_HEAD_BYTES);

#[derive(Debug)]
enum ChunkState {
    /// The next line says how long the next chunk is.
    Size,
    /// This many bytes of the chunk are to come.
    Data(u64),
    /// The line end after a chunk's data.
    DataEnd,
    /// Trailer lines; this many bytes of them were skipped.
    Trailer(usize),
}

/// What became of the bytes.
pub(super) enum Step {
    More,
    /// The body is whole.
    Done,
}

/// Where a body stands.
#[derive(Debug)]
pub(super) struct Decoder {
    state: ChunkState,
}

impl Decoder {
    pub(super) fn new() -> Decoder {
        Decoder { state: ChunkState::Size }
    }

    /// Moves data from the front of `bytes` to `body`, which may grow to `limit`. Returns how many bytes
    /// were taken.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        body: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(usize, Step), RequestRefusal> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.state {
                ChunkState::Data(left) => {
                    assert!(left > 0, "a chunk without data is the last");
                    assert!(body.len() as u64 + left <= limit as u64, "a chunk beyond the body's bound");
                    let here = left.min(rest.len() as u64) as usize;
                    body.extend_from_slice(&rest[..here]);
                    at += here;
                    let left = left - here as u64;
                    if left > 0 {
                        self.state = ChunkState::Data(left);
                        return Ok((at, Step::More));
                    }
                    self.state = ChunkState::DataEnd;
                }
                ChunkState::Size | ChunkState::DataEnd | ChunkState::Trailer(_) => {
                    let Some(end) = rest.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n') else {
                        if rest.len() >= MAX_LINE_BYTES {
                            return Err(RequestRefusal::Malformed("a line between chunks is too long"));
                        }
                        return Ok((at, Step::More));
                    };
                    at += end + 1;
                    let line = rest[..end].strip_suffix(b"\r");
                    let line =
                        line.ok_or(RequestRefusal::Malformed("a line between chunks does not end in CRLF"))?;
                    if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                        return Err(RequestRefusal::Malformed("a line between chunks holds a control byte"));
                    }
                    match self.line(line, body.len(), limit)? {
                        Some(next) => self.state = next,
                        None => return Ok((at, Step::Done)),
                    }
                }
            }
        }
    }

    /// What follows a line; `None`: the body has ended.
    fn line(&self, line: &[u8], so_far: usize, limit: usize) -> Result<Option<ChunkState>, RequestRefusal> {
        match self.state {
            ChunkState::Size => match size(line)? {
                0 => Ok(Some(ChunkState::Trailer(0))),
                length if length > limit.saturating_sub(so_far) as u64 => Err(RequestRefusal::BodyTooLarge),
                length => Ok(Some(ChunkState::Data(length))),
            },
            ChunkState::DataEnd if line.is_empty() => Ok(Some(ChunkState::Size)),
            ChunkState::DataEnd => Err(RequestRefusal::Malformed("a chunk is longer than it says")),
            ChunkState::Trailer(_) if line.is_empty() => Ok(None),
            ChunkState::Trailer(skipped) if skipped + line.len() <= MAX_TRAILER_BYTES => {
                Ok(Some(ChunkState::Trailer(skipped + line.len() + 1)))
            }
            ChunkState::Trailer(_) => Err(RequestRefusal::HeadTooLarge),
            ChunkState::Data(_) => unreachable!("data has no lines"),
        }
    }
}

fn size(line: &[u8]) -> Result<u64, RequestRefusal> {
    let bad = RequestRefusal::Malformed("a chunk's size is no number");
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
    let text = std::str::from_utf8(digits).map_err(|_| bad)?.trim_end_matches([' ', '\t']);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad);
    }
    u64::from_str_radix(text, 16).map_err(|_| RequestRefusal::BodyTooLarge)
}
