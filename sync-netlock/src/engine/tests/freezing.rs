//! Tests of frozen tables, which grant nothing.

use std::time::Duration;

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, Gone, Withdrawn};

use super::rig::Rig;
use crate::engine::{Command, Freeze, Refusal, Reply};

#[test]
fn claims_wait_during_a_grace_period_and_are_granted_after_it() {
    let mut rig = Rig::with_sessions(2);
    let grace = Duration::from_secs(3);
    let until = rig.now().after(grace);
    rig.freeze(Freeze::Grace { until });
    assert_eq!(
        rig.try_acquire(0, 1, "a", Mode::Exclusive),
        Reply::Refused(Refusal::Settling { left: grace })
    );
    assert_eq!(rig.acquire(0, 2, "a", Mode::Exclusive).position(), 0);
    assert_eq!(rig.acquire(1, 3, "a", Mode::Exclusive).position(), 1);
    assert_eq!(rig.next_deadline(), Some(until));
    rig.pass(grace - Duration::from_millis(1));
    assert_eq!(rig.inspect("a").holders().count(), 0);
    rig.pass(Duration::from_millis(1));
    rig.told(2).token();
    assert_eq!(rig.inspect("a").holders().count(), 1);
    assert!(matches!(
        rig.try_acquire(0, 4, "b", Mode::Exclusive),
        Reply::Granted { .. }
    ));
}

#[test]
fn a_full_disk_refuses_grants_and_still_releases() {
    let mut rig = Rig::with_sessions(2);
    rig.acquire(0, 1, "a", Mode::Exclusive).token();
    rig.acquire(1, 2, "a", Mode::Exclusive).position();
    rig.freeze(Freeze::Full);
    assert_eq!(
        rig.acquire(0, 3, "b", Mode::Exclusive),
        Reply::Refused(Refusal::StorageFull)
    );
    assert_eq!(rig.open(9, 9), Reply::Refused(Refusal::StorageFull));
    assert!(matches!(rig.renew(0), Reply::Renewed { .. }));
    assert_eq!(
        rig.update(0, 1, b"long"),
        Reply::Refused(Refusal::StorageFull)
    );
    assert_eq!(rig.withdraw(0, 1), Reply::Withdrawn(Withdrawn::Held));
    let queue = rig.inspect("a");
    assert_eq!(
        (queue.holders().count(), queue.waiters().count()),
        (0, 1),
        "nobody is granted what cannot be kept"
    );
    let evict = Command::Evict {
        name: "a",
        claim: ClaimId::from_bits(2),
    };
    assert_eq!(rig.ask(evict), Reply::Withdrawn(Withdrawn::Waiting));
    assert_eq!(rig.told(2), Reply::Gone { why: Gone::Evicted });
}
