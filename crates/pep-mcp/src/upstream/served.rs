//! A task of the server's own (SEP-2663): it has answered a call with the promise of an answer. The gateway follows such a task
//! to its end as a part of the call, so that what comes of it is what comes of the call, and a call that is revoked or given up
//! has it cancelled. What the server calls it is told to nobody: agents have handles of the gateway's.
//!
//! Long because a task is one story: what is read of it, what is said to it, and how it ends.

use super::{
    Connection, Outgoing, Peer, Way,
    exchange::{Form, is_url_elicitation, status, wants_input},
    process::on_one_line,
    talk::{Talk, lost},
};
use crate::{
    asks::{self, During, LARGEST, Offer},
    frame::{self, Message},
    members::{self, Members},
    message::Raw,
    rounds::{self, MOST},
    session::Session,
};
use countersign_core::{Digest, visible};
use countersign_engine::port::upstream::{Failed, Sent};
use parking_lot::Mutex;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The longest name of a task that is taken, in bytes.
const LONGEST_ID: usize = 1 << 10;
/// How much of what a server says of a task goes on, in characters.
const LONGEST_WORDS: usize = 2000;
/// How often the server is asked, whatever it wishes.
const OFTEN: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(30);
const USUALLY: Duration = Duration::from_secs(1);
/// How long a server may give no answer that can be read before its task is lost from sight.
const UNSEEN: Duration = Duration::from_mins(5);
/// How long a task is followed.
const LONGEST: Duration = Duration::from_hours(24);
/// How long a server that is told to cancel a task may take to say that it has ended.
const STOPPING: Duration = Duration::from_secs(10);
/// How long a server may take to say that it has taken an answer in.
const GIVING: Duration = Duration::from_mins(1);
/// How many answers one task is given.
const ANSWERS: usize = 256;

/// How long a server may take for what it is asked, however busily it says nothing meanwhile.
#[derive(Clone, Copy, Debug)]
struct Limits {
    look: Duration,
    stop: Duration,
    give: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { look: UNSEEN, stop: STOPPING, give: GIVING }
    }
}

const GOES_ON: &str = "The server works on it.";

/// A task at the server.
#[derive(Debug)]
pub(crate) struct Served {
    id: String,
    way: Arc<Way>,
    session: Arc<Session>,
    /// With what each message about it declares itself, as members of `_meta`.
    envelope: String,
    /// What the server may ask in it.
    offer: Offer,
    /// The call that it is of.
    pub(crate) during: Arc<During>,
    /// One message about it is under way at a time: so nothing that is read is older than what was said before.
    talking: tokio::sync::Mutex<()>,
    limits: Limits,
    pause_ms: AtomicU64,
    asked: Mutex<Questions>,
    words: watch::Sender<String>,
    /// The gateway has told the server to cancel it.
    stopped: AtomicBool,
    /// The server says that it was cancelled.
    cancelled: AtomicBool,
}

/// What it waits for, by the server's names.
#[derive(Debug, Default)]
struct Questions {
    next: u64,
    open: BTreeMap<String, Question>,
    /// What the server took an answer to. It may ask on until it has noticed that itself.
    answered: HashSet<Digest>,
    /// What the server says of the task.
    words: String,
    /// What is to be said of the last answer, for as long as this question is open, where it is about one that is.
    note: (Option<u64>, String),
}

impl Questions {
    /// What is given is not asked any more.
    fn given(&mut self, given: &Given) {
        if self.open.get(&given.name).is_some_and(|question| question.number == given.number)
            && let Some(OnItsWay(wanted)) =
                self.open.remove(&given.name).and_then(|question| question.on_its_way)
        {
            wanted.disarm();
        }
    }

    /// What is said of a question that is not asked any more is not said any more.
    fn forget_note(&mut self) {
        if let Some(number) = self.note.0
            && !self.open.values().any(|question| question.number == number)
        {
            self.note = (None, String::new());
        }
    }
}

/// What tells one question of a task from all others.
fn digest(name: &str, method: &str, asked: &str) -> Digest {
    Digest::of_parts("countersign/mcp-question/v1", &[name.as_bytes(), method.as_bytes(), asked.as_bytes()])
}

#[derive(Debug)]
struct Question {
    number: u64,
    method: &'static str,
    /// As the server wrote it.
    asked: String,
    on_its_way: Option<OnItsWay>,
}

/// An answer that is being decided on, or given. Let go before it is, it is not wanted any more.
#[derive(Debug)]
struct OnItsWay(DropGuard);

/// An answer of an agent's to one question.
#[derive(Debug)]
pub(crate) struct Given {
    name: String,
    question: Digest,
    /// Which of the task's questions it is.
    pub(crate) number: u64,
    pub(crate) method: &'static str,
    /// What was asked, as JSON on one line.
    pub(crate) asked: String,
    /// What goes to the server, as JSON.
    pub(crate) answers: String,
    pub(crate) taken_back: CancellationToken,
}

/// How a task ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With an answer to the call, and how it went.
    Answer(Form, Raw, String),
    Cancelled,
}

/// How a task stands.
enum Stands {
    GoesOn,
    Over(End),
    /// It asks what is not passed on.
    Asks(&'static str),
}

/// Why it is not known how a task stands.
enum Unread {
    /// The server knows no such task.
    Unknown,
    Failed(Failed),
}

/// The code of the error with which a server says so.
const UNKNOWN: &str = "-32602";

/// What came of following a task, and how many bytes were read for it.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) end: End,
    pub(crate) received: u64,
}

/// What a server is known to have done that was told to cancel a task.
#[derive(Debug)]
pub(crate) enum Stopped {
    Ended(End),
    /// Whether it goes on is not known: for the record, and why.
    Unknown(&'static str, String),
}

/// How it went where a server was told to cancel a task, for the record.
pub(super) const CANCELLED: &str = "task cancelled";
const ACKNOWLEDGED: &str = "task cancel acknowledged";
const DECLINED: &str = "task cancel refused";
const UNANSWERED: &str = "task cancel unanswered";
const UNSENT: &str = "task cancel not sent";

/// Whether a result says that it is a task.
pub(crate) fn is_task(result: &RawValue) -> bool {
    kind(result).as_deref() == Some("task")
}

fn kind(result: &RawValue) -> Option<String> {
    members::text(Members::read(result)?.find("resultType")?)
}

impl Served {
    /// The task that a server has made of a call; `None` where it does not name it.
    pub(crate) fn new(
        result: &RawValue,
        (way, session): (&Arc<Way>, &Arc<Session>),
        envelope: String,
        offer: Offer,
        during: Arc<During>,
    ) -> Option<Arc<Self>> {
        let told = Members::read(result)?;
        let id = told.find("taskId").and_then(members::text)?;
        if id.is_empty() || id.len() > LONGEST_ID {
            return None;
        }
        let served = Self {
            id,
            way: Arc::clone(way),
            session: Arc::clone(session),
            envelope,
            offer,
            during,
            talking: tokio::sync::Mutex::default(),
            limits: Limits::default(),
            pause_ms: AtomicU64::new(0),
            asked: Mutex::default(),
            words: watch::Sender::new(GOES_ON.into()),
            stopped: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
        };
        served.read_words(&told);
        Some(Arc::new(served))
    }

    fn peer(&self) -> &Peer {
        &self.session.peer
    }

    /// What is said of it, and the news of that.
    pub(crate) fn words(&self) -> watch::Receiver<String> {
        self.words.subscribe()
    }

    /// Whether it ended with nothing, by the server's own will or because its agent has given it up.
    pub(crate) fn is_cancelled(&self, given_up: bool) -> bool {
        self.cancelled.load(Ordering::Relaxed) && (given_up || !self.stopped.load(Ordering::Relaxed))
    }

    fn read_words(&self, told: &Members<'_>) {
        let pause = told.find("pollIntervalMs").and_then(|pause| pause.get().parse().ok());
        let pause = pause.map_or(USUALLY, Duration::from_millis).clamp(OFTEN, SELDOM);
        self.pause_ms.store(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let words = told.find("statusMessage").and_then(members::text).filter(|words| !words.is_empty());
        let words = words.map_or_else(
            || GOES_ON.to_owned(),
            |words| {
                let words: String = words.chars().take(LONGEST_WORDS).collect();
                format!("{GOES_ON} It says: {}", visible::told(&words))
            },
        );
        self.says(|questions| questions.words = words);
    }

    fn says(&self, change: impl FnOnce(&mut Questions)) {
        let mut questions = self.asked.lock();
        change(&mut questions);
        let words = format!("{}{}", questions.words, questions.note.1);
        self.words.send_if_modified(|known| {
            let is_news = *known != words;
            *known = words;
            is_news
        });
    }

    /// Follows it to its end.
    pub(crate) async fn follow(&self) -> Result<Followed, Failed> {
        let (begun, mut seen, mut received) = (Instant::now(), Instant::now(), 0);
        loop {
            sleep(Duration::from_millis(self.pause_ms.load(Ordering::Relaxed))).await;
            match self.look(&mut received).await {
                Ok(Stands::GoesOn) => seen = Instant::now(),
                Ok(Stands::Over(end)) => return Ok(Followed { end, received }),
                Ok(Stands::Asks(why)) => {
                    return self.refuse(why).await.map(|end| Followed { end, received });
                }
                Err(Unread::Unknown) => {
                    return Err(lost("the server does not know its own task any more"));
                }
                Err(Unread::Failed(failed)) if seen.elapsed() >= self.limits.look => {
                    return Err(lost(&format!("the server's task was lost from sight: {failed}")));
                }
                Err(Unread::Failed(error)) => {
                    tracing::debug!(%error, "a server does not say how its task stands");
                }
            }
            if begun.elapsed() > LONGEST {
                let why = "the server's task has taken too long";
                return self.ended_for(why).await.map(|end| Followed { end, received });
            }
        }
    }

    /// It asks what is not passed on: it is cancelled, and its agent is told why.
    async fn refuse(&self, why: &str) -> Result<End, Failed> {
        self.ended_for(&format!("the server wants something of the agent that is not passed on ({why})"))
            .await
    }

    /// Has it cancelled for this, which its agent is told. What it has come to before is what comes of it.
    async fn ended_for(&self, why: &str) -> Result<End, Failed> {
        match self.stop().await {
            Stopped::Ended(End::Cancelled) => {
                let told = format!("{why}: its task was cancelled");
                let error = json!({"code": crate::reply::code::SERVER, "message": told}).to_string();
                Ok(End::Answer(Form::Error, error.into(), CANCELLED.into()))
            }
            Stopped::Ended(end) => Ok(end),
            Stopped::Unknown(_, unknown) => Err(lost(&format!("{why}; {unknown}"))),
        }
    }

    /// Has the server cancel it, and looks what it made of that: it may have come to its end before. Nothing else that is said
    /// of it is waited for.
    pub(crate) async fn stop(&self) -> Stopped {
        self.stopped.store(true, Ordering::Relaxed);
        let at_the_latest = Instant::now() + self.limits.stop;
        let (status, why) = self.told_to_stop().await;
        let looking = async {
            loop {
                match self.looked(&mut 0).await {
                    Ok(Stands::Over(end)) => return Some(end),
                    Ok(Stands::GoesOn | Stands::Asks(_)) | Err(Unread::Failed(_)) => sleep(OFTEN).await,
                    Err(Unread::Unknown) => return None,
                }
            }
        };
        match timeout_at(at_the_latest, looking).await {
            Ok(Some(end)) => Stopped::Ended(end),
            Ok(None) => Stopped::Unknown(status, format!("{why}; it does not know the task any more")),
            Err(_) => Stopped::Unknown(status, format!("{why}; it did not say that the task has ended")),
        }
    }

    /// Tells the server to cancel it: how that went, for the record and in a sentence.
    async fn told_to_stop(&self) -> (&'static str, String) {
        let mut is_out = false;
        let told = timeout(self.limits.stop / 2, async {
            let connection = self.connect().await?;
            is_out = true;
            let (id, body) = self.message("tasks/cancel", "");
            self.exchange(id, connection, body.into()).await
        });
        let unanswered = "the server did not answer that it is to cancel it";
        match told.await {
            Ok(Ok((Form::Result, _))) => {
                (ACKNOWLEDGED, "the server acknowledged that it is to cancel it".into())
            }
            Ok(Ok((Form::Error | Form::Asks, raw))) => {
                (DECLINED, format!("the server refused to cancel it: error {}", code(&raw)))
            }
            Ok(Err(Failed { sent: Sent::No, why })) => {
                (UNSENT, format!("the server could not be told that it is to cancel it: {why}"))
            }
            Ok(Err(failed)) => (UNANSWERED, format!("{unanswered}: {failed}")),
            Err(_) if is_out => (UNANSWERED, unanswered.into()),
            Err(_) => (UNSENT, "the server could not be told in time that it is to cancel it".into()),
        }
    }

    /// Asks the server how it stands.
    async fn look(&self, received: &mut u64) -> Result<Stands, Unread> {
        let _alone = self.talking.lock().await;
        let looked = timeout(self.limits.look, self.looked(received)).await;
        looked.unwrap_or_else(|_| Err(Unread::Failed(lost("the server's answer comes to no end"))))
    }

    async fn looked(&self, received: &mut u64) -> Result<Stands, Unread> {
        let unreadable =
            || Unread::Failed(lost("the server says in no way that can be read how its task stands"));
        let (form, raw) = self.said("tasks/get", "").await.map_err(Unread::Failed)?;
        *received += raw.bytes().len() as u64;
        if form != Form::Result {
            let code = code(&raw);
            let failed = Unread::Failed(lost(&format!("the server answered with error {code}")));
            return Err(if code == UNKNOWN { Unread::Unknown } else { failed });
        }
        let told: &RawValue = serde_json::from_str(raw.text()).map_err(|_| unreadable())?;
        let told = Members::read(told).ok_or_else(unreadable)?;
        let text = |name: &str| told.find(name).and_then(members::text);
        let is_other = |kind: String| kind != "complete";
        if text("taskId").as_deref() != Some(&self.id) || text("resultType").is_some_and(is_other) {
            return Err(unreadable());
        }
        let answer = |name, form| {
            let answer = told.find(name).filter(|answer| answer.get().starts_with('{'));
            answer.map(|answer| Stands::Over(ended(form, answer, &raw))).ok_or_else(unreadable)
        };
        match text("status").as_deref() {
            Some("completed") => return answer("result", Form::Result),
            Some("failed") => return answer("error", Form::Error),
            Some("cancelled") => {
                self.cancelled.store(true, Ordering::Relaxed);
                return Ok(Stands::Over(End::Cancelled));
            }
            Some("working") => {
                let mut questions = self.asked.lock();
                questions.open.clear();
                questions.forget_note();
            }
            Some("input_required") => {
                if let Err(why) = self.read_questions(told.find("inputRequests")) {
                    return Ok(Stands::Asks(why));
                }
            }
            Some(_) | None => return Err(unreadable()),
        }
        self.read_words(&told);
        Ok(Stands::GoesOn)
    }

    /// What it asks from now on. A question that it asks no more needs no answer.
    fn read_questions(&self, asked: Option<&RawValue>) -> Result<(), &'static str> {
        const UNREADABLE: &str = "what it wants cannot be read";
        let asked = asked.ok_or(UNREADABLE)?;
        let all = Members::read(asked).ok_or(UNREADABLE)?;
        if asked.get().len() > LARGEST || all.iter().count() > MOST {
            return Err("it asks more at a time than is passed on");
        }
        let mut questions = self.asked.lock();
        questions.open.retain(|name, _| all.find(name).is_some());
        for (name, question) in all.iter() {
            let (method, params) = rounds::parts(question).ok_or(UNREADABLE)?;
            self.offer.takes(&method, params)?;
            let method = asks::METHODS.into_iter().find(|known| *known == method).ok_or(UNREADABLE)?;
            // What could not be shown cannot be asked.
            asks::marked(method, params, "").ok_or(UNREADABLE)?;
            let asked = params.map_or("{}", RawValue::get);
            if questions.answered.contains(&digest(name, method, asked)) {
                questions.open.remove(name);
                continue;
            }
            // The same name with other words is another question.
            if questions.open.get(name).is_some_and(|known| known.asked == asked && known.method == method) {
                continue;
            }
            let number = questions.next;
            questions.next = number.saturating_add(1);
            let question = Question { number, method, asked: asked.to_owned(), on_its_way: None };
            questions.open.insert(name.to_owned(), question);
        }
        if questions.answered.len() >= ANSWERS && !questions.open.is_empty() {
            return Err("it asks more often than is passed on");
        }
        questions.forget_note();
        Ok(())
    }

    /// What its agent is asked, as JSON and marked as the server's; `None` where that is nothing.
    pub(crate) fn questions(&self, server: &str) -> Option<String> {
        let questions = self.asked.lock();
        let open = questions.open.iter().filter(|(_, question)| question.on_its_way.is_none());
        let told = open.filter_map(|(name, Question { method, asked, .. })| {
            let told = asks::marked(method, serde_json::from_str(asked).ok(), server)?;
            Some(format!(r#""{name}":{{"method":"{method}","params":{told}}}"#))
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| format!("{{{}}}", told.join(",")))
    }

    /// Takes an agent's answers to what it is asked; what nobody asks is left out.
    pub(crate) fn take(&self, answers: &Members<'_>) -> Result<Vec<Given>, &'static str> {
        let mut questions = self.asked.lock();
        let is_open = |(name, _): &(&str, &RawValue)| {
            questions.open.get(*name).is_some_and(|question| question.on_its_way.is_none())
        };
        let known: Vec<_> = answers.iter().filter(is_open).collect();
        if known.iter().any(|(_, answer)| !answer.get().starts_with('{')) {
            return Err("an answer to what the server asks is no object");
        }
        let mut given = Vec::new();
        for (name, answer) in known {
            let Some(question) = questions.open.get_mut(name) else { continue };
            let token = CancellationToken::new();
            let Question { number, method, asked, on_its_way } = question;
            *on_its_way = Some(OnItsWay(token.clone().drop_guard()));
            let question = digest(name, method, asked);
            let asked = String::from_utf8(on_one_line(asked.as_bytes())).unwrap_or_default();
            let answers = format!(r#"{{"{name}":{}}}"#, answer.get());
            let name = name.to_owned();
            given.push(Given { name, question, number: *number, method, asked, answers, taken_back: token });
        }
        Ok(given)
    }

    /// An answer waits for people.
    pub(crate) fn waits(&self, given: &Given, words: &str) {
        let note = visible::told(&format!(" An answer to what it asks {words}"));
        self.says(|questions| {
            questions.note = (Some(given.number), note);
            questions.forget_note();
        });
    }

    /// An answer does not go on: the question is there as before.
    pub(crate) fn reopen(&self, given: &Given, why: &str) {
        let note = visible::told(&format!(" It still asks: the answer did not go on, since {why}."));
        self.says(|questions| {
            if let Some(question) = questions.open.get_mut(&given.name)
                && question.number == given.number
            {
                question.on_its_way = None;
                questions.note = (Some(given.number), note);
            }
        });
    }

    /// An answer went out, and whether it was taken in is not known. Where the server asks on, that is a new question.
    fn unsure(&self, given: &Given) {
        let note = " It is not known whether an answer reached the server. What it still asks can be answered once more.";
        self.says(|questions| {
            questions.given(given);
            questions.note = (None, note.into());
        });
    }

    /// What an answer can go over. Nothing is sent.
    pub(crate) async fn connect(&self) -> Result<Connection, Failed> {
        self.way.take(self.peer()).await
    }

    pub(crate) fn put(&self, connection: Connection) {
        self.way.put(connection);
    }

    /// Gives an answer, in these bytes, unless it is over by then: how many bytes went out, and how many came back.
    pub(crate) async fn give(
        &self,
        given: &Given,
        answers: &str,
        connection: Connection,
        over: impl Future<Output = ()>,
    ) -> Result<(u64, u64), Failed> {
        let unsent = || Failed { sent: Sent::No, why: asks::OVER.into() };
        tokio::pin!(over);
        let alone = self.talking.lock();
        let alone = tokio::select! {
            biased;
            () = &mut over => {
                self.put(connection);
                return Err(unsent());
            }
            alone = alone => alone,
        };
        let (id, body) = self.message("tasks/update", &format!(r#","inputResponses":{answers}"#));
        let sent = body.len() as u64;
        // Looked at once more when everything is ready for it to go out.
        let unless = CancellationToken::new();
        let message = Outgoing { unless: Some(unless.clone()), ..body.into() };
        let exchange = timeout(self.limits.give, self.exchange(id, connection, message));
        let answered = async {
            let late = |_| lost("the server did not say in time whether it took the answer in");
            exchange.await.map_err(late).and_then(|answered| answered)
        };
        tokio::pin!(answered);
        let answered = tokio::select! {
            biased;
            () = &mut over => {
                unless.cancel();
                // Who ends the task does not wait for it.
                drop(alone);
                answered.await
            }
            answered = &mut answered => answered,
        };
        if answered.as_ref().is_err_and(|failed| failed.sent == Sent::Maybe) {
            self.unsure(given);
        }
        let (form, raw) = answered?;
        if form != Form::Result {
            return Err(lost(&format!("the server took the answer with error {}", code(&raw))));
        }
        self.says(|questions| {
            questions.note = (None, String::new());
            questions.given(given);
            questions.answered.insert(given.question);
        });
        Ok((sent, raw.bytes().len() as u64))
    }

    /// Says something of it, and reads what the server answers.
    async fn said(&self, method: &str, more: &str) -> Result<(Form, Raw), Failed> {
        let (id, body) = self.message(method, more);
        let connection = self.connect().await?;
        self.exchange(id, connection, body.into()).await
    }

    /// `more` are further members of the parameters, each with a comma in front.
    fn message(&self, method: &str, more: &str) -> (u64, String) {
        let (id, task, envelope) = (self.session.next_id(), Value::from(self.id.as_str()), &self.envelope);
        let params = format!(r#"{{"_meta":{{{envelope}}},"taskId":{task}{more}}}"#);
        (id, format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#))
    }

    async fn exchange(
        &self,
        id: u64,
        connection: Connection,
        message: Outgoing,
    ) -> Result<(Form, Raw), Failed> {
        let mut talk = self.way.post(connection, self.peer(), message).await?;
        let found = answer_of(&mut talk, id, self.way.idle).await;
        let way = Arc::clone(&self.way);
        tokio::spawn(async move { way.finish(talk).await });
        found
    }
}

/// The response of this id. What else comes with it is not for agents: a task asks by its status.
async fn answer_of(talk: &mut Talk, id: u64, idle: Duration) -> Result<(Form, Raw), Failed> {
    while let Some(message) = talk.next(idle).await? {
        let Ok(Message::Response { id: own, answer }) = frame::read(&message) else { continue };
        // An error may name no request.
        let is_own = own.get() == id.to_string();
        match answer {
            frame::Answer::Result(raw) if is_own => return Ok((Form::Result, Raw::within(&message, raw))),
            frame::Answer::Error(raw) if is_own || own.get() == "null" => {
                return Ok((Form::Error, Raw::within(&message, raw)));
            }
            frame::Answer::Result(_) | frame::Answer::Error(_) => {}
        }
    }
    Err(lost(&format!("the server does not answer: HTTP {}", talk.status.as_u16())))
}

/// The code of an error, as it is written; nothing where it has none.
fn code(error: &Raw) -> String {
    let error: Option<&RawValue> = serde_json::from_str(error.text()).ok();
    let code = error.and_then(Members::read).and_then(|error| Some(error.find("code")?.get().to_owned()));
    code.filter(|code| code.len() <= 16).unwrap_or_default()
}

/// The answer that a task ended with, as it goes on.
fn ended(form: Form, answer: &RawValue, message: &Raw) -> End {
    // A task asks by its status: what asks by its end goes round what may be asked.
    if form == Form::Result && wants_input(answer) || form == Form::Error && is_url_elicitation(answer) {
        let why = "the server's task ended with something that is no answer, which is not passed on";
        let error = json!({"code": crate::reply::code::SERVER, "message": why}).to_string();
        return End::Answer(Form::Error, error.into(), "input required".into());
    }
    let raw = match without_name(answer) {
        Some(other) => Raw::from(other),
        None => Raw::within(message.bytes(), answer),
    };
    End::Answer(form, raw, status(form, answer))
}

/// Where a result says by what name the server knows its task.
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// A result without that; `None` where it has it not.
fn without_name(answer: &RawValue) -> Option<String> {
    let answer = Members::read(answer)?;
    let meta = Members::read(answer.find("_meta")?)?;
    meta.find(RELATED)?;
    let meta = meta.rewritten(|name, value| (name != RELATED).then(|| value.get().to_owned()));
    Some(
        answer.rewritten(|name, value| {
            Some(if name == "_meta" { meta.clone() } else { value.get().to_owned() })
        }),
    )
}

#[cfg(test)]
mod tests;
