//! Little-endian reading and writing of the agency's few compound values, shared by messages and the
//! stored image. Promises that reading never panics and never allocates by an unchecked length.

use crate::ballot::Ballot;
use crate::configuration::{Configuration, Why};
use crate::history::Tally;
use crate::ids::{Epoch, Incarnation, MAX_MEMBERS, MAX_SHARDS, NodeId, NodeSet, ShardId, Version};
use crate::shard::Standing;

/// Bytes of an encoded [`Ballot`].
pub const BALLOT_BYTES: usize = 9;

/// Bytes of an encoded [`Configuration`].
pub const CONFIGURATION_BYTES: usize = 36;

/// Bytes of an encoded [`Tally`].
pub const TALLY_BYTES: usize = 2 + 1 + 8 + 8 + CONFIGURATION_BYTES;

/// The bytes ended too early or hold a value that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

type Read<T> = Result<T, Malformed>;

/// Takes values off the front of a byte slice.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = tail;
        Ok(*head)
    }
    pub fn u8(&mut self) -> Read<u8> {
        self.take::<1>().map(|b| b[0])
    }
    pub fn u16(&mut self) -> Read<u16> {
        self.take().map(u16::from_le_bytes)
    }
    pub fn u32(&mut self) -> Read<u32> {
        self.take().map(u32::from_le_bytes)
    }
    pub fn u64(&mut self) -> Read<u64> {
        self.take().map(u64::from_le_bytes)
    }
    pub fn u128(&mut self) -> Read<u128> {
        self.take().map(u128::from_le_bytes)
    }
    pub fn flag(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
    pub fn node(&mut self) -> Read<NodeId> {
        let n = self.u8()?;
        if usize::from(n) < MAX_MEMBERS { Ok(NodeId(n)) } else { Err(Malformed) }
    }
    pub fn nodes(&mut self) -> Read<NodeSet> {
        self.u8().map(NodeSet)
    }
    pub fn shard(&mut self) -> Read<ShardId> {
        let s = self.u16()?;
        if usize::from(s) < MAX_SHARDS { Ok(ShardId(s)) } else { Err(Malformed) }
    }
    pub fn standing(&mut self) -> Read<Standing> {
        Standing::ALL.get(usize::from(self.u8()?)).copied().ok_or(Malformed)
    }
    pub fn ballot(&mut self) -> Read<Ballot> {
        Ok(Ballot { round: self.u64()?, node: self.node()? })
    }
    /// A ballot that somebody else names: refused where counting on from it could overflow.
    pub fn foreign_ballot(&mut self) -> Read<Ballot> {
        self.ballot().and_then(|b| if b.round <= Ballot::LAST_ROUND { Ok(b) } else { Err(Malformed) })
    }
    /// Refuses what no agency decides ([`Configuration::check`]).
    pub fn configuration(&mut self) -> Read<Configuration> {
        let configuration = Configuration {
            epoch: Epoch(self.u64()?),
            version: Version(self.u64()?),
            leader: self.node()?,
            leader_incarnation: Incarnation(self.u64()?),
            in_sync: self.nodes()?,
            members: self.nodes()?,
            why: *Why::ALL.get(usize::from(self.u8()?)).ok_or(Malformed)?,
            at_ms: self.u64()?,
        };
        configuration.check().map_err(|_| Malformed)?;
        Ok(configuration)
    }
    pub fn tally(&mut self) -> Read<Tally> {
        let (shard, member, count) = (self.shard()?, self.node()?, self.u64()?);
        Ok(Tally { shard, member, count, first_ms: self.u64()?, newest: self.configuration()? })
    }
    /// What was last accepted: absent, or a ballot and a configuration.
    pub fn accepted(&mut self) -> Read<Option<(Ballot, Configuration)>> {
        if self.flag()? { Ok(Some((self.ballot()?, self.configuration()?))) } else { Ok(None) }
    }
    /// A counted list of at most `limit` items.
    pub fn list<T>(&mut self, limit: usize, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let n = usize::from(self.u16()?);
        if n > limit {
            return Err(Malformed);
        }
        (0..n).map(|_| item(self)).collect()
    }
    /// Succeeds only if every byte was taken.
    pub fn end(self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Appends values to a byte vector.
pub trait Write {
    fn put(&mut self, bytes: &[u8]);
    fn put_u8(&mut self, v: u8) {
        self.put(&[v]);
    }
    fn put_u16(&mut self, v: u16) {
        self.put(&v.to_le_bytes());
    }
    fn put_u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }
    fn put_u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }
    fn put_u128(&mut self, v: u128) {
        self.put(&v.to_le_bytes());
    }
    fn put_flag(&mut self, v: bool) {
        self.put_u8(u8::from(v));
    }
    fn put_ballot(&mut self, b: Ballot) {
        self.put_u64(b.round);
        self.put_u8(b.node.0);
    }
    fn put_configuration(&mut self, c: &Configuration) {
        self.put_u64(c.epoch.0);
        self.put_u64(c.version.0);
        self.put_u8(c.leader.0);
        self.put_u64(c.leader_incarnation.0);
        self.put_u8(c.in_sync.0);
        self.put_u8(c.members.0);
        self.put_u8(Why::ALL.iter().position(|w| *w == c.why).expect("every reason is listed") as u8);
        self.put_u64(c.at_ms);
    }
    fn put_tally(&mut self, t: &Tally) {
        self.put_u16(t.shard.0);
        self.put_u8(t.member.0);
        self.put_u64(t.count);
        self.put_u64(t.first_ms);
        self.put_configuration(&t.newest);
    }
    fn put_accepted(&mut self, accepted: &Option<(Ballot, Configuration)>) {
        self.put_flag(accepted.is_some());
        if let Some((ballot, configuration)) = accepted {
            self.put_ballot(*ballot);
            self.put_configuration(configuration);
        }
    }
    fn put_list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.put_u16(u16::try_from(items.len()).expect("lists are bounded by the number of shards"));
        for i in items {
            item(self, i);
        }
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
