//! Who leads: the quorum of agents and the leases. Pure; the process around it is `baton-warden`.
//!
//! # Why at most one node leads an epoch, and no lease outlives its reign
//!
//! 1. **One register per shard** ([`acceptor`], [`proposer`]). A configuration is *decided* once a majority of
//!    agents has durably accepted it by one ballot. A proposer first has a majority promise its ballot, and
//!    then proposes either what that majority accepted last, unchanged, or, if it knows that to be decided,
//!    its successor with the version raised by one. Two majorities share an agent, so each version is decided
//!    at most once, and all decided configurations form one chain.
//! 2. **A ballot has one value.** It is asked of others only after the proposer's own agent has durably
//!    promised it; after a restart the next ballot is above that promise.
//! 3. **An epoch has one writer.** Leader, leader's incarnation and epoch change only together
//!    ([`configuration::Configuration::apply`]), with the epoch raised by one.
//! 4. **A lease ends before its reign is over** ([`lease`]). Its holder counts from sending, shortened; each
//!    agent of a majority counts from receipt, lengthened, and accepts no other reign before its count ends.
//!    Whatever is decided needs a majority, hence one of those agents. An agent skips the wait only on proof:
//!    the death of exactly that incarnation, told by its own warden, or the holder's own release, which covers
//!    only what the holder asked for earlier and no longer counts. An agent that restarted waits as if it had
//!    granted just now; it grants only to the leader, incarnation and epoch that the newest configuration it
//!    knows *durably* names. A node asks only while its loop moves or works and no log write is overdue, and
//!    before it proposes a handoff, or offers its place to another (`overseer/yielding`), it drops its lease.
//! 5. **An agent without its memory does not vote** until every other agent has promised it a ballot: what
//!    they then report is all that can ever have been decided with its forgotten votes.
//!
//! Everything else ([`detector`], gossip, candidates, prepared ballots) is about speed: wrong, it costs a
//! failover and loses nothing. What holds each of these, by test and by assertion: `docs/agency-safety.md`.
//! The messages and failure cases: `docs/AGENCY.md`.
//!
//! What a warden promises itself it asserts, and stops when it does not hold. What somebody else says is never
//! asserted: it is refused where it is decoded, or not counted.
//!
//! # Reading order
//!
//! [`ids`], [`configuration`], [`message`], [`shard`], [`events`], [`acceptor`], [`proposer`], [`lease`],
//! [`overseer`]. All of it is pure: time comes in, commands go out. Bytes are left to [`codec`] and [`register`].

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
#![forbid(unsafe_code)]

pub mod acceptor;
pub mod ballot;
pub mod codec;
pub mod configuration;
pub mod detector;
pub mod error;
pub mod events;
pub mod history;
pub mod ids;
pub mod lease;
pub mod message;
pub mod mutants;
pub mod overseer;
pub mod proposer;
pub mod register;
pub mod shard;
pub mod timing;
pub mod view;
pub mod wire;
