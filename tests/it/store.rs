//! The contract of a store, run against both kinds, and what only one kind promises.

pub(crate) mod bed;
mod contract;
mod holdings;
mod mariadb_only;
mod rollouts;
mod rules;
mod sqlite_only;

use bed::Bed;

/// Makes a test for each kind of store from each function of a module.
macro_rules! contract {
    ($sqlite:ident, $mariadb:ident, $from:ident: $($name:ident),* $(,)?) => {
        mod $sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let bed = super::Bed::sqlite();
                    super::$from::$name(&bed).await;
                    bed.remove().await;
                }
            )*
        }
        mod $mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let bed = super::Bed::mariadb().await;
                    super::$from::$name(&bed).await;
                    bed.remove().await;
                }
            )*
        }
    };
}

contract!(sqlite, mariadb, contract:
    a_query_has_its_owner_and_its_history,
    an_end_before_its_submit_gives_the_same_row,
    any_order_repetition_and_partition_gives_the_same_rows,
    coordinators_have_the_widest_times,
    intents_have_versions_and_survive_a_restart,
    seeds_leave_what_is_known,
    texts_are_cut_to_their_columns,
    odd_texts_come_back_as_they_were,
    numbers_beyond_the_columns_are_cut,
    the_history_is_newest_first_and_bounded,
    who_only_reads_changes_nothing,
    a_full_batch_of_long_statements_fits,
    batches_that_cross_each_other_all_arrive,
    intents_that_are_set_at_once_all_count,
    a_caller_that_gives_up_harms_nobody,
    a_lease_has_one_holder_and_its_number_guards_what_is_done,
    many_who_want_a_lease_at_once_leave_it_to_one,
);

contract!(rollouts_in_sqlite, rollouts_in_mariadb, rollouts:
    a_group_has_one_rollout_at_a_time,
    a_rollout_is_kept_by_who_holds_the_lease_alone,
    open_and_ended_queries_are_told,
);

contract!(holdings_in_sqlite, holdings_in_mariadb, holdings:
    a_process_says_one_thing_at_a_time_and_old_words_go,
);

contract!(rules_in_sqlite, rules_in_mariadb, rules:
    the_same_texts_are_one_version,
    an_activation_names_what_was_active,
    of_many_who_activate_at_once_one_does,
    old_versions_go_but_for_those_that_may_be_needed,
);
