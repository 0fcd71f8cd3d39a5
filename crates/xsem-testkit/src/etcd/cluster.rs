//! Servers on loopback, with their data in a temporary directory.

use super::http;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Time for a server to be there, on a loaded machine.
const START: Duration = Duration::from_secs(60);

/// What the servers are to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many.
    pub members: usize,
    /// Further arguments of each.
    pub arguments: Vec<String>,
    /// TLS for clients: certificate and key of the servers, and the authority that clients' certificates need (None: they need none).
    pub tls: Option<(PathBuf, PathBuf, Option<PathBuf>)>,
}

impl Default for Options {
    fn default() -> Options {
        Options { members: 1, arguments: Vec::new(), tls: None }
    }
}

/// A cluster. Dropped, its servers are killed and its data is gone.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Mutex<Member>>,
    dir: PathBuf,
}

#[derive(Debug)]
struct Member {
    /// For clients; for other members; for questions about its health, without TLS.
    ports: [u16; 3],
    command: Vec<String>,
    log: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// So many servers that know each other.
    ///
    /// # Panics
    /// If there is no `etcd`, or it does not start.
    pub fn start(members: usize) -> Cluster {
        Cluster::with(&Options { members, ..Options::default() })
    }

    /// One server for all tests of this process that only need keys of their own.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start(1))
    }

    /// Servers that are like this.
    ///
    /// # Panics
    /// As [`start`](Cluster::start).
    pub fn with(options: &Options) -> Cluster {
        // Somebody else may take a port between its choice and its use.
        for _ in 0..5 {
            if let Some(cluster) = Cluster::attempt(options) {
                return cluster;
            }
        }
        panic!("no etcd server could be started: their last words are above")
    }

    fn attempt(options: &Options) -> Option<Cluster> {
        let dir = temporary();
        let ports: Vec<[u16; 3]> = free_ports(options.members * 3).chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect();
        let initial: Vec<String> = ports.iter().enumerate().map(|(i, p)| format!("m{i}=http://127.0.0.1:{}", p[1])).collect();
        let members = ports.iter().enumerate().map(|(i, &ports)| {
            let command = command(options, &dir, i, ports, &initial.join(","));
            Mutex::new(Member { ports, command, log: dir.join(format!("m{i}.log")), process: None })
        });
        let cluster = Cluster { members: members.collect(), dir };
        for i in 0..cluster.members.len() {
            cluster.launch(i);
        }
        let by = Instant::now() + START;
        let up = (0..cluster.members.len()).all(|i| cluster.wait_healthy(i, by));
        if !up {
            for i in 0..cluster.members.len() {
                eprintln!("{}", cluster.last_words(i));
            }
        }
        up.then_some(cluster)
    }

    fn member(&self, i: usize) -> std::sync::MutexGuard<'_, Member> {
        self.members[i].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self, i: usize) {
        let mut m = self.member(i);
        let log = File::options().create(true).append(true).open(&m.log).expect("a log file");
        m.process = Some(spawn(m.command.clone(), log));
    }

    /// Waits until a member answers, and knows a leader.
    fn wait_healthy(&self, i: usize, by: Instant) -> bool {
        while Instant::now() < by {
            if self.is_healthy(i) {
                return true;
            }
            let mut m = self.member(i);
            if m.process.as_mut().is_none_or(|p| matches!(p.try_wait(), Ok(Some(_)) | Err(_))) {
                return false;
            }
            drop(m);
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Whether a member says that it is well.
    pub fn is_healthy(&self, i: usize) -> bool {
        let port = self.member(i).ports[2];
        http::get(port, "/health").is_ok_and(|body| body.contains("\"true\""))
    }

    fn last_words(&self, i: usize) -> String {
        let log = std::fs::read_to_string(&self.member(i).log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("member {i}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where the clients of a member go.
    pub fn port(&self, i: usize) -> u16 {
        self.member(i).ports[0]
    }

    /// `host:port` of all members.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = (0..self.len()).map(|i| format!("127.0.0.1:{}", self.port(i))).collect();
        all.join(",")
    }

    /// The URL of a place in it.
    pub fn url(&self, path: &str) -> String {
        format!("etcd://{}/{path}", self.endpoints())
    }

    /// The process id of a member.
    ///
    /// # Panics
    /// If it was killed.
    pub fn pid(&self, i: usize) -> u32 {
        self.member(i).process.as_ref().expect("a running member").id()
    }

    /// Kills a member, as a crash would.
    pub fn kill(&self, i: usize) {
        let process = self.member(i).process.take();
        if let Some(mut p) = process {
            p.kill().expect("its own child can be killed");
            p.wait().expect("and waited for");
        }
    }

    /// Starts a member again that was killed, with its data, and waits until it is well.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&self, i: usize) {
        self.launch(i);
        assert!(self.wait_healthy(i, Instant::now() + START), "{}", self.last_words(i));
    }

    /// The same for several at once: none of them is well without the others.
    ///
    /// # Panics
    /// As [`restart`](Cluster::restart).
    pub fn restart_all(&self, members: &[usize]) {
        members.iter().for_each(|&i| self.launch(i));
        let by = Instant::now() + START;
        members.iter().for_each(|&i| assert!(self.wait_healthy(i, by), "{}", self.last_words(i)));
    }

    /// Stops a member: it keeps its connections and says nothing.
    pub fn freeze(&self, i: usize) {
        self.signal(i, libc::SIGSTOP);
    }

    /// It goes on.
    pub fn thaw(&self, i: usize) {
        self.signal(i, libc::SIGCONT);
    }

    fn signal(&self, i: usize, signal: i32) {
        // SAFETY: no pointer is passed; the process is a child that was not waited for.
        let done = unsafe { libc::kill(self.pid(i) as libc::pid_t, signal) };
        assert_eq!(done, 0, "its own child can be signalled");
    }

    /// The member that leads, as a healthy one of them says. Without TLS only.
    ///
    /// # Panics
    /// If none leads for a minute.
    pub fn leader(&self) -> usize {
        let by = Instant::now() + START;
        while Instant::now() < by {
            let status: Vec<Option<(String, String)>> = (0..self.len()).map(|i| self.status(i)).collect();
            for (_, leader) in status.iter().flatten() {
                let found = status.iter().position(|s| s.as_ref().is_some_and(|(own, _)| own == leader));
                if let Some(i) = found {
                    return i;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no member leads")
    }

    /// A member's own number, and whom it takes for the leader.
    fn status(&self, i: usize) -> Option<(String, String)> {
        self.member(i).process.as_ref()?;
        let answer = http::post(self.port(i), "/v3/maintenance/status", "{}").ok()?;
        let json: serde_json::Value = serde_json::from_str(&answer).ok()?;
        Some((json["header"]["member_id"].as_str()?.to_owned(), json["leader"].as_str()?.to_owned()))
    }

    /// Asks a member something in etcd's JSON (`/v3/kv/put` and so on). Without TLS only.
    ///
    /// # Errors
    /// What it says instead.
    pub fn ask(&self, i: usize, path: &str, json: &str) -> io::Result<serde_json::Value> {
        serde_json::from_str(&http::post(self.port(i), path, json)?).map_err(io::Error::other)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for i in 0..self.len() {
            self.kill(i);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn command(options: &Options, dir: &Path, i: usize, ports: [u16; 3], initial: &str) -> Vec<String> {
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let url = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    let data = dir.join(format!("m{i}")).display().to_string();
    let mut all: Vec<String> = [
        ("name", format!("m{i}")),
        ("data-dir", data),
        ("listen-client-urls", url(scheme, ports[0])),
        ("advertise-client-urls", url(scheme, ports[0])),
        ("listen-peer-urls", url("http", ports[1])),
        ("initial-advertise-peer-urls", url("http", ports[1])),
        ("listen-metrics-urls", url("http", ports[2])),
        ("initial-cluster", initial.to_owned()),
        ("initial-cluster-state", "new".to_owned()),
        // The same for all of them, and for no other cluster: a member that finds an old peer's port does not join that.
        ("initial-cluster-token", dir.display().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| format!("--{name}={value}"))
    .collect();
    if let Some((cert, key, ca)) = &options.tls {
        all.push(format!("--cert-file={}", cert.display()));
        all.push(format!("--key-file={}", key.display()));
        if let Some(ca) = ca {
            all.push("--client-cert-auth".to_owned());
            all.push(format!("--trusted-ca-file={}", ca.display()));
        }
    }
    all.extend(options.arguments.iter().cloned());
    all
}

/// A directory in memory, where there is one: a server waits for its disk at every change.
fn temporary() -> PathBuf {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    sweep(&base);
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = base.join(format!("xsem-etcd-{}-{n}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).expect("a temporary directory");
    dir
}

/// Takes away what processes have left that are gone: one that was killed, or whose server is a static, which is never dropped.
fn sweep(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix("xsem-etcd-")?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn free_ports(n: usize) -> Vec<u16> {
    // All open at once, so that they differ.
    let all: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    all.iter().map(|l| l.local_addr().expect("its own address").port()).collect()
}

/// Starts a server that ends with this process. A thread of its own does that: the kernel takes the end of the thread that
/// forked for the end of the parent, and a test's thread ends with the test.
fn spawn(arguments: Vec<String>, log: File) -> Child {
    type Order = (Vec<String>, File, Sender<io::Result<Child>>);
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (order, orders) = channel::<Order>();
        std::thread::spawn(move || {
            for (arguments, log, done) in orders {
                let mut command = Command::new("etcd");
                command.args(arguments).stdin(Stdio::null()).stderr(log).stdout(Stdio::null());
                // Neither the environment's options for etcd, nor its proxies.
                command.env_clear().envs(std::env::vars_os().filter(|(k, _)| k == "PATH" || k == "HOME"));
                // SAFETY: prctl is async-signal-safe and allocates nothing.
                unsafe {
                    command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                        0 => Ok(()),
                        _ => Err(io::Error::last_os_error()),
                    })
                };
                let _ = done.send(command.spawn());
            }
        });
        Mutex::new(order)
    });
    let (done, child) = channel();
    starter.lock().unwrap_or_else(PoisonError::into_inner).send((arguments, log, done)).expect("the starter lives");
    match child.recv().expect("the starter lives") {
        Ok(child) => child,
        Err(e) if e.kind() == io::ErrorKind::NotFound => panic!(
            "this test needs an etcd server, and there is no `etcd` on the PATH: `apt-get install etcd-server` (or set XSEM_NO_ETCD=1 \
             to go without)"
        ),
        Err(e) => panic!("etcd cannot be started: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::Watchdog;

    #[test]
    fn three_servers_one_leader_and_another_when_that_is_killed() {
        if !crate::etcd::wanted() {
            return;
        }
        let _dog = Watchdog::start("three servers");
        let c = Cluster::start(3);
        let first = c.leader();
        c.kill(first);
        let second = c.leader();
        assert_ne!(first, second);
        let json = r#"{"key":"a2V5","value":"dmFsdWU="}"#;
        c.ask(second, "/v3/kv/put", json).unwrap();
        c.restart(first);
        let found = c.ask(first, "/v3/kv/range", r#"{"key":"a2V5"}"#).unwrap();
        assert_eq!(found["kvs"][0]["value"], "dmFsdWU=");
    }
}
