//! Messages to people, one by one: whoever may decide and is bound in the channel whose app writes them. Each has one
//! message about an approval in their own conversation with the app, changed in place through its life, and whoever it was
//! asked for is told how it ends. What is clicked there comes to that channel, as what is clicked in it does.

use super::{
    Slack,
    api::{About, Body, Refusal},
    draw, rings,
};
use crate::{
    channel::{Again, Behind, Decider, Failed, Gathering, Letter, Over, Said, Scope, Tell, Writes},
    message::Room,
};
use async_trait::async_trait;
use countersign_core::{ChannelName, GroupName, PersonId};
use countersign_engine::outbox::News;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;

/// News of which it is remembered who has it already.
const REMEMBERED: usize = 1_024;
/// What begins the places of such messages: nobody finds an approval by them.
const PLACES: &str = "people";

/// The people of one channel.
#[derive(Clone, Debug)]
pub(crate) struct People {
    /// The app; its channel is put in for each person.
    pub(crate) slack: Slack,
    /// Where they are bound, and their clicks come in.
    pub(crate) of: ChannelName,
    /// About how many open approvals one person is asked.
    pub(crate) most_each: Option<usize>,
    /// Those it writes to are of these.
    pub(crate) groups: Option<BTreeSet<GroupName>>,
    /// How far news came that others have not got yet: by its id.
    pub(crate) sent: Arc<Mutex<BTreeMap<String, Sent>>>,
    /// One permit for each conversation, given back a second after a message.
    pub(crate) paces: Arc<Mutex<BTreeMap<String, Arc<Semaphore>>>>,
}

/// How far one piece of news came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    written: Vec<Place>,
    reminded: BTreeSet<PersonId>,
}

/// Where somebody's message is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    person: PersonId,
    /// The workspace and user that spoke for them then.
    user: String,
    conversation: String,
    ts: String,
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let mut next = || parts.next();
        let (person, user, conversation, ts) = (next()?, next()?, next()?, next()?);
        let (user, conversation, ts) = (user.into(), conversation.into(), ts.into());
        Some(Self { person: person.parse().ok()?, user, conversation, ts })
    }

    fn all(posted: Option<&str>) -> Vec<Self> {
        posted.unwrap_or_default().split(' ').filter_map(Self::read).collect()
    }
}

fn written(places: &[Place]) -> String {
    let one = |place: &Place| format!(" {}:{}:{}:{}", place.person, place.user, place.conversation, place.ts);
    std::iter::once(PLACES.to_owned()).chain(places.iter().map(one)).collect()
}

#[async_trait]
impl Tell for People {
    fn room(&self, _news: &News) -> Room {
        self.slack.room
    }

    fn give_up_after(&self) -> Duration {
        self.slack.give_up_after
    }

    fn writes(&self) -> Writes {
        Writes::ToUsersOf(self.of.clone())
    }

    fn gathers(&self) -> bool {
        true
    }

    fn most_each(&self) -> Option<usize> {
        self.most_each
    }

    fn groups(&self) -> Option<&BTreeSet<GroupName>> {
        self.groups.as_ref()
    }

    fn written_to(&self, posted: &str) -> BTreeSet<PersonId> {
        Place::all(Some(posted)).into_iter().map(|place| place.person).collect()
    }

    async fn tell_together(&self, gathering: &Gathering) -> Result<Option<String>, Failed> {
        let (text, blocks) = draw::several(gathering);
        let mut places = self.so_far(&gathering.id).written;
        for decider in gathering.deciders.iter().filter(|one| one.said == Said::Nothing) {
            if places.iter().any(|place| place.person == decider.person) {
                continue;
            }
            let posting = json!({"text": text, "blocks": blocks, "parse": "none", "link_names": false,
                "unfurl_links": false, "unfurl_media": false});
            let posted = self.posted(decider, posting).await;
            if let Some(place) = kept(decider.person, posted)? {
                self.remember(&gathering.id, |sent| sent.written.push(place.clone()));
                places.push(place);
            }
        }
        self.sent.lock().remove(&gathering.id);
        if places.is_empty() {
            return Err(self.nobody());
        }
        Ok(Some(written(&places)))
    }

    async fn over(&self, over: &Over) -> Result<(), Failed> {
        for place in Place::all(Some(&over.posted)) {
            let over = Over { posted: place.ts.clone(), ..over.clone() };
            kept(place.person, self.at(&place.conversation).ends(&over).await)?;
        }
        Ok(())
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        if letter.news.kind == "channel.test" {
            // Where it is for nobody, whether the app is let in is what can be tried.
            if let Some(decider) = letter.deciders.first() {
                let tried = async {
                    let conversation = self.conversation(decider).await?;
                    self.at(&conversation).message(letter).await
                };
                return tried.await.map(|_| None).map_err(|refusal| refusal.failed);
            }
            let tried = self.slack.api.call("auth.test", Body::Form(&[])).await;
            return tried.map(|_| None).map_err(|refusal| refusal.failed);
        }
        let stays = |place: &Place| letter.reached.get(&place.person) == Some(&place.user);
        let (before, lost): (Vec<_>, Vec<_>) =
            Place::all(letter.posted.as_deref()).into_iter().partition(stays);
        for place in lost {
            kept(place.person, self.at(&place.conversation).empty(&place.ts).await)?;
        }
        let (mut places, known) = (before.clone(), self.so_far(&letter.id));
        places.extend(known.written);
        for decider in asked(letter).chain(letter.answered()) {
            if places.iter().any(|place| place.person == decider.person) {
                continue;
            }
            if let Some(place) = kept(decider.person, self.write(letter, decider).await)? {
                self.remember(&letter.id, |sent| sent.written.push(place.clone()));
                places.push(place);
            }
        }
        if places.is_empty() && is_asked(letter) {
            return Err(self.nobody());
        }
        self.follow(letter, &before).await?;
        self.sent.lock().remove(&letter.id);
        Ok((!places.is_empty()).then(|| written(&places)))
    }
}

impl People {
    /// Shows in the messages that are there how it stands now; whoever has not had their say is reminded below theirs, or told
    /// that it is asked for anew.
    async fn follow(&self, letter: &Letter, places: &[Place]) -> Result<(), Failed> {
        let theirs = letter.for_requesters();
        for place in places {
            let there = self.at(&place.conversation);
            let asked_for = letter.requesters.iter().any(|one| one.person == place.person);
            if letter.behind == Behind::Nothing {
                let letter = if asked_for { &theirs } else { letter };
                kept(place.person, there.change(letter, &place.ts).await)?;
            }
            let waits =
                letter.deciders.iter().any(|one| one.person == place.person && one.said == Said::Nothing);
            let done = self.so_far(&letter.id).reminded.contains(&place.person);
            if rings(letter) && waits && !done {
                kept(place.person, there.line(letter, &place.ts).await)?;
                self.remember(&letter.id, |sent| {
                    sent.reminded.insert(place.person);
                });
            }
        }
        Ok(())
    }

    /// The message about an approval in somebody's own conversation, or the one that is there.
    async fn write(&self, letter: &Letter, to: &Decider) -> Result<Place, Refusal> {
        let conversation = self.conversation(to).await?;
        let there = self.at(&conversation);
        let ts = there.message(letter).await?;
        Ok(Place { person: to.person, user: to.address.clone(), conversation, ts })
    }

    async fn posted(&self, to: &Decider, mut posting: Value) -> Result<Place, Refusal> {
        let conversation = self.conversation(to).await?;
        if let Some(posting) = posting.as_object_mut() {
            posting.insert("channel".into(), conversation.as_str().into());
        }
        let ts = self.at(&conversation).post(posting).await?;
        Ok(Place { person: to.person, user: to.address.clone(), conversation, ts })
    }

    /// The app's conversation with somebody.
    async fn conversation(&self, to: &Decider) -> Result<String, Refusal> {
        // Workspace and user, as they are bound.
        let user = to.address.rsplit('/').next().unwrap_or_default();
        let opened = self.slack.api.call("conversations.open", Body::Json(&json!({"users": user}))).await?;
        let id = opened.pointer("/channel/id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| Refusal {
            about: About::Other,
            failed: Failed::channel("it does not say which conversation it opened"),
        })
    }

    /// The app in one conversation, each of which takes a message a second.
    fn at(&self, conversation: &str) -> Slack {
        let mut paces = self.paces.lock();
        if paces.len() >= REMEMBERED {
            // Whoever was not written to in this second waits for nothing.
            paces.retain(|_, pace| pace.available_permits() == 0);
        }
        let pace = paces.entry(conversation.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1)));
        let pace = Arc::clone(pace);
        Slack { channel: conversation.to_owned(), pace, ..self.slack.clone() }
    }

    fn so_far(&self, id: &str) -> Sent {
        self.sent.lock().get(id).cloned().unwrap_or_default()
    }

    fn remember(&self, id: &str, change: impl FnOnce(&mut Sent)) {
        let mut sent = self.sent.lock();
        change(sent.entry(id.to_owned()).or_default());
        // The oldest goes: ids sort as their moments do.
        while sent.len() > REMEMBERED {
            sent.pop_first();
        }
    }

    fn nobody(&self) -> Failed {
        let why = format!("nobody who may decide on it is bound in `{}`", self.of);
        Failed { why, scope: Scope::News, again: Again::Yes }
    }
}

/// Whether people are asked with this news.
fn is_asked(letter: &Letter) -> bool {
    let asks = matches!(
        &*letter.news.kind,
        "approval.requested" | "approval.round_opened" | "approval.reminded" | "approval.escalated"
    );
    asks && letter.message.state == "pending"
}

/// Those who may decide and have not had their say, where that is asked.
fn asked(letter: &Letter) -> impl Iterator<Item = &Decider> {
    let asks = is_asked(letter);
    letter.deciders.iter().filter(move |one| asks && one.said == Said::Nothing)
}

/// What became of somebody's message. What concerns one person alone keeps nobody else from theirs.
fn kept<T>(person: PersonId, done: Result<T, Refusal>) -> Result<Option<T>, Failed> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(refusal) if refusal.failed.scope == Scope::Channel && refusal.about != About::Place => {
            Err(refusal.failed)
        }
        Err(refusal) => {
            tracing::warn!(%person, why = %refusal.failed.why, "somebody was not told in Slack");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_messages_are_is_read_as_it_was_written() {
        let place = |number: u128, conversation: &str| Place {
            person: PersonId::from_parts(1, number),
            user: format!("T1/U{number}"),
            conversation: conversation.into(),
            ts: format!("{number}.000001"),
        };
        let places = [place(1, "D1"), place(2, "D2")];
        assert_eq!(Place::all(Some(&written(&places))), places);
        assert!(Place::all(None).is_empty() && Place::all(Some("mailed")).is_empty());
    }
}
