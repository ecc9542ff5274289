//! What the room is told at start: where the console is, and how long things last.

use crate::{
    cookie::CookieRule, email::EmailAddress, issuer::Issuer, sign_in::Provider, signals::Transmitter,
};
use countersign_core::GroupName;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};
use url::{Host, Url};

/// The console's origin and the room's time limits.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) origin: String,
    pub(crate) relying_party: Option<String>,
    pub(crate) cookie: CookieRule,
    /// How long a link for enrolment can be opened.
    pub enrolment_link: Duration,
    /// How long a link for signing in again can be opened.
    pub sign_in_link: Duration,
    /// A session that is not used for so long ends.
    pub session_idle: Duration,
    /// A session ends after so long, however much it is used.
    pub session_end: Duration,
    /// A session that only reads and is not used for so long ends.
    pub reading_idle: Duration,
    /// It ends after so long, however much it is used.
    pub reading_end: Duration,
    /// Whoever comes through a provider is here for so long after it last vouched for them.
    pub provider_again: Duration,
    /// How long a browser may take to answer a passkey ceremony.
    pub ceremony: Duration,
    /// Whose signed tokens are believed, beside the gateway's own.
    pub issuers: Vec<Issuer>,
    /// The providers people sign in with.
    pub providers: Vec<Provider>,
    /// Who says at once that somebody's sessions, credentials or account are not good any more.
    pub transmitters: Vec<Transmitter>,
    /// Who is an administrator from the beginning, whoever comes first.
    pub administrators: BTreeSet<EmailAddress>,
    /// The groups a provisioning client speaks for: what it calls them, and what they are here.
    pub scim_groups: BTreeMap<String, GroupName>,
    /// The groups that are whoever is on call by somebody else's schedule.
    pub on_call: BTreeSet<GroupName>,
}

/// The console's address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("`{0}` is not an address such as `https://countersign.example.com`")]
    NotAnOrigin(String),
    #[error("`{0}` is not encrypted; use `https`, or a loopback address such as `http://localhost:8700`")]
    NotSecure(String),
}

impl Settings {
    /// Settings for a console that browsers reach at `address`: scheme, host and port, nothing more.
    pub fn new(address: &str) -> Result<Self, SettingsError> {
        let refuse = || SettingsError::NotAnOrigin(address.into());
        let url = Url::parse(address).map_err(|_| refuse())?;
        let host = url.host().ok_or_else(refuse)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(refuse());
        }
        let secure = match url.scheme() {
            "https" => true,
            "http" if is_loopback(&host) => false,
            "http" => return Err(SettingsError::NotSecure(address.into())),
            _ => return Err(refuse()),
        };
        let relying_party = match host {
            Host::Domain(name) => Some(name.to_owned()),
            // Browsers refuse passkeys for addresses: a relying party is a domain (WebAuthn Level 3, section 5.1.2).
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        };
        let day = Duration::from_hours(24);
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            relying_party,
            cookie: CookieRule::new(if secure { "__Host-countersign" } else { "countersign" }),
            enrolment_link: day,
            sign_in_link: Duration::from_mins(15),
            session_idle: Duration::from_hours(8),
            session_end: day,
            reading_idle: 7 * day,
            reading_end: 30 * day,
            provider_again: 7 * day,
            ceremony: Duration::from_mins(5),
            issuers: Vec::new(),
            providers: Vec::new(),
            transmitters: Vec::new(),
            administrators: BTreeSet::new(),
            scim_groups: BTreeMap::new(),
            on_call: BTreeSet::new(),
        })
    }

    /// The only origin that passkeys and sessions are good for, as browsers write it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How the session cookie is named and written.
    pub fn cookie(&self) -> CookieRule {
        self.cookie
    }
}

pub(crate) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => IpAddr::V4(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_origin_that_keeps_secrets_is_taken() {
        for (address, origin, party, cookie) in [
            (
                "https://Sign.example.com",
                "https://sign.example.com",
                Some("sign.example.com"),
                "__Host-countersign",
            ),
            ("https://x.example:8443/", "https://x.example:8443", Some("x.example"), "__Host-countersign"),
            ("http://localhost:8700", "http://localhost:8700", Some("localhost"), "countersign"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1", None, "countersign"),
            ("http://[::1]:1", "http://[::1]:1", None, "countersign"),
        ] {
            let settings = Settings::new(address).unwrap();
            assert_eq!(settings.origin(), origin);
            assert_eq!(settings.relying_party.as_deref(), party);
            assert_eq!(settings.cookie().name(), cookie);
        }
        for bad in [
            "",
            "localhost:8700",
            "http://example.com",
            "http://10.0.0.1",
            "https://a/path",
            "https://a/?q",
            "https://u:p@a",
            "ftp://a",
            "https://a/#f",
            "http://localhost.example.com",
        ] {
            assert!(Settings::new(bad).is_err(), "{bad}");
        }
    }
}
