//! `bellwether audit`.

use std::process::ExitCode;

use anyhow::bail;
use bellwether_usecases::audit::audit;
use serde_json::json;

use crate::cli::AuditArgs;
use crate::config::Config;
use crate::print_line;
use crate::wiring::{self, Backend};

/// Checks every invariant: 0 when all hold, 1 when one is broken. (2, by `main`, when it could not check.)
pub(crate) async fn run(config: &Config, args: AuditArgs) -> anyhow::Result<ExitCode> {
    let backend = Backend::open_existing(config).await?;
    // An audit changes nothing, so it does not migrate either.
    let pending = backend.pending_migrations().await?;
    if pending > 0 {
        bail!("{pending} migrations of the database are pending, so it cannot be audited; fix: bellwether migrate up");
    }
    let ctx = wiring::command_context(config, &backend)?;
    let violations = audit(&ctx, args.limit).await?;
    let is_clean = violations.is_empty();
    if args.json {
        let list: Vec<_> = violations
            .iter()
            .map(|v| json!({"invariant": v.invariant, "message": v.message, "subject": v.subject.map(|s| s.to_string())}))
            .collect();
        print_line(&json!({"ok": is_clean, "violations": list}).to_string());
    } else if is_clean {
        print_line("every invariant holds");
    } else {
        for violation in &violations {
            let subject = violation.subject.map_or_else(String::new, |s| format!(" ({s})"));
            print_line(&format!("invariant {}: {}{subject}", violation.invariant, violation.message));
        }
        print_line(&format!("{} violations{}", violations.len(), more(violations.len(), args.limit)));
    }
    Ok(ExitCode::from(u8::from(!is_clean)))
}

fn more(found: usize, limit: u32) -> &'static str {
    if u32::try_from(found).is_ok_and(|n| n >= limit) { " or more; raise --limit to see them" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::of_flags;

    #[tokio::test]
    async fn a_database_that_is_not_there_or_not_migrated_is_not_called_clean() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("typo");
        let config = of_flags(&["--data-dir", data.to_str().unwrap()]);
        let args = AuditArgs { json: false, limit: 10 };
        let error = run(&config, args.clone()).await.unwrap_err().to_string();
        assert!(error.contains("there is no database") && !data.exists(), "{error}");

        let backend = Backend::open(&config).await.unwrap();
        let error = run(&config, args.clone()).await.unwrap_err().to_string();
        assert!(error.contains("migrate up"), "{error}");
        backend.migrate_up().await.unwrap();
        assert_eq!(run(&config, args).await.unwrap(), ExitCode::SUCCESS);
    }
}
