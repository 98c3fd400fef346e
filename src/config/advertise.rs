// SPDX-License-Identifier: Apache-2.0
//! Which address of a broker a client is told: a view of the connection that asks, because no single address is reachable from everywhere.
//!
//! First match wins: a rule for the client's network; a `brokerIP1` that was set, exactly as in the original; for a client on
//! loopback, loopback; otherwise the local address on which the client came in, which it can reach by construction.
//! A gateway is never guessed. Pure: knows addresses, neither sockets nor requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The rules of the key `advertise`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdvertiseRules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    network: IpAddr,
    prefix_bits: u8,
    host: String,
    port: Option<u16>,
}

impl AdvertiseRules {
    /// `172.18.0.1/32=127.0.0.1, 10.0.0.0/8=broker.example.org:20911`. `Err` is what is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rules = text.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        Ok(Self(
            rules
                .map(|rule| Rule::parse(rule).ok_or_else(|| format!("{rule} is not NETWORK/BITS=HOST or NETWORK/BITS=HOST:PORT")))
                .collect::<Result<_, _>>()?,
        ))
    }

    fn matching(&self, peer: IpAddr) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.covers(peer))
    }

    /// What a client in `peer`'s network is told instead of `addr`, some broker's `host:port`. A rule that names a port speaks of
    /// one broker and is not for others.
    pub fn for_any_broker(&self, addr: &str, peer: SocketAddr) -> Option<String> {
        let rule = self.matching(plain(peer.ip()))?;
        let (_, port) = addr.rsplit_once(':')?;
        rule.port.is_none().then(|| format!("{}:{port}", rule.host))
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let (network, target) = text.split_once('=')?;
        let (network, bits) = match network.trim().split_once('/') {
            Some((network, bits)) => (network, Some(bits.parse().ok()?)),
            None => (network.trim(), None),
        };
        let network: IpAddr = network.parse().ok()?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.unwrap_or(most);
        let target = target.trim();
        let (host, port) = match target.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (target, None),
        };
        let fits = prefix_bits <= most && !host.is_empty() && !host.contains(char::is_whitespace);
        fits.then(|| Self { network, prefix_bits, host: host.to_owned(), port })
    }

    fn covers(&self, peer: IpAddr) -> bool {
        let same = |mine: u128, other: u128, width: u32| {
            let shift = width - u32::from(self.prefix_bits);
            shift == width || mine >> shift == other >> shift
        };
        match (self.network, peer) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => same(mine.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(mine), IpAddr::V6(other)) => same(mine.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// The broker of this process as its clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    rules: AdvertiseRules,
    /// Registered with name servers and stored in messages: brokerIP1, or the first address that is not loopback.
    registered: String,
    /// The same where it is an address and not a name.
    registered_socket: Option<SocketAddr>,
    /// brokerIP1 was set by a person.
    fixed: bool,
    listen_port: u16,
}

impl Advertised {
    pub fn new(rules: AdvertiseRules, broker_ip1: &str, fixed: bool, listen_port: u16) -> Self {
        let registered = format!("{broker_ip1}:{listen_port}");
        Self { rules, registered_socket: registered.parse().ok(), registered, fixed, listen_port }
    }

    /// The address that name servers and messages carry: `brokerIP1:listenPort`.
    pub fn registered(&self) -> &str {
        &self.registered
    }

    /// As `for_peer`, as an address; `None` where a rule or `brokerIP1` is a name.
    pub fn socket_for_peer(&self, peer: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
        if let Some(rule) = self.rules.matching(plain(peer.ip())) {
            return Some(SocketAddr::new(rule.host.parse().ok()?, rule.port.unwrap_or(self.listen_port)));
        }
        if self.fixed {
            return self.registered_socket;
        }
        Some(SocketAddr::new(self.host_without_rules(peer, local), self.listen_port))
    }

    fn host_without_rules(&self, peer: SocketAddr, local: SocketAddr) -> IpAddr {
        if plain(peer.ip()).is_loopback() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { plain(local.ip()) }
    }

    /// The address for a client at `peer` that came in on `local`.
    pub fn for_peer(&self, peer: SocketAddr, local: SocketAddr) -> String {
        if let Some(rule) = self.rules.matching(plain(peer.ip())) {
            return format!("{}:{}", rule.host, rule.port.unwrap_or(self.listen_port));
        }
        if self.fixed {
            return self.registered.clone();
        }
        SocketAddr::new(self.host_without_rules(peer, local), self.listen_port).to_string()
    }
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(rules: &str, fixed: bool, peer: &str, local: &str) -> String {
        let broker = Advertised::new(AdvertiseRules::parse(rules).unwrap(), "10.1.1.1", fixed, 10911);
        broker.for_peer(SocketAddr::new(peer.parse().unwrap(), 40_000), SocketAddr::new(local.parse().unwrap(), 9876))
    }

    #[test]
    fn each_client_is_told_an_address_that_it_can_reach() {
        assert_eq!(view("", false, "127.0.0.1", "127.0.0.1"), "127.0.0.1:10911");
        assert_eq!(view("", false, "172.18.0.3", "172.18.0.2"), "172.18.0.2:10911");
        assert_eq!(view("", false, "::ffff:172.18.0.3", "::ffff:172.18.0.2"), "172.18.0.2:10911");
        assert_eq!(view("", false, "fd00::3", "fd00::2"), "[fd00::2]:10911");
    }

    #[test]
    fn a_rule_goes_before_broker_ip1_and_broker_ip1_before_the_connection() {
        let rules = "172.18.0.1/32 = 127.0.0.1, 10.0.0.0/8=broker.example.org:20911";
        assert_eq!(view(rules, true, "172.18.0.1", "172.18.0.2"), "127.0.0.1:10911");
        assert_eq!(view(rules, true, "10.9.8.7", "172.18.0.2"), "broker.example.org:20911");
        assert_eq!(view(rules, true, "172.18.0.3", "172.18.0.2"), "10.1.1.1:10911");
        assert_eq!(view(rules, true, "127.0.0.1", "127.0.0.1"), "10.1.1.1:10911");
    }

    #[test]
    fn a_name_server_moves_other_brokers_by_host_only() {
        let rules = AdvertiseRules::parse("172.18.0.1/32=127.0.0.1,10.0.0.0/8=b:1").unwrap();
        let from = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 1);
        assert_eq!(rules.for_any_broker("172.18.0.4:10921", from("172.18.0.1")).as_deref(), Some("127.0.0.1:10921"));
        assert_eq!(rules.for_any_broker("172.18.0.4:10921", from("172.18.0.3")), None);
        assert_eq!(rules.for_any_broker("172.18.0.4:10921", from("10.0.0.1")), None);
    }

    #[test]
    fn a_wrong_rule_is_named() {
        for rule in ["172.18.0.1", "172.18.0.1/33=a", "x=y", "10.0.0.0/8=", "10.0.0.0/8=a:port", "10.0.0.0/8=a b"] {
            let why = AdvertiseRules::parse(&format!("127.0.0.0/8=a,{rule}")).unwrap_err();
            assert_eq!(why, format!("{rule} is not NETWORK/BITS=HOST or NETWORK/BITS=HOST:PORT"));
        }
        assert_eq!(view("0.0.0.0/0=h", false, "8.8.8.8", "1.1.1.1"), "h:10911");
    }
}
