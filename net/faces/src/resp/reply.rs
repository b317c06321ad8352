//! From answers to bytes, in RESP2 and RESP3.
//!
//! Promises: appends to the caller's buffer only; in RESP2 a map is a flat array, a set an array and a null
//! the null bulk string, as Redis sends them. Counts what it announces and what follows: [`Reply::is_whole`] says
//! whether they agree.

/// Which version of the protocol a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

impl Proto {
    /// As the number in `HELLO`.
    pub fn number(self) -> i64 {
        match self {
            Proto::Resp2 => 2,
            Proto::Resp3 => 3,
        }
    }
}

/// Appends replies to a buffer.
pub struct Reply<'o> {
    pub out: &'o mut Vec<u8>,
    pub proto: Proto,
    /// Elements that were announced: one at first, the answer itself.
    announced: u64,
    /// Elements that were written.
    written: u64,
}

impl<'o> Reply<'o> {
    /// Replies in `proto`, appended to `out`.
    pub fn new(out: &'o mut Vec<u8>, proto: Proto) -> Reply<'o> {
        Reply { out, proto, announced: 1, written: 0 }
    }

    /// Whether exactly one answer was written, with as many elements as it announced.
    pub fn is_whole(&self) -> bool {
        self.written == self.announced
    }

    /// Whether nothing was written.
    pub fn is_untouched(&self) -> bool {
        self.written == 0
    }

    /// Note that an element is written, and that so many follow inside of it.
    #[inline]
    fn element(&mut self, announced: usize) {
        assert!(self.written < self.announced, "an element more than was announced");
        self.written += 1;
        self.announced += announced as u64;
    }

    /// `+text`. The text must not hold a line end.
    pub fn simple(&mut self, text: &str) {
        self.element(0);
        self.out.push(b'+');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.element(0);
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error. `text` starts with its code; line ends in it become spaces, so that it stays one line.
    pub fn error(&mut self, text: &[u8]) {
        self.element(0);
        self.out.push(b'-');
        self.out.extend(text.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.element(0);
        self.header(b':', value);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.element(0);
        self.out.reserve(bytes.len() + 24);
        self.header(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Text for people: a verbatim string in RESP3, a bulk string in RESP2.
    pub fn verbatim(&mut self, text: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => {
                self.element(0);
                self.header(b'=', text.len() as i64 + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// No value.
    pub fn null(&mut self) {
        self.element(0);
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"$-1\r\n".as_slice(),
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// No array: differs from [`Reply::null`] in RESP2 only.
    pub fn null_array(&mut self) {
        self.element(0);
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"*-1\r\n".as_slice(),
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// An array; `count` elements follow.
    pub fn array(&mut self, count: usize) {
        self.element(count);
        self.header(b'*', count as i64);
    }

    /// A map; `pairs` pairs of elements follow.
    pub fn map(&mut self, pairs: usize) {
        self.element(2 * pairs);
        match self.proto {
            Proto::Resp2 => self.header(b'*', pairs as i64 * 2),
            Proto::Resp3 => self.header(b'%', pairs as i64),
        }
    }

    /// A set; `count` elements follow.
    pub fn set(&mut self, count: usize) {
        self.element(count);
        match self.proto {
            Proto::Resp2 => self.header(b'*', count as i64),
            Proto::Resp3 => self.header(b'~', count as i64),
        }
    }

    /// A line of one type byte and a number.
    #[inline]
    fn header(&mut self, kind: u8, value: i64) {
        self.out.push(kind);
        push_decimal(self.out, value);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Append `value` in decimal.
pub fn push_decimal(out: &mut Vec<u8>, value: i64) {
    /// Digits of the largest u64.
    const DIGITS: usize = 20;
    let mut digits = [0u8; DIGITS];
    let mut at = DIGITS;
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(proto: Proto, write: impl FnOnce(&mut Reply)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, proto));
        String::from_utf8(out).expect("test replies are text")
    }

    #[test]
    fn decimals_of_every_length() {
        for value in [0, 1, -1, 9, 10, 99, 100, -4096, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            push_decimal(&mut out, value);
            assert_eq!(String::from_utf8(out).expect("digits"), value.to_string());
        }
    }

    #[test]
    fn what_differs_between_the_versions() {
        let all = |r: &mut Reply| {
            r.announced = 5;
            r.null();
            r.null_array();
            r.map(1);
            r.set(2);
            r.verbatim("hi");
        };
        assert_eq!(encoded(Proto::Resp2, all), "$-1\r\n*-1\r\n*2\r\n*2\r\n$2\r\nhi\r\n");
        assert_eq!(encoded(Proto::Resp3, all), "_\r\n_\r\n%1\r\n~2\r\n=6\r\ntxt:hi\r\n");
    }

    #[test]
    fn what_is_announced_is_counted() {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp3);
        assert!(reply.is_untouched());
        reply.map(1);
        reply.ok();
        reply.array(1);
        assert!(!reply.is_whole() && !reply.is_untouched());
        reply.integer(7);
        assert!(reply.is_whole());
    }

    #[test]
    #[should_panic(expected = "an element more than was announced")]
    fn more_than_was_announced_is_noticed() {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        reply.array(1);
        reply.ok();
        reply.ok();
    }

    #[test]
    fn an_error_stays_one_line() {
        assert_eq!(encoded(Proto::Resp2, |r| r.error(b"ERR a\r\nb")), "-ERR a  b\r\n");
    }
}
