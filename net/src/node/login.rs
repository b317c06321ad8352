//! Who a RESP connection is, and what it may do, in a group that asks for passwords.
//!
//! Promises: nothing is routed or executed for a connection that may not; a password is judged by the control
//! threads, and the requests of the connection wait for that. What a role allows is `resp::access`'s business.

use super::Node;
use super::clients::{Client, Wait};
use crate::auth::Asked;
use crate::control::job::Job;
use crate::resp::{Request, claimed, refusal};
use crate::seam::Action;
use agency::ids::Nanos;
use std::sync::Arc;

/// How long a request waits for a verdict, or for the users to be known.
const PATIENCE: Nanos = Nanos(5_000_000_000);
/// What a client is told after that.
const LOADING: &str = "LOADING the users of this group are not known here yet";

/// Whether a request may go on.
pub(super) enum Admission {
    /// With the verdict on the password in it, if there is one.
    Go(Option<bool>),
    /// Not yet: `Client::wait` says why.
    Hold,
    /// This is the error.
    Refused(String),
}

impl Node {
    /// Judges a request of a connection that this shard holds.
    pub(super) fn admit(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        out: &mut Vec<Action>,
    ) -> Admission {
        let Some(metadata) = self.known.metadata.as_ref().map(Arc::clone) else { return self.hold(client) };
        if let Some((user, password)) = claimed(request, &metadata.users) {
            match self.known.passwords.ask(&metadata.users, &user, &password) {
                Asked::Right => return Admission::Go(Some(true)),
                Asked::Wrong => return Admission::Go(Some(false)),
                Asked::Wait => {}
                Asked::Judge(claim) => {
                    self.hand_in(client.conn, Job::Judge(claim), out);
                }
            }
            return self.hold(client);
        }
        let is_database = |name: &str| metadata.databases.contains_key(name);
        match refusal(request, &client.session, &metadata.users, &is_database) {
            Some(text) => Admission::Refused(text),
            None => Admission::Go(None),
        }
    }

    fn hold(&self, client: &mut Client) -> Admission {
        let since = match client.wait {
            Wait::Verdict { since } => since,
            _ => self.now,
        };
        if self.now.0 > since.0 + PATIENCE.0 {
            return Admission::Refused(LOADING.to_owned());
        }
        client.wait = Wait::Verdict { since };
        Admission::Hold
    }
}
