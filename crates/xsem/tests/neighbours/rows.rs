//! What may lie there, and what is said about it.

use super::scene::{self, ALICE, MALLORY, NOBODY, Scene, User, fifo, is_root, own};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// One thing, and the answer.
pub struct Row {
    what: &'static str,
    /// Needs root: it has to do with several users.
    root: bool,
    /// Makes it, where a sound namespace `ns` is already; gives the name to open.
    make: fn(&Scene) -> &'static str,
    /// 0: it is opened.
    code: u32,
    /// What the line must name.
    says: &'static [&'static str],
}

impl Row {
    pub fn play(&self) {
        if self.root && !is_root(self.what) {
            return;
        }
        let scene = Scene::new();
        assert_eq!(scene.open("ns", User::Me), Ok(()), "{}: before", self.what);
        let name = (self.make)(&scene);
        let before = scene.picture();
        let answer = scene.open(name, User::Me);
        self.compare(answer);
        if self.code != 0 {
            assert_eq!(before, scene.picture(), "{}: something was changed", self.what);
        }
    }

    /// The usual directory of a user whom nobody else here uses; the row makes it.
    pub fn play_usual(&self) {
        let dir = usual();
        let _ = fs::remove_file(&dir);
        let _ = fs::remove_dir_all(&dir);
        let scene = Scene::new();
        (self.make)(&scene);
        let before = fs::symlink_metadata(&dir).is_ok().then(|| scene::picture(&dir));
        let answer = scene::opened("shm:", User::Ids(ALICE, &[ALICE]), &[]);
        let after = fs::symlink_metadata(&dir).is_ok().then(|| scene::picture(&dir));
        let _ = fs::remove_file(&dir);
        let _ = fs::remove_dir_all(&dir);
        self.compare(answer);
        if self.code != 0 {
            assert_eq!(before, after, "{}: something was changed", self.what);
        }
    }

    fn compare(&self, answer: Result<(), scene::Refused>) {
        match (answer, self.code) {
            (Ok(()), 0) => {}
            (Err((code, text)), expected) if code == expected => {
                for part in self.says {
                    assert!(text.contains(part), "{}: `{part}` is not in: {text}", self.what);
                }
                assert!(text.contains("; "), "{}: it does not say what to do: {text}", self.what);
            }
            (answer, expected) => panic!("{}: {expected} was expected, and not {answer:?}", self.what),
        }
    }
}

fn usual() -> PathBuf {
    PathBuf::from(format!("/dev/shm/xsem-{ALICE}"))
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn gate(scene: &Scene) -> PathBuf {
    let is_gate = |p: &PathBuf| p.to_string_lossy().ends_with(".gate");
    fs::read_dir(scene.dir()).unwrap().flatten().map(|e| e.path()).find(is_gate).expect("a gate")
}

const fn row(what: &'static str, make: fn(&Scene) -> &'static str, code: u32, says: &'static [&'static str]) -> Row {
    Row { what, root: false, make, code, says }
}

const fn root(what: &'static str, make: fn(&Scene) -> &'static str, code: u32, says: &'static [&'static str]) -> Row {
    Row { what, root: true, make, code, says }
}

fn sub(scene: &Scene, name: &str, bits: u32) -> PathBuf {
    let dir = scene.path(name);
    fs::create_dir(&dir).unwrap();
    mode(&dir, bits);
    dir
}

/// A second namespace, made by nobody else than this user, moved into a directory.
fn namespace_in(scene: &Scene, dir: &Path) {
    fs::rename(scene.path("ns"), dir.join("ns")).unwrap();
    let gate = gate(scene);
    fs::rename(&gate, dir.join(gate.file_name().unwrap())).unwrap();
}

pub const FILES: &[Row] = &[
    row(
        "a symbolic link",
        |s| {
            symlink(s.path("ns"), s.path("x")).unwrap();
            "x"
        },
        5,
        &["symbolic link"],
    ),
    row(
        "a symbolic link to nothing",
        |s| {
            symlink(s.path("none"), s.path("x")).unwrap();
            "x"
        },
        5,
        &["symbolic link"],
    ),
    row(
        "a hard link",
        |s| {
            fs::hard_link(s.path("ns"), s.path("x")).unwrap();
            "ns"
        },
        5,
        &["2 hard links", "find "],
    ),
    row(
        "a FIFO",
        |s| {
            fifo(&s.path("x"));
            "x"
        },
        5,
        &["a FIFO"],
    ),
    row(
        "a socket",
        |s| {
            UnixListener::bind(s.path("x")).unwrap();
            "x"
        },
        5,
        &["a socket"],
    ),
    row(
        "a directory",
        |s| {
            sub(s, "x", 0o700);
            "x"
        },
        5,
        &["a directory"],
    ),
    root(
        "a device",
        |s| {
            // The device of /dev/null.
            // SAFETY: a NUL-terminated path and plain numbers.
            assert_eq!(unsafe { libc::mknod(scene::c(&s.path("x")).as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3)) }, 0);
            "x"
        },
        5,
        &["a device"],
    ),
    row(
        "others may read it",
        |s| {
            mode(&s.path("ns"), 0o644);
            "ns"
        },
        5,
        &["mode 644", "chmod 600"],
    ),
    row(
        "others may write it",
        |s| {
            mode(&s.path("ns"), 0o606);
            "ns"
        },
        5,
        &["mode 606", "chmod 600"],
    ),
    row(
        "a group may write it",
        |s| {
            mode(&s.path("ns"), 0o660);
            "ns"
        },
        5,
        &["mode 660", "chmod 600", "?group="],
    ),
    row(
        "an access control list",
        |s| {
            if !scene::access_acl(&s.path("ns")) {
                mode(&s.path("ns"), 0o660)
            }
            "ns"
        },
        5,
        &["mode 660"],
    ),
    root(
        "somebody else's",
        |s| {
            own(&s.path("ns"), MALLORY, MALLORY);
            "ns"
        },
        5,
        &["belongs to 54322"],
    ),
    root(
        "somebody else's file in a sticky directory",
        |s| {
            let dir = sub(s, "tmp", 0o1777);
            namespace_in(s, &dir);
            own(&dir.join("ns"), MALLORY, MALLORY);
            "tmp/ns"
        },
        5,
        &["belongs to 54322"],
    ),
    row(
        "an empty file",
        |s| {
            fs::write(s.path("x"), "").unwrap();
            mode(&s.path("x"), 0o600);
            "x"
        },
        1392,
        &["0 bytes"],
    ),
    row("no name at all", |_| "..", 5, &["file name"]),
];

pub const WAYS: &[Row] = &[
    row(
        "everybody may write into the directory",
        |s| {
            mode(s.dir(), 0o777);
            "ns"
        },
        5,
        &["everybody may write", "mode 777", "chmod o-w"],
    ),
    row(
        "a sticky directory",
        |s| {
            mode(s.dir(), 0o1777);
            "ns"
        },
        0,
        &[],
    ),
    row(
        "everybody may write above it",
        |s| {
            let dir = sub(s, "above", 0o700);
            let dir2 = dir.join("dir");
            fs::create_dir(&dir2).unwrap();
            mode(&dir2, 0o700);
            mode(&dir, 0o777);
            "above/dir/ns"
        },
        5,
        &["above` is not used", "everybody may write"],
    ),
    row(
        "the user's own link on the way",
        |s| {
            let dir = sub(s, "real", 0o700);
            namespace_in(s, &dir);
            symlink(&dir, s.path("link")).unwrap();
            "link/ns"
        },
        0,
        &[],
    ),
    row(
        "a relative link, and a step back",
        |s| {
            let dir = sub(s, "real", 0o700);
            namespace_in(s, &dir);
            symlink("real/../real/.", s.path("link")).unwrap();
            "link/../real/ns"
        },
        0,
        &[],
    ),
    row(
        "a link through a directory that everybody may write into",
        |s| {
            let (open, real) = (sub(s, "open", 0o777), sub(s, "real", 0o700));
            namespace_in(s, &real);
            symlink(&real, open.join("link")).unwrap();
            "open/link/ns"
        },
        5,
        &["open` is not used"],
    ),
    row(
        "links in a circle",
        |s| {
            symlink("b", s.path("a")).unwrap();
            symlink("a", s.path("b")).unwrap();
            "a/ns"
        },
        5,
        &["too many"],
    ),
    row(
        "a file on the way",
        |s| {
            fs::write(s.path("f"), "").unwrap();
            "f/ns"
        },
        5,
        &["not a directory"],
    ),
    row("a directory that is not there", |_| "none/ns", 5, &["No such file", "mkdir"]),
    root(
        "somebody else's directory",
        |s| {
            let dir = sub(s, "dir", 0o755);
            own(&dir, MALLORY, MALLORY);
            "dir/ns"
        },
        5,
        &["dir` is not used", "belongs to 54322"],
    ),
    root(
        "somebody else's directory above",
        |s| {
            let dir = sub(s, "dir", 0o755);
            fs::create_dir(dir.join("mine")).unwrap();
            own(&dir, MALLORY, MALLORY);
            "dir/mine/ns"
        },
        5,
        &["dir` is not used", "belongs to 54322"],
    ),
    root(
        "somebody else's link in a sticky directory",
        |s| {
            let (tmp, real) = (sub(s, "tmp", 0o1777), sub(s, "real", 0o700));
            namespace_in(s, &real);
            symlink(&real, tmp.join("link")).unwrap();
            own(&tmp.join("link"), MALLORY, MALLORY);
            "tmp/link/ns"
        },
        5,
        &["the link", "belongs to 54322"],
    ),
    root(
        "another group may write into the directory",
        |s| {
            own(s.dir(), 0, MALLORY);
            mode(s.dir(), 0o770);
            "ns"
        },
        5,
        &["the group 54322 may write", "chmod g-w"],
    ),
];

pub const GATES: &[Row] = &[
    row(
        "no gate",
        |s| {
            fs::remove_file(gate(s)).unwrap();
            "ns"
        },
        1392,
        &["gate"],
    ),
    row(
        "a link",
        |s| {
            let g = gate(s);
            fs::rename(&g, s.path("g")).unwrap();
            symlink(s.path("g"), g).unwrap();
            "ns"
        },
        5,
        &["gate", "symbolic link"],
    ),
    row(
        "a hard link",
        |s| {
            fs::hard_link(gate(s), s.path("g")).unwrap();
            "ns"
        },
        5,
        &["gate", "2 hard links"],
    ),
    row(
        "a FIFO",
        |s| {
            let g = gate(s);
            fs::remove_file(&g).unwrap();
            fifo(&g);
            "ns"
        },
        5,
        &["gate", "a FIFO"],
    ),
    row(
        "a socket",
        |s| {
            let g = gate(s);
            fs::remove_file(&g).unwrap();
            UnixListener::bind(g).unwrap();
            "ns"
        },
        5,
        &["gate", "a socket"],
    ),
    row(
        "a directory",
        |s| {
            let g = gate(s);
            fs::remove_file(&g).unwrap();
            fs::create_dir(g).unwrap();
            "ns"
        },
        5,
        &["gate", "a directory"],
    ),
    row(
        "others may lock it",
        |s| {
            mode(&gate(s), 0o666);
            "ns"
        },
        5,
        &["gate", "mode 666"],
    ),
    root(
        "somebody else's",
        |s| {
            own(&gate(s), MALLORY, MALLORY);
            "ns"
        },
        5,
        &["gate", "belongs to 54322"],
    ),
];

pub const USUAL: &[Row] = &[
    row("nothing yet", |_| "", 0, &[]),
    row("somebody else's directory", |_| usual_dir(MALLORY, 0o777), 5, &["belongs to 54322, not to you", "removed"]),
    row("root's directory", |_| usual_dir(0, 0o755), 5, &["belongs to root, not to you"]),
    row(
        "somebody else's, with contents",
        |_| {
            usual_dir(MALLORY, 0o755);
            fs::write(usual().join("default"), "bait").unwrap();
            own(&usual().join("default"), ALICE, ALICE);
            ""
        },
        5,
        &["belongs to 54322"],
    ),
    row(
        "a link to a directory of the user's own",
        |s| {
            let home = sub(s, "home", 0o700);
            mode(s.dir(), 0o755);
            own(&home, ALICE, ALICE);
            symlink(home, usual()).unwrap();
            own(&usual(), MALLORY, MALLORY);
            ""
        },
        5,
        &["not a directory", "54322"],
    ),
    row(
        "a file",
        |_| {
            fs::write(usual(), "x").unwrap();
            own(&usual(), MALLORY, MALLORY);
            ""
        },
        5,
        &["not a directory"],
    ),
    row("the user's own, that others may enter", |_| usual_dir(ALICE, 0o755), 5, &["mode 755", "chmod 700"]),
    row("the user's own", |_| usual_dir(ALICE, 0o700), 0, &[]),
    row(
        "the user's own, with somebody else's file",
        |_| {
            usual_dir(ALICE, 0o700);
            fs::write(usual().join("default"), "x").unwrap();
            own(&usual().join("default"), NOBODY, NOBODY);
            assert_eq!(fs::metadata(usual()).unwrap().uid(), ALICE);
            ""
        },
        5,
        &["default` is not used", "belongs to"],
    ),
];

fn usual_dir(uid: u32, bits: u32) -> &'static str {
    fs::create_dir(usual()).unwrap();
    mode(&usual(), bits);
    own(&usual(), uid, uid);
    ""
}
