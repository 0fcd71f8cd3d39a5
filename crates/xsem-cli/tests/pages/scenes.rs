//! What is there before a session of a page begins: who holds what, which files are broken.

#[path = "store.rs"]
mod store;

use crate::common::{Place, kill, state, until};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use xsem_testkit::etcd::{Cluster, wanted};

/// Those who play a part in the background; they end with the test's thread at the latest.
#[derive(Default)]
pub struct Cast {
    pub children: Vec<Child>,
    /// The members of a store, as the page calls them, and as they are here.
    pub members: Vec<(String, String)>,
    /// The store.
    _store: Option<Cluster>,
}

/// Sets the scene of the session with this index in the page of this code. `None`: this machine does without what it needs.
pub fn set(p: &Place, code: u32, session: usize) -> Option<Cast> {
    if xsem::Code::from_number(code).is_some_and(xsem::Code::is_of_a_network) {
        return wanted().then(|| store::set(p, code));
    }
    Some(Cast { children: on_this_machine(p, code, session), ..Cast::default() })
}

fn on_this_machine(p: &Place, code: u32, session: usize) -> Vec<Child> {
    match (code, session) {
        (1, _) | (87, _) => shell(p, "$X create --pool 4 gpu"),
        (5, _) => {
            fs::set_permissions(made(p, "ns"), fs::Permissions::from_mode(0o644)).expect("it is ours");
            Vec::new()
        }
        (6, 1) => {
            let holder = holder(p);
            let waits = "until $X show deploy | grep -q waiting; do sleep 0.01; done; rm namespace";
            vec![holder, p.script(waits).spawn().expect("sh")]
        }
        (6, _) | (183, _) | (187, _) => shell(p, "$X create deploy"),
        (95, _) => {
            let holder = holder(p);
            let reopen = "until $X show deploy | grep -q drain; do sleep 0.01; done; $X drain --reopen deploy";
            vec![holder, p.script(reopen).spawn().expect("sh")]
        }
        (101, 1) => {
            let holder = holder(p);
            kill(holder.id(), libc::SIGSTOP);
            until("it is stopped", || state(holder.id()) == Some('T'));
            vec![holder]
        }
        (101, _) => vec![holder(p)],
        (102, 1) => shell(p, "$X create deploy; $X drain deploy"),
        (121, 1) => {
            p.sh("$X create --pool 4 gpu; $X create --event manual server/up");
            vec![p.hold("gpu", &["--permits", "3", "gpu", "--", "sleep", "600"])]
        }
        (102, _) | (121, _) => {
            let holder = holder(p);
            let waiter = p.start(&["run", "deploy", "--", "true"]);
            until("somebody waits", || p.waiters("deploy") == 1);
            vec![holder, waiter]
        }
        (105, 0) => {
            let mut holder = holder(p);
            holder.kill().expect("it lives");
            holder.wait().expect("it ends");
            Vec::new()
        }
        // A command that ends by a signal, as its last owner.
        (105, _) => shell(p, "$X run deploy -- sh -c 'kill -9 $$' || true"),
        (288, 0) => {
            script(p, "work.sh", "while xsem show deploy | grep -q 'held by'; do sleep 0.01; done");
            let evict = "until $X evict deploy; do sleep 0.01; done";
            vec![p.script(evict).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh")]
        }
        (298, _) => shell(p, "$X create --credit 5 --initial 2 items"),
        (1131, _) => {
            script(p, "dump.sh", "while ! xsem show db | grep -q waiting; do sleep 0.01; done");
            script(
                p,
                "deploy.sh",
                "while ! xsem show db 2> /dev/null | grep -q 'held by'; do sleep 0.01; done; xsem run db -- true",
            );
            let other = p.start_in(&["run", "web", "--", "./deploy.sh"]);
            until("the other one has it", || p.holder("web").is_some());
            vec![other]
        }
        (1306, _) => {
            let file = made(p, NAMESPACE);
            let f = fs::OpenOptions::new().read(true).write(true).open(file).expect("the file");
            let mut version = [0; 8];
            f.read_exact_at(&mut version, 8).expect("its version");
            let older = (u64::from_le_bytes(version) - 1).to_le_bytes();
            // In the second copy of the header, too: another version, and no damage.
            for at in [8, 8192 + 8] {
                f.write_all_at(&older, at).expect("it can be written");
            }
            Vec::new()
        }
        (1392, _) => {
            let file = made(p, "ns");
            let f = fs::OpenOptions::new().write(true).open(file).expect("the file");
            f.write_all_at(&[0x55], 32).expect("it can be written");
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Somebody who holds `deploy`.
fn holder(p: &Place) -> Child {
    p.hold("deploy", &["--label", "release 4.2", "deploy", "--", "sleep", "600"])
}

fn shell(p: &Place, text: &str) -> Vec<Child> {
    p.sh(text);
    Vec::new()
}

/// The file of a namespace, which nobody has open.
fn made(p: &Place, name: &str) -> PathBuf {
    p.sh(&format!("${{X%% *}} --namespace shm:$PWD/{name} create a"));
    p.file(name)
}

/// The file of the place's namespace.
pub const NAMESPACE: &str = "namespace";

/// A command of the page that need not do much.
pub fn script(p: &Place, name: &str, text: &str) {
    let path = p.file(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    executable(&path);
}

fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
