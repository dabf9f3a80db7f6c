//! The suite that proves a store: one function per promise, over any implementation. What is one implementation's own
//! (a lock file, a full disk) is tested beside it.
//!
//! [`store_conformance!`](crate::store_conformance) makes a test of each, so that no implementation can leave one out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken promise is told by a panic")]

pub mod accounts;
pub mod analytics;
pub mod anew;
pub mod audit;
pub mod builds;
pub mod concurrency;
pub mod dead_letters;
pub mod groups;
pub mod hooks;
pub mod journal;
pub mod kept;
pub mod leases;
pub mod logs;
pub mod lost_place;
pub mod payloads;
pub mod people;
pub mod processes;
pub mod queues;
pub mod record;
pub mod replies;
mod samples;
pub mod search;
pub mod secrets;

use std::sync::Arc;

use crate::{BoxFuture, Store};

/// How the suite gets stores of an implementation.
pub trait Fixture: Send + Sync {
    /// A store with nothing in it. Called once.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>>;
    /// The same store as it is found when the process that had it was killed at this moment.
    fn after_kill(&self) -> BoxFuture<'_, Arc<dyn Store>>;
}

/// Makes a test of each function of the suite. The argument is an expression that makes a new [`Fixture`]. The tests
/// need `tokio` with `rt-multi-thread` and `macros`.
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr) => {
        $crate::store_conformance!(@ $fixture, accounts:
            sessions_end_at_their_time
            p8_a_session_that_was_signed_out_does_not_come_back
            tokens_are_found_by_their_hash
            a_sign_in_link_ends_at_its_time
            callbacks_are_kept_in_order_until_forgotten
            executors_are_alive_while_they_are_heard
            p2_a_former_start_of_an_executor_is_not_heard
            an_executor_is_known_by_the_first_secret_that_it_shows
            gateways_are_shown_until_they_leave
            the_installation_key_is_offered_once
            a_pipeline_counts_its_texts
            a_pipeline_is_written_only_if_the_rule_says_so
            pipelines_are_listed_with_their_last_builds
            the_store_checks_itself
        );
        $crate::store_conformance!(@ $fixture, audit:
            audit_entries_are_found_newest_first
            audit_entries_are_forgotten_by_their_age
        );
        $crate::store_conformance!(@ $fixture, builds:
            builds_are_numbered_within_their_pipeline
            an_idempotency_key_makes_one_build
            p1_a_build_stands_with_its_announcements
            p1_a_change_stands_with_its_announcements
            p1_what_was_answered_survives_a_kill
            a_refused_change_leaves_everything_as_it_was
            every_state_comes_back_as_it_was_written
            many_writers_at_once_are_all_answered
            builds_are_listed_newest_first
            the_outbox_tells_of_new_rows_and_forgets_confirmed_ones
        );
        $crate::store_conformance!(@ $fixture, dead_letters:
            p7_a_dead_letter_comes_back_as_it_was_kept
            a_dead_letter_has_one_row_however_often_it_comes
            a_dead_letter_is_settled_only_as_it_was_read
            dead_letters_are_listed_newest_first
            a_body_that_is_too_large_is_cut_and_cannot_be_retried
            dead_letters_are_bounded_in_number_bytes_and_age
            p2_a_job_that_is_given_up_is_a_dead_letter_until_its_build_is_retried
        );
        $crate::store_conformance!(@ $fixture, leases:
            claims_go_by_priority_then_by_time
            p2_a_repeated_claim_gets_the_same_answer
            only_the_present_start_of_an_executor_can_claim
            p2_concurrent_claims_get_different_jobs
            p2_terms_rise_and_an_old_term_is_lost
            p2_a_lease_that_ran_out_is_lost_before_it_is_reaped
            a_refused_grant_leaves_the_job_queued
            a_cancelled_job_is_told_at_renewal
            jobs_of_a_former_incarnation_are_orphaned
            label_sets_are_known_and_waiting_jobs_counted
            p2_a_named_lease_has_one_holder_and_its_term_rises
        );
        $crate::store_conformance!(@ $fixture, queues:
            a_long_queue_holds_up_nobody_else
            pipelines_take_turns_where_nothing_runs
            a_priority_goes_before_fairness
            what_waits_is_counted_whatever_becomes_of_it
            ten_thousand_jobs_of_two_hundred_pipelines_are_given_in_turns
        );
        $crate::store_conformance!(@ $fixture, concurrency:
            builds_of_a_group_run_one_after_the_other
            jobs_of_a_group_share_its_places
            p2_concurrent_claims_never_exceed_a_group
            a_place_is_free_however_its_holder_ends
            the_newest_build_takes_the_turn_of_those_that_wait
            a_build_supersedes_none_of_another_pipeline
            a_job_asks_for_its_place_when_its_build_has_one
        );
        $crate::store_conformance!(@ $fixture, logs:
            p3_a_hundred_thousand_lines_come_back_exactly
            p3_an_open_line_is_replaced_by_the_line_with_its_number
            p3_a_line_that_has_its_end_is_never_replaced
            p3_a_page_of_a_log_is_bounded_in_bytes
            a_log_that_does_not_exist_is_told_apart_from_an_empty_one
        );
        $crate::store_conformance!(@ $fixture, record:
            p5_only_last_plus_one_is_applied
            p5_a_group_keeps_its_place_with_its_effect
            p3_a_closed_attempt_is_sealed_and_the_next_one_lives
            p3_a_finished_job_is_sealed_at_its_last_offset
            p3_a_job_cancelled_between_attempts_leaves_the_last_attempt_whole
            an_event_without_meaning_does_not_stop_its_topic
            a_build_is_shown_with_what_is_recorded
            build_events_are_read_back_in_order
            p7_the_record_survives_a_kill
        );
        $crate::store_conformance!(@ $fixture, lost_place:
            p3_what_the_stream_has_lost_is_told_and_what_follows_is_recorded
            p3_an_attempt_whose_end_the_stream_has_lost_is_sealed_by_its_end_said_again
            p5_only_what_is_not_recorded_to_its_end_may_skip
            p3_only_attempts_that_have_ended_unsealed_are_to_be_said_again
        );
        $crate::store_conformance!(@ $fixture, replies:
            p1_a_reply_is_due_with_the_end_of_its_build
            a_reply_that_failed_is_due_again_at_its_time_or_by_hand
            receipt_ends_a_callback_that_the_outbox_sends
            results_that_were_not_received_are_listed_for_who_asked
        );
        $crate::store_conformance!(@ $fixture, kept:
            a_deleted_build_is_gone_with_all_that_refers_to_it
            numbers_of_deleted_builds_do_not_come_again
            builds_outlive_their_time_by_the_rules
            pipelines_tell_how_long_their_builds_are_kept
        );
        $crate::store_conformance!(@ $fixture, search:
            search_finds_lines_by_words_phrases_and_prefixes
            search_tells_nothing_of_what_may_not_be_seen
            search_finds_builds_by_what_is_known_of_them
            search_tells_pages_that_new_builds_do_not_move
            search_finds_all_attempts_of_a_job
            search_finds_a_line_once_it_has_its_end
            p5_what_is_indexed_again_is_found_once
            search_finds_nothing_of_a_deleted_build
            an_index_made_of_the_record_finds_the_same
        );
        $crate::store_conformance!(@ $fixture, groups:
            a_wish_for_a_group_survives_a_kill
            p5_a_rebuild_that_has_not_ended_is_to_be_made_again
            groups_are_shown_as_their_members_tell
        );
        $crate::store_conformance!(@ $fixture, analytics:
            p5_statistics_are_those_of_the_record_however_the_events_come
            p5_a_rebuild_counts_what_the_record_has_and_the_stream_adds_the_rest
            p5_a_topic_that_was_forgotten_counts_no_second_time
        );
        $crate::store_conformance!(@ $fixture, payloads:
            claim_check_a_payload_that_nobody_refers_to_goes_with_its_time
            file_input_a_build_whose_file_is_not_kept_is_not_made
            file_input_the_payload_of_a_deleted_build_goes_with_the_last_one
        );
        $crate::store_conformance!(@ $fixture, secrets:
            a_secret_stands_in_its_own_place
            secrets_come_under_another_key_together
        );
        $crate::store_conformance!(@ $fixture, hooks:
            a_delivery_makes_one_build
            a_hook_lets_through_what_its_present_secret_signed
        );
        $crate::store_conformance!(@ $fixture, people:
            an_account_is_made_by_a_link_once
            a_name_belongs_to_one_account
            somebody_always_runs_the_installation
            an_invitation_gives_no_more_than_who_made_it_may_do
            two_who_change_an_account_do_not_overwrite_each_other
            a_changed_password_ends_sessions
            an_identity_belongs_to_one_account
            an_account_is_linked_and_unlinked
            an_answer_of_a_provider_is_used_once
            tokens_are_listed_and_taken_back
        );
        $crate::store_conformance!(@ $fixture, anew:
            p3_a_restored_store_begins_anew_above_every_epoch
        );
        $crate::store_conformance!(@ $fixture, journal:
            p7_the_journal_comes_back_as_it_was_written
            a_trimmed_stream_keeps_its_offsets
        );
    };
    (@ $fixture:expr, $module:ident: $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::conformance::$module::$name(&$fixture).await;
            }
        )*
    };
}
