//! What the shards of one node say to each other.

/// Mail between two shard threads of one node.
#[derive(Debug)]
pub struct Mail;
