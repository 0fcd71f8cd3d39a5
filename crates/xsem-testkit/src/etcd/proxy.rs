//! A relay of TCP connections on loopback that delays, cuts, holds, and loses answers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A relay to one port. Dropped, it is gone, with its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    to: u16,
    /// Nanoseconds, in each direction.
    delay: AtomicU64,
    /// Connections are refused.
    refusing: AtomicBool,
    /// Nothing passes, and nobody is told.
    holding: AtomicBool,
    /// What the server says is thrown away.
    deaf: AtomicBool,
    /// Bytes from clients.
    sent: AtomicU64,
    /// All connections that were made, to be cut.
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    over: AtomicBool,
}

impl Proxy {
    /// A relay to this port.
    ///
    /// # Panics
    /// If no port is free.
    pub fn to(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its own address").port();
        let state = Arc::new(State {
            to,
            delay: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            open: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let its = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if its.over.load(SeqCst) {
                    return;
                }
                // A client that is refused sees its connection end, as it would with a server that is not there.
                if !its.refusing.load(SeqCst) {
                    its.relay(client);
                }
            }
        });
        Proxy { port, state }
    }

    /// Where clients go.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a place behind it.
    pub fn url(&self, path: &str) -> String {
        format!("etcd://127.0.0.1:{}/{path}", self.port)
    }

    /// What passes takes so long from now on, each way.
    pub fn delay(&self, each_way: Duration) {
        self.state.delay.store(each_way.as_nanos() as u64, SeqCst);
    }

    /// Ends all connections; new ones are made.
    pub fn cut(&self) {
        for (a, b) in self.state.connections().drain(..) {
            let _ = (a.shutdown(Shutdown::Both), b.shutdown(Shutdown::Both));
        }
    }

    /// Ends all connections, and refuses new ones until this is taken back.
    pub fn refuse(&self, yes: bool) {
        self.state.refusing.store(yes, SeqCst);
        self.cut();
    }

    /// Nothing passes, either way, and no connection ends; until this is taken back, when what was held passes.
    pub fn hold(&self, yes: bool) {
        self.state.holding.store(yes, SeqCst);
    }

    /// What the server says is thrown away, while what clients say reaches it. Taken back, the connections are cut, since their
    /// streams have holes.
    pub fn lose_answers(&self, yes: bool) {
        self.state.deaf.store(yes, SeqCst);
        if !yes {
            self.cut();
        }
    }

    /// How many bytes clients have sent through it.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, SeqCst);
        self.cut();
        // So that the thread looks.
        let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)));
    }
}

impl State {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<(TcpStream, TcpStream)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relay(self: &Arc<State>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.to))) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let pair = |a: &TcpStream, b: &TcpStream| Some((a.try_clone().ok()?, b.try_clone().ok()?));
        let (Some(kept), Some(up), Some(down)) = (pair(&client, &server), pair(&client, &server), pair(&server, &client)) else {
            return;
        };
        self.connections().push(kept);
        self.pass(up, true);
        self.pass(down, false);
    }

    /// One direction: one thread reads, another writes when it is time.
    fn pass(self: &Arc<State>, (from, to): (TcpStream, TcpStream), from_client: bool) {
        let (give, take): (Sender<(Instant, Vec<u8>)>, Receiver<_>) = channel();
        let (reader, writer) = (self.clone(), self.clone());
        std::thread::spawn(move || {
            let mut from = from;
            let mut buffer = vec![0; 64 << 10];
            while let Ok(n) = from.read(&mut buffer) {
                let due = Instant::now() + Duration::from_nanos(reader.delay.load(SeqCst));
                if n == 0 || give.send((due, buffer[..n].to_vec())).is_err() {
                    break;
                }
            }
        });
        std::thread::spawn(move || {
            let mut to = to;
            for (due, bytes) in take {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                while writer.holding.load(SeqCst) && !writer.over.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(2));
                }
                if from_client {
                    writer.sent.fetch_add(bytes.len() as u64, SeqCst);
                } else if writer.deaf.load(SeqCst) {
                    continue;
                }
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::Watchdog;

    /// A server that says back what it hears.
    fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut s in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut b = [0; 100];
                    while let Ok(n @ 1..) = s.read(&mut b) {
                        if s.write_all(&b[..n]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        port
    }

    #[test]
    fn it_passes_delays_loses_and_cuts() {
        let _dog = Watchdog::start("a proxy");
        let p = Proxy::to(echo());
        let connect = || TcpStream::connect(("127.0.0.1", p.port())).unwrap();
        let (mut s, mut b) = (connect(), [0; 4]);
        s.write_all(b"ping").unwrap();
        s.read_exact(&mut b).unwrap();
        assert_eq!(&b, b"ping");
        p.delay(Duration::from_millis(20));
        let start = Instant::now();
        s.write_all(b"pong").unwrap();
        s.read_exact(&mut b).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(40), "a delay is never shorter");
        p.delay(Duration::ZERO);
        p.lose_answers(true);
        let before = p.sent();
        s.write_all(b"lost").unwrap();
        while p.sent() < before + 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        s.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
        assert!(s.read(&mut b).is_err(), "no answer comes");
        p.lose_answers(false);
        s.set_read_timeout(None).unwrap();
        assert_eq!(s.read(&mut b).unwrap_or(0), 0, "it was cut");
        let mut s = connect();
        s.write_all(b"more").unwrap();
        s.read_exact(&mut b).unwrap();
        p.refuse(true);
        assert_eq!(s.read(&mut b).unwrap_or(0), 0);
    }
}
