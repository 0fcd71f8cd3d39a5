//! Exhausted resources: each limit, in small steps, through opening, registering, acquiring, waiting and asynchronous waits. What is
//! refused is refused with a clear error that names the limit, changes nothing, and works once the resource is there again; what
//! does not need the resource goes on.
//!
//! A step runs in a process of its own (`child`), whose limit is lowered, and raised again for a second round.

#[path = "resources/play.rs"]
mod play;

use play::{ALICE, CHILD, Step, run};

#[test]
fn child() {
    if std::env::var_os(CHILD).is_some() {
        play::child();
    }
}

/// The codes that a shortage may have.
fn must_be_clear(what: &str, steps: &[Step]) {
    for s in steps {
        assert!(matches!(s.code, 0 | 5 | 8 | 100 | 106 | 121), "{what}: {s:?}");
        if !matches!(s.code, 0 | 121) {
            assert!(s.text.contains("; "), "{what}: it does not say what to do: {s:?}");
        }
    }
}

fn must_work(what: &str, steps: &[Step]) {
    assert_eq!(steps.len(), play::STEPS, "{what}: {steps:?}");
    assert!(steps.iter().all(|s| matches!(s.code, 0 | 121)), "{what}: {steps:?}");
}

fn says(steps: &[Step], text: &str) -> bool {
    steps.iter().any(|s| s.text.contains(text))
}

/// Lowers a limit to each of these values, and raises it again; true if one of the refusals names what to raise.
fn each(limit: &str, values: impl Iterator<Item = u64>, user: Option<u32>, advice: &str) {
    let (mut named, mut refused, mut fine) = (false, 0, 0);
    for value in values {
        let what = format!("{limit} {value}");
        let (first, second) = run(limit, value, user);
        must_be_clear(&what, &first);
        must_work(&format!("{what}, and raised again"), &second);
        named |= says(&first, advice);
        refused += usize::from(first.iter().any(|s| !matches!(s.code, 0 | 121)));
        fine += usize::from(first.iter().all(|s| matches!(s.code, 0 | 121)));
    }
    assert!(refused > 0 && named, "{limit}: nothing was refused, or never with `{advice}`");
    assert!(fine > 0, "{limit}: the highest value should be enough");
}

#[test]
fn descriptors() {
    each("nofile", 0..24, None, "ulimit -n");
}

#[test]
fn descriptors_that_end_after_it_was_opened() {
    each("nofile-later", 0..24, None, "ulimit -n");
}

#[test]
fn address_space() {
    // MiB beyond what the process has; a namespace of the usual size reserves 346.
    each("as", [4, 16, 64, 256, 340, 352, 360, 420, 600, 2000].into_iter(), None, "ulimit -v");
}

#[test]
fn processes_and_threads() {
    if !play::is_root("a limit on processes, which root is above") {
        return;
    }
    each("nproc", 1..8, Some(ALICE), "ulimit -u");
}

#[test]
fn file_sizes() {
    each("fsize", [0, 1 << 20, 1 << 30].into_iter(), None, "ulimit -f");
}

#[test]
fn locked_memory_and_core_dumps_are_not_needed() {
    for limit in ["memlock", "core"] {
        let (first, second) = run(limit, 0, None);
        must_work(limit, &first);
        must_work(limit, &second);
    }
}

#[test]
fn a_file_system_that_is_full_or_has_no_inodes() {
    if !play::is_root("a file system of a small size, mounted in a namespace of its own") {
        return;
    }
    let (mut made, mut not_made) = (0, 0);
    for kib in [16, 64, 128, 256, 320, 384, 512, 640, 768, 1024, 2048] {
        let (first, _) = run("tmpfs", kib, None);
        must_be_clear(&format!("{kib} KiB"), &first);
        match first[0].code {
            0 => {
                made += 1;
                // After the file system was filled: what is there goes on, and there is room again when names are removed.
                let named = |n: &str| first.iter().find(|s| s.name == n).unwrap_or_else(|| panic!("{kib} KiB: {first:?}"));
                assert_eq!(named("filled").code, 100, "{kib} KiB: {first:?}");
                assert!(named("filled").text.contains("df -h"), "{first:?}");
                assert_eq!((named("held").code, named("again").code), (0, 0), "{kib} KiB: {first:?}");
            }
            code => {
                not_made += 1;
                assert_eq!(code, 8, "{kib} KiB: {first:?}");
                assert_eq!(first.last().map(|s| s.text.as_str()), Some("0 files"), "{kib} KiB: {first:?}");
            }
        }
    }
    assert!(made > 2 && not_made > 2, "{made} made, {not_made} not");
    for inodes in [1, 2] {
        let (first, _) = run("inodes", inodes, None);
        assert!(first[0].code == 8 && first[0].text.contains("df -i"), "{first:?}");
    }
}

#[test]
fn a_page_of_the_file_that_is_gone_while_there_is_no_room_for_another() {
    if !play::is_root("a file system of a small size, mounted in a namespace of its own") {
        return;
    }
    let (first, second) = run("hole", 1024, None);
    let named = |n: &str| first.iter().find(|s| s.name == n).unwrap_or_else(|| panic!("{n}: {first:?}"));
    // Everybody in that process is told, also who slept; nobody is ended by the signal.
    for who in ["touched", "sleeper", "create"] {
        let s = named(who);
        assert!(s.code == 1392 && s.text.contains("a page of it could not be had") && s.text.contains("; "), "{first:?}");
    }
    assert!(matches!(named("release").code, 0 | 288 | 1392), "{first:?}");
    assert_eq!(second[0].code, 1392, "it stays so in that process: {second:?}");
}

#[test]
fn a_file_that_may_only_be_read() {
    if !play::is_root("another user, since root may write it all the same") {
        return;
    }
    let (first, second) = run("read-only", 0, Some(ALICE));
    assert!(first[0].code == 5 && first[0].text.contains("Permission denied"), "{first:?}");
    must_work("writable again", &second);
}
