//! The elements of an array, as many as one request may have and no more.
//!
//! Bad elements count like good ones: each has its place in the answer. Reading stops at the first one too many,
//! because a text of a few bytes per element becomes much more in memory.

use super::{Failure, MAX_OPS};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

/// # Errors
/// The text is no JSON, or no array, or has more than [`MAX_OPS`] elements.
pub(super) fn elements(text: &[u8]) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    match Elements(&mut all).deserialize(&mut reader).and_then(|()| reader.end()) {
        Ok(()) => Ok(all),
        Err(_) if all.len() > MAX_OPS => Err(Failure::TooMany { limit: MAX_OPS }),
        Err(error) if error.is_data() => {
            Err(Failure::BadParameter("expecting a JSON array in the body".to_owned()))
        }
        Err(error) => Err(Failure::CorruptJson(error.to_string())),
    }
}

struct Elements<'v>(&'v mut Vec<Value>);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            self.0.push(element);
            if self.0.len() > MAX_OPS {
                return Err(serde::de::Error::custom("too many elements"));
            }
        }
        Ok(())
    }
}
