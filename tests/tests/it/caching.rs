//! What is remembered of markets, books and users is never what was before a write that was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::database::hold;
use bellwether_tests::{Answer, Api, Installation, Server, Store, on_each_store};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn read(api: &Api, path: &str) -> Answer {
    api.request("GET", path).send().await
}

/// Threats 40 and 41: while readers keep asking, so that what they ask for is always being loaded or
/// remembered, each write is seen by the first read after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_a_write_sees_it_however_many_read_meanwhile() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, bob) = (api.sign_up("Ann").await, api.sign_up("Bob").await);
        let market = api.open_market(&ann, json!({})).await;
        let (path, book) = (format!("/markets/{market}"), format!("/markets/{market}/book"));
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..8)
            .map(|number| {
                let (api, stop) = (api.clone(), Arc::clone(&stop));
                let path = if number % 2 == 0 { path.clone() } else { book.clone() };
                tokio::spawn(async move {
                    let mut count = 0_u32;
                    while !stop.load(Ordering::Relaxed) {
                        read(&api, &path).await.expect(200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for round in 0..40_i64 {
            let (price, complement) = (format!("0.{:03}", 100 + round), format!("0.{:03}", 900 - round));
            api.post("/orders", &ann, limit(&market, "YES", "buy", &price, 1)).await.expect(201);
            let seen = read(api, &book).await.expect(200);
            assert_eq!(seen.data()["bids"][0]["price"], json!(price), "{}", seen.text);
            let seen = read(api, &path).await.expect(200);
            assert_eq!(seen.data()["outcomes"][0]["bestBid"], json!(price), "{}", seen.text);
            api.post("/orders", &bob, limit(&market, "NO", "buy", &complement, 1)).await.expect(201);
            let seen = read(api, &path).await.expect(200);
            assert_eq!(seen.data()["tradeCount"], json!(round + 1), "{}", seen.text);
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.expect("the reader ends") > 0);
        }
    })
    .await;
}

/// Threat 41.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_there_is_found_when_it_is_and_what_was_deleted_is_not() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let path = format!("/markets/{market}");
        let first = read(api, &path).await.expect(200);
        let tag = first.header("etag").to_owned();
        assert_eq!(read(api, &path).await.expect(200).header("etag"), tag);
        let known = api.request("GET", &path).header("If-None-Match", &tag).send().await;
        assert_eq!((known.status, known.header("etag")), (304, tag.as_str()));

        let edit = json!({ "question": "Will it snow?" });
        let edited = api.request("PATCH", &path).by(&ann).header("If-Match", &tag).json(&edit).send().await.expect(200);
        let seen = api.request("GET", &path).header("If-None-Match", &tag).send().await.expect(200);
        assert_eq!((seen.text("/question").as_str(), seen.header("etag")), ("Will it snow?", edited.header("etag")));

        let delete = api.request("DELETE", &path).by(&ann).header("If-Match", edited.header("etag")).send().await;
        delete.expect(204);
        for path in [path.clone(), format!("{path}/book")] {
            read(api, &path).await.refused(404, "MARKET_NOT_FOUND");
            read(api, &path).await.refused(404, "MARKET_NOT_FOUND");
        }
    })
    .await;
}

/// Threat 43: what is remembered is what everybody sees, whoever asked first and with whatever headers; what is somebody's
/// own is kept by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shown_what_another_asked_for() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, bob) = (api.sign_up("Ann").await, api.sign_up("Bob").await);
        let market = api.open_market(&ann, json!({})).await;
        let paths = [
            format!("/markets/{market}"),
            format!("/markets/{market}/book"),
            format!("/markets/{market}/candles"),
            "/markets".to_owned(),
        ];
        let headers = [
            ("x-forwarded-host", "evil.example.org"),
            ("x-original-url", "/api/v1/users/me"),
            ("x-http-method-override", "DELETE"),
            ("origin", "https://evil.example.org"),
            ("accept", "application/problem+json"),
            ("accept-language", "de"),
            ("x-request-id", "evil-request-0001"),
            ("cookie", "session=evil"),
        ];
        for path in &paths {
            api.post("/orders", &ann, limit(&market, "YES", "buy", "0.100", 1)).await.expect(201);
            let mut seen: Vec<Value> = Vec::new();
            for (name, value) in headers {
                let answer = api.request("GET", path).by(&ann).header(name, value).send().await.expect(200);
                assert_eq!(answer.header("cache-control"), "no-cache");
                seen.push(answer.data().clone());
                let answer = api.request("GET", path).by(&bob).send().await.expect(200);
                assert!(!answer.text.contains("evil") && !answer.text.contains(&ann.email), "{}", answer.text);
                assert!(!answer.headers.values().any(|value| value.as_bytes().windows(4).any(|part| part == b"evil")));
                seen.push(answer.data().clone());
                seen.push(read(api, path).await.expect(200).data().clone());
            }
            seen.dedup();
            assert_eq!(seen.len(), 1, "{path}: {seen:?}");
        }
        for path in ["/users/me", "/positions", "/orders", "/trades", "/users/me/sessions"] {
            let answers = [api.get(path, &ann).await.expect(200), api.get(path, &bob).await.expect(200)];
            assert!(answers.iter().all(|answer| answer.header("cache-control") == "no-store"), "{path}");
            assert!(!answers[1].text.contains(&ann.id) && !answers[1].text.contains(&ann.email), "{path}");
        }
    })
    .await;
}

/// Threats 41 and 43.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_see_of_a_user_is_as_it_is_now_and_no_more_than_they_may_see() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let (ann, bob) = (api.sign_up("Ann").await, api.sign_up("Bob").await);
        let bot = api.post("/users/me/bots", &ann, json!({ "displayName": "Robo" })).await.expect(201).text("/id");
        let (path, path_of_bot) = (format!("/users/{}", ann.id), format!("/users/{bot}"));
        for round in 0..10 {
            let name = format!("Ann {round}");
            let change = api.request("PATCH", &path).by(&ann).header("If-Match", "*");
            let changed = change.json(&json!({ "displayName": name })).send().await.expect(200);
            for reader in [&bob, admin, &ann, &bob] {
                let seen = api.get(&path, reader).await.expect(200);
                assert_eq!(
                    (seen.text("/displayName"), &seen.data()["version"]),
                    (name.clone(), &changed.data()["version"])
                );
                assert_eq!(seen.data().get("email").is_some(), reader.id != bob.id, "{}", seen.text);
                assert_eq!(seen.header("cache-control"), "no-store");
                assert_eq!(seen.header("etag") == changed.header("etag"), reader.id != bob.id);
            }
            let tag = api.get(&path, &bob).await.header("etag").to_owned();
            let again = api.request("GET", &path).by(&bob).header("If-None-Match", &tag).send().await;
            assert_eq!(again.status, 304);
            // An owner sees all of its bot, also when others have just seen less.
            for (reader, is_own) in [(&bob, false), (&ann, true), (&bob, false)] {
                let seen = api.get(&path_of_bot, reader).await.expect(200);
                assert_eq!((seen.data().get("email").is_some(), seen.text("/ownerId")), (is_own, ann.id.clone()));
            }
        }
        api.request("GET", &path).send().await.refused(401, "UNAUTHENTICATED");
        api.request("DELETE", &path_of_bot).by(&ann).header("If-Match", "*").send().await.expect(204);
        assert_eq!(api.get(&path_of_bot, &bob).await.expect(200).text("/status"), "deactivated");
        let nobody = "/users/01890000-0000-7000-8000-000000000000";
        for _ in 0..2 {
            api.get(nobody, &bob).await.refused(404, "USER_NOT_FOUND");
        }
    })
    .await;
}

/// What is shown in the first pages of the list of markets, in all their orders, is there at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_market_is_in_the_lists_as_soon_as_it_is_there_and_in_none_when_it_is_gone() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let lists = ["/markets", "/markets?status=open", "/markets?sort=-volume", "/markets?sort=closesAt"];
        let has = async |list: &str, market: &str| {
            let page = read(api, list).await.expect(200);
            let tag = page.header("etag").to_owned();
            let again = api.request("GET", list).header("If-None-Match", &tag).send().await;
            assert_eq!(again.status, 304, "{list}");
            assert_eq!(page.body["meta"]["pagination"]["total"], json!(page.data().as_array().map_or(0, Vec::len)));
            page.text.contains(market)
        };
        for _ in 0..5 {
            let market = api.open_market(&ann, json!({})).await;
            for list in lists {
                assert!(has(list, &market).await, "{list}");
            }
            let path = format!("/markets/{market}");
            let edit = json!({ "question": "Will it snow?" });
            api.request("PATCH", &path).by(&ann).header("If-Match", "*").json(&edit).send().await.expect(200);
            for list in lists {
                assert!(read(api, list).await.expect(200).text.contains("Will it snow?"), "{list}");
            }
            api.request("DELETE", &path).by(&ann).header("If-Match", "*").send().await.expect(204);
            for list in lists {
                assert!(!has(list, &market).await, "{list}");
            }
        }
    })
    .await;
}

/// Threat 62: somebody locks what is read, so that every connection to the database is taken by who waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn when_all_connections_are_taken_reads_are_refused_soon_and_done_again_when_one_is_free() {
    /// A second, and what a busy machine takes on top.
    const SOON: Duration = Duration::from_secs(4);
    let settings = [("DATABASE_CONNECTIONS", "4"), ("TICK_INTERVAL", "1h")];
    let Some(installation) = Installation::new(Store::Postgres, &settings).await else { return };
    let url = installation.database_url().expect("PostgreSQL has a URL").to_owned();
    let server = Server::start(installation).await;
    let api = server.api();
    let ann = api.sign_up("Ann").await;
    let market = api.open_market(&ann, json!({})).await;
    let mut prompt = 0;
    for round in 0..6 {
        let held = hold(&url, "LOCK TABLE markets IN ACCESS EXCLUSIVE MODE").await;
        let asked = (0..40).map(|number| async move {
            let begun = Instant::now();
            // Some that could be remembered and are not, some that never are.
            let path = match number % 2 {
                0 => format!("/markets/0193a5e0-0000-7000-8000-00000000{round}0{number:02}"),
                _ => format!("/markets?limit={}", 30 + number),
            };
            let answer = read(api, &path).await;
            (answer.status, begun.elapsed())
        });
        let answers = join_all(asked).await;
        assert!(answers.iter().all(|(status, _)| *status == 503), "{answers:?}");
        // Those that have a connection wait for the lock, until they are told that it takes too long.
        // Where the machine itself was held up, all of them took long, and it is tried once more.
        let waited = answers.iter().filter(|(_, took)| *took > SOON).count();
        if waited <= 4 {
            prompt += 1;
        } else {
            eprintln!("not soon: {answers:?}");
        }
        drop(held);
        let started = Instant::now();
        while read(api, &format!("/markets/{market}")).await.status != 200 {
            assert!(started.elapsed() < Duration::from_secs(60), "it does not recover");
        }
        if prompt == 2 {
            break;
        }
    }
    assert_eq!(prompt, 2, "reads are not refused soon");
    let installation = server.stop().await;
    installation.audit().await;
    installation.remove().await;
}
