//! A System V semaphore.

use super::errno_of;
use std::io;

/// A set of one semaphore with the value 1, removed when this is dropped.
#[derive(Debug)]
pub struct Sysv(libc::c_int);

impl Sysv {
    pub fn create() -> io::Result<Sysv> {
        // SAFETY: no memory is involved.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600) };
        if id < 0 {
            return Err(io::Error::last_os_error());
        }
        let sem = Sysv(id);
        let one: libc::c_int = 1;
        // SAFETY: SETVAL takes an int as its fourth argument.
        errno_of(unsafe { libc::semctl(id, 0, libc::SETVAL, one) })?;
        Ok(sem)
    }

    /// Adds `by`; a negative number waits for it.
    #[inline]
    pub fn op(&self, by: i16, undo: bool) -> libc::c_int {
        let sem_flg = if undo { libc::SEM_UNDO as i16 } else { 0 };
        let mut op = libc::sembuf { sem_num: 0, sem_op: by, sem_flg };
        // SAFETY: one valid operation.
        unsafe { libc::semop(self.0, &mut op, 1) }
    }
}

impl Drop for Sysv {
    fn drop(&mut self) {
        // SAFETY: removes the set that `create` made; nobody else knows its id.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}
