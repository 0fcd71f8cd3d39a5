//! A child of ours that is in nobody's way: the holder behind `xsem hold`, and what shares a second claim for `xsem run`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// Which of the two we are after the fork, with our end of a channel between them.
pub enum Side {
    /// The one that was there before, with the child's pid.
    Parent(u32, UnixStream),
    /// The new one: in a session of its own, without the descriptors that we have inherited, and /dev/null for the usual
    /// three.
    Child(UnixStream),
}

/// Forks. Only while the process has one thread: the child goes on with ordinary code, which must not find a lock of
/// somebody who is not there. So it comes before anything that makes this process a member of a namespace.
///
/// # Errors
/// No processes, no descriptors, no /dev/null.
pub fn fork() -> io::Result<Side> {
    let (here, there) = UnixStream::pair()?;
    // Opened before the fork, so that a failure can be told.
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: this process has one thread (see above), so the child may go on as any process.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(here);
            Ok(Side::Child(secluded(there, &nothing)))
        }
        pid => Ok(Side::Parent(pid.unsigned_abs(), here)),
    }
}

/// In the child: away from terminal, directory and descriptors. What fails here leaves it less secluded, and working.
fn secluded(channel: UnixStream, nothing: &File) -> UnixStream {
    // SAFETY: plain numbers and a constant C string; the usual three descriptors are replaced, not closed.
    unsafe {
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        for fd in 0..=2 {
            libc::dup2(nothing.as_raw_fd(), fd);
        }
    }
    for fd in open_descriptors() {
        // Ours are close-on-exec, and still needed; those that are not came from whoever called us, who may wait for their
        // end, as the reader of a pipe does.
        // SAFETY: plain numbers; nobody in this process knows of the descriptors that are closed.
        unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFD);
            if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
                libc::close(fd);
            }
        }
    }
    channel
}

/// Those above the usual three.
fn open_descriptors() -> Vec<RawFd> {
    let listed =
        fs::read_dir("/proc/self/fd").map(|all| all.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect());
    listed.unwrap_or_else(|_| (0..1024).collect::<Vec<RawFd>>()).into_iter().filter(|&fd| fd > 2).collect()
}
