//! The configuration: settings, read and checked. Every bad value is named at once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use bellwether_domain::mail::Sender;
use bellwether_domain::money::Credits;
use bellwether_domain::ports::Quota;
use bellwether_domain::text::Email;
use bellwether_http::{ForwardedHeader, HttpOptions, Proxies};
use bellwether_notify::SmtpMailer;
use bellwether_redis::RedisOptions;
use bellwether_usecases::Policy;
use bellwether_usecases::limits::{Limits, Rule};
use bellwether_usecases::live::StreamLimits;
use bellwether_usecases::markets::Independence;
use ipnet::IpNet;
use jiff::SignedDuration;
use tracing_subscriber::EnvFilter;

use crate::settings::{Settings, Source, mask_url, masked};

/// Which database. Its `Debug` and `Display` show no password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(String),
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => f.write_str(&mask_url(url)),
        }
    }
}

impl Database {
    /// Where it is, whatever folder one is in. Shows no password.
    #[must_use]
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Sqlite(path) => absolute(path),
            Self::Postgres(_) => self.to_string(),
        }
    }
}

/// A path that means the same in any folder.
#[must_use]
pub(crate) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const TENTH: SignedDuration = SignedDuration::from_millis(100);

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// What `serve` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServeRole {
    /// Answers requests.
    Api,
    /// Does what is due, and answers probes.
    Worker,
    /// All of it.
    Both,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// Where metrics are shown, if anywhere.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// What `serve` does.
    pub(crate) role: ServeRole,
    /// The data folder.
    pub(crate) data_dir: PathBuf,
    /// The configuration file, where one was named.
    pub(crate) named_file: Option<PathBuf>,
    /// The database.
    pub(crate) database: Database,
    /// Whether the configuration file says which.
    pub(crate) is_database_of_file: bool,
    /// The most connections to it.
    pub(crate) database_connections: usize,
    /// How long it may take to answer.
    pub(crate) database_timeout: Duration,
    /// Replicas that lists are read from.
    pub(crate) read_urls: Vec<Secret>,
    /// How far these may lag.
    pub(crate) read_max_lag: Duration,
    /// The Redis that is shared with other servers; none to keep to the process.
    pub(crate) redis: Option<RedisOptions>,
    /// Whether one is named that is not used.
    pub(crate) has_idle_redis: bool,
    /// About how many events the stream in Redis keeps; none where there is no stream.
    pub(crate) redis_events: Option<NonZeroU32>,
    /// The configured secret, if there is one.
    pub(crate) secret_key: Option<Secret>,
    /// The file of signing keys, where it is not the one in the data folder.
    pub(crate) signing_keys: Option<PathBuf>,
    /// How logs are written.
    pub(crate) log_format: LogFormat,
    /// Which logs.
    pub(crate) log_level: String,
    /// The house's rules.
    pub(crate) policy: Policy,
    /// The cost of bcrypt.
    pub(crate) password_cost: u32,
    /// About how much memory the cache may take, in bytes.
    pub(crate) cache_bytes: u64,
    /// How mails are sent.
    pub(crate) mail: MailConfig,
    /// How the HTTP server behaves.
    pub(crate) http: HttpOptions,
    /// How many keys the rate limiter holds.
    pub(crate) limit_keys: usize,
    /// How often it is looked for what is due.
    pub(crate) tick_interval: Duration,
    /// Networks where webhooks may be besides the internet.
    pub(crate) webhooks_allow: Vec<IpNet>,
    /// So long after midnight UTC every invariant is checked, if ever.
    pub(crate) audit_at: Option<SignedDuration>,
}

/// How mails are sent.
#[derive(Debug, Clone)]
pub(crate) struct MailConfig {
    /// The URL of the mail server; none to write mails to files.
    pub(crate) smtp_url: Option<Secret>,
    /// How long the mail server may take for a mail.
    pub(crate) timeout: Duration,
    /// Whom mails are from.
    pub(crate) from: Sender,
    /// What links begin with, without a slash at the end; none for where the server listens.
    pub(crate) public_url: Option<String>,
}

/// A secret text. Its `Debug` shows nothing.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Config {
    /// Reads the settings, or says everything that is wrong with them.
    pub(crate) fn read(settings: &Settings) -> anyhow::Result<Self> {
        let mut reader = Reader { settings, faults: settings.faults().to_vec() };
        let data_dir = PathBuf::from(settings.get("data_dir"));
        let database_timeout =
            reader.duration("database_timeout", SignedDuration::from_secs(1), SignedDuration::from_secs(30));
        let policy = Policy {
            // To lock, to write and to commit; and PostgreSQL ends what it hears nothing of for four times as long.
            longest_unit: database_timeout.saturating_mul(6),
            signup_grant: reader.read("signup_grant", "an amount such as 1000 or \"12.5\"", |t| {
                Credits::parse(t).ok().filter(|c| *c >= Credits::ZERO)
            }),
            challenge_window: reader.duration(
                "challenge_window",
                SignedDuration::ZERO,
                SignedDuration::from_hours(24 * 365),
            ),
            independence: Independence {
                may_hold: reader.flag("resolver_may_hold"),
                alone_up_to: reader.read("resolve_alone_up_to", "an amount such as 1000, or nothing", |t| match t {
                    "" => Some(None),
                    amount => Credits::parse(amount).ok().filter(|c| *c >= Credits::ZERO).map(Some),
                }),
            },
            max_open_orders: reader.number("max_open_orders", 1, 100_000),
            max_fills: reader.number("max_fills", 1, 100_000),
            group_limit: reader.number("group_limit", 1, 1024),
            access_token_ttl: reader.duration(
                "access_token_ttl",
                SignedDuration::from_secs(1),
                SignedDuration::from_hours(24),
            ),
            refresh_token_ttl: reader.duration(
                "refresh_token_ttl",
                SignedDuration::from_mins(1),
                SignedDuration::from_hours(8760),
            ),
            max_sessions: reader.number("max_sessions", 1, 100),
            limits: reader.limits(),
            events_kept: reader.duration("events_kept", SignedDuration::from_mins(1), SignedDuration::from_hours(8760)),
            streams: StreamLimits {
                per_user: reader.number("streams_per_user", 1, 1_000_000),
                per_address: reader.number("streams_per_address", 1, 1_000_000),
            },
            conceal_existing_accounts: reader.flag("conceal_existing_accounts"),
            ..Policy::default()
        };
        let role = reader.read("role", "api, worker or both", |t| match t {
            "api" => Some(ServeRole::Api),
            "worker" => Some(ServeRole::Worker),
            "both" => Some(ServeRole::Both),
            _ => None,
        });
        let database = reader.read("database_url", "sqlite://PATH or postgres://…", |t| database(t, &data_dir));
        reader.check_role(role, &database);
        let database_connections = reader.number("database_connections", 1, 1000);
        let http = HttpOptions {
            answers_probes_alone: role == ServeRole::Worker,
            max_loads: max_loads(&database, database_connections),
            workers: NonZeroUsize::new(reader.number("workers", 0, 256)),
            max_connections: reader.number("max_connections", 1, 1_000_000),
            max_in_flight: reader.number("max_in_flight", 1, 1_000_000),
            shutdown_timeout: reader.std_duration(
                "shutdown_timeout",
                SignedDuration::ZERO,
                SignedDuration::from_mins(10),
            ),
            max_body: reader.number("max_body_bytes", 1024, 16 * 1024 * 1024),
            head_timeout: reader.std_duration("head_timeout", TENTH, SignedDuration::from_mins(10)),
            stall_timeout: reader.std_duration(
                "stall_timeout",
                SignedDuration::from_secs(1),
                SignedDuration::from_hours(1),
            ),
            body_timeout: reader.std_duration("body_timeout", TENTH, SignedDuration::from_mins(10)),
            keep_alive: reader.std_duration("keep_alive", SignedDuration::from_secs(1), SignedDuration::from_hours(1)),
            allowed_origins: reader.read(
                "allowed_origins",
                "origins such as https://x.org:8443, separated by commas",
                origins,
            ),
            proxies: Proxies {
                networks: reader.read("trusted_proxies", "networks such as 10.0.0.0/8, separated by commas", networks),
                header: reader.read("forwarded_header", "x-forwarded-for or forwarded", |t| match t {
                    "x-forwarded-for" => Some(ForwardedHeader::XForwardedFor),
                    "forwarded" => Some(ForwardedHeader::Forwarded),
                    _ => None,
                }),
            },
            currency: reader.read("currency", "1 to 20 characters", |t| {
                (1..=20).contains(&t.chars().count()).then(|| t.to_owned())
            }),
        };
        let config = Self {
            listen: reader
                .read("listen", "an address and port such as 127.0.0.1:8080", |t| SocketAddr::from_str(t).ok()),
            metrics_listen: reader.read(
                "metrics_listen",
                "an address and port such as 127.0.0.1:9464, or nothing",
                |t| {
                    if t.is_empty() { Some(None) } else { SocketAddr::from_str(t).ok().map(Some) }
                },
            ),
            named_file: settings.named_file().map(Path::to_owned),
            database,
            is_database_of_file: matches!(settings.source("database_url"), Source::File(_)),
            database_connections,
            database_timeout: database_timeout.unsigned_abs(),
            read_urls: reader.read("read_urls", "postgres://… of replicas of a postgres://… database_url", |t| {
                read_urls(t, settings.get("database_url"))
            }),
            read_max_lag: reader.std_duration("read_max_lag", TENTH, SignedDuration::from_hours(1)),
            has_idle_redis: settings.get("cache") == "local" && !settings.get("redis_url").is_empty(),
            redis_events: redis_events(&mut reader),
            redis: redis(&mut reader),
            secret_key: Some(settings.get("secret_key")).filter(|s| !s.is_empty()).map(|s| Secret(s.to_owned())),
            signing_keys: Some(settings.get("signing_keys")).filter(|s| !s.is_empty()).map(PathBuf::from),
            log_format: reader.read("log_format", "auto, json or pretty", |t| match t {
                "auto" => Some(LogFormat::Auto),
                "json" => Some(LogFormat::Json),
                "pretty" => Some(LogFormat::Pretty),
                _ => None,
            }),
            log_level: reader.read(
                "log_level",
                "a level such as info, or filters such as info,bellwether_http=debug",
                |t| EnvFilter::try_new(t).is_ok().then(|| t.to_owned()),
            ),
            password_cost: reader.number("password_cost", 4, 31),
            limit_keys: reader.number("limit_keys", 1000, 100_000_000),
            tick_interval: reader.std_duration(
                "tick_interval",
                SignedDuration::from_millis(10),
                SignedDuration::from_hours(1),
            ),
            webhooks_allow: reader.read(
                "webhooks_allow",
                "networks such as 10.1.0.0/16, separated by commas",
                networks,
            ),
            audit_at: reader.read("audit_at", "a time such as 03:00, or nothing", time_of_day),
            cache_bytes: reader.number("cache_bytes", 0, 64 << 30),
            mail: mail(&mut reader),
            role,
            data_dir,
            policy,
            http,
        };
        if reader.faults.is_empty() {
            return Ok(config);
        }
        bail!("the configuration is not valid:\n  {}", reader.faults.join("\n  "))
    }

    /// Where the SQLite file is, where nobody says otherwise.
    #[must_use]
    pub(crate) fn default_database(data_dir: &Path) -> PathBuf {
        data_dir.join("bellwether.db")
    }

    /// Where the key file is.
    #[must_use]
    pub(crate) fn key_file(&self) -> PathBuf {
        self.data_dir.join("secret.key")
    }

    /// Where mails are written to.
    #[must_use]
    pub(crate) fn mail_folder(&self) -> PathBuf {
        self.data_dir.join("mail")
    }

    /// Where the keys are that sign access tokens.
    #[must_use]
    pub(crate) fn signing_key_file(&self) -> PathBuf {
        self.signing_keys.clone().unwrap_or_else(|| self.data_dir.join("signing-keys.json"))
    }
}

/// More connections that read at the same time do not make SQLite faster.
pub(crate) const MAX_SQLITE_READERS: usize = 8;

/// Half of the connections, or of SQLite's readers: the others are for what is not loaded to be remembered.
fn max_loads(database: &Database, connections: usize) -> usize {
    let connections = match database {
        Database::Sqlite(_) => connections.min(MAX_SQLITE_READERS),
        Database::Postgres(_) => connections,
    };
    (connections / 2).max(1)
}

fn database(text: &str, data_dir: &Path) -> Option<Database> {
    if text.is_empty() {
        return Some(Database::Sqlite(Config::default_database(data_dir)));
    }
    if let Some(path) = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")) {
        return (!path.is_empty()).then(|| Database::Sqlite(PathBuf::from(path)));
    }
    (text.starts_with("postgres://") || text.starts_with("postgresql://")).then(|| Database::Postgres(text.to_owned()))
}

/// Replicas, which only a PostgreSQL has.
fn read_urls(text: &str, database: &str) -> Option<Vec<Secret>> {
    let is_postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
    let urls = list(text);
    let are_valid = urls.iter().all(|url| is_postgres(url)) && (urls.is_empty() || is_postgres(database));
    are_valid.then(|| urls.into_iter().map(Secret).collect())
}

/// The Redis to use. Its settings are checked whether it is used or not.
fn redis(reader: &mut Reader<'_>) -> Option<RedisOptions> {
    let is_used = reader.read("cache", "local or redis", |t| match t {
        "local" => Some(false),
        "redis" => Some(true),
        _ => None,
    });
    let prefix = reader.read("redis_prefix", "1 to 40 letters, digits and dashes", |t| {
        let is_plain = t.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        ((1..=40).contains(&t.len()) && is_plain).then(|| t.to_owned())
    });
    let connections = NonZeroUsize::new(reader.number("redis_connections", 1, 64));
    let timeout = reader.std_duration("redis_timeout", SignedDuration::from_millis(1), SignedDuration::from_secs(1));
    let url = reader.settings.get("redis_url").to_owned();
    if url.is_empty() && !is_used {
        return None;
    }
    match RedisOptions::parse(&url) {
        Ok(mut options) => {
            options.prefix = prefix;
            options.timeout = timeout;
            options.connections = connections.unwrap_or(options.connections);
            is_used.then_some(options)
        }
        Err(error) => {
            let source = reader.settings.source("redis_url");
            reader.faults.push(format!("redis_url ({source}): {error}"));
            None
        }
    }
}

fn redis_events(reader: &mut Reader<'_>) -> Option<NonZeroU32> {
    let most = NonZeroU32::new(reader.number("redis_events", 0, 100_000_000))?;
    if reader.settings.get("cache") == "redis" {
        return Some(most);
    }
    let source = reader.settings.source("redis_events");
    reader.faults.push(format!("redis_events ({source}): the stream is in Redis, which needs cache = \"redis\""));
    None
}

fn mail(reader: &mut Reader<'_>) -> MailConfig {
    let from =
        reader.read("mail_from", "an address such as no-reply@example.org or Name <no-reply@example.org>", |t| {
            Sender::parse(t).ok()
        });
    let timeout = reader.std_duration("smtp_timeout", SignedDuration::from_secs(1), SignedDuration::from_mins(5));
    let public_url = reader.read("public_url", "a URL such as https://markets.example.org", public_url);
    let is_smtp = reader.read("mailer", "file or smtp", |t| match t {
        "file" => Some(false),
        "smtp" => Some(true),
        _ => None,
    });
    let mut smtp_url = None;
    if is_smtp {
        // Where nobody said, mails would have links to this machine, and come from it.
        for (key, example) in [("public_url", "https://markets.example.org"), ("mail_from", "no-reply@example.org")] {
            let is_said = reader.settings.source(key) != Source::Default && !reader.settings.get(key).is_empty();
            if !is_said {
                reader.faults.push(format!("{key}: must be set where the mailer is smtp, such as {example}"));
            }
        }
        let url = reader.settings.get("smtp_url").to_owned();
        if let Err(error) = SmtpMailer::check(&url, &from) {
            let source = reader.settings.source("smtp_url");
            reader.faults.push(format!("smtp_url = {:?} ({source}): {error}", masked("smtp_url", &url)));
        }
        smtp_url = Some(Secret(url));
    }
    MailConfig { smtp_url, timeout, from, public_url }
}

/// A URL with nothing behind its path, without the slash at its end; `Some(None)` for none.
fn public_url(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let url = reqwest::Url::parse(text).ok()?;
    let is_plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    (is_plain && is_web).then(|| Some(url.as_str().trim_end_matches('/').to_owned()))
}

/// Origins as browsers say them, byte for byte: anything else would be allowed to nobody.
fn origins(text: &str) -> Option<Vec<String>> {
    Some(list(text)).filter(|origins| origins.iter().all(|origin| is_origin(origin)))
}

fn is_origin(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| match url.scheme() {
        "http" | "https" => url.origin().ascii_serialization() == text,
        // Of extensions and apps. Such a URL is kept as it is written.
        scheme => url.has_host() && url.as_str() == text && format!("{scheme}://{}", url.authority()) == text,
    })
}

/// So long after midnight; `Some(None)` for none.
fn time_of_day(text: &str) -> Option<Option<SignedDuration>> {
    if text.is_empty() {
        return Some(None);
    }
    let (hours, minutes) = text.split_once(':')?;
    let is_plain = hours.len() == 2 && minutes.len() == 2;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let is_time = is_plain && (0..24).contains(&hours) && (0..60).contains(&minutes);
    is_time.then(|| Some(SignedDuration::from_mins(hours * 60 + minutes)))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn networks(text: &str) -> Option<Vec<IpNet>> {
    list(text).iter().map(|network| self::network(network)).collect()
}

/// A network, such as `10.0.0.0/8`; an address is one by itself.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}

fn quota(text: &str) -> Option<Quota> {
    let (limit, window) = text.split_once('/')?;
    let (limit, window) = (limit.trim().parse().ok()?, window.trim().parse().ok()?);
    let is_allowed = (1..=1_000_000_000).contains(&limit)
        && (SignedDuration::from_secs(1)..=SignedDuration::from_hours(24)).contains(&window);
    is_allowed.then(|| Quota::new(limit, window))
}

/// Reads settings and gathers what is wrong with them. A bad value is replaced by the type's
/// default, which nobody sees: with a fault there is no configuration.
struct Reader<'a> {
    settings: &'a Settings,
    faults: Vec<String>,
}

/// What stands in for a bad value.
trait StandIn {
    fn stand_in() -> Self;
}

macro_rules! stand_in {
    ($($type:ty => $value:expr,)+) => { $(impl StandIn for $type { fn stand_in() -> Self { $value } })+ };
}

stand_in! {
    Credits => Credits::ZERO,
    SignedDuration => SignedDuration::ZERO,
    bool => false,
    u32 => 0,
    usize => 0,
    u64 => 0,
    String => String::new(),
    SocketAddr => SocketAddr::from(([127, 0, 0, 1], 0)),
    Option<SocketAddr> => None,
    Database => Database::Sqlite(PathBuf::new()),
    LogFormat => LogFormat::Auto,
    ServeRole => ServeRole::Both,
    Vec<IpNet> => Vec::new(),
    Vec<String> => Vec::new(),
    Vec<Secret> => Vec::new(),
    ForwardedHeader => ForwardedHeader::default(),
    Quota => Quota::new(0, SignedDuration::ZERO),
    u8 => 0,
    Option<String> => None,
    Option<Credits> => None,
    Option<SignedDuration> => None,
    Sender => Sender { address: Email::of_the_house(), name: None },
}

impl Reader<'_> {
    fn read<T: StandIn>(&mut self, key: &str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> T {
        let text = self.settings.get(key);
        parse(text).unwrap_or_else(|| {
            let source = self.settings.source(key);
            self.faults.push(format!("{key} = {:?} ({source}): must be {allowed}", masked(key, text)));
            T::stand_in()
        })
    }

    /// SQLite has one server, so where it did half of what there is to do, nobody would ever do the rest.
    fn check_role(&mut self, role: ServeRole, database: &Database) {
        // What stands in for a bad URL has no path.
        let is_sqlite = matches!(database, Database::Sqlite(path) if !path.as_os_str().is_empty());
        if is_sqlite && role != ServeRole::Both {
            let (text, source) = (self.settings.get("role"), self.settings.source("role"));
            self.faults.push(format!(
                "role = {text:?} ({source}): needs PostgreSQL, which several servers can share; on SQLite it must be both"
            ));
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        self.read(key, "true or false", |t| t.parse().ok())
    }

    fn number<T: StandIn + FromStr + PartialOrd + std::fmt::Display>(&mut self, key: &str, least: T, most: T) -> T {
        let allowed = format!("a whole number from {least} to {most}");
        self.read(key, &allowed, |t| t.parse().ok().filter(|n| (&least..=&most).contains(&n)))
    }

    fn duration(&mut self, key: &str, least: SignedDuration, most: SignedDuration) -> SignedDuration {
        let allowed = format!("a duration such as 30s, 15m or 24h, from {least:#} to {most:#}");
        self.read(key, &allowed, |t| t.parse().ok().filter(|d| (least..=most).contains(d)))
    }

    fn limits(&mut self) -> Limits {
        let default = Limits::default();
        Limits {
            public: self.rule("limit_public", default.public),
            user: self.rule("limit_user", default.user),
            login: self.rule("limit_login", default.login),
            login_address: self.rule("limit_login_address", default.login_address),
            login_account: self.rule("limit_login_account", default.login_account),
            password: self.rule("limit_password", default.password),
            password_address: self.rule("limit_password_address", default.password_address),
            sign_up: self.rule("limit_signup", default.sign_up),
            new_users: self.rule("limit_new_users", default.new_users),
            reset: self.rule("limit_reset", default.reset),
            refresh: self.rule("limit_refresh", default.refresh),
            made: self.rule("limit_made", default.made),
            ipv6_prefix: self.number("limit_ipv6_prefix", 32, 128),
        }
    }

    fn rule(&mut self, key: &str, rule: Rule) -> Rule {
        rule.with(self.read(key, "a limit such as 5/15m: 1 to 1000000000 within 1s to 24h", quota))
    }

    fn std_duration(&mut self, key: &str, least: SignedDuration, most: SignedDuration) -> Duration {
        self.duration(key, least, most).unsigned_abs()
    }
}

/// The configuration of a command line, for tests, with passwords that are cheap to hash.
#[cfg(test)]
pub(crate) fn of_flags(flags: &[&str]) -> Config {
    use clap::Parser;
    let args = ["bellwether"].iter().chain(flags).copied();
    let mut config = Config::read(&Settings::load(&crate::cli::Cli::parse_from(args)).unwrap()).unwrap();
    config.password_cost = 4;
    config
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn config(flags: &[&str], file: &str) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bellwether.toml");
        std::fs::write(&path, file).unwrap();
        let args = ["bellwether", "--config", path.to_str().unwrap()].into_iter().chain(flags.iter().copied());
        Config::read(&Settings::load(&Cli::parse_from(args))?)
    }

    #[test]
    fn a_network_may_be_one_address() {
        assert!(
            network("10.0.0.1").is_some_and(|n| n.contains(&IpAddr::from([10, 0, 0, 1])) && n.hosts().count() == 1)
        );
        assert!(network("10.0.0.0/8").is_some_and(|n| n.contains(&IpAddr::from([10, 9, 9, 9]))));
        for bad in ["", "10.0.0.0/33", "proxy.example.org", "10.0.0"] {
            assert_eq!(network(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_defaults_are_a_configuration() {
        let config = config(&[], "").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.database, Database::Sqlite(PathBuf::from("./bellwether-data/bellwether.db")));
        assert_eq!(config.policy.signup_grant, Credits::from_mills(1_000_000));
        assert_eq!(config.policy.access_token_ttl, SignedDuration::from_mins(15));
    }

    #[test]
    fn every_bad_value_is_named_at_once() {
        let file = "signup_grant = \"-1\"\nmax_fills = 0\nchallenge_window = \"soon\"\npassword_cost = 40\ndatabase_url = \"mysql://x\"\nredis_url = \"x\"\nlog_level = \"a=b=c\"\nsignup_gift = 1";
        let error = config(&["--listen", "nowhere"], file).unwrap_err().to_string();
        for key in [
            "signup_grant",
            "max_fills",
            "challenge_window",
            "password_cost",
            "database_url",
            "redis_url",
            "log_level",
            "signup_gift",
            "listen",
            "flag --listen",
        ] {
            assert!(error.contains(key), "{key} in {error}");
        }
    }

    #[test]
    fn the_default_limits_are_those_of_the_rules() {
        let config = config(&[], "").unwrap();
        assert_eq!(format!("{:?}", config.policy.limits), format!("{:?}", Limits::default()));
        assert!(config.http.proxies.networks.is_empty());
    }

    #[test]
    fn limits_and_networks_are_read_or_named() {
        let file = "limit_login = \"7 / 90s\"\ntrusted_proxies = \"10.0.0.0/8, ::1\"\nforwarded_header = \"forwarded\"";
        let good = config(&[], file).unwrap();
        assert_eq!(good.policy.limits.login.quota, Quota::new(7, SignedDuration::from_secs(90)));
        assert_eq!((good.http.proxies.networks.len(), good.http.proxies.header), (2, ForwardedHeader::Forwarded));
        for bad in ["limit_user = \"0/1m\"", "limit_user = \"5\"", "limit_user = \"5/500ms\"", "limit_user = \"5/48h\""]
        {
            assert!(config(&[], bad).unwrap_err().to_string().contains("a limit such as 5/15m"), "{bad}");
        }
        for bad in ["trusted_proxies = \"everybody\"", "forwarded_header = \"x-real-ip\"", "limit_ipv6_prefix = 8"] {
            assert!(config(&[], bad).is_err(), "{bad}");
        }
    }

    /// Threat 71.
    #[test]
    fn neither_debug_nor_errors_show_secrets() {
        let flags = ["--database-url", "postgres://ann:CANARY@db/x"];
        let shown = format!("{:?}", config(&flags, "secret_key = \"CANARY\"").unwrap());
        assert!(!shown.contains("CANARY"), "{shown}");
        let error = config(&["--database-url", "mysql://ann:CANARY@db/x"], "").unwrap_err().to_string();
        assert!(error.contains("mysql://ann:") && !error.contains("CANARY"), "{error}");
        let file = "mailer = \"smtp\"\nsmtp_url = \"u:CANARY@mail.example.org:587\"\n\
                    database_url = \"ann:CANARY@db/x\"\nread_urls = \"ann:CANARY@db/x\"\n\
                    redis_url = \"ann:CANARY@db\"\npublic_url = \"ann:CANARY@x.org\"";
        let error = config(&[], file).unwrap_err().to_string();
        for key in ["smtp_url", "database_url", "read_urls", "redis_url", "public_url"] {
            assert!(error.contains(key) && !error.contains("CANARY"), "{key} in {error}");
        }
    }

    /// Threats 11 and 71.
    #[test]
    fn a_mail_server_needs_a_sender_and_a_place_to_link_to() {
        let mail = |file: &str| config(&[], file).map(|config| config.mail);
        let error = mail("mailer = \"smtp\"").unwrap_err().to_string();
        assert!(["smtp_url", "public_url", "mail_from"].iter().all(|key| error.contains(key)), "{error}");
        let server = "mailer = \"smtp\"\nmail_from = \"House <a@b.org>\"\n";
        let url = "smtp_url = \"smtp://u:CANARY@h:587?tls=required\"\n";
        let good = mail(&format!("{server}{url}public_url = \"https://x.org/markets/\"")).unwrap();
        assert_eq!(good.public_url.as_deref(), Some("https://x.org/markets"));
        assert!(good.smtp_url.is_some() && !format!("{good:?}").contains("CANARY"));
        for bad in ["x.org", "ftp://x.org", "https://x.org?a=b", "https://x.org/#a", "https://u@x.org", "https://"] {
            let error = mail(&format!("{server}{url}public_url = {bad:?}")).unwrap_err().to_string();
            assert!(error.contains("public_url") && !error.contains("CANARY"), "{bad}: {error}");
        }
        let error =
            mail(&format!("{server}public_url = \"https://x.org\"\nsmtp_url = \"smtp://u:CANARY@h\"")).unwrap_err();
        assert!(error.to_string().contains("TLS") && !error.to_string().contains("CANARY"), "{error}");
        for empty in ["public_url = \"\"", "mail_from = \"\""] {
            let key = empty.split(' ').next().unwrap();
            let error = mail(&format!("mailer = \"smtp\"\n{url}{empty}")).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        let default = mail("").unwrap();
        assert!(default.smtp_url.is_none() && default.public_url.is_none());
        assert!(
            mail("conceal_existing_accounts = true").is_ok() && mail("conceal_existing_accounts = \"maybe\"").is_err()
        );
    }

    #[test]
    fn origins_are_as_browsers_say_them() {
        for good in ["", "https://x.org, http://localhost:3000", "chrome-extension://abc", "capacitor://localhost"] {
            assert!(config(&[], &format!("allowed_origins = {good:?}")).is_ok(), "{good}");
        }
        for bad in ["*", "x.org", "https://x.org/", "https://X.org", "https://x.org:443", "https://x.org/a", "app://h/"]
        {
            let error = config(&[], &format!("allowed_origins = {bad:?}")).unwrap_err().to_string();
            assert!(error.contains("allowed_origins"), "{bad}: {error}");
        }
    }

    /// Threat 71.
    #[test]
    fn redis_is_used_where_it_is_asked_for_and_named_and_its_password_is_not_shown() {
        let url = "redis_url = \"redis://:CANARY@h:6380/1\"\n";
        assert!(config(&[], "").unwrap().redis.is_none());
        assert!(config(&[], url).unwrap().redis.is_none());
        let file =
            format!("cache = \"redis\"\nredis_prefix = \"a-1\"\nredis_connections = 2\nredis_timeout = \"9ms\"\n{url}");
        let good = config(&[], &file).unwrap();
        assert!(!format!("{good:?}").contains("CANARY"));
        let options = good.redis.unwrap();
        let found = (options.prefix.as_str(), options.connections.get(), options.timeout);
        assert_eq!(found, ("a-1", 2, Duration::from_millis(9)));
        for (bad, part) in [
            ("cache = \"redis\"", "redis_url"),
            ("cache = \"both\"", "local or redis"),
            ("redis_url = \"rediss://CANARY@h\"", "redis://USER"),
            ("redis_prefix = \"a:b\"", "redis_prefix"),
            ("redis_timeout = \"0s\"", "redis_timeout"),
            ("redis_connections = 0", "redis_connections"),
            ("redis_events = 1", "needs cache = \"redis\""),
        ] {
            let error = config(&[], bad).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("CANARY"), "{bad}: {error}");
        }
    }

    #[test]
    fn the_role_is_a_flag_of_serve_too() {
        let of = |args: &[&str]| {
            let args = ["bellwether", "--config", "/dev/null"].iter().chain(args).copied();
            Config::read(&Settings::load(&Cli::parse_from(args)).unwrap())
        };
        for (name, role) in [("api", ServeRole::Api), ("worker", ServeRole::Worker), ("both", ServeRole::Both)] {
            let config = of(&["serve", "--role", name, "--database-url", "postgres://db/x"]).unwrap();
            assert_eq!((config.role, config.http.answers_probes_alone), (role, name == "worker"));
        }
        for name in ["api", "worker"] {
            let error = of(&["serve", "--role", name, "--database-url", "sqlite://x.db"]).unwrap_err().to_string();
            assert!(error.contains("flag --role") && error.contains("needs PostgreSQL"), "{error}");
        }
        assert_eq!(of(&[]).unwrap().role, ServeRole::Both);
        assert!(of(&["serve", "--role", "boss"]).unwrap_err().to_string().contains("flag --role"));
    }

    #[test]
    fn the_database_is_chosen_by_its_url() {
        let of = |url: &str| config(&["--database-url", url], "").unwrap().database;
        assert_eq!(of("sqlite:///var/x.db"), Database::Sqlite(PathBuf::from("/var/x.db")));
        assert_eq!(of("postgres://h/d"), Database::Postgres("postgres://h/d".to_owned()));
    }
}
