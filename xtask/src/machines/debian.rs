//! Packages of Debian's archive, fetched and unpacked without being installed: apt with a list of sources and a state of its
//! own, for any suite and any architecture. Nothing of the system's own apt changes.

use super::run;
use crate::Failure;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Whoever has another mirror, or no Debian, says so here.
const MIRROR: &str = "XSEM_DEBIAN_MIRROR";

/// Some suites of the archive, for one architecture.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
}

impl Archive {
    /// Makes its lists anew.
    pub fn open(dir: &Path, suites: &[&str], architecture: &str) -> Result<Archive, Failure> {
        let mirror = mirror()?;
        if !Path::new(KEYS).exists() {
            return Err(Failure::check(format!("{KEYS} is missing: install the package `debian-archive-keyring`")));
        }
        let write = |name: &str, text: &str| {
            fs::write(dir.join(name), text).map_err(|e| Failure::check(format!("{}/{name}: {e}", dir.display())))
        };
        for d in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(d)).map_err(|e| Failure::check(format!("{}: {e}", dir.display())))?;
        }
        let sources: String = suites.iter().map(|s| format!("deb [signed-by={KEYS}] {mirror} {s} main\n")).collect();
        write("sources.list", &sources)?;
        write("status", "")?;
        let at = dir.display();
        let config = format!(
            "Dir::State \"{at}\"; Dir::State::lists \"lists\"; Dir::State::status \"{at}/status\"; Dir::Cache \"{at}/cache\";\n\
             Dir::Etc::sourcelist \"{at}/sources.list\"; Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\"; Dir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"{architecture}\"; APT::Architectures {{ \"{architecture}\"; }};\n\
             Acquire::Languages \"none\"; Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             APT::Sandbox::User \"root\";\n"
        );
        write("apt.conf", &config)?;
        let archive = Archive { dir: dir.to_path_buf() };
        run(archive.apt("apt-get", &["-q", "update"]).stdout(Stdio::null()), "reading Debian's lists of packages")?;
        Ok(archive)
    }

    /// The newest version of a package of which this is the beginning.
    pub fn newest(&self, package: &str, beginning: &str) -> Option<String> {
        let out = self.apt("apt-cache", &["madison", package]).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut versions = text.lines().filter_map(|l| l.split('|').nth(1).map(str::trim));
        // The newest comes first.
        versions.find(|v| v.starts_with(beginning)).map(str::to_owned)
    }

    /// What a package that is only a name for the current one depends on.
    pub fn current(&self, package: &str) -> Option<String> {
        let out = self.apt("apt-cache", &["depends", package]).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines().find_map(|l| l.trim().strip_prefix("Depends: ").map(str::to_owned))
    }

    /// Fetches a package (`NAME` or `NAME=VERSION`) and unpacks a part of it.
    pub fn unpack(&self, package: &str, part: &str, into: &Path) -> Result<(), Failure> {
        let debs = self.dir.join("debs");
        let _ = fs::remove_dir_all(&debs);
        for d in [&debs, into] {
            fs::create_dir_all(d).map_err(|e| Failure::check(format!("{}: {e}", d.display())))?;
        }
        println!("fetching Debian's package {package}");
        let mut download = self.apt("apt-get", &["-q", "download", package]);
        run(download.current_dir(&debs).stdout(Stdio::null()), &format!("fetching `{package}`"))?;
        let deb = fs::read_dir(&debs).ok().and_then(|mut d| d.next()).and_then(Result::ok).map(|e| e.path());
        let Some(deb) = deb else { return Err(Failure::check(format!("apt fetched no file for `{package}`"))) };
        let mut unpack = Command::new("sh");
        unpack.args(["-c", "dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" \"$3\"", "sh"]).arg(&deb).arg(into).arg(part);
        run(&mut unpack, &format!("unpacking `{package}`"))?;
        let _ = fs::remove_dir_all(&debs);
        Ok(())
    }

    fn apt(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env("APT_CONFIG", self.dir.join("apt.conf")).stdin(Stdio::null());
        command
    }
}

/// The mirror that this machine's own apt uses, or the one that the user names.
fn mirror() -> Result<String, Failure> {
    if let Ok(named) = env::var(MIRROR) {
        return Ok(named);
    }
    let format = "$(LABEL)|$(REPO_URI)";
    let out = Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).output();
    let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix("Debian|")).map(str::to_owned).ok_or_else(|| {
        Failure::check(format!("no mirror of Debian's archive is known here (this is no Debian?): name one in {MIRROR}"))
    })
}
