//! The door at which Slack speaks: buttons of messages, the form for a reason, and `/countersign`. What comes is believed
//! once its signature was checked, acknowledged at once, and answered where only its user sees it.

use super::{
    Slack,
    api::Body,
    heard::{self, Click, Command, Heard},
    sign::Signing,
    speak::{self, Words},
};
use crate::{
    desk::{self, Decision, Told},
    door::{Reply, single},
};
use countersign_core::{ChannelName, Timestamp};
use countersign_engine::{Gate, inward::Says, read, record::chain};
use http::{HeaderMap, header};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// What is under way at once.
const AT_ONCE: usize = 64;
/// Signatures remembered, for longer than any is believed.
const REMEMBERED: Duration = Duration::from_mins(11);
const MOST: usize = 20_000;
const HELP: &str = "`/countersign` lists what waits for you; `/countersign status apr_…` says how one approval stands; \
                    `/countersign bind` makes what you say here yours.";

/// Where Slack speaks for the users of one channel.
#[derive(Clone, Debug)]
pub struct Door {
    pub(crate) slack: Slack,
    pub(crate) name: ChannelName,
    pub(crate) signing: Signing,
    pub(crate) seen: Arc<Mutex<HashMap<String, Timestamp>>>,
    pub(crate) under_way: Arc<Semaphore>,
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
        let (answer_to, told) = match doing {
            Doing::Decide(click, says, reason) => {
                let Click { who, delivery, target, answer_to, .. } = click;
                let decision = Decision { who, target, delivery, says, reason };
                (answer_to, desk::decide(gate, &self.name, decision).await)
            }
            Doing::Ask(click) => match self.ask(gate, &click).await {
                Ok(()) => return,
                Err(told) => (click.answer_to, Ok(told)),
            },
            Doing::Obey(command) => {
                let told = desk::obey(gate, &self.name, &command.who, &command.text).await;
                (command.answer_to, told.map(|told| told.unwrap_or_else(|| Told::plain(HELP))))
            }
        };
        let told = told.unwrap_or_else(|error| {
            tracing::error!(channel = %self.name, error = %chain(&error), "a request of Slack's could not be carried out");
            Told::plain(desk::FAILED)
        });
        self.answer(&answer_to, &Words::of(&told)).await;
    }

    /// Asks for a reason, in a form.
    async fn ask(&self, gate: &Gate, click: &Click) -> Result<(), Told> {
        let sentence = match read::hold(gate, click.target.approval).await {
            Ok(Some(hold)) => hold.view.computed.sentence,
            Ok(None) => return Err(Told::plain(desk::NO_SUCH)),
            Err(error) => {
                tracing::error!(error = %chain(&error), "an approval cannot be read");
                return Err(Told::plain(desk::FAILED));
            }
        };
        let form = json!({"trigger_id": click.trigger, "view": speak::form(click, &sentence)});
        self.slack.api.call("views.open", Body::Json(&form)).await.map(drop).map_err(|refusal| {
            tracing::warn!(channel = %self.name, why = %refusal.failed.why, "a form was not opened");
            Told::Linked {
                words: "Slack did not open the form. Try again, or reject it on its page.".into(),
                title: desk::PAGE,
                link: gate.approval_link(click.target.approval),
            }
        })
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
