//! `bellwether admin`.

use std::io::Read;

use anyhow::Context;
use bellwether_domain::text::{DisplayName, Email};
use bellwether_usecases::users::{Password, SignUp, create_admin};

use crate::cli::AdminAction;
use crate::config::Config;
use crate::wiring::{self, Backend};
use crate::{migrate, print_line};

/// The longest password that is read: bcrypt reads 72 bytes, and a line may end in a line break.
const MAX_INPUT: u64 = 4096;

/// Makes an administrator. May be run beside a running server.
pub(crate) async fn run(config: &Config, action: AdminAction) -> anyhow::Result<()> {
    let AdminAction::Create { email, display_name, password_stdin: _ } = action;
    let email = Email::parse(&email).map_err(|e| anyhow::anyhow!("--email: {e}"))?;
    let display_name = DisplayName::parse(&display_name).map_err(|e| anyhow::anyhow!("--display-name: {e}"))?;
    let password = read_password()?;
    let backend = Backend::open(config).await?;
    let applied = migrate::up_beside_a_server(config, &backend).await?;
    let place = config.database.place();
    if applied.len() == backend.migration_status().await?.len() {
        print_line(&format!(
            "there was no data in {place}: a new database was made. A server is to be started with the same --data-dir or \
             --database-url"
        ));
    }
    let ctx = wiring::command_context(config, &backend)?;
    let user = create_admin(&ctx, SignUp { email, display_name, password }).await?;
    print_line(&format!("{} is an administrator (id {}) in {place}", user.display_name.as_str(), user.id));
    Ok(())
}

fn read_password() -> anyhow::Result<Password> {
    let mut text = String::new();
    std::io::stdin().take(MAX_INPUT).read_to_string(&mut text).context("reading the password from standard input")?;
    let password = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    Ok(Password(password.to_owned()))
}
