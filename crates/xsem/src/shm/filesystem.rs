//! File systems that cannot hold a namespace: those that other machines may have mounted, too. Futexes, and the notice of a
//! death, end at the machine; two machines would take one semaphore, each of them with every sign of success.

use super::sys;
use super::trust::denied;
use crate::error::Result;
use std::os::fd::AsRawFd;
use std::path::Path;

const SHARED: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE (sshfs, virtiofs and their like)"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
];

/// The name of a file system of this magic number that other machines may see.
pub fn shared(magic: u32) -> Option<&'static str> {
    SHARED.iter().find(|(m, _)| *m == magic).map(|(_, name)| *name)
}

/// Refuses a directory on such a file system.
pub fn check(dir: &impl AsRawFd, path: &Path) -> Result<()> {
    match sys::file_system(dir).and_then(shared) {
        None => Ok(()),
        Some(name) => Err(denied(
            path,
            format!(
                "its file system, {name}, may be seen by other machines, whose processes could not be told apart from those here"
            ),
        )
        .advice("use a directory on a local file system, best a tmpfs such as /dev/shm")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_ones_are_used_and_shared_ones_are_not() {
        assert_eq!(shared(0x6969), Some("NFS"));
        assert_eq!(shared(0x6573_5546), Some("FUSE (sshfs, virtiofs and their like)"));
        // tmpfs, ext4, btrfs, xfs, overlayfs, zfs.
        for local in [0x0102_1994, 0xef53, 0x9123_683e, 0x5846_5342, 0x794c_7630, 0x2fc1_2fc1] {
            assert_eq!(shared(local), None);
        }
        let shm = std::fs::File::open("/dev/shm").unwrap();
        assert_eq!(sys::file_system(&shm), Some(0x0102_1994));
        assert!(check(&shm, Path::new("/dev/shm/x")).is_ok());
    }
}
