//! An archive that the kernel unpacks as its first file system: the format `newc`, as `Documentation/driver-api/early-userspace`
//! has it. Names, files, directories and links; that is all that is needed.

use crate::Failure;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// One that is being written.
#[derive(Debug)]
pub struct Cpio {
    out: BufWriter<File>,
    path: PathBuf,
    written: usize,
    entries: u32,
    directories: BTreeSet<PathBuf>,
}

impl Cpio {
    pub fn create(path: &Path) -> Result<Cpio, Failure> {
        let file = File::create(path).map_err(|e| Failure::check(format!("{}: {e}", path.display())))?;
        let (out, path) = (BufWriter::new(file), path.to_path_buf());
        Ok(Cpio { out, path, written: 0, entries: 0, directories: BTreeSet::new() })
    }

    /// A copy of a file of this machine, at an absolute path, which may be executed.
    pub fn add(&mut self, at: &Path, from: &Path) -> Result<(), Failure> {
        let content = fs::read(from).map_err(|e| Failure::check(format!("{}: {e}", from.display())))?;
        self.file(at, &content)
    }

    /// A file with this content.
    pub fn file(&mut self, at: &Path, content: &[u8]) -> Result<(), Failure> {
        self.write(at, content).map_err(|e| Failure::check(format!("{}: {e}", self.path.display())))
    }

    /// The end; gives back where it is.
    pub fn finish(mut self) -> Result<PathBuf, Failure> {
        let done = self.entry("TRAILER!!!", 0, &[]).and_then(|()| self.out.flush());
        done.map_err(|e| Failure::check(format!("{}: {e}", self.path.display())))?;
        Ok(self.path)
    }

    fn write(&mut self, at: &Path, content: &[u8]) -> io::Result<()> {
        let mut above: Vec<&Path> = at.ancestors().skip(1).filter(|d| *d != Path::new("/")).collect();
        above.reverse();
        for dir in above {
            if self.directories.insert(dir.to_path_buf()) {
                self.entry(&name(dir), DIRECTORY, &[])?;
            }
        }
        self.entry(&name(at), PROGRAM, content)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let name_len = name.len() as u32 + 1;
        // inode, mode, uid, gid, links, mtime, size, device (two), device of a node (two), length of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name_len, 0];
        let mut header = String::from("070701");
        fields.iter().for_each(|f| header += &format!("{f:08X}"));
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.align()?;
        self.put(content)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        self.put(&[0; 3][..self.written.next_multiple_of(4) - self.written])
    }
}

fn name(at: &Path) -> String {
    at.to_string_lossy().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_format_says() {
        let path = std::env::temp_dir().join(format!("xsem-cpio-{}", std::process::id()));
        let mut cpio = Cpio::create(&path).unwrap();
        cpio.file(Path::new("/a/b"), b"hello").unwrap();
        cpio.file(Path::new("/a/c"), b"").unwrap();
        let path = cpio.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let mut seen = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |i: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + i * 8..at + 14 + i * 8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let name = std::str::from_utf8(&bytes[at + 110..at + 110 + field(11) - 1]).unwrap();
            let content = (at + 110 + field(11)).next_multiple_of(4);
            seen.push((name.to_owned(), field(1) as u32, bytes[content..content + field(6)].to_vec()));
            at = (content + field(6)).next_multiple_of(4);
        }
        let entry = |name: &str, mode: u32, content: &[u8]| (name.to_owned(), mode, content.to_vec());
        let want = [
            entry("a", DIRECTORY, b""),
            entry("a/b", PROGRAM, b"hello"),
            entry("a/c", PROGRAM, b""),
            entry("TRAILER!!!", 0, b""),
        ];
        assert_eq!(seen, want);
    }
}
