//! Reset: a new namespace in the place of the old one.
//!
//! | # | step | killed after it |
//! |---|---|---|
//! | 1 | the new file is made, complete, under a name of its own | the old namespace; a file of a strange name, which `leftover` takes away |
//! | 2 | the two files exchange their names, at one instant | the new namespace; the old file has a strange name, and whoever uses it finds that it is not the namespace any more; `leftover` does the rest |
//! | 3 | in the old file it is written down who did it, its free semaphores are closed, who sleeps is woken | as 2 |
//! | 4 | the old file and its gate are unlinked | |
//!
//! Of two at once each takes out what is there then, so what the first one has made may be retired by the second.

use super::super::arena::Arena;
use super::super::careful;
use super::super::file::{self, Located, Options};
use super::super::futex;
use super::super::inspect;
use super::super::layout::Geometry;
use super::super::leftover;
use super::super::map::Map;
use super::super::members::{Who, generation, is_alive};
use super::super::place::Place;
use super::super::plain;
use super::super::sys;
use super::super::trust::system;
use super::super::word::{DRAINED, Owner, State, Word};
use super::open;
use crate::claim::{Process, ProcessState};
use crate::deadline::realtime;
use crate::error::{Code, Error, Result};
use crate::health::{Claimed, Loss};
use crate::sync::{AtomicU64, Ordering::*};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What a reset would throw away.
pub fn loss(at: &Place) -> Result<Loss> {
    let options = Options { create: false, group: at.group.clone(), ..Options::default() };
    match Arena::open(&at.path, at.own, &options) {
        Ok(Some(arena)) => Ok(of_open(arena)),
        Ok(None) => Err(open::none(at)),
        // Nothing of it can be asked. Who has it mapped can be seen, at least in this pid namespace.
        Err(e) if matches!(e.code(), Code::FileCorrupt | Code::RevisionMismatch) => {
            let (_, fd) = open::find(at)?;
            let id = sys::dev_ino(&fd).unwrap_or_default();
            let users = sys::users_of(id).into_iter();
            let users = users.map(|pid| Process::new(pid, sys::user_of(pid), sys::command_of(pid), ProcessState::Alive));
            Ok(Loss { unreadable: Some(e.message().to_owned()), users: users.collect(), ..Loss::default() })
        }
        Err(e) => Err(e),
    }
}

fn of_open(arena: &'static Arena) -> Loss {
    let (map, m) = (&arena.map, &arena.members);
    let mut found = Loss::default();
    for i in 0..map.slots() {
        let main = map.row(i).map_or(0, |r| r[0].load(Acquire));
        let owner = Owner::new(i, generation(main));
        if is_alive(main) && arena.me() != Some(owner) {
            found.users.push(m.process(map, owner));
        }
    }
    for i in 0..map.cells() {
        let Some(s) = inspect::summary(arena, i) else { continue };
        found.semaphores += 1;
        let (index, generation) = inspect::where_it_is(arena, i);
        found.waiters += inspect::waiters_of(arena, index, generation, None).len() as u64;
        let alive = inspect::holders(arena, index).into_iter().filter(|h| h.process.state != ProcessState::Dead);
        found.claims.extend(alive.map(|holder| Claimed { name: s.name.clone(), holder }));
    }
    found
}

/// Puts a new namespace in the place of the old one; what that threw away.
pub fn reset(at: &Place) -> Result<Loss> {
    let lost = loss(at)?;
    let path = at.path.as_path();
    let (located, old) = open::find(at)?;
    leftover::tidy(path, &located);
    let Located { dir, name, trust } = &located;
    // The limits of the old one, where they can be read.
    let limits = open::identity(path, &old).ok().flatten().filter(open::limits_fit).map(|i| (i.words[3], i.words[4]));
    let mut options = Options { group: at.group.clone(), ..Options::default() };
    if let Some((semaphores, members)) = limits {
        (options.max_semaphores, options.max_members) = (semaphores as u32, members as u32);
    }
    file::construct(path, dir, name, trust, &options, |temp| {
        let exchanged = sys::exchange_at(dir.as_raw_fd(), temp, name);
        match exchanged {
            Ok(()) => {
                // Whatever was there at that instant.
                let replaced = trust.open(dir, temp, path).ok().and_then(std::io::Result::ok).unwrap_or(old);
                retire(path, dir, name, replaced);
                sys::unlink_at(dir.as_raw_fd(), temp);
                Ok(true)
            }
            // Somebody has taken it away meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => match sys::rename_at(dir.as_raw_fd(), temp, name) {
                Ok(()) => Ok(true),
                Err(e) => Err(system(path, e)),
            },
            Err(e) => Err(system(path, e).advice("the file system cannot exchange two files; end the users and remove the file")),
        }
    })?;
    tracing::warn!(path = %path.display(), claims = lost.claims.len(), "reset the namespace");
    Ok(lost)
}

/// The steps 3 and 4 of a reset whose process has died.
pub fn finish_reset(path: &Path, dir: &OwnedFd, name: &CString, old: &OwnedFd) {
    if let Ok(old) = old.try_clone() {
        retire(path, dir, name, old);
    }
}

/// Closes the old file: nobody else is told by its bytes what the file's name tells already, so whatever fails here is no harm.
fn retire(path: &Path, dir: &OwnedFd, name: &CString, old: OwnedFd) {
    let (Ok(Some(identity)), Ok(s)) = (open::identity(path, &old), sys::fstat(&old)) else { return };
    if !open::limits_fit(&identity) {
        return;
    }
    let geo = Geometry::new(identity.words[3] as u32, identity.words[4] as u32);
    let map = (s.st_size as u64 >= geo.len).then(|| Map::new(old, path, geo)).and_then(|m| m.ok());
    // Who finishes the reset of somebody who has died leaves that one's name. Before the gate goes: one of the two says for what
    // this is left, if its process ends here.
    if let Some(map) = &map
        && map.retired().state.load(Acquire) != 1
    {
        sign(map);
    }
    if let Ok(gate) = file::gate_name(name, identity.words[5]) {
        sys::unlink_at(dir.as_raw_fd(), &gate);
    }
    let Some(map) = map else { return };
    // Releases look at the word from here on; one that is under way at this very moment may overlook what is done below.
    for cell in (0..map.cells()).filter_map(|i| map.cell(i)) {
        if cell.word.load(Relaxed) != 0 {
            cell.careful.fetch_or(careful::ASKED, SeqCst);
        }
    }
    plain::barrier();
    for i in 0..map.cells() {
        let Some(cell) = map.cell(i) else { continue };
        let word = Word(cell.word.load(Acquire));
        // Who holds it ends in peace, and whoever asks next takes the long way, where it is seen that this is over.
        let to = match word.state() {
            State::Free => Word::removed(word.generation()),
            State::Owned(_) => word.with(DRAINED),
            _ => word,
        };
        let _ = cell.word.compare_exchange(word.0, to.0, AcqRel, Relaxed);
        futex::wake_all(futex::low(&cell.word));
        if inspect::has_count(cell) {
            futex::wake_all(futex::low(&cell.claim));
        }
    }
}

/// Writes down who it was.
fn sign(map: &Map) {
    let r = map.retired();
    let who = Who::this_process(None);
    r.by.store((who.uid as u64) << 32 | who.pid as u64, Relaxed);
    r.at.store(realtime(), Relaxed);
    let mut bytes = [0u8; 17 * 8];
    bytes[0] = who.command.len().min(135) as u8;
    for (to, from) in bytes[1..].iter_mut().zip(who.command.bytes()) {
        *to = from;
    }
    for (word, chunk) in r.command.iter().zip(bytes.chunks_exact(8)) {
        word.store(u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8])), Relaxed);
    }
    r.state.store(1, Release);
}

/// What those are told who have the old file open. None: it was not reset.
pub fn reset_by(map: &Map, path: &Path) -> Option<Error> {
    let r = map.retired();
    if r.state.load(Acquire) != 1 {
        return None;
    }
    let bytes: Vec<u8> = r.command.iter().flat_map(|w: &AtomicU64| w.load(Relaxed).to_le_bytes()).collect();
    let len = (bytes[0] as usize).min(bytes.len() - 1);
    let command = super::super::members::shorten(&String::from_utf8_lossy(&bytes[1..1 + len]), 130);
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(r.at.load(Relaxed));
    let ago = at.elapsed().map_or_else(|_| "just now".to_owned(), |d| format!("{} ago", crate::claim::age(d)));
    let pid = r.by.load(Relaxed) as u32;
    Some(
        Error::new(
            Code::InvalidHandle,
            format!(
                "the namespace `{}` was reset by {pid} `{command}` {ago}: the claims in the old one are void",
                path.display()
            ),
        )
        .advice("open it again (restart the program); see what the semaphores protected before that"),
    )
}
