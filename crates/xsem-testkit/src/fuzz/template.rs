//! A namespace with everything in it, and copies of it.

use crate::sys::{self, Pid};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xsem::shm::testing::{self, EPOCHS_AT, Place, UNIT};
use xsem::{Counting, Event, Exclusive, Namespace, Options, Pick, Result, Wait};

/// The names in it: `x` exclusive, `p` pools, `c` credit, `e` events.
pub const NAMES: [&str; 16] = [
    "x-free",
    "x-held",
    "x-dead",
    "x-marked",
    "x-moved",
    "x-drained",
    "x-loop",
    "p-free",
    "p-held",
    "p-dead",
    "p-slots",
    "c-some",
    "c-empty",
    "e-manual",
    "e-auto",
    "x-with-a-name-that-takes-more-than-one-block-of-text-because-it-is-long",
];

/// The template.
pub struct Template {
    dir: PathBuf,
    pub len: u64,
    pub places: Vec<Place>,
    /// Those with content: number and bytes.
    pub units: Vec<(u64, Vec<u8>)>,
    gate: String,
    residents: Pid,
}

/// Everything that lives on in the template: its claims are those of a living process.
fn reside(ns: &Namespace) -> Result<()> {
    ns.keep_history(Some(64))?;
    for name in NAMES {
        match name.as_bytes()[0] {
            b'x' => drop(Exclusive::open_or_create(ns, name)?),
            b'p' => drop(Counting::open_or_create_pool(ns, name, 4)?),
            b'c' => drop(Counting::open_or_create_credit(ns, name, 10, if name == "c-some" { 5 } else { 0 })?),
            _ if name == "e-auto" => drop(Event::open_or_create_auto(ns, name)?),
            _ => drop(Event::open_or_create_manual(ns, name)?),
        }
    }
    let (x, p) = (Exclusive::open(ns, "x-held")?, Counting::open(ns, "p-held")?);
    std::mem::forget(x.acquire_with(Wait::not().label("a label that takes more than one block of text, for it is long"))?);
    std::mem::forget(p.acquire_with(3, Wait::not().label("three permits"))?);
    let slots = Counting::open(ns, "p-slots")?;
    let permit = slots.acquire_many(2)?;
    permit.slots()?;
    std::mem::forget(permit);
    Counting::create_pool(ns, "ephemeral", 2, Options::new().ephemeral()).map(std::mem::forget)?;
    for (i, name) in ["x-held", "p-held", "c-empty", "e-auto"].into_iter().enumerate() {
        let ns = ns.clone();
        std::thread::spawn(move || -> Result<()> {
            match i {
                0 => drop(Exclusive::open(&ns, name)?.acquire()?),
                1 => drop(Counting::open(&ns, name)?.acquire_many(4)?),
                2 => drop(Counting::open(&ns, name)?.acquire()?),
                _ => Event::open(&ns, name)?.wait()?,
            }
            Ok(())
        });
    }
    std::thread::sleep(Duration::from_millis(50));
    ns.drain("x-drained", Wait::timeout(Duration::from_millis(1)))?;
    // What is written down of all that; and a disagreement.
    if Exclusive::open(ns, "p-free").is_ok() {
        return Err(xsem::Error::new(xsem::Code::InvalidHandle, "a pool was opened as another kind"));
    }
    Ok(())
}

/// What the dead have left.
fn die(ns: &Namespace) -> Result<()> {
    for name in ["x-dead", "x-marked", "x-moved"] {
        match Exclusive::open(ns, name)?.acquire_with(Wait::not().label("of the dead")) {
            Ok(guard) => std::mem::forget(guard),
            Err(xsem::AcquireError::OwnerDied(r)) => std::mem::forget(r.into_guard()),
            Err(xsem::AcquireError::Failed(e)) => return Err(e),
        }
    }
    let p = Counting::open(ns, "p-dead")?;
    std::mem::forget(p.acquire_many(2)?);
    let (a, b) = (Exclusive::open(ns, "x-loop")?, Counting::open(ns, "p-free")?);
    drop(ns.acquire_all(&[Pick::from(&a), Pick::permits(&b, 2)], Wait::not()).map_err(xsem::Error::from)?);
    Ok(())
}

fn inherit(ns: &Namespace) -> Result<()> {
    // The mark of this one stays, with its obituary.
    drop(Exclusive::open(ns, "x-marked")?.acquire());
    let moved = Exclusive::open(ns, "x-moved")?;
    if let Err(xsem::AcquireError::OwnerDied(r)) = moved.acquire() {
        ns.evict("x-moved", r.into_guard().token())?;
    }
    Ok(())
}

fn in_child(url: &str, f: impl FnOnce(&Namespace) -> Result<()>) -> io::Result<()> {
    let pid = sys::fork(|| f(&Namespace::open(url).unwrap()).unwrap())?;
    match sys::wait(pid, true) {
        sys::Status::Exited(0) => Ok(()),
        other => Err(io::Error::other(format!("the template could not be made: {other:?}"))),
    }
}

impl Template {
    /// Makes it in a directory of its own in shared memory.
    pub fn new(seed: u64) -> io::Result<Template> {
        let dir = PathBuf::from(format!("/dev/shm/xsem-fuzz-{}-{seed}", std::process::id()));
        fs::create_dir(&dir)?;
        Template::in_dir(dir.clone()).inspect_err(|_| drop(fs::remove_dir_all(&dir)))
    }

    fn in_dir(dir: PathBuf) -> io::Result<Template> {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let file = dir.join("template");
        let url = format!("shm:{}", file.display());
        let ns = Namespace::builder().max_semaphores(64).max_members(12).open(&url).map_err(io::Error::other)?;
        let (mut said, tell) = sys::pipe()?;
        let residents = sys::fork(|| {
            reside(&Namespace::open(&url).unwrap()).unwrap();
            io::Write::write_all(&mut &tell, b"!").unwrap();
            loop {
                std::thread::park();
            }
        })?;
        drop(tell);
        io::Read::read_exact(&mut said, &mut [0])?;
        in_child(&url, die)?;
        in_child(&url, inherit)?;
        in_child(&url, die)?;
        let (places, units) = testing::places(&ns).map_err(io::Error::other)?;
        let f = File::open(&file)?;
        let content = |u: u64| {
            let mut bytes = vec![0; UNIT as usize];
            f.read_exact_at(&mut bytes, u * UNIT).map(|()| (u, bytes))
        };
        let units = units.into_iter().map(content).collect::<io::Result<_>>()?;
        let gate = fs::read_dir(&dir)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        let gate = gate.filter(|n| n.ends_with(".gate")).collect::<String>().replace(".template.", ".ns.");
        Ok(Template { dir, len: f.metadata()?.len(), places, units, gate, residents })
    }

    /// A copy in a directory of its own. `same`: it passes for the file itself, so its members live; else all are dead.
    pub fn copy(&self, n: u64, same: bool) -> io::Result<PathBuf> {
        let dir = self.dir.join(n.to_string());
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let new = |name: &str| OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(dir.join(name));
        new(&self.gate)?;
        let f = new("ns")?;
        f.set_len(self.len)?;
        for (u, bytes) in &self.units {
            // SAFETY: plain numbers.
            unsafe { libc::fallocate(f.as_raw_fd(), 0, (u * UNIT) as i64, UNIT as i64) };
            f.write_all_at(bytes, u * UNIT)?;
        }
        if same {
            // The record is: number, boot (two words), device, inode.
            f.write_all_at(&f.metadata()?.dev().to_le_bytes(), EPOCHS_AT + 24)?;
            f.write_all_at(&f.metadata()?.ino().to_le_bytes(), EPOCHS_AT + 32)?;
        }
        Ok(dir.join("ns"))
    }

    /// The length of a copy, and what is in those units that have content.
    pub fn content(&self, f: &File) -> io::Result<Vec<Vec<u8>>> {
        let mut all = vec![f.metadata()?.len().to_le_bytes().to_vec()];
        for (u, _) in &self.units {
            let mut bytes = vec![0; UNIT as usize];
            let n = f.read_at(&mut bytes, u * UNIT)?;
            bytes.truncate(n);
            all.push(bytes);
        }
        Ok(all)
    }

    /// The value of a field.
    pub fn value(&self, place: &Place) -> u64 {
        let Some((_, bytes)) = self.units.iter().find(|(u, _)| *u == place.at / UNIT) else { return 0 };
        let at = (place.at % UNIT) as usize;
        let mut word = [0; 8];
        word[..place.size as usize].copy_from_slice(&bytes[at..at + place.size as usize]);
        u64::from_le_bytes(word)
    }

    /// Another file's header, of other limits.
    pub fn other_header(&self) -> io::Result<Vec<u8>> {
        let file = self.dir.join("other");
        if !file.exists() {
            Namespace::builder()
                .max_semaphores(100)
                .max_members(5)
                .open(&format!("shm:{}", file.display()))
                .map_err(io::Error::other)?;
        }
        let mut bytes = vec![0; UNIT as usize];
        File::open(file)?.read_exact_at(&mut bytes, 0).map(|()| bytes)
    }

    /// Takes a copy away.
    pub fn take_away(&self, file: &Path) {
        if let Some(dir) = file.parent() {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        sys::end(self.residents);
        let _ = fs::remove_dir_all(&self.dir);
    }
}
