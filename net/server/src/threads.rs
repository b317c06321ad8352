//! The shards' threads: where they run, and what is said when one ends that should not.
//!
//! Promises that no thread ends without a word: how each ended is told, also if it panicked or never began.

use crate::error::RunError;
use crate::notices::Notices;
use engine::ids::ShardId;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::any::Any;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use warden::page::SharedPage;

/// Locked memory that glommio insists on. With less, a plain thread does the same.
const GLOMMIO_LOCKED_BYTES: u64 = 512 << 10;

/// How a shard's thread ended; `None` if it did not come to an end of its own.
pub(crate) type Ended = (ShardId, Option<Result<(), RunError>>);

/// Says how the thread ended, at the latest when it is dropped.
struct LastWord {
    shard: ShardId,
    ended: Option<Sender<Ended>>,
}

impl LastWord {
    fn say(&mut self, result: Option<Result<(), RunError>>) {
        if let Some(ended) = self.ended.take() {
            // The receiver is gone only when the process is about to end anyway.
            let _ = ended.send((self.shard, result));
        }
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.say(None);
    }
}

enum Handle {
    Executor(ExecutorJoinHandle<()>),
    Plain(JoinHandle<()>),
}

/// A shard's thread that was started.
pub(crate) struct ShardThread {
    shard: ShardId,
    handle: Handle,
}

impl ShardThread {
    /// Start a thread that does `work` and tells `ended` how that went.
    ///
    /// # Errors
    /// No more threads.
    pub(crate) fn start(
        shard: ShardId,
        placement: Placement,
        ended: Sender<Ended>,
        work: impl FnOnce() -> Result<(), RunError> + Send + 'static,
    ) -> Result<ShardThread, RunError> {
        let mut last_word = LastWord { shard, ended: Some(ended) };
        let work = move || last_word.say(Some(work()));
        let name = format!("baton-shard-{}", shard.0);
        let failed = |reason: String| RunError::Thread { what: "a shard's thread", reason };
        let locked = getrlimit(Resource::Memlock).current;
        let handle = if locked.is_some_and(|bytes| bytes < GLOMMIO_LOCKED_BYTES) {
            let work = move || {
                pin(&placement);
                work();
            };
            let plain = std::thread::Builder::new().name(name).spawn(work);
            Handle::Plain(plain.map_err(|error| failed(error.to_string()))?)
        } else {
            let executor = LocalExecutorBuilder::new(placement).name(&name);
            let executor = executor.spawn(move || async move { work() });
            Handle::Executor(executor.map_err(|error| failed(error.to_string()))?)
        };
        Ok(ShardThread { shard, handle })
    }

    /// Why it ended without a result.
    pub(crate) fn why_it_ended(self) -> RunError {
        let reason = match self.handle {
            Handle::Executor(executor) => executor.join().err().map(|error| error.to_string()),
            Handle::Plain(thread) => thread.join().err().map(|panic| text_of(panic.as_ref())),
        };
        let reason = reason.unwrap_or_else(|| "it does not say why".to_owned());
        RunError::Lost { shard: self.shard.0, reason }
    }
}

/// As far as it is allowed; a thread somewhere else does the same.
fn pin(placement: &Placement) {
    if let Placement::Fixed(core) = placement {
        let mut set = CpuSet::new();
        set.set(*core);
        let _ = sched_setaffinity(None, &set);
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// From now on a panic says so in the page, where the warden finds it, and in a notice.
pub(crate) fn tell_of_panics(page: Arc<SharedPage>, notices: Notices) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let text = format!("thread {}: {panic}", thread.name().unwrap_or("without a name"));
        page.fail(&text);
        notices.say_last(&text);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn whatever_ends_a_thread_is_told() {
        let (ended, ends) = channel();
        let shard = ShardId(3);
        let start = |placement, work: fn() -> Result<(), RunError>| {
            ShardThread::start(shard, placement, ended.clone(), work).unwrap()
        };
        start(Placement::Unbound, || Ok(()));
        assert!(matches!(ends.recv(), Ok((_, Some(Ok(()))))));
        let panicked = start(Placement::Unbound, || panic!("on purpose"));
        assert!(matches!(ends.recv(), Ok((ShardId(3), None))));
        let RunError::Lost { shard: 3, reason } = panicked.why_it_ended() else { panic!("another error") };
        assert!(!reason.contains("does not say"), "{reason}");
    }
}
