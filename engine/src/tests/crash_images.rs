//! Crash images: before every completion of a disk operation the disk is rebuilt as a crash right there could
//! have left it, whole and torn, recovered, and compared with the model of `crash`.
//!
//! Where `crash` goes on after a crash with one of the disks it may have left, this looks at many of them and
//! goes on as if nothing had happened: it is the same workload, and no sync point is passed over.

use super::crash::World;
use super::{open, settle};
use crate::testing::{Effect, MemoryDisk};

const SEEDS: u64 = 12;
const STEPS: u64 = 400;
/// Fewer images than this, and the workload no longer does what it should.
const LEAST_IMAGES: usize = 5_000;

/// How many images were looked at.
#[derive(Default)]
pub(super) struct Images {
    all: usize,
    /// Those that came up with more than one segment.
    sealed: usize,
}

/// Is this effect kept? By its place in its stage, and how many there are.
type Keeps = fn(usize, usize) -> bool;

/// Which of a stage's effects, any of which a crash may keep or lose, are kept.
const TORN: [(&str, Keeps); 6] = [
    ("the first half", |at, all| at < all / 2),
    ("the second half", |at, all| at >= all / 2),
    ("all but the first", |at, _| at > 0),
    ("all but the last", |at, all| at + 1 < all),
    ("every other", |at, _| at.is_multiple_of(2)),
    ("the others", |at, _| !at.is_multiple_of(2)),
];

impl World {
    /// The next thing to happen is the completion of the operation with these stages.
    pub(super) fn check_images(&mut self, completing: &[Vec<Effect>]) {
        self.check_image("nothing that is in flight", &self.disk.clone());
        let others: Vec<Vec<Vec<Effect>>> = self.in_flight.iter().map(|(_, stages)| stages.clone()).collect();
        let mut with_others = self.disk.clone();
        for stages in &others {
            let mut alone = self.disk.clone();
            stages.iter().flatten().for_each(|effect| alone.apply(effect));
            self.check_image("one later operation", &alone);
            stages.iter().flatten().for_each(|effect| with_others.apply(effect));
        }
        self.check_image("all later operations", &with_others);
        let bases =
            if others.is_empty() { vec![self.disk.clone()] } else { vec![self.disk.clone(), with_others] };
        for mut base in bases {
            for stage in completing {
                for (name, keeps) in TORN {
                    let mut torn = base.clone();
                    let kept = stage.iter().enumerate().filter(|(at, _)| keeps(*at, stage.len()));
                    kept.for_each(|(_, effect)| torn.apply(effect));
                    self.check_image(name, &torn);
                }
                stage.iter().for_each(|effect| base.apply(effect));
                self.check_image("a whole stage", &base);
            }
        }
    }

    fn check_image(&mut self, name: &str, image: &MemoryDisk) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.recovered(image)));
        let Ok(mut shard) = result else { panic!("a crash that left {name} of the operation in flight") };
        let images = self.images.as_mut().expect("only called where images are checked");
        images.all += 1;
        images.sealed += usize::from(shard.segments.live.len() > 1);
        if !images.all.is_multiple_of(8) {
            return;
        }
        // What recovery tidies away does not change what is there, and is tidied away for good.
        let mut disk = image.clone();
        let tail = shard.tail();
        settle(&mut shard, &mut disk);
        assert!(!shard.rewinding() && shard.tail() == tail);
        self.check(&mut shard, &disk);
        let mut again = open(&disk);
        assert!(!again.rewinding() && again.tail() == tail);
        self.check(&mut again, &disk);
    }
}

#[test]
fn every_sync_point_leaves_what_was_durable() {
    let (mut all, mut sealed) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(1000 + seed);
        world.images = Some(Images::default());
        for _ in 0..STEPS {
            world.step();
        }
        let images = world.images.expect("set above");
        (all, sealed) = (all + images.all, sealed + images.sealed);
    }
    println!("{all} crash images, {sealed} of them with sealed segments");
    assert!(all >= LEAST_IMAGES && sealed >= LEAST_IMAGES / 4);
}
