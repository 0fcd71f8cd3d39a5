//! The header: what identifies the file, its epoch, the cursors, the hints; and which units were taken.

use super::super::file;
use super::super::layout::{HINTS, ROW_WORDS, UNIT};
use super::flaw::{Flaw, Mend};
use super::view::View;
use crate::sync::{AtomicU32, Ordering::*};

pub fn look<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    identity(view, out);
    epoch(view, out);
    cursors(view, out);
    hints(view, out);
    present(view, out);
}

/// The first eight words and their copy.
fn identity<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let (first, copy) = (file::identity(view.map.header()), &view.map.head_copy().words);
    let read = |words: [&crate::sync::AtomicU64; 8]| words.map(|w| w.load(Acquire));
    let (a, b) = (read(first), read(copy.each_ref()));
    let (a_whole, b_whole) = (file::is_whole(&a), file::is_whole(&b));
    let swaps = |to: &[&'a crate::sync::AtomicU64; 8], old: &[u64; 8], new: &[u64; 8]| {
        let all = to.iter().zip(old).zip(new).map(|((w, o), n)| (*w, *o, *n));
        Mend::Swap(all.filter(|(_, o, n)| o != n).collect())
    };
    let seen = |words: &[u64; 8]| words.iter().fold(0, |h: u64, w| h.rotate_left(7) ^ w);
    match (a_whole, b_whole) {
        (true, true) if a == b => {}
        (true, _) if b == [0; 8] => out.push(
            Flaw::note("header", 1u32, 0, "there is no second copy of the header: an older release has made the file")
                .mend("the copy is written", swaps(&copy.each_ref(), &b, &a)),
        ),
        (true, _) => out.push(
            Flaw::damage("header", 1u32, seen(&b), "the second copy of the header is not what the first one says")
                .mend("the copy is written again", swaps(&copy.each_ref(), &b, &a)),
        ),
        (false, true) => out.push(
            Flaw::damage("header", 0u32, seen(&a), "the checksum of the header is wrong")
                .expected("what its second copy says")
                .mend("it is put back from its second copy", swaps(&first, &a, &b)),
        ),
        (false, false) => out.push(
            Flaw::damage("header", 0u32, seen(&a), "the header is damaged, and so is its second copy")
                .person("only `xsem reset --force` is left"),
        ),
    }
}

/// The epoch and its record. A member that lives, which its lock proves, is of the right one.
fn epoch<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let h = view.map.header();
    let now = h.epoch.load(Acquire);
    if file::epoch_is_current(view.map, view.id) {
        return;
    }
    let of_the_living = file::epoch_of_the_living(view.map, |slot| view.members.lock_holder(slot).is_ok_and(|p| p.is_some()));
    let record = |n: u64| &h.epochs[n as usize % 4];
    match of_the_living {
        Some(e) if e != now as u8 => {
            let named = h.epochs.iter().map(|r| r.number.load(Acquire)).filter(|n| *n as u8 == e).max();
            let right = named.unwrap_or(now & !0xff | e as u64);
            out.push(
                Flaw::damage("header", 512u32, now, format!("the epoch is {now}, and the members that live are of another one"))
                    .expected(format!("{right}"))
                    .mend("the epoch is put back", Mend::Swap(vec![(&h.epoch, now, right)])),
            );
        }
        Some(_) => {
            let (r, boot) = (record(now), super::super::sys::boot_id());
            let right =
                [(&r.number, now), (&r.boot[0], boot[0]), (&r.boot[1], boot[1]), (&r.dev, view.id.0), (&r.ino, view.id.1)];
            let swaps = right.map(|(w, n)| (w, w.load(Acquire), n)).into_iter().filter(|(_, o, n)| o != n);
            out.push(
                Flaw::damage("header", 576u32, now, "the epoch's record is not for this boot and this file, and members live")
                    .expected("the boot, device and inode of now")
                    .mend("the record is written again", Mend::Swap(swaps.collect())),
            );
        }
        None if record(now).number.load(Acquire) != now => {
            let right = (0..4).map(|i| (i, h.epochs[i].number.load(Acquire))).filter(|(i, n)| *n as usize % 4 == *i);
            let right = right.map(|(_, n)| n).max().unwrap_or(0);
            out.push(
                Flaw::damage("header", 512u32, now, format!("the epoch is {now}, which no record is for"))
                    .expected(format!("{right}, the latest that there is a record for"))
                    .mend("the epoch is put back", Mend::Swap(vec![(&h.epoch, now, right)])),
            );
        }
        _ if !file::epoch_is_current(view.map, view.id) => out.push(
            Flaw::note(
                "header",
                512u32,
                now,
                "the machine has restarted since, or the file is a copy: all claims in it are over",
            )
            .by_itself("whoever opens it next begins a new epoch"),
        ),
        _ => {}
    }
}

/// Each cursor is below its table's end, and there is something up to it.
fn cursors<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let (c, geo) = (&view.map.header().cursors, &view.map.geo);
    let tables: [(&'static str, &'a AtomicU32, u32, u64, u64); 5] = [
        ("cells", &c.cells, geo.max_semaphores, geo.cells_at, 64),
        ("blocks", &c.blocks, geo.blocks, geo.blocks_at, 48),
        ("waiters", &c.waiters, geo.waiters, geo.waiters_at, 64),
        ("slots", &c.slots, geo.max_members, geo.slots_at, 256),
        ("ledger", &c.entries, geo.entries, geo.ledger_at, 64),
    ];
    for (table, cursor, max, at, size) in tables {
        let seen = cursor.load(Acquire);
        let used = match table {
            // A member that registers has a row before it has anything in its slot.
            "slots" => view.used(at, size, max).max(view.used(geo.rows_at, (ROW_WORDS * 8) as u64, max)),
            _ => view.used(at, size, max),
        };
        // What was taken since is below the cursor already.
        let seen_again = cursor.load(Acquire);
        if seen != seen_again {
            continue;
        }
        if seen > max || seen < used {
            out.push(
                Flaw::damage("cursors", at, seen as u64, format!("{seen} {table} are said to be in use"))
                    .expected(format!("{used}: as far as there is something in the table"))
                    .mend(format!("it becomes {used}"), Mend::Swap32(cursor, seen, used)),
            );
            continue;
        }
        for (at, size) in [(at, size), (geo.rows_at, UNIT)].iter().take(1 + (table == "slots") as usize) {
            room(view, table, *at, seen as u64 * size, out);
        }
    }
    room(view, "morgue", geo.morgue_at, geo.history_at - geo.morgue_at, out);
    room(view, "header", 0, geo.slots_at, out);
}

/// All of what is in use was taken from the file system.
fn room<'a>(view: &View<'a>, table: &'static str, at: u64, len: u64, out: &mut Vec<Flaw<'a>>) {
    let missing: Vec<u64> = (at..at + len).step_by(UNIT as usize).filter(|u| !view.map.is_present(*u)).collect();
    if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        out.push(
            Flaw::damage(
                "present",
                first / UNIT,
                missing.len() as u64,
                format!("{} units of {table} are not there", missing.len()),
            )
            .expected("room for all that is in use")
            .mend("the room is taken from the file system", Mend::Room { at: *first, len: last + UNIT - first }),
        );
    }
}

fn hints<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let (c, geo) = (&view.map.header().cursors, &view.map.geo);
    let all: [(&'static str, &'a [AtomicU32; HINTS], u32); 3] = [
        ("cells", &c.cell_hints, geo.max_semaphores),
        ("blocks", &c.block_hints, geo.blocks),
        ("ledger", &c.entry_hints, geo.entries),
    ];
    for (k, (table, hints, max)) in all.into_iter().enumerate() {
        for (i, hint) in hints.iter().enumerate() {
            let seen = hint.load(Acquire);
            if seen > max {
                out.push(
                    Flaw::damage("hints", (k * HINTS + i) as u64, seen as u64, format!("a hint leads behind the end of {table}"))
                        .expected("0, or something that may be free")
                        .mend("the hint goes", Mend::Swap32(hint, seen, 0)),
                );
            }
        }
    }
}

/// The bitmap: nothing beyond the end of the file, and no more than the file has.
fn present<'a>(view: &View<'a>, out: &mut Vec<Flaw<'a>>) {
    let (geo, map) = (&view.map.geo, view.map);
    let units = geo.len / UNIT;
    let mut taken = 0;
    for first in (0..(geo.slots_at - geo.present_at) * 8).step_by(64) {
        let word = map.present_word(first * UNIT);
        let seen = word.load(Acquire);
        let valid = match units.saturating_sub(first) {
            0 => 0,
            n if n >= 64 => u64::MAX,
            n => (1 << n) - 1,
        };
        if seen & !valid != 0 {
            out.push(
                Flaw::damage("present", first, seen, "units behind the end of the file are said to be there")
                    .mend("the bits are cleared", Mend::Swap(vec![(word, seen, seen & valid)])),
            );
        }
        taken += (seen & valid).count_ones() as u64;
    }
    // Asked after the bits were read: they are set when the room is there.
    if let Some(there) = view.allocated().filter(|a| *a < taken * UNIT) {
        out.push(
            Flaw::damage(
                "present",
                units,
                taken,
                format!("{taken} units are said to be there, and the file has room for {}", there / UNIT),
            )
            .expected("a bit for each unit that was taken, and for no other")
            .mend("room is taken for all of them", Mend::Taken),
        );
    }
}
