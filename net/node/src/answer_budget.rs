//! What the answers of one shard thread's HTTP connections weigh, wherever their bytes lie: in results on
//! other shards, in the mail, with the control threads, in responses that are not out yet.
//!
//! Promises: an [`AnswerShare`] counts as long as it lives, so that nothing has to be given back by hand, whatever
//! becomes of a request. It refuses nothing itself: who makes answers asks [`AnswerShare::is_full`] first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of answers of one shard thread's connections above which no further ones are made.
pub const ALL_ANSWERS_BYTES: usize = 256 << 20;

/// The sum of all entries.
#[derive(Clone, Debug, Default)]
pub struct AnswerBudget(Arc<AtomicUsize>);

impl AnswerBudget {
    /// An entry of no bytes.
    pub fn open(&self) -> AnswerShare {
        AnswerShare { answer_budget: self.clone(), bytes: 0 }
    }

    /// Whether no more answers are to be made.
    pub fn is_full(&self) -> bool {
        // A bound, not a lock: a sum that is a moment old will do.
        self.0.load(Ordering::Relaxed) >= ALL_ANSWERS_BYTES
    }
}

/// The share of one answer.
#[derive(Debug)]
pub struct AnswerShare {
    answer_budget: AnswerBudget,
    bytes: usize,
}

impl AnswerShare {
    /// It has grown.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.answer_budget.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It weighs this much now.
    pub fn set(&mut self, bytes: usize) {
        self.answer_budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
        self.add(bytes);
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// [`AnswerBudget::is_full`]
    pub fn is_full(&self) -> bool {
        self.answer_budget.is_full()
    }
}

impl Drop for AnswerShare {
    fn drop(&mut self) {
        self.set(0);
    }
}
