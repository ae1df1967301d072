//! `bellwether serve`: starts in order, stops in order.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bellwether_domain::ports::{PageRequest, Queries, Start, UserFilter};
use bellwether_domain::user::{Role, UserStatus};
use bellwether_http::App;
use bellwether_usecases::trading::Trading;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, Database};
use crate::settings::mask_url;
use crate::wiring::{self, Backend};
use crate::{logging, ticker};

/// How long the background task may take to finish its tick.
const TICKER_PATIENCE: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT. A second signal stops at once.
pub async fn run(config: Config) -> anyhow::Result<()> {
    logging::start(&config)?;
    let _lock = lock_data_dir(&config)?;
    let master = wiring::master_key(&config)?;
    let backend = Backend::open(&config).await?;
    for name in backend.migrate_up().await? {
        tracing::info!(%name, "applied a migration");
    }
    let ctx = wiring::context(&config, &backend, &master)?;
    let listener = listen(&config)?;
    let address = listener.local_addr()?;

    let (runtime, trading) = (tokio::runtime::Handle::current(), Trading::new(ctx.clone()));
    let app = App::new(ctx.clone(), trading, wiring::sealer(&master)?, runtime, config.http.clone());
    let draining = app.draining();
    let server = bellwether_http::server(app, listener)?;
    let handle = server.handle();
    let mut serving = tokio::spawn(server);
    let (stop, stopped) = watch::channel(false);
    let ticking = tokio::spawn(ticker::run(ctx.clone(), config.tick_interval, stopped));
    welcome(&config, &address.to_string(), &*ctx.queries).await;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut serving => {
            ended.context("the HTTP server panicked")??;
            bail!("the HTTP server ended by itself");
        }
    }
    tracing::info!("stopping: no new connections, what is in flight is finished");
    draining.store(true, Ordering::Relaxed);
    tokio::select! {
        () = handle.stop(true) => {}
        _ = terminate.recv() => handle.stop(false).await,
        _ = interrupt.recv() => handle.stop(false).await,
    }
    stop.send_replace(true);
    if tokio::time::timeout(TICKER_PATIENCE, ticking).await.is_err() {
        tracing::warn!("the background task did not finish its tick in time; it goes on after the next start");
    }
    drop((ctx, backend));
    tracing::info!("stopped");
    Ok(())
}

/// Keeps a second server from working on the same folder. Other commands may.
fn lock_data_dir(config: &Config) -> anyhow::Result<File> {
    wiring::make_private_folder(&config.data_dir)?;
    let path = config.data_dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another server is using {}; stop it, or choose another folder with --data-dir", config.data_dir.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(config.listen)
        .with_context(|| format!("listening on {}; is it taken? choose another with --listen", config.listen))?;
    listener.set_nonblocking(true)?;
    if !config.listen.ip().is_loopback() {
        tracing::warn!(address = %config.listen, "listening on more than this machine, in plain HTTP: put a proxy that speaks TLS in front");
    }
    if config.has_redis {
        tracing::warn!("redis_url is set, but this version does not use Redis: it caches inside the process");
    }
    Ok(listener)
}

/// Says where everything is, and, while nobody is one, how to become an administrator.
async fn welcome(config: &Config, address: &str, queries: &dyn Queries) {
    let data = match &config.database {
        Database::Sqlite(path) => path.display().to_string(),
        Database::Postgres(url) => mask_url(url),
    };
    tracing::info!(url = %format!("http://{address}"), database = %data, data_dir = %config.data_dir.display(), "serving");
    let filter = UserFilter { role: Some(Role::Admin), status: Some(UserStatus::Active) };
    let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 1 };
    let has_admin = queries.users(&filter, &page).await.is_ok_and(|admins| !admins.items.is_empty());
    let lines = [
        format!("\n  Bellwether is serving on http://{address}"),
        format!("  API      http://{address}/api/v1"),
        format!("  Health   http://{address}/health"),
        format!("  Database {data}"),
        format!("  Data     {}", config.data_dir.display()),
    ];
    eprintln!("{}", lines.join("\n"));
    if !has_admin {
        let program = std::env::current_exe().map_or_else(|_| "bellwether".to_owned(), |p| p.display().to_string());
        let mut target = format!("--data-dir {}", config.data_dir.display());
        if let Database::Postgres(url) = &config.database {
            target.push_str(&format!(" --database-url '{}'", mask_url(url)));
        }
        eprintln!("\n  Nobody is an administrator yet. To become one, in another terminal:");
        eprintln!("  read -rs PASSWORD && echo \"$PASSWORD\" | {program} {target} admin create --email you@example.org --display-name You --password-stdin\n");
    }
}
