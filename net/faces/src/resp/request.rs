//! One request: its arguments, its command, its keys, and where it has to go.
//!
//! Promises: the command is looked up once, when the request is made; [`route`] checks the arity, so that
//! whoever runs a routed request may index its arguments. Error texts are those of Redis 7.0. Does not know
//! which shard owns a slot: the node decides that from [`Keys`].

use crate::resp::arguments::Arguments;
use crate::resp::table::{self, Lookup, Spec};
use engine::slot::slot_of;

/// Most bytes of a command's name, or of its arguments together, that an error repeats.
const REPEATED_BYTES: usize = 128;

/// A command and its arguments.
#[derive(Debug)]
pub struct Request<'a> {
    borrowed: Arguments<'a>,
    /// The arguments where they could not be borrowed (quoted inline commands, made-up requests).
    owned: Vec<Vec<u8>>,
    lookup: Lookup,
}

impl<'a> Request<'a> {
    /// A request of these arguments, the command's name first. There must be at least one.
    pub fn new(args: Arguments<'a>) -> Request<'a> {
        let lookup = table::lookup(args.as_slice());
        Request { borrowed: args, owned: Vec::new(), lookup }
    }

    /// A request that owns its arguments, the command's name first. There must be at least one.
    pub fn from_owned(args: Vec<Vec<u8>>) -> Request<'static> {
        let start: Arguments<'_> = args.iter().take(2).map(Vec::as_slice).collect();
        let lookup = table::lookup(start.as_slice());
        Request { borrowed: Arguments::with_capacity(0), owned: args, lookup }
    }

    /// How many arguments, the command's name included.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a request is never empty")]
    pub fn len(&self) -> usize {
        if self.owned.is_empty() { self.borrowed.as_slice().len() } else { self.owned.len() }
    }

    /// Whether its arguments lie in the caller's buffer.
    pub(super) fn is_borrowed(&self) -> bool {
        self.owned.is_empty()
    }

    /// Argument `i`; 0 is the command's name. Panics if there is none.
    #[inline]
    pub fn arg(&self, i: usize) -> &[u8] {
        if self.owned.is_empty() { self.borrowed.as_slice()[i] } else { &self.owned[i] }
    }

    /// The arguments from the `first` on.
    pub fn args_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        (first..self.len()).map(|i| self.arg(i))
    }

    /// The table's entry for the command (for its subcommand if it has them), if it is known.
    pub fn spec(&self) -> Option<&'static Spec> {
        match self.lookup {
            Lookup::Found(spec) => Some(spec),
            Lookup::Unknown | Lookup::UnknownSub(_) => None,
        }
    }

    /// Append the request as a client would send it, to forward it to another shard.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut reply = crate::resp::reply::Reply::new(out, Default::default());
        reply.array(self.len());
        self.args_from(0).for_each(|arg| reply.bulk(arg));
    }

    /// The entry for the command if the request may be run, else the encoded error.
    pub(super) fn checked(&self) -> Result<&'static Spec, Vec<u8>> {
        let text = match self.lookup {
            Lookup::Found(spec) if spec.takes(self.len()) => return Ok(spec),
            Lookup::Found(spec) => wrong_arity(spec).into_bytes(),
            Lookup::UnknownSub(container) => unknown_subcommand(container, self.arg(1)),
            Lookup::Unknown => self.unknown_command(),
        };
        let mut out = Vec::new();
        crate::resp::reply::Reply::new(&mut out, Default::default()).error(&text);
        Err(out)
    }

    fn unknown_command(&self) -> Vec<u8> {
        let mut repeated = Vec::new();
        for arg in self.args_from(1) {
            if repeated.len() >= REPEATED_BYTES {
                break;
            }
            let room = REPEATED_BYTES - repeated.len();
            repeated.push(b'\'');
            repeated.extend_from_slice(c_string(arg, room));
            repeated.extend_from_slice(b"' ");
        }
        let mut text = b"ERR unknown command '".to_vec();
        text.extend_from_slice(c_string(self.arg(0), REPEATED_BYTES));
        text.extend_from_slice(b"', with args beginning with: ");
        text.extend_from_slice(&repeated);
        text
    }
}

/// The text for a wrong number of arguments.
pub(super) fn wrong_arity(spec: &Spec) -> String {
    format!("ERR wrong number of arguments for '{}' command", spec.full_name)
}

fn unknown_subcommand(container: &Spec, sub: &[u8]) -> Vec<u8> {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(c_string(sub, REPEATED_BYTES));
    text.extend_from_slice(format!("'. Try {} HELP.", container.name.to_uppercase()).as_bytes());
    text
}

/// At most `limit` bytes of `bytes`, ending before a zero byte, as C prints them.
fn c_string(bytes: &[u8], limit: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(limit)];
    bytes.iter().position(|b| *b == 0).map_or(bytes, |zero| &bytes[..zero])
}

/// The keys of a request, in order. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'r> {
    request: &'r Request<'r>,
    next: usize,
    last: usize,
    step: usize,
}

impl<'r> Keys<'r> {
    /// The keys of `request`, by the positions in its command's entry.
    pub fn of(request: &'r Request<'r>, spec: &Spec) -> Keys<'r> {
        let (first, last, step) = spec.keys;
        let last =
            if last < 0 { request.len().saturating_sub(last.unsigned_abs().into()) } else { last as usize };
        // A command without keys has first 0; an empty range ends before it starts.
        let next = if first == 0 { last + 1 } else { first as usize };
        Keys { request, next, last: last.min(request.len() - 1), step: step.max(1) as usize }
    }

    /// What all keys' slots map to if it is the same for all, else `None`. There must be a key.
    pub fn same<T: PartialEq>(self, of_slot: impl Fn(u16) -> T) -> Option<T> {
        let mut owners = self.map(|key| of_slot(slot_of(key)));
        let first = owners.next()?;
        owners.all(|owner| owner == first).then_some(first)
    }
}

impl<'r> Iterator for Keys<'r> {
    type Item = &'r [u8];

    #[inline]
    fn next(&mut self) -> Option<&'r [u8]> {
        if self.next > self.last {
            return None;
        }
        let key = self.request.arg(self.next);
        self.next += self.step;
        Some(key)
    }
}

/// Whether a key is one of the node's own (databases, users, idempotency records): no client may touch it.
pub fn is_reserved(key: &[u8]) -> bool {
    key.first() == Some(&0)
}

/// The answer to who touches one all the same.
pub const RESERVED_KEY: &[u8] = b"-ERR keys that begin with a zero byte are reserved\r\n";

/// Where a request has to be run.
#[derive(Debug)]
pub enum Route<'r> {
    /// Any shard can run it.
    NoKeys,
    /// The shard that owns the slots of these keys. `slot` is that of the first key. A `write` needs the
    /// leader.
    Keys { slot: u16, keys: Keys<'r>, write: bool },
    /// Nobody can: send this encoded error.
    Error(Vec<u8>),
}

/// Where `request` has to be run.
#[inline]
pub fn route<'r>(request: &'r Request<'r>) -> Route<'r> {
    let spec = match request.checked() {
        Ok(spec) => spec,
        Err(reply) => return Route::Error(reply),
    };
    let mut keys = Keys::of(request, spec);
    let all = keys;
    match keys.next() {
        None => Route::NoKeys,
        Some(_) if all.clone().any(is_reserved) => Route::Error(RESERVED_KEY.to_vec()),
        Some(first) => Route::Keys { slot: slot_of(first), keys: all, write: spec.is_write() },
    }
}
