//! `cargo xtask aarch64`: the tests that matter on an emulated aarch64 machine, with a kernel of Debian's. It sets up what it
//! needs: an emulator and a cross compiler by apt, the kernel and the source of std unpacked below `target/machines`.

mod plan;

use crate::Failure;
use crate::machines::{self, Archive, Built, Cpio, Machine, Outcome, cross, std_source, with_own_std};
use crate::need::Need;
use crate::proc::{Job, root};
use plan::{LEFT_OUT, SKIPPED, plan};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const USAGE: &str = "\
usage: cargo xtask aarch64 [OPTIONS]

  --all             everything; without it, what another processor or C library can change
  --only TEXT       the parts of the plan whose names contain TEXT (may be repeated)
  --cpu NAME        of qemu-system-aarch64 (default neoverse-n1; cortex-a57 has no atomic instructions, max has everything)
  --kernel PACKAGE  of Debian (default linux-image-cloud-arm64; linux-image-arm64-16k has pages of 16 KiB)
  --suite NAME      of Debian, where the kernel comes from (default trixie)
  --harness ARGS    this run of the harness only, as `--only acquire --mode kill`
  --list            the plan
";

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: Need = Need {
    program: "aarch64-linux-gnu-gcc",
    package: "gcc-aarch64-linux-gnu",
    otherwise: "install a GNU compiler for aarch64, with its C library",
};
/// Without it the linker finds no C library: the compiler's package only recommends it.
const LIBRARY: Need = Need {
    program: "/usr/aarch64-linux-gnu/include/stdlib.h",
    package: "libc6-dev-arm64-cross",
    otherwise: "install a C library for aarch64",
};
const EMULATOR: Need =
    Need { program: "qemu-system-aarch64", package: "qemu-system-arm", otherwise: "install QEMU's emulator for aarch64" };

#[derive(Debug)]
struct Options {
    all: bool,
    only: Vec<String>,
    cpu: String,
    kernel: String,
    suite: String,
    harness: Option<String>,
    list: bool,
}

impl Options {
    fn parse(rest: &[String]) -> Result<Options, Failure> {
        let mut o = Options {
            all: false,
            only: Vec::new(),
            cpu: "neoverse-n1".to_owned(),
            kernel: "linux-image-cloud-arm64".to_owned(),
            suite: "trixie".to_owned(),
            harness: None,
            list: false,
        };
        let mut args = rest.iter().cloned();
        while let Some(a) = args.next() {
            let mut value = || args.next().ok_or_else(|| wrong(format!("`{a}` needs a value")));
            match a.as_str() {
                "--all" => o.all = true,
                "--only" => o.only.push(value()?),
                "--cpu" => o.cpu = value()?,
                "--kernel" => o.kernel = value()?,
                "--suite" => o.suite = value()?,
                "--harness" => o.harness = Some(value()?),
                "--list" => o.list = true,
                _ => return Err(wrong(format!("`aarch64` has no option `{a}`"))),
            }
        }
        Ok(o)
    }
}

fn wrong(text: String) -> Failure {
    Failure { text: format!("{text}\n\n{USAGE}"), code: 2 }
}

pub fn run(rest: &[String]) -> Result<(), Failure> {
    if rest.iter().any(|a| a == "--help" || a == "-h") {
        print!("{USAGE}");
        return Ok(());
    }
    let options = Options::parse(rest)?;
    [LINKER, LIBRARY, EMULATOR].iter().try_for_each(Need::satisfy)?;
    let built = build()?;
    let plan = plan(&built, &options)?;
    if options.list {
        plan.iter().for_each(|t| println!("{}", t.split('\t').next().unwrap_or_default()));
        LEFT_OUT.iter().chain(&SKIPPED).for_each(|(name, why)| println!("not run: {name}: {why}"));
        return Ok(());
    }
    let machine = Machine {
        program: EMULATOR.program,
        cpu: options.cpu.clone(),
        kernel: kernel(&options)?,
        initramfs: initramfs(&built, &plan.concat(), &options)?,
        megabytes: 3072,
        limit: Duration::from_secs(4 * 3600),
    };
    report(&options, &machine.run()?)
}

fn build() -> Result<Vec<Built>, Failure> {
    let source = std_source::find()?;
    let job = Job::cargo(["test", "--profile", "machines", "-p", "xsem", "-p", "xsem-testkit", "-p", "xsem-hosts"]);
    let job = with_own_std(cross(job.args(["--lib", "--bins", "--tests"]), TARGET, LINKER.program), &source);
    // A directory of its own: the variable that unlocks the build of std would throw the normal one away.
    let job = job.env("CARGO_TARGET_DIR", machines::directory()?.join("aarch64"));
    machines::build(job, "the build of the tests for aarch64")
}

/// The kernel's image; fetched once for each package.
fn kernel(options: &Options) -> Result<PathBuf, Failure> {
    let dir = machines::directory()?.join(format!("{}-{}", options.kernel, options.suite));
    let image = |dir: &Path| {
        let files = fs::read_dir(dir.join("boot")).ok()?.filter_map(|e| Some(e.ok()?.path()));
        files.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz"))).max()
    };
    if image(&dir).is_none() {
        let archive = Archive::open(&machines::directory()?.join("apt-arm64"), &[&options.suite], "arm64")?;
        let package = archive.current(&options.kernel).filter(|p| p.starts_with("linux-image"));
        archive.unpack(package.as_deref().unwrap_or(&options.kernel), "./boot", &dir)?;
    }
    image(&dir).ok_or_else(|| Failure::check(format!("there is no kernel in {}", dir.display())))
}

/// A shell that needs no library; fetched once.
fn busybox(options: &Options) -> Result<PathBuf, Failure> {
    let dir = machines::directory()?.join(format!("busybox-{}", options.suite));
    let program = ["usr/bin/busybox", "bin/busybox"].map(|p| dir.join(p));
    if !program.iter().any(|p| p.exists()) {
        let archive = Archive::open(&machines::directory()?.join("apt-arm64"), &[&options.suite], "arm64")?;
        archive.unpack("busybox-static", ".", &dir)?;
    }
    let found = program.into_iter().find(|p| p.exists());
    found.ok_or_else(|| Failure::check(format!("there is no busybox in {}", dir.display())))
}

/// The machine's only file system: the programs where they are here, since tests know their paths; the C library; the plan.
fn initramfs(built: &[Built], plan: &str, options: &Options) -> Result<PathBuf, Failure> {
    let dir = machines::directory()?.join("aarch64-machine");
    fs::create_dir_all(&dir).map_err(|e| Failure::check(format!("{}: {e}", dir.display())))?;
    let mut cpio = Cpio::create(&dir.join("initramfs"))?;
    cpio.file(Path::new("/plan"), plan.as_bytes())?;
    for library in ["ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1"] {
        let found = Command::new(LINKER.program).arg(format!("-print-file-name={library}")).output();
        let found = found.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
        cpio.add(&Path::new("/lib").join(library), Path::new(&found))?;
    }
    // Tests start a shell, and copy files with `cp`: one program, under the name by which it is called.
    let busybox = busybox(options)?;
    for name in ["sh", "cp"] {
        cpio.add(&Path::new("/bin").join(name), &busybox)?;
    }
    // Who there is: tests act as `nobody`, too.
    cpio.file(Path::new("/etc/passwd"), b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    cpio.file(Path::new("/etc/group"), b"root:x:0:\nnogroup:x:65534:\n")?;
    let guest = built.iter().find(|b| b.name == "guest" && !b.is_test);
    let guest = guest.ok_or_else(|| Failure::check("`guest` was not built".to_owned()))?;
    cpio.add(Path::new("/init"), &stripped(&guest.path, &dir)?)?;
    // Only what the plan names, and what tests start.
    for b in built.iter().filter(|b| !b.is_test || plan.contains(&*b.path.to_string_lossy())) {
        cpio.add(&b.path, &stripped(&b.path, &dir)?)?;
    }
    for part in ["docs", "crates", "README.md", "Cargo.toml"] {
        sources(&mut cpio, &root().join(part))?;
    }
    cpio.finish()
}

/// Without what only a debugger wants to know: all of it lies in the machine's memory.
fn stripped(program: &Path, dir: &Path) -> Result<PathBuf, Failure> {
    let out = dir.join("stripped");
    let mut command = Command::new("aarch64-linux-gnu-strip");
    match command.arg("--strip-debug").arg("-o").arg(&out).arg(program).status() {
        Ok(s) if s.success() => Ok(out),
        _ => Err(Failure::check(format!("{} could not be stripped", program.display()))),
    }
}

/// Tests read the documents and the sources.
fn sources(cpio: &mut Cpio, path: &Path) -> Result<(), Failure> {
    if let Ok(dir) = fs::read_dir(path) {
        let mut inside: Vec<PathBuf> = dir.filter_map(|e| Some(e.ok()?.path())).collect();
        inside.sort();
        return inside.iter().try_for_each(|p| sources(cpio, p));
    }
    cpio.add(path, path)
}

fn report(options: &Options, outcomes: &[Outcome]) -> Result<(), Failure> {
    println!("\naarch64, {}, {} of {}", options.cpu, options.kernel, options.suite);
    println!("{:<32} {:<12} {:>8}  what it says", "what", "end", "seconds");
    for o in outcomes {
        println!("{:<32} {:<12} {:>8}  {}", o.name, o.end, o.seconds, o.said);
    }
    LEFT_OUT.iter().chain(&SKIPPED).for_each(|(name, why)| println!("{name:<32} not run      ({why})"));
    let bad: Vec<&str> = outcomes.iter().filter(|o| o.end != "ok").map(|o| o.name.as_str()).collect();
    match bad.first() {
        None => Ok(()),
        Some(first) => {
            Err(Failure::check(format!("failed on aarch64: {}; again: `cargo xtask aarch64 --only {first}`", bad.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_options_say_what_there_is() {
        let parse = |words: &[&str]| Options::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let o = parse(&["--only", "fork", "--only", "torture", "--cpu", "max"]).unwrap();
        assert_eq!((o.only.len(), o.cpu.as_str(), o.suite.as_str()), (2, "max", "trixie"));
        for bad in [&["--only"][..], &["--what"], &["fork"]] {
            let f = parse(bad).unwrap_err();
            assert!(f.code == 2 && f.text.contains("--kernel"), "{}", f.text);
        }
    }
}
