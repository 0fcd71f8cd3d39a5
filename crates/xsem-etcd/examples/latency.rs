//! How long things take on a store, beside one raw transaction of the same run: `latency etcd://host:2379/some/prefix`.
//!
//! It makes names below the prefix and takes them away again. Times are in microseconds: median and 90th percentile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use xsem::{Counting, Deadline, Exclusive, Namespace};
use xsem_etcd::client::Client;
use xsem_etcd::kv::{Txn, put};
use xsem_etcd::runtime;
use xsem_etcd::url::Config;

const ROUNDS: usize = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: latency URL")?;
    xsem_etcd::register();
    let client = Client::open(Config::parse(&url)?)?;
    let raw = |_| {
        let client = client.clone();
        let by = Deadline::after(Duration::from_secs(10));
        let done = runtime::run(async move { client.txn(Txn::of([put("latency-raw", "x".repeat(300), 0)]), by).await });
        assert!(done.is_ok(), "{done:?}");
    };
    let ns = Namespace::open(&url)?;
    let x = Exclusive::open_or_create(&ns, "latency/x")?;
    drop(x.acquire().map_err(xsem::Error::from)?);
    let (mut raws, mut acquires, mut releases) = (Vec::new(), Vec::new(), Vec::new());
    // In turns, so that whatever else the machine does is the same for all.
    for i in 0..ROUNDS {
        raws.push(timed(|| raw(i)));
        let mut guard = None;
        acquires.push(timed(|| guard = x.acquire().ok()));
        let guard = guard.ok_or("not acquired")?;
        let mut done = None;
        releases.push(timed(|| done = Some(guard.release())));
        done.ok_or("not released")??;
    }
    let one = told("raw transaction", raws, None);
    told("acquire", acquires, Some(one));
    told("release", releases, Some(one));
    told("handoff (release to granted)", handoff(&url)?, Some(one));
    for clients in [4, 16, 64] {
        println!("{:30} {:8.0} acquisitions/s", format!("pool of 4, {clients} clients"), counting(&url, clients)?);
    }
    ns.remove("latency/x")?;
    ns.remove("latency/p")?;
    Ok(())
}

/// A session of its own, as another host has: the same URL would be the same one.
fn session(url: &str) -> Namespace {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let sign = if url.contains('?') { '&' } else { '?' };
    let n = NUMBER.fetch_add(1, Ordering::Relaxed);
    Namespace::open(&format!("{url}{sign}timeout=3.{n:06}")).expect("it opens")
}

fn timed(f: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    f();
    begin.elapsed()
}

fn told(what: &str, mut times: Vec<Duration>, one: Option<Duration>) -> Duration {
    times.sort_unstable();
    let (median, p90) = (times[times.len() / 2], times[times.len() * 9 / 10]);
    let ratio = one.map_or(String::new(), |o| format!("  {:5.2} x", median.as_secs_f64() / o.as_secs_f64()));
    println!("{what:30} {:8.0} {:8.0} us{ratio}", median.as_secs_f64() * 1e6, p90.as_secs_f64() * 1e6);
    median
}

/// Two sessions that hand it to each other: from before the release to after the acquire.
fn handoff(url: &str) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let (tell, told) = channel::<(usize, Instant, Instant)>();
    std::thread::scope(|s| {
        for me in 0..2 {
            let tell = tell.clone();
            s.spawn(move || {
                let ns = session(url);
                let x = Exclusive::open_or_create(&ns, "latency/x").expect("it opens");
                for _ in 0..ROUNDS / 2 {
                    let guard = x.acquire().expect("it is granted");
                    let granted = Instant::now();
                    // Until the other waits.
                    while ns.inspect("latency/x").is_ok_and(|r| r.waiters.is_empty())
                        && granted.elapsed() < Duration::from_millis(50)
                    {}
                    let before = Instant::now();
                    drop(guard);
                    let _ = tell.send((me, granted, before));
                }
            });
        }
    });
    drop(tell);
    let mut all: Vec<_> = told.iter().collect();
    all.sort_by_key(|(_, granted, _)| *granted);
    let pairs = all.windows(2).filter(|w| w[0].0 != w[1].0);
    Ok(pairs.map(|w| w[1].1.saturating_duration_since(w[0].2)).collect())
}

/// How many acquisitions a second so many sessions get of a pool of four.
fn counting(url: &str, clients: usize) -> Result<f64, Box<dyn std::error::Error>> {
    Counting::open_or_create_pool(&Namespace::open(url)?, "latency/p", 4)?;
    let time = Duration::from_secs(3);
    let done: usize = std::thread::scope(|s| {
        let work = || {
            let ns = session(url);
            let p = Counting::open(&ns, "latency/p").expect("it opens");
            let begin = Instant::now();
            let mut n = 0;
            while begin.elapsed() < time {
                drop(p.acquire().expect("it is granted"));
                n += 1;
            }
            n
        };
        let all: Vec<_> = (0..clients).map(|_| s.spawn(work)).collect();
        all.into_iter().map(|t| t.join().expect("it works")).sum()
    });
    Ok(done as f64 / time.as_secs_f64())
}
