//! The conformance suite on three members, while one after the other is killed, stopped or cut off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use distsync_core::conformance::Harness;
use distsync_core::spi::{Backend, clock};
use distsync_netlock::Client;

use super::members::{Members, PATIENCE};

/// The session TTL of the cases. Requests are repeated for a third of it, which an election on a
/// busy machine has to fit in.
const TTL: Duration = Duration::from_secs(8);
/// The time between two disturbances, in which the members serve. A new leader gives every session
/// its whole TTL again, so sessions end only if none is elected for that long.
const PAUSE: Duration = Duration::from_millis(7_500);
/// How long a member is stopped or cut off: longer than an election takes.
const OUTAGE: Duration = Duration::from_millis(2_500);

/// Three members that all cases share, and a thread that disturbs them.
pub(super) struct Disturbed {
    members: Arc<Members>,
    is_over: Arc<AtomicBool>,
    disturber: Option<JoinHandle<()>>,
}

static RUNNING: Mutex<Weak<Disturbed>> = Mutex::new(Weak::new());

impl Disturbed {
    fn shared() -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap();
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *running = Arc::downgrade(&started);
            started
        })
    }

    fn start() -> Self {
        let members = Arc::new(Members::on_a_network());
        let is_over = Arc::<AtomicBool>::default();
        let (disturbed, until) = (members.clone(), is_over.clone());
        let disturber = std::thread::spawn(move || {
            for turn in 0_usize.. {
                let next = clock::now().after(PAUSE);
                while clock::now() < next {
                    if until.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                disturb(&disturbed, turn);
            }
        });
        Self {
            members,
            is_over,
            disturber: Some(disturber),
        }
    }
}

impl Drop for Disturbed {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.disturber.take().map(JoinHandle::join);
        assert!(
            matches!(ended, Some(Ok(()))) || std::thread::panicking(),
            "the disturber has failed"
        );
    }
}

fn disturb(members: &Members, turn: usize) {
    let leader = leader(members);
    match turn % 4 {
        0 => {
            members.kill(leader);
            std::thread::sleep(OUTAGE);
            members.start_one(leader);
        }
        1 => {
            members.freeze(leader);
            std::thread::sleep(OUTAGE);
            members.thaw(leader);
        }
        2 => {
            members.network().cut(&[leader]);
            std::thread::sleep(OUTAGE);
            members.network().heal();
        }
        _ => {
            let follower = (leader + 1) % 3;
            members.kill(follower);
            std::thread::sleep(OUTAGE);
            members.start_one(follower);
        }
    }
}

/// Waits until a member leads.
fn leader(members: &Members) -> usize {
    let deadline = clock::now().after(PATIENCE);
    loop {
        if let Some(leader) = members.all().find(|&member| members.leads(member)) {
            return leader;
        }
        assert!(clock::now() < deadline, "no member leads");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[async_trait]
impl Harness for Disturbed {
    async fn backend(&self) -> Arc<dyn Backend> {
        let backend = Client::new(self.members.config()).backend();
        while backend.list("nobody/").await.is_err() {}
        backend
    }

    fn ttl(&self) -> Duration {
        TTL
    }

    async fn restart(&self) {
        unreachable!("the disturber restarts the members");
    }
}

const TIME: &str =
    "a new leader gives sessions their whole TTL again, so none ends in the time of this case";
const BARE: &str = "asks the store without the core, which repeats requests that fail in an outage";
const TWO: &str = "has an outage of its own, and requests are not repeated for as long as two";
const RESTART: &str = "restarts the store, which the disturber does";

/// Expands into the cases, but for those that an outage makes impossible. Each of them has its
/// reason.
macro_rules! conformance_while_disturbed {
    (($d:tt) $($case:ident: $reason:ident,)*) => {
        mod suite {
            use super::{BARE, Disturbed, RESTART, TIME, TWO};

            macro_rules! test {
                $(
                    ($case $d run:ident) => {
                        const _: &str = $reason;
                    };
                )*
                ($d case:ident $d run:ident) => {
                    #[test]
                    fn $d case() {
                        distsync_core::conformance::$d run(
                            async { Disturbed::shared() },
                            distsync_core::conformance::cases::$d case,
                        );
                    }
                };
            }
            distsync_core::conformance_cases!(test);
        }
    };
}

conformance_while_disturbed!(($)
    law_05_a_crash_frees_within_its_bound_and_wakes_one: TIME,
    law_06_a_session_that_ran_out_gets_nothing: TIME,
    api_a_detached_lock_ends_by_its_ttl: TIME,
    api_a_lock_can_outlive_its_handle: TIME,
    law_13_a_restart_shorter_than_the_ttl: RESTART,
    law_08_a_lost_reply_makes_no_second_claim: TWO,
    law_06_a_waiter_whose_session_died_is_not_granted: BARE,
    law_06_an_evicted_waiter_is_not_granted: BARE,
    law_07_a_late_release_spares_the_next_holder: BARE,
    law_16_a_claim_that_the_store_forgets_is_revoked: BARE,
    api_a_short_ttl_is_raised_where_the_store_raises_it: BARE,
    api_release_on_disconnect_where_the_store_can: BARE,
    spi_enqueue_and_withdraw_are_idempotent: BARE,
    spi_each_call_answers_by_the_state_of_the_claim: BARE,
    spi_each_call_answers_that_the_session_has_ended: BARE,
    spi_a_session_needs_its_secret_where_the_store_checks_it: BARE,
    spi_an_eviction_is_reported_once: BARE,
    spi_each_change_raises_the_revision: BARE,
    spi_random_requests_do_what_a_table_does: BARE,
);
