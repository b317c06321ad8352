//! The keys `client_output_*` and `client_memory`: what clients may make a shard thread hold.

use super::{ByteSize, ConfigError, NodeConfig, Span, wrong};
use node::settings::ClientMemory;
use std::time::Duration;

/// Shortest and longest `client_output_soft_time`.
const SOFT_TIMES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));
/// What a reply may have besides the largest value.
const REPLY_OVERHEAD_BYTES: u64 = 64 << 10;

pub(super) fn default_soft() -> ByteSize {
    ByteSize(ClientMemory::default().output_soft as u64)
}
pub(super) fn default_soft_time() -> Span {
    Span(ClientMemory::default().output_soft_time)
}
pub(super) fn default_hard() -> ByteSize {
    ByteSize(ClientMemory::default().output_hard as u64)
}
pub(super) fn default_all() -> ByteSize {
    ByteSize(ClientMemory::default().all as u64)
}

impl NodeConfig {
    /// What clients may make a shard thread hold, for the node.
    pub(super) fn memory_of_clients(&self) -> ClientMemory {
        ClientMemory {
            output_soft: self.client_output_soft.0 as usize,
            output_soft_time: self.client_output_soft_time.0,
            output_hard: self.client_output_hard.0 as usize,
            all: self.client_memory.0 as usize,
        }
    }

    pub(super) fn check_memory_of_clients(&self) -> Result<(), ConfigError> {
        let (soft, hard, all) = (self.client_output_soft, self.client_output_hard, self.client_memory);
        let (time, value) = (self.client_output_soft_time, self.max_value_bytes);
        if time.0 < SOFT_TIMES.0 || time.0 > SOFT_TIMES.1 {
            return wrong("client_output_soft_time", time, "it must be from 10ms to 3600s");
        }
        if soft.0 > hard.0 {
            let reason = format!("it must be at most client_output_hard = {hard}");
            return wrong("client_output_soft", soft, reason);
        }
        if hard.0 > all.0 {
            return wrong("client_output_hard", hard, format!("it must be at most client_memory = {all}"));
        }
        if hard.0 < value.0.saturating_add(REPLY_OVERHEAD_BYTES) {
            let beside = ByteSize(REPLY_OVERHEAD_BYTES);
            let reason =
                format!("a reply with the largest value needs {beside} more than max_value_bytes = {value}");
            return wrong("client_output_hard", hard, reason);
        }
        Ok(())
    }
}
