//! The file.

use super::common::{Place, until};
use super::{doctor, kill_all};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::{Duration, SystemTime};
use xsem::{Exclusive, Namespace};

fn file(p: &Place) -> std::path::PathBuf {
    p.file("namespace")
}

fn put(p: &Place, at: u64, bytes: &[u8]) {
    let f = OpenOptions::new().write(true).open(file(p)).expect("the file");
    f.write_all_at(bytes, at).expect("written");
}

#[test]
fn damage_another_version_and_a_file_that_others_may_use() {
    let p = Place::new();
    assert!(p.output(&["create", "a"]).status.success());
    assert!(doctor(&p, &[]).get("damaged").is_none());
    // The second copy of the header.
    put(&p, 8192 + 24, &[0xff; 8]);
    doctor(&p, &[]).must("damaged", "trouble", &["header", "xsem repair"]);
    put(&p, 8, &99u64.to_le_bytes());
    put(&p, 8192 + 8, &99u64.to_le_bytes());
    doctor(&p, &["a"]).must("other-version", "trouble", &["version 99"]);
    fs::write(file(&p), "nothing").expect("overwritten");
    fs::set_permissions(file(&p), PermissionsExt::from_mode(0o600)).expect("its mode");
    doctor(&p, &[]).must("damaged", "trouble", &["7 bytes"]);
    fs::set_permissions(file(&p), PermissionsExt::from_mode(0o666)).expect("its mode");
    doctor(&p, &[]).must("not-allowed", "trouble", &["666"]);
}

#[test]
fn a_file_that_was_removed_under_its_users() {
    let p = Place::new();
    doctor(&p, &[]).must("no-namespace", "note", &["first acquire"]);
    assert!(doctor(&p, &[]).json["severity"] == "note" && !file(&p).exists(), "looking makes nothing");
    let child = p.hold("deploy", &["deploy", "--", "sleep", "600"]);
    fs::remove_file(file(&p)).expect("removed");
    doctor(&p, &[]).must("old-file-in-use", "trouble", &[&child.id().to_string(), "restart"]);
    assert!(p.output(&["create", "deploy"]).status.success());
    doctor(&p, &["deploy"]).must("old-file-in-use", "trouble", &["meet nobody"]);
    kill_all([child]);
    until("it is gone", || doctor(&p, &[]).get("old-file-in-use").is_none());
}

#[test]
fn leftovers_and_leaks() {
    let p = Place::new();
    assert!(p.output(&["create", "a"]).status.success());
    let old = p.file(".namespace.0123456789abcdef.new");
    fs::write(&old, "").expect("a file");
    assert!(doctor(&p, &[]).get("leftover").is_none(), "it may be in the making");
    let then = SystemTime::now() - Duration::from_secs(3600);
    OpenOptions::new().write(true).open(&old).and_then(|f| f.set_modified(then)).expect("older");
    doctor(&p, &[]).must("leftover", "note", &[".namespace.0123456789abcdef.new"]);
    let ns = Namespace::open(&p.url()).expect("open");
    drop(Exclusive::open(&ns, "a"));
    let blocks = xsem::shm::testing::table(&ns, "blocks").expect("a table");
    // One block more than there are, which belongs to `a`, and nothing of it leads there.
    let mut cursor = [0; 4];
    let f = fs::File::open(file(&p)).expect("the file");
    f.read_exact_at(&mut cursor, 836).expect("read");
    let n = u32::from_le_bytes(cursor);
    put(&p, 836, &(n + 1).to_le_bytes());
    put(&p, blocks + u64::from(n) * 48, &(1u64 << 32).to_le_bytes());
    doctor(&p, &[]).must("leak", "note", &["1 piece", "xsem repair"]);
}
