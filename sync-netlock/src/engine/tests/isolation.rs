//! Tests of sessions that keep their claims until their client is isolated.

use std::time::Duration;

use distsync_core::Mode;
use distsync_core::spi::{Gone, SessionId, Withdrawn};

use super::rig::Rig;
use crate::engine::{Command, Limits, Reason, Refusal, Reply};

fn confirm(rig: &mut Rig, session: u128) {
    assert_eq!(
        rig.ask(Command::ConfirmIsolated {
            session: SessionId::from_bits(session)
        }),
        Reply::Closed
    );
}

#[test]
fn a_holder_that_expires_keeps_its_claims_until_it_is_isolated() {
    let mut rig = Rig::with_sessions(2);
    rig.open_to_isolate(9);
    let token = rig.acquire(9, 1, "a", Mode::Exclusive).token();
    rig.acquire(1, 2, "a", Mode::Exclusive).position();
    rig.acquire(0, 3, "b", Mode::Exclusive).token();
    rig.acquire(9, 4, "b", Mode::Exclusive).position();
    let ended = Command::EndSession {
        session: SessionId::from_bits(9),
    };
    assert_eq!(rig.ask(ended), Reply::Closed);
    // Its last connection closes and its TTL passes. Either would end a session that is not
    // isolating.
    for second in 0..20 {
        if second == 1 {
            rig.disconnect();
        }
        rig.pass(Duration::from_secs(1));
        rig.renew(0);
        rig.renew(1);
    }
    let isolations = rig.isolations();
    assert_eq!(isolations.len(), 1, "asked for once");
    let only = &isolations[0];
    assert_eq!(
        (only.session, only.reason, &*only.info),
        (SessionId::from_bits(9), Reason::Ended, &b"how"[..])
    );
    assert_eq!(only.locks, [("a".to_owned(), token, Vec::new())]);
    assert_eq!(
        rig.told(4),
        Reply::Gone {
            why: Gone::SessionLost
        },
        "it waits for nothing any more"
    );
    assert!(rig.inspect("a").entries[0].is_isolating);

    let isolated = || Reply::Refused(Refusal::Isolated);
    assert_eq!(rig.renew(9), isolated());
    assert_eq!(rig.acquire(9, 5, "c", Mode::Exclusive), isolated());
    assert_eq!(rig.open_to_isolate(9), isolated());
    assert_eq!(rig.withdraw(9, 1), Reply::Withdrawn(Withdrawn::Absent));
    assert_eq!(rig.inspect("a").entries.len(), 2, "held still");
    confirm(&mut rig, 9);
    assert!(rig.told(2).token() > token);
    assert_eq!(rig.renew(9), isolated(), "told for good");
    let again = Command::ConfirmIsolated {
        session: SessionId::from_bits(9),
    };
    assert_eq!(
        rig.ask(again),
        Reply::Refused(Refusal::SessionUnknown),
        "confirmed before"
    );
    assert!(rig.isolations().is_empty());
}

#[test]
fn a_session_that_holds_nothing_or_is_closed_is_not_isolated() {
    let mut rig = Rig::with_sessions(1);
    rig.open_to_isolate(8);
    rig.open_to_isolate(9);
    rig.acquire(0, 1, "a", Mode::Exclusive).token();
    rig.acquire(8, 2, "a", Mode::Exclusive).position();
    rig.acquire(9, 3, "b", Mode::Exclusive).token();
    assert_eq!(rig.close(9), Reply::Closed);
    rig.disconnect();
    rig.pass(Rig::TTL / 2);
    assert!(rig.isolations().is_empty());
    assert_eq!(rig.renew(8), Reply::Refused(Refusal::SessionUnknown));
    assert!(rig.inspect("b").entries.is_empty());
}

#[test]
fn no_claim_is_granted_while_several_sessions_end() {
    let mut rig = Rig::with_sessions(1);
    rig.acquire(0, 1, "a", Mode::Shared).token();
    rig.open_to_isolate(8);
    rig.open_to_isolate(9);
    rig.acquire(8, 2, "b", Mode::Exclusive).token();
    // If the writer were removed first, the reader behind it would be granted, but it ends too.
    rig.acquire(8, 3, "a", Mode::Exclusive).position();
    rig.acquire(9, 4, "a", Mode::Shared).position();
    let last = rig.acquire(0, 5, "c", Mode::Exclusive).token();
    for _ in 0..2 {
        rig.pass(Rig::TTL / 2);
        rig.renew(0);
    }
    assert_eq!(
        rig.told(4),
        Reply::Gone {
            why: Gone::SessionLost
        }
    );
    assert_eq!(
        rig.acquire(0, 6, "d", Mode::Exclusive).token().get(),
        last.get() + 1,
        "no grant between"
    );
}

#[test]
fn a_restored_table_continues_isolations_and_knows_the_isolated() {
    let mut rig = Rig::with_sessions(1);
    rig.open_to_isolate(8);
    rig.open_to_isolate(9);
    let token = rig.acquire(9, 1, "a", Mode::Exclusive).token();
    rig.acquire(0, 2, "b", Mode::Exclusive).token();
    for claim in 3..13 {
        rig.acquire(9, claim, "b", Mode::Shared).position();
    }
    rig.acquire(0, 13, "a", Mode::Exclusive).position();
    rig.acquire(8, 14, "c", Mode::Exclusive).token();
    for session in [8, 9] {
        rig.send(Command::EndSession {
            session: SessionId::from_bits(session),
        });
        if session == 8 {
            confirm(&mut rig, 8);
            // Only some waiting claims of the next one are removed before the restart.
            rig.set_slice(4);
        }
    }
    assert!(rig.has_backlog());
    rig.inspect("b");

    let mut copy = rig.copied(Limits::default());
    copy.thaw();
    for _ in 0..2 {
        // Its TTL is not that of a session that can still be renewed.
        copy.pass(Rig::TTL);
        assert_eq!(copy.renew(9), Reply::Refused(Refusal::Isolated));
        assert!(copy.inspect("a").entries[0].is_isolating);
    }
    let isolations = copy.isolations();
    assert_eq!(isolations.len(), 1, "not that which is confirmed");
    let only = &isolations[0];
    assert_eq!(
        (only.session, only.reason, &*only.info),
        (SessionId::from_bits(9), Reason::Ended, &b"how"[..])
    );
    assert_eq!(only.locks, [("a".to_owned(), token, Vec::new())]);
    let waiting = copy.inspect("b").entries;
    assert!(
        waiting.iter().all(|entry| entry.token.is_some()),
        "{waiting:?}"
    );
    for session in [8, 9] {
        assert_eq!(
            copy.open_to_isolate(session),
            Reply::Refused(Refusal::Isolated)
        );
    }
    confirm(&mut copy, 9);
    assert!(copy.inspect("c").entries.is_empty());

    let mut again = copy.copied(Limits::default());
    assert_eq!(again.renew(9), Reply::Refused(Refusal::Isolated));
    assert!(again.isolations().is_empty());
}
