//! The cases, in modules by what they are about; and the list of them.

pub mod answers;
pub mod api_keys;
pub mod audit;
pub mod audit_log;
pub mod books;
pub mod cancel_switches;
pub mod candles;
pub mod constraints;
pub mod due_work;
pub mod filters;
pub mod jobs;
pub mod ledger;
pub mod mail_tokens;
pub mod order_groups;
pub mod outbox;
pub mod paging;
pub mod positions;
pub mod races;
pub mod remembered;
pub mod round_trips;
pub mod scores;
pub mod sessions;
pub mod statements;
pub mod units;
pub mod users;
pub mod webhooks;

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
                a_unit_cannot_be_committed_after_an_error,
                an_abandoned_call_leaves_no_locks_and_nothing_half_done,
                what_is_told_as_decided_is_seen_and_its_locks_are_free,
                a_unit_sees_what_it_wrote_and_others_do_not_before_the_commit,
                a_lock_waits_for_the_unit_that_holds_it,
                locks_and_loads_come_in_id_order_without_what_does_not_exist,
                a_market_without_orders_is_deleted_whole,
                ended_orders_are_deleted_with_their_market,
                empty_changes_and_empty_lists_do_nothing,
            }
            constraints {
                a_second_user_with_the_same_email_is_a_duplicate,
                any_number_of_users_have_no_email,
                a_second_market_with_the_same_slug_is_a_duplicate,
                a_second_order_with_the_same_client_order_id_is_a_duplicate,
                a_second_answer_for_the_same_key_is_a_duplicate,
                a_second_row_with_the_same_id_is_a_duplicate,
                the_database_refuses_negative_balances_and_holds_beyond_the_balance,
                the_database_refuses_negative_holdings_and_holds_beyond_them,
                the_database_refuses_transfers_that_are_none,
                the_database_refuses_orders_that_do_not_add_up,
                the_database_refuses_to_delete_a_market_with_open_orders_or_trades,
            }
            races {
                concurrent_debits_never_overdraw,
                no_update_is_lost,
                two_holds_beyond_the_combined_exposure_do_not_both_succeed,
                opposite_transfers_never_deadlock,
                locks_of_many_rows_in_any_order_never_deadlock,
                of_many_sign_ups_with_one_address_one_wins,
                an_idempotency_claim_wins_once,
                audits_see_no_half_done_payment,
            }
            remembered {
                what_is_told_is_what_is_written_by_whomever,
                who_waited_for_a_market_is_told_what_was_written_meanwhile,
                what_is_remembered_is_told_in_the_order_of_asking_until_it_is_gone,
            }
            round_trips {
                users_round_trip,
                accounts_round_trip,
                transfers_round_trip,
                markets_round_trip,
                changed_markets_round_trip,
                orders_round_trip,
                trades_round_trip,
                positions_round_trip,
                answers_round_trip,
            }
            paging {
                users_come_in_every_order,
                markets_come_in_every_order,
                orders_come_in_every_order,
                trades_come_in_every_order,
                transfers_come_in_every_order,
                positions_come_in_every_order,
                a_cursor_of_users_resumes_after_the_last_row_while_rows_change,
                a_cursor_of_markets_resumes_after_the_last_row_was_deleted,
                a_cursor_of_orders_resumes_while_orders_change,
                lists_of_nothing_are_empty_pages,
            }
            filters {
                users_are_filtered,
                users_are_searched,
                markets_are_filtered,
                orders_are_filtered,
                trades_are_filtered,
                transfers_are_filtered,
                positions_are_filtered,
            }
            users {
                active_administrators_are_locked_in_id_order,
                of_administrators_who_remove_each_other_one_stays,
                emails_are_found_by_their_key_in_any_script,
                statistics_are_what_trades_and_positions_come_to,
            }
            scores {
                what_is_counted_of_a_market_leaves_the_statistics_as_they_were,
                nothing_is_counted_twice,
                standings_come_in_order_without_those_who_may_not_act,
                a_walk_along_the_standings_misses_nobody,
            }
            books {
                a_book_comes_best_price_first_then_by_sequence,
                open_orders_of_a_market_are_found,
                open_orders_are_counted_in_the_order_of_the_pairs,
                orders_are_found_by_client_order_ids,
                best_prices_are_those_of_the_open_orders,
                the_levels_of_a_book_are_summed_from_the_best_price,
                levels_follow_what_becomes_of_orders,
                levels_and_sequence_are_of_one_snapshot,
            }
            positions {
                positions_are_loaded_by_pairs,
                unsettled_positions_come_in_batches_until_none_is_left,
            }
            answers {
                kept_answers_are_found_by_their_whole_key,
                kept_answers_are_forgotten_in_batches,
            }
            sessions {
                sessions_round_trip,
                a_session_comes_with_the_role_and_the_status_of_its_user,
                live_sessions_are_listed_the_one_seen_last_first,
                the_sessions_of_a_user_are_locked_in_id_order,
                a_session_is_locked_by_any_of_its_refresh_tokens,
                of_many_uses_of_one_refresh_token_one_spends_it,
                a_second_refresh_token_with_the_same_hash_is_a_duplicate,
                the_database_refuses_sessions_of_nobody_and_tokens_of_no_session,
                old_sessions_are_forgotten_in_batches_with_their_tokens,
                the_statements_for_sessions_do_not_grow_with_their_number,
            }
            mail_tokens {
                mail_tokens_round_trip,
                of_many_uses_of_one_mail_token_one_succeeds,
                the_database_refuses_a_mail_token_twice_and_one_of_nobody,
                expired_mail_tokens_are_forgotten_in_batches,
            }
            webhooks {
                webhooks_round_trip_and_go_with_what_they_were_sent,
                messages_round_trip_and_an_event_is_put_aside_once,
                what_waits_for_another_try_keeps_its_market_waiting_alone,
                a_test_waits_for_no_event_and_no_event_for_it,
                what_is_in_pause_is_made_due,
                what_was_sent_is_sent_again_and_forgotten_in_batches,
                the_statements_for_webhooks_do_not_grow_with_their_number,
            }
            order_groups {
                groups_round_trip_and_are_deleted,
                the_open_orders_of_groups_are_found,
            }
            cancel_switches {
                switches_round_trip_and_those_of_keys_are_apart,
                due_switches_come_by_their_deadlines,
                a_renewal_waits_for_who_looks_at_the_deadline,
                the_statements_for_switches_do_not_grow_with_their_number,
            }
            jobs {
                a_job_goes_its_way_from_waiting_to_done_or_dead,
                a_job_exists_only_if_its_unit_was_committed,
                due_jobs_are_claimed_the_longest_due_first,
                a_lease_that_has_run_out_is_taken_over_and_a_late_word_counts_for_nothing,
                of_many_who_ask_at_once_each_job_goes_to_one,
                dead_jobs_are_listed_and_forgotten_in_batches,
                the_statements_for_jobs_do_not_grow_with_their_number,
                of_those_that_are_due_the_most_urgent_come_first,
                a_lease_is_prolonged_by_who_has_it_alone,
                a_key_belongs_to_one_job_which_others_join,
                a_job_that_is_kept_is_listed_with_what_came_of_it,
                jobs_are_tried_again_and_cancelled_by_hand,
                a_slot_of_a_schedule_is_begun_once,
                the_depth_counts_what_is_due_and_what_is_dead,
            }
            outbox {
                the_events_of_a_unit_are_one_batch,
                events_are_told_only_if_their_unit_was_committed,
                a_unit_with_very_many_events_makes_several_batches,
                who_follows_misses_nothing_and_gets_each_market_in_order,
                it_is_known_since_when_something_waits,
                old_batches_are_forgotten_in_batches,
                a_cursor_is_held_by_one_and_moves_with_its_unit,
                a_payment_is_told_with_the_balances_after_it,
            }
            audit_log {
                entries_of_the_audit_log_round_trip,
                an_event_is_told_only_if_its_unit_was_committed,
                many_who_tell_at_once_make_one_chain,
                the_audit_log_is_listed_and_filtered,
                failed_sign_ins_are_counted_together_and_taken_once,
                many_failed_sign_ins_at_once_are_all_counted,
                the_statements_for_the_audit_log_do_not_grow_with_its_entries,
            }
            api_keys {
                api_keys_round_trip,
                an_api_key_comes_with_the_role_and_the_status_of_its_user,
                bots_come_with_the_status_of_their_owner,
                the_api_keys_of_a_user_are_those_that_were_not_revoked,
                the_usage_of_api_keys_is_what_they_spent_and_what_their_orders_hold,
                the_database_refuses_an_api_key_twice_and_one_of_nobody,
                of_many_who_spend_by_one_api_key_nobodys_spending_is_lost,
                the_statements_for_api_keys_do_not_grow_with_their_number,
            }
            ledger {
                an_account_that_has_paid_meanwhile_is_not_written,
                chains_come_in_order_of_payer_and_time,
                accounts_come_in_id_order_from_anywhere,
            }
            candles {
                candles_sum_the_trades_of_each_interval,
                candles_begin_at_multiples_of_the_interval_before_1970_too,
                sums_beyond_64_bits_never_wrap,
            }
            due_work {
                due_work_is_all_that_is_due_and_nothing_else,
                looks_by_turns_miss_nothing,
                due_orders_come_in_batches,
            }
            audit {
                a_good_database_has_no_violations,
                balances_that_are_not_the_sum_of_their_transfers_are_found,
                holds_that_are_not_the_sum_of_the_open_orders_are_found,
                collateral_that_does_not_cover_the_shares_exactly_is_found,
                fills_that_do_not_match_the_trades_are_found,
                a_trade_at_another_cost_than_its_price_is_found,
                a_trade_that_its_market_does_not_count_is_found,
                a_sequence_that_two_trades_have_is_found,
                a_market_that_has_traded_meanwhile_is_not_written,
                positions_that_were_not_paid_exactly_once_are_found,
                a_second_payout_is_found,
                a_payout_of_a_wrong_amount_is_found,
                an_audit_of_sums_beyond_64_bits_is_exact,
                an_audit_of_volumes_and_shares_beyond_64_bits_is_exact,
                a_transfer_that_moved_nothing_is_found,
                scores_that_are_not_what_trades_and_positions_come_to_are_found,
            }
            statements {
                the_statements_of_a_write_do_not_grow_with_its_rows,
                the_statements_of_a_deletion_do_not_grow_with_its_rows,
                everything_at_once_is_what_each_question_finds,
                the_statements_of_everything_at_once_do_not_grow_with_its_rows,
                the_statements_of_a_load_do_not_grow_with_its_rows,
                the_statements_of_a_batch_do_not_grow_with_its_rows,
                the_statements_of_a_read_do_not_grow_with_its_rows,
                the_statements_of_an_audit_do_not_grow_with_the_database,
                thousands_of_rows_are_written_and_loaded_at_once,
                the_largest_batch_of_a_payout_is_loaded_and_written_at_once,
            }
        }
    };
}
