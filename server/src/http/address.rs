//! The address that a request comes from: the peer's, or what a trusted proxy says of it.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

/// The client's address: the peer's, or what a trusted proxy says of it.
pub(crate) fn of_client(trusted_proxies: &[IpAddr], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !trusted_proxies.contains(&peer) {
        return peer;
    }
    let header = |name: &'static str| {
        let values = headers.get_all(HeaderName::from_static(name)).into_iter();
        values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
    };
    let forwarded = header("forwarded");
    let named = forwarded.split([',', ';']).filter_map(|part| part.trim().strip_prefix("for=")).map(bare_address);
    let plain = header("x-forwarded-for");
    let plain = plain.split(',').map(str::trim).map(bare_address);
    // The nearest entry that is no trusted proxy was written by one of ours; what stands before it may be invented.
    let chain: Vec<IpAddr> = named.chain(plain).flatten().collect();
    chain.into_iter().rev().find(|address| !trusted_proxies.contains(address)).unwrap_or(peer)
}

/// An address as headers write it: perhaps quoted, in brackets, with a port.
fn bare_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.split(']').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("\"[2001:db8::1]\"", "2001:db8::1"),
        ] {
            assert_eq!(bare_address(text), address.parse().ok(), "{text}");
        }
        assert_eq!(bare_address("unknown"), None);
    }
}
