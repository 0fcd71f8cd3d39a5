//! The accounts of deaths: every owner that died is reported, exactly once.
//!
//! A semaphore keeps of its unacknowledged deaths the first, the latest and a count, and tells every owner until one
//! acknowledges. So the reports of one semaphore fall into *chains* with the same first death; a chain's deaths are its
//! largest count, whoever was killed between reading a report and acknowledging it.

use std::collections::{BTreeMap, BTreeSet};

/// Semaphores of a torture run. The last one is removed and made anew all the time, so its deaths may go with its name;
/// it has no account.
pub(super) const NAMES: usize = 4;
/// Those that stay.
pub(super) const STEADY: usize = NAMES - 1;

/// Pools of a torture run.
pub(super) const POOLS: usize = 3;
/// Those that stay; the last one is removed and made anew, as the last exclusive semaphore is.
pub(super) const STEADY_POOLS: usize = POOLS - 1;

/// A death as it is reported: who, and the token, which tells two deaths of one process apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Death {
    pub(super) pid: u32,
    pub(super) token: u64,
}

/// One report to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: usize,
    pub(super) first: Death,
    pub(super) latest: Death,
    /// 0: details could not be kept.
    pub(super) count: u64,
}

/// What the supervisor knows of one round.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// Deaths that there must have been, besides those with a known pid: abandoned, ended threads.
    made: u64,
    /// Killed as owners for certain: semaphore and pid.
    killed: Vec<(usize, u32)>,
    /// Killed where they may have owned.
    perhaps: u64,
    /// Killed as holders of permits: for certain, and perhaps, for each pool that stays.
    holders: [(u64, u64); STEADY_POOLS],
}

/// The result of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    /// Deaths that there must have been.
    pub(super) certain: u64,
    /// Kills in the middle of an operation, which may have hit an owner.
    pub(super) perhaps: u64,
    /// Deaths that were reported.
    pub(super) reported: u64,
    /// Reports without details.
    pub(super) lost: u64,
    /// What is wrong.
    pub(super) wrong: Vec<String>,
}

impl Account {
    pub(super) fn made(&mut self, n: u64) {
        self.made += n;
    }

    pub(super) fn killed(&mut self, name: usize, pid: u32) {
        self.killed.push((name, pid));
    }

    pub(super) fn perhaps(&mut self) {
        self.perhaps += 1;
    }

    /// Somebody was killed who held permits of a pool, for certain or perhaps.
    pub(super) fn killed_holder(&mut self, pool: usize, certain: bool) {
        if let Some((sure, perhaps)) = self.holders.get_mut(pool) {
            *if certain { sure } else { perhaps } += 1;
        }
    }

    /// Compares with the deaths of holders that a pool has counted in this round.
    pub(super) fn balance_pool(&self, pool: usize, counted: u64) -> Option<String> {
        let (sure, perhaps) = self.holders[pool];
        (!(sure..=sure + perhaps).contains(&counted)).then(|| {
            format!("pool {pool} counted {counted} deaths of holders; {sure} died, and {perhaps} more may have held something")
        })
    }

    /// Compares with the log of the round, at whose end every death was acknowledged.
    pub(super) fn balance(&self, log: &[Entry]) -> Balance {
        let mut b = Balance { certain: self.made + self.killed.len() as u64, perhaps: self.perhaps, ..Balance::default() };
        for name in 0..STEADY {
            self.one(name, log.iter().filter(|e| e.name == name), &mut b);
        }
        // Reports whose details went may stand for any number.
        if b.lost == 0 && !(b.certain..=b.certain + b.perhaps).contains(&b.reported) {
            let Balance { certain, perhaps, reported, .. } = &b;
            b.wrong.push(format!("{reported} deaths reported; {certain} owners died, and {perhaps} more may have"));
        }
        b
    }

    fn one<'a>(&self, name: usize, log: impl Iterator<Item = &'a Entry>, b: &mut Balance) {
        let mut chains: BTreeMap<Death, (u64, BTreeSet<Death>)> = BTreeMap::new();
        for e in log {
            if e.count == 0 {
                b.lost += 1;
                continue;
            }
            let (count, seen) = chains.entry(e.first).or_default();
            if e.count < *count {
                b.wrong.push(format!("the count of {name} fell from {count} to {} without acknowledgement", e.count));
            }
            *count = (*count).max(e.count);
            seen.extend([e.first, e.latest]);
        }
        let mut all = BTreeSet::new();
        let mut hidden = 0;
        for (count, seen) in chains.values() {
            b.reported += count;
            match count.checked_sub(seen.len() as u64) {
                Some(n) => hidden += n,
                None => b.wrong.push(format!("{name} counts {count} deaths and names {}: {seen:?}", seen.len())),
            }
            for d in seen {
                if !all.insert(*d) {
                    b.wrong.push(format!("the death of {} on {name} was reported again after it was acknowledged", d.pid));
                }
            }
        }
        // A process that becomes another program by exec may die several times.
        let mut named: Vec<u32> = all.iter().map(|d| d.pid).collect();
        let mut is_named = |pid: u32| named.iter().position(|p| *p == pid).map(|at| named.swap_remove(at)).is_some();
        let missing: Vec<u32> =
            self.killed.iter().filter(|(n, pid)| *n == name && !is_named(*pid)).map(|(_, pid)| *pid).collect();
        // Between the first and the latest of a chain, deaths are counted and not named.
        if missing.len() as u64 > hidden && b.lost == 0 {
            b.wrong.push(format!("killed as owners of {name} and never reported: {missing:?} ({hidden} are not named)"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(first: u32, latest: u32, count: u64) -> Entry {
        let death = |pid| Death { pid, token: u64::from(pid) * 10 };
        Entry { name: 0, first: death(first), latest: death(latest), count }
    }

    fn account(killed: &[u32], made: u64, perhaps: u64) -> Account {
        Account { made, killed: killed.iter().map(|p| (0, *p)).collect(), perhaps, ..Account::default() }
    }

    #[test]
    fn balances_when_each_death_is_told_once() {
        let a = account(&[1, 2, 3], 1, 1);
        // 1 is told twice (the first reader was 2, killed before it acknowledged), 3 is hidden between 1 and 4.
        let log = [entry(1, 1, 1), entry(1, 2, 2), entry(1, 4, 4)];
        let b = a.balance(&log);
        assert_eq!((b.certain, b.perhaps, b.reported, b.wrong), (4, 1, 4, vec![]));
    }

    #[test]
    fn finds_what_is_missing_doubled_or_made_up() {
        for (log, why) in [
            (vec![entry(1, 1, 1)], "1 deaths reported; 2 owners died"),
            (vec![entry(1, 1, 1), entry(3, 3, 1)], "never reported: [2]"),
            (vec![entry(1, 1, 1), entry(2, 1, 2)], "reported again"),
            (vec![entry(1, 1, 1), entry(2, 2, 1), entry(4, 4, 1)], "3 deaths reported"),
            (vec![entry(1, 2, 2), entry(1, 2, 1)], "fell from 2 to 1"),
            (vec![entry(1, 2, 1)], "counts 1 deaths and names 2"),
        ] {
            let wrong = account(&[1, 2], 0, 0).balance(&log).wrong.join("\n");
            assert!(wrong.contains(why), "{why}: {wrong}");
        }
    }

    #[test]
    fn one_process_may_die_several_times() {
        let twice = |second: u64| {
            let mut log = [entry(1, 1, 1), entry(1, 1, 1)];
            (log[1].first.token, log[1].latest.token) = (second, second);
            account(&[1, 1], 0, 5).balance(&log).wrong
        };
        assert_eq!(twice(11), [""; 0]);
        // The same death twice is one.
        let again = twice(10).join("\n");
        assert!(again.contains("never reported: [1]"), "{again}");
    }

    #[test]
    fn counts_the_deaths_of_holders() {
        let mut a = Account::default();
        a.killed_holder(0, true);
        a.killed_holder(0, false);
        // One that comes and goes has no account.
        a.killed_holder(STEADY_POOLS, true);
        assert_eq!([0, 1, 2, 3].map(|n| a.balance_pool(0, n).is_none()), [false, true, true, false]);
        assert_eq!([0, 1].map(|n| a.balance_pool(1, n).is_none()), [true, false]);
    }
}
