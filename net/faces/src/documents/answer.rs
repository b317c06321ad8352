//! Answers made of JSON values, and what is told of collections in them.

use super::metadata::{Collection, KeyGenerator};
use crate::http::Response;
use serde::Serialize;
use serde_json::{Value, json};

/// A JSON object as an answer.
pub(super) fn success(status: u16, mut body: Value) -> Response {
    body["error"] = false.into();
    body["code"] = status.into();
    Response::json(status, &body)
}

/// What a list of collections says of each.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'c> {
    id: String,
    name: &'c str,
    status: u8,
    r#type: u8,
    is_system: bool,
    globally_unique_id: String,
}

impl Summary<'_> {
    fn of<'c>(name: &'c str, collection: &Collection) -> Summary<'c> {
        let (id, is_system) = (collection.id.to_string(), collection.system);
        let globally_unique_id = format!("baton/{id}");
        Summary { id, name, status: 3, r#type: 2, is_system, globally_unique_id }
    }
}

pub(super) fn summary(name: &str, collection: &Collection) -> Value {
    serde_json::to_value(Summary::of(name, collection)).expect("a summary is plain data")
}

/// A list of collections. There may be thousands: their text is made at once.
pub(super) fn summaries<'c>(all: impl Iterator<Item = (&'c String, &'c Collection)>) -> Response {
    #[derive(Serialize)]
    struct Summaries<'c> {
        result: Vec<Summary<'c>>,
        error: bool,
        code: u16,
    }
    let result = all.map(|(name, collection)| Summary::of(name, collection)).collect();
    Response::json(200, &Summaries { result, error: false, code: 200 })
}

/// All that is told of a collection.
pub(super) fn properties(name: &str, collection: &Collection) -> Value {
    let generator = match collection.generator {
        KeyGenerator::Traditional => "traditional",
        KeyGenerator::Padded => "padded",
        KeyGenerator::Uuid => "uuid",
    };
    let mut all = summary(name, collection);
    all["statusString"] = "loaded".into();
    all["waitForSync"] = collection.wait_for_sync.into();
    all["keyOptions"] = json!({ "type": generator, "allowUserKeys": collection.user_keys });
    all["cacheEnabled"] = false.into();
    all["syncByRevision"] = false.into();
    all["schema"] = Value::Null;
    all["computedValues"] = Value::Null;
    all
}

/// A body that is the text of JSON already.
pub(super) fn raw(status: u16, body: Vec<u8>) -> Response {
    let mut response = Response::json(status, &Value::Null);
    response.body = body;
    response
}
