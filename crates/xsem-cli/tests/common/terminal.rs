//! A terminal for tests of what people see.

use super::{Place, text};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

/// A terminal of our own, with `xsem` as the leader of its session.
pub struct Terminal {
    pub screen: File,
    pub run: Child,
}

impl Terminal {
    pub fn start(p: &Place, args: &[&str]) -> Terminal {
        Terminal::start_with(p, args, &[])
    }

    /// With these variables in its environment.
    pub fn start_with(p: &Place, args: &[&str], variables: &[(&str, &str)]) -> Terminal {
        // Everything close-on-exec from the start: a copy of the master in any child would keep the terminal up.
        // SAFETY: plain flags; the new descriptor is owned by nobody else.
        let screen = unsafe { File::from_raw_fd(libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC)) };
        let fd = screen.as_raw_fd();
        let size = libc::winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let mut name = [0 as libc::c_char; 64];
        // SAFETY: an open terminal master; the size is read, and the name is written within its length.
        let done = unsafe {
            [
                libc::grantpt(fd),
                libc::unlockpt(fd),
                libc::ioctl(fd, libc::TIOCSWINSZ, &size),
                libc::ptsname_r(fd, name.as_mut_ptr(), 64),
            ]
        };
        assert_eq!(done, [0; 4], "a terminal: {}", std::io::Error::last_os_error());
        // SAFETY: ptsname_r has written a C string.
        let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }.to_str().expect("a path");
        let mut options = fs::OpenOptions::new();
        let line = options.read(true).write(true).custom_flags(libc::O_NOCTTY).open(name).expect("the terminal's line");
        let end = || Stdio::from(line.try_clone().expect("a descriptor"));
        let mut c = p.xsem(args);
        c.env("TERM", "xterm").envs(variables.iter().copied()).stdin(end()).stdout(end()).stderr(end());
        // SAFETY: setsid and ioctl are async-signal-safe.
        unsafe {
            c.pre_exec(|| {
                libc::setsid();
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            })
        };
        Terminal { screen, run: c.spawn().expect("xsem can be started") }
    }

    /// Reads until the text stands on the screen.
    pub fn read_until(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        let mut chunk = [0; 4096];
        while !seen.contains(wanted) {
            let n = self.screen.read(&mut chunk).unwrap_or_else(|e| panic!("`{wanted}` never came: {e}; seen: {seen:?}"));
            assert!(n > 0, "`{wanted}` never came: {seen:?}");
            seen.push_str(&text(&chunk[..n]));
        }
        seen
    }

    pub fn type_in(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).expect("the terminal takes it");
    }
}
