//! Each key's history is linearizable (Herlihy and Wing 1990): some order of the requests that respects real
//! time explains every answer. That covers lost writes, stale reads of a leader and doubled increments.
//!
//! The search goes through the calls and returns in order of time and keeps every state that the key can be
//! in, with the set of requests under way that have taken effect in it (Lowe, "Testing for linearizability",
//! 2017, "just-in-time linearization"). A request without an answer may take effect at any later time or
//! never.

use std::collections::{BTreeMap, BTreeSet};

/// A search that grows beyond this many states is given up, and counted.
const STATES_MOST: usize = 60_000;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Get,
    Set(i64),
    SetIfMissing(i64),
    SetIfThere(i64),
    Incr,
    Delete,
    /// Not about a key.
    ReadOnly,
}

impl Asked {
    pub fn writes(self) -> bool {
        !matches!(self, Asked::Get | Asked::ReadOnly)
    }

    /// Whether, with this answer, it changed something.
    fn changed(self, told: Answer) -> bool {
        self.writes()
            && !matches!(told, Answer::Done(false))
            && (self != Asked::Delete || told != Answer::Number(0))
    }

    /// The state after it on `state`, and the answer.
    fn on(self, state: Option<i64>) -> (Option<i64>, Answer) {
        match self {
            Asked::Get => (state, Answer::Value(state)),
            Asked::Set(value) => (Some(value), Answer::Done(true)),
            Asked::SetIfMissing(value) if state.is_none() => (Some(value), Answer::Done(true)),
            Asked::SetIfThere(value) if state.is_some() => (Some(value), Answer::Done(true)),
            Asked::SetIfMissing(_) | Asked::SetIfThere(_) => (state, Answer::Done(false)),
            Asked::Incr => (Some(state.unwrap_or(0) + 1), Answer::Number(state.unwrap_or(0) + 1)),
            Asked::Delete => (None, Answer::Number(i64::from(state.is_some()))),
            Asked::ReadOnly => (state, Answer::Done(true)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Value(Option<i64>),
    Done(bool),
    Number(i64),
}

/// An answer as a client got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Ok,
    Nothing,
    Number(i64),
    /// The number a value begins with, and the checksum of the whole.
    Value(i64, u32),
}

impl Told {
    /// Of a text: `OK`, or a value.
    pub fn from_text(text: &[u8]) -> Told {
        if text == b"OK" {
            return Told::Ok;
        }
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = String::from_utf8_lossy(&text[..digits]).parse().unwrap_or(-1);
        Told::Value(number, super::committed_log::digest(text))
    }

    fn answers(self, asked: Asked) -> Answer {
        match (asked, self) {
            (Asked::Get, Told::Value(number, _)) => Answer::Value(Some(number)),
            (Asked::Get, _) => Answer::Value(None),
            (_, Told::Number(number)) => Answer::Number(number),
            (_, Told::Ok) => Answer::Done(true),
            (_, Told::Nothing | Told::Value(..)) => Answer::Done(false),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Request {
    client: usize,
    asked: Asked,
    from: u64,
    /// When it was answered, and what; `None`: not known.
    until: Option<(u64, Answer)>,
}

/// The histories of all keys.
#[derive(Default)]
pub struct History {
    keys: BTreeMap<Vec<u8>, Vec<Request>>,
    /// Keys whose search was given up.
    pub undecided: u64,
    pub requests: u64,
    pub unknown: u64,
}

impl History {
    /// A request of a client: since when, and when it was told what, if it was.
    pub fn add(&mut self, key: Vec<u8>, client: usize, asked: Asked, from: u64, told: Option<(u64, Told)>) {
        self.requests += 1;
        self.unknown += u64::from(told.is_none());
        if told.is_none() && !asked.writes() {
            return;
        }
        let until = told.map(|(at, told)| (at, told.answers(asked)));
        self.keys.entry(key).or_default().push(Request { client, asked, from, until });
    }

    /// Every key anybody asked about.
    pub fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.keys.keys()
    }

    /// Judges all of it. What was answered before `lenient` and changed nothing is left out: where clocks
    /// differ by more than the margin, a read may be old (rule 9), but no write may be lost (rule 11).
    pub fn verdict(&mut self, lenient: u64) -> Result<(), String> {
        for (key, all) in &self.keys {
            let counts =
                |r: &&Request| r.until.is_none_or(|(at, told)| at >= lenient || r.asked.changed(told));
            let requests: Vec<Request> = all.iter().filter(counts).copied().collect();
            match explain(&requests) {
                Explained::Yes => {}
                Explained::GaveUp => self.undecided += 1,
                Explained::No(at) => {
                    let from = at.saturating_sub(12);
                    let mut sorted = requests.clone();
                    sorted.sort_by_key(|r| r.until.map_or(u64::MAX, |u| u.0));
                    let near: Vec<String> = sorted[from..sorted.len().min(at + 3)].iter().map(line).collect();
                    let open: Vec<String> = sorted.iter().filter(|r| r.until.is_none()).map(line).collect();
                    return Err(format!(
                        "{}: no order explains request {at}:\n  {}\n unanswered:\n  {}",
                        String::from_utf8_lossy(key),
                        near.join("\n  "),
                        open.join("\n  ")
                    ));
                }
            }
        }
        Ok(())
    }
}

fn line(r: &Request) -> String {
    let until = r
        .until
        .map_or("never answered".to_owned(), |(at, answer)| format!("{:.6} {answer:?}", at as f64 / 1e9));
    format!("client {} {:?} from {:.6} until {until}", r.client, r.asked, r.from as f64 / 1e9)
}

#[derive(Debug, PartialEq)]
enum Explained {
    Yes,
    GaveUp,
    /// The request, in order of answers, that nothing explains.
    No(usize),
}

/// A state of the key and the requests under way (bits) that have taken effect.
type Possible = (Option<i64>, u128);

fn explain(requests: &[Request]) -> Explained {
    let mut sorted: Vec<Request> = requests.to_vec();
    sorted.sort_by_key(|r| r.until.map_or(u64::MAX, |u| u.0));
    // (time, returns before calls at one time is the weaker order, place)
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (place, r) in sorted.iter().enumerate() {
        moments.push((r.from, false, place));
        moments.extend(r.until.map(|(at, _)| (at, true, place)));
    }
    moments.sort_unstable();
    let mut under_way: Vec<Option<usize>> = Vec::new();
    let mut possible: BTreeSet<Possible> = BTreeSet::from([(None, 0)]);
    for (_, returns, place) in moments {
        if !returns {
            match under_way.iter().position(Option::is_none) {
                Some(free) => under_way[free] = Some(place),
                None => under_way.push(Some(place)),
            }
            if under_way.len() > 128 {
                return Explained::GaveUp;
            }
            continue;
        }
        let Some(slot) = under_way.iter().position(|of| *of == Some(place)) else { continue };
        // Whatever is under way may take effect before this return.
        let mut todo: Vec<Possible> = possible.iter().copied().collect();
        let mut done: BTreeSet<Possible> = BTreeSet::new();
        let bit = 1u128 << slot;
        while let Some((state, taken)) = todo.pop() {
            if taken & bit != 0 {
                done.insert((state, taken & !bit));
                continue;
            }
            for (other, of) in under_way.iter().enumerate() {
                let Some(of) = of else { continue };
                if taken & (1 << other) != 0 {
                    continue;
                }
                let (next, answer) = sorted[*of].asked.on(state);
                let fits = sorted[*of].until.is_none_or(|(_, told)| told == answer);
                let after = (next, taken | 1 << other);
                if fits && possible.insert(after) {
                    todo.push(after);
                }
            }
            if possible.len() > STATES_MOST {
                return Explained::GaveUp;
            }
        }
        under_way[slot] = None;
        if done.is_empty() {
            return Explained::No(place);
        }
        possible = done;
    }
    Explained::Yes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(asked: Asked, from: u64, until: Option<(u64, Answer)>) -> Request {
        Request { client: 0, asked, from, until }
    }

    fn done(at: u64) -> Option<(u64, Answer)> {
        Some((at, Answer::Done(true)))
    }

    fn read(from: u64, until: u64, value: Option<i64>) -> Request {
        request(Asked::Get, from, Some((until, Answer::Value(value))))
    }

    #[test]
    fn a_lost_write_is_found_and_an_unanswered_one_may_be() {
        let set = request(Asked::Set(1), 0, done(10));
        assert_eq!(explain(&[set, read(20, 30, Some(1))]), Explained::Yes);
        assert!(matches!(explain(&[set, read(20, 30, None)]), Explained::No(_)));
        let doubt = request(Asked::Set(2), 12, None);
        assert_eq!(explain(&[set, doubt, read(20, 30, Some(1)), read(40, 50, Some(2))]), Explained::Yes);
        assert!(matches!(
            explain(&[set, doubt, read(20, 30, Some(2)), read(40, 50, Some(1))]),
            Explained::No(_)
        ));
    }

    #[test]
    fn a_doubled_increment_is_found() {
        let one = request(Asked::Incr, 0, Some((10, Answer::Number(1))));
        let two = request(Asked::Incr, 20, Some((30, Answer::Number(2))));
        let three = request(Asked::Incr, 20, Some((30, Answer::Number(3))));
        assert_eq!(explain(&[one, two]), Explained::Yes);
        assert!(matches!(explain(&[one, three]), Explained::No(_)));
    }

    #[test]
    fn conditional_writes_are_judged_by_their_answers() {
        let set = request(Asked::Set(1), 0, done(10));
        let refused = request(Asked::SetIfMissing(2), 20, Some((30, Answer::Done(false))));
        let taken = request(Asked::SetIfMissing(2), 20, done(30));
        assert_eq!(explain(&[set, refused, read(40, 50, Some(1))]), Explained::Yes);
        assert!(matches!(explain(&[set, taken]), Explained::No(_)));
    }
}
