//! Accounts, transfers and grants.

use super::{Case, Who, invalid, object, post};

const TRANSFERS: &str = "/transfers";
const GRANTS: &str = "/admin/grants";

fn transfer(changes: &[(&str, &str)]) -> String {
    object(&[("toUserId", "\"$ben\""), ("amount", "\"1\"")], changes)
}

fn grant(amount: &str) -> String {
    object(&[("userId", "\"$ben\""), ("amount", amount)], &[])
}

pub(super) fn cases() -> Vec<Case> {
    let long = format!("\"{}\"", "x".repeat(201));
    let mut cases = vec![
        invalid(TRANSFERS, "{}", &["toUserId", "amount"]),
        invalid(TRANSFERS, &transfer(&[("toUserId", "7"), ("amount", "true")]), &["toUserId", "amount"]),
        invalid(TRANSFERS, &transfer(&[("toUserId", "\"ben\"")]), &["toUserId"]),
        invalid(TRANSFERS, &transfer(&[("toUserId", "\"me\"")]), &["toUserId"]),
        invalid(TRANSFERS, &transfer(&[("memo", &long)]), &["memo"]),
        invalid(TRANSFERS, &transfer(&[("memo", "\"a\\u0000\"")]), &["memo"]),
        invalid(TRANSFERS, &transfer(&[("memo", "\"a\\nb\"")]), &["memo"]),
        invalid(TRANSFERS, &transfer(&[("memo", "5"), ("amount", "\"x\"")]), &["memo", "amount"]),
        post(TRANSFERS, &transfer(&[("from", "\"$ben\"")]), 400, "UNKNOWN_FIELD", &["from"]),
        post(TRANSFERS, &transfer(&[("kind", "\"grant\""), ("amount", "\"x\"")]), 400, "UNKNOWN_FIELD", &["kind"]),
        post(TRANSFERS, &transfer(&[("toUserId", "\"$ann\"")]), 422, "TRANSFER_TO_SELF", &["toUserId"]),
        post(TRANSFERS, &transfer(&[("toUserId", "\"$unknown\"")]), 404, "USER_NOT_FOUND", &[]),
        post(TRANSFERS, &transfer(&[("amount", "\"1000000\"")]), 409, "INSUFFICIENT_FUNDS", &[]),
        post(TRANSFERS, &transfer(&[("amount", "9223372036854775.807")]), 409, "INSUFFICIENT_FUNDS", &[]),
        post(TRANSFERS, &transfer(&[]), 401, "UNAUTHENTICATED", &[]).by(Who::Nobody),
        Case::new(Who::Ann, "POST", TRANSFERS, 400, "IDEMPOTENCY_KEY_REQUIRED").body(transfer(&[])),
        Case::new(Who::Ann, "POST", TRANSFERS, 400, "BAD_IDEMPOTENCY_KEY")
            .body(transfer(&[]))
            .header("Idempotency-Key", "a b"),
        Case::new(Who::Ann, "POST", TRANSFERS, 400, "BAD_IDEMPOTENCY_KEY")
            .body(transfer(&[]))
            .header("Idempotency-Key", ""),
        Case::new(Who::Ann, "POST", TRANSFERS, 400, "BAD_IDEMPOTENCY_KEY")
            .body(transfer(&[]))
            .header("Idempotency-Key", "x".repeat(256)),
        post(GRANTS, &grant("1"), 403, "FORBIDDEN", &[]),
        post(GRANTS, &grant("1"), 401, "UNAUTHENTICATED", &[]).by(Who::Nobody),
        invalid(GRANTS, "{}", &["userId", "amount"]).by(Who::Admin),
        invalid(GRANTS, &grant("\"-5\""), &["amount"]).by(Who::Admin),
        invalid(GRANTS, &grant("\"9223372036854775.808\""), &["amount"]).by(Who::Admin),
        post(GRANTS, &grant("\"9223372036854775.807\""), 422, "OUT_OF_RANGE", &[]).by(Who::Admin),
        Case::new(Who::Ann, "GET", "/transfers/$unknown", 404, "TRANSFER_NOT_FOUND"),
        Case::new(Who::Ann, "GET", "/transfers/%00", 400, "BAD_ID").fields(&["id"]),
        Case::new(Who::Ann, "GET", "/accounts/$ben", 404, "ACCOUNT_NOT_FOUND"),
        Case::new(Who::Ann, "GET", "/accounts/$unknown", 404, "ACCOUNT_NOT_FOUND"),
        Case::new(Who::Ann, "GET", "/accounts/1", 400, "BAD_ID").fields(&["id"]),
        Case::new(Who::Ann, "GET", "/accounts/$market", 404, "ACCOUNT_NOT_FOUND"),
        Case::new(Who::Nobody, "GET", "/accounts/me", 401, "UNAUTHENTICATED"),
    ];
    for amount in [
        "0",
        "-1",
        "\"0\"",
        "\"-0\"",
        "\"-1\"",
        "\"0.0001\"",
        "1.2345",
        "\"\"",
        "\" 1\"",
        "\"1 \"",
        "\"+1\"",
        "\"1e3\"",
        "1e3",
        "\"NaN\"",
        "\"Infinity\"",
        "\"0x10\"",
        "\"1,5\"",
        "\"١\"",
        "\".5\"",
        "\"5.\"",
        "\"9223372036854775808\"",
        "99999999999999999999999999999999999999999999",
        "[]",
        "{}",
        "false",
        "\"1\\u0000\"",
    ] {
        cases.push(invalid(TRANSFERS, &transfer(&[("amount", amount)]), &["amount"]));
    }
    cases
}
