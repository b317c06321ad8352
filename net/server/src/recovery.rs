//! The opening of a shard's log, as the warden sees it.

use agency::ids::ShardId;
use engine::io::dir::DataDir;
use engine::io::{OpenError, ShardFiles, open_shard};
use engine::memory::MirrorBuffer;
use engine::shard::{Shard, ShardOptions};
use warden::page::SharedPage;

/// Open a shard's files and recover its log. Its progress word moves as it does, so that the warden, which does not know
/// the thread yet, can tell long from stuck.
///
/// # Errors
/// As of [`open_shard`].
pub fn recover(
    page: &SharedPage,
    dir: &DataDir,
    options: &ShardOptions,
    buffer: MirrorBuffer,
) -> Result<(Shard, ShardFiles), OpenError> {
    let area = page.shard(ShardId(options.shard.0));
    let mut word = area.progress().turns;
    open_shard(dir, options.shard, options, buffer, &mut |_| {
        word += 1;
        area.raise_progress(word);
    })
}
