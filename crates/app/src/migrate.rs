//! `bellwether migrate`.

use anyhow::bail;

use crate::cli::MigrateAction;
use crate::config::Config;
use crate::wiring::Backend;
use crate::{lock, print_line};

/// Changes the schema, or lists its steps.
pub(crate) async fn run(config: &Config, action: MigrateAction) -> anyhow::Result<()> {
    if matches!(action, MigrateAction::Down { .. }) && lock::is_taken(config) {
        bail!("a server is using the database {}; stop it before its tables are removed", config.database);
    }
    let backend = match action {
        MigrateAction::Up => Backend::open(config).await?,
        MigrateAction::Down { .. } | MigrateAction::Status => Backend::open_existing(config).await?,
    };
    match action {
        MigrateAction::Up => report("applied", &up_beside_a_server(config, &backend).await?),
        MigrateAction::Down { steps } => report("reverted", &backend.migrate_down(steps).await?),
        MigrateAction::Status => {
            for (name, is_applied) in backend.migration_status().await? {
                print_line(&format!("{} {name}", if is_applied { "applied" } else { "pending" }));
            }
        }
    }
    Ok(())
}

/// Applies pending migrations, for commands that may run beside a server; their names.
pub(crate) async fn up_beside_a_server(config: &Config, backend: &Backend) -> anyhow::Result<Vec<String>> {
    refuse_beside_another_version(config, backend).await?;
    backend.migrate_up().await
}

/// A server applies all that it knows before it serves. What is pending beside one is of another version, and would change
/// the tables under it.
pub(crate) async fn refuse_beside_another_version(config: &Config, backend: &Backend) -> anyhow::Result<()> {
    if backend.pending_migrations().await? > 0 && lock::is_taken(config) {
        bail!("a server of another version is using the database {}; stop it, then run this again", config.database);
    }
    Ok(())
}

fn report(done: &str, names: &[String]) {
    if names.is_empty() {
        print_line("nothing to do");
    }
    for name in names {
        print_line(&format!("{done} {name}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::of_flags;

    #[tokio::test]
    async fn tables_are_not_removed_under_a_running_server() {
        let folder = tempfile::tempdir().unwrap();
        let config = of_flags(&["--data-dir", folder.path().to_str().unwrap()]);
        run(&config, MigrateAction::Up).await.unwrap();
        let serving = lock::take(&config).unwrap();
        let error = run(&config, MigrateAction::Down { steps: 1 }).await.unwrap_err().to_string();
        assert!(error.contains("a server is using"), "{error}");
        drop(serving);
        run(&config, MigrateAction::Down { steps: 1 }).await.unwrap();
        run(&config, MigrateAction::Up).await.unwrap();
        let backend = Backend::open_existing(&config).await.unwrap();
        assert_eq!(backend.pending_migrations().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn tables_are_not_changed_under_a_running_server_of_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let config = of_flags(&["--data-dir", folder.path().to_str().unwrap()]);
        run(&config, MigrateAction::Up).await.unwrap();
        let serving = lock::take(&config).unwrap();
        run(&config, MigrateAction::Up).await.unwrap();
        let backend = Backend::open_existing(&config).await.unwrap();
        backend.migrate_down(1).await.unwrap();
        let error = run(&config, MigrateAction::Up).await.unwrap_err().to_string();
        assert!(error.contains("another version") && error.contains("stop it"), "{error}");
        assert_eq!(backend.pending_migrations().await.unwrap(), 1);
        drop(serving);
        run(&config, MigrateAction::Up).await.unwrap();
        assert_eq!(backend.pending_migrations().await.unwrap(), 0);
    }
}
