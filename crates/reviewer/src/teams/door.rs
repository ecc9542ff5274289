//! The door at which the Bot Framework hands in what users of Teams do. What comes is believed once its token was checked,
//! and answered within the time that Teams waits: with the card as it stands now for whoever clicked, and what they alone
//! are told above it.

use super::{
    Teams,
    activity::{self, Activity, Click, Verb, What},
    api::To,
    draw,
};
use crate::{
    deliver::drawn_for,
    desk::{self, Decision, Target, Told, Who},
    door::{NotBelieved, Reply, single},
    message::Offer,
    words::sentence,
};
use async_trait::async_trait;
use countersign_core::{ChannelName, PersonId, Timestamp};
use countersign_engine::{Error, Gate, hold::Hold, inward::Says, outbox::Hears, read, record::chain, vote};
use http::{HeaderMap, header};
use serde_json::{Value, json};
use std::{fmt::Debug, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use url::Url;

/// What is under way at once.
const AT_ONCE: usize = 64;
/// Teams tells its user after a few seconds that the app does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How far the time of an activity may be off.
const TOLERANCE: Duration = Duration::from_mins(10);
/// The chat that is spoken for.
const MSTEAMS: &str = "msteams";
const HELP: &str = "Write `pending` for what waits for you, `status apr_…` for how one approval stands, `bind` to make \
                    what you say here yours.";

/// Whose tokens are believed, and where their keys are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Believed {
    pub issuer: String,
    /// The bot's own id.
    pub audience: String,
    /// What the issuer says of itself.
    pub openid: Url,
    /// Authorities to believe instead of the public ones.
    pub ca: Option<PathBuf>,
}

/// Checks that a token is the Bot Framework's, for this bot, and good now.
#[async_trait]
pub trait Vouch: Send + Sync + Debug {
    async fn vouch(&self, token: &str) -> Result<Vouched, NotBelieved>;
}

/// What a token that holds says of the activity it comes with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// Its claim `serviceurl`.
    pub service: String,
    /// The chats that the key which signed it may speak for.
    pub endorsements: Vec<String>,
}

/// Where Teams speaks for the users of one channel.
#[derive(Clone, Debug)]
pub struct Door {
    teams: Teams,
    name: ChannelName,
    believed: Believed,
    under_way: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new(teams: Teams, name: ChannelName, believed: Believed) -> Self {
        Self { teams, name, believed, under_way: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    pub fn believed(&self) -> &Believed {
        &self.believed
    }

    /// Takes in an activity.
    pub async fn receive(
        &self,
        gate: &Arc<Gate>,
        vouch: &dyn Vouch,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Reply {
        let refused = |why: NotBelieved| {
            tracing::warn!(channel = %self.name, %why, "a request was not believed to be the Bot Framework's");
            Reply::NotBelieved(why)
        };
        let Some(token) = bearer(headers) else { return refused(NotBelieved::Wrong) };
        let vouched = match vouch.vouch(token).await {
            Ok(vouched) => vouched,
            Err(why) => return refused(why),
        };
        let Some(activity) = activity::read(body) else { return Reply::Unreadable };
        if let Err(why) = self.is_from_teams(&activity, &vouched, gate.now()) {
            return refused(why);
        }
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else { return Reply::Busy };
        let (door, gate) = (self.clone(), Arc::clone(gate));
        match activity.what {
            What::Other => Reply::Taken,
            What::Words { who, text } => {
                tokio::spawn(async move {
                    door.obey(&gate, &activity.conversation, &who, &text).await;
                    drop(place);
                });
                Reply::Taken
            }
            What::Click(_) if activity.conversation != self.teams.conversation => {
                Reply::Json(words("Nothing is decided here: this card belongs to another conversation."))
            }
            What::Click(click) => {
                // It goes on, whether somebody still waits for the answer or not.
                let answering = tokio::spawn(async move {
                    let answer = door.answer(&gate, click).await;
                    drop(place);
                    answer
                });
                match tokio::time::timeout(ANSWER_WITHIN, answering).await {
                    Ok(Ok(answer)) => Reply::Json(answer),
                    Ok(Err(_)) => Reply::Json(failed()),
                    Err(_) => Reply::Json(words(
                        "It takes longer than usual. The card will show whether it counted.",
                    )),
                }
            }
        }
    }

    /// Whether the token speaks for this activity, and the activity for this bot and tenant, about now.
    fn is_from_teams(
        &self,
        activity: &Activity,
        vouched: &Vouched,
        now: Timestamp,
    ) -> Result<(), NotBelieved> {
        let endorsed = vouched.endorsements.iter().any(|chat| chat == MSTEAMS);
        let ours = activity.to == format!("28:{}", self.teams.app)
            && !activity.tenants.is_empty()
            && activity.tenants.iter().all(|tenant| *tenant == self.teams.tenant);
        if !endorsed || activity.channel != MSTEAMS || !ours {
            return Err(NotBelieved::Wrong);
        }
        if vouched.service.is_empty() || vouched.service != activity.service {
            return Err(NotBelieved::Wrong);
        }
        let at = activity.at.ok_or(NotBelieved::Time)?;
        if now.since(at).max(at.since(now)) > TOLERANCE { Err(NotBelieved::Time) } else { Ok(()) }
    }

    /// The answer to a click: the card as it stands for this user.
    async fn answer(&self, gate: &Arc<Gate>, click: Click) -> Value {
        let Click { who, target, delivery, verb } = click;
        let told = match verb {
            Verb::Look => Ok(None),
            Verb::Decide { says: Says::Reject, reason } if is_blank(reason.as_deref()) => {
                Ok(Some(Told::plain("Say why: it reaches the requester.")))
            }
            Verb::Decide { says, reason } => {
                let (who, target) = (who.clone(), target.clone());
                let decision = Decision { who, target, delivery, says, reason };
                desk::decide(gate, &self.name, decision).await.map(Some)
            }
        };
        let card = match told {
            Ok(told) => self.card(gate, &who, &target, told).await,
            Err(error) => Err(error),
        };
        card.unwrap_or_else(|error| {
            tracing::error!(channel = %self.name, error = %chain(&error), "a click in Teams could not be carried out");
            failed()
        })
    }

    async fn card(
        &self,
        gate: &Gate,
        who: &Who,
        target: &Target,
        told: Option<Told>,
    ) -> Result<Value, Error> {
        let hold = read::hold(gate, target.approval).await?;
        // Who asks for a card names an approval as they like: they see what this channel was told of, and no other.
        let Some(hold) = hold.filter(|hold| hears(gate, &self.name, hold)) else {
            return Ok(words(desk::NO_SUCH));
        };
        let (message, shown) = drawn_for(gate, &self.name, &hold, self.teams.room).await?;
        let value = Target::value(hold.approval.id, &shown);
        let person = gate.identity().bound(&self.name, &who.id).map(|bound| bound.person);
        let (may, seen) = match person {
            Some(person) if message.offers != Offer::Nothing => place(gate, &hold, person),
            // Who is bound to nobody is shown what everybody is: deciding shows them how to be bound.
            Some(_) | None => (true, None),
        };
        let told = told.or(seen);
        let card = draw::aside(&message, Some(&value), Some(&*value).filter(|_| may), told.as_ref());
        Ok(json!({"statusCode": 200, "type": super::KIND, "value": card.card}))
    }

    /// Does what somebody wrote to the bot, and answers where nobody else reads it.
    async fn obey(&self, gate: &Arc<Gate>, conversation: &str, who: &Who, text: &str) {
        let text = text.trim_start_matches('/');
        let told = match desk::obey(gate, &self.name, who, text).await {
            Ok(told) => told.unwrap_or_else(|| Told::plain(HELP)),
            Err(error) => {
                tracing::error!(channel = %self.name, error = %chain(&error), "words in Teams could not be carried out");
                Told::plain(desk::FAILED)
            }
        };
        let said = draw::said(&told);
        let activity = super::activity(&said.summary, &said.card);
        if let Err(refusal) = self.teams.api.call(gate.now(), To::Say(conversation), &activity).await {
            tracing::warn!(channel = %self.name, why = %refusal.failed.why, "a user of Teams was not answered");
        }
    }
}

/// Whether a channel is told of an approval.
fn hears(gate: &Gate, channel: &ChannelName, hold: &Hold) -> bool {
    gate.channels().named(channel).is_some_and(|known| match known.spec.hears {
        Hears::Everything => true,
        Hears::Named => hold.notify.iter().any(|name| name == channel.as_str()),
    })
}

/// Whether a person may decide here, and what they should know about that.
fn place(gate: &Gate, hold: &Hold, person: PersonId) -> (bool, Option<Told>) {
    if let Err(why) = vote::seat_for(gate, hold, person) {
        return (false, Some(Told::Plain(sentence(&why.to_string()))));
    }
    let mut votes = hold.approval.round().into_iter().flat_map(|round| round.votes.values());
    let voted = votes.any(|votes| votes.contains_key(&person));
    (true, voted.then(|| Told::plain("You approved it; others are still asked.")))
}

fn is_blank(reason: Option<&str>) -> bool {
    reason.is_none_or(|reason| reason.trim().is_empty())
}

/// A sentence that the user reads, beside the card that they clicked on.
fn words(ours: &str) -> Value {
    json!({"statusCode": 200, "type": "application/vnd.microsoft.activity.message", "value": ours})
}

fn failed() -> Value {
    json!({"statusCode": 500, "type": "application/vnd.microsoft.error",
        "value": {"code": "InternalServerError", "message": desk::FAILED}})
}

/// The one bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = single(headers, header::AUTHORIZATION.as_str()).split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}
