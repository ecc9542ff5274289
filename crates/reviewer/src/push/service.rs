//! Where messages go. The address of a device comes from a browser, and so from anybody: only push services that the
//! configuration names are spoken to, over verified TLS, and only at public addresses, but for those it names as private.

use crate::outward::{Answer, Outward};
use bytes::Bytes;
use countersign_pep::Origin;
use http::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::net::lookup_host;

/// The push services of the browsers there are.
pub(crate) const USUAL: [&str; 5] = [
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "web.push.apple.com",
    "*.push.apple.com",
    "*.notify.windows.com",
];
/// The longest address of a device, in bytes.
const LONGEST: usize = 2_048;
/// Addresses of one service that are tried.
const TRIED: usize = 4;

/// A name, or every name below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Named(String),
    Below(String),
}

/// The services that are spoken to.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) public: Vec<Host>,
    /// As the configuration names them, wherever they are.
    pub(crate) private: Vec<Origin>,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) time_limit: Duration,
}

/// Where one device is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) origin: Origin,
    pub(crate) path: String,
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Only where everybody may go.
    Public,
    Anywhere,
}

/// Why nothing goes to an address, in words that do not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("its address cannot be read")]
    Unreadable,
    #[error("its push service is not one that this gateway speaks to")]
    Unknown,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Services")
            .field("public", &self.public)
            .field("private", &self.private)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Reads `push.example.com` or `*.push.example.com`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(plain);
        let labels: Vec<&str> = name.split('.').collect();
        // An address, or a name of one part, is nothing public.
        let named = labels.last().is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_lowercase()));
        let fits = labels.len() >= 2 && labels.iter().all(|part| label(part)) && named && name.len() <= 253;
        let name = fits.then(|| name.to_owned())?;
        Some(if below { Self::Below(name) } else { Self::Named(name) })
    }

    fn is(&self, host: &str) -> bool {
        match self {
            Self::Named(name) => name == host,
            Self::Below(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }
}

impl Services {
    /// Where a device is, if messages may go there.
    pub(crate) fn place(&self, endpoint: &str) -> Result<Place, NotTaken> {
        let plain = endpoint.len() <= LONGEST && endpoint.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain {
            return Err(NotTaken::Unreadable);
        }
        let (origin, url) = Origin::read("device", endpoint, None, "").map_err(|_| NotTaken::Unreadable)?;
        let path =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let same =
            |known: &&Origin| (known.tls, &known.host, known.port) == (origin.tls, &origin.host, origin.port);
        if let Some(known) = self.private.iter().find(same) {
            return Ok(Place { origin: known.clone(), path, reach: Reach::Anywhere });
        }
        let usual = origin.tls && origin.port == 443;
        if !usual || !self.public.iter().any(|host| host.is(&origin.host)) {
            return Err(NotTaken::Unknown);
        }
        Ok(Place { origin, path, reach: Reach::Public })
    }

    /// Posts a message. Where a name leads is looked at once, and there it goes.
    pub(crate) async fn post(
        &self,
        place: &Place,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<Answer, String> {
        let tls = place.origin.tls.then(|| Arc::clone(&self.tls));
        let outward = Outward { origin: place.origin.clone(), tls, time_limit: self.time_limit };
        let addresses = tokio::time::timeout(self.time_limit, addresses(place)).await;
        let addresses = addresses.map_err(|_| format!("`{}` does not resolve in time", place.origin))??;
        // No answer's body means anything here.
        outward.post_to(&addresses, &place.path, headers, body).await
    }
}

/// The addresses of a place that may be spoken to.
async fn addresses(place: &Place) -> Result<Vec<SocketAddr>, String> {
    let found = lookup_host((place.origin.host.as_str(), place.origin.port)).await;
    let found = found.map_err(|error| format!("`{}` does not resolve: {error}", place.origin))?;
    let may = |address: &SocketAddr| place.reach == Reach::Anywhere || is_public(address.ip());
    let left: Vec<SocketAddr> = found.filter(may).take(TRIED).collect();
    if left.is_empty() { Err(format!("`{}` is at no public address", place.origin)) } else { Ok(left) }
}

/// Whether everybody may go there: what the registries of special addresses do not set apart (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let apart = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast();
    let [first, second, third, _] = address.octets();
    // This network; between a carrier and its customers; protocol assignments; relays of 6to4; benchmarks; what is kept for
    // later, the broadcast address with it.
    let special = matches!(
        (first, second, third),
        (0 | 240..=255, _, _) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _)
    );
    !apart && !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Protocol assignments with Teredo in them, documentation, 6to4.
    let apart = matches!(address.segments(), [0x2001, 0..0x0200 | 0x0db8, ..] | [0x2002 | 0x3fff, ..]);
    // Only 2000::/3 is given to anybody; what leads to addresses of the fourth version is not followed there.
    !apart && matches!(address.segments(), [0x2000..=0x3fff, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_pep::tls::UpstreamTlsSection;
    use std::path::Path;

    fn services(private: &[&str]) -> Services {
        let tls = UpstreamTlsSection::default().connector("x", Path::new("/"), &[b"http/1.1"]).unwrap();
        let origin = |text: &&str| Origin::read("x", text, None, "").unwrap().0;
        Services {
            public: USUAL.iter().map(|host| Host::read(host).unwrap()).collect(),
            private: private.iter().map(origin).collect(),
            tls,
            time_limit: Duration::from_secs(5),
        }
    }

    #[test]
    fn only_push_services_that_are_named_are_spoken_to() {
        let services = services(&["http://127.0.0.1:8080", "https://push.corp.example:8443"]);
        for (endpoint, want) in [
            ("https://fcm.googleapis.com/fcm/send/x:y", Ok(Reach::Public)),
            ("https://FCM.googleapis.com/wp/x?y", Ok(Reach::Public)),
            ("https://updates.push.services.mozilla.com/wpush/v2/x", Ok(Reach::Public)),
            ("https://web.push.apple.com/x", Ok(Reach::Public)),
            ("https://db5p.notify.windows.com/w/?token=x", Ok(Reach::Public)),
            ("https://fcm.googleapis.com:443/x", Ok(Reach::Public)),
            ("http://127.0.0.1:8080/x", Ok(Reach::Anywhere)),
            ("https://push.corp.example:8443/x", Ok(Reach::Anywhere)),
            ("https://push.corp.example/x", Err(NotTaken::Unknown)),
            ("https://fcm.googleapis.com:8443/x", Err(NotTaken::Unknown)),
            ("http://fcm.googleapis.com/x", Err(NotTaken::Unknown)),
            ("https://fcm.googleapis.com.evil.example/x", Err(NotTaken::Unknown)),
            ("https://evil.example/fcm.googleapis.com", Err(NotTaken::Unknown)),
            ("https://evilnotify.windows.com/x", Err(NotTaken::Unknown)),
            ("https://.notify.windows.com/x", Err(NotTaken::Unknown)),
            ("https://notify.windows.com/x", Err(NotTaken::Unknown)),
            ("https://127.0.0.1/x", Err(NotTaken::Unknown)),
            ("https://[::1]/x", Err(NotTaken::Unknown)),
            ("http://127.0.0.1:8081/x", Err(NotTaken::Unknown)),
            ("http://localhost:8080/x", Err(NotTaken::Unknown)),
            ("https://169.254.169.254/latest/meta-data", Err(NotTaken::Unknown)),
            ("https://0x7f000001/x", Err(NotTaken::Unknown)),
            ("https://user@fcm.googleapis.com/x", Err(NotTaken::Unreadable)),
            ("https://fcm.googleapis.com/x#y", Err(NotTaken::Unreadable)),
            ("https://fcm.googleapis.com/x\r\nHost: y", Err(NotTaken::Unreadable)),
            ("https://fcm.googleapis.com/ä", Err(NotTaken::Unreadable)),
            ("file:///etc/passwd", Err(NotTaken::Unreadable)),
            ("", Err(NotTaken::Unreadable)),
        ] {
            assert_eq!(services.place(endpoint).map(|place| place.reach), want, "{endpoint}");
        }
        let long = format!("https://fcm.googleapis.com/{}", "x".repeat(LONGEST));
        assert!(services.place(&long).is_err());
    }

    #[test]
    fn names_below_a_name_are_written_with_a_star_and_nothing_else_is_a_name() {
        for (text, fine) in [
            ("push.example.com", true),
            ("*.push.example.com", true),
            ("*.com", false),
            ("*", false),
            ("localhost", false),
            ("127.0.0.1", false),
            ("push.*.com", false),
            ("https://push.example.com", false),
            ("push.example.com:443", false),
            ("Push.example.com", false),
            ("", false),
            (".example.com", false),
        ] {
            assert_eq!(Host::read(text).is_some(), fine, "{text}");
        }
    }

    #[test]
    fn addresses_that_are_set_apart_are_not_public() {
        for (address, public) in [
            ("142.250.1.95", true),
            ("2a00:1450:4001::200a", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.88.99.1", false),
            ("192.168.0.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", false),
            ("64:ff9b::7f00:1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("3fff::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[tokio::test]
    async fn a_public_name_that_leads_to_this_machine_is_not_followed() {
        // `localhost` is a name everywhere, and always here.
        let place = Place {
            origin: Origin::read("x", "https://localhost/x", None, "").unwrap().0,
            path: "/x".into(),
            reach: Reach::Public,
        };
        let refused = services(&[]).post(&place, vec![], Bytes::new()).await.unwrap_err();
        assert!(refused.ends_with("is at no public address"), "{refused}");
    }
}
