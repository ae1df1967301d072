//! Where a request comes from. Proxies that are trusted are believed whom they speak for; nobody else is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use actix_web::http::header::HeaderMap;
use ipnet::IpNet;

/// The header in which proxies write for whom they ask. One only: what a proxy does not write itself, it
/// passes on as its client made it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: client, proxy`.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239).
    Forwarded,
}

/// The proxies that are trusted, and how they say for whom they ask.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Where they are; nowhere by default.
    pub networks: Vec<IpNet>,
    /// Which header they write.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// The address that a request comes from, given the one that connected: the last in the chain that is
    /// no trusted proxy. Each proxy adds whom it was asked by at the end, so what stands before an
    /// address that is not trusted is that one's word alone.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let name = match self.header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        if !self.trusts(client) {
            if self.networks.is_empty() && headers.contains_key(name) {
                warn_of_proxy(client);
            }
            return client;
        }
        let values: Vec<&str> = headers.get_all(name).map(|value| value.to_str().unwrap_or_default()).collect();
        for hop in values.iter().rev().flat_map(|value| self.hops(value)) {
            let asked_by = match self.header {
                ForwardedHeader::XForwardedFor => address(hop),
                ForwardedHeader::Forwarded => forwarded_for(hop).and_then(address),
            };
            // What cannot be read was asked by the proxy, as far as anybody can tell.
            let Some(asked_by) = asked_by else { return client };
            client = asked_by;
            if !self.trusts(client) {
                return client;
            }
        }
        client
    }

    /// The hops of one line of the header, the last one first. `X-Forwarded-For` has no quotes: one in it is a client's.
    fn hops<'a>(&self, line: &'a str) -> Vec<&'a str> {
        match self.header {
            ForwardedHeader::XForwardedFor => line.rsplit(',').collect(),
            ForwardedHeader::Forwarded => unquoted(line, ','),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Behind a proxy that is not named, everybody would be counted as one. Said once: anybody can send the header.
fn warn_of_proxy(peer: IpAddr) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(%peer, "a request says that it was forwarded, which is ignored; if that address is your proxy's, name it in trusted_proxies: limits count everybody behind it as one");
    });
}

/// The `for` of one hop.
fn forwarded_for(hop: &str) -> Option<&str> {
    unquoted(hop, ';').into_iter().rev().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// An address with a port or without, in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// The parts between separators that do not stand in quotes, the last one first. Read from the end: a quote that a client has
/// left open then spoils what stands left of it, and nothing that a proxy has added.
fn unquoted(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.rsplit(|letter: char| {
        is_quoted ^= letter == '"';
        letter == separator && !is_quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    /// The client, where 10.0.0.0/8 and 2001:db8::/32 are trusted.
    fn client(peer: &str, header: ForwardedHeader, lines: &[(&'static str, &str)]) -> String {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Proxies { networks, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    fn by_x(peer: &str, lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        client(peer, ForwardedHeader::XForwardedFor, &lines)
    }

    fn by_forwarded(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        client("10.0.0.1", ForwardedHeader::Forwarded, &lines)
    }

    /// Threat 56.
    #[test]
    fn a_peer_that_is_not_trusted_speaks_for_itself() {
        assert_eq!(by_x("192.0.2.1", &["203.0.113.7"]), "192.0.2.1");
        let peer = Proxies::default().client("127.0.0.1".parse().unwrap(), &HeaderMap::new());
        assert_eq!(peer.to_string(), "127.0.0.1");
    }

    /// Threat 56: what stands on the left of the first stranger is made up.
    #[test]
    fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
        assert_eq!(by_x("10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(by_x("10.0.0.1", &["198.51.100.9, 203.0.113.7, 10.0.0.2"]), "203.0.113.7");
        assert_eq!(by_x("10.0.0.1", &["198.51.100.9", "203.0.113.7, 10.0.0.2", "10.0.0.3"]), "203.0.113.7");
        assert_eq!(by_x("2001:db8::1", &["2a00::7, 2001:db8::2"]), "2a00::7");
        assert_eq!(by_x("::ffff:10.0.0.1", &["::ffff:203.0.113.7"]), "203.0.113.7");
    }

    #[test]
    fn where_all_are_trusted_the_first_is_the_client_and_without_a_header_the_peer() {
        assert_eq!(by_x("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(by_x("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn ports_and_brackets_are_left_out() {
        for hop in ["203.0.113.7:4711", " 203.0.113.7 "] {
            assert_eq!(by_x("10.0.0.1", &[hop]), "203.0.113.7");
        }
        for hop in ["[2a00::7]:4711", "[2a00::7]", "2a00::7"] {
            assert_eq!(by_x("10.0.0.1", &[hop]), "2a00::7");
        }
    }

    /// Threat 56: nothing that stands left of what cannot be read is believed.
    #[test]
    fn what_cannot_be_read_ends_the_chain() {
        for hops in ["203.0.113.7, unknown", "203.0.113.7,", "203.0.113.7, 1.2.3", "203.0.113.7 10.0.0.2", "", "\u{e9}"]
        {
            assert_eq!(by_x("10.0.0.1", &[hops]), "10.0.0.1", "{hops}");
        }
        assert_eq!(by_x("10.0.0.1", &["203.0.113.7, unknown, 10.0.0.2"]), "10.0.0.2");
    }

    /// Threat 56: who asks cannot hide behind a quote that it leaves open.
    #[test]
    fn a_quote_of_a_client_hides_nothing_that_a_proxy_has_added() {
        for line in ["\", 203.0.113.7", "\"198.51.100.9, 203.0.113.7", "\", 203.0.113.7, 10.0.0.2"] {
            assert_eq!(by_x("10.0.0.1", &[line]), "203.0.113.7", "{line}");
        }
        for line in
            ["\", for=203.0.113.7", "for=\"198.51.100.9, for=\"203.0.113.7:4711\"", "\", for=203.0.113.7, for=10.0.0.2"]
        {
            assert_eq!(by_forwarded(&[line]), "203.0.113.7", "{line}");
        }
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_the_one() {
        assert_eq!(by_forwarded(&["for=192.0.2.60;proto=http;by=203.0.113.43"]), "192.0.2.60");
        assert_eq!(by_forwarded(&["For=\"[2a00::7]:4711\""]), "2a00::7");
        assert_eq!(
            by_forwarded(&["for=198.51.100.9, by=\"a,b;for=1.1.1.1\";for=192.0.2.60", "for=10.0.0.2"]),
            "192.0.2.60"
        );
        for bad in
            ["for=192.0.2.60, for=unknown", "for=192.0.2.60, for=_hidden", "for=192.0.2.60, proto=http", "for=\"1"]
        {
            assert_eq!(by_forwarded(&[bad]), "10.0.0.1", "{bad}");
        }
    }

    /// Threat 56: the header that the proxy does not write comes from the client.
    #[test]
    fn the_other_header_is_never_read() {
        let lines = [("forwarded", "for=198.51.100.9"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(client("10.0.0.1", ForwardedHeader::XForwardedFor, &lines), "203.0.113.7");
        assert_eq!(client("10.0.0.1", ForwardedHeader::Forwarded, &lines), "198.51.100.9");
    }
}
