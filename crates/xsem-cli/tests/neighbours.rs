//! What other members of a namespace write, and a namespace that is shared with a group, as the command shows them.

mod common;

use common::{Place, XSEM, clean, code, one_line, text};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

/// Replaces each occurrence of some bytes in the parts of the namespace's file that hold anything.
fn forge(p: &Place, from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let path = p.url().trim_start_matches("shm:").to_owned();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("it is ours");
    let (mut found, mut at) = (0, 0);
    loop {
        // SAFETY: plain numbers; the file's position is nobody else's.
        let data = unsafe { libc::lseek(file.as_raw_fd(), at, libc::SEEK_DATA) };
        if data < 0 {
            return found;
        }
        // SAFETY: as above.
        let hole = unsafe { libc::lseek(file.as_raw_fd(), data, libc::SEEK_HOLE) };
        let mut bytes = vec![0; (hole - data) as usize];
        file.read_exact_at(&mut bytes, data as u64).expect("it is there");
        for i in 0..bytes.len().saturating_sub(from.len()) {
            if &bytes[i..i + from.len()] == from {
                file.write_all_at(to, data as u64 + i as u64).expect("it is ours");
                found += 1;
            }
        }
        at = hole;
    }
}

#[test]
fn what_a_member_writes_into_the_file_does_not_steer_the_terminal() {
    let p = Place::new();
    assert_eq!(code(p.output(&["create", "innocent-name"]).status), 0);
    let held = p.hold("innocent-other", &["--label", "innocent-label", "innocent-other", "--", "sleep", "60"]);
    assert!(forge(&p, b"innocent-name", b"\x1b]0;own\x07\x1b[2J.") > 0);
    assert!(forge(&p, b"innocent-label", b"\x1b[31m\x1b[1mlabel") > 0);
    for command in [&["ls"][..], &["show", "innocent-other"], &["ls", "--json"], &["run", "-n", "innocent-other", "--", "true"]] {
        let out = p.output(command);
        for stream in [&out.stdout, &out.stderr] {
            assert!(!stream.contains(&0x1b) && !stream.contains(&0x07), "{command:?}: {:?}", text(stream));
        }
    }
    assert!(text(&p.output(&["ls"]).stdout).contains('\u{fffd}'));
    common::kill(held.id(), libc::SIGKILL);
    common::end(held);
}

#[test]
fn a_namespace_for_a_group() {
    let p = Place::new();
    // SAFETY: no arguments.
    let (gid, file) = (unsafe { libc::getegid() }, p.file("shared"));
    let xsem = |url: &str, args: &[&str]| {
        let mut c = clean(Command::new(XSEM));
        c.args(["--namespace", url]).args(args).output().expect("it can be started")
    };
    let url = format!("shm:{}?group={gid}", file.display());
    let out = xsem(&url, &["run", "deploy", "--", "sh", "-c", "$0 --namespace $1 run -n deploy -- echo nested", XSEM, &url]);
    assert_eq!((code(out.status), text(&out.stdout).trim()), (0, "nested"), "{}", text(&out.stderr));
    let meta = fs::metadata(&file).expect("it was made");
    assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o660, gid));
    assert!(text(&xsem(&url, &["ls"]).stdout).contains("deploy"));
    let out = xsem(&format!("shm:{}", file.display()), &["run", "deploy", "--", "true"]);
    let said = one_line(&out.stderr);
    assert!(code(out.status) == 125 && said.contains("ERROR_ACCESS_DENIED") && said.contains("?group="), "{said}");
    let out = xsem(&format!("shm:{}?mode=666", file.display()), &["ls"]);
    assert!(one_line(&out.stderr).contains("?group=NAME"), "{}", text(&out.stderr));
}
