//! Mails: those that a server wrote to files, and a mail server that does as it is told.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::server::Installation;

/// How long a mail may take to arrive.
const LIMIT: Duration = Duration::from_secs(60);

/// A mail as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Everything, its lines joined and its signs as they were meant.
    pub text: String,
}

impl Mail {
    fn read(raw: &str) -> Self {
        let mut text = raw.replace("\r\n", "\n");
        if text.contains("Content-Transfer-Encoding: quoted-printable") {
            text = text.replace("=\n", "").replace("=3D", "=");
        }
        Self { text }
    }

    /// A header; empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let head = self.text.split("\n\n").next().unwrap_or_default();
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }

    /// The token in it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn token(&self) -> String {
        let (_, rest) = self.text.split_once("#token=").unwrap_or_else(|| panic!("no token in {}", self.text));
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    }

    fn is_to(&self, address: &str) -> bool {
        self.header("To").trim_matches(['<', '>']).ends_with(address)
    }
}

/// The mails to an address that the server has written to files, oldest first.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn written(installation: &Installation, address: &str) -> Vec<Mail> {
    let Ok(folder) = std::fs::read_dir(installation.data_dir().join("mail")) else { return Vec::new() };
    let mut files: Vec<_> = folder.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    let read = |path: &Path| Mail::read(&std::fs::read_to_string(path).expect("a mail can be read"));
    files.iter().map(|path| read(path)).filter(|mail| mail.is_to(address)).collect()
}

/// Waits until that many mails to an address were written to files.
///
/// # Panics
/// When that takes too long.
pub async fn wait_for_written(installation: &Installation, address: &str, count: usize) -> Vec<Mail> {
    wait_for(|| written(installation, address), count).await
}

async fn wait_for(look: impl Fn() -> Vec<Mail>, count: usize) -> Vec<Mail> {
    let started = Instant::now();
    loop {
        let mails = look();
        if mails.len() >= count {
            return mails;
        }
        assert!(started.elapsed() < LIMIT, "{} mails came where {count} should: {mails:#?}", mails.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a mail server does with a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes it.
    Accept,
    /// Has no room for it right now.
    TryLater,
    /// Knows no such mailbox.
    Refuse,
    /// Takes the whole of it, and never says that it did.
    Hang,
}

/// A mail server. It ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct SmtpServer {
    address: String,
    manner: watch::Sender<Manner>,
    arrived: Arc<Mutex<Vec<Mail>>>,
    asked: watch::Sender<usize>,
}

impl SmtpServer {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it has an address").to_string();
        let server =
            Self { address, manner: watch::Sender::new(manner), arrived: Arc::default(), asked: watch::Sender::new(0) };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = serving.clone();
                // A client that goes away is no matter.
                tokio::spawn(async move { server.talk(socket).await });
            }
        });
        server
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Changes its manner.
    pub fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// The mails to an address that it took, oldest first. One that came again, since its sender had not heard in time
    /// that it was taken, is there once.
    #[must_use]
    pub fn taken(&self, address: &str) -> Vec<Mail> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids = HashSet::new();
        let mut taken: Vec<Mail> = arrived.iter().filter(|mail| mail.is_to(address)).cloned().collect();
        taken.retain(|mail| ids.insert(mail.header("Message-ID").to_owned()));
        taken
    }

    /// Waits until it has taken that many mails to an address.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn wait_for(&self, address: &str, count: usize) -> Vec<Mail> {
        wait_for(|| self.taken(address), count).await
    }

    /// How many mails it was asked to take, whatever it did with them.
    #[must_use]
    pub fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it was asked to take more mails than that.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn wait_until_asked(&self, before: usize) {
        let mut asked = self.asked.subscribe();
        let waiting = asked.wait_for(|asked| *asked > before);
        tokio::time::timeout(LIMIT, waiting).await.expect("it is asked in time").expect("it lives");
    }

    fn was_asked(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    async fn talk(&self, socket: TcpStream) -> std::io::Result<()> {
        let mut socket = BufReader::new(socket);
        socket.write_all(b"220 test\r\n").await?;
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let manner = *self.manner.borrow();
            let answer = match (line.trim_end().split(' ').next().unwrap_or_default(), manner) {
                ("EHLO", _) => "250-test\r\n250 8BITMIME\r\n",
                ("RCPT", Manner::TryLater) => {
                    self.was_asked();
                    "451 no room right now\r\n"
                }
                ("RCPT", Manner::Refuse) => {
                    self.was_asked();
                    "550 no such mailbox\r\n"
                }
                ("DATA", _) => {
                    socket.write_all(b"354 go on\r\n").await?;
                    let mail = read_mail(&mut socket).await?;
                    if *self.manner.borrow() == Manner::Hang {
                        self.was_asked();
                        std::future::pending::<()>().await;
                    }
                    self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                    self.was_asked();
                    "250 taken\r\n"
                }
                ("QUIT", _) => {
                    socket.write_all(b"221 bye\r\n").await?;
                    return Ok(());
                }
                _ => "250 ok\r\n",
            };
            socket.write_all(answer.as_bytes()).await?;
        }
    }
}

async fn read_mail(socket: &mut BufReader<TcpStream>) -> std::io::Result<Mail> {
    let mut raw = String::new();
    loop {
        let start = raw.len();
        if socket.read_line(&mut raw).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if raw.get(start..) == Some(".\r\n") {
            raw.truncate(start);
            return Ok(Mail::read(&raw));
        }
    }
}
