//! Texts that are meant to do harm: the same answer from every store.

use std::sync::Mutex;

use bellwether_tests::client::{FAR, PASSWORD};
use bellwether_tests::on_each_store;
use serde_json::{Value, json};

/// Texts for fields of one line, each with its reason.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "nul \0 inside",
        "bidi \u{202e}override",
        "isolate \u{2066}x\u{2069}",
        "zero\u{200b}width",
        "byte order \u{feff}mark",
        "line\nbreak",
        "carriage\r\nreturn: header",
        "tab\there",
        "escape \u{1b}[31m red",
        "c1 \u{85} control",
        "noncharacter \u{fffe}",
        "private \u{e000}",
        "unassigned plane \u{1fffe}",
        "replacement \u{fffd}",
        "tag \u{e0041}",
        "'; DROP TABLE markets; --",
        "\" OR \"\"=\"",
        "%' ESCAPE '!' _%",
        "<script>alert(1)</script>",
        "{{7*7}} ${7*7} #{7*7}",
        "e\u{301} decomposed",
        "\u{1100}\u{1161} jamo",
        "ﬁ ligature ℌ",
        "İstanbul ıI",
        "ΑΣ ας",
        "  trimmed  ",
        "\u{a0}no-break\u{a0}",
        "\u{3000}",
        "",
        "👩‍👩‍👧‍👦 family",
        "𝕏 astral",
        "ꬳ",
    ]
    .iter()
    .map(ToString::to_string)
    .collect();
    texts.push("x".repeat(300));
    texts.push("x".repeat(301));
    texts.push("é".repeat(300));
    texts.push("e\u{301}".repeat(300));
    texts.push("\u{0344}".repeat(200));
    texts
}

/// Addresses: pairs that are the same person's, or not.
const ADDRESSES: &[(&str, &str)] = &[
    ("ÄÖ@x.org", "äö@x.org"),
    ("e\u{301}@x.org", "É@x.org"),
    ("straße@x.org", "STRASSE@x.org"),
    ("i\u{307}@x.org", "İ@x.org"),
    ("ı@x.org", "I@x.org"),
    ("ﬁ@x.org", "FI@x.org"),
    ("K@x.org", "\u{212a}@x.org"),
    ("σ@x.org", "Σ@x.org"),
    ("ς@x.org", "σ2@x.org"),
    ("Upper@X.ORG", "upper@x.org"),
    ("ａ@x.org", "a@x.org"),
    ("ß@x.org", "ẞ@x.org"),
];

/// Threats 21 and 26.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_is_answered_alike_by_every_store() {
    let seen = Mutex::new(Vec::new());
    on_each_store(|server| {
        let seen = &seen;
        async move {
            let api = server.api();
            let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
            let mut answers = Vec::new();
            for text in texts() {
                let market = api.post("/markets", &ann, json!({
                    "question": text, "description": text, "category": text.chars().take(40).collect::<String>(),
                    "tags": [text.chars().take(40).collect::<String>()], "closesAt": FAR,
                    "outcomes": [text.chars().take(60).collect::<String>(), "other"],
                })).await;
                if market.status == 201 {
                    let read = api.request("GET", &format!("/markets/{}", market.text("/id"))).send().await.expect(200);
                    for field in ["question", "description", "category", "tags"] {
                        assert_eq!(read.data()[field], market.data()[field], "{text:?} changed when it was stored");
                    }
                    assert_eq!(read.data()["outcomes"][0]["name"], market.data()["outcomes"][0]["name"]);
                    let found = api.request("GET", "/markets?sort=-createdAt&limit=1").send().await.expect(200);
                    assert_eq!(found.data()[0]["question"], market.data()["question"]);
                }
                let data = &market.data();
                answers.push(json!([
                    market.status,
                    market.fields(),
                    data["question"],
                    data["description"],
                    data["category"]
                ]));
                let name = api.request("PATCH", "/users/me").by(&ann).header("If-Match", "*");
                let name = name.json(&json!({ "displayName": text })).send().await;
                answers.push(json!([name.status, name.fields(), name.data()["displayName"]]));
                let pay = json!({ "toUserId": ben.id, "amount": "0.001", "memo": text });
                let paid = api.post("/transfers", &ann, pay).await;
                answers.push(json!([paid.status, paid.fields(), paid.data()["memo"]]));
            }
            seen.lock().expect("nobody panics with it").push(answers);
        }
    })
    .await;
    let seen = seen.into_inner().expect("nobody panics with it");
    for other in &seen[1..] {
        assert_eq!(&seen[0], other);
    }
    let statuses: Vec<u64> = seen[0].iter().filter_map(|answer| answer[0].as_u64()).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 201 | 422)), "{statuses:?}");
    // The first fifteen hold what no text may hold, but for the replacement and private characters.
    assert_eq!(seen[0][0][0], json!(422));
    let of_market = |n: usize| &seen[0][n * 3];
    assert_eq!(of_market(15)[2], json!("'; DROP TABLE markets; --"));
    assert_eq!(of_market(20)[2], json!("\u{e9} decomposed"));
    assert_eq!(of_market(25)[2], json!("trimmed"));
}

/// Threat 21.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_fold_to_the_same_are_the_same_on_every_store() {
    let seen = Mutex::new(Vec::new());
    on_each_store(|server| {
        let seen = &seen;
        async move {
            let api = server.api();
            let mut answers: Vec<Value> = Vec::new();
            for (first, second) in ADDRESSES {
                let sign_up = |email: &str| {
                    let body = json!({ "email": email, "displayName": "A", "password": PASSWORD });
                    api.request("POST", "/users").json(&body).send()
                };
                let log_in = |email: &str| {
                    let body = json!({ "email": email, "password": PASSWORD });
                    api.request("POST", "/auth/login").json(&body).send()
                };
                let (one, two) = (sign_up(first).await, sign_up(second).await);
                let (in_one, in_two) = (log_in(first).await, log_in(second).await);
                assert_eq!(in_one.status, 200, "{first} cannot sign in");
                // Whoever is refused as a double is the one who is meant by the address.
                let same = in_two.status == 200 && in_one.text("/user/id") == in_two.text("/user/id");
                assert_eq!(two.status == 409, same, "{first} and {second}: {}", two.text);
                answers.push(json!([first, second, one.status, two.status, in_one.status, in_two.status]));
            }
            seen.lock().expect("nobody panics with it").push(answers);
        }
    })
    .await;
    let seen = seen.into_inner().expect("nobody panics with it");
    for other in &seen[1..] {
        assert_eq!(&seen[0], other);
    }
    let doubles: Vec<bool> = seen[0].iter().map(|answer| answer[3] == json!(409)).collect();
    // Case and compatibility fold; ß is no ss, and a dotless ı is no i.
    assert_eq!(doubles, [true, true, false, true, false, true, true, true, false, true, true, true]);
}
