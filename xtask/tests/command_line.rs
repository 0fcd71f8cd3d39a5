//! The exit codes and the first words of `cargo xtask`.

use std::process::{Command, Output};

fn xtask(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().expect("the program that was just built")
}

#[test]
fn a_wrong_command_line_is_2_and_says_what_is_right() {
    for (args, word) in [
        (&[][..], "missing"),
        (&["tset"], "`tset`"),
        (&["test", "nope"], "fmt, clippy"),
        (&["test", "--fast"], "--keep-going"),
        (&["check", "fmt"], "no argument"),
        (&["torture", "--minutes", "soon"], "whole number"),
    ] {
        let out = xtask(args);
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(word), "{args:?}: {text}");
    }
}

#[test]
fn help_and_list_are_0() {
    for (args, word) in [(&["--help"][..], "torture"), (&["test", "--list"], "loom")] {
        let out = xtask(args);
        assert_eq!(out.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&out.stdout).contains(word));
    }
}
