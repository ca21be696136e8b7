//! Many watchers of one name, and the copies of a queue that its observers share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Revision, Secret, SessionId};
use distsync_core::{Mode, Token};
use proptest::prelude::*;

use crate::engine::{
    Command, Effect, Limits, LockTable, QueueSnapshot, QueueView, Reply, Requester, Terms,
};

struct Watched {
    table: LockTable,
    now: Moment,
    effects: Vec<Effect>,
}

const SESSION: SessionId = SessionId::from_bits(1);

impl Watched {
    fn new() -> Self {
        let mut watched = Self {
            table: LockTable::new(Limits::default(), Token::new(1).unwrap()),
            now: Moment::from_nanos(1_000_000_000),
            effects: Vec::new(),
        };
        let open = Command::Open {
            session: SESSION,
            secret: Secret::from_bits(1),
            terms: Terms::lasting(Duration::from_secs(60)),
            client: "client",
            isolation: b"",
        };
        watched.ask(1, 1, open);
        watched
    }

    fn ask(&mut self, connection: u64, request: u64, command: Command<'_>) -> Option<Reply> {
        let from = Requester {
            connection,
            request,
        };
        self.table.apply(self.now, from, command, &mut self.effects)
    }

    fn enqueue(&mut self, claim: u128, name: &str) {
        let enqueue = Command::Enqueue {
            session: SESSION,
            claim: ClaimId::from_bits(claim),
            name: name.as_bytes(),
            mode: Mode::Exclusive,
            waits: true,
            value: b"value",
        };
        self.ask(1, 1, enqueue);
    }

    fn watch(&mut self, connection: u64, request: u64) {
        let (name, after) = ("a", Revision(u64::MAX - 1));
        let reply = self.ask(connection, request, Command::Changed { name, after });
        assert_eq!(reply, None);
    }

    fn inspect(&mut self, name: &str) -> QueueView {
        match self.ask(1, 1, Command::Inspect { name }) {
            Some(Reply::Queue(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    /// Returns the watchers that were notified, sorted.
    fn told(&mut self) -> Vec<(u64, u64)> {
        let mut told: Vec<_> = self
            .effects
            .drain(..)
            .map(|effect| (effect.to.connection, effect.to.request))
            .collect();
        told.sort_unstable();
        told
    }
}

fn copy(view: &QueueView) -> &Arc<QueueSnapshot> {
    view.snapshot().expect("a queue of a table").0
}

proptest! {
    #[test]
    fn exactly_the_watchers_that_are_left_are_notified(
        steps in prop::collection::vec((1u64..4, 1u64..8, 0u8..8), 0..60),
        batch in 0usize..5,
    ) {
        let mut watched = Watched::new();
        let (mut left, mut expected) = (BTreeSet::new(), Vec::new());
        let mut has_news = false;
        // With a length of 0, there is no batch.
        for (batch_of, steps) in (1u128..).zip(steps.chunks(batch.max(1))) {
            if batch > 0 {
                watched.table.begin_batch();
            }
            for (claim, (connection, request, kind)) in (1..).zip(steps) {
                let (connection, request) = (*connection, *request);
                match kind {
                    // A request may repeat the id of an earlier one.
                    0..4 => {
                        // A new watch is not notified of an earlier change.
                        if std::mem::take(&mut has_news) {
                            expected.extend(std::mem::take(&mut left));
                        }
                        watched.watch(connection, request);
                        left.insert((connection, request));
                    }
                    4 => {
                        watched.ask(connection, 99, Command::Forget { request });
                        left.remove(&(connection, request));
                    }
                    5 => {
                        watched.ask(connection, 0, Command::Disconnected);
                        left.retain(|(other, _)| *other != connection);
                    }
                    _ => {
                        watched.enqueue(batch_of << 64 | claim, "a");
                        has_news |= !left.is_empty();
                    }
                }
            }
            if batch > 0 {
                watched.table.end_batch(&mut watched.effects);
            }
            if std::mem::take(&mut has_news) {
                expected.extend(std::mem::take(&mut left));
            }
            expected.sort_unstable();
            prop_assert_eq!(watched.told(), std::mem::take(&mut expected));
        }
        for connection in 1..4 {
            watched.ask(connection, 0, Command::Disconnected);
        }
        watched.enqueue(7, "a");
        prop_assert_eq!(watched.told(), vec![]);
    }
}

#[test]
fn a_batch_notifies_of_the_last_change_and_later_ones_are_not_missed() {
    let mut watched = Watched::new();
    for round in 0..2 {
        watched.watch(2, 1);
        watched.table.begin_batch();
        for claim in 1..4 {
            watched.enqueue(10 * round + claim, "a");
        }
        assert_eq!(watched.effects, []);
        watched.table.end_batch(&mut watched.effects);
        let Some(Reply::Queue(view)) = watched.effects.pop().map(|effect| effect.reply) else {
            panic!("no queue");
        };
        assert_eq!(view.into_queue().entries.len() as u128, 3 * (round + 1));
        assert_eq!(watched.effects, []);
    }
    // A name whose last watcher leaves in the batch is watched again later.
    watched.watch(2, 1);
    watched.table.begin_batch();
    watched.enqueue(100, "a");
    watched.ask(2, 2, Command::Forget { request: 1 });
    watched.table.end_batch(&mut watched.effects);
    assert_eq!(watched.effects, []);
    watched.watch(2, 1);
    watched.table.begin_batch();
    watched.enqueue(101, "a");
    watched.table.end_batch(&mut watched.effects);
    assert_eq!(watched.told(), [(2, 1)]);
}

#[test]
fn observers_of_an_unchanged_queue_share_one_copy() {
    let mut watched = Watched::new();
    watched.enqueue(1, "a");
    watched.enqueue(2, "b");
    watched.watch(2, 1);
    watched.watch(3, 1);
    watched.enqueue(3, "a");
    let views: Vec<_> = watched
        .effects
        .drain(..)
        .map(|effect| match effect.reply {
            Reply::Queue(view) => view,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(views.len(), 2);
    watched.now = watched.now.after(Duration::from_secs(5));
    let later = watched.inspect("a");
    assert!(Arc::ptr_eq(copy(&views[0]), copy(&views[1])));
    assert!(Arc::ptr_eq(copy(&views[0]), copy(&later)));
    let age = |view: &QueueView| view.clone().into_queue().entries[0].age;
    assert_eq!(age(&views[0]), Some(Duration::ZERO));
    assert_eq!(age(&later), Some(Duration::from_secs(5)), "ages go on");
    assert!(!Arc::ptr_eq(copy(&later), copy(&watched.inspect("b"))));
    watched.enqueue(4, "a");
    let changed = watched.inspect("a");
    assert_eq!(changed.into_queue().entries.len(), 3);
    assert_eq!(
        later.into_queue().entries.len(),
        2,
        "a copy does not change"
    );
}

#[test]
fn an_encoded_queue_is_used_again_for_a_millisecond() {
    let mut watched = Watched::new();
    watched.enqueue(1, "a");
    let view = watched.inspect("a");
    let (queue, now) = view.snapshot().unwrap();
    let mut encoded = 0;
    let mut encode = |nanos| {
        queue.encoded(now.after(Duration::from_nanos(nanos)), |_, _| {
            encoded += 1;
            Default::default()
        });
        encoded
    };
    assert_eq!(
        [0, 999_999, 1_000_000, 1_000_001].map(&mut encode),
        [1, 1, 2, 2]
    );
    assert_eq!([1, 0].map(encode), [2, 3], "and not for an earlier time");
}
