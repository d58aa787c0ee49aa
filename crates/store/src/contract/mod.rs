//! What every backend must hold to, as tests.
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
//! Each case becomes a test of its own, named by what holds, in a runtime of its own with several threads, on a store
//! of its own. The second value that the function gives keeps what the store rests on alive, and is dropped after it.
//!
//! The cases change state as the rest of OneRun does: by the transitions of [`onerun_domain`], handed in as
//! decisions. They wait for nothing; races are run many times over, and every outcome that a case accepts is a right
//! one, so a failure always is a defect.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a case of the suite fails as every test does: by a panic"
)]

mod fixture;

pub mod agents;
pub mod audit;
pub mod conversations;
pub mod idempotency;
pub mod isolation;
pub mod jobs;
pub mod judging;
pub mod key_bounds;
pub mod keys;
pub mod objectives;
pub mod overdue;
pub mod pages;
pub mod personas;
pub mod projects;
pub mod results;
pub mod settling;
pub mod simulations;
pub mod turns;

use std::sync::Arc;

pub use fixture::World;

use crate::Store;

/// Makes one test of each case of the [`contract`](mod@crate::contract), on stores that `$factory` makes: the name
/// of an `async fn() -> (Arc<dyn Store>, Guard)`, whose stores are empty and share nothing.
#[macro_export]
macro_rules! contract {
    ($factory:ident) => {
        $crate::contract! { @groups $factory
            agents {
                an_agent_comes_back_as_it_was_added
                an_agent_is_added_once
                an_unknown_agent_is_none
                a_changed_agent_is_kept
                a_refused_change_of_an_agent_writes_nothing
                no_change_of_an_agent_is_lost_to_another
                the_newest_poll_of_an_agent_is_kept
                a_poll_for_an_unknown_agent_writes_nothing
                an_agent_says_how_many_simulations_it_has
                agents_are_found_by_part_of_their_name_in_any_case
                every_character_of_a_name_filter_stands_for_itself
                filtered_agents_are_sorted_and_paged
                agents_are_filtered_exactly_by_name_and_metadata
            }
            audit {
                a_trail_that_was_not_begun_is_empty
                an_entry_comes_back_as_it_was_written
                every_change_of_a_key_has_its_entry
                a_trail_is_read_both_ways_in_pages
                a_trail_is_begun_once
                changes_at_one_time_make_one_chain
            }
            conversations {
                a_conversation_comes_back_as_it_was_added
                every_state_of_a_conversation_is_kept
                the_first_conversation_of_a_number_is_kept
                conversations_that_are_queued_twice_at_one_time_are_queued_once
                conversations_are_queued_only_while_the_simulation_runs
                no_conversation_is_queued_after_a_cancel
                an_unknown_conversation_is_none
                conversations_are_listed_newest_first
                conversations_are_filtered_by_status
                queued_conversations_come_longest_waiting_first
                pages_of_equally_long_waiting_conversations_never_overlap
                a_page_tells_whether_more_follows
                a_conversation_is_started_by_one_of_two_workers
                no_conversation_is_started_after_a_cancel
                many_workers_share_a_queue
                all_of_a_change_of_a_conversation_is_written
                a_refused_change_of_a_conversation_writes_nothing
                a_decision_about_a_conversation_sees_the_newest_state
                no_change_of_a_conversation_is_lost_to_another
                a_lost_lease_queues_again_until_the_last_attempt
                a_lease_is_lost_once
                conversations_with_something_left_to_happen_are_named
            }
            idempotency {
                a_record_is_written_with_what_the_request_makes
                a_repeated_request_makes_nothing
                a_record_counts_for_a_day
                of_requests_at_one_time_under_one_key_one_is_done
                of_starts_at_one_time_under_one_key_one_is_recorded
            }
            isolation {
                nothing_of_another_project_is_read
                nothing_of_another_project_is_listed
                nothing_of_another_project_is_changed
                nothing_is_added_to_another_project
                a_simulation_shows_nothing_of_another_project
                a_conversation_shows_no_persona_of_another_project
                a_conversation_is_found_under_its_own_simulation
                projects_with_the_same_numbers_do_not_meet
            }
            jobs {
                every_kind_of_work_comes_back_as_it_was_added
                jobs_are_taken_oldest_first
                a_backlog_does_not_delay_another_project
                projects_take_turns_when_jobs_are_claimed_one_by_one
                retried_jobs_do_not_delay_another_project
                jobs_are_claimed_by_kind
                a_job_that_waits_is_not_added_again
                a_job_that_waits_for_another_try_is_not_added_again
                a_job_that_is_done_can_be_added_again
                a_job_that_is_added_while_it_is_done_is_done_once_more
                a_taken_job_shows_again_when_its_taker_is_given_up
                a_job_that_is_done_is_gone
                a_job_that_did_not_succeed_is_due_when_it_was_put_off_to
                a_job_can_be_tried_again_at_once
                a_job_that_is_done_is_neither_put_off_nor_given_up
                a_job_that_is_given_up_is_kept_with_its_reason
                a_job_that_was_given_up_can_be_added_again
                a_job_that_is_added_while_it_is_given_up_waits
                jobs_that_were_given_up_are_listed_newest_first
                the_next_job_is_known
                a_job_is_taken_by_one_of_many_takers
                a_job_that_is_added_twice_at_one_time_waits_once
                one_job_is_taken_by_its_id
                a_job_that_is_gone_is_not_taken_by_its_id
                a_job_that_was_taken_by_its_id_shows_again
                a_job_that_was_put_off_is_taken_by_its_id_when_it_is_due
                a_job_that_was_taken_by_its_id_is_done_once_more_if_added
                a_job_that_is_taken_over_by_its_id_is_done_once
                one_job_is_taken_by_one_of_many_takers
            }
            judging {
                a_verdict_comes_back_as_it_was_recorded
                verdicts_come_with_the_judged_versions_in_the_named_order
                a_verdict_that_comes_again_or_late_is_refused
                the_verdicts_of_one_of_two_judges_are_recorded
                a_cancel_during_judging_ends_the_evaluation
                a_verdict_is_recorded_before_a_cancel_or_not_at_all
                verdicts_are_shown_for_the_current_attempt
            }
            key_bounds {
                a_key_beyond_the_bound_is_refused
                a_key_that_is_over_makes_room_for_one
                a_rotation_needs_room_unless_it_ends_the_old_key
                keys_added_at_one_time_keep_to_the_bound
            }
            keys {
                a_key_comes_back_as_it_was_added
                a_key_is_added_once
                an_unknown_key_is_none
                every_state_of_a_key_is_kept
                a_change_that_changes_nothing_writes_nothing
                a_refused_change_of_a_key_writes_nothing
                a_revoked_caller_makes_and_changes_no_key
                an_unknown_caller_is_none_to_the_decision
                a_caller_does_nothing_after_its_revocation
                no_change_of_a_key_is_lost_to_another
                a_key_that_was_revoked_stays_so
                a_rotation_is_kept_whole
                a_rotation_that_cannot_be_kept_whole_is_not_kept
                a_key_is_rotated_once
                calls_are_kept_to_the_letter_under_their_keys
                a_call_that_is_repeated_makes_no_second_key
                a_call_that_is_made_twice_at_one_time_makes_one_key
                keys_are_listed_newest_first
                keys_are_filtered_by_status
                keys_are_filtered_by_project
                keys_are_listed_within_reach
                keys_are_filtered_by_when_they_end
                keys_are_filtered_by_how_long_they_were_idle
                filtered_keys_are_found_far_behind_the_newest
                uses_of_a_key_are_added_up
                uses_of_a_key_are_written_once_a_minute
                uses_of_a_key_that_say_something_new_are_written_at_once
                uses_of_a_key_at_one_time_are_written_once
                requests_are_counted_by_bucket_and_window
                requests_at_one_time_are_all_counted
            }
            objectives {
                an_objective_comes_back_as_it_was_added
                an_objective_is_added_once
                an_unknown_objective_is_none
                a_change_makes_the_next_version_and_the_old_ones_stay
                a_change_that_changes_nothing_makes_no_version
                a_refused_change_of_an_objective_writes_nothing
                changes_at_one_time_make_a_version_each
                objectives_are_sorted_both_ways_by_their_newest_name
                pages_of_equal_objectives_never_overlap
            }
            overdue {
                a_conversation_is_overdue_when_its_lease_has_run_out
                a_renewed_lease_is_not_overdue
                a_conversation_with_a_claimed_turn_is_not_overdue
                claimed_turns_take_no_place_of_what_is_overdue
                the_longest_overdue_conversations_come_first
                a_simulation_is_overdue_when_it_has_expired
                the_longest_overdue_simulations_come_first
            }
            pages {
                named_lists_continue_where_they_were
                simulations_continue_where_they_were
                lists_of_a_simulation_continue_where_they_were
                keys_and_their_trail_continue_where_they_were
                a_list_continues_from_a_row_that_moved
                pages_of_large_messages_end_at_four_megabytes
                pages_of_large_rows_end_at_four_megabytes
                a_position_of_another_list_is_refused
            }
            personas {
                a_persona_comes_back_as_it_was_added
                a_persona_is_added_with_its_jobs
                the_first_persona_of_a_number_is_kept
                personas_of_two_simulations_may_have_one_number
                a_persona_that_is_made_twice_at_one_time_is_made_once
                an_unknown_persona_is_none
                a_decision_about_a_persona_is_kept_with_its_jobs
                a_refused_decision_about_a_persona_writes_nothing
                a_persona_is_decided_about_in_one_way
                the_numbers_of_personas_come_in_order
                personas_are_listed_newest_first
            }
            projects {
                a_project_comes_back_as_it_was_added
                a_project_is_added_once
                an_unknown_project_does_not_open
                a_changed_project_is_kept
                a_refused_change_of_a_project_writes_nothing
                no_change_of_a_project_is_lost_to_another
                projects_are_sorted_both_ways
                pages_of_equal_projects_never_overlap
                projects_are_listed_within_reach
            }
            results {
                objectives_without_a_verdict_are_counted_as_such
                each_end_is_counted_where_it_belongs
                personas_are_counted_by_approval
                the_counts_agree_with_the_lists_after_any_history
                counts_are_of_one_moment
            }
            settling {
                each_end_is_counted_by_its_kind
                an_end_is_counted_once
                the_last_end_calls_for_the_end_of_the_simulation
                an_end_is_counted_with_all_that_is_written
                ends_at_one_time_are_all_counted
                a_conversation_that_is_stopped_twice_at_one_time_is_counted_once
                a_simulation_ends_with_its_last_conversation
                the_end_of_a_simulation_is_not_missed
                an_end_that_is_refused_is_not_counted
            }
            simulations {
                a_simulation_comes_back_as_it_was_added
                a_simulation_is_added_once
                a_simulation_is_added_with_its_jobs
                objectives_are_shown_in_the_order_they_were_named
                an_unknown_simulation_is_none
                a_simulation_shows_its_agent_as_it_is
                a_changed_simulation_is_kept_with_its_jobs
                a_simulation_that_is_started_twice_is_started_once
                a_refused_change_of_a_simulation_writes_nothing
                a_simulation_ends_in_one_way
                no_change_of_a_simulation_is_lost_to_another
                simulations_are_sorted_both_ways
                simulations_are_filtered_by_name_status_and_agent
                pages_of_equal_simulations_never_overlap
                simulations_with_the_longest_waiting_conversation_come_first
                simulations_are_filtered_exactly_by_name_and_metadata
            }
            turns {
                messages_come_back_as_they_were_said
                a_completed_turn_is_kept_whole
                replies_are_kept_to_the_letter_under_their_keys
                a_second_reply_under_one_key_writes_nothing
                two_conversations_may_use_one_key
                a_reply_outlives_its_attempt
                each_attempt_has_messages_of_its_own
                a_turn_is_claimed_by_one_of_two_calls
                calls_take_turns
                a_turn_that_was_taken_over_is_lost
                one_of_two_replies_under_one_key_is_kept
                a_turn_is_completed_or_its_lease_is_lost
                a_conversation_is_not_ended_under_a_claimed_turn
                a_call_of_a_worker_that_was_given_up_is_refused
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
pub fn run<G>(factory: impl AsyncFnOnce() -> (Arc<dyn Store>, G), case: impl AsyncFnOnce(&World)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, guard) = factory().await;
        case(&World::new(store)).await;
        drop(guard);
    });
}

#[cfg(test)]
mod tests {
    /// A case that the macro does not name would be run by nobody.
    #[test]
    fn every_case_is_in_the_macro() {
        let text = include_str!("mod.rs");
        let groups = [
            ("agents", include_str!("agents.rs")),
            ("audit", include_str!("audit.rs")),
            ("conversations", include_str!("conversations.rs")),
            ("idempotency", include_str!("idempotency.rs")),
            ("isolation", include_str!("isolation.rs")),
            ("jobs", include_str!("jobs.rs")),
            ("judging", include_str!("judging.rs")),
            ("key_bounds", include_str!("key_bounds.rs")),
            ("keys", include_str!("keys.rs")),
            ("objectives", include_str!("objectives.rs")),
            ("overdue", include_str!("overdue.rs")),
            ("pages", include_str!("pages.rs")),
            ("personas", include_str!("personas.rs")),
            ("projects", include_str!("projects.rs")),
            ("results", include_str!("results.rs")),
            ("settling", include_str!("settling.rs")),
            ("simulations", include_str!("simulations.rs")),
            ("turns", include_str!("turns.rs")),
        ];
        assert_eq!(groups.len(), text.lines().filter(|line| line.starts_with("pub mod ")).count());
        for (group, source) in groups {
            let start = text.find(&format!("            {group} {{\n")).unwrap();
            let listed = text[start..].lines().skip(1).map(str::trim).take_while(|line| *line != "}");
            let written = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
            let written = written.map(|line| line.split('(').next().unwrap());
            assert_eq!(listed.collect::<Vec<_>>(), written.collect::<Vec<_>>(), "{group}");
        }
    }
}
