//! Bodies, types, methods and paths.

use super::{Case, Who, post};

const TRANSFERS: &str = "/transfers";

fn body(bytes: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    post(TRANSFERS, "", status, code, &[]).body(bytes)
}

fn typed(content_type: &str) -> Case {
    body("{}", 415, "UNSUPPORTED_MEDIA_TYPE").header("Content-Type", content_type)
}

fn call(method: &'static str, path: &str, status: u16, code: &'static str) -> Case {
    Case::new(Who::Ann, method, path, status, code)
}

pub(super) fn cases() -> Vec<Case> {
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let json = "MALFORMED_JSON";
    vec![
        body("", 400, json),
        body("{", 400, json),
        body("{}{}", 400, json),
        body("{'amount':1}", 400, json),
        body("{\"amount\":NaN}", 400, json),
        body("{\"amount\":Infinity}", 400, json),
        body("{\"amount\":01}", 400, json),
        body("{\"amount\":1,}", 400, json),
        body("{\"amount\":+1}", 400, json),
        body("{\"amount\":.5}", 400, json),
        body("// comment\n{}", 400, json),
        body("\u{feff}{}", 400, json),
        body("{\"amount\":1,\"amount\":2}", 400, json),
        body("{\"memo\":\"\t\"}", 400, json),
        body("{\"memo\":\"\\ud800\"}", 400, json),
        body(b"{\"memo\":\"\xff\xfe\"}".to_vec(), 400, json),
        body(b"\xff\xfe{\x00}\x00".to_vec(), 400, json),
        body(b"{\"memo\":\"\xc0\x80\"}".to_vec(), 400, json),
        body(b"{\"memo\":\"\xed\xa0\x80\"}".to_vec(), 400, json),
        body(deep(33), 400, json),
        body(deep(5_000), 400, json),
        body("[".repeat(100_000), 400, json),
        body(format!("{{\"memo\":\"{}\"}}", "x".repeat(1 << 20)), 413, "PAYLOAD_TOO_LARGE"),
        body(format!("{{\"amount\":{}}}", "9".repeat(300_000)), 413, "PAYLOAD_TOO_LARGE"),
        typed("text/plain"),
        typed("application/x-www-form-urlencoded"),
        typed("multipart/form-data; boundary=x"),
        typed("application/xml"),
        typed("application/json; charset=utf-16"),
        body("{}", 415, "UNSUPPORTED_MEDIA_TYPE").header("Content-Encoding", "gzip"),
        call("GET", "/no/such/route", 404, "NOT_FOUND"),
        call("GET", "//api/v9/markets", 404, "NOT_FOUND"),
        call("GET", "//api/v1", 404, "NOT_FOUND"),
        call("GET", "/markets/", 404, "NOT_FOUND"),
        call("GET", "//.env", 404, "NOT_FOUND"),
        call("GET", "//metrics", 404, "NOT_FOUND"),
        call("PUT", "/markets", 405, "METHOD_NOT_ALLOWED"),
        call("DELETE", "/transfers", 405, "METHOD_NOT_ALLOWED"),
        call("PATCH", "/transfers/$unknown", 405, "METHOD_NOT_ALLOWED"),
        call("POST", "/orders/$order", 405, "METHOD_NOT_ALLOWED"),
        call("GET", "/auth/login", 405, "METHOD_NOT_ALLOWED"),
        call("PROPFIND", "/markets", 405, "METHOD_NOT_ALLOWED"),
    ]
}
