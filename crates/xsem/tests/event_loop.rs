//! The example `event_loop`: it answers while it waits, has the semaphore when that is free, and leaves nothing behind.

#[allow(dead_code, reason = "the example's main")]
#[path = "../examples/event_loop.rs"]
mod example;
mod processes;

use processes::{namespace, until};
use std::io::{BufRead, BufReader, Write};
use xsem::Exclusive;

#[test]
fn it_answers_while_it_waits() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let held = sem.acquire().unwrap();
    let ((theirs, mut lines), (answers, said)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let url = ns.url().to_owned();
    let server = std::thread::spawn(move || example::serve(&url, "a", theirs, said).unwrap().expect("it has it").token());
    let mut answers = BufReader::new(answers).lines();
    let mut next = || answers.next().unwrap().unwrap();
    writeln!(lines, "one").unwrap();
    assert_eq!(next(), "not yet: one");
    until(|| ns.inspect("a").unwrap().waiters.len() == 1);
    writeln!(lines, "two").unwrap();
    assert_eq!(next(), "not yet: two");
    let token = held.token();
    drop(held);
    assert_eq!(next(), format!("have it: {}", token + 1));
    assert_eq!(server.join().unwrap(), token + 1);
    drop(sem.try_acquire().unwrap());
}

#[test]
fn it_gives_up_when_its_input_ends() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let _held = sem.acquire().unwrap();
    let (theirs, lines) = std::io::pipe().unwrap();
    let url = ns.url().to_owned();
    let server = std::thread::spawn(move || example::serve(&url, "a", theirs, std::io::sink()).unwrap().is_none());
    until(|| ns.inspect("a").unwrap().waiters.len() == 1);
    drop(lines);
    assert!(server.join().unwrap());
    assert!(ns.inspect("a").unwrap().waiters.is_empty());
}
