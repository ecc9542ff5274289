//! Slack: one message for each approval, changed in place through its life, and a line in its thread for each piece of
//! news. Nothing is deleted. A message says in its metadata which approval it is about, so that one that was posted by a
//! gateway that died before it could remember it is found again.

mod api;
mod door;
mod draw;
mod escape;
mod heard;
mod people;
mod reply;
mod requests;
mod sheet;
mod sign;
mod socket;
mod speak;

pub(crate) use api::Api;
pub use door::Door;
pub use draw::{Drawn, draw};
pub(crate) use people::People;
pub(crate) use sign::{Signing, unhex};
pub(crate) use socket::Pace;
pub use socket::Socket;

use crate::{
    channel::{Before, Behind, Failed, Gathering, Letter, Over, Tell},
    desk::Target,
    message::Room,
};
use api::{About, Body, Refusal};
use async_trait::async_trait;
use countersign_core::{ApprovalId, Digest, Timestamp};
use countersign_engine::outbox::News;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Slack takes one message a second in each channel.
const PACE: Duration = Duration::from_secs(1);
/// Of the metadata, so that nobody else's is taken for ours.
const EVENT: &str = "countersign_approval";
/// Messages looked through on one page, and pages, when one may be there already.
const PAGE: &str = "50";
const PAGES: usize = 20;
/// Slack's clock may be off from ours by so much.
const SKEW: Duration = Duration::from_mins(2);

/// One channel of one workspace.
#[derive(Clone, Debug)]
pub(crate) struct Slack {
    pub(crate) api: Api,
    /// The channel's id, such as `C0123456789`.
    pub(crate) channel: String,
    pub(crate) room: Room,
    pub(crate) give_up_after: Duration,
    /// One permit, given back a second after a message.
    pub(crate) pace: Arc<Semaphore>,
    /// Somebody hears what is clicked.
    pub(crate) listens: bool,
}

/// Which of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The message about the approval.
    Message,
    /// A line in its thread.
    Line,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Line => "line",
        }
    }
}

/// Whether people are to look up from what they do: a reminder, and a round in which their word is asked for anew.
fn rings(letter: &Letter) -> bool {
    matches!(&*letter.news.kind, "approval.reminded" | "approval.round_opened")
}

#[async_trait]
impl Tell for Slack {
    fn room(&self, _news: &News) -> Room {
        // The message is changed in place: it always shows what it showed.
        self.room
    }

    fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    fn gathers(&self) -> bool {
        true
    }

    async fn tell_together(&self, gathering: &Gathering) -> Result<Option<String>, Failed> {
        let (text, blocks) = draw::several(gathering);
        let posting = json!({
            "channel": self.channel, "text": text, "blocks": blocks, "parse": "none", "link_names": false,
            "unfurl_links": false, "unfurl_media": false, "client_msg_id": uuid(&gathering.id),
        });
        self.post(posting).await.map(Some).map_err(|refusal| refusal.failed)
    }

    async fn over(&self, over: &Over) -> Result<(), Failed> {
        self.ends(over).await.map_err(|refusal| refusal.failed)
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let message = || async { self.message(letter).await.map(Some).map_err(|refusal| refusal.failed) };
        let Some(posted) = &letter.posted else { return message().await };
        // Where more waits, the message is changed once, with the last of it.
        if letter.behind == Behind::Nothing
            && let Err(refusal) = self.change(letter, posted).await
        {
            return match refusal.about {
                // Somebody deleted it, or the channel is another now.
                About::Gone => message().await,
                About::Deleted | About::Size | About::Scope | About::Place | About::Other => {
                    Err(refusal.failed)
                }
            };
        }
        match self.line(letter, posted).await {
            Err(refusal) if refusal.about == About::Gone => message().await,
            Err(refusal) => Err(refusal.failed),
            Ok(()) => Ok(None),
        }
    }
}

impl Slack {
    fn drawn(&self, letter: &Letter) -> Drawn {
        let value = self.listens.then(|| Target::value(letter.approval, &letter.shown));
        draw(&letter.message, value.as_deref())
    }

    /// Posts the message about an approval, or finds it: where it is.
    async fn message(&self, letter: &Letter) -> Result<String, Refusal> {
        if letter.before == Before::Perhaps {
            let found = self.find(letter, Part::Message, None).await;
            if let Some(found) = found.map_err(|failed| Refusal { about: About::Other, failed })? {
                return Ok(found);
            }
        }
        let drawn = self.drawn(letter);
        let posting = self.posting(letter, Part::Message, None, &drawn.text, &drawn.blocks);
        match self.post(posting).await {
            Err(refusal) if refusal.about == About::Size => {
                let (text, blocks) = draw::brief(&letter.message);
                let posting = self.posting(letter, Part::Message, None, &text, &blocks);
                self.post(posting).await
            }
            posted => posted,
        }
    }

    /// Shows in the message how it stands now.
    async fn change(&self, letter: &Letter, posted: &str) -> Result<(), Refusal> {
        let drawn = self.drawn(letter);
        let change = |text: &str, blocks: &[Value]| {
            let metadata = metadata(letter, Part::Message);
            json!({"channel": self.channel, "ts": posted, "text": text, "blocks": blocks, "parse": "none",
                "link_names": false, "metadata": metadata})
        };
        let changed = self.api.call("chat.update", Body::Json(&change(&drawn.text, &drawn.blocks))).await;
        match changed {
            Err(refusal) if refusal.about == About::Size => {
                let (text, blocks) = draw::brief(&letter.message);
                self.api.call("chat.update", Body::Json(&change(&text, &blocks))).await.map(drop)
            }
            changed => changed.map(drop),
        }
    }

    /// Takes away what a message shows, for somebody whom it does not concern any more.
    async fn empty(&self, posted: &str) -> Result<(), Refusal> {
        let text = "This message is not meant for you any more.";
        let block = json!({"type": "section", "text": {"type": "plain_text", "text": text}});
        let change = json!({"channel": self.channel, "ts": posted, "text": text, "blocks": [block],
            "parse": "none", "link_names": false});
        match self.api.call("chat.update", Body::Json(&change)).await {
            Err(refusal) if matches!(refusal.about, About::Gone | About::Deleted) => Ok(()),
            changed => changed.map(drop),
        }
    }

    /// Says in the thread what happened.
    async fn line(&self, letter: &Letter, posted: &str) -> Result<(), Refusal> {
        if letter.before == Before::Perhaps {
            let found = self.find(letter, Part::Line, Some(posted)).await;
            if found.map_err(|failed| Refusal { about: About::Other, failed })?.is_some() {
                return Ok(());
            }
        }
        let (text, blocks) = reply::reply(letter);
        self.post(self.posting(letter, Part::Line, Some(posted), &text, &blocks)).await.map(drop)
    }

    /// Says in a message about several that none of them waits any more.
    async fn ends(&self, over: &Over) -> Result<(), Refusal> {
        let (text, blocks) = draw::over(&over.link);
        let change = json!({"channel": self.channel, "ts": over.posted, "text": text, "blocks": blocks,
            "parse": "none", "link_names": false});
        match self.api.call("chat.update", Body::Json(&change)).await {
            // Somebody deleted it: nobody is misled by it.
            Err(refusal) if matches!(refusal.about, About::Gone | About::Deleted) => Ok(()),
            changed => changed.map(drop),
        }
    }

    fn posting(
        &self,
        letter: &Letter,
        part: Part,
        thread: Option<&str>,
        text: &str,
        blocks: &[Value],
    ) -> Value {
        let mut posting = json!({
            "channel": self.channel, "text": text, "blocks": blocks, "metadata": metadata(letter, part),
            // Nothing in it is looked at for links or names.
            "parse": "none", "link_names": false, "unfurl_links": false, "unfurl_media": false,
            "client_msg_id": message_id(letter, part),
        });
        if let (Some(thread), Some(posting)) = (thread, posting.as_object_mut()) {
            posting.insert("thread_ts".into(), thread.into());
            if rings(letter) {
                // In a thread alone nobody would be reminded.
                posting.insert("reply_broadcast".into(), true.into());
            }
        }
        posting
    }

    /// Posts when it is its turn: where it is.
    async fn post(&self, mut posting: Value) -> Result<String, Refusal> {
        let turn = Arc::clone(&self.pace).acquire_owned().await;
        let posted = match self.api.call("chat.postMessage", Body::Json(&posting)).await {
            Err(refusal) if refusal.about == About::Deleted => {
                // Whoever deleted it did not decide it.
                if let Some(posting) = posting.as_object_mut() {
                    posting.remove("client_msg_id");
                }
                self.api.call("chat.postMessage", Body::Json(&posting)).await
            }
            posted => posted,
        };
        tokio::spawn(async move {
            tokio::time::sleep(PACE).await;
            drop(turn);
        });
        let posted = posted?;
        posted.get("ts").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| Refusal {
            about: About::Other,
            failed: Failed::channel("it does not say where it put a message"),
        })
    }

    /// Looks for a message that an earlier try may have left. What may not be looked at is taken not to be there: told
    /// twice is better than not at all.
    async fn find(
        &self,
        letter: &Letter,
        part: Part,
        thread: Option<&str>,
    ) -> Result<Option<String>, Failed> {
        let test = letter.news.kind == "channel.test";
        match self.search(letter, part, thread).await {
            Err(refusal) if refusal.about == About::Scope && !test => {
                tracing::warn!(approval = %letter.approval, why = %refusal.failed.why, "a message may be told twice");
                Ok(None)
            }
            Err(refusal) if refusal.about == About::Gone => Ok(None),
            found => found.map_err(|refusal| refusal.failed),
        }
    }

    async fn search(
        &self,
        letter: &Letter,
        part: Part,
        thread: Option<&str>,
    ) -> Result<Option<String>, Refusal> {
        let me = self.api.call("auth.test", Body::Form(&[])).await?;
        let me = me.get("bot_id").and_then(Value::as_str).unwrap_or_default();
        let since = oldest(letter.approval, letter.now);
        let mut pairs = vec![
            ("channel", self.channel.as_str()),
            ("include_all_metadata", "true"),
            ("limit", PAGE),
            ("oldest", &since),
        ];
        let method = thread.map_or("conversations.history", |_| "conversations.replies");
        pairs.extend(thread.map(|thread| ("ts", thread)));
        let mut cursor = String::new();
        for _ in 0..PAGES {
            let mut asked = pairs.clone();
            if !cursor.is_empty() {
                asked.push(("cursor", &cursor));
            }
            let page = self.api.call(method, Body::Form(&asked)).await?;
            let messages = page.get("messages").and_then(Value::as_array).into_iter().flatten();
            let mut ours = messages.filter(|message| is_it(message, me, letter, part));
            if let Some(ts) = ours.find_map(|message| message.get("ts")).and_then(Value::as_str) {
                return Ok(Some(ts.to_owned()));
            }
            next_page(&page).clone_into(&mut cursor);
            if cursor.is_empty() {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

fn next_page(page: &Value) -> &str {
    page.pointer("/response_metadata/next_cursor").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a message is the one that this letter would make. Others may write metadata like ours, but not in our name.
fn is_it(message: &Value, me: &str, letter: &Letter, part: Part) -> bool {
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let same = text("/metadata/event_type") == EVENT
        && text("/metadata/event_payload/approval") == letter.approval.to_string()
        && text("/metadata/event_payload/part") == part.as_str()
        && text("/bot_id") == me;
    // The message about an approval is one whatever news it shows.
    same && (part == Part::Message || text("/metadata/event_payload/entry") == letter.id)
}

/// Every member of the workspace can read it: identifiers and nothing else.
fn metadata(letter: &Letter, part: Part) -> Value {
    let payload = json!({"approval": letter.approval, "entry": letter.id, "part": part.as_str()});
    json!({"event_type": EVENT, "event_payload": payload})
}

/// Slack's clients send such an id so that a repetition is not posted twice; for apps it is documented only by the errors
/// it can lead to. It is the same at every try.
fn message_id(letter: &Letter, part: Part) -> String {
    uuid(&Digest::of_parts("countersign/slack/v1", &[letter.id.as_bytes(), part.as_str().as_bytes()]).hex())
}

/// Made of 32 hexadecimal digits.
fn uuid(hex: &str) -> String {
    let at = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-5{}-8{}-{}", at(0, 8), at(8, 12), at(13, 16), at(17, 20), at(20, 32))
}

/// No message about it is older.
fn oldest(approval: ApprovalId, now: Timestamp) -> String {
    let made = approval.unix_ms().min(now.unix_ms()) / 1000;
    format!("{}.000000", made.saturating_sub(SKEW.as_secs()))
}
