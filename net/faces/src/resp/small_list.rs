//! A list that allocates only when it outgrows a few entries: the arguments of nearly every request.

/// Entries kept without allocating; enough for `SET key value PX n NX GET`.
const INLINE: usize = 8;

/// A growing list of small copyable things.
#[derive(Clone, Debug)]
pub struct SmallList<T: Copy + Default> {
    inline: [T; INLINE],
    len: usize,
    /// Holds everything once there are more than [`INLINE`] entries.
    spilled: Vec<T>,
}

impl<T: Copy + Default> SmallList<T> {
    /// An empty list that will hold `expected` entries.
    pub fn with_capacity(expected: usize) -> SmallList<T> {
        let spilled = if expected > INLINE { Vec::with_capacity(expected) } else { Vec::new() };
        SmallList { inline: [T::default(); INLINE], len: 0, spilled }
    }

    /// Add an entry at the end.
    pub fn push(&mut self, entry: T) {
        if self.len < INLINE && self.spilled.capacity() == 0 {
            self.inline[self.len] = entry;
        } else {
            if self.spilled.is_empty() {
                self.spilled.extend_from_slice(&self.inline[..self.len]);
            }
            self.spilled.push(entry);
            assert!(self.spilled.len() == self.len + 1, "every entry is in the list that spilled");
        }
        self.len += 1;
    }

    /// All entries.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        if self.spilled.is_empty() { &self.inline[..self.len] } else { &self.spilled }
    }
}

impl<T: Copy + Default> FromIterator<T> for SmallList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> SmallList<T> {
        let entries = entries.into_iter();
        let mut list = SmallList::with_capacity(entries.size_hint().0);
        entries.for_each(|entry| list.push(entry));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_across_the_spill() {
        for n in 0..40usize {
            let mut grown = SmallList::with_capacity(0);
            (0..n).for_each(|i| grown.push(i));
            let collected: SmallList<usize> = (0..n).collect();
            assert_eq!(grown.as_slice(), (0..n).collect::<Vec<_>>());
            assert_eq!(collected.as_slice(), grown.as_slice());
        }
    }
}
