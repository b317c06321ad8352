//! From bytes to requests: RESP arrays of bulk strings, and inline commands.
//!
//! Promises: arguments are slices of the caller's buffer (only inline commands with quotes are copied); the
//! work is linear in the bytes that arrive, however they are cut up, because [`ParseState`] remembers what
//! was seen; a request that is merely too large is skipped and answered with an error while the connection
//! lives on; what breaks the protocol gets Redis's error and is fatal. Does not know any command.
//!
//! Driving it: keep unconsumed bytes at the front of one buffer; call [`parse`] until it says
//! [`Parsed::Incomplete`], dropping `consumed` bytes from the front after each call. The buffer may move
//! and grow between calls: the state holds offsets, never pointers.

use crate::resp::arguments::{Arguments, SHORT_ARGS};
use crate::resp::long::LongRequest;
use crate::resp::number::parse_i64;
use crate::resp::request::Request;
use crate::store::WriteError;

/// What one request may be. All in bytes, but for `max_args`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest single argument; larger ones are skipped and answered with an error.
    pub max_value_bytes: usize,
    /// Largest key. Checked by the store; kept here so that all limits have one home.
    pub max_key_bytes: usize,
    /// Most arguments of a request, the command's name included; more is fatal, as in Redis.
    pub max_args: usize,
    /// Longest inline command and longest header line; longer is fatal, as in Redis.
    pub max_inline_bytes: usize,
    /// Largest request in all; larger ones are skipped and answered with an error.
    pub max_request_bytes: usize,
    /// Whether it comes from one who has yet to say who it is: a request then has at most
    /// [`MAX_STRANGER_ARGS`] arguments of [`MAX_STRANGER_BULK`] bytes; more is fatal, as in Redis.
    pub stranger: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_value_bytes: 16 << 20,
            max_key_bytes: 64 << 10,
            max_args: 1 << 20,
            max_inline_bytes: 64 << 10,
            max_request_bytes: 64 << 20,
            stranger: false,
        }
    }
}

/// A bulk string announced as longer than this is taken for a broken stream (Redis: `proto-max-bulk-len`).
pub const MAX_ANNOUNCED_BULK: i64 = 512 << 20;

/// Most arguments of a request from a stranger: enough for `HELLO` with everything.
pub const MAX_STRANGER_ARGS: i64 = 10;
/// Longest argument of a request from a stranger in bytes.
pub const MAX_STRANGER_BULK: i64 = 16 << 10;

// Who has not said who it is may send less than anybody else, and what it may send is never announced as broken.
const _: () = assert!(MAX_STRANGER_BULK <= MAX_ANNOUNCED_BULK);

/// Argument positions kept allocated between requests; a larger table is given back.
const KEPT_POSITIONS: usize = SHORT_ARGS;

/// What the front of the buffer holds.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// Not a whole request yet: receive more. [`ParseState::needed`] may say how much.
    Incomplete,
    /// There is more here than one call reads: call again with the same bytes.
    Unfinished,
    /// One request. `consumed` bytes belong to it.
    Request { consumed: usize, request: Request<'a> },
    /// One request of more than [`SHORT_ARGS`] arguments. `consumed` bytes belong to it.
    Long { consumed: usize, request: LongRequest },
    /// Bytes without meaning (an empty line, an empty array, the rest of a request that was too large).
    Skipped { consumed: usize },
    /// Send `reply` (an encoded error) in its turn. If `fatal`, close after it; else go on.
    Bad { consumed: usize, reply: Vec<u8>, fatal: bool },
}

/// What was learnt of a request that is not whole yet. One per connection.
#[derive(Debug, Default)]
pub struct ParseState {
    /// Where the next unread byte is, from the start of the request.
    at: usize,
    /// No line end lies before this offset.
    scanned: usize,
    /// Arguments still to come; 0 between requests.
    args_left: usize,
    /// Length of the argument whose header has been read.
    bulk: Option<usize>,
    /// Start and end of each argument read so far, from the start of the request.
    positions: Vec<(u32, u32)>,
    /// Set while skipping the rest of a request that is too large.
    skipping: Option<Skip>,
}

#[derive(Debug, Clone, Copy)]
struct Skip {
    bytes: usize,
    args: usize,
}

impl ParseState {
    /// How many bytes the buffer must hold before [`parse`] can get further; 0 if it cannot tell.
    pub fn needed(&self) -> usize {
        self.bulk.map_or(0, |length| self.at + length + 2)
    }

    /// Memory that it holds, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.positions.capacity() * size_of::<(u32, u32)>()
    }

    fn reset(&mut self) {
        self.at = 0;
        self.scanned = 0;
        self.args_left = 0;
        self.bulk = None;
        self.positions.clear();
        self.positions.shrink_to(KEPT_POSITIONS);
    }
}

/// Why a request cannot be read on.
enum Broken {
    Incomplete,
    Protocol(String),
}

/// Read one request from the front of `buf`.
///
/// # Panics
/// If `buf` holds less than it did when a request was found to be incomplete: the caller dropped more than was
/// consumed.
pub fn parse<'a>(buf: &'a [u8], limits: &Limits, state: &mut ParseState) -> Parsed<'a> {
    assert!(state.at <= buf.len() && state.scanned <= buf.len(), "bytes that were looked at are gone");
    let parsed = match state.skipping {
        Some(skip) => skip_on(buf, limits, state, skip),
        None => read(buf, limits, state),
    };
    match &parsed {
        Parsed::Incomplete | Parsed::Unfinished => {}
        Parsed::Bad { fatal: true, .. } => {
            // Nothing that was learnt of this stream is true of another.
            state.reset();
            state.skipping = None;
        }
        Parsed::Request { consumed, .. }
        | Parsed::Long { consumed, .. }
        | Parsed::Skipped { consumed }
        | Parsed::Bad { consumed, .. } => {
            assert!((1..=buf.len()).contains(consumed), "more was consumed than there is, or nothing");
        }
    }
    parsed
}

/// Read one request from the front of `buf`, where none is being skipped.
fn read<'a>(buf: &'a [u8], limits: &Limits, state: &mut ParseState) -> Parsed<'a> {
    if buf.is_empty() || buf.len() < state.needed() {
        return Parsed::Incomplete;
    }
    if state.args_left == 0 {
        if buf[0] != b'*' {
            return parse_inline(buf, limits, state);
        }
        let (line, next) = match header_line(buf, 1, limits, &mut state.scanned, "too big mbulk count string")
        {
            Ok(found) => found,
            Err(broken) => return not_whole(buf, broken),
        };
        match parse_i64(line) {
            Some(count) if count <= 0 => {
                state.reset();
                return Parsed::Skipped { consumed: next };
            }
            Some(count) if limits.stranger && count > MAX_STRANGER_ARGS => {
                return fatal(buf, "unauthenticated multibulk length");
            }
            Some(count) if count as u64 <= limits.max_args as u64 => state.args_left = count as usize,
            _ => return fatal(buf, "invalid multibulk length"),
        }
        state.at = next;
        state.scanned = 0;
    }
    let mut read = 0;
    while state.args_left > 0 {
        if read == SHORT_ARGS {
            return Parsed::Unfinished;
        }
        read += 1;
        let length = match state.bulk {
            Some(length) => length,
            None => match bulk_header(buf, state.at, limits, &mut state.scanned) {
                Ok((length, next)) => {
                    state.at = next;
                    state.scanned = 0;
                    length
                }
                Err(broken) => return not_whole(buf, broken),
            },
        };
        if let Some(why) = too_large(length, state.at, limits) {
            let consumed = state.at;
            let skip = Skip { bytes: length + 2, args: state.args_left - 1 };
            state.reset();
            state.skipping = Some(skip);
            return Parsed::Bad { consumed, reply: format!("-{why}\r\n").into_bytes(), fatal: false };
        }
        if buf.len() < state.at + length + 2 {
            state.bulk = Some(length);
            return Parsed::Incomplete;
        }
        state.bulk = None;
        state.positions.push((place(state.at), place(state.at + length)));
        state.at += length + 2;
        state.args_left -= 1;
    }
    let consumed = state.at;
    let ends = state.positions.last().map(|(_, end)| *end as usize + 2);
    assert!(ends == Some(consumed), "a request ends behind its last argument");
    if state.positions.len() > SHORT_ARGS {
        let request = LongRequest::new(std::mem::take(&mut state.positions), consumed);
        state.reset();
        return Parsed::Long { consumed, request };
    }
    let argument = |(start, end): &(u32, u32)| &buf[*start as usize..*end as usize];
    let args: Arguments<'_> = state.positions.iter().map(argument).collect();
    state.reset();
    Parsed::Request { consumed, request: Request::new(args) }
}

/// An offset in a request, which is bounded by [`Limits::max_request_bytes`].
#[inline]
fn place(at: usize) -> u32 {
    u32::try_from(at).expect("a request is smaller than 4 GiB")
}

/// The text of the error if an argument of `length` bytes at offset `at` is more than we take.
fn too_large(length: usize, at: usize, limits: &Limits) -> Option<String> {
    if length > limits.max_value_bytes {
        return Some(format!("ERR {}", WriteError::ValueTooLarge { limit: limits.max_value_bytes }));
    }
    (at + length + 2 > limits.max_request_bytes).then(|| {
        format!("ERR request is larger than this group's limit of {} bytes", limits.max_request_bytes)
    })
}

/// Drop the rest of a request that is too large, as far as it is here.
fn skip_on<'a>(buf: &'a [u8], limits: &Limits, state: &mut ParseState, mut skip: Skip) -> Parsed<'a> {
    let mut at = 0;
    let args_before = skip.args;
    let done = loop {
        let here = skip.bytes.min(buf.len() - at);
        at += here;
        skip.bytes -= here;
        if skip.bytes > 0 {
            break false;
        }
        if skip.args == 0 {
            break true;
        }
        // The rest is for the next call: some bytes are consumed.
        if args_before - skip.args == SHORT_ARGS {
            break false;
        }
        let mut scanned = if at == 0 { state.scanned } else { 0 };
        match bulk_header(buf, at, limits, &mut scanned) {
            Ok((length, next)) => {
                at = next;
                skip = Skip { bytes: length + 2, args: skip.args - 1 };
                state.scanned = 0;
            }
            Err(Broken::Incomplete) => {
                state.scanned = scanned.saturating_sub(at);
                break false;
            }
            Err(broken) => return not_whole(buf, broken),
        }
    };
    state.skipping = (!done).then_some(skip);
    if done {
        state.scanned = 0;
    }
    if at == 0 { Parsed::Incomplete } else { Parsed::Skipped { consumed: at } }
}

/// The `$length` line at `at`: the length, and where the argument starts.
fn bulk_header(
    buf: &[u8],
    at: usize,
    limits: &Limits,
    scanned: &mut usize,
) -> Result<(usize, usize), Broken> {
    let (line, next) = header_line(buf, at, limits, scanned, "too big bulk count string")?;
    let Some((b'$', digits)) = line.split_first() else {
        // An empty line: the byte found is the carriage return itself.
        let found = line.first().copied().unwrap_or(b'\r');
        return Err(Broken::Protocol(format!("expected '$', got '{}'", printable(found))));
    };
    match parse_i64(digits) {
        Some(length) if limits.stranger && length > MAX_STRANGER_BULK => {
            Err(Broken::Protocol("unauthenticated bulk length".to_owned()))
        }
        Some(length) if (0..=MAX_ANNOUNCED_BULK).contains(&length) => Ok((length as usize, next)),
        _ => Err(Broken::Protocol("invalid bulk length".to_owned())),
    }
}

/// An error reply is one line, so a line end inside it becomes a space.
fn printable(byte: u8) -> char {
    if byte == b'\r' || byte == b'\n' { ' ' } else { char::from(byte) }
}

/// The line that starts at `at`, without its end, and where the next one starts. Like Redis this looks for
/// the carriage return only and takes the byte after it on trust.
fn header_line<'b>(
    buf: &'b [u8],
    at: usize,
    limits: &Limits,
    scanned: &mut usize,
    too_long: &str,
) -> Result<(&'b [u8], usize), Broken> {
    let from = (*scanned).max(at);
    let found = buf.get(from..).and_then(|rest| rest.iter().position(|b| *b == b'\r'));
    // The same for a line that came whole as for one that came in pieces.
    let seen = found.map_or(buf.len(), |found| from + found);
    if seen.saturating_sub(at) > limits.max_inline_bytes {
        return Err(Broken::Protocol(too_long.to_owned()));
    }
    match found {
        Some(found) if from + found + 1 < buf.len() => {
            let end = from + found;
            Ok((&buf[at..end], end + 2))
        }
        Some(found) => {
            *scanned = from + found;
            Err(Broken::Incomplete)
        }
        None => {
            *scanned = buf.len();
            Err(Broken::Incomplete)
        }
    }
}

fn not_whole<'a>(buf: &'a [u8], broken: Broken) -> Parsed<'a> {
    match broken {
        Broken::Incomplete => Parsed::Incomplete,
        Broken::Protocol(text) => fatal(buf, &text),
    }
}

/// The stream cannot be understood any more: everything that is here is consumed.
fn fatal<'a>(buf: &'a [u8], text: &str) -> Parsed<'a> {
    // Latin-1, so that an unexpected byte above 127 is shown as the byte it is, as Redis does.
    let reply = format!("-ERR Protocol error: {text}\r\n").chars().map(|c| c as u8).collect();
    Parsed::Bad { consumed: buf.len(), reply, fatal: true }
}

fn parse_inline<'a>(buf: &'a [u8], limits: &Limits, state: &mut ParseState) -> Parsed<'a> {
    let end = buf[state.scanned..].iter().position(|b| *b == b'\n').map(|at| at + state.scanned);
    // The same for a line that came whole as for one that came in pieces.
    if end.unwrap_or(buf.len()) > limits.max_inline_bytes {
        return fatal(buf, "too big inline request");
    }
    let Some(end) = end else {
        state.scanned = buf.len();
        return Parsed::Incomplete;
    };
    state.reset();
    let consumed = end + 1;
    let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
    let request = if line.iter().any(|b| matches!(b, b'"' | b'\'')) {
        match split_quoted(line) {
            Some(args) if !args.is_empty() => Request::from_owned(args),
            Some(_) => return Parsed::Skipped { consumed },
            None => return fatal(buf, "unbalanced quotes in request"),
        }
    } else {
        let args: Arguments<'_> = line.split(|b| is_space(*b)).filter(|arg| !arg.is_empty()).collect();
        if args.as_slice().is_empty() {
            return Parsed::Skipped { consumed };
        }
        Request::new(args)
    };
    Parsed::Request { consumed, request }
}

/// White space in the sense of C.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Split a line in which arguments may be quoted: `"…"` with escapes, `'…'` with `\'` only. `None` if a
/// quote is not closed or something follows it directly.
fn split_quoted(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut args = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Some(args);
        }
        let mut arg = Vec::new();
        while at < line.len() && !is_space(line[at]) {
            match line[at] {
                quote @ (b'"' | b'\'') => {
                    at = read_quoted(line, at + 1, quote, &mut arg)?;
                    if at < line.len() && !is_space(line[at]) {
                        return None;
                    }
                }
                byte => {
                    arg.push(byte);
                    at += 1;
                }
            }
        }
        args.push(arg);
    }
}

/// Read up to the closing `quote`; where the text goes on after it.
fn read_quoted(line: &[u8], mut at: usize, quote: u8, arg: &mut Vec<u8>) -> Option<usize> {
    loop {
        let rest = &line[at..];
        match (quote, rest) {
            (_, []) => return None,
            (b'"', [b'\\', b'x', high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                arg.push(hex(*high) << 4 | hex(*low));
                at += 4;
            }
            (b'"', [b'\\', escaped, ..]) => {
                arg.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                at += 2;
            }
            (b'\'', [b'\\', b'\'', ..]) => {
                arg.push(b'\'');
                at += 2;
            }
            (_, [byte, ..]) if *byte == quote => return Some(at + 1),
            (_, [byte, ..]) => {
                arg.push(*byte);
                at += 1;
            }
        }
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests;
