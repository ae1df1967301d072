//! Who trades best.

use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::{Answer, Api, User, on_each_store};
use serde_json::{Value, json};

/// So long may it take until what a market paid is counted, with room for a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A leaderboard, once it is as wanted.
async fn board(api: &Api, user: &User, path: &str, wanted: impl Fn(&[Value]) -> bool) -> Answer {
    let started = Instant::now();
    loop {
        let answer = api.get(path, user).await.expect(200);
        if wanted(answer.data().as_array().expect("a list")) {
            return answer;
        }
        assert!(started.elapsed() < SOON, "{path} stays {}", answer.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn names(places: &[Value]) -> Vec<&str> {
    places.iter().filter_map(|place| place["displayName"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_made_most_is_first_and_who_foretold_best_once_there_are_enough_markets() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let (ann, ben, cat) = (api.sign_up("Ann").await, api.sign_up("Ben").await, api.sign_up("Cat").await);
        let empty = api.get("/leaderboard", &ann).await.expect(200);
        assert_eq!(empty.data(), &json!([]));

        // Ben offers; Ann takes YES at 0.6, which is right, and Cat at 0.8.
        for number in 1..=5_i64 {
            let market = api.open_market(&ben, json!({})).await;
            let orders = [
                (&ben, limit(&market, "NO", "buy", "0.4", 10)),
                (&ann, limit(&market, "YES", "buy", "0.6", 10)),
                (&ben, limit(&market, "NO", "buy", "0.2", 5)),
                (&cat, limit(&market, "YES", "buy", "0.8", 5)),
            ];
            for (user, order) in orders {
                api.post("/orders", user, order).await.expect(201);
            }
            if number == 5 {
                // Of four markets nobody is ranked by forecasts.
                board(api, &cat, "/leaderboard", |places| places.len() == 3 && places[0]["markets"] == 4).await;
                let none = api.get("/leaderboard?by=brier", &cat).await.expect(200);
                assert_eq!(none.data(), &json!([]));
            }
            api.resolve(&market, &ben, "YES").await;
        }
        let by_profit = board(api, &cat, "/leaderboard", |places| {
            names(places) == ["Ann", "Cat", "Ben"] && places.iter().all(|place| place["markets"] == 5)
        })
        .await;
        let of_ann = json!({
            "userId": ann.id, "displayName": "Ann", "profit": "20.000", "brierScore": 0.16, "trades": 5,
            "volume": "30.000", "markets": 5, "judgedMarkets": 5,
        });
        let of_ben = json!({
            "userId": ben.id, "displayName": "Ben", "profit": "-25.000", "brierScore": null, "trades": 10,
            "volume": "50.000", "markets": 5, "judgedMarkets": 0,
        });
        assert_eq!((&by_profit.data()[0], &by_profit.data()[2]), (&of_ann, &of_ben));
        let by_brier = board(api, &ann, "/leaderboard?by=brier", |places| places.len() == 2).await;
        assert_eq!(names(by_brier.data().as_array().unwrap()), ["Cat", "Ann"]);
        assert_eq!(by_brier.data()[0]["brierScore"], json!(0.04));

        // Version 2 of users says the same, with what is not counted yet.
        let open = api.open_market(&ben, json!({})).await;
        api.post("/orders", &ben, limit(&open, "NO", "buy", "0.5", 2)).await.expect(201);
        api.post("/orders", &ann, limit(&open, "YES", "buy", "0.5", 2)).await.expect(201);
        let shown = api.get(&format!("//api/v2/users/{}", ann.id), &cat).await.expect(200);
        let all =
            json!({ "trades": 6, "volume": "31.000", "profit": "20.000", "openPositions": 1, "brierScore": 0.16 });
        assert_eq!(shown.data()["statistics"], all);

        // Page by page, by cursor and counted.
        let first = api.get("/leaderboard?limit=2&cursor=", &ann).await.expect(200);
        let cursor = first.body["meta"]["pagination"]["nextCursor"].as_str().expect("there is more").to_owned();
        let rest = api.get(&format!("/leaderboard?limit=2&cursor={cursor}"), &ann).await.expect(200);
        assert_eq!(names(rest.data().as_array().unwrap()), ["Ben"]);
        let second = api.get("/leaderboard?page=2&limit=1", &ann).await.expect(200);
        assert_eq!(
            (names(second.data().as_array().unwrap()), &second.body["meta"]["pagination"]["total"]),
            (vec!["Cat"], &json!(3))
        );
        let known = api.request("GET", "/leaderboard").by(&ann).header("If-None-Match", by_profit.header("etag"));
        known.send().await.expect(304);

        // Who may not act is not listed; a name is shown as it is now.
        let suspend = json!({ "status": "suspended", "reason": "a test" });
        let request = api.request("PUT", &format!("/users/{}/status", cat.id)).by(admin).header("If-Match", "*");
        request.json(&suspend).send().await.expect(200);
        let rename = api.request("PATCH", "/users/me").by(&ann).header("If-Match", "*");
        rename.json(&json!({ "displayName": "Anna" })).send().await.expect(200);
        let left = api.get("/leaderboard", &ann).await.expect(200);
        assert_eq!(names(left.data().as_array().unwrap()), ["Anna", "Ben"]);
        let left = api.get("/leaderboard?by=brier", &ann).await.expect(200);
        assert_eq!(names(left.data().as_array().unwrap()), ["Anna"]);

        for path in ["/leaderboard?by=luck", "/leaderboard?limit=0"] {
            api.get(path, &ann).await.refused(422, "VALIDATION_ERROR");
        }
        for path in ["/leaderboard?sort=profit", "/leaderboard?fields=email"] {
            api.get(path, &ann).await.refused(400, "UNKNOWN_PARAMETER");
        }
        api.get("/leaderboard?cursor=x", &ann).await.refused(400, "BAD_CURSOR");
        api.request("GET", "/leaderboard").send().await.refused(401, "UNAUTHENTICATED");
    })
    .await;
}
