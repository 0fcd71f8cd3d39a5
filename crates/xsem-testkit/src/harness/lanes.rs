//! Processes at work side by side.
//!
//! A case sleeps most of its time (a waiter must be asleep for a while before it counts as asleep), so there are more lanes
//! than processors. Everything is forked from one process, so addresses are the same in all.

use crate::sys::{self, Pid};
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsRawFd;

/// Work for lanes, numbered by who gives it.
#[derive(Debug)]
pub(super) struct Lanes {
    slots: Vec<Option<Busy>>,
}

#[derive(Debug)]
struct Busy {
    work: usize,
    pid: Pid,
    reader: PipeReader,
    text: Vec<u8>,
}

impl Lanes {
    pub(super) fn new(n: usize) -> Lanes {
        Lanes { slots: (0..n.max(1)).map(|_| None).collect() }
    }

    pub(super) fn have_room(&self) -> bool {
        self.slots.iter().any(Option::is_none)
    }

    pub(super) fn are_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// Starts `f`, which reports to its pipe, in a process of its own that stays on one processor.
    pub(super) fn start(&mut self, work: usize, f: impl FnOnce(&PipeWriter)) -> io::Result<()> {
        let Some(lane) = self.slots.iter().position(Option::is_none) else { return Err(io::Error::other("no lane is free")) };
        let (reader, writer) = sys::pipe()?;
        let pid = sys::fork(|| {
            sys::stay_on(Some(lane % processors()));
            f(&writer);
        })?;
        self.slots[lane] = Some(Busy { work, pid, reader, text: Vec::new() });
        Ok(())
    }

    /// Waits until one of them is over: which, and what it reported.
    pub(super) fn next(&mut self) -> io::Result<(usize, String)> {
        loop {
            let mut waits: Vec<libc::pollfd> = self
                .slots
                .iter()
                // A negative descriptor is passed by.
                .map(|s| s.as_ref().map_or(-1, |b| b.reader.as_raw_fd()))
                .map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
                .collect();
            sys::poll(&mut waits, -1)?;
            for (slot, _) in self.slots.iter_mut().zip(waits).filter(|(_, w)| w.revents != 0) {
                let Some(busy) = slot else { continue };
                let mut bytes = [0; 16 << 10];
                let n = busy.reader.read(&mut bytes)?;
                busy.text.extend(&bytes[..n]);
                if n == 0 {
                    let busy = slot.take().expect("it was there a moment ago");
                    sys::end(busy.pid);
                    return Ok((busy.work, String::from_utf8_lossy(&busy.text).into_owned()));
                }
            }
        }
    }
}

impl Drop for Lanes {
    /// What is left is not wanted any more; drivers and players end with their lane.
    fn drop(&mut self) {
        self.slots.iter_mut().filter_map(Option::take).for_each(|b| sys::end(b.pid));
    }
}

/// How many processors there are.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
