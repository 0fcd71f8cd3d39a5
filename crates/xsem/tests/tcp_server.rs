//! The example `tcp_server`, between real processes: two servers that lend the same resources, many clients, kills.

#[allow(dead_code, reason = "the example's main")]
#[path = "../examples/tcp_server.rs"]
mod example;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use xsem::{Counting, Namespace};

const RESOURCES: u32 = 3;

/// What a child process of this test shall be, and what it needs for that.
const ROLE: &str = "XSEM_TCP_TEST_ROLE";
const WITH: &str = "XSEM_TCP_TEST_WITH";

/// Not a test, unless it is told what to be.
#[test]
fn child() {
    let with = std::env::var(WITH).unwrap_or_default();
    match std::env::var(ROLE).as_deref() {
        Ok("server") => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            example::serve(&with, RESOURCES, listener).expect("it serves");
        }
        Ok("client") => {
            let mut client = Client::of(with.parse().expect("an address"));
            println!("has {}", client.take());
            // Until it is killed.
            loop {
                thread::park();
            }
        }
        _ => {}
    }
}

/// A child that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it has ended");
    }
}

/// A process of ours in that role, and what stands behind `says` in the first line of it that has that.
fn start(role: &str, with: &str, says: &str) -> (Process, String) {
    let me = std::env::current_exe().expect("this test");
    let mut command = Command::new(me);
    command.args(["--exact", "child", "--nocapture"]).env(ROLE, role).env(WITH, with);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // The test harness may have begun the line.
    let rest = |l: String| l.split_once(says).map(|(_, rest)| rest.to_owned());
    let said = lines.find_map(|l| rest(l.expect("a line"))).expect("it says so");
    // The rest must be read by somebody, or the child would be stopped by a full pipe.
    thread::spawn(move || lines.for_each(drop));
    (Process(child), said)
}

fn server(url: &str) -> (Process, SocketAddr) {
    let (child, address) = start("server", url, "listening on ");
    (child, address.parse().expect("an address"))
}

/// Ends a child at once.
fn kill(child: Process) {
    drop(child);
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn of(address: SocketAddr) -> Client {
        Client { stream: BufReader::new(TcpStream::connect(address).expect("the server is there")) }
    }

    fn say(&mut self, word: &str) {
        writeln!(self.stream.get_mut(), "{word}").expect("the server listens");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the server answers");
        line.trim_end().to_owned()
    }

    fn take(&mut self) -> usize {
        self.say("take");
        let answer = self.hear();
        answer.strip_prefix("slot=").unwrap_or_else(|| panic!("{answer}")).parse().expect("a number")
    }

    fn done(&mut self) {
        self.say("done");
        assert_eq!(self.hear(), "ok");
    }
}

/// Which slots somebody uses; a resource that is used twice is what must not happen.
#[derive(Default)]
struct Used([AtomicBool; RESOURCES as usize]);

impl Used {
    fn begin(&self, slot: usize) {
        assert!(!self.0[slot].swap(true, Ordering::SeqCst), "two clients have slot {slot}");
    }

    fn end(&self, slot: usize) {
        assert!(self.0[slot].swap(false, Ordering::SeqCst), "nobody had slot {slot}");
    }
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..24_000 {
        if so() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("never came: {what}");
}

#[test]
fn no_two_clients_have_one_slot_whoever_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("shm:{}/ns", dir.path().display());
    let (first, one) = server(&url);
    let (second, other) = server(&url);
    let ns = Namespace::open(&url).expect("it is there");
    let pool = Counting::open(&ns, "resources").expect("it is there");
    let free = || pool.capacity().expect("it is there").free;

    let (used, rounds) = (Used::default(), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        for i in 0..24 {
            let (used, rounds, stop) = (&used, &rounds, &stop);
            s.spawn(move || {
                let mut client = Client::of(if i % 2 == 0 { one } else { other });
                while !stop.load(Ordering::SeqCst) {
                    let slot = client.take();
                    used.begin(slot);
                    thread::yield_now();
                    used.end(slot);
                    client.done();
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // In the middle of it clients are killed that have a slot, and a client goes away that waits for one.
        for i in 0..5 {
            let (child, slot) = start("client", &[one, other][i % 2].to_string(), "has ");
            let slot = slot.parse().expect("a number");
            used.begin(slot);
            let before = rounds.load(Ordering::SeqCst);
            until("the others go on with the other slots", || rounds.load(Ordering::SeqCst) > before + 50);
            Client::of(one).say("take");
            used.end(slot);
            kill(child);
        }
        let before = rounds.load(Ordering::SeqCst);
        until("they go on", || rounds.load(Ordering::SeqCst) > before + 50);
        stop.store(true, Ordering::SeqCst);
    });
    until("all have come back", || free() == RESOURCES);

    // A server that is killed: what its clients had is free for the clients of the other one.
    let mut lost: Vec<Client> = (0..RESOURCES).map(|_| Client::of(one)).collect();
    for c in &mut lost {
        c.take();
    }
    assert_eq!(free(), 0);
    let mut waiting = Client::of(other);
    waiting.say("take");
    until("it waits", || ns.inspect("resources").expect("it is there").waiters.len() == 1);
    kill(first);
    assert!(waiting.hear().starts_with("slot="), "it has its turn");
    let mut others: Vec<Client> = (1..RESOURCES).map(|_| Client::of(other)).collect();
    for c in &mut others {
        c.take();
    }
    assert_eq!(free(), 0);
    assert_eq!(waiting.stream.get_ref().peer_addr().expect("connected"), other);

    // One that waits and goes away leaves the queue.
    let mut impatient = Client::of(other);
    impatient.say("take");
    until("it waits", || ns.inspect("resources").expect("it is there").waiters.len() == 1);
    drop(impatient);
    until("it is out of the queue", || ns.inspect("resources").expect("it is there").waiters.is_empty());
    drop((waiting, others));
    until("all have come back", || free() == RESOURCES);
    kill(second);
}

#[test]
fn the_label_says_which_client_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("shm:{}/ns", dir.path().display());
    let (child, address) = server(&url);
    let mut client = Client::of(address);
    client.take();
    let holders = Namespace::open(&url).expect("it is there").inspect("resources").expect("it is there").holders;
    let me = client.stream.get_ref().local_addr().expect("connected").to_string();
    assert_eq!(holders.iter().map(|h| h.label.as_deref()).collect::<Vec<_>>(), [Some(me.as_str())]);
    client.say("nonsense");
    assert!(client.hear().starts_with("error say `take`"));
    client.done();
    kill(child);
}
