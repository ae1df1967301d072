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
        MigrateAction::Up => report("applied", &backend.migrate_up().await?),
        MigrateAction::Down { steps } => report("reverted", &backend.migrate_down(steps).await?),
        MigrateAction::Status => {
            for (name, is_applied) in backend.migration_status().await? {
                print_line(&format!("{} {name}", if is_applied { "applied" } else { "pending" }));
            }
        }
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
}
