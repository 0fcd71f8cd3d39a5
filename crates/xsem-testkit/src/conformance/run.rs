//! Plays rows on engines.

use super::{Row, Stage};
use crate::etcd::Cluster;
use crate::lease::Faults;
use crate::rig::{EtcdRig, LeaseRig, MemoryRig, Rig, ShmRig};
use crate::watchdog::slowness;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;
use xsem::Namespace;

/// What the namespace of a scene is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Room for everything.
    Usual,
    /// Room for everything, and nothing that makes tens of thousands of operations slow.
    Deep,
    /// Room for two names.
    TwoNames,
    /// Room for two members.
    TwoMembers,
}

/// What came of a row on an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the contract has it.
    Ok,
    /// Not so: what was seen.
    Failed(String),
    /// The engine cannot have it: why.
    Not(&'static str),
}

/// Makes a rig in a setting, or says why the engine has no such setting.
type Make = Box<dyn Fn(Setting) -> Result<Box<dyn Rig>, &'static str> + Send + Sync>;

/// An engine to play on.
pub struct Engine {
    /// Its name.
    pub name: &'static str,
    make: Make,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Engine {
    /// An engine whose rigs are made by this.
    pub fn new(
        name: &'static str,
        make: impl Fn(Setting) -> Result<Box<dyn Rig>, &'static str> + Send + Sync + 'static,
    ) -> Engine {
        Engine { name, make: Box::new(make) }
    }
}

/// The three engines. `worker`: the program of the shared-memory engine's actors.
pub fn engines(worker: PathBuf) -> Vec<Engine> {
    let memory = |setting| {
        let builder = match setting {
            Setting::Usual | Setting::Deep => Namespace::builder(),
            Setting::TwoNames => Namespace::builder().max_semaphores(2),
            Setting::TwoMembers => return Err("one process is all there is, so members are not limited"),
        };
        Ok(Box::new(MemoryRig::new(builder).expect("memory opens")) as Box<dyn Rig>)
    };
    let shm = move |setting| {
        let builder = match setting {
            Setting::Usual | Setting::Deep => Namespace::builder(),
            Setting::TwoNames => Namespace::builder().max_semaphores(2),
            Setting::TwoMembers => Namespace::builder().max_members(2),
        };
        Ok(Box::new(ShmRig::new(&worker, builder).expect("shared memory opens")) as Box<dyn Rig>)
    };
    let delays = Faults { delay: Duration::from_micros(500), event_delay: Duration::from_micros(500), ..Faults::NONE };
    let lease = move |setting| match setting {
        Setting::Usual => Ok(Box::new(LeaseRig::new(1, delays)) as Box<dyn Rig>),
        Setting::Deep => Ok(Box::new(LeaseRig::new(1, Faults::NONE)) as Box<dyn Rig>),
        _ => Err("a store has no tables of a fixed size"),
    };
    vec![Engine::new("memory", memory), Engine::new("shm", shm), Engine::new("lease", lease)]
}

/// Shared memory between users: each actor is another one, of one group. Needs root.
pub fn between_users(worker: PathBuf) -> Engine {
    Engine::new("users", move |setting| {
        let builder = match setting {
            Setting::Usual | Setting::Deep => Namespace::builder(),
            Setting::TwoNames => Namespace::builder().max_semaphores(2),
            Setting::TwoMembers => Namespace::builder().max_members(2),
        };
        Ok(Box::new(ShmRig::between_users(&worker, builder).expect("shared memory opens")) as Box<dyn Rig>)
    })
}

/// A real etcd server, which is started for it; each actor is a process with a session of its own.
pub fn on_etcd(worker: PathBuf) -> Engine {
    Engine::new("etcd", move |setting| match setting {
        Setting::Usual => Ok(Box::new(EtcdRig::new(&worker, Cluster::shared()).expect("a store opens")) as Box<dyn Rig>),
        Setting::Deep => Err("each level is a round trip to a real server, and there would be 65,535 of them"),
        _ => Err("a store has no tables of a fixed size"),
    })
}

/// The same on three servers; the actors ask the leader and the followers in turns.
pub fn on_three_etcds(worker: PathBuf) -> Engine {
    let cluster = std::sync::OnceLock::new();
    Engine::new("etcd3", move |setting| match setting {
        Setting::Usual => {
            let cluster = cluster.get_or_init(|| Cluster::start(3));
            Ok(Box::new(EtcdRig::new(&worker, cluster).expect("a store opens").in_turns(cluster)) as Box<dyn Rig>)
        }
        Setting::Deep => Err("each level is a round trip to a real server, and there would be 65,535 of them"),
        _ => Err("a store has no tables of a fixed size"),
    })
}

/// Plays one row on one engine. A scene that hangs is left behind; it fails.
pub fn run(row: &Row, engine: &Engine) -> Outcome {
    let rig = match (engine.make)(row.setting) {
        Ok(rig) => rig,
        Err(why) => return Outcome::Not(why),
    };
    let (tell, told) = channel();
    let scene = row.scene;
    std::thread::Builder::new()
        .name("scene".to_owned())
        .spawn(move || {
            let played = catch_unwind(AssertUnwindSafe(|| {
                let mut stage = Stage::new(rig);
                scene(&mut stage);
                stage.end();
            }));
            let outcome = match played {
                Ok(()) => Outcome::Ok,
                Err(panic) => Outcome::Failed(text(&*panic)),
            };
            let _ = tell.send(outcome);
        })
        .expect("a thread can be started");
    let patience = HANGS * slowness();
    told.recv_timeout(patience).unwrap_or_else(|_| Outcome::Failed(format!("it hangs (for {} s)", patience.as_secs())))
}

/// Longer than any actor may take for an answer.
const HANGS: Duration = Duration::from_secs(45);

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().cloned();
    said.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "it panicked".to_owned())
}
