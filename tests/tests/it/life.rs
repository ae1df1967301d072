//! A market's life: closed, proposed, disputed, resolved, voided, paid.

use bellwether_tests::client::limit;
use bellwether_tests::{Api, Server, User, on_each_store, on_each_store_with};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// A market of Ann's where Ann holds 100 YES for 60 credits and Ben 100 NO for 40.
struct Traded {
    ann: User,
    ben: User,
    market: String,
}

async fn traded(server: &Server) -> Traded {
    let api = server.api();
    let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
    let market = api.open_market(&ann, json!({})).await;
    api.post("/orders", &ann, limit(&market, "YES", "buy", "0.60", 150)).await.expect(201);
    api.post("/orders", &ben, limit(&market, "NO", "buy", "0.40", 100)).await.expect(201);
    Traded { ann, ben, market }
}

async fn step(api: &Api, user: &User, market: &str, step: &str, body: Value) -> bellwether_tests::Answer {
    api.post(&format!("/markets/{market}/{step}"), user, body).await
}

/// Threat 38.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_close_nothing_trades_and_one_resolution_pays() {
    on_each_store(|server| async move {
        let api = server.api();
        let Traded { ann, ben, market } = traded(&server).await;
        step(api, &ann, &market, "resolve", json!({ "outcome": "YES" })).await.refused(409, "WRONG_MARKET_STATUS");
        let early = step(api, &ann, &market, "reopen", json!({})).await;
        early.refused(403, "FORBIDDEN");
        step(api, &ben, &market, "close", json!({})).await.refused(403, "FORBIDDEN");
        let closed = step(api, &ann, &market, "close", json!({})).await.expect(200);
        assert_eq!(closed.text("/status"), "closed");
        // Closing frees what open orders held.
        let account = api.wait_for("/accounts/me", Some(&ann), |account| account["held"] == json!("0.000")).await;
        assert_eq!(account["balance"], json!("940.000"));
        let late = api.post("/orders", &ben, limit(&market, "NO", "buy", "0.40", 1)).await;
        late.refused(409, "MARKET_NOT_OPEN");
        assert_eq!(late.body["error"]["details"][0]["status"], json!("closed"));
        let again = step(api, &ann, &market, "close", json!({})).await;
        again.refused(409, "WRONG_MARKET_STATUS");
        let detail = &again.body["error"]["details"][0];
        assert_eq!((&detail["status"], &detail["wanted"]), (&json!("closed"), &json!("closed")));

        let outcomes = ["YES", "NO"];
        let resolutions =
            join_all((0..16).map(|n| step(api, &ann, &market, "resolve", json!({ "outcome": outcomes[n % 2] }))));
        let resolutions = resolutions.await;
        let done: Vec<_> = resolutions.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(done.len(), 1);
        for other in resolutions.iter().filter(|answer| answer.status != 200) {
            other.refused(409, "WRONG_MARKET_STATUS");
        }
        let yes_won = api.settled(&market).await["resolution"]["outcome"] == json!("YES");
        let expected = if yes_won { (1_040_000, 960_000) } else { (940_000, 1_060_000) };
        assert_eq!((api.balance(&ann).await.0, api.balance(&ben).await.0), expected);
        let position = api.get(&format!("/positions?marketId={market}"), &ann).await.expect(200);
        assert!(!position.data()[0]["settledAt"].is_null());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_closes_by_itself_at_its_time() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        #[expect(clippy::disallowed_methods, reason = "the server under test looks at the same clock")]
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
        let market = api.open_market(&ann, json!({ "closesAt": soon.to_string() })).await;
        api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
        let path = format!("/markets/{market}");
        api.wait_for(&path, None, |market| market["status"] == json!("closed")).await;
        let order = limit(&market, "YES", "buy", "0.5", 10);
        api.post("/orders", &ann, order).await.refused(409, "MARKET_NOT_OPEN");
        api.wait_for("/accounts/me", Some(&ann), |account| account["held"] == json!("0.000")).await;
        // Nobody holds anything, so there is nothing to wait for.
        step(api, &ann, &market, "resolve", json!({ "outcome": "NO" })).await.expect(200);
        api.settled(&market).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_market_keeps_its_orders_and_takes_none() {
    on_each_store(|server| async move {
        let api = server.api();
        let Traded { ann, ben, market } = traded(&server).await;
        let admin = server.admin().await;
        step(api, &ann, &market, "halt", json!({})).await.refused(403, "FORBIDDEN");
        step(api, admin, &market, "halt", json!({})).await.expect(200);
        api.post("/orders", &ben, limit(&market, "NO", "buy", "0.4", 1)).await.refused(409, "MARKET_NOT_OPEN");
        let book = api.request("GET", &format!("/markets/{market}/book")).send().await.expect(200);
        assert_eq!(book.data()["bids"][0]["quantity"], json!(50));
        step(api, admin, &market, "halt", json!({})).await.refused(409, "WRONG_MARKET_STATUS");
        step(api, admin, &market, "reopen", json!({})).await.expect(200);
        api.post("/orders", &ben, limit(&market, "NO", "buy", "0.4", 50)).await.expect(201);
        assert_eq!(api.shares(&ann, &market).await, [150, 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_is_disputed_is_decided_by_a_moderator() {
    on_each_store_with(&[("CHALLENGE_WINDOW", "1h")], |server| async move {
        let api = server.api();
        let Traded { ann, ben, market } = traded(&server).await;
        let admin = server.admin().await;
        let proposal = json!({ "outcome": "NO", "evidenceUrl": "https://example.org/evidence" });
        step(api, &ann, &market, "propose", proposal.clone()).await.refused(409, "WRONG_MARKET_STATUS");
        step(api, &ann, &market, "close", json!({})).await.expect(200);
        step(api, &ben, &market, "propose", proposal.clone()).await.refused(403, "FORBIDDEN");
        let proposed = step(api, &ann, &market, "propose", proposal.clone()).await.expect(200);
        assert_eq!(proposed.text("/status"), "proposed");
        assert_eq!(proposed.text("/proposal/evidenceUrl"), "https://example.org/evidence");
        assert_eq!(proposed.text("/proposal/weights/NO"), "1.000");
        step(api, &ann, &market, "propose", proposal).await.refused(409, "WRONG_MARKET_STATUS");
        // While the window runs, the creator does not decide alone.
        step(api, &ann, &market, "resolve", json!({ "outcome": "NO" })).await.refused(403, "FORBIDDEN");
        let dispute = json!({ "reason": "It rained all day." });
        let disputed = step(api, &ben, &market, "dispute", dispute.clone()).await.expect(200);
        assert_eq!(
            (disputed.text("/status"), disputed.text("/proposal/disputedBy")),
            ("disputed".to_owned(), ben.id.clone())
        );
        step(api, &ben, &market, "dispute", dispute).await.refused(409, "WRONG_MARKET_STATUS");
        step(api, admin, &market, "resolve", json!({ "outcome": "YES" })).await.expect(200);
        let settled = api.settled(&market).await;
        assert_eq!(settled["resolution"]["decidedBy"], json!(admin.id));
        assert_eq!((api.balance(&ann).await, api.balance(&ben).await), ((1_040_000, 0), (960_000, 0)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_nobody_disputes_is_decided_by_time() {
    on_each_store_with(&[("CHALLENGE_WINDOW", "300ms")], |server| async move {
        let api = server.api();
        let Traded { ann, ben, market } = traded(&server).await;
        step(api, &ann, &market, "close", json!({})).await.expect(200);
        step(api, &ann, &market, "propose", json!({ "outcome": "NO" })).await.expect(200);
        let settled = api.settled(&market).await;
        assert_eq!((&settled["status"], &settled["resolution"]["decidedBy"]), (&json!("resolved"), &Value::Null));
        assert_eq!((api.balance(&ann).await, api.balance(&ben).await), ((940_000, 0), (1_060_000, 0)));
        let late = step(api, &ben, &market, "dispute", json!({ "reason": "too late" })).await;
        late.refused(409, "WRONG_MARKET_STATUS");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_resolution_pays_each_side_its_part() {
    on_each_store(|server| async move {
        let api = server.api();
        let Traded { ann, ben, market } = traded(&server).await;
        step(api, &ann, &market, "close", json!({})).await.expect(200);
        for weights in [json!({ "YES": "0.7", "NO": "0.4" }), json!({ "YES": "0.6" }), json!({})] {
            let answer = step(api, &ann, &market, "resolve", json!({ "weights": weights })).await;
            assert_eq!(answer.status, 422, "{}", answer.text);
        }
        let unknown = json!({ "weights": { "YES": "0.6", "MAYBE": "0.4" } });
        step(api, &ann, &market, "resolve", unknown).await.refused(422, "OUTCOME_NOT_FOUND");
        let weights = json!({ "weights": { "YES": "0.600", "NO": "0.400" } });
        let resolved = step(api, &ann, &market, "resolve", weights).await.expect(200);
        assert_eq!(resolved.data()["resolution"]["outcome"], Value::Null);
        api.settled(&market).await;
        assert_eq!((api.balance(&ann).await, api.balance(&ben).await), ((1_000_000, 0), (1_000_000, 0)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voided_market_pays_the_last_prices() {
    on_each_store(|server| async move {
        let api = server.api();
        let Traded { ann, ben, market } = traded(&server).await;
        let admin = server.admin().await;
        let reason = json!({ "reason": "The question cannot be decided." });
        step(api, &ann, &market, "void", reason.clone()).await.refused(403, "FORBIDDEN");
        step(api, admin, &market, "void", json!({})).await.refused(422, "VALIDATION_ERROR");
        let voided = step(api, admin, &market, "void", reason.clone()).await.expect(200);
        assert_eq!(
            (voided.text("/status"), voided.text("/resolution/weights/YES")),
            ("voided".to_owned(), "0.600".to_owned())
        );
        api.settled(&market).await;
        assert_eq!((api.balance(&ann).await, api.balance(&ben).await), ((1_000_000, 0), (1_000_000, 0)));
        step(api, admin, &market, "void", reason).await.refused(409, "WRONG_MARKET_STATUS");
        step(api, admin, &market, "resolve", json!({ "outcome": "YES" })).await.refused(409, "WRONG_MARKET_STATUS");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_of_twenty_outcomes_trades_in_each_and_pays_one() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let names: Vec<String> = (0..20).map(|n| format!("Candidate {n}")).collect();
        let market = api.open_market(&ann, json!({ "question": "Who wins?", "outcomes": names })).await;
        for name in &names {
            // Ben pays the rest of a set for what he sells.
            let mut ask = limit(&market, name, "sell", "0.05", 10);
            ask["backing"] = json!("cash");
            api.post("/orders", &ben, ask).await.expect(201);
            let bid = api.post("/orders", &ann, limit(&market, name, "buy", "0.05", 10)).await.expect(201);
            assert_eq!(bid.data()["fills"][0]["settlement"], json!("mint"), "{name}");
        }
        assert_eq!(api.shares(&ann, &market).await, [10; 20]);
        assert_eq!(api.shares(&ben, &market).await, [190; 20]);
        let shown = api.request("GET", &format!("/markets/{market}")).send().await.expect(200);
        assert_eq!(shown.data()["outcomes"].as_array().map(Vec::len), Some(20));
        // A sell of shares against a bid that gives the rest of a set redeems sets.
        let mut bid = limit(&market, "Candidate 3", "buy", "0.06", 10);
        bid["backing"] = json!("shares");
        api.post("/orders", &ben, bid).await.expect(201);
        let sold = api.post("/orders", &ann, limit(&market, "candidate 3", "sell", "0.06", 10)).await.expect(201);
        assert_eq!(sold.data()["fills"][0]["settlement"], json!("redeem"));
        api.resolve(&market, &ann, "Candidate 7").await;
        // Ann paid 20 x 0.5, got 0.6 for ten shares, and ten shares of the winner pay 10.
        assert_eq!(api.balance(&ann).await, (1_000_600, 0));
        assert_eq!(api.balance(&ben).await, (999_400, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_can_be_edited_and_deleted_until_it_has_traded() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({ "category": "Weather", "tags": ["Rain"] })).await;
        let path = format!("/markets/{market}");
        let shown = api.request("GET", &path).send().await.expect(200);
        assert_eq!((shown.text("/category"), &shown.data()["tags"]), ("weather".to_owned(), &json!(["rain"])));
        let tag = shown.header("etag").to_owned();
        let known = api.request("GET", &path).header("If-None-Match", &tag).send().await;
        assert_eq!((known.status, known.text.as_str(), known.header("etag")), (304, "", tag.as_str()));

        let change = |tag: Option<&str>, user: &User, body: Value| {
            let request = api.request("PATCH", &path).by(user).json(&body);
            tag.map_or(request, |_| {
                api.request("PATCH", &path).by(user).json(&body).header("If-Match", tag.unwrap_or(""))
            })
            .send()
        };
        change(None, &ann, json!({ "question": "Snow?" })).await.refused(428, "PRECONDITION_REQUIRED");
        change(Some(&tag), &ben, json!({ "question": "Snow?" })).await.refused(403, "FORBIDDEN");
        let changed = change(Some(&tag), &ann, json!({ "question": "Snow?" })).await.expect(200);
        assert_ne!(changed.header("etag"), tag);
        let stale = change(Some(&tag), &ann, json!({ "question": "Hail?" })).await;
        stale.refused(412, "PRECONDITION_FAILED");
        let fresh = api.request("GET", &path).header("If-None-Match", &tag).send().await.expect(200);
        assert_eq!(fresh.text("/question"), "Snow?");

        // Trades do not make a version stale, but fix the question.
        let tag = fresh.header("etag").to_owned();
        api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
        api.post("/orders", &ben, limit(&market, "NO", "buy", "0.5", 10)).await.expect(201);
        change(Some(&tag), &ann, json!({ "question": "Hail?" })).await.refused(409, "FIXED_AFTER_TRADING");
        change(Some(&tag), &ann, json!({ "category": null })).await.expect(200);
        let delete = |path: String| api.request("DELETE", &path).by(&ann).header("If-Match", "*").send();
        delete(path.clone()).await.refused(409, "MARKET_HAS_TRADED");

        let unused = api.open_market(&ann, json!({ "liquidity": { "subsidy": "50" } })).await;
        api.post("/orders", &ann, limit(&unused, "YES", "buy", "0.2", 10)).await.expect(201);
        let unused = format!("/markets/{unused}");
        api.request("DELETE", &unused).by(&ann).send().await.refused(428, "PRECONDITION_REQUIRED");
        delete(unused.clone()).await.expect(204);
        api.request("GET", &unused).send().await.refused(404, "MARKET_NOT_FOUND");
        assert_eq!(api.balance(&ann).await, (995_000, 0));
    })
    .await;
}
