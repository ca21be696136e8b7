//! Tests of large ends, which the table does in slices.

use std::collections::BTreeSet;
use std::time::Duration;

use distsync_core::Mode;
use distsync_core::spi::{Gone, SessionId, Withdrawn};

use super::rig::Rig;
use crate::engine::{Bound, Command, Freeze, Limits, Refusal, Reply};

const X: Mode = Mode::Exclusive;
const S: Mode = Mode::Shared;

/// The steps of a visit in these tests.
const SLICE: u32 = 10;
/// The claims of a large session.
const MANY: u128 = 200;

fn close(session: u128) -> Command<'static> {
    Command::Close {
        session: SessionId::from_bits(session),
    }
}

fn closed() -> Option<Reply> {
    Some(Reply::Closed)
}

/// Returns a table whose session 0 holds [`MANY`] names, for each of which session 1 waits.
fn large() -> Rig {
    let mut rig = Rig::with_sessions(2);
    for claim in 0..MANY {
        rig.acquire(0, claim, &format!("n{claim:03}"), X).token();
        rig.acquire(1, 1_000 + claim, &format!("n{claim:03}"), X)
            .position();
    }
    rig.set_slice(SLICE);
    rig
}

/// Does all slices, and checks that each is short.
fn finish(rig: &mut Rig) -> usize {
    let mut slices = 0;
    // A step ends a claim and grants the next one, and settles a queue that is not counted.
    let max = 3 * SLICE as usize;
    loop {
        assert!(
            rig.touched() <= max,
            "{} claims in one visit",
            rig.touched()
        );
        if !rig.has_backlog() {
            return slices;
        }
        rig.slice();
        slices += 1;
    }
}

#[test]
fn a_large_session_is_closed_in_slices_and_the_reply_comes_last() {
    let mut rig = large();
    let first = rig.send(close(0));
    let dead = rig.stats();
    assert_eq!((dead.sessions, dead.claims), (1, MANY as usize));
    assert_eq!(rig.renew(0), Reply::Refused(Refusal::SessionUnknown));
    assert_eq!(rig.told_to(first), None);
    // A second request waits, too.
    let second = rig.send(close(0));
    assert_eq!(rig.dumped().claims, MANY as usize, "no dead claims");
    rig.slice();
    assert_eq!(rig.told_to(second), None);
    assert!(finish(&mut rig) > 10);
    assert_eq!(rig.told_to(first), closed());
    assert_eq!(rig.told_to(second), closed());
    assert_eq!(rig.grants().len(), MANY as usize);
    assert_eq!(rig.stats().holders, MANY as usize);
}

#[test]
fn the_requests_that_wait_for_the_end_of_a_session_are_bounded() {
    let mut rig = large();
    let waiting: Vec<_> = (0..64).map(|_| rig.send(close(0))).collect();
    let refused = Reply::Refused(Refusal::TooMany {
        what: Bound::ReleasesAtOnce,
        max: 64,
    });
    assert_eq!(rig.ask(close(0)), refused);
    finish(&mut rig);
    assert!(waiting.into_iter().all(|to| rig.told_to(to) == closed()));
}

#[test]
fn a_long_queue_makes_a_visit_long() {
    let mut rig = Rig::with_sessions(2);
    rig.acquire(0, 10_000, "a", X).token();
    for claim in 0..MANY {
        rig.acquire(1, claim, "a", X).position();
    }
    rig.enqueue_all(1, 20_000, &["a", "b"], false, X, true);
    rig.set_slice(SLICE);
    rig.slice();
    assert!(!rig.is_visit_long());
    // A request that is repeated counts the claims ahead of it.
    let last = MANY - 1;
    assert_eq!(rig.acquire(1, last, "a", X).position(), 200);
    assert!(rig.is_visit_long());
    rig.slice();
    let repeated = rig.enqueue_all(1, 20_000, &["a", "b"], false, X, true);
    assert_eq!(repeated.position(), 201);
    assert!(rig.is_visit_long());
    // A copy of the queue is made for those who inspect it, and for those who watch it.
    rig.slice();
    rig.inspect("a");
    assert!(rig.is_visit_long());
    rig.changed_from_now("a");
    rig.slice();
    rig.begin_batch();
    rig.withdraw(1, 0);
    assert!(rig.is_visit_long());
}

#[test]
fn a_small_session_does_not_wait_for_the_end_of_a_large_one() {
    let mut rig = large();
    rig.open(5, 5);
    rig.acquire(5, 5_000, "small", X).token();
    let large = rig.send(close(0));
    let small = rig.send(close(5));
    let after = SessionId::from_bits(0);
    let Reply::Sessions { sessions, .. } = rig.ask(Command::Sessions { after }) else {
        panic!("no list");
    };
    let listed: Vec<_> = sessions.iter().map(|entry| entry.session).collect();
    assert_eq!(listed, [SessionId::from_bits(1)], "no dead session");
    for _ in 0..2 {
        rig.slice();
    }
    assert_eq!((rig.told_to(small), rig.told_to(large)), (closed(), None));
}

#[test]
fn the_ids_of_a_session_that_is_being_removed_can_be_used_again() {
    let mut rig = large();
    let request = rig.send(close(0));
    assert!(matches!(rig.open(0, 9), Reply::Opened { .. }));
    // The last claims are not removed yet.
    let last = MANY - 1;
    let name = format!("n{last:03}");
    assert_eq!(rig.withdraw(0, last), Reply::Withdrawn(Withdrawn::Absent));
    assert_eq!(rig.evict(&name, last), Reply::Withdrawn(Withdrawn::Absent));
    rig.acquire(0, last, &name, X).position();
    rig.told(1_000 + last).token();
    assert_eq!(rig.inspect(&name).entries.len(), 2);
    finish(&mut rig);
    assert_eq!(rig.told_to(request), closed());
    assert_eq!(rig.stats().sessions, 2);
    assert_eq!(rig.withdraw(0, last), Reply::Withdrawn(Withdrawn::Waiting));
}

#[test]
fn nothing_is_granted_to_a_session_that_expires_with_many_others() {
    let mut rig = Rig::with_sessions(1);
    for session in 1..=MANY {
        rig.open(session, session);
        rig.acquire(session, session, "a", X);
    }
    rig.acquire(0, 0, "a", X).position();
    rig.acquire(0, 10_000, "b", X).token();
    rig.set_slice(SLICE);
    rig.skip(Rig::TTL / 2);
    rig.renew(0);
    rig.pass(Rig::TTL / 2);
    // A session whose slice has not come counts as ended.
    assert_eq!(rig.renew(MANY), Reply::Refused(Refusal::SessionUnknown));
    assert_eq!(rig.update(MANY, MANY, b""), Reply::Updated { held: false });
    assert!(matches!(rig.open(MANY, 7), Reply::Opened { .. }));
    assert!(finish(&mut rig) > 10);
    let grants = rig.grants();
    assert_eq!(grants.len(), 1, "{grants:?}");
    assert_eq!(grants[0].1, 0);
    for session in 2..=MANY {
        let lost = Reply::Gone {
            why: Gone::SessionLost,
        };
        assert_eq!(rig.told(session), lost);
    }
}

#[test]
fn a_client_with_many_locks_is_isolated_in_slices() {
    let mut rig = Rig::with_sessions(1);
    rig.open_to_isolate(9);
    for claim in 0..MANY {
        rig.acquire(9, claim, &format!("n{claim:03}"), X).token();
    }
    rig.acquire(0, 1_000, "other", X).token();
    for claim in 0..MANY {
        rig.acquire(9, 2_000 + claim, "other", S).position();
    }
    rig.set_slice(SLICE);
    let end = Command::EndSession {
        session: SessionId::from_bits(9),
    };
    assert_eq!(rig.ask(end), Reply::Closed);
    // Its waiting claims are not granted, and an operator ends one of the held ones meanwhile.
    rig.withdraw(0, 1_000);
    rig.evict("n150", 150);
    assert!(finish(&mut rig) > 20);
    assert!(rig.grants().is_empty());
    let isolations = rig.isolations();
    assert_eq!(isolations.len(), 1);
    let names: BTreeSet<_> = isolations[0].locks.iter().map(|lock| &lock.0).collect();
    assert_eq!(names.len(), isolations[0].locks.len(), "each once");
    assert_eq!(names.len(), MANY as usize - 1);
    assert_eq!(rig.stats().claims, MANY as usize - 1);
    let confirm = Command::ConfirmIsolated {
        session: SessionId::from_bits(9),
    };
    let request = rig.send(confirm);
    assert_eq!(rig.told_to(request), None);
    finish(&mut rig);
    assert_eq!(rig.told_to(request), closed());
    assert_eq!((rig.stats().claims, rig.stats().sessions), (0, 1));
}

#[test]
fn an_operator_releases_many_locks_in_slices() {
    let mut rig = large();
    rig.enqueue_all(1, 5_000, &["n000", "n199"], false, X, true);
    // A queue that is ended in more than one slice. None of its waiters is granted in between.
    rig.acquire(0, 8_000, "n500", X).token();
    for claim in 8_001..8_030 {
        rig.acquire(1, claim, "n500", X).position();
    }
    rig.acquire(0, 6_000, "z", X).token();
    let all = Command::ReleaseAll { prefix: "n" };
    let (first, second) = (rig.send(all), rig.send(all));
    // A claim for a name that is done is granted, and not ended.
    for _ in 0..2 {
        rig.slice();
    }
    rig.acquire(0, 7_000, "n000", X).token();
    // So is one for a name that is not done, if it is granted at once.
    rig.acquire(0, 7_001, "n998", X).token();
    finish(&mut rig);
    let ended = u64::try_from(2 * MANY + 31).unwrap();
    assert_eq!(rig.told_to(first), Some(Reply::Released { claims: ended }));
    assert_eq!(rig.told_to(second), Some(Reply::Released { claims: 2 }));
    assert!(rig.grants().is_empty(), "nothing that is about to end");
    assert_eq!(rig.stats().claims, 1);
    let told = (0..MANY).map(|claim| rig.told(1_000 + claim));
    let evicted = Reply::Gone { why: Gone::Evicted };
    assert!(told.into_iter().all(|reply| reply == evicted));
}

#[test]
fn many_readers_are_granted_in_slices_and_in_order() {
    let mut rig = Rig::with_sessions(2);
    rig.acquire(0, 0, "a", X).token();
    for claim in 1..=MANY {
        rig.acquire(1, claim, "a", S).position();
    }
    rig.set_slice(SLICE);
    rig.withdraw(0, 0);
    rig.acquire(0, 5_000, "a", S).position();
    finish(&mut rig);
    let grants: Vec<_> = rig.grants().into_iter().map(|grant| grant.1).collect();
    assert!(grants.into_iter().eq((1..=MANY).chain([5_000])));
}

#[test]
fn a_table_thaws_in_slices() {
    let mut rig = Rig::with_sessions(1);
    let until = rig.now().after(Duration::from_secs(1));
    rig.freeze(Freeze::Grace { until });
    for claim in 0..MANY {
        rig.acquire(0, claim, &format!("n{claim}"), X).position();
    }
    rig.set_slice(SLICE);
    rig.slice();
    rig.thaw();
    assert!(rig.stats().holders <= SLICE as usize);
    // A pause in between loses nothing.
    rig.freeze(Freeze::Full);
    rig.slice();
    rig.thaw();
    finish(&mut rig);
    assert_eq!(rig.grants().len(), MANY as usize);
}

#[test]
fn a_connection_with_many_sessions_and_watches_ends_in_slices() {
    let mut rig = Rig::with_sessions(1);
    let terms = crate::engine::Terms {
        ttl: Rig::TTL,
        release_on_disconnect: true,
    };
    for session in 10..10 + MANY {
        let open = Command::Open {
            session: SessionId::from_bits(session),
            secret: distsync_core::spi::Secret::from_bits(0),
            terms,
            client: "",
            isolation: b"",
        };
        assert!(matches!(rig.ask(open), Reply::Opened { .. }));
        rig.changed_from_now("watched");
    }
    rig.set_slice(SLICE);
    rig.slice();
    rig.disconnect();
    assert!(rig.has_backlog());
    let slices = finish(&mut rig);
    assert!(slices >= 2 * MANY as usize / SLICE as usize - 1, "{slices}");
    rig.acquire(0, 1, "watched", X).token();
    assert_eq!(rig.told_any(), None, "no watch is left");
    rig.pass(Duration::from_secs(1));
    finish(&mut rig);
    assert_eq!(rig.stats().sessions, 1);
}

#[test]
fn pages_are_in_order_and_complete_with_new_and_old_names() {
    let limits = Limits {
        page: 7,
        ..Limits::default()
    };
    let mut rig = Rig::new(limits);
    rig.open(0, 0);
    let name = |number: u128| format!("n{:05}", number * 7_919 % 10_000);
    for number in 0..10_000 {
        rig.acquire(0, number, &name(number), X).token();
    }
    // Names without claims are not listed, whether they are watched or not.
    for number in (0..10_000).filter(|number| number % 10 != 0) {
        if number % 10 == 1 {
            rig.changed_from_now(&name(number));
        }
        rig.withdraw(0, number);
    }
    let expected: BTreeSet<_> = (0..1_000).map(|number| name(number * 10)).collect();
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let (page, more) = rig.list("n", &after);
        assert_eq!(page.len(), if more { 7 } else { 1_000 % 7 });
        listed.extend(page);
        after.clone_from(listed.last().unwrap());
        if !more {
            break;
        }
    }
    assert!(listed.iter().eq(&expected));
    let below = |prefix: &str| {
        let names = expected.iter().filter(|name| name.starts_with(prefix));
        names.take(7).cloned().collect::<Vec<_>>()
    };
    assert_eq!(rig.list("n0000", "").0, below("n0000"));
    assert_eq!(rig.list("n07", "n06").0, below("n07"));
    assert_eq!(rig.list("n07", "n08").0, Vec::<String>::new());
}
