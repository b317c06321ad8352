//! Changing the metadata: on the leader of shard 0, one whole new value for each change.
//!
//! Promises: a change is checked against the newest metadata and is made as a whole or not at all; changes on
//! one shard are serial, so that none is lost. Whoever changes it tells the other shards, before the answer
//! leaves. The documents of what is dropped are removed before (`plan`).

use super::failure::Failure;
use super::metadata::{
    Collection, Database, KeyGenerator, MAX_COLLECTIONS, MAX_DATABASES, METADATA_KEY, Metadata, SYSTEM,
};
use super::{answer, names};
use crate::auth::UserRole;
use crate::auth::api::{Answer, Sealed};
use crate::http::Response;
use crate::store::{Fetch, Store, Write};
use serde_json::json;

/// A change of databases and collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataChange {
    /// `users`: those of them that exist may write in it.
    CreateDatabase {
        name: String,
        users: Vec<String>,
    },
    DropDatabase {
        name: String,
    },
    CreateCollection {
        database: String,
        name: String,
        settings: CollectionSettings,
    },
    SetProperties {
        database: String,
        name: String,
        wait_for_sync: Option<bool>,
    },
    DropCollection {
        database: String,
        name: String,
    },
}

/// How a collection is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionSettings {
    pub wait_for_sync: bool,
    pub system: bool,
    pub generator: KeyGenerator,
    pub user_keys: bool,
}

/// How a change ended.
#[derive(Debug)]
pub enum Changed {
    /// The answer, which leaves when the change is committed and every shard of this node has the new
    /// metadata; without new metadata nothing changed.
    Done { answer: Response, metadata: Option<Box<Metadata>> },
    /// Nothing happened: run it again when the store has what it lacked.
    Blocked,
}

/// Carries out a change against the store of shard 0.
pub fn change(change: &MetadataChange, store: &mut dyn Store) -> Changed {
    edit(store, |metadata| change.apply(metadata))
}

/// Makes or changes users, and then the rest; all of it or nothing. The answer is that of the last.
pub fn with_users(users: &[Sealed], then: Option<&MetadataChange>, store: &mut dyn Store) -> Changed {
    edit(store, |metadata| {
        let mut answer = Response::empty(200);
        for sealed in users {
            let Answer { status, body } = sealed.apply(&mut metadata.users);
            answer = Response::json(status, &body);
            if !(200..300).contains(&status) {
                return answer;
            }
        }
        then.map_or(answer, |change| change.apply(metadata))
    })
}

/// Changes the metadata in the store of shard 0. `apply` says what to answer; if that is no success (2xx),
/// nothing is written.
pub fn edit(store: &mut dyn Store, apply: impl FnOnce(&mut Metadata) -> Response) -> Changed {
    let failed = |failure: Failure| Changed::Done { answer: failure.response(), metadata: None };
    let current = match store.fetch(METADATA_KEY) {
        Fetch::Value { value, .. } => Metadata::decode(value),
        Fetch::Missing => Ok(Metadata::default()),
        Fetch::Pending => return Changed::Blocked,
        Fetch::Failed(fault) => return failed(fault.into()),
    };
    let mut metadata = match current {
        Ok(metadata) => metadata,
        Err(error) => return failed(Failure::Unreadable(error.to_string())),
    };
    let answer = apply(&mut metadata);
    if !(200..300).contains(&answer.status) {
        return Changed::Done { answer, metadata: None };
    }
    assert!(metadata.databases.contains_key(SYSTEM), "the group's own database was removed");
    metadata.version += 1;
    let value = metadata.encode();
    match store.write(&[Write::Put { key: METADATA_KEY, value: &value, expiry_ms: 0 }]) {
        Ok(()) => Changed::Done { answer, metadata: Some(Box::new(metadata)) },
        Err(error) => Failure::of_write(error).map_or(Changed::Blocked, failed),
    }
}

impl MetadataChange {
    /// Changes the metadata and says what to answer.
    pub fn apply(&self, metadata: &mut Metadata) -> Response {
        self.applied(metadata).unwrap_or_else(|failure| failure.response())
    }

    fn applied(&self, metadata: &mut Metadata) -> Result<Response, Failure> {
        match self {
            MetadataChange::CreateDatabase { name, users } => {
                if !names::is_database(name) {
                    return Err(Failure::BadDatabase(name.clone()));
                }
                if metadata.databases.contains_key(name) {
                    return Err(Failure::DuplicateName(name.clone()));
                }
                if metadata.databases.len() >= MAX_DATABASES {
                    return Err(Failure::NoMore { what: "databases", limit: MAX_DATABASES });
                }
                let id = metadata.next_id();
                metadata.databases.insert(name.clone(), Database { id, ..Database::default() });
                for user in users {
                    if let Some(user) = metadata.users.get_mut(user) {
                        user.databases.insert(name.clone(), UserRole::Write);
                    }
                }
                Ok(answer::success(201, json!({ "result": true })))
            }
            MetadataChange::DropDatabase { name } => {
                if name == SYSTEM {
                    return Err(Failure::NotForSystem);
                }
                metadata.databases.remove(name).ok_or(Failure::NoDatabase)?;
                for user in metadata.users.values_mut() {
                    user.databases.remove(name);
                }
                Ok(answer::success(200, json!({ "result": true })))
            }
            MetadataChange::CreateCollection { database, name, settings } => {
                if !names::is_collection(name, settings.system) {
                    return Err(Failure::IllegalName(name.clone()));
                }
                let collections =
                    metadata.databases.values().map(|found| found.collections.len()).sum::<usize>();
                let id = metadata.next_id();
                let found = metadata.databases.get_mut(database).ok_or(Failure::NoDatabase)?;
                if found.collections.contains_key(name) {
                    return Err(Failure::DuplicateName(name.clone()));
                }
                if collections >= MAX_COLLECTIONS {
                    return Err(Failure::NoMore { what: "collections", limit: MAX_COLLECTIONS });
                }
                let CollectionSettings { wait_for_sync, system, generator, user_keys } = settings.clone();
                let collection = Collection { id, wait_for_sync, system, generator, user_keys };
                let answer = answer::success(200, answer::properties(name, &collection));
                found.collections.insert(name.clone(), collection);
                Ok(answer)
            }
            MetadataChange::SetProperties { database, name, wait_for_sync } => {
                let found = metadata.databases.get_mut(database).ok_or(Failure::NoDatabase)?;
                let collection = found.collections.get_mut(name);
                let collection = collection.ok_or_else(|| Failure::NoCollection(name.clone()))?;
                collection.wait_for_sync = wait_for_sync.unwrap_or(collection.wait_for_sync);
                Ok(answer::success(200, answer::properties(name, collection)))
            }
            MetadataChange::DropCollection { database, name } => {
                let found = metadata.databases.get_mut(database).ok_or(Failure::NoDatabase)?;
                let dropped = found.collections.remove(name);
                let dropped = dropped.ok_or_else(|| Failure::NoCollection(name.clone()))?;
                Ok(answer::success(200, json!({ "id": dropped.id.to_string() })))
            }
        }
    }
}
