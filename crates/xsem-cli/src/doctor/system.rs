//! The machine: what the kernel has, and who tidies up.

use super::Look;
use super::finding::Severity::{Note, Warning};
use super::finding::{Finding, Kind};
use std::fs;
use std::path::{Path, PathBuf};
use xsem::shm::probe;

/// Looks at kernel and login.
pub fn look(d: &mut Look, path: &Path) {
    if !probe::has_futex_waitv() {
        let what = "futex_waitv is not there (a kernel before 5.16, or a seccomp filter): waits are correct, but look again every 20 ms instead of being woken";
        d.found(Finding::new(
            Kind::NoFutexWaitv,
            Note,
            what,
            "use Linux 5.16 or later, or allow the call in the filter (in containers: a newer runtime)",
        ));
    }
    if !probe::has_rseq() {
        let what = "rseq is not there (a kernel before 4.18, or a seccomp filter): each acquire asks in full whether it is inside a signal handler, which takes longer";
        d.found(Finding::new(Kind::NoRseq, Note, what, "use a newer kernel, or allow the call in the filter"));
    }
    // SAFETY: no arguments, cannot fail.
    let uid = unsafe { libc::geteuid() };
    if path.starts_with("/dev/shm") && wipes(Path::new("/"), uid) {
        let what = "systemd removes all of this user's files in /dev/shm, this one included, when the user's last session ends (RemoveIPC=yes)";
        let todo = "set RemoveIPC=no in /etc/systemd/logind.conf, or `loginctl enable-linger`, or use a system user, or `shm:/path/to/file` elsewhere";
        d.found(Finding::new(Kind::WipedAtLogout, Warning, what, todo));
    }
}

/// Whether systemd-logind removes the shared memory of this user. `root`: where the system's files are.
pub fn wipes(root: &Path, uid: u32) -> bool {
    let at = |p: &str| root.join(p);
    let lingers = fs::read_dir(at("var/lib/systemd/linger")).is_ok_and(|mut all| all.next().is_some()) && {
        let name = xsem::Process::new(0, uid, "", xsem::ProcessState::Alive).user();
        at("var/lib/systemd/linger").join(name).exists()
    };
    let runs = at("run/systemd/system").is_dir() && at("run/systemd/seats").is_dir();
    runs && uid > last_system_user(&at("etc/login.defs")) && !lingers && removes(root)
}

fn last_system_user(defs: &Path) -> u32 {
    let text = fs::read_to_string(defs).unwrap_or_default();
    let line = text.lines().find_map(|l| l.trim().strip_prefix("SYS_UID_MAX"));
    line.and_then(|l| l.trim().parse().ok()).unwrap_or(999)
}

/// The last setting counts: the main file, then the pieces by name; in /etc before those of the same name elsewhere.
fn removes(root: &Path) -> bool {
    let main = ["etc/systemd/logind.conf", "run/systemd/logind.conf", "usr/lib/systemd/logind.conf"];
    let mut files: Vec<PathBuf> = main.iter().map(|f| root.join(f)).filter(|f| f.exists()).take(1).collect();
    let mut pieces = std::collections::BTreeMap::new();
    for dir in ["usr/lib/systemd/logind.conf.d", "run/systemd/logind.conf.d", "etc/systemd/logind.conf.d"] {
        for e in fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
            if e.path().extension().is_some_and(|x| x == "conf") {
                pieces.insert(e.file_name(), e.path());
            }
        }
    }
    files.extend(pieces.into_values());
    let mut yes = true;
    for file in files {
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            if let Some(value) = line.trim().strip_prefix("RemoveIPC").and_then(|l| l.trim_start().strip_prefix('=')) {
                yes = matches!(value.trim().to_ascii_lowercase().as_str(), "yes" | "true" | "on" | "1" | "y" | "t");
            }
        }
    }
    yes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// wiped-at-logout: a machine of its own, as files.
    #[test]
    fn a_login_that_wipes_shared_memory() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        let put = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        };
        assert!(!wipes(root, 1000), "there is no systemd");
        fs::create_dir_all(root.join("run/systemd/system")).expect("a directory");
        fs::create_dir_all(root.join("run/systemd/seats")).expect("a directory");
        assert!(wipes(root, 1000) && !wipes(root, 999) && !wipes(root, 0), "yes is what it does unless told otherwise");
        put("etc/systemd/logind.conf", "[Login]\n#RemoveIPC=yes\nRemoveIPC=no\n");
        assert!(!wipes(root, 1000));
        put("etc/systemd/logind.conf.d/50-more.conf", "[Login]\nRemoveIPC = yes\n");
        assert!(wipes(root, 1000));
        put("usr/lib/systemd/logind.conf.d/60-vendor.conf", "[Login]\nRemoveIPC=no\n");
        assert!(!wipes(root, 1000), "the later piece counts");
        put("etc/systemd/logind.conf.d/60-vendor.conf", "[Login]\n");
        assert!(wipes(root, 1000), "it takes the place of the vendor's");
        put("etc/login.defs", "# x\nSYS_UID_MAX   1500\n");
        assert!(!wipes(root, 1000) && wipes(root, 1501));
    }
}
