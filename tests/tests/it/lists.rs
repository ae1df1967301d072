//! Lists: pages, cursors, filters, fields.

use std::collections::HashSet;

use bellwether_tests::{Api, on_each_store};
use serde_json::{Value, json};

async fn walk(api: &Api, query: &str, mut between: impl AsyncFnMut()) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/markets?limit=7&fields=id&{query}&cursor={cursor}");
        let page = api.request("GET", &path).send().await.expect(200);
        let rows = page.data().as_array().expect("a list").clone();
        ids.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        let pagination = &page.body["meta"]["pagination"];
        assert_eq!(pagination["hasMore"].as_bool(), Some(pagination["nextCursor"].is_string()));
        assert!(pagination["total"].is_null());
        match pagination["nextCursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return ids,
        }
        between().await;
    }
}

/// Threat 22.
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_by_cursor_sees_each_row_once_while_rows_come_and_go() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let mut ids = Vec::new();
        for n in 0..30 {
            ids.push(
                api.open_market(
                    &ann,
                    json!({ "question": format!("Q{n}"), "category": if n % 2 == 0 { "even" } else { "odd" } }),
                )
                .await,
            );
        }
        // Newest first: what is added meanwhile lies before the walk, what is deleted is not missed.
        let doomed = ids[3].clone();
        let mut deleted = false;
        let walked = walk(api, "", async || {
            api.open_market(&ann, json!({})).await;
            if !deleted {
                let path = format!("/markets/{doomed}");
                api.request("DELETE", &path).by(&ann).header("If-Match", "*").send().await.expect(204);
                deleted = true;
            }
        })
        .await;
        let expected: Vec<String> = ids.iter().rev().filter(|id| **id != doomed).cloned().collect();
        assert_eq!(walked, expected);
        // Oldest first, filtered.
        let even = walk(api, "sort=createdAt&category=even", async || ()).await;
        let expected: Vec<String> = ids.iter().step_by(2).cloned().collect();
        assert_eq!(even, expected);
        // By a key that all share, the id breaks the tie.
        let by_volume = walk(api, "sort=-volume&category=odd", async || ()).await;
        assert_eq!(by_volume.iter().collect::<HashSet<_>>().len(), 14);
    })
    .await;
}

/// Threat 22.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_changed_or_is_another_lists_is_refused() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        for _ in 0..3 {
            api.open_market(&ann, json!({ "category": "a" })).await;
        }
        let page = api.request("GET", "/markets?limit=1&category=a&cursor=").send().await.expect(200);
        let cursor = page.body["meta"]["pagination"]["nextCursor"].as_str().expect("a cursor").to_owned();
        let with = |query: String| api.request("GET", &format!("/markets?{query}")).send();
        with(format!("limit=2&category=a&cursor={cursor}")).await.expect(200);
        let other_end = if cursor.ends_with('A') { "B" } else { "A" };
        let changed = format!("{}{other_end}", &cursor[..cursor.len() - 1]);
        for query in [
            format!("category=b&cursor={cursor}"),
            format!("cursor={cursor}"),
            format!("category=a&sort=createdAt&cursor={cursor}"),
            format!("category=a&cursor={}", &cursor[1..]),
            format!("category=a&cursor={changed}B"),
            "category=a&cursor=AAAA".to_owned(),
            "cursor=%00".to_owned(),
        ] {
            let answer = with(query).await;
            answer.refused(400, "BAD_CURSOR");
            assert_eq!(answer.fields(), ["cursor"]);
        }
        let orders = api.get(&format!("/orders?cursor={cursor}"), &ann).await;
        orders.refused(400, "BAD_CURSOR");
    })
    .await;
}

/// Threat 22.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_counted_and_say_where_they_are() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        for n in 0..7 {
            api.open_market(&ann, json!({ "question": format!("Q{n}") })).await;
        }
        let page = |query: &str| api.request("GET", &format!("/markets?{query}")).send();
        let questions = |data: &Value| -> Vec<String> {
            let rows = data.as_array().expect("a list");
            rows.iter().map(|row| row["question"].as_str().expect("a question").to_owned()).collect()
        };
        let second = page("limit=3&page=2&sort=createdAt").await.expect(200);
        assert_eq!(questions(second.data()), ["Q3", "Q4", "Q5"]);
        let about = &second.body["meta"]["pagination"];
        for (name, value) in [("page", 2), ("pageSize", 3), ("total", 7), ("totalPages", 3)] {
            assert_eq!(about[name], json!(value), "{name}");
        }
        assert_eq!((&about["hasNext"], &about["hasPrev"]), (&json!(true), &json!(true)));
        let tail = page("limit=3&offset=5&sort=createdAt").await.expect(200);
        assert_eq!(questions(tail.data()), ["Q5", "Q6"]);
        assert_eq!(tail.body["meta"]["pagination"]["hasNext"], json!(false));
        let beyond = page("limit=3&page=99").await.expect(200);
        assert_eq!((beyond.data(), &beyond.body["meta"]["pagination"]["total"]), (&json!([]), &json!(7)));

        let trimmed = page("limit=1&fields=id,question&include=creator&sort=createdAt").await.expect(200);
        let row = trimmed.data()[0].as_object().expect("an object").clone();
        let mut names: Vec<&str> = row.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["creator", "id", "question"]);
        assert_eq!(row["creator"]["displayName"], json!("Ann"));
        let open = page(&format!("status=open&creator={}&closesBefore=2199-12-31T00:00:01Z", ann.id)).await.expect(200);
        assert_eq!(questions(open.data()).len(), 7);
        assert_eq!(page("status=closed").await.expect(200).data(), &json!([]));
    })
    .await;
}
