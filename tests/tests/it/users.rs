//! Users, from outside: what may not be told of them.

use bellwether_tests::client::PASSWORD;
use bellwether_tests::mail::wait_for_written;
use bellwether_tests::on_each_store_with;
use serde_json::json;

/// Threat 2: a change that is refused says no more than a look does.
#[tokio::test(flavor = "multi_thread")]
async fn where_accounts_are_concealed_no_change_tells_whether_a_sign_up_made_a_user() {
    on_each_store_with(&[("CONCEAL_EXISTING_ACCOUNTS", "true")], |server| async move {
        let api = server.api();
        let sign_up = |email: &str| {
            let body = json!({ "email": email, "displayName": "Eve", "password": PASSWORD });
            api.request("POST", "/users").json(&body).send()
        };
        let (taken, new) = ("taken@example.org", "new@example.org");
        sign_up(taken).await.expect(201);
        let mail = wait_for_written(server.installation(), taken, 1).await.pop().expect("a mail");
        let verify = api.request("POST", "/auth/email/verify").json(&json!({ "token": mail.token() }));
        verify.send().await.expect(204);
        let ann = api.log_in(taken, PASSWORD).await;
        for email in [taken, new] {
            let id = sign_up(email).await.expect(201).text("/id");
            for body in [json!({ "email": "other@example.org" }), json!({ "displayName": "Bob" })] {
                let change = api.request("PATCH", &format!("/users/{id}")).by(&ann).header("If-Match", "*");
                change.json(&body).send().await.refused(403, "FORBIDDEN");
            }
        }
    })
    .await;
}
