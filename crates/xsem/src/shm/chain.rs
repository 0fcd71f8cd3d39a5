//! Chains in the file: a walk along one ends, also where damage has made a circle of it.

/// Remembers a place of the walk, each time twice as far on: a circle leads there again, after three rounds of it at most.
#[derive(Debug, Default)]
pub struct Circle {
    place: u32,
    steps: u64,
    next: u64,
}

impl Circle {
    /// Whether the walk has been at `at` before, for certain. To be asked at each step.
    pub fn closes_at(&mut self, at: u32) -> bool {
        if self.steps != 0 && at == self.place {
            return true;
        }
        if self.steps >= self.next {
            self.place = at;
            self.next = self.steps * 2 + 1;
        }
        self.steps += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_circles_close_and_soon() {
        for tail in 0..40u32 {
            for round in 1..40u32 {
                let at = |k: u32| if k < tail { k } else { tail + (k - tail) % round };
                let mut c = Circle::default();
                let steps = (0..1000).take_while(|k| !c.closes_at(at(*k))).count() as u32;
                assert!(steps >= tail + round && steps <= 3 * (tail + round) + 3, "{tail} {round}: {steps}");
            }
        }
        let mut c = Circle::default();
        assert!((0..100_000).all(|k| !c.closes_at(k)));
    }
}
