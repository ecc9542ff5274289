//! A call behind a task: it is made once the call waits for people (or, in the earlier era, whenever its agent asks for
//! one), goes on by itself to its end, and runs as soon as people approve it, through its agent's session. The agent looks at it,
//! waits for it or gives it up.

use super::{AHEAD, Door, Ended, Said};
use crate::{
    asks::Offer,
    members::{self, Members},
    message::Raw,
    method::{OTHER_ERA, TaskAsk},
    reply::{self, Shape, code},
    session::{Place, Session, UnderWay},
    stream::{self, Becomes, Body, Flow, Waiting},
    tasks::{EXTENSION, Outcome, Stage, Task},
    upstream::{
        exchange::{Answer, Asking, Event, Form, MayAsk, MayBeTask, take_back, with_meta},
        served::Served,
    },
};
use countersign_core::{ApprovalId, Requester, visible};
use countersign_engine::{Error, Reply, Ticket, settle};
use http::{Response, StatusCode};
use serde_json::{Value, json, value::RawValue};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

/// How long a call of the earlier era may take until its task is told of.
const SOON: Duration = Duration::from_secs(5);

/// A call on its way, with what is needed to see it to its end alone.
pub(super) struct Going {
    pub(super) flow: Flow,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) place: Place,
    /// What the flow runs in, where it goes on without its agent.
    pub(super) own: Option<AbortHandle>,
}

impl Door {
    /// A call whose agent wants a task of it.
    pub(super) async fn as_task(self: &Arc<Self>, said: &Said<'_>, mut going: Going) -> Response<Body> {
        let first = tokio::select! {
            biased;
            Some(event) = going.events.recv() => Some(event),
            answer = &mut going.flow => {
                going.flow = Box::pin(std::future::ready(answer));
                None
            }
            () = tokio::time::sleep(SOON) => None,
        };
        let task = self.tasked(By::of(said), going, first);
        stream::json(StatusCode::OK, reply::result(said.id.get(), &task.made_earlier()))
    }

    /// Makes the task of a call, and has it go on by itself. Where one of that id is at work already, that is the one.
    pub(super) fn tasked(self: &Arc<Self>, by: By, going: Going, first: Option<Event>) -> Arc<Task> {
        let approval = match &first {
            Some(Event::Held(ticket)) => Some(ticket.approval),
            Some(Event::Message(_) | Event::Task(_)) | None => None,
        };
        let id = approval.map_or_else(
            || {
                let random: [u8; 16] = self.gate.journal().random();
                format!("task_{:032x}", u128::from_be_bytes(random))
            },
            |approval| approval.to_string(),
        );
        let now = self.gate.now();
        let task = Task::new(id, approval, Arc::clone(&going.place.under_way), &by.requester, now);
        let task = Arc::new(task);
        if let Some(Event::Held(ticket)) = &first {
            task.goes_on(Stage::Working(waits(ticket)), now);
        }
        if let Err(known) = self.tasks.insert(Arc::clone(&task)) {
            // That one waits for the same approval, and is told what comes of it.
            if let Some(own) = going.own {
                own.abort();
            }
            return known;
        }
        let words = match first {
            Some(Event::Task(served)) => Some(self.served(&task, served)),
            Some(Event::Held(_) | Event::Message(_)) | None => None,
        };
        let (door, task_of) = (Arc::clone(self), Arc::clone(&task));
        tokio::spawn(async move { door.see_to_its_end(task_of, going, by, words).await });
        task
    }

    /// What makes a task of a call whose answer its agent waits for, should its server make one of it.
    pub(super) fn becomes(self: &Arc<Self>, said: &Said<'_>) -> Becomes {
        let (door, by) = (Arc::clone(self), By::of(said));
        Box::new(move |flow, events, place, served| {
            let going = Going { flow, events, place, own: None };
            door.tasked(by, going, Some(Event::Task(served))).made_later()
        })
    }

    async fn see_to_its_end(
        self: Arc<Self>,
        task: Arc<Task>,
        mut going: Going,
        by: By,
        mut words: Option<watch::Receiver<String>>,
    ) {
        let answer = loop {
            tokio::select! {
                biased;
                Some(event) = going.events.recv() => {
                    let told = match event {
                        Event::Held(ticket) => waits(&ticket),
                        Event::Task(served) => {
                            words = Some(self.served(&task, served));
                            continue;
                        }
                        // Its server says how the call is going, not how its task is.
                        Event::Message(_) if words.is_some() => continue,
                        Event::Message(_) => "It runs.".into(),
                    };
                    task.goes_on(Stage::Working(told), self.gate.now());
                }
                answer = &mut going.flow => match answer {
                    Ok(Reply::Pending(ticket)) if !task.under_way.cancelled.is_cancelled() => {
                        going = self.again(&by, ticket.approval, Some(&task.under_way));
                    }
                    over => break over,
                },
                told = news(&mut words) => {
                    task.goes_on(Stage::Working(told), self.gate.now());
                }
            }
        };
        let said = reply::of("0", &Shape::Tool, answer);
        let said = if by.later { said.later("0", "tools/call").0 } else { said };
        let outcome = outcome(&said.message.into_text());
        task.goes_on(task.with(outcome), self.gate.now());
        // What is kept here is handed over: the engine need not keep it any more.
        if let Some(handover) = said.handover
            && let Err(error) = handover.done().await
        {
            tracing::error!(%error, "a handover could not be recorded");
        }
    }

    /// The server works on a call as a task of its own: what it says of that, from now on.
    fn served(&self, task: &Task, served: Arc<Served>) -> watch::Receiver<String> {
        let words = served.words();
        task.goes_on(Stage::Working(words.borrow().clone()), self.gate.now());
        task.is_served_by(served);
        words
    }

    /// Comes back for a call that waits. Whoever gives its task up gives it up here as well.
    fn again(self: &Arc<Self>, by: &By, approval: ApprovalId, of: Option<&Arc<UnderWay>>) -> Going {
        let (place, events, exchange) = self.leg(by, of);
        let (door, requester) = (Arc::clone(self), by.requester.clone());
        let session = Arc::clone(&by.session);
        let flow: Flow = Box::pin(async move {
            let reply = door.claimed(&requester, approval, super::act::TASK, exchange).await;
            door.seen(&session, &reply);
            reply
        });
        Going { flow, events, place, own: None }
    }

    /// The exchange of a call that goes on as this task's, or begins one.
    fn leg(&self, by: &By, of: Option<&Arc<UnderWay>>) -> (Place, mpsc::Receiver<Event>, Asking) {
        let place = by.session.enter_any();
        let (told, events) = mpsc::channel(AHEAD);
        let under_way = of.unwrap_or(&place.under_way);
        let mut exchange = self.exchange_in(&by.session, under_way, None, told, None);
        if by.later && by.session.peer.is_later() {
            exchange.tasks = MayBeTask::Yes;
            exchange.asks = MayAsk::ByTheAnswer(by.offer.clone());
        }
        (place, events, exchange)
    }

    /// What an agent asks of its tasks.
    pub(super) async fn task(
        self: &Arc<Self>,
        ask: TaskAsk,
        said: Said<'_>,
    ) -> Result<Response<Body>, Ended> {
        if !said.later && !said.tasks {
            return self.entrance.no_method(said.id, said.method, OTHER_ERA, false).await;
        }
        if !said.tasks {
            let data = json!({"requiredCapabilities": {"extensions": {EXTENSION: {}}}});
            let why = "declare the tasks extension with the request";
            let told = reply::error(said.id.get(), code::MISSING_CAPABILITY, why, &data);
            return Ok(stream::json(StatusCode::BAD_REQUEST, told));
        }
        if ask == TaskAsk::List {
            let tasks: Vec<Value> =
                self.tasks.of(&said.requester).iter().map(|task| task.earlier()).collect();
            let told = json!({"tasks": tasks}).to_string();
            return Ok(stream::json(StatusCode::OK, reply::result(said.id.get(), &told)));
        }
        let id = said.params.and_then(Members::read).and_then(|params| params.find("taskId"));
        let id = id.and_then(members::text).unwrap_or_default();
        let Some(task) = self.found(&said, &id).await.map_err(|error| super::cannot_go_on(&error))? else {
            let status = if said.later { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            let told =
                reply::error(said.id.get(), code::INVALID_PARAMS, "you have no such task here", &Value::Null);
            return Ok(stream::json(status, told));
        };
        let own = match (ask, said.later) {
            (TaskAsk::Result, _) => return self.result(said, task).await,
            (TaskAsk::Get | TaskAsk::List, true) => task.later(self.target.surroundings().target.as_str()),
            (TaskAsk::Get | TaskAsk::List, false) => task.earlier().to_string(),
            (TaskAsk::Update, _) => return self.updates(&said, &task).await,
            (TaskAsk::Cancel, later) => {
                let cancelled = self.cancel(&said.requester, &task).await;
                match (cancelled, later) {
                    (_, true) => r#"{"resultType":"complete"}"#.into(),
                    (true, false) => task.earlier().to_string(),
                    (false, false) => {
                        return self.invalid(said.id, "it is over, and cannot be cancelled any more").await;
                    }
                }
            }
        };
        Ok(stream::json(StatusCode::OK, reply::result(said.id.get(), &own)))
    }

    /// This caller's task. One that the gateway does not remember, since it was started again, is taken up by its approval.
    async fn found(self: &Arc<Self>, said: &Said<'_>, id: &str) -> Result<Option<Arc<Task>>, Error> {
        if let Some(task) = self.tasks.find(id, &said.requester) {
            return Ok(Some(task));
        }
        let Ok(approval) = id.parse::<ApprovalId>() else { return Ok(None) };
        let target = &self.target.surroundings().target;
        let Some(ticket) = settle::look(&self.gate, &said.requester, target, approval).await? else {
            return Ok(None);
        };
        if !self.tasks.has_room(&said.requester, self.gate.now()) {
            return Ok(None);
        }
        let by = By::of(said);
        let going = self.again(&by, approval, None);
        Ok(Some(self.tasked(by, going, Some(Event::Held(Box::new(ticket))))))
    }

    /// Gives a task up: whether there was anything to give up.
    async fn cancel(&self, requester: &Requester, task: &Task) -> bool {
        // What its server works on is over when that says so.
        task.is_given_up();
        let stage = match task.served() {
            Some(_) => Stage::Working("Its server is told to cancel it.".into()),
            None => Stage::Cancelled,
        };
        if !task.goes_on(stage, self.gate.now()) {
            return false;
        }
        let held = task.under_way.cancel().or(task.approval);
        if let Some(approval) = held {
            take_back(&self.gate, requester, approval).await;
        }
        true
    }

    /// Answers with what comes of a task, as the call itself would have been answered.
    async fn result(&self, said: Said<'_>, task: Arc<Task>) -> Result<Response<Body>, Ended> {
        let place = self.place(&said).await?;
        let (_, events) = mpsc::channel(1);
        let flow: Flow = Box::pin(async move {
            let Answer { form, raw, .. } = answer_of(task.over().await);
            let related = format!(r#""io.modelcontextprotocol/related-task":{{"taskId":"{}"}}"#, task.id);
            let raw = match form {
                Form::Result => with_meta(raw.text(), &related).map_or(raw, Raw::from),
                Form::Error | Form::Asks => raw,
            };
            let answer = Answer { form, raw, link: None, session_is_gone: false };
            Ok::<Reply<Answer>, Error>(Reply::Live(answer))
        });
        let (id, shape) = (said.id.get().to_owned(), Shape::Other);
        let waiting = Waiting {
            id,
            shape,
            progress_token: None,
            flow,
            events,
            first: None,
            place,
            later: None,
            becomes: None,
        };
        Ok(waiting.respond().await)
    }
}

/// What comes of a task that is over, as its call would have been answered.
pub(super) fn answer_of(stage: Stage) -> Answer {
    let outcome = match stage {
        Stage::Over(outcome) => outcome,
        Stage::Working(_) | Stage::Cancelled => {
            let text = "The call was cancelled.";
            let told = json!({"isError": true, "content": [{"type": "text", "text": text}]});
            Outcome::new(Form::Result, told.to_string())
        }
    };
    Answer { form: outcome.form, raw: outcome.raw.into(), link: None, session_is_gone: false }
}

/// Whose call a task is of, in which session, and how they speak.
pub(super) struct By {
    requester: Requester,
    session: Arc<Session>,
    later: bool,
    /// What its server may ask.
    offer: Offer,
}

impl By {
    pub(super) fn of(said: &Said<'_>) -> Self {
        let (requester, session) = (said.requester.clone(), Arc::clone(&said.session));
        Self { requester, session, later: said.later, offer: said.offer.clone() }
    }
}

/// What a server says of its task, once it says something else.
async fn news(words: &mut Option<watch::Receiver<String>>) -> String {
    if let Some(words) = words
        && words.changed().await.is_ok()
    {
        return words.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// What a model is told of a call that waits for people.
fn waits(ticket: &Ticket) -> String {
    let told = match ticket.state.as_str() {
        "pending" => format!(
            "Waits for people and has not run: {} Waits for {}. Approval {}, decided at {}. Once it is approved it runs by \
             itself; do not call the tool again.",
            ticket.sentence,
            reply::waits_for(ticket),
            ticket.approval,
            ticket.link
        ),
        "granted" | "executing" => format!("Approved, and runs: {}", ticket.sentence),
        over => format!("Does not wait any more ({over}): {}", ticket.sentence),
    };
    visible::told(&told)
}

/// The result or the error in a message of the gateway's own making.
fn outcome(message: &str) -> Outcome {
    let members = serde_json::from_str::<&RawValue>(message).ok().and_then(Members::read);
    let of = |form: Form| Some((form, members.as_ref()?.find(form.as_str())?.get().to_owned()));
    let found = of(Form::Result).or_else(|| of(Form::Error));
    let unreadable = || (Form::Error, r#"{"code":-32000,"message":"the answer cannot be read"}"#.into());
    let (form, raw) = found.unwrap_or_else(unreadable);
    Outcome::new(form, raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{edge::stage::Stage as OnStage, session::tests::requester};
    use countersign_engine::port::upstream::{Exchange as _, Failed, Sent};

    /// A call that waited for longer than one go is given up in the next one as well.
    #[tokio::test]
    async fn a_task_is_given_up_in_every_leg_of_its_call() {
        let stage = OnStage::open().await;
        let by =
            By { requester: requester(1), session: OnStage::session(), later: true, offer: Offer::default() };
        let first = by.session.enter_any();
        let now = stage.door.gate.now();
        let task = Task::new("task_1".into(), None, Arc::clone(&first.under_way), &by.requester, now);
        drop(first);
        let (_place, _events, mut leg) = stage.door.leg(&by, Some(&task.under_way));
        assert_eq!(leg.connect().await, Ok(()), "nobody has given it up");
        assert!(stage.door.cancel(&by.requester, &task).await);
        let (_place, _events, mut later) = stage.door.leg(&by, Some(&task.under_way));
        for leg in [&mut leg, &mut later] {
            let why = "its agent cancelled it".into();
            assert_eq!(leg.connect().await, Err(Failed { sent: Sent::No, why }));
        }
    }
}
