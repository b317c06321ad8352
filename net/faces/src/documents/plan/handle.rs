//! Which document is meant, and what key a new one gets.

use super::super::metadata::KeyGenerator;
use super::super::op::Once;
use super::{Collection, Failure, Planner, hash, names};
use serde_json::{Map, Value};

/// A document named in a body: its key, and the revision it was seen with.
pub(super) struct Named {
    pub key: String,
    pub revision: Option<String>,
}

/// The document that an element of an array names: a key, an identifier, or an object with either.
pub(super) fn named(collection: &str, element: &Value) -> Result<Named, Failure> {
    match element {
        Value::String(text) => Ok(Named { key: key_of(collection, text)?, revision: None }),
        Value::Object(object) => named_in(collection, object),
        _ => Err(Failure::BadHandle),
    }
}

/// The document that an object names by `_key`, or by `_id`.
pub(super) fn named_in(collection: &str, object: &Map<String, Value>) -> Result<Named, Failure> {
    let revision = text(object, "_rev").map(str::to_owned);
    let key = match (object.get("_key"), object.get("_id")) {
        (Some(Value::String(key)), _) => checked(key)?,
        (Some(_), _) => return Err(Failure::BadKey),
        (None, Some(Value::String(id))) if id.contains('/') => key_of(collection, id)?,
        (None, Some(_)) => return Err(Failure::BadHandle),
        (None, None) => return Err(Failure::BadKey),
    };
    Ok(Named { key, revision })
}

/// The key in a key or an identifier.
pub(super) fn key_of(collection: &str, text: &str) -> Result<String, Failure> {
    match text.split_once('/') {
        Some((named, key)) if named == collection => checked(key),
        Some(_) => Err(Failure::BadHandle),
        None => checked(text),
    }
}

/// The key if it may be one.
pub(super) fn checked(key: &str) -> Result<String, Failure> {
    if names::is_key(key.as_bytes()) { Ok(key.to_owned()) } else { Err(Failure::BadKey) }
}

pub(super) fn text<'m>(object: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    object.get(name).and_then(Value::as_str)
}

impl Planner<'_> {
    /// The key of a document to be inserted: its own, or one made for it. `element`: its place among those of
    /// the request.
    pub fn key_for(
        &self,
        name: &str,
        collection: &Collection,
        object: &Map<String, Value>,
        element: usize,
    ) -> Result<String, Failure> {
        match object.get("_key") {
            None => Ok(self.made_key(name, collection, element)),
            Some(_) if !collection.user_keys => Err(Failure::KeyUnexpected),
            Some(Value::String(key)) => checked(key),
            Some(_) => Err(Failure::BadKey),
        }
    }

    /// A key that no document has. With an idempotency key it follows from that: a request that comes again
    /// means the same document.
    fn made_key(&self, name: &str, collection: &Collection, element: usize) -> String {
        let element = element as u64;
        let bits = match &self.once {
            Some(once) => hash(format!("{}\0{name}\0{}\0{element}", self.database, once.key).as_bytes()),
            None => {
                let mut bytes = self.seed.to_le_bytes().to_vec();
                bytes.extend_from_slice(&element.to_le_bytes());
                hash(&bytes)
            }
        };
        match collection.generator {
            KeyGenerator::Uuid => {
                let digits = format!("{bits:032x}");
                let part = |from: usize, to: usize| &digits[from..to];
                [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
            }
            KeyGenerator::Traditional | KeyGenerator::Padded => match &self.once {
                Some(_) => format!("{bits:032x}"),
                // In the order of time, and of the elements of one request.
                None => {
                    let seed = hash(&self.seed.to_le_bytes()) as u64;
                    format!("{:011x}{:012x}{element:05x}", self.wall_ms, seed & 0xffff_ffff_ffff)
                }
            },
        }
    }

    /// The idempotency key of one element of the request.
    pub fn once_for(&self, element: usize) -> Option<Once> {
        let once = self.once.as_ref()?;
        let key = if element == 0 { once.key.clone() } else { format!("{}#{element}", once.key) };
        Some(Once { key, request: once.request })
    }
}
