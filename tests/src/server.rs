//! The binary under test: where it keeps its data, its lives, and its commands.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::client::{Api, User};
use crate::database;

/// How long a server may take until it serves, or until it has stopped.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// The first of the ports of tests' servers, and how many there are: below those that the kernel gives to whoever asks
/// for any, so that nobody else gets one before its server listens, or while it is down.
const PORTS: (u32, u32) = (10_000, 20_000);

/// Where a server keeps its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A file in the data folder.
    Sqlite,
    /// A database of its own on the server that `DATABASE_URL` names.
    Postgres,
}

impl Store {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

/// A data folder and a database, before, between and after the lives of servers on them. Clones are of the same
/// data: for several servers on one PostgreSQL.
#[derive(Debug, Clone)]
pub struct Installation {
    store: Store,
    folder: Arc<TempDir>,
    database: Option<(String, String)>,
    settings: Vec<(String, String)>,
}

/// What makes tests quick, and patient with a machine that has other work for seconds.
const USUAL: [(&str, &str); 4] =
    [("PASSWORD_COST", "4"), ("TICK_INTERVAL", "50ms"), ("LOG_FORMAT", "json"), ("DATABASE_TIMEOUT", "20s")];

/// All tests come from one address. Those of limits set their own.
const UNLIMITED: [(&str, &str); 12] = [
    ("LIMIT_PUBLIC", "1000000000/1m"),
    ("LIMIT_USER", "1000000000/1m"),
    ("LIMIT_LOGIN", "1000000000/1m"),
    ("LIMIT_LOGIN_ADDRESS", "1000000000/1m"),
    ("LIMIT_LOGIN_ACCOUNT", "1000000000/1m"),
    ("LIMIT_PASSWORD", "1000000000/1m"),
    ("LIMIT_PASSWORD_ADDRESS", "1000000000/1m"),
    ("LIMIT_MADE", "1000000000/1m"),
    ("LIMIT_RESET", "1000000000/1m"),
    ("LIMIT_REFRESH", "1000000000/1m"),
    ("LIMIT_SIGNUP", "1000000000/1m"),
    ("LIMIT_NEW_USERS", "1000000000/1m"),
];

impl Installation {
    /// A fresh one with these settings. None, and a line that says why, where the store is not at hand.
    ///
    /// # Panics
    /// When no folder or database can be made.
    pub async fn new(store: Store, settings: &[(&str, &str)]) -> Option<Self> {
        let database = match store {
            Store::Sqlite => None,
            Store::Postgres => {
                let database = database::create().await;
                if database.is_none() {
                    eprintln!("--- skipped on PostgreSQL: DATABASE_URL is not set");
                    return None;
                }
                database
            }
        };
        let folder = temporary_folder();
        let settings = USUAL
            .iter()
            .chain(&UNLIMITED)
            .chain(settings)
            .map(|(name, value)| (format!("BELLWETHER_{name}"), (*value).to_owned()))
            .collect();
        Some(Self { store, folder, database, settings })
    }

    /// Its store.
    #[must_use]
    pub const fn store(&self) -> Store {
        self.store
    }

    /// The data folder. It does not exist before the first start.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// The same data once more, for another course of events from here on. No server may run on them.
    ///
    /// # Panics
    /// When they cannot be copied.
    pub async fn copy(&self) -> Self {
        let folder = temporary_folder();
        copy_folder(&self.data_dir(), &folder.path().join("data"));
        let database = match &self.database {
            Some((_, name)) => database::copy(name).await,
            None => None,
        };
        Self { store: self.store, folder, database, settings: self.settings.clone() }
    }

    /// The URL of its database on PostgreSQL.
    #[must_use]
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(|(url, _)| url.as_str())
    }

    /// Changes a setting for the next life, such as `("CHALLENGE_WINDOW", "1h")`.
    pub fn set(&mut self, name: &str, value: &str) {
        let name = format!("BELLWETHER_{name}");
        self.settings.retain(|(given, _)| *given != name);
        self.settings.push((name, value.to_owned()));
    }

    /// Has the server reach its database by another URL, such as through a proxy.
    pub fn set_database_url(&mut self, url: String) {
        if let Some((old, _)) = &mut self.database {
            *old = url;
        }
    }

    /// A command of the binary on this installation, with nothing of the tester's own settings.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// The same, started by another program, such as a tracer.
    fn command_under(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let mut command = match starter.split_first() {
            None => Command::new(binary()),
            Some((program, before)) => {
                let mut command = Command::new(program);
                command.args(before).arg(binary());
                command
            }
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data_dir())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some((url, _)) = &self.database {
            command.args(["--database-url", url]);
        }
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started, or does not end.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        tokio::time::timeout(LIMIT * 5, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
            .expect("the command can be waited for")
    }

    /// Changes what is stored behind the server's back, by statements that both stores understand: for
    /// what no request can bring about.
    ///
    /// # Panics
    /// When the store refuses.
    pub async fn execute_sql(&self, statements: &str) {
        if let Some(url) = self.database_url() {
            return database::execute(url, statements).await;
        }
        let path = self.data_dir().join("bellwether.db");
        let mut connection = SqliteConnection::establish(&path.to_string_lossy()).expect("the database can be opened");
        let patient = format!("PRAGMA busy_timeout = 10000; {statements}");
        connection.batch_execute(&patient).expect("the statements can be executed");
    }

    /// Checks every invariant of what is stored.
    ///
    /// # Panics
    /// When one is broken, or cannot be checked.
    pub async fn audit(&self) {
        let output = self.run(&["audit", "--json"], "").await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "the audit on {:?} failed ({}): {said}{}",
            self.store,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Removes everything.
    ///
    /// # Panics
    /// When the database cannot be dropped.
    pub async fn remove(self) {
        if let Some((_, name)) = &self.database {
            database::remove(name).await;
        }
    }
}

/// A life of a server. Dropping it kills the process and prints the end of its log.
#[derive(Debug)]
pub struct Server {
    installation: Option<Installation>,
    child: Child,
    address: String,
    api: Api,
    admin: OnceCell<User>,
}

impl Server {
    /// Starts a server on a free port and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(installation: Installation) -> Self {
        Self::start_at(installation, format!("127.0.0.1:{}", free_port())).await
    }

    /// Starts a server at that address, such as one that died there, and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start_at(installation: Installation, address: String) -> Self {
        let mut server = Self::spawn(installation, address, &[]);
        if let Err(status) = server.ready().await {
            panic!("the server ended ({status})");
        }
        server
    }

    /// Starts a server by another program, which must become the server or be its invisible tracer,
    /// and waits until it serves. The installation, where it ends before.
    ///
    /// # Panics
    /// When it does neither.
    pub async fn start_under(installation: Installation, starter: &[&str]) -> Result<Self, Installation> {
        let mut server = Self::spawn(installation, format!("127.0.0.1:{}", free_port()), starter);
        match server.ready().await {
            Ok(()) => Ok(server),
            Err(_) => Err(server.installation.take().expect("a server that was started has an installation")),
        }
    }

    fn spawn(installation: Installation, address: String, starter: &[&str]) -> Self {
        let log =
            std::fs::File::options().create(true).append(true).open(installation.log()).expect("a log can be written");
        let child = installation
            .command_under(starter, &["serve", "--listen", &address])
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the binary can be started");
        let api = Api::new(&address);
        Self { installation: Some(installation), child, address, api, admin: OnceCell::new() }
    }

    /// Waits until it serves; its status, where it ends before.
    async fn ready(&mut self) -> Result<(), ExitStatus> {
        let started = Instant::now();
        while !self.api.is_ready().await {
            if let Some(status) = self.child.try_wait().expect("the server can be watched") {
                return Err(status);
            }
            assert!(started.elapsed() < LIMIT, "the server is not ready after {LIMIT:?}");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// A client of its API.
    #[must_use]
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// Where it listens, such as `127.0.0.1:4711`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it runs on.
    ///
    /// # Panics
    /// Never while it lives.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        self.installation.as_ref().expect("a server that lives has an installation")
    }

    /// Its id as a process.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// An administrator, made by the command line beside the running server.
    ///
    /// # Panics
    /// When the command fails.
    pub async fn admin(&self) -> &User {
        let make = || async {
            let (email, password) = ("root@example.org", "an administrator's pass phrase");
            let arguments = ["admin", "create", "--email", email, "--display-name", "Root", "--password-stdin"];
            let output = self.installation().run(&arguments, password).await;
            assert!(output.status.success(), "admin create: {}", String::from_utf8_lossy(&output.stderr));
            self.api.log_in(email, password).await
        };
        self.admin.get_or_init(make).await
    }

    /// Everything it has logged.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.installation().log()).expect("the log can be read")
    }

    /// Asks it to stop, without waiting.
    ///
    /// # Panics
    /// When it cannot be signalled.
    pub fn terminate(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).expect("the server lives");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("the server can be signalled");
    }

    /// Asks it to stop and waits until it has, cleanly.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop(self) -> Installation {
        self.terminate();
        self.ended().await
    }

    /// Waits until it has stopped, cleanly.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(mut self) -> Installation {
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await.expect("the server stops in time");
        let status = status.expect("the server can be waited for");
        assert!(status.success(), "the server did not stop cleanly ({status})");
        self.installation.take().expect("a server that lived has an installation")
    }

    /// Waits until it has ended, however it does.
    ///
    /// # Panics
    /// When it does not.
    pub async fn gone(mut self) -> Installation {
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await.expect("the server ends in time");
        status.expect("the server can be waited for");
        self.installation.take().expect("a server that lived has an installation")
    }

    /// Ends it at once, if it has not ended by itself.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub async fn kill_or_bury(mut self) -> Installation {
        // An error says that it is dead already.
        let _dead = self.child.start_kill();
        self.gone().await
    }

    /// Ends it at once: SIGKILL.
    ///
    /// # Panics
    /// When it had ended before.
    pub async fn kill(mut self) -> Installation {
        assert!(self.child.try_wait().expect("the server can be watched").is_none(), "the server ended by itself");
        self.child.kill().await.expect("the server can be killed");
        self.installation.take().expect("a server that lived has an installation")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(installation) = &self.installation
            && let Ok(log) = std::fs::read_to_string(installation.log())
        {
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.iter().skip(lines.len().saturating_sub(40)).copied().collect::<Vec<_>>().join("\n");
            eprintln!("the end of the server's log:\n{last}");
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the data can be listed") {
        let entry = entry.expect("the data can be listed");
        let copy = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &copy);
        } else {
            std::fs::copy(entry.path(), copy).expect("a file can be copied");
        }
    }
}

fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("BELLWETHER_") || name == "DATABASE_URL" || name == "REDIS_URL"
}

/// The binary: `BELLWETHER_BIN`, else the one that cargo built beside the tests, which is built if
/// it is not there.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("BELLWETHER_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the test knows its own path");
    let profile = test.ancestors().nth(2).expect("tests are built in target/PROFILE/deps");
    let binary = profile.join("bellwether");
    if !binary.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = std::process::Command::new(cargo)
            .args(["build", "--package", "bellwether"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the binary cannot be built");
    }
    binary
}

fn temporary_folder() -> Arc<TempDir> {
    Arc::new(tempfile::Builder::new().prefix("bellwether-test-").tempdir().expect("a temporary folder"))
}

/// A port that nobody listens on.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let (first, count) = PORTS;
    // Processes that run at the same time begin far from each other.
    let start = std::process::id().wrapping_mul(97);
    let numbers = (0..count).map(|_| start.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % count);
    let mut ports = numbers.filter_map(|number| u16::try_from(first + number).ok());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("there is a free port")
}
