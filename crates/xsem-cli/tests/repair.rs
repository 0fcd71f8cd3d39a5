//! `xsem check`, `xsem repair`, `xsem reset`: what an operator sees of damage, and does about it.

mod common;

use common::{Place, code, end, one_line, text};
use serde_json::Value;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

/// Writes a byte into the namespace's file.
fn damage(p: &Place, at: u64, byte: u8) {
    let f = OpenOptions::new().write(true).open(p.file("namespace")).expect("the file");
    f.write_all_at(&[byte], at).expect("it can be written");
}

fn json(out: &std::process::Output) -> Value {
    serde_json::from_slice(&out.stdout).expect("JSON")
}

#[test]
fn check_says_what_is_damaged_and_repair_mends_it() {
    let p = Place::new();
    let none = p.output(&["check"]);
    assert_eq!(code(none.status), 1);
    assert!(one_line(&none.stderr).starts_with("xsem: 187 "), "{}", text(&none.stderr));
    assert!(!p.file("namespace").exists(), "looking makes nothing");

    let owner = p.hold("a", &["a", "--", "sleep", "1000"]);
    let before = std::fs::read(p.file("namespace")).expect("the file");
    let fine = p.output(&["check"]);
    assert_eq!((code(fine.status), text(&fine.stderr)), (0, String::new()));
    assert!(text(&fine.stdout).contains("1 semaphore, 1 member: nothing is damaged"), "{}", text(&fine.stdout));
    assert!(before == std::fs::read(p.file("namespace")).expect("the file"), "looking writes nothing");

    // The header: the namespace cannot be opened at all.
    damage(&p, 24, 0x99);
    let out = p.output(&["ls"]);
    assert_eq!(code(out.status), 1);
    assert!(text(&out.stderr).contains("xsem repair"), "{}", text(&out.stderr));
    let out = p.output(&["check"]);
    assert_eq!(code(out.status), 1);
    assert!(text(&out.stdout).starts_with("damage: header 0: "), "{}", text(&out.stdout));
    let line = one_line(&out.stderr);
    assert!(line.starts_with("xsem: 1392 ERROR_FILE_CORRUPT: ") && line.ends_with("`xsem repair` mends it"), "{line}");
    let all = json(&p.output(&["check", "--json"]));
    assert_eq!((&all["sound"], &all["findings"][0]["remedy"]), (&Value::Bool(false), &Value::from("repair")));

    let out = p.output(&["repair"]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()), "{}", text(&out.stdout));
    assert!(text(&out.stdout).starts_with("mended: header 0: "), "{}", text(&out.stdout));
    assert_eq!(p.holder("a").expect("it is held")["process"]["pid"], owner.id(), "who holds it still does");
    // The epoch: whoever opens it must not take the living for members of another one.
    damage(&p, 512, 3);
    let out = p.output(&["run", "-n", "a", "--", "true"]);
    assert_eq!(code(out.status), 125, "{}", text(&out.stderr));
    assert!(one_line(&out.stderr).starts_with("xsem: 1392 "), "{}", text(&out.stderr));
    assert_eq!(code(p.output(&["repair"]).status), 0);
    assert_eq!(p.holder("a").expect("it is held")["process"]["pid"], owner.id());
    let again = json(&p.output(&["repair", "--json"]));
    assert_eq!((&again["mended"], &again["now"]["sound"]), (&Value::Array(vec![]), &Value::Bool(true)));
    common::kill(owner.id(), libc::SIGTERM);
    end(owner);
}

#[test]
fn reset_says_what_would_be_lost_and_does_it_only_with_force() {
    let p = Place::new();
    let owner = p.hold("a", &["a", "--", "sleep", "1000"]);
    let waiter = p.start(&["run", "a", "--", "true"]);
    common::until("it waits", || p.waiters("a") == 1);
    let out = p.output(&["reset"]);
    assert_eq!(code(out.status), 1, "without --force nothing happens");
    assert!(one_line(&out.stderr).contains("was not reset") && text(&out.stderr).contains("--force"), "{}", text(&out.stderr));
    let said = text(&out.stdout);
    assert!(said.contains(&format!("would be lost: `a`, held by {} `sleep 1000`", owner.id())), "{said}");
    assert!(said.contains("1 waiting would be refused") && said.contains("1 semaphore would be lost"), "{said}");
    assert_eq!(p.holder("a").expect("it is held")["process"]["pid"], owner.id());

    let out = p.output(&["reset", "--force"]);
    assert_eq!((code(out.status), text(&out.stderr)), (0, String::new()));
    assert!(text(&out.stdout).contains("lost: `a`, held by"), "{}", text(&out.stdout));
    let (status, said) = end(waiter);
    assert!(status == 125 && said.contains("was reset by") && said.contains("xsem"), "{status} {said}");
    assert_eq!(text(&p.output(&["ls"]).stdout), "", "it has begun anew");
    assert_eq!(code(p.output(&["run", "-n", "a", "--", "true"]).status), 0);
    // The old owner ends as if nothing had happened; its semaphore is nobody's any more.
    common::kill(owner.id(), libc::SIGTERM);
    assert_eq!(end(owner).0, 128 + libc::SIGTERM);

    // Another version: nothing can be asked, and it can still be begun anew.
    damage(&p, 8, 0x77);
    damage(&p, 8192 + 8, 0x77);
    for (args, exit, word) in [
        (&["check"][..], 1, "1306"),
        (&["repair"], 1, "1306"),
        (&["reset"], 1, "cannot be read"),
        (&["reset", "--force"], 0, "has begun anew"),
    ] {
        let out = p.output(args);
        assert_eq!(code(out.status), exit, "{args:?}: {}", text(&out.stderr));
        assert!(
            format!("{}{}", text(&out.stdout), text(&out.stderr)).contains(word),
            "{args:?}: {} {}",
            text(&out.stdout),
            text(&out.stderr)
        );
    }
    assert_eq!(code(p.output(&["check"]).status), 0);
}
