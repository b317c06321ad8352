//! The arguments of one request, in order; nearly every request has so few that none of them is allocated for.

/// Arguments kept without allocating; enough for `SET key value PX n NX GET`.
const INLINE: usize = 8;

/// Arguments that one call of [`parse()`](crate::resp::parse()) reads, and most arguments of a
/// [`Parsed::Request`](crate::resp::Parsed): a request of more is read in several calls, and carried out in slices.
pub const SHORT_ARGS: usize = 1024;

/// A growing list of arguments, which lie in the caller's buffer.
#[derive(Clone, Debug)]
pub struct Arguments<'a> {
    inline: [&'a [u8]; INLINE],
    len: usize,
    /// Holds everything once there are more than [`INLINE`] arguments.
    spilled: Vec<&'a [u8]>,
}

impl<'a> Arguments<'a> {
    /// An empty list that will hold `expected` arguments.
    pub fn with_capacity(expected: usize) -> Arguments<'a> {
        let spilled = if expected > INLINE { Vec::with_capacity(expected) } else { Vec::new() };
        Arguments { inline: [b""; INLINE], len: 0, spilled }
    }

    /// Add an argument at the end.
    pub fn push(&mut self, argument: &'a [u8]) {
        if self.len < INLINE && self.spilled.capacity() == 0 {
            self.inline[self.len] = argument;
        } else {
            if self.spilled.is_empty() {
                self.spilled.extend_from_slice(&self.inline[..self.len]);
            }
            self.spilled.push(argument);
            assert!(self.spilled.len() == self.len + 1, "every argument is in the list that spilled");
        }
        self.len += 1;
    }

    /// All arguments.
    #[inline]
    pub fn as_slice(&self) -> &[&'a [u8]] {
        if self.spilled.is_empty() { &self.inline[..self.len] } else { &self.spilled }
    }
}

impl<'a> FromIterator<&'a [u8]> for Arguments<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(arguments: I) -> Arguments<'a> {
        let arguments = arguments.into_iter();
        let mut list = Arguments::with_capacity(arguments.size_hint().0);
        arguments.for_each(|argument| list.push(argument));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_across_the_spill() {
        let bytes: Vec<u8> = (0..40).collect();
        for n in 0..40usize {
            let wanted: Vec<&[u8]> = bytes.chunks(1).take(n).collect();
            let mut grown = Arguments::with_capacity(0);
            wanted.iter().for_each(|argument| grown.push(argument));
            let collected: Arguments<'_> = wanted.iter().copied().collect();
            assert_eq!(grown.as_slice(), wanted);
            assert_eq!(collected.as_slice(), grown.as_slice());
        }
    }
}
