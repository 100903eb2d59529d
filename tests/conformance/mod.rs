//! What each port promises, asked of the world in memory and of the adapters on Azure alike.
//!
//! A suite is a list of functions over the port; `memory` and `azure` give them something to ask.

mod audit;
mod jobs;
mod outputs;
mod resources;
mod steps;

mod azure;
mod memory;

/// Each promise of a suite as a test of its own.
macro_rules! keeps {
    ($suite:ident, $open:expr => $($promise:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $promise() {
            let opened = $open.await;
            crate::conformance::$suite::$promise(&opened).await;
        }
    )+};
}

/// The promises of every suite, for the ports that these five expressions open.
macro_rules! keeps_all {
    ($resources:expr, $jobs:expr, $outputs:expr, $steps:expr, $audit:expr) => {
        mod resources {
            use super::*;
            crate::conformance::keeps!(resources, $resources =>
                the_ranges_tile_the_key_space,
                every_current_document_comes_once,
                nothing_comes_that_was_modified_later,
                only_the_types_that_were_asked_for_come,
                a_range_without_documents_ends_at_once,
                the_second_pass_reads_what_was_superseded_since,
                what_was_superseded_before_is_read_by_itself,
                a_window_holds_the_deletions_as_well,
                the_third_pass_reads_what_was_changed_since,
                what_has_no_index_comes_once_beside_those_whom_an_export_is_about,
                what_refers_to_them_by_its_index_comes_at_least_once,
                a_history_tells_what_a_resource_was,
                a_resource_is_found_as_it_stood_at_a_time,
            );
        }
        mod jobs {
            use super::*;
            crate::conformance::keeps!(jobs, $jobs =>
                a_document_is_loaded_as_it_was_created,
                a_document_is_created_only_once,
                what_is_not_there_is_not_found,
                whether_a_document_is_there_is_certain,
                a_write_needs_the_version_that_was_read,
                two_documents_are_written_together_or_not_at_all,
                a_removed_document_is_gone_and_can_be_removed_again,
                documents_of_other_jobs_are_others,
                only_what_is_overdue_is_due,
                exports_are_found_by_their_start_and_whose_they_are,
                only_open_jobs_of_the_caller_are_counted,
            );
        }
        mod outputs {
            use super::*;
            crate::conformance::keeps!(outputs, $outputs =>
                a_container_is_prepared_as_often_as_one_likes,
                what_is_staged_is_not_seen,
                a_blob_is_exactly_its_list_of_blocks,
                a_commit_can_be_repeated,
                a_commit_may_add_to_a_committed_blob,
                a_commit_of_a_missing_block_is_a_conflict,
                a_commit_drops_what_it_does_not_list,
                a_block_staged_again_is_replaced,
                a_removed_blob_cannot_be_committed_late,
                a_removal_can_be_repeated,
                only_what_is_there_can_be_read,
                a_blob_tells_its_size_and_a_tag_that_is_its_own,
                a_blob_tells_the_coding_that_it_was_committed_in,
                a_blob_is_streamed_from_any_byte_to_any_other,
            );
        }
        mod steps {
            use super::*;
            crate::conformance::keeps!(steps, $steps =>
                a_step_is_delivered_as_it_was_sent,
                a_step_sent_twice_is_delivered_twice,
                a_delayed_step_is_delivered_after_its_delay,
                a_message_is_put_back_as_it_is,
            );
        }
        mod audit {
            use super::*;
            crate::conformance::keeps!(audit, $audit =>
                a_record_is_kept_as_it_is,
                records_that_come_together_are_all_kept,
                a_day_has_records_of_its_own,
            );
        }
    };
}

use {keeps, keeps_all};
