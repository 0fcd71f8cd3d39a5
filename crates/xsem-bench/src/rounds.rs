//! Interleaved rounds: everybody in turn for a short slice, again and again.

use std::time::{Duration, Instant};

/// One thing to time: `run(n)` does it `n` times.
pub struct Contestant<'a> {
    /// What the table calls it.
    pub name: &'static str,
    /// Does it so many times. The loop is inside, so that the call through the pointer is not what is timed.
    pub run: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(name: &'static str, run: impl FnMut(u64) + 'a) -> Contestant<'a> {
        Contestant { name, run: Box::new(run) }
    }
}

/// The times of one contestant, in nanoseconds per operation, one for each round.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: &'static str,
    pub samples: Vec<f64>,
}

/// Runs everybody `rounds` times, about `slice` long each.
pub fn run(contestants: &mut [Contestant<'_>], slice: Duration, rounds: usize) -> Vec<Series> {
    let counts: Vec<u64> = contestants.iter_mut().map(|c| calibrate(c, slice)).collect();
    let mut series: Vec<_> = contestants.iter().map(|c| Series { name: c.name, samples: Vec::with_capacity(rounds) }).collect();
    for round in 0..rounds {
        for i in 0..contestants.len() {
            // Another one begins each round: nobody always runs after the same neighbour's caches... but the order is kept,
            // so that two neighbours see the same machine.
            let at = (i + round) % contestants.len();
            let took = time(&mut contestants[at], counts[at]);
            series[at].samples.push(took.as_nanos() as f64 / counts[at] as f64);
        }
    }
    series
}

fn time(c: &mut Contestant<'_>, n: u64) -> Duration {
    let start = Instant::now();
    (c.run)(n);
    start.elapsed()
}

/// How many fill a slice. It warms up on the way.
fn calibrate(c: &mut Contestant<'_>, slice: Duration) -> u64 {
    let mut n = 1;
    loop {
        let took = time(c, n);
        if took >= slice / 2 {
            return (n as f64 * slice.as_secs_f64() / took.as_secs_f64()).max(1.0) as u64;
        }
        n *= 2;
    }
}
