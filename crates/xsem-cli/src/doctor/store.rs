//! A namespace in etcd: how each member of the store is, what it has room for, and whose leases are near their end.

use super::Look;
use super::finding::Severity::{Note, Trouble, Warning};
use super::finding::{Finding, Kind};
use std::time::Duration;
use xsem::{Code, Error, Namespace};
use xsem_etcd::fault::Fault;
use xsem_etcd::metrics::Metrics;
use xsem_etcd::survey::{self, Seen, Survey};
use xsem_etcd::wire::{AlarmType, StatusResponse};

/// The quota of a member that is started without one.
const QUOTA: u64 = 2 << 30;
/// From this part of the quota on it is time to do something, in percent.
const NEAR: u64 = 80;
/// A request that takes more than this part of a lease's life: renewals have four such times for each of their three attempts.
const SLOW: u32 = 12;

/// Looks at the store, then at what is stored.
pub fn look(d: &mut Look, url: &str) -> Result<(), Error> {
    let found = survey::look(url).map_err(|f| Error::new(Code::InvalidParameter, f.to_string()).advice("correct the URL"))?;
    // Without a password.
    d.url.clone_from(&found.url);
    members(d, &found);
    let answers = found.read.is_ok();
    match &found.read {
        Ok(took) => read(d, &found, *took),
        Err(fault) => silent(d, &found, fault),
    }
    room(d, &found);
    if !answers {
        return Ok(());
    }
    strangers(d, &found);
    leases(d, &found);
    let ns = Namespace::open(url)?;
    super::semaphores(d, &ns, &[], |d, name| {
        let what = format!("there is no `{name}` in `{}`", found.url);
        let todo = "`xsem ls` lists those that there are; whoever shall meet must use one store and one path: look at XSEM_NAMESPACE and --namespace of both";
        d.found(Finding::new(Kind::NoSuchName, Warning, what, todo).of(name));
    });
    Ok(())
}

fn leads(s: &StatusResponse) -> bool {
    s.leader != 0 && s.header.as_ref().is_some_and(|h| h.member_id == s.leader)
}

/// Each member, as it answers for itself.
fn members(d: &mut Look, found: &Survey) {
    let answered = found.members.iter().filter(|m| m.answers()).count();
    for m in &found.members {
        match &m.status {
            Ok(s) => d.looked(format!(
                "{}: etcd {}, {}, answers in {}, {} used of a file of {}",
                m.endpoint,
                s.version,
                if leads(s) { "leads" } else { "follows" },
                time(m.took),
                size(s.db_size_in_use.max(0).cast_unsigned()),
                size(s.db_size.max(0).cast_unsigned()),
            )),
            Err(why) if m.answers() => d.looked(format!("{}: answers, and decides nothing: {}", m.endpoint, bare(why))),
            Err(why) => {
                d.looked(format!("{}: does not answer", m.endpoint));
                // Where none does, that is told as a whole.
                if answered > 0 {
                    let what = format!("the member {} does not answer: {}", m.endpoint, bare(why));
                    let todo = format!(
                        "look whether it runs, and whether this host may reach it; the store goes on as long as most members do ({answered} of the {} of the URL)",
                        found.members.len()
                    );
                    d.found(Finding::new(Kind::MemberSilent, Warning, what, todo));
                }
            }
        }
    }
}

/// A fault without the words that say it for all members.
fn bare(fault: &Fault) -> String {
    match fault {
        Fault::Unreachable(why) | Fault::Ambiguous(why) | Fault::Denied(why) => why.clone(),
        other => other.to_string(),
    }
}

/// What a majority has to confirm was not confirmed.
fn silent(d: &mut Look, found: &Survey, fault: &Fault) {
    if let Fault::Denied(why) = fault {
        let todo = "name a user who may read and write below the path: XSEM_ETCD_USER with XSEM_ETCD_PASSWORD or password_file; `etcdctl user get NAME` says what one may";
        d.found(Finding::new(Kind::NotLetIn, Trouble, format!("the store refuses this user: {why}"), todo));
        return;
    }
    let answered = found.members.iter().filter(|m| m.answers()).count();
    if answered == 0 {
        let all: Vec<String> = found
            .members
            .iter()
            .map(|m| format!("{}: {}", m.endpoint, m.status.as_ref().map_or_else(bare, |_| String::new())))
            .collect();
        let todo = "look whether the store runs (`systemctl status etcd` there), and at names, ports, firewalls and certificates on the way; claims whose owners cannot renew their leases end by their time";
        d.found(Finding::new(
            Kind::StoreUnreachable,
            Trouble,
            format!("no member of the store can be asked: {}", all.join("; ")),
            todo,
        ));
        return;
    }
    let what =
        format!("{answered} of {} members answer, but the store does not decide anything: {}", found.members.len(), bare(fault));
    let todo = "get most of its members to run and to see each other (`etcdctl endpoint status --cluster`); until then nobody gets or gives back anything, and leases that end then are told afterwards";
    d.found(Finding::new(Kind::NoMajority, Trouble, what, todo));
}

fn read(d: &mut Look, found: &Survey, took: Duration) {
    d.looked(format!("a read that most members confirm: {}; leases of {}", time(took), time(found.ttl)));
    if took > found.ttl / SLOW {
        let what = format!("the store takes {} for one read, and this URL's leases last for {}", time(took), time(found.ttl));
        let todo = "a lease that cannot be renewed in time is lost: ask with a longer life (`ttl=60`), or look at the way to the store, its disk (`etcd_disk_wal_fsync_duration_seconds`) and load";
        d.found(Finding::new(Kind::StoreSlow, Warning, what, todo));
    }
}

/// Alarms, and how much of the quota is used.
fn room(d: &mut Look, found: &Survey) {
    let of = |id: u64| {
        let own = |s: &StatusResponse| s.header.as_ref().is_some_and(|h| h.member_id == id);
        let m = found.members.iter().find(|m| m.status.as_ref().is_ok_and(own));
        m.map_or_else(|| format!("{id:x}"), |m| m.endpoint.clone())
    };
    for a in found.alarms.iter().flatten() {
        let (what, todo) = match AlarmType::try_from(a.alarm) {
            Ok(AlarmType::NoSpace) => (
                "has used up its quota, and the store takes nothing any more: claims can neither be made nor given back",
                "compact and defragment it (`etcdctl compact REVISION`, `etcdctl defrag`), then `etcdctl alarm disarm`; keep it from coming back with --auto-compaction-retention, or a larger --quota-backend-bytes",
            ),
            Ok(AlarmType::Corrupt) => (
                "has other data than the others",
                "do not go on: take that member out, and let it begin anew from the others (etcd's page on data corruption)",
            ),
            _ => ("raises an alarm that is not known here", "`etcdctl alarm list`"),
        };
        d.found(Finding::new(Kind::StoreAlarm, Trouble, format!("the member {} {what}", of(a.member_id)), todo));
    }
    for (m, metrics) in found.members.iter().zip(&found.metrics) {
        let Ok(status) = &m.status else { continue };
        let told = metrics.and_then(|m| m.quota).filter(|q| *q > 0);
        let (quota, how) = (told.unwrap_or(QUOTA), if told.is_some() { "" } else { ", if its quota is the usual one" });
        let used = status.db_size.max(0).cast_unsigned();
        if used >= quota / 100 * NEAR && found.alarms.as_ref().is_ok_and(Vec::is_empty) {
            let what = format!("the member {} has used {} of {}{how}", m.endpoint, size(used), size(quota));
            let todo = format!(
                "when it is full, nobody gets or gives back anything: {} of it are in use; compact and defragment (`etcdctl defrag`), or raise --quota-backend-bytes",
                size(status.db_size_in_use.max(0).cast_unsigned())
            );
            d.found(Finding::new(Kind::QuotaNear, Warning, what, todo));
        }
        metrics.iter().for_each(|figures| pauses(d, &m.endpoint, *figures));
    }
}

/// What a member counts that makes leases end although their owners live.
fn pauses(d: &mut Look, endpoint: &str, m: Metrics) {
    // The first leader that a member sees is one, too.
    let leaders = m.leaders.unwrap_or(0).saturating_sub(1);
    let all = [
        (leaders, "changes of the leader"),
        (m.late_heartbeats.unwrap_or(0), "late heartbeats"),
        (m.slow.unwrap_or(0), "slow changes"),
    ];
    let counted: Vec<String> = all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !counted.is_empty() {
        let what = format!("the member {endpoint} has seen, since it was started: {}", counted.join(", "));
        let todo = "a store that pauses for longer than a lease lasts ends claims of the living (288): give it a disk and processors of its own, and leases more time (`ttl=`)";
        d.found(Finding::new(Kind::PausesSeen, Note, what, todo));
    }
}

/// Members that the URL does not name.
fn strangers(d: &mut Look, found: &Survey) {
    let Ok(known) = &found.known else { return };
    d.looked(format!(
        "who belongs to the store: {}",
        if known.len() == 1 { "1 member".to_owned() } else { format!("{} members", known.len()) }
    ));
    let named: Vec<u64> = found.members.iter().filter_map(|m| Some(m.status.as_ref().ok()?.header.as_ref()?.member_id)).collect();
    // One that does not answer may be any of them.
    let silent = found.members.len() - named.len();
    let missing: Vec<&str> = known.iter().filter(|m| !named.contains(&m.id)).map(|m| m.name.as_str()).collect();
    if missing.len() > silent {
        let what =
            format!("the URL names {} of the store's {} members (not {})", found.members.len(), known.len(), missing.join(", "));
        let todo = "name them all, so that clients can go on with another one when theirs ends";
        d.found(Finding::new(Kind::MemberUnnamed, Note, what, todo));
    }
}

/// A session renews its lease at a third of its life, so it has two thirds left at the least, while all is well.
fn leases(d: &mut Look, found: &Survey) {
    let Ok(sessions) = &found.sessions else { return };
    let near = |s: &&Seen| s.left.1 > 0 && s.left.0 * 2 < s.left.1;
    for s in sessions.iter().filter(near) {
        let (left, ttl) = s.left;
        let who = match &s.who {
            Some(w) => format!("{} on {} `{}`", w.pid, w.host, w.command),
            None => format!("the session {:x}", s.lease),
        };
        let what = format!(
            "{who} has not renewed its lease of {ttl} s for {} s: it ends in {} s, and its claims with it",
            ttl - left,
            left.max(0)
        );
        let todo = format!(
            "it was stopped or suspended, or cannot reach the store: look there (`ps -o stat= -p {}`); its next owner gets 105",
            s.who.as_ref().map_or(0, |w| w.pid)
        );
        d.found(Finding::new(Kind::LeaseNearEnd, Warning, what, todo));
    }
    d.looked(format!(
        "{} of other processes, and how long their leases last",
        match sessions.len() {
            1 => "1 session".to_owned(),
            n => format!("{n} sessions"),
        }
    ));
}

fn time(d: Duration) -> String {
    match d.as_millis() {
        0 => format!("{} µs", d.as_micros()),
        ms @ 1..10 => format!("{ms}.{} ms", d.as_micros() / 100 % 10),
        ms @ 10..10_000 if ms % 1000 != 0 => format!("{ms} ms"),
        ms => format!("{} s", ms / 1000),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{}.{} MiB", bytes >> 20, (bytes >> 10) % 1024 * 10 / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::{size, time};
    use std::time::Duration;

    #[test]
    fn figures_for_people() {
        assert_eq!([size(1), size(20 << 10), size((1 << 20) + (512 << 10))], ["1 KiB", "20 KiB", "1.5 MiB"]);
        let t = |us| time(Duration::from_micros(us));
        assert_eq!([t(250), t(1_260), t(45_000), t(10_000_000), t(12_345_678)], ["250 µs", "1.2 ms", "45 ms", "10 s", "12 s"]);
    }
}
