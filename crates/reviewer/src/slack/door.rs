//! The door at which Slack speaks: buttons of messages, the form for a reason, and `/countersign`. What comes is believed
//! once its signature was checked, or because it came on a connection of our own (`socket.rs`). What somebody decides is
//! acknowledged once it is durable, anything else at once; each is answered where only its user sees it.

use super::{
    Slack,
    api::Body,
    heard::{self, Click, Command, Heard},
    requests::{Comes, Requests, UnderWay},
    sign::Signing,
    speak::{self, Words},
};
use crate::{
    desk::{self, Decision, Told, Who, freeze},
    door::{NotBelieved, Reply, single},
};
use countersign_core::ChannelName;
use countersign_engine::{Gate, inward::Says, read, record::chain, settle::FreezeScope};
use http::{HeaderMap, header};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// What is under way at once.
const AT_ONCE: usize = 64;
/// Slack waits for three seconds, on the way to it and back included.
const KEPT_WITHIN: Duration = Duration::from_millis(2_500);
const HELP: &str = "`/countersign` lists what waits for you; `/countersign status apr_…` says how one approval stands; \
                    `/countersign freeze agent NAME`, `freeze target NAME` or `freeze all` stops it; `/countersign bind` \
                    makes what you say here yours.";

/// Where Slack speaks for the users of one channel.
#[derive(Clone, Debug)]
pub struct Door {
    pub(crate) slack: Slack,
    pub(crate) name: ChannelName,
    /// `None`: nothing is taken in that comes to the console's address.
    pub(crate) signing: Option<Signing>,
    requests: Requests,
    pub(crate) under_way: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new(slack: Slack, name: ChannelName, signing: Option<Signing>) -> Self {
        Self {
            slack,
            name,
            signing,
            requests: Requests::default(),
            under_way: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Takes in a request: what somebody decided is durable where it is taken.
    pub async fn receive(&self, gate: &Arc<Gate>, headers: &HeaderMap, body: &[u8]) -> Reply {
        let now = gate.now();
        let (timestamp, signature) =
            (single(headers, "x-slack-request-timestamp"), single(headers, "x-slack-signature"));
        let checked = match &self.signing {
            Some(signing) => signing.check((timestamp, signature), body, now.unix_ms() / 1000),
            None => Err(NotBelieved::NoKey),
        };
        if let Err(why) = checked {
            tracing::warn!(channel = %self.name, %why, "a request was not believed to be Slack's");
            return Reply::NotBelieved(why);
        }
        let json = single(headers, header::CONTENT_TYPE.as_str()).starts_with("application/json");
        let Some(heard) = heard::read(body, json) else { return Reply::Unreadable };
        self.hand_in(gate, heard, signature).await
    }

    /// The same of what is believed already. `once` names this very request: what came under it before does nothing more.
    pub(super) async fn hand_in(&self, gate: &Arc<Gate>, heard: Heard, once: &str) -> Reply {
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else { return Reply::Busy };
        // A form is sent once: what comes again may come after the freeze was lifted.
        let once =
            if let Heard::Freeze { delivery, .. } = &heard { delivery.clone() } else { once.to_owned() };
        let request = match self.requests.take(&once, gate.now()) {
            Comes::First(request) => request,
            Comes::Again(standing) => return within(standing.kept()).await,
            Comes::TooMany => return Reply::Busy,
        };
        let doing = match heard {
            Heard::Challenge(challenge) => return Reply::Text(challenge),
            Heard::Other => return Reply::Taken,
            Heard::Because { reason, .. } if reason.trim().is_empty() => {
                return incomplete("Say why: it reaches the requester.");
            }
            Heard::Freeze { reason, .. } if reason.trim().is_empty() => {
                return incomplete("Say why: it is recorded.");
            }
            Heard::Freeze { scope, reason, who, answer_to, .. } => {
                Doing::Freeze(scope, reason, who, answer_to)
            }
            Heard::Approve(click) => Doing::Decide(click, Says::Approve, None),
            Heard::Because { click, reason } => Doing::Decide(click, Says::Reject, Some(reason)),
            Heard::Reject(click) => Doing::Ask(click),
            Heard::Command(command) => Doing::Obey(command),
        };
        let standing = request.standing();
        let (door, gate) = (self.clone(), Arc::clone(gate));
        // It goes on, whether somebody still waits for it or not.
        tokio::spawn(async move {
            door.carry_out(&gate, doing, request).await;
            drop(place);
        });
        within(standing.kept()).await
    }

    async fn carry_out(&self, gate: &Arc<Gate>, doing: Doing, request: UnderWay) {
        if let Doing::Ask(_) | Doing::Obey(_) = doing {
            // It decides nothing: whoever sees no form and no answer asks again.
            request.kept();
        }
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
            Doing::Freeze(scope, reason, who, answer_to) => {
                (answer_to, freeze::freeze(gate, &self.name, &who, scope, reason).await)
            }
            Doing::Obey(command) if is_freeze(&command.text).is_some() => {
                match self.ask_to_freeze(gate, &command).await {
                    Ok(()) => return,
                    Err(told) => (command.answer_to, Ok(told)),
                }
            }
            Doing::Obey(command) => {
                let told = desk::obey(gate, &self.name, &command.who, &command.text).await;
                (command.answer_to, told.map(|told| told.unwrap_or_else(|| Told::plain(HELP))))
            }
        };
        if told.is_ok() {
            request.kept();
        }
        drop(request);
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

    /// Asks once more, and why, in a form.
    async fn ask_to_freeze(&self, gate: &Gate, command: &Command) -> Result<(), Told> {
        let words = is_freeze(&command.text).unwrap_or_default();
        let asked = freeze::asked(gate, &self.name, &command.who, words)?;
        let form =
            json!({"trigger_id": command.trigger, "view": speak::freezing(&asked, &command.answer_to)});
        self.slack.api.call("views.open", Body::Json(&form)).await.map(drop).map_err(|refusal| {
            tracing::warn!(channel = %self.name, why = %refusal.failed.why, "a form was not opened");
            Told::Linked {
                words: "Slack did not open the form. Try again, or freeze it in the console.".into(),
                title: "Open what is frozen",
                link: format!("{}/freezes", gate.who().console_url),
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

/// What is answered once it is kept, or once nobody would wait any longer: then Slack says that it did not work.
async fn within(kept: impl Future<Output = bool>) -> Reply {
    match timeout(KEPT_WITHIN, kept).await {
        Ok(true) => Reply::Taken,
        Ok(false) | Err(_) => Reply::Busy,
    }
}

/// What is done about a request.
enum Doing {
    Decide(Click, Says, Option<String>),
    Ask(Click),
    Freeze(FreezeScope, String, Who, String),
    Obey(Command),
}

/// What stands behind `freeze`.
fn is_freeze(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("freeze")?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then_some(rest)
}

/// A form without a reason stays open.
fn incomplete(why: &str) -> Reply {
    Reply::Json(json!({"response_action": "errors", "errors": {heard::REASON: why}}))
}
