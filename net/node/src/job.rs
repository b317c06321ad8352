//! What the shard threads ask of the control threads, and what they are told.

use crate::settings::Settings;
use crate::status::Status;
use crate::subrequest::share::{Results, Wanted};
use faces::auth::Claim;
use faces::auth::api::{Sealed, UserChange};
use faces::auth::password::Salt;
use faces::documents::{self, Metadata, MetadataChange, Plan, Render};
use faces::http::{Request, Response};
use std::fmt::Debug;
use std::sync::{Arc, Weak};

/// Something that is not for a shard thread: it waits, looks at the whole node, or computes for long.
#[derive(Debug)]
pub enum Job {
    /// The group as this node sees it.
    Status,
    /// Give leadership away: of one shard or of all, to this member or to the best one. The texts are the
    /// client's. Answered when it has happened.
    HandOver { to: Option<String>, shard: Option<String> },
    /// A person accepts the loss of data: this node is to lead every shard without a leader, with what it has.
    /// Answered when that is decided.
    Promote,
    /// Whether a password is right.
    Judge(Claim),
    /// Hash the passwords that changes of users set. `then` is what is changed together with them.
    Seal { users: Vec<UserChange>, then: Option<MetadataChange> },
    /// Plan a large request. `seed` and `wall_ms`: as for `documents::plan`.
    Plan { request: Box<Request>, metadata: Arc<Metadata>, seed: u64, wall_ms: u64, asker: Asker },
    /// Make the answer of many results.
    Conclude { render: Box<Render>, results: Results, durable: bool, asker: Asker },
    /// Free this.
    Discard(Box<dyn Debug + Send>),
}

/// Gone when nobody waits for the job any more.
pub type Asker = Weak<()>;

/// Which of the control threads a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// The administrators'.
    Quick,
    /// What takes long.
    Slow,
    /// Passwords.
    Secret,
}

impl Job {
    /// Whose it is.
    pub fn queue(&self) -> Queue {
        match self {
            Job::Status | Job::HandOver { .. } | Job::Promote => Queue::Quick,
            Job::Plan { .. } | Job::Conclude { .. } | Job::Discard(_) => Queue::Slow,
            Job::Judge(_) | Job::Seal { .. } => Queue::Secret,
        }
    }

    /// Whether nobody waits for it any more.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Job::Plan { asker, .. } | Job::Conclude { asker, .. } => asker.strong_count() == 0,
            Job::Discard(_) => true,
            Job::Status | Job::HandOver { .. } | Job::Promote => false,
            Job::Judge(_) | Job::Seal { .. } => false,
        }
    }

    /// Does a job that only computes. `salt` draws a random one, to be used once.
    ///
    /// # Panics
    /// If the job is one of the administrators' thread.
    pub fn compute(self, settings: &Settings, salt: &mut dyn FnMut() -> Salt) -> JobDone {
        if self.is_abandoned() {
            return JobDone::Dropped;
        }
        match self {
            Job::Judge(claim) => JobDone::Judged { right: claim.judge(), claim },
            Job::Seal { users, then } => {
                let users = users.into_iter().map(|change| change.seal(&salt())).collect();
                JobDone::Sealed { users, then }
            }
            Job::Plan { mut request, metadata, seed, wall_ms, asker: _ } => {
                let plan = documents::plan(&request, &metadata, seed, wall_ms);
                if !matches!(plan, Plan::Reply(_) | Plan::NotMine) {
                    // What is in it is in the plan.
                    request.body = Vec::new();
                }
                JobDone::Planned { request, wanted: Box::new(Wanted::of(plan, settings)) }
            }
            Job::Conclude { render, results, durable, asker: _ } => {
                let plan = documents::conclude(*render, results.in_order(), durable);
                JobDone::Concluded(Box::new(Wanted::of(plan, settings)))
            }
            Job::Status | Job::HandOver { .. } | Job::Promote => {
                unreachable!("handed in to the other thread")
            }
            Job::Discard(_) => unreachable!("nobody waits for it"),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub enum JobDone {
    Status(Box<Status>),
    /// What an administrator asked for has happened, or will not: this is said of it.
    Administered(Box<Response>),
    Judged {
        claim: Claim,
        right: bool,
    },
    Sealed {
        users: Vec<Sealed>,
        then: Option<MetadataChange>,
    },
    Planned {
        request: Box<Request>,
        wanted: Box<Wanted>,
    },
    Concluded(Box<Wanted>),
    /// Nobody waited for it: it was not done.
    Dropped,
}
