//! Sign-up, sign-in, and changes of users.

use super::{Case, Who, invalid, object, post};

const USERS: &str = "/users";
const LOGIN: &str = "/auth/login";

fn sign_up(changes: &[(&str, &str)]) -> String {
    let valid = [("email", "\"new@example.org\""), ("displayName", "\"New\""), ("password", "\"a good pass phrase\"")];
    object(&valid, changes)
}

fn bad_sign_up(changes: &[(&str, &str)], fields: &[&'static str]) -> Case {
    invalid(USERS, &sign_up(changes), fields).by(Who::Nobody)
}

/// A change of Ann by herself.
fn change(
    method: &'static str,
    tag: &str,
    body: &str,
    status: u16,
    code: &'static str,
    fields: &[&'static str],
) -> Case {
    let case = Case::new(Who::Ann, method, "/users/me", status, code).body(body).fields(fields);
    if tag.is_empty() { case } else { case.header("If-Match", tag) }
}

fn patch(body: &str, fields: &[&'static str]) -> Case {
    change("PATCH", "*", body, 422, "VALIDATION_ERROR", fields)
}

pub(super) fn cases() -> Vec<Case> {
    let long = |n: usize| format!("\"{}\"", "x".repeat(n));
    let mut cases = vec![
        invalid(USERS, "{}", &["email", "displayName", "password"]).by(Who::Nobody),
        bad_sign_up(
            &[("email", "7"), ("displayName", "[]"), ("password", "null")],
            &["email", "displayName", "password"],
        ),
        bad_sign_up(
            &[("email", "\"\""), ("displayName", "\" \""), ("password", "\"\"")],
            &["email", "displayName", "password"],
        ),
        bad_sign_up(&[("displayName", &long(61))], &["displayName"]),
        bad_sign_up(&[("displayName", "\"a\\u0000b\"")], &["displayName"]),
        bad_sign_up(&[("displayName", "\"a\\nb\"")], &["displayName"]),
        bad_sign_up(&[("displayName", "true")], &["displayName"]),
        bad_sign_up(&[("password", "\"1234567\"")], &["password"]),
        bad_sign_up(&[("password", "\"password123\"")], &["password"]),
        bad_sign_up(&[("password", "\"new@example.org\"")], &["password"]),
        bad_sign_up(&[("password", &long(73))], &["password"]),
        bad_sign_up(&[("password", "\"long enough\\u0000\"")], &["password"]),
        bad_sign_up(&[("password", "12345678901")], &["password"]),
        post(USERS, &sign_up(&[("role", "\"admin\"")]), 400, "UNKNOWN_FIELD", &["role"]).by(Who::Nobody),
        post(USERS, &sign_up(&[("balance", "1"), ("id", "\"x\"")]), 400, "UNKNOWN_FIELD", &["balance", "id"])
            .by(Who::Nobody),
        post(USERS, &sign_up(&[("Email", "\"x\"")]), 400, "UNKNOWN_FIELD", &["Email"]).by(Who::Nobody),
        post(USERS, &sign_up(&[("__proto__", "{}")]), 400, "UNKNOWN_FIELD", &["__proto__"]).by(Who::Nobody),
        post(USERS, &sign_up(&[("email", "\"$email\"")]), 409, "EMAIL_TAKEN", &["email"]).by(Who::Nobody),
        post(USERS, "{\"email\":\"a@b.c\",\"email\":\"d@e.f\"}", 400, "MALFORMED_JSON", &[]).by(Who::Nobody),
        invalid(USERS, "[]", &["body"]).by(Who::Nobody),
        invalid(USERS, "\"text\"", &["body"]).by(Who::Nobody),
        post(USERS, &sign_up(&[]), 400, "BAD_IDEMPOTENCY_KEY", &[]).by(Who::Nobody).header("Idempotency-Key", "two"),
        invalid(LOGIN, "{}", &["email", "password"]).by(Who::Nobody),
        invalid(LOGIN, "{\"email\":1,\"password\":{}}", &["email", "password"]).by(Who::Nobody),
        post(LOGIN, "{\"email\":\"a@b.c\",\"password\":\"x\",\"otp\":1}", 400, "UNKNOWN_FIELD", &["otp"])
            .by(Who::Nobody),
        post(LOGIN, "{\"email\":\"$email\",\"password\":\"wrong\"}", 401, "INVALID_CREDENTIALS", &[]).by(Who::Nobody),
        post(LOGIN, "{\"email\":\"' OR 1=1 --\",\"password\":\"x\"}", 401, "INVALID_CREDENTIALS", &[]).by(Who::Nobody),
        patch("{\"displayName\":null}", &["displayName"]),
        patch("{\"displayName\":\"\",\"email\":\"x\",\"password\":\"short\"}", &["displayName", "email", "password"]),
        patch("{\"email\":\"other@example.org\"}", &["currentPassword"]),
        patch("{\"password\":\"another pass phrase\"}", &["currentPassword"]),
        change("PUT", "*", "{}", 422, "VALIDATION_ERROR", &["email", "displayName"]),
        change("PATCH", "*", "{\"role\":\"admin\"}", 400, "UNKNOWN_FIELD", &["role"]),
        change("PATCH", "", "{\"displayName\":\"A\"}", 428, "PRECONDITION_REQUIRED", &[]),
        change("PATCH", "\"99.stale\"", "{\"displayName\":\"A\"}", 412, "PRECONDITION_FAILED", &[]),
        change("PATCH", "W/\"1.x\"", "{\"displayName\":\"A\"}", 412, "PRECONDITION_FAILED", &[]),
        change("PATCH", "unquoted", "{\"displayName\":\"A\"}", 400, "BAD_REQUEST", &[]),
        change("PUT", "", "{}", 428, "PRECONDITION_REQUIRED", &[]),
        Case::new(Who::Ann, "PATCH", "/users/$ben", 403, "FORBIDDEN")
            .header("If-Match", "*")
            .body("{\"displayName\":\"B\"}"),
        Case::new(Who::Ann, "DELETE", "/users/$ben", 403, "FORBIDDEN").header("If-Match", "*"),
        Case::new(Who::Ann, "DELETE", "/users/me", 428, "PRECONDITION_REQUIRED"),
        Case::new(Who::Ann, "DELETE", "/users/me", 412, "PRECONDITION_FAILED").header("If-Match", "\"7.x\""),
        Case::new(Who::Admin, "DELETE", "/users/$unknown", 404, "USER_NOT_FOUND").header("If-Match", "*"),
        Case::new(Who::Admin, "DELETE", "/users/me", 409, "LAST_ADMIN").header("If-Match", "*"),
        Case::new(Who::Ann, "GET", "/users/$unknown", 404, "USER_NOT_FOUND"),
        Case::new(Who::Ann, "GET", "/users/42", 400, "BAD_ID").fields(&["id"]),
        Case::new(Who::Ann, "GET", "/users/ME", 400, "BAD_ID").fields(&["id"]),
        Case::new(Who::Ann, "GET", "/users", 403, "FORBIDDEN"),
        Case::new(Who::Nobody, "GET", "/users/me", 401, "UNAUTHENTICATED"),
        Case::new(Who::Bearing("Bearer x.y.z"), "GET", "/users/me", 401, "UNAUTHENTICATED"),
        Case::new(Who::Bearing("Basic YTpi"), "GET", "/users/me", 401, "UNAUTHENTICATED"),
        Case::new(Who::Bearing("Bearer"), "GET", "/users/me", 401, "UNAUTHENTICATED"),
        // {"alg":"none"} with a subject
        Case::new(
            Who::Bearing("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."),
            "GET",
            "/users/me",
            401,
            "UNAUTHENTICATED",
        ),
    ];
    for address in [
        "no-at-sign",
        "@x.org",
        "a@",
        "a b@x.org",
        "a@x..org",
        "a@-x.org",
        "a@x.org\\n",
        "a@x.org\\u0000",
        "a<b@x.org",
        "a@b@c.org\\u202e",
        ".a@x.org",
        "a.@x.org",
        "a..b@x.org",
        "\\ud800@x.org",
    ] {
        let body = sign_up(&[("email", &format!("\"{address}\""))]);
        cases.push(match address {
            // Trimmed, it is an address; half a surrogate pair is no text.
            "a@x.org\\n" => continue,
            "\\ud800@x.org" => post(USERS, &body, 400, "MALFORMED_JSON", &[]).by(Who::Nobody),
            _ => invalid(USERS, &body, &["email"]).by(Who::Nobody),
        });
    }
    cases.push(bad_sign_up(&[("email", &format!("\"{}@x.org\"", "a".repeat(65)))], &["email"]));
    cases.push(bad_sign_up(&[("email", &format!("\"a@{}.org\"", "x".repeat(260)))], &["email"]));
    cases.push(bad_sign_up(&[("email", &format!("\"a@{}.org\"", "x".repeat(64)))], &["email"]));
    cases
}
