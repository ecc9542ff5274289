//! Where people's requests come from. Behind a proxy every connection is the proxy's own, and whoever guesses would slow
//! everybody down.

use axum::extract::{ConnectInfo, Request};
use http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// What proxies add the address to that they saw, the nearest last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Puts into a request where it comes from, for who looks at that.
pub(super) fn told(mut request: Request, peer: SocketAddr, proxies: &[IpNet]) -> Request {
    let source = source(peer, request.headers(), proxies);
    request.extensions_mut().insert(ConnectInfo(source));
    request
}

/// The peer; where that is a proxy of ours, whoever the outermost of them saw. Only what these wrote is believed: anybody can
/// send the header, so it is read from its end, and no further than the first address that is no proxy's. Where it cannot be
/// read, it is the proxy.
fn source(peer: SocketAddr, headers: &HeaderMap, proxies: &[IpNet]) -> SocketAddr {
    let ours = |address: IpAddr| proxies.iter().any(|net| net.contains(&address.to_canonical()));
    let values: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut hops = values.iter().flat_map(|value| value.split(',')).rev().map(str::trim);
    let mut found = peer.ip();
    while ours(found) {
        let Some(hop) = hops.next().and_then(|hop| hop.parse::<IpAddr>().ok()) else { break };
        found = hop;
    }
    SocketAddr::new(found.to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        source(SocketAddr::new(peer.parse().unwrap(), 7100), &headers, &proxies).ip().to_string()
    }

    #[test]
    fn only_what_our_own_proxies_saw_is_believed() {
        for (peer, forwarded, source) in [
            ("203.0.113.7", &["198.51.100.1"][..], "203.0.113.7"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What a client sends of its own stands before what the proxy adds.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1, 10.2.0.9"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["2001:db8::1,fd00::2"], "2001:db8::1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(seen(peer, forwarded), source, "{peer} {forwarded:?}");
        }
    }
}
