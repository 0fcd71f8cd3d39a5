//! Interleaved rounds: everybody in turn for a short slice, again and again.

use std::time::{Duration, Instant};

/// One thing to time: `run(n)` does it `n` times and says how long that took.
pub struct Contestant<'a> {
    /// What the table calls it.
    pub name: String,
    /// Does it so many times. The loop is inside, so that the call through the pointer is not what is timed.
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(name: impl Into<String>, mut run: impl FnMut(u64) + 'a) -> Contestant<'a> {
        Contestant::timed(name, move |n| {
            let start = Instant::now();
            run(n);
            start.elapsed()
        })
    }

    /// One that looks at the clock by itself: another process, or where preparations do not count.
    pub fn timed(name: impl Into<String>, run: impl FnMut(u64) -> Duration + 'a) -> Contestant<'a> {
        Contestant { name: name.into(), run: Box::new(run) }
    }
}

/// The times of one contestant, in nanoseconds per operation, one for each round.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub samples: Vec<f64>,
}

impl Series {
    pub fn new(name: impl Into<String>) -> Series {
        Series { name: name.into(), samples: Vec::new() }
    }

    /// One that was counted once, not timed in rounds: bytes, say.
    pub fn once(name: impl Into<String>, value: f64) -> Series {
        Series { name: name.into(), samples: vec![value] }
    }

    /// The middle of the samples; not a number where there are none.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Below which that part of the samples lies: 0 is the smallest, 1 the largest.
    pub fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let at = part * (sorted.len().max(1) - 1) as f64;
        match (sorted.get(at.floor() as usize), sorted.get(at.ceil() as usize)) {
            (Some(below), Some(above)) => below + (above - below) * at.fract(),
            _ => f64::NAN,
        }
    }
}

/// Runs everybody `rounds` times, about `slice` long each.
pub fn run(contestants: &mut [Contestant<'_>], slice: Duration, rounds: usize) -> Vec<Series> {
    let counts: Vec<u64> = contestants.iter_mut().map(|c| calibrate(c, slice)).collect();
    let mut series: Vec<_> =
        contestants.iter().map(|c| Series { name: c.name.clone(), samples: Vec::with_capacity(rounds) }).collect();
    for round in 0..rounds {
        for i in 0..contestants.len() {
            // Another one begins each round: nobody always runs after the same neighbour's caches... but the order is kept,
            // so that two neighbours see the same machine.
            let at = (i + round) % contestants.len();
            let took = (contestants[at].run)(counts[at]);
            series[at].samples.push(took.as_nanos() as f64 / counts[at] as f64);
        }
    }
    series
}

/// How many fill a slice. It warms up on the way.
fn calibrate(c: &mut Contestant<'_>, slice: Duration) -> u64 {
    let mut n = 1;
    loop {
        let took = (c.run)(n);
        if took >= slice / 2 {
            return (n as f64 * slice.as_secs_f64() / took.as_secs_f64()).max(1.0) as u64;
        }
        n *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_odd_and_even_numbers_of_samples() {
        let of = |samples: &[f64]| Series { name: String::new(), samples: samples.to_vec() };
        let three = of(&[3.0, 1.0, 2.0]);
        assert_eq!((three.quantile(0.0), three.median(), three.quantile(1.0)), (1.0, 2.0, 3.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(of(&[]).median().is_nan());
    }

    #[test]
    fn everybody_has_a_sample_of_each_round() {
        let mut turns = 0;
        let mut all =
            vec![Contestant::new("counted", |_| turns += 1), Contestant::timed("told", |n| Duration::from_nanos(7 * n))];
        let series = run(&mut all, Duration::from_nanos(1), 5);
        assert_eq!(series.iter().map(|s| s.samples.len()).collect::<Vec<_>>(), [5, 5]);
        assert_eq!(series[1].median(), 7.0);
        drop(all);
        assert!(turns > 5);
    }
}
