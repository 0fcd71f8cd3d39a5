//! Sharing a second claim. A process shares one claim at a time; for each further one that a nested run shares there is a
//! small child, which does what we tell it through its channel, and which ends with us.

use crate::background::{self, Side};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use xsem::{Cause, Exclusive, Guard, Namespace};

const JOINED: u8 = b'j';
const OVER: u8 = b'o';
const COVER: u8 = b'c';
const DONE: u8 = b'd';
const RELEASE: u8 = b'r';
const ABANDON: u8 = b'a';

/// A child that shares a claim for us. Dropping it gives the share back.
#[derive(Debug)]
pub struct Sharer {
    pid: u32,
    channel: UnixStream,
}

impl Sharer {
    /// One for the claim with this token; None when that claim is over. Before this process has a second thread.
    ///
    /// # Errors
    /// No processes or descriptors; or the child could not join.
    pub fn start(url: &str, name: &str, token: u64) -> io::Result<Option<Sharer>> {
        let (pid, channel) = match background::fork()? {
            Side::Parent(pid, channel) => (pid, channel),
            Side::Child(channel) => serve(url, name, token, channel),
        };
        let mut sharer = Sharer { pid, channel };
        match sharer.answer()? {
            JOINED => Ok(Some(sharer)),
            OVER => Ok(None),
            _ => Err(io::Error::other("the claim could not be shared")),
        }
    }

    /// Lets the share cover the command `pid`.
    ///
    /// # Errors
    /// The child is gone, or there is no such process.
    pub fn cover(&mut self, pid: u32) -> io::Result<()> {
        self.channel.write_all(&[COVER])?;
        self.channel.write_all(&pid.to_ne_bytes())?;
        match self.answer()? {
            DONE => Ok(()),
            _ => Err(io::Error::other("the command could not be covered")),
        }
    }

    /// Gives the share back as a command that was ended by this signal does.
    pub fn abandon(mut self, signal: u8) {
        // A child that is gone has given it back with the mark.
        let _ = self.channel.write_all(&[ABANDON, signal]);
    }

    fn answer(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.channel.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        // After an abandon this comes too late, and says nothing any more.
        let _ = self.channel.write_all(&[RELEASE]);
        let _ = self.channel.shutdown(std::net::Shutdown::Write);
        // SAFETY: waits for our own child, whose status nobody wants; it ends now.
        while unsafe { libc::waitpid(self.pid as libc::pid_t, std::ptr::null_mut(), 0) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// The child's life.
fn serve(url: &str, name: &str, token: u64, mut channel: UnixStream) -> ! {
    // Opened anew: where the namespace is on a network, the parent's connections are not ours.
    let Ok(ns) = Namespace::open(url) else { end() };
    let sem = Exclusive::open(&ns, name);
    let joined = match &sem {
        Ok(sem) => sem.join(token),
        Err(_) => Ok(None),
    };
    let guard = match joined {
        Ok(Some(guard)) => guard,
        other => {
            let _ = channel.write_all(&[if other.is_ok() { OVER } else { 0 }]);
            end();
        }
    };
    if channel.write_all(&[JOINED]).is_ok() {
        obey(&ns, guard, &mut channel);
    } else {
        drop(guard);
    }
    end()
}

fn obey(ns: &Namespace, guard: Guard<'_>, channel: &mut UnixStream) {
    loop {
        let mut word = [0];
        if channel.read_exact(&mut word).is_err() {
            // Our parent was killed: so are we, in effect. The share goes as a dead one does, after what it covers.
            end();
        }
        match word[0] {
            COVER => {
                let mut pid = [0; 4];
                let done = channel.read_exact(&mut pid).is_ok() && ns.cover(Some(u32::from_ne_bytes(pid))).is_ok();
                if channel.write_all(&[if done { DONE } else { 0 }]).is_err() {
                    end();
                }
            }
            ABANDON => {
                let mut signal = [0];
                // Whether it was still ours changes nothing here: the run says so for the claims of its own.
                let _ = channel.read_exact(&mut signal);
                let _ = guard.abandon_because(Cause::CommandKilled(signal[0]));
                return;
            }
            _ => {
                let _ = guard.release();
                return;
            }
        }
    }
}

/// Ends the child without a destructor of the parent's, which it has copies of.
fn end() -> ! {
    // SAFETY: takes a number, does not return.
    unsafe { libc::_exit(0) }
}
