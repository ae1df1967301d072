//! Whether an address has an account is told by no answer, and by no time that an answer takes.

use std::time::{Duration, Instant};

use bellwether_tests::client::PASSWORD;
use bellwether_tests::{Answer, Api, on_each_store_with};
use serde_json::json;

/// How often each of two things is asked, in turn.
const SAMPLES: usize = 24;
/// A hash takes some 30 ms then, and a server that left it out would be many times faster.
const COST: (&str, &str) = ("PASSWORD_COST", "9");

/// Two kinds of request that nobody should be able to tell apart, as they came out.
struct Pair {
    what: &'static str,
    known: Vec<Duration>,
    unknown: Vec<Duration>,
}

impl Pair {
    /// Asks in turn, so that whatever else the machine does concerns both.
    async fn ask<F: Future<Output = Answer>>(what: &'static str, mut ask: impl FnMut(bool, usize) -> F) -> Self {
        let mut pair = Self { what, known: Vec::new(), unknown: Vec::new() };
        for number in 0..SAMPLES {
            let mut answers = Vec::new();
            for is_known in [number % 2 == 0, number % 2 != 0] {
                let start = Instant::now();
                let answer = ask(is_known, number).await;
                let times = if is_known { &mut pair.known } else { &mut pair.unknown };
                times.push(start.elapsed());
                answers.push(answer);
            }
            let [one, other] = answers.as_slice() else { panic!("two answers") };
            assert_eq!((one.status, shape(one)), (other.status, shape(other)), "{what}");
        }
        pair
    }

    /// Checks that the times are not apart: that neither is nearly always the longer one, or at
    /// least not by much. How long they are does not matter.
    fn are_alike(mut self) {
        let longer = self.known.iter().flat_map(|known| self.unknown.iter().map(move |unknown| known > unknown));
        let share = longer.filter(|is_longer| *is_longer).count() * 100 / (SAMPLES * SAMPLES);
        self.known.sort();
        self.unknown.sort();
        let (known, unknown) = (self.known[SAMPLES / 2], self.unknown[SAMPLES / 2]);
        let is_much = known.max(unknown) > known.min(unknown) * 3 / 2;
        assert!(
            (10..=90).contains(&share) || !is_much,
            "{}: with an account {known:?}, without one {unknown:?}, longer in {share} of 100 comparisons",
            self.what
        );
    }
}

/// What an answer has in it, without what is another in each answer.
fn shape(answer: &Answer) -> (Vec<String>, Vec<String>, String) {
    let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    let data = answer.data().as_object().map(|data| data.keys().cloned().collect()).unwrap_or_default();
    (headers, data, answer.code().to_owned())
}

async fn post(api: Api, path: &'static str, body: serde_json::Value) -> Answer {
    api.request("POST", path).fresh_key().json(&body).send().await
}

/// Threats 1, 2 and 11.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_and_no_time_tells_who_has_an_account() {
    on_each_store_with(&[COST, ("CONCEAL_EXISTING_ACCOUNTS", "true")], |server| async move {
        let api = server.api();
        let email = "somebody@example.org";
        let body = json!({ "email": email, "displayName": "Somebody", "password": PASSWORD });
        post(api.clone(), "/users", body).await.expect(201);

        let address = |is_known: bool, number: usize, kind: &str| match is_known {
            true => email.to_owned(),
            false => format!("nobody-{kind}-{number}@example.org"),
        };
        let sign_in = Pair::ask("sign-in", |is_known, number| {
            let email = address(is_known, number, "in");
            post(api.clone(), "/auth/login", json!({ "email": email, "password": "not the password" }))
        });
        sign_in.await.are_alike();
        let sign_up = Pair::ask("sign-up", |is_known, number| {
            let email = address(is_known, number, "up");
            post(api.clone(), "/users", json!({ "email": email, "displayName": "Anybody", "password": PASSWORD }))
        });
        sign_up.await.are_alike();
        let forgot = Pair::ask("forgotten password", |is_known, number| {
            post(api.clone(), "/auth/password/forgot", json!({ "email": address(is_known, number, "lost") }))
        });
        forgot.await.are_alike();
    })
    .await;
}
