//! A storm on real servers: processes that claim, write to a resource that checks tokens, and give back, while they, their connections and
//! the servers are killed, stopped and cut. What each has seen is a record, and the records are judged: `cargo xtask etcd storm`.

mod account;
mod chaos;
mod directed;
mod judge;
mod resource;
mod sloppy;
mod worker;

pub use directed::{DIRECTED, play};
pub use sloppy::{SLOPPY, open};
pub use worker::{FLAG, serve};

use super::{Cluster, Proxy};
use crate::watchdog::Watchdog;
use account::Life;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

/// What the servers and the workers are like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long it blows.
    pub time: Duration,
    /// Which faults, in which order.
    pub seed: u64,
    /// Servers.
    pub members: usize,
    /// Processes that claim.
    pub workers: usize,
    /// A known fault that they have, by its name.
    pub bug: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What must not be, a line each.
    pub violations: Vec<String>,
    /// What happened, for people.
    pub summary: String,
}

/// The faults that can be built in, and what each is. Those of [`DIRECTED`] have a scene each, since a storm finds them by chance only.
pub const BUGS: &[(&str, &str)] = &[
    ("uncompared", "a transaction does not compare the records that it was computed from"),
    ("deaf", "who was stopped or cut off believes in its claims"),
    ("untold", "the next owner is not told of a death"),
    ("coarse", "tokens of neighbours are the same"),
    ("twice", "a change whose answer was lost is made again"),
];

/// The lease of everybody: the shortest that there is.
const TTL: Duration = Duration::from_secs(2);
/// For the end: the last lease's end, and a loaded machine.
const END: Duration = Duration::from_secs(120);

/// One process and the ways from it to the servers.
struct Seat {
    proxies: Vec<Proxy>,
    /// With a guardian.
    url: String,
    child: Child,
    /// Of those that sat here.
    lives: Vec<(PathBuf, u32)>,
}

/// Everything that can be hurt.
struct Scene {
    cluster: Cluster,
    seats: Vec<Seat>,
    dir: PathBuf,
    bug: Option<String>,
    /// What was done, and how often.
    done: std::collections::BTreeMap<&'static str, u32>,
}

/// Runs a storm.
///
/// # Errors
/// What kept it from beginning.
pub fn run(options: &Options) -> io::Result<Outcome> {
    let _dog = Watchdog::with_time("a storm", options.time + END);
    let dir = PathBuf::from(format!("/dev/shm/xsem-storm-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir)?;
    let outcome = blow(options, &dir);
    let _ = fs::remove_dir_all(&dir);
    outcome
}

fn blow(options: &Options, dir: &Path) -> io::Result<Outcome> {
    xsem_etcd::register();
    let cluster = Cluster::start(options.members);
    let plain = format!("{}?guardian=none", cluster.url(PLACE));
    let ns = xsem::Namespace::open(&plain).map_err(io::Error::other)?;
    worker::Things::open(&ns).map_err(io::Error::other)?;
    let mut scene = Scene { cluster, seats: Vec::new(), dir: dir.to_owned(), bug: options.bug.clone(), done: Default::default() };
    for i in 0..options.workers {
        let seat = scene.seat(i)?;
        scene.seats.push(seat);
    }
    chaos::blow(&mut scene, options)?;
    // Calm: everybody comes to an end by itself, so nobody was left waiting.
    fs::write(dir.join(worker::STOP), "")?;
    let (mut lives, by): (Vec<Life>, _) = (Vec::new(), Instant::now() + END / 2);
    for seat in &mut scene.seats {
        let status = loop {
            match seat.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() < by => std::thread::sleep(Duration::from_millis(20)),
                None => return Err(io::Error::other(format!("worker {} does not come to an end", seat.child.id()))),
            }
        };
        if !status.success() {
            return Err(io::Error::other(format!("a worker: {status}")));
        }
        for (record, pid) in &seat.lives {
            lives.push(Life::read(record, *pid)?);
        }
    }
    let mut violations = judge::judge(&lives, TTL);
    violations.extend(judge::judge_end(&ns, &lives).map_err(io::Error::other)?);
    let claims: usize = lives.iter().map(|l| l.claims.len()).sum();
    let done: Vec<String> = scene.done.iter().map(|(what, n)| format!("{what} {n}")).collect();
    let told = lives.iter().flat_map(|l| &l.claims).filter(|c| c.died.is_some()).count();
    let lost = lives.iter().flat_map(|l| &l.claims).filter(|c| c.is_lost()).count();
    let summary = format!(
        "{} processes, {claims} claims, {lost} lost with their session or killed, {told} deaths told; {}",
        lives.len(),
        done.join(", ")
    );
    if claims == 0 {
        violations.push("nothing went on".to_owned());
    }
    Ok(Outcome { violations, summary })
}

/// Where in the store.
const PLACE: &str = "storm";

impl Scene {
    fn seat(&self, i: usize) -> io::Result<Seat> {
        let proxies: Vec<Proxy> = (0..self.cluster.len()).map(|m| Proxy::to(self.cluster.port(m))).collect();
        let ends: Vec<String> = proxies.iter().map(|p| format!("127.0.0.1:{}", p.port())).collect();
        let guardian = env::current_exe()?.with_file_name("xsem-guardian");
        // Half of them have one, where it was built.
        let guardian = if i.is_multiple_of(2) && guardian.exists() { guardian.display().to_string() } else { "none".to_owned() };
        let url = format!("etcd://{}/{PLACE}?ttl={}&timeout=1&guardian={guardian}", ends.join(","), TTL.as_secs());
        let (child, life) = self.start(&url, i, 0)?;
        Ok(Seat { proxies, url, child, lives: vec![life] })
    }

    fn start(&self, url: &str, seat: usize, n: usize) -> io::Result<(Child, (PathBuf, u32))> {
        let record = self.dir.join(format!("{seat}-{n}"));
        let mut command = Command::new(env::current_exe()?);
        command.arg(FLAG).arg(url).arg(&self.dir).arg(&record).arg((seat * 1000 + n).to_string());
        command.args(&self.bug).stdin(Stdio::null());
        let child = command.spawn()?;
        let pid = child.id();
        Ok((child, (record, pid)))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for seat in &mut self.seats {
            let _ = (seat.child.kill(), seat.child.wait());
        }
    }
}
