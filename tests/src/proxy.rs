//! A proxy on the way to a server, for servers that stop answering without going away.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Hands everything on in both directions, until it is told to freeze. A frozen proxy accepts
/// connections and bytes, as the kernel does for a process that was stopped, and keeps what it gets.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    frozen: Arc<watch::Sender<bool>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to an address such as `127.0.0.1:5432`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let frozen = Arc::new(watch::Sender::new(false));
        let state = frozen.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, mut state) = (target.clone(), state.clone());
                tokio::spawn(async move {
                    thawed(&mut state).await;
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        hand_on(from_client, to_server, state.clone()),
                        hand_on(from_server, to_client, state)
                    );
                });
            }
        });
        Self { address, frozen, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands nothing on from now on.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Hands on what has come meanwhile, and everything that comes.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Waits while the proxy is frozen.
async fn thawed(state: &mut watch::Receiver<bool>) {
    // Without its sender the proxy is gone, and nothing holds its connections back.
    let _gone = state.wait_for(|frozen| !frozen).await;
}

async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<bool>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        thawed(&mut state).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    thawed(&mut state).await;
    let _closed = to.shutdown().await;
}
