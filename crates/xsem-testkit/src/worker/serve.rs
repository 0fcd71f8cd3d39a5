//! A worker process: threads that do what lines on the standard input say.

use super::Crew;
use crate::etcd::storm::open;
use crate::protocol::{Answer, Verb};
use std::io::{BufRead, Write};
use std::sync::Arc;

/// Serves one test on the namespace `url`, and on another one if it is told so, until the input ends.
pub fn serve(url: &str, elsewhere: Option<&str>) -> xsem::Result<()> {
    // A lost wake-up shall show as a hang, not as a wait of a second.
    xsem::shm::testing::set_recheck(false);
    let elsewhere = elsewhere.map(open).transpose()?;
    let mut crew = Crew::new(open(url)?, elsewhere, Arc::new(say));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some((thread, verb)) = line.split_once(' ') else { continue };
        let Ok(thread) = thread.parse::<u32>() else { continue };
        match verb.parse::<Verb>() {
            Ok(verb) => crew.tell(thread, verb),
            Err(e) => say(thread, Answer::Broken(e)),
        }
    }
    Ok(())
}

fn say(thread: u32, answer: Answer) {
    // One write for the line: the lock of stdout keeps lines of several threads apart.
    let _ = writeln!(std::io::stdout().lock(), "{thread} {answer}");
}
