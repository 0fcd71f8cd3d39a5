//! A System V semaphore.

use super::errno_of;
use std::io;

/// A set of semaphores, removed when that which created it is dropped.
#[derive(Debug)]
pub struct Sysv {
    id: libc::c_int,
    ours: bool,
}

impl Sysv {
    /// One semaphore with the value 1.
    pub fn create() -> io::Result<Sysv> {
        Sysv::create_set(1, 1)
    }

    /// So many, each with that value.
    pub fn create_set(n: usize, value: libc::c_int) -> io::Result<Sysv> {
        // SAFETY: no memory is involved.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, n as libc::c_int, libc::IPC_CREAT | 0o600) };
        if id < 0 {
            return Err(io::Error::last_os_error());
        }
        let set = Sysv { id, ours: true };
        for i in 0..n {
            // SAFETY: SETVAL takes an int as its fourth argument.
            errno_of(unsafe { libc::semctl(id, i as libc::c_int, libc::SETVAL, value) })?;
        }
        Ok(set)
    }

    /// One that another process has created.
    pub fn open(id: libc::c_int) -> Sysv {
        Sysv { id, ours: false }
    }

    /// Under which others open it.
    pub fn id(&self) -> libc::c_int {
        self.id
    }

    /// Adds `by`; a negative number waits for it.
    #[inline]
    pub fn op(&self, by: i16, undo: bool) -> libc::c_int {
        let sem_flg = if undo { libc::SEM_UNDO as i16 } else { 0 };
        let mut op = libc::sembuf { sem_num: 0, sem_op: by, sem_flg };
        // SAFETY: one valid operation.
        unsafe { libc::semop(self.id, &mut op, 1) }
    }

    /// Adds `by` to each of the set's first `n`, at one instant.
    #[inline]
    pub fn op_all(&self, n: usize, by: i16) -> libc::c_int {
        let mut ops: [libc::sembuf; 64] =
            std::array::from_fn(|i| libc::sembuf { sem_num: i as u16, sem_op: by, sem_flg: libc::SEM_UNDO as i16 });
        // SAFETY: `n` valid operations, for the slice checks that there are so many.
        unsafe { libc::semop(self.id, ops[..n].as_mut_ptr(), n) }
    }
}

impl Drop for Sysv {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: removes the set that was made here; whoever else knows its id is at its end.
            unsafe { libc::semctl(self.id, 0, libc::IPC_RMID) };
        }
    }
}
