//! Recorded histories on real etcd servers, checked against the model: `histories --help`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use xsem_testkit::etcd::{Cluster, storm::SLOPPY};
use xsem_testkit::history::{MIXES, Plan, Verdict, check, record};
use xsem_testkit::random::Random;
use xsem_testkit::rig::{EtcdRig, Rig};
use xsem_testkit::watchdog::Watchdog;

const USAGE: &str = "\
usage: histories [--histories N] [--seed N] [--members N] [--calm] [--bug NAME]

Records what processes do at one time on semaphores in etcd, and looks for an order that explains it. Every third history has a SIGKILL;
meanwhile one server after the other is killed or frozen for a moment, the one that leads included.

  --histories N  of each of the sorts (3)
  --seed N       others (1)
  --members N    servers (3)
  --calm         nothing is done to the servers
  --bug NAME     with a fault of `storm --help` that lies below the engine: one of the histories must not be explained
";

struct Options {
    histories: u64,
    seed: u64,
    members: usize,
    calm: bool,
    bug: Option<String>,
}

fn options() -> Result<Options, String> {
    let mut o = Options { histories: 3, seed: 1, members: 3, calm: false, bug: None };
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        if a == "--calm" {
            o.calm = true;
            continue;
        }
        let value = args.next();
        let number = value.as_deref().and_then(|v| v.parse::<u64>().ok()).filter(|n| *n > 0);
        match (a.as_str(), number, value) {
            ("--histories", Some(n), _) => o.histories = n,
            ("--seed", Some(n), _) => o.seed = n,
            ("--members", Some(n), _) => o.members = n as usize,
            ("--bug", _, Some(bug)) => o.bug = Some(bug),
            (other, ..) => return Err(format!("`{other}` is not an option, or its value is wrong")),
        }
    }
    Ok(o)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(o) => o,
        Err(e) => {
            eprintln!("histories: {e}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let beside = |name: &str| std::env::current_exe().ok().map(|p| p.with_file_name(name)).filter(|p| p.exists());
    let (Some(worker), Some(_guardian)) = (beside("worker"), beside("xsem-guardian")) else {
        eprintln!(
            "histories: `worker` and `xsem-guardian` are not beside this program: cargo build -p xsem-testkit -p xsem-etcd --bins"
        );
        return ExitCode::from(2);
    };
    if let Some(bug) = &options.bug {
        // SAFETY: no other thread is there yet.
        unsafe { std::env::set_var(SLOPPY, bug) };
    }
    let cluster = Cluster::start(options.members);
    let over = AtomicBool::new(false);
    let found = std::thread::scope(|s| {
        // However this ends: else a panic would wait for the one who disturbs, for ever.
        let _end = Ends(&over);
        if !options.calm {
            s.spawn(|| disturb(&cluster, options.seed, &over));
        }
        explained(&options, &cluster, worker)
    });
    match (found, &options.bug) {
        (Ok(said), None) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        (Ok(said), Some(bug)) => {
            println!("`{bug}`: NOT FOUND: {said}");
            ExitCode::FAILURE
        }
        (Err(text), None) => {
            println!("{text}");
            ExitCode::FAILURE
        }
        (Err(text), Some(bug)) => {
            println!("`{bug}`: found: {}", text.lines().next().unwrap_or_default());
            ExitCode::SUCCESS
        }
    }
}

/// Says that it is over.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// One server at a time, for a moment that is shorter than a lease.
fn disturb(cluster: &Cluster, seed: u64, over: &AtomicBool) {
    let mut random = Random::new(seed);
    while !over.load(Relaxed) {
        let leads = random.one_in(2);
        let i = if leads { cluster.leader() } else { random.below(cluster.len() as u64) as usize };
        let time = Duration::from_millis(100 + random.below(1200));
        match random.one_in(2) {
            true => {
                cluster.kill(i);
                std::thread::sleep(time);
                cluster.restart(i);
            }
            false => {
                cluster.freeze(i);
                std::thread::sleep(time);
                cluster.thaw(i);
            }
        }
        let end = Instant::now() + Duration::from_millis(300 + random.below(1500));
        while Instant::now() < end && !over.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn explained(options: &Options, cluster: &Cluster, worker: std::path::PathBuf) -> Result<String, String> {
    // Nobody's session ends by its time here: a death is a kill, which the guardian tells.
    let mut rig = EtcdRig::with_ttl(worker, cluster, 60).map_err(|e| e.to_string())?;
    let (mut all, mut undecided, mut events) = (0, 0, 0);
    for (mix, sort) in MIXES.iter().enumerate() {
        for seed in options.seed..options.seed + options.histories {
            let what = format!("a history `{}`, --seed {seed}", sort.name);
            let _dog = Watchdog::with_time(&what, Duration::from_secs(150));
            let plan = Plan { mix, seed, actors: 3, ops: 10, death: seed.is_multiple_of(3) };
            let history = record(&mut rig, &plan).map_err(|text| format!("{what}: {text}"))?;
            events += history.events.len();
            all += 1;
            match check(&history) {
                Verdict::Explained => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Impossible(text) => return Err(format!("{what}, cannot be explained:\n{text}")),
            }
        }
        let audit = rig.audit();
        if !audit.is_empty() {
            return Err(format!("after the histories `{}`: {}", sort.name, audit.join("; ")));
        }
    }
    let said = format!("{all} histories with {events} operations on {} servers: {undecided} undecided", options.members);
    if undecided > 2 + all / 5 { Err(format!("too many are not decided: {said}")) } else { Ok(said) }
}
