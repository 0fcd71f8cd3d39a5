//! Hostile neighbours: whatever lies at the path of a namespace, on the way to it, or in the place of its gate. Each is refused
//! with the reason, and left as it is; nothing is followed, opened for writing, or waited for.
//!
//! Each row opens in a process of its own, as the user that the row names: a process keeps what it has open.

#[path = "neighbours/groups.rs"]
mod groups;
#[path = "neighbours/rows.rs"]
mod rows;
#[path = "neighbours/scene.rs"]
mod scene;

use scene::{CHILD, Scene, User};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

/// The child's part; does nothing by itself.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_some() {
        scene::child();
    }
}

#[test]
fn what_lies_in_the_place_of_the_file() {
    for row in rows::FILES {
        row.play();
    }
}

#[test]
fn what_lies_on_the_way() {
    for row in rows::WAYS {
        row.play();
    }
}

#[test]
fn what_lies_in_the_place_of_the_gate() {
    for row in rows::GATES {
        row.play();
    }
}

#[test]
fn somebody_else_made_the_usual_directory_first() {
    if !scene::is_root("what others put into /dev/shm in a user's name") {
        return;
    }
    for row in rows::USUAL {
        row.play_usual();
    }
}

#[test]
fn a_umask_or_a_default_acl_gives_nobody_more_and_the_user_no_less() {
    for mask in [0, 0o777, 0o027] {
        let scene = Scene::new();
        let answer = scene.open_with("ns", User::Me, &[("UMASK", &mask.to_string())]);
        assert_eq!(answer, Ok(()), "umask {mask:o}");
        for f in fs::read_dir(scene.dir()).unwrap().flatten() {
            assert_eq!(f.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "{f:?}");
        }
        assert_eq!(scene.open("ns", User::Me), Ok(()));
    }
    let scene = Scene::new();
    if scene::default_acl(scene.dir()) {
        assert_eq!(scene.open("ns", User::Me), Ok(()));
        assert_eq!(fs::metadata(scene.path("ns")).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(scene.open("ns", User::Me), Ok(()));
    } else {
        println!("not run: the file system has no access control lists");
    }
}

#[test]
fn what_a_creator_left_that_died_is_in_nobodys_way() {
    let scene = Scene::new();
    fs::write(scene.path(".ns.0123456789abcdef.new"), "half").unwrap();
    symlink("/dev/null", scene.path(".ns.fedcba9876543210.gate")).unwrap();
    assert_eq!(scene.open("ns", User::Me), Ok(()));
    assert_eq!(fs::read(scene.path(".ns.0123456789abcdef.new")).unwrap(), b"half");
}

/// The file is swapped all the time for something else, by somebody who may do that (the user itself): every open gives the
/// namespace or a refusal, none hangs, and what the links lead to is never written to.
#[test]
fn a_file_that_is_swapped_while_it_is_opened() {
    let scene = Scene::new();
    assert_eq!(scene.open("ns", User::Me), Ok(()));
    let victim = scene.path("victim");
    fs::write(&victim, vec![7u8; 8192]).unwrap();
    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
    scene::fifo(&scene.path("fifo"));
    symlink(&victim, scene.path("link")).unwrap();
    fs::hard_link(&victim, scene.path("hard")).unwrap();
    let answers = scene.open_many("ns", 300, || {
        for other in ["fifo", "link", "hard"] {
            scene::exchange(&scene.path("ns"), &scene.path(other));
            scene::exchange(&scene.path("ns"), &scene.path(other));
        }
    });
    assert!(answers.iter().all(|code| matches!(code, 0 | 5)), "{answers:?}");
    assert_eq!(fs::read(&victim).unwrap(), vec![7u8; 8192]);
    assert_eq!(scene.open("ns", User::Me), Ok(()));
}

#[test]
fn a_read_only_file_system_and_one_that_is_mounted_over() {
    if !scene::is_root("mounts in a namespace of their own") {
        return;
    }
    let scene = Scene::new();
    assert_eq!(scene.open("ns", User::Me), Ok(()));
    let (code, text) = scene.open_with("ns", User::Me, &[("MOUNT", "ro")]).unwrap_err();
    assert!(code == 5 && text.contains("read-only"), "{code} {text}");
    let (code, text) = scene.open_with("ns", User::Me, &[("MOUNT", "over")]).unwrap_err();
    assert!(code == 6, "{code} {text}");
}

#[test]
fn proc_and_its_like_hold_no_namespace() {
    let scene = Scene::new();
    let (code, text) = scene.open_at("/proc/self/ns", User::Me).unwrap_err();
    assert!(code == 5, "{code} {text}");
    // A link of /proc leads where the kernel says, not where its text says.
    assert_eq!(scene.open("ns", User::Me), Ok(()));
    let through = format!("/proc/{}/root{}", std::process::id(), scene.path("ns").display());
    assert_eq!(scene.open_at(&through, User::Me), Ok(()));
}
