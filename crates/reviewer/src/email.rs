//! E-mail: one mail to each person who may decide, when they are asked and when it is over, over a server that the
//! configuration names. A mail decides nothing and nobody reads answers to it: it leads to the approval's page, where its
//! reader signs in.

mod draw;
mod envelope;
pub(crate) mod escape;
mod page;
mod smtp;

pub(crate) use envelope::Sender;
pub(crate) use smtp::{Login, Security, Smtp};

use crate::{
    channel::{Again, Behind, Failed, Gathering, Letter, Said, Scope, Tell, Writes},
    message::Room,
};
use async_trait::async_trait;
use countersign_core::GroupName;
use countersign_engine::outbox::News;
use lettre::Address;
use parking_lot::Mutex;
use smtp::{Connection, NotSent, TOO_LARGE};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;
use url::{Host, Url};

/// Connections to one server at once.
pub(crate) const CONNECTIONS: usize = 4;
const NOBODY: &str = "nobody who may decide on it has an address here";
/// News of which it is remembered who has it.
const REMEMBERED: usize = 1_024;

/// Mail to the people who may decide, or to addresses of the configuration.
#[derive(Clone)]
pub(crate) struct Email {
    pub(crate) smtp: Smtp,
    pub(crate) sender: Sender,
    pub(crate) from: Address,
    /// Empty: whoever may decide.
    pub(crate) to: Vec<Address>,
    pub(crate) channel: String,
    pub(crate) room: Room,
    pub(crate) give_up_after: Duration,
    /// About how many open approvals one person is asked.
    pub(crate) most_each: Option<usize>,
    /// Those it writes to are of these.
    pub(crate) groups: Option<BTreeSet<GroupName>>,
    pub(crate) turns: Arc<Semaphore>,
    /// To whom news was sent that others have not got yet: by the news' id.
    pub(crate) sent: Arc<Mutex<BTreeMap<String, Sent>>>,
}

/// Who has a piece of news, and who never will.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    told: BTreeSet<String>,
    refused: BTreeMap<String, u16>,
}

/// Makes the mail for one recipient.
type Drawing<'l> = dyn Fn(&To<'_>, Size) -> page::Page + Send + Sync + 'l;

/// One mail, as it is written for each of its recipients.
struct Job<'l> {
    /// The news' id, or the gathering's.
    id: &'l str,
    source: &'l str,
    behind: Behind,
    about: envelope::About,
    page: Box<Drawing<'l>>,
    reaches: Reaches,
}

/// Who has to have a mail until it counts as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaches {
    Everybody,
    /// One mailbox keeps nothing from the others, and is not tried again.
    Anybody,
}

/// How much of it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Whole,
    Brief,
}

/// What a mail is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// Somebody is to decide, by a link of theirs.
    Asks,
    /// The same, to an address that stands for no person.
    Informs,
    /// It was decided, or is over.
    Ends,
    /// The same, to those on whose side it was asked for.
    Answers,
}

/// The parts of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub text: String,
    pub html: String,
    /// As it goes over the wire.
    pub whole: String,
}

/// One recipient of a piece of news.
struct To<'l> {
    address: Address,
    link: &'l str,
    what: Ours,
    /// How they are called in errors, which name no address.
    called: String,
}

impl Ours {
    fn of(letter: &Letter) -> Option<Self> {
        let waits = matches!(&*letter.message.state, "pending" | "test");
        match &*letter.news.kind {
            "channel.test" | "approval.requested" | "approval.round_opened" | "approval.reminded" => {
                waits.then_some(Self::Asks)
            }
            // Others are called then; who was asked before was reminded, or will be.
            "approval.escalated" => (waits && letter.posted.is_none()).then_some(Self::Asks),
            "execution.result" => (letter.news.state != "done").then_some(Self::Ends),
            "approval.granted"
            | "approval.closed"
            | "approval.glass_broken"
            | "execution.outcome_unknown" => Some(Self::Ends),
            // Steps on the way: the page has them all.
            _ => None,
        }
    }

    const fn note(self) -> &'static str {
        match self {
            Self::Asks => {
                "The link is for you alone and good once. You sign in there; it decides nothing by itself. Answers to this \
                 mail are read by nobody and count as nothing."
            }
            Self::Informs | Self::Ends => {
                "You sign in behind the link. Answers to this mail are read by nobody and count as nothing."
            }
            Self::Answers => {
                "You are told because it was asked for by you, on your behalf, or by an agent of yours. You sign in behind \
                 the link. Answers to this mail are read by nobody and count as nothing."
            }
        }
    }
}

#[async_trait]
impl Tell for Email {
    fn room(&self, news: &News) -> Room {
        let shows = matches!(
            &*news.kind,
            "approval.requested" | "approval.round_opened" | "approval.reminded" | "approval.escalated"
        );
        if shows { self.room } else { Room { characters: None } }
    }

    fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    fn writes(&self) -> Writes {
        if self.to.is_empty() { Writes::ToPeople } else { Writes::ToAPlace }
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

    async fn tell_together(&self, gathering: &Gathering) -> Result<Option<String>, Failed> {
        let to =
            |address: Address, called| To { address, link: &gathering.link, what: Ours::Informs, called };
        let recipients: Vec<To<'_>> = if self.to.is_empty() {
            let found = gathering.deciders.iter().filter(|one| one.said == Said::Nothing);
            found.filter_map(|one| Some(to(one.address.parse().ok()?, one.person.to_string()))).collect()
        } else {
            self.to.iter().enumerate().map(|(at, address)| to(address.clone(), nth(at))).collect()
        };
        if recipients.is_empty() {
            return Err(NotSent::failed(Scope::News, Again::Yes, NOBODY.into()));
        }
        let job = Job {
            id: &gathering.id,
            source: &gathering.source,
            behind: Behind::Nothing,
            about: envelope::About::gathering(gathering),
            page: Box::new(|to, size| match size {
                Size::Whole => page::several(gathering, to.what),
                Size::Brief => page::few(gathering, to.what),
            }),
            reaches: Reaches::Anybody,
        };
        self.deliver(&job, &recipients).await
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let what = Ours::of(letter);
        let mut recipients = what.map_or_else(|| Ok(Vec::new()), |what| self.recipients(letter, what))?;
        recipients.extend(letter.answered().filter_map(|one| {
            let (link, what) = (&one.link, Ours::Answers);
            Some(To { address: one.address.parse().ok()?, link, what, called: one.person.to_string() })
        }));
        if what.is_none() && recipients.is_empty() {
            return Ok(None);
        }
        let job = Job {
            id: &letter.id,
            source: &letter.source,
            behind: letter.behind,
            about: envelope::About::letter(letter),
            page: Box::new(|to, size| match size {
                Size::Whole => page::page(letter, to.what, to.link),
                Size::Brief => page::brief(letter, to.what, to.link),
            }),
            reaches: Reaches::Everybody,
        };
        self.deliver(&job, &recipients).await
    }
}

impl Email {
    /// Writes to everybody who has not got it; then says whether somebody never will.
    async fn deliver(&self, job: &Job<'_>, recipients: &[To<'_>]) -> Result<Option<String>, Failed> {
        let known = self.sent.lock().get(job.id).cloned().unwrap_or_default();
        let left: Vec<&To<'_>> = recipients
            .iter()
            .filter(|to| {
                !known.told.contains(to.address.as_ref() as &str) && !known.refused.contains_key(&to.called)
            })
            .collect();
        if !left.is_empty()
            && let Err(failed) = self.send(job, &left, recipients.len()).await
            && (failed.scope == Scope::Channel || !self.is_enough(job))
        {
            return Err(failed);
        }
        let enough = self.is_enough(job);
        let mut refused = self.sent.lock().remove(job.id).unwrap_or_default();
        // Nothing that people are asked hangs on whoever only hears what became of it.
        let answers = |who: &str| recipients.iter().any(|to| to.what == Ours::Answers && to.called == who);
        refused.refused.retain(|who, code| {
            let answers = answers(who);
            if answers {
                tracing::warn!(channel = self.channel, who, code, "whoever asked cannot be told by mail");
            }
            !answers
        });
        match refused.refused.iter().next() {
            None => Ok(Some("mailed".into())),
            Some((who, code)) if enough => {
                tracing::warn!(
                    channel = self.channel,
                    who,
                    code,
                    "a mail about several was refused for good"
                );
                Ok(Some("mailed".into()))
            }
            Some((who, code)) => {
                let (count, all) = (refused.refused.len(), recipients.len());
                // Those who have it do not get it again when it is replayed.
                self.remember(job.id, |sent| sent.told.clone_from(&refused.told));
                let why =
                    format!("{count} of {all} mails were refused for good, first that to {who} ({code})");
                Err(NotSent::failed(Scope::News, Again::No, why))
            }
        }
    }

    /// Whether it counts as sent though somebody has not got it.
    fn is_enough(&self, job: &Job<'_>) -> bool {
        let reached = || self.sent.lock().get(job.id).is_some_and(|sent| !sent.told.is_empty());
        job.reaches == Reaches::Anybody && reached()
    }

    fn recipients<'l>(&self, letter: &'l Letter, what: Ours) -> Result<Vec<To<'l>>, Failed> {
        let test = letter.news.kind == "channel.test";
        let what = if test { Ours::Informs } else { what };
        if (test && letter.deciders.is_empty()) || !self.to.is_empty() {
            let what = if what == Ours::Asks { Ours::Informs } else { what };
            let own = [self
                .sender
                .reply_to
                .as_ref()
                .and_then(|to| to.parse().ok())
                .unwrap_or_else(|| self.from.clone())];
            let to = if self.to.is_empty() { own.as_slice() } else { self.to.as_slice() };
            let named = to.iter().enumerate().map(|(at, address)| To {
                address: address.clone(),
                link: &letter.message.link,
                what,
                called: nth(at),
            });
            return Ok(named.collect());
        }
        let wanted = letter.deciders.iter().filter(|one| what != Ours::Asks || one.said == Said::Nothing);
        let found: Vec<To<'_>> = wanted
            .filter_map(|one| {
                let link = if what == Ours::Asks { &one.link } else { &letter.message.link };
                Some(To { address: one.address.parse().ok()?, link, what, called: one.person.to_string() })
            })
            .collect();
        if found.is_empty() && what == Ours::Asks {
            return Err(NotSent::failed(Scope::News, Again::Yes, NOBODY.into()));
        }
        Ok(found)
    }

    /// Sends to everybody who has not got it. What is refused for good is remembered, what is refused for now is the error,
    /// after everybody was tried.
    async fn send(&self, job: &Job<'_>, to: &[&To<'_>], all: usize) -> Result<(), Failed> {
        let _turn = self.turns.acquire().await;
        let mut server = self.smtp.connect(&greeting(job.source)).await?;
        let mut later = None;
        for one in to {
            let address: &str = one.address.as_ref();
            match self.one(&mut server, job, one).await {
                Ok(()) => self.remember(job.id, |sent| {
                    sent.told.insert(address.to_owned());
                }),
                Err(NotSent::Recipient(code, Again::No) | NotSent::Mail(code, Again::No)) => {
                    self.refuse(job.id, one, code);
                }
                Err(NotSent::TooLarge) => self.refuse(job.id, one, TOO_LARGE),
                Err(NotSent::Recipient(code, again) | NotSent::Mail(code, again)) => {
                    later.get_or_insert((one.called.as_str(), code, again));
                }
                Err(NotSent::Channel(failed)) => return Err(failed),
            }
        }
        server.quit().await;
        match later {
            None => Ok(()),
            // One full mailbox keeps nobody else from what came since; whoever has it is written to then.
            Some((who, code, Again::Yes | Again::After(_))) if job.behind == Behind::More => {
                tracing::warn!(
                    channel = self.channel,
                    who,
                    code,
                    "a mail was not taken, and newer news waits"
                );
                Ok(())
            }
            Some((who, code, again)) => {
                let why = format!("of {all} mails that to {who} was not taken yet ({code})");
                Err(NotSent::failed(Scope::News, again, why))
            }
        }
    }

    /// One mail; a brief one where the server takes no large one.
    async fn one(&self, server: &mut Connection<'_>, job: &Job<'_>, to: &To<'_>) -> Result<(), NotSent> {
        let written = |size| {
            let page = (job.page)(to, size);
            envelope::written(&self.sender, to.address.as_ref(), &job.about, &self.channel, &page)
        };
        match server.send(&self.from, &to.address, written(Size::Whole).as_bytes()).await {
            Err(NotSent::TooLarge) => {
                server.send(&self.from, &to.address, written(Size::Brief).as_bytes()).await
            }
            sent => sent,
        }
    }

    fn refuse(&self, id: &str, to: &To<'_>, code: u16) {
        self.remember(id, |sent| {
            sent.refused.insert(to.called.clone(), code);
        });
    }

    fn remember(&self, id: &str, change: impl FnOnce(&mut Sent)) {
        let mut sent = self.sent.lock();
        change(sent.entry(id.to_owned()).or_default());
        // The oldest goes: ids sort as their moments do.
        while sent.len() > REMEMBERED {
            sent.pop_first();
        }
    }
}

/// The mail that one person would be sent.
pub fn mail(letter: &Letter, from: &str, to: &str, link: &str) -> Mail {
    let what = Ours::of(letter).unwrap_or(Ours::Ends);
    let page = page::page(letter, what, link);
    let sender = Sender { from: from.to_owned(), reply_to: None };
    let whole = envelope::written(&sender, to, &envelope::About::letter(letter), "mail", &page);
    Mail { text: draw::text(&page), html: draw::markup(&page), whole }
}

/// How an address of the configuration is called in errors.
fn nth(at: usize) -> String {
    format!("address {} of `to`", at + 1)
}

impl std::fmt::Debug for Email {
    /// No address, and nobody who was written to.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { channel, to, room, .. } = self;
        let to =
            if to.is_empty() { "whoever may decide".to_owned() } else { format!("{} addresses", to.len()) };
        out.debug_struct("Email")
            .field("channel", channel)
            .field("to", &to)
            .field("room", room)
            .finish_non_exhaustive()
    }
}

/// What the gateway calls itself: its console's host; an address stands in brackets (RFC 5321, section 4.1.3).
fn greeting(source: &str) -> String {
    let url = Url::parse(source).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => format!("[{address}]"),
        Some(Host::Ipv6(address)) => format!("[IPv6:{address}]"),
        None => "localhost".to_owned(),
    }
}
