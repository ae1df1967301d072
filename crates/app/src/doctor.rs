//! `bellwether doctor`: each check passes or fails, and a failure says how to mend it.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bellwether_domain::ports::{Auxiliary as _, Clock, PasswordHasher};
use bellwether_notify::SmtpMailer;
use bellwether_redis::{RedisLink, RedisOptions};
use bellwether_security::{BcryptHasher, KeyFile, MasterKey, SystemClock};
use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use crate::config::{Config, Database};
use crate::settings::{Settings, Source, mask_url};
use crate::wiring::Backend;
use crate::{lock, print_line};

/// A sign-in that takes longer than this keeps people waiting.
const SLOW_HASH: Duration = Duration::from_secs(1);
/// The highest cost that is tried out; what a higher one takes follows from it.
const MOST_MEASURED_COST: u32 = 14;
/// With less room than this the store will soon refuse to write.
const LITTLE_ROOM_MIB: u64 = 512;
/// Files that are open beside the connections: the database, logs, threads.
const OTHER_FILES: u64 = 64;

/// How long Redis may take to be connected to.
const REDIS_PATIENCE: Duration = Duration::from_secs(3);

/// How long a server that listens already may take to answer.
const SERVER_PATIENCE: Duration = Duration::from_secs(3);

/// What a check found: a remark, or what is wrong and how to mend it.
type Finding = Result<String, String>;

/// Runs every check. Exit code 1 when one fails.
pub(crate) async fn run(config: &Config, settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut failed = 0;
    let mut report = |name: &str, finding: Finding| match finding {
        Ok(remark) => print_line(&format!("pass  {name}: {remark}")),
        Err(fix) => {
            failed += 1;
            print_line(&format!("FAIL  {name}: {fix}"));
        }
    };
    report("clock", clock());
    report("data folder", data_folder(config));
    report("disk", disk(config));
    report("secret", secret(config, settings));
    report("signing keys", signing_keys(config));
    report("address", address(config).await);
    report("open files", open_files(config));
    report("passwords", passwords(config).await);
    report("mail", mail(config).await);
    if let Some(options) = &config.redis {
        report("redis", redis(options).await);
    }
    match &config.database {
        Database::Sqlite(path) if !path.exists() => {
            report("database", Ok(format!("{} will be made at the first start", path.display())));
        }
        _ => match Backend::open_existing(config).await {
            Ok(backend) => {
                report("database", database(config, &backend).await);
                report("migrations", migrations(&backend).await);
            }
            Err(error) => report("database", Err(format!("{error:#}; {}", database_fix(config)))),
        },
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn clock() -> Finding {
    let now = SystemClock.now();
    // Nobody runs this before it was written.
    let written = Timestamp::from_second(1_780_000_000).map_err(|e| e.to_string())?;
    if now < written {
        return Err(format!("the clock says {now}; set it, for instance with: timedatectl set-ntp true"));
    }
    Ok(now.to_string())
}

fn data_folder(config: &Config) -> Finding {
    let path = config.data_dir.display();
    let metadata = match std::fs::metadata(&config.data_dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(format!("{path} will be made at the first start"));
        }
        Err(error) => return Err(format!("{path}: {error}; fix: choose another with --data-dir")),
    };
    if !metadata.is_dir() {
        return Err(format!("{path} is not a folder; fix: choose another with --data-dir"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!("others can enter it; fix: chmod 700 {path}"));
    }
    let probe = config.data_dir.join(".doctor");
    std::fs::write(&probe, b"probe")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|e| format!("it cannot be written to ({e}); fix: chown -R \"$USER\" {path}"))?;
    Ok(format!("{path} is private and can be written to"))
}

/// Where the data is, or will be: of PostgreSQL's disk nothing can be said from here.
fn disk(config: &Config) -> Finding {
    let wanted = match &config.database {
        Database::Sqlite(path) => path,
        Database::Postgres(_) => &config.data_dir,
    };
    let absolute = std::path::absolute(wanted).map_err(|e| e.to_string())?;
    let place = absolute.ancestors().find(|p| p.is_dir()).unwrap_or(std::path::Path::new("/"));
    let stat = statvfs(place).map_err(|e| format!("{}: {e}", place.display()))?;
    let free_mib = stat.blocks_available().saturating_mul(stat.fragment_size()) >> 20;
    if free_mib < LITTLE_ROOM_MIB {
        return Err(format!(
            "{free_mib} MiB are free at {}, less than {LITTLE_ROOM_MIB}; fix: make room there, or choose another --data-dir",
            place.display()
        ));
    }
    Ok(format!("{free_mib} MiB are free at {}", place.display()))
}

fn secret(config: &Config, settings: &Settings) -> Finding {
    if let Some(secret) = &config.secret_key {
        MasterKey::from_secret(&secret.0).map_err(|e| e.to_string())?;
        let source = settings.source("secret_key");
        if let Source::File(path) = &source {
            let mode = std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?.permissions().mode();
            if mode & 0o077 != 0 {
                let path = path.display();
                return Err(format!("{path} holds it and can be read by others; fix: chmod 600 {path}"));
            }
        }
        return Ok(format!("configured ({source}), and strong"));
    }
    let path = config.key_file();
    if !path.exists() {
        return Ok(format!("{} will be made at the first start", path.display()));
    }
    MasterKey::check(&path).map(|()| format!("{} is private", path.display())).map_err(|e| e.to_string())
}

fn signing_keys(config: &Config) -> Finding {
    let path = config.signing_key_file();
    if !path.exists() {
        return Ok(format!("{} will be made at the first start", path.display()));
    }
    KeyFile::at(path.clone()).load().map(|_| format!("{} is private", path.display())).map_err(|e| e.to_string())
}

async fn address(config: &Config) -> Finding {
    let listen = config.listen;
    let Err(error) = TcpListener::bind(listen) else { return Ok(format!("{listen} is free")) };
    if lock::is_taken(config) {
        return Ok(format!("{listen}: a server is at work on this data"));
    }
    // Nobody locks a PostgreSQL, so whoever listens is asked.
    let may_be_ours = error.kind() == std::io::ErrorKind::AddrInUse && matches!(config.database, Database::Postgres(_));
    if may_be_ours && is_bellwether(listen).await {
        return Ok(format!("{listen}: a Bellwether server is at work there"));
    }
    Err(format!(
        "{listen} cannot be listened on ({error}); fix: stop what is using it, or choose another with --listen"
    ))
}

/// Whether what listens there answers as a Bellwether server does.
async fn is_bellwether(address: SocketAddr) -> bool {
    let client = reqwest::Client::builder().timeout(SERVER_PATIENCE).no_proxy().build();
    let Ok(client) = client else { return false };
    let Ok(answer) = client.get(format!("http://{address}/livez")).send().await else { return false };
    answer.status().is_success() && answer.text().await.is_ok_and(|said| said.contains("\"status\":\"ok\""))
}

fn open_files(config: &Config) -> Finding {
    let (limit, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| e.to_string())?;
    let workers =
        config.http.workers.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let connections = config.http.max_connections.saturating_mul(workers).saturating_add(config.database_connections);
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    if limit < OTHER_FILES.saturating_mul(4) {
        return Err(format!("at most {limit} files can be open; fix: ulimit -n {}", wanted.min(hard)));
    }
    if limit < wanted {
        return Ok(format!(
            "{limit}, which bounds the connections before max_connections does (that would take {wanted})"
        ));
    }
    Ok(format!("{limit}, enough for every connection that is allowed"))
}

async fn passwords(config: &Config) -> Finding {
    let cost = config.password_cost;
    let measured = cost.min(MOST_MEASURED_COST);
    let hasher = BcryptHasher::new(measured, 1).map_err(|e| e.to_string())?;
    let start = Instant::now();
    hasher.hash("a pass phrase of the doctor").await.map_err(|e| e.to_string())?;
    let told = hash_times(cost, start.elapsed() * (1_u32 << (cost - measured)));
    told.map_err(|told| format!("{told}; fix: set password_cost lower"))
}

/// What a hash of that cost takes, and would take at the next lower and the next higher one: each
/// step doubles the work. An error where that keeps people waiting.
fn hash_times(cost: u32, took: Duration) -> Finding {
    let ms = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1000.0);
    let told = format!(
        "cost {cost} takes {} a sign-in on this machine; {} would take {}, {} would take {}",
        ms(took),
        cost.saturating_sub(1),
        ms(took / 2),
        cost.saturating_add(1),
        ms(took * 2)
    );
    if took > SLOW_HASH { Err(told) } else { Ok(told) }
}

async fn mail(config: &Config) -> Finding {
    let Some(url) = &config.mail.smtp_url else {
        return Ok(format!("mails are written to {}; set mailer to smtp to send them", config.mail_folder().display()));
    };
    let server = mask_url(&url.0);
    let mailer = SmtpMailer::new(&url.0, &config.mail.from, config.mail.timeout).map_err(|e| e.to_string())?;
    match mailer.reach().await {
        Ok(()) => Ok(format!("{server} answers")),
        Err(error) => {
            Err(format!("{server}: {:#}; fix: see that it runs and that smtp_url is right", anyhow::Error::new(error)))
        }
    }
}

async fn redis(options: &RedisOptions) -> Finding {
    let link = RedisLink::open(options.clone());
    let start = Instant::now();
    if link.wait_until_connected(REDIS_PATIENCE).await && link.is_up().await {
        return Ok(format!("it answers, {} ms after the first word", start.elapsed().as_millis()));
    }
    Err("it does not answer, and is done without until it does; fix: see that it runs, and that redis_url has the right host, port and password".to_owned())
}

/// Both stores refuse to open, and to answer this, where what they acknowledge would not be durable.
async fn database(config: &Config, backend: &Backend) -> Finding {
    let start = Instant::now();
    backend.queries().ping().await.map_err(|e| format!("{:#}; {}", anyhow::Error::new(e), database_fix(config)))?;
    Ok(format!("{} answers in {} ms, and writes durably", config.database, start.elapsed().as_millis()))
}

fn database_fix(config: &Config) -> String {
    match &config.database {
        Database::Sqlite(path) => {
            format!("fix: see that {} is a database of Bellwether and yours to write", path.display())
        }
        Database::Postgres(_) => {
            "fix: see that the server runs, that database_url is right, and that synchronous_commit is on".to_owned()
        }
    }
}

async fn migrations(backend: &Backend) -> Finding {
    let status = backend.migration_status().await.map_err(|e| format!("{e:#}"))?;
    let pending = backend.pending_migrations().await.map_err(|e| format!("{e:#}"))?;
    if pending > 0 {
        return Err(format!(
            "{pending} of {} are pending; fix: bellwether migrate up (serve does it too)",
            status.len()
        ));
    }
    Ok(format!("all {} are applied", status.len()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::config::of_flags;

    #[tokio::test]
    async fn an_address_beside_postgresql_may_be_in_use_by_a_server_and_by_nothing_else() {
        for (status, is_ours) in [("200 OK", true), ("404 Not Found", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let listen = listener.local_addr().unwrap().to_string();
            let answering = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 1024];
                let length = stream.read(&mut asked).unwrap();
                assert!(asked[..length].starts_with(b"GET /livez "));
                let body = "{\"data\":{\"status\":\"ok\"}}";
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}", body.len());
                stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
            });
            let found = address(&of_flags(&["--database-url", "postgres://db/x", "--listen", &listen])).await;
            assert_eq!(found.is_ok(), is_ours, "{found:?}");
            answering.join().unwrap();
        }
    }

    #[test]
    fn the_cost_of_a_hash_is_told_with_its_neighbours() {
        let told = hash_times(12, Duration::from_micros(250_500)).unwrap();
        let wanted = "cost 12 takes 250.5 ms a sign-in on this machine; 11 would take 125.2 ms, 13 would take 501.0 ms";
        assert_eq!(told, wanted);
        assert!(hash_times(16, Duration::from_secs(4)).unwrap_err().starts_with("cost 16 takes 4000.0 ms"));
    }
}
