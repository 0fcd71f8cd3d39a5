//! A namespace that is shared with a group: who may make it, who may open it, and what is refused to whom.

use super::scene::{self, ALICE, MALLORY, NOBODY, Refused, Scene, User, own};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The group of `nobody`, by its number: its name differs between systems.
const GROUP: u32 = NOBODY;
const NS: &str = "ns?group=65534";
/// Of the group by the user database, too.
const MEMBER: User = User::Ids(NOBODY, &[GROUP]);
/// Of the group, as a process that was started with it.
const GUEST: User = User::Ids(ALICE, &[ALICE, GROUP]);
const OUTSIDER: User = User::Ids(MALLORY, &[MALLORY]);

/// A directory of root's, into which the group may write.
fn shared() -> Scene {
    let scene = Scene::new();
    own(scene.dir(), 0, GROUP);
    mode(scene.dir(), 0o770);
    scene
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn refused(answer: Result<(), Refused>, code: u32, parts: &[&str]) {
    let (found, text) = answer.expect_err("it was opened");
    assert_eq!(found, code, "{text}");
    parts.iter().for_each(|p| assert!(text.contains(p), "`{p}` is not in: {text}"));
    assert!(text.contains("; "), "it does not say what to do: {text}");
}

fn is_root() -> bool {
    scene::is_root("a namespace that several users share")
}

#[test]
fn members_share_it_and_nobody_else() {
    if !is_root() {
        return;
    }
    let scene = shared();
    assert_eq!(scene.open_with(NS, MEMBER, &[("UMASK", &0o077.to_string())]), Ok(()));
    let files: Vec<_> = fs::read_dir(scene.dir()).unwrap().flatten().map(|e| e.metadata().unwrap()).collect();
    assert_eq!(files.len(), 2);
    for f in files {
        assert_eq!((f.mode() & 0o7777, f.uid(), f.gid()), (0o660, NOBODY, GROUP));
    }
    assert_eq!(scene.open(NS, GUEST), Ok(()));
    assert_eq!(scene.open(NS, User::Me), Ok(()));
    let before = scene.picture();
    refused(scene.open(NS, OUTSIDER), 5, &["Permission denied"]);
    mode(scene.dir(), 0o775);
    refused(scene.open(NS, OUTSIDER), 5, &["for the group 65534, and you are not in it", "id"]);
    // Trust is asked for, on both sides: for the directory, and for the file.
    refused(scene.open("ns", GUEST), 5, &["may write into it", "?group="]);
    mode(scene.dir(), 0o755);
    refused(scene.open("ns", MEMBER), 5, &["mode 660", "?group="]);
    refused(scene.open("ns", GUEST), 5, &["belongs to nobody", "?group="]);
    refused(scene.open("ns?group=0", User::Me), 5, &["not 0"]);
    refused(scene.open("ns?group=no-such-group", MEMBER), 87, &["no group `no-such-group`"]);
    let without_changes_of_the_directory = |all: Vec<String>| all.into_iter().filter(|l| l.contains("/ns ")).collect::<Vec<_>>();
    assert_eq!(without_changes_of_the_directory(scene.picture()), without_changes_of_the_directory(before));
}

#[test]
fn a_private_file_is_not_shared_by_asking() {
    if !is_root() {
        return;
    }
    let scene = shared();
    mode(scene.dir(), 0o755);
    assert_eq!(scene.open("mine", User::Me), Ok(()));
    refused(scene.open("mine?group=65534", User::Me), 5, &["of the group root, not 65534"]);
    own(&scene.path("mine"), 0, GROUP);
    refused(scene.open("mine?group=65534", User::Me), 5, &["mode is 600", "chmod 660"]);
    for bits in [0o664, 0o666, 0o640, 0o2660] {
        mode(&scene.path("mine"), bits);
        refused(scene.open("mine?group=65534", User::Me), 5, &["where 660 belongs"]);
    }
}

#[test]
fn who_made_it_must_be_of_the_group() {
    if !is_root() {
        return;
    }
    let scene = shared();
    assert_eq!(scene.open(NS, MEMBER), Ok(()));
    own(&scene.path("ns"), MALLORY, GROUP);
    refused(scene.open(NS, MEMBER), 5, &["belongs to 54322, who is not in the group 65534"]);
    refused(scene.open(NS, GUEST), 5, &["54322"]);
    own(&scene.path("ns"), 0, GROUP);
    assert_eq!(scene.open(NS, MEMBER), Ok(()));
    assert_eq!(scene.open(NS, GUEST), Ok(()));
    // Who is not of the group cannot make one for it.
    mode(scene.dir(), 0o1777);
    refused(scene.open("other?group=65534", OUTSIDER), 5, &["cannot be given to the group 65534"]);
    assert!(!scene.picture().iter().any(|l| l.contains("other")));
}

#[test]
fn the_gate_and_the_way_are_looked_at_likewise() {
    if !is_root() {
        return;
    }
    let scene = shared();
    assert_eq!(scene.open(NS, MEMBER), Ok(()));
    let gate = fs::read_dir(scene.dir()).unwrap().flatten().map(|e| e.path()).find(|p| p.extension().is_some()).unwrap();
    mode(&gate, 0o666);
    refused(scene.open(NS, MEMBER), 5, &["gate", "mode is 666"]);
    mode(&gate, 0o660);
    own(scene.dir(), 0, MALLORY);
    mode(scene.dir(), 0o775);
    refused(scene.open(NS, MEMBER), 5, &["the group 54322 may write"]);
    own(scene.dir(), MALLORY, GROUP);
    refused(scene.open(NS, MEMBER), 5, &["belongs to 54322", "the group 65534"]);
}

#[test]
fn an_access_control_list_lets_nobody_else_in() {
    if !is_root() {
        return;
    }
    let scene = shared();
    if !scene::default_acl(scene.dir()) {
        return println!("not run: the file system has no access control lists");
    }
    // The list that the directory would give its files is taken away from them.
    assert_eq!(scene.open(NS, MEMBER), Ok(()));
    assert_eq!(scene.open(NS, GUEST), Ok(()));
    assert!(scene::access_acl(&scene.path("ns")));
    mode(&scene.path("ns"), 0o660);
    refused(scene.open(NS, MEMBER), 5, &["access control list", "setfacl -b"]);
}
