//! Running the server: restarts, stops, and configurations that it must not start with.

use std::process::Stdio;
use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::server::free_port;
use bellwether_tests::{Installation, Server, Store, raw};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Threat 63.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9() {
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let mut server = Server::start(installation).await;
        let (ann, ben) = (server.api().sign_up("Ann").await, server.api().sign_up("Ben").await);
        let market = server.api().open_market(&ann, json!({ "liquidity": { "subsidy": "10" } })).await;
        let mut orders = Vec::new();
        for life in 0..4 {
            let api = server.api();
            let order = limit(&market, "YES", "buy", "0.1", 10 + life);
            orders.push(api.post("/orders", &ann, order).await.expect(201).text("/order/id"));
            let take = json!({ "marketId": market, "outcome": "NO", "side": "buy", "type": "market", "maxSpend": "1" });
            api.post("/orders", &ben, take).await.expect(201);
            let before = (api.balance(&ann).await, api.balance(&ben).await, api.shares(&ben, &market).await);
            let installation = server.kill().await;
            installation.audit().await;
            server = Server::start(installation).await;
            // The tokens are good still: the key is kept.
            let api = server.api();
            assert_eq!((api.balance(&ann).await, api.balance(&ben).await, api.shares(&ben, &market).await), before);
            for (order, quantity) in orders.iter().zip(10..) {
                let shown = api.get(&format!("/orders/{order}"), &ann).await.expect(200);
                assert_eq!((shown.text("/status"), &shown.data()["remaining"]), ("open".to_owned(), &json!(quantity)));
            }
        }
        // A market that was decided just before the end is paid after the restart.
        let api = server.api();
        api.post(&format!("/markets/{market}/close"), &ann, json!({})).await.expect(200);
        api.post(&format!("/markets/{market}/resolve"), &ann, json!({ "outcome": "NO" })).await.expect(200);
        let installation = server.kill().await;
        let server = Server::start(installation).await;
        server.api().settled(&market).await;
        assert_eq!(server.api().balance(&ann).await.1, 0);
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_in_flight() {
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let server = Server::start(installation).await;
        let (ann, ben) = (server.api().sign_up("Ann").await, server.api().sign_up("Ben").await);
        let body = json!({ "toUserId": ben.id, "amount": "1" }).to_string();
        let (first, rest) = body.split_at(10);
        let head = format!(
            "POST /api/v1/transfers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nIdempotency-Key: last\r\n\
             Expect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{first}",
            ann.token,
            body.len()
        );
        let mut socket = TcpStream::connect(server.address()).await.expect("the server listens");
        socket.write_all(head.as_bytes()).await.expect("the server reads");
        // It says when the request is being worked on.
        let mut goes_on = Vec::new();
        while !goes_on.ends_with(b"\r\n\r\n") {
            goes_on.push(socket.read_u8().await.expect("the server answers"));
        }
        assert_eq!(goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        server.terminate();
        // It no longer listens, and still it waits for the rest.
        let address = server.address().to_owned();
        let told = Instant::now();
        while TcpStream::connect(&address).await.is_ok() {
            assert!(told.elapsed() < Duration::from_secs(20), "it still listens");
            tokio::task::yield_now().await;
        }
        socket.write_all(rest.as_bytes()).await.expect("the server reads to the end");
        let answer = raw::read(&mut socket, Duration::from_secs(20)).await;
        assert_eq!(answer.statuses(), [201], "{}", answer.text);
        let installation = server.ended().await;
        let server = Server::start(installation).await;
        assert_eq!(server.api().balance(&ann).await.0, 999_000);
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}

/// A server that cannot serve leaves the database as it is: an older version may have to go on with it.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_does_not_touch_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let installation =
        Installation::new(Store::Sqlite, &[("METRICS_LISTEN", &address)]).await.expect("SQLite is always there");
    let database = installation.data_dir().join("bellwether.db");
    let output = installation.run(&["serve", "--listen", "127.0.0.1:0"], "").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("metrics_listen") && !database.exists(), "{said}");

    let installation = Installation::new(Store::Sqlite, &[]).await.expect("SQLite is always there");
    let (database, keys) =
        (installation.data_dir().join("bellwether.db"), installation.data_dir().join("signing-keys.json"));
    std::fs::create_dir(installation.data_dir()).expect("a folder can be made");
    std::fs::write(&keys, "{}").expect("it can be written");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).expect("it can be opened to others");
    let output = installation.run(&["serve", "--listen", "127.0.0.1:0"], "").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("signing-keys.json") && !database.exists(), "{said}");
}

/// A server that waits for its database is told to stop as any other.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_start_that_waits_for_the_database() {
    let url = format!("postgres://nobody@127.0.0.1:{}/x", free_port());
    let installation =
        Installation::new(Store::Sqlite, &[("DATABASE_URL", &url)]).await.expect("SQLite is always there");
    let mut command = installation.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary can be started");
    let mut log = BufReader::new(server.stderr.take().expect("a pipe")).lines();
    let mut line = async || log.next_line().await.expect("the log can be read").expect("it goes on");
    let mut said = line().await;
    while !said.contains("waiting for PostgreSQL") {
        said = line().await;
    }
    assert!(said.contains("Connection refused"), "{said}");
    let process = server.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
    kill(Pid::from_raw(process), Signal::SIGTERM).expect("it can be told");
    while said.contains("waiting for PostgreSQL") {
        said = line().await;
    }
    assert!(said.contains("stopped by a signal"), "{said}");
    let ended = tokio::time::timeout(Duration::from_secs(20), server.wait()).await.expect("it ends");
    assert!(ended.expect("it can be waited for").success());
}

/// Whoever is in the wrong folder is to see it.
#[tokio::test(flavor = "multi_thread")]
async fn commands_say_what_they_have_changed_and_whether_it_was_there() {
    let installation = Installation::new(Store::Sqlite, &[]).await.expect("SQLite is always there");
    let arguments = ["admin", "create", "--email", "a@example.org", "--display-name", "Ann", "--password-stdin"];
    for is_new in [true, false] {
        let output = installation.run(&arguments, "a long pass phrase").await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let database = installation.data_dir().join("bellwether.db");
        assert!(output.status.success() && said.contains(&database.display().to_string()), "{said}");
        assert_eq!(said.contains("a new database was made"), is_new, "{said}");
    }
    let keys = installation.data_dir().join("signing-keys.json").display().to_string();
    let output = installation.run(&["keys", "rotate", "--compromised"], "").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(&keys), "{said}");
    let output = installation.run(&["keys", "rotate"], "").await;
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(&keys));
}

/// Runs `serve` with settings that must keep it from starting; what it says.
async fn refused(settings: &[(&str, &str)], arguments: &[&str]) -> String {
    let installation = Installation::new(Store::Sqlite, settings).await.expect("SQLite is always there");
    let output = installation.run(&[&["serve"], arguments].concat(), "").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "it started with {settings:?} {arguments:?}: {said}");
    said
}

/// Threat 72.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_wrong_or_weak_is_refused_by_name() {
    for (settings, names) in [
        (&[("LISTN", "127.0.0.1:0")][..], &["BELLWETHER_LISTN"][..]),
        (&[("SIGNUP_GRANT", "-1"), ("MAX_FILLS", "many")], &["signup_grant", "max_fills"]),
        (&[("DATABASE_URL", "mysql://x")], &["database_url"]),
        (&[("LISTEN", "everywhere")], &["listen"]),
        (&[("ROLE", "worker")], &["role", "PostgreSQL"]),
        (&[("SECRET_KEY", "changeme")], &["secret_key", "weak"]),
        (&[("SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], &["secret_key", "weak"]),
        (&[("SECRET_KEY", "changeme"), ("LISTEN", "0.0.0.0:0")], &["secret_key", "weak"]),
    ] {
        let said = refused(settings, &[]).await;
        for name in names {
            assert!(said.contains(name), "{settings:?} is not refused by the name {name}: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
    let said = refused(&[], &["--config", "no-such-file.toml"]).await;
    assert!(said.contains("no-such-file.toml"), "{said}");
}

/// Threat 72.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_made_at_the_first_start_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let installation = Installation::new(Store::Sqlite, &[]).await.expect("SQLite is always there");
    let server = Server::start(installation).await;
    let key = server.installation().data_dir().join("secret.key");
    let mode = std::fs::metadata(&key).expect("there is a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(&key).expect("it can be read");
    assert!(!server.logged().contains(secret.trim()));
    let installation = server.stop().await;
    std::fs::write(&key, "short").expect("it can be written");
    let output = installation.run(&["serve", "--listen", "127.0.0.1:0"], "").await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("secret.key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_data_is_refused() {
    let installation = Installation::new(Store::Sqlite, &[]).await.expect("SQLite is always there");
    let server = Server::start(installation).await;
    let output = server.installation().run(&["serve", "--listen", "127.0.0.1:0"], "").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another server"), "{said}");
    server.api().request("GET", "/markets").send().await.expect(200);
    server.stop().await.audit().await;
}

/// Threat 23: what people send stands in a log as data, one line for each event.
#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_log_is_one_json_object_and_has_no_secret() {
    let installation = Installation::new(Store::Sqlite, &[]).await.expect("SQLite is always there");
    let server = Server::start(installation).await;
    let api = server.api();
    let ann = api.sign_up("Ann").await;
    for path in ["/markets/a%0a%7B%22level%22%3A%22ERROR%22%7D", "/markets?sort=%0d%0aX", "/orders/%1b[31m"] {
        let answer = api.request("GET", path).by(&ann).header("X-Request-Id", "x\ty").send().await;
        assert!((400..500).contains(&answer.status));
    }
    let log = server.logged();
    let events = log.lines().filter(|line| line.starts_with('{')).count();
    assert!(events >= 5, "{log}");
    for line in log.lines().filter(|line| line.contains("\"level\"")) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    assert!(!log.contains(&ann.token) && !log.contains(bellwether_tests::client::PASSWORD));
    server.stop().await.audit().await;
}

/// Threat 71: the driver of PostgreSQL would tell of every statement with its parameters.
#[tokio::test(flavor = "multi_thread")]
async fn no_level_of_the_log_shows_the_parameters_of_statements() {
    let settings = [("LOG_LEVEL", "trace,tokio_postgres=trace")];
    let Some(installation) = Installation::new(Store::Postgres, &settings).await else { return };
    let server = Server::start(installation).await;
    let ann = server.api().sign_up("Ann").await;
    let log = server.logged();
    let bytes = ann.email.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    for shown in [ann.email.as_str(), &bytes] {
        let line = log.lines().find(|line| line.contains(shown));
        assert!(line.is_none(), "{line:?}");
    }
    let installation = server.stop().await;
    installation.audit().await;
    installation.remove().await;
}
