//! Web push (RFC 8030): a notification on the devices of whoever may decide, encrypted for the browser alone (RFC 8291) and
//! signed with a key of the gateway's (RFC 8292). It decides nothing: a tap opens the approval's page, where its reader
//! decides as on every other day.

mod encrypt;
mod key;
mod note;
mod service;

pub use key::{PushKey, PushKeyError};
pub(crate) use service::{Host, Services, USUAL};

use crate::{
    channel::{Again, Behind, Failed, Gathering, Letter, Over, Said, Scope, Tell, Writes},
    message::Room,
    outward::{Answer, retry_after},
};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{CredentialId, Digest, PersonId, Timestamp};
use countersign_engine::{
    outbox::News,
    port::{
        identity::Identity,
        push::{Fared, Subscription},
    },
};
use encrypt::Recipient;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, StatusCode, header};
use note::{Note, What};
use parking_lot::Mutex;
use service::{NotTaken, Place};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Devices that are told at once.
const AT_ONCE: usize = 8;
/// How long a service is left alone that asks for less and does not say for how long.
const REST: Duration = Duration::from_secs(30);
/// A device is tried by hand this often.
const TRIED_EVERY: Duration = Duration::from_secs(10);
/// What is remembered of news, services and trials, each.
const REMEMBERED: usize = 1_024;
/// Of how many people it is remembered that they were told of several approvals.
const NAMED: usize = 100;
const NOBODY: &str = "nobody who may decide on it has a device here";
const OTHER_KEY: &str = "it was added for another key of this gateway's: remove it, and add it again";

/// Devices of the people who may decide.
pub struct Push {
    pub(crate) services: Services,
    /// Whom a push service asks about it.
    pub(crate) contact: Option<String>,
    /// The longest sentence that is shown, in characters.
    pub(crate) show: usize,
    pub(crate) give_up_after: Duration,
    pub(crate) most_each: Option<usize>,
    pub(crate) opened: OnceLock<Opened>,
    pub(crate) memory: Mutex<Memory>,
}

/// What it has once the gateway is there.
#[derive(Debug)]
pub(crate) struct Opened {
    key: PushKey,
    identity: Arc<dyn Identity>,
    console: String,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Who has news that others have not got yet, by the news' id.
    sent: BTreeMap<String, Sent>,
    /// Services that asked for less, and until when.
    resting: BTreeMap<String, Timestamp>,
    /// When devices were tried by hand.
    tried: BTreeMap<CredentialId, Timestamp>,
}

/// Which devices have a piece of news, and which never will.
#[derive(Clone, Debug, Default)]
struct Sent {
    told: BTreeSet<CredentialId>,
    refused: BTreeMap<CredentialId, String>,
}

/// What became of a message to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Told,
    Gone,
    Refused(String),
    Later { why: String, again: Again },
}

/// What is told at one time.
#[derive(Clone, Copy)]
struct Job<'j> {
    /// The news' id, or the gathering's.
    id: &'j str,
    behind: Behind,
    now: Timestamp,
}

/// A device, and what it is told.
struct To<'n> {
    device: Subscription,
    note: &'n Note,
}

/// Why a device that was tried by hand was not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTried {
    #[error("it was tried a moment ago")]
    TooSoon,
    #[error("its push service says that it is not there any more: it was removed")]
    Gone,
    #[error("{0}")]
    Failed(String),
}

impl std::fmt::Debug for Push {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { services, show, .. } = self;
        out.debug_struct("Push").field("services", services).field("show", show).finish_non_exhaustive()
    }
}

impl Push {
    /// Gives it what it needs; once.
    pub fn open(&self, key: PushKey, identity: Arc<dyn Identity>, console: &str) {
        // Whoever opens it twice keeps the first: devices were added for that key.
        let _ = self.opened.set(Opened { key, identity, console: console.to_owned() });
    }

    /// The gateway's public key, for browsers.
    pub fn key(&self) -> Option<&str> {
        self.opened.get().map(|opened| opened.key.public())
    }

    /// Whether a device can be told by what its browser handed over.
    pub fn check(&self, endpoint: &str, p256dh: &str, auth: &str) -> Result<(), String> {
        self.services.place(endpoint).map_err(|error: NotTaken| error.to_string())?;
        let recipient = Recipient::read(p256dh, auth).map_err(|error| error.to_string())?;
        // That a point lies on its curve shows when something is encrypted for it.
        recipient.encrypt(b"").map(drop).map_err(|error| error.to_string())
    }

    /// Sends a test to one device.
    pub async fn try_out(&self, device: &Subscription, now: Timestamp) -> Result<(), NotTried> {
        {
            let mut memory = self.memory.lock();
            if memory.tried.get(&device.id).is_some_and(|last| now.since(*last) < TRIED_EVERY) {
                return Err(NotTried::TooSoon);
            }
            memory.tried.retain(|_, last| now.since(*last) < TRIED_EVERY);
            memory.tried.insert(device.id, now);
        }
        let opened = self.opened().map_err(|failed| NotTried::Failed(failed.why))?;
        let job = Job { id: "test", behind: Behind::Nothing, now };
        let fate = self.one(opened, &To { device: device.clone(), note: &Note::test() }, job).await;
        self.take_down(opened, device.id, &fate).await;
        match fate {
            Fate::Told => Ok(()),
            Fate::Gone => Err(NotTried::Gone),
            Fate::Refused(why) | Fate::Later { why, .. } => Err(NotTried::Failed(why)),
        }
    }

    fn opened(&self) -> Result<&Opened, Failed> {
        self.opened.get().ok_or_else(|| Failed::channel("the gateway's key for push services is not there"))
    }

    /// Tells every device that has not got it; then says whether somebody is told later, or never.
    async fn deliver(&self, job: Job<'_>, devices: &[To<'_>]) -> Result<(), Failed> {
        let opened = self.opened()?;
        let known = self.memory.lock().sent.get(job.id).cloned().unwrap_or_default();
        let done = |id: &CredentialId| known.told.contains(id) || known.refused.contains_key(id);
        let left: Vec<&To<'_>> = devices.iter().filter(|to| !done(&to.device.id)).collect();
        let mut later: Vec<(String, Again)> = Vec::new();
        for some in left.chunks(AT_ONCE) {
            let fates = join_all(some.iter().map(|to| self.one(opened, to, job))).await;
            for (To { device, .. }, fate) in some.iter().zip(fates) {
                self.take_down(opened, device.id, &fate).await;
                match fate {
                    Fate::Told => self.remember(job.id, |sent| {
                        sent.told.insert(device.id);
                    }),
                    Fate::Gone => {}
                    Fate::Refused(why) => {
                        self.remember(job.id, |sent| drop(sent.refused.insert(device.id, why)));
                    }
                    Fate::Later { why, again } => later.push((why, again)),
                }
            }
        }
        let sent = self.memory.lock().sent.get(job.id).cloned().unwrap_or_default();
        let nobody = sent.told.is_empty();
        if let Some((why, again)) = later.iter().max_by_key(|(_, again)| wait(*again)) {
            // One device that is not reached keeps nobody else from what came since.
            if job.behind == Behind::More {
                tracing::warn!(%why, "a device was not told, and newer news waits");
                self.memory.lock().sent.remove(job.id);
                return Ok(());
            }
            let why = format!("{} of {} devices were not told yet: {why}", later.len(), devices.len());
            return Err(Failed { why, scope: Scope::News, again: *again });
        }
        self.memory.lock().sent.remove(job.id);
        match sent.refused.values().next() {
            Some(why) if nobody => {
                let why = format!("none of {} devices was told: {why}", devices.len());
                Err(Failed { why, scope: Scope::News, again: Again::No })
            }
            None if nobody => Err(Failed { why: NOBODY.into(), scope: Scope::News, again: Again::Yes }),
            Some(_) | None => Ok(()),
        }
    }

    /// One message to one device; a brief one where its service takes no large one.
    async fn one(&self, opened: &Opened, To { device, note }: &To<'_>, job: Job<'_>) -> Fate {
        if device.made_for != opened.key.public() {
            return Fate::Refused(OTHER_KEY.into());
        }
        let place = match self.services.place(&device.endpoint) {
            Ok(place) => place,
            Err(error) => return Fate::Refused(error.to_string()),
        };
        let service = place.origin.to_string();
        let resting = self.memory.lock().resting.get(&service).copied();
        if let Some(until) = resting.filter(|until| *until > job.now) {
            let why = "its push service asks for fewer messages".to_owned();
            return Fate::Later { why, again: Again::After(until.since(job.now)) };
        }
        let mut fate = None;
        for note in [(*note).clone(), note.brief()] {
            let answer = match self.send(opened, device, &place, &note, job.now).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(why)) => return Fate::Later { why, again: Again::Yes },
                Err(why) => return Fate::Refused(why),
            };
            let judged = judge(&answer);
            if let Fate::Later { again: Again::After(span), .. } = &judged {
                self.rest(service, job.now.plus(*span));
                return judged;
            }
            if answer.status != StatusCode::PAYLOAD_TOO_LARGE {
                return judged;
            }
            fate = Some(judged);
        }
        fate.unwrap_or_else(|| Fate::Refused("its push service takes no message".into()))
    }

    /// Encrypts and posts. The outer error is about the device, the inner one about the way there.
    async fn send(
        &self,
        opened: &Opened,
        device: &Subscription,
        place: &Place,
        note: &Note,
        now: Timestamp,
    ) -> Result<Result<Answer, String>, String> {
        let text = serde_json::to_vec(note).map_err(|error| error.to_string())?;
        let recipient = Recipient::read(&device.p256dh, &device.auth).map_err(|error| error.to_string())?;
        let body = recipient.encrypt(&text).map_err(|error| error.to_string())?;
        // An address of a console without TLS is none that a push service could write to.
        let contact = self
            .contact
            .as_deref()
            .or_else(|| Some(opened.console.as_str()).filter(|console| console.starts_with("https://")));
        let authorization = opened.key.authorization(&place.origin.to_string(), contact, now);
        let authorization = authorization.ok_or("nothing can be signed for it")?;
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let headers = vec![
            (header::AUTHORIZATION, value(&authorization)?),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (header::CONTENT_ENCODING, HeaderValue::from_static("aes128gcm")),
            (HeaderName::from_static("ttl"), HeaderValue::from(note.kept.as_secs())),
            (HeaderName::from_static("urgency"), HeaderValue::from_static(note.what.urgency())),
            (HeaderName::from_static("topic"), value(&topic(&note.tag, device.id))?),
        ];
        Ok(self.services.post(place, headers, body.into()).await)
    }

    async fn take_down(&self, opened: &Opened, device: CredentialId, fate: &Fate) {
        let fared = match fate {
            Fate::Told => Fared::Told,
            Fate::Gone => Fared::Gone,
            Fate::Refused(why) | Fate::Later { why, .. } => Fared::Failed(why.clone()),
        };
        opened.identity.subscription_fared(device, fared).await;
    }

    fn rest(&self, service: String, until: Timestamp) {
        let mut memory = self.memory.lock();
        memory.resting.insert(service, until);
        while memory.resting.len() > REMEMBERED {
            memory.resting.pop_first();
        }
    }

    fn remember(&self, id: &str, change: impl FnOnce(&mut Sent)) {
        let mut memory = self.memory.lock();
        change(memory.sent.entry(id.to_owned()).or_default());
        // The oldest goes: ids sort as their moments do.
        while memory.sent.len() > REMEMBERED {
            memory.sent.pop_first();
        }
    }

    /// Every device of these people, to be told this.
    fn devices<'n>(
        &self,
        people: impl Iterator<Item = PersonId>,
        note: &'n Note,
    ) -> Result<Vec<To<'n>>, Failed> {
        let opened = self.opened()?;
        let devices = people.flat_map(|person| opened.identity.subscriptions(person));
        Ok(devices.map(|device| To { device, note }).collect())
    }

    /// Whoever may decide, or did, is told this.
    fn deciders<'n>(&self, letter: &Letter, note: &'n Note) -> Result<Vec<To<'n>>, Failed> {
        match note.what {
            What::Ask => self.devices(asked(&letter.deciders), note),
            What::Look | What::Over | What::Ended | What::Test => {
                self.devices(letter.deciders.iter().map(|one| one.person), note)
            }
        }
    }
}

#[async_trait]
impl Tell for Push {
    fn room(&self, _news: &News) -> Room {
        // Bytes do not belong on a locked screen.
        Room { characters: None }
    }

    fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    fn writes(&self) -> Writes {
        Writes::ToDevices
    }

    fn gathers(&self) -> bool {
        true
    }

    fn most_each(&self) -> Option<usize> {
        self.most_each
    }

    async fn tell_together(&self, gathering: &Gathering) -> Result<Option<String>, Failed> {
        let people: Vec<PersonId> = asked(&gathering.deciders).collect();
        let note = Note::several(gathering);
        let devices = self.devices(people.iter().copied(), &note)?;
        let job = Job { id: &gathering.id, behind: Behind::Nothing, now: gathering.now };
        self.deliver(job, &devices).await?;
        let people: Vec<String> = people.into_iter().take(NAMED).map(|person| person.to_string()).collect();
        Ok(Some(people.join(" ")))
    }

    async fn over(&self, over: &Over) -> Result<(), Failed> {
        let people = over.posted.split(' ').filter_map(|person| person.parse().ok());
        let note = Note::over(over);
        let devices = self.devices(people, &note)?;
        if devices.is_empty() {
            return Ok(());
        }
        let id = format!("{} over", over.id);
        // Whoever does not hear of it sees so when they open it.
        let job = Job { id: &id, behind: Behind::More, now: over.now };
        end(self.deliver(job, &devices).await)
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let what = What::of(letter);
        if what == Some(What::Test) {
            let why = "a device of somebody's is tried: name them with `--person`".into();
            return Err(Failed { why, scope: Scope::News, again: Again::No });
        }
        let note = what.map(|what| Note::letter(letter, what, self.show));
        let answer = Note::letter(letter, What::Ended, self.show);
        let mut devices = match &note {
            Some(note) => self.deciders(letter, note)?,
            None => Vec::new(),
        };
        devices.extend(self.devices(letter.answered().map(|one| one.person), &answer)?);
        let job = Job { id: &letter.id, behind: letter.behind, now: letter.now };
        let told = if devices.is_empty() && what != Some(What::Ask) {
            Ok(())
        } else {
            self.deliver(job, &devices).await
        };
        match what {
            Some(What::Ask | What::Look) => told?,
            Some(What::Over | What::Ended | What::Test) | None => end(told)?,
        }
        Ok(what.map(|what| what.posted().into()))
    }
}

/// That something is over is told where it can be: devices that left in between, or never take anything, are no failure.
fn end(told: Result<(), Failed>) -> Result<(), Failed> {
    told.or_else(|failed| {
        let never = failed.why == NOBODY || (failed.scope, failed.again) == (Scope::News, Again::No);
        if never { Ok(()) } else { Err(failed) }
    })
}

/// Those who have a say that they have not had.
fn asked(deciders: &[crate::channel::Decider]) -> impl Iterator<Item = PersonId> {
    deciders.iter().filter(|one| one.said == Said::Nothing).map(|one| one.person)
}

/// What replaces a message that the device has not fetched (RFC 8030, section 5.4): of one device, so that a service cannot
/// tell who is asked about the same.
fn topic(tag: &str, device: CredentialId) -> String {
    let device = device.to_string();
    let digest = Digest::of_parts("countersign/push/topic/v1", &[tag.as_bytes(), device.as_bytes()]);
    URL_SAFE_NO_PAD.encode(digest.as_bytes()).chars().take(32).collect()
}

fn wait(again: Again) -> Duration {
    match again {
        Again::After(span) => span,
        Again::Yes | Again::No => Duration::ZERO,
    }
}

/// What an answer means (RFC 8030, sections 5 and 7). Nothing it says is repeated.
fn judge(answer: &Answer) -> Fate {
    let (status, wish) = (answer.status, retry_after(&answer.headers));
    let later = |why: String, again| Fate::Later { why, again };
    match status {
        _ if status.is_success() => Fate::Told,
        StatusCode::NOT_FOUND | StatusCode::GONE => Fate::Gone,
        StatusCode::TOO_MANY_REQUESTS => {
            later("its push service asks for fewer messages".into(), Again::After(wish.unwrap_or(REST)))
        }
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => later(
            format!("its push service answered {}", status.as_u16()),
            wish.map_or(Again::Yes, Again::After),
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Fate::Refused(format!(
            "its push service does not believe this gateway's key ({}): remove it, and add it again",
            status.as_u16()
        )),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Fate::Refused("its push service takes no message of this size".into())
        }
        _ => Fate::Refused(format!("its push service answered {}", status.as_u16())),
    }
}
