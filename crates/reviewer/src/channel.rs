//! What every channel is asked to do: tell one piece of news, or say why it could not and what to do about that.

use crate::message::{Message, Offer, Room};
use async_trait::async_trait;
use countersign_core::{ActionId, ApprovalId, ChannelName, EntryId, GroupName, PersonId, Timestamp};
use countersign_engine::outbox::News;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One piece of news, ready to be told.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The same at every try of the same news on the same channel.
    pub id: String,
    pub approval: ApprovalId,
    pub action: ActionId,
    pub news: News,
    pub message: Message,
    /// What a decision made on this message comes back with: `countersign_engine::inward::Said::shown`.
    pub shown: String,
    /// Whoever did it, by name, where that was a person.
    pub by: Option<String>,
    /// Who may decide on it, where the channel writes to people one by one.
    pub deciders: Vec<Decider>,
    /// Those on whose side it was asked for, where the channel writes to people one by one.
    pub requesters: Vec<Decider>,
    /// The channel is for somebody who may decide on it, or has told of it already.
    pub meant: bool,
    /// Of those who were written to before, whom the channel reaches now, and where: who is not in it has lost their part.
    pub reached: BTreeMap<PersonId, String>,
    /// Where the channel put the news before, where it has a place to change.
    pub posted: Option<String>,
    pub before: Before,
    pub behind: Behind,
    /// The gateway, as the address of its console.
    pub source: String,
    pub now: Timestamp,
}

/// Several approvals that are told in one message. It decides on none of them: whoever reads it opens the console, where each
/// is looked at, and signed, by itself.
#[derive(Clone, Debug)]
pub struct Gathering {
    /// The same at every try of the same approvals on the same channel.
    pub id: String,
    pub why: Why,
    /// As many as one message lists.
    pub items: Vec<Item>,
    /// How many there are.
    pub count: usize,
    /// What all of them have in common.
    pub common: Option<Common>,
    /// The console with these.
    pub link: String,
    /// Who may decide on them, where the channel writes to people one by one.
    pub deciders: Vec<Decider>,
    /// The gateway, as the address of its console.
    pub source: String,
    pub now: Timestamp,
}

/// Why approvals share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There are many like them.
    Similar,
    /// They could wait until those who read it are there.
    Waited,
}

/// What similar approvals have in common, as texts in which hidden characters were written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    pub requester: String,
    pub target: String,
    pub environment: String,
    pub kind: String,
    pub gates: String,
}

/// One of several approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub approval: ApprovalId,
    pub code: String,
    /// Hidden characters are written out.
    pub sentence: String,
    pub deadline: Option<Timestamp>,
    pub link: String,
}

/// What became of a message with several approvals: none of them waits for people any more.
#[derive(Clone, Debug)]
pub struct Over {
    /// The gathering's.
    pub id: String,
    /// Where it was put.
    pub posted: String,
    pub link: String,
    pub now: Timestamp,
}

/// Somebody who may decide, and how to reach them.
#[derive(Clone, PartialEq, Eq)]
pub struct Decider {
    pub person: PersonId,
    /// Where mail reaches them; empty where they are told on devices.
    pub address: String,
    /// To the approval's page, for them alone; good once.
    pub link: String,
    pub said: Said,
}

/// Whether somebody has had their say in this round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Nothing,
    Something,
}

/// To whom a channel writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// To one place, whoever reads there.
    ToAPlace,
    /// To the people who may decide, one by one.
    ToPeople,
    /// The same as users of another channel, where they are bound and where what they say comes in.
    ToUsersOf(ChannelName),
    /// To them on devices of theirs, where they have one.
    ToDevices,
}

/// Whether the same news may have arrived at an earlier try of which nobody remembers the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Never,
    /// It was tried in vain, or a gateway ended in between.
    Perhaps,
}

/// Whether later news of the same approval waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    Nothing,
    More,
}

/// Why something was not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// In our own words, without anything the other side said.
    pub why: String,
    pub scope: Scope,
    pub again: Again,
}

/// What a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The channel: nothing else would get through either.
    Channel,
    /// This piece of news alone.
    News,
}

/// Whether it is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Yes,
    /// Not before so much time has passed: the other side asked for it.
    After(Duration),
    No,
}

impl Failed {
    /// The channel does not work now.
    pub fn channel(why: impl Into<String>) -> Self {
        Self { why: why.into(), scope: Scope::Channel, again: Again::Yes }
    }
}

/// A way on which people are told.
#[async_trait]
pub trait Tell: Send + Sync + std::fmt::Debug {
    /// How much of the bytes it shows with this news.
    fn room(&self, news: &News) -> Room;

    /// News that could not be told for so long is given up.
    fn give_up_after(&self) -> Duration;

    fn writes(&self) -> Writes {
        Writes::ToAPlace
    }

    /// Who was written to, of a channel that keeps that where it keeps what it posted.
    fn written_to(&self, _posted: &str) -> BTreeSet<PersonId> {
        BTreeSet::new()
    }

    /// Whether it can tell several approvals in one message.
    fn gathers(&self) -> bool {
        false
    }

    /// About how many open approvals one person is asked; `None`: about all on which they may decide.
    fn most_each(&self) -> Option<usize> {
        None
    }

    /// Of these groups are those it writes to, of all who may decide; `None`: of any.
    fn groups(&self) -> Option<&BTreeSet<GroupName>> {
        None
    }

    /// Tells several approvals in one message. The answer is where it was put, where the channel has a place to change later.
    async fn tell_together(&self, _gathering: &Gathering) -> Result<Option<String>, Failed> {
        Ok(None)
    }

    /// Says of such a message that nothing in it waits for anybody any more.
    async fn over(&self, _over: &Over) -> Result<(), Failed> {
        Ok(())
    }

    /// Tells it. The answer is where it was put, where the channel has a place to change later.
    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed>;
}

impl std::fmt::Debug for Decider {
    /// Neither the address nor the link.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Decider").field("person", &self.person).finish_non_exhaustive()
    }
}

impl Letter {
    /// Those on whose side it was asked for, where this is news to them: that it was decided, and how it ended.
    pub(crate) fn answered(&self) -> impl Iterator<Item = &Decider> {
        let now = self.message.state.as_str();
        let told = match &*self.news.kind {
            // What became of it meanwhile is told behind this.
            "approval.granted" | "approval.glass_broken" => matches!(now, "granted" | "executing"),
            "approval.closed" | "execution.result" | "execution.outcome_unknown" => now != "pending",
            _ => false,
        };
        let apart = |one: &&Decider| self.deciders.iter().all(|decider| decider.person != one.person);
        self.requesters.iter().filter(move |_| told).filter(apart)
    }

    /// The same for those on the requester's side: there is nothing for them to decide.
    pub(crate) fn for_requesters(&self) -> Self {
        let mut letter = self.clone();
        letter.message.offers = Offer::Nothing;
        letter
    }

    /// A message that says of itself that it is a test; nothing it names is there.
    pub fn of_test(
        entry: EntryId,
        (approval, action): (ApprovalId, ActionId),
        source: &str,
        now: Timestamp,
    ) -> Self {
        let news = News {
            number: 1,
            entry,
            kind: "channel.test".into(),
            by: String::new(),
            at: now,
            state: "test".into(),
            gates: Vec::new(),
            after: None,
            gather: None,
        };
        let message = Message::of_test(source.to_owned());
        let source = source.to_owned();
        Self {
            id: entry.to_string(),
            approval,
            action,
            news,
            message,
            shown: String::new(),
            by: None,
            deciders: Vec::new(),
            requesters: Vec::new(),
            meant: true,
            reached: BTreeMap::new(),
            posted: None,
            // So that a test finds out whether looking for what may be there already works.
            before: Before::Perhaps,
            behind: Behind::Nothing,
            source,
            now,
        }
    }

    /// For one person, at their address there, on a channel that writes to people.
    #[must_use]
    pub fn meant_for(mut self, person: PersonId, address: String) -> Self {
        let link = self.message.link.clone();
        self.deciders = vec![Decider { person, address, link, said: Said::Nothing }];
        self
    }
}
