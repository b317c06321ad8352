//! The chunked transfer coding, undone.
//!
//! Promises: the size lines and trailer fields that are kept while incomplete are bounded; what could be read
//! in two ways (and so smuggle a request past a proxy) is refused: lines end in CRLF, and hold no control
//! bytes. Extensions and trailers are skipped.

use super::parse::Refusal;

/// Longest line of a chunk's size with its extensions, and longest trailer line.
const MAX_LINE_BYTES: usize = 1 << 10;
/// Most bytes of all trailer lines.
const MAX_TRAILER_BYTES: usize = 8 << 10;

#[derive(Debug)]
enum State {
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
    state: State,
}

impl Decoder {
    pub(super) fn new() -> Decoder {
        Decoder { state: State::Size }
    }

    /// Moves data from the front of `bytes` to `body`, which may grow to `limit`. Returns how many bytes
    /// were taken.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        body: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(usize, Step), Refusal> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.state {
                State::Data(left) => {
                    let here = left.min(rest.len() as u64) as usize;
                    body.extend_from_slice(&rest[..here]);
                    at += here;
                    let left = left - here as u64;
                    if left > 0 {
                        self.state = State::Data(left);
                        return Ok((at, Step::More));
                    }
                    self.state = State::DataEnd;
                }
                State::Size | State::DataEnd | State::Trailer(_) => {
                    let Some(end) = rest.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n') else {
                        if rest.len() >= MAX_LINE_BYTES {
                            return Err(Refusal::Malformed("a line between chunks is too long"));
                        }
                        return Ok((at, Step::More));
                    };
                    at += end + 1;
                    let line = rest[..end].strip_suffix(b"\r");
                    let line =
                        line.ok_or(Refusal::Malformed("a line between chunks does not end in CRLF"))?;
                    if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                        return Err(Refusal::Malformed("a line between chunks holds a control byte"));
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
    fn line(&self, line: &[u8], so_far: usize, limit: usize) -> Result<Option<State>, Refusal> {
        match self.state {
            State::Size => match size(line)? {
                0 => Ok(Some(State::Trailer(0))),
                length if length > limit.saturating_sub(so_far) as u64 => Err(Refusal::BodyTooLarge),
                length => Ok(Some(State::Data(length))),
            },
            State::DataEnd if line.is_empty() => Ok(Some(State::Size)),
            State::DataEnd => Err(Refusal::Malformed("a chunk is longer than it says")),
            State::Trailer(_) if line.is_empty() => Ok(None),
            State::Trailer(skipped) if skipped + line.len() <= MAX_TRAILER_BYTES => {
                Ok(Some(State::Trailer(skipped + line.len() + 1)))
            }
            State::Trailer(_) => Err(Refusal::HeadTooLarge),
            State::Data(_) => unreachable!("data has no lines"),
        }
    }
}

fn size(line: &[u8]) -> Result<u64, Refusal> {
    let bad = Refusal::Malformed("a chunk's size is no number");
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
    let text = std::str::from_utf8(digits).map_err(|_| bad)?.trim_end_matches([' ', '\t']);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad);
    }
    u64::from_str_radix(text, 16).map_err(|_| Refusal::BodyTooLarge)
}
