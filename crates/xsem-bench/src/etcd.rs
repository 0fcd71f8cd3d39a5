//! The engine on etcd, on servers that are started for this on loopback with their data in memory; beside one raw transaction of the
//! same run, etcd's own lock service, and `etcdctl lock`.

mod child;
mod command;
mod crowd;
mod death;
mod handoff;
mod place;
mod single;

pub use child::{FLAG, main};

use crate::Options;
use crate::goals::Goal;
use crate::report::{Report, Table};
use crate::rounds::Series;
use std::io;
use xsem_testkit::etcd::Cluster;

/// What everything is compared with: a value of the size of a semaphore's record is put.
const RAW: &str = "raw transaction";
/// etcd's own service, `v3lockpb.Lock`.
const LOCK: &str = "etcd's lock()";

/// How often, where nothing else is said. The whole takes less than three minutes.
const ROUNDS: usize = 40;

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    xsem_etcd::register();
    let (one, three) = (Cluster::start(1), Cluster::start(3));
    let leader = three.leader();
    let at = |c: &Cluster, i: usize, what: &str| format!("etcd://127.0.0.1:{}/bench/{what}?guardian=none", c.port(i));
    let (alone, led) = (at(&one, 0, "one"), at(&three, leader, "three"));
    let follower = at(&three, (leader + 1) % 3, "three");

    let mut tables = vec![
        single::table("one client, one node", &alone, rounds)?,
        single::table("one client, the leader of three nodes", &led, rounds)?,
    ];
    tables.extend([
        handoff::quiet("handoff, one node", &alone, &alone, rounds)?,
        handoff::with_writes("handoff, one node, unrelated writes", &alone, rounds)?,
        handoff::quiet("handoff, three nodes, from the leader to a follower", &led, &follower, rounds)?,
        handoff::delayed("handoff, one node, 5 ms each way to it", one.port(0), rounds)?,
    ]);
    let counting = crowd::counting(&alone, rounds)?;
    tables.extend([crowd::drained(&alone, rounds)?, counting, death::table(&alone, rounds)?]);
    tables.push(command::table(&one, rounds)?);
    let goals = goals(&tables);
    Ok(Report {
        title: "etcd: semaphores across machines".to_owned(),
        how: format!(
            "etcd {} on loopback, data in memory; {rounds} rounds in turn, fewer of what takes long; the other side of a handoff is another \
             process; a crowd is so many sessions of one process",
            place::version(&one, 0)
        ),
        tables,
        goals,
        plots: Vec::new(),
    })
}

/// What the design's measurements promise (`docs/performance.md` has them).
fn goals(tables: &[Table]) -> Vec<Goal> {
    let ratio = |t: usize, name: &str| tables[t].ratio(name, RAW);
    let median = |t: usize, name: &str, unit: f64| tables[t].get(name).map(|s| Series::median(s) / unit);
    let p90 = tables[2].get(handoff::XSEM).map(|s| s.quantile(0.9) / 1e6);
    let flat = median(7, &crowd::clients(4), 1.0).zip(median(7, &crowd::clients(64), 1.0)).map(|(few, many)| many / few);
    vec![
        Goal::at_most(1.09, "one node: acquire, x a raw transaction", ratio(0, single::ACQUIRE)),
        Goal::at_most(1.05, "one node: release", ratio(0, single::RELEASE)),
        Goal::at_most(1.33, "one node: three names at once", ratio(0, single::THREE)),
        Goal::at_most(1.06, "three nodes: acquire", ratio(1, single::ACQUIRE)),
        Goal::at_most(1.01, "three nodes: release", ratio(1, single::RELEASE)),
        Goal::at_most(1.18, "three nodes: three names at once", ratio(1, single::THREE)),
        Goal::at_most(1.09, "one node: handoff, x a raw transaction", ratio(2, handoff::XSEM)),
        Goal::at_most(1.8, "one node: handoff, nine of ten", p90).in_units("ms"),
        Goal::at_most(84.0, "100 waiters drained", median(6, crowd::XSEM, 1e6)).in_units("ms"),
        Goal::at_least(560.0, "acquisitions of 64 clients", median(7, &crowd::clients(64), 1.0).map(|ns| 1e9 / ns))
            .in_units("/s"),
        Goal::at_most(1.2, "time of an acquisition, 64 clients x 4", flat),
        Goal::at_most(8.0, "death to the next owner, with a guardian", median(8, death::GUARDED, 1e6)).in_units("ms"),
    ]
}
