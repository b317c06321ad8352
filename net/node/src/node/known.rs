//! What every shard of the node knows of databases, collections and users.
//!
//! Promises: on shard 0, what is known is the newest committed value; the other shards are told whenever it
//! changes and say when they have it, so that the answer to a change can wait for all of them. Until
//! something is known, nobody who needs it is served. Changes are `errands`' business.

use super::access::{Fetched, FetchedValue};
use super::{Node, ReadFor, Reader, Role};
use crate::mail::{Edit, Errand, Mail, Work};
use crate::seam::{Action, ConnId};
use agency::ids::Nanos;
use engine::ids::{Lsn, Revision, ShardId};
use engine::segment::Location;
use engine::shard::{Found, View};
use faces::auth::{CredentialCache, token};
use faces::documents::{METADATA_KEY, Metadata};
use faces::resp::Ack;
use std::sync::Arc;

/// The shard that keeps the metadata.
pub(super) const KEEPER: ShardId = ShardId(0);
/// A follower looks for a new value at most this often.
const LOOK_INTERVAL: Nanos = Nanos(1_000_000);
/// The connection that an errand of the node's own is from.
pub(super) const OWN: ConnId = ConnId(0);
/// How long a request waits until it is known who may connect, or whether its password is right.
pub(super) const PATIENCE: Nanos = Nanos(5_000_000_000);
/// Pause before the first user is asked for again.
const FOUND_AGAIN: Nanos = Nanos(100_000_000);

/// See the head of this file.
pub(super) struct Known {
    pub(super) metadata: Option<Arc<Metadata>>,
    pub(super) passwords: CredentialCache,
    /// Raised whenever there is a new verdict on a password, or new metadata. Whoever waits for either looks
    /// again then, and not before.
    pub(super) generation: u64,
    /// Where the known value is; `None`: there is none. Only on shard 0.
    revision: Option<Revision>,
    /// The commit LSN when it was last looked for, and when that was.
    looked: (Lsn, Nanos),
    /// Being read from here.
    reading: Option<Location>,
    /// Was read from here.
    place: Option<Location>,
    /// The version that each shard has, by its number. Only on shard 0.
    held: Vec<u64>,
    found_at: Nanos,
}

impl Known {
    /// Nothing is known. `key` is random, for the cache of passwords.
    pub(super) fn new(shards: u16, key: [u8; 32]) -> Known {
        Known {
            metadata: None,
            passwords: CredentialCache::new(key),
            generation: 0,
            revision: None,
            looked: (Lsn(u64::MAX), Nanos(0)),
            reading: None,
            place: None,
            held: vec![0; usize::from(shards)],
            found_at: Nanos(0),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.metadata.as_ref().map_or(0, |metadata| metadata.version)
    }

    /// Whether clients may only read.
    pub(super) fn read_only(&self) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.read_only)
    }

    /// Whether one who began to wait at `since` and looked when the generation was `seen` is to look again:
    /// because more is known, or because its time is over.
    pub(super) fn is_due(&self, now: Nanos, since: Nanos, seen: u64) -> bool {
        seen != self.generation || is_over(now, since)
    }

    /// Whether every shard of the node has this version.
    pub(super) fn is_held(&self, version: u64) -> bool {
        self.held.iter().all(|held| *held >= version)
    }
}

/// Whether one who began to wait at `since` has waited long enough to be refused.
pub(super) fn is_over(now: Nanos, since: Nanos) -> bool {
    now.0 > since.0 + PATIENCE.0
}

impl Node {
    /// On shard 0: notices what was committed since.
    pub(super) fn watch_metadata(&mut self, out: &mut Vec<Action>) {
        if self.options.shard != KEEPER {
            return;
        }
        let (committed, leads) = (self.shard.committed(), matches!(self.role, Role::Leader(_)));
        let due = leads || self.now.0 >= self.known.looked.1.0 + LOOK_INTERVAL.0;
        if committed != self.known.looked.0 && due && self.known.reading.is_none() {
            self.known.looked = (committed, self.now);
            self.look_for_metadata(out);
        }
        if leads {
            self.found_first_user(out);
        }
    }

    /// Whether an answer that was made from this version may leave: shard 0 has looked, and nothing is newer.
    pub(super) fn is_newest_metadata(&mut self, version: u64, out: &mut Vec<Action>) -> bool {
        if self.shard.committed() != self.known.looked.0 && self.known.reading.is_none() {
            self.known.looked = (self.shard.committed(), self.now);
            self.look_for_metadata(out);
        }
        self.known.reading.is_none() && self.known.metadata.is_some() && self.known.version() == version
    }

    fn look_for_metadata(&mut self, out: &mut Vec<Action>) {
        let found = match self.shard.find(METADATA_KEY, View::Committed) {
            Found::Missing { .. } => match self.known.metadata {
                Some(_) => return,
                None => Some((Metadata::default(), None)),
            },
            Found::Here { revision, .. } if self.known.revision == Some(revision) => return,
            Found::Here { value, revision, .. } => {
                Metadata::decode(value).ok().map(|metadata| (metadata, Some(revision)))
            }
            Found::OnDisk { at, .. } if self.known.place == Some(at) => return,
            Found::OnDisk { at, spec, .. } => {
                self.known.reading = Some(at);
                let ticket = self.ticket();
                let (reader, key) = (Reader::Metadata, METADATA_KEY.into());
                self.reads.insert(ticket, ReadFor::Client { reader, at, key });
                return out.push(Action::Read { ticket, spec });
            }
        };
        self.adopt(found, out);
    }

    /// The value that was on the disk.
    pub(super) fn metadata_fetched(&mut self, value: Fetched, out: &mut Vec<Action>) {
        if self.known.reading.take() != Some(value.at) {
            return;
        }
        // If it cannot be had, it is looked for with the next commit; what was known goes on to be known.
        if let FetchedValue::Value { value: bytes, revision, .. } = value.found
            && let Ok(metadata) = Metadata::decode(&bytes)
        {
            // It may have changed while it was read.
            self.known.looked.0 = Lsn(u64::MAX);
            self.known.place = Some(value.at);
            self.adopt(Some((metadata, Some(revision))), out);
        }
    }

    fn adopt(&mut self, found: Option<(Metadata, Option<Revision>)>, out: &mut Vec<Action>) {
        let Some((metadata, revision)) = found else { return };
        self.known.revision = revision;
        if self.known.metadata.as_deref().is_some_and(|known| *known == metadata) {
            return;
        }
        let metadata = Arc::new(metadata);
        self.known.held[usize::from(KEEPER.0)] = metadata.version;
        for shard in (1..self.options.settings.shards).map(ShardId) {
            out.push(Action::Mail { to: shard, mail: Box::new(Mail::Metadata(Arc::clone(&metadata))) });
        }
        self.known.metadata = Some(metadata);
        self.known.generation += 1;
    }

    /// Shard 0 told this shard.
    pub(super) fn metadata_came(&mut self, metadata: Arc<Metadata>, out: &mut Vec<Action>) {
        let (from, version) = (self.options.shard, metadata.version);
        self.known.metadata = Some(metadata);
        self.known.generation += 1;
        out.push(Action::Mail { to: KEEPER, mail: Box::new(Mail::MetadataHeld { from, version }) });
    }

    pub(super) fn metadata_held(&mut self, from: ShardId, version: u64) {
        if let Some(held) = self.known.held.get_mut(usize::from(from.0)) {
            *held = version;
        }
    }

    /// A group that asks for passwords and has no users yet gets its first.
    fn found_first_user(&mut self, out: &mut Vec<Action>) {
        let settings = &self.options.settings;
        let (Some(hash), true) = (&settings.root_password_hash, settings.auth) else { return };
        let lacking = self.known.metadata.as_ref().is_some_and(|known| known.token_key.is_none());
        let serves = matches!(&self.role, Role::Leader(leader) if leader.serves());
        if !lacking || !serves || self.now < self.known.found_at {
            return;
        }
        self.known.found_at = Nanos(self.now.0 + FOUND_AGAIN.0);
        let token_key = token::derived_key(&self.options.secret, "the group's tokens");
        let token_key = token_key.iter().map(|byte| format!("{byte:02x}")).collect();
        let edit = Edit::FirstUser { root_password_hash: hash.clone(), token_key };
        let ticket = self.ticket();
        let (from, conn, work) = (KEEPER, OWN, Work::Edit(edit));
        let (ack, answer) = (Ack::Durable, self.http.answers.open());
        let errand = Errand { from, conn, ticket, work, write: true, stale: None, ack, answer };
        self.errand_came(errand, out);
    }
}
