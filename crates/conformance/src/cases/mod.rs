//! The cases, in modules by what they are about; and the list of them.

pub mod units;

/// Hands every module and its cases to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! each_case {
    ($($callback:tt)*) => {
        $($callback)*! {
            units {
                a_dropped_unit_leaves_nothing,
                a_dropped_unit_frees_its_locks_at_once,
                an_explicit_rollback_leaves_nothing_and_frees_its_locks,
                all_repositories_commit_or_none,
                a_unit_sees_what_it_wrote_and_others_do_not_before_the_commit,
                a_lock_waits_for_the_unit_that_holds_it,
                locks_and_loads_come_in_id_order_without_what_does_not_exist,
                a_market_without_orders_is_deleted_whole,
                empty_changes_and_empty_lists_do_nothing,
            }
        }
    };
}
