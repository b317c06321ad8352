//! A person accepts the loss of data, and waits for what becomes of it.
//!
//! Promises that an answer speaks of what is decided, and not of what was asked for. Decides nothing: each shard asks
//! its warden, and how that stands is in the page.

use agency::configuration::Change;
use agency::ids::{Epoch, NodeId, ShardId};
use agency::shard::{RequestStatus, ShardRequest, ShardUpdate};
use faces::http::Response;
use serde_json::json;
use std::time::{Duration, Instant};
use warden::page::{ShardArea, SharedPage};

/// How long it may take before the answer says that it is not decided yet.
const PROMOTE_TIMEOUT: Duration = Duration::from_secs(5);

/// What was asked of one shard, and how that stood before.
struct Wanted {
    shard: ShardId,
    epoch: Epoch,
    request: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    Leads,
    Refused,
}

/// A promotion that is awaited.
pub(super) struct Promotion {
    pub from: engine::ids::ShardId,
    pub ticket: u64,
    wanted: Vec<Wanted>,
    since: Instant,
}

/// The newest in the page, whatever was seen of it.
fn newest(area: &ShardArea) -> (Option<ShardRequest>, Option<ShardUpdate>) {
    (area.request(&mut 0), area.update(&mut 0))
}

impl Promotion {
    /// To be made before the shards are asked.
    pub fn new(from: engine::ids::ShardId, ticket: u64, shards: &[ShardId], page: &SharedPage) -> Promotion {
        let wanted = |shard: &ShardId| {
            let (request, update) = newest(page.shard(*shard));
            Wanted {
                shard: *shard,
                epoch: update.map_or(Epoch(0), |update| update.configuration.epoch),
                request: request.map_or(0, |request| request.id),
            }
        };
        Promotion { from, ticket, wanted: shards.iter().map(wanted).collect(), since: Instant::now() }
    }

    /// What is to be answered, once it is known.
    pub fn answer(&self, me: NodeId, page: &SharedPage) -> Option<Response> {
        let outcomes = self.wanted.iter().map(|wanted| {
            let (request, update) = newest(page.shard(wanted.shard));
            (wanted.shard, wanted.outcome(me, request, update))
        });
        answer(&outcomes.collect::<Vec<_>>(), self.since.elapsed())
    }
}

impl Wanted {
    fn outcome(&self, me: NodeId, request: Option<ShardRequest>, update: Option<ShardUpdate>) -> Outcome {
        let Some(update) = update else { return Outcome::Open };
        // Only a change of the leader raises the epoch.
        if update.configuration.epoch > self.epoch {
            return if update.configuration.leader == me { Outcome::Leads } else { Outcome::Refused };
        }
        let asked = request.filter(|r| r.id > self.request && r.change == Change::Force(me));
        let refused = |r: ShardRequest| r.id == update.request && update.outcome == RequestStatus::Refused;
        if asked.is_some_and(refused) { Outcome::Refused } else { Outcome::Open }
    }
}

/// The numbers of the shards that it came to this with.
fn those(outcomes: &[(ShardId, Outcome)], which: Outcome) -> Vec<u16> {
    outcomes.iter().filter(|(_, outcome)| *outcome == which).map(|(shard, _)| shard.0).collect()
}

fn answer(outcomes: &[(ShardId, Outcome)], took: Duration) -> Option<Response> {
    let [open, leads, refused] =
        [Outcome::Open, Outcome::Leads, Outcome::Refused].map(|which| those(outcomes, which));
    if !open.is_empty() && took <= PROMOTE_TIMEOUT {
        return None;
    }
    Some(if !open.is_empty() {
        let text =
            format!("not decided yet for shards {open:?}, and may still be: led from here are {leads:?}");
        Response::error(504, 504, &text)
    } else if !refused.is_empty() {
        let text = format!(
            "refused for shards {refused:?}: somebody leads them, or a member that lacks nothing could, or too few \
             agents are up; led from here are {leads:?}"
        );
        Response::error(409, 409, &text)
    } else {
        Response::json(200, &json!({ "promoted": leads, "took_us": took.as_micros() as u64 }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use agency::configuration::{Configuration, Why};
    use agency::ids::{Incarnation, NodeSet, Version};

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(0);

    fn update(epoch: u64, leader: NodeId, request: u64, outcome: RequestStatus) -> Option<ShardUpdate> {
        let configuration = Configuration {
            epoch: Epoch(epoch),
            version: Version(epoch),
            leader,
            leader_incarnation: Incarnation(1),
            in_sync: NodeSet::of(&[leader]),
            members: NodeSet::of(&[OTHER, ME]),
            why: Why::DataLossAccepted,
            at_ms: 0,
        };
        Some(ShardUpdate { configuration, request, outcome, leader_lost: false })
    }

    fn request(id: u64, change: Change) -> Option<ShardRequest> {
        let on_top_of = update(3, OTHER, 0, RequestStatus::None).unwrap().configuration;
        Some(ShardRequest { id, on_top_of, change })
    }

    #[test]
    fn only_what_is_decided_is_told() {
        let wanted = Wanted { shard: ShardId(0), epoch: Epoch(3), request: 7 };
        let force = request(8, Change::Force(ME));
        for (request, update, expected) in [
            (None, None, Outcome::Open),
            (force, update(3, OTHER, 8, RequestStatus::Pending), Outcome::Open),
            (force, update(3, OTHER, 8, RequestStatus::Refused), Outcome::Refused),
            // Of another request, or of an earlier one.
            (force, update(3, OTHER, 7, RequestStatus::Refused), Outcome::Open),
            (request(7, Change::Force(ME)), update(3, OTHER, 7, RequestStatus::Refused), Outcome::Open),
            (request(8, Change::Admit(OTHER)), update(3, OTHER, 8, RequestStatus::Refused), Outcome::Open),
            (force, update(4, ME, 8, RequestStatus::Decided), Outcome::Leads),
            // It leads, and has asked for something else since.
            (request(9, Change::Admit(OTHER)), update(4, ME, 9, RequestStatus::Refused), Outcome::Leads),
            (force, update(4, OTHER, 8, RequestStatus::Refused), Outcome::Refused),
        ] {
            assert_eq!(wanted.outcome(ME, request, update), expected, "{request:?} {update:?}");
        }
    }

    #[test]
    fn all_shards_are_waited_for_but_not_for_ever() {
        let (soon, late) = (Duration::from_millis(3), PROMOTE_TIMEOUT + Duration::from_millis(1));
        let status = |outcomes: [Outcome; 2], took| {
            let outcomes = [(ShardId(0), outcomes[0]), (ShardId(4), outcomes[1])];
            answer(&outcomes, took).map(|response| response.status)
        };
        assert_eq!(status([Outcome::Leads, Outcome::Open], soon), None);
        assert_eq!(status([Outcome::Leads, Outcome::Open], late), Some(504));
        assert_eq!(status([Outcome::Leads, Outcome::Refused], soon), Some(409));
        assert_eq!(status([Outcome::Leads, Outcome::Leads], soon), Some(200));
    }
}
