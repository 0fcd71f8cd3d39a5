//! Which of a pool's numbers are taken.

/// A bit per slot.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<u64>);

impl Slots {
    /// Takes the `n` lowest free ones, ascending.
    pub fn take(&mut self, n: u32) -> Vec<u32> {
        let mut taken = Vec::with_capacity(n as usize);
        let mut word = 0;
        while taken.len() < n as usize {
            if word == self.0.len() {
                self.0.push(0);
            }
            match self.0[word].trailing_ones() {
                64 => word += 1,
                bit => {
                    self.0[word] |= 1 << bit;
                    taken.push(word as u32 * 64 + bit);
                }
            }
        }
        taken
    }

    /// Gives them back.
    pub fn give(&mut self, slots: &[u32]) {
        for s in slots {
            self.0[*s as usize / 64] &= !(1 << (s % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn the_lowest_free_ones_come_first() {
        let mut s = Slots::default();
        assert_eq!(s.take(3), [0, 1, 2]);
        assert_eq!(s.take(70).last(), Some(&72));
        s.give(&[1, 64]);
        assert_eq!(s.take(3), [1, 64, 73]);
        assert_eq!(s.take(0), [0u32; 0]);
    }
}
