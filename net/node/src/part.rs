//! What is sent to a client, in parts that need not be joined.

use std::sync::Arc;

/// A part of what is sent to a client.
#[derive(Clone, Debug)]
pub enum Part {
    Owned(Vec<u8>),
    /// All of it, and nobody changes it.
    Shared(Arc<Vec<u8>>),
}

impl Part {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Part::Owned(bytes) => bytes,
            Part::Shared(bytes) => bytes,
        }
    }

    /// All parts as one, for shells and tests that need it so.
    pub fn join(parts: &[Part]) -> Vec<u8> {
        parts.iter().flat_map(Part::as_slice).copied().collect()
    }
}

/// Bytes of parts together.
pub(crate) fn len_of(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.as_slice().len()).sum()
}
