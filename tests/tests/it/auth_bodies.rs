//! Bodies that nobody should send to where people sign up and in: refused whole, with every fault
//! named, and nothing left behind.

use bellwether_tests::client::PASSWORD;
use bellwether_tests::{Api, User, on_each_store};

/// A path, a body, the status, the code, and the fields that are named.
type Case = (&'static str, String, u16, &'static str, &'static [&'static str]);

const INVALID: (u16, &str) = (422, "VALIDATION_ERROR");

fn invalid(path: &'static str, body: &str, fields: &'static [&'static str]) -> Case {
    (path, body.to_owned(), INVALID.0, INVALID.1, fields)
}

fn malformed(path: &'static str, body: &str) -> Case {
    (path, body.to_owned(), 400, "MALFORMED_JSON", &[])
}

fn unknown_field(path: &'static str, body: &str, field: &'static [&'static str]) -> Case {
    (path, body.to_owned(), 400, "UNKNOWN_FIELD", field)
}

fn sign_ups() -> Vec<Case> {
    let with = |email: &str, name: &str, password: &str| {
        format!(r#"{{"email":{email},"displayName":{name},"password":{password}}}"#)
    };
    let (email, name, password) = ("\"a@b.org\"", "\"A\"", "\"correct horse battery\"");
    let long = |length: usize| format!("\"{}\"", "x".repeat(length));
    let path = "/users";
    vec![
        invalid(path, "{}", &["email", "displayName", "password"]),
        invalid(path, &with("null", "null", "null"), &["email", "displayName", "password"]),
        invalid(path, &with("7", "true", "[]"), &["email", "displayName", "password"]),
        invalid(path, &with("\"no address\"", name, password), &["email"]),
        invalid(path, &with("\"a@b@c.org\"", name, password), &["email"]),
        invalid(path, &with("\"a@b.org\\r\\nBcc: c@d.org\"", name, password), &["email"]),
        invalid(path, &with("\"a\\u0000@b.org\"", name, password), &["email"]),
        invalid(path, &with(&long(400), name, password), &["email"]),
        invalid(path, &with(email, "\"\"", password), &["displayName"]),
        invalid(path, &with(email, "\"   \"", password), &["displayName"]),
        invalid(path, &with(email, "\"a\\u202eb\"", password), &["displayName"]),
        invalid(path, &with(email, &long(2000), password), &["displayName"]),
        invalid(path, &with(email, name, "\"\""), &["password"]),
        invalid(path, &with(email, name, "\"short\""), &["password"]),
        invalid(path, &with(email, name, "\"password\""), &["password"]),
        invalid(path, &with(email, name, "\"nul\\u0000 in the middle\""), &["password"]),
        invalid(path, &with(email, name, &long(73)), &["password"]),
        invalid(path, &with(email, "\"Ann Smithson\"", "\"ann smithson\""), &["password"]),
        unknown_field(path, &with(email, name, &format!("{password},\"role\":\"admin\"")), &["role"]),
        unknown_field(path, &with(email, name, &format!("{password},\"balance\":\"1000000\"")), &["balance"]),
        unknown_field(path, &with(email, name, &format!("{password},\"id\":\"x\"")), &["id"]),
        unknown_field(path, &with(email, name, &format!("{password},\"emailVerified\":true")), &["emailVerified"]),
        malformed(path, &with(email, name, &format!("{password},\"email\":\"c@d.org\""))),
        malformed(path, &with(email, name, "\"\\ud800 lonely surrogate\"")),
    ]
}

fn others() -> Vec<Case> {
    let (login, refresh) = ("/auth/login", "/auth/refresh");
    let (forgot, reset, verify) = ("/auth/password/forgot", "/auth/password/reset", "/auth/email/verify");
    let bad_token: (u16, &'static str) = (422, "INVALID_TOKEN");
    let given = |path, body: &str| (path, body.to_owned(), bad_token.0, bad_token.1, &["token"][..]);
    let mut cases = vec![
        invalid(login, "{}", &["email", "password"]),
        invalid(login, r#"{"email":{"$ne":null},"password":{"$ne":null}}"#, &["email", "password"]),
        invalid(login, r#"{"email":["a@b.org"],"password":1}"#, &["email", "password"]),
        unknown_field(login, r#"{"email":"a@b.org","password":"x","remember":true}"#, &["remember"]),
        (login, r#"{"email":"' OR 1=1 --","password":"x"}"#.to_owned(), 401, "INVALID_CREDENTIALS", &[]),
        (login, format!(r#"{{"email":"a@b.org","password":"{}"}}"#, "x".repeat(9000)), 401, "INVALID_CREDENTIALS", &[]),
        invalid(refresh, "{}", &["refreshToken"]),
        invalid(refresh, r#"{"refreshToken":7}"#, &["refreshToken"]),
        unknown_field(refresh, r#"{"refreshToken":"x","userId":"y"}"#, &["userId"]),
        (refresh, r#"{"refreshToken":""}"#.to_owned(), 401, "INVALID_REFRESH_TOKEN", &[]),
        invalid(forgot, "{}", &["email"]),
        invalid(forgot, r#"{"email":null}"#, &["email"]),
        invalid(forgot, r#"{"email":["a@b.org","c@d.org"]}"#, &["email"]),
        unknown_field(forgot, r#"{"email":"a@b.org","url":"https://evil.example"}"#, &["url"]),
        invalid(reset, "{}", &["token", "password"]),
        invalid(reset, r#"{"token":"x","password":"short"}"#, &["password"]),
        invalid(reset, r#"{"token":7,"password":"password"}"#, &["token", "password"]),
        unknown_field(reset, r#"{"token":"x","password":"correct horse battery","email":"a@b.org"}"#, &["email"]),
        given(reset, &format!(r#"{{"token":"","password":"{PASSWORD}"}}"#)),
        given(reset, &format!(r#"{{"token":"bw_mail_{}","password":"{PASSWORD}"}}"#, "A".repeat(43))),
        invalid(verify, "{}", &["token"]),
        invalid(verify, r#"{"token":false}"#, &["token"]),
        given(verify, r#"{"token":"' OR '1'='1"}"#),
        given(verify, &format!(r#"{{"token":"{}"}}"#, "x".repeat(9000))),
    ];
    for path in [login, refresh, forgot, reset, verify] {
        cases.extend(["", "{", "{}{}", "{\"email\":}", "\u{feff}{}"].map(|body| malformed(path, body)));
        cases.extend(["[]", "null", "\"x\"", "7"].map(|body| invalid(path, body, &["body"])));
        cases.push(malformed(path, &"[".repeat(10_000)));
        cases.push((path, format!("\"{}\"", "x".repeat(270_000)), 413, "PAYLOAD_TOO_LARGE", &[]));
    }
    cases
}

async fn send(api: &Api, path: &str, body: &str) -> bellwether_tests::Answer {
    api.request("POST", path).fresh_key().body(body).send().await
}

/// Threats 15, 19 and 23.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_whole_with_every_fault_named() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann: User = api.sign_up("Ann").await;
        let mut wrong = Vec::new();
        for (path, body, status, code, fields) in [sign_ups(), others()].concat() {
            let answer = send(api, path, &body).await;
            let is_named = fields.is_empty() || answer.fields() == fields;
            if (answer.status, answer.code()) != (status, code) || !is_named {
                let shown: String = body.chars().take(120).collect();
                wrong.push(format!(
                    "{path} {shown}: not {status} {code} {fields:?} but {} {}",
                    answer.status, answer.text
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // Nothing was left behind: there are the administrator and Ann.
        let users = api.get("/users?limit=100", server.admin().await).await.expect(200);
        assert_eq!(users.data().as_array().map(Vec::len), Some(2), "{}", users.text);
        api.get("/users/me", &ann).await.expect(200);
        assert!(!server.logged().contains("panicked"));
    })
    .await;
}
