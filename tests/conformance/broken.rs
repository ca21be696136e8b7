//! Tests of the conformance suite itself: backends that are broken on purpose fail the cases that
//! cover their faults.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use distsync_core::conformance::broken::{BrokenHarness, Fault};
use distsync_core::conformance::{cases, run};

use super::stores::Memory;

/// Defines tests that pass if the case fails on a store with the fault.
macro_rules! caught {
    ($($test:ident: $fault:ident by $case:ident;)*) => {
        $(
            #[test]
            fn $test() {
                let harness = async {
                    Arc::new(BrokenHarness { inner: Memory::start(), fault: Fault::$fault })
                };
                let outcome = catch_unwind(AssertUnwindSafe(|| run(harness, cases::$case)));
                assert!(outcome.is_err(), "{} did not notice {:?}", stringify!($case), Fault::$fault);
            }
        )*
    };
}

caught! {
    sessions_that_never_expire: NeverExpires by law_05_a_crash_frees_within_its_bound_and_wakes_one;
    sessions_that_expire_early: ExpiresEarly by law_04_revocation_precedes_the_next_grant;
    two_holders: GrantsTwice by law_11_readers_share_and_writers_exclude;
    two_holders_seen_by_a_try: GrantsTwice by law_09_a_try_answers_at_once_and_leaves_nothing;
    two_leaders: GrantsTwice by law_12_one_leader_a_term_and_terms_rise;
    barging_readers: ReadersBarge by law_03_a_waiting_writer_is_not_overtaken;
    falling_tokens: TokensFall by law_02_tokens_rise_across_sessions_and_modes;
    falling_tokens_at_the_resource: TokensFall by law_01_a_token_is_presented_before_the_first_read;
    standing_tokens: RepeatsTokens by law_02_tokens_rise_across_sessions_and_modes;
    releases_in_words: IgnoresReleases by law_07_release_is_idempotent;
    drops_in_words: IgnoresReleases by law_08_a_dropped_guard_releases;
    releases_of_others: ReleasesAnyHolder by law_07_a_late_release_spares_the_next_holder;
    waiters_that_cannot_leave: KeepsCancelledWaiters by law_08_a_dropped_acquire_leaves_the_queue;
    tries_that_stay: TryStays by law_09_a_try_answers_at_once_and_leaves_nothing;
    grants_to_the_dead: GrantsEndedSessions by law_06_a_waiter_whose_session_died_is_not_granted;
    grants_to_those_who_ran_out: GrantsEndedSessions by law_06_a_session_that_ran_out_gets_nothing;
    repeated_claims: RepeatsClaims by spi_enqueue_and_withdraw_are_idempotent;
    names_that_collide: SharesNames by law_18_names_never_collide;
    kinds_that_collide: MixesKinds by law_18_names_never_collide;
    hidden_vacancy: HidesVacancy by law_12_observers_see_leaders_in_order_and_vacancy;
    dropped_values: DropsValues by law_12_a_leader_proclaims;
    one_permit_too_many: OnePermitTooMany by law_11_never_more_than_n_permits;
    one_of_several: TakesOnlyTheFirst by api_several_names_are_granted_at_once_where_the_store_can;
    ghosts_of_guards: IgnoresReleases by law_19_a_dropped_guard_is_released_whatever_the_store_answers;
    ghosts_of_waiters: KeepsCancelledWaiters by law_19_a_failed_acquire_leaves_nothing;
    ghosts_after_random_faults: KeepsCancelledWaiters by law_19_nothing_is_left_after_random_faults;
    revived_sessions: RevivesSessions by spi_each_call_answers_that_the_session_has_ended;
    ended_sessions_that_are_granted: GrantsEndedSessions by spi_each_call_answers_that_the_session_has_ended;
    values_of_strangers: DropsValues by spi_each_call_answers_by_the_state_of_the_claim;
    prefixes_with_wildcards: ListsStrangers by api_a_prefix_is_literal;
    repeated_evictions: RepeatsEvictions by spi_an_eviction_is_reported_once;
    evictions_that_are_not_reported: HidesEvictions by spi_an_eviction_is_reported_once;
    made_up_positions: MiscountsPositions by spi_random_requests_do_what_a_table_does;
    made_up_outcomes: MisreportsWithdrawals by spi_random_requests_do_what_a_table_does;
    random_barging_readers: ReadersBarge by spi_random_requests_do_what_a_table_does;
    random_tries_that_stay: TryStays by spi_random_requests_do_what_a_table_does;
    random_releases_of_others: ReleasesAnyHolder by spi_random_requests_do_what_a_table_does;
    random_ended_sessions: GrantsEndedSessions by spi_random_requests_do_what_a_table_does;
    random_repeated_tokens: RepeatsTokens by spi_random_requests_do_what_a_table_does;
    random_permits: OnePermitTooMany by spi_random_requests_do_what_a_table_does;
    sessions_without_secrets: IgnoresSecrets by spi_a_session_needs_its_secret_where_the_store_checks_it;
    revisions_that_stay: CoarseRevisions by spi_each_change_raises_the_revision;
    claims_repeated_after_a_break: RepeatsClaims by law_19_a_connection_that_breaks_at_any_message_leaves_nothing;
    ghosts_after_a_break: KeepsCancelledWaiters by law_19_a_connection_that_breaks_at_any_message_leaves_nothing;
    waiters_that_lose_their_positions: ShufflesWaiters by law_03_first_come_first_served;
    grants_that_are_not_reported: HidesGrants by law_10_every_waiter_is_served_after_faults;
    evictions_of_waiters_in_words: IgnoresEvictions by law_06_an_evicted_waiter_is_not_granted;
    late_arrivals_that_stay: IgnoresReleases by law_08_a_late_arrival_of_a_dropped_acquire_is_undone;
    very_late_arrivals_that_stay: IgnoresReleases by law_19_a_request_that_arrives_very_late_is_withdrawn;
    repeated_arrivals_that_stay: IgnoresReleases by law_19_a_repeated_request_that_arrives_later_is_withdrawn;
    claims_repeated_after_a_lost_reply: RepeatsClaims by law_08_a_lost_reply_makes_no_second_claim;
    limited_waits_that_stay: KeepsCancelledWaiters by law_09_a_limited_wait_ends_in_time;
    permits_of_any_number: AcceptsOtherPermits by law_11_permits_have_to_agree;
    releases_after_a_failure: IgnoresReleases by law_19_a_guard_whose_release_failed_is_released;
    releases_of_a_cancelled_caller: IgnoresReleases by law_17_a_release_outlives_its_caller;
    releases_tried_again: IgnoresReleases by law_17_a_failed_release_stays_armed;
    closed_sessions_that_live: IgnoresClose by spi_a_closed_session_frees_all;
    closed_handles_that_hold: IgnoresClose by api_close_releases_everything;
    sessions_that_cannot_be_opened_again: OpensOnce by spi_a_session_is_opened_although_the_reply_was_lost;
    disconnected_sessions_that_live: HoldsAfterDisconnect by api_release_on_disconnect_where_the_store_can;
    releases_of_all_in_words: IgnoresClose by api_release_all_frees_everything_and_the_handle_goes_on;
    hold_limits_that_never_end: NeverExpires by api_a_hold_limit_runs_out_unless_extended;
    detached_locks_that_never_end: NeverExpires by api_a_detached_lock_ends_by_its_ttl;
    tokens_of_detached_locks: TokensFall by api_a_detached_lock_is_resumed_elsewhere;
    one_of_any: TakesOnlyTheFirst by api_any_one_of_several_names;
    one_of_all: TakesOnlyTheFirst by api_all_of_several_names_or_none;
    made_up_positions_of_waiters: MiscountsPositions by api_a_waiter_is_notified_of_its_position;
    names_with_old_values: DropsValues by api_inspect_watch_and_list_show_who_is_there;
    two_writers_at_the_resource: TokensFall by law_01_a_fenced_resource_loses_no_update;
    evictions_that_no_call_awaits: MissesEvictions by spi_an_eviction_is_reported_once;
    silent_evictions: HidesEvictions by api_an_operator_can_evict;
    decisions_on_old_news: DecidesOnStaleState by law_11_one_of_many_gets_a_free_name;
    decisions_on_old_news_about_permits: DecidesOnStaleState by law_11_all_free_permits_are_granted_to_tries;
    one_permit_too_many_in_a_race: OnePermitTooMany by law_11_all_free_permits_are_granted_to_tries;
    decisions_on_old_news_in_turn: DecidesOnStaleState by law_11_all_of_many_get_a_free_name_in_turn;
    decisions_on_old_news_in_all_modes: DecidesOnStaleState by law_11_everything_at_once_at_one_name;
    waiters_granted_while_they_leave: KeepsRacingGrants by law_11_everything_at_once_at_one_name;
    releases_of_others_in_a_race: ReleasesAnyHolder by law_11_everything_at_once_at_one_name;
}
