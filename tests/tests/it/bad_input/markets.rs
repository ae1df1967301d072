//! Markets: opened, changed, and led through their life.

use super::{Case, Who, invalid, object, post};

const MARKETS: &str = "/markets";

fn market(changes: &[(&str, &str)]) -> String {
    object(&[("question", "\"Q?\""), ("closesAt", "\"2199-01-01T00:00:00Z\"")], changes)
}

fn bad(changes: &[(&str, &str)], fields: &[&'static str]) -> Case {
    invalid(MARKETS, &market(changes), fields)
}

/// A step of a market's life, by Ann.
fn step(path: &str, body: &str, status: u16, code: &'static str) -> Case {
    Case::new(Who::Ann, "POST", path, status, code).body(body)
}

fn change(path: &str, tag: &str, body: &str, status: u16, code: &'static str) -> Case {
    Case::new(Who::Ann, "PATCH", path, status, code).header("If-Match", tag).body(body)
}

fn opened() -> Vec<Case> {
    let text = |n: usize| format!("\"{}\"", "x".repeat(n));
    let many = |n: usize| format!("[{}]", (0..n).map(|i| format!("\"o{i}\"")).collect::<Vec<_>>().join(","));
    let subsidy = |subsidy: &str| {
        let liquidity = format!("{{\"subsidy\":\"{subsidy}\"}}");
        let body = market(&[("outcomes", "[\"a\",\"b\",\"c\"]"), ("liquidity", &liquidity)]);
        post(MARKETS, &body, 422, "BAD_LIQUIDITY", &["liquidity"])
    };
    let order = "{\"outcome\":\"YES\",\"side\":\"up\",\"type\":\"limit\",\"price\":\"2\"}";
    vec![
        invalid(MARKETS, "{}", &["question", "closesAt"]),
        bad(&[("question", "\"\""), ("closesAt", "\"soon\"")], &["question", "closesAt"]),
        bad(&[("question", &text(301))], &["question"]),
        bad(&[("question", "\"a\\u202eb\"")], &["question"]),
        bad(&[("question", "{\"text\":1}")], &["question"]),
        bad(&[("description", &text(20_001))], &["description"]),
        bad(&[("description", "7")], &["description"]),
        bad(&[("category", &text(41))], &["category"]),
        bad(&[("category", "\"\"")], &["category"]),
        bad(&[("tags", "\"a\"")], &["tags"]),
        bad(&[("tags", "[\"a\",\"A\"]")], &["tags"]),
        bad(&[("tags", "[1,\"\"]")], &["tags[0]", "tags[1]"]),
        bad(&[("tags", &many(11))], &["tags"]),
        bad(&[("outcomes", "[\"one\"]")], &["outcomes"]),
        bad(&[("outcomes", &many(21))], &["outcomes"]),
        bad(&[("outcomes", "[\"Yes\",\"YES\"]")], &["outcomes"]),
        bad(&[("outcomes", "[\"a\",\"\"]")], &["outcomes[1]"]),
        bad(&[("outcomes", "{\"a\":1}")], &["outcomes"]),
        bad(&[("closesAt", "\"2199-01-01\"")], &["closesAt"]),
        bad(&[("closesAt", "\"2199-02-30T00:00:00Z\"")], &["closesAt"]),
        bad(&[("closesAt", "4102444800")], &["closesAt"]),
        bad(&[("closesAt", "\"12199-01-01T00:00:00Z\"")], &["closesAt"]),
        post(MARKETS, &market(&[("closesAt", "\"2001-01-01T00:00:00Z\"")]), 422, "CLOSES_IN_THE_PAST", &["closesAt"]),
        bad(&[("feeRate", "\"0.1001\"")], &["feeRate"]),
        bad(&[("feeRate", "\"-0.01\"")], &["feeRate"]),
        bad(&[("feeRate", "0.00001")], &["feeRate"]),
        bad(&[("feeRecipient", "\"me\"")], &["feeRecipient"]),
        bad(&[("liquidity", "{}")], &["liquidity.subsidy"]),
        bad(&[("liquidity", "{\"subsidy\":\"0\"}")], &["liquidity.subsidy"]),
        bad(&[("liquidity", "{\"subsidy\":\"10\",\"probabilities\":[\"0.5\",\"0.6\"]}")], &["liquidity.probabilities"]),
        bad(&[("liquidity", "{\"subsidy\":\"10\",\"probabilities\":[\"0\",\"1\"]}")], &["liquidity.probabilities"]),
        subsidy("8000000000000000"),
        subsidy("0.001"),
        bad(&[("openingOrder", order)], &["openingOrder.side", "openingOrder.price", "openingOrder.quantity"]),
        post(MARKETS, &market(&[("liquidity", "{\"subsidy\":\"100000\"}")]), 409, "INSUFFICIENT_FUNDS", &[]),
        post(MARKETS, &market(&[("status", "\"resolved\"")]), 400, "UNKNOWN_FIELD", &["status"]),
        post(MARKETS, &market(&[("liquidity", "{\"subsidy\":\"1\",\"b\":5}")]), 400, "UNKNOWN_FIELD", &["liquidity.b"]),
        post(MARKETS, &market(&[]), 401, "UNAUTHENTICATED", &[]).by(Who::Nobody),
    ]
}

fn steps() -> Vec<Case> {
    let weights = |weights: &str| format!("{{\"weights\":{weights}}}");
    vec![
        step("/markets/$unknown/close", "{}", 404, "MARKET_NOT_FOUND"),
        step("/markets/Not+A+Slug/close", "{}", 400, "BAD_ID").fields(&["id"]),
        step("/markets/no-such-slug/close", "{}", 404, "MARKET_NOT_FOUND"),
        step("/markets/$market/close", "{\"reason\":\"x\"}", 400, "UNKNOWN_FIELD").fields(&["reason"]),
        step("/markets/$closed/close", "{}", 409, "WRONG_MARKET_STATUS"),
        step("/markets/$market/close", "{}", 412, "PRECONDITION_FAILED").header("If-Match", "\"9.x\""),
        step("/markets/$closed/close", "{}", 409, "WRONG_MARKET_STATUS").header("If-Match", "*"),
        step("/markets/$market/close", "{}", 401, "UNAUTHENTICATED").by(Who::Nobody),
        step("/markets/$market/halt", "{}", 403, "FORBIDDEN"),
        step("/markets/$closed/halt", "{}", 409, "WRONG_MARKET_STATUS").by(Who::Admin),
        step("/markets/$market/reopen", "{}", 409, "WRONG_MARKET_STATUS").by(Who::Admin),
        step("/markets/$market/resolve", "{\"outcome\":\"YES\"}", 409, "WRONG_MARKET_STATUS"),
        step("/markets/$resolved/resolve", "{\"outcome\":\"NO\"}", 409, "WRONG_MARKET_STATUS"),
        step("/markets/$closed/resolve", "{}", 422, "VALIDATION_ERROR").fields(&["outcome"]),
        step("/markets/$closed/resolve", "{\"outcome\":\"MAYBE\"}", 422, "OUTCOME_NOT_FOUND").fields(&["outcome"]),
        step("/markets/$closed/resolve", "{\"outcome\":1}", 422, "VALIDATION_ERROR").fields(&["outcome"]),
        step("/markets/$closed/resolve", &weights("{\"YES\":\"0.5\"}"), 422, "WEIGHTS_DO_NOT_ADD_UP")
            .fields(&["weights"]),
        step("/markets/$closed/resolve", &weights("{\"YES\":\"1.5\",\"NO\":\"-0.5\"}"), 422, "VALIDATION_ERROR")
            .fields(&["weights.NO", "weights.YES"]),
        step("/markets/$closed/resolve", &weights("{\"YES\":\"0.9999\"}"), 422, "VALIDATION_ERROR")
            .fields(&["weights.YES"]),
        step(
            "/markets/$closed/resolve",
            &weights("{\"YES\":\"1\",\"yes\":\"0\",\"NO\":\"1\"}"),
            422,
            "WEIGHTS_DO_NOT_ADD_UP",
        )
        .fields(&["weights"]),
        step(
            "/markets/$closed/propose",
            &weights("{\"NO\":\"0\",\"\u{ff2e}o\":\"0\",\"YES\":\"1\"}"),
            422,
            "WEIGHTS_DO_NOT_ADD_UP",
        )
        .fields(&["weights"]),
        step(
            "/markets/$market/resolution-preview",
            &weights("{\"YES\":\"1\",\"yes\":\"1\"}"),
            422,
            "WEIGHTS_DO_NOT_ADD_UP",
        )
        .fields(&["weights"]),
        step("/markets/$closed/resolve", &weights("[1,0]"), 422, "VALIDATION_ERROR").fields(&["weights"]),
        step("/markets/$closed/resolve", "{\"outcome\":\"YES\",\"weights\":{\"YES\":\"1\"}}", 422, "VALIDATION_ERROR")
            .fields(&["weights"]),
        step("/markets/$market/propose", "{\"outcome\":\"YES\"}", 409, "WRONG_MARKET_STATUS"),
        step(
            "/markets/$closed/propose",
            "{\"outcome\":\"YES\",\"evidenceUrl\":\"javascript:alert(1)\"}",
            422,
            "VALIDATION_ERROR",
        )
        .fields(&["evidenceUrl"]),
        step("/markets/$market/dispute", "{\"reason\":\"x\"}", 409, "WRONG_MARKET_STATUS"),
        step("/markets/$market/dispute", "{}", 422, "VALIDATION_ERROR").fields(&["reason"]),
        step("/markets/$market/void", "{\"reason\":\"x\"}", 403, "FORBIDDEN"),
        step("/markets/$resolved/void", "{\"reason\":\"x\"}", 409, "WRONG_MARKET_STATUS").by(Who::Admin),
        step("/markets/$market/void", "{\"reason\":\"\"}", 422, "VALIDATION_ERROR").by(Who::Admin).fields(&["reason"]),
    ]
}

fn changed() -> Vec<Case> {
    vec![
        change("/markets/$market", "\"99.x\"", "{\"category\":\"a\"}", 412, "PRECONDITION_FAILED"),
        change("/markets/$market", "*", "{\"question\":\"Other?\"}", 409, "FIXED_AFTER_TRADING"),
        change("/markets/$market", "*", "{\"description\":\"Other.\"}", 409, "FIXED_AFTER_TRADING"),
        change("/markets/$maker", "*", "{\"closesAt\":\"2001-01-01T00:00:00Z\"}", 422, "CLOSES_IN_THE_PAST")
            .fields(&["closesAt"]),
        change("/markets/$closed", "*", "{\"closesAt\":\"2198-01-01T00:00:00Z\"}", 409, "MARKET_NOT_OPEN"),
        change("/markets/$maker", "*", "{\"question\":null,\"closesAt\":null}", 422, "VALIDATION_ERROR")
            .fields(&["question", "closesAt"]),
        change("/markets/$maker", "*", "{\"outcomes\":[\"a\",\"b\"]}", 400, "UNKNOWN_FIELD").fields(&["outcomes"]),
        change("/markets/$maker", "*", "{\"volume\":\"5\"}", 400, "UNKNOWN_FIELD").fields(&["volume"]),
        Case::new(Who::Ann, "PATCH", "/markets/$maker", 428, "PRECONDITION_REQUIRED").body("{\"category\":\"a\"}"),
        Case::new(Who::Ann, "PUT", "/markets/$maker", 422, "VALIDATION_ERROR")
            .header("If-Match", "*")
            .body("{}")
            .fields(&["question", "closesAt"]),
        Case::new(Who::Ann, "DELETE", "/markets/$market", 409, "MARKET_HAS_TRADED").header("If-Match", "*"),
        Case::new(Who::Ann, "DELETE", "/markets/$maker", 428, "PRECONDITION_REQUIRED"),
        Case::new(Who::Ann, "DELETE", "/markets/$maker", 412, "PRECONDITION_FAILED").header("If-Match", "\"9.x\""),
        Case::new(Who::Ann, "DELETE", "/markets/$unknown", 404, "MARKET_NOT_FOUND").header("If-Match", "*"),
        Case::new(Who::Ann, "GET", "/markets/$unknown", 404, "MARKET_NOT_FOUND"),
        Case::new(Who::Ann, "GET", "/markets/UPPER", 400, "BAD_ID").fields(&["id"]),
        Case::new(Who::Ann, "GET", "/markets/%2e%2e%2fetc", 400, "BAD_ID").fields(&["id"]),
        Case::new(Who::Ann, "GET", "/markets/$market/book?outcome=MAYBE", 422, "OUTCOME_NOT_FOUND")
            .fields(&["outcome"]),
        Case::new(Who::Ann, "GET", "/markets/$market/book?depth=0", 422, "VALIDATION_ERROR").fields(&["depth"]),
        Case::new(Who::Ann, "GET", "/markets/$market/candles?interval=7m", 422, "VALIDATION_ERROR")
            .fields(&["interval"]),
        Case::new(Who::Ann, "GET", "/markets/$market/trades?outcome=YES", 400, "UNKNOWN_PARAMETER")
            .fields(&["outcome"]),
        Case::new(Who::Nobody, "GET", "/markets/$market/positions", 401, "UNAUTHENTICATED"),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    [opened(), steps(), changed()].concat()
}
