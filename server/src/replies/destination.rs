//! Where webhooks may go. Whoever may trigger a build names an address, and this process connects to it: so only addresses of
//! the public internet are taken, and those that whoever runs Stepcast has allowed by name (`--webhook-allow`). What a name
//! comes to is judged when it has been looked up, and the connection goes to exactly the address that was judged: a second
//! lookup, with another answer, is never made.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ureq::{
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// The option, as sentences name it.
pub(crate) const OPTION: &str = "--webhook-allow";

/// One thing that `--webhook-allow` allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// All addresses that share their first bits with this one.
    Network(Ipv6Addr, u32),
    /// A host by its name, whatever addresses it has. Lower case, without a dot at its end.
    Host(String),
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` must be a network such as 10.1.0.0/16 or fd00::/8, an address such as 127.0.0.1, or the name of a host"
            )
        };
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        if let Ok(address) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
            let width = if address.is_ipv4() { 32 } else { 128 };
            let bits: u32 = bits.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
            if bits > width {
                return Err(wrong());
            }
            return Ok(Self::Network(wide(address), bits + 128 - width));
        }
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_name = (1..=253).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            // 10.1 and 0x7f.1 are addresses to the system's lookup, and no names.
            && host.rsplit('.').next().is_some_and(|last| {
                !last.bytes().all(|byte| byte.is_ascii_digit()) && !last.starts_with("0x")
            });
        if is_name { Ok(Self::Host(host)) } else { Err(wrong()) }
    }
}

/// All that may be reached besides public addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destinations(Vec<Allowed>);

impl Destinations {
    /// As the option lists them.
    pub(crate) fn new(allowed: Vec<Allowed>) -> Self {
        Self(allowed)
    }

    /// Whether a webhook of this host may go to this address.
    pub(crate) fn has(&self, host: &str, address: IpAddr) -> bool {
        is_public(address) || self.names(host) || self.0.iter().any(|allowed| allowed.holds(address))
    }

    /// What is known of a URL's host before any lookup: one sentence, without its full stop, where it says itself that it is not
    /// allowed.
    pub(crate) fn check_literal(&self, host: &str) -> Result<(), String> {
        let address = match host.trim_matches(['[', ']']).parse() {
            Ok(address) => address,
            Err(_) if is_loopback_name(host) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Err(_) => return Ok(()),
        };
        if self.has(host, address) {
            return Ok(());
        }
        Err(format!(
            "`url` leads to {host}, which is not an address of the public internet: whoever runs Stepcast can allow it by \
             `{OPTION} {}`",
            host.trim_matches(['[', ']'])
        ))
    }

    fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0.iter().any(|allowed| matches!(allowed, Allowed::Host(name) if name.eq_ignore_ascii_case(host)))
    }
}

impl Allowed {
    fn holds(&self, address: IpAddr) -> bool {
        match self {
            Self::Host(_) => false,
            Self::Network(network, bits) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                (network.to_bits() ^ wide(address).to_bits()) & mask == 0
            }
        }
    }
}

/// An IPv4 address as IPv6 maps it, so that one is never taken for the other.
fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// RFC 6761 reserves the name and all below it.
fn is_loopback_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether an address belongs to a host of the public internet, by the registries of special addresses of IANA.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Networks of the IANA IPv4 Special-Purpose Address Registry, and multicast.
const SPECIAL_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // shared by a carrier's customers
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local: where clouds tell a machine its secrets
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 88, 99, 0], 24),  // relays of 6to4
    ([192, 168, 0, 0], 16),  // private
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 4),     // multicast
    ([240, 0, 0, 0], 4),     // reserved, broadcast
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !SPECIAL_V4.iter().any(|(network, length)| {
        let mask = u32::MAX << (32 - length);
        (bits ^ u32::from_be_bytes(*network)) & mask == 0
    })
}

/// Only 2000::/3 is given to hosts of the internet; within it some networks are special.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let parts = address.segments();
    match parts {
        // NAT64 (RFC 6052) leads to the IPv4 address in its end.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Protocol assignments, Teredo and ORCHID among them; documentation; 6to4, which hides an IPv4 address.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x2002, ..] => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Why no connection was made: nothing that the name came to is allowed.
#[derive(Debug, thiserror::Error)]
#[error("its host has no address of the public internet: whoever runs Stepcast can allow it by `{OPTION} {0}`")]
pub(crate) struct NotAllowed(String);

/// Looks names up, and gives the addresses that are allowed: what it gives is what is connected to.
#[derive(Debug)]
pub(crate) struct JudgedResolver {
    lookup: DefaultResolver,
    destinations: Destinations,
}

impl JudgedResolver {
    /// For these.
    pub(crate) fn new(destinations: Destinations) -> Self {
        Self { lookup: DefaultResolver::default(), destinations }
    }
}

impl Resolver for JudgedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.lookup.resolve(uri, config, timeout)?;
        judged(&self.destinations, uri.host().unwrap_or_default(), &found, self.empty())
    }
}

/// Those of `found` that are allowed.
fn judged(
    destinations: &Destinations,
    host: &str,
    found: &[SocketAddr],
    mut allowed: ResolvedSocketAddrs,
) -> Result<ResolvedSocketAddrs, ureq::Error> {
    for address in found.iter().filter(|address| destinations.has(host, address.ip())) {
        allowed.push(*address);
    }
    if allowed.is_empty() {
        let host = host.trim_matches(['[', ']']);
        // 127.1 is a way to write an address that the option does not take.
        let option = if host.parse::<Allowed>().is_ok() { host } else { "ADDRESS" };
        return Err(ureq::Error::Other(Box::new(NotAllowed(option.to_owned()))));
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destinations(allowed: &[&str]) -> Destinations {
        Destinations::new(allowed.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn no_address_that_is_not_of_the_public_internet_is_taken_however_it_is_written() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450::1",
            "3fff:1000::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_is_allowed_by_name_may_be_reached_and_nothing_beside_it() {
        let some = destinations(&["10.1.0.0/16", "127.0.0.1", "fd00::/8", "Hooks.Internal."]);
        let has = |host: &str, address: &str| some.has(host, address.parse().unwrap());
        assert!(has("x", "10.1.255.255") && !has("x", "10.2.0.0"));
        assert!(has("x", "127.0.0.1") && has("x", "::ffff:127.0.0.1") && !has("x", "127.0.0.2"));
        assert!(has("x", "fd12::1") && !has("x", "fc12::1"));
        assert!(has("hooks.internal", "192.168.0.1") && !has("other.hooks.internal", "192.168.0.1"));
        assert!(destinations(&["0.0.0.0/0"]).has("x", "10.0.0.1".parse().unwrap()));
        assert!(!destinations(&["0.0.0.0/0"]).has("x", "::1".parse().unwrap()));
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/x",
            "10.1",
            "0x7f.1",
            "a.0x1",
            "a b",
            "http://x",
            "*.x",
            "10.0.0.1:80",
            "x/8",
        ] {
            assert!(wrong.parse::<Allowed>().unwrap_err().contains("must be a network"), "{wrong}");
        }
    }

    #[test]
    fn a_literal_address_is_told_with_the_option_that_would_allow_it() {
        let none = destinations(&[]);
        for host in
            ["127.0.0.1", "[::1]", "169.254.169.254", "localhost", "LOCALHOST.", "a.localhost", "[::ffff:10.0.0.1]"]
        {
            assert!(none.check_literal(host).unwrap_err().contains("--webhook-allow "), "{host}");
        }
        for host in ["example.org", "1.1.1.1", "[2606:4700::1111]", "notlocalhost"] {
            assert_eq!(none.check_literal(host), Ok(()), "{host}");
        }
        assert_eq!(destinations(&["127.0.0.1"]).check_literal("localhost"), Ok(()));
    }

    #[test]
    fn of_what_a_name_comes_to_only_what_is_allowed_is_connected_to() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let judge = |allowed: &[&str], found: &[&str]| {
            let empty = JudgedResolver::new(Destinations::default()).empty();
            judged(&destinations(allowed), "hook.example", &addresses(found), empty)
        };
        let mixed = ["10.0.0.1:443", "1.1.1.1:443", "[::1]:443"];
        assert_eq!(judge(&[], &mixed).unwrap().to_vec(), addresses(&["1.1.1.1:443"]));
        let refused = judge(&[], &["127.0.0.1:80"]).unwrap_err();
        assert!(matches!(&refused, ureq::Error::Other(why) if why.is::<NotAllowed>()), "{refused}");
        assert!(refused.to_string().contains("--webhook-allow hook.example"), "{refused}");
        assert_eq!(judge(&["hook.example"], &["127.0.0.1:80"]).unwrap().to_vec(), addresses(&["127.0.0.1:80"]));
    }
}
