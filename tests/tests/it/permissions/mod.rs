//! Who may do what: every route, asked for by everybody, against a written table.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bellwether_http::{ROUTES, Route};
use bellwether_tests::client::{FAR, PASSWORD, limit};
use bellwether_tests::{Answer, Api, Server, User, on_each_store, on_each_store_with};
use serde_json::{Value, json};

/// The expected statuses: a line for each route, a column for each of [`WHO`].
const MATRIX: &str = include_str!("matrix.txt");

/// Who asks. The things that a path names are the owner's. `key:` is an API key of the owner's with that
/// scope, `admin-key:` one of the administrator's.
const WHO: [&str; 14] = [
    "anonymous",
    "signed-out",
    "suspended",
    "other",
    "owner",
    "moderator",
    "admin",
    "key:read",
    "key:trade",
    "key:transfer",
    "key:admin",
    "revoked-key",
    "admin-key:read",
    "admin-key:admin",
];

/// Steps of a market that others have to come before.
const NEEDS_STEPS: [&str; 5] = ["reopen", "merge", "propose", "resolve", "dispute"];

/// Webhooks are on this machine, where nobody listens.
const HERE: (&str, &str) = ("WEBHOOKS_ALLOW", "127.0.0.0/8");

/// Everybody but the owner, and what the owner has.
struct Scene<'a> {
    server: &'a Server,
    signed_out: User,
    suspended: User,
    other: User,
    moderator: User,
    admin: User,
    /// Who asked before and may ask again, by name, and by owner where that matters.
    known: Mutex<HashMap<(String, String), User>>,
}

/// An owner and what is its own.
struct Things {
    owner: User,
    market: String,
    order: String,
    transfer: String,
    session: String,
    key: String,
    webhook: String,
    group: String,
    /// Somebody whom everybody may pay.
    payee: String,
}

impl<'a> Scene<'a> {
    async fn set(server: &'a Server) -> Self {
        let api = server.api();
        let signed_out = api.sign_up("Sig").await;
        api.request("POST", "/auth/logout").by(&signed_out).send().await.expect(204);
        let suspended = api.sign_up("Sus").await;
        become_(server, &suspended, "status = 'suspended'").await;
        wait_for(api, &suspended, 401).await;
        let (moderator, admin) = (api.sign_up("Mod").await, api.sign_up("Adm").await);
        become_(server, &moderator, "role = 'moderator'").await;
        become_(server, &admin, "role = 'admin'").await;
        let known = Mutex::default();
        Self { server, signed_out, suspended, other: api.sign_up("Oth").await, moderator, admin, known }
    }

    /// Somebody.
    async fn who(&self, name: &str, things: &Things) -> Option<User> {
        let is_owners = ["owner", "revoked-key"].contains(&name) || name.starts_with("key:");
        let key = (name.to_owned(), if is_owners { things.owner.id.clone() } else { String::new() });
        if let Some(known) = self.known().get(&key) {
            return Some(known.clone());
        }
        let user = self.sign_in(name, things).await?;
        self.known().insert(key, user.clone());
        Some(user)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, String), User>> {
        self.known.lock().expect("nobody panics who holds it")
    }

    /// Forgets who may ask, where a route may have ended sessions or keys, or made so many that there is no room.
    fn forget_after(&self, route: &Route) {
        let ends = ["/auth/", "/users", "/api-keys"];
        if route.method != "GET" && ends.iter().any(|part| route.path.contains(part)) {
            self.known().clear();
        }
    }

    /// Somebody, signed in anew.
    async fn sign_in(&self, name: &str, things: &Things) -> Option<User> {
        let known = match name {
            "anonymous" => return None,
            "signed-out" => return Some(self.signed_out.clone()),
            "suspended" => return Some(self.suspended.clone()),
            "owner" => &things.owner,
            "other" => &self.other,
            "moderator" => &self.moderator,
            "admin" => &self.admin,
            "revoked-key" => return Some(self.revoked_key(&things.owner).await),
            _ => {
                let (user, scope) = match name.split_once(':') {
                    Some(("key", scope)) => (&things.owner, scope),
                    Some(("admin-key", scope)) => (&self.admin, scope),
                    _ => panic!("{name}?"),
                };
                return Some(self.fresh_key(user, scope).await);
            }
        };
        Some(self.server.api().log_in(&known.email, PASSWORD).await)
    }

    /// Whom a fresh key with that scope speaks for. A user has 50 keys at most, so others make room.
    async fn fresh_key(&self, user: &User, scope: &str) -> User {
        let api = self.server.api();
        let signed_in = api.log_in(&user.email, PASSWORD).await;
        let keys = api.get("/api-keys", &signed_in).await.expect(200);
        for old in keys.data().as_array().into_iter().flatten().skip(10) {
            revoke(api, &signed_in, old["id"].as_str().unwrap_or_default()).await;
        }
        make_key(api, &signed_in, scope).await.0
    }

    /// A key that was good.
    async fn revoked_key(&self, owner: &User) -> User {
        let api = self.server.api();
        let signed_in = api.log_in(&owner.email, PASSWORD).await;
        let (key, id) = make_key(api, &signed_in, "read").await;
        revoke(api, &signed_in, &id).await;
        key
    }

    /// A fresh owner, with one of everything.
    async fn things(&self) -> Things {
        let api = self.server.api();
        let owner = api.sign_up("Own").await;
        let market = api.open_market(&owner, json!({})).await;
        let order = api.post("/orders", &owner, limit(&market, "YES", "buy", "0.4", 10)).await.expect(201);
        let transfer = api.get("/users/me/transfers", &owner).await.expect(200).text("/0/id");
        let session = api.get("/users/me/sessions", &owner).await.expect(200).text("/0/id");
        let (_, key) = make_key(api, &owner, "read").await;
        let hook = json!({ "url": "http://127.0.0.1:9/hook" });
        let webhook = api.post("/webhooks", &owner, hook).await.expect(201).text("/id");
        let group = json!({ "marketId": market, "fillCap": 5 });
        let group = api.post("/order-groups", &owner, group).await.expect(201).text("/id");
        Things {
            key,
            webhook,
            group,
            order: order.text("/order/id"),
            owner,
            market,
            transfer,
            session,
            payee: self.server.admin().await.id.clone(),
        }
    }

    /// A fresh owner's, where the route makes sense.
    async fn things_for(&self, route: &Route) -> Things {
        let things = self.things().await;
        self.prepare(route, &things).await;
        things
    }

    /// Brings the owner's market to where the step makes sense; for [`NEEDS_STEPS`].
    async fn prepare(&self, route: &Route, things: &Things) {
        let (api, market) = (self.server.api(), format!("/markets/{}", things.market));
        let step = async |name: &str, by: &User, body: Value| {
            api.post(&format!("{market}/{name}"), by, body).await.expect(200);
        };
        match route.path.rsplit('/').next() {
            Some("reopen") => step("halt", self.server.admin().await, json!({})).await,
            Some("merge") => {
                let sets = json!({ "quantity": 5 });
                api.post(&format!("{market}/split"), &things.owner, sets).await.expect(201);
            }
            Some("propose" | "resolve") => step("close", &things.owner, json!({})).await,
            Some("dispute") => {
                step("close", &things.owner, json!({})).await;
                step("propose", &things.owner, json!({ "outcome": "YES" })).await;
            }
            _ => {}
        }
    }

    async fn ask(&self, route: &Route, things: &Things, user: Option<&User>) -> Answer {
        let path = path_of(route, things);
        let mut request = self.server.api().request(route.method, &path).fresh_key().header("If-Match", "*");
        if let Some(user) = user {
            request = request.by(user);
        }
        if let Some(body) = body_of(route, things) {
            request = request.json(&body);
        }
        request.send().await
    }
}

/// Whom a new key with that scope speaks for, and the key's id.
async fn make_key(api: &Api, user: &User, scope: &str) -> (User, String) {
    let body = json!({ "name": "a key", "scopes": [scope] });
    let made = api.post("/api-keys", user, body).await.expect(201);
    (User { token: made.text("/key"), ..user.clone() }, made.text("/id"))
}

async fn revoke(api: &Api, user: &User, key: &str) {
    api.request("DELETE", &format!("/api-keys/{key}")).by(user).send().await.expect(204);
}

/// Changes a user's row behind the server's back.
async fn become_(server: &Server, user: &User, change: &str) {
    let change = format!("UPDATE users SET {change} WHERE email = '{}'", user.email);
    server.installation().execute_sql(&change).await;
}

/// Waits until a user is answered so; fails where that takes much longer than the second that is promised, on a machine
/// that may be busy.
async fn wait_for(api: &Api, user: &User, status: u16) {
    let started = Instant::now();
    while api.get("/users/me", user).await.status != status {
        assert!(started.elapsed() < Duration::from_secs(60), "{} is not answered {status}", user.email);
        tokio::task::yield_now().await;
    }
}

fn path_of(route: &Route, things: &Things) -> String {
    let path = match route.path.strip_prefix("/api/v1") {
        Some(path) => path.to_owned(),
        None => format!("/{}", route.path),
    };
    let id = match route.path.split('/').nth(3) {
        Some("users" | "accounts") => &things.owner.id,
        Some("transfers") => &things.transfer,
        Some("markets") => &things.market,
        Some("api-keys") => &things.key,
        Some("webhooks") => &things.webhook,
        Some("order-groups") => &things.group,
        _ => &things.order,
    };
    path.replace("{id}", id)
        .replace("{session}", &things.session)
        .replace("{delivery}", &things.order)
        .replace("{type}", "user.created")
}

/// A body that the route takes.
fn body_of(route: &Route, things: &Things) -> Option<Value> {
    let order = || limit(&things.market, "NO", "buy", "0.1", 1);
    let path = route.path.strip_prefix("/api/v1").unwrap_or(route.path);
    Some(match (route.method, path) {
        ("GET" | "DELETE", _) => return None,
        (_, "/auth/login") => json!({ "email": things.owner.email, "password": PASSWORD }),
        (_, "/auth/refresh") => json!({ "refreshToken": "bw_refresh_x" }),
        (_, "/auth/password/forgot") => json!({ "email": things.owner.email }),
        (_, "/auth/password/reset") => json!({ "token": "x", "password": PASSWORD }),
        (_, "/auth/email/verify") => json!({ "token": "x" }),
        (_, "/users") => {
            let email = format!("new-{}", things.owner.email);
            json!({ "email": email, "displayName": "New", "password": PASSWORD })
        }
        ("PUT", "/users/{id}") => json!({ "email": things.owner.email, "displayName": "Renamed" }),
        ("PUT", "/users/{id}/role") => json!({ "role": "moderator" }),
        ("PUT", "/users/{id}/status") => json!({ "status": "suspended", "reason": "a test" }),
        ("PATCH", "/users/{id}") => json!({ "displayName": "Renamed" }),
        (_, "/users/{id}/bots") => json!({ "displayName": "Robo" }),
        (_, "/api-keys") => json!({ "name": "another key", "scopes": ["read"] }),
        (_, "/jobs") => json!({ "kind": "probe" }),
        (_, "/webhooks") => json!({ "url": "http://127.0.0.1:9/hook" }),
        ("PATCH", "/webhooks/{id}") => json!({ "status": "disabled" }),
        (_, "/webhooks/{id}/redeliver") => json!({ "since": "2026-01-01T00:00:00Z" }),
        (_, "/transfers") => json!({ "toUserId": things.payee, "amount": "1" }),
        (_, "/admin/grants") => json!({ "userId": things.owner.id, "amount": "1" }),
        (_, "/markets") | ("PUT", "/markets/{id}") => json!({ "question": "Will it snow?", "closesAt": FAR }),
        ("PATCH", "/markets/{id}") => json!({ "category": "weather" }),
        (_, "/markets/{id}/split" | "/markets/{id}/merge") => json!({ "quantity": 1 }),
        (_, "/markets/{id}/propose" | "/markets/{id}/resolve" | "/markets/{id}/resolution-preview") => {
            json!({ "outcome": "YES" })
        }
        (_, "/markets/{id}/dispute" | "/markets/{id}/void") => json!({ "reason": "So it is." }),
        (_, "/orders" | "/orders/quote") => order(),
        (_, "/orders/cancel-after") => json!({ "timeoutSeconds": 3600 }),
        (_, "/order-groups") => json!({ "marketId": things.market, "fillCap": 5 }),
        (_, "/orders/batch") => json!({ "orders": [order()] }),
        ("PATCH", "/orders/{id}") => json!({ "quantity": 5 }),
        _ => json!({}),
    })
}

/// The rows of the table, by route.
fn expected() -> HashMap<String, Vec<String>> {
    let mut lines = MATRIX.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let columns: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().skip(1).collect();
    assert_eq!(columns, WHO, "the columns of matrix.txt");
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let route = [words.next(), words.next()].map(Option::unwrap_or_default).join(" ");
        (route, words.collect())
    };
    let rows: Vec<(String, Vec<String>)> = lines.map(row).collect();
    let count = rows.len();
    let rows: HashMap<String, Vec<String>> = rows.into_iter().collect();
    assert_eq!(rows.len(), count, "a route has two rows in matrix.txt");
    rows
}

fn name_of(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// Threat 14.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_everybody_as_the_matrix_says() {
    on_each_store_with(&[("CHALLENGE_WINDOW", "1h"), ("ACCESS_TOKEN_TTL", "24h"), HERE], |server| async move {
        let scene = Scene::set(&server).await;
        let (mut expected, mut found, mut differs) = (expected(), String::new(), Vec::new());
        let mut left = None;
        for route in ROUTES {
            let mut row = Vec::new();
            let needs_steps = route.path.rsplit('/').next().is_some_and(|step| NEEDS_STEPS.contains(&step));
            left = left.filter(|_| !needs_steps);
            for name in WHO {
                let things = match left.take() {
                    Some(things) => things,
                    None => scene.things_for(route).await,
                };
                let user = scene.who(name, &things).await;
                let answer = scene.ask(route, &things, user.as_ref()).await;
                scene.forget_after(route);
                check_envelope(&answer, route);
                // What was done for one must not stand in the way of the next.
                left = (route.method == "GET" || answer.status >= 300).then_some(things);
                row.push(answer.status.to_string());
            }
            left = left.filter(|_| !needs_steps);
            let _ =
                writeln!(found, "{:60}{}", name_of(route), row.iter().map(|s| format!("{s:17}")).collect::<String>());
            match expected.remove(&name_of(route)) {
                None => differs.push(format!("{}: no row in matrix.txt", name_of(route))),
                Some(wanted) if wanted != row => differs.push(format!("{}: {wanted:?} expected", name_of(route))),
                Some(_) => {}
            }
        }
        differs.extend(expected.keys().map(|route| format!("{route}: a row in matrix.txt, but no such route")));
        assert!(differs.is_empty(), "{}\nEverybody was answered:\n{found}", differs.join("\n"));
    })
    .await;
}

/// A refusal for want of permission has the code that belongs to its status, and says no more.
#[track_caller]
fn check_envelope(answer: &Answer, route: &Route) {
    let name = name_of(route);
    match answer.status {
        401 if !route.path.contains("/auth/") => assert_eq!(answer.code(), "UNAUTHENTICATED", "{name}"),
        403 => assert!(matches!(answer.code(), "FORBIDDEN" | "KEY_SCOPE_MISSING"), "{name}: {}", answer.text),
        404 => assert!(answer.code().ends_with("_NOT_FOUND"), "{name}: {}", answer.text),
        status => assert!(status < 500, "{name}: {}", answer.text),
    }
}

/// Threat 13.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_looks_like_what_does_not_exist() {
    on_each_store_with(&[HERE], |server| async move {
        let scene = Scene::set(&server).await;
        let mut hidden = 0;
        for route in ROUTES.iter().filter(|route| route.path.contains('{')) {
            let things = scene.things().await;
            let anothers = scene.ask(route, &things, Some(&scene.other)).await;
            if anothers.status != 404 {
                continue;
            }
            hidden += 1;
            let unknown = "0193a5e0-0000-7000-8000-00000000dead".to_owned();
            let nothing = Things {
                owner: User { id: unknown.clone(), ..things.owner.clone() },
                market: unknown.clone(),
                order: unknown.clone(),
                transfer: unknown.clone(),
                session: unknown.clone(),
                key: unknown.clone(),
                webhook: unknown.clone(),
                group: unknown,
                payee: things.payee.clone(),
            };
            let no_ones = scene.ask(route, &nothing, Some(&scene.other)).await;
            assert_eq!(
                (anothers.status, &anothers.body["error"]),
                (no_ones.status, &no_ones.body["error"]),
                "{}",
                name_of(route)
            );
        }
        assert!(hidden >= 10, "only {hidden} routes hide what is another's");
    })
    .await;
}

/// Threat 16.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_was_taken_away_is_of_no_use_to_tokens_that_live() {
    on_each_store(|server| async move {
        let api = server.api();
        let admin = server.admin().await;
        api.get("/users", admin).await.expect(200);
        become_(&server, admin, "role = 'user'").await;
        let started = Instant::now();
        while api.get("/users", admin).await.status == 200 {
            assert!(started.elapsed() < Duration::from_secs(60), "the role lives on in the token");
            tokio::task::yield_now().await;
        }
        api.get("/users", admin).await.refused(403, "FORBIDDEN");
        become_(&server, admin, "role = 'admin'").await;
    })
    .await;
}
