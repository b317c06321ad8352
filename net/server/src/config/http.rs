//! The keys of `[http]`: limits and habits of the HTTP face.

use super::{ByteSize, ConfigError, Span, wrong};
use node::settings::HttpSettings;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Largest `max_body_bytes`.
const MAX_BODY_LIMIT: u64 = 64 << 20;
/// Shortest and longest time-out.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The `errorNum` of a follower's 503: 1496 as ArangoDB's, or 503 for drivers that look for that.
    pub not_leader_error: u32,
    /// Largest body of a request.
    pub max_body_bytes: ByteSize,
    /// A request's head must be whole after this.
    pub head_timeout: Span,
    /// A request's body must be whole after this, and longer the larger it is.
    pub body_timeout: Span,
    /// A connection without a request is closed after this.
    pub idle_timeout: Span,
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        let default = HttpSettings::default();
        HttpConfig {
            not_leader_error: default.not_leader_error,
            max_body_bytes: ByteSize(default.max_body_bytes as u64),
            head_timeout: Span(default.head_timeout),
            body_timeout: Span(default.body_timeout),
            idle_timeout: Span(default.idle_timeout),
        }
    }
}

impl HttpConfig {
    /// The same for the node.
    pub(super) fn settings(&self) -> HttpSettings {
        HttpSettings {
            not_leader_error: self.not_leader_error,
            max_body_bytes: self.max_body_bytes.0 as usize,
            head_timeout: self.head_timeout.0,
            body_timeout: self.body_timeout.0,
            idle_timeout: self.idle_timeout.0,
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == HttpConfig::default()
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if ![1496, 503].contains(&self.not_leader_error) {
            return wrong("http.not_leader_error", self.not_leader_error, "it must be 1496 or 503");
        }
        if self.max_body_bytes.0 == 0 || self.max_body_bytes.0 > MAX_BODY_LIMIT {
            let limit = ByteSize(MAX_BODY_LIMIT);
            return wrong(
                "http.max_body_bytes",
                self.max_body_bytes,
                format!("it must be from 1 to {limit}"),
            );
        }
        for (key, span) in [
            ("http.head_timeout", self.head_timeout),
            ("http.body_timeout", self.body_timeout),
            ("http.idle_timeout", self.idle_timeout),
        ] {
            if span.0 < TIMEOUTS.0 || span.0 > TIMEOUTS.1 {
                return wrong(key, span, "it must be from 10ms to 3600s");
            }
        }
        Ok(())
    }
}
