//! Reads the annotations of one policy into what kind of rule it is. An unknown word is a mistake, never ignored.

use crate::{
    gate::{DEFAULT_EXPIRES, DEFAULT_STEP_UP, DEFAULT_VALID_FOR, GateRule},
    nearest::{nearest, suggestion},
    rules::Recording,
    schema::Types,
    vocabulary::Vocabulary,
};
use cedar_policy::EntityUid;
use countersign_core::{
    Assurance, ChannelName, GateName, GroupName, PersonId, SignInTerms, decision::Approvers,
    evidence::DriftBound, visible,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

/// Annotations any policy may carry.
const COMMON: [&str; 2] = ["id", "reason"];
/// Annotations of a gate, beside [`COMMON`].
const OF_GATES: [&str; 15] = [
    "gate",
    "approvers",
    "quorum",
    "expires",
    "valid_for",
    "step_up",
    "justification",
    "notify",
    "distinct",
    "drift",
    "break_glass",
    "fresh",
    "acr",
    "amr",
    "ticket",
];
/// The annotation of a permit alone, beside [`COMMON`].
const RECORD: &str = "record";
/// The annotation of permits and gates: how much of a result is kept.
const KEEP_RESULTS: &str = "keep_results";
/// The annotation of gates that a ticket may lift.
const TICKET: &str = "ticket";
/// More is never kept of one result.
const MOST_KEPT: u64 = 1 << 20;
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// A mistake in one annotation, for the caller to place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// The annotations of one policy and what they may name.
pub(crate) struct Reader<'a> {
    pub(crate) values: BTreeMap<&'a str, &'a str>,
    pub(crate) vocabulary: &'a Vocabulary,
    pub(crate) types: &'a Types,
    pub(crate) mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    /// Refuses annotations nobody knows and text that hides something.
    pub(crate) fn check_keys(&mut self) {
        for (key, value) in self.values.clone() {
            let known = || COMMON.into_iter().chain(OF_GATES).chain([RECORD, KEEP_RESULTS]);
            if !known().any(|word| word == key) {
                let hint = nearest(key, known()).map_or_else(
                    || format!("known annotations are `@{}`", known().collect::<Vec<_>>().join("`, `@")),
                    |near| format!("did you mean `@{near}`?"),
                );
                self.mistake(key, format!("`@{key}` is not an annotation"), hint);
            }
            if visible::has_hidden(value) || value.contains(['\n', '\t', '\r']) {
                let shown = visible::one_line(value);
                let hint = "write plain text on one line";
                self.mistake(key, format!("`@{key}` holds hidden characters: `{shown}`"), hint);
            }
        }
    }

    /// Refuses gate annotations where there is no gate: on a permit, or on a forbid without `@gate`.
    pub(crate) fn check_no_gate(&mut self, place: &str, hint: &str) {
        let stray: Vec<&str> = OF_GATES.into_iter().filter(|key| self.values.contains_key(key)).collect();
        for key in stray {
            self.mistake(key, format!("`@{key}` stands on {place}"), hint);
        }
    }

    /// When what a permit lets through is recorded; `None` when that is said wrongly.
    pub(crate) fn recording(&mut self) -> Option<Recording> {
        match self.values.get(RECORD).copied() {
            None | Some("first") => Some(Recording::First),
            Some("deferred") if self.values.contains_key(KEEP_RESULTS) => {
                let hint = "take one of them out: what is kept is recorded before it runs";
                self.mistake(RECORD, "`@record(\"deferred\")` stands beside `@keep_results`", hint);
                None
            }
            Some("deferred") => Some(Recording::Deferred),
            Some(other) => {
                let hint = "use `first`, or `deferred` for reads that may be recorded a moment afterwards";
                self.mistake(RECORD, format!("`{other}` is not a value of `@record`"), hint);
                None
            }
        }
    }

    /// Refuses what only a permit may say.
    pub(crate) fn check_no_record(&mut self) {
        if self.values.contains_key(RECORD) {
            let hint = "it belongs on a permit: `@record(\"deferred\") permit (…)`";
            self.mistake(RECORD, "`@record` stands on a forbid", hint);
        }
    }

    /// Refuses what only makes sense where something may run.
    pub(crate) fn check_no_keeps(&mut self) {
        if self.values.contains_key(KEEP_RESULTS) {
            let hint = "write it on the permit, or on the gate, that lets it run";
            self.mistake(KEEP_RESULTS, "`@keep_results` stands where nothing is let run", hint);
        }
    }

    /// How much of a result is kept, where it says so.
    pub(crate) fn keeps(&mut self) -> Option<u64> {
        let text = self.values.get(KEEP_RESULTS).copied()?;
        let amount = bytes(text);
        if amount.is_none() {
            let hint = "write how much of each result: `64KiB`, at most `1MiB`";
            self.mistake(KEEP_RESULTS, format!("`{text}` is no amount for `@keep_results`"), hint);
        }
        amount
    }

    /// The gate this policy is; `None` when something is wrong with it.
    pub(crate) fn gate(&mut self) -> Option<GateRule> {
        let before = self.mistakes.len();
        let name = self.gate_name();
        let approvers = self.approvers();
        let break_glass = self.break_glass();
        let sign_in = self.sign_in();
        let quorum = self.quorum();
        let expires_in = self.duration("expires", DEFAULT_EXPIRES);
        let valid_for = self.duration("valid_for", DEFAULT_VALID_FOR);
        let assurance = self.step_up();
        let justification_required = self.flag("justification", &["required"]);
        let distinct = self.flag("distinct", &["", "true"]);
        let drift = self.drift();
        let notify = self.notify();
        let tickets = self.tickets(assurance, sign_in.as_ref().and_then(Option::as_ref));
        let reason = self.values.get("reason").map(|reason| (*reason).to_owned());
        let name = name?;
        let rule = GateRule {
            reason: reason.unwrap_or_else(|| format!("policy asks for the approval `{name}`")),
            name,
            approvers: approvers?,
            quorum: quorum?,
            expires_in: expires_in?,
            valid_for: valid_for?,
            assurance: assurance?,
            justification_required,
            notify,
            distinct,
            drift: drift?,
            break_glass: break_glass?,
            sign_in: sign_in?,
            tickets,
        };
        (self.mistakes.len() == before).then_some(rule)
    }

    pub(crate) fn mistake(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.push(Mistake { key: key.into(), message: message.into(), hint: hint.into() });
    }

    fn gate_name(&mut self) -> Option<GateName> {
        let text = self.values.get("gate").copied().unwrap_or_default();
        let name = GateName::new(text);
        if let Err(error) = &name {
            self.mistake("gate", error.to_string(), "name the gate: `@gate(\"pii-export\")`");
        }
        name.ok()
    }

    fn approvers(&mut self) -> Option<Approvers> {
        const HINT: &str = r#"write `@approvers("Group::\"privacy\"")`, or several as `@approvers("[Group::\"a\", Group::\"b\"]")`"#;
        let Some(text) = self.values.get("approvers").copied() else {
            self.mistake("gate", "`@gate` without `@approvers`: nobody could lift it", HINT);
            return None;
        };
        self.people("approvers", text, HINT)
    }

    /// Who may lift the gate alone, when it says so.
    #[expect(clippy::option_option, reason = "not said, and said wrongly, are two things")]
    fn break_glass(&mut self) -> Option<Option<Approvers>> {
        const HINT: &str = r#"name those who may lift this gate alone: `@break_glass("Group::\"on-call\"")`"#;
        let Some(text) = self.values.get("break_glass").copied() else { return Some(None) };
        self.people("break_glass", text, HINT).map(Some)
    }

    /// What a voter's sign-in has to be, when it says so.
    #[expect(clippy::option_option, reason = "not said, and said wrongly, are two things")]
    fn sign_in(&mut self) -> Option<Option<SignInTerms>> {
        let within_s = if self.values.contains_key("fresh") {
            Some(self.duration("fresh", Duration::ZERO)?.as_secs())
        } else {
            None
        };
        let (acr, amr) = (self.words("acr")?, self.words("amr")?);
        let terms = SignInTerms { within_s, acr, amr };
        Some((terms != SignInTerms::default()).then_some(terms))
    }

    /// Words of a provider, separated by commas.
    fn words(&mut self, key: &str) -> Option<BTreeSet<String>> {
        let Some(text) = self.values.get(key).copied() else { return Some(BTreeSet::new()) };
        let words: BTreeSet<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        let good = |word: &String| {
            (1..=200).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if words.iter().all(good) {
            return Some(words);
        }
        let hint = "write what the provider says, several separated by commas: `@amr(\"hwk, mfa\")`";
        self.mistake(key, format!("`{text}` names nothing a provider could say"), hint);
        None
    }

    /// Groups and people, as an annotation names them.
    fn people(&mut self, key: &str, text: &str, hint: &str) -> Option<Approvers> {
        const PEOPLE_HINT: &str = "people go by their id (`per_…`); a group is easier to keep";
        let inner = text.trim();
        let inner = inner.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or(inner);
        let mut approvers = Approvers::default();
        let before = self.mistakes.len();
        for item in inner.split(',').map(str::trim) {
            match item.parse::<EntityUid>() {
                Ok(uid) if *uid.type_name() == self.types.group => {
                    self.approving_group(key, &mut approvers, &uid);
                }
                Ok(uid) if *uid.type_name() == self.types.person => {
                    match uid.id().unescaped().parse::<PersonId>() {
                        Ok(person) => {
                            approvers.people.insert(person);
                        }
                        Err(error) => self.mistake(key, error.to_string(), PEOPLE_HINT),
                    }
                }
                Ok(uid) => {
                    let wrong = format!("`{uid}` cannot approve: only people do");
                    self.mistake(key, wrong, hint);
                }
                Err(_) => {
                    let wrong = format!("`{}` is neither a group nor a person", visible::one_line(item));
                    self.mistake(key, wrong, hint);
                }
            }
        }
        (self.mistakes.len() == before).then_some(approvers)
    }

    fn approving_group(&mut self, key: &str, approvers: &mut Approvers, uid: &EntityUid) {
        let text = uid.id().unescaped();
        match GroupName::new(text) {
            Ok(group) if self.vocabulary.groups.contains(&group) => {
                approvers.groups.insert(group);
            }
            _ => {
                let groups = self.vocabulary.groups.iter().map(GroupName::as_str);
                let hint = suggestion(text, "group", groups);
                self.mistake(key, format!("group `{}` is not declared", visible::one_line(text)), hint);
            }
        }
    }

    fn quorum(&mut self) -> Option<NonZeroU32> {
        let text = self.values.get("quorum").copied().unwrap_or("1");
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let quorum = text.parse().ok().filter(|_| digits).and_then(NonZeroU32::new);
        if quorum.is_none() {
            let hint = "write how many people must approve, at least 1: `@quorum(\"2\")`";
            self.mistake("quorum", format!("`{text}` is not a quorum"), hint);
        }
        quorum
    }

    fn duration(&mut self, key: &str, default: Duration) -> Option<Duration> {
        let Some(text) = self.values.get(key).copied() else { return Some(default) };
        let parsed = duration(text);
        if parsed.is_none() {
            let hint = "write `90s`, `30m`, `24h` or `7d`; more than nothing and at most 30 days";
            self.mistake(key, format!("`{text}` is not a duration for `@{key}`"), hint);
        }
        parsed
    }

    fn drift(&mut self) -> Option<DriftBound> {
        let Some(text) = self.values.get("drift").copied() else { return Some(DriftBound::default()) };
        let bound = drift(text);
        if bound.is_none() {
            let hint = "write how often as much it may be, from `1x` (no more than was shown) to `100x`: `2x`, `1.5x`";
            self.mistake("drift", format!("`{text}` is not a bound for `@drift`"), hint);
        }
        bound
    }

    fn step_up(&mut self) -> Option<Assurance> {
        let text = self.values.get("step_up").copied().unwrap_or(DEFAULT_STEP_UP.as_str());
        let all = [Assurance::Chat, Assurance::Session, Assurance::Passkey];
        let found = all.into_iter().find(|assurance| assurance.as_str() == text);
        if found.is_none() {
            let hint = match text {
                "webauthn" | "fido2" | "mfa" => "the word here is `passkey`".to_owned(),
                _ => "use `chat`, `session` or `passkey`".to_owned(),
            };
            self.mistake("step_up", format!("`{text}` is not an assurance"), hint);
        }
        found
    }

    fn flag(&mut self, key: &str, accepted: &[&str]) -> bool {
        let Some(text) = self.values.get(key).copied() else { return false };
        if !accepted.contains(&text) {
            let hint = match key {
                "justification" => "the only value is `required`",
                _ => "write it without a value",
            };
            self.mistake(key, format!("`{text}` is not a value of `@{key}`"), hint);
        }
        true
    }

    fn notify(&mut self) -> BTreeSet<String> {
        let Some(text) = self.values.get("notify").copied() else { return BTreeSet::new() };
        let channels: BTreeSet<String> = text.split(',').map(|channel| channel.trim().to_owned()).collect();
        if channels.iter().any(|channel| channel.is_empty() || channel.contains(' ')) {
            let hint = "name channels, separated by commas: `@notify(\"db-prod, siem\")`";
            self.mistake("notify", format!("`{text}` does not name a channel"), hint);
            return channels;
        }
        let known = &self.vocabulary.channels;
        for channel in channels.iter().filter(|named| known.iter().all(|known| known.as_str() != *named)) {
            let hint = suggestion(channel, "channel", known.iter().map(ChannelName::as_str));
            let shown = visible::one_line(channel);
            self.mistakes.push(Mistake {
                key: "notify".into(),
                message: format!("channel `{shown}` is not declared"),
                hint,
            });
        }
        channels
    }
}

/// How tickets are named in a gate.
impl Reader<'_> {
    /// The channels in whose tickets the gate may have been approved beforehand. What is said there is worth `chat`, so that it
    /// would stand for nothing at a gate that asks for more.
    fn tickets(
        &mut self,
        assurance: Option<Assurance>,
        sign_in: Option<&SignInTerms>,
    ) -> BTreeSet<ChannelName> {
        let Some(text) = self.values.get(TICKET).copied() else { return BTreeSet::new() };
        if assurance.is_some_and(|assurance| assurance > Assurance::Chat) || sign_in.is_some() {
            let hint =
                "write `@step_up(\"chat\")`, without `@fresh`, `@acr` and `@amr`; or take `@ticket` out";
            self.mistake(TICKET, "a word in a ticket is worth `chat`, and this gate asks for more", hint);
        }
        let (known, channels) = (&self.vocabulary.ticket_channels, &self.vocabulary.channels);
        let (mut found, mut mistakes) = (BTreeSet::new(), Vec::new());
        for named in text.split(',').map(str::trim) {
            if let Some(channel) = known.iter().find(|channel| channel.as_str() == named) {
                found.insert(channel.clone());
                continue;
            }
            let is_channel = channels.iter().any(|channel| channel.as_str() == named);
            let hint = if is_channel {
                "set `preapproves = true` at that channel, which has to be of kind `jira` or `servicenow`"
                    .into()
            } else {
                suggestion(named, "channel with `preapproves`", known.iter().map(ChannelName::as_str))
            };
            let message = format!("no tickets of `{}` count beforehand", visible::one_line(named));
            mistakes.push(Mistake { key: TICKET.into(), message, hint });
        }
        self.mistakes.extend(mistakes);
        found
    }
}

/// `1x`, `1.5x`, `100x`: how often as much as was shown, with at most two digits behind the point.
fn drift(text: &str) -> Option<DriftBound> {
    let times = text.strip_suffix('x')?;
    let (whole, part) = times.split_once('.').unwrap_or((times, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let hundredths: u32 = format!("{part:0<2}").parse().ok()?;
    let percent = whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
    (100..=10_000).contains(&percent).then_some(DriftBound(percent))
}

/// `512B`, `64KiB`, `1MiB`: positive, and no more than is ever kept.
fn bytes(text: &str) -> Option<u64> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(unit_at)?;
    let each = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(each)?;
    (1..=MOST_KEPT).contains(&bytes).then_some(bytes)
}

/// `90s`, `30m`, `24h`, `7d`: positive, at most 30 days.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(unit_at)?;
    let seconds_each = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = digits.parse::<u64>().ok()?.checked_mul(seconds_each)?;
    let span = Duration::from_secs(seconds);
    (span > Duration::ZERO && span <= LONGEST).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn amounts_are_bounded() {
        for (text, want) in [
            ("1B", Some(1)),
            ("64KiB", Some(65_536)),
            ("1MiB", Some(1 << 20)),
            ("2MiB", None),
            ("0B", None),
            ("64", None),
            ("KiB", None),
            ("64kb", None),
        ] {
            assert_eq!(bytes(text), want, "{text}");
        }
    }

    #[test]
    fn drift_is_how_often_as_much() {
        for (text, percent) in [
            ("1x", Some(100)),
            ("2x", Some(200)),
            ("1.5x", Some(150)),
            ("1.05x", Some(105)),
            ("100x", Some(10_000)),
            ("0.9x", None),
            ("101x", None),
            ("x", None),
            ("2", None),
            ("1.x", None),
            ("1.005x", None),
            ("-1x", None),
            ("99999999999x", None),
        ] {
            assert_eq!(drift(text).map(|bound| bound.0), percent, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn durations_are_short_words_with_a_limit() {
        for (text, seconds) in [
            ("90s", Some(90)), ("30m", Some(1800)), ("24h", Some(86_400)), ("30d", Some(2_592_000)),
            ("31d", None), ("0s", None), ("", None), ("30", None), ("m", None), ("1.5h", None), ("-1m", None), ("1h30m", None), ("+5m", None),
            ("99999999999999999999s", None), ("1 h", None), ("18446744073709551615h", None),
        ] {
            assert_eq!(duration(text).map(|span| span.as_secs()), seconds, "{text}");
        }
    }
}
