//! Many names and many sessions: `scale [SESSIONS [NAMES]]`, on a server that it starts with its data in memory.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use xsem::{Exclusive, Namespace};
use xsem_testkit::etcd::Cluster;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let sessions: usize = args.next().map_or(Ok(200), |a| a.parse())?;
    let names: usize = args.next().map_or(Ok(10_000), |a| a.parse())?;
    xsem_etcd::register();
    let server = Cluster::start(1);
    let url = server.url("scale?guardian=none");
    println!("{sessions} sessions, {names} names; the server has {} before", resident(&server));
    // A session of its own for each, as another host has: the same URL would be the same one.
    let open = |i: usize| Namespace::open(&format!("{url}&timeout=3.{i:06}"));
    let all = (0..sessions).map(open).collect::<Result<Vec<_>, _>>()?;
    let name = |i: usize| format!("scale/{:02}/{i:05}", i % 100);

    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|s| {
        for ns in &all {
            s.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= names {
                        return;
                    }
                    Exclusive::open_or_create(ns, &name(i)).expect("it is made");
                }
            });
        }
    });
    told("create", names, start.elapsed());
    println!("{:42} {}", "the server has", resident(&server));

    let (done, over) = (AtomicU64::new(0), Instant::now() + Duration::from_secs(10));
    let start = Instant::now();
    std::thread::scope(|s| {
        for (n, ns) in all.iter().enumerate() {
            let done = &done;
            s.spawn(move || {
                // One in a hundred is wanted by many.
                for round in 0_usize.. {
                    if Instant::now() >= over {
                        return;
                    }
                    let i = (n * 7919 + round * 104_729) % names;
                    let i = if round % 100 == 99 { i % 10 } else { i };
                    let x = Exclusive::open(ns, &name(i)).expect("it is there");
                    let guard = x.acquire().expect("it is granted");
                    guard.release().expect("it was owned");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    told(&format!("open, acquire, release by {sessions} sessions"), done.load(Ordering::Relaxed) as usize, start.elapsed());

    // Everybody holds something, and one waits for each.
    let held: Vec<Exclusive> = all.iter().enumerate().map(|(i, ns)| Exclusive::open(ns, &name(i))).collect::<Result<_, _>>()?;
    let start = Instant::now();
    let guards = held.iter().map(|x| x.acquire().map_err(xsem::Error::from)).collect::<Result<Vec<_>, _>>()?;
    told("acquire, one after the other", sessions, start.elapsed());
    let (mut list, mut look) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let start = Instant::now();
        let found = all[0].list()?.len();
        list.push(start.elapsed());
        assert_eq!(found, names);
        let start = Instant::now();
        assert_eq!(all[1].inspect(&name(0))?.holders.len(), 1);
        look.push(start.elapsed());
    }
    list.sort_unstable();
    look.sort_unstable();
    println!("{:42} {:>10.1?}", format!("list of {names}"), list[list.len() / 2]);
    println!("{:42} {:>10.1?}", "inspect one", look[look.len() / 2]);
    let start = Instant::now();
    assert_eq!(all[0].check()?.findings, []);
    println!("{:42} {:>10.1?}", "check of all", start.elapsed());
    let start = Instant::now();
    drop(guards);
    told("release, one after the other", sessions, start.elapsed());
    drop(held);

    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|s| {
        for ns in &all {
            s.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= names {
                        return;
                    }
                    ns.remove(&name(i)).expect("it is clear");
                }
            });
        }
    });
    told("remove", names, start.elapsed());
    println!("{:42} {}", "the server has", resident(&server));
    Ok(())
}

/// Memory and database of the server.
fn resident(server: &Cluster) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid(0))).unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let said = server.ask(0, "/v3/maintenance/status", "{}").ok();
    let db = said.and_then(|s| s["dbSize"].as_str()?.parse::<u64>().ok());
    format!("{} MiB resident, a database of {} MiB", kib.unwrap_or(0) >> 10, db.unwrap_or(0) >> 20)
}

fn told(what: &str, n: usize, took: Duration) {
    println!("{what:42} {:10.0} /s  ({n} in {:.2} s)", n as f64 / took.as_secs_f64(), took.as_secs_f64());
}
