//! Disks that fail, are full, or lose power. On SQLite: PostgreSQL's disk is PostgreSQL's concern.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bellwether_tests::disk::{Disk, Event, TRACED, events};
use bellwether_tests::strace::{self, STARTER, Tracer};
use bellwether_tests::{Answer, Api, Installation, Server, Store, User};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

/// What SQLite keeps in its folder, but for the index of the log, which does not outlive a crash.
const FILES: [&str; 2] = ["bellwether.db", "bellwether.db-wal"];

async fn pay(api: &Api, from: &User, to: &User, key: &str) -> Answer {
    let body = json!({ "toUserId": to.id, "amount": "1" });
    api.request("POST", "/transfers").by(from).key(key).json(&body).send().await
}

async fn installation() -> Installation {
    Installation::new(Store::Sqlite, &[]).await.expect("SQLite is always there")
}

/// Threat 65: after a sync that failed nobody knows what is on the disk, so nothing is acknowledged
/// any more, even where later syncs would seem to succeed, until the file is opened anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_is_never_acknowledged_and_stops_all_writing() {
    if !strace::is_there().await {
        return;
    }
    let server = Server::start(installation().await).await;
    let api = server.api();
    let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
    pay(api, &ann, &ben, "0").await.expect(201);

    let failing = "inject=fsync,fdatasync:error=EIO";
    let tracer = Tracer::attach(&server, &["-e", "trace=fsync,fdatasync", "-e", failing]).await;
    for key in ["1", "2"] {
        let answer = pay(api, &ann, &ben, key).await.expect(503);
        assert!(!answer.header("retry-after").is_empty(), "{}", answer.text);
    }
    // How it was is told for a second.
    let failed = Instant::now();
    while api.is_ready().await {
        assert!(failed.elapsed() < Duration::from_secs(20), "it takes requests that it cannot serve");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    api.request("GET", "//livez").send().await.expect(200);
    drop(tracer);
    pay(api, &ann, &ben, "3").await.expect(503);
    api.get("/accounts/me", &ann).await.expect(200);

    let server = Server::start(server.kill().await).await;
    let api = server.api();
    // The first that failed may have been done; with its key it is done once all the same.
    for key in ["0", "1", "2", "3"] {
        pay(api, &ann, &ben, key).await.expect(201);
    }
    assert_eq!((api.balance(&ann).await.0, api.balance(&ben).await.0), (996_000, 1_004_000));
    server.stop().await.audit().await;
}

/// A folder on a disk of its own, which is small. Gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, and a line that says why, where this process may not mount one.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir(folder).expect("a folder can be made");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"])
            .arg(folder)
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => return Some(Self(folder.to_owned())),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("--- skipped: no small disk can be mounted here ({why})");
        None
    }

    /// Leaves no room on it, until the file that this names is removed.
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = std::fs::File::create(&filler).expect("a file can be made");
        for size in [1 << 16, 1 << 12, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

/// Threat 65: what there is no room for is refused, and served once there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_acknowledges_nothing_until_there_is_room() {
    let installation = installation().await;
    let Some(disk) = SmallDisk::mount(&installation.data_dir()) else { return };
    let server = Server::start(installation).await;
    let api = server.api();
    let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
    let filler = disk.fill();
    for key in ["1", "2"] {
        let answer = pay(api, &ann, &ben, key).await.expect(503);
        assert!(!answer.header("retry-after").is_empty(), "{}", answer.text);
    }
    assert_eq!(api.balance(&ann).await.0, 1_000_000);
    std::fs::remove_file(filler).expect("a file can be removed");
    for key in ["1", "2"] {
        pay(api, &ann, &ben, key).await.expect(201);
    }
    assert_eq!((api.balance(&ann).await.0, api.balance(&ben).await.0), (998_000, 1_002_000));
    let installation = server.stop().await;
    installation.audit().await;
    // Before the folder, which cannot be removed while it is in use.
    drop(disk);
    drop(installation);
}

/// Threat 66: power is lost at the moment of an acknowledgement. The disk then has what was synced
/// and any part of what was not; what was acknowledged must be in it, and the audit finds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_loss_of_all_that_was_not_synced() {
    const PAYMENTS: usize = 1000;
    const AT_ONCE: usize = 4;
    if !strace::is_there().await {
        return;
    }
    let server = Server::start(installation().await).await;
    let (ann, ben) = (server.api().sign_up("Ann").await, server.api().sign_up("Ben").await);
    let template = server.stop().await;

    let traced = template.copy().await;
    let before = Disk::of(&traced.data_dir());
    let trace = template.folder().join("trace");
    let output = format!("-o{}", trace.display());
    let starter = [&STARTER[..], &[output.as_str()], &TRACED[..]].concat();
    let server = Server::start_under(traced, &starter).await.expect("nothing stops this server");
    // Several at a time, so that some are written while the disk is waited for.
    let payments = stream::iter(0..PAYMENTS).map(async |key| {
        pay(server.api(), &ann, &ben, &key.to_string()).await.expect(201);
    });
    payments.buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
    drop(server.kill().await);
    let events = events(&read_to_the_end(&trace).await);
    // So much was written that the log was copied into the file meanwhile.
    let copied = |event: &Event| matches!(event, Event::Write { file, .. } if file.ends_with(FILES[0]));
    assert!(events.iter().any(copied), "the log was never copied into the file");

    let (mut disk, mut acknowledged) = (before.clone(), 0_u32);
    // Any sequence of ayes and noes does; this one is the same in each run.
    let mut coin = 0x9E37_79B9_u32;
    let mut toss = || {
        coin = coin.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        coin >> 31 == 1
    };
    for event in &events {
        disk.apply(event);
        if *event != Event::Acknowledged {
            continue;
        }
        acknowledged += 1;
        if acknowledged.is_multiple_of(125) {
            for image in [disk.without_power(|| false), disk.without_power(&mut toss)] {
                let paid = paid_on(&template, &image, &ann).await.expect("the file can be opened");
                assert!(paid >= acknowledged, "{acknowledged} were acknowledged, {paid} are there");
            }
        }
    }
    assert_eq!(usize::try_from(acknowledged).ok(), Some(PAYMENTS));

    // The same without the syncs loses everything: or this test would prove nothing.
    let mut careless = before;
    for event in events.iter().filter(|event| !matches!(event, Event::Syncing { .. } | Event::Synced { .. })) {
        careless.apply(event);
    }
    assert_eq!(paid_on(&template, &careless.without_power(|| false), &ann).await, Some(0));
}

/// The trace, once the tracer has written all of it.
async fn read_to_the_end(trace: &Path) -> String {
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(trace).expect("the trace can be read");
        if text.lines().last().is_some_and(|line| line.contains("+++ killed by SIGKILL")) {
            return text;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the trace has no end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many payments a server finds on that disk; none where it cannot start on it.
async fn paid_on(template: &Installation, disk: &Disk, payer: &User) -> Option<u32> {
    let installation = template.copy().await;
    disk.write(&installation.data_dir(), &FILES);
    let server = Server::start_under(installation, &[]).await.ok()?;
    let (balance, _) = server.api().balance(payer).await;
    server.stop().await.audit().await;
    u32::try_from((1_000_000 - balance) / 1000).ok()
}
