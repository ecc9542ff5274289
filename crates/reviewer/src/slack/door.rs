//! The door at which Slack speaks: buttons of messages, the form for a reason, and `/countersign`. What comes is believed
//! once its signature was checked, acknowledged at once, and answered where only its user sees it.

use super::{
    Slack,
    api::Body,
    heard::{self, Click, Command, Heard, Who},
    sign::{NotSlack, Signing},
    speak::{self, Words},
};
use countersign_core::{ApprovalId, ChannelName, PersonId, Timestamp};
use countersign_engine::{
    Error, Gate,
    inward::{self, NotHeard, Said, Says},
    port::identity::{ChannelUser, NotOffered},
    read::{self, HoldFilter},
    record::chain,
    vote,
};
use http::{HeaderMap, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// What is under way at once.
const AT_ONCE: usize = 64;
/// Signatures remembered, for longer than any is believed.
const REMEMBERED: Duration = Duration::from_mins(11);
const MOST: usize = 20_000;
/// Approvals that `/countersign` lists, out of so many.
const LISTED: usize = 10;
const LOOKED_AT: usize = 200;

/// Where Slack speaks for the users of one channel.
#[derive(Clone, Debug)]
pub struct Door {
    pub(crate) slack: Slack,
    pub(crate) name: ChannelName,
    pub(crate) signing: Signing,
    pub(crate) seen: Arc<Mutex<HashMap<String, Timestamp>>>,
    pub(crate) under_way: Arc<Semaphore>,
}

/// What Slack is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It was taken in.
    Taken,
    Text(String),
    Json(Value),
    NotBelieved(NotSlack),
    /// It is signed, and cannot be read.
    Unreadable,
    /// Too much is under way.
    Busy,
}

impl Door {
    pub(crate) fn new(slack: Slack, name: ChannelName, signing: Signing) -> Self {
        Self { slack, name, signing, seen: Arc::default(), under_way: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Takes in a request. What has to be done about it is begun, and not waited for.
    pub fn receive(&self, gate: &Arc<Gate>, headers: &HeaderMap, body: &[u8]) -> Reply {
        let now = gate.now();
        let (timestamp, signature) =
            (single(headers, "x-slack-request-timestamp"), single(headers, "x-slack-signature"));
        if let Err(why) = self.signing.check((timestamp, signature), body, now.unix_ms() / 1000) {
            tracing::warn!(channel = %self.name, %why, "a request was not believed to be Slack's");
            return Reply::NotBelieved(why);
        }
        let json = single(headers, header::CONTENT_TYPE.as_str()).starts_with("application/json");
        let Some(heard) = heard::read(body, json) else { return Reply::Unreadable };
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else { return Reply::Busy };
        match self.is_new(signature, now) {
            // It is under way or done: once is enough.
            Some(false) => return Reply::Taken,
            None => return Reply::Busy,
            Some(true) => {}
        }
        let doing = match heard {
            Heard::Challenge(challenge) => return Reply::Text(challenge),
            Heard::Other => return Reply::Taken,
            Heard::Because { reason, .. } if reason.trim().is_empty() => {
                let errors = json!({heard::REASON: "Say why: it reaches the requester."});
                return Reply::Json(json!({"response_action": "errors", "errors": errors}));
            }
            Heard::Approve(click) => Doing::Decide(click, Says::Approve, None),
            Heard::Because { click, reason } => Doing::Decide(click, Says::Reject, Some(reason)),
            Heard::Reject(click) => Doing::Ask(click),
            Heard::Command(command) => Doing::Obey(command),
        };
        let (door, gate) = (self.clone(), Arc::clone(gate));
        tokio::spawn(async move {
            door.carry_out(&gate, doing).await;
            drop(place);
        });
        Reply::Taken
    }

    /// Whether this very request did not come before; `None`: no more can be remembered at the moment.
    fn is_new(&self, signature: &str, now: Timestamp) -> Option<bool> {
        let mut seen = self.seen.lock();
        if seen.len() >= MOST {
            seen.retain(|_, at| now.since(*at) < REMEMBERED);
        }
        if seen.contains_key(signature) {
            return Some(false);
        }
        (seen.len() < MOST).then(|| seen.insert(signature.to_owned(), now).is_none())
    }

    async fn carry_out(&self, gate: &Arc<Gate>, doing: Doing) {
        let (answer_to, words) = match doing {
            Doing::Decide(click, says, reason) => {
                let words = self.decide(gate, &click, says, reason).await;
                (click.answer_to, words)
            }
            Doing::Ask(click) => match self.ask(gate, &click).await {
                Ok(()) => return,
                Err(words) => (click.answer_to, Ok(words)),
            },
            Doing::Obey(command) => {
                let words = self.obey(gate, &command).await;
                (command.answer_to, words)
            }
        };
        let words = words.unwrap_or_else(|error| {
            tracing::error!(channel = %self.name, error = %chain(&error), "a request of Slack's could not be carried out");
            Words::plain("The gateway could not do it. Try again, or open Countersign.")
        });
        self.answer(&answer_to, &words).await;
    }

    async fn decide(
        &self,
        gate: &Arc<Gate>,
        click: &Click,
        says: Says,
        reason: Option<String>,
    ) -> Result<Words, Error> {
        if read::hold(gate, click.target.approval).await?.is_none() {
            return Ok(Words::plain("There is no such approval."));
        }
        let said = Said {
            channel: self.name.clone(),
            user: click.who.id.clone(),
            delivery: click.delivery.clone(),
            approval: click.target.approval,
            shown: click.target.shown.clone(),
            says,
            gate: None,
            reason,
        };
        Ok(match inward::answer(gate, &said).await? {
            Ok(answer) if answer.code == "not-bound" => self.binding(gate, &click.who),
            Ok(answer) => Words::linked(&speak::sentence(&answer.message), "Open its page", &answer.link),
            Err(NotHeard::TooMany { .. }) => {
                Words::plain("That was too much at once. Try again in a minute.")
            }
            Err(why @ (NotHeard::Reused | NotHeard::Invalid(_))) => {
                Words::plain(&speak::sentence(&why.to_string()))
            }
        })
    }

    /// Asks for a reason, in a form.
    async fn ask(&self, gate: &Gate, click: &Click) -> Result<(), Words> {
        let sentence = match read::hold(gate, click.target.approval).await {
            Ok(Some(hold)) => hold.view.computed.sentence,
            Ok(None) => return Err(Words::plain("There is no such approval.")),
            Err(error) => {
                tracing::error!(error = %chain(&error), "an approval cannot be read");
                return Err(Words::plain("The gateway could not do it. Try again, or open Countersign."));
            }
        };
        let form = json!({"trigger_id": click.trigger, "view": speak::form(click, &sentence)});
        self.slack.api.call("views.open", Body::Json(&form)).await.map(drop).map_err(|refusal| {
            tracing::warn!(channel = %self.name, why = %refusal.failed.why, "a form was not opened");
            let link = gate.approval_link(click.target.approval);
            Words::linked(
                "Slack did not open the form. Try again, or reject it on its page.",
                "Open its page",
                &link,
            )
        })
    }

    async fn obey(&self, gate: &Arc<Gate>, command: &Command) -> Result<Words, Error> {
        let mut words = command.text.split_whitespace();
        let (first, second) = (words.next().unwrap_or("pending"), words.next());
        let person = gate.identity().bound(&self.name, &command.who.id).map(|bound| bound.person);
        match (first, person) {
            ("bind", _) | ("pending" | "status", None) => Ok(self.binding(gate, &command.who)),
            ("pending", Some(person)) => pending(gate, person).await,
            ("status", Some(_)) => status(gate, second.unwrap_or_default()).await,
            _ => Ok(Words::plain(
                "`/countersign` lists what waits for you; `/countersign status apr_…` says how one approval stands; \
                 `/countersign bind` makes what you say here yours.",
            )),
        }
    }

    /// A link with which a signed-in person makes this user theirs.
    fn binding(&self, gate: &Gate, who: &Who) -> Words {
        let user = ChannelUser { channel: self.name.clone(), user: who.id.clone(), name: who.name.clone() };
        match gate.identity().offer_binding(user) {
            Ok(offer) => Words::linked(
                "Nobody here knows whose word yours is. Open this link, signed in, and confirm it; it is good once, for you \
                 alone. Then decide again.",
                "Make it mine",
                &offer.link,
            ),
            Err(NotOffered::Bound) => Words::plain("You are bound: what you say here is yours."),
            Err(NotOffered::TooMany) => Words::plain("Too many links wait to be opened. Try again later."),
            Err(NotOffered::Unusable(_)) => Words::plain("Nobody can be bound in this channel."),
        }
    }

    /// Says it to this user alone. Only Slack's own address for it is called.
    async fn answer(&self, answer_to: &str, words: &Words) {
        let said = match self.slack.api.hook(answer_to) {
            None => Err("the address to answer at is not Slack's".to_owned()),
            Some((outward, path)) => {
                let body = words.ephemeral().to_string();
                let json = http::HeaderValue::from_static("application/json; charset=utf-8");
                let answered = outward.post(&path, vec![(header::CONTENT_TYPE, json)], body.into(), 0).await;
                answered.and_then(|answer| {
                    let status = answer.status;
                    if status.is_success() { Ok(()) } else { Err(format!("it answered {}", status.as_u16())) }
                })
            }
        };
        if let Err(why) = said {
            tracing::warn!(channel = %self.name, %why, "a user of Slack was not answered");
        }
    }
}

/// What is done about a request.
enum Doing {
    Decide(Click, Says, Option<String>),
    Ask(Click),
    Obey(Command),
}

async fn pending(gate: &Gate, person: PersonId) -> Result<Words, Error> {
    let filter = HoldFilter { status: Some("pending".into()), limit: LOOKED_AT, ..HoldFilter::default() };
    let holds = read::holds(gate, filter).await?;
    let mine: Vec<_> = holds.iter().filter(|hold| vote::seat_for(gate, hold, person).is_ok()).collect();
    let lines = mine.iter().take(LISTED).map(|hold| {
        let computed = &hold.view.computed;
        (computed.code.clone(), computed.sentence.clone(), gate.approval_link(hold.approval.id))
    });
    Ok(Words::list(&lines.collect::<Vec<_>>(), mine.len().saturating_sub(LISTED), &gate.who().console_url))
}

async fn status(gate: &Gate, id: &str) -> Result<Words, Error> {
    let Ok(id) = id.parse::<ApprovalId>() else {
        return Ok(Words::plain("Write the approval's id behind it: `/countersign status apr_…`."));
    };
    let Some(hold) = read::hold(gate, id).await? else {
        return Ok(Words::plain("There is no such approval."));
    };
    let link = gate.approval_link(id);
    let state = super::draw::title(hold.approval.state.as_str());
    Ok(Words::status(state, &hold.view.computed.sentence, &link))
}

/// The value of a header that is there once.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}
