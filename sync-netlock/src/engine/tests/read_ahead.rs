//! Reading ahead.

use std::time::Duration;

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_core::{Mode, Token};

use crate::engine::{Command, Limits, LockTable, Requester, Terms};

#[test]
fn reading_ahead_changes_nothing() {
    let mut table = LockTable::new(Limits::default(), Token::new(1).unwrap());
    let (now, from, mut effects) = (Moment::from_nanos(1), Requester::HOST, Vec::new());
    let session = SessionId::from_bits(1);
    let open = Command::Open {
        session,
        secret: Secret::default(),
        terms: Terms::lasting(Duration::from_secs(60)),
        client: "test",
        isolation: b"",
    };
    table.apply(now, from, open, &mut effects);
    let names: Vec<String> = (0..3_000).map(|number| format!("n{number}")).collect();
    let enqueue = |number: usize| Command::Enqueue {
        session,
        claim: ClaimId::from_bits(number as u128),
        name: names[number].as_bytes(),
        mode: Mode::Exclusive,
        waits: true,
        value: b"",
    };
    let withdraw = |number: usize| Command::Withdraw {
        session,
        claim: ClaimId::from_bits(number as u128),
    };
    // The list of idle names is full, and some names were removed.
    (0..3_000).for_each(|number| drop(table.apply(now, from, enqueue(number), &mut effects)));
    (1_000..3_000).for_each(|number| drop(table.apply(now, from, withdraw(number), &mut effects)));
    let before = format!("{table:?}");
    for number in (0..3_000).step_by(10) {
        let commands = [enqueue(number), withdraw(number), Command::Tick, open];
        table.read_ahead(commands.into_iter().cycle().take(number % 50));
    }
    assert_eq!(format!("{table:?}"), before);
}
