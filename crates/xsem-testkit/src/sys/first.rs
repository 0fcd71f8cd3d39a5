//! What the first process of an emulated machine does with it.

use super::Pid;
use std::ffi::CString;
use std::io;

fn done(r: libc::c_int) -> io::Result<()> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Mounts a file system that needs no device.
pub fn mount(kind: &str, at: &str) -> io::Result<()> {
    let (kind, at) = (CString::new(kind)?, CString::new(at)?);
    // SAFETY: three NUL-terminated strings and no options.
    done(unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) })
}

/// Switches the network of the machine with itself on.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: an all-zero request is a valid one; the name fits, with its NUL.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as _;
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        done(socket)?;
        let up = done(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request));
        libc::close(socket);
        up
    }
}

/// The kernel's page, in bytes.
pub fn page_size() -> u64 {
    // SAFETY: a plain number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Takes in one process that has ended, child or orphan, with its status as the kernel says it.
pub fn reap_any() -> Option<(Pid, i32)> {
    let mut status = 0;
    // SAFETY: a valid place for the status.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Ends every process that this one may end, but itself.
///
/// # Panics
/// When the caller is not the machine's first process.
pub fn kill_everybody_else() {
    assert_eq!(super::own_pid(), 1, "only on a machine that was made for this");
    // SAFETY: no memory effects here.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Switches the machine off.
///
/// # Panics
/// When the caller is not the machine's first process.
pub fn power_off() -> ! {
    assert_eq!(super::own_pid(), 1, "only on a machine that was made for this");
    // SAFETY: writes back what is buffered, and ends the machine.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    unreachable!("the machine is off")
}
