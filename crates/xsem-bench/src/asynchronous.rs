//! Tasks of one process, beside locks that know one process only and survive nothing.

use crate::Options;
use crate::goals::Goal;
use crate::report::{Report, Table, Unit};
use crate::rounds::{self, Contestant};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use xsem::{Counting, Exclusive, Namespace};

const SLICE: Duration = Duration::from_millis(4);
const ROUNDS: usize = 100;
/// Waiters of the crowd.
const CROWD: u64 = 1_000;

const XSEM: &str = "xsem Exclusive";
const POOL: &str = "xsem Counting";
const TOKIO: &str = "tokio Mutex";
const TOKIO_SEM: &str = "tokio Semaphore";
const ASYNC_LOCK: &str = "async-lock Mutex";
const ASYNC_LOCK_SEM: &str = "async-lock Semaphore";

/// What is acquired by tasks.
trait Lock: Clone + Send + Sync + 'static {
    type Guard: Send;
    fn acquire(&self) -> impl Future<Output = Self::Guard> + Send;
}

impl Lock for Exclusive {
    type Guard = xsem::OwnedGuard;
    async fn acquire(&self) -> xsem::OwnedGuard {
        self.acquire_async().await.expect("nobody dies here")
    }
}

impl Lock for Counting {
    type Guard = xsem::OwnedPermit;
    async fn acquire(&self) -> xsem::OwnedPermit {
        self.acquire_async(1).await.expect("nobody removes it")
    }
}

impl Lock for Arc<tokio::sync::Mutex<()>> {
    type Guard = tokio::sync::OwnedMutexGuard<()>;
    async fn acquire(&self) -> Self::Guard {
        self.clone().lock_owned().await
    }
}

impl Lock for Arc<tokio::sync::Semaphore> {
    type Guard = tokio::sync::OwnedSemaphorePermit;
    async fn acquire(&self) -> Self::Guard {
        self.clone().acquire_owned().await.expect("never closed")
    }
}

impl Lock for Arc<async_lock::Mutex<()>> {
    type Guard = async_lock::MutexGuardArc<()>;
    async fn acquire(&self) -> Self::Guard {
        self.lock_arc().await
    }
}

impl Lock for Arc<async_lock::Semaphore> {
    type Guard = async_lock::SemaphoreGuardArc;
    async fn acquire(&self) -> Self::Guard {
        self.acquire_arc().await
    }
}

/// `n` acquisitions by one task that meets nobody.
fn alone(runtime: &Runtime, lock: &impl Lock, n: u64) {
    runtime.block_on(async {
        for _ in 0..n {
            drop(lock.acquire().await);
        }
    });
}

/// `n` acquisitions by so many tasks together, each of which lets others run while it owns.
fn together(runtime: &Runtime, lock: &impl Lock, tasks: u64, n: u64) {
    runtime.block_on(async {
        let each = n.div_ceil(tasks);
        let all: Vec<_> = (0..tasks)
            .map(|_| {
                let lock = lock.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        let guard = lock.acquire().await;
                        tokio::task::yield_now().await;
                        drop(guard);
                    }
                })
            })
            .collect();
        for t in all {
            t.await.expect("no panic");
        }
    });
}

/// At least `n` times from one owner to the next, of a crowd that waits from the beginning.
fn crowd(runtime: &Runtime, lock: &impl Lock, n: u64) {
    runtime.block_on(async {
        for _ in 0..n.div_ceil(CROWD) {
            let held = lock.acquire().await;
            let all: Vec<_> = (0..CROWD)
                .map(|_| {
                    let lock = lock.clone();
                    tokio::spawn(async move { drop(lock.acquire().await) })
                })
                .collect();
            tokio::task::yield_now().await;
            drop(held);
            for t in all {
                t.await.expect("no panic");
            }
        }
    });
}

/// Everybody, for one table.
struct Peers {
    sem: Exclusive,
    pool: Counting,
    tokio: Arc<tokio::sync::Mutex<()>>,
    tokio_sem: Arc<tokio::sync::Semaphore>,
    async_lock: Arc<async_lock::Mutex<()>>,
    async_lock_sem: Arc<async_lock::Semaphore>,
}

/// The same work for each of them.
macro_rules! each {
    ($peers:expr, |$lock:ident, $n:ident| $work:expr) => {{
        let Peers { sem, pool, tokio, tokio_sem, async_lock, async_lock_sem } = $peers;
        vec![
            each!(XSEM, sem, $lock, $n, $work),
            each!(TOKIO, tokio, $lock, $n, $work),
            each!(ASYNC_LOCK, async_lock, $lock, $n, $work),
            each!(POOL, pool, $lock, $n, $work),
            each!(TOKIO_SEM, tokio_sem, $lock, $n, $work),
            each!(ASYNC_LOCK_SEM, async_lock_sem, $lock, $n, $work),
        ]
    }};
    ($name:expr, $peer:expr, $lock:ident, $n:ident, $work:expr) => {
        Contestant::new($name, move |$n| {
            let $lock = $peer;
            $work
        })
    };
}

pub fn run(options: &Options) -> io::Result<Report> {
    let rounds = options.rounds.unwrap_or(ROUNDS);
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let ns = Namespace::open(&format!("shm:{}", dir.path().join("ns").display())).map_err(io::Error::other)?;
    let peers = Peers {
        sem: Exclusive::create(&ns, "sem").map_err(io::Error::other)?,
        pool: Counting::open_or_create_pool(&ns, "pool", 1).map_err(io::Error::other)?,
        tokio: Arc::default(),
        tokio_sem: Arc::new(tokio::sync::Semaphore::new(1)),
        async_lock: Arc::default(),
        async_lock_sem: Arc::new(async_lock::Semaphore::new(1)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let rt = &runtime;
    let table = |title, series| Table::new(title, Unit::Nanoseconds, series).against(&[TOKIO, TOKIO_SEM]);
    let peers = &peers;
    let alone = table("one task", rounds::run(&mut each!(peers, |l, n| alone(rt, l, n)), SLICE, rounds));
    let fewer = rounds.div_ceil(4);
    let two = table("2 tasks", rounds::run(&mut each!(peers, |l, n| together(rt, l, 2, n)), SLICE, fewer));
    let eight = table("8 tasks", rounds::run(&mut each!(peers, |l, n| together(rt, l, 8, n)), SLICE, fewer));
    let many = table("64 tasks", rounds::run(&mut each!(peers, |l, n| together(rt, l, 64, n)), SLICE, fewer));
    let crowd = table("1,000 waiters, handed on", rounds::run(&mut each!(peers, |l, n| crowd(rt, l, n)), SLICE, fewer));
    let goals = vec![
        Goal::at_most(1.5, "one task, x tokio's mutex", alone.ratio(XSEM, TOKIO)),
        Goal::at_most(2.0, "one task, permits, x tokio's semaphore", alone.ratio(POOL, TOKIO_SEM)),
    ];
    Ok(Report {
        title: "async: acquire + release by tasks of one process, on tokio with two threads".to_owned(),
        how: format!(
            "{rounds} rounds ({fewer} of the contended ones), everybody in turn for about {} ms; contended tasks yield while they own",
            SLICE.as_millis()
        ),
        tables: vec![alone, two, eight, many, crowd],
        goals,
        plots: Vec::new(),
    })
}
