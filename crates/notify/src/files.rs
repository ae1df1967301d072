//! Mails as files in a folder: for who tries the server out, and for tests.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bellwether_domain::mail::{Mail, Sender};
use bellwether_domain::ports::{MailError, Mailer};
use lettre::message::Mailbox;

use crate::SetUpError;
use crate::compose::{Text, compose, sender};

/// Writes each mail as `JOB.eml` into a folder that only its owner can enter, and never removes one.
/// The folder's order by name is the order in which the mails were asked for.
#[derive(Debug)]
pub struct FileMailer {
    folder: PathBuf,
    from: Mailbox,
}

impl FileMailer {
    /// A mailer into that folder, which is made with the first mail.
    pub fn new(folder: PathBuf, from: &Sender) -> Result<Self, SetUpError> {
        Ok(Self { folder, from: sender(from)? })
    }
}

#[async_trait]
impl Mailer for FileMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let content = compose(mail, &self.from, Text::Readable)?.formatted();
        let (folder, name) = (self.folder.clone(), format!("{}.eml", mail.id));
        let file = name.clone();
        let written = tokio::task::spawn_blocking(move || write(&folder, &name, &content)).await;
        written
            .map_err(|error| MailError::Unavailable(error.into()))?
            .map_err(|error| MailError::Unavailable(error.into()))?;
        tracing::info!(subject = %mail.subject, %file, "a mail was written to a file; set the mailer to smtp to send mails");
        Ok(())
    }
}

/// Under another name first, so that nobody reads half a mail.
fn write(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = folder.join(format!("{name}.draft"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    fs::rename(&draft, folder.join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::compose::tests::{house, mail};

    #[tokio::test]
    async fn a_mail_is_one_private_file_however_often_it_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let mails = folder.path().join("data").join("mail");
        let mailer = FileMailer::new(mails.clone(), &house()).unwrap();
        for _ in 0..2 {
            mailer.send(&mail("ann@example.org", "Ann", "Hello")).await.unwrap();
        }
        let files: Vec<PathBuf> = fs::read_dir(&mails).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(fs::read_to_string(&files[0]).unwrap().contains("To: Ann <ann@example.org>"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&mails), mode(&files[0])), (0o700, 0o600));
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_to_is_a_fault_that_may_pass() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mailer = FileMailer::new(file.path().join("mail"), &house()).unwrap();
        let failed = mailer.send(&mail("ann@example.org", "Ann", "Hello")).await;
        assert!(matches!(failed, Err(MailError::Unavailable(_))), "{failed:?}");
    }
}
