//! The conformance suite: every law as named cases, which run on any backend.
//!
//! The tests of a backend are short: a [`Harness`] that creates backends of one store, and one
//! macro call that expands into a named `#[test]` for each case.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use distsync_core::conformance::Harness;
//! use distsync_core::spi::{Backend, async_trait};
//!
//! # async fn connect() -> Arc<dyn Backend> { panic!() }
//! struct Mine; // the store: started for the test, stopped when dropped
//!
//! #[async_trait]
//! impl Harness for Mine {
//!     async fn backend(&self) -> Arc<dyn Backend> {
//!         connect().await
//!     }
//!
//!     fn ttl(&self) -> Duration {
//!         Duration::from_secs(2)
//!     }
//!
//!     async fn restart(&self) {
//!         // Stop the store, and start it again with its data.
//!     }
//! }
//!
//! distsync_core::conformance!(mine, async { Arc::new(Mine) });
//! ```
//!
//! A store outside of this workspace finds all of this in `distsync::spi`, with the feature
//! `conformance` of the crate `distsync`.
//!
//! Each case uses names of its own, so that cases can run concurrently on one store. Only a case
//! that restarts a [shared](Harness::is_shared) store runs by itself. Faults are
//! injected by [`Faulty`], which wraps the backend, so no proxy is needed. Where a capability is
//! `false`, the cases check that the operation is rejected. While the cases run, everything that
//! the process logs through `tracing` is searched for [secrets].

pub mod bare;
mod breaking;
pub mod broken;
pub mod cases;
mod faulty;
pub mod secrets;
mod stage;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::RwLock;

use crate::options::SyncOptions;
use crate::spi::backend::Backend;

pub use breaking::{BreakAt, Breaking, Proxy};
pub use faulty::{Faulty, Network};
pub use stage::Stage;

/// The interface between the suite and the tests of a store.
#[async_trait]
pub trait Harness: Send + std::marker::Sync + 'static {
    /// Returns a backend with its own connections, as in a process that has just started.
    async fn backend(&self) -> Arc<dyn Backend>;

    /// Returns the session TTL of the cases: the shortest at which a busy test machine does not
    /// miss renewals.
    fn ttl(&self) -> Duration;

    /// Restarts the store within half of the TTL, with its data if it is persistent.
    ///
    /// A session may have been renewed a third of its TTL before, so less than the TTL is left.
    /// Skip the cases that restart the store if a restart takes longer, or use a longer TTL.
    async fn restart(&self);

    /// Returns a backend as [`backend`](Self::backend) does, whose connection to the store breaks
    /// once.
    ///
    /// Default: it breaks between two requests. A store that is reached over TCP returns a backend
    /// that connects to a [`Proxy`], so that a request of several messages is left between two of
    /// them. Another store interrupts its own steps where it can.
    async fn breaking(&self, at: BreakAt) -> Breaking {
        Breaking::between_requests(self.backend().await, at)
    }

    /// Returns the options of each client, from those that the cases use. Default: unchanged.
    fn options(&self, options: SyncOptions) -> SyncOptions {
        options
    }

    /// Returns whether the cases share one store. Cases that restart it then run by themselves.
    ///
    /// Default: `true`. If each harness starts a store of its own, return `false`, so that no case
    /// waits for others. A test runner with a process for each test, such as nextest, has to run
    /// the cases that restart a shared store in a group of their own.
    fn is_shared() -> bool
    where
        Self: Sized,
    {
        true
    }
}

#[async_trait]
impl<H: Harness> Harness for Arc<H> {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.as_ref().backend().await
    }

    fn ttl(&self) -> Duration {
        self.as_ref().ttl()
    }

    async fn restart(&self) {
        self.as_ref().restart().await;
    }

    async fn breaking(&self, at: BreakAt) -> Breaking {
        self.as_ref().breaking(at).await
    }

    fn options(&self, options: SyncOptions) -> SyncOptions {
        self.as_ref().options(options)
    }

    fn is_shared() -> bool {
        H::is_shared()
    }
}

/// The time limit of one case, in addition to the TTLs that it waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The shared stores of this process. A case that restarts one holds this lock exclusively.
static SHARED: RwLock<()> = RwLock::const_new(());

/// Runs one case on its own runtime with two workers.
///
/// # Panics
/// If the case fails or does not end in time.
pub fn run<H, F, C>(harness: H, case: impl FnOnce(Stage) -> C)
where
    H: Future<Output = Arc<F>>,
    F: Harness,
    C: Future<Output = ()>,
{
    start(async {
        let _others_may_run = if F::is_shared() {
            Some(SHARED.read().await)
        } else {
            None
        };
        play(harness, case).await;
    });
}

/// Runs one case that restarts the store. No other case runs on a [shared](Harness::is_shared)
/// store meanwhile.
///
/// # Panics
/// If the case fails or does not end in time.
pub fn run_alone<H, F, C>(harness: H, case: impl FnOnce(Stage) -> C)
where
    H: Future<Output = Arc<F>>,
    F: Harness,
    C: Future<Output = ()>,
{
    start(async {
        let _no_other_runs = if F::is_shared() {
            Some(SHARED.write().await)
        } else {
            None
        };
        play(harness, case).await;
    });
}

fn start(case: impl Future<Output = ()>) {
    secrets::watch_logs();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the case");
    runtime.block_on(case);
    runtime.shutdown_background();
}

async fn play<H, F, C>(harness: H, case: impl FnOnce(Stage) -> C)
where
    H: Future<Output = Arc<F>>,
    F: Harness,
    C: Future<Output = ()>,
{
    let stage = Stage::new(harness.await).await;
    let limit = PATIENCE + stage.ttl() * 12;
    if tokio::time::timeout(limit, case(stage)).await.is_err() {
        panic!("the case did not end within {limit:?}");
    }
}

/// Expands into a module of named tests, one for each case.
///
/// A case that a store cannot run yet is skipped with a reason. Its test is ignored: it is listed
/// with its reason, and counted, in each run. A name that is no case does not compile.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use distsync_core::conformance::Harness;
/// # use distsync_core::spi::{async_trait, Backend};
/// # struct Mine;
/// # #[async_trait]
/// # impl Harness for Mine {
/// #     async fn backend(&self) -> Arc<dyn Backend> { panic!() }
/// #     fn ttl(&self) -> Duration { Duration::from_secs(2) }
/// #     async fn restart(&self) {}
/// # }
/// distsync_core::conformance!(mine, async { Arc::new(Mine) }, skip {
///     law_13_a_restart_shorter_than_the_ttl: "the test server is not ours to restart",
/// });
/// ```
///
/// ```compile_fail
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use distsync_core::conformance::Harness;
/// # use distsync_core::spi::{async_trait, Backend};
/// # struct Mine;
/// # #[async_trait]
/// # impl Harness for Mine {
/// #     async fn backend(&self) -> Arc<dyn Backend> { panic!() }
/// #     fn ttl(&self) -> Duration { Duration::from_secs(2) }
/// #     async fn restart(&self) {}
/// # }
/// distsync_core::conformance!(mine, async { Arc::new(Mine) }, skip {
///     law_13_a_restart: "there is no case of this name",
/// });
/// ```
#[macro_export]
macro_rules! conformance {
    ($store:ident, $harness:expr $(, skip { $($case:ident: $reason:literal),* $(,)? })? $(,)?) => {
        mod $store {
            #[allow(unused_imports)]
            use super::*;
            $crate::conformance_tests!(($) $harness; $($($case: $reason),*)?);
        }
    };
}

/// Expands into one test for each case. `$d` is a `$`, for the inner macro.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    (($d:tt) $harness:expr; $($skipped:ident: $reason:literal),*) => {
        $(
            #[allow(unused_imports)]
            use $crate::conformance::cases::$skipped as _;
        )*
        macro_rules! conformance_test {
            $(
                ($skipped $d run:ident) => {
                    #[test]
                    #[ignore = $reason]
                    fn $skipped() {
                        $crate::conformance::$d run($harness, $crate::conformance::cases::$skipped);
                    }
                };
            )*
            ($d case:ident $d run:ident) => {
                #[test]
                fn $d case() {
                    $crate::conformance::$d run($harness, $crate::conformance::cases::$d case);
                }
            };
        }
        $crate::conformance_cases!(conformance_test);
    };
}

/// The list of all cases, each with the function that runs it. A case that is not listed here does
/// not run.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($test:ident) => {
        $crate::conformance_cases!($test run_alone; law_13_a_restart_shorter_than_the_ttl);
        $crate::conformance_cases!($test run;
            law_01_a_fenced_resource_loses_no_update,
            law_01_a_token_is_presented_before_the_first_read,
            law_02_tokens_rise_across_sessions_and_modes,
            law_03_first_come_first_served,
            law_03_a_waiting_writer_is_not_overtaken,
            law_04_revocation_precedes_the_next_grant,
            law_04_a_check_reads_the_clock_itself,
            law_05_a_crash_frees_within_its_bound_and_wakes_one,
            law_06_a_waiter_whose_session_died_is_not_granted,
            law_06_a_session_that_ran_out_gets_nothing,
            law_06_an_evicted_waiter_is_not_granted,
            law_06_a_waiter_that_lost_its_session_starts_again,
            law_06_a_waiter_that_lost_its_session_outlasts_a_slow_store,
            law_07_release_is_idempotent,
            law_07_a_late_release_spares_the_next_holder,
            law_08_a_dropped_acquire_leaves_the_queue,
            law_08_a_late_arrival_of_a_dropped_acquire_is_undone,
            law_08_a_dropped_guard_releases,
            law_08_a_lost_reply_makes_no_second_claim,
            law_09_a_limited_wait_ends_in_time,
            law_09_a_limited_wait_names_an_outage,
            law_09_a_try_answers_at_once_and_leaves_nothing,
            law_10_every_waiter_is_served_after_faults,
            law_11_readers_share_and_writers_exclude,
            law_11_never_more_than_n_permits,
            law_11_permits_have_to_agree,
            law_11_one_of_many_gets_a_free_name,
            law_11_all_free_permits_are_granted_to_tries,
            law_11_all_of_many_get_a_free_name_in_turn,
            law_11_everything_at_once_at_one_name,
            law_12_one_leader_a_term_and_terms_rise,
            law_12_observers_see_leaders_in_order_and_vacancy,
            law_12_a_leader_proclaims,
            law_14_keep_alive_does_not_grow_with_locks,
            law_15_blocked_workers_do_not_lose_the_lock,
            law_16_failures_are_a_risk_and_the_deadline_a_loss,
            law_16_a_failed_extend_changes_nothing,
            law_16_a_claim_that_the_store_forgets_is_revoked,
            law_17_a_release_outlives_its_caller,
            law_17_a_failed_release_stays_armed,
            law_18_names_never_collide,
            law_19_a_dropped_guard_is_released_whatever_the_store_answers,
            law_19_a_guard_whose_release_failed_is_released,
            law_19_a_failed_acquire_leaves_nothing,
            law_19_a_request_that_arrives_very_late_is_withdrawn,
            law_19_a_repeated_request_that_arrives_later_is_withdrawn,
            law_19_nothing_is_left_after_random_faults,
            law_19_a_connection_that_breaks_at_any_message_leaves_nothing,
            spi_enqueue_and_withdraw_are_idempotent,
            spi_claims_reuse_key_slots_where_the_store_has_them,
            spi_a_closed_session_frees_all,
            spi_each_call_answers_by_the_state_of_the_claim,
            spi_each_call_answers_that_the_session_has_ended,
            spi_a_session_needs_its_secret_where_the_store_checks_it,
            spi_an_eviction_is_reported_once,
            spi_each_change_raises_the_revision,
            spi_random_requests_do_what_a_table_does,
            api_a_prefix_is_literal,
            spi_a_session_is_opened_although_the_reply_was_lost,
            api_a_short_ttl_is_raised_where_the_store_raises_it,
            api_a_hold_limit_runs_out_unless_extended,
            api_inspect_watch_and_list_show_who_is_there,
            api_an_operator_can_evict,
            api_close_releases_everything,
            api_release_all_frees_everything_and_the_handle_goes_on,
            api_a_detached_lock_is_resumed_elsewhere,
            api_a_detached_lock_ends_by_its_ttl,
            api_a_lock_can_outlive_its_handle,
            api_release_on_disconnect_where_the_store_can,
            api_all_of_several_names_or_none,
            api_several_names_are_granted_at_once_where_the_store_can,
            api_any_one_of_several_names,
            api_a_waiter_is_notified_of_its_position,
        );
    };
    ($test:ident $run:ident; $($case:ident),* $(,)?) => {
        $( $test!($case $run); )*
    };
}
