//! Tables that are restored again and again, while their logs are replaced.

use std::sync::atomic::Ordering;
use std::time::Duration;

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, Secret, SessionId, clock};
use proptest::prelude::*;

use super::active::Next;
use super::full::run_out;
use super::recovery::recover;
use super::{Durability, LogPosition, Storage, StorageOptions, Table, boot_id};
use crate::engine::{Change, Command, Limits, LockTable, Refusal, Reply, Requester, Terms};

const NAMES: [&str; 3] = ["a", "b", "c"];
const TTL: Duration = Duration::from_secs(600);
/// The client of this session is isolated if an operator ends the session while it holds.
const TO_ISOLATE: u8 = 3;

struct StoredTable {
    table: Table,
    storage: Storage,
}

impl StoredTable {
    fn open(options: &StorageOptions) -> Self {
        let (mut table, storage) = Storage::open(options, &Limits::default()).unwrap();
        table.enable_isolation();
        Self { table, storage }
    }

    /// Makes one visit, without writing its changes.
    fn visit(&mut self, command: Command<'_>) -> (Option<Reply>, LogPosition) {
        let from = Requester {
            connection: 1,
            request: 1,
        };
        self.storage.begin_visit(&mut self.table);
        let reply = self
            .table
            .apply(clock::now(), from, command, &mut Vec::new());
        (reply, self.storage.end_visit(&mut self.table).unwrap())
    }

    fn ask(&mut self, command: Command<'_>) -> Option<Reply> {
        let (reply, position) = self.visit(command);
        self.storage.write(&mut self.table, position);
        reply
    }

    /// Applies a step, and returns false if it is a restart.
    fn take(&mut self, step: &Step) -> bool {
        match step {
            Step::Open(number) => {
                self.ask(open(*number, TTL));
            }
            Step::Close(number) => {
                self.ask(Command::Close {
                    session: session(*number),
                });
            }
            Step::End(number) => {
                self.ask(Command::EndSession {
                    session: session(*number),
                });
            }
            Step::ConfirmIsolated(number) => {
                self.ask(Command::ConfirmIsolated {
                    session: session(*number),
                });
            }
            Step::Enqueue {
                session: owner,
                claim: id,
                names,
                shared,
                any,
            } => {
                let names: Vec<_> = names.iter().map(|name| NAMES[*name]).collect();
                self.ask(Command::EnqueueAll {
                    session: session(*owner),
                    claim: claim(*id),
                    names: &names,
                    any: *any,
                    mode: if *shared {
                        Mode::Shared
                    } else {
                        Mode::Exclusive
                    },
                    waits: true,
                    value: &[*id],
                });
            }
            Step::Update {
                session: owner,
                claim: id,
                value,
            } => {
                self.ask(Command::Update {
                    session: session(*owner),
                    claim: claim(*id),
                    value: &[*value],
                });
            }
            Step::Withdraw {
                session: owner,
                claim: id,
            } => {
                self.ask(Command::Withdraw {
                    session: session(*owner),
                    claim: claim(*id),
                });
            }
            Step::Restart { .. } => return false,
        }
        true
    }

    /// Waits until the next step of replacing the log is one of a visit.
    fn wait_for_preparer(&self) {
        let deadline = clock::now().after(Duration::from_secs(20));
        while self.storage.active.as_ref().unwrap().preparer.is_busy() {
            assert!(clock::now() < deadline, "the next log is not prepared");
            std::thread::yield_now();
        }
    }

    /// Returns the contents of the table, and those of a table that is restored from its log.
    fn contents(&self) -> [Vec<String>; 2] {
        let (_, log) = self.storage.folder.newest_log().unwrap().unwrap();
        let mut restored = LockTable::new(Limits::default(), self.table.last_token());
        recover(&mut restored, &log, boot_id(), None, clock::now()).unwrap();
        let mut contents = [Vec::new(), Vec::new()];
        let [live, logged] = &mut contents;
        self.table.dump(|change| live.push(line(change)));
        restored.dump(|change| logged.push(line(change)));
        for lines in &mut contents {
            // Keep the order of each queue.
            lines.sort_by(|one, other| one.0.cmp(&other.0));
        }
        contents.map(|lines| lines.into_iter().map(|(_, line)| line).collect())
    }

    /// Returns everything that observers can see.
    fn seen(&mut self) -> Vec<Reply> {
        let entries = |reply| match reply {
            Some(Reply::Queue(view)) => {
                let mut queue = view.into_queue();
                queue.revision = Default::default();
                Reply::Queue(queue.into())
            }
            other => panic!("{other:?}"),
        };
        NAMES
            .map(|name| entries(self.ask(Command::Inspect { name })))
            .to_vec()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open(u8),
    Close(u8),
    /// An operator ends a session.
    End(u8),
    ConfirmIsolated(u8),
    Enqueue {
        session: u8,
        claim: u8,
        names: Vec<usize>,
        shared: bool,
        any: bool,
    },
    Update {
        session: u8,
        claim: u8,
        value: u8,
    },
    Withdraw {
        session: u8,
        claim: u8,
    },
    /// The server stops, properly or not, and another one takes over.
    Restart {
        properly: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4u8).prop_map(Step::Open),
        1 => (0..4u8).prop_map(Step::Close),
        1 => (0..4u8).prop_map(Step::End),
        1 => (0..4u8).prop_map(Step::ConfirmIsolated),
        12 => (0..4u8, 0..20u8, prop::sample::subsequence(vec![0, 1, 2], 1..=3), any::<bool>(), any::<bool>())
            .prop_map(|(session, claim, names, shared, any)| Step::Enqueue { session, claim, names, shared, any }),
        2 => (0..4u8, 0..20u8, any::<u8>())
            .prop_map(|(session, claim, value)| Step::Update { session, claim, value }),
        10 => (0..4u8, 0..20u8).prop_map(|(session, claim)| Step::Withdraw { session, claim }),
        1 => any::<bool>().prop_map(|properly| Step::Restart { properly }),
    ]
}

fn session(number: u8) -> SessionId {
    SessionId::from_bits(u128::from(number) + 1)
}

fn claim(number: u8) -> ClaimId {
    ClaimId::from_bits(u128::from(number) + 1)
}

fn open(number: u8, ttl: Duration) -> Command<'static> {
    let (secret, terms) = (Secret::from_bits(u128::from(number)), Terms::lasting(ttl));
    Command::Open {
        session: session(number),
        secret,
        terms,
        client: "somebody",
        isolation: if number == TO_ISOLATE { b"how" } else { b"" },
    }
}

/// Enqueues a claim for the name `a`.
fn enqueue(owner: u8, number: u8) -> Command<'static> {
    enqueue_as(owner, number, "a")
}

fn enqueue_as(owner: u8, number: u8, name: &str) -> Command<'_> {
    let (session, claim, mode) = (session(owner), claim(number), Mode::Exclusive);
    Command::Enqueue {
        session,
        claim,
        name: name.as_bytes(),
        mode,
        waits: true,
        value: b"",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The log is replaced in the background every few hundred bytes, while the table changes.
    #[test]
    fn a_table_is_the_same_after_every_restart(
        steps in proptest::collection::vec(step(), 1..300),
        fsync in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let durability = if fsync { Durability::Fsync } else { Durability::Async };
        let options = StorageOptions { log_bytes: 300, ..StorageOptions::new(folder.path()) }.with_durability(durability);
        let mut stored = StoredTable::open(&options);
        for step in steps {
            if stored.take(&step) {
                continue;
            }
            let (seen, last) = (stored.seen(), stored.table.last_token());
            if let Step::Restart { properly: true } = step {
                stored.storage.end(&mut stored.table);
            }
            drop(stored);
            stored = StoredTable::open(&options);
            prop_assert_eq!(stored.seen(), seen);
            prop_assert!(stored.table.last_token() > last, "tokens rise over a restart");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Every step of replacing the log happens between two commands, so that the table changes
    /// between any two of its slices.
    #[test]
    fn the_next_log_contains_the_table(steps in proptest::collection::vec(step(), 100..400)) {
        let folder = tempfile::tempdir().unwrap();
        let options = StorageOptions { log_bytes: 100, ..StorageOptions::new(folder.path()) };
        let mut stored = StoredTable::open(&options);
        for number in 0..4 {
            stored.ask(open(number, TTL));
        }
        for step in steps {
            let generation = stored.storage.generation();
            stored.take(&step);
            stored.wait_for_preparer();
            if stored.storage.generation() != generation {
                let [live, logged] = stored.contents();
                prop_assert_eq!(live, logged);
            }
        }
    }
}

/// Returns a change as text, and its session or name.
fn line(change: Change<'_>) -> (String, String) {
    let group = match change {
        Change::Arrived { name, .. } => format!("name {name}"),
        Change::Opened { session, .. } | Change::Isolating { session, .. } => {
            format!("a session {session:?}")
        }
        Change::Isolated { .. } => "isolated".to_owned(),
        other => panic!("{other:?} is not a part of a dump"),
    };
    (group, format!("{change:?}"))
}

#[test]
fn a_log_is_replaced_before_it_is_long() {
    let folder = tempfile::tempdir().unwrap();
    let options = StorageOptions {
        log_bytes: 4_096,
        ..StorageOptions::new(folder.path())
    };
    let mut stored = StoredTable::open(&options);
    stored.ask(open(1, TTL));
    let deadline = clock::now().after(Duration::from_secs(20));
    while stored.storage.generation() < 5 {
        assert!(clock::now() < deadline, "the log is not replaced");
        stored.ask(enqueue(1, 1));
        stored.ask(Command::Withdraw {
            session: session(1),
            claim: claim(1),
        });
    }
    stored.storage.end(&mut stored.table);
    let logs = || {
        std::fs::read_dir(folder.path()).unwrap().filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .starts_with("log-")
        })
    };
    assert!(logs().count() <= 2, "the old ones are removed");
}

#[tokio::test]
async fn a_full_disk_keeps_earlier_grants_and_later_releases() {
    let folder = tempfile::tempdir().unwrap();
    let options = StorageOptions::new(folder.path()).with_durability(Durability::Fsync);
    let mut stored = StoredTable::open(&options);
    stored.ask(open(1, TTL));
    stored.ask(open(2, TTL));
    let (granted, before) = stored.visit(enqueue(1, 1));
    assert!(
        matches!(granted, Some(Reply::Granted { .. })),
        "{granted:?}"
    );
    stored.visit(enqueue(2, 2));
    run_out(&mut stored.table, &std::io::ErrorKind::StorageFull.into());
    let (_, after) = stored.visit(Command::Withdraw {
        session: session(2),
        claim: claim(2),
    });
    for position in [before, after] {
        stored.storage.write(&mut stored.table, position);
        let on_disk = position.on_disk(stored.storage.synced().unwrap());
        tokio::time::timeout(Duration::from_secs(20), on_disk)
            .await
            .expect("the change is on the disk in time");
    }
    drop(stored);
    let mut stored = StoredTable::open(&options);
    assert_eq!(stored.ask(enqueue(1, 1)), granted, "the grant is not lost");
    let Some(Reply::Queue(queue)) = stored.ask(Command::Inspect { name: "a" }) else {
        panic!("no queue")
    };
    assert_eq!(
        queue.into_queue().entries.len(),
        1,
        "the withdrawal is not lost"
    );
}

#[test]
fn an_old_log_that_cannot_be_removed_does_not_prevent_a_start_or_other_removals() {
    let folder = tempfile::tempdir().unwrap();
    let options = StorageOptions::new(folder.path());
    let mut stored = StoredTable::open(&options);
    stored.ask(open(1, TTL));
    let granted = stored.ask(enqueue(1, 1));
    drop(stored);
    // A folder with the name of a log: removing it as a file fails.
    std::fs::create_dir(folder.path().join("log-0")).unwrap();
    let mut stored = StoredTable::open(&options);
    assert_eq!(stored.ask(enqueue(1, 1)), granted);
    assert!(!folder.path().join("log-1").exists() && folder.path().join("log-2").exists());
}

#[test]
fn a_disk_that_fills_while_the_log_is_replaced_loses_nothing() {
    for is_dumping in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let options = StorageOptions {
            log_bytes: 100,
            ..StorageOptions::new(folder.path())
        };
        let mut stored = StoredTable::open(&options);
        stored.ask(open(1, TTL));
        let is_there = |stored: &StoredTable| {
            let next = &stored.storage.active.as_ref().unwrap().next;
            match next {
                Next::Dumping(_) => is_dumping,
                Next::Complete(_) => !is_dumping,
                _ => false,
            }
        };
        let mut number = 0;
        while !is_there(&stored) {
            stored.ask(enqueue_as(1, number, &format!("name-{number}")));
            stored.wait_for_preparer();
            number += 1;
        }
        let generation = stored.storage.generation();
        let active = stored.storage.active.as_ref().unwrap();
        let (Next::Dumping(next) | Next::Complete(next)) = &active.next else {
            panic!("there is no next log")
        };
        // There is room for the release, and none for another grant.
        for room in [active.log.room(), next.room()] {
            room.disk.store(room.end() + 1_000, Ordering::Relaxed);
        }
        let is_committed = active.preparer.is_committed();
        let room = active.log.room().clone();
        let refused = stored.ask(enqueue_as(1, number, "refused"));
        assert_eq!(refused, Some(Reply::Refused(Refusal::StorageFull)));
        stored.ask(Command::Withdraw {
            session: session(1),
            claim: claim(0),
        });
        let [live, logged] = stored.contents();
        assert_eq!(
            live, logged,
            "dumping {is_dumping}, committed {is_committed}"
        );
        let stored_generation = stored.storage.generation();
        room.disk.store(u64::MAX, Ordering::Relaxed);
        stored.storage.maintain(&mut stored.table, &mut Vec::new());
        if !is_committed {
            assert_eq!(stored_generation, generation, "the old log goes on");
            let granted = stored.ask(enqueue_as(1, number, "granted"));
            assert!(
                matches!(granted, Some(Reply::Granted { .. })),
                "{granted:?}"
            );
        }
        let [live, logged] = stored.contents();
        assert_eq!(live, logged);
    }
}
