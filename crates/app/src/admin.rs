//! `bellwether admin`.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write};
use std::os::fd::AsFd;

use anyhow::Context as _;
use bellwether_domain::text::{DisplayName, Email};
use bellwether_usecases::users::{Password, SignUp, create_admin};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

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
    let made = create_admin(&ctx, SignUp { email, display_name, password }).await?;
    print_line(&format!("{} is an administrator (id {}) in {place}", made.user.display_name.as_str(), made.user.id));
    if made.is_taken_over {
        print_line(
            "There was an account with this address, which was taken over: it has the new password, its sessions have \
             ended, its API keys and those of its bots are revoked, and its webhooks are disabled.",
        );
    }
    Ok(())
}

fn read_password() -> anyhow::Result<Password> {
    let stdin = io::stdin();
    let read = if stdin.is_terminal() {
        ask(&stdin, stdin.lock(), io::stderr())
    } else {
        let mut text = String::new();
        stdin.take(MAX_INPUT).read_to_string(&mut text).map(|_| text)
    };
    let text = read.context("reading the password from standard input")?;
    let password = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    Ok(Password(password.to_owned()))
}

/// Asks whoever sits at the terminal for a line, and shows nothing of it.
fn ask(terminal: &impl AsFd, keyboard: impl BufRead, mut screen: impl Write) -> io::Result<String> {
    let usual = tcgetattr(terminal)?;
    let mut hidden = usual.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    hidden.local_flags.insert(LocalFlags::ECHONL);
    tcsetattr(terminal, SetArg::TCSANOW, &hidden)?;
    let mut line = String::new();
    let read = screen
        .write_all(b"Password: ")
        .and_then(|()| screen.flush())
        .and_then(|()| keyboard.take(MAX_INPUT).read_line(&mut line));
    tcsetattr(terminal, SetArg::TCSANOW, &usual)?;
    read.map(|_| line)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::pty::openpty;

    use super::*;

    /// Threat 71.
    #[test]
    fn a_password_that_is_typed_is_not_shown() {
        let pair = openpty(None, None).unwrap();
        let (mut user, terminal) = (File::from(pair.master), File::from(pair.slave));
        let (mut prompt, mut line_break) = ([0; 10], [0; 2]);
        let typed = std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&terminal, io::BufReader::new(&terminal), &terminal));
            user.read_exact(&mut prompt).unwrap();
            user.write_all(b"CANARY\n").unwrap();
            user.read_exact(&mut line_break).unwrap();
            asked.join().unwrap().unwrap()
        });
        assert_eq!((&prompt, typed.as_str(), &line_break), (b"Password: ", "CANARY\n", b"\r\n"));
        let usual = tcgetattr(&terminal).unwrap();
        assert!(usual.local_flags.contains(LocalFlags::ECHO));
    }
}
