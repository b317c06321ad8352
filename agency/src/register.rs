//! What an agent keeps on disk, as one image: its votes on all shards, what it knows to be decided, the
//! identities of the nodes, and the history.
//!
//! Promises that an image that decodes is one that was encoded for this member of this group. Where the two
//! copies lie and how they become durable is the shell's (`baton-warden`).

use crate::acceptor::Acceptor;
use crate::configuration::Configuration;
use crate::error::ImageError;
use crate::history::{MAX_TALLIES, Tally};
use crate::ids::{HISTORY_LIMIT, Incarnation, MAX_MEMBERS, MAX_SHARDS, NodeId, ShardId};
use crate::wire::{BALLOT_BYTES, CONFIGURATION_BYTES, Malformed, Reader, TALLY_BYTES, Write};

const MAGIC: [u8; 4] = *b"BaAg";

/// Version of the image's layout.
pub const LAYOUT: u8 = 2;

/// Bytes before the body: magic, layout, CRC32.
const HEADER: usize = 9;

/// A bound on the bytes of an encoded [`Image`]: everything at its named limit.
pub const LARGEST_IMAGE: usize = HEADER
    + 16 + 1 + 1
    // Shards: promise, accepted, decided.
    + 2 + MAX_SHARDS * (BALLOT_BYTES + 1 + BALLOT_BYTES + CONFIGURATION_BYTES + 1 + CONFIGURATION_BYTES)
    + 2 + MAX_MEMBERS * (8 + 16)
    + 2 + HISTORY_LIMIT * (2 + CONFIGURATION_BYTES)
    + 2 + MAX_TALLIES * TALLY_BYTES;

/// By what a node was known when it was last trusted (rule 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The highest incarnation seen.
    pub incarnation: Incarnation,
    /// 0 if never seen.
    pub disk_id: u128,
}

/// One shard of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardImage {
    pub acceptor: Acceptor,
    pub decided: Option<Configuration>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub group: u128,
    pub me: NodeId,
    /// Whether this agent may vote; false until it has met the others.
    pub joined: bool,
    pub shards: Vec<ShardImage>,
    pub identities: [Identity; MAX_MEMBERS],
    /// The changes of leadership, newest last.
    pub history: Vec<(ShardId, Configuration)>,
    /// Evictions and admissions, counted.
    pub tallies: Vec<Tally>,
}

impl Image {
    /// The image's bytes: magic, layout, CRC32 of the rest, the rest.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4096);
        body.put_u128(self.group);
        body.put_u8(self.me.0);
        body.put_flag(self.joined);
        body.put_list(&self.shards, |out, shard| {
            out.put_ballot(shard.acceptor.promised());
            out.put_accepted(&shard.acceptor.accepted());
            out.put_flag(shard.decided.is_some());
            if let Some(decided) = &shard.decided {
                out.put_configuration(decided);
            }
        });
        body.put_list(&self.identities, |out, identity| {
            out.put_u64(identity.incarnation.0);
            out.put_u128(identity.disk_id);
        });
        body.put_list(&self.history, |out, (shard, configuration)| {
            out.put_u16(shard.0);
            out.put_configuration(configuration);
        });
        body.put_list(&self.tallies, Write::put_tally);
        let mut image = Vec::with_capacity(body.len() + HEADER);
        image.put(&MAGIC);
        image.put_u8(LAYOUT);
        image.put_u32(crc32fast::hash(&body));
        image.put(&body);
        assert!(image.len() <= LARGEST_IMAGE, "an image of {} bytes", image.len());
        image
    }

    /// Reads an image back.
    ///
    /// # Errors
    /// It is damaged, or of another layout.
    pub fn decode(bytes: &[u8]) -> Result<Image, ImageError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(ImageError::Malformed);
        };
        if header[..4] != MAGIC {
            return Err(ImageError::Magic);
        }
        if header[4] != LAYOUT {
            return Err(ImageError::Layout(header[4], LAYOUT));
        }
        if crc32fast::hash(body).to_le_bytes() != header[5..] {
            return Err(ImageError::Checksum);
        }
        decode_body(body).map_err(|Malformed| ImageError::Malformed)
    }
}

fn decode_body(body: &[u8]) -> Result<Image, Malformed> {
    let mut r = Reader(body);
    let (group, me, joined) = (r.u128()?, r.node()?, r.flag()?);
    let shards = r.list(MAX_SHARDS, |r| {
        let (promised, accepted) = (r.ballot()?, r.accepted()?);
        if accepted.is_some_and(|(by, _)| by > promised) {
            return Err(Malformed);
        }
        let acceptor = Acceptor::restore(promised, accepted);
        let decided = if r.flag()? { Some(r.configuration()?) } else { None };
        Ok(ShardImage { acceptor, decided })
    })?;
    let identities =
        r.list(MAX_MEMBERS, |r| Ok(Identity { incarnation: Incarnation(r.u64()?), disk_id: r.u128()? }))?;
    let identities = identities.try_into().map_err(|_| Malformed)?;
    let history = r.list(HISTORY_LIMIT, |r| Ok((r.shard()?, r.configuration()?)))?;
    let tallies = r.list(MAX_TALLIES, Reader::tally)?;
    r.end()?;
    Ok(Image { group, me, joined, shards, identities, history, tallies })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ballot::Ballot;
    use crate::configuration::tests::founded;

    fn tally() -> Tally {
        Tally { shard: ShardId(1), member: NodeId(1), count: 4, first_ms: 70, newest: founded() }
    }

    fn image() -> Image {
        let ballot = Ballot { round: 3, node: NodeId(1) };
        Image {
            group: 77,
            me: NodeId(2),
            joined: true,
            shards: vec![
                ShardImage { acceptor: Acceptor::restore(ballot, Some((ballot, founded()))), decided: None },
                ShardImage { acceptor: Acceptor::default(), decided: Some(founded()) },
            ],
            identities: [Identity { incarnation: Incarnation(4), disk_id: 9 }; MAX_MEMBERS],
            history: vec![(ShardId(1), founded())],
            tallies: vec![tally()],
        }
    }

    #[test]
    fn an_image_comes_back_as_it_was() {
        assert_eq!(Image::decode(&image().encode()), Ok(image()));
    }

    #[test]
    fn the_largest_image_is_as_long_as_said() {
        let ballot = Ballot { round: 3, node: NodeId(1) };
        let acceptor = Acceptor::restore(ballot, Some((ballot, founded())));
        let largest = Image {
            shards: vec![ShardImage { acceptor, decided: Some(founded()) }; MAX_SHARDS],
            history: vec![(ShardId(1), founded()); HISTORY_LIMIT],
            tallies: vec![tally(); MAX_TALLIES],
            ..image()
        };
        assert_eq!(largest.encode().len(), LARGEST_IMAGE);
    }

    #[test]
    fn no_damaged_image_is_believed() {
        let good = image().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(Image::decode(&bad).is_err(), "byte {at}");
            assert!(Image::decode(&good[..at]).is_err(), "cut at {at}");
        }
    }
}
