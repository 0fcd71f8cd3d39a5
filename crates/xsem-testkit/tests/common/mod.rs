//! A namespace of one's own, workers on it, and short words for what tests do all the time.

#![allow(dead_code, reason = "each test file uses its own part")]

use xsem::{Namespace, NamespaceBuilder, Report};
use xsem_testkit::protocol::{Answer, Verb};
use xsem_testkit::worker::Worker;

/// A fresh namespace in shared memory; it goes with its directory.
pub struct Place {
    pub ns: Namespace,
    _dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place::with(Namespace::builder())
    }

    pub fn with(builder: NamespaceBuilder) -> Place {
        let dir = tempfile::Builder::new().prefix("xsem-test-").tempdir_in("/dev/shm").unwrap();
        let ns = builder.open(&format!("shm:{}/ns", dir.path().display())).unwrap();
        Place { ns, _dir: dir }
    }

    pub fn worker(&self) -> Worker {
        Worker::start(env!("CARGO_BIN_EXE_worker"), self.ns.url())
    }

    pub fn inspect(&self, name: &str) -> Report {
        self.ns.inspect(name).unwrap()
    }

    /// Waits until so many wait for `name`, as the namespace itself says. The caller has a watchdog.
    pub fn until_waiting(&self, name: &str, n: usize) {
        while self.inspect(name).waiters.len() != n {
            xsem_testkit::sys::nap(100);
        }
    }

    /// At rest and in flight, no invariant of the file is violated.
    pub fn audit(&self) {
        assert_eq!(xsem::shm::testing::audit(&self.ns), Vec::<String>::new());
    }
}

/// The verb for a name.
pub fn create(name: &str) -> Verb {
    Verb::Create(name.to_owned())
}

pub fn open(name: &str) -> Verb {
    Verb::Open(name.to_owned())
}

pub fn either(name: &str) -> Verb {
    Verb::OpenOrCreate(name.to_owned())
}

pub fn remove(name: &str) -> Verb {
    Verb::Remove(name.to_owned())
}

/// The refusal with this code.
pub fn refused(code: u32) -> Answer {
    Answer::Refused(code)
}

/// Who died first and latest, and how many, of a grant that is 105 with details.
pub fn deaths(answer: Answer) -> (u64, (u32, String), (u32, String), u64) {
    match answer {
        Answer::Granted { token, died: Some(Some((first, latest, n))), .. } => (token, first, latest, n),
        other => panic!("not 105 with details: {other}"),
    }
}
