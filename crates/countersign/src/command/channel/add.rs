//! `countersign channel add`: asks what a channel needs, writes its section behind whatever the configuration says already,
//! and says what is left to do on the other side. No secret is asked for: only where it is.
//! Long because the walk of each kind is a table of its questions.

use super::super::load;
use crate::{
    cli::{ChannelKind, Output},
    failure::Failure,
    output,
};
use countersign_core::visible;
use countersign_pep::Fault;
use countersign_reviewer::ChannelSection;
use serde::Deserialize;
use serde_json::json;
use std::{
    fs,
    io::{BufRead, Write},
    path::Path,
};

/// So often a wrong answer is asked for again.
const TRIES: usize = 20;
/// The longest answer.
const LONGEST: usize = 4_096;

/// What a channel needs to be told.
#[derive(Clone, Copy)]
struct Field {
    key: &'static str,
    asks: &'static str,
    takes: Takes,
    /// Not asked for where this was answered.
    unless: Option<&'static str>,
}

/// What is taken for an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    /// An empty one stands for this.
    Or(&'static str),
    /// An empty one leaves the key out.
    Nothing,
    /// `env:NAME` or `file:PATH`.
    Secret,
    /// The same; an empty one leaves the key out.
    SecretOrNothing,
    /// Addresses with commas between them; an empty one leaves the key out.
    List,
    /// `yes` or `no`.
    YesOrNo,
}

impl Takes {
    /// What is wrong with an answer, in words that do not repeat it: it may be a secret that was pasted by mistake.
    fn remedy(self, said: &str) -> Option<&'static str> {
        let reference = said.starts_with("env:") || said.starts_with("file:");
        match self {
            Self::Text if said.is_empty() => Some("this is needed"),
            Self::Secret | Self::SecretOrNothing
                if !reference && (self == Self::Secret || !said.is_empty()) =>
            {
                Some("a secret is not typed here: write `env:NAME` or `file:PATH`")
            }
            Self::YesOrNo if said != "yes" && said != "no" => Some("write `yes` or `no`"),
            Self::Text
            | Self::Or(_)
            | Self::Nothing
            | Self::Secret
            | Self::SecretOrNothing
            | Self::List
            | Self::YesOrNo => None,
        }
    }
}

const fn field(key: &'static str, asks: &'static str, takes: Takes) -> Field {
    Field { key, asks, takes, unless: None }
}

const fn unless(other: &'static str, field: Field) -> Field {
    Field { unless: Some(other), ..field }
}

const SLACK: &[Field] = &[
    field(
        "people_of",
        "To write to people one by one: the channel here, of the same app, in which they are bound; empty: to a channel of \
         Slack's",
        Takes::Nothing,
    ),
    unless(
        "people_of",
        field("channel", "The channel's id, at the end of its details in Slack (C…)", Takes::Text),
    ),
    field("token_from", "Where the Bot User OAuth Token is", Takes::Secret),
    unless(
        "people_of",
        field(
            "app_token_from",
            "Where the App-Level Token is (xapp-…), to hear people by Socket Mode; empty: Slack reaches this console, or \
             nobody decides in Slack",
            Takes::SecretOrNothing,
        ),
    ),
    unless(
        "people_of",
        field(
            "signing_secret_from",
            "Where the app's Signing Secret is, if Slack reaches this console and there is no Socket Mode; empty: none",
            Takes::SecretOrNothing,
        ),
    ),
];
const TEAMS: &[Field] = &[
    field("app_id", "The bot's app id", Takes::Text),
    field("tenant", "The tenant's id", Takes::Text),
    field("client_secret_from", "Where the app's client secret is", Takes::Secret),
    field("conversation", "The channel's id (19:…@thread.tacv2), or a chat's", Takes::Text),
    field("decides", "Do people decide on the card? yes or no", Takes::YesOrNo),
];
const EMAIL: &[Field] = &[
    field("server", "The mail server's name", Takes::Text),
    field("tls", "TLS: implicit, starttls, or none for a server on this machine", Takes::Or("implicit")),
    field("user", "As whom the gateway signs in there; empty: it does not", Takes::Nothing),
    field("password_from", "Where that user's password is; empty: there is none", Takes::SecretOrNothing),
    field("from", "The address it is from", Takes::Text),
    field("to", "Addresses it is for, with commas; empty: whoever may decide", Takes::List),
];
const PUSH: &[Field] = &[field(
    "contact",
    "Whom push services may write to about it (mailto:…); empty: they see the console's address",
    Takes::Nothing,
)];
const WEBHOOK: &[Field] = &[
    field("url", "The receiver's address", Takes::Text),
    field("secret_from", "Where the secret is that signs what is sent", Takes::Secret),
    field(
        "inward_secret_from",
        "Where another secret is, that signs what its users decide; empty: nobody decides there",
        Takes::SecretOrNothing,
    ),
];
const PAGERDUTY: &[Field] = &[
    field("routing_key_from", "Where the routing key of the Events API v2 integration is", Takes::Secret),
    field("severity", "Severity: critical, error, warning or info", Takes::Or("error")),
];
const OPSGENIE: &[Field] = &[
    field("api_key_from", "Where the API key of the API integration is", Takes::Secret),
    field("priority", "Priority: P1 to P5", Takes::Or("P3")),
    field(
        "responders",
        "Whom it is for beside the integration's team (team:NAME …), with commas",
        Takes::List,
    ),
    field(
        "api",
        "Where its API begins (EU: https://api.eu.opsgenie.com)",
        Takes::Or("https://api.opsgenie.com"),
    ),
];
const JIRA: &[Field] = &[
    field("site", "The site's address (https://….atlassian.net)", Takes::Text),
    field("user", "The e-mail address of the account that the token belongs to", Takes::Text),
    field("token_from", "Where its API token is", Takes::Secret),
    field("project", "The project's key", Takes::Text),
    field("closed", "The status of issues that are over", Takes::Or("Done")),
    field("decides", "Do people decide by moving the issue? yes or no", Takes::YesOrNo),
    field(
        "signing_secret_from",
        "Where the secret of Jira's webhook is; empty: issues are looked at now and then",
        Takes::SecretOrNothing,
    ),
];
const SERVICENOW: &[Field] = &[
    field("site", "The instance's address (https://….service-now.com)", Takes::Text),
    field("user", "The account's user name", Takes::Text),
    field("password_from", "Where its password is", Takes::Secret),
    field("table", "The table that records are created in", Takes::Or("change_request")),
    field("closed", "The `state` of records that are over; empty: that of its own tables", Takes::Nothing),
    field("decides", "Do people decide with the field `approval`? yes or no", Takes::YesOrNo),
];

impl ChannelKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Email => "email",
            Self::Push => "push",
            Self::Webhook => "webhook",
            Self::Pagerduty => "pagerduty",
            Self::Opsgenie => "opsgenie",
            Self::Jira => "jira",
            Self::Servicenow => "servicenow",
        }
    }

    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Slack => SLACK,
            Self::Teams => TEAMS,
            Self::Email => EMAIL,
            Self::Push => PUSH,
            Self::Webhook => WEBHOOK,
            Self::Pagerduty => PAGERDUTY,
            Self::Opsgenie => OPSGENIE,
            Self::Jira => JIRA,
            Self::Servicenow => SERVICENOW,
        }
    }

    /// What is named beside the channel to try it.
    const fn tried_with(self) -> &'static str {
        match self {
            Self::Push => " --person ana@example.com",
            Self::Slack
            | Self::Teams
            | Self::Email
            | Self::Webhook
            | Self::Pagerduty
            | Self::Opsgenie
            | Self::Jira
            | Self::Servicenow => "",
        }
    }

    /// What is done before, on the other side.
    fn beforehand(self, console: &str) -> String {
        match self {
            Self::Slack => format!(
                "Create an app from the manifest `docs/examples/slack-manifest.yaml` at https://api.slack.com/apps, with \
                 `{console}/api/v1/channels/<name>/slack` for its addresses, and install it into the workspace. Where Slack \
                 reaches no address here, take `docs/examples/slack-manifest-socket.yaml`, and make an app-level token with \
                 `connections:write`."
            ),
            Self::Teams => format!(
                "Register an Azure Bot of type single tenant. Where people are to decide, its messaging endpoint is \
                 `{console}/api/v1/channels/<name>/teams`. The app's package is `docs/examples/teams/`."
            ),
            Self::Email => "Have an account on a mail server that takes mail from the address you name.".into(),
            Self::Push => format!(
                "Have the console where people's phones reach it, over TLS: `{console}`. The gateway has to reach the push \
                 services of their browsers."
            ),
            Self::Webhook => {
                "Have an address that takes Standard Webhooks, and a secret: `whsec_` and 24 bytes or more in base64.".into()
            }
            Self::Pagerduty => "Add an integration of type Events API v2 to a service.".into(),
            Self::Opsgenie => {
                "Add an API integration to a team, with the access *Read* and *Create and Update*.".into()
            }
            Self::Jira => format!(
                "Have an account that may create and move issues in the project, and an API token of it. Where people are to \
                 decide and Jira may say so at once, its webhook goes to `{console}/api/v1/channels/<name>/jira`."
            ),
            Self::Servicenow => {
                "Have an account that may create and change records of the table and read their history.".into()
            }
        }
    }

    /// What is done afterwards.
    const fn afterwards(self) -> &'static str {
        match self {
            Self::Slack => "Invite the app into the channel: `/invite @Countersign`.",
            Self::Teams => "Upload the app's package into the team or chat.",
            Self::Email => "Where the server asks for it, allow the gateway's address to send.",
            Self::Push => {
                "Have people add their devices: on their own page of the console, on the device itself."
            }
            Self::Webhook => "Let the receiver check the signature of what comes.",
            Self::Pagerduty | Self::Opsgenie => {
                "Name the channel in a step of a route: a page is for when nobody has decided."
            }
            Self::Jira => "See that a transition leads to that status from wherever an issue can be.",
            Self::Servicenow => {
                "Have the table audited with its fields `approval`, `short_description` and `description`."
            }
        }
    }
}

/// A configuration of one channel alone.
#[derive(Deserialize)]
struct Alone {
    channel: Vec<ChannelSection>,
}

pub(super) fn run(
    path: &Path,
    kind: ChannelKind,
    name: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let config = load(path)?;
    let stdin = std::io::stdin();
    let mut dialog = Dialog { typed: stdin.lock(), shown: std::io::stderr() };
    let taken: Vec<String> = config.channels.iter().map(|one| one.spec().name.to_string()).collect();
    dialog.say(&format!("{}\n", kind.beforehand(&config.console_url)))?;
    let (name, text) = dialog.walk(&taken, kind, name, path.parent().unwrap_or(Path::new(".")))?;
    append(path, &text)?;
    let test = format!("countersign channel test {name}{}", kind.tried_with());
    let shown = shown(&text);
    let done = json!({"channel": name, "kind": kind.as_str(), "file": path, "section": shown,
        "next": [kind.afterwards(), format!("@notify(\"{name}\")"), &test]});
    output::show(output, &done, |_| {
        let named = format!(
            "Name it in a gate, `@notify(\"{name}\")`, or in a `[[route]]`, and start the gateway anew."
        );
        let tried = format!("Try it, end to end: {test}");
        let steps = match kind {
            // Nobody has a device here before the gateway tells them.
            ChannelKind::Push => vec![named, kind.afterwards().to_owned(), tried],
            ChannelKind::Slack
            | ChannelKind::Teams
            | ChannelKind::Email
            | ChannelKind::Webhook
            | ChannelKind::Pagerduty
            | ChannelKind::Opsgenie
            | ChannelKind::Jira
            | ChannelKind::Servicenow => {
                let secrets = "Put each secret where the section says it is, readable for the gateway alone.";
                vec![secrets.to_owned(), kind.afterwards().to_owned(), tried, named]
            }
        };
        let steps = steps.iter().zip(1..).map(|(step, number)| format!("  {number}. {step}"));
        let steps = steps.collect::<Vec<_>>().join("\n");
        format!("Wrote to {}:\n\n{shown}\nNext:\n{steps}", path.display())
    })
}

/// Questions and answers, line by line.
struct Dialog<R, W> {
    typed: R,
    shown: W,
}

impl<R: BufRead, W: Write> Dialog<R, W> {
    /// The channel's name, and its section as it is written.
    fn walk(
        &mut self,
        taken: &[String],
        kind: ChannelKind,
        name: Option<String>,
        folder: &Path,
    ) -> Result<(String, String), Failure> {
        let name = self.name(kind, name, taken)?;
        let mut answers: Vec<(&Field, String)> = Vec::new();
        for field in kind.fields() {
            let there = |key: &str| answers.iter().any(|(field, said)| field.key == key && !said.is_empty());
            if !field.unless.is_some_and(there) {
                answers.push((field, self.ask(field, &name)?));
            }
        }
        for _ in 0..TRIES {
            let text = section(&name, kind, &answers);
            let faults = faults(&text, folder)?;
            if faults.is_empty() {
                return Ok((name, text));
            }
            let wrong = |key: &str| faults.iter().find(|fault| fault.place.ends_with(&format!(".{key}")));
            if !answers.iter().any(|(field, _)| wrong(field.key).is_some()) {
                let list: Vec<String> =
                    faults.iter().map(|fault| format!("{}: {}", fault.place, fault.why)).collect();
                return Err(Failure::usage(list.join("\n")).hint("see the channel's page in the book"));
            }
            for (field, answer) in &mut answers {
                if let Some(fault) = wrong(field.key) {
                    self.say(&format!("{}: {}\n  hint: {}\n", field.key, fault.why, fault.remedy))?;
                    *answer = self.ask(field, &name)?;
                }
            }
        }
        Err(Failure::usage("that was wrong too often; nothing was written"))
    }

    fn name(
        &mut self,
        kind: ChannelKind,
        given: Option<String>,
        taken: &[String],
    ) -> Result<String, Failure> {
        let plain = |name: &str| {
            let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !name.is_empty() && name.bytes().all(known)
        };
        let fits = |name: &str| plain(name) && !taken.iter().any(|other| other == name);
        let why = |name: &str| {
            if plain(name) {
                format!("there is a channel `{name}` already; nothing that is there is changed")
            } else {
                format!("`{}` cannot name a channel: lower-case letters, digits and `-`", visible::name(name))
            }
        };
        if let Some(name) = given {
            return if fits(&name) { Ok(name) } else { Err(Failure::usage(why(&name))) };
        }
        for _ in 0..TRIES {
            let said = self.line("What is it called here", kind.as_str())?;
            let name = if said.is_empty() { kind.as_str().to_owned() } else { said };
            if fits(&name) {
                return Ok(name);
            }
            self.say(&format!("{}\n", why(&name)))?;
        }
        Err(Failure::usage("that was wrong too often; nothing was written"))
    }

    fn ask(&mut self, field: &Field, name: &str) -> Result<String, Failure> {
        let kept = format!("file:secrets/{name}-{}", field.key.trim_end_matches("_from").replace('_', "-"));
        for _ in 0..TRIES {
            let usual = match field.takes {
                Takes::Or(usual) => usual,
                Takes::Secret => &kept,
                Takes::YesOrNo => "no",
                Takes::Text | Takes::Nothing | Takes::SecretOrNothing | Takes::List => "",
            };
            let said = self.line(field.asks, usual)?;
            let said = if said.is_empty() { usual.to_owned() } else { said };
            let Some(remedy) = field.takes.remedy(&said) else { return Ok(said) };
            self.say(&format!("{remedy}\n"))?;
        }
        Err(Failure::usage("that was wrong too often; nothing was written"))
    }

    /// One answer.
    fn line(&mut self, asks: &str, usual: &str) -> Result<String, Failure> {
        let usual = if usual.is_empty() { String::new() } else { format!(" [{usual}]") };
        self.say(&format!("{asks}{usual}: "))?;
        let mut line = String::new();
        let read = std::io::Read::take(&mut self.typed, LONGEST as u64).read_line(&mut line);
        match read {
            Ok(0) => Err(Failure::usage("the answers ended before the questions; nothing was written")),
            Ok(_) if !line.ends_with('\n') && line.len() >= LONGEST => {
                Err(Failure::usage("this answer is too long; nothing was written"))
            }
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(Failure::of("an answer could not be read", &error)),
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        let said = self.shown.write_all(text.as_bytes()).and_then(|()| self.shown.flush());
        said.map_err(|error| Failure::of("the terminal cannot be written to", &error))
    }
}

/// The section as it is written. Whatever was typed is a TOML string.
fn section(name: &str, kind: ChannelKind, answers: &[(&Field, String)]) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut lines = vec![
        "[[channel]]".to_owned(),
        format!("name = {}", text(name)),
        format!("kind = {}", text(kind.as_str())),
    ];
    for (field, answer) in answers.iter().filter(|(_, answer)| !answer.is_empty()) {
        let value = match field.takes {
            Takes::YesOrNo if answer == "no" => continue,
            Takes::YesOrNo => "true".to_owned(),
            Takes::List => {
                let items = answer.split(',').map(str::trim).filter(|item| !item.is_empty());
                format!("[{}]", items.map(text).collect::<Vec<_>>().join(", "))
            }
            Takes::Text | Takes::Or(_) | Takes::Nothing | Takes::Secret | Takes::SecretOrNothing => {
                text(answer)
            }
        };
        lines.push(format!("{} = {value}", field.key));
    }
    lines.join("\n") + "\n"
}

/// The section as it is shown: of a receiver's address no more than its host, as the rest may be a secret.
fn shown(text: &str) -> String {
    let line = |line: &str| {
        let address = line.strip_prefix("url = ").map(|said| said.trim_matches(['"', '\'']));
        let Some((scheme, rest)) = address.and_then(|address| address.split_once("://")) else {
            return format!("{line}\n");
        };
        let host = rest.split(['/', '?', '#', '"', '\'', '\\']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        format!("url = \"{scheme}://{host}/…\"\n")
    };
    text.lines().map(line).collect()
}

fn faults(text: &str, folder: &Path) -> Result<Vec<Fault>, Failure> {
    let read: Alone =
        toml::from_str(text).map_err(|error| Failure::of("the section cannot be read", &error))?;
    Ok(read.channel.into_iter().filter_map(|section| section.check(folder).err()).flatten().collect())
}

/// Adds the section to the end of the file. What is there stays, byte by byte.
fn append(path: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::of(&format!("`{}` could not be written", path.display()), &error);
    let there = fs::read_to_string(path).map_err(failed)?;
    let added = format!("{}\n{text}", if there.is_empty() || there.ends_with('\n') { "" } else { "\n" });
    if let Err(error) = format!("{there}{added}").parse::<toml::Table>() {
        let failure = Failure::of(&format!("`{}` takes no further section", path.display()), &error);
        return Err(failure.hint("write `channel` as `[[channel]]` sections, then try again"));
    }
    let mut file = fs::OpenOptions::new().append(true).open(path).map_err(failed)?;
    file.write_all(added.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: [&str; 2] = ["slack", "ops"];

    fn walked(
        kind: ChannelKind,
        name: Option<&str>,
        typed: &str,
    ) -> (Result<(String, String), Failure>, String) {
        let mut dialog = Dialog { typed: typed.as_bytes(), shown: Vec::new() };
        let taken = TAKEN.map(str::to_owned);
        let walked = dialog.walk(&taken, kind, name.map(str::to_owned), Path::new("/etc/countersign"));
        (walked, String::from_utf8(dialog.shown).unwrap())
    }

    #[test]
    fn of_a_receivers_address_the_host_alone_is_shown() {
        for (url, want) in [
            ("https://hooks.example.com/services/T0/B0/hunter2", "https://hooks.example.com/…"),
            ("https://hooks.example.com?key=hunter2", "https://hooks.example.com/…"),
            ("https://ana:hunter2@hooks.example.com:8443/in", "https://hooks.example.com:8443/…"),
            ("https://hooks.example.com/\"hunter2", "https://hooks.example.com/…"),
        ] {
            let field = &WEBHOOK[0];
            let text = section("dba", ChannelKind::Webhook, &[(field, url.to_owned())]);
            let want = format!("[[channel]]\nname = \"dba\"\nkind = \"webhook\"\nurl = \"{want}\"\n");
            assert_eq!(shown(&text), want);
        }
    }

    #[test]
    fn every_kind_is_asked_for_what_it_needs_and_its_section_can_be_used() {
        for (kind, typed, section) in [
            (
                ChannelKind::Slack,
                "dba\n\nC0123456789\n\n\nenv:SIGNING\n",
                "channel = \"C0123456789\"\ntoken_from = \"file:secrets/dba-token\"\nsigning_secret_from = \"env:SIGNING\"\n",
            ),
            (
                ChannelKind::Slack,
                "dba\n\nC0123456789\n\nenv:APP\nenv:SIGNING\n\n\n",
                "token_from = \"file:secrets/dba-token\"\n",
            ),
            (
                ChannelKind::Slack,
                "dba\n\nC0123456789\n\nenv:APP\n\n",
                "token_from = \"file:secrets/dba-token\"\napp_token_from = \"env:APP\"\n",
            ),
            (
                ChannelKind::Slack,
                "dba\nops\n\n",
                "people_of = \"ops\"\ntoken_from = \"file:secrets/dba-token\"\n",
            ),
            (
                ChannelKind::Teams,
                "dba\n11111111-2222-4333-8444-555555555555\naaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee\nenv:S\n\
                 19:0123456789abcdef0123456789abcdef@thread.tacv2\nmaybe\nyes\n",
                "decides = true\n",
            ),
            (
                ChannelKind::Email,
                "dba\nsmtp.example.com\n\n\n\ncountersign@example.com\nana@example.com, bea@example.com\n",
                "tls = \"implicit\"\nfrom = \"countersign@example.com\"\nto = [\"ana@example.com\", \"bea@example.com\"]\n",
            ),
            (
                ChannelKind::Push,
                "dba\nops\nmailto:ops@example.com\n",
                "contact = \"mailto:ops@example.com\"\n",
            ),
            (
                ChannelKind::Webhook,
                "dba\nhttps://hooks.example.com/in\n\n\n",
                "url = \"https://hooks.example.com/in\"\nsecret_from = \"file:secrets/dba-secret\"\n",
            ),
            (
                ChannelKind::Webhook,
                "dba\nhttps://hooks.example.com/in\n\nenv:IN\n",
                "secret_from = \"file:secrets/dba-secret\"\ninward_secret_from = \"env:IN\"\n",
            ),
            (ChannelKind::Pagerduty, "dba\n\ncritical\n", "severity = \"critical\"\n"),
            (
                ChannelKind::Opsgenie,
                "dba\n\nP1\nteam:dba, user:ana@example.com\nhttps://api.eu.opsgenie.com\n",
                "priority = \"P1\"\nresponders = [\"team:dba\", \"user:ana@example.com\"]\napi = \"https://api.eu.opsgenie.com\"\n",
            ),
            (
                ChannelKind::Jira,
                "dba\nhttps://example.atlassian.net\nbot@example.com\nenv:T\nOPS\n\nyes\nenv:W\n",
                "project = \"OPS\"\nclosed = \"Done\"\ndecides = true\nsigning_secret_from = \"env:W\"\n",
            ),
            (
                ChannelKind::Servicenow,
                "dba\nhttps://example.service-now.com\ncountersign\n\n\n\nyes\n",
                "password_from = \"file:secrets/dba-password\"\ntable = \"change_request\"\ndecides = true\n",
            ),
            (
                ChannelKind::Servicenow,
                "dba\nhttps://example.service-now.com\ncountersign\n\nu_approval\n3\nyes\n",
                "table = \"u_approval\"\nclosed = \"3\"\ndecides = true\n",
            ),
        ] {
            let (walked, shown) = walked(kind, None, typed);
            let (name, text) = walked.unwrap_or_else(|failure| panic!("{failure:?}\n{shown}"));
            assert_eq!(name, "dba");
            assert!(
                text.starts_with(&format!("[[channel]]\nname = \"dba\"\nkind = \"{}\"\n", kind.as_str())),
                "{text}"
            );
            assert!(text.contains(section), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_asked_for_again_and_a_secret_is_never_taken_nor_repeated() {
        let typed =
            "ops\nDBA\ndba\nhttp://hooks.example.com/\nwhsec_hunter2\n\n\nhttps://hooks.example.com/\n";
        let (walked, shown) = walked(ChannelKind::Webhook, None, typed);
        let (_, text) = walked.unwrap();
        assert!(text.contains("url = \"https://hooks.example.com/\"\n"), "{text}");
        for words in [
            "there is a channel `ops` already",
            "`DBA` cannot name a channel",
            "a secret is not typed here",
            "url: without TLS",
        ] {
            assert!(shown.contains(words), "`{words}` is not in {shown}");
        }
        assert!(!shown.contains("hunter2") && !text.contains("hunter2"), "{shown}");
    }

    #[test]
    fn nothing_typed_is_more_than_a_text_and_what_ends_early_writes_nothing() {
        let (walked, _) =
            walked(ChannelKind::Jira, Some("dba"), "https://x.atlassian.net\na\"]\n[[people]]\n");
        assert!(walked.unwrap_err().message.contains("nothing was written"));
        let (walked, _) = self::walked(ChannelKind::Slack, Some("ops"), "");
        assert!(walked.unwrap_err().message.contains("already"));
        let (walked, _) = self::walked(ChannelKind::Slack, Some("dba"), &"C".repeat(10_000));
        assert!(walked.unwrap_err().message.contains("too long"));
        let answers = [(&PAGERDUTY[1], "\"\n[[route]]\nname = \"x".to_owned())];
        let read: Alone = toml::from_str(&section("dba", ChannelKind::Pagerduty, &answers)).unwrap();
        assert_eq!(read.channel[0].severity.as_deref(), Some("\"\n[[route]]\nname = \"x"));
    }

    #[test]
    fn a_section_is_added_behind_what_is_there_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("countersign.toml");
        let add = |there: &str| {
            fs::write(&path, there).unwrap();
            append(&path, "[[channel]]\nname = \"dba\"\n").map(|()| fs::read_to_string(&path).unwrap())
        };
        assert_eq!(add("# ours\n[gateway]").unwrap(), "# ours\n[gateway]\n\n[[channel]]\nname = \"dba\"\n");
        assert!(add("[[channel]]\nname = \"ops\"\n").is_ok());
        assert!(add("channel = []\n").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "channel = []\n");
    }
}
