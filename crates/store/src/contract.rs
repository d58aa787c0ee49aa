//! The contract of every backend, as tests.
//!
//! A backend runs the suite in its own tests:
//!
//! ```
//! # use std::sync::Arc;
//! # use onerun_store::Store;
//! # struct Directory;
//! async fn empty_store() -> (Arc<dyn Store>, Directory) {
//!     unimplemented!("a store on an empty directory, and what removes the directory when it is dropped")
//! }
//!
//! onerun_store::contract!(empty_store);
//! ```
//!
//! Each case becomes a test, named by its assertion, on a new store and a multi-threaded runtime.
//! The second value of the function keeps the store's files alive and is dropped after the store.
//!
//! The cases change state by the transitions of [`onerun_domain`], passed as decisions. They wait
//! for nothing. Races run many times, and a case accepts every right outcome, so a failure is
//! always a defect.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a case of the suite fails as every test does: by a panic"
)]

mod fixture;
pub mod hot_path;

pub mod agents;
pub mod audit;
pub mod batches;
pub mod conversations;
pub mod deletion;
pub mod evaluation_runs;
pub mod idempotency;
pub mod imports;
pub mod isolation;
pub mod jobs;
pub mod judging;
pub mod key_bounds;
pub mod key_jobs;
pub mod keys;
pub mod monitors;
pub mod objectives;
pub mod overdue;
pub mod pages;
pub mod personas;
pub mod projects;
pub mod queue;
pub mod results;
pub mod retention;
pub mod settling;
pub mod simulations;
pub mod turns;
pub mod usage;
pub mod webhooks;

use std::sync::Arc;

pub use fixture::Fixture;

use crate::Store;

/// Creates one test for each case of the [`contract`](mod@crate::contract), on stores from
/// `$factory`: the name of an `async fn() -> (Arc<dyn Store>, Guard)` that returns empty,
/// independent stores.
#[macro_export]
macro_rules! contract {
    ($factory:ident) => {
        $crate::contract! { @groups $factory
            agents {
                agent_is_read_as_added
                agent_is_added_once
                unknown_agent_is_none
                changed_agent_is_stored
                refused_change_of_an_agent_writes_nothing
                concurrent_agent_changes_are_all_kept
                newest_poll_of_an_agent_is_stored
                poll_for_an_unknown_agent_writes_nothing
                agent_has_its_number_of_simulations
                agents_are_filtered_by_part_of_a_name_in_any_case
                name_filter_has_no_wildcards
                filtered_agents_are_sorted_and_paged
                agents_are_filtered_exactly_by_name_and_metadata
                archived_agent_is_in_a_list_of_its_own
            }
            audit {
                unstarted_trail_is_empty
                audit_entry_is_read_as_written
                every_key_change_has_an_entry
                trail_is_read_both_ways_in_pages
                trail_is_started_once
                concurrent_changes_make_one_chain
                unarchived_trail_has_nothing_to_delete
                archived_entries_are_in_no_list
                archived_entries_are_deleted_in_steps
                only_an_entry_of_the_list_is_archived
                position_among_archived_entries_is_refused
                trail_goes_on_after_all_of_it_is_archived
                archive_beside_changes_keeps_one_chain
            }
            batches {
                batch_is_read_as_added
                batches_are_sorted_both_ways
                changed_batch_is_stored_with_its_jobs
                concurrent_ends_of_items_are_all_counted
                largest_batch_is_stored
                batch_of_a_repeated_request_is_added_once
            }
            conversations {
                conversation_is_read_as_added
                every_state_of_a_conversation_is_stored
                second_conversation_of_a_number_is_ignored
                concurrent_queueing_queues_conversations_once
                conversations_are_queued_only_while_the_simulation_runs
                no_conversation_is_queued_after_a_cancel
                unknown_conversation_is_none
                conversations_are_listed_newest_first
                conversations_are_filtered_by_status
                queued_conversations_are_sorted_by_waiting_time
                pages_of_equally_long_waiting_conversations_never_overlap
                page_reports_whether_more_follow
                conversation_is_started_by_one_of_two_workers
                no_conversation_is_started_after_a_cancel
                many_workers_share_a_queue
                conversation_change_is_written_completely
                refused_change_of_a_conversation_writes_nothing
                conversation_decision_sees_the_newest_state
                concurrent_conversation_changes_are_all_kept
                lost_lease_requeues_until_the_last_attempt
                lease_is_lost_once
                attempt_is_renewed_or_over
                unfinished_conversations_are_listed
            }
            queue {
                queued_conversations_of_simulations_take_turns
                queue_has_only_running_simulations_of_its_agents
                queue_is_shared_by_many_workers
            }
            deletion {
                deleted_simulation_is_gone_at_once
                refused_deletion_writes_nothing
                simulation_is_deleted_by_its_own_project_alone
                deleted_simulations_are_found_until_purged
                purge_removes_everything_in_bounded_steps
                idempotency_record_of_a_simulation_is_purged
                simulation_is_deleted_by_one_of_many
                turn_is_completed_before_the_deletion_or_not
                list_leaves_out_what_is_deleted_meanwhile
            }
            evaluation_runs {
                evaluation_run_is_read_as_added
                evaluation_runs_are_listed_newest_first
                evaluation_run_change_is_written_with_its_jobs
                run_result_is_added_once_and_counted_once
                concurrent_run_results_are_all_counted
                labels_are_replaced_and_listed
            }
            idempotency {
                record_is_written_with_the_requests_effect
                repeated_request_writes_nothing
                record_is_valid_for_a_day
                concurrent_requests_under_one_key_act_once
                concurrent_starts_under_one_key_record_one
            }
            imports {
                import_is_read_until_it_is_deleted
                largest_import_is_stored
                import_of_a_repeated_request_is_added_once
                imported_conversation_is_kept_from_workers
            }
            isolation {
                other_projects_cannot_be_read
                other_projects_are_not_listed
                other_projects_cannot_be_changed
                other_projects_cannot_be_added_to
                simulation_shows_no_resource_of_another_project
                conversation_shows_no_persona_of_another_project
                conversation_is_found_under_its_own_simulation
                projects_with_equal_ids_are_isolated
            }
            jobs {
                every_kind_of_job_is_read_as_added
                jobs_are_claimed_oldest_first
                backlog_does_not_delay_another_project
                projects_take_turns_when_jobs_are_claimed_one_by_one
                retried_jobs_do_not_delay_another_project
                jobs_are_claimed_by_kind
                waiting_job_is_not_enqueued_again
                job_waiting_for_a_retry_is_not_enqueued_again
                completed_job_can_be_enqueued_again
                job_enqueued_while_claimed_runs_once_more
                claimed_job_is_due_again_after_its_claim_expires
                completed_job_is_deleted
                retried_job_is_due_at_its_retry_time
                job_can_be_retried_at_once
                completed_job_is_neither_retried_nor_buried
                buried_job_is_stored_with_its_reason
                buried_job_can_be_enqueued_again
                job_enqueued_while_buried_waits
                buried_jobs_are_listed_newest_first
                next_job_is_known
                job_is_claimed_by_one_of_many_claimers
                concurrent_enqueueing_adds_a_job_once
                job_is_claimed_by_its_id
                deleted_job_is_not_claimed_by_its_id
                job_claimed_by_its_id_is_due_again_later
                delayed_job_is_claimed_by_its_id_when_due
                postponed_job_waits_and_is_not_counted
                job_claimed_by_id_and_enqueued_runs_once_more
                job_reclaimed_by_its_id_is_completed_once
                job_is_claimed_by_id_by_one_of_many_claimers
            }
            judging {
                evaluation_is_read_as_recorded
                evaluations_have_judged_versions_in_objective_order
                repeated_or_late_evaluation_is_refused
                concurrent_judges_record_one_set_of_evaluations
                cancel_during_judging_ends_the_evaluation
                evaluation_is_recorded_only_before_a_cancel
                evaluations_are_shown_for_the_current_attempt
            }
            key_bounds {
                key_over_the_limit_is_refused
                ended_key_makes_room_for_another
                rotation_needs_room_unless_it_ends_the_old_key
                concurrent_keys_stay_within_the_limit
                key_over_the_limit_of_its_family_is_refused
                ended_key_makes_room_in_its_family
                rotated_key_counts_in_the_family_of_its_caller
                concurrent_keys_stay_within_the_limit_of_a_family
            }
            key_jobs {
                jobs_of_a_key_are_written_with_each_change
                refused_change_of_a_key_writes_no_job
                key_without_room_writes_no_job
                concurrent_changes_of_a_key_write_the_jobs_of_one
            }
            keys {
                key_is_read_as_added
                key_is_added_once
                unknown_key_is_none
                every_state_of_a_key_is_stored
                unchanged_key_is_not_written
                refused_change_of_a_key_writes_nothing
                revoked_caller_cannot_create_or_change_keys
                unknown_caller_is_none_in_the_decision
                caller_cannot_act_after_its_revocation
                concurrent_key_changes_are_all_kept
                revoked_key_stays_revoked
                rotation_is_stored_atomically
                failed_rotation_writes_nothing
                key_is_rotated_once
                calls_are_stored_verbatim_under_their_keys
                repeated_call_creates_no_second_key
                concurrent_calls_create_one_key
                keys_are_listed_newest_first
                keys_are_filtered_by_status
                keys_are_filtered_by_project
                keys_are_listed_by_project_access
                keys_are_filtered_by_expiry
                keys_are_filtered_by_idle_time
                filters_find_keys_far_behind_the_newest
                uses_of_a_key_are_added_up
                uses_of_a_key_are_written_once_a_minute
                key_uses_with_new_details_are_written_at_once
                concurrent_key_uses_are_written_once
                requests_are_counted_by_bucket_and_window
                concurrent_requests_are_all_counted
            }
            monitors {
                monitor_is_read_as_added
                monitors_are_sorted_both_ways
                changed_monitor_is_stored
                due_monitors_are_found_by_their_planned_time
                planned_time_has_one_run
                run_is_added_once
                requested_run_is_recorded
                runs_are_listed_by_planned_time
                changed_run_is_stored
                deleted_monitor_is_gone
                run_is_stored_for_its_retention
            }
            objectives {
                objective_is_read_as_added
                objective_is_added_once
                unknown_objective_is_none
                change_adds_a_version_and_keeps_the_old_ones
                unchanged_objective_gets_no_version
                refused_change_of_an_objective_writes_nothing
                concurrent_changes_make_one_version_each
                objectives_are_sorted_both_ways_by_their_newest_name
                pages_of_equal_objectives_never_overlap
            }
            overdue {
                conversation_is_overdue_when_its_lease_has_run_out
                renewed_lease_is_not_overdue
                conversation_with_a_claimed_turn_is_not_overdue
                claimed_turns_do_not_crowd_out_overdue_conversations
                longest_overdue_conversations_come_first
                simulation_is_overdue_when_it_has_expired
                longest_overdue_simulations_come_first
            }
            pages {
                named_lists_continue_where_they_were
                simulations_continue_where_they_were
                lists_of_a_simulation_continue_where_they_were
                keys_and_their_trail_continue_where_they_were
                list_continues_from_a_moved_row
                pages_of_large_messages_end_at_four_megabytes
                pages_of_large_rows_end_at_four_megabytes
                position_of_another_list_is_refused
            }
            personas {
                explicit_personas_are_read_as_written
                persona_is_read_as_added
                persona_is_added_with_its_jobs
                second_persona_of_a_number_is_ignored
                personas_of_two_simulations_may_have_one_number
                concurrent_creation_makes_a_persona_once
                unknown_persona_is_none
                persona_decision_is_stored_with_its_jobs
                refused_persona_decision_writes_nothing
                persona_has_only_one_decision
                persona_numbers_are_sequential
                personas_are_listed_newest_first
            }
            projects {
                project_is_read_as_added
                project_is_added_once
                unknown_project_does_not_open
                changed_project_is_stored
                refused_change_of_a_project_writes_nothing
                concurrent_project_changes_are_all_kept
                projects_are_sorted_both_ways
                pages_of_equal_projects_never_overlap
                projects_are_listed_by_access
                archived_project_is_in_a_list_of_its_own
            }
            results {
                objectives_without_a_evaluation_are_counted
                each_end_is_counted_under_its_reason
                critical_fault_of_a_persona_excludes_the_conversation
                personas_are_counted_by_approval
                counts_agree_with_the_lists_after_any_history
                counts_are_a_consistent_snapshot
            }
            retention {
                ended_simulations_are_found_by_their_end
                transcript_is_deleted_in_bounded_steps
                transcript_is_deleted_under_its_own_simulation_alone
            }
            settling {
                each_end_is_counted_by_its_kind
                end_is_counted_once
                last_end_enqueues_the_end_of_the_simulation
                end_is_counted_in_the_same_write
                concurrent_ends_are_all_counted
                conversation_stopped_twice_is_counted_once
                simulation_ends_with_its_last_conversation
                end_of_a_simulation_is_always_enqueued
                refused_end_is_not_counted
            }
            simulations {
                simulation_is_read_as_added
                simulation_is_added_once
                simulation_is_added_with_its_jobs
                objectives_keep_the_order_of_the_simulation
                unknown_simulation_is_none
                simulation_shows_its_agents_current_state
                changed_simulation_is_stored_with_its_jobs
                simulation_is_started_only_once
                refused_change_of_a_simulation_writes_nothing
                simulation_has_only_one_final_status
                concurrent_simulation_changes_are_all_kept
                simulations_are_sorted_both_ways
                simulations_are_filtered_by_name_status_and_agent
                pages_of_equal_simulations_never_overlap
                simulations_are_sorted_by_longest_waiting_conversation
                simulations_are_served_in_turn
                simulations_are_filtered_exactly_by_name_and_metadata
                simulations_are_filtered_by_origin_and_creation
            }
            turns {
                messages_are_read_as_written
                completed_turn_is_stored_atomically
                replies_are_stored_verbatim_under_their_keys
                second_reply_under_one_key_writes_nothing
                two_conversations_may_use_one_key
                reply_outlives_its_attempt
                each_attempt_has_its_own_messages
                context_of_a_reply_is_of_the_present_attempt
                change_under_a_replied_key_writes_nothing
                turn_is_claimed_by_one_of_two_calls
                only_one_call_holds_the_turn
                undelivered_reply_stays_until_delivered
                turn_taken_over_is_lost
                concurrent_replies_under_one_key_store_one
                turn_is_completed_or_its_lease_is_lost
                conversation_with_a_claimed_turn_is_not_ended
                call_of_a_worker_with_a_lost_lease_is_refused
            }
            usage {
                usage_is_added_up_by_simulation_and_project
                concurrent_additions_of_usage_are_all_counted
            }
            webhooks {
                webhooks_are_read_as_added
                change_of_webhooks_is_recorded
                concurrent_changes_of_webhooks_are_all_kept
                delivery_is_added_once
                deliveries_are_listed_by_time_and_state
                changed_delivery_is_stored
                delivery_is_stored_for_its_retention
            }
        }
    };
    (@groups $factory:ident $($group:ident { $($case:ident)+ })+) => {
        $(mod $group {
            $(
                #[test]
                fn $case() {
                    $crate::contract::run(super::$factory, $crate::contract::$group::$case);
                }
            )+
        })+
    };
}

/// Runs one case on a store from `factory`.
pub fn run<G>(factory: impl AsyncFnOnce() -> (Arc<dyn Store>, G), case: impl AsyncFnOnce(&Fixture)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, guard) = factory().await;
        case(&Fixture::new(store)).await;
        drop(guard);
    });
}
