//! `bellwether serve`: starts in order, stops in order.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bellwether_domain::ports::{PageRequest, Queries, Start, UserFilter};
use bellwether_domain::user::{Role, UserStatus};
use bellwether_http::{App, Exposition, ServerHandle};
use bellwether_usecases::Context;
use bellwether_usecases::ends::heed_ends;
use bellwether_usecases::events::exchange_notices;
use bellwether_usecases::jobs::{Handler, Schedule, Schedules};
use bellwether_usecases::live::Live;
use bellwether_usecases::relay::Relay;
use bellwether_usecases::trading::Trading;
use futures_util::future::BoxFuture;
#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, Database, ServeRole, absolute};
use crate::metrics::{Metrics, Watched};
use crate::settings::mask_url;
use crate::wiring::{self, Backend, Shared};
use crate::{cache_follower, event_relay, job_worker, keys, lock, logging, print_line, ticker};

/// So long background work may take to end in any case.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT. A second signal stops at once.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    logging::start(&config)?;
    use_small_pages();
    let mut signals = Signals::new()?;
    let _lock = lock::take(&config)?;
    let master = wiring::master_key(&config)?;
    // Before the database is touched: a server that cannot serve should change nothing.
    let listener = listen(&config)?;
    let address = listener.local_addr()?.to_string();
    let signer = wiring::signer(&config, &master)?;
    let metrics = listen_for_metrics(&config)?;
    let handlers = wiring::handlers(wiring::delivery(&config, &address)?);
    let backend = tokio::select! {
        backend = open(&config) => backend?,
        () = signals.next() => {
            tracing::info!("stopped by a signal before the database was ready; nothing was served");
            return Ok(());
        }
    };
    let mut shared = Shared::open(&config, &backend).await;
    if let Some((_, metrics)) = &metrics {
        shared = shared.metered(metrics.clone());
    }
    let ctx = wiring::context(&config, &backend, &shared, &master, signer.clone())?;

    let (runtime, trading) = (tokio::runtime::Handle::current(), Trading::new(ctx.clone()));
    let mut app = App::new(ctx.clone(), trading, wiring::sealer(&master)?, runtime, config.http.clone());
    if let Some(redis) = shared.redis.clone() {
        app = app.with_redis(redis);
    }
    if let Some((_, metrics)) = &metrics {
        app = app.with_request_meter(metrics.clone());
    }
    let (draining, live) = (app.draining(), app.live());
    let server = bellwether_http::server(app, listener)?;
    let handle = server.handle();
    let mut serving = tokio::spawn(server);
    let patience = config.http.shutdown_timeout;
    let (stop_background, stopped) = watch::channel(false);
    let _watching = tokio::spawn(keys::watch(signer, stopped.clone()));
    let showing =
        metrics.map(|(listener, metrics)| show_metrics(listener, metrics, &ctx, &live, &backend)).transpose()?;
    let background = background(&config, &ctx, handlers, &shared, &stopped);
    welcome(&config, &address, &*ctx.queries).await;

    tokio::select! {
        () = signals.next() => {}
        ended = &mut serving => {
            ended.context("the HTTP server panicked")??;
            bail!("the HTTP server ended by itself");
        }
    }
    tokio::select! {
        () = stop(&draining, || stop_serving(&live, handle.stop(true)), stop_background, background, patience) => {}
        () = signals.next() => {
            tracing::warn!("stopped at once by a second signal; what was in flight is undone or was answered");
            return Ok(());
        }
    }
    if let Some(showing) = showing {
        showing.stop(false).await;
    }
    drop((ctx, backend));
    tracing::info!("stopped");
    Ok(())
}

/// Opens the database and brings its schema up to date. Both may take long, and may be given up at any moment: a
/// database that is not there yet is waited for, so is another process that migrates, and a migration that does not
/// come to its end leaves nothing.
async fn open(config: &Config) -> anyhow::Result<Backend> {
    let backend = Backend::open(config).await?;
    for name in backend.migrate_up().await? {
        tracing::info!(%name, "applied a migration");
    }
    Ok(backend)
}

/// Keeps the kernel from giving memory out in pages of 2 MB. Of a connection that waits, much is buffers of which
/// a few hundred bytes are used, and small pages are given for what is used alone.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "the kernel does not say that it gives out small pages alone");
    }
}

/// A task that ends when it is told to, and what it is called.
type Background = (&'static str, JoinHandle<()>);

/// Starts what goes on in the background in a process of this role.
fn background(
    config: &Config,
    ctx: &Context,
    handlers: Vec<Arc<dyn Handler>>,
    shared: &Shared,
    stopped: &watch::Receiver<bool>,
) -> Vec<Background> {
    let interval = config.tick_interval;
    let mut tasks: Vec<Background> = Vec::new();
    tokio::spawn(heed_ends(Arc::clone(&shared.bus), ctx.session_memory.clone(), ctx.key_memory.clone()));
    if let Some(notices) = wiring::notices(config) {
        tokio::spawn(exchange_notices(ctx.clone(), notices));
        // On SQLite there is one server, and what it commits it ends.
        tasks.push(("cache", tokio::spawn(cache_follower::run(ctx.clone(), stopped.clone()))));
    }
    if config.role != ServeRole::Worker {
        tasks.push(("uses", tokio::spawn(ticker::write_down(ctx.clone(), interval, stopped.clone()))));
    }
    if config.role != ServeRole::Api {
        let schedules = Schedules::new(Schedule::all(config.audit_at));
        let working = job_worker::run(ctx.clone(), handlers, schedules, stopped.clone());
        tasks.push(("jobs", tokio::spawn(working)));
        if let Some(log) = shared.event_log(config) {
            let relay = event_relay::run(ctx.clone(), Relay::new(log), stopped.clone());
            tasks.push(("event log", tokio::spawn(relay)));
        }
        tasks.push(("switches", tokio::spawn(ticker::watch_switches(ctx.clone(), interval, stopped.clone()))));
        tasks.push(("tick", tokio::spawn(ticker::run(ctx.clone(), interval, stopped.clone()))));
    }
    tasks
}

/// How a server stops: it says that it is not ready, takes no new connections and begins no more background
/// work, and finishes what is in flight, both within the configured time.
async fn stop<F: Future<Output = ()>>(
    draining: &AtomicBool,
    stop_serving: impl FnOnce() -> F,
    stop_background: watch::Sender<bool>,
    background: Vec<Background>,
    patience: Duration,
) {
    tracing::info!("stopping: no new connections, what is in flight is finished");
    draining.store(true, Ordering::Relaxed);
    stop_background.send_replace(true);
    let patience = tokio::time::Instant::now() + patience.max(LEAST_PATIENCE);
    stop_serving().await;
    for (task, running) in background {
        let stopping = running.abort_handle();
        if tokio::time::timeout_at(patience, running).await.is_err() {
            stopping.abort();
            tracing::warn!(task, "a background task did not finish in time; it goes on after the next start");
        }
    }
}

/// Live streams never end by themselves; everything else is finished.
async fn stop_serving(live: &Live, stopped: impl Future<Output = ()>) {
    live.stop();
    stopped.await;
}

/// What asks the server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next SIGTERM or SIGINT, one that came meanwhile included.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.listen;
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("{address} is in use by another program; stop it, or choose another address with --listen (port 0 for any free one)")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{address} may not be listened on by this user; choose a port above 1023 with --listen")
        }
        _ => anyhow::Error::new(error).context(format!("listening on {address}; choose another address with --listen")),
    })?;
    listener.set_nonblocking(true)?;
    cut_off_the_stalled(&listener, config.http.stall_timeout);
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening on more than this machine, in plain HTTP: put a proxy that speaks TLS in front");
    }
    if config.has_idle_redis {
        tracing::warn!("redis_url is set, but cache is \"local\": Redis is not used; set cache = \"redis\" to use it");
    }
    Ok(listener)
}

/// Has the kernel end connections whose other side takes nothing for so long: a client that does not read cannot be
/// told anything, and what waits for it would wait for as long as it likes. Accepted connections inherit this.
#[cfg(target_os = "linux")]
fn cut_off_the_stalled(listener: &TcpListener, after: Duration) {
    let milliseconds = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = setsockopt(listener, TcpUserTimeout, &milliseconds) {
        tracing::warn!(%error, "clients that take nothing of what they are sent are not cut off");
    }
}

/// Only Linux can be told so.
#[cfg(not(target_os = "linux"))]
fn cut_off_the_stalled(_: &TcpListener, _: Duration) {}

/// Where metrics are to be shown, and what is to be counted for that.
fn listen_for_metrics(config: &Config) -> anyhow::Result<Option<(TcpListener, Arc<Metrics>)>> {
    let Some(address) = config.metrics_listen else { return Ok(None) };
    let listener = TcpListener::bind(address)
        .with_context(|| format!("listening on {address} for metrics; choose another address by metrics_listen"))?;
    listener.set_nonblocking(true)?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "metrics are shown to whoever can reach this address");
    }
    Ok(Some((listener, Arc::new(Metrics::new()?))))
}

/// Shows metrics until it is stopped.
fn show_metrics(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    ctx: &Context,
    live: &Live,
    backend: &Backend,
) -> anyhow::Result<ServerHandle> {
    let url = format!("http://{}/metrics", listener.local_addr()?);
    let watched = Arc::new(Watched::new(Arc::clone(&metrics), ctx.clone(), live.clone(), backend.clone()));
    let (runtime, keeping_up) = (tokio::runtime::Handle::current(), tokio::spawn(metrics.keep_up()));
    let exposition: Exposition = Arc::new(move || -> BoxFuture<'static, String> {
        let (watched, runtime) = (Arc::clone(&watched), runtime.clone());
        // On the runtime of the stores, as everything that asks them.
        Box::pin(async move { runtime.spawn(async move { watched.render().await }).await.unwrap_or_default() })
    });
    let server = bellwether_http::metrics_server(listener, exposition)?;
    let handle = server.handle();
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "metrics are no longer shown");
        }
        keeping_up.abort();
    });
    tracing::info!(%url, "showing metrics");
    print_line(&format!("\n  Metrics  {url}"));
    Ok(handle)
}

/// Says where everything is, and, while nobody is one, how to become an administrator. On standard
/// output, so that the logs stay one record a line.
async fn welcome(config: &Config, address: &str, queries: &dyn Queries) {
    tracing::info!(url = %format!("http://{address}"), database = %config.database, data_dir = %config.data_dir.display(), "serving");
    print_line(&format!("\n  Bellwether is serving on http://{address}"));
    print_line(&format!("  API      http://{address}/api/v1"));
    print_line(&format!("  Health   http://{address}/health"));
    print_line(&format!("  Database {}", config.database));
    print_line(&format!("  Data     {}", config.data_dir.display()));
    let filter = UserFilter { role: Some(Role::Admin), status: Some(UserStatus::Active), ..UserFilter::default() };
    let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 1 };
    if queries.users(&filter, &page).await.is_ok_and(|admins| admins.items.is_empty()) {
        print_line("\n  Nobody is an administrator yet. To become one, in another terminal:\n");
        print_line(&format!("  {}\n", admin_command(config)));
    }
}

/// A command that works from any folder, and in any shell. It asks for the password.
fn admin_command(config: &Config) -> String {
    let program = std::env::current_exe().map_or_else(|_| "bellwether".to_owned(), |p| quoted(&p.to_string_lossy()));
    let mut target = format!("--data-dir {}", quoted(&absolute(&config.data_dir)));
    if let Some(file) = &config.named_file {
        target.push_str(&format!(" --config {}", quoted(&absolute(file))));
    }
    match &config.database {
        Database::Sqlite(path) if *path == Config::default_database(&config.data_dir) => {}
        Database::Sqlite(path) => {
            target.push_str(&format!(" --database-url {}", quoted(&format!("sqlite://{}", absolute(path)))));
        }
        // The command reads the same file.
        Database::Postgres(_) if config.is_database_of_file => {}
        // A password is not for the screen: whoever set the server up has it.
        Database::Postgres(url) if mask_url(url) != *url => {
            target.push_str(" --database-url \"$BELLWETHER_DATABASE_URL\"");
        }
        Database::Postgres(url) => target.push_str(&format!(" --database-url {}", quoted(url))),
    }
    format!("{program} admin create {target} --email you@example.org --display-name You --password-stdin")
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':'));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::of_flags;

    #[test]
    fn an_address_that_is_taken_is_an_error_that_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = listen(&of_flags(&["--listen", &taken.local_addr().unwrap().to_string()])).unwrap_err().to_string();
        assert!(error.contains("in use") && error.contains("--listen"), "{error}");
    }

    /// Threat 71.
    #[test]
    fn the_way_to_an_administrator_works_from_any_folder_and_shows_no_password() {
        let command = admin_command(&of_flags(&["--data-dir", "some data"]));
        let folder = std::env::current_dir().unwrap().join("some data");
        assert!(command.contains(&format!("--data-dir '{}' --email", folder.display())), "{command}");
        let command = admin_command(&of_flags(&["--database-url", "sqlite://x.db"]));
        assert!(command.contains("sqlite:///") && command.contains("/x.db"), "{command}");
        let command = admin_command(&of_flags(&["--database-url", "postgres://ann:CANARY@db/x"]));
        assert!(command.contains("$BELLWETHER_DATABASE_URL") && !command.contains("CANARY"), "{command}");
    }

    #[test]
    fn the_way_to_an_administrator_goes_by_the_file_that_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let (data, url) = (folder.path().to_str().unwrap(), "database_url = \"postgres://ann:CANARY@db/x\"");
        for name in ["bellwether.toml", "other.toml"] {
            let file = folder.path().join(name);
            std::fs::write(&file, url).unwrap();
            let is_named = name == "other.toml";
            let named: &[&str] = if is_named { &["--config", file.to_str().unwrap()] } else { &[] };
            let command = admin_command(&of_flags(&[&["--data-dir", data], named].concat()));
            assert_eq!(command.contains(&format!(" --config {}", file.display())), is_named, "{command}");
            assert!(!command.contains("--database-url") && !command.contains("CANARY"), "{command}");
        }
    }

    #[test]
    fn words_for_the_shell_stay_one_word() {
        assert_eq!(quoted("/var/lib/x.db"), "/var/lib/x.db");
        assert_eq!(quoted("/a b/$(x)"), "'/a b/$(x)'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
