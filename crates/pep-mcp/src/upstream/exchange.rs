//! One message's exchange with its server, once the engine clears it. It goes on to its end though the agent leaves:
//! closing a stream cancels nothing in these versions of the protocol.
//!
//! Long because one exchange is one story: what goes out, what comes before the answer, and the answer.

use super::{
    Connection, Link, Outgoing, Peer, Way,
    answers::Answers,
    served::{self, CANCELLED, End, Followed, Served, Stopped},
    standing::{self, Heard},
    talk::{Talk, lost},
};
use crate::{
    asks::{self, During, OVER, Offer, not_any_more},
    call::Head,
    era,
    feed::{self, Feed, Subscribing},
    frame::{self, Message},
    members::Members,
    message::Raw,
    method::{self, FromServer},
    mirror,
    reply::code,
    rounds::Round,
    session::{Session, UnderWay},
    tasks::EXTENSION,
    text::Texts,
    tools::{Book, Ruling},
};
use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::{Action, ApprovalId, Body, Requester, approval::Outcome};
use countersign_engine::{
    Gate, Ticket, actor_of,
    execute::{Clearance, EndFacts, Ending},
    port::upstream::{BindError, Exchange, Failed, Gathered, Kept, Passage, Sent},
    settle,
};
use http::{HeaderName, HeaderValue, StatusCode};
use memchr::memmem;
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// What the agent is told before its answer.
#[derive(Debug)]
pub(crate) enum Event {
    /// The message waits for people.
    Held(Box<Ticket>),
    /// A message of the server's, as it came.
    Message(Bytes),
    /// The server has made a task of it.
    Task(Arc<Served>),
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) form: Form,
    /// The result or the error, in the server's own bytes.
    pub(crate) raw: Raw,
    /// The session the server opened with it.
    pub(crate) link: Option<Link>,
    /// The server does not know the session any more.
    pub(crate) session_is_gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Result,
    Error,
    /// A result that is none before its agent has said more.
    Asks,
}

impl Form {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Error => "error",
            Self::Asks => "asks",
        }
    }
}

/// A message on its way through the engine.
pub(crate) struct Asking {
    pub(crate) way: Arc<Way>,
    pub(crate) book: Arc<Book>,
    pub(crate) texts: Arc<Texts>,
    pub(crate) peer: Peer,
    /// `None` while the session is being opened.
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) under_way: Arc<UnderWay>,
    /// The agent's own, in its bytes.
    pub(crate) progress_token: Option<String>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Who takes the approval back when the request is cancelled; `None` where that leaves it waiting.
    pub(crate) takes_back: Option<(Arc<Gate>, Requester)>,
    pub(crate) connection: Option<Connection>,
    /// Who hears what comes after the server has agreed to a subscription.
    pub(crate) listens: Option<Arc<Feed>>,
    /// What the head says of the arguments, once the message is made.
    pub(crate) mirrored: Vec<(HeaderName, HeaderValue)>,
    /// The place of the resource that the session is subscribed to with it.
    pub(crate) subscribes: Option<Subscribing>,
    /// What the server may ask of its agent meanwhile.
    pub(crate) asks: MayAsk,
    /// What it has asked, by the gateway's own ids.
    pub(crate) asked: Vec<String>,
    /// What its answers will be for, where it may ask on the stream.
    pub(crate) during: Option<Arc<During>>,
    /// Whether the server may make a task of it.
    pub(crate) tasks: MayBeTask,
    /// The task that it has made.
    pub(crate) served: Option<Arc<Served>>,
}

/// Whether a server may answer a call with a task (later era).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MayBeTask {
    #[default]
    No,
    /// Its agent knows tasks, and is told of one by [`Event::Task`].
    Yes,
}

/// Who hears what a server asks while it answers.
#[derive(Clone, Debug, Default)]
pub(crate) enum MayAsk {
    /// Nobody.
    #[default]
    Nothing,
    /// The agent's stream: what its session offers.
    OnTheStream,
    /// The agent by the answer itself, which it comes back with (later era).
    ByTheAnswer(Offer),
}

#[async_trait]
impl Exchange for Asking {
    type Reply = Answer;

    /// A call means what it means in its agent's session: it runs there, when its agent is there.
    fn passage(&self) -> Passage {
        Passage::Own
    }

    async fn held(&mut self, ticket: &Ticket) {
        if let Some((gate, requester)) = &self.takes_back
            && self.under_way.waits_for(ticket.approval)
        {
            take_back(gate, requester, ticket.approval).await;
            return;
        }
        // An agent that is not listening is noticed by whoever writes to it.
        let _ = self.events.try_send(Event::Held(Box::new(ticket.clone())));
    }

    async fn gather(&mut self, action: &Action) -> Option<Gathered> {
        let (tool, _) = Head::read(&action.payload.head)?.tool?;
        self.texts.gather(&tool, action).await
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        Err(BindError::Broken("a message is always whole".into()))
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        if self.under_way.cancelled.is_cancelled() {
            return Err(Failed { sent: Sent::No, why: "its agent cancelled it".into() });
        }
        self.connection = Some(self.way.take(&self.peer).await?);
        Ok(())
    }

    async fn send(mut self, clearance: Clearance, ending: Ending) -> Result<Answer, Failed> {
        let message = match self.message(&clearance, &ending).await {
            Ok(message) => message,
            Err(failed) => {
                if let Some(connection) = self.connection.take() {
                    self.way.put(connection);
                }
                record(ending.failed(&failed).await)?;
                return Err(failed);
            }
        };
        let (told, answer) = oneshot::channel();
        tokio::spawn(self.run(message, clearance, ending, told));
        answer.await.map_err(|_| lost("the exchange was let go before it ended"))?
    }
}

impl Asking {
    /// The clearance's bytes as a message. What waited for people is sent only while its tool is what they saw.
    async fn message(&mut self, clearance: &Clearance, ending: &Ending) -> Result<Bytes, Failed> {
        let unsent = |why: &str| Failed { sent: Sent::No, why: why.into() };
        let head =
            Head::read(&clearance.payload().head).ok_or_else(|| unsent("the stored call cannot be read"))?;
        if let (Some((tool, definition)), Some(session), true) =
            (&head.tool, &self.session, ending.is_approved())
        {
            let tools = session.tools_now(&self.book, &self.way).await;
            let tools = tools.map_err(|failed| Failed { sent: Sent::No, ..failed })?;
            let now = tools.get(tool).filter(|now| now.digest.to_string() == *definition);
            let Some(now) = now else {
                return Err(unsent(
                    "the server has changed the tool since people saw it: call it again to ask anew",
                ));
            };
            if !matches!(self.book.ruling(tool, now.digest), Ruling::Decide(_)) {
                return Err(unsent("the tool is not accepted any more as its server describes it"));
            }
        }
        let Body::Bound(params) = &clearance.payload().body else {
            return Err(unsent("the call is not whole"));
        };
        let params = std::str::from_utf8(params).map_err(|_| unsent("the stored call cannot be read"))?;
        self.listened(&head.method, params).map_err(unsent)?;
        if head.method != "tools/call" {
            // Nothing else becomes a task.
            self.tasks = MayBeTask::No;
        }
        let token = self.progress_token.as_ref().map(|token| format!(r#""progressToken":{token}"#));
        let envelope = self.peer.is_later().then(|| self.envelope(self.tasks));
        let own: Vec<String> = token.into_iter().chain(envelope).collect();
        let params = if own.is_empty() {
            params.to_owned()
        } else {
            with_meta(params, &own.join(",")).ok_or_else(|| unsent("the stored call cannot be read"))?
        };
        if let (Some((tool, definition)), Some(session), true) =
            (&head.tool, &self.session, self.peer.is_later())
        {
            let tools = session.tools(&self.book, &self.way).await;
            let tools = tools.map_err(|failed| Failed { sent: Sent::No, ..failed })?;
            // Which arguments stand in the head is part of the definition that was decided on.
            let same = tools.get(tool).filter(|now| now.digest.to_string() == *definition);
            let mirrored = same.and_then(|same| same.mirrored.as_deref());
            let mirrored = mirrored.ok_or_else(|| {
                unsent("the server has changed the tool since this was decided: call it again")
            })?;
            self.mirrored = mirror::headers(mirrored, &params);
        }
        if head.answers.is_some() {
            return Err(unsent("it answers what nobody waits for any more"));
        }
        let (id, method) = (self.under_way.id, &head.method);
        Ok(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#).into())
    }

    /// What the message declares, where its server is of the later era, as members of `_meta`.
    fn envelope(&self, tasks: MayBeTask) -> String {
        let client = self.session.as_ref().and_then(|session| session.client.as_deref());
        let extensions = (tasks == MayBeTask::Yes).then_some(EXTENSION);
        era::envelope(client, &self.offer().declared(extensions))
    }

    /// What the server may ask by its answer.
    fn offer(&self) -> Offer {
        match &self.asks {
            MayAsk::ByTheAnswer(offer) => offer.clone(),
            MayAsk::Nothing | MayAsk::OnTheStream => Offer::default(),
        }
    }

    /// Makes sure that somebody hears what comes of a subscription; else why it is not sent.
    fn listened(&mut self, method: &str, params: &str) -> Result<(), &'static str> {
        if method == "subscriptions/listen" && self.listens.is_none() {
            return Err("only who listens is subscribed: repeat the subscription itself");
        }
        let uri = || feed::updated(serde_json::from_str(params).ok());
        if method == "resources/subscribe"
            && let (Some(session), Some(uri)) = (&self.session, uri())
        {
            let place = session.hub.subscribing(uri);
            self.subscribes = Some(place.ok_or("it is subscribed to as many resources as it may be")?);
        }
        Ok(())
    }

    async fn run(
        mut self,
        message: Bytes,
        clearance: Clearance,
        ending: Ending,
        told: oneshot::Sender<Result<Answer, Failed>>,
    ) {
        let bytes_sent = message.len() as u64;
        let over = clearance.life();
        let _at_the_latest = over.clone().drop_guard();
        let may_ask = |session: &Arc<Session>| session.asks.offer.is_open();
        let on_the_stream =
            matches!(self.asks, MayAsk::OnTheStream) && self.session.as_ref().is_some_and(may_ask);
        if on_the_stream || self.peer.is_later() {
            self.during = Some(Arc::new(During::new(clearance.action(), over.clone())));
        }
        let cancelled = self.under_way.cancelled.clone();
        let feed = self.listens.clone();
        let unheard = async {
            match feed {
                Some(feed) => feed.over.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let (stopped, ended) = tokio::select! {
            biased;
            () = clearance.cancelled() => (Some("revoked"), Err(lost("it was stopped while it ran"))),
            () = cancelled.cancelled() => (Some("client"), Err(lost("its agent cancelled it"))),
            () = unheard => (Some("client"), Err(lost("nobody listens any more"))),
            ended = self.exchange(message) => (None, ended),
        };
        over.cancel();
        self.asks_no_more();
        let (stopped, known, ended) = self.task_stopped(stopped, ended).await;
        // Revoked while its server is told of its agent's leaving, it is nobody's any more.
        let stopped = stopped.map(|by| if clearance.is_cancelled() { "revoked" } else { by });
        // In the later era letting go of the answer says it.
        if stopped.is_some() && !self.peer.is_later() {
            let id = self.under_way.id;
            let cancel = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            );
            // Whether the server listens or not: its answer is not waited for.
            let _ = self.way.tell(&self.peer, cancel).await;
        }
        let facts = |outcome, status: String, bytes_received, ended_by: Option<&str>| EndFacts {
            outcome,
            status,
            bytes_sent,
            bytes_received,
            ended_by: ended_by.map(str::to_owned),
            streamed_body: None,
            results: None,
        };
        let recorded = match &ended {
            Ok((answer, status, received)) => {
                // The gateway itself has had its task cancelled, and says why in the server's place.
                let cancelled = status == CANCELLED;
                let outcome = if cancelled { Outcome::Cancelled } else { Outcome::Done };
                let facts = facts(outcome, status.clone(), *received, stopped);
                if !cancelled && told.is_closed() && stopped.is_none() {
                    let kept = Kept {
                        status: status.clone(),
                        head: answer.form.as_str().into(),
                        body: Some(answer.raw.bytes().to_vec()),
                        bytes_sent,
                        bytes_received: *received,
                    };
                    ending.finish_undelivered(facts, kept).await
                } else {
                    ending.finish(facts).await
                }
            }
            Err(failed) => match known {
                Some(status) => ending.finish(facts(Outcome::Cancelled, status.into(), 0, stopped)).await,
                None => ending.failed(failed).await,
            },
        };
        let ended = record(recorded).and(ended).map(|(answer, ..)| answer);
        let ended = match stopped {
            Some("revoked") => ended.and(Err(lost("it was stopped, and had come to its end before"))),
            Some(_) | None => ended,
        };
        // An agent who is gone comes back for it.
        let _ = told.send(ended);
    }

    /// Where the server has made a task of it, has that end with it: who ended it, how that went where it is known to have ended
    /// without an answer, and its answer.
    async fn task_stopped(
        &self,
        stopped: Option<&'static str>,
        ended: Result<Ended, Failed>,
    ) -> (Option<&'static str>, Option<&'static str>, Result<Ended, Failed>) {
        let (Some(served), Err(failed)) = (&self.served, &ended) else {
            return (stopped, stopped.map(|_| ""), ended);
        };
        if stopped.is_none() {
            let by_itself = served.is_cancelled(false);
            return (by_itself.then_some("target"), by_itself.then_some(CANCELLED), ended);
        }
        match served.stop().await {
            Stopped::Ended(End::Cancelled) => (stopped, Some(CANCELLED), ended),
            // It was too late for that: what came of it is recorded.
            Stopped::Ended(End::Answer(form, raw, status)) => {
                let received = raw.bytes().len() as u64;
                let answer = Answer { form, raw, link: None, session_is_gone: false };
                (stopped, None, Ok((answer, status, received)))
            }
            // What is asked of a server is all that can be done: the record says what it made of that.
            Stopped::Unknown(status, why) => {
                (stopped, Some(status), Err(lost(&format!("{}, and {why}", failed.why))))
            }
        }
    }

    /// What was asked in it has nobody any more who would wait for an answer: its agent and its server are told.
    fn asks_no_more(&mut self) {
        let Some(session) = &self.session else { return };
        for own in self.asked.drain(..) {
            let Some(waits) = session.asks.take(&own) else { continue };
            // Whoever gave the call up has no answer of it any more that this could come in.
            if self.events.try_send(Event::Message(not_any_more(&own).into())).is_err() {
                session.hub.told(&own, feed::Told::NotAnyMore);
            }
            session.refuses(&self.way, &waits.id, OVER);
        }
    }

    /// Sends the message and reads up to its answer: that, how it went in one word, and how much was read.
    async fn exchange(&mut self, message: Bytes) -> Result<Ended, Failed> {
        let unsent = || Failed { sent: Sent::No, why: "there is no connection".into() };
        let connection = self.connection.take().ok_or_else(unsent)?;
        let mirrored = std::mem::take(&mut self.mirrored);
        let message = Outgoing { body: message, mirrored, unless: None };
        let mut talk = self.way.post(connection, &self.peer, message).await?;
        let own = self.under_way.id.to_string();
        let answers = Answers::new(&self.way, &self.peer);
        if !talk.status.is_success() {
            return self.no_success(talk).await;
        }
        while let Some(message) = talk.next(self.idle()).await? {
            match frame::read(&message)
                .map_err(|why| lost(&format!("the server's answer cannot be read: {why}")))?
            {
                Message::Response { id, answer } if id.get() == own => {
                    let (form, raw) = match answer {
                        frame::Answer::Result(raw) => (Form::Result, raw),
                        frame::Answer::Error(raw) => (Form::Error, raw),
                    };
                    if form == Form::Result
                        && self.peer.is_later()
                        && may_have(raw, "\"task\"")
                        && served::is_task(raw)
                    {
                        let received = talk.received;
                        self.rest(talk);
                        return self.follow(&message, received).await;
                    }
                    let (form, raw, status) = self.answer(form, raw, &message);
                    if let (Form::Result, Some(subscribes)) = (form, self.subscribes.take()) {
                        subscribes.done();
                    }
                    let answer = Answer { form, raw, link: talk.link.clone(), session_is_gone: false };
                    let received = talk.received;
                    self.rest(talk);
                    return Ok((answer, status, received));
                }
                // An answer to nothing that was asked here.
                Message::Response { .. } => {}
                Message::Notification { method: standing::ACKNOWLEDGED, params: Some(params) }
                    if let Some(feed) = self.listens.take() =>
                {
                    let raw = Raw::within(&message, params);
                    let received = talk.received;
                    self.goes_on(talk, feed);
                    let answer = Answer { form: Form::Result, raw, link: None, session_is_gone: false };
                    return Ok((answer, "subscribed".into(), received));
                }
                Message::Notification { method, params } => self.noted(method, params, &message),
                Message::Request { id, method, params }
                    if method::from_server(method) == FromServer::Asks =>
                {
                    if let Err(why) = self.ask(id, method, params) {
                        answers.refuse(id, why);
                    }
                }
                Message::Request { id, method, .. } => answers.give(method, id),
            }
        }
        Err(lost("the server ended its answer without a response"))
    }

    /// Follows the task that the server has made of it: what comes of that is its answer.
    async fn follow(&mut self, message: &Bytes, received: u64) -> Result<Ended, Failed> {
        let nameless = || lost("the server has made a task of it that has no name");
        let Ok(Message::Response { answer: frame::Answer::Result(result), .. }) = frame::read(message) else {
            return Err(nameless());
        };
        let (Some(session), Some(during)) = (&self.session, &self.during) else { return Err(nameless()) };
        let (around, during) = ((&self.way, session), Arc::clone(during));
        // Whoever speaks of a task knows them.
        let envelope = self.envelope(MayBeTask::Yes);
        let served = Served::new(result, around, envelope, self.offer(), during).ok_or_else(nameless)?;
        self.served = Some(Arc::clone(&served));
        if self.tasks == MayBeTask::No {
            let why =
                "the server has made a task of it, though its agent has not said that it knows tasks here";
            return match served.stop().await {
                // It had come to its end: that is the answer, as if there had been no task.
                Stopped::Ended(End::Answer(form, raw, status)) => {
                    let received = received.saturating_add(raw.bytes().len() as u64);
                    Ok((Answer { form, raw, link: None, session_is_gone: false }, status, received))
                }
                Stopped::Ended(End::Cancelled) => Ok((of_the_gateways_own(why), CANCELLED.into(), received)),
                Stopped::Unknown(_, unknown) => Err(lost(&format!("{why}; {unknown}"))),
            };
        }
        // Whoever has left has given it up, or comes back for what came of it.
        let _ = self.events.send(Event::Task(Arc::clone(&served))).await;
        let Followed { end, received: more } = served.follow().await?;
        match end {
            End::Answer(form, raw, status) => {
                let answer = Answer { form, raw, link: None, session_is_gone: false };
                Ok((answer, status, received.saturating_add(more)))
            }
            End::Cancelled => Err(lost("the server has cancelled its task")),
        }
    }

    /// How long the server may say nothing: while its agent is asked, it waits itself.
    fn idle(&self) -> Duration {
        if self.asked.is_empty() { self.way.idle } else { self.way.idle.saturating_add(asks::PATIENCE) }
    }

    /// An answer as it goes on, and how it went. What the server wants before it answers goes on where it may ask that.
    fn answer(&self, form: Form, raw: &RawValue, message: &Bytes) -> (Form, Raw, String) {
        let refused = |why: &str| {
            let why = format!("the server wants something of the agent that is not passed on: {why}");
            let Answer { form, raw, .. } = of_the_gateways_own(&why);
            (form, raw, "input required".to_owned())
        };
        if form == Form::Error && is_url_elicitation(raw) {
            let asks =
                self.session.as_ref().map(|session| &session.asks).filter(|asks| asks.offer.opens_pages());
            let asks = asks.filter(|_| matches!(self.asks, MayAsk::OnTheStream));
            return match asks.and_then(|asks| asks.marked_pages(raw)) {
                Some(marked) => (Form::Error, Raw::from(marked), status(form, raw)),
                None => refused("it is not passed on here, or the agent's client does not take it"),
            };
        }
        if form != Form::Result || !self.peer.is_later() || !wants_input(raw) {
            return (form, Raw::within(message, raw), status(form, raw));
        }
        let MayAsk::ByTheAnswer(offer) = &self.asks else {
            return refused("the agent's request has no way to answer it");
        };
        match Round::read(raw, offer) {
            Ok(_) => (Form::Asks, Raw::within(message, raw), "input required".into()),
            Err(why) => refused(why),
        }
    }

    /// Passes a question on to the agent; else why it is refused.
    fn ask(&mut self, id: &RawValue, method: &str, params: Option<&RawValue>) -> Result<(), &'static str> {
        let (MayAsk::OnTheStream, Some(session)) = (&self.asks, &self.session) else {
            return Err("the agent's request has no way to answer it");
        };
        let asked = session.asks.take_in(id, (method, params), self.during.clone())?;
        if self.events.try_send(Event::Message(asked.message.clone().into())).is_err() {
            drop(session.asks.take(&asked.own));
            return Err("the agent does not listen");
        }
        session.expires(&self.way, &asked);
        self.asked.push(asked.own);
        Ok(())
    }

    /// A status that says the message was not taken as it should have been.
    async fn no_success(&self, mut talk: Talk) -> Result<Ended, Failed> {
        let code = talk.status.as_u16();
        let told = talk.next(self.way.idle).await.ok().flatten();
        let error = told.as_deref().and_then(|told| serde_json::from_slice::<&RawValue>(told).ok());
        let error =
            error.and_then(|message| Members::read(message)?.find("error").map(|raw| raw.get().to_owned()));
        let session_is_gone = talk.status == StatusCode::NOT_FOUND && self.peer.link.is_some();
        let raw = error.unwrap_or_else(|| {
            format!(r#"{{"code":-32000,"message":"the server answered with HTTP {code}"}}"#)
        });
        if let (true, Some(session)) = (is_mismatch(&raw), &self.session) {
            // The tool wants other arguments in the head than it did.
            session.forget_tools();
        }
        let received = talk.received;
        self.rest(talk);
        let message = Bytes::from(raw);
        let raw = match serde_json::from_slice::<&RawValue>(&message) {
            Ok(error) => self.answer(Form::Error, error, &message).1,
            Err(_) => return Err(lost("the server's error cannot be read")),
        };
        let answer = Answer { form: Form::Error, raw, link: None, session_is_gone };
        Ok((answer, format!("http {code}"), received))
    }

    /// Gives the connection back once nothing more comes.
    fn rest(&self, talk: Talk) {
        let way = Arc::clone(&self.way);
        tokio::spawn(async move { way.finish(talk).await });
    }

    /// A subscription that was agreed to: what comes is heard by whoever asked for it, for as long as somebody hears.
    fn goes_on(&self, mut talk: Talk, feed: Arc<Feed>) {
        let (way, peer, session) = (Arc::clone(&self.way), self.peer.clone(), self.session.clone());
        tokio::spawn(async move {
            let tell = |heard: Heard<'_>| {
                if let Heard::Message(message) = heard {
                    if let (true, Some(session)) = (feed::says_tools_changed(message), &session) {
                        session.forget_tools();
                    }
                    feed.heard(message);
                }
                // Servers of the later era ask nothing in this way.
                Err("the agent's request has no way to answer it")
            };
            tokio::select! {
                () = feed.over.cancelled() => {}
                () = standing::listen(&way, &peer, &mut talk, tell) => feed.over.cancel(),
            }
        });
    }

    fn noted(&self, method: &str, params: Option<&RawValue>, message: &Bytes) {
        if method == feed::TOOLS_CHANGED
            && let Some(session) = &self.session
        {
            session.forget_tools();
            if session.hub.is_heard() {
                // Whoever listens is told by the gateway, once it has looked.
                session.hub.missed();
                return;
            }
        }
        let is_subscribed = || {
            let session = self.session.as_ref()?;
            Some(feed::is_subscribed(&session.hub.subscribed.lock(), &feed::updated(params)?))
        };
        let passes = match method::from_server(method) {
            FromServer::Passed => true,
            FromServer::Subscribed => is_subscribed() == Some(true),
            FromServer::Elicited => {
                self.session.as_ref().is_some_and(|session| session.asks.offer.opens_pages())
            }
            FromServer::TakesBack => {
                let own = self.session.as_ref().and_then(|session| session.asks.taken_back(params));
                if let Some(own) = own {
                    let _ = self.events.try_send(Event::Message(not_any_more(&own).into()));
                }
                false
            }
            FromServer::Asks | FromServer::Answered | FromServer::Refused(_) | FromServer::Dropped(_) => {
                false
            }
        };
        if passes {
            // One too many is left out rather than waited for: none of them carries a result.
            let _ = self.events.try_send(Event::Message(message.clone()));
        }
    }
}

/// An answer, how it went in one word, and how much was read for it.
type Ended = (Answer, String, u64);

/// An error in place of an answer that is not passed on.
fn of_the_gateways_own(why: &str) -> Answer {
    let error = serde_json::json!({"code": code::SERVER, "message": why});
    Answer { form: Form::Error, raw: Raw::from(error.to_string()), link: None, session_is_gone: false }
}

/// Withdraws what a cancelled request waits for. What has begun to run meanwhile is cancelled there.
pub(crate) async fn take_back(gate: &Arc<Gate>, requester: &Requester, approval: ApprovalId) {
    let taken = settle::withdraw(gate, requester, actor_of(requester), approval).await;
    if let Err(error) = taken {
        let error = countersign_engine::record::chain(&error);
        tracing::error!(%approval, %error, "a cancelled call could not be withdrawn");
    }
}

/// Whether a result could have this member: most are large and have not, and are then not read once more.
fn may_have(raw: &RawValue, member: &str) -> bool {
    memmem::find(raw.get().as_bytes(), member.as_bytes()).is_some()
}

/// Whether a result of the later era is none yet, or could be read as one that is none.
pub(super) fn wants_input(raw: &RawValue) -> bool {
    // A name may be written with escapes.
    if !may_have(raw, "resultType") && !may_have(raw, "\\u") {
        return false;
    }
    let Some(result) = Members::read(raw) else { return true };
    result.find("resultType").is_some_and(|kind| kind.get() != r#""complete""#)
}

/// How it went, for the record.
pub(super) fn status(form: Form, raw: &RawValue) -> String {
    if form == Form::Result && !may_have(raw, "isError") {
        return "result".into();
    }
    let members = Members::read(raw);
    let member = |name: &str| members.as_ref().and_then(|members| members.find(name)).map(RawValue::get);
    match form {
        Form::Asks => "input required".into(),
        Form::Result if member("isError") == Some("true") => "tool error".into(),
        Form::Result => "result".into(),
        Form::Error => match member("code").and_then(|code| code.parse::<i64>().ok()) {
            Some(code) => format!("error {code}"),
            None => "error".into(),
        },
    }
}

/// Whether the server says that the agent's user has to open a page first (2025-11-25, client/elicitation).
pub(super) fn is_url_elicitation(error: &RawValue) -> bool {
    let Some(error) = Members::read(error) else { return true };
    let code = error.find("code").and_then(|code| code.get().parse::<f64>().ok());
    // However the number is written.
    code.is_some_and(|code| (code - code::URL_ELICITATION).abs() < 0.5)
}

/// Whether the server found that the head of a call was not what it wants there.
fn is_mismatch(error: &str) -> bool {
    let error: Option<&RawValue> = serde_json::from_str(error).ok();
    let code = error.and_then(Members::read).and_then(|error| error.find("code")?.get().parse().ok());
    code == Some(code::HEADER_MISMATCH)
}

/// The parameters with these members, written as JSON, in front of what `_meta` holds.
pub(crate) fn with_meta(params: &str, own: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(params).ok()?;
    let members = Members::read(raw)?;
    if members.find("_meta").is_none() {
        let rest = params.trim().strip_prefix('{')?;
        let comma = if members.is_empty() { "" } else { "," };
        return Some(format!(r#"{{"_meta":{{{own}}}{comma}{rest}"#));
    }
    Some(members.rewritten(|name, value| {
        if name != "_meta" {
            return Some(value.get().to_owned());
        }
        let comma = if Members::read(value).is_none_or(|meta| meta.is_empty()) { "" } else { "," };
        let rest = value.get().strip_prefix('{').unwrap_or("}");
        Some(format!("{{{own}{comma}{rest}"))
    }))
}

fn record(recorded: Result<(), countersign_engine::Error>) -> Result<(), Failed> {
    recorded.map_err(|error| {
        tracing::error!(error = %countersign_engine::record::chain(&error), "the end of a call was not recorded");
        lost("it ran, and its end could not be recorded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        asks::ELICITATION,
        edge::stage::{Stage, told},
        feed::{Next, Told, Wanted},
    };

    /// An agent that reads its call's answer no more hears on its session's own stream that it is not asked any more.
    #[tokio::test]
    async fn what_was_asked_in_a_call_that_is_over_is_taken_back_where_its_agent_still_listens() {
        let stage = Stage::open().await;
        let (door, session) = (Arc::clone(&stage.door), Stage::session());
        let id = RawValue::from_string(r#""q-1""#.into()).unwrap();
        let params = RawValue::from_string(r#"{"message":"Sure?"}"#.into()).unwrap();
        let asked = session.asks.take_in(&id, (ELICITATION, Some(&params)), None).unwrap();
        let feed = Arc::new(Feed::new(Wanted::ALL, Arc::clone(&session.hub.subscribed), None));
        session.hub.replace(&feed);
        // Nobody reads the answer any more.
        let (events, _) = mpsc::channel(1);
        let mut asking = Asking {
            way: Arc::clone(&door.target.way),
            book: Arc::clone(&door.book),
            texts: Arc::clone(door.target.classifier.texts()),
            peer: session.peer.clone(),
            session: Some(Arc::clone(&session)),
            under_way: session.enter_any().under_way.clone(),
            progress_token: None,
            events,
            takes_back: None,
            connection: None,
            listens: None,
            mirrored: Vec::new(),
            subscribes: None,
            asks: MayAsk::OnTheStream,
            asked: vec![asked.own.clone()],
            during: None,
            tasks: MayBeTask::No,
            served: None,
        };
        asking.asks_no_more();
        let Next::Message(taken_back) = feed.next().await else { panic!("nothing is told") };
        assert_eq!(taken_back, not_any_more(&asked.own).as_bytes());
        assert!(session.asks.take(&asked.own).is_none());
        let (connection, _) = stage.server.accept().await.unwrap();
        let refused = told(connection, OVER).await;
        assert!(refused.contains(r#""id":"q-1","error""#) && refused.contains(OVER), "{refused}");
        // What its agent has not read yet is not asked at all.
        let asked = session.asks.take_in(&id, (ELICITATION, Some(&params)), None).unwrap();
        assert!(session.hub.told(&asked.own, Told::Question(&asked.message)));
        asking.asked.push(asked.own);
        asking.asks_no_more();
        session.hub.heard(br#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#);
        let Next::Message(next) = feed.next().await else { panic!("nothing is told") };
        assert!(String::from_utf8_lossy(&next).contains("prompts/list_changed"), "{next:?}");
    }

    #[test]
    fn what_asks_is_known_however_it_is_written() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for (error, asks) in [
            (r#"{"code":-32042,"message":"m"}"#, true),
            (r#"{"code":-32042.0,"message":"m"}"#, true),
            (r#"{"code":-3.2042e4,"message":"m"}"#, true),
            (r#"{"c\u006fde":-32042,"message":"m"}"#, true),
            (r#"{"code":-32000,"message":"m"}"#, false),
            (r#"{"message":"m"}"#, false),
        ] {
            assert_eq!(is_url_elicitation(&raw(error)), asks, "{error}");
        }
        for (result, asks) in [
            (r#"{"resultType":"input_required"}"#, true),
            (r#"{"result\u0054ype":"input_required"}"#, true),
            (r#"{"resultType":"complete","content":[{"text":"\u00fc"}]}"#, false),
            (r#"{"content":[{"text":"\u00fc resultType"}]}"#, false),
        ] {
            assert_eq!(wants_input(&raw(result)), asks, "{result}");
        }
    }

    #[test]
    fn a_token_is_put_in_and_every_other_byte_stays() {
        for (params, want) in [
            ("{}", r#"{"_meta":{"progressToken":7}}"#),
            (r#"{ "name":"x","n":1.0 }"#, r#"{"_meta":{"progressToken":7}, "name":"x","n":1.0 }"#),
            (r#"{"a":1,"_meta":{}}"#, r#"{"a":1,"_meta":{"progressToken":7}}"#),
            (r#"{"_meta":{"k": 1.50},"a":[ 1]}"#, r#"{"_meta":{"progressToken":7,"k": 1.50},"a":[ 1]}"#),
        ] {
            assert_eq!(with_meta(params, r#""progressToken":7"#).as_deref(), Some(want), "{params}");
        }
    }
}
