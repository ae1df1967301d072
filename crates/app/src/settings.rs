//! Settings as texts, and where each comes from: defaults < file < environment < flags.
//!
//! One table says which there are. What is not in it is an error that names the key and its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::Cli;

/// A setting that there is.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the file; in the environment `BELLWETHER_` and the key in capitals.
    pub key: &'static str,
    /// Its default; empty for none.
    pub default: &'static str,
    /// What it means, and what is allowed.
    pub meaning: &'static str,
}

const fn setting(key: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { key, default, meaning }
}

/// All settings.
pub const SETTINGS: &[Setting] = &[
    setting("listen", "127.0.0.1:8080", "the address and port to listen on; port 0 for any free one"),
    setting("data_dir", "./bellwether-data", "the folder for the SQLite database and the key file"),
    setting("database_url", "", "`sqlite://PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`; by default SQLite in the data folder"),
    setting("redis_url", "", "`redis://HOST:PORT`; accepted, but this version caches inside the process only"),
    setting("secret_key", "", "the secret that every key is derived from, at least 32 characters; by default the file `secret.key` in the data folder, made at the first start"),
    setting("log_format", "auto", "`json`, `pretty`, or `auto`: pretty on a terminal"),
    setting("log_level", "info", "`error`, `warn`, `info`, `debug`, `trace`, or filters such as `info,bellwether_http=debug`"),
    setting("currency", "credit", "what the credit is called, 1 to 20 characters"),
    setting("signup_grant", "1000", "what a new user gets from the treasury, in credits with at most 3 decimals; 0 for nothing"),
    setting("challenge_window", "0s", "how long a proposed outcome can be challenged, such as `24h`; `0s` decides at once"),
    setting("max_open_orders", "200", "the most open orders of a user in one market, 1 to 100000"),
    setting("max_fills", "5000", "the most fills of one order, 1 to 100000"),
    setting("access_token_ttl", "15m", "how long an access token is valid, `1s` to `24h`"),
    setting("password_cost", "12", "the cost of bcrypt, 4 to 31; each step doubles the time of a sign-in"),
    setting("workers", "0", "threads that speak HTTP, 0 to 256; 0 for one a core"),
    setting("max_connections", "10000", "the most connections of one worker, 1 to 1000000"),
    setting("max_in_flight", "1024", "the most requests that are worked on at once, 1 to 1000000; more are answered 503"),
    setting("allowed_origins", "", "origins whose pages may call the API, separated by commas"),
    setting("database_connections", "16", "the most connections to PostgreSQL, or readers of SQLite, 1 to 1000"),
    setting("shutdown_timeout", "30s", "how long requests may take to end when the server stops, `0s` to `10m`"),
    setting("tick_interval", "1s", "how often it is looked for what time has made due, `10ms` to `1h`"),
];

/// Variables that begin like settings and are none.
const NOT_SETTINGS: [&str; 3] = ["BELLWETHER_CONFIG", "BELLWETHER_BIN", "BELLWETHER_TEST_DATA"];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
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

/// Every setting's text and source.
#[derive(Debug, Clone)]
pub struct Settings(BTreeMap<&'static str, (String, Source)>);

impl Settings {
    /// Gathers the settings from all four places.
    pub fn load(cli: &Cli) -> anyhow::Result<Self> {
        let environment: Vec<(String, String)> =
            std::env::vars().filter(|(name, _)| name.starts_with("BELLWETHER_") && !NOT_SETTINGS.contains(&name.as_str())).collect();
        let flags = cli.flags();
        let mut faults = Vec::new();
        let mut settings = Self(SETTINGS.iter().map(|s| (s.key, (s.default.to_owned(), Source::Default))).collect());
        // The data folder decides where the file is, so the other two are asked for it first.
        settings.take_environment(&environment, &mut faults);
        settings.take_flags(&flags);
        let (path, must_exist) = match &cli.config {
            Some(path) => (path.clone(), true),
            None => (Path::new(settings.get("data_dir")).join("bellwether.toml"), false),
        };
        if must_exist || path.exists() {
            settings.take_file(&path, &mut faults)?;
            settings.take_environment(&environment, &mut Vec::new());
            settings.take_flags(&flags);
        }
        if !faults.is_empty() {
            bail!("the configuration has unknown keys or values of the wrong kind:\n  {}", faults.join("\n  "));
        }
        Ok(settings)
    }

    /// A setting's text.
    #[must_use]
    pub fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", |(text, _)| text)
    }

    /// Where a setting comes from.
    #[must_use]
    pub fn source(&self, key: &str) -> Source {
        self.0.get(key).map_or(Source::Default, |(_, source)| source.clone())
    }

    /// The settings as a TOML file, each with its source. Secrets are masked.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let lines = SETTINGS.iter().map(|setting| {
            let text = masked(setting.key, self.get(setting.key));
            format!("{} = {} # {}", setting.key, toml::Value::String(text), self.source(setting.key))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn take_environment(&mut self, environment: &[(String, String)], faults: &mut Vec<String>) {
        for (name, value) in environment {
            let key = name.trim_start_matches("BELLWETHER_").to_lowercase();
            match SETTINGS.iter().find(|s| s.key == key) {
                Some(setting) => {
                    self.0.insert(setting.key, (value.clone(), Source::Environment(name.clone())));
                }
                None => faults.push(format!("{name} (environment): there is no setting {key:?}{}", suggestion(&key))),
            }
        }
    }

    fn take_flags(&mut self, flags: &[(&'static str, &str)]) {
        for (key, value) in flags {
            self.0.insert(key, ((*value).to_owned(), Source::Flag(key.replace('_', "-"))));
        }
    }

    fn take_file(&mut self, path: &Path, faults: &mut Vec<String>) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading the configuration file {}", path.display()))?;
        let table: toml::Table = text.parse().with_context(|| format!("the configuration file {} is not TOML", path.display()))?;
        for (key, value) in table {
            let Some(setting) = SETTINGS.iter().find(|s| s.key == key) else {
                faults.push(format!("{key} ({}): there is no such setting{}", path.display(), suggestion(&key)));
                continue;
            };
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(_) => {
                    faults.push(format!("{key} ({}): write numbers with a fraction in quotes", path.display()));
                    continue;
                }
                _ => {
                    faults.push(format!("{key} ({}): must be a text or a whole number", path.display()));
                    continue;
                }
            };
            self.0.insert(setting.key, (text, Source::File(path.to_owned())));
        }
        Ok(())
    }
}

/// The setting whose name is most like `key`.
fn suggestion(key: &str) -> String {
    let shares = |other: &str| other.split('_').filter(|word| key.contains(word)).count();
    let nearest = SETTINGS.iter().max_by_key(|s| shares(s.key)).filter(|s| shares(s.key) > 0);
    nearest.map_or_else(String::new, |s| format!("; did you mean {:?}?", s.key))
}

/// A value as it may be shown: neither the secret key nor a password in a URL.
#[must_use]
pub fn masked(key: &str, text: &str) -> String {
    if key == "secret_key" && !text.is_empty() {
        return "********".to_owned();
    }
    mask_url(text)
}

/// A URL without its password.
#[must_use]
pub fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((credentials, host)) => {
            let user = credentials.split_once(':').map_or(credentials, |(user, _)| user);
            let path = if path.contains("password=") { "/********" } else { path };
            format!("{scheme}://{user}:********@{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn settings(file: &str, flags: &[&str]) -> anyhow::Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bellwether.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let args = ["bellwether", "--config", path].into_iter().chain(flags.iter().copied());
        Settings::load(&Cli::parse_from(args))
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let settings = settings("listen = \"127.0.0.1:1\"\nmax_fills = 7", &["--listen", "127.0.0.1:2"]).unwrap();
        assert_eq!((settings.get("listen"), settings.source("listen")), ("127.0.0.1:2", Source::Flag("listen".to_owned())));
        assert_eq!(settings.get("max_fills"), "7");
        assert_eq!((settings.get("currency"), settings.source("currency")), ("credit", Source::Default));
    }

    #[test]
    fn every_unknown_key_is_named_at_once_with_a_suggestion() {
        let error = settings("signup_gift = 3\nlisten_on = \"x\"\nmax_fills = [1]", &[]).unwrap_err().to_string();
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
        let printed = settings("secret_key = \"0123456789abcdef\"", &["--database-url", "postgres://a:hush@h/d"]).unwrap().to_toml();
        assert!(!printed.contains("0123456789abcdef") && !printed.contains("hush"), "{printed}");
    }

    #[test]
    fn the_documentation_lists_every_setting_as_it_is() {
        let page = include_str!("../../../docs/configuration.md");
        for setting in SETTINGS {
            let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
            let row = format!("| `{}` | {} | {} |", setting.key, default, setting.meaning);
            assert!(page.contains(&row), "docs/configuration.md lacks the row\n{row}");
        }
    }
}
