//! An event for a shard's core that owns its bytes, so that it can wait.

use agency::ids::{Nanos, NodeId};
use agency::shard::ShardUpdate;
use agency::view::ClusterView;
use engine::disk::DiskDone;
use engine::log::BufferRange;
use node::Node;
use node::events::{Command, ConnId, Event, Face, LinkId};
use node::job::JobDone;
use node::mail::Mail;
use std::sync::Arc;

/// What a client's address looks like.
pub const CLIENT_ADDRESS: &str = "10.9.9.9:9";
/// The host that a client believes to have called.
const LOCAL_HOST: &str = "10.0.0.1";

/// See the module; each is the event of the same name. `port`: the one that the client called.
#[derive(Debug)]
pub enum Input {
    ClientOpened { conn: ConnId, face: Face, port: u16 },
    ClientBytes { conn: ConnId, bytes: Vec<u8> },
    ClientSent { conn: ConnId },
    ClientClosed { conn: ConnId },
    ClientHalfClosed { conn: ConnId },
    LinkAccepted { link: LinkId, header: Vec<u8> },
    LinkConnected { link: LinkId },
    LinkBytes { link: LinkId, bytes: Vec<u8> },
    LinkLanded { link: LinkId },
    LinkSentLog { link: LinkId, range: BufferRange },
    LinkClosed { link: LinkId },
    Disk(DiskDone),
    ReadDone { ticket: u64, bytes: Option<Vec<u8>> },
    Update(ShardUpdate),
    View(Arc<ClusterView>),
    Mail(Box<Mail>),
    ControlDone { ticket: u64, done: Box<JobDone> },
    Handoff(Option<NodeId>),
    Promote,
    Stop,
}

impl Input {
    /// The bytes that come with it.
    pub fn bytes(&self) -> u64 {
        match self {
            Input::ClientBytes { bytes, .. } | Input::LinkBytes { bytes, .. } => bytes.len() as u64,
            Input::ReadDone { bytes, .. } => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            _ => 0,
        }
    }

    /// Has the core handle it.
    pub fn hand_to(self, core: &mut Node, now: Nanos, out: &mut Vec<Command>) {
        let event = match &self {
            Input::ClientOpened { conn, face, port } => Event::ClientOpened {
                conn: *conn,
                face: *face,
                peer: CLIENT_ADDRESS.into(),
                local: format!("{LOCAL_HOST}:{port}"),
            },
            Input::ClientBytes { conn, bytes } => Event::ClientBytes { conn: *conn, bytes },
            Input::LinkAccepted { link, header } => Event::LinkAccepted { link: *link, header },
            Input::LinkBytes { link, bytes } => Event::LinkBytes { link: *link, bytes },
            Input::ReadDone { ticket, bytes } => Event::ReadDone { ticket: *ticket, bytes: bytes.as_deref() },
            _ => return core.handle(now, self.owned(), out),
        };
        core.handle(now, event, out);
    }

    /// The event of an input without bytes.
    fn owned(self) -> Event<'static> {
        match self {
            Input::ClientSent { conn } => Event::ClientSent { conn },
            Input::ClientClosed { conn } => Event::ClientClosed { conn },
            Input::ClientHalfClosed { conn } => Event::ClientHalfClosed { conn },
            Input::LinkConnected { link } => Event::LinkConnected { link },
            Input::LinkLanded { link } => Event::LinkLanded { link },
            Input::LinkSentLog { link, range } => Event::LinkSentLog { link, range },
            Input::LinkClosed { link } => Event::LinkClosed { link },
            Input::Disk(done) => Event::Disk(done),
            Input::Update(update) => Event::Update(update),
            Input::View(view) => Event::View(view),
            Input::Mail(mail) => Event::Mail(mail),
            Input::ControlDone { ticket, done } => Event::ControlDone { ticket, done },
            Input::Handoff(to) => Event::HandoffWanted(to),
            Input::Promote => Event::PromoteWanted,
            Input::Stop => Event::StopWanted,
            Input::ClientOpened { .. }
            | Input::ClientBytes { .. }
            | Input::LinkAccepted { .. }
            | Input::LinkBytes { .. }
            | Input::ReadDone { .. } => unreachable!("it borrows its bytes"),
        }
    }
}
