//! A PostgreSQL server of the test's own: its data in a temporary directory, reached by a socket there and by nothing else.

use postgres::{Client, Config, NoTls};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server, until it is dropped.
pub struct Server {
    process: Child,
    dir: tempfile::TempDir,
}

/// False where `XSEM_NO_POSTGRES` is set: the test says so and returns.
pub fn wanted() -> bool {
    let wanted = std::env::var_os("XSEM_NO_POSTGRES").is_none();
    if !wanted {
        eprintln!("SKIPPED: XSEM_NO_POSTGRES is set, so the table that checks tokens was not tested");
    }
    wanted
}

/// Debian keeps the programs of each version in a directory of its own, which is not on the PATH.
fn programs() -> PathBuf {
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).find(|d| d.join("initdb").exists());
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin"));
    on_path.or_else(|| versions.filter(|d| d.join("initdb").exists()).max()).unwrap_or_else(|| {
        panic!("no PostgreSQL server: install it (Debian and Ubuntu: `apt-get install postgresql`), or do without: XSEM_NO_POSTGRES=1")
    })
}

/// A command for somebody who may nothing: the server refuses to be run by root.
fn unprivileged(program: &Path) -> Command {
    const NOBODY: u32 = 65534;
    let mut command = Command::new(program);
    // SAFETY: it has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    // SAFETY: one system call, which allocates nothing. Whatever becomes of this test, the server ends with it.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT);
            Ok(())
        });
    }
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    command
}

impl Server {
    pub fn start() -> Server {
        // A socket's path has room for 107 bytes.
        let dir = tempfile::Builder::new().prefix("xsem-pg").tempdir_in("/tmp").unwrap();
        // SAFETY: it has no preconditions.
        if unsafe { libc::geteuid() } == 0 {
            std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
        }
        let (programs, data) = (programs(), dir.path().join("data"));
        let mut init = unprivileged(&programs.join("initdb"));
        init.args(["--no-sync", "--auth=trust", "--username=xsem", "--encoding=UTF8", "-D"]).arg(&data);
        let made = init.output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut serve = unprivileged(&programs.join("postgres"));
        serve.arg("-D").arg(&data).arg("-k").arg(dir.path()).args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        serve.args(["-c", "shared_buffers=4MB", "-c", "max_connections=10", "-c", "dynamic_shared_memory_type=mmap"]);
        let log = File::create(dir.path().join("log")).unwrap();
        let process = serve.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut server = Server { process, dir };
        while server.connect().is_none() {
            if let Ok(Some(status)) = server.process.try_wait() {
                panic!("the server has ended ({status}): {}", fs::read_to_string(server.dir.path().join("log")).unwrap());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Where its socket is.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    fn connect(&self) -> Option<Client> {
        try_connect(self.directory())
    }
}

fn try_connect(directory: &Path) -> Option<Client> {
    Config::new().host_path(directory).user("xsem").dbname("postgres").connect(NoTls).ok()
}

/// A connection to the server whose socket is there.
pub fn connect(directory: &Path) -> Client {
    try_connect(directory).expect("the server is there")
}

impl Drop for Server {
    fn drop(&mut self) {
        // The one process that is its own child ends all others of the server: "immediate shutdown".
        // SAFETY: no pointer is passed; the process is a child that was not waited for.
        unsafe { libc::kill(self.process.id() as libc::pid_t, libc::SIGQUIT) };
        let _ = self.process.wait();
    }
}
