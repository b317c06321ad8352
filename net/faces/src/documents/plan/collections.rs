//! `/_api/collection` and `/_api/index`.

use super::super::answer::{properties, success, summaries, summary};
use super::super::change::{CollectionSettings, MetadataChange};
use super::super::metadata::KeyGenerator;
use super::super::op::Task;
use super::super::work::{Plan, Render};
use super::flags::is_on;
use super::handle::text;
use super::{Failure, Planned, Planner};
use crate::http::Method;
use serde_json::{Map, Value, json};

const RENAME: &str = "collections cannot be renamed: create another, list the documents with \
    PUT /_api/simple/all, and write them with POST /_api/import";
const FIGURES: &str = "there are no figures of a collection: use its count, and /_admin/baton/status";
const CHECKSUM: &str = "there are no checksums of a collection: `baton inspect diff` compares whole nodes";
const SHARDS: &str = "the shards of this group are none of a collection's: use /_admin/baton/status";
const EDGES: &str = "edge collections belong to graphs, which Baton does not have: create a collection of \
    type 2 and keep identifiers as attributes";
const INDEXES: &str = "Baton has no secondary indexes: read documents by their keys";
const AUTOINCREMENT: &str = "keys cannot be numbered: leave out keyOptions, or use the type traditional, \
    padded or uuid";
const SCHEMA: &str = "documents are not checked or completed: leave out schema and computedValues";

impl Planner<'_> {
    pub fn collections(&self, path: &[&str]) -> Planned {
        match (path, self.method()) {
            ([], Method::Get | Method::Head) => Ok(self.list()),
            ([], Method::Post) => self.create(),
            ([name], Method::Get | Method::Head) => {
                let collection = self.collection(name)?;
                Ok(Plan::Reply(success(200, summary(name, collection))))
            }
            ([name], Method::Delete) => self.drop_collection(name),
            ([name, what], Method::Get | Method::Head) => self.told(name, what),
            ([name, what], Method::Put) => self.done_to(name, what),
            ([] | [_] | [_, _], _) => Err(Failure::MethodNotAllowed),
            _ => Err(Failure::UnknownPath(self.request.path.clone())),
        }
    }

    fn list(&self) -> Plan {
        let users_only = is_on(self.request, "excludeSystem");
        let all = self.metadata.database(&self.database).into_iter().flat_map(|found| &found.collections);
        let shown = all.filter(|(_, collection)| !(users_only && collection.system));
        Plan::Reply(summaries(shown))
    }

    fn create(&self) -> Planned {
        let object = self.object()?;
        let Some(name) = text(&object, "name") else {
            return Err(Failure::IllegalName(String::new()));
        };
        match object.get("type") {
            None | Some(Value::Null) => {}
            Some(kind) if *kind == json!(2) => {}
            Some(kind) if *kind == json!(3) => return Err(Failure::NotImplemented(EDGES)),
            Some(_) => return Err(Failure::BadParameter("type must be 2".to_owned())),
        }
        if ["schema", "computedValues"].iter().any(|name| demands(&object, name)) {
            return Err(Failure::NotImplemented(SCHEMA));
        }
        let options = object.get("keyOptions").and_then(Value::as_object);
        let option = |name: &str| options.and_then(|options| options.get(name));
        let generator = match option("type").and_then(Value::as_str) {
            None | Some("traditional") => KeyGenerator::Traditional,
            Some("padded") => KeyGenerator::Padded,
            Some("uuid") => KeyGenerator::Uuid,
            Some("autoincrement") => return Err(Failure::NotImplemented(AUTOINCREMENT)),
            Some(other) => {
                return Err(Failure::BadParameter(format!("keyOptions.type {other:?} is not known")));
            }
        };
        let is_true = |name: &str| object.get(name).and_then(Value::as_bool).unwrap_or(false);
        let settings = CollectionSettings {
            wait_for_sync: is_true("waitForSync"),
            system: is_true("isSystem"),
            generator,
            user_keys: option("allowUserKeys").and_then(Value::as_bool).unwrap_or(true),
        };
        let (database, name) = (self.database.clone(), name.to_owned());
        Ok(Plan::Metadata(MetadataChange::CreateCollection { database, name, settings }))
    }

    /// First its documents, then the collection: if the group fails in between, the collection is there still,
    /// and can be dropped again.
    fn drop_collection(&self, name: &str) -> Planned {
        self.collection(name)?;
        let (database, name) = (self.database.clone(), name.to_owned());
        let dropped = Plan::Metadata(MetadataChange::DropCollection { database, name: name.clone() });
        Ok(self.scan(&name, Task::Truncate, Render::Then(Box::new(dropped))))
    }

    fn told(&self, name: &str, what: &str) -> Planned {
        let collection = self.collection(name)?;
        match what {
            "properties" => Ok(Plan::Reply(success(200, properties(name, collection)))),
            "count" => Ok(self.scan(name, Task::Count, Render::Count(properties(name, collection)))),
            "revision" => Ok(self.scan(name, Task::Tail, Render::Revision(properties(name, collection)))),
            "figures" => Err(Failure::NotImplemented(FIGURES)),
            "checksum" => Err(Failure::NotImplemented(CHECKSUM)),
            "shards" => Err(Failure::NotImplemented(SHARDS)),
            _ => Err(Failure::UnknownPath(self.request.path.clone())),
        }
    }

    fn done_to(&self, name: &str, what: &str) -> Planned {
        let collection = self.collection(name)?;
        let here = || success(200, summary(name, collection));
        match what {
            "truncate" => Ok(self.scan(name, Task::Truncate, Render::Fixed(summary(name, collection)))),
            "properties" => {
                let object = self.object()?;
                if ["schema", "computedValues"].iter().any(|name| demands(&object, name)) {
                    return Err(Failure::NotImplemented(SCHEMA));
                }
                let wait_for_sync = object.get("waitForSync").and_then(Value::as_bool);
                let (database, name) = (self.database.clone(), name.to_owned());
                Ok(Plan::Metadata(MetadataChange::SetProperties { database, name, wait_for_sync }))
            }
            "load" | "unload" | "compact" => Ok(Plan::Reply(here())),
            "recalculateCount" | "loadIndexesIntoMemory" => {
                Ok(Plan::Reply(success(200, json!({ "result": true }))))
            }
            "rename" => Err(Failure::NotImplemented(RENAME)),
            "responsibleShard" => Err(Failure::NotImplemented(SHARDS)),
            _ => Err(Failure::UnknownPath(self.request.path.clone())),
        }
    }

    /// Every collection has one index, of the keys.
    pub fn indexes(&self, path: &[&str]) -> Planned {
        let of = |name: &str| {
            json!({
                "id": format!("{name}/0"), "name": "primary", "type": "primary", "fields": ["_key"],
                "unique": true, "sparse": false,
            })
        };
        match path {
            [] if self.is_get() => {
                let name = self.request.parameter("collection").ok_or(Failure::CollectionMissing)?;
                self.collection(name)?;
                let index = of(name);
                let identifiers = json!({ format!("{name}/0"): index });
                Ok(Plan::Reply(success(200, json!({ "indexes": [index], "identifiers": identifiers }))))
            }
            [name, "0"] if self.is_get() => {
                self.collection(name)?;
                Ok(Plan::Reply(success(200, of(name))))
            }
            _ => Err(Failure::NotImplemented(INDEXES)),
        }
    }
}

/// Whether a setting asks for something.
fn demands(object: &Map<String, Value>, name: &str) -> bool {
    match object.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(settings)) => !settings.is_empty(),
        Some(_) => true,
    }
}
