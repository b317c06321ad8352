//! The metadata, databases, collections and users: each shard's copy of it.
//!
//! Promises: on shard 0, what is known is the newest committed value; the other shards are told whenever it
//! changes and say when they have it, so that the answer to a change can wait for all of them. Until
//! something is known, nobody who needs it is served. Changes come as sub-requests; `edit` makes them.

pub(crate) mod edit;

use crate::events::Command;
use crate::ids::ConnId;
use crate::mail::Mail;
use crate::reads::{ReadFor, Reader};
use crate::shared::Context;
use crate::store::{FetchedValue, ValueRead};
use crate::subrequest::Edit;
use agency::ids::Nanos;
use engine::ids::{Lsn, Revision, ShardId};
use engine::segment::Location;
use engine::shard::{Found, View};
use faces::auth::{Claim, CredentialCache, token};
use faces::documents::{METADATA_KEY, Metadata};
use std::sync::Arc;
use std::time::Duration;

/// The shard that keeps the metadata.
pub(crate) const KEEPER: ShardId = ShardId(0);
/// A follower looks for a new value at most this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// The connection that a sub-request of the node's own is from.
pub(crate) const OWN: ConnId = ConnId(0);
/// How long a request waits until it is known who may connect, or whether its password is right.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before the first user is asked for again.
const FOUND_AGAIN: Duration = Duration::from_millis(100);

/// See the head of this file.
pub(crate) struct MetadataCopy {
    pub current: Option<Arc<Metadata>>,
    pub passwords: CredentialCache,
    /// Raised whenever there is a new verdict on a password, or new metadata. Whoever waits for either looks
    /// again then, and not before.
    pub generation: u64,
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

impl MetadataCopy {
    /// Nothing is known. `key` is random, for the cache of passwords.
    pub fn new(shards: u16, key: [u8; 32]) -> MetadataCopy {
        MetadataCopy {
            current: None,
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

    pub fn version(&self) -> u64 {
        self.current.as_ref().map_or(0, |metadata| metadata.version)
    }

    /// Whether clients may only read.
    pub fn read_only(&self) -> bool {
        self.current.as_ref().is_some_and(|metadata| metadata.read_only)
    }

    /// Whether one who began to wait at `since` and looked when the generation was `seen` is to look again:
    /// because more is known, or because its time is over.
    pub fn is_due(&self, now: Nanos, since: Nanos, seen: u64) -> bool {
        seen != self.generation || is_over(now, since)
    }

    /// Whether every shard of the node has this version.
    pub fn is_held(&self, version: u64) -> bool {
        self.held.iter().all(|held| *held >= version)
    }
}

/// Whether one who began to wait at `since` has waited long enough to be refused.
pub(crate) fn is_over(now: Nanos, since: Nanos) -> bool {
    now > since + PATIENCE
}

impl MetadataCopy {
    /// On shard 0: notices what was committed since. `leads`: this node leads it; `serves`: and it knows all that is
    /// committed.
    pub fn watch(&mut self, leads: bool, serves: bool, cx: &mut Context<'_>) {
        if cx.options.shard != KEEPER {
            return;
        }
        let (committed, now) = (cx.shard.committed(), cx.clock.now);
        let due = leads || now >= self.looked.1 + LOOK_INTERVAL;
        if committed != self.looked.0 && due && self.reading.is_none() {
            self.looked = (committed, now);
            self.look(serves, cx);
        }
    }

    /// Whether an answer that was made from this version may leave: shard 0 has looked, and nothing is newer.
    pub fn is_newest(&mut self, version: u64, cx: &mut Context<'_>) -> bool {
        if cx.shard.committed() != self.looked.0 && self.reading.is_none() {
            self.looked = (cx.shard.committed(), cx.clock.now);
            self.look(false, cx);
        }
        self.reading.is_none() && self.current.is_some() && self.version() == version
    }

    fn look(&mut self, serves: bool, cx: &mut Context<'_>) {
        let found = match cx.shard.find(METADATA_KEY, View::Committed) {
            Found::Missing { .. } => match self.current {
                Some(_) => return,
                // Who has just come back may not know yet how much is committed, and would call each password wrong.
                None if cx.options.settings.auth && !serves => return self.looked.0 = Lsn(u64::MAX),
                None => Some((Metadata::default(), None)),
            },
            Found::Here { revision, .. } if self.revision == Some(revision) => return,
            Found::Here { value, revision, .. } => {
                Metadata::decode(value).ok().map(|metadata| (metadata, Some(revision)))
            }
            Found::OnDisk { at, .. } if self.place == Some(at) => return,
            Found::OnDisk { at, spec, .. } => {
                self.reading = Some(at);
                let (reader, key) = (Reader::Metadata, METADATA_KEY.into());
                return cx.read(ReadFor::Value { reader, at, key }, spec);
            }
        };
        self.adopt(found, cx);
    }

    /// The value that was on the disk.
    pub fn fetched(&mut self, value: ValueRead, cx: &mut Context<'_>) {
        if self.reading.take() != Some(value.at) {
            return;
        }
        // If it cannot be had, it is looked for with the next commit; what was known goes on to be known.
        if let FetchedValue::Value { value: bytes, revision, .. } = value.found
            && let Ok(metadata) = Metadata::decode(&bytes)
        {
            // It may have changed while it was read.
            self.looked.0 = Lsn(u64::MAX);
            self.place = Some(value.at);
            self.adopt(Some((metadata, Some(revision))), cx);
        }
    }

    fn adopt(&mut self, found: Option<(Metadata, Option<Revision>)>, cx: &mut Context<'_>) {
        let Some((metadata, revision)) = found else { return };
        self.revision = revision;
        if self.current.as_deref().is_some_and(|known| *known == metadata) {
            return;
        }
        let metadata = Arc::new(metadata);
        self.held[usize::from(KEEPER.0)] = metadata.version;
        for shard in (1..cx.options.settings.shards).map(ShardId) {
            cx.out.push(Command::Mail { to: shard, mail: Box::new(Mail::Metadata(Arc::clone(&metadata))) });
        }
        self.current = Some(metadata);
        self.generation += 1;
    }

    /// Shard 0 told this shard.
    pub fn came(&mut self, metadata: Arc<Metadata>, cx: &mut Context<'_>) {
        let (from, version) = (cx.options.shard, metadata.version);
        self.current = Some(metadata);
        self.generation += 1;
        cx.out.push(Command::Mail { to: KEEPER, mail: Box::new(Mail::MetadataHeld { from, version }) });
    }

    /// Shard `from` has this version.
    pub fn is_held_by(&mut self, from: ShardId, version: u64) {
        if let Some(held) = self.held.get_mut(usize::from(from.0)) {
            *held = version;
        }
    }

    /// There is a new verdict on a password.
    pub fn judged(&mut self, claim: &Claim, right: bool) {
        self.passwords.learn(claim, right);
        self.generation += 1;
    }

    /// A group that asks for passwords and has no users yet gets its first: the change that makes it, if it is due
    /// at this leader, which `serves`.
    pub fn first_user(&mut self, serves: bool, cx: &Context<'_>) -> Option<Edit> {
        let settings = &cx.options.settings;
        let hash = settings.root_password_hash.as_ref().filter(|_| settings.auth)?;
        let lacking = self.current.as_ref().is_some_and(|known| known.token_key.is_none());
        let is_keeper = cx.options.shard == KEEPER;
        if !is_keeper || !lacking || !serves || cx.clock.now < self.found_at {
            return None;
        }
        self.found_at = cx.clock.now + FOUND_AGAIN;
        let token_key = token::derived_key(&cx.options.secret, "the group's tokens");
        let token_key = token_key.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Edit::FirstUser { root_password_hash: hash.clone(), token_key })
    }
}
