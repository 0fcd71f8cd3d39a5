//! A server that many clients use at once, each of which needs one of a few resources: a camera, a licence, a database
//! connection. Which one it has is its slot.
//!
//! ```text
//! cargo run --example tcp_server -- shm: 3 127.0.0.1:7000
//! ```
//!
//! A client says `take`, and is answered `slot=N` when one is free; it uses resource N, and says `done`, or just goes away.
//! Start the server twice, on two ports: both lend the same three resources, since the pool has a name. Kill one of them:
//! what its clients had is free for those of the other.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use xsem::{CancelToken, Counting, Error, Namespace, OwnedPermit, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(limit), Some(address)) = (args.next(), args.next(), args.next()) else {
        return Err("tcp_server URL LIMIT ADDRESS, such as: shm: 3 127.0.0.1:7000".into());
    };
    serve(&url, limit.parse()?, TcpListener::bind(address)?)
}

/// Serves clients until the process ends.
pub fn serve(url: &str, limit: u32, listener: TcpListener) -> Result<(), Box<dyn std::error::Error>> {
    let ns = Namespace::open(url)?;
    // The pool is made by whoever comes first; a server that was told another limit is refused here (87).
    let resources = Counting::open_or_create_pool(&ns, "resources", limit)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let (stream, resources) = (stream?, resources.clone());
        thread::spawn(move || {
            let who = stream.peer_addr().map(|a| a.to_string()).unwrap_or_default();
            if let Err(e) = converse(&stream, &resources, &who) {
                eprintln!("{who}: {e}");
            }
        });
    }
    Ok(())
}

/// One client, from beginning to end. Whatever ends it (a word, an error, a client that was killed), the permit goes with it.
fn converse(stream: &TcpStream, resources: &Counting, who: &str) -> io::Result<()> {
    let mut permit: Option<OwnedPermit> = None;
    let mut lines = BufReader::new(stream).lines();
    let mut out = stream;
    while let Some(line) = lines.next().transpose()? {
        match line.trim() {
            "take" if permit.is_none() => match take(stream, resources, who) {
                Ok(p) => {
                    let slots = p.slots().map_err(io::Error::other)?;
                    permit = Some(p);
                    writeln!(out, "slot={}", slots[0])?;
                }
                // It went away while it waited, or nobody is let in any more (102): it has the right to know.
                Err(e) => writeln!(out, "error {e}")?,
            },
            "done" if permit.is_some() => {
                permit = None;
                writeln!(out, "ok")?;
            }
            _ => writeln!(out, "error say `take`, and `done` for what you have")?,
        }
    }
    Ok(())
}

/// Waits for a permit, for as long as the client is there. The permit may go to any thread, so it is an owned one; its label
/// says in `xsem show resources` which client has it.
fn take(stream: &TcpStream, resources: &Counting, who: &str) -> Result<OwnedPermit, Error> {
    let cancel = CancelToken::new();
    if let Ok(watched) = stream.try_clone() {
        let cancel = cancel.clone();
        // Ends with the client's next word at the latest.
        thread::spawn(move || {
            if !matches!(watched.peek(&mut [0]), Ok(1)) {
                cancel.cancel();
            }
        });
    }
    resources.acquire_owned(1, Wait::forever().cancel(&cancel).label(who))
}
