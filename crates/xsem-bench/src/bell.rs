//! One face for what a process waits on until another one signals it.

use crate::peers::event::{Eventfd, Futex};
use crate::peers::pthread::Sem;
use crate::shared::Shared;
use std::io;
use std::path::Path;
use xsem::{Event, Namespace};

/// What can be waited on.
pub enum Bell {
    Xsem(Event),
    Futex(Futex),
    Eventfd(Eventfd),
    /// It counts: auto only.
    Sem(Sem),
}

/// Everything that the benchmark rings.
pub struct Bells {
    /// Auto: the way there.
    pub ping: Vec<Bell>,
    /// Auto: the way back.
    pub pong: Vec<Bell>,
    /// Manual.
    pub all: Vec<Bell>,
}

impl Bells {
    /// Creates what the children will open, once, in the parent.
    pub fn create(dir: &Path) -> io::Result<Bells> {
        for name in ["ping", "pong"] {
            Sem::create(&dir.join(format!("{name}.sem")), 0)?;
        }
        (0..3).try_for_each(Eventfd::create)?;
        Bells::open(dir)
    }

    /// Opens them, in the parent or a child of it.
    pub fn open(dir: &Path) -> io::Result<Bells> {
        let ns = Namespace::open(&format!("shm:{}", dir.join("ns").display())).map_err(io::Error::other)?;
        let open = |name: &str, number: usize, auto: bool| -> io::Result<Vec<Bell>> {
            let event = if auto { Event::open_or_create_auto(&ns, name) } else { Event::open_or_create_manual(&ns, name) };
            let mut bells = vec![
                Bell::Xsem(event.map_err(io::Error::other)?),
                Bell::Futex(Futex(Shared::map(&dir.join(format!("{name}.futex")))?)),
                Bell::Eventfd(Eventfd::open(number)),
            ];
            if auto {
                bells.push(Bell::Sem(Sem::open(&dir.join(format!("{name}.sem")))?));
            }
            Ok(bells)
        };
        Ok(Bells { ping: open("ping", 0, true)?, pong: open("pong", 1, true)?, all: open("all", 2, false)? })
    }
}

impl Bell {
    pub fn name(&self) -> &'static str {
        match self {
            Bell::Xsem(_) => "xsem Event",
            Bell::Futex(_) => "raw futex",
            Bell::Eventfd(_) => "eventfd",
            Bell::Sem(_) => "sem_t, process-shared",
        }
    }

    #[inline]
    pub fn signal(&self) {
        match self {
            Bell::Xsem(e) => drop(e.signal().expect("it is not removed")),
            Bell::Futex(f) => f.signal(),
            Bell::Eventfd(e) => e.signal(),
            Bell::Sem(s) => assert_eq!(s.post(), 0),
        }
    }

    /// Waits for the signal and consumes it.
    #[inline]
    pub fn wait_auto(&self) {
        match self {
            Bell::Xsem(e) => e.wait().expect("a signal comes"),
            Bell::Futex(f) => f.wait_auto(),
            Bell::Eventfd(e) => e.wait_auto(),
            Bell::Sem(s) => assert_eq!(s.wait(), 0),
        }
    }

    /// Waits for the signal and leaves it.
    #[inline]
    pub fn wait_manual(&self) {
        match self {
            Bell::Xsem(e) => e.wait().expect("a signal comes"),
            Bell::Futex(f) => f.wait_manual(),
            Bell::Eventfd(e) => e.wait_manual(),
            Bell::Sem(_) => unreachable!("a semaphore is consumed by whoever waits for it"),
        }
    }

    /// Takes the signal away, which is there.
    #[inline]
    pub fn reset(&self) {
        match self {
            Bell::Xsem(e) => drop(e.reset().expect("it is not removed")),
            Bell::Futex(f) => f.reset(),
            Bell::Eventfd(e) => e.wait_auto(),
            Bell::Sem(s) => assert_eq!(s.wait(), 0),
        }
    }
}
