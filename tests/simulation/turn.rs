//! Runs seeds on several threads, each the same in every process.
//!
//! What a run draws must follow from its seed alone. std's hash keys do (`entropy`). tokio's dice,
//! which choose the branch of a `select!` and the receiver that a `watch` wakes first, begin with
//! such keys and with a number: how many runtimes this process has made. (`Builder::rng_seed`
//! would set them, but it is compiled in with `--cfg tokio_unstable` only, for all of the program.)
//! So each seed has its own number, and the seeds are begun in that order.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tokio::runtime::Builder;

use crate::{
    LONG, entropy,
    run::{self, Report},
};

/// Runs of a day go first, because they take longest; there are no more of them.
const MOST_LONG: u64 = 1000;

/// How many runtimes this process has made.
static MADE: Mutex<u64> = Mutex::new(0);

/// How many runtimes have been made before that of this seed.
fn number(seed: u64) -> u64 {
    match seed.checked_sub(LONG) {
        Some(long) => long,
        None => MOST_LONG + seed,
    }
}

/// Runs each of the seeds once and hands on what came of it.
pub fn each(
    seeds: impl Iterator<Item = u64>,
    threads: usize,
    with_trace: bool,
    done: impl FnMut(u64, Report) + Send,
) {
    let ordered: BTreeSet<_> = seeds.map(|seed| (number(seed), seed)).collect();
    let (seeds, done) = (Mutex::new(ordered), Mutex::new(done));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let running = {
                        let mut seeds = seeds.lock().expect("no holder panics");
                        let Some((number, seed)) = seeds.pop_first() else {
                            return;
                        };
                        (seed, begin(number, seed, with_trace))
                    };
                    let report = running.1.join().unwrap_or_else(|_| Report {
                        violations: Vec::new(),
                        problems: vec!["the simulation itself panicked".to_owned()],
                        lasted: Duration::ZERO,
                        trace: None,
                    });
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done(running.0, report);
                }
            });
        }
    });
}

/// Begins one seed, on a thread of its own: what threads remember of randomness begins anew.
fn begin(number: u64, seed: u64, with_trace: bool) -> thread::JoinHandle<Report> {
    let mut made = MADE.lock().expect("no holder panics");
    assert!(*made <= number, "each seed runs once, in order");
    while *made < number {
        drop(Builder::new_current_thread());
        *made += 1;
    }
    let (making, is_made) = mpsc::channel();
    let running = thread::spawn(move || {
        entropy::follow(seed);
        fastrand::seed(seed);
        let mut builder = Builder::new_current_thread();
        making.send(()).expect("it is waited for");
        let runtime = builder.enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without I/O needs nothing");
        runtime.block_on(run::run(seed, seed >= LONG, with_trace))
    });
    is_made.recv().expect("making a runtime does not panic");
    *made += 1;
    running
}
