//! What the environment and the command line say, and whether that fits what there is.

use super::finding::Severity::{Note, Warning};
use super::finding::{Finding, Kind};
use super::{Look, typed};
use crate::run::claims::Claims;
use std::fs;
use std::path::Path;
use xsem::{Namespace, Report};

/// There is no such name here. Perhaps there is elsewhere.
pub fn no_such_name(d: &mut Look, name: &str, url: &str, path: &Path) {
    let mut others: Vec<String> = elsewhere(url, path).into_iter().filter(|other| has(other, name)).collect();
    others.sort();
    others.dedup();
    let from = match std::env::var("XSEM_NAMESPACE") {
        Ok(v) if v == url => " (XSEM_NAMESPACE says so)",
        _ => "",
    };
    let (what, todo) = match others.first() {
        Some(other) => (
            format!("there is no `{name}` in `{url}`{from}, but there is one in `{}`", others.join("`, `")),
            format!(
                "`xsem --namespace {} show {}`; whoever shall meet must use one namespace: look at XSEM_NAMESPACE and --namespace of both",
                typed(other),
                typed(name)
            ),
        ),
        None => (
            format!("there is no `{name}` in `{url}`{from}, nor in another namespace of this user"),
            "`xsem ls` lists those that there are; `xsem run` and `xsem create` make one".to_owned(),
        ),
    };
    d.found(Finding::new(Kind::NoSuchName, Warning, what, todo).of(name));
}

/// Namespaces beside this one.
fn elsewhere(url: &str, path: &Path) -> Vec<String> {
    let mut all = vec!["shm:".to_owned()];
    all.extend(std::env::var("XSEM_NAMESPACE"));
    // SAFETY: no arguments, cannot fail.
    let own = format!("/dev/shm/xsem-{}", unsafe { libc::geteuid() });
    for dir in [path.parent().unwrap_or(Path::new("/")), Path::new(&own)] {
        for e in fs::read_dir(dir).into_iter().flatten().flatten().take(200) {
            let (file, name) = (e.path(), e.file_name().to_string_lossy().into_owned());
            let large = e.metadata().is_ok_and(|m| m.is_file() && m.len() > 1 << 20);
            if name.starts_with('.') || !large || file == path {
                continue;
            }
            all.push(if dir == Path::new(&own) { format!("shm:{name}") } else { format!("shm:{}", file.display()) });
        }
    }
    all.retain(|u| u != url && u != "shm:default" && !(u == "shm:" && url == "shm:default"));
    all
}

fn has(url: &str, name: &str) -> bool {
    let ns = Namespace::builder().create(false).open(url);
    ns.is_ok_and(|ns| ns.kind(name).is_ok())
}

/// Claims that an enclosing `xsem run` has left in the environment, and that are over.
pub fn claims(d: &mut Look, url: &str, report: impl Fn(&str) -> Option<Report>) {
    for (name, token) in Claims::from_env().all(url) {
        let held = report(name).is_some_and(|r| r.holders.iter().any(|h| h.token == token));
        if !held {
            let what = format!("XSEM_CLAIMS says that an enclosing `xsem run` holds it (token {token}), but that claim is over");
            let todo = "start a new shell, or `unset XSEM_CLAIMS`: this one was left behind by a run that has ended";
            d.found(Finding::new(Kind::ClaimOver, Note, what, todo).of(name));
        }
    }
}
