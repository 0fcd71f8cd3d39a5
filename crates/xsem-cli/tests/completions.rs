//! `xsem completions`: what a shell makes of it.

mod common;

use common::{Place, XSEM, clean, code, text};
use std::process::{Command, Stdio};

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let script = format!(
        "eval \"$({XSEM} completions bash)\"; COMP_WORDS=({}); COMP_CWORD={}; \
         $(complete -p xsem | sed 's/.*-F \\([^ ]*\\).*/\\1/') xsem '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let out = clean(Command::new("bash")).args(["-c", &script]).stdin(Stdio::null()).output().expect("bash can be run");
    assert!(out.status.success() && out.stderr.is_empty(), "{words:?}: {}", text(&out.stderr));
    text(&out.stdout).lines().map(String::from).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let _watchdog = Place::new();
    assert_eq!(offered(&["xsem", "ev"]), ["event", "evict"]);
    assert_eq!(offered(&["xsem", "event", "wa"]), ["wait"]);
    assert_eq!(offered(&["xsem", "event", "wait", "--al"]), ["--all"]);
    assert_eq!(offered(&["xsem", "create", "--event", ""]), ["manual", "auto"]);
}

#[test]
fn every_shell_has_some() {
    let p = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let out = p.output(&["completions", shell]);
        assert_eq!(code(out.status), 0, "{shell}: {}", text(&out.stderr));
        assert!(text(&out.stdout).contains("evict"), "{shell}");
    }
    assert_eq!(code(p.output(&["completions", "csh"]).status), 125);
    assert!(!p.file("namespace").exists());
}
