//! Clients of the HTTP face: documents and counters in one collection, each a key with a history like any other.
//!
//! Some writes carry an idempotency key. Such a one is sent again, wherever the leader is by then, until it is
//! answered: to the history it is one request, so that applying it twice would show.

use crate::checkers::history::{Asked, Told};
use crate::client::Again;
use crate::world::World;
use engine::slot::slot_of;

const COLLECTION: &str = "h";
/// Where the keys of the collection's documents begin.
pub const PREFIX: &[u8] = b"h/";
/// Keys in use at a time, of each kind.
const KEYS: u64 = 3;
/// How long they are in use.
const KEY_WINDOW: u64 = 1_500_000_000;
const PADDING_MOST: u64 = 600;
/// `errorNum`s of ArangoDB: there is no such document, there is no such collection, the name is taken.
const NO_DOCUMENT: u32 = 1202;
const NO_COLLECTION: u32 = 1203;
const NAME_TAKEN: u32 = 1207;

/// A response, if it is whole.
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn parse(bytes: &[u8]) -> Option<Response> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.get(9..12)?.parse().ok()?;
        let mut response = Response { status, head: head.to_owned(), body: String::new() };
        let len: usize = response.header("Content-Length").and_then(|len| len.parse().ok()).unwrap_or(0);
        response.body = body.get(..len)?.to_owned();
        Some(response)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The number behind this attribute.
    fn number(&self, attribute: &str) -> Option<i64> {
        let (_, rest) = self.body.split_once(&format!("\"{attribute}\":"))?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        rest[..end].parse().ok()
    }

    fn error(&self) -> u32 {
        self.number("errorNum").and_then(|number| number.try_into().ok()).unwrap_or(0)
    }

    /// What it says to this question; `None` if it is no answer to it.
    fn told(&self, asked: Asked) -> Option<Told> {
        match (asked, self.status) {
            (Asked::Get, 200) => Some(Told::Value(self.number("n")?, 0)),
            (Asked::Get | Asked::SetIfThere(_), 404) if self.error() == NO_DOCUMENT => Some(Told::Nothing),
            (Asked::Set(_) | Asked::SetIfMissing(_) | Asked::SetIfThere(_), 201) => Some(Told::Ok),
            (Asked::SetIfMissing(_), 409) => Some(Told::Nothing),
            (Asked::Delete, 200) => Some(Told::Number(1)),
            (Asked::Delete, 404) if self.error() == NO_DOCUMENT => Some(Told::Number(0)),
            (Asked::Incr, 201) => Some(Told::Number(self.number("value")?)),
            // The collection is made.
            (Asked::ReadOnly, 200) => Some(Told::Ok),
            (Asked::ReadOnly, 409) if self.error() == NAME_TAKEN => Some(Told::Ok),
            _ => None,
        }
    }
}

impl World {
    pub fn http_asks(&mut self, client: usize, connection: u64) {
        if !self.clients[client].greeted {
            let made = request("POST", "/_api/collection", &format!("{{\"name\":\"{COLLECTION}\"}}"), None);
            return self.client_transmits(
                client,
                connection,
                vec![(Vec::new(), Asked::ReadOnly)],
                made,
                false,
            );
        }
        if let Some(Again { asked, bytes, since }) = self.clients[client].again.take() {
            self.client_transmits(client, connection, asked, bytes, true);
            return self.client_waits_since(client, since);
        }
        if let Some(key) = self.clients[client].audit.last().cloned() {
            let read = request("GET", &path(&key), "", None);
            return self.client_transmits(client, connection, vec![(key, Asked::Get)], read, false);
        }
        if self.nemesis.auditing {
            return self.next_step(client, 5_000_000);
        }
        let (window, number) = (self.now / KEY_WINDOW, self.dice.below(KEYS));
        let counter = self.dice.one_in(3);
        let name = format!("{}{window}:{number}", if counter { 'n' } else { 'k' });
        let key = [PREFIX, name.as_bytes()].concat();
        let value = self.clients[client].next_value();
        let padding = "x".repeat(self.dice.below(PADDING_MOST) as usize);
        let document = format!("{{\"_key\":\"{name}\",\"n\":{value},\"p\":\"{padding}\"}}");
        let kind = if self.nemesis.writes_only { 40 } else { self.dice.below(100) };
        let once = self.dice.one_in(2).then(|| format!("{client}-{value}"));
        let once = once.as_deref();
        let all = format!("/_api/document/{COLLECTION}");
        let (asked, bytes) = match (counter, kind) {
            (_, 0..35) => (Asked::Get, request("GET", &path(&key), "", None)),
            (true, 35..) => {
                let one_more = "{\"attribute\":\"n\",\"create\":true}";
                let to = format!("/_api/baton/increment/{COLLECTION}/{name}");
                (Asked::Incr, request("POST", &to, one_more, once))
            }
            (false, 35..65) => {
                let replacing = format!("{all}?overwriteMode=replace");
                (Asked::Set(value), request("POST", &replacing, &document, once))
            }
            (false, 65..80) => (Asked::SetIfMissing(value), request("POST", &all, &document, once)),
            (false, 80..90) => (Asked::SetIfThere(value), request("PUT", &path(&key), &document, once)),
            (false, _) => (Asked::Delete, request("DELETE", &path(&key), "", once)),
        };
        let once = once.is_some() && asked.writes();
        self.client_transmits(client, connection, vec![(key, asked)], bytes, once);
    }

    /// More of a response has come.
    pub fn http_bytes(&mut self, client: usize, connection: u64) {
        let Some(response) = Response::parse(&self.clients[client].inbox) else { return };
        let Some((asked, since)) = self.client_is_answered(client, connection, &response.head) else {
            return;
        };
        let (key, question) = asked[0].clone();
        if self.trace.prints(self.now) {
            let name = String::from_utf8_lossy(&key);
            let what = format_args!("{question:?} {name}: {} {}", response.status, response.body);
            self.trace.say(self.now, format_args!("client {client}"), what);
        }
        let shard = self.configs[0].shard_of_slot(slot_of(&key)).0;
        let Some(told) = response.told(question) else {
            let why = &response.body;
            let known = match response.status {
                503 | 507 => true,
                500 => why.contains("the disk could not") || why.contains("checksum"),
                _ => false,
            };
            if !known {
                let what =
                    format!("client {client} asked {question:?} and was told {} {why}", response.status);
                let lost = if response.error() == NO_COLLECTION { "metadata" } else { "replies" };
                return self.violated(lost, what);
            }
            let to = response.header("X-Arango-Endpoint").and_then(|to| to.rsplit(':').next()?.parse().ok());
            let to = to.and_then(|port| self.scenario.host_of_port(port));
            return self.client_turned_away(client, connection, shard, to, to.is_none());
        };
        if question == Asked::ReadOnly {
            self.clients[client].greeted = true;
            return self.next_step(client, 30_000);
        }
        self.client_learns(client, connection, asked, vec![told], since);
    }
}

fn path(key: &[u8]) -> String {
    format!("/_api/document/{}", String::from_utf8_lossy(key))
}

fn request(method: &str, path: &str, body: &str, once: Option<&str>) -> Vec<u8> {
    // Where nobody is asked who it is, nobody looks at that.
    let root = "Authorization: Basic cm9vdDpzd29yZGZpc2g=\r\n";
    let once = once.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
    let len = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: sim\r\n{root}{once}Content-Length: {len}\r\n\r\n{body}")
        .into_bytes()
}
