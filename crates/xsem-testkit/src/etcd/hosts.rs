//! Three hosts on one machine: network namespaces with an etcd server each, joined by a bridge that nothing leaves. Needs root and `ip`.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was said, in its order: seconds since the beginning, by whom, what.
pub type Story = Arc<Mutex<Vec<(f64, String, String)>>>;

/// The hosts. Dropped, everything in them is killed, and they are gone.
#[derive(Debug)]
pub struct Hosts {
    tag: String,
    count: usize,
    members: Vec<Option<Child>>,
    dir: PathBuf,
    begun: Instant,
    story: Story,
}

/// A command on a host.
#[derive(Debug)]
pub struct Running {
    child: Child,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Its exit code, when all that it said was read; killed by a signal: none.
    ///
    /// # Errors
    /// None of its own.
    pub fn end(mut self) -> io::Result<Option<i32>> {
        let code = self.child.wait()?.code();
        self.readers.into_iter().for_each(|r| drop(r.join()));
        Ok(code)
    }

    /// SIGKILL for this process alone.
    ///
    /// # Errors
    /// It was waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }
}

fn ip(args: &str) -> io::Result<()> {
    let out = Command::new("ip").args(args.split(' ')).stdin(Stdio::null()).output()?;
    match out.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("ip {args}: {}", String::from_utf8_lossy(&out.stderr).trim()))),
    }
}

impl Hosts {
    /// So many, each with a server; all in one cluster.
    ///
    /// # Errors
    /// No root, no `ip`, no `etcd`.
    pub fn start(count: usize) -> io::Result<Hosts> {
        let tag = format!("xs{}", std::process::id());
        let dir = PathBuf::from(format!("/dev/shm/xsem-etcd-{}-hosts", std::process::id()));
        fs::create_dir_all(&dir)?;
        let members = (0..count).map(|_| None).collect();
        let mut hosts = Hosts { tag, count, members, dir, begun: Instant::now(), story: Story::default() };
        hosts.wire()?;
        for i in 0..count {
            hosts.launch(i)?;
        }
        let by = Instant::now() + Duration::from_secs(60);
        while !(0..count).all(|i| hosts.etcdctl(i, &["endpoint", "health"]).is_ok()) {
            if Instant::now() > by {
                return Err(io::Error::other("the servers do not find each other"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        hosts.begun = Instant::now();
        Ok(hosts)
    }

    fn wire(&self) -> io::Result<()> {
        let net = self.net();
        ip(&format!("netns add {net}"))?;
        ip(&format!("-n {net} link add br0 type bridge"))?;
        ip(&format!("-n {net} link set br0 up"))?;
        for i in 0..self.count {
            let host = self.host(i);
            ip(&format!("netns add {host}"))?;
            ip(&format!("-n {host} link set lo up"))?;
            ip(&format!("-n {net} link add p{i} type veth peer name eth0 netns {host}"))?;
            ip(&format!("-n {net} link set p{i} master br0 up"))?;
            ip(&format!("-n {host} addr add {}/24 dev eth0", address(i)))?;
            ip(&format!("-n {host} link set eth0 up"))?;
        }
        Ok(())
    }

    fn net(&self) -> String {
        format!("{}-net", self.tag)
    }

    fn host(&self, i: usize) -> String {
        format!("{}-{i}", self.tag)
    }

    /// `program` on a host, which has a name of its own.
    fn command(&self, i: usize, program: &Path) -> Command {
        let mut c = Command::new("ip");
        let named = format!("echo {} > /proc/sys/kernel/hostname; exec \"$0\" \"$@\"", name(i));
        c.args(["netns", "exec", &self.host(i), "unshare", "--uts", "sh", "-c", &named]).arg(program);
        c.env("XSEM_NAMESPACE", self.url()).current_dir(&self.dir).stdin(Stdio::null());
        c
    }

    fn launch(&mut self, i: usize) -> io::Result<()> {
        let all: Vec<String> = (0..self.count).map(|i| format!("{}=http://{}:2380", name(i), address(i))).collect();
        let log = fs::File::create(self.dir.join(format!("{i}.log")))?;
        let mut c = self.command(i, Path::new("etcd"));
        c.args(["--name", &name(i), "--data-dir"]).arg(self.dir.join(i.to_string()));
        let here = address(i);
        for (option, port) in [
            ("listen-client-urls", 2379),
            ("advertise-client-urls", 2379),
            ("listen-peer-urls", 2380),
            ("initial-advertise-peer-urls", 2380),
        ] {
            c.arg(format!("--{option}=http://{here}:{port}"));
        }
        c.arg(format!("--initial-cluster={}", all.join(",")));
        c.env_clear().envs(std::env::vars_os().filter(|(k, _)| k == "PATH" || k == "HOME"));
        self.members[i] = Some(c.stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    /// A script in the directory in which everything is run.
    ///
    /// # Errors
    /// Of the file.
    pub fn program(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
    }

    /// The place in the store.
    pub fn url(&self) -> String {
        let all: Vec<String> = (0..self.count).map(|i| format!("{}:2379", address(i))).collect();
        format!("etcd://{}/prod?ttl=3", all.join(","))
    }

    /// Runs a program on a host; what it says is part of the story.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, i: usize, program: &Path, args: &[&str]) -> io::Result<Running> {
        let shown: Vec<String> = args.iter().map(|a| if a.contains(' ') { format!("'{a}'") } else { (*a).to_owned() }).collect();
        let program_name = program.file_name().unwrap_or_default().to_string_lossy();
        self.say(&name(i), format!("$ {program_name} {}", shown.join(" ")));
        let mut child = self.command(i, program).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out: Box<dyn io::Read + Send> = Box::new(child.stdout.take().expect("piped"));
        let err: Box<dyn io::Read + Send> = Box::new(child.stderr.take().expect("piped"));
        let reader = |from: Box<dyn io::Read + Send>| {
            let (story, who, begun) = (self.story.clone(), name(i), self.begun);
            std::thread::spawn(move || {
                for line in BufReader::new(from).lines().map_while(Result::ok) {
                    tell(&story, begun, &who, line);
                }
            })
        };
        Ok(Running { child, readers: vec![reader(out), reader(err)] })
    }

    /// Part of the story, too.
    pub fn say(&self, who: &str, what: String) {
        tell(&self.story, self.begun, who, what);
    }

    /// Takes a host off the net, or puts it back.
    ///
    /// # Errors
    /// `ip` does not do it.
    pub fn cut(&self, i: usize, yes: bool) -> io::Result<()> {
        self.say("", format!("--- {} is {} the net", name(i), if yes { "taken off" } else { "back on" }));
        ip(&format!("-n {} link set p{i} {}", self.net(), if yes { "down" } else { "up" }))
    }

    /// The host whose server leads, as the others see it; `but`: of those that can be asked.
    ///
    /// # Errors
    /// None leads for a minute.
    pub fn leader(&self, but: Option<usize>) -> io::Result<usize> {
        let by = Instant::now() + Duration::from_secs(60);
        while Instant::now() < by {
            for i in (0..self.count).filter(|i| Some(*i) != but) {
                let Ok(text) = self.etcdctl(i, &["endpoint", "status", "-w", "json"]) else { continue };
                let json: serde_json::Value = serde_json::from_str(&text).map_err(io::Error::other)?;
                let status = &json[0]["Status"];
                if status["leader"] == status["header"]["member_id"] && status["leader"] != 0 {
                    return Ok(i);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(io::Error::other("no server leads"))
    }

    fn etcdctl(&self, i: usize, args: &[&str]) -> io::Result<String> {
        let here = format!("--endpoints={}:2379", address(i));
        self.ask(i, Path::new("etcdctl"), &[&[here.as_str(), "--command-timeout=2s"], args].concat())
    }

    /// What a program says on a host, which is no part of the story.
    ///
    /// # Errors
    /// It fails, with what it says.
    pub fn ask(&self, i: usize, program: &Path, args: &[&str]) -> io::Result<String> {
        let out = self.command(i, program).env("ETCDCTL_API", "3").args(args).output()?;
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
            false => Err(io::Error::other(String::from_utf8_lossy(&out.stderr).into_owned())),
        }
    }

    /// Waits until somebody has said something like this, from the line `after` on; which line.
    ///
    /// # Errors
    /// Nobody does for a minute.
    pub fn until(&self, who: usize, text: &str, after: usize) -> io::Result<usize> {
        let by = Instant::now() + Duration::from_secs(60);
        while Instant::now() < by {
            let story = self.story.lock().unwrap_or_else(PoisonError::into_inner);
            let said = story.iter().enumerate().skip(after);
            let mut said = said.filter(|(_, (_, by, what))| *by == name(who) && !what.starts_with('$') && what.contains(text));
            if let Some((at, _)) = said.next() {
                return Ok(at);
            }
            drop(story);
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other(format!("{} does not say `{text}`", name(who))))
    }

    /// How many lines there are.
    pub fn lines(&self) -> usize {
        self.story.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn tell(story: &Story, begun: Instant, who: &str, what: String) {
    let at = begun.elapsed().as_secs_f64();
    println!("{at:6.2} {who:<6} {what}");
    story.lock().unwrap_or_else(PoisonError::into_inner).push((at, who.to_owned(), what));
}

fn name(i: usize) -> String {
    format!("host{}", i + 1)
}

fn address(i: usize) -> String {
    format!("10.77.0.{}", i + 1)
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for m in self.members.iter_mut().flatten() {
            let _ = (m.kill(), m.wait());
        }
        for i in 0..self.count {
            // Whatever a story has left behind.
            let pids = Command::new("ip").args(["netns", "pids", &self.host(i)]).output();
            for pid in pids.iter().flat_map(|o| String::from_utf8_lossy(&o.stdout).lines().map(str::to_owned).collect::<Vec<_>>())
            {
                if let Ok(pid) = pid.parse::<libc::pid_t>() {
                    // SAFETY: no pointer; processes in a namespace that this program has made.
                    unsafe { libc::kill(pid, libc::SIGKILL) };
                }
            }
            let _ = ip(&format!("netns del {}", self.host(i)));
        }
        let _ = ip(&format!("netns del {}", self.net()));
        let _ = fs::remove_dir_all(&self.dir);
    }
}
