//! Settings as texts, and where each comes from: defaults < file < environment < flags.
//!
//! One table says which there are. What is not in it is an error that names the key and its place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use crate::cli::Cli;

/// A setting that there is.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key in the file; in the environment `BELLWETHER_` and the key in capitals.
    pub(crate) key: &'static str,
    /// Its default; empty for none.
    pub(crate) default: &'static str,
    /// What it means, and what is allowed.
    pub(crate) meaning: &'static str,
}

const fn setting(key: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { key, default, meaning }
}

/// All settings.
pub(crate) const SETTINGS: &[Setting] = &[
    setting("listen", "127.0.0.1:8080", "the address and port to listen on; port 0 for any free one"),
    setting(
        "metrics_listen",
        "",
        "the address and port at which `GET /metrics` shows how the server does to whoever can reach it, such as `127.0.0.1:9464`; by default nowhere; see [metrics](metrics.md)",
    ),
    setting(
        "role",
        "both",
        "what `serve` does: `api` answers requests, `worker` does what time has made due, sends mails and answers probes alone, `both` does all of it; on SQLite, which has one server, `both` alone",
    ),
    setting("data_dir", "./bellwether-data", "the folder for the SQLite database and the key file"),
    setting(
        "database_url",
        "",
        "`sqlite://PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`; by default SQLite in the data folder",
    ),
    setting(
        "read_urls",
        "",
        "replicas of the PostgreSQL that lists are read from, as `postgres://USER:PASSWORD@HOST/DATABASE`, separated by commas; see [replicas](replicas.md)",
    ),
    setting("read_max_lag", "2s", "how far a replica may lag behind and still be read from, `100ms` to `1h`"),
    setting(
        "cache",
        "local",
        "where answers are remembered and requests counted: `local` in the process, or `redis` for all servers that share a database; see [the cache](cache.md)",
    ),
    setting(
        "redis_url",
        "",
        "where Redis is, for the cache `redis`: `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or that of a cluster",
    ),
    setting(
        "redis_prefix",
        "bellwether",
        "what all keys and channels in Redis begin with: 1 to 40 letters, digits and dashes, the same for servers that share a database and another one for others",
    ),
    setting("redis_connections", "4", "how many connections to Redis carry commands, 1 to 64"),
    setting(
        "redis_timeout",
        "50ms",
        "how long anything waits for Redis at most, `1ms` to `1s`; then it goes on without",
    ),
    setting(
        "redis_events",
        "0",
        "about how many of the newest events a Redis stream keeps for programs beside the server, up to 100000000, for the cache `redis`; 0 for no stream; see [events](events.md)",
    ),
    setting(
        "secret_key",
        "",
        "the secret that every key is derived from, at least 32 characters; by default the file `secret.key` in the data folder, made at the first start",
    ),
    setting(
        "signing_keys",
        "",
        "the file of the keys that sign access tokens; by default `signing-keys.json` in the data folder, made at the first start. Servers that share a database share this file too",
    ),
    setting("log_format", "auto", "`json`, `pretty`, or `auto`: pretty on a terminal"),
    setting(
        "log_level",
        "info",
        "`error`, `warn`, `info`, `debug`, `trace`, or filters such as `info,bellwether_http=debug`",
    ),
    setting("currency", "credit", "what the credit is called, 1 to 20 characters"),
    setting(
        "signup_grant",
        "1000",
        "what a new user gets from the treasury, in credits with at most 3 decimals; 0 for nothing",
    ),
    setting(
        "challenge_window",
        "0s",
        "how long a proposed outcome can be challenged, such as `24h`; `0s` decides at once",
    ),
    setting(
        "resolver_may_hold",
        "true",
        "`false` keeps whoever holds shares in a market, in person, by a bot or by the market maker that it endowed, from naming or deciding its outcome",
    ),
    setting(
        "resolve_alone_up_to",
        "",
        "up to which volume who opened a market, or named its outcome, in person or by a bot, may decide it alone, in credits; by default any",
    ),
    setting("max_open_orders", "200", "the most open orders of a user in one market, 1 to 100000"),
    setting("max_fills", "5000", "the most fills of one order, 1 to 100000"),
    setting("group_limit", "64", "the most orders or payments that share one commit, 1 to 1024"),
    setting("access_token_ttl", "15m", "how long an access token is valid, `1s` to `24h`"),
    setting(
        "refresh_token_ttl",
        "168h",
        "how long a refresh token is good, and a session that is not refreshed with it, `1m` to `8760h`",
    ),
    setting(
        "max_sessions",
        "50",
        "the most sessions of a user, 1 to 100; the one not seen for longest ends when there is one more",
    ),
    setting("password_cost", "12", "the cost of bcrypt, 4 to 31; each step doubles the time of a sign-in"),
    setting(
        "conceal_existing_accounts",
        "false",
        "`true` answers a sign-up with an address that has an account like any other, and lets nobody sign in before the address was verified",
    ),
    setting(
        "mailer",
        "file",
        "how mails are sent: `smtp`, or `file` to write them into the folder `mail` of the data folder",
    ),
    setting(
        "smtp_url",
        "",
        "the mail server: `smtp://HOST:PORT`, `smtp://USER:PASSWORD@HOST:587?tls=required` or `smtps://USER:PASSWORD@HOST`",
    ),
    setting(
        "smtp_timeout",
        "30s",
        "how long the mail server may take for a mail, `1s` to `5m`; it is tried again later",
    ),
    setting(
        "mail_from",
        "Bellwether <bellwether@localhost>",
        "whom mails are from: an address, with a name before it or without",
    ),
    setting(
        "public_url",
        "",
        "what links in mails begin with, such as `https://markets.example.org`; by default where the server listens",
    ),
    setting(
        "trusted_proxies",
        "",
        "networks of the proxies that are believed for whom they ask, such as `10.0.0.0/8, 2001:db8::1`, separated by commas; see [rate limits](rate-limits.md)",
    ),
    setting(
        "forwarded_header",
        "x-forwarded-for",
        "the header in which those proxies say for whom they ask: `x-forwarded-for` or `forwarded`; the other one is never read",
    ),
    setting(
        "limit_public",
        "1200/1m",
        "requests of one address without a good access token: how many within how long, 1 to 1000000000 within `1s` to `24h`",
    ),
    setting("limit_user", "6000/1m", "requests of one user"),
    setting(
        "limit_login",
        "5/15m",
        "failed sign-ins to one account from one address; also wrong passwords of one user who changes its own",
    ),
    setting("limit_login_address", "5/15m", "failed sign-ins from one address, whatever the accounts"),
    setting(
        "limit_login_account",
        "100/15m",
        "failed sign-ins to one account, whatever the addresses; does not hold where its owner is signed in",
    ),
    setting(
        "limit_password",
        "30/1m",
        "right passwords of one account, and passwords of one user who changes its own; each costs a hash",
    ),
    setting("limit_password_address", "120/1m", "sign-ins from one address, whether they succeed or not"),
    setting("limit_signup", "5/15m", "sign-ups from one address that meet an e-mail address which is taken"),
    setting("limit_new_users", "30/1h", "users who sign up from one address"),
    setting(
        "limit_reset",
        "5/15m",
        "mails to set a password or verify an address, for one account and from one address; also tokens from mails that are not good",
    ),
    setting("limit_refresh", "60/1m", "refreshes from one address"),
    setting(
        "limit_made",
        "500/24h",
        "API keys, bots, markets and webhooks that one person makes, with its bots and all together; none of an administrator's",
    ),
    setting(
        "limit_ipv6_prefix",
        "56",
        "how many leading bits of an IPv6 address are counted as one address, 32 to 128",
    ),
    setting(
        "limit_keys",
        "100000",
        "how many users, accounts and addresses are counted at a time, 1000 to 100000000; about 250 bytes each, 2 KiB at the most",
    ),
    setting("workers", "0", "threads that speak HTTP, 0 to 256; 0 for one a core"),
    setting("max_connections", "10000", "the most connections of one worker, 1 to 1000000"),
    setting(
        "max_in_flight",
        "1024",
        "the most requests that are worked on at once, 1 to 1000000; more are answered 503",
    ),
    setting(
        "cache_bytes",
        "67108864",
        "about how much memory answers may take that are remembered, 0 to 68719476736 bytes; 0 remembers none",
    ),
    setting(
        "max_body_bytes",
        "262144",
        "the longest body of a request, 1024 to 16777216 bytes; longer ones are answered 413",
    ),
    setting(
        "stall_timeout",
        "30s",
        "how long a client may take nothing of what it is sent before it is cut off, `1s` to `1h`; on Linux",
    ),
    setting("head_timeout", "5s", "how long the head of a request may take to arrive, `100ms` to `10m`"),
    setting("body_timeout", "10s", "how long the body of a request may take to arrive, `100ms` to `10m`"),
    setting("keep_alive", "60s", "how long an idle connection is kept, `1s` to `1h`"),
    setting("allowed_origins", "", "origins whose pages may call the API, separated by commas"),
    setting(
        "database_connections",
        "16",
        "the most connections to PostgreSQL, beside one that listens, or readers of SQLite, of which there are 8 at most; 1 to 1000",
    ),
    setting(
        "database_timeout",
        "5s",
        "how long PostgreSQL may take to accept a connection or to answer a statement, `1s` to `30s`; then the request is answered 503",
    ),
    setting("shutdown_timeout", "30s", "how long requests may take to end when the server stops, `0s` to `10m`"),
    setting(
        "audit_at",
        "03:00",
        "when the nightly audit begins, in hours and minutes UTC; empty for no audit. Servers that share a database do it once",
    ),
    setting(
        "webhooks_allow",
        "",
        "networks besides the internet where webhooks may be, such as `10.1.0.0/16, fd00::/8`, separated by commas; there `http` will do",
    ),
    setting("events_kept", "168h", "how long [events](events.md) are kept, `1m` to `8760h`"),
    setting("streams_per_user", "20", "the most [live streams](live.md) of one user at a time, 1 to 1000000"),
    setting(
        "streams_per_address",
        "50",
        "the most live streams from one address at a time, of those who are not signed in",
    ),
    setting("tick_interval", "1s", "how often it is looked for what time has made due, `10ms` to `1h`"),
];

/// What the names of all variables that are settings begin with.
const PREFIX: &str = "BELLWETHER_";

/// Variables that begin like settings and are none.
const NOT_SETTINGS: [&str; 4] =
    ["BELLWETHER_CONFIG", "BELLWETHER_ADMIN_TOKEN", "BELLWETHER_BIN", "BELLWETHER_TEST_DATA"];

/// Whether Kubernetes sets such a variable, in every container beside it, for a service that is called `bellwether`, or
/// `bellwether-` and something: where the service is, and the same in the form of Docker's links.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let protocols = ["TCP", "UDP", "SCTP"];
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    if name.ends_with("_PORT") && protocols.iter().any(|p| value.starts_with(&format!("{}://", p.to_lowercase()))) {
        return true;
    }
    // BELLWETHER_PORT_8080_TCP, and behind that nothing or a part of it.
    let Some((_, link)) = name.split_once("_PORT_") else { return false };
    let mut words = link.split('_');
    let is_port = words.next().is_some_and(|port| port.parse::<u16>().is_ok());
    let is_protocol = words.next().is_some_and(|protocol| protocols.contains(&protocol));
    let is_part = matches!(words.next(), None | Some("PROTO" | "PORT" | "ADDR"));
    is_port && is_protocol && is_part && words.next().is_none()
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody said anything.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// Every setting's text and source, and what was given that is no setting.
#[derive(Clone)]
pub(crate) struct Settings {
    texts: BTreeMap<&'static str, (String, Source)>,
    named_file: Option<PathBuf>,
    faults: Vec<String>,
}

impl Settings {
    /// Gathers the settings from all four places. An error only where the file cannot be read;
    /// all else that is wrong is among the [`faults`](Self::faults).
    pub(crate) fn load(cli: &Cli) -> anyhow::Result<Self> {
        Self::gather(cli, std::env::vars_os())
    }

    fn gather(cli: &Cli, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<Self> {
        let flags = cli.flags();
        let texts = SETTINGS.iter().map(|s| (s.key, (s.default.to_owned(), Source::Default))).collect();
        let mut settings = Self { texts, named_file: cli.config.clone(), faults: Vec::new() };
        let environment = settings.read_environment(environment);
        // The data folder decides where the file is, so the other two are asked for it first.
        settings.take_environment(&environment);
        settings.take_flags(&flags);
        let (path, must_exist) = match &cli.config {
            Some(path) => (path.clone(), true),
            None => (Path::new(settings.get("data_dir")).join("bellwether.toml"), false),
        };
        if must_exist || path.exists() {
            settings.take_file(&path)?;
            settings.take_environment(&environment);
            settings.take_flags(&flags);
        }
        Ok(settings)
    }

    /// Everything that was given and is no setting, or not of its kind; one line each.
    #[must_use]
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The configuration file, where it was named rather than found in the data folder.
    #[must_use]
    pub(crate) fn named_file(&self) -> Option<&Path> {
        self.named_file.as_deref()
    }

    /// A setting's text.
    #[must_use]
    pub(crate) fn get(&self, key: &str) -> &str {
        self.texts.get(key).map_or("", |(text, _)| text)
    }

    /// Where a setting comes from.
    #[must_use]
    pub(crate) fn source(&self, key: &str) -> Source {
        self.texts.get(key).map_or(Source::Default, |(_, source)| source.clone())
    }

    /// The settings as a TOML file, each with its source. Secrets are masked.
    #[must_use]
    pub(crate) fn to_toml(&self) -> String {
        let lines = SETTINGS.iter().map(|setting| {
            let text = masked(setting.key, self.get(setting.key));
            let value = toml::Value::String(text);
            format!("# {}\n{} = {value} # {}", setting.meaning, setting.key, self.source(setting.key))
        });
        lines.collect::<Vec<_>>().join("\n\n")
    }

    /// The variables that mean settings, by key.
    fn read_environment(
        &mut self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Vec<(&'static str, String, String)> {
        let mut read = Vec::new();
        for (name, value) in environment {
            let name = name.to_string_lossy().into_owned();
            let Some(key) = name.strip_prefix(PREFIX).filter(|_| !NOT_SETTINGS.contains(&name.as_str())) else {
                continue;
            };
            let key = key.to_lowercase();
            match (SETTINGS.iter().find(|s| s.key == key), value.into_string()) {
                (Some(setting), Ok(value)) => read.push((setting.key, name, value)),
                (Some(_), Err(_)) => self.faults.push(format!("{name} (environment): must be Unicode text")),
                (None, Ok(value)) if is_of_kubernetes(&name, &value) => {}
                (None, _) => {
                    self.faults.push(format!("{name} (environment): there is no setting {key:?}{}", suggestion(&key)));
                }
            }
        }
        read
    }

    fn take_environment(&mut self, environment: &[(&'static str, String, String)]) {
        for (key, name, value) in environment {
            self.texts.insert(key, (value.clone(), Source::Environment(name.clone())));
        }
    }

    fn take_flags(&mut self, flags: &[(&'static str, &str)]) {
        for (key, value) in flags {
            self.texts.insert(key, ((*value).to_owned(), Source::Flag(key.replace('_', "-"))));
        }
    }

    fn take_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the configuration file {}", path.display()))?;
        let table = table_of(&text).with_context(|| format!("the configuration file {}", path.display()))?;
        for (key, value) in table {
            let Some(setting) = SETTINGS.iter().find(|s| s.key == key) else {
                self.faults.push(format!("{key} ({}): there is no such setting{}", path.display(), suggestion(&key)));
                continue;
            };
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                toml::Value::Float(_) => {
                    self.faults.push(format!("{key} ({}): write numbers with a fraction in quotes", path.display()));
                    continue;
                }
                _ => {
                    self.faults
                        .push(format!("{key} ({}): must be a text, a whole number, true or false", path.display()));
                    continue;
                }
            };
            self.texts.insert(setting.key, (text, Source::File(path.to_owned())));
        }
        Ok(())
    }
}

/// What a file says. An error tells what is wrong and where, and nothing of what stands there, which may be a secret.
fn table_of(text: &str) -> anyhow::Result<toml::Table> {
    if let Err(error) = toml::de::DeTable::parse(text) {
        bail!("it is not TOML at {}: {}", place_of(&error, text), error.message());
    }
    // What is TOML fails for a number that is too large, and the library's message tells the number.
    text.parse::<toml::Table>().map_err(|error| {
        anyhow!("the number at {} is too large; texts have to stand in quotes", place_of(&error, text))
    })
}

/// Where a file is wrong, counted as editors do.
fn place_of(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

/// The setting whose name is most like `key`.
fn suggestion(key: &str) -> String {
    let shares = |other: &str| other.split('_').filter(|word| key.contains(word)).count();
    let nearest = SETTINGS.iter().rev().max_by_key(|s| shares(s.key)).filter(|s| shares(s.key) > 0);
    nearest.map_or_else(String::new, |s| format!("; did you mean {:?}?", s.key))
}

/// What is shown in place of a secret.
const HIDDEN: &str = "********";

/// A value as it may be shown: neither the secret key nor a password in a URL.
#[must_use]
pub(crate) fn masked(key: &str, text: &str) -> String {
    match key {
        "secret_key" if !text.is_empty() => HIDDEN.to_owned(),
        "read_urls" => mask_urls(text),
        _ if key.ends_with("_url") || text.contains("://") => mask_url(text),
        _ => text.to_owned(),
    }
}

/// Several URLs, each without its password. A comma is between two of them only where another begins: else it may be a
/// password's.
fn mask_urls(text: &str) -> String {
    let begins = |part: &str| ["postgres://", "postgresql://"].iter().any(|s| part.trim_start().starts_with(s));
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',') {
        match urls.last_mut() {
            Some(url) if !begins(part) => {
                url.push(',');
                url.push_str(part);
            }
            _ => urls.push(part.to_owned()),
        }
    }
    urls.iter().map(|url| mask_url(url)).collect::<Vec<_>>().join(",")
}

/// A URL without its password, wherever it stands: before the host or among the parameters. Where
/// it is unclear what belongs to a password, too much is hidden rather than too little.
#[must_use]
pub(crate) fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return mask_without_scheme(url) };
    // A password may hold a slash, a question mark or an at sign, though it ought to be encoded.
    let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(before, after)| (Some(before), after));
    let credentials = credentials.map_or_else(String::new, |given| match given.split_once(':') {
        Some((user, _)) => format!("{user}:{HIDDEN}@"),
        None => format!("{given}@"),
    });
    let (place, parameters) = rest.split_once('?').map_or((rest, None), |(place, rest)| (place, Some(rest)));
    let parameters = parameters.map_or_else(String::new, |given| {
        let shown = given.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if name.to_lowercase().contains("pass") => format!("{name}={HIDDEN}"),
            Some(_) => pair.to_owned(),
            // No parameter: it may be what comes after a question mark in a password.
            None => HIDDEN.to_owned(),
        });
        format!("?{}", shown.collect::<Vec<_>>().join("&"))
    });
    let place = if credentials.is_empty() { mask_place(place) } else { place.to_owned() };
    format!("{scheme}://{credentials}{place}{parameters}")
}

/// What stands behind a scheme and has no at sign: a host, and perhaps a port and a path. Where what should be a port is
/// none, it may be a password whose host was forgotten.
fn mask_place(place: &str) -> String {
    let is_port =
        |behind: &str| behind.split(['/', ',']).next().is_some_and(|p| p.trim().bytes().all(|b| b.is_ascii_digit()));
    match place.split_once(':') {
        Some((host, behind)) if !host.contains(['/', '[']) && !is_port(behind) => format!("{host}:{HIDDEN}"),
        _ => place.to_owned(),
    }
}

/// What should be a URL and has no scheme. It may be a URL all the same, or words such as `host=db password=…`.
fn mask_without_scheme(text: &str) -> String {
    if text.to_lowercase().contains("pass") {
        return HIDDEN.to_owned();
    }
    match text.rsplit_once('@') {
        Some((_, place)) => format!("{HIDDEN}@{place}"),
        None if text.starts_with("sqlite:") => text.to_owned(),
        None => mask_place(text),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn settings_of(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bellwether.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let args = ["bellwether", "--config", path].into_iter().chain(flags.iter().copied());
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Settings::gather(&Cli::parse_from(args), environment).unwrap()
    }

    fn settings(file: &str, flags: &[&str]) -> Settings {
        settings_of(file, &[], flags)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let settings = settings("listen = \"127.0.0.1:1\"\nmax_fills = 7", &["--listen", "127.0.0.1:2"]);
        assert_eq!(
            (settings.get("listen"), settings.source("listen")),
            ("127.0.0.1:2", Source::Flag("listen".to_owned()))
        );
        assert_eq!(settings.get("max_fills"), "7");
        assert_eq!((settings.get("currency"), settings.source("currency")), ("credit", Source::Default));
    }

    #[test]
    fn the_environment_wins_over_the_file_and_flags_win_over_both() {
        let environment = [("BELLWETHER_LISTEN", "127.0.0.1:3"), ("BELLWETHER_MAX_FILLS", "8"), ("PATH", "/bin")];
        let file = "listen = \"127.0.0.1:1\"\nmax_fills = 7";
        let settings = settings_of(file, &environment, &["--listen", "127.0.0.1:2"]);
        assert!(settings.faults().is_empty());
        assert_eq!(settings.get("listen"), "127.0.0.1:2");
        assert_eq!(settings.get("max_fills"), "8");
        assert_eq!(settings.source("max_fills").to_string(), "environment variable BELLWETHER_MAX_FILLS");
    }

    #[test]
    fn unknown_variables_are_named_once_and_those_of_others_are_not_read() {
        use std::os::unix::ffi::OsStringExt;
        let broken = OsString::from_vec(vec![b'x', 0xff]);
        let environment = [
            (OsString::from("BELLWETHER_LISTEM"), OsString::from("x")),
            (OsString::from("BELLWETHER_BELLWETHER_LISTEN"), OsString::from("x")),
            (OsString::from("BELLWETHER_CURRENCY"), broken.clone()),
            (broken.clone(), broken),
        ];
        let settings =
            Settings::gather(&Cli::parse_from(["bellwether", "--data-dir", "/nowhere"]), environment.into_iter());
        let faults = settings.unwrap().faults().to_vec();
        assert_eq!(faults.len(), 3, "{faults:?}");
        for (fault, part) in faults.iter().zip(["BELLWETHER_LISTEM", "BELLWETHER_BELLWETHER_LISTEN", "must be Unicode"])
        {
            assert!(fault.contains(part), "{part} in {fault}");
        }
    }

    #[test]
    fn what_kubernetes_says_of_a_service_of_that_name_is_no_setting() {
        let environment = [
            ("BELLWETHER_SERVICE_HOST", "10.96.0.1"),
            ("BELLWETHER_SERVICE_PORT", "8080"),
            ("BELLWETHER_SERVICE_PORT_HTTP", "8080"),
            ("BELLWETHER_PORT", "tcp://10.96.0.1:8080"),
            ("BELLWETHER_PORT_8080_TCP", "tcp://10.96.0.1:8080"),
            ("BELLWETHER_PORT_8080_TCP_PROTO", "tcp"),
            ("BELLWETHER_PORT_8080_TCP_PORT", "8080"),
            ("BELLWETHER_PORT_8080_TCP_ADDR", "10.96.0.1"),
            ("BELLWETHER_WORKER_SERVICE_HOST", "10.96.0.2"),
            ("BELLWETHER_WORKER_PORT", "udp://10.96.0.2:8080"),
            ("BELLWETHER_WORKER_PORT_53_UDP_PORT", "53"),
        ];
        let faults = settings_of("", &environment, &[]).faults().to_vec();
        assert!(faults.is_empty(), "{faults:?}");
        for (name, value) in [
            ("BELLWETHER_PORT", "8080"),
            ("BELLWETHER_HOST", "10.96.0.1"),
            ("BELLWETHER_PORT_HTTP", "8080"),
            ("BELLWETHER_PORT_8080_TCP_NAME", "x"),
            ("BELLWETHER_SERVICE", "x"),
        ] {
            assert_eq!(settings_of("", &[(name, value)], &[]).faults().len(), 1, "{name}");
        }
        for setting in SETTINGS {
            let name = format!("{PREFIX}{}", setting.key.to_uppercase());
            assert!(!is_of_kubernetes(&name, "tcp://10.96.0.1:8080") && !NOT_SETTINGS.contains(&&*name), "{name}");
        }
    }

    #[test]
    fn variables_of_commands_are_in_the_way_of_no_other() {
        fn of(command: &clap::Command, found: &mut Vec<String>) {
            found.extend(command.get_arguments().filter_map(|a| a.get_env()).map(|n| n.to_string_lossy().into_owned()));
            command.get_subcommands().for_each(|command| of(command, found));
        }
        let mut found = Vec::new();
        of(&<Cli as clap::CommandFactory>::command(), &mut found);
        assert!(found.len() > 1, "{found:?}");
        assert!(found.iter().all(|name| NOT_SETTINGS.contains(&name.as_str())), "{found:?}");
    }

    #[test]
    fn the_file_of_the_data_folder_is_read_where_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bellwether.toml"), "currency = \"point\"").unwrap();
        let cli = Cli::parse_from(["bellwether", "--data-dir", folder.path().to_str().unwrap()]);
        assert_eq!(Settings::gather(&cli, std::iter::empty()).unwrap().get("currency"), "point");
        let cli = Cli::parse_from(["bellwether", "--config", "/nowhere/at/all.toml"]);
        let error = Settings::gather(&cli, std::iter::empty()).err().unwrap();
        assert!(error.to_string().contains("/nowhere/at/all.toml"), "{error}");
    }

    #[test]
    fn every_unknown_key_is_named_at_once_with_a_suggestion() {
        let error = settings("signup_gift = 3\nlisten_on = \"x\"\nmax_fills = [1]", &[]).faults().join("\n");
        for part in ["signup_gift", "did you mean \"signup_grant\"", "listen_on", "max_fills", "must be a text"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    /// Threat 71.
    #[test]
    fn secrets_are_masked() {
        assert_eq!(mask_url("postgres://ann:s3cret@db.example.org/x"), "postgres://ann:********@db.example.org/x");
        assert_eq!(mask_url("postgres://ann:p@ss@db/x"), "postgres://ann:********@db/x");
        assert_eq!(mask_url("sqlite:///data/x.db"), "sqlite:///data/x.db");
        let printed =
            settings("secret_key = \"0123456789abcdef\"", &["--database-url", "postgres://a:hush@h/d"]).to_toml();
        assert!(!printed.contains("0123456789abcdef") && !printed.contains("hush"), "{printed}");
    }

    /// Threat 71.
    #[test]
    fn a_password_is_hidden_wherever_it_stands_in_a_url() {
        for url in [
            "postgres://ann:CANARY@db/x",
            "postgres://ann:CAN/ARY@db/x",
            "postgres://ann:CAN?ARY@db/x",
            "postgres://db/x?user=ann&password=CANARY",
            "postgres://ann@db/x?sslpassword=CANARY&sslmode=require",
            "redis://:CANARY@db:6379",
            "ann:CANARY@db/x",
            "ann:CAN@ARY@db:587",
            "postgres:/ann:CANARY@db/x",
            "db:CANARY@ARY@db?a=b",
            "smtp://db:CANARY",
            "postgres://db:CAN/ARY",
            "postgres://db:CAN?ARY",
            "db:CANARY",
        ] {
            let shown = mask_url(url);
            assert!(!shown.contains("CAN") && !shown.contains("ARY") && shown.contains("db"), "{shown}");
        }
        assert_eq!(mask_url("host=db password=CANARY dbname=x"), "********");
        for shown in [
            "postgres://db/x?user=ann&sslmode=require",
            "postgres://a:5432,b:5432/x",
            "redis-cluster://[::1]:6379?node=b:6379",
            "sqlite:x.db",
            "sqlite:///data/a:b.db",
            "http://localhost:3000, https://x.org",
        ] {
            assert_eq!(mask_url(shown), shown);
        }
        assert_eq!(masked("mail_from", "House <a@b.org>"), "House <a@b.org>");
    }

    /// Threat 71.
    #[test]
    fn a_file_that_is_no_toml_is_refused_without_what_stands_in_it() {
        let too_large = "1".repeat(36);
        for secret in ["CANARY", "9f3cCANARY", "smtps://u:CANARY@mail.example.org:587", "\"CANARY", &too_large] {
            let text = format!("currency = \"é\"\nsecret_key = {secret}\n");
            let error = format!("{:#}", table_of(&text).unwrap_err());
            assert!(error.contains("line 2, column"), "{error}");
            assert!(!error.contains("CANARY") && !error.contains("1111"), "{error}");
        }
        let error = table_of("currency = \"é\"\nsecret_key = CANARY").unwrap_err().to_string();
        assert!(error.contains("line 2, column 14") && error.contains("quoted"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bellwether.toml");
        std::fs::write(&file, "secret_key = CANARY").unwrap();
        let cli = Cli::parse_from(["bellwether", "--config", file.to_str().unwrap()]);
        let error = Settings::gather(&cli, std::iter::empty()).err().unwrap();
        let (shown, debug) = (format!("{error:#}"), format!("{error:?}"));
        assert!(shown.contains("bellwether.toml") && shown.contains("line 1"), "{shown}");
        assert!(!shown.contains("CANARY") && !debug.contains("CANARY"), "{debug}");
    }

    /// Threat 71.
    #[test]
    fn the_password_of_each_replica_is_hidden() {
        for urls in [
            "postgres://a/x?sslmode=require,postgres://b/x?password=CANARY",
            "postgres://ann@a/x, postgresql://ann:CANARY@b/x",
            "postgres://ann:CAN,ARY@a/x,postgres://b/x",
        ] {
            let shown = masked("read_urls", urls);
            assert!(!shown.contains("CAN") && !shown.contains("ARY"), "{shown}");
            assert!(shown.contains("a/x") && shown.contains(',') && shown.contains("b/x"), "{shown}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let printed = settings("signup_grant = \"12.5\"\nmax_fills = 7", &[]).to_toml();
        let again = settings(&printed, &[]);
        assert!(again.faults().is_empty(), "{:?}", again.faults());
        assert!(
            SETTINGS
                .iter()
                .all(|s| again.get(s.key) == settings("signup_grant = \"12.5\"\nmax_fills = 7", &[]).get(s.key))
        );
    }

    #[test]
    fn the_documentation_lists_every_setting_as_it_is_and_no_other() {
        let page = include_str!("../../../docs/configuration.md");
        for setting in SETTINGS {
            let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
            let variable = format!("{PREFIX}{}", setting.key.to_uppercase());
            let row = format!("| `{}` | `{variable}` | {default} | {} |", setting.key, setting.meaning);
            assert!(page.contains(&row), "docs/configuration.md lacks the row\n{row}");
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), SETTINGS.len());
    }
}
