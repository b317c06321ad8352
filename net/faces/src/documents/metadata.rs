//! Databases, collections and users: one small value under one reserved key, in the log like everything.
//!
//! Promises: the database `_system` always exists, also before anything was written. Every change raises
//! `version` and gives new things an id that was never used. Does not check names (`change` does).

use crate::auth::Users;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The key of the store that holds the metadata, on shard 0.
pub const METADATA_KEY: &[u8] = b"\0baton/metadata";
/// The database that always exists.
pub const SYSTEM: &str = "_system";

/// Most databases. Shard threads read and write the metadata as a whole, which must take them a few milliseconds.
pub const MAX_DATABASES: usize = 256;
/// Most collections of all databases together.
pub const MAX_COLLECTIONS: usize = 2048;

/// How the server makes keys for documents that come without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyGenerator {
    #[default]
    Traditional,
    Padded,
    Uuid,
}

/// A collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    pub id: u64,
    #[serde(default)]
    pub wait_for_sync: bool,
    #[serde(default)]
    pub system: bool,
    #[serde(default)]
    pub generator: KeyGenerator,
    /// May documents bring their own key?
    pub user_keys: bool,
}

/// A database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    pub id: u64,
    #[serde(default)]
    pub collections: BTreeMap<String, Collection>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Raised by each change; 0: nothing was ever written.
    pub version: u64,
    /// The id of the newest database or collection.
    pub last_id: u64,
    pub databases: BTreeMap<String, Database>,
    /// Clients may only read.
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub users: Users,
    /// What tokens are signed with, as text; drawn at the first start with authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_key: Option<String>,
}

/// Why the stored metadata cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the stored databases, collections and users cannot be read: {0}")]
pub struct MetadataError(#[from] serde_json::Error);

impl Default for Metadata {
    fn default() -> Metadata {
        let system = Database { id: 1, collections: BTreeMap::new() };
        Metadata {
            version: 0,
            last_id: 1,
            databases: BTreeMap::from([(SYSTEM.to_owned(), system)]),
            read_only: false,
            users: Users::new(),
            token_key: None,
        }
    }
}

impl Metadata {
    /// From the stored value.
    ///
    /// # Errors
    /// It is none, or of a newer version of Baton.
    pub fn decode(value: &[u8]) -> Result<Metadata, MetadataError> {
        let mut metadata: Metadata = serde_json::from_slice(value)?;
        metadata.databases.entry(SYSTEM.to_owned()).or_insert(Database { id: 1, ..Database::default() });
        Ok(metadata)
    }

    /// The value to be stored.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("metadata is plain data with text keys")
    }

    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.get(name)
    }

    pub fn collection(&self, database: &str, name: &str) -> Option<&Collection> {
        self.databases.get(database)?.collections.get(name)
    }

    /// An id for something new.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let mut metadata = Metadata::default();
        let id = metadata.next_id();
        let users = Collection {
            id,
            wait_for_sync: true,
            system: false,
            generator: KeyGenerator::Uuid,
            user_keys: false,
        };
        let shop = Database { id: 9, collections: BTreeMap::from([("users".to_owned(), users)]) };
        metadata.databases.insert("shop".to_owned(), shop);
        let read = Metadata::decode(&metadata.encode()).unwrap();
        assert_eq!(read, metadata);
        assert!(read.collection("shop", "users").is_some() && read.collection(SYSTEM, "users").is_none());
        assert!(Metadata::decode(b"[]").is_err());
    }
}
