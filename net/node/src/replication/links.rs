//! Whose each replication connection is: one table, so that what comes on a connection goes to its owner.
//!
//! Promises that a connection has at most one owner. What comes on one without an owner (its owner is gone, it is
//! being closed) means nothing.

use crate::ids::LinkId;
use agency::ids::NodeId;
use engine::ids::Lsn;
use std::collections::BTreeMap;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkOwner {
    /// To our leader: the stream that is followed.
    Stream,
    /// A follower's, between its hello and its welcome.
    Greeting,
    /// A follower's that was welcomed.
    Peer(NodeId),
    /// A follower's that called anew: the kernel may still read ranges for this one.
    Leaving,
    /// To a member that is asked for the frame at this LSN, which is damaged here.
    Repair(Lsn),
    /// To a member that is asked for the log that was lost here.
    Refill,
    /// Another member asks on it for frames that are damaged there.
    Serving,
}

/// By connection.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeMap<LinkId, LinkOwner>);

impl Links {
    pub fn owner(&self, link: LinkId) -> Option<LinkOwner> {
        self.0.get(&link).copied()
    }

    /// From now on it belongs to this one.
    pub fn own(&mut self, link: LinkId, owner: LinkOwner) {
        self.0.insert(link, owner);
    }

    /// It is gone. Returns whose it was.
    pub fn closed(&mut self, link: LinkId) -> Option<LinkOwner> {
        self.0.remove(&link)
    }

    /// This node leaves its role: what still comes on the connections of that means nothing.
    pub fn leave_role(&mut self) {
        self.0.retain(|_, owner| {
            matches!(owner, LinkOwner::Repair(_) | LinkOwner::Refill | LinkOwner::Serving)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_a_role_leaves_the_connections_of_repairs() {
        let mut links = Links::default();
        links.own(LinkId(1), LinkOwner::Stream);
        links.own(LinkId(2), LinkOwner::Peer(NodeId(1)));
        links.own(LinkId(3), LinkOwner::Repair(Lsn(8)));
        links.own(LinkId(4), LinkOwner::Serving);
        links.leave_role();
        assert_eq!(links.owner(LinkId(1)), None);
        assert_eq!(links.closed(LinkId(2)), None);
        assert_eq!(links.closed(LinkId(3)), Some(LinkOwner::Repair(Lsn(8))));
        assert_eq!(links.owner(LinkId(4)), Some(LinkOwner::Serving));
    }
}
