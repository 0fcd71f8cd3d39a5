//! Many operations of several clients over a rough network, judged at a resource that checks fencing tokens.

use super::*;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use xsem::{Counting, Pick, Wait};
use xsem_testkit::lease::Faults;
use xsem_testkit::random::Random;
use xsem_testkit::watchdog::Watchdog;

/// Many operations on a machine that does other things as well.
const LONG: Duration = Duration::from_secs(240);

/// A counter that is read and written in two steps, under a token. It refuses tokens that are older than one it has seen.
#[derive(Default)]
struct Resource {
    state: Mutex<(u64, u64)>,
    tokens: Mutex<BTreeSet<u64>>,
}

impl Resource {
    /// The value, or None: a newer owner was here.
    fn read(&self, token: u64) -> Option<u64> {
        assert!(self.tokens.lock().unwrap().insert(token), "token {token} was given out twice");
        let mut s = self.state.lock().unwrap();
        if token < s.0 {
            return None;
        }
        s.0 = token;
        Some(s.1)
    }

    fn write(&self, token: u64, value: u64) -> bool {
        let mut s = self.state.lock().unwrap();
        if token == s.0 {
            s.1 = value;
        }
        token == s.0
    }

    fn value(&self) -> u64 {
        self.state.lock().unwrap().1
    }
}

fn guard_of<'a>(result: Result<Guard<'a>, AcquireError<'a>>) -> Result<(Guard<'a>, bool), Error> {
    match result {
        Ok(guard) => Ok((guard, false)),
        Err(AcquireError::OwnerDied(r)) => Ok((r.mark_consistent()?, true)),
        Err(AcquireError::Failed(e)) => Err(e),
    }
}

#[test]
fn the_total_is_exact_and_no_two_own_it_on_a_rough_network() {
    let _dog = Watchdog::with_time("a storm without deaths", LONG);
    // No lease ends here, whatever gets lost: so every write must be accepted.
    let cluster = Cluster::with(11, Faults::ROUGH, Duration::from_secs(20));
    let resource = Resource::default();
    let (rounds, written) = (25, AtomicU64::new(0));
    let clients: Vec<Client> = (0..4).map(|_| cluster.client()).collect();
    std::thread::scope(|s| {
        for (i, client) in clients.iter().enumerate() {
            let (resource, written) = (&resource, &written);
            s.spawn(move || {
                let (x, mut random) = (exclusive(client, "x"), Random::new(i as u64));
                for _ in 0..rounds {
                    let wait = match random.below(3) {
                        0 => Wait::timeout(Duration::from_millis(random.below(40))),
                        1 => Wait::not(),
                        _ => Wait::forever(),
                    };
                    match guard_of(x.acquire_with(wait)) {
                        Ok((guard, died)) => {
                            assert!(!died, "nobody died");
                            let value = resource.read(guard.token()).expect("tokens only grow");
                            std::thread::yield_now();
                            assert!(resource.write(guard.token(), value + 1), "another owner at the same time");
                            written.fetch_add(1, SeqCst);
                            guard.release().unwrap();
                        }
                        Err(e) => assert!(e.is_taken(), "{e}"),
                    }
                }
            });
        }
    });
    assert_eq!((resource.value(), resource.value() > 20), (written.load(SeqCst), true));
    assert!(clients.iter().all(|c| c.flush(AGES)));
    // Requests that were late when they were sent again are fenced, so what there is stays as it is.
    cluster.sleep(Duration::from_millis(100));
    let counters = clients[0].namespace().inspect("x").unwrap().counters;
    // A wait whose time ran out in the moment of the grant gives it back unused.
    assert!(counters.acquired >= written.load(SeqCst) && counters.deaths == 0, "{counters:?}");
    at_rest(&cluster);
}

#[test]
fn what_a_client_without_a_lease_does_is_refused_and_it_is_told() {
    let _dog = Watchdog::with_time("a storm of lost leases", LONG);
    let cluster = Cluster::with(12, Faults { lost_answers: 10, ..Faults::ROUGH }, Duration::from_millis(150));
    let resource = Resource::default();
    let (written, refused, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let clients: Vec<Client> = (0..4).map(|_| cluster.client()).collect();
    std::thread::scope(|s| {
        let workers: Vec<_> = (0..4)
            .map(|i| {
                let (client, resource, written, refused) = (clients[i].clone(), &resource, &written, &refused);
                s.spawn(move || {
                    let x = exclusive(&client, "x");
                    for _ in 0..20 {
                        let Ok((guard, _)) = guard_of(x.acquire()) else { continue };
                        let Some(value) = resource.read(guard.token()) else {
                            refused.fetch_add(1, SeqCst);
                            assert_eq!(code(guard.release()), Code::NotOwner, "refused by the resource, so it has lost it");
                            continue;
                        };
                        std::thread::sleep(Duration::from_millis(2));
                        if resource.write(guard.token(), value + 1) {
                            written.fetch_add(1, SeqCst);
                        } else {
                            refused.fetch_add(1, SeqCst);
                            assert_eq!(code(guard.release()), Code::NotOwner, "refused by the resource, so it has lost it");
                        }
                    }
                })
            })
            .collect();
        let (cluster, clients, stop) = (&cluster, &clients, &stop);
        s.spawn(move || {
            let mut random = Random::new(5);
            while !stop.load(SeqCst) {
                let client = &clients[random.below(4) as usize];
                match random.below(3) {
                    0 => client.lose_lease(),
                    1 => client.partition(2 * cluster.ttl()),
                    _ => client.partition(cluster.ttl() / 4),
                }
                cluster.sleep(Duration::from_millis(60));
            }
        });
        for w in workers {
            w.join().unwrap();
        }
        stop.store(true, SeqCst);
    });
    assert_eq!(resource.value(), written.load(SeqCst), "what was accepted counts once");
    clients.iter().for_each(|c| c.set_faults(Faults::NONE));
    assert!(clients.iter().all(|c| c.flush(AGES)));
    drop(clients);
    settle(&cluster, "x");
    at_rest(&cluster);
}

/// Until the last claims of those who are gone are taken over: an owner at last.
fn settle(cluster: &Cluster, name: &str) {
    let client = cluster.client();
    drop(guard_of(exclusive(&client, name).acquire()).unwrap());
}

#[test]
fn permits_and_slots_are_never_lent_twice_and_come_back_after_kills() {
    let _dog = Watchdog::with_time("a storm on a pool", LONG);
    let cluster = Cluster::with(13, Faults::ROUGH, Duration::from_secs(1));
    const LIMIT: u32 = 5;
    let (out, busy) = (AtomicU64::new(0), [const { AtomicBool::new(false) }; LIMIT as usize]);
    let keeper = cluster.client();
    let pool = Counting::open_or_create_pool(&keeper.namespace(), "p", LIMIT).unwrap();
    std::thread::scope(|s| {
        for i in 0..4 {
            let (cluster, out, busy) = (&cluster, &out, &busy);
            s.spawn(move || {
                let mut random = Random::new(100 + i);
                for life in 0..3 {
                    let client = cluster.client();
                    let pool = Counting::open(&client.namespace(), "p").unwrap();
                    for _ in 0..6 {
                        let n = 1 + random.below(3) as u32;
                        let Ok(permits) = pool.acquire_with(n, Wait::timeout(Duration::from_millis(500))) else { continue };
                        let slots = permits.slots().unwrap();
                        assert_eq!(slots.len(), n as usize);
                        assert!(slots.iter().all(|s| !busy[*s as usize].swap(true, SeqCst)), "a slot is lent twice: {slots:?}");
                        assert!(out.fetch_add(n as u64, SeqCst) + n as u64 <= LIMIT as u64);
                        std::thread::sleep(Duration::from_millis(1));
                        out.fetch_sub(n as u64, SeqCst);
                        slots.iter().for_each(|s| busy[*s as usize].store(false, SeqCst));
                        if random.one_in(4) {
                            drop(pool.acquire_with(1, Wait::not()));
                        }
                    }
                    // With permits in its hands, which nobody else may have before the store knows.
                    if life < 2 {
                        let held = pool.try_acquire();
                        client.kill_told();
                        drop(held);
                    }
                }
            });
        }
    });
    drop(pool.acquire_many(LIMIT).expect("all come back"));
    at_rest(&cluster);
}

#[test]
fn money_moves_between_accounts_and_none_is_made() {
    let _dog = Watchdog::with_time("acquire_all in a storm", LONG);
    let cluster = Cluster::with(14, Faults::ROUGH, Duration::from_secs(20));
    let names = ["a", "b", "c"];
    let accounts = [const { AtomicU64::new(100) }; 3];
    std::thread::scope(|s| {
        for i in 0..3 {
            let (client, accounts) = (cluster.client(), &accounts);
            s.spawn(move || {
                let ns = client.namespace();
                let sems = names.map(|n| exclusive(&client, n));
                let mut random = Random::new(i);
                for _ in 0..12 {
                    let from = random.below(3) as usize;
                    let to = (from + 1 + random.below(2) as usize) % 3;
                    let list = [Pick::from(&sems[from]), Pick::from(&sems[to])];
                    let both = ns.acquire_all(&list, Wait::forever()).unwrap();
                    let (x, y) = (accounts[from].load(SeqCst), accounts[to].load(SeqCst));
                    std::thread::yield_now();
                    let n = x.min(7);
                    accounts[from].store(x - n, SeqCst);
                    accounts[to].store(y + n, SeqCst);
                    drop(both);
                    let one = ns.wait_any(&sems.iter().map(Pick::from).collect::<Vec<_>>(), Wait::forever()).unwrap();
                    let before = accounts[one.index].load(SeqCst);
                    std::thread::yield_now();
                    assert_eq!(accounts[one.index].load(SeqCst), before, "somebody else is at this account");
                }
                assert!(client.flush(AGES));
            });
        }
    });
    assert_eq!(accounts.iter().map(|a| a.load(SeqCst)).sum::<u64>(), 300);
    at_rest(&cluster);
}
