//! The file as it is, for those who only look: also where it cannot be opened for use.

use super::super::arena::{self, Arena};
use super::super::descriptor::Descriptor;
use super::super::file::{self, Located, Options};
use super::super::layout::{COPY_AT, Geometry, MAX_MEMBERS, MAX_SEMAPHORES, UNIT, VERSION};
use super::super::map::Map;
use super::super::members::Members;
use super::super::place::Place;
use super::super::sys;
use super::super::trust::system;
use super::view::View;
use crate::error::{Code, Error, Result};
use crate::health::{Finding, Remedy, Severity};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is at a path.
pub enum Looked {
    /// This process has it open.
    Open(&'static Arena),
    /// A file, mapped for looking.
    File(Box<LookFile>),
    /// A file in which nothing can be found.
    Damaged(Vec<Finding>),
}

/// A file that is only looked at.
pub struct LookFile {
    map: Map,
    members: Members,
    id: (u64, u64),
    /// What is wrong with it from outside.
    pub findings: Vec<Finding>,
}

impl LookFile {
    pub fn view(&self) -> View<'_> {
        View { map: &self.map, members: &self.members, id: self.id }
    }

    /// Ends the look.
    pub fn close(self) {
        let LookFile { map, members, id, .. } = self;
        // Closing any descriptor of the gate would drop this process's lock in it: so nobody may open the namespace meanwhile.
        let _one_at_a_time = arena::opening();
        if arena::all().all(|a| a.id() != id) {
            members.into_gate().close();
        }
        // SAFETY: the map is owned here, so the view and all that was seen through it are gone; it was mapped for looking.
        unsafe { map.end() };
    }
}

/// The words that identify a file: the first ones, or their copy.
pub struct Identity {
    pub words: [u64; 8],
}

fn finding(found: impl Into<String>) -> Finding {
    Finding::new(Severity::Damage, "file", found, "")
}

fn reset(f: Finding) -> Finding {
    f.remedy(Remedy::Person("`xsem reset --force` begins anew; who uses it is refused from then on".into()))
}

/// Reads what identifies a file. An error: it is of another version. None: nothing of it is whole.
pub fn identity(path: &Path, file: &OwnedFd) -> Result<Option<Identity>> {
    let read = |at| file::read_words(file, at).map_err(|e| system(path, e));
    let (first, copy) = (read(0)?, read(COPY_AT)?);
    let known = |w: &[u64; 8]| file::is_whole(w) && w[1] == VERSION;
    match () {
        () if known(&first) => Ok(Some(Identity { words: first })),
        // A damaged version is none.
        () if known(&copy) => Ok(Some(Identity { words: copy })),
        () if first[0] == super::super::layout::MAGIC && first[1] != VERSION => Err(file::other_version(path, first[1])),
        () => Ok(None),
    }
}

/// Looks at the file. 5 and 1306 are errors, and so is 187; whatever else is wrong is a finding.
pub fn look_at(at: &Place) -> Result<Looked> {
    let path = at.path.as_path();
    let (located, fd) = find(at)?;
    let s = sys::fstat(&fd).map_err(|e| system(path, e))?;
    let id = (s.st_dev, s.st_ino);
    if let Some(arena) = arena::all().find(|a| a.id() == id) {
        return Ok(Looked::Open(arena));
    }
    look_inside(path, &located, fd, s.st_size as u64, id)
}

/// 187.
pub fn none(at: &Place) -> Error {
    Error::new(Code::SemNotFound, format!("there is no namespace at `{}`", at.path.display()))
        .advice("the first acquire or create makes it")
}

/// The file at a place, if it is what it should be from outside. 187: there is none.
pub fn find(at: &Place) -> Result<(Located, OwnedFd)> {
    let none = || none(at);
    let options = Options { create: false, group: at.group.clone(), ..Options::default() };
    let located = file::locate(&at.path, at.own, &options)?.ok_or_else(none)?;
    let opened = located.trust.open(&located.dir, &located.name, &at.path)?;
    let fd = opened.map_err(|e| if e.kind() == std::io::ErrorKind::NotFound { none() } else { system(&at.path, e) })?;
    Ok((located, fd))
}

fn look_inside(path: &Path, located: &Located, fd: OwnedFd, len: u64, id: (u64, u64)) -> Result<Looked> {
    if len < UNIT {
        return Ok(Looked::Damaged(vec![reset(finding(format!("it has {len} bytes, fewer than a header")))]));
    }
    let Some(identity) = identity(path, &fd)? else {
        return Ok(Looked::Damaged(vec![reset(finding("neither its header nor the second copy of that is whole"))]));
    };
    let words = identity.words;
    if !limits_fit(&identity) {
        return Ok(Looked::Damaged(vec![reset(finding("its limits are out of range"))]));
    }
    let geo = Geometry::new(words[3] as u32, words[4] as u32);
    let mut findings = Vec::new();
    if len < geo.len || words[2] != geo.len {
        return Ok(Looked::Damaged(vec![reset(finding(format!("it has {len} bytes of {}: the others are lost", geo.len)))]));
    }
    if len > geo.len {
        findings.push(too_long(len, geo.len));
    }
    let gate_name = file::gate_name(&located.name, words[5])?;
    let gate_path = path.with_file_name(OsStr::from_bytes(gate_name.as_bytes()));
    let gate = match located.trust.open(&located.dir, &gate_name, &gate_path)? {
        Ok(gate) => gate,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Looked::Damaged(vec![no_gate(&gate_name, id)])),
        Err(e) => return Err(system(&gate_path, e)),
    };
    let gate = Descriptor::new(gate, &gate_path).map_err(|e| system(path, e))?;
    let map = Map::to_look(fd, path, geo)?;
    Ok(Looked::File(Box::new(LookFile { map, members: Members::new(gate, id), id, findings })))
}

/// Without it nobody can know whether a dead process has stopped writing.
fn no_gate(gate: &CString, id: (u64, u64)) -> Finding {
    let f = finding(format!("its gate file `{}` is missing", gate.to_string_lossy()));
    let users: Vec<String> = sys::users_of(id).iter().map(u32::to_string).collect();
    match users.is_empty() {
        true => f.remedy(Remedy::Repair("nobody is seen to use it, so a new one is made".into())),
        false => f.remedy(Remedy::Person(format!("end the processes that use it, then repair it: {}", users.join(" ")))),
    }
}

/// Mends what keeps a file from being opened, as far as that is possible: its length, its gate, its header and epoch.
pub fn make_usable(at: &Place) -> Result<Vec<Finding>> {
    let path = at.path.as_path();
    let (located, fd) = find(at)?;
    let s = sys::fstat(&fd).map_err(|e| system(path, e))?;
    let (id, len) = ((s.st_dev, s.st_ino), s.st_size as u64);
    let mut mended = Vec::new();
    if arena::all().any(|a| a.id() == id) || len < UNIT {
        return Ok(mended);
    }
    let Some(identity) = identity(path, &fd)?.filter(limits_fit) else { return Ok(mended) };
    let geo = Geometry::new(identity.words[3] as u32, identity.words[4] as u32);
    if len < geo.len || identity.words[2] != geo.len {
        return Ok(mended);
    }
    // SAFETY: plain numbers.
    if len > geo.len && unsafe { libc::ftruncate(fd.as_raw_fd(), geo.len as i64) } == 0 {
        mended.push(too_long(len, geo.len));
    }
    let gate_name = file::gate_name(&located.name, identity.words[5])?;
    let gate_path = path.with_file_name(OsStr::from_bytes(gate_name.as_bytes()));
    let gate = match located.trust.open(&located.dir, &gate_name, &gate_path)? {
        Ok(gate) => gate,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let finding = no_gate(&gate_name, id);
            if !finding.remedy.is_repair() {
                return Ok(mended);
            }
            mended.push(finding);
            file::make_gate(&located.dir, &gate_name, &gate_path, &located.trust)?
        }
        Err(e) => return Err(system(&gate_path, e)),
    };
    let gate = Descriptor::new(gate, &gate_path).map_err(|e| system(path, e))?;
    let file = LookFile { map: Map::new(fd, path, geo)?, members: Members::new(gate, id), id, findings: Vec::new() };
    for _ in 0..3 {
        let mut flaws = Vec::new();
        super::head::look(&file.view(), &mut flaws);
        // Members that live are only known when the table of slots is.
        flaws.retain(|f| f.finding.severity == Severity::Damage);
        let done = flaws.into_iter().filter(|f| super::mend::apply_to(&file.map, &f.mend) == Some(true));
        mended.extend(done.map(|f| f.finding));
    }
    file.close();
    Ok(mended)
}

/// Whether its limits can be.
pub fn limits_fit(identity: &Identity) -> bool {
    let words = &identity.words;
    (1..=MAX_SEMAPHORES as u64).contains(&words[3]) && (1..=MAX_MEMBERS as u64).contains(&words[4])
}

fn too_long(len: u64, right: u64) -> Finding {
    let f = finding(format!("it has {len} bytes where {right} belong"));
    f.remedy(Remedy::Repair("what is too much is cut off".into()))
}
