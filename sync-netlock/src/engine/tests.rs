//! Tests of the engine: commands and the effects that they must have.

mod freezing;
mod isolation;
mod oracle;
mod rig;
mod slices;
mod watching;

use std::time::Duration;

use distsync_core::Mode;
use distsync_core::spi::{Gone, SessionId, Withdrawn};

use super::{Bound, Command, Limits, Refusal, Reply};
use rig::Rig;

const X: Mode = Mode::Exclusive;
const S: Mode = Mode::Shared;

fn busy(reply: &Reply) -> bool {
    matches!(reply, Reply::Busy { .. })
}

fn gone(why: Gone) -> Reply {
    Reply::Gone { why }
}

#[test]
fn a_free_name_is_granted_and_the_next_claim_waits() {
    let mut rig = Rig::with_sessions(2);
    let first = rig.acquire(0, 1, "a", X).token();
    assert_eq!(rig.acquire(1, 2, "a", X).position(), 1);
    assert_eq!(rig.withdraw(0, 1), Reply::Withdrawn(Withdrawn::Held));
    assert!(rig.told(2).token() > first, "the waiter is told");
}

#[test]
fn a_principal_has_its_own_share_of_sessions_and_claims() {
    let limits = Limits {
        sessions_per_principal: 2,
        claims_per_principal: 3,
        ..Limits::default()
    };
    let mut rig = Rig::new(limits.clone());
    let too_many = |what, max| Reply::Refused(Refusal::TooMany { what, max });
    rig.send(Command::Introduce { principal: 5 });
    for session in [0, 1] {
        assert!(matches!(rig.open(session, 0), Reply::Opened { .. }));
    }
    // Detaching makes no room, and opening the same session again needs none.
    let detach = Command::Detach {
        session: SessionId::from_bits(1),
    };
    assert_eq!(rig.ask(detach), Reply::Detached);
    assert_eq!(rig.open(2, 0), too_many(Bound::SessionsPerPrincipal, 2));
    assert!(matches!(rig.open(1, 0), Reply::Opened { .. }));
    // Claims count over all sessions, held and waiting.
    rig.acquire(0, 1, "a", X).token();
    rig.acquire(1, 2, "a", X).position();
    rig.acquire(1, 3, "b", X).token();
    assert_eq!(
        rig.acquire(0, 4, "c", X),
        too_many(Bound::ClaimsPerPrincipal, 3)
    );
    rig.withdraw(1, 2);
    rig.acquire(0, 4, "c", X).token();
    // Another principal, and clients that are not authenticated, are not affected.
    rig.disconnect();
    assert!(matches!(rig.open(7, 0), Reply::Opened { .. }));
    rig.send(Command::Introduce { principal: 6 });
    assert!(matches!(rig.open(8, 0), Reply::Opened { .. }));
    rig.acquire(8, 8, "d", X).token();
    // A table restored from the recorded changes has the same counts, and the end of a session
    // reduces them.
    let mut copy = rig.copied(limits);
    for rig in [&mut rig, &mut copy] {
        rig.send(Command::Introduce { principal: 5 });
        assert_eq!(rig.open(3, 0), too_many(Bound::SessionsPerPrincipal, 2));
        assert_eq!(
            rig.acquire(1, 9, "e", X),
            too_many(Bound::ClaimsPerPrincipal, 3)
        );
        rig.close(0);
        rig.acquire(1, 9, "e", X).token();
        assert!(matches!(rig.open(3, 0), Reply::Opened { .. }));
    }
}

#[test]
fn a_principal_has_its_own_share_of_each_queue() {
    let limits = Limits {
        claims_per_name: 5,
        claims_per_name_and_principal: 3,
        ..Limits::default()
    };
    let mut rig = Rig::new(limits.clone());
    let too_many = |what, max| Reply::Refused(Refusal::TooMany { what, max });
    let own = || too_many(Bound::ClaimsPerNameAndPrincipal, 3);
    rig.send(Command::Introduce { principal: 5 });
    for session in [0, 1] {
        rig.open(session, 0);
    }
    // The claims of all its sessions count: held, waiting, and shared ones that are granted at
    // once.
    rig.acquire(0, 1, "a", S).token();
    rig.acquire(1, 2, "a", S).token();
    rig.acquire(1, 3, "a", X).position();
    assert_eq!(rig.acquire(0, 4, "a", S), own());
    assert_eq!(rig.enqueue_all(0, 4, &["b", "a"], false, S, true), own());
    rig.acquire(0, 5, "b", X).token();
    // A table restored from the recorded changes has the same counts.
    let mut copy = rig.copied(limits);
    for rig in [&mut rig, &mut copy] {
        rig.send(Command::Introduce { principal: 5 });
        assert_eq!(rig.acquire(0, 4, "a", S), own());
        // Another principal has room, up to the limit of the name.
        rig.send(Command::Introduce { principal: 6 });
        rig.open(6, 0);
        rig.acquire(6, 6, "a", X).position();
        rig.acquire(6, 7, "a", X).position();
        let full = too_many(Bound::ClaimsPerName, 5);
        assert_eq!(rig.acquire(6, 8, "a", X), full);
        // A claim that has ended makes room again.
        rig.withdraw(1, 2);
        rig.acquire(0, 4, "a", X).position();
        assert_eq!(rig.acquire(6, 8, "a", X), full);
    }
}

#[test]
fn holders_that_share_a_name_count_to_its_limit() {
    let limits = Limits {
        claims_per_name: 2,
        ..Limits::default()
    };
    let mut rig = Rig::new(limits);
    rig.open(0, 0);
    for claim in [1, 2] {
        rig.acquire(0, claim, "a", S).token();
    }
    let refused = Reply::Refused(Refusal::TooMany {
        what: Bound::ClaimsPerName,
        max: 2,
    });
    assert_eq!(rig.acquire(0, 3, "a", S), refused);
    // A try of a taken name is refused as busy, not because the queue is full.
    assert!(busy(&rig.try_acquire(0, 3, "a", X)));
}

#[test]
fn ending_an_unknown_session_is_refused() {
    let mut rig = Rig::with_sessions(1);
    let (known, unknown) = (SessionId::from_bits(0), SessionId::from_bits(9));
    let refused = Reply::Refused(Refusal::SessionUnknown);
    assert_eq!(rig.ask(Command::EndSession { session: unknown }), refused);
    assert_eq!(
        rig.ask(Command::ConfirmIsolated { session: known }),
        refused,
        "it is not being isolated"
    );
    assert_eq!(
        rig.ask(Command::EndSession { session: known }),
        Reply::Closed
    );
    assert_eq!(rig.ask(Command::EndSession { session: known }), refused);
}

#[test]
fn a_repeated_enqueue_changes_nothing() {
    let mut rig = Rig::with_sessions(2);
    let granted = rig.acquire(0, 1, "a", X);
    assert_eq!(rig.acquire(0, 1, "a", X), granted);
    rig.acquire(1, 2, "a", X);
    rig.acquire(1, 3, "a", X);
    assert_eq!(rig.acquire(1, 3, "a", X).position(), 2);
    assert_eq!(rig.stats().claims, 3);
}

#[test]
fn a_claim_id_belongs_to_one_session_and_name() {
    let mut rig = Rig::with_sessions(2);
    rig.acquire(0, 1, "a", X);
    assert_eq!(
        rig.acquire(1, 1, "a", X),
        Reply::Refused(Refusal::ClaimTaken)
    );
    assert_eq!(
        rig.acquire(0, 1, "b", X),
        Reply::Refused(Refusal::ClaimTaken)
    );
    assert_eq!(
        rig.withdraw(1, 1),
        Reply::Withdrawn(Withdrawn::Absent),
        "not another session's"
    );
}

#[test]
fn a_try_leaves_nothing_behind() {
    let mut rig = Rig::with_sessions(2);
    rig.acquire(0, 1, "a", X);
    assert!(busy(&rig.try_acquire(1, 2, "a", X)));
    assert_eq!(rig.stats().claims, 1);
    rig.withdraw(0, 1);
    rig.try_acquire(1, 2, "a", X).token();
}

#[test]
fn a_try_does_not_overtake_waiters() {
    let mut rig = Rig::with_sessions(3);
    rig.acquire(0, 1, "a", S);
    rig.acquire(1, 2, "a", X);
    assert!(busy(&rig.try_acquire(2, 3, "a", S)));
}

#[test]
fn readers_share_and_a_waiting_writer_is_not_overtaken() {
    let mut rig = Rig::with_sessions(4);
    rig.acquire(0, 1, "a", S).token();
    rig.acquire(1, 2, "a", S).token();
    assert_eq!(rig.acquire(2, 3, "a", X).position(), 2);
    assert_eq!(rig.acquire(3, 4, "a", S).position(), 3);
    rig.withdraw(0, 1);
    assert_eq!(rig.told_any(), None);
    rig.withdraw(1, 2);
    rig.told(3).token();
    assert_eq!(rig.told_any(), None);
    rig.withdraw(2, 3);
    rig.told(4).token();
}

#[test]
fn readers_are_granted_when_a_writer_ahead_of_them_withdraws() {
    let mut rig = Rig::with_sessions(4);
    rig.acquire(0, 1, "a", S).token();
    rig.acquire(1, 2, "a", X);
    rig.acquire(2, 3, "a", S);
    rig.acquire(3, 4, "a", S);
    assert_eq!(rig.withdraw(1, 2), Reply::Withdrawn(Withdrawn::Waiting));
    assert_eq!(rig.told(2), gone(Gone::Withdrawn));
    assert!(rig.told(3).token() < rig.told(4).token());
}

#[test]
fn permits_are_counted_and_have_to_agree() {
    let two = Mode::Permit { of: 2 };
    let mut rig = Rig::with_sessions(4);
    rig.acquire(0, 1, "a", two).token();
    rig.acquire(1, 2, "a", two).token();
    assert_eq!(rig.acquire(2, 3, "a", two).position(), 2);
    assert_eq!(
        rig.acquire(3, 4, "a", Mode::Permit { of: 3 }),
        Reply::Refused(Refusal::PermitsDiffer { of: 2 })
    );
    rig.withdraw(1, 2);
    rig.told(3).token();
    rig.withdraw(0, 1);
    rig.withdraw(2, 3);
    rig.acquire(3, 4, "a", Mode::Permit { of: 3 }).token();
}

#[test]
fn a_session_ends_on_time_and_not_before() {
    let mut rig = Rig::with_sessions(2);
    rig.acquire(0, 1, "a", X);
    rig.acquire(1, 2, "a", X);
    rig.pass(Rig::TTL - Duration::from_nanos(1));
    rig.renew(1);
    assert_eq!(rig.told_any(), None);
    rig.pass(Duration::from_nanos(1));
    rig.told(2).token();
    assert_eq!(rig.stats().sessions, 1);
    assert_eq!(rig.renew(0), Reply::Refused(Refusal::SessionUnknown));
    assert_eq!(
        rig.acquire(0, 3, "a", X),
        Reply::Refused(Refusal::SessionUnknown)
    );
}

#[test]
fn a_renewal_moves_the_end_and_the_next_deadline_is_never_late() {
    let mut rig = Rig::with_sessions(1);
    let first = rig.next_deadline().unwrap();
    rig.pass(Rig::TTL / 2);
    assert_eq!(rig.renew(0), Reply::Renewed { ttl: Rig::TTL });
    assert!(rig.next_deadline().unwrap() <= first.after(Rig::TTL / 2));
    rig.pass(Rig::TTL / 2);
    assert_eq!(rig.stats().sessions, 1);
    assert_eq!(rig.next_deadline().unwrap(), first.after(Rig::TTL / 2));
}

#[test]
fn a_clock_that_goes_backwards_is_ignored() {
    let mut rig = Rig::with_sessions(1);
    rig.pass(Rig::TTL / 2);
    rig.go_back(Rig::TTL);
    rig.renew(0);
    rig.pass(Rig::TTL);
    rig.pass(Rig::TTL / 2 - Duration::from_nanos(1));
    assert_eq!(
        rig.stats().sessions,
        1,
        "the renewal counts from the latest time seen"
    );
}

#[test]
fn waiters_of_an_ended_session_are_skipped_and_notified() {
    let mut rig = Rig::with_sessions(3);
    rig.acquire(0, 1, "a", X);
    rig.acquire(1, 2, "a", X);
    rig.acquire(2, 3, "a", X);
    rig.close(1);
    assert_eq!(rig.told(2), gone(Gone::SessionLost));
    rig.withdraw(0, 1);
    rig.told(3).token();
}

#[test]
fn a_session_with_several_claims_in_one_queue_ends_as_a_whole() {
    let mut rig = Rig::with_sessions(2);
    rig.acquire(0, 1, "a", X);
    rig.acquire(0, 2, "a", X);
    rig.acquire(1, 3, "a", X);
    rig.acquire(0, 4, "a", X);
    rig.close(0);
    assert_eq!(
        rig.told(2),
        gone(Gone::SessionLost),
        "never granted on the way"
    );
    assert_eq!(rig.told(4), gone(Gone::SessionLost));
    rig.told(3).token();
    rig.close(1);
    assert_eq!(rig.stats(), super::Stats::default());
}

#[test]
fn an_open_with_the_right_secret_is_idempotent() {
    let mut rig = Rig::with_sessions(1);
    assert_eq!(rig.open(0, 0), Reply::Opened { ttl: Rig::TTL });
    assert_eq!(rig.open(0, 9), Reply::Refused(Refusal::SessionUnknown));
    assert_eq!(rig.attach(0, 0), Reply::Attached);
    assert_eq!(rig.attach(0, 9), Reply::Refused(Refusal::SessionUnknown));
    assert_eq!(rig.attach(7, 0), Reply::Refused(Refusal::SessionUnknown));
}

#[test]
fn a_holder_and_a_waiter_are_notified_of_their_eviction() {
    let mut rig = Rig::with_sessions(2);
    rig.acquire(0, 1, "a", X);
    rig.acquire(1, 2, "a", X);
    rig.acquire(1, 3, "a", X);
    let listening = rig.evictions(0);
    assert_eq!(
        rig.evict("b", 1),
        Reply::Withdrawn(Withdrawn::Absent),
        "another name"
    );
    assert_eq!(rig.evict("a", 2), Reply::Withdrawn(Withdrawn::Waiting));
    assert_eq!(rig.told(2), gone(Gone::Evicted));
    assert_eq!(rig.evict("a", 1), Reply::Withdrawn(Withdrawn::Held));
    assert_eq!(rig.answer(listening), Reply::Evictions(vec![Rig::claim(1)]));
    rig.told(3).token();
}

#[test]
fn an_eviction_waits_for_its_listener() {
    let mut rig = Rig::with_sessions(1);
    rig.acquire(0, 1, "a", X);
    let gone = rig.evictions(0);
    rig.disconnect();
    rig.evict("a", 1);
    assert_eq!(rig.told_to(gone), None);
    let listening = rig.evictions(0);
    assert_eq!(rig.answer(listening), Reply::Evictions(vec![Rig::claim(1)]));
}

#[test]
fn a_watcher_is_notified_of_every_change_once() {
    let mut rig = Rig::with_sessions(2);
    let watch = rig.changed_from_now("a");
    assert_eq!(rig.told_to(watch), None);
    rig.acquire(0, 1, "a", X);
    let queue = rig.answer(watch).queue();
    assert_eq!(queue.holders().count(), 1);

    let watch = rig.changed("a", queue.revision);
    rig.acquire(1, 2, "a", X);
    let queue = rig.answer(watch).queue();
    assert_eq!(queue.waiters().count(), 1);

    let watch = rig.changed("a", queue.revision);
    rig.update(0, 1, b"new");
    let queue = rig.answer(watch).queue();
    assert_eq!(&queue.entries[0].value[..], b"new");

    rig.withdraw(0, 1);
    rig.withdraw(1, 2);
    let late = rig.changed("a", queue.revision);
    assert!(
        rig.answer(late).queue().entries.is_empty(),
        "a change in the past is told at once"
    );
}

#[test]
fn a_cancelled_watch_leaves_no_name_behind() {
    let mut rig = Rig::with_sessions(0);
    let watch = rig.changed_from_now("a");
    assert_eq!(rig.stats().names, 1);
    rig.forget(watch);
    assert_eq!(rig.stats().names, 0);
    rig.changed_from_now("a");
    rig.disconnect();
    assert_eq!(rig.stats().names, 0);
}

#[test]
fn a_list_comes_in_pages_and_in_order() {
    let mut rig = Rig::new(Limits {
        page: 2,
        ..Limits::default()
    });
    rig.open(0, 0);
    for (claim, name) in [(1, "b/3"), (2, "b/1"), (3, "a/1"), (4, "b/2")] {
        rig.acquire(0, claim, name, X);
    }
    assert_eq!(
        rig.list("b/", ""),
        (vec!["b/1".to_owned(), "b/2".to_owned()], true)
    );
    assert_eq!(rig.list("b/", "b/2"), (vec!["b/3".to_owned()], false));
}

#[test]
fn a_principal_has_its_own_share_of_watches() {
    let mut rig = Rig::new(Limits {
        watches_per_principal: 2,
        ..Limits::default()
    });
    let watch = |name| Command::Changed {
        name,
        after: distsync_core::Revision(u64::MAX),
    };
    rig.send(Command::Introduce { principal: 5 });
    let first = rig.send(watch("a"));
    rig.send(watch("b"));
    let what = Bound::WatchesPerPrincipal;
    let too_many = Reply::Refused(Refusal::TooMany { what, max: 2 });
    assert_eq!(rig.ask(watch("c")), too_many);
    // A watch that ends no longer counts, however it ends.
    rig.send(Command::Forget { request: first });
    rig.send(watch("c"));
    assert_eq!(rig.ask(watch("d")), too_many);
    rig.disconnect();
    rig.send(Command::Introduce { principal: 6 });
    rig.send(watch("d"));
    rig.send(watch("e"));
    rig.disconnect();
    rig.send(Command::Introduce { principal: 5 });
    rig.send(watch("a"));
    rig.send(watch("b"));
    assert_eq!(rig.ask(watch("c")), too_many);
}

#[test]
fn a_refusal_names_the_limit() {
    let limits = Limits {
        names: 1,
        sessions: 2,
        claims_per_session: 2,
        claims_per_name: 2,
        names_per_claim: 2,
        watches_per_connection: 1,
        ..Limits::default()
    };
    let too_many = |what, max| Reply::Refused(Refusal::TooMany { what, max });
    let mut rig = Rig::new(limits.clone());
    rig.open(0, 0);
    rig.open(1, 1);
    assert_eq!(rig.open(2, 2), too_many(Bound::Sessions, 2));
    rig.acquire(0, 1, "a", X);
    rig.acquire(0, 2, "a", X);
    assert_eq!(
        rig.acquire(0, 3, "a", X),
        too_many(Bound::ClaimsPerSession, 2)
    );
    assert_eq!(rig.acquire(1, 3, "a", X), too_many(Bound::ClaimsPerName, 2));
    assert_eq!(rig.acquire(1, 3, "b", X), too_many(Bound::Names, 1));
    assert_eq!(
        rig.enqueue_all(1, 3, &["b", "c", "d"], false, X, true),
        too_many(Bound::NamesPerClaim, 2)
    );
    assert_eq!(
        rig.enqueue_all(1, 3, &["b", "c"], false, X, true),
        too_many(Bound::Names, 1)
    );
    assert_eq!(
        rig.enqueue_all(1, 3, &["a", ""], false, X, true),
        Reply::Refused(Refusal::NameInvalid)
    );
    let known = rig.inspect("a").revision;
    rig.changed("a", known);
    let second = rig.changed("a", known);
    assert_eq!(rig.answer(second), too_many(Bound::WatchesPerConnection, 1));
    assert_eq!(
        rig.acquire(1, 3, "", X),
        Reply::Refused(Refusal::NameInvalid)
    );
    assert_eq!(
        rig.acquire(1, 3, "a\n", X),
        Reply::Refused(Refusal::NameInvalid)
    );
    assert_eq!(
        rig.acquire(1, 3, &"a".repeat(2_049), X),
        Reply::Refused(Refusal::NameInvalid)
    );
    assert_eq!(
        rig.acquire(1, 3, "a", Mode::Permit { of: 0 }),
        Reply::Refused(Refusal::NoPermits)
    );
    assert_eq!(
        rig.update(0, 1, &[0; 1_025]),
        Reply::Refused(Refusal::TooLong { max: 1_024 })
    );
    for ttl in [Duration::ZERO, limits.ttl_max + Duration::from_nanos(1)] {
        let refusal = Refusal::TtlOutOfRange {
            min: limits.ttl_min,
            max: limits.ttl_max,
        };
        assert_eq!(rig.open_for(3, 3, ttl), Reply::Refused(refusal));
    }
}

#[test]
fn release_all_grants_nothing_that_is_about_to_end() {
    let mut rig = Rig::with_sessions(3);
    rig.acquire(0, 1, "y", X);
    rig.acquire(0, 2, "x", X);
    rig.enqueue_all(1, 3, &["x", "y"], false, X, true);
    rig.withdraw(0, 1);
    // The same behind a claim that also waits for another name.
    rig.acquire(2, 4, "y", X);
    assert_eq!(
        rig.ask(Command::ReleaseAll { prefix: "" }),
        Reply::Released { claims: 3 }
    );
    for waiter in [3, 4] {
        assert_eq!(rig.told(waiter), Reply::Gone { why: Gone::Evicted });
    }
    assert_eq!(rig.told_any(), None, "and nothing else");
    assert_eq!(rig.stats().claims, 0);
}
