//! A document's attributes as the store keeps them: the text of a JSON object without `_id`, `_key`, `_rev`.
//!
//! Promises: a [`Body`] is such a text, and showing a document costs no parsing beyond one check. Numbers,
//! their digits and the order of attributes stay as they were written.

use super::failure::Failure;
use super::names;
use engine::ids::Revision;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The attributes that are not stored: the key, the log and the collection give them.
pub(super) const SYSTEM_ATTRIBUTES: [&str; 3] = ["_id", "_key", "_rev"];

/// Largest document in bytes of its text. What a shard thread does with one must take it a few milliseconds at
/// most: one that stands still for longer is held for hung.
pub const MAX_DOCUMENT_BYTES: usize = 2 << 20;
/// Largest patch and document together that are merged: that means to take both apart.
pub const MAX_MERGED_BYTES: usize = 256 << 10;
/// And how much they may weigh: an object costs far more than its few bytes. 8192 objects take about 5 ms.
const MAX_MERGED_WEIGHT: usize = 64 << 10;
const OBJECT_WEIGHT: usize = 8;
const VALUE_WEIGHT: usize = 2;

const _: () = assert!(MAX_MERGED_BYTES <= MAX_DOCUMENT_BYTES);

/// The text of a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(Vec<u8>);

/// How a patch and a document become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Keep attributes that the patch sets to null; else it removes them.
    pub keep_null: bool,
    /// Merge objects attribute by attribute; else the patch's object replaces the document's.
    pub merge_objects: bool,
}

/// What a stored text is.
enum Stored {
    Object,
    /// An object that somebody wrote together with system attributes.
    WithSystemAttributes,
}

impl Body {
    /// What a stored value is as a document; `None` if it is no JSON object, or larger than a document may be, or
    /// has system attributes and is too large to be taken apart for that.
    pub fn from_stored(value: &[u8]) -> Option<Body> {
        if value.len() > MAX_DOCUMENT_BYTES {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        match serde_json::from_str::<Stored>(text).ok()? {
            Stored::Object => Some(Body(value.trim_ascii().to_vec())),
            Stored::WithSystemAttributes if !is_mergeable(value, b"") => None,
            Stored::WithSystemAttributes => {
                let mut map: Map<String, Value> = serde_json::from_slice(value).ok()?;
                strip(&mut map);
                Some(Body::from_map(&map))
            }
        }
    }

    /// The text of these attributes, which must be stripped already.
    pub fn from_map(map: &Map<String, Value>) -> Body {
        Body(serde_json::to_vec(map).expect("a JSON object has a text"))
    }

    /// The text of these attributes, which must be stripped already, for a document to be written.
    ///
    /// # Errors
    /// It is larger than a document may be.
    pub(super) fn limited(map: &Map<String, Value>) -> Result<Body, Failure> {
        let body = Body::from_map(map);
        match body.0.len() {
            0..=MAX_DOCUMENT_BYTES => Ok(body),
            _ => Err(Failure::TooLarge { limit: MAX_DOCUMENT_BYTES }),
        }
    }

    /// The attributes; `None` if somebody wrote them nested too deeply to be taken apart.
    pub fn to_map(&self) -> Option<Map<String, Value>> {
        serde_json::from_slice(&self.0).ok()
    }

    /// The value to be stored.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Append the whole document.
    pub(super) fn push_document(&self, collection: &str, key: &str, revision: Revision, out: &mut Vec<u8>) {
        assert!(self.0.starts_with(b"{") && self.0.ends_with(b"}"), "a body is an object's text");
        push_identity(collection, key, revision, out);
        let attributes = self.0[1..self.0.len() - 1].trim_ascii();
        if !attributes.is_empty() {
            out.push(b',');
            out.extend_from_slice(attributes);
        }
        out.push(b'}');
    }
}

/// Append `{"_id":…,"_key":…,"_rev":…`, without the closing brace. Names and keys need no escapes.
pub(super) fn push_identity(collection: &str, key: &str, revision: Revision, out: &mut Vec<u8>) {
    let revision = names::revision(revision);
    let parts =
        ["{\"_id\":\"", collection, "/", key, "\",\"_key\":\"", key, "\",\"_rev\":\"", &revision, "\""];
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// Whether a stored value and a patch may be taken apart, to be merged.
pub(super) fn is_mergeable(value: &[u8], patch: &[u8]) -> bool {
    // Those inside of texts count, too: to tell them apart would cost more than it is worth.
    let weight = |byte: &u8| match byte {
        b'{' => OBJECT_WEIGHT,
        b',' | b'[' => VALUE_WEIGHT,
        _ => 0,
    };
    value.len() + patch.len() <= MAX_MERGED_BYTES
        && value.iter().chain(patch).map(weight).sum::<usize>() <= MAX_MERGED_WEIGHT
}

/// Remove the system attributes.
pub(super) fn strip(map: &mut Map<String, Value>) {
    for name in SYSTEM_ATTRIBUTES {
        map.shift_remove(name);
    }
}

/// The document after the patch.
pub(super) fn merged(
    mut document: Map<String, Value>,
    patch: Map<String, Value>,
    rules: Merge,
) -> Map<String, Value> {
    if !rules.keep_null {
        // All at once: removing one moves those behind it.
        document.retain(|name, _| patch.get(name).is_none_or(|value| !value.is_null()));
    }
    for (name, value) in patch {
        let value = match (value, document.get_mut(&name)) {
            (Value::Null, _) if !rules.keep_null => continue,
            (Value::Object(inner), Some(Value::Object(old))) if rules.merge_objects => {
                let old = std::mem::take(old);
                Value::Object(merged(old, inner, rules))
            }
            (Value::Object(inner), _) if rules.merge_objects => {
                Value::Object(merged(Map::new(), inner, rules))
            }
            (value, _) => value,
        };
        document.insert(name, value);
    }
    document
}

impl<'de> serde::Deserialize<'de> for Stored {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Stored, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Stored;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stored, A::Error> {
                let mut found = Stored::Object;
                while let Some(name) = map.next_key::<Name<'_>>()? {
                    // The values are parsed, not skipped: what is shown must be parsable by its reader.
                    map.next_value::<IgnoredAny>()?;
                    if SYSTEM_ATTRIBUTES.contains(&name.0.as_ref()) {
                        found = Stored::WithSystemAttributes;
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(Look)
    }
}

/// An attribute's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::{Epoch, Lsn};
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn documents_are_shown_as_they_were_written() {
        let revision = Revision { epoch: Epoch(1), lsn: Lsn(16) };
        for (stored, shown) in [
            ("{}", ""),
            (" { } ", ""),
            (r#"{"b":1.50,"a":[1, 2]}"#, r#","b":1.50,"a":[1, 2]"#),
            (r#"{"x":1,"_key":"other","_rev":"y","_id":3}"#, r#","x":1"#),
        ] {
            let mut out = Vec::new();
            Body::from_stored(stored.as_bytes()).unwrap().push_document("c", "k", revision, &mut out);
            let expected = format!(r#"{{"_id":"c/k","_key":"k","_rev":"1-10"{shown}}}"#);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        for no_document in ["", "1", "[1]", "{", "{\"a\":}", "{} {}", "{\"a\":\"\u{1}\"}", "text"] {
            assert!(Body::from_stored(no_document.as_bytes()).is_none(), "{no_document}");
        }
        assert!(Body::from_stored(b"{\"a\":\"\xff\"}").is_none(), "not UTF-8");
    }

    #[test]
    fn what_would_take_long_to_take_apart_is_left_alone() {
        let text = |unit: &str, bytes: usize| format!("{{\"a\":[{}0]}}", unit.repeat(bytes / unit.len()));
        for (unit, bytes, mergeable) in [
            ("\"some words of text\",", 200 << 10, true),
            ("\"some words of text\",", 256 << 10, false),
            ("{\"b\":0},", 32 << 10, true),
            ("{\"b\":0},", 64 << 10, false),
            ("[],", 32 << 10, true),
            ("[],", 64 << 10, false),
        ] {
            let value = text(unit, bytes);
            assert!(Body::from_stored(value.as_bytes()).is_some());
            assert_eq!(is_mergeable(value.as_bytes(), b"{}"), mergeable, "{bytes} of {unit}");
            assert_eq!(is_mergeable(b"{}", value.as_bytes()), mergeable, "{bytes} of {unit}");
            let named = value.replacen("\"a\"", "\"_key\":\"k\",\"a\"", 1);
            assert_eq!(Body::from_stored(named.as_bytes()).is_some(), mergeable, "{bytes} of {unit}");
        }
    }

    #[test]
    fn patches_are_merged_by_the_rules() {
        let old = json!({"a": 1, "o": {"x": 1, "y": 2}, "l": [1, 2]});
        let patch = json!({"a": null, "o": {"y": null, "z": 3}, "l": [3], "n": {"q": null, "r": 1}});
        for (keep_null, merge_objects, expected) in [
            (
                true,
                true,
                json!({"a": null, "o": {"x": 1, "y": null, "z": 3}, "l": [3], "n": {"q": null, "r": 1}}),
            ),
            (false, true, json!({"o": {"x": 1, "z": 3}, "l": [3], "n": {"r": 1}})),
            (true, false, json!({"a": null, "o": {"y": null, "z": 3}, "l": [3], "n": {"q": null, "r": 1}})),
            (false, false, json!({"o": {"y": null, "z": 3}, "l": [3], "n": {"q": null, "r": 1}})),
        ] {
            let rules = Merge { keep_null, merge_objects };
            let merged = merged(map(old.clone()), map(patch.clone()), rules);
            assert_eq!(Value::Object(merged), expected, "{rules:?}");
        }
    }
}
