//! What an agent answers to something that its server asks in a task (SEP-2663, `tasks/update`): each answer is an action as any
//! other of its messages, which goes on to the very question it answers and to nothing else. It approves nothing.

use super::{
    Door, Ended, Said,
    act::TASK,
    answer::{Call, let_go},
};
use crate::{
    asks::OVER,
    call::{self, Head, Prepared},
    members::Members,
    reply::{self, Shape},
    session::UnderWay,
    stream::{self, Body},
    tasks::Task,
    upstream::{
        Connection,
        exchange::Form,
        served::{Given, Served},
        talk::lost,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::{Requester, approval::Outcome};
use countersign_engine::{
    Error, Gate, Refused, Reply, Request, Ticket,
    execute::{Clearance, EndFacts, Ending},
    flow,
    port::upstream::{BindError, Exchange, Failed, Passage, Sent},
    record::chain,
};
use http::{Response, StatusCode};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why an answer goes nowhere that its server does not want any more.
const NOT_ASKED: &str = "the server does not ask it any more";

/// What its agent is told at once of an answer.
type Told = oneshot::Sender<Result<(), Result<Refused, Error>>>;

impl Door {
    /// Takes an agent's answers in, and hands each to the engine. One that waits for people is taken, too: the task says so.
    pub(super) async fn updates(
        self: &Arc<Self>,
        said: &Said<'_>,
        task: &Task,
    ) -> Result<Response<Body>, Ended> {
        let answers = said.params.and_then(Members::read).and_then(|params| params.find("inputResponses"));
        let taken = match (task.served(), answers.map(Members::read)) {
            (_, Some(None)) => Err("the answers cannot be read"),
            // Nothing is asked that this could answer.
            (None, _) | (_, None) => Ok(Vec::new()),
            (Some(served), Some(Some(answers))) => served
                .take(&answers)
                .map(|given| given.into_iter().map(|one| (Arc::clone(served), one)).collect()),
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(why) => return self.invalid(said.id, why).await,
        };
        let mut standing = Vec::new();
        for (served, given) in taken {
            let (told, answer) = oneshot::channel();
            let request = self.answers(&said.requester, task, &served, &given);
            let call = Call {
                over: Some(served.during.over.clone()),
                taken_back: given.taken_back.clone(),
                session: said.session.ended.clone(),
                stopping: self.stopping.clone(),
            };
            let under_way = Arc::new(UnderWay::new(0));
            let held_by = (Arc::clone(&self.gate), said.requester.clone());
            let (given, told) = (Arc::new(given), Some(told));
            let giving = Giving { served, given, call, under_way, held_by, told, connection: None };
            tokio::spawn(gives(request, giving));
            standing.push(answer);
        }
        for answer in standing {
            let Ok(Err(why)) = answer.await else { continue };
            let (said, status) = reply::of(said.id.get(), &Shape::Other, why.map(Reply::Refused))
                .later(said.id.get(), said.method);
            return Ok(stream::json(status, said.message));
        }
        Ok(stream::json(StatusCode::OK, reply::result(said.id.get(), r#"{"resultType":"complete"}"#)))
    }

    fn answers(&self, requester: &Requester, task: &Task, served: &Served, given: &Given) -> Request {
        let prepared = Prepared {
            answers: Some((format!("{}-{}", task.id, given.number), Form::Result)),
            during: Some(served.during.head()),
            asked: Some(given.asked.clone()),
            ..Prepared::of(given.answers.clone())
        };
        let understood = self.target.classifier.answer(given.method, Form::Result, Some(&served.during));
        let mut request =
            call::asked(&self.target, requester.clone(), given.method, None, understood, prepared);
        request.patience = TASK;
        request
    }
}

/// Sees an answer to its end. It ends with the call in which it was asked for.
async fn gives(request: Request, mut giving: Giving) {
    let (gate, requester) = giving.held_by.clone();
    let (served, given, call) = (Arc::clone(&giving.served), Arc::clone(&giving.given), giving.call.clone());
    let under_way = Arc::clone(&giving.under_way);
    let (told, held) = oneshot::channel();
    let mut agent = giving.told.replace(told);
    let mut flow = Box::pin(flow::handle(&gate, request, giving));
    let mut held = Some(held);
    let reply = loop {
        tokio::select! {
            reply = &mut flow => break reply,
            () = call.is_over() => {
                if let Some(approval) = under_way.cancel() {
                    let_go(&gate, &requester, approval, reason(&call)).await;
                }
                // What is on its way is followed to its end; nothing else goes out any more.
                break flow.await;
            }
            Ok(_) = async { match &mut held { Some(held) => held.await, None => std::future::pending().await } } => {
                held = None;
                if let Some(agent) = agent.take() {
                    let _ = agent.send(Ok(()));
                }
            }
        }
    };
    let (approval, why, told) = match reply {
        Ok(Reply::Live(()) | Reply::Kept(_)) => {
            if let Some(agent) = agent {
                let _ = agent.send(Ok(()));
            }
            return;
        }
        Ok(Reply::Pending(ticket)) => {
            (Some(ticket.approval), "nobody has approved it in time".to_owned(), Ok(()))
        }
        Ok(Reply::Refused(refused)) => (refused.approval, refused.refusal.reason.clone(), Err(Ok(refused))),
        Err(error) => {
            tracing::error!(error = %chain(&error), "an agent's answer was refused because the gateway could not go on");
            (under_way.approval(), "it could not be recorded".to_owned(), Err(Err(error)))
        }
    };
    let why = if call.ended() { reason(&call).to_owned() } else { why };
    if let Some(approval) = approval {
        let_go(&gate, &requester, approval, &why).await;
    }
    served.reopen(&given, &why);
    if let Some(agent) = agent {
        let _ = agent.send(told);
    }
}

fn reason(call: &Call) -> &'static str {
    if call.taken_back.is_cancelled() { NOT_ASKED } else { OVER }
}

/// An answer on its way through the engine.
struct Giving {
    served: Arc<Served>,
    given: Arc<Given>,
    call: Call,
    /// Tells of the approval that it waits for.
    under_way: Arc<UnderWay>,
    held_by: (Arc<Gate>, Requester),
    told: Option<Told>,
    connection: Option<Connection>,
}

#[async_trait]
impl Exchange for Giving {
    type Reply = ();

    /// It answers what is asked in its agent's task, and is good for nothing else.
    fn passage(&self) -> Passage {
        Passage::Own
    }

    async fn held(&mut self, ticket: &Ticket) {
        if self.under_way.waits_for(ticket.approval) {
            let (gate, requester) = &self.held_by;
            let_go(gate, requester, ticket.approval, reason(&self.call)).await;
            return;
        }
        let waits = format!(
            "waits for people: {} Approval {}, decided at {}.",
            reply::waits_for(ticket),
            ticket.approval,
            ticket.link
        );
        self.served.waits(&self.given, &waits);
        if let Some(told) = self.told.take() {
            let _ = told.send(Ok(()));
        }
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        Err(BindError::Broken("a message is always whole".into()))
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        if self.call.ended() {
            return Err(Failed { sent: Sent::No, why: reason(&self.call).into() });
        }
        self.connection = Some(self.served.connect().await?);
        Ok(())
    }

    async fn send(mut self, clearance: Clearance, ending: Ending) -> Result<(), Failed> {
        let sent = self.sent(&clearance).await;
        let recorded = match &sent {
            Ok((bytes_sent, bytes_received)) => {
                let facts = EndFacts {
                    outcome: Outcome::Done,
                    status: "answered".into(),
                    bytes_sent: *bytes_sent,
                    bytes_received: *bytes_received,
                    ended_by: None,
                    streamed_body: None,
                    results: None,
                };
                ending.finish(facts).await
            }
            Err(failed) => ending.failed(failed).await,
        };
        recorded.map_err(|error| {
            tracing::error!(error = %chain(&error), "the end of an answer was not recorded");
            lost("it was sent, and its end could not be recorded")
        })?;
        sent.map(drop)
    }
}

impl Giving {
    /// Sends the clearance's bytes as the answers that they are.
    async fn sent(&mut self, clearance: &Clearance) -> Result<(u64, u64), Failed> {
        let unsent = |why: &str| Failed { sent: Sent::No, why: why.into() };
        let connection = self.connection.take().ok_or_else(|| unsent("there is no connection"))?;
        let head = Head::read(&clearance.payload().head).and_then(|head| head.answers);
        let countersign_core::Body::Bound(answers) = &clearance.payload().body else {
            self.served.put(connection);
            return Err(unsent("the answer is not whole"));
        };
        let (Some(_), Ok(answers)) = (head, std::str::from_utf8(answers)) else {
            self.served.put(connection);
            return Err(unsent("the stored answer cannot be read"));
        };
        let over = async {
            tokio::select! {
                () = self.call.is_over() => {}
                () = clearance.cancelled() => {}
            }
        };
        self.served.give(&self.given, answers, connection, over).await
    }
}
