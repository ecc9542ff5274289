//! A message that goes on: as an action, through the engine, to its answer.

use super::{
    AHEAD, Door, Ended, Said,
    entrance::UNASKED,
    task::{By, Going},
};
use crate::{
    approvals,
    call::{self, Prepared},
    classify::Understood,
    legs::{Leg, ROUND, Rounds},
    members::{self, Members},
    reply::{self, Shape, code},
    rounds,
    session::{Place, Session, UnderWay},
    stream::{self, Body, Flow, Later, Leaving, Legs, Waiting},
    text,
    tools::{Definition, Ruling},
    upstream::exchange::{Answer, Asking, Event, MayAsk, MayBeTask},
};
use countersign_core::{ApprovalId, Refusal, RefusalCode, Requester};
use countersign_engine::{
    Error, Gate, Reply,
    settle::{self, Claim},
};
use http::{Response, StatusCode};
use serde_json::{json, value::RawValue};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

/// How long a leg of a call of the later era is held: below the shortest limit that clients are known to have.
pub(super) const LEG: Duration = Duration::from_secs(45);
/// How long a call behind a task waits in one go.
pub(super) const TASK: Duration = Duration::from_hours(1);

/// What a request comes back from.
#[derive(Clone, Copy, Debug, Default)]
struct Back {
    /// The approval that it waits for.
    waits_for: Option<ApprovalId>,
    rounds: Rounds,
}

impl Door {
    /// A tool call: one of the gateway's own, or an action.
    pub(super) async fn call(self: &Arc<Self>, said: Said<'_>) -> Result<Response<Body>, Ended> {
        let params = said.params.and_then(Members::read);
        let name = params.as_ref().and_then(|params| members::text(params.find("name")?));
        let name = name.filter(|name| crate::config::is_tool_name(name));
        let Some(name) = name else {
            return self
                .invalid(said.id, "the call names no tool, or one with characters nobody can read")
                .await;
        };
        let arguments = params.as_ref().and_then(|params| params.find("arguments"));
        if arguments.is_some_and(|arguments| !arguments.get().starts_with('{')) {
            return self.invalid(said.id, "the arguments are no object").await;
        }
        let wants_task = said.tasks && !said.later && params.as_ref().is_some_and(call::wants_task);
        if approvals::NAMES.contains(&name.as_str()) {
            if wants_task {
                return self.entrance.no_method(said.id, said.method, approvals::NO_TASK, false).await;
            }
            return self.claim(said, &name, arguments).await;
        }
        // Whoever asks for a task can read no result in its place.
        let told_as = if wants_task { Shape::Other } else { Shape::Tool };
        let definition = match said.session.tools(&self.book, &self.target.way).await {
            Ok(tools) => tools.get(&name).cloned(),
            Err(failed) => {
                let why = format!("the server's tools are not known, so nothing was called: {failed}");
                return Ok(stream::json(
                    StatusCode::OK,
                    reply::own(
                        said.id.get(),
                        &told_as,
                        code::SERVER,
                        &why,
                        &json!({
                            "decision": "refused", "code": RefusalCode::Unreachable.as_str(), "what_to_do": "repeat",
                        }),
                    ),
                ));
            }
        };
        let ruled = definition.map(|definition| (self.book.ruling(&name, definition.digest), definition));
        let (standing, definition) = match ruled {
            Some((Ruling::Decide(standing), definition)) => (standing, definition),
            Some((Ruling::Refuse(standing), _)) => {
                let why = self.book.refusal(&name, standing);
                return self.refuse_call(&said, &told_as, RefusalCode::NotPermitted, &why).await;
            }
            Some((Ruling::Hide, _)) | None => {
                return self.invalid(said.id, "the server lists no such tool, or lists it twice").await;
            }
        };
        if said.later
            && let Err(mismatch) =
                said.mirrored.check(definition.mirrored.as_deref().unwrap_or_default(), arguments)
        {
            return Err(self.entrance.mismatch(said.id.get(), &mismatch).await);
        }
        if said.session.peer.is_later() && definition.mirrored.is_none() {
            let why = "The server wants arguments of this tool in headers in a way that nobody can send.\n\
                       What to do: use another tool; its server has to describe this one anew.";
            return self.refuse_call(&said, &told_as, RefusalCode::NotPermitted, why).await;
        }
        if let Err(why) = self.book.check(&name, &definition, arguments) {
            return self.refuse_call(&said, &told_as, RefusalCode::Malformed, &why).await;
        }
        let mut understood = self.target.classifier.call(&name, arguments, &definition, standing);
        if let Some(text) = self.target.classifier.text_of(&name, standing) {
            let read = match text.alone(arguments) {
                Ok(given) => text.read(&given).await,
                Err(why) => Err(why),
            };
            let effect = match read {
                Ok(effect) => effect,
                Err(why) => return self.refuse_call(&said, &told_as, RefusalCode::Malformed, &why).await,
            };
            let target = self.target.surroundings().target.as_str();
            understood = text::as_effect(understood, &name, target, effect);
        }
        self.act(said, Some((&name, &definition)), understood, Shape::Tool).await
    }

    /// A call that does not become an action: counted, and told so that a model can go on.
    async fn refuse_call(
        &self,
        said: &Said<'_>,
        shape: &Shape,
        code: RefusalCode,
        why: &str,
    ) -> Result<Response<Body>, Ended> {
        self.count(code).await?;
        let next = if code == RefusalCode::Malformed { "change" } else { "stop" };
        let told = json!({"decision": "refused", "code": code.as_str(), "what_to_do": next});
        let own = reply::own(said.id.get(), shape, code::REFUSED, why, &told);
        let (own, status) = match reply::Said::from(own) {
            own if said.later => own.later(said.id.get(), said.method),
            own => (own, StatusCode::OK),
        };
        Ok(stream::json(status, own.message))
    }

    /// Any other request that is passed on.
    pub(super) async fn ask(
        self: &Arc<Self>,
        said: Said<'_>,
        operation: &str,
        shape: Shape,
    ) -> Result<Response<Body>, Ended> {
        if matches!(shape, Shape::Tools(_)) {
            // What the agent sees from here on is what its calls are bound to.
            said.session.forget_tools();
        }
        let understood = self.target.classifier.other(operation, said.method, said.params);
        self.act(said, None, understood, shape).await
    }

    /// Hands an action to the engine, and waits for what becomes of it.
    async fn act(
        self: &Arc<Self>,
        said: Said<'_>,
        tool: Option<(&str, &Definition)>,
        mut understood: Understood,
        shape: Shape,
    ) -> Result<Response<Body>, Ended> {
        let mut prepared = match call::prepare(said.params, &self.target) {
            Ok(prepared) => prepared,
            Err(why) => return self.invalid(said.id, why).await,
        };
        let about = [said.method.to_owned(), prepared.params.clone()];
        let definition = tool.map(|(_, definition)| definition.digest.to_string());
        let back =
            match self.comes_back(&said, (&about, definition.as_deref()), &mut prepared, &mut understood) {
                Ok(back) => back,
                Err(why) => return self.invalid(said.id, why).await,
            };
        let before = back.waits_for;
        let may_be_task = matches!(shape, Shape::Tool) && before.is_none();
        let wants_task = may_be_task && !said.later && said.tasks && prepared.wants_task;
        let takes_task = may_be_task && said.later && said.tasks;
        let is_full = (wants_task || takes_task) && !self.tasks.has_room(&said.requester, self.gate.now());
        if wants_task && is_full {
            return self.invalid(said.id, "you have as many tasks as you may: wait for some").await;
        }
        let place = self.place(&said).await?;
        let (told, mut events) = mpsc::channel(AHEAD);
        let progress_token = prepared.progress_token.take();
        let mut exchange = self.exchange(&said, &place, progress_token.clone(), told, true);
        exchange.asks = match said.later {
            // Nobody hears what is asked while a task runs.
            false if wants_task => MayAsk::Nothing,
            false => MayAsk::OnTheStream,
            true => MayAsk::ByTheAnswer(said.offer.clone()),
        };
        let may_be_served = takes_task && !is_full && said.session.peer.is_later();
        if may_be_served {
            exchange.tasks = MayBeTask::Yes;
        }
        let mut later = said.later.then(|| self.held_later(&said, &place, back.rounds, (about, definition)));
        let mut asked =
            call::asked(&self.target, said.requester.clone(), said.method, tool, understood, prepared);
        if wants_task || takes_task && !is_full {
            asked.patience = TASK;
        } else if said.later {
            asked.patience = asked.patience.min(LEG);
        }
        let (door, session) = (Arc::clone(self), Arc::clone(&said.session));
        let lists = matches!(shape, Shape::Tools(_));
        let flow = async move {
            let reply = match before {
                None => countersign_engine::flow::handle(&door.gate, asked, exchange).await,
                Some(approval) => door.claimed(&asked.requester, approval, asked.patience, exchange).await,
            };
            if let (true, Ok(Reply::Live(answer))) = (lists, &reply) {
                door.book.listed(answer.raw.text()).await;
            }
            door.seen(&session, &reply);
            reply
        };
        // An agent of the later era that leaves has given its request up: that comes to its end without it.
        let (mut flow, own): (Flow, _) = if said.later { on_its_own(flow) } else { (Box::pin(flow), None) };
        if wants_task {
            return Ok(self.as_task(&said, Going { flow, events, place, own }).await);
        }
        let mut first = None;
        if takes_task && !is_full {
            tokio::select! {
                biased;
                Some(event) = events.recv() => first = Some(event),
                answer = &mut flow => flow = Box::pin(std::future::ready(answer)),
            }
            if matches!(first, Some(Event::Held(_) | Event::Task(_))) {
                // The call is a task from here on: its agent may leave.
                if let Some(leaving) = later.as_mut().and_then(|later| later.leaving.take()) {
                    leaving.stays();
                }
                let task = self.tasked(By::of(&said), Going { flow, events, place, own }, first);
                return Ok(stream::json(StatusCode::OK, reply::result(said.id.get(), &task.made_later())));
            }
        }
        let becomes = may_be_served.then(|| self.becomes(&said));
        let id = said.id.get().to_owned();
        Ok(Waiting { id, shape, progress_token, flow, events, first, place, later, becomes }.respond().await)
    }

    /// What a request comes back with: the leg in which it was held; or what its server wanted first, which goes on with
    /// it and is part of what is decided on.
    fn comes_back(
        &self,
        said: &Said<'_>,
        (about, definition): (&[String; 2], Option<&str>),
        prepared: &mut Prepared,
        understood: &mut Understood,
    ) -> Result<Back, &'static str> {
        const UNKNOWN: &str = "the state is none of this gateway's for this call: repeat the call without it";
        let responses = prepared.responses.take();
        // Answers to what nobody asked are left out.
        let Some(state) = prepared.state.take() else { return Ok(Back::default()) };
        let call = about.each_ref().map(String::as_str);
        if !said.later {
            return Err(UNKNOWN);
        }
        if !state.starts_with(ROUND) {
            // A call that is held has been decided on with all its answers.
            if responses.is_some() {
                return Err(UNASKED);
            }
            let Leg { approval, rounds } = self.states.read(&state, &said.requester, &call).ok_or(UNKNOWN)?;
            return Ok(Back { waits_for: Some(approval), rounds });
        }
        let carried = self.states.unseal(&state, &said.requester, &call).ok_or(UNKNOWN)?;
        let answered = rounds::answered(&carried, responses.as_deref(), &prepared.params);
        let answered = answered.ok_or("the answers to what the server asked cannot be read")?;
        if answered.definition.as_deref() != definition {
            return Err("the server has changed the tool since it asked: repeat the call without the state");
        }
        understood.answers(said.method, &answered);
        prepared.params = answered.params;
        prepared.asked = answered.asked;
        Ok(Back { waits_for: None, rounds: Rounds { used: answered.rounds, asked: true } })
    }

    /// Attaches to an approval of this caller's and runs what was approved.
    pub(super) async fn claimed(
        &self,
        requester: &Requester,
        approval: ApprovalId,
        patience: Duration,
        exchange: Asking,
    ) -> Result<Reply<Answer>, Error> {
        let target = &self.target.surroundings().target;
        let claim = Claim { requester, target, approval, patience };
        let found = settle::claim(&self.gate, claim, exchange).await?;
        Ok(found.unwrap_or_else(|| Reply::Refused(no_such_approval())))
    }

    fn held_later(
        &self,
        said: &Said<'_>,
        place: &Place,
        before: Rounds,
        (about, definition): ([String; 2], Option<String>),
    ) -> Later {
        let may_be_held = ["tools/call", "prompts/get", "resources/read"].contains(&said.method);
        Later {
            method: said.method.to_owned(),
            legs: may_be_held.then(|| Legs {
                gate: Arc::clone(&self.gate),
                states: Arc::clone(&self.states),
                before,
                requester: said.requester.clone(),
                about,
                definition,
                offer: said.offer.clone(),
                server: self.target.surroundings().target.to_string(),
            }),
            leaving: Some(self.leaving(place, &said.requester)),
        }
    }

    pub(super) fn leaving(&self, place: &Place, requester: &Requester) -> Leaving {
        Leaving {
            under_way: Arc::clone(&place.under_way),
            stopping: self.stopping.clone(),
            gate: Arc::clone(&self.gate),
            requester: requester.clone(),
            is_over: false,
        }
    }

    /// The agent comes back for a call of its own that waited.
    async fn claim(
        self: &Arc<Self>,
        said: Said<'_>,
        tool: &str,
        arguments: Option<&RawValue>,
    ) -> Result<Response<Body>, Ended> {
        let Some(approval) = approvals::named(arguments) else {
            return self.invalid(said.id, "give the approval's id as `approval`, and nothing else").await;
        };
        let prepared = match call::prepare(said.params, &self.target) {
            Ok(prepared) => prepared,
            Err(why) => return self.invalid(said.id, why).await,
        };
        let place = self.place(&said).await?;
        let (told, events) = mpsc::channel(AHEAD);
        let mut exchange = self.exchange(&said, &place, prepared.progress_token.clone(), told, false);
        if !said.later {
            exchange.asks = MayAsk::OnTheStream;
        }
        let later = said.later.then(|| Later { method: said.method.to_owned(), legs: None, leaving: None });
        let (door, session, requester) = (Arc::clone(self), said.session, said.requester);
        let runs = tool == approvals::WAIT;
        let flow: Flow = Box::pin(async move {
            let id = approval.to_string();
            let task = door.tasks.find(&id, &requester).filter(|_| runs);
            let over = match task {
                Some(task) => tokio::time::timeout(door.target.hold_limit, task.over()).await.map(Some),
                None => Ok(None),
            };
            // What a task waits for runs as that task, and what comes of it is told here as well.
            let reply = if let Ok(Some(stage)) = over {
                Ok(Reply::Live(super::task::answer_of(stage)))
            } else if runs && over.is_ok() {
                door.claimed(&requester, approval, door.target.hold_limit, exchange).await
            } else {
                let target = &door.target.surroundings().target;
                let stands = settle::look(&door.gate, &requester, target, approval).await?;
                Ok(stands.map_or_else(|| Reply::Refused(no_such_approval()), Reply::Pending))
            };
            door.seen(&session, &reply);
            reply
        });
        let (id, shape) = (said.id.get().to_owned(), Shape::Tool);
        let progress_token = prepared.progress_token;
        Ok(Waiting { id, shape, progress_token, flow, events, first: None, place, later, becomes: None }
            .respond()
            .await)
    }

    pub(super) async fn place(&self, said: &Said<'_>) -> Result<Place, Ended> {
        if said.later {
            return Ok(said.session.enter_any());
        }
        if let Some(place) = said.session.enter(said.id.get()) {
            return Ok(place);
        }
        Err(self.malformed(StatusCode::BAD_REQUEST, "a request of this id is under way already").await)
    }

    pub(super) fn exchange(
        &self,
        said: &Said<'_>,
        place: &Place,
        progress_token: Option<String>,
        events: mpsc::Sender<Event>,
        takes_back: bool,
    ) -> Asking {
        let takes_back = takes_back.then(|| (Arc::clone(&self.gate), said.requester.clone()));
        self.exchange_in(&said.session, &place.under_way, progress_token, events, takes_back)
    }

    pub(super) fn exchange_in(
        &self,
        session: &Arc<Session>,
        under_way: &Arc<UnderWay>,
        progress_token: Option<String>,
        events: mpsc::Sender<Event>,
        takes_back: Option<(Arc<Gate>, Requester)>,
    ) -> Asking {
        Asking {
            way: Arc::clone(&self.target.way),
            book: Arc::clone(&self.book),
            texts: Arc::clone(self.target.classifier.texts()),
            peer: session.peer.clone(),
            session: Some(Arc::clone(session)),
            under_way: Arc::clone(under_way),
            progress_token,
            events,
            takes_back,
            connection: None,
            listens: None,
            mirrored: Vec::new(),
            subscribes: None,
            asks: MayAsk::Nothing,
            asked: Vec::new(),
            during: None,
            tasks: MayBeTask::No,
            served: None,
        }
    }

    /// A session that its server has forgotten ends here as well: the agent opens another.
    pub(super) fn seen(&self, session: &Arc<Session>, reply: &Result<Reply<Answer>, Error>) {
        if let Ok(Reply::Live(answer)) = reply
            && answer.session_is_gone
        {
            session.is_forgotten();
            self.sessions.forget(session);
        }
    }
}

/// Goes on to its end though nobody waits for that.
pub(super) fn on_its_own(
    flow: impl Future<Output = Result<Reply<Answer>, Error>> + Send + 'static,
) -> (Flow, Option<AbortHandle>) {
    let (told, answer) = oneshot::channel();
    let own = tokio::spawn(async move {
        let _ = told.send(flow.await);
    });
    let flow: Flow = Box::pin(async move {
        match answer.await {
            Ok(reply) => reply,
            // It was let go with the gateway itself.
            Err(_) => std::future::pending().await,
        }
    });
    (flow, Some(own.abort_handle()))
}

fn no_such_approval() -> countersign_engine::Refused {
    let refusal = Refusal {
        code: RefusalCode::NotPermitted,
        reason: "you have no such approval on this server".into(),
        remedy: "use the id you were given when the call was held".into(),
        basis: None,
    };
    countersign_engine::Refused { refusal, action: None, approval: None, link: None }
}
