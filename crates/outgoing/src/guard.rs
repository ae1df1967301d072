//! Which addresses may be called.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::ports::CallError;
use ipnet::IpNet;
use jiff::SignedDuration;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use url::{Host, Url};

/// Knows which addresses may be called: those that are for everybody, and those of networks that the house
/// allows besides. Clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
}

/// No address of a host may be called.
#[derive(Debug, Error)]
#[error("the host has an address that is not for everybody")]
pub(crate) struct NotForEverybody;

impl Guard {
    /// Allows these networks besides.
    #[must_use]
    pub fn allowing(networks: Vec<IpNet>) -> Self {
        Self { allowed: networks.into() }
    }

    fn is_allowed_by_the_house(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&address))
    }

    /// Whether an address may be called.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        self.is_allowed_by_the_house(address) || is_for_everybody(address)
    }

    /// The URL, where it may be called as far as it says itself.
    pub(crate) fn parse(&self, text: &str) -> Result<Url, CallError> {
        let forbidden = |why: &str| Err(CallError::Forbidden(why.to_owned()));
        let Ok(url) = Url::parse(text) else { return forbidden("is no URL") };
        if !url.username().is_empty() || url.password().is_some() {
            return forbidden("must not contain a user or a password");
        }
        if url.port() == Some(0) {
            return forbidden("must not have port 0");
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return forbidden("must have a host"),
        };
        if address.is_some_and(|address| !self.permits(address)) {
            return forbidden("has an address that is not for everybody");
        }
        match url.scheme() {
            "https" => Ok(url),
            // What stays within networks that the house allows may go unencrypted.
            "http" if address.is_none() || address.is_some_and(|address| self.is_allowed_by_the_house(address)) => {
                Ok(url)
            }
            _ => forbidden("must begin with https://"),
        }
    }

    /// The addresses of a host, all of which may be called: by https any that are for everybody, by http those
    /// of networks that the house allows.
    pub(crate) async fn resolve(&self, url: &Url, turns: &'static Turns) -> Result<Vec<SocketAddr>, CallError> {
        let Some(Host::Domain(host)) = url.host() else { return Ok(Vec::new()) };
        let turn = turns.take().await.ok_or(CallError::LeftAlone(SignedDuration::from_secs(5)))?;
        let found = lookup(host, turn).await.map_err(|_| CallError::Failed("the host is not known".to_owned()))?;
        if found.is_empty() {
            return Err(CallError::Failed("the host has no address".to_owned()));
        }
        let is_encrypted = url.scheme() == "https";
        for address in &found {
            if !self.permits(address.ip()) {
                return Err(CallError::Forbidden(NotForEverybody.to_string()));
            }
            if !is_encrypted && !self.is_allowed_by_the_house(address.ip()) {
                return Err(CallError::Forbidden("must begin with https://".to_owned()));
            }
        }
        Ok(found)
    }
}

/// So many look-ups are under way at a time. Each has a thread until the system's resolver has answered, whether or not
/// anybody still waits for it, of those that much else needs too.
pub(crate) struct Turns(Semaphore);

/// Of hosts that are called.
pub(crate) static CALLED: Turns = Turns(Semaphore::const_new(256));
/// Of hosts that somebody only names, as often as he likes.
pub(crate) static NAMED: Turns = Turns(Semaphore::const_new(16));
/// How long a look-up waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

impl Turns {
    /// Waits for a turn; none where others take too long with theirs, which is not the fault of whose turn it would be.
    async fn take(&'static self) -> Option<SemaphorePermit<'static>> {
        timeout(PATIENCE, self.0.acquire()).await.ok()?.ok()
    }
}

/// Looks a host up in its turn.
async fn lookup(host: &str, turn: SemaphorePermit<'static>) -> io::Result<Vec<SocketAddr>> {
    let host = host.to_owned();
    let looked_up = tokio::task::spawn_blocking(move || {
        let found = (host.as_str(), 0).to_socket_addrs().map(Iterator::collect);
        drop(turn);
        found
    });
    looked_up.await?
}

/// For reqwest: resolves at each connection, and connects to what was looked at.
#[derive(Debug)]
pub(crate) struct GuardedResolver(pub(crate) Guard);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let turn = CALLED.take().await.ok_or("too many hosts are being looked up")?;
            let found = lookup(name.as_str(), turn).await?;
            // One that is not permitted spoils all: which of them is connected to is chance.
            if found.iter().any(|address| !guard.permits(address.ip())) {
                return Err(NotForEverybody.into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is one of the internet's, for everybody to reach. Addresses that stand for others are
/// what they stand for.
fn is_for_everybody(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_global_v4(inner),
            None => is_global_v6(address),
        },
    }
}

/// By the registry of special-purpose addresses.
fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)                 // this network, private, loopback
            | (100, 64..=127, _)             // shared by carriers
            | (169, 254, _)                  // link-local: metadata of clouds too
            | (172, 16..=31, _)              // private
            | (192, 0, 0 | 2)                // protocols, documentation
            | (192, 31, 196)                 // AS112
            | (192, 52, 193)                 // AMT
            | (192, 88, 99)                  // 6to4 relays
            | (192, 168, _)                  // private
            | (192, 175, 48)                 // AS112
            | (198, 18..=19, _)              // benchmarks
            | (198, 51, 100)                 // documentation
            | (203, 0, 113)                  // documentation
            | (224..=255, _, _) // multicast, reserved, broadcast
    );
    !is_special
}

/// Only global unicast (`2000::/3`) without what is special in it.
fn is_global_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_special = matches!(
        (a, b),
        (0x2001, 0..=0x01ff | 0x0db8)        // protocols (Teredo, ORCHID), documentation
            | (0x2002 | 0x3fff | 0x5f00, _)  // 6to4, documentation, segment routing
            | (0x2620, 0x004f) // AS112
    );
    (0x2000..=0x3fff).contains(&a) && !is_special
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, or translated by NAT64.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, ..] = address.segments();
    let is_embedded = matches!(
        (a, b, c, d, e, f),
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x0064, 0xff9b, 0, 0, 0, 0)
    );
    let [.., w, x, y, z] = address.octets();
    is_embedded.then(|| Ipv4Addr::new(w, x, y, z))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threat 51.
    #[test]
    fn only_addresses_of_the_internet_are_permitted() {
        let guard = Guard::default();
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(guard.permits(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "203.0.113.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "100::1",
        ] {
            assert!(!guard.permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn networks_that_the_house_allows_are_permitted_and_no_others() {
        let guard = Guard::allowing(vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (address, is_permitted) in
            [("127.0.0.1", true), ("::ffff:127.0.0.1", true), ("fd00::1", true), ("10.0.0.1", false), ("::1", false)]
        {
            assert_eq!(guard.permits(address.parse().unwrap()), is_permitted, "{address}");
        }
    }

    /// Threat 51: as octal, hexadecimal, one number, with other digits; whatever stands for loopback.
    #[test]
    fn urls_of_forbidden_addresses_are_refused_however_they_are_written() {
        let guard = Guard::default();
        for url in [
            "https://127.0.0.1/",
            "https://0177.0.0.1/",
            "https://0x7f.0.0.1/",
            "https://2130706433/",
            "https://127.1/",
            "https://①②⑦.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://user@example.org/",
            "https://user:word@example.org/",
            "http://93.184.216.34/",
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://",
            "nonsense",
            "https://example.org:0/",
        ] {
            assert!(matches!(guard.parse(url), Err(CallError::Forbidden(_))), "{url}");
        }
        for url in ["https://example.org/hook?x=1", "https://93.184.216.34:8443/", "http://intranet.example/"] {
            guard.parse(url).unwrap();
        }
    }

    /// Threat 51: by a name, which only its resolution tells.
    #[tokio::test]
    async fn a_host_that_resolves_to_a_forbidden_address_is_refused() {
        let guard = Guard::default();
        let url = guard.parse("https://localhost/").unwrap();
        assert!(matches!(guard.resolve(&url, &NAMED).await, Err(CallError::Forbidden(_))));
        let allowing = Guard::allowing(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        assert!(!allowing.resolve(&url, &NAMED).await.unwrap().is_empty());
        let resolved = GuardedResolver(guard).resolve("localhost".parse().unwrap()).await;
        assert!(resolved.is_err());
    }
}
