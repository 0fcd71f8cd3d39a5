//! Runs with a fault that is made on purpose, which they must find.

use std::io;

/// Tells the programs that processes of the run become which fault there is.
const VARIABLE: &str = "XSEM_TORTURE_BUG";

/// From here on this process, its children and what they become have this fault.
pub(super) fn choose(bug: &str) -> io::Result<()> {
    seed(bug)?;
    // SAFETY: the supervisor has one thread.
    unsafe { std::env::set_var(VARIABLE, bug) };
    Ok(())
}

/// The same in a program that a process has become.
pub(super) fn inherit() {
    if let Ok(bug) = std::env::var(VARIABLE) {
        // The supervisor has chosen it, so there is such a fault.
        drop(seed(&bug));
    }
}

fn seed(bug: &str) -> io::Result<()> {
    #[cfg(xsem_seeded)]
    return xsem::shm::testing::seed_bug(bug)
        .map_err(|known| io::Error::other(format!("no fault is called `{bug}`; there are: {}", known.join(", "))));
    #[cfg(not(xsem_seeded))]
    Err(io::Error::other(format!("this build has no faults (`{bug}`); one with `--cfg xsem_seeded` has")))
}
