//! The one message about an approval, before any channel draws it: what was computed, what is asked, and what the
//! requester claims, apart from each other. Pure: the same approval makes the same message. Whoever wrote a text, what
//! would not be seen in it is written out here, once for all channels; each channel escapes what means something there.

mod excerpt;

pub use excerpt::Excerpt;
pub(crate) use excerpt::Shown;

use countersign_core::{
    Action, Assurance, Body, PersonId, PrincipalId, Resource, TicketKey, Timestamp,
    approval::Round,
    decision::Gate,
    evidence::{Finding, Found},
    visible::{self, escaped},
};
use countersign_engine::{
    hold::Hold,
    preapproval::NamedTicket,
    shown::{body_text, request_lines},
    view::approvers_in_words,
};
use serde::Serialize;
use serde_json::{Map, Value};

/// What a reviewer is shown, on any channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Eight characters of the action digest, the same on every screen.
    pub code: String,
    /// `pending`, `granted`, `executing`, `done`…
    pub state: String,
    pub computed: Computed,
    /// The bytes, where the channel may show them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Why policy asks, and whom.
    pub asks: Vec<Ask>,
    pub deadline: Option<Timestamp>,
    /// Why it waits again although it was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drifted: Option<String>,
    /// What a reviewer said who rejected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<String>,
    pub claimed: Claimed,
    /// The bytes or texts hold characters that are not seen.
    pub hidden_characters: bool,
    pub offers: Offer,
    /// The page where a signed-in person sees all of it.
    pub link: String,
    /// And the one where they decide on it, with nothing else on it.
    pub decide_link: String,
}

/// What was read from the bytes and from our own records. The requester had no say in any of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Computed {
    pub sentence: String,
    /// `None` in a test message alone.
    pub requester: Option<PrincipalId>,
    pub owners: Vec<Person>,
    pub on_behalf_of: Vec<Person>,
    pub target: String,
    pub environment: String,
    pub wire: String,
    pub class: String,
    pub operation: Option<String>,
    pub resources: Vec<String>,
    pub facts: Map<String, Value>,
    pub evidence: Vec<Line>,
}

impl Computed {
    /// The operation's class, and its name where it has one.
    pub(crate) fn kind(&self) -> String {
        self.operation.as_ref().map_or_else(|| self.class.clone(), |name| format!("{} {name}", self.class))
    }

    /// The facts by name, each as a text.
    pub(crate) fn facts_in_words(&self) -> impl Iterator<Item = (&str, String)> {
        self.facts.iter().map(|(name, value)| {
            (name.as_str(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
    }
}

/// What people are called, one after the other.
pub(crate) fn names(people: &[Person]) -> String {
    people.iter().map(|person| person.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Somebody, by id and by what people call them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    pub id: PersonId,
    pub name: String,
}

/// One thing that was found out, or why it was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub about: String,
    pub says: String,
    pub source: String,
}

/// Stands over the bytes that will run, wherever they are drawn.
pub(crate) const RUNS: &str = "What will run, as it is";

/// The exact bytes that will run, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Everything but the body.
    pub head: Excerpt,
    pub body: Excerpt,
    pub body_bytes: u64,
}

/// One gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ask {
    pub gate: String,
    pub reason: String,
    /// Who may lift it, in plain words.
    pub approvers: String,
    pub votes: u32,
    pub quorum: u32,
    /// The least a vote must be worth.
    pub assurance: Assurance,
    /// A word in a chat is worth enough for it.
    pub in_chat: bool,
    pub lifted: bool,
}

/// What the requester says. Never believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claimed {
    /// Stands beside it wherever it is shown.
    pub marked: &'static str,
    pub requester_name: String,
    pub reason: Option<String>,
    /// Where it is said to be approved beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// What can be done from the message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offer {
    /// Everything there is to see is in it, and it waits for people.
    Decide,
    /// Only the page shows all of it.
    Review,
    /// Nothing waits for anybody.
    Nothing,
}

/// Where a message leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// The approval's own page.
    pub page: String,
    /// The page to decide on it.
    pub decide: String,
}

/// How much a channel can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Characters of head and body, each; `None`: the channel is not shown them.
    pub characters: Option<usize>,
}

/// What is found out about a ticket that was named is about.
const NAMED: &str = "named ticket";
/// The words beside what the requester says.
pub const MARKED: &str = "claimed by the requester, not verified";

impl Message {
    /// The message about an approval. `action` is `None` once it was erased.
    pub fn of(
        hold: &Hold,
        action: Option<&Action>,
        room: Room,
        links: Links,
        name_of: impl Fn(PersonId) -> Option<String> + Copy,
    ) -> Self {
        let seen = &hold.view.computed;
        let request = room.characters.zip(action).map(|(most, action)| request(action, most));
        let open = hold.approval.state.as_str() == "pending";
        let whole =
            request.as_ref().is_some_and(|request| request.head.is_whole() && request.body.is_whole());
        let people = |ids: &mut dyn Iterator<Item = &PersonId>| {
            let named =
                |id| name_of(id).map_or_else(|| "somebody erased".into(), |name| visible::name(&name));
            ids.map(|id| Person { id: *id, name: named(*id) }).collect()
        };
        Self {
            code: seen.code.clone(),
            state: hold.approval.state.as_str().into(),
            computed: Computed {
                sentence: escaped(&seen.sentence),
                requester: Some(seen.requester),
                owners: people(&mut seen.owners.iter()),
                on_behalf_of: people(&mut seen.on_behalf_of.iter()),
                target: seen.target.to_string(),
                environment: seen.environment.to_string(),
                wire: seen.wire.clone(),
                class: seen.class.clone(),
                operation: seen.operation.as_deref().map(escaped),
                resources: seen.resources.iter().map(resource).collect(),
                facts: seen.facts.iter().map(|(name, value)| (escaped(name), visible_value(value))).collect(),
                evidence: seen
                    .evidence
                    .iter()
                    .flat_map(|all| &all.findings)
                    .map(line)
                    .chain(hold.tickets.iter().map(named))
                    .collect(),
            },
            request,
            asks: hold.approval.round().map_or_else(Vec::new, |round| asks(round, name_of)),
            deadline: hold.approval.next_deadline(),
            drifted: hold.drifted.as_deref().map(escaped),
            rejection: hold.rejection.as_deref().map(escaped),
            claimed: Claimed {
                marked: MARKED,
                requester_name: visible::name(&hold.view.claimed.requester_name),
                reason: hold.view.claimed.reason.as_deref().map(escaped),
                ticket: hold.view.claimed.ticket.as_deref().map(escaped),
            },
            hidden_characters: seen.hidden_characters,
            offers: match (open, whole && !seen.hidden_characters) {
                (false, _) => Offer::Nothing,
                (true, true) => Offer::Decide,
                (true, false) => Offer::Review,
            },
            link: links.page,
            decide_link: links.decide,
        }
    }
}

impl Message {
    /// What the button says that leads to the page to decide on it, where no gate is lifted by a word in a chat.
    pub(crate) fn approves_on_its_page(&self) -> Option<&'static str> {
        let open = || self.asks.iter().filter(|ask| !ask.lifted);
        let strongest = open().map(|ask| ask.assurance).max()?;
        let word =
            if strongest == Assurance::Passkey { "Approve with a passkey" } else { "Approve in Countersign" };
        (!open().any(|ask| ask.in_chat)).then_some(word)
    }

    /// Who asks: the id, which nobody chooses, before the name that goes with it. `None` in a test message alone.
    pub(crate) fn asked_by(&self) -> Option<String> {
        let (id, name) = (self.computed.requester?, &self.claimed.requester_name);
        Some(if name.is_empty() { id.to_string() } else { format!("{id}, “{name}”") })
    }

    /// A message about nothing, for trying a channel.
    pub(crate) fn of_test(link: String) -> Self {
        let sentence = "This is a test: nothing was asked, and nothing waits for anybody.".into();
        Self {
            code: "00000000".into(),
            state: "test".into(),
            computed: Computed { sentence, ..Computed::default() },
            request: None,
            asks: Vec::new(),
            deadline: None,
            drifted: None,
            rejection: None,
            claimed: Claimed { marked: MARKED, requester_name: String::new(), reason: None, ticket: None },
            hidden_characters: false,
            offers: Offer::Nothing,
            decide_link: link.clone(),
            link,
        }
    }
}

impl Request {
    /// What is shown of it in at most `left`, as `cost` counts texts, and whether that is all. All of it where it fits, else a
    /// glimpse of head and body, each never less than `least`: what cannot be decided on is not read there either.
    pub(crate) fn shown(
        &self,
        left: usize,
        glimpse: usize,
        least: usize,
        cost: impl Fn(&str) -> usize + Copy,
    ) -> (Vec<Shown>, bool) {
        let (head, body) = (&self.head, &self.body);
        let fits = head.cost(cost) + body.cost(cost) <= left && head.is_whole() && body.is_whole();
        let left = if fits { left } else { left.min(glimpse) };
        // The head is short mostly, and without it nobody knows where the body goes.
        let head = head.fitted(left.saturating_sub(body.cost(cost).min(left / 2)).max(least), cost);
        let body = body.fitted(left.saturating_sub(head.cost(cost)).max(least), cost);
        let whole = head.is_whole() && body.is_whole();
        let mut parts = Vec::new();
        head.show(RUNS, &mut parts);
        if self.body_bytes > 0 {
            body.show(&format!("Body, {} bytes", self.body_bytes), &mut parts);
        }
        (parts, whole)
    }
}

fn request(action: &Action, most: usize) -> Request {
    let empty = bytes::Bytes::new();
    let body = match &action.payload.body {
        Body::Bound(body) => body,
        Body::Unbound => &empty,
    };
    Request {
        head: Excerpt::of(&escaped(&request_lines(&action.payload.head)), most),
        body: Excerpt::of(&body_text(body), most),
        body_bytes: body.len() as u64,
    }
}

fn asks(round: &Round, name_of: impl Fn(PersonId) -> Option<String> + Copy) -> Vec<Ask> {
    let votes = |gate: &Gate| round.votes.get(&gate.name).map_or(0, std::collections::BTreeMap::len);
    let ask = |gate: &Gate| Ask {
        gate: gate.name.to_string(),
        reason: escaped(&gate.reason),
        approvers: escaped(&approvers_in_words(gate, name_of)),
        votes: u32::try_from(votes(gate)).unwrap_or(u32::MAX),
        quorum: gate.quorum.get(),
        assurance: gate.assurance,
        in_chat: gate.assurance == Assurance::Chat && gate.sign_in.is_none(),
        lifted: round.lifted(gate),
    };
    round.gates.iter().map(ask).collect()
}

fn line(finding: &Finding) -> Line {
    let says = match &finding.found {
        Found::Number { value, quality } => format!("{value} ({})", quality.as_str()),
        Found::Text { text } => escaped(text),
        Found::Fixed { digest } => format!("must stay {digest}"),
        Found::Missing { why } => format!("not found out: {}", escaped(why)),
    };
    Line { about: escaped(&finding.about), says, source: escaped(&finding.source) }
}

/// What was found out about a ticket that the requester named. What is no key is the requester's words, and no part of ours.
fn named(ticket: &NamedTicket) -> Line {
    let key = ticket.claimed.parse::<TicketKey>();
    let says = match key {
        Ok(key) => format!("{key} {}", ticket.in_words()),
        Err(_) => format!("what it named {}", ticket.in_words()),
    };
    Line { about: NAMED.into(), says, source: "its own system".into() }
}

fn resource(resource: &Resource) -> String {
    format!("{} {}", escaped(&resource.kind), escaped(&resource.name))
}

/// A fact with every text in it written out.
fn visible_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(escaped(text)),
        Value::Array(items) => Value::Array(items.iter().map(visible_value).collect()),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (escaped(name), visible_value(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
