//! Users and groups, as the system's user database has them. It may be asked over a network (NSS), so only a namespace that
//! is being opened asks it.

use super::sys;
use std::ffi::{CStr, CString};

/// A group that shall share a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub gid: u32,
    /// As it was asked for: a name, or a number.
    pub name: String,
}

impl Group {
    /// The group of this name or number; None: there is none of this name.
    pub fn find(name: &str) -> Option<Group> {
        let gid = name.parse().ok().or_else(|| gid_of(name))?;
        Some(Group { gid, name: name.to_owned() })
    }

    /// Whether the user is in it, as the user database says: whoever it leaves out is none.
    pub fn has_member(&self, uid: u32) -> bool {
        groups_of(uid).contains(&self.gid)
    }

    /// Whether this process acts for it.
    pub fn is_mine(&self) -> bool {
        egid() == self.gid || own_groups().contains(&self.gid)
    }
}

/// Effective group id.
pub fn egid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getegid() }
}

fn own_groups() -> Vec<u32> {
    // SAFETY: a size of 0 only asks how many there are.
    let n = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let mut groups = vec![0; n.max(0) as usize];
    // SAFETY: room for as many as the size says.
    let n = unsafe { libc::getgroups(groups.len() as i32, groups.as_mut_ptr()) };
    groups.truncate(n.max(0) as usize);
    groups
}

/// Asks with a buffer that grows until the answer fits. `ask` returns the error number of the call.
fn with_buffer<T>(mut ask: impl FnMut(&mut [u8]) -> (i32, Option<T>)) -> Option<T> {
    let _whole = sys::whole();
    let mut buffer = vec![0u8; 4096];
    loop {
        match ask(&mut buffer) {
            (libc::ERANGE, _) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            (libc::EINTR, _) => {}
            (_, found) => return found,
        }
    }
}

/// The group's name, or the number as text.
pub fn group_name(gid: u32) -> String {
    let found = with_buffer(|buffer| {
        let mut at = std::ptr::null_mut();
        // SAFETY: an all-zero group is a valid value to be overwritten (integers and null pointers).
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        // SAFETY: `entry`, `buffer` and `at` are valid for writes of the sizes given.
        let r = unsafe { libc::getgrgid_r(gid, &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut at) };
        // SAFETY: on success the name is a NUL-terminated string inside `buffer`.
        (r, (r == 0 && !at.is_null()).then(|| unsafe { CStr::from_ptr(entry.gr_name) }.to_string_lossy().into_owned()))
    });
    found.unwrap_or_else(|| gid.to_string())
}

fn gid_of(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    with_buffer(|buffer| {
        let mut at = std::ptr::null_mut();
        // SAFETY: an all-zero group is a valid value to be overwritten (integers and null pointers).
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        // SAFETY: `name` is NUL-terminated; `entry`, `buffer` and `at` are valid for writes of the sizes given.
        let r = unsafe { libc::getgrnam_r(name.as_ptr(), &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut at) };
        (r, (r == 0 && !at.is_null()).then_some(entry.gr_gid))
    })
}

fn groups_of(uid: u32) -> Vec<u32> {
    let user = with_buffer(|buffer| {
        let mut at = std::ptr::null_mut();
        // SAFETY: an all-zero passwd is a valid value to be overwritten (integers and null pointers).
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        // SAFETY: `entry`, `buffer` and `at` are valid for writes of the sizes given.
        let r = unsafe { libc::getpwuid_r(uid, &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut at) };
        // SAFETY: on success the name is a NUL-terminated string inside `buffer`.
        (r, (r == 0 && !at.is_null()).then(|| (unsafe { CStr::from_ptr(entry.pw_name) }.to_owned(), entry.pw_gid)))
    });
    let Some((name, primary)) = user else { return Vec::new() };
    let mut groups = vec![0; 64];
    loop {
        let mut n = groups.len() as i32;
        // SAFETY: `name` is NUL-terminated, `groups` has room for `n` of them.
        let r = unsafe { libc::getgrouplist(name.as_ptr(), primary, groups.as_mut_ptr(), &mut n) };
        if r >= 0 {
            groups.truncate(n.max(0) as usize);
            return groups;
        }
        if groups.len() > 1 << 16 {
            return vec![primary];
        }
        groups.resize(groups.len() * 4, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_name_and_by_number() {
        assert_eq!(Group::find("root").map(|g| g.gid), Some(0));
        assert_eq!(Group::find("4321").map(|g| g.gid), Some(4321));
        assert_eq!(Group::find("no such group"), None);
        assert_eq!(group_name(0), "root");
        assert_eq!(group_name(4_000_000_001), "4000000001");
        assert!(Group::find("root").unwrap().has_member(0));
        assert!(!Group::find("root").unwrap().has_member(4_000_000_001));
        assert!(Group::find(&egid().to_string()).unwrap().is_mine());
    }
}
