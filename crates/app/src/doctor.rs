//! `bellwether doctor`: each check passes or fails, and a failure says how to mend it.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bellwether_domain::ports::{Clock, PasswordHasher};
use bellwether_security::{BcryptHasher, MasterKey, SystemClock};
use jiff::Timestamp;

use crate::config::Config;
use crate::print_line;
use crate::wiring::{self, Backend};

/// A sign-in that takes longer than this keeps people waiting.
const SLOW_HASH: Duration = Duration::from_secs(1);

/// What a check found: a remark, or what is wrong and how to mend it.
type Finding = Result<String, String>;

/// Runs every check. Exit code 1 when one fails.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
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
    report("secret", secret(config));
    report("address", address(config));
    report("passwords", passwords(config).await);
    match Backend::open(config).await {
        Ok(backend) => {
            report("database", database(&backend).await);
            report("migrations", migrations(&backend).await);
        }
        Err(error) => report("database", Err(format!("{error:#}"))),
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
    wiring::make_private_folder(&config.data_dir).map_err(|e| format!("{e:#}"))?;
    let mode = std::fs::metadata(&config.data_dir).map_err(|e| format!("{path}: {e}"))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("others can enter it; fix: chmod 700 {path}"));
    }
    let probe = config.data_dir.join(".doctor");
    std::fs::write(&probe, b"probe")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|e| format!("it cannot be written to ({e}); fix: chown -R \"$USER\" {path}"))?;
    Ok(format!("{path} is private and can be written to"))
}

fn secret(config: &Config) -> Finding {
    if let Some(secret) = &config.secret_key {
        return MasterKey::from_secret(&secret.0).map(|_| "configured, and strong".to_owned()).map_err(|e| e.to_string());
    }
    let path = config.key_file();
    if !path.exists() {
        return Ok(format!("{} will be made at the first start", path.display()));
    }
    MasterKey::check(&path).map(|()| format!("{} is private", path.display())).map_err(|e| e.to_string())
}

fn address(config: &Config) -> Finding {
    match TcpListener::bind(config.listen) {
        Ok(_) => Ok(format!("{} is free", config.listen)),
        Err(error) => Err(format!("{} cannot be listened on ({error}); if no server of yours is running there, choose another with --listen", config.listen)),
    }
}

async fn passwords(config: &Config) -> Finding {
    let hasher = BcryptHasher::new(config.password_cost, 1).map_err(|e| e.to_string())?;
    let start = Instant::now();
    hasher.hash("a pass phrase of the doctor").await.map_err(|e| e.to_string())?;
    let (took, cost) = (start.elapsed(), config.password_cost);
    if took > SLOW_HASH {
        return Err(format!("cost {cost} takes {} ms a sign-in on this machine; set password_cost lower", took.as_millis()));
    }
    Ok(format!("cost {cost} takes {} ms a sign-in on this machine", took.as_millis()))
}

async fn database(backend: &Backend) -> Finding {
    let start = Instant::now();
    backend.queries().ping().await.map_err(|e| format!("{e}: {:?}", std::error::Error::source(&e).map(ToString::to_string)))?;
    Ok(format!("answers in {} ms, and writes durably", start.elapsed().as_millis()))
}

async fn migrations(backend: &Backend) -> Finding {
    let status = backend.migration_status().await.map_err(|e| format!("{e:#}"))?;
    let pending = status.iter().filter(|(_, is_applied)| !is_applied).count();
    if pending > 0 {
        return Err(format!("{pending} of {} are pending; fix: bellwether migrate up (serve does it too)", status.len()));
    }
    Ok(format!("all {} are applied", status.len()))
}
