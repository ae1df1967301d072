//! `bellwether keys`, and how a running server hears of a rotation.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bellwether_domain::ports::Clock;
use bellwether_security::{Ed25519Signer, KeyFile, KeyState, SystemClock};
use bellwether_usecases::audit_log::keys_rotated;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::cli::KeysAction;
use crate::config::{Config, Database, absolute};
use crate::pause::goes_on_after;
use crate::wiring::{self, Backend};
use crate::{lock, migrate, print_line};

/// How often the file of keys is looked at. A new key signs two seconds after it was made, so every
/// server knows it by then.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Rotates the keys, or lists them. May be run beside a running server.
pub(crate) async fn run(config: &Config, action: &KeysAction) -> anyhow::Result<()> {
    let file = KeyFile::at(config.signing_key_file());
    let place = absolute(file.path());
    if !file.path().exists() {
        if !matches!(action, KeysAction::Rotate { compromised: false }) {
            // Who looks for keys, or trusts some no more, means a server that has them.
            bail!(
                "there are no signing keys at {place}; is --data-dir or signing_keys right? (bellwether serve makes \
                 them at its first start)"
            );
        }
        make_first(config, &file).with_context(|| format!("making the first signing key at {place}"))?;
        print_line(&format!("there were no signing keys at {place}: the first was made"));
    }
    if matches!(action, KeysAction::Rotate { .. }) && lock::is_taken(config) && has_database(config) {
        // Before the keys are rotated: whoever is refused runs this again, and they are not rotated twice in a row.
        migrate::refuse_beside_another_version(config, &Backend::open_existing(config).await?).await?;
    }
    let keys = match action {
        KeysAction::List => file.load()?,
        KeysAction::Rotate { compromised } => {
            file.rotate(SystemClock.now(), config.policy.access_token_ttl, *compromised)?
        }
    };
    print_line(&format!("signing keys in {place}"));
    for (id, state) in keys.states(SystemClock.now()) {
        let state = match state {
            KeyState::Next(from) => format!("signs from {from:.0}"),
            KeyState::Signs(from) if from == Timestamp::UNIX_EPOCH => "signs".to_owned(),
            KeyState::Signs(from) => format!("signs since {from:.0}"),
            KeyState::Verifies(until) => format!("verifies until {until:.0}"),
            KeyState::Over => "over".to_owned(),
        };
        print_line(&format!("{id} {state}"));
    }
    if let KeysAction::Rotate { compromised } = action {
        tell(config, *compromised).await.context("the keys were rotated, but the audit log could not be told")?;
    }
    Ok(())
}

/// Makes the file of keys before the first start. The first key follows from the server's secret, so a server that starts
/// later has the same.
fn make_first(config: &Config, file: &KeyFile) -> anyhow::Result<()> {
    wiring::make_private_folder(&config.data_dir)?;
    file.load_or_create(&wiring::master_key(config)?)?;
    Ok(())
}

/// Tells the audit log. Before the first start there is none, and nothing that the keys could have signed.
async fn tell(config: &Config, compromised: bool) -> anyhow::Result<()> {
    if !has_database(config) {
        return Ok(());
    }
    let backend = Backend::open_existing(config).await?;
    migrate::up_beside_a_server(config, &backend).await?;
    Ok(keys_rotated(&wiring::command_context(config, &backend)?, compromised).await?)
}

fn has_database(config: &Config) -> bool {
    !matches!(&config.database, Database::Sqlite(path) if !path.exists())
}

/// Takes up what the file of keys says whenever it changes, until `stop` turns true. While it cannot
/// be read the keys from before stay, which is logged once.
pub(crate) async fn watch(signer: Arc<Ed25519Signer>, mut stop: watch::Receiver<bool>) {
    let mut is_failing = false;
    while !*stop.borrow() {
        let looking = Arc::clone(&signer);
        match tokio::task::spawn_blocking(move || looking.refresh()).await {
            Ok(Ok(has_changed)) => {
                if has_changed {
                    tracing::info!("read the signing keys");
                }
                is_failing = false;
            }
            Ok(Err(error)) => {
                if !is_failing {
                    tracing::error!(%error, "the signing keys cannot be read; those from before stay in use");
                }
                is_failing = true;
            }
            Err(error) => tracing::error!(%error, "looking at the signing keys failed"),
        }
        if !goes_on_after(tokio::time::sleep(LOOK_INTERVAL), &mut stop).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, of_flags};

    /// Threat 10.
    #[tokio::test]
    async fn keys_can_be_rotated_before_the_first_start_and_not_twice_in_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let config = of_flags(&["--data-dir", data.to_str().unwrap()]);
        run(&config, &KeysAction::Rotate { compromised: false }).await.unwrap();
        run(&config, &KeysAction::List).await.unwrap();
        let error = run(&config, &KeysAction::Rotate { compromised: false }).await.unwrap_err().to_string();
        assert!(error.contains("--compromised"), "{error}");
        run(&config, &KeysAction::Rotate { compromised: true }).await.unwrap();
        let keys = KeyFile::at(config.signing_key_file()).load().unwrap();
        assert_eq!(keys.states(SystemClock.now()).len(), 1);
    }

    #[tokio::test]
    async fn keys_that_are_not_there_are_neither_listed_nor_distrusted_and_none_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut config = of_flags(&["--data-dir", data.to_str().unwrap()]);
        let secret = "f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e";
        for secret_key in [None, Some(Secret(secret.to_owned()))] {
            config.secret_key = secret_key;
            for action in [KeysAction::List, KeysAction::Rotate { compromised: true }] {
                let error = run(&config, &action).await.unwrap_err().to_string();
                assert!(error.contains(data.to_str().unwrap()) && error.contains("--data-dir"), "{error}");
                assert!(!data.exists());
            }
        }
        // With a secret that is not in the folder, too.
        run(&config, &KeysAction::Rotate { compromised: false }).await.unwrap();
        run(&config, &KeysAction::List).await.unwrap();
    }

    #[tokio::test]
    async fn keys_are_not_rotated_beside_a_server_of_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let config = of_flags(&["--data-dir", folder.path().to_str().unwrap()]);
        let backend = Backend::open(&config).await.unwrap();
        let serving = lock::take(&config).unwrap();
        let error = run(&config, &KeysAction::Rotate { compromised: false }).await.unwrap_err().to_string();
        assert!(error.contains("another version"), "{error}");
        assert_eq!(backend.pending_migrations().await.unwrap(), backend.migration_status().await.unwrap().len());
        drop(serving);
        // The keys are as they were, or this would be refused.
        run(&config, &KeysAction::Rotate { compromised: false }).await.unwrap();
    }
}
