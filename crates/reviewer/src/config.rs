//! The `[[channel]]` sections of the configuration, checked into what can be used.

use crate::{
    channel::Tell,
    message::Room,
    outward::Outward,
    webhook::{Secrets, Webhook},
};
use countersign_core::ChannelName;
use countersign_engine::outbox::{ChannelSpec, Hears};
use countersign_pep::{Fault, NOT_A_REFERENCE, Origin, SecretRef, Span, kept, tls::UpstreamTlsSection};
use serde::Deserialize;
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use url::Url;

/// One channel, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSection {
    pub name: String,
    pub kind: String,
    pub url: String,
    /// `env:NAME` or `file:PATH`.
    pub secret_from: String,
    pub previous_secret_from: Option<String>,
    pub ca: Option<PathBuf>,
    /// `named` or `everything`.
    pub hears: Option<String>,
    /// How many characters of head and body are shown; 0: none.
    pub show: Option<usize>,
    pub time_limit: Option<Span>,
    pub give_up_after: Option<Span>,
}

/// A channel that can be used.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    spec: ChannelSpec,
    tell: Arc<dyn Tell>,
}

const TIME_LIMIT: Duration = Duration::from_secs(15);
const MOST_TIME: Duration = Duration::from_mins(1);
const GIVE_UP_AFTER: Duration = Duration::from_hours(3 * 24);
const SHOW: usize = 8 << 10;
const MOST_SHOWN: usize = 64 << 10;
const URL_REMEDY: &str = "write an `https` address, or `http` on this machine";

impl ChannelConfig {
    pub fn spec(&self) -> ChannelSpec {
        self.spec.clone()
    }

    pub fn tell(&self) -> &Arc<dyn Tell> {
        &self.tell
    }
}

impl ChannelSection {
    /// The channel, or everything that is wrong with it. Relative paths start at `folder`.
    pub fn check(self, folder: &Path) -> Result<ChannelConfig, Vec<Fault>> {
        let place = format!("channel.{}", self.name);
        let mut faults = Vec::new();
        let mut tell = |key: &str, why: String, remedy: &str| {
            faults.push(Fault::new(format!("{place}.{key}"), why, remedy));
        };
        if self.kind != "webhook" {
            tell("kind", format!("`{}` is no kind of channel", self.kind), "write `webhook`");
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !self.name.bytes().all(plain) {
            let why = format!("`{}` cannot name a channel", self.name);
            tell("name", why, "use lower-case letters, digits and `-`");
        }
        let hears = match self.hears.as_deref() {
            None | Some("named") => Hears::Named,
            Some("everything") => Hears::Everything,
            Some(other) => {
                tell("hears", format!("`{other}` is not known"), "write `named` or `everything`");
                Hears::Named
            }
        };
        let show = self.show.unwrap_or(SHOW);
        if show > MOST_SHOWN {
            let why = format!("{show} characters are too many for one message");
            tell("show", why, "show at most 65536, and let people open the page for the rest");
        }
        let time_limit = self.time_limit.map_or(TIME_LIMIT, |span| span.0);
        if time_limit.is_zero() || time_limit > MOST_TIME {
            tell("time_limit", "nobody waits so long for an answer, or so short".into(), "use `1s` to `60s`");
        }
        let name = ChannelName::new(self.name.as_str());
        let name =
            name.map_err(|error| Fault::new(format!("{place}.name"), error.to_string(), "choose another"));
        let name = kept(name, &mut faults);
        let secrets = secrets(&self, &place, folder, &mut faults);
        let outward = kept(outward(&self, &place, folder, time_limit), &mut faults);
        let (Some(name), Some(secrets), Some((outward, path)), true) =
            (name, secrets, outward, faults.is_empty())
        else {
            return Err(faults);
        };
        let spec = ChannelSpec { name, kind: "webhook", place: outward.origin.to_string(), hears };
        let room = Room { characters: (show > 0).then_some(show) };
        let give_up_after = self.give_up_after.map_or(GIVE_UP_AFTER, |span| span.0);
        let webhook = Webhook { outward, path, secrets, room, give_up_after };
        Ok(ChannelConfig { spec, tell: Arc::new(webhook) })
    }
}

fn secrets(section: &ChannelSection, place: &str, folder: &Path, faults: &mut Vec<Fault>) -> Option<Secrets> {
    let mut read = |key: &str, text: &str| {
        let reference = SecretRef::read(text, folder);
        kept(reference.map_err(|why| Fault::new(format!("{place}.{key}"), why, NOT_A_REFERENCE)), faults)
    };
    let present = read("secret_from", &section.secret_from);
    let previous = section.previous_secret_from.as_deref().map(|text| read("previous_secret_from", text));
    Some(Secrets { present: present?, previous: previous.flatten() })
}

/// Where it goes, and the path there. Nothing of the path is shown anywhere: many receivers put a secret into it.
fn outward(
    section: &ChannelSection,
    place: &str,
    folder: &Path,
    time_limit: Duration,
) -> Result<(Outward, String), Fault> {
    let refuse = |why: &str| Fault::new(format!("{place}.url"), why, URL_REMEDY);
    let url = Url::parse(&section.url).map_err(|error| refuse(&format!("this is not a URL: {error}")))?;
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    // Its own messages repeat what was written.
    let (origin, _) = Origin::read(place, &section.url, None, URL_REMEDY)
        .map_err(|_| refuse("only `https` and `http` with a host, without user, password or fragment"))?;
    if !origin.tls && !is_this_machine(&origin.host) {
        return Err(refuse("without TLS anybody on the way reads what is asked"));
    }
    let tls = UpstreamTlsSection { ca: section.ca.clone(), ..UpstreamTlsSection::default() };
    let tls = origin.tls.then(|| tls.connector(place, folder, &[b"http/1.1"])).transpose();
    let tls = tls.map_err(|fault| Fault { place: format!("{place}.ca"), ..fault })?;
    Ok((Outward { origin, tls, time_limit }, path))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(url: &str) -> ChannelSection {
        ChannelSection {
            name: "siem".into(),
            kind: "webhook".into(),
            url: url.into(),
            secret_from: "env:SECRET".into(),
            previous_secret_from: None,
            ca: None,
            hears: None,
            show: None,
            time_limit: None,
            give_up_after: None,
        }
    }

    fn faults(section: ChannelSection) -> Vec<String> {
        let faults = section.check(Path::new("/etc/countersign")).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.place).collect()
    }

    #[test]
    fn it_goes_only_where_nobody_on_the_way_can_read_it_and_the_path_is_not_repeated() {
        for (url, fine) in [
            ("https://hooks.example.com/in?key=s3cret", true),
            ("http://127.0.0.1:8080/in", true),
            ("http://[::1]:8080/in", true),
            ("http://localhost/in", true),
            ("http://hooks.example.com/s3cret", false),
            ("http://localhost.example.com/s3cret", false),
            ("https://user:s3cret@hooks.example.com/", false),
            ("https://hooks.example.com/#s3cret", false),
            ("file:///s3cret", false),
            ("s3cret", false),
        ] {
            match section(url).check(Path::new("/")) {
                Ok(channel) => {
                    assert!(fine, "{url}");
                    assert!(!channel.spec().place.contains("/in"), "{url}");
                    assert!(!format!("{:?}", channel.spec()).contains("s3cret"), "{url}");
                }
                Err(faults) => {
                    assert!(!fine, "{url}");
                    assert!(!format!("{faults:?}").contains("s3cret"), "{url}: {faults:?}");
                }
            }
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_key() {
        let wrong = ChannelSection {
            name: "Siem".into(),
            kind: "pigeon".into(),
            secret_from: "whsec_hunter2".into(),
            previous_secret_from: Some("hunter2".into()),
            hears: Some("all".into()),
            show: Some(1 << 20),
            time_limit: Some(Span(Duration::from_mins(2))),
            ca: Some("/nowhere.pem".into()),
            ..section("https://hooks.example.com")
        };
        let keys =
            ["kind", "name", "hears", "show", "time_limit", "secret_from", "previous_secret_from", "ca"];
        assert_eq!(faults(wrong), keys.map(|key| format!("channel.Siem.{key}")));
        assert!(faults(section("https://hooks.example.com")).is_empty());
    }
}
