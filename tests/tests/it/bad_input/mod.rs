//! Bad input, case by case: each gets its status, its code and all of its fields, and leaves no
//! row and no held credit behind, on every store.

mod accounts;
mod lists;
mod markets;
mod orders;
mod protocol;
mod users;

use bellwether_tests::client::limit;
use bellwether_tests::{Answer, Server, User, on_each_store};
use serde_json::{Value, json};

/// Who sends a request.
#[derive(Debug, Clone, Copy)]
enum Who {
    Nobody,
    Ann,
    Admin,
    /// Somebody with this `Authorization`.
    Bearing(&'static str),
}

/// A bad request and its answer.
///
/// In paths and bodies `$market`, `$closed`, `$resolved`, `$maker` (a market with a market maker),
/// `$order` (Ann's, open), `$done` (Ann's, filled), `$bens` (Ben's, open), `$ann`, `$ben` and
/// `$unknown` stand for ids.
#[derive(Debug, Clone)]
struct Case {
    who: Who,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    status: u16,
    code: &'static str,
    fields: Vec<&'static str>,
}

impl Case {
    fn new(who: Who, method: &'static str, path: &str, status: u16, code: &'static str) -> Self {
        let path = path.to_owned();
        Self { who, method, path, headers: vec![], body: None, status, code, fields: vec![] }
    }

    fn by(self, who: Who) -> Self {
        Self { who, ..self }
    }

    fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    fn fields(self, fields: &[&'static str]) -> Self {
        Self { fields: fields.to_vec(), ..self }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Ann posts a body; with an idempotency key, and refused with these fields.
fn post(path: &str, body: &str, status: u16, code: &'static str, fields: &[&'static str]) -> Case {
    Case::new(Who::Ann, "POST", path, status, code).header("Idempotency-Key", "$fresh").body(body).fields(fields)
}

/// A body that is not accepted: 422 with these fields.
fn invalid(path: &str, body: &str, fields: &[&'static str]) -> Case {
    post(path, body, 422, "VALIDATION_ERROR", fields)
}

/// A JSON object of these members, given as raw JSON texts; an empty text leaves a member out, and
/// a later member takes the place of an earlier one.
fn object(members: &[(&str, &str)], changes: &[(&str, &str)]) -> String {
    let mut all: Vec<(&str, &str)> = members.to_vec();
    for (name, value) in changes {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some(member) => member.1 = value,
            None => all.push((name, value)),
        }
    }
    let texts = all.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", texts.collect::<Vec<_>>().join(","))
}

fn cases() -> Vec<Case> {
    [users::cases(), accounts::cases(), markets::cases(), orders::cases(), lists::cases(), protocol::cases()].concat()
}

/// What the ids of the cases stand for.
struct Scene {
    ann: User,
    admin: User,
    ids: Vec<(&'static str, String)>,
}

impl Scene {
    async fn set(server: &Server) -> Self {
        let api = server.api();
        let admin = server.admin().await.clone();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        let place = |user, order| async move { api.post("/orders", user, order).await.expect(201).text("/order/id") };
        let done = place(&ann, limit(&market, "YES", "buy", "0.40", 5)).await;
        place(&ben, limit(&market, "NO", "buy", "0.60", 5)).await;
        let order = place(&ann, limit(&market, "YES", "buy", "0.30", 10)).await;
        let bens = place(&ben, limit(&market, "NO", "buy", "0.30", 10)).await;
        let closed = api.open_market(&ann, json!({})).await;
        api.post(&format!("/markets/{closed}/close"), &ann, json!({})).await.expect(200);
        let resolved = api.open_market(&ann, json!({})).await;
        api.resolve(&resolved, &ann, "YES").await;
        let maker = api.open_market(&ann, json!({ "liquidity": { "subsidy": "10" } })).await;
        let unknown = "0193a5e0-0000-7000-8000-000000000000".to_owned();
        let (anns_id, bens_id) = (ann.id.clone(), ben.id.clone());
        let ids = vec![
            ("$market", market),
            ("$closed", closed),
            ("$resolved", resolved),
            ("$maker", maker),
            ("$order", order),
            ("$done", done),
            ("$bens", bens),
            ("$ann", anns_id),
            ("$ben", bens_id),
            ("$email", ann.email.clone()),
            ("$unknown", unknown),
        ];
        Self { ann, admin, ids }
    }

    fn fill_in(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    async fn send(&self, server: &Server, number: usize, case: &Case) -> Answer {
        let mut request = server.api().request(case.method, &self.fill_in(&case.path));
        request = match case.who {
            Who::Nobody => request,
            Who::Ann => request.by(&self.ann),
            Who::Admin => request.by(&self.admin),
            Who::Bearing(value) => request.header("Authorization", value),
        };
        let has_type = case.headers.iter().any(|(name, _)| *name == "Content-Type");
        for (name, value) in &case.headers {
            request = request.header(name, &value.replace("$fresh", &format!("case-{number}")));
        }
        if let Some(body) = &case.body {
            let body = match std::str::from_utf8(body) {
                Ok(text) => self.fill_in(text).into_bytes(),
                Err(_) => body.clone(),
            };
            request = if has_type { request.bytes(body) } else { request.body(body) };
        }
        request.send().await
    }

    /// Everything that a bad request must leave as it was.
    async fn state(&self, server: &Server) -> Vec<Value> {
        let api = server.api();
        let mut state = Vec::new();
        let id = |name: &str| self.fill_in(name);
        let (ann, ben) = (id("$ann"), id("$ben"));
        for path in ["/users", "/markets"] {
            let list = api.get(&format!("{path}?limit=1"), &self.admin).await.expect(200);
            state.push(list.body["meta"]["pagination"]["total"].clone());
        }
        for user in [&ann, &ben, &self.admin.id] {
            for list in ["orders", "transfers", "positions"] {
                let list = api.get(&format!("/users/{user}/{list}?limit=100"), &self.admin).await.expect(200);
                state.push(list.body["meta"]["pagination"]["total"].clone());
                state.push(list.data().clone());
            }
            state.push(api.get(&format!("/accounts/{user}"), &self.admin).await.expect(200).data().clone());
            state.push(api.get(&format!("/users/{user}"), &self.admin).await.expect(200).data().clone());
        }
        for market in ["$market", "$closed", "$resolved", "$maker"] {
            let path = format!("/markets/{}", id(market));
            state.push(api.request("GET", &path).send().await.expect(200).data().clone());
            state.push(api.request("GET", &format!("{path}/book")).send().await.expect(200).data().clone());
            state.push(api.request("GET", &format!("{path}/trades")).send().await.expect(200).data().clone());
        }
        state
    }
}

/// How an answer differs from what the case says; none where it does not.
fn difference(case: &Case, answer: &Answer) -> Option<String> {
    let mut found = answer.fields();
    let mut wanted = case.fields.clone();
    found.sort_unstable();
    wanted.sort_unstable();
    let is_right = (answer.status, answer.code()) == (case.status, case.code) && found == wanted;
    let is_enveloped = answer.body["success"] == json!(false) && answer.body["meta"]["requestId"].is_string();
    // A HEAD has no body to look into.
    let is_right = is_right && is_enveloped;
    (!is_right).then(|| {
        let body = case.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let shown: String = body.chars().take(300).collect();
        format!(
            "{} {} {shown}\n    is answered {} {} {found:?}, not {} {} {wanted:?}\n    {}",
            case.method,
            case.path,
            answer.status,
            answer.code(),
            case.status,
            case.code,
            answer.text.chars().take(400).collect::<String>()
        )
    })
}

/// Threats 15, 19, 20 and 33.
#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_is_refused_with_all_of_its_faults_and_changes_nothing() {
    let cases = cases();
    assert!(cases.len() >= 150, "there are {} cases", cases.len());
    on_each_store(|server| {
        let cases = &cases;
        async move {
            let scene = Scene::set(&server).await;
            let before = scene.state(&server).await;
            let mut differences = Vec::new();
            for (number, case) in cases.iter().enumerate() {
                let answer = scene.send(&server, number, case).await;
                differences.extend(difference(case, &answer));
            }
            assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), cases.len(), differences.join("\n"));
            let after = scene.state(&server).await;
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(before, after);
            }
            eprintln!("{} cases", cases.len());
        }
    })
    .await;
}
