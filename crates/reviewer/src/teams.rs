//! Microsoft Teams: a bot posts one card for each approval into a channel or a chat, and changes it in place through its
//! life; in a channel each piece of news is a line in its thread. Nothing is deleted. Teams lets a bot read nothing back, so
//! a gateway that dies between posting and remembering posts a second card, and both show what holds.

mod activity;
mod api;
mod door;
mod draw;
mod escape;
mod login;
mod sheet;

pub(crate) use api::Api;
pub use door::{Believed, Door, Vouch, Vouched};
pub use draw::{Card, card};
pub(crate) use login::Login;

use crate::{
    channel::{Behind, Failed, Gathering, Letter, Over, Tell},
    desk::Target,
    message::Room,
    words,
};
use api::{About, Refusal, To};
use async_trait::async_trait;
use countersign_core::Timestamp;
use countersign_engine::outbox::News;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Between two calls to one conversation: Teams takes 8 in two seconds there and 60 in half a minute, and says when it is more
/// than 1,800 in an hour.
const PACE: Duration = Duration::from_millis(500);
const KIND: &str = "application/vnd.microsoft.card.adaptive";

/// One conversation of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Teams {
    pub(crate) api: Api,
    /// The bot's app id.
    pub(crate) app: String,
    pub(crate) tenant: String,
    /// A channel's id (`19:…@thread.tacv2`), or a chat's.
    pub(crate) conversation: String,
    pub(crate) room: Room,
    pub(crate) give_up_after: Duration,
    /// One permit, given back a while after a call.
    pub(crate) pace: Arc<Semaphore>,
    /// Somebody hears what is clicked.
    pub(crate) listens: bool,
}

#[async_trait]
impl Tell for Teams {
    fn room(&self, _news: &News) -> Room {
        // The card is changed in place: it always shows what it showed.
        self.room
    }

    fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    fn gathers(&self) -> bool {
        true
    }

    async fn tell_together(&self, gathering: &Gathering) -> Result<Option<String>, Failed> {
        let posted = self.post(gathering.now, &draw::several(gathering)).await;
        posted.map(Some).map_err(|refusal| refusal.failed)
    }

    async fn over(&self, over: &Over) -> Result<(), Failed> {
        match self.replace(over.now, &over.posted, draw::over(&over.link)).await {
            // Somebody deleted it: nobody is misled by it.
            Err(refusal) if refusal.about == About::Gone => Ok(()),
            changed => changed.map_err(|refusal| refusal.failed),
        }
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let Some(posted) = &letter.posted else { return self.message(letter).await.map(Some) };
        // Where more waits, the card is changed once, with the last of it.
        if letter.behind == Behind::Nothing
            && let Err(refusal) = self.change(letter, posted).await
        {
            return match refusal.about {
                // Somebody deleted it, or the conversation is another now.
                About::Gone => self.message(letter).await.map(Some),
                About::Size | About::Other => Err(refusal.failed),
            };
        }
        // A chat has no threads, and a card that changes in place rings for nobody: whoever is called once more gets a message.
        let calls = words::calls(&letter.news.kind) && letter.message.state == "pending";
        if !self.has_threads() && !calls {
            return Ok(None);
        }
        match self.line(letter, posted).await {
            Err(refusal) if refusal.about == About::Gone => self.message(letter).await.map(Some),
            Err(refusal) => Err(refusal.failed),
            Ok(()) => Ok(None),
        }
    }
}

impl Teams {
    /// Channels of teams have threads, chats have none: there a line for each step would bury the rest.
    fn has_threads(&self) -> bool {
        ["@thread.tacv2", "@thread.skype"].iter().any(|end| self.conversation.ends_with(end))
    }

    /// The conversation that a card is in.
    fn around(&self, posted: &str) -> String {
        if self.has_threads() {
            format!("{};messageid={posted}", self.conversation)
        } else {
            self.conversation.clone()
        }
    }

    fn drawn(&self, letter: &Letter) -> Card {
        let value = self.listens.then(|| Target::value(letter.approval, &letter.shown));
        card(&letter.message, value.as_deref())
    }

    /// Posts the card about an approval: where it is.
    async fn message(&self, letter: &Letter) -> Result<String, Failed> {
        match self.post(letter.now, &self.drawn(letter)).await {
            Err(refusal) if refusal.about == About::Size => {
                self.post(letter.now, &draw::brief(&letter.message)).await.map_err(|refusal| refusal.failed)
            }
            posted => posted.map_err(|refusal| refusal.failed),
        }
    }

    async fn post(&self, now: Timestamp, card: &Card) -> Result<String, Refusal> {
        let activity = activity(&card.summary, &card.card);
        let said = if self.has_threads() {
            let begin = json!({
                "isGroup": true, "bot": {"id": format!("28:{}", self.app)}, "tenantId": self.tenant,
                "channelData": {"channel": {"id": self.conversation}, "tenant": {"id": self.tenant}}, "activity": activity,
            });
            self.call(now, To::Begin, &begin).await?
        } else {
            self.call(now, To::Say(&self.conversation), &activity).await?
        };
        let id = ["activityId", "id"].iter().find_map(|name| said.get(name).and_then(Value::as_str));
        id.map(str::to_owned).ok_or_else(|| Refusal {
            about: About::Other,
            failed: Failed::channel("Teams does not say where it put a message"),
        })
    }

    /// Shows in the card how it stands now.
    async fn change(&self, letter: &Letter, posted: &str) -> Result<(), Refusal> {
        match self.replace(letter.now, posted, self.drawn(letter)).await {
            Err(refusal) if refusal.about == About::Size => {
                self.replace(letter.now, posted, draw::brief(&letter.message)).await
            }
            changed => changed,
        }
    }

    /// Puts another card in the place of one that is there.
    async fn replace(&self, now: Timestamp, posted: &str, card: Card) -> Result<(), Refusal> {
        let around = self.around(posted);
        let mut activity = activity(&card.summary, &card.card);
        if let Some(activity) = activity.as_object_mut() {
            activity.insert("id".into(), posted.into());
        }
        self.call(now, To::Change(&around, posted), &activity).await.map(drop)
    }

    /// Says in the thread what happened; in a chat, by itself.
    async fn line(&self, letter: &Letter, posted: &str) -> Result<(), Refusal> {
        let Card { summary, card, .. } =
            if self.has_threads() { draw::line(letter) } else { draw::call(letter) };
        self.call(letter.now, To::Say(&self.around(posted)), &activity(&summary, &card)).await.map(drop)
    }

    /// Calls when it is its turn.
    async fn call(&self, now: Timestamp, to: To<'_>, body: &Value) -> Result<Value, Refusal> {
        let turn = Arc::clone(&self.pace).acquire_owned().await;
        let said = self.api.call(now, to, body).await;
        tokio::spawn(async move {
            tokio::time::sleep(PACE).await;
            drop(turn);
        });
        said
    }
}

/// A message that is one card.
fn activity(summary: &str, card: &Value) -> Value {
    json!({"type": "message", "summary": summary, "attachments": [{"contentType": KIND, "content": card}]})
}
