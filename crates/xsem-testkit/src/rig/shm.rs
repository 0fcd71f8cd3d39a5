//! The engine in shared memory: actors are processes, and die by SIGKILL.

use super::Rig;
use crate::worker::{Actor, Worker};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use xsem::{Namespace, NamespaceBuilder};

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A namespace in a directory of its own, which goes with the rig.
#[derive(Debug)]
pub struct ShmRig {
    ns: Namespace,
    elsewhere: String,
    worker: PathBuf,
    dir: PathBuf,
    /// Each actor is a user of its own, the next one this.
    user: Option<u32>,
}

/// The group that users share a namespace with. Nobody has to be in it in the user database: it is root who makes the files.
const GROUP: u32 = 65534;

impl ShmRig {
    /// A fresh namespace. `worker`: the program of the actors, which gets the URLs of the namespace and of another one.
    ///
    /// # Errors
    /// When the engine cannot open it.
    pub fn new(worker: impl Into<PathBuf>, builder: NamespaceBuilder) -> xsem::Result<ShmRig> {
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/xsem-rig-{}-{n}", std::process::id()));
        let no_room = |e| xsem::Error::new(xsem::Code::AccessDenied, format!("{} cannot be made", dir.display())).because(e);
        std::fs::create_dir(&dir).map_err(no_room)?;
        let ns = builder.open(&format!("shm:{}/ns", dir.display()))?;
        Ok(ShmRig { ns, elsewhere: format!("shm:{}/other", dir.display()), worker: worker.into(), dir, user: None })
    }

    /// The same, where each actor is a user of its own, of one group. Needs root.
    ///
    /// # Errors
    /// As `new`.
    pub fn between_users(worker: impl Into<PathBuf>, builder: NamespaceBuilder) -> xsem::Result<ShmRig> {
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/xsem-rig-{}-{n}", std::process::id()));
        let no_room = |e| xsem::Error::new(xsem::Code::AccessDenied, format!("{} cannot be made", dir.display())).because(e);
        std::fs::create_dir(&dir).map_err(no_room)?;
        let url = |name: &str| format!("shm:{}/{name}?group={GROUP}", dir.display());
        let ns = builder.open(&url("ns"))?;
        let elsewhere = url("other");
        Namespace::open(&elsewhere)?;
        Ok(ShmRig { ns, elsewhere, worker: worker.into(), dir, user: Some(54_330) })
    }
}

impl Rig for ShmRig {
    fn name(&self) -> &'static str {
        if self.user.is_some() { "users" } else { "shm" }
    }

    fn ns(&self) -> &Namespace {
        &self.ns
    }

    fn actor(&mut self) -> Box<dyn Actor> {
        let arguments = [self.ns.url(), &self.elsewhere];
        Box::new(match &mut self.user {
            None => Worker::start_with(&self.worker, &arguments),
            Some(user) => {
                *user += 1;
                Worker::start_as(&self.worker, &arguments, *user, GROUP)
            }
        })
    }

    fn dies_midway(&self) -> bool {
        true
    }

    fn audit(&self) -> Vec<String> {
        xsem::shm::testing::audit(&self.ns)
    }
}

impl Drop for ShmRig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
