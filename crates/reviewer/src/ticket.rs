//! Tickets: one for each approval, whose text says what is asked, whose notes say every step with the entry that proves it, and which is
//! closed when the approval is over. Nothing is deleted. What every ticket system has in common is here; each speaks in its
//! own way behind one interface.

mod beforehand;
mod calls;
mod place;
mod watch;

pub(crate) use beforehand::{Beforehand, Done, Places, Said, Turn, approved, invitation};
pub(crate) use calls::{Calls, REST};
pub(crate) use place::{Place, digest};
pub(crate) use watch::MOST_CHANGES;
pub use watch::Watch;

use crate::{
    channel::{Again, Before, Failed, Letter, Scope, Tell},
    desk::{Told, Who},
    message::Room,
};
use async_trait::async_trait;
use countersign_core::{ApprovalId, Timestamp};
use countersign_engine::outbox::News;
use std::{fmt::Debug, time::Duration};

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) about: About,
    pub(crate) failed: Failed,
}

/// What a refusal is about, where somebody can do something about it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// The ticket is not there, or not for this account.
    Gone,
    /// A text is longer than is taken, or not taken as it is.
    Text,
    /// No way leads the ticket there, or not as it is.
    Way,
    /// More was done to the ticket than is read.
    Long,
    Other,
}

impl Refusal {
    pub(crate) fn channel(why: impl Into<String>) -> Self {
        Self { about: About::Other, failed: Failed::channel(why) }
    }

    /// It is about this ticket alone.
    pub(crate) fn news(about: About, why: impl Into<String>) -> Self {
        let failed = Failed { why: why.into(), scope: Scope::News, again: Again::Yes };
        Self { about, failed }
    }
}

/// Where a ticket can be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    Waiting,
    Approved,
    Rejected,
    Closed,
}

/// A text that was written into a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) ticket: String,
    /// Everything there is to see stands in it.
    pub(crate) whole: bool,
    /// [`digest`] of it.
    pub(crate) words: String,
}

/// A ticket that somebody put where people decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) ticket: String,
    /// Changes with the ticket.
    pub(crate) version: String,
}

/// What a ticket system itself says of a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// The approvals it says it is about. Anybody may have written that.
    pub(crate) approvals: Vec<ApprovalId>,
    /// [`digest`] of what it says now.
    pub(crate) words: String,
    /// It is closed, where that is no change of where it was put.
    pub(crate) closed: bool,
    /// What was done to it, oldest first.
    pub(crate) changes: Vec<Change>,
}

/// Something that was done to a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    pub(crate) by: By,
    pub(crate) did: Did,
}

/// Whose doing it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Us,
    Person(Who),
    /// An app, or a rule.
    Machine(Who),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    /// It was put there; `None`: somewhere that means nothing here.
    Put(Option<Stand>),
    /// What it says was changed.
    Wrote,
}

/// What is said in a ticket about something that somebody did to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Stands in it, so that it is not said twice.
    pub(crate) mark: String,
    pub(crate) to: Option<String>,
    pub(crate) told: Told,
}

/// What one user is told by mail, in words of ours alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) subject: &'static str,
    pub(crate) text: String,
    pub(crate) html: String,
}

impl Mail {
    pub(crate) fn of(told: &Told) -> Self {
        let (words, link) = match told {
            Told::Plain(words) => (words.as_str(), None),
            Told::Linked { words, link, .. } => (words.as_str(), Some(link)),
            Told::Status { state, link, .. } => (*state, Some(link)),
            Told::List { console, .. } => ("Countersign waits for you.", Some(console)),
        };
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let text = link.map_or_else(|| words.to_owned(), |link| format!("{words}\n\n{link}\n"));
        let anchor = link.map(|link| {
            let link = escaped(link);
            format!("<p><a href=\"{link}\">{link}</a></p>")
        });
        let html = format!("<p>{}</p>{}", escaped(words), anchor.unwrap_or_default());
        Self { subject: "Whose word yours is in Countersign", text, html }
    }
}

/// A system of tickets.
#[async_trait]
pub(crate) trait Tickets: Send + Sync + Debug {
    /// What people call it.
    fn called(&self) -> &'static str;

    /// How soon it finds a ticket that was created.
    fn found_within(&self) -> Duration;

    async fn create(&self, letter: &Letter) -> Result<Written, Refusal>;

    /// Looks for a ticket that an earlier try may have left. Others may write what they like, but create none in our name.
    async fn find(&self, letter: &Letter) -> Result<Option<String>, Refusal>;

    /// Writes down what is asked now.
    async fn describe(&self, letter: &Letter, ticket: &str) -> Result<Written, Refusal>;

    /// Says what a piece of news says.
    async fn note(&self, letter: &Letter, ticket: &str) -> Result<(), Refusal>;

    /// Whether we said something with this in it lately.
    async fn has_said(&self, ticket: &str, mark: &str) -> Result<bool, Refusal>;

    /// Puts it there, where it is not yet. `state` is how the approval stands.
    async fn put(&self, ticket: &str, stand: Stand, state: &str) -> Result<(), Refusal>;

    /// Tickets of ours that stand where people decide. Where that can be asked, also those of what is `open`, wherever they stand.
    async fn moved(&self, open: &[String]) -> Result<Vec<Moved>, Refusal>;

    async fn history(&self, ticket: &str) -> Result<History, Refusal>;

    /// What somebody said with a change.
    async fn reason(&self, ticket: &str, change: &Change) -> Result<Option<String>, Refusal>;

    /// Says something where everybody reads it.
    async fn reply(&self, ticket: &str, reply: &Reply) -> Result<(), Refusal>;

    /// Whether its own history keeps whatever is changed of what people approved.
    async fn keeps(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// Tells it somebody alone.
    async fn whisper(&self, ticket: &str, to: &Who, told: &Told) -> Result<(), Refusal>;
}

/// A channel that keeps a ticket for each approval.
#[derive(Debug)]
pub(crate) struct Ticketing<T> {
    pub(crate) tickets: T,
    pub(crate) room: Room,
    pub(crate) give_up_after: Duration,
    /// People decide in the tickets.
    pub(crate) decides: bool,
    /// People approve in them before anything is asked.
    pub(crate) preapproves: bool,
}

#[async_trait]
impl<T: Tickets> Tell for Ticketing<T> {
    fn room(&self, _news: &News) -> Room {
        // The text is written anew for each round: it always shows what it showed.
        self.room
    }

    fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let Some(posted) = &letter.posted else { return self.open(letter).await.map(Some) };
        match self.step(letter, &Place::read(posted).ticket).await {
            Err(refusal) if refusal.about == About::Gone => self.open(letter).await.map(Some),
            stepped => stepped.map_err(|refusal| refusal.failed),
        }
    }
}

impl<T: Tickets> Ticketing<T> {
    /// Creates the ticket about an approval, or finds it: where it is.
    async fn open(&self, letter: &Letter) -> Result<String, Failed> {
        let found = match letter.before {
            Before::Perhaps => self.tickets.find(letter).await.map_err(|refusal| refusal.failed)?,
            Before::Never => None,
        };
        if let Some(ticket) = found {
            // Whatever it shows, it is about this from now on. Last of all: what is written now is known from now on.
            self.begin(letter, &ticket).await.map_err(|refusal| refusal.failed)?;
            let written = self.tickets.describe(letter, &ticket).await.map_err(|refusal| refusal.failed)?;
            return Ok(self.place(letter, written));
        }
        let written = self.tickets.create(letter).await.map_err(|refusal| refusal.failed)?;
        // Tried again at once, its search would not find what was created a moment ago.
        self.begin(letter, &written.ticket).await.map_err(|refusal| Failed {
            again: match refusal.failed.again {
                Again::Yes => Again::After(self.tickets.found_within()),
                again @ (Again::After(_) | Again::No) => again,
            },
            ..refusal.failed
        })?;
        Ok(self.place(letter, written))
    }

    fn place(&self, letter: &Letter, written: Written) -> String {
        let Written { ticket, whole, words } = written;
        if !self.decides {
            return ticket;
        }
        Place { ticket, shown: letter.shown.clone(), whole, words }.to_string()
    }

    /// What a ticket that is opened late has to say and to be besides.
    async fn begin(&self, letter: &Letter, ticket: &str) -> Result<(), Refusal> {
        let test = letter.news.kind == "channel.test";
        if test && self.decides {
            self.rehearse(letter, ticket).await?;
        }
        if test && self.preapproves {
            self.tickets.keeps().await?;
        }
        if !test && letter.news.kind != "approval.requested" {
            self.say(letter, ticket).await?;
        }
        if !is_over(&letter.news.state) {
            return Ok(());
        }
        match self.tickets.put(ticket, Stand::Closed, &letter.news.state).await {
            // Tried again it would not be closed either; a test is there to find this out.
            Err(refusal) if refusal.about == About::Way && !test => {
                tracing::warn!(why = %refusal.failed.why, "a ticket stays open");
                Ok(())
            }
            put => put,
        }
    }

    /// Shows what a piece of news changes, and says it. The answer is where it is, where what it shows is new.
    async fn step(&self, letter: &Letter, ticket: &str) -> Result<Option<String>, Refusal> {
        if is_over(&letter.news.state) {
            self.tickets.put(ticket, Stand::Closed, &letter.news.state).await?;
        }
        self.say(letter, ticket).await?;
        if letter.news.kind != "approval.round_opened" {
            return Ok(None);
        }
        // Last of all: nothing that fails behind it keeps what is written now from being known.
        let written = self.tickets.describe(letter, ticket).await?;
        Ok(self.decides.then(|| self.place(letter, written)))
    }

    /// Says it where nothing of ours says it yet.
    async fn say(&self, letter: &Letter, ticket: &str) -> Result<(), Refusal> {
        let said = letter.before == Before::Perhaps
            && self.tickets.has_said(ticket, &letter.news.entry.to_string()).await?;
        if said { Ok(()) } else { self.tickets.note(letter, ticket).await }
    }

    /// Goes every way that people will and writes something else, and looks whether it can be read who did.
    async fn rehearse(&self, letter: &Letter, ticket: &str) -> Result<(), Refusal> {
        let mut other = letter.clone();
        other.message.link.push('/');
        self.tickets.describe(&other, ticket).await?;
        self.tickets.describe(letter, ticket).await?;
        for stand in [Stand::Approved, Stand::Rejected] {
            self.tickets.put(ticket, stand, "test").await?;
            self.tickets.put(ticket, Stand::Waiting, "test").await?;
        }
        let changes = self.tickets.history(ticket).await?.changes;
        let seen = |did| changes.iter().any(|change| change.by == By::Us && change.did == did);
        if !seen(Did::Put(Some(Stand::Approved))) || !seen(Did::Put(Some(Stand::Rejected))) {
            return Err(Refusal::channel("it does not say who moved the ticket: its history cannot be read"));
        }
        if !seen(Did::Wrote) {
            return Err(Refusal::channel(
                "it does not say who changed what the ticket says: that is not kept",
            ));
        }
        self.tickets.moved(&[ticket.to_owned()]).await.map(drop)
    }
}

/// Whether nothing more can become of it.
fn is_over(state: &str) -> bool {
    !matches!(state, "pending" | "granted" | "executing")
}
