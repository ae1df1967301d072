//! The OpenAPI document, held against its standard, the table of routes, and what a server really takes and answers.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_http::ROUTES;
use bellwether_tests::client::{FAR, PASSWORD, limit};
use bellwether_tests::schemas::Strict;
use bellwether_tests::{Answer, Api, Server, User, on_each_store};
use serde_json::{Value, json};

/// The schema of OpenAPI 3.1 documents, as the OpenAPI Initiative publishes it (Apache-2.0).
const STANDARD: &str = include_str!("schema-3.1.json");

/// Routes of which the document says no more than that they are there. It may only become shorter.
const UNDESCRIBED: [&str; 0] = [];

/// The document of a server.
struct Document(Value);

impl Document {
    async fn of(api: &Api) -> Self {
        Self(api.request("GET", "//api/openapi.json").send().await.expect(200).body)
    }

    /// Everything that a reference may lead to.
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str().and_then(|target| target.strip_prefix('#')) {
            Some(pointer) => self.0.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere")),
            None => value,
        }
    }

    /// A schema of the document, by itself.
    fn schema(&self, schema: &Value) -> Strict {
        let mut whole = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [schema] });
        whole["components"] = self.0["components"].clone();
        Strict::of(&whole)
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not in the document");
        operation
    }

    /// Checks what was sent and answered.
    fn check(&self, method: &str, path: &str, body: Option<&Value>, answer: &Answer) {
        let (operation, what) = (self.operation(method, path), format!("{method} {path} {}", answer.status));
        // What was not accepted need not be as the document says.
        if let Some(body) = body.filter(|_| answer.status != 422) {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{what} takes no body");
            self.schema(schema).check(body, &format!("the body of {what}"));
        }
        let response = self.resolved(&operation["responses"][answer.status.to_string()]);
        assert!(response.is_object(), "{what} is not in the document: {}", answer.text);
        let named: BTreeSet<String> =
            response["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_lowercase()).collect();
        for name in ["etag", "location", "idempotency-replayed", "retry-after"] {
            assert!(answer.header(name).is_empty() || named.contains(name), "{what} has a header {name}");
        }
        match response["content"]["application/json"].get("schema") {
            Some(schema) => self.schema(schema).check(&answer.body, &what),
            None => assert!(answer.text.is_empty(), "{what} has a body: {}", answer.text),
        }
    }
}

/// Asks as somebody, and checks the answer.
struct Asking<'a> {
    api: &'a Api,
    document: &'a Document,
    ids: BTreeMap<&'static str, String>,
}

impl Asking<'_> {
    async fn ask(&self, method: &str, path: &str, user: Option<&User>, body: Option<Value>) -> Value {
        let (pattern, query) = path.split_once('?').unwrap_or((path, ""));
        let family = path.split('/').nth(1).unwrap_or_default();
        let mut sent = pattern.to_owned();
        if let Some(id) = self.ids.get(family) {
            sent = sent.replace("{id}", id);
        }
        let sent = if query.is_empty() { sent } else { format!("{sent}?{query}") };
        let mut request = self.api.request(method, &sent).fresh_key().header("If-Match", "*");
        if let Some(user) = user {
            request = request.by(user);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await;
        self.document.check(method, &format!("/api/v1{pattern}"), body.as_ref(), &answer);
        answer.data().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_as_its_standard_says_and_has_every_route() {
    on_each_store(|server| async move {
        let document = Document::of(server.api()).await;
        let standard: Value = serde_json::from_str(STANDARD).expect("the schema is JSON");
        let standard = jsonschema::validator_for(&standard).expect("the schema is one");
        let faults: Vec<String> =
            standard.iter_errors(&document.0).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));

        let of_table: BTreeSet<String> =
            ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        let paths = document.0["paths"].as_object().expect("paths");
        let methods = |(path, item): (&String, &Value)| {
            let methods = item.as_object().expect("an object").keys().filter(|key| *key != "parameters");
            methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
        };
        assert_eq!(paths.iter().flat_map(methods).collect::<BTreeSet<_>>(), of_table);

        let (mut names, mut undescribed) = (BTreeSet::new(), Vec::new());
        for route in ROUTES {
            let operation = document.operation(route.method, route.path);
            assert!(
                names.insert(operation["operationId"].to_string()),
                "{} stands there twice",
                operation["operationId"]
            );
            if operation.get("summary").is_none() {
                undescribed.push(format!("{} {}", route.method, route.path));
            }
        }
        assert_eq!(undescribed, UNDESCRIBED, "what these take and answer belongs into crates/http/src/openapi");
        // Every reference leads somewhere, and everything that there is is a schema.
        for schema in document.0["components"]["schemas"].as_object().expect("schemas").values() {
            document.schema(schema);
        }
        let tag = server.api().request("GET", "//api/openapi.json").send().await.header("etag").to_owned();
        let again = server.api().request("GET", "//api/openapi.json").header("If-None-Match", &tag).send().await;
        again.expect(304);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_tour_sends_and_is_answered_is_as_the_document_says() {
    on_each_store(|server| async move { tour(&server).await }).await;
}

async fn tour(server: &Server) {
    let (api, admin) = (server.api(), server.admin().await);
    let document = Document::of(api).await;
    let mut asking = Asking { api, document: &document, ids: BTreeMap::new() };
    let (ann, ben) = (&api.sign_up("Ann").await, &api.sign_up("Ben").await);
    let email = format!("new-{}", ann.email);
    let sign_up = json!({ "email": email, "displayName": "New", "password": PASSWORD });
    asking.ask("POST", "/users", None, Some(sign_up)).await;
    let signed_in =
        asking.ask("POST", "/auth/login", None, Some(json!({ "email": email, "password": PASSWORD }))).await;
    let refresh = json!({ "refreshToken": signed_in["refreshToken"] });
    asking.ask("POST", "/auth/refresh", None, Some(refresh)).await;
    asking.ask("POST", "/auth/login", None, Some(json!({ "email": email, "password": "wrong" }))).await;
    asking.ids.insert("users", ann.id.clone());
    asking.ids.insert("accounts", ann.id.clone());
    for path in ["/users/{id}", "/users/{id}/sessions", "/accounts/{id}"] {
        asking.ask("GET", path, Some(ann), None).await;
    }
    asking.ask("GET", "/users/{id}", None, None).await;
    asking.ask("PATCH", "/users/{id}", Some(ann), Some(json!({ "displayName": "Anna" }))).await;
    asking.ask("POST", "/users/{id}/bots", Some(ann), Some(json!({ "displayName": "Robo" }))).await;
    asking.ask("GET", "/users/{id}/bots", Some(ann), None).await;
    asking
        .ask("POST", "/api-keys", Some(ann), Some(json!({ "name": "k", "scopes": ["read"], "spendPerDay": "5" })))
        .await;
    asking.ask("GET", "/api-keys", Some(ann), None).await;

    let opening = json!({ "outcome": "A", "side": "buy", "type": "limit", "price": "0.2", "quantity": 3 });
    let liquidity = json!({ "subsidy": 50, "probabilities": { "A": "0.5", "B": "0.25", "C": 0.25 } });
    let many = json!({
        "question": "Who?", "closesAt": FAR, "outcomes": ["A", "B", "C"], "liquidity": liquidity, "openingOrder": opening,
        "tags": ["x"], "category": "c", "feeRate": "0.01",
    });
    asking.ask("POST", "/markets", Some(ann), Some(many)).await;
    let market = json!({ "question": "Rain?", "closesAt": FAR, "liquidity": { "subsidy": "50", "probabilities": ["0.5", "0.5"] } });
    let market =
        asking.ask("POST", "/markets", Some(ann), Some(market)).await["id"].as_str().expect("an id").to_owned();
    asking.ids.insert("markets", market.clone());
    asking.ask("POST", "/markets", Some(ann), Some(json!({ "question": "", "closesAt": FAR }))).await;
    asking.ask("GET", "/markets?sort=-volume&status=open", None, None).await;
    asking.ask("GET", "/markets?cursor=", None, None).await;
    asking.ask("GET", "/markets?shoeSize=44", None, None).await;
    asking.ask("GET", "/markets/{id}", None, None).await;
    asking.ask("GET", "/markets/{id}?include=creator", None, None).await;
    asking.ask("PATCH", "/markets/{id}", Some(ann), Some(json!({ "category": null, "tags": ["a"] }))).await;

    let bid = limit(&market, "YES", "buy", "0.40", 10);
    asking.ask("POST", "/orders/quote", Some(ann), Some(bid.clone())).await;
    let placed = asking.ask("POST", "/orders", Some(ann), Some(bid.clone())).await;
    asking.ids.insert("orders", placed["order"]["id"].as_str().expect("an id").to_owned());
    asking.ask("PATCH", "/orders/{id}", Some(ann), Some(json!({ "quantity": 9 }))).await;
    asking.ask("GET", "/orders/{id}", Some(ann), None).await;
    asking.ask("GET", "/orders?status=open", Some(ann), None).await;
    let spend = json!({ "marketId": market, "outcome": "NO", "side": "buy", "type": "market", "maxSpend": "20" });
    asking.ask("POST", "/orders", Some(ben), Some(spend)).await;
    let dear = limit(&market, "YES", "buy", "0.9", 1_000_000);
    asking.ask("POST", "/orders/batch", Some(ann), Some(json!({ "orders": [bid, dear.clone()] }))).await;
    asking.ask("POST", "/orders", Some(ann), Some(dear)).await;
    asking
        .ask(
            "POST",
            "/orders",
            Some(ann),
            Some(json!({ "marketId": market, "outcome": "YES", "side": "buy", "type": "limit" })),
        )
        .await;
    for path in ["/markets/{id}/book?depth=3", "/markets/{id}/trades", "/markets/{id}/candles?interval=1m"] {
        asking.ask("GET", path, None, None).await;
    }
    for path in
        ["/positions", "/trades", "/users/{id}/transfers", "/accounts/{id}/transfers", "/markets/{id}/positions"]
    {
        asking.ask("GET", path, Some(ann), None).await;
    }
    asking.ask("POST", "/markets/{id}/split", Some(ann), Some(json!({ "quantity": 5 }))).await;
    asking.ask("POST", "/markets/{id}/merge", Some(ann), Some(json!({ "quantity": 2 }))).await;
    let paid = asking.ask("POST", "/transfers", Some(ann), Some(json!({ "toUserId": ben.id, "amount": "1.5" }))).await;
    asking.ids.insert("transfers", paid["id"].as_str().expect("an id").to_owned());
    asking.ask("GET", "/transfers/{id}", Some(ann), None).await;
    asking
        .ask("POST", "/admin/grants", Some(admin), Some(json!({ "userId": ben.id, "amount": 3, "reason": "why" })))
        .await;

    asking.ask("DELETE", "/orders/{id}", Some(ann), None).await;
    asking.ask("DELETE", "/orders", Some(ann), None).await;
    asking.ask("POST", "/markets/{id}/close", Some(ann), None).await;
    asking
        .ask("POST", "/markets/{id}/resolution-preview", Some(admin), Some(json!({ "outcome": "YES", "limit": 5 })))
        .await;
    let weights = json!({ "weights": { "YES": "0.600", "NO": 0.4 } });
    asking.ask("POST", "/markets/{id}/resolve", Some(ann), Some(weights)).await;
    api.settled(&market).await;
    asking.ask("GET", "/markets/{id}", None, None).await;
    asking.ask("GET", "/positions", Some(ben), None).await;

    asking.ask("GET", "/events?limit=50", Some(admin), None).await;
    asking.ask("GET", "/events", Some(ann), None).await;
    asking.ask("GET", "/events/schemas", None, None).await;
    asking.ask("POST", "/stream/tickets", Some(ann), None).await;
    asking.ask("GET", "/jobs", Some(admin), None).await;
    asking.ask("POST", "/jobs", Some(admin), Some(json!({ "kind": "probe" }))).await;
    asking.ask("GET", "/admin/audit-log", Some(admin), None).await;
    asking.ask("GET", "/users?role=user", Some(admin), None).await;
    asking.ask("GET", "/health", None, None).await;
}

/// What is refused for what stands around the body is in the document, too.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_for_headers_and_for_what_a_query_names_are_in_the_document() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let document = Document::of(api).await;
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let nobody = "0193a5e0-0000-7000-8000-00000000dead";
        let check = |method: &str, path: &str, answer: Answer, status: u16| {
            document.check(method, &format!("/api/v1{path}"), None, &answer.expect(status));
        };
        for (name, body) in
            [("role", json!({ "role": "user" })), ("status", json!({ "status": "active", "reason": "a test" }))]
        {
            let answer = api.request("PUT", &format!("/users/{}/{name}", ann.id)).by(admin).json(&body).send().await;
            check("PUT", &format!("/users/{{id}}/{name}"), answer, 428);
        }
        let answer = api.get(&format!("/api-keys?owner={nobody}"), &ann).await;
        check("GET", "/api-keys", answer, 404);
        for path in ["/stream", "/ws"] {
            let asked = api.request("GET", &format!("{path}?channels=market:{nobody}"));
            let handshake = [
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ];
            let asked = handshake.into_iter().fold(asked, |asked, (name, value)| asked.header(name, value));
            check("GET", path, asked.send().await, 404);
        }
        let close = api.request("POST", &format!("/markets/{market}/close")).by(&ann);
        let answer = close.header("Content-Type", "text/plain").bytes(b"now".to_vec()).send().await;
        check("POST", "/markets/{id}/close", answer, 415);
    })
    .await;
}

/// What the document says of a query string is known to the server.
#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_of_the_document_is_known_to_its_route() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let document = Document::of(api).await;
        let market = api.open_market(admin, json!({})).await;
        let mut known = 0;
        for route in ROUTES.iter().filter(|route| route.method == "GET" && !route.path.ends_with("/ws")) {
            let id = if route.path.contains("/markets/") { &market } else { &admin.id };
            let path = format!("/{}", route.path.replace("{id}", id).replace("{type}", "hello"));
            let parameters = document.operation(route.method, route.path)["parameters"].as_array().cloned();
            for parameter in parameters.unwrap_or_default().iter().filter(|parameter| parameter["in"] == "query") {
                let name = parameter["name"].as_str().expect("a name");
                let answer = api.request("GET", &format!("{path}?{name}=~")).by(admin).send().await;
                let is_known = !answer.text.contains("is not known here");
                assert!(is_known, "{} takes no {name}: {}", route.path, answer.text);
                known += 1;
            }
        }
        assert!(known > 50, "only {known}");
    })
    .await;
}
