//! Orders: placed, in batches, tried out, amended and cancelled.

use super::{Case, Who, invalid, object, post};

const ORDERS: &str = "/orders";

fn order(changes: &[(&str, &str)]) -> String {
    let valid = [
        ("marketId", "\"$market\""),
        ("outcome", "\"YES\""),
        ("side", "\"buy\""),
        ("type", "\"limit\""),
        ("price", "\"0.20\""),
        ("quantity", "5"),
    ];
    object(&valid, changes)
}

fn bad(changes: &[(&str, &str)], fields: &[&'static str]) -> Case {
    invalid(ORDERS, &order(changes), fields)
}

fn refused(changes: &[(&str, &str)], status: u16, code: &'static str) -> Case {
    post(ORDERS, &order(changes), status, code, &[])
}

fn amend(path: &str, body: &str, status: u16, code: &'static str, fields: &[&'static str]) -> Case {
    Case::new(Who::Ann, "PATCH", path, status, code).body(body).fields(fields)
}

const MARKET_ORDER: (&str, &str) = ("type", "\"market\"");

fn combinations() -> Vec<Case> {
    let gtd = ("timeInForce", "\"gtd\"");
    let future = ("expiresAt", "\"2190-01-01T00:00:00Z\"");
    vec![
        invalid(ORDERS, "{}", &["marketId", "outcome", "side", "type"]),
        invalid(ORDERS, "[{}]", &["body"]),
        bad(
            &[("marketId", "1"), ("outcome", "2"), ("side", "3"), ("type", "4")],
            &["marketId", "outcome", "side", "type"],
        ),
        bad(&[("marketId", "\"rain-tomorrow\"")], &["marketId"]),
        bad(&[("outcome", "\"\"")], &["outcome"]),
        bad(&[("side", "\"BUY\"")], &["side"]),
        bad(&[("type", "\"stop\"")], &["type"]),
        bad(&[("price", ""), ("quantity", "")], &["price", "quantity"]),
        bad(&[("maxSpend", "\"5\"")], &["maxSpend"]),
        bad(&[gtd], &["expiresAt"]),
        bad(&[future], &["expiresAt"]),
        bad(&[gtd, ("expiresAt", "\"tomorrow\"")], &["expiresAt"]),
        bad(&[("timeInForce", "\"day\"")], &["timeInForce"]),
        bad(&[("timeInForce", "\"ioc\""), ("postOnly", "true")], &["postOnly"]),
        bad(&[("postOnly", "\"yes\"")], &["postOnly"]),
        bad(&[("backing", "\"gold\"")], &["backing"]),
        bad(&[("selfTradePrevention", "\"none\"")], &["selfTradePrevention"]),
        bad(&[("clientOrderId", "\"\"")], &["clientOrderId"]),
        bad(&[("clientOrderId", "\"a b\"")], &["clientOrderId"]),
        bad(&[("clientOrderId", &format!("\"{}\"", "x".repeat(65)))], &["clientOrderId"]),
        bad(&[("clientOrderId", "\"ü\"")], &["clientOrderId"]),
        bad(&[MARKET_ORDER, ("price", ""), ("quantity", "")], &["price", "quantity"]),
        bad(&[MARKET_ORDER, ("price", "")], &["price"]),
        bad(&[MARKET_ORDER, ("timeInForce", "\"gtc\"")], &["timeInForce"]),
        bad(&[MARKET_ORDER, ("postOnly", "true")], &["postOnly"]),
        bad(&[MARKET_ORDER, future], &["expiresAt"]),
        bad(&[MARKET_ORDER, ("maxSpend", "\"-1\"")], &["maxSpend"]),
        bad(&[("price", "\"1\""), ("quantity", "0"), ("backing", "7")], &["price", "quantity", "backing"]),
        post(ORDERS, &order(&[("userId", "\"$ben\"")]), 400, "UNKNOWN_FIELD", &["userId"]),
        post(ORDERS, &order(&[("status", "\"filled\""), ("price", "\"9\"")]), 400, "UNKNOWN_FIELD", &["status"]),
        post(ORDERS, &order(&[("outcome", "\"MAYBE\"")]), 422, "OUTCOME_NOT_FOUND", &["outcome"]),
        refused(&[gtd, ("expiresAt", "\"2001-01-01T00:00:00Z\"")], 422, "EXPIRY_IN_THE_PAST").fields(&["expiresAt"]),
        refused(&[("marketId", "\"$unknown\"")], 404, "MARKET_NOT_FOUND"),
        refused(&[("marketId", "\"$closed\"")], 409, "MARKET_NOT_OPEN"),
        refused(&[("marketId", "\"$resolved\"")], 409, "MARKET_NOT_OPEN"),
        refused(&[("quantity", "1000000000")], 409, "INSUFFICIENT_FUNDS"),
        refused(&[("quantity", "1000000")], 409, "INSUFFICIENT_FUNDS"),
        refused(&[("side", "\"sell\""), ("quantity", "6")], 409, "INSUFFICIENT_SHARES"),
        refused(&[("side", "\"sell\""), ("outcome", "\"NO\""), ("quantity", "1")], 409, "INSUFFICIENT_SHARES"),
        refused(&[("backing", "\"shares\""), ("quantity", "1")], 409, "INSUFFICIENT_SHARES"),
        refused(&[("timeInForce", "\"fok\"")], 409, "FILL_OR_KILL"),
        refused(&[("price", "\"0.80\""), ("postOnly", "true")], 409, "POST_ONLY_WOULD_TAKE"),
        refused(
            &[MARKET_ORDER, ("side", "\"sell\""), ("price", ""), ("quantity", "1"), ("maxSpend", "\"5\"")],
            422,
            "SPEND_WITHOUT_CASH",
        )
        .fields(&["maxSpend"]),
        refused(
            &[MARKET_ORDER, ("price", "\"0.01\""), ("quantity", ""), ("maxSpend", "\"5\"")],
            409,
            "NOTHING_TO_FILL",
        ),
        Case::new(Who::Ann, "POST", ORDERS, 400, "IDEMPOTENCY_KEY_REQUIRED").body(order(&[])),
        post(ORDERS, &order(&[]), 401, "UNAUTHENTICATED", &[]).by(Who::Nobody),
    ]
}

fn batches_and_quotes() -> Vec<Case> {
    let batch = |orders: &str| format!("{{\"orders\":[{orders}]}}");
    let good = order(&[]);
    vec![
        invalid("/orders/batch", "{}", &["orders"]),
        invalid("/orders/batch", &batch(""), &["orders"]),
        invalid("/orders/batch", &batch(&vec![good.as_str(); 51].join(",")), &["orders"]),
        invalid(
            "/orders/batch",
            &batch(&format!("{good},{},7", order(&[("price", "\"0\""), ("quantity", "-1")]))),
            &["orders[1].price", "orders[1].quantity", "orders[2]"],
        ),
        post("/orders/batch", &batch(&order(&[("x", "1")])), 400, "UNKNOWN_FIELD", &["orders[0].x"]),
        Case::new(Who::Ann, "POST", "/orders/batch", 400, "IDEMPOTENCY_KEY_REQUIRED").body(batch(&good)),
        invalid("/orders/quote", "{}", &["marketId", "outcome", "side", "type"]),
        post("/orders/quote", &order(&[("quantity", "1000000000")]), 409, "INSUFFICIENT_FUNDS", &[]),
        post("/orders/quote", &order(&[("marketId", "\"$closed\"")]), 409, "MARKET_NOT_OPEN", &[]),
        post("/orders/quote", &order(&[("marketId", "\"$unknown\"")]), 404, "MARKET_NOT_FOUND", &[]),
        post("/orders/quote", &order(&[]), 401, "UNAUTHENTICATED", &[]).by(Who::Nobody),
    ]
}

fn others() -> Vec<Case> {
    vec![
        Case::new(Who::Ann, "GET", "/orders/$bens", 404, "ORDER_NOT_FOUND"),
        Case::new(Who::Ann, "DELETE", "/orders/$bens", 404, "ORDER_NOT_FOUND"),
        amend("/orders/$bens", "{\"quantity\":1}", 404, "ORDER_NOT_FOUND", &[]),
        Case::new(Who::Ann, "GET", "/orders/$unknown", 404, "ORDER_NOT_FOUND"),
        Case::new(Who::Ann, "DELETE", "/orders/$unknown", 404, "ORDER_NOT_FOUND"),
        Case::new(Who::Ann, "DELETE", "/orders/$done", 409, "ORDER_NOT_OPEN"),
        Case::new(Who::Ann, "DELETE", "/orders/$order", 412, "PRECONDITION_FAILED").header("If-Match", "\"0.x\""),
        amend("/orders/$order", "{\"quantity\":1}", 412, "PRECONDITION_FAILED", &[]).header("If-Match", "\"0.x\""),
        Case::new(Who::Ann, "DELETE", "/orders/not-an-id", 400, "BAD_ID").fields(&["id"]),
        Case::new(Who::Ann, "DELETE", "/orders/0193A5E0000070008000000000000000", 400, "BAD_ID").fields(&["id"]),
        Case::new(Who::Nobody, "DELETE", "/orders/$order", 401, "UNAUTHENTICATED"),
        Case::new(Who::Ann, "DELETE", "/orders?market=$market", 400, "UNKNOWN_PARAMETER").fields(&["market"]),
        // In the body it would be passed over, and everything be cancelled.
        Case::new(Who::Ann, "DELETE", "/orders", 400, "UNKNOWN_FIELD")
            .body("{\"marketId\":\"$market\"}")
            .fields(&["marketId"]),
        Case::new(Who::Ann, "DELETE", "/orders?marketId=$market", 400, "UNKNOWN_FIELD")
            .body("{\"all\":true}")
            .fields(&["all"]),
        Case::new(Who::Ann, "DELETE", "/orders", 400, "MALFORMED_JSON").body("marketId=$market"),
        Case::new(Who::Ann, "DELETE", "/orders", 415, "UNSUPPORTED_MEDIA_TYPE")
            .header("Content-Type", "text/plain")
            .body("$market"),
        amend("/orders/$done", "{\"quantity\":50}", 409, "ORDER_NOT_OPEN", &[]),
        amend("/orders/$order", "{}", 422, "VALIDATION_ERROR", &["price"]),
        amend(
            "/orders/$order",
            "{\"price\":\"1.5\",\"quantity\":\"many\"}",
            422,
            "VALIDATION_ERROR",
            &["price", "quantity"],
        ),
        amend("/orders/$order", "{\"price\":null}", 422, "VALIDATION_ERROR", &["price"]),
        amend("/orders/$order", "{\"quantity\":0}", 422, "VALIDATION_ERROR", &["quantity"]),
        amend("/orders/$order", "{\"side\":\"sell\"}", 400, "UNKNOWN_FIELD", &["side"]),
        amend("/orders/$order", "{\"expiresAt\":\"2190-01-01T00:00:00Z\"}", 422, "BAD_AMENDMENT", &[]),
        amend("/orders/$order", "{\"quantity\":1000000}", 409, "INSUFFICIENT_FUNDS", &[]),
        amend("/orders/$unknown", "{\"quantity\":1}", 404, "ORDER_NOT_FOUND", &[]),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let prices = [
        "\"0.2005\"",
        "0.2005",
        "\"0\"",
        "\"1\"",
        "\"1.000\"",
        "\"-0.5\"",
        "\"0.0001\"",
        "\"NaN\"",
        "\"-Infinity\"",
        "\"1e-1\"",
        "5E-1",
        "\"0,5\"",
        "\"50%\"",
        "\" 0.5\"",
        "true",
        "[\"0.5\"]",
        "{\"value\":1}",
        "\"0.5\\u0000\"",
        "\"½\"",
        "\"٠.٥\"",
        "0.10000000000000000000000000000000000000001",
    ];
    let quantities = [
        "0",
        "-1",
        "1.5",
        "\"1.5\"",
        "1000000001",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "\"1e3\"",
        "1e3",
        "\"five\"",
        "\"\"",
        "\"NaN\"",
        "true",
        "[5]",
        "\"0x5\"",
        "\"５\"",
    ];
    let prices = prices.into_iter().map(|price| bad(&[("price", price)], &["price"]));
    let quantities = quantities.into_iter().map(|quantity| bad(&[("quantity", quantity)], &["quantity"]));
    [combinations(), batches_and_quotes(), others(), prices.collect(), quantities.collect()].concat()
}
