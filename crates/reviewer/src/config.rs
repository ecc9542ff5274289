//! The `[[channel]]` sections of the configuration, checked into what can be used.
//! Long because a section has the keys of every kind, and each is refused where it is not its own.

mod beforehand;
mod email;
mod jira;
mod on_call;
mod opsgenie;
mod pagerduty;
mod push;
mod route;
mod servicenow;
mod slack;
mod teams;
mod webhook;

pub use on_call::OnCallSection;
pub use route::{Declared, RouteSection, StepSection, WhenSection};

use crate::{
    channel::Tell,
    jira::Door as JiraDoor,
    message::Room,
    outward::Outward,
    push::Push,
    slack::{Door as SlackDoor, Socket},
    teams::Door as TeamsDoor,
    ticket::Watch,
    webhook::Inward,
};
use countersign_core::{ChannelName, GroupName};
use countersign_engine::{
    outbox::{ChannelSpec, Hears, Together},
    port::ticket::Tickets,
};
use countersign_pep::{Fault, NOT_A_REFERENCE, Origin, SecretRef, Span, kept, tls::UpstreamTlsSection};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use url::Url;

/// The largest `most_each`: open approvals are counted for each person who could be asked.
const MOST_EACH: usize = 200;

/// One channel, as written. Which keys it may have depends on its kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSection {
    pub name: String,
    /// `webhook`, `slack`, `teams`, `email`, `push`, `pagerduty`, `opsgenie`, `jira` or `servicenow`.
    pub kind: String,
    /// `named` or `everything`.
    pub hears: Option<String>,
    /// How many characters of head and body are shown; 0: none. Of devices: of the sentence, which is shown whole or not at all.
    pub show: Option<usize>,
    pub ca: Option<PathBuf>,
    pub time_limit: Option<Span>,
    pub give_up_after: Option<Span>,
    /// Of what people read: so many similar approvals have messages of their own.
    pub alone: Option<u32>,
    /// Of what people read: within this span; those that come then share one at its end.
    pub together_within: Option<Span>,
    /// Of e-mail and Slack to whoever may decide, and of devices: about how many open approvals one person is asked.
    pub most_each: Option<usize>,
    /// Of e-mail and Slack to whoever may decide: only those of these groups are written to.
    pub groups: Option<Vec<String>>,
    /// Of a webhook.
    pub url: Option<String>,
    /// Of a webhook: `env:NAME` or `file:PATH`.
    pub secret_from: Option<String>,
    /// Of a webhook.
    pub previous_secret_from: Option<String>,
    /// Of a webhook, where its users may decide: what signs what they say. Another secret than `secret_from`.
    pub inward_secret_from: Option<String>,
    /// Of a webhook.
    pub previous_inward_secret_from: Option<String>,
    /// Of Slack: where the bot's token is. Of Jira: where the account's is.
    pub token_from: Option<String>,
    /// Of Slack: a channel's id.
    pub channel: Option<String>,
    /// Of Slack, in place of `channel`: the channel of the same app whose users are written to, one by one.
    pub people_of: Option<String>,
    /// Of Slack, where its users may decide: the app's signing secret. Of Jira: its webhook's.
    pub signing_secret_from: Option<String>,
    /// Of Slack and Jira.
    pub previous_signing_secret_from: Option<String>,
    /// Of Slack, where its users may decide and Slack reaches no address here: where the app-level token is.
    pub app_token_from: Option<String>,
    /// Of Slack: where its Web API is, if not at Slack. Of `PagerDuty`: where events are taken. Of Opsgenie: where its API begins.
    pub api: Option<String>,
    /// Of Teams: the bot's app id.
    pub app_id: Option<String>,
    /// Of Teams: whose people they are.
    pub tenant: Option<String>,
    /// Of Teams: where the app's secret is.
    pub client_secret_from: Option<String>,
    /// Of Teams: a channel's id, or a chat's.
    pub conversation: Option<String>,
    /// Of Teams, Jira and `ServiceNow`: its users may decide.
    pub decides: Option<bool>,
    /// Of Teams: where the connector is, if not the public one.
    pub service: Option<String>,
    /// Of Teams: where tokens are got, if not in the public cloud.
    pub login: Option<String>,
    /// Of Teams: what the Bot Framework calls itself in tokens, if not in the public cloud.
    pub issuer: Option<String>,
    /// Of Teams: where the Bot Framework says which keys are its own, if not in the public cloud.
    pub openid: Option<String>,
    /// Of `PagerDuty`: where the key of the integration is.
    pub routing_key_from: Option<String>,
    /// Of `PagerDuty`: `critical`, `error`, `warning` or `info`.
    pub severity: Option<String>,
    /// Of Opsgenie: where the key of the integration is.
    pub api_key_from: Option<String>,
    /// Of Opsgenie: `P1` to `P5`.
    pub priority: Option<String>,
    /// Of Opsgenie: whom an alert is for, beside those of the integration's team.
    pub responders: Option<Vec<String>>,
    /// Of Jira and `ServiceNow`: where it is.
    pub site: Option<String>,
    /// Of Jira: the project's key.
    pub project: Option<String>,
    /// Of Jira: what kind of issue is created.
    pub issue_type: Option<String>,
    /// Of Jira: the status of issues that wait.
    pub waiting: Option<String>,
    /// Of Jira: the status that approves.
    pub approved: Option<String>,
    /// Of Jira: the status that rejects.
    pub rejected: Option<String>,
    /// Of Jira: the status of issues that are over. Of `ServiceNow`: the state of records that are.
    pub closed: Option<String>,
    /// Of `ServiceNow`: in which table records are created.
    pub table: Option<String>,
    /// Of Jira and `ServiceNow`: how often it is looked at who decided.
    pub poll_every: Option<Span>,
    /// Of Jira and `ServiceNow`: what people approved there may be named beforehand.
    pub preapproves: Option<bool>,
    /// Of Jira: the further statuses in which it holds. Of `ServiceNow`: the states.
    pub preapproved_in: Option<Vec<String>>,
    /// Of Jira: the types of issues that count.
    pub preapproved_types: Option<Vec<String>>,
    /// Of Jira and `ServiceNow`: for how long it is good.
    pub preapproved_for: Option<Span>,
    /// Of e-mail: the mail server's name.
    pub server: Option<String>,
    /// Of e-mail: the server's port, if not the usual one.
    pub port: Option<u16>,
    /// Of e-mail: `implicit`, `starttls`, `none` or `insecure`.
    pub tls: Option<String>,
    /// Of Jira: the account's e-mail address. Of `ServiceNow`: its user name. Of e-mail: as whom the gateway signs in, where the server asks.
    pub user: Option<String>,
    /// Of e-mail and `ServiceNow`: where the user's password is.
    pub password_from: Option<String>,
    /// Of e-mail: who it is from.
    pub from: Option<String>,
    /// Of e-mail: whom it is for, if not those who may decide.
    pub to: Option<Vec<String>>,
    /// Of e-mail: who is asked about it.
    pub reply_to: Option<String>,
    /// Of devices: names of the push services that are spoken to, if not those of the usual browsers.
    pub services: Option<Vec<String>>,
    /// Of devices: origins of push services that may be at private addresses.
    pub private_services: Option<Vec<String>>,
    /// Of devices: whom a push service asks about it, if not whoever reads at the console's address.
    pub contact: Option<String>,
}

/// A channel that can be used.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    spec: ChannelSpec,
    tell: Arc<dyn Tell>,
    speaks: Speaks,
    push: Option<Arc<Push>>,
    vouches: Option<Arc<dyn Tickets>>,
}

/// How the users of a channel decide.
#[derive(Clone, Debug)]
pub enum Speaks {
    /// They do not.
    Never,
    /// Through signed events that the channel hands in.
    Events(Inward),
    /// As Slack hands in clicks, forms and commands.
    Slack(Box<SlackDoor>),
    /// The same on a connection of the gateway's own, which has to be kept open.
    Socket(Box<Socket>),
    /// As the Bot Framework hands in what its users do in Teams.
    Teams(Box<TeamsDoor>),
    /// As Jira's own history says what was done to issues.
    Jira(Box<JiraDoor>),
    /// As a ticket system's own history says it, looked at now and then.
    Watched(Watch),
}

impl Speaks {
    /// What has to be run so that decisions are taken in, where they have to be fetched.
    pub fn watch(&self) -> Option<Watch> {
        match self {
            Self::Jira(door) => Some(door.watch()),
            Self::Watched(watch) => Some(watch.clone()),
            Self::Never | Self::Events(_) | Self::Slack(_) | Self::Socket(_) | Self::Teams(_) => None,
        }
    }

    /// What has to be run so that decisions come in, where the gateway keeps a connection for them.
    pub fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Socket(socket) => Some(socket),
            Self::Never
            | Self::Events(_)
            | Self::Slack(_)
            | Self::Teams(_)
            | Self::Jira(_)
            | Self::Watched(_) => None,
        }
    }
}

/// What every kind of channel has.
struct Common<'s> {
    /// Before its keys in a message.
    place: String,
    /// `None` where it has none that can be used.
    name: Option<ChannelName>,
    folder: &'s Path,
    room: Room,
    time_limit: Duration,
    give_up_after: Duration,
}

/// What a kind makes of its section.
struct Made {
    /// What is spoken.
    kind: &'static str,
    /// Where it goes, without anything that could be a secret.
    place: String,
    tell: Arc<dyn Tell>,
    speaks: Speaks,
    /// What looks up tickets that are named beforehand, where they count.
    vouches: Option<Arc<dyn Tickets>>,
}

const TIME_LIMIT: Duration = Duration::from_secs(15);
const MOST_TIME: Duration = Duration::from_mins(1);
const GIVE_UP_AFTER: Duration = Duration::from_hours(3 * 24);
/// Similar approvals that have messages of their own, and within what span.
const ALONE: u32 = 5;
const WITHIN: Duration = Duration::from_mins(2);
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_hours(1);
const SHOW: usize = 8 << 10;
const MOST_SHOWN: usize = 64 << 10;
const GROUPS_REMEDY: &str =
    "name groups of `people.groups`, or take it out: then whoever may decide is written to";
const URL_REMEDY: &str = "write an `https` address, or `http` on this machine";

impl ChannelConfig {
    pub fn spec(&self) -> ChannelSpec {
        self.spec.clone()
    }

    pub fn tell(&self) -> &Arc<dyn Tell> {
        &self.tell
    }

    pub fn speaks(&self) -> &Speaks {
        &self.speaks
    }

    /// Where it tells devices: the way to them, which has to be opened.
    pub fn push(&self) -> Option<&Arc<Push>> {
        self.push.as_ref()
    }

    /// What looks up tickets that are named beforehand, where they count.
    pub fn vouches(&self) -> Option<&Arc<dyn Tickets>> {
        self.vouches.as_ref()
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
        if show > MOST_SHOWN && self.kind != "push" {
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
        let room = Room { characters: (show > 0).then_some(show) };
        let give_up_after = self.give_up_after.map_or(GIVE_UP_AFTER, |span| span.0);
        let common = Common { place, name: name.clone(), folder, room, time_limit, give_up_after };
        let together = self.together(&common, &mut faults);
        let mut push = None;
        let made = match self.kind.as_str() {
            "webhook" => webhook::check(&self, &common, &mut faults),
            "slack" => slack::check(&self, &common, &mut faults),
            "teams" => teams::check(&self, &common, &mut faults),
            "email" => email::check(&self, &common, &mut faults),
            "push" => push::check(&self, &common, &mut faults).map(|(made, way)| {
                push = Some(way);
                made
            }),
            "pagerduty" => pagerduty::check(&self, &common, &mut faults),
            "opsgenie" => opsgenie::check(&self, &common, &mut faults),
            "jira" => jira::check(&self, &common, &mut faults),
            "servicenow" => servicenow::check(&self, &common, &mut faults),
            other => {
                let why = format!("`{other}` is no kind of channel");
                faults.push(common.fault(
                    "kind",
                    why,
                    "write `webhook`, `slack`, `teams`, `email`, `push`, `pagerduty`, `opsgenie`, `jira` or `servicenow`",
                ));
                None
            }
        };
        let (Some(name), Some(made), true) = (name, made, faults.is_empty()) else { return Err(faults) };
        let Made { kind, place, tell, speaks, vouches } = made;
        let spec = ChannelSpec { name, kind, place, hears, together };
        Ok(ChannelConfig { spec, tell, speaks, push, vouches })
    }

    /// Whether people read every message: similar approvals share some then. Receivers of webhooks and trackers of tickets
    /// have one for each.
    fn is_read_by_people(&self) -> bool {
        matches!(self.kind.as_str(), "slack" | "teams" | "email" | "push" | "pagerduty" | "opsgenie")
    }

    fn together(&self, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Together> {
        let (after, within) =
            (self.alone.unwrap_or(ALONE), self.together_within.map_or(WITHIN, |span| span.0));
        if self.is_read_by_people() && !(SHORTEST..=LONGEST).contains(&within) {
            let why = "nobody waits so long, or so short";
            faults.push(common.fault("together_within", why, "use `10s` to `1h`"));
        }
        self.is_read_by_people().then_some(Together { after, within })
    }

    /// About how many open approvals one person is asked.
    fn most_each(&self, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<usize> {
        if self.most_each.is_some_and(|most| !(1..=MOST_EACH).contains(&most)) {
            let why = "somebody has to be asked, and nobody about so many";
            faults.push(common.fault("most_each", why, "write `1` to `200`"));
        }
        self.most_each
    }

    /// Whose members alone are written to.
    fn groups(&self, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<BTreeSet<GroupName>> {
        let named = self.groups.as_ref()?;
        let one = |name: &String| {
            let error = |error: countersign_core::id::IdError| {
                common.fault("groups", error.to_string(), GROUPS_REMEDY)
            };
            kept(GroupName::new(name.as_str()).map_err(error), faults)
        };
        let groups: BTreeSet<GroupName> = named.iter().filter_map(one).collect();
        if named.is_empty() {
            faults.push(common.fault("groups", "nobody would be written to", GROUPS_REMEDY));
        }
        Some(groups)
    }

    /// Keys that only other kinds have.
    fn foreign(&self, own: &[&str], common: &Common<'_>, faults: &mut Vec<Fault>) {
        let keys = [
            ("alone", self.alone.is_some()),
            ("together_within", self.together_within.is_some()),
            ("most_each", self.most_each.is_some()),
            ("groups", self.groups.is_some()),
            ("url", self.url.is_some()),
            ("secret_from", self.secret_from.is_some()),
            ("previous_secret_from", self.previous_secret_from.is_some()),
            ("inward_secret_from", self.inward_secret_from.is_some()),
            ("previous_inward_secret_from", self.previous_inward_secret_from.is_some()),
            ("token_from", self.token_from.is_some()),
            ("channel", self.channel.is_some()),
            ("people_of", self.people_of.is_some()),
            ("signing_secret_from", self.signing_secret_from.is_some()),
            ("previous_signing_secret_from", self.previous_signing_secret_from.is_some()),
            ("app_token_from", self.app_token_from.is_some()),
            ("api", self.api.is_some()),
            ("app_id", self.app_id.is_some()),
            ("tenant", self.tenant.is_some()),
            ("client_secret_from", self.client_secret_from.is_some()),
            ("conversation", self.conversation.is_some()),
            ("decides", self.decides.is_some()),
            ("service", self.service.is_some()),
            ("login", self.login.is_some()),
            ("issuer", self.issuer.is_some()),
            ("openid", self.openid.is_some()),
            ("routing_key_from", self.routing_key_from.is_some()),
            ("severity", self.severity.is_some()),
            ("api_key_from", self.api_key_from.is_some()),
            ("priority", self.priority.is_some()),
            ("responders", self.responders.is_some()),
            ("site", self.site.is_some()),
            ("project", self.project.is_some()),
            ("issue_type", self.issue_type.is_some()),
            ("waiting", self.waiting.is_some()),
            ("approved", self.approved.is_some()),
            ("rejected", self.rejected.is_some()),
            ("closed", self.closed.is_some()),
            ("table", self.table.is_some()),
            ("poll_every", self.poll_every.is_some()),
            ("preapproves", self.preapproves.is_some()),
            ("preapproved_in", self.preapproved_in.is_some()),
            ("preapproved_types", self.preapproved_types.is_some()),
            ("preapproved_for", self.preapproved_for.is_some()),
            ("server", self.server.is_some()),
            ("port", self.port.is_some()),
            ("tls", self.tls.is_some()),
            ("user", self.user.is_some()),
            ("password_from", self.password_from.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("reply_to", self.reply_to.is_some()),
            ("services", self.services.is_some()),
            ("private_services", self.private_services.is_some()),
            ("contact", self.contact.is_some()),
        ];
        let shared: &[&str] = if self.is_read_by_people() { &["alone", "together_within"] } else { &[] };
        let mine = |key: &str| own.contains(&key) || shared.contains(&key);
        for (key, _) in keys.into_iter().filter(|(key, there)| *there && !mine(key)) {
            let why = format!("a channel of kind `{}` has no such key", self.kind);
            faults.push(common.fault(key, why, "take it out, or write the kind it belongs to"));
        }
    }
}

impl Common<'_> {
    fn fault(&self, key: &str, why: impl Into<String>, remedy: &str) -> Fault {
        Fault::new(format!("{}.{key}", self.place), why, remedy)
    }

    /// A text that has to be there.
    fn needed<'t>(&self, key: &str, text: Option<&'t String>, remedy: &str) -> Result<&'t str, Fault> {
        text.map(String::as_str).ok_or_else(|| self.fault(key, "this is missing", remedy))
    }

    /// A secret, and the one before it, which is nothing without it.
    fn changing(
        &self,
        [key, previous_key]: [&str; 2],
        [present, previous]: [Option<&String>; 2],
        faults: &mut Vec<Fault>,
    ) -> Option<(SecretRef, Option<SecretRef>)> {
        let mut read = |key, text: &String| kept(self.secret(key, text), faults);
        let (present, previous) =
            (present.map(|text| read(key, text)), previous.map(|text| read(previous_key, text)));
        if present.is_none() && previous.is_some() {
            let why = format!("there is no `{key}` that it was before");
            faults.push(self.fault(previous_key, why, "name the secret that is used now"));
        }
        Some((present.flatten()?, previous.flatten()))
    }

    fn secret(&self, key: &str, text: &str) -> Result<SecretRef, Fault> {
        SecretRef::read(text, self.folder).map_err(|why| self.fault(key, why, NOT_A_REFERENCE))
    }

    /// Where it goes, and the path there. Nothing of the path is shown anywhere: many receivers put a secret into it.
    fn outward(&self, key: &str, text: &str, ca: Option<&PathBuf>) -> Result<(Outward, String), Fault> {
        let refuse = |why: &str| self.fault(key, why, URL_REMEDY);
        let url = Url::parse(text).map_err(|error| refuse(&format!("this is not a URL: {error}")))?;
        let path =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        // Its own messages repeat what was written.
        let (origin, _) = Origin::read(&self.place, text, None, URL_REMEDY)
            .map_err(|_| refuse("only `https` and `http` with a host, without user, password or fragment"))?;
        if !origin.tls && !is_this_machine(&origin.host) {
            return Err(refuse("without TLS anybody on the way reads what is asked"));
        }
        let tls = UpstreamTlsSection { ca: ca.cloned(), ..UpstreamTlsSection::default() };
        let tls = origin.tls.then(|| tls.connector(&self.place, self.folder, &[b"http/1.1"])).transpose();
        let tls = tls.map_err(|fault| Fault { place: format!("{}.ca", self.place), ..fault })?;
        Ok((Outward { origin, tls, time_limit: self.time_limit }, path))
    }
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
            url: Some(url.into()),
            secret_from: Some("env:SECRET".into()),
            ..ChannelSection::default()
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
    fn its_users_decide_only_with_a_secret_of_its_own() {
        let with = |present: Option<&str>, previous: Option<&str>| ChannelSection {
            previous_secret_from: Some("env:OLD".into()),
            inward_secret_from: present.map(str::to_owned),
            previous_inward_secret_from: previous.map(str::to_owned),
            ..section("https://hooks.example.com")
        };
        let speaks = |section: ChannelSection| {
            !matches!(section.check(Path::new("/")).unwrap().speaks(), Speaks::Never)
        };
        assert!(!speaks(with(None, None)), "off unless asked for");
        assert!(speaks(with(Some("env:IN"), None)) && speaks(with(Some("file:in"), Some("env:IN"))));
        for (present, previous, key) in [
            (Some("env:SECRET"), None, "inward_secret_from"),
            (Some("env:OLD"), None, "inward_secret_from"),
            (Some("env:IN"), Some("env:SECRET"), "previous_inward_secret_from"),
            (Some("hunter2"), None, "inward_secret_from"),
            (None, Some("env:IN"), "previous_inward_secret_from"),
        ] {
            assert_eq!(
                faults(with(present, previous)),
                [format!("channel.siem.{key}")],
                "{present:?} {previous:?}"
            );
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_key() {
        let wrong = ChannelSection {
            name: "Siem".into(),
            secret_from: Some("whsec_hunter2".into()),
            channel: Some("C0123456789".into()),
            previous_secret_from: Some("hunter2".into()),
            hears: Some("all".into()),
            show: Some(1 << 20),
            time_limit: Some(Span(Duration::from_mins(2))),
            ca: Some("/nowhere.pem".into()),
            ..section("https://hooks.example.com")
        };
        let keys =
            ["name", "hears", "show", "time_limit", "channel", "secret_from", "previous_secret_from", "ca"];
        assert_eq!(faults(wrong), keys.map(|key| format!("channel.Siem.{key}")));
        assert!(faults(section("https://hooks.example.com")).is_empty());
    }
    #[test]
    fn slack_is_spoken_to_at_slack_or_on_this_machine() {
        let direct = |people_of: &str, channel: Option<&str>| ChannelSection {
            name: "direct".into(),
            kind: "slack".into(),
            token_from: Some("env:TOKEN".into()),
            people_of: Some(people_of.into()),
            channel: channel.map(str::to_owned),
            most_each: Some(5),
            groups: Some(vec!["dba".into()]),
            ..ChannelSection::default()
        };
        let written = direct("ops", None).check(Path::new("/")).unwrap();
        assert_eq!(written.tell().writes(), crate::Writes::ToUsersOf("ops".parse().unwrap()));
        assert_eq!(&*written.spec().place, "https://slack.com, people of ops");
        assert_eq!(faults(direct("ops", Some("C0123456789"))), ["channel.direct.channel"]);
        assert_eq!(faults(direct("", None)), ["channel.direct.people_of"]);
        let slack = |channel: &str, api: Option<&str>| ChannelSection {
            name: "ops".into(),
            kind: "slack".into(),
            token_from: Some("env:TOKEN".into()),
            channel: Some(channel.into()),
            api: api.map(str::to_owned),
            ..ChannelSection::default()
        };
        let ops = slack("C0123456789", None).check(Path::new("/")).unwrap();
        assert_eq!((ops.spec().kind, &*ops.spec().place), ("slack", "https://slack.com, C0123456789"));
        for (channel, api, wrong) in [
            ("G0123456789", Some("http://127.0.0.1:8080/api"), None),
            ("C0123456789", Some("https://slack.com/api/"), None),
            ("C0123456789", Some("https://slack.example.com/api/"), None),
            ("C0123456789", Some("http://slack.com/api/"), Some("api")),
            ("C0123456789", Some("https://slack.com/api/?x=y"), Some("api")),
            ("#ops", None, Some("channel")),
            ("U0123456789", None, Some("channel")),
            ("C1", None, Some("channel")),
        ] {
            let want: Vec<_> = wrong.map(|key| format!("channel.ops.{key}")).into_iter().collect();
            assert_eq!(faults(slack(channel, api)), want, "{channel} {api:?}");
        }
        let wrong = ChannelSection {
            token_from: Some("xoxb-hunter2".into()),
            url: Some("https://hooks.slack.com/x".into()),
            channel: None,
            ..slack("", None)
        };
        let found = wrong.check(Path::new("/")).unwrap_err();
        let places: Vec<_> = found.iter().map(|fault| &*fault.place).collect();
        assert_eq!(places, ["channel.ops.url", "channel.ops.token_from", "channel.ops.channel"]);
        assert!(!format!("{found:?}").contains("hunter2"));
        let speaks = |present: Option<&str>, previous: Option<&str>| ChannelSection {
            signing_secret_from: present.map(str::to_owned),
            previous_signing_secret_from: previous.map(str::to_owned),
            ..slack("C0123456789", None)
        };
        assert!(matches!(speaks(None, None).check(Path::new("/")).unwrap().speaks(), Speaks::Never));
        let signed = speaks(Some("env:SIGNING"), Some("file:before")).check(Path::new("/")).unwrap();
        assert!(matches!(signed.speaks(), Speaks::Slack(_)));
        let socket = |text: &str, signing: Option<&str>| ChannelSection {
            app_token_from: Some(text.into()),
            ..speaks(signing, None)
        };
        assert!(socket("env:APP", None).check(Path::new("/")).unwrap().speaks().socket().is_some());
        assert_eq!(faults(socket("xapp-hunter2", None)), ["channel.ops.app_token_from"]);
        assert_eq!(faults(socket("env:APP", Some("env:SIGNING"))), ["channel.ops.app_token_from"]);
        assert_eq!(faults(speaks(Some("hunter2"), None)), ["channel.ops.signing_secret_from"]);
        assert_eq!(faults(speaks(None, Some("env:B"))), ["channel.ops.previous_signing_secret_from"]);
        let pigeon = ChannelSection { kind: "pigeon".into(), ..slack("C0123456789", None) };
        assert_eq!(faults(pigeon), ["channel.ops.kind"]);
    }
}
