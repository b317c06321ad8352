//! Choices that follow from a seed, and the mutations that do not depend on what the bytes mean.

use bench::random::Random;

/// A seeded generator with what the targets ask of it.
pub struct Dice(Random);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(Random::new(seed))
    }

    pub fn word(&mut self) -> u64 {
        self.0.bits()
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.word() as u8).collect()
    }

    /// A number of the kind that breaks things: small, at a border, or any.
    pub fn odd_number(&mut self) -> u64 {
        match self.below(5) {
            0 => self.below(17) as u64,
            1 => (1u64 << self.below(64)).wrapping_sub(self.below(3) as u64),
            2 => u64::MAX - self.below(9) as u64,
            3 => self.below(1 << 20) as u64 & !7,
            _ => self.word(),
        }
    }

    /// Changes `bytes` in one place. `tokens` are pieces that mean something in them.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, tokens: &[&[u8]]) {
        let at = self.below(bytes.len() + 1);
        let len = self.below(16).min(bytes.len() - at);
        match self.below(7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 if at < bytes.len() => bytes[at] = self.word() as u8,
            3 => drop(bytes.drain(at..at + len)),
            4 => {
                let copy = bytes[at..at + len].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            5 => {
                let noise = self.bytes(len);
                bytes.splice(at..at, noise);
            }
            _ => {
                let token = self.pick(tokens).to_vec();
                let end = if self.one_in(2) { at } else { at + len };
                bytes.splice(at..end, token);
            }
        }
    }
}
