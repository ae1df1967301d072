//! What is SQLite's own: its file, its settings, its one writer, and what its schema refuses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bellwether_domain::audit_log::{Action, Actor, Event, Head, Origin};
use bellwether_domain::ids::{AccountId, EventId, FreshIds, TransferId, UserId};
use bellwether_domain::ledger::{Account, Owner, Posting, Reference, TransferKind, transfer};
use bellwether_domain::money::Credits;
use bellwether_domain::ports::{Changes, Queries, Store, StoreError};
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::{Role, User, UserStatus};
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use diesel::connection::SimpleConnection;
use diesel::sql_types::Integer;
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use jiff::Timestamp;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A store in a folder of its own, which lives as long as this does.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: SqliteStore,
    ids: FreshIds,
}

impl Fixture {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::with(SqliteOptions::default()).await
    }

    async fn with(options: SqliteOptions) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = SqliteStore::open(&folder.path().join("bellwether.db"), options)?;
        store.migrate_up().await?;
        Ok(Self { folder, store, ids: FreshIds::seeded(NOW, 1) })
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("bellwether.db")
    }

    /// A connection beside the store's, as an administrator with a shell would have.
    fn outside(&self) -> anyhow::Result<SqliteConnection> {
        let mut connection = SqliteConnection::establish(self.path().to_str().context("the path is not UTF-8")?)?;
        connection.batch_execute("PRAGMA busy_timeout = 5000")?;
        Ok(connection)
    }

    fn user(&mut self) -> anyhow::Result<User> {
        let id = UserId(self.ids.next_uuid());
        Ok(User {
            id,
            email: Some(Email::parse(&format!("{id}@example.org"))?),
            display_name: DisplayName::parse("Ada")?,
            password_hash: None,
            role: Role::User,
            status: UserStatus::Active,
            email_verified: false,
            owner: None,
            version: 1,
            created_at: NOW,
            updated_at: NOW,
        })
    }

    /// A user with an account and a grant of so many mills.
    fn sign_up(&mut self, treasury: &mut Account, mills: i64) -> anyhow::Result<Changes> {
        let user = self.user()?;
        let mut account = Account::open(AccountId::of_user(user.id), Owner::User(user.id), NOW);
        let posting = Posting {
            id: TransferId(self.ids.next_uuid()),
            amount: Credits::from_mills(mills),
            kind: TransferKind::Grant,
            reference: Reference::default(),
            memo: None,
        };
        let grant = transfer(treasury, &mut account, posting, NOW)?;
        Ok(Changes {
            new_users: vec![user],
            new_accounts: vec![account],
            accounts: vec![treasury.clone()],
            transfers: vec![grant],
            ..Changes::default()
        })
    }

    async fn treasury(&self) -> anyhow::Result<Account> {
        self.store.account(AccountId::TREASURY).await?.context("there is no treasury")
    }

    async fn grant(&mut self, mills: i64) -> anyhow::Result<Changes> {
        let mut treasury = self.treasury().await?;
        let changes = self.sign_up(&mut treasury, mills)?;
        write(&self.store, &changes).await?;
        Ok(changes)
    }
}

async fn write(store: &SqliteStore, changes: &Changes) -> Result<(), StoreError> {
    let mut unit = store.begin().await?;
    unit.write(changes).await?;
    unit.commit().await
}

/// A command that is run as root makes nothing that a server of another user cannot write.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_root_makes_belongs_to_whom_the_folder_belongs() -> anyhow::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    const SERVICE: u32 = 12_345;
    let folder = tempfile::tempdir()?;
    if chown(folder.path(), Some(SERVICE), Some(SERVICE)).is_err() {
        eprintln!("skipped: only root can give files to others");
        return Ok(());
    }
    let store = SqliteStore::open(&folder.path().join("bellwether.db"), SqliteOptions::default())?;
    store.migrate_up().await?;
    for file in std::fs::read_dir(folder.path())? {
        let file = file?;
        let found = file.metadata()?;
        ensure!((found.uid(), found.gid()) == (SERVICE, SERVICE), "{:?} belongs to {}", file.path(), found.uid());
    }
    Ok(())
}

/// Its log, which is synced by name, is beside the file and not beside the link.
#[cfg(unix)]
#[tokio::test]
async fn a_link_to_the_file_will_do() -> anyhow::Result<()> {
    let (there, here) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let link = here.path().join("bellwether.db");
    std::fs::File::create(there.path().join("real.db"))?;
    std::os::unix::fs::symlink(there.path().join("real.db"), &link)?;
    let store = SqliteStore::open(&link, SqliteOptions::default())?;
    store.migrate_up().await?;
    store.begin().await?.commit().await?;
    store.ping().await?;
    ensure!(there.path().join("real.db-wal").exists() && !here.path().join("bellwether.db-wal").exists());
    Ok(())
}

/// What `.cargo/config.toml` says of how SQLite is compiled is heard: a word that is spelt wrong would only cost speed.
#[test]
fn connections_share_no_cache_of_pages_and_no_count_of_memory() -> anyhow::Result<()> {
    let mut connection = SqliteConnection::establish(":memory:")?;
    for (option, wanted) in [("ENABLE_MEMORY_MANAGEMENT", 0), ("THREADSAFE=2", 1), ("DEFAULT_MEMSTATUS=0", 1)] {
        let is_used = diesel::dsl::sql::<Integer>(&format!("sqlite_compileoption_used('{option}')"));
        let used: i32 = diesel::select(is_used).get_result(&mut connection)?;
        ensure!(used == wanted, "{option}: {used}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_readable_by_its_owner_alone() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new().await?;
    for name in ["bellwether.db", "bellwether.db-wal", "bellwether.db-shm"] {
        let mode = std::fs::metadata(fixture.folder.path().join(name)).context(name)?.permissions().mode();
        ensure!(mode & 0o777 == 0o600, "{name} has mode {mode:o}");
    }
    Ok(())
}

#[test]
fn a_folder_that_does_not_exist_is_named_in_the_error() {
    let path = Path::new("/nonexistent/folder/bellwether.db");
    let error = SqliteStore::open(path, SqliteOptions::default()).unwrap_err();
    let StoreError::Unavailable(source) = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("/nonexistent/folder/bellwether.db"), "{source}");
}

#[test]
fn a_file_that_is_no_database_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bellwether.db");
    std::fs::write(&path, vec![b'x'; 8192])?;
    let error = SqliteStore::open(&path, SqliteOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    Ok(())
}

/// Threat 66. `open` asserts it too, on every connection; here the file itself is asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_a_write_ahead_log() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let header = std::fs::read(fixture.path())?;
    // Bytes 18 and 19 of a database are 2 in WAL mode.
    ensure!(header.get(18..20) == Some(&[2, 2]), "the file is not in WAL mode");
    Ok(())
}

/// Threat 66. A committed unit is in the file as soon as the commit returns: a second process that
/// copies file and log at this moment has it, as after a kill.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_killed_keeps_what_was_committed_and_nothing_else() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    let committed = fixture.grant(1_000).await?;
    let mut treasury = fixture.treasury().await?;
    let unfinished = fixture.sign_up(&mut treasury, 2_000)?;
    let mut unit = fixture.store.begin().await?;
    unit.write(&unfinished).await?;

    let copy = tempfile::tempdir()?;
    for name in ["bellwether.db", "bellwether.db-wal"] {
        std::fs::copy(fixture.folder.path().join(name), copy.path().join(name))?;
    }
    let reopened = SqliteStore::open(&copy.path().join("bellwether.db"), SqliteOptions::default())?;
    let (kept, lost) = (committed.new_users[0].id, unfinished.new_users[0].id);
    ensure!(reopened.user(kept).await?.as_ref() == committed.new_users.first());
    ensure!(reopened.user(lost).await?.is_none());
    ensure!(reopened.violations(100).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_unit_leaves_nothing_and_the_next_begins_at_once() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    for _ in 0..50 {
        let mut treasury = fixture.treasury().await?;
        let changes = fixture.sign_up(&mut treasury, 10)?;
        let mut unit = fixture.store.begin().await?;
        unit.write(&changes).await?;
        drop(unit);
    }
    // It is refused where it has to wait for long, so this says that it did not.
    let unit = tokio::time::timeout(Duration::from_secs(20), fixture.store.begin()).await??;
    unit.rollback().await?;
    ensure!(fixture.treasury().await?.balance == Credits::ZERO);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_that_waits_too_long_is_refused_as_unavailable() -> anyhow::Result<()> {
    let options = SqliteOptions { begin_timeout: Duration::from_millis(500), ..SqliteOptions::default() };
    let fixture = Fixture::with(options).await?;
    let held = fixture.store.begin().await?;
    let refused = fixture.store.begin().await.map(drop);
    ensure!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    held.rollback().await?;
    // A busy machine may take longer than that to free its place.
    let mut tries = 0;
    let next = loop {
        match fixture.store.begin().await {
            Err(StoreError::Unavailable(_)) if tries < 20 => tries += 1,
            begun => break begun?,
        }
    };
    next.commit().await?;
    Ok(())
}

/// The lock that a second process holds is waited for, and then refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_process_is_unavailable_and_nothing_breaks() -> anyhow::Result<()> {
    let options = SqliteOptions { busy_timeout: Duration::from_millis(500), ..SqliteOptions::default() };
    let mut fixture = Fixture::with(options).await?;
    let mut other = fixture.outside()?;
    other.batch_execute("BEGIN IMMEDIATE")?;
    // A unit begins with the first thing that is done in it.
    let mut unit = fixture.store.begin().await?;
    let refused = unit.accounts().lock(&[AccountId::TREASURY]).await;
    ensure!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    ensure!(unit.commit().await.is_err(), "a unit that never began was committed");
    other.batch_execute("ROLLBACK")?;
    fixture.grant(10).await?;
    fixture.store.ping().await?;
    Ok(())
}

/// However far a call has come when its future is dropped, the unit can then only be rolled back,
/// and the store goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_half_way_spoils_its_unit_alone() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    for _ in 0..50 {
        let mut treasury = fixture.treasury().await?;
        let changes = fixture.sign_up(&mut treasury, 10)?;
        let mut unit = fixture.store.begin().await?;
        let polled_once = futures_poll_once(unit.write(&changes)).await;
        if polled_once.is_none() {
            ensure!(unit.commit().await.is_err(), "a unit whose write was abandoned was committed");
        }
        // A begin that is dropped after one poll must give its turn back, too.
        futures_poll_once(fixture.store.begin()).await;
    }
    fixture.grant(10).await?;
    ensure!(fixture.store.violations(10).await?.is_empty());
    Ok(())
}

/// Polls a future once and drops it.
async fn futures_poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// Threat 65. After an error that leaves doubt about the disk, nothing is acknowledged any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_stops_all_writing_until_the_store_is_opened_anew() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    let path = fixture.path();
    let users = (0..2000).map(|_| fixture.user()).collect::<anyhow::Result<Vec<User>>>()?;
    let ids: Vec<UserId> = users.iter().map(|u| u.id).collect();
    write(&fixture.store, &Changes { new_users: users, ..Changes::default() }).await?;
    // What was written is in the log, until it is copied into the file; a copy of both is damaged.
    fixture.outside()?.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let mut bytes = std::fs::read(&path)?;
    // The schema is in the first pages, the users are in the last.
    let intact = bytes.len() / 3 * 2;
    for byte in bytes.iter_mut().skip(intact) {
        *byte = 0xAA;
    }
    let damaged = fixture.folder.path().join("damaged.db");
    std::fs::write(&damaged, bytes)?;

    let store = SqliteStore::open(&damaged, SqliteOptions::default())?;
    let mut unit = store.begin().await?;
    let loaded = unit.users().load(&ids).await;
    ensure!(matches!(&loaded, Err(StoreError::Corrupt(_))), "{loaded:?}");
    ensure!(unit.commit().await.is_err(), "a unit that met damage was committed");
    let refused = store.begin().await.map(drop);
    ensure!(matches!(&refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    ensure!(store.ping().await.is_err(), "the store does not report that it stopped writing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_and_the_audit_log_are_never_updated_nor_deleted() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    fixture.grant(10).await?;
    let mut outside = fixture.outside()?;
    // A trade needs an order and a market; without references the row alone is enough here.
    outside.batch_execute(
        "PRAGMA foreign_keys = OFF;
         INSERT INTO trades VALUES (randomblob(16), randomblob(16), 1, 0, 500, 1, 500, 'buy', 'mint',
             randomblob(16), randomblob(16), NULL, NULL, 0, 0);
         INSERT INTO audit_log (number, id, created_at, actor_kind, action, hash)
             VALUES (1, randomblob(16), 0, 'system', 'keys.rotated', zeroblob(32));",
    )?;
    for table in ["transfers", "trades", "audit_log"] {
        for statement in [format!("UPDATE {table} SET created_at = 7"), format!("DELETE FROM {table}")] {
            let error = outside.batch_execute(&statement).unwrap_err();
            ensure!(error.to_string().contains("append-only"), "{statement}: {error}");
        }
    }
    Ok(())
}

/// Threat 7. Whoever gets round the triggers does not get round the chain.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_audit_log_by_hand_breaks_its_chain() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    let mut events = Vec::new();
    for _ in 0..3 {
        let id = EventId(fixture.user()?.id.0);
        let (actor, action, at) = (Actor::System, Action::KeysRotated, jiff::Timestamp::UNIX_EPOCH);
        events.push(Event {
            id,
            at,
            actor,
            action,
            target: None,
            origin: Origin::default(),
            before: None,
            after: None,
        });
    }
    write(&fixture.store, &Changes { events, ..Changes::default() }).await?;
    let mut outside = fixture.outside()?;
    outside
        .batch_execute("DROP TRIGGER audit_log_is_never_updated; UPDATE audit_log SET agent = 'x' WHERE number = 2")?;
    let mut walk = Head::default();
    let fits: Vec<bool> = fixture
        .store
        .audit_chain(0, 10)
        .await?
        .iter()
        .map(|link| link.entry.as_ref().is_some_and(|entry| walk.follow(entry)))
        .collect();
    ensure!(fits == [true, false, false], "{fits:?}");
    outside.batch_execute("UPDATE audit_log SET action = 'user.flew' WHERE number = 1")?;
    let links = fixture.store.audit_chain(0, 1).await?;
    ensure!(links.iter().all(|link| link.number == 1 && link.entry.is_none()), "{links:?}");
    Ok(())
}

/// Threat 28. Even where the code asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_schema_refuses_a_negative_balance() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    let mut account = fixture.grant(10).await?.new_accounts.remove(0);
    account.balance = Credits::from_mills(-1);
    let refused = write(&fixture.store, &Changes { accounts: vec![account], ..Changes::default() }).await;
    ensure!(
        matches!(&refused, Err(StoreError::Corrupt(message)) if message.contains("accounts_balance")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_row_that_does_not_exist_is_refused() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    let stranger = fixture.user()?;
    let refused = write(&fixture.store, &Changes { users: vec![stranger], ..Changes::default() }).await;
    ensure!(matches!(&refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_with_a_nul_character_is_refused_rather_than_cut() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let found = fixture.store.user_by_email("a\0b").await;
    ensure!(matches!(&found, Err(StoreError::Corrupt(_))), "{found:?}");
    Ok(())
}

/// 1,000 rows of eleven values are more than stay prepared, and 4,000 more than fit one statement.
#[tokio::test(flavor = "multi_thread")]
async fn large_batches_are_written_whole() -> anyhow::Result<()> {
    let mut fixture = Fixture::new().await?;
    for count in [1_000, 4_000] {
        let users = (0..count).map(|_| fixture.user()).collect::<anyhow::Result<Vec<User>>>()?;
        let ids: Vec<UserId> = users.iter().map(|u| u.id).collect();
        write(&fixture.store, &Changes { new_users: users.clone(), ..Changes::default() }).await?;
        ensure!(fixture.store.users_by_ids(&ids).await? == users);
        write(&fixture.store, &Changes { users, ..Changes::default() }).await?;
    }
    Ok(())
}

/// Ten writers at once: each gets its turn, and money neither appears nor vanishes.
#[tokio::test(flavor = "multi_thread")]
async fn units_take_turns() -> anyhow::Result<()> {
    let fixture = Arc::new(tokio::sync::Mutex::new(Fixture::new().await?));
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let fixture = Arc::clone(&fixture);
            tokio::spawn(async move { fixture.lock().await.grant(5).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let fixture = fixture.lock().await;
    ensure!(fixture.treasury().await?.balance == Credits::from_mills(-50));
    ensure!(fixture.store.violations(10).await?.is_empty());
    Ok(())
}

/// One transaction around all checks would keep the log from beginning anew until the last has ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_gives_its_connection_back_after_each_check() -> anyhow::Result<()> {
    let fixture = Fixture::with(SqliteOptions { readers: 1, ..SqliteOptions::default() }).await?;
    let ended = std::cell::RefCell::new(Vec::new());
    let audit = async {
        let found = fixture.store.violations(10).await;
        ended.borrow_mut().push("the audit");
        found
    };
    let read = async {
        let treasury = fixture.treasury().await;
        ended.borrow_mut().push("the read");
        treasury
    };
    // The audit begins and has the one connection, which the read waits for.
    let (found, treasury) = tokio::join!(audit, read);
    ensure!(found?.is_empty() && treasury?.balance == Credits::ZERO);
    let ended = ended.into_inner();
    ensure!(ended == ["the read", "the audit"], "{ended:?}");
    Ok(())
}
