//! The memory of a held lock and of a waiter in the engine: the growth of the resident memory of
//! this process, including the overhead of the allocator.

use std::time::Duration;

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_core::{Mode, Token};
use distsync_netlock::engine::{Command, Limits, LockTable, Requester, Terms};

pub(crate) fn table() {
    println!("memory in the engine             bytes each   wanted at most");
    // Measure the smaller one first: reuse of freed memory would not count as growth.
    let waiters = grown(100_000, |_| "distsync/l/hot".to_owned());
    println!("100,000 waiters of one name    {waiters:>12.0} {:>16}", 512);
    let held = grown(1_000_000, |claim| format!("distsync/l/job-{claim:07}"));
    println!("1 million held locks           {held:>12.0} {:>16}\n", 300);
}

/// Returns the resident bytes for each of `count` claims.
fn grown(count: u128, name: impl Fn(u128) -> String) -> f64 {
    let before = resident();
    let limits = Limits {
        claims_per_name: usize::MAX,
        ..Limits::default()
    };
    let mut table = LockTable::new(limits, Token::new(1).expect("a token"));
    let (now, mut effects) = (Moment::from_nanos(1), Vec::new());
    let session = SessionId::from_bits(1);
    let from = Requester {
        connection: 1,
        request: 1,
    };
    let ttl = Duration::from_secs(60);
    table.apply(
        now,
        from,
        Command::Open {
            session,
            secret: Secret::default(),
            terms: Terms::lasting(ttl),
            client: "bench",
            isolation: b"",
        },
        &mut effects,
    );
    for claim in 0..count {
        effects.clear();
        let name = name(claim);
        let enqueue = Command::Enqueue {
            session,
            claim: ClaimId::from_bits(claim),
            name: name.as_bytes(),
            mode: Mode::Exclusive,
            waits: true,
            value: b"",
        };
        table.apply(now, from, enqueue, &mut effects);
    }
    assert_eq!(
        table.stats().claims as u128,
        count,
        "all of them are in the table"
    );
    (resident() - before) as f64 / count as f64
}

pub(crate) fn resident() -> usize {
    resident_of("self")
}

/// Returns the resident memory of a process.
pub(crate) fn resident_of(process: &str) -> usize {
    let status =
        std::fs::read_to_string(format!("/proc/{process}/status")).expect("a system with /proc");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<usize>().ok())
        .expect("a number")
        * 1024
}
