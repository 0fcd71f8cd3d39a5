//! The mapped file: the only place that turns offsets into references. Every index is checked against its table.

use super::descriptor::Descriptor;
use super::fault::Region;
use super::file;
use super::layout::{
    Block, COPY_AT, Cell, Cold, Dead, Entry, Geometry, HISTORY_AT, HeadCopy, Header, History, INCIDENTS, INCIDENTS_AT, Joint,
    MAX_HISTORY, RETIRED_AT, ROW_WORDS, Record, Retired, Slot, UNIT, Waiter,
};
use super::sys;
use crate::error::{Code, Error, Result};
use crate::sync::{AtomicU32, AtomicU64, Ordering::*};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// A member's main word and the words that others watch.
pub type Row = [AtomicU64; ROW_WORDS];

/// A namespace file mapped into this process. Once it is in use it is never unmapped: the kernel walks the keeper's robust
/// list, which points into it, when the process ends.
#[derive(Debug)]
pub struct Map {
    base: *mut u8,
    pub geo: Geometry,
    file: Descriptor,
    region: &'static Region,
    /// The header's checksum when it was opened.
    checksum: u64,
    /// Its file system counts exactly what was taken from it.
    counts_blocks: bool,
}

// SAFETY: the mapping lives as long as the process, and everything in it is only accessed through atomics.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `file`, whose length the caller has compared with the geometry.
    pub fn new(file: OwnedFd, path: &Path, geo: Geometry) -> Result<Map> {
        Map::with(file, path, geo, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// The same for one that only looks: a store through it would be a fault.
    pub fn to_look(file: OwnedFd, path: &Path, geo: Geometry) -> Result<Map> {
        super::fault::install();
        Map::with(file, path, geo, libc::PROT_READ)
    }

    /// Ends a mapping that was only looked through.
    ///
    /// # Safety
    /// Nobody has a reference into it any more, and no robust list points there.
    pub unsafe fn end(self) {
        drop(self);
    }

    fn with(file: OwnedFd, path: &Path, geo: Geometry, prot: libc::c_int) -> Result<Map> {
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nothing.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), geo.len as usize, prot, flags, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(Error::new(Code::NotEnoughMemory, format!("{} MiB of address space cannot be mapped", geo.len >> 20))
                .because(std::io::Error::last_os_error())
                .advice("raise the address space limit (`ulimit -v`), or use a namespace with fewer semaphores"));
        }
        let counts_blocks = sys::is_tmpfs(&file);
        let file = match Descriptor::new(file, path) {
            Ok(file) => file,
            Err(e) => {
                // SAFETY: mapped above, and nobody has seen it.
                unsafe { libc::munmap(base, geo.len as usize) };
                return Err(Error::new(Code::NotEnoughMemory, "the namespace file cannot be looked at")
                    .because(e)
                    .advice("try again; `namei -l` shows who may use each part of its path"));
            }
        };
        let fd = file.current().unwrap_or(-1);
        let region = Region::of(base.cast(), geo.len as usize, fd, file.id());
        Ok(Map { base: base.cast(), geo, file, region, checksum: 0, counts_blocks })
    }

    /// What became of it, as far as this process has noticed.
    #[inline]
    pub fn region(&self) -> &'static Region {
        self.region
    }

    /// The header is what it has to be; that is how it stays.
    pub fn accept(&mut self) {
        self.checksum = self.header().checksum.load(Relaxed);
    }

    /// Whether the header is still the one that was accepted.
    pub fn has_its_header(&self) -> bool {
        let words = file::identity(self.header()).map(|w| w.load(Relaxed));
        words[7] == self.checksum && file::checksum(&words) == self.checksum
    }

    /// Whether the file has all the room that was ever taken from its file system, as far as that can be told. It has not
    /// after parts of it were cut off, also when it was made longer again: there are zeros then.
    ///
    /// `stat` may be of an instant ago: it says too little then where the file has grown since. So the marks count that were
    /// there before it.
    pub fn is_whole(&self, marked: u64, stat: &libc::stat) -> bool {
        self.is_present(0) && (!self.counts_blocks || stat.st_blocks as u64 * 512 >= marked)
    }

    /// Bytes that are marked as taken.
    pub fn marked(&self) -> u64 {
        self.marks().map(|w| w.load(Acquire).count_ones() as u64 * UNIT).sum()
    }

    fn marks(&self) -> impl Iterator<Item = &AtomicU64> {
        // SAFETY: the bitmap has a bit for every unit of the file and is taken before the file gets its name.
        (0..self.geo.len.div_ceil(UNIT * 64)).map(|i| unsafe { self.at(self.geo.present_at + i * 8) })
    }

    /// Takes all the room again that is marked as taken: a copy of a file has holes where there were zeros.
    pub fn take_marked_room(&self) -> Result<()> {
        for (i, word) in self.marks().enumerate() {
            let bits = word.load(Acquire);
            for bit in (0..64).filter(|b| bits >> b & 1 != 0) {
                let at = (i as u64 * 64 + bit) * UNIT;
                if at < self.geo.len {
                    fallocate(&self.descriptor()?, at, UNIT)?;
                }
            }
        }
        Ok(())
    }

    /// The type-checked reference at an offset.
    ///
    /// # Safety
    /// `T` consists of atomics (any bytes are valid, all access is atomic), and the range is inside the mapping, aligned,
    /// and taken from the file system.
    #[inline]
    unsafe fn at<T>(&self, offset: u64) -> &T {
        debug_assert!(offset + size_of::<T>() as u64 <= self.geo.len && offset.is_multiple_of(align_of::<T>() as u64));
        // SAFETY: inside the mapping and aligned, as the caller promises; the mapping is never unmapped.
        unsafe { &*self.base.add(offset as usize).cast::<T>() }
    }

    /// The header.
    #[inline]
    pub fn header(&self) -> &Header {
        // SAFETY: the first unit is taken before the file gets its name; the header is all atomics.
        unsafe { self.at(0) }
    }

    /// The file's descriptor, if it is still open.
    pub fn fd(&self) -> Option<RawFd> {
        self.file.current()
    }

    /// The second copy of what identifies the file.
    pub fn head_copy(&self) -> &HeadCopy {
        // SAFETY: in the first unit, which is taken before the file gets its name; all atomics.
        unsafe { self.at(COPY_AT) }
    }

    /// Whether the history is written, and how far.
    pub fn history(&self) -> &History {
        // SAFETY: in the first unit, which is taken before the file gets its name; all atomics.
        unsafe { self.at(HISTORY_AT) }
    }

    /// A record of the history, if its room was taken.
    pub fn record(&self, i: u32) -> Option<&Record> {
        let at = self.geo.history_at + i as u64 * size_of::<Record>() as u64;
        // SAFETY: inside the table, and taken: a unit has a whole number of records.
        (i < MAX_HISTORY && self.is_present(at)).then(|| unsafe { self.at(at) })
    }

    /// One of the incidents.
    pub fn incident(&self, i: u32) -> &Record {
        // SAFETY: reduced into the table, which is in the first unit.
        unsafe { self.at(INCIDENTS_AT + (i % INCIDENTS) as u64 * size_of::<Record>() as u64) }
    }

    /// Whether and by whom the namespace was reset.
    pub fn retired(&self) -> &Retired {
        // SAFETY: in the first unit, which is taken before the file gets its name; all atomics.
        unsafe { self.at(RETIRED_AT) }
    }

    /// Whether an address lies in the mapping.
    pub fn contains(&self, address: usize) -> bool {
        (self.base as usize..self.base as usize + self.geo.len as usize).contains(&address)
    }

    /// The cell at an address that was a cell's, if it is one of this file's.
    pub fn cell_at(&self, address: usize) -> Option<&Cell> {
        let at = address.checked_sub(self.base as usize + self.geo.cells_at as usize)?;
        (at % 64 == 0).then(|| self.cell(u32::try_from(at / 64).ok()?)).flatten()
    }

    /// A cell that is in use.
    #[inline]
    pub fn cell(&self, i: u32) -> Option<&Cell> {
        // SAFETY: below the cursor, hence inside the table and taken.
        (i < self.high(&self.header().cursors.cells, self.geo.max_semaphores))
            .then(|| unsafe { self.at(self.geo.cells_at + i as u64 * 64) })
    }

    /// A block that is in use.
    pub fn block(&self, i: u32) -> Option<&Block> {
        // SAFETY: below the cursor, hence inside the table and taken.
        (i < self.high(&self.header().cursors.blocks, self.geo.blocks))
            .then(|| unsafe { self.at(self.geo.blocks_at + i as u64 * 48) })
    }

    /// A waiter record that is in use.
    pub fn waiter(&self, i: u32) -> Option<&Waiter> {
        // SAFETY: below the cursor, hence inside the table and taken.
        (i < self.high(&self.header().cursors.waiters, self.geo.waiters))
            .then(|| unsafe { self.at(self.geo.waiters_at + i as u64 * 64) })
    }

    /// An entry of the ledger that is in use.
    #[inline]
    pub fn entry(&self, i: u32) -> Option<&Entry> {
        // SAFETY: below the cursor, hence inside the table and taken.
        (i < self.entries()).then(|| unsafe { self.at(self.geo.ledger_at + i as u64 * 64) })
    }

    /// Entries of the ledger in use.
    #[inline]
    pub fn entries(&self) -> u32 {
        self.high(&self.header().cursors.entries, self.geo.entries)
    }

    /// The joint request of a slot, if its room has been taken: else there never was one.
    pub fn joint(&self, slot: u32) -> Option<&Joint> {
        let at = self.joint_at(slot);
        // SAFETY: inside the table, and taken: both ends are looked at, since one may lie in the next unit.
        (slot < self.geo.max_members && self.is_present(at) && self.is_present(at + size_of::<Joint>() as u64 - 1))
            .then(|| unsafe { self.at(at) })
    }

    /// The joint request of a slot, taking its room.
    pub fn ensure_joint(&self, slot: u32) -> Result<&Joint> {
        debug_assert!(slot < self.geo.max_members);
        let at = self.joint_at(slot);
        self.ensure(at, size_of::<Joint>() as u64)?;
        // SAFETY: inside the table, and taken just now.
        Ok(unsafe { self.at(at) })
    }

    fn joint_at(&self, slot: u32) -> u64 {
        self.geo.joints_at + slot as u64 * size_of::<Joint>() as u64
    }

    /// A member slot that is in use.
    pub fn slot(&self, i: u32) -> Option<&Slot> {
        // SAFETY: below the cursor, hence inside the table and taken.
        (i < self.slots()).then(|| unsafe { self.at(self.geo.slots_at + i as u64 * 256) })
    }

    /// The row of a member slot that is in use.
    #[inline]
    pub fn row(&self, i: u32) -> Option<&Row> {
        // SAFETY: below the cursor, hence inside the table and taken; a row is UNIT bytes of atomics.
        (i < self.slots()).then(|| unsafe { self.at(self.geo.rows_at + i as u64 * UNIT) })
    }

    /// Slots in use: all members ever had one of these.
    pub fn slots(&self) -> u32 {
        self.high(&self.header().cursors.slots, self.geo.max_members)
    }

    /// Cells in use.
    pub fn cells(&self) -> u32 {
        self.high(&self.header().cursors.cells, self.geo.max_semaphores)
    }

    #[inline]
    fn high(&self, cursor: &AtomicU32, max: u32) -> u32 {
        cursor.load(Acquire).min(max)
    }

    /// An entry of the morgue; its table is taken as a whole at the beginning.
    pub fn dead(&self, i: u32) -> &Dead {
        // SAFETY: reduced into the table, which is taken before the file gets its name.
        unsafe { self.at(self.geo.morgue_at + (i % super::layout::MORGUE) as u64 * 192) }
    }

    /// The bucket of a hash, when its unit has been taken: else it is empty.
    pub fn bucket(&self, hash: u32) -> Option<&AtomicU64> {
        let at = self.bucket_at(hash);
        // SAFETY: inside the table by the mask, and taken.
        self.is_present(at).then(|| unsafe { self.at(at) })
    }

    /// The bucket of a hash, taking its room.
    pub fn ensure_bucket(&self, hash: u32) -> Result<&AtomicU64> {
        let at = self.bucket_at(hash);
        self.ensure(at, 8)?;
        // SAFETY: inside the table by the mask, and taken just now.
        Ok(unsafe { self.at(at) })
    }

    fn bucket_at(&self, hash: u32) -> u64 {
        self.geo.buckets_at + (hash & (self.geo.buckets - 1)) as u64 * 8
    }

    /// The seldom-needed part of a cell, if its unit has been taken: else it is all zeros.
    pub fn cold(&self, i: u32) -> Option<&Cold> {
        let at = self.geo.cold_at + i as u64 * 64;
        // SAFETY: inside the table, and taken.
        (i < self.geo.max_semaphores && self.is_present(at)).then(|| unsafe { self.at(at) })
    }

    /// The seldom-needed part of a cell, taking its room.
    pub fn ensure_cold(&self, i: u32) -> Result<&Cold> {
        debug_assert!(i < self.geo.max_semaphores);
        let at = self.geo.cold_at + i as u64 * 64;
        self.ensure(at, 64)?;
        // SAFETY: inside the table, and taken just now.
        Ok(unsafe { self.at(at) })
    }

    /// Any word of the file, if its unit has been taken: for the check, which does not believe the cursors.
    pub fn peek(&self, offset: u64) -> Option<&AtomicU64> {
        let fits = offset.is_multiple_of(8) && offset < self.geo.len && self.is_present(offset);
        // SAFETY: inside the mapping, aligned, and taken.
        fits.then(|| unsafe { self.at(offset) })
    }

    /// The word of the bitmap for the unit at this offset.
    pub fn present_word(&self, offset: u64) -> &AtomicU64 {
        self.present_bit(offset).0
    }

    fn present_bit(&self, offset: u64) -> (&AtomicU64, u64) {
        let unit = offset / UNIT;
        // SAFETY: the bitmap has a bit for every unit of the file and is taken before the file gets its name.
        (unsafe { self.at(self.geo.present_at + unit / 64 * 8) }, 1 << (unit % 64))
    }

    /// Whether the unit at this offset was taken from the file system.
    pub fn is_present(&self, offset: u64) -> bool {
        let (word, bit) = self.present_bit(offset);
        word.load(Acquire) & bit != 0
    }

    /// Takes the units of a range from the file system, so that touching them cannot fail on a full one (SIGBUS).
    ///
    /// Two may take the same unit, and one may die between taking it and saying so: both are harmless.
    pub fn ensure(&self, offset: u64, len: u64) -> Result<()> {
        let mut at = offset / UNIT * UNIT;
        while at < offset + len {
            if !self.is_present(at) {
                fallocate(&self.descriptor()?, at, UNIT)?;
                let (word, bit) = self.present_bit(at);
                word.fetch_or(bit, AcqRel);
            }
            at += UNIT;
        }
        Ok(())
    }

    /// Programs that close every descriptor (daemons do) close ours, too.
    pub fn descriptor(&self) -> Result<RawFd> {
        self.file.get().map_err(|e| {
            Error::new(
                Code::InvalidHandle,
                "the program has closed the descriptor of the namespace file, which is not there any more",
            )
            .because(e)
            .advice("leave the descriptor open (it is close-on-exec), or the file where it was")
        })
    }

    /// The next never-used entry of a table, or None when the table is full. The cursor moves after the room is there.
    pub fn bump(&self, cursor: &AtomicU32, max: u32, at: u64, size: u64) -> Result<Option<u32>> {
        let mut i = cursor.load(Acquire);
        while i < max {
            self.ensure(at + i as u64 * size, size)?;
            match cursor.compare_exchange(i, i + 1, AcqRel, Acquire) {
                Ok(_) => return Ok(Some(i)),
                Err(now) => i = now,
            }
        }
        Ok(None)
    }

    /// Whether the file still has its name and length: the descriptor's link count says.
    pub fn is_linked(&self) -> bool {
        // A descriptor that the program has closed says nothing about the file.
        let stat = self.file.current().and_then(|fd| sys::fstat(&fd).ok());
        stat.is_none_or(|s| s.st_nlink == 1 && s.st_size as u64 == self.geo.len)
    }
}

impl Drop for Map {
    /// Of a file that is not used after all.
    fn drop(&mut self) {
        self.region.free();
        // SAFETY: mapped by `new`, of this length; whoever drops the map has given out no reference into it that lives on.
        unsafe { libc::munmap(self.base.cast(), self.geo.len as usize) };
        self.file.give_up();
    }
}

/// `fallocate`, with an error that says what to do.
pub fn fallocate(file: &impl AsRawFd, at: u64, len: u64) -> Result<()> {
    let _whole = sys::whole();
    loop {
        // The length stays: it would make a file longer again that somebody has truncated, and zeros would be believed.
        // SAFETY: plain numbers.
        if unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, at as i64, len as i64) } == 0 {
            return Ok(());
        }
        if sys::errno() != libc::EINTR {
            let advice = match sys::errno() {
                libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM => {
                    "use a file system that reserves room (tmpfs, ext4, xfs, btrfs), and allow `fallocate` (seccomp)"
                }
                _ => "free space there (`df -h /dev/shm`), or remove semaphores (`xsem rm`)",
            };
            return Err(Error::new(Code::TooManySemaphores, "the file system that holds the namespace gives no more room")
                .because(std::io::Error::last_os_error())
                .advice(advice));
        }
    }
}
