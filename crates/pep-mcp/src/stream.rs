//! How an answer reaches its agent: as JSON when it comes by itself, as a stream of events when something is to be told
//! before it, such as that it waits for people. Letting go of a stream detaches from what waits, and cancels nothing.

use crate::{
    asks::Offer,
    legs::{Leg, Rounds, States},
    message::{Message, Pieces, comment, event},
    reply::{self, Said, Shape},
    rounds::{Circumstances, Round},
    session::{Place, UnderWay},
    upstream::{
        exchange::{Answer, Event, Form, take_back},
        served::Served,
    },
};
use bytes::Bytes;
use countersign_core::{ApprovalId, Requester, visible};
use countersign_engine::{Error, Gate, Ticket, hold::Handover, reply::Reply};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::{collections::VecDeque, convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

/// How often a byte is sent while nothing happens: below the shortest idle limits of proxies and clients.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(15);
/// How often an agent that wants to hear of progress does.
const PROGRESS: Duration = Duration::from_secs(10);

/// The body of every response.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer under way in the engine.
pub(crate) type Flow = Pin<Box<dyn Future<Output = Result<Reply<Answer>, Error>> + Send>>;

/// Makes a task of a call that its server has made one of: what its agent is told of that.
pub(crate) type Becomes = Box<dyn FnOnce(Flow, mpsc::Receiver<Event>, Place, Arc<Served>) -> String + Send>;

/// A request that is being answered.
pub(crate) struct Waiting {
    /// The agent's id, in its bytes.
    pub(crate) id: String,
    pub(crate) shape: Shape,
    /// Under which the agent wants to hear of progress, in its bytes.
    pub(crate) progress_token: Option<String>,
    pub(crate) flow: Flow,
    pub(crate) events: mpsc::Receiver<Event>,
    /// What was told before, and is still to be passed on.
    pub(crate) first: Option<Event>,
    pub(crate) place: Place,
    /// Of a request of the later era.
    pub(crate) later: Option<Later>,
    /// Where its server may make a task of it.
    pub(crate) becomes: Option<Becomes>,
}

/// How a request of the later era is answered.
pub(crate) struct Later {
    pub(crate) method: String,
    /// Where it can be held in legs.
    pub(crate) legs: Option<Legs>,
    /// What its agent's leaving does; nothing where it only asked for something that waits anyhow.
    pub(crate) leaving: Option<Leaving>,
}

/// What a call comes back with while it is held.
pub(crate) struct Legs {
    pub(crate) gate: Arc<Gate>,
    pub(crate) states: Arc<States>,
    pub(crate) before: Rounds,
    pub(crate) requester: Requester,
    /// All that may not change.
    pub(crate) about: [String; 2],
    /// The digest of its tool's definition.
    pub(crate) definition: Option<String>,
    /// What the server may ask of the agent before it answers, and what it is called.
    pub(crate) offer: Offer,
    pub(crate) server: String,
}

/// An agent of the later era that lets go of an answer gives its request up (2026-07-28, basic/transports,
/// "Cancellation").
pub(crate) struct Leaving {
    pub(crate) under_way: Arc<UnderWay>,
    pub(crate) stopping: CancellationToken,
    pub(crate) gate: Arc<Gate>,
    pub(crate) requester: Requester,
    /// The answer is not what its agent waits for any more.
    pub(crate) is_over: bool,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // When it is the gateway that leaves, what waits goes on waiting.
        if self.is_over || self.stopping.is_cancelled() {
            return;
        }
        let Some(approval) = self.under_way.cancel() else { return };
        let (gate, requester) = (Arc::clone(&self.gate), self.requester.clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { take_back(&gate, &requester, approval).await });
        }
    }
}

impl Leaving {
    /// It was answered: nobody leaves any more.
    pub(crate) fn over(self) {
        self.under_way.answered();
    }

    /// The call goes on behind a handle: who leaves now gives nothing up.
    pub(crate) fn stays(mut self) {
        self.is_over = true;
    }
}

/// A whole body.
pub(crate) fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

/// A response with a message as JSON.
pub(crate) fn json(status: StatusCode, message: impl Into<Message>) -> Response<Body> {
    let pieces = Pieces(message.into().into_pieces());
    headed(status, "application/json", UnsyncBoxBody::new(pieces))
}

/// A response that is a stream of events, written already.
pub(crate) fn events(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    headed(StatusCode::OK, "text/event-stream", StreamBody::new(frames).boxed_unsync())
}

fn headed(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Waiting {
    /// Waits for the answer, or for the first thing to be told before it.
    pub(crate) async fn respond(mut self) -> Response<Body> {
        let cancelled = self.place.under_way.cancelled.clone();
        let told = self.first.take();
        let event = tokio::select! {
            biased;
            Some(event) = async { if told.is_some() { told } else { self.events.recv().await } } => event,
            answer = &mut self.flow => if let Ok(event) = self.events.try_recv() {
                // It was told before the answer, and is passed on before it.
                self.flow = Box::pin(std::future::ready(answer));
                event
            } else {
                let (said, status) = self.said(answer);
                return in_one(status, said);
            },
            () = cancelled.cancelled() => {
                let told = reply::error(&self.id, reply::code::REFUSED, "the request was cancelled", &json!(null));
                self.end();
                return json(StatusCode::OK, told);
            }
        };
        if let Event::Task(served) = event {
            return json(StatusCode::OK, self.served(served));
        }
        let live = Live {
            keepalive: ticks(KEEPALIVE),
            progress: self.progress_token.as_ref().map(|_| ticks(PROGRESS)),
            told: Progress::default(),
            held: None,
            first: Some(event),
            waiting: self,
        };
        headed(StatusCode::OK, "text/event-stream", body(Step::Live(Box::new(live))))
    }

    /// The server has made a task of the call: that is the answer.
    fn served(mut self, served: Arc<Served>) -> String {
        if let Some(leaving) = self.later.as_mut().and_then(|later| later.leaving.take()) {
            leaving.stays();
        }
        match self.becomes {
            Some(becomes) => {
                let told = becomes(self.flow, self.events, self.place, served);
                reply::result(&self.id, &told)
            }
            // Only calls of agents who know tasks become one.
            None => reply::error(&self.id, reply::code::SERVER, "the server made a task of it", &json!(null)),
        }
    }

    /// Nobody waits for the answer any more; what has begun still comes to its end. A call that is just being held is then
    /// found to be cancelled, and withdrawn.
    fn end(mut self) {
        self.events.close();
        tokio::spawn(async move {
            let _ = self.flow.await;
            drop(self.place);
        });
    }

    /// The last message, and the status of a response that holds it alone.
    fn said(&mut self, answer: Result<Reply<Answer>, Error>) -> (Said, StatusCode) {
        let Some(later) = &mut self.later else {
            return (reply::of(&self.id, &self.shape, answer), StatusCode::OK);
        };
        if let Some(leaving) = later.leaving.take() {
            leaving.over();
        }
        if let (Ok(Reply::Pending(ticket)), Some(legs)) = (&answer, &later.legs)
            && let Some(state) = legs.next(ticket.approval)
        {
            let held = format!(r#"{{"resultType":"input_required","requestState":"{state}"}}"#);
            return (reply::result(&self.id, &held).into(), StatusCode::OK);
        }
        let legs = later.legs.as_ref();
        let asks = match &answer {
            Ok(Reply::Live(answer)) if answer.form == Form::Asks => Some(answer.raw.text()),
            Ok(Reply::Kept(handover)) if handover.kept().head == Form::Asks.as_str().as_bytes() => {
                handover.kept().body.as_deref().and_then(|body| std::str::from_utf8(body).ok())
            }
            _ => None,
        };
        if let Some(told) = asks.and_then(|asks| legs?.asks(asks)) {
            let handover = match answer {
                Ok(Reply::Kept(handover)) => Some(handover),
                Ok(Reply::Live(_) | Reply::Pending(_) | Reply::Refused(_)) | Err(_) => None,
            };
            return (Said { message: reply::result(&self.id, &told).into(), handover }, StatusCode::OK);
        }
        reply::of(&self.id, &self.shape, answer).later(&self.id, &later.method)
    }
}

impl Legs {
    fn next(&self, approval: ApprovalId) -> Option<String> {
        let about = self.about.each_ref().map(String::as_str);
        let rounds = self.before.next(&self.offer)?;
        Some(self.states.next(Leg { approval, rounds }, &self.requester, &about))
    }

    /// What a server wants before it answers, as the agent is told: it carries what its answers are held against.
    fn asks(&self, result: &str) -> Option<String> {
        let result: &RawValue = serde_json::from_str(result).ok()?;
        let round = Round::read(result, &self.offer).ok()?;
        let about = self.about.each_ref().map(String::as_str);
        let around = Circumstances {
            at: self.gate.now(),
            definition: self.definition.as_deref(),
            rounds: self.before.used.saturating_add(1),
        };
        let state = self.states.seal(&round.content(around), &self.requester, &about);
        round.told(result, &self.server, &state)
    }
}

fn in_one(status: StatusCode, said: Said) -> Response<Body> {
    match said.handover {
        None => json(status, said.message),
        // Handed over once the last of it was taken.
        handover => {
            headed(status, "application/json", body(Step::Last(said.message.into_pieces(), handover)))
        }
    }
}

pub(crate) fn ticks(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Where a response's body is.
enum Step {
    Live(Box<Live>),
    Last(VecDeque<Bytes>, Option<Box<Handover>>),
}

fn body(from: Step) -> Body {
    let pieces = stream::unfold(from, |step| async move {
        let (piece, next) = match step {
            Step::Live(live) => live.next().await?,
            Step::Last(mut pieces, handover) => {
                if let Some(piece) = pieces.pop_front() {
                    return Some((Ok(Frame::data(piece)), Step::Last(pieces, handover)));
                }
                if let Some(handover) = handover
                    && let Err(error) = handover.done().await
                {
                    tracing::error!(%error, "a handover could not be recorded");
                }
                return None;
            }
        };
        Some((Ok(Frame::data(piece)), next))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// A stream that goes on.
struct Live {
    waiting: Waiting,
    first: Option<Event>,
    /// What the request waits for, while it does.
    held: Option<Box<Ticket>>,
    keepalive: Interval,
    progress: Option<Interval>,
    told: Progress,
}

impl Live {
    /// The next piece, and where the body is after it; nothing more when the agent has cancelled.
    async fn next(mut self: Box<Self>) -> Option<(Bytes, Step)> {
        if let Some(event) = self.first.take() {
            let piece = self.event(event);
            return Some((piece.unwrap_or_else(|| comment("started")), Step::Live(self)));
        }
        let cancelled = self.waiting.place.under_way.cancelled.clone();
        loop {
            let progress = async {
                match &mut self.progress {
                    Some(progress) => _ = progress.tick().await,
                    None => std::future::pending().await,
                }
            };
            let piece = tokio::select! {
                biased;
                Some(event) = self.waiting.events.recv() => match event {
                    Event::Task(served) => return Some(self.served(served)),
                    event @ (Event::Held(_) | Event::Message(_)) => self.event(event),
                },
                answer = &mut self.waiting.flow => if let Ok(event) = self.waiting.events.try_recv() {
                    self.waiting.flow = Box::pin(std::future::ready(answer));
                    match event {
                        Event::Task(served) => return Some(self.served(served)),
                        event @ (Event::Held(_) | Event::Message(_)) => self.event(event),
                    }
                } else {
                    let (said, _) = self.waiting.said(answer);
                    let mut pieces = said.message.into_event();
                    let first = pieces.pop_front()?;
                    return Some((first, Step::Last(pieces, said.handover)));
                },
                () = cancelled.cancelled() => {
                    let live = *self;
                    live.waiting.end();
                    return None;
                }
                () = progress => self.held.take().and_then(|ticket| {
                    let piece = self.progress(&ticket);
                    self.held = Some(ticket);
                    piece
                }),
                _ = self.keepalive.tick() => Some(comment("waiting")),
            };
            if let Some(piece) = piece {
                return Some((piece, Step::Live(self)));
            }
        }
    }

    /// The server has made a task of the call: the last piece.
    fn served(self, served: Arc<Served>) -> (Bytes, Step) {
        let told = self.waiting.served(served);
        (event(told.as_bytes()), Step::Last(VecDeque::new(), None))
    }

    fn event(&mut self, told: Event) -> Option<Bytes> {
        match told {
            // That is the answer, and told as such.
            Event::Task(_) => None,
            Event::Held(ticket) => {
                let mut piece = comment(&format!("held as {}", ticket.approval)).to_vec();
                piece.extend_from_slice(&self.progress(&ticket).unwrap_or_default());
                self.held = Some(ticket);
                Some(piece.into())
            }
            // The server speaks of the call itself: it does not wait any more.
            Event::Message(message) => {
                self.held = None;
                self.told.passes(&message).then(|| event(&message))
            }
        }
    }

    fn progress(&mut self, ticket: &Ticket) -> Option<Bytes> {
        let token = self.waiting.progress_token.as_ref()?;
        let text = format!(
            "held until people approve it: {} Waits for {}. Approval {}.",
            ticket.sentence,
            reply::waits_for(ticket),
            ticket.approval
        );
        let (text, progress) = (json!(visible::told(&text)), self.told.next());
        let message = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress},"message":{text}}}}}"#
        );
        Some(event(message.as_bytes()))
    }
}

/// The progress told so far, which may only grow (2025-11-25, basic/utilities/progress). What is told while people decide
/// is so little that a server's own begins above it.
#[derive(Debug, Default)]
struct Progress {
    own: u32,
    last: Option<f64>,
}

#[derive(Deserialize)]
struct Told {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    progress: f64,
}

impl Progress {
    fn next(&mut self) -> f64 {
        self.own = self.own.saturating_add(1);
        let next = f64::from(self.own) / 1e6;
        self.last = Some(next);
        next
    }

    /// Whether a server's message may be passed on; one that would go back is left out.
    fn passes(&mut self, message: &[u8]) -> bool {
        let Ok(told) = serde_json::from_slice::<Told>(message) else { return true };
        let grows = self.last.is_none_or(|last| told.params.progress > last);
        if grows {
            self.last = Some(told.params.progress);
        }
        grows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{session::Session, upstream::Peer};
    use countersign_core::ApprovalId;
    use std::sync::Arc;

    /// A cancellation that comes between storing what waits and telling its exchange is found there.
    #[tokio::test]
    async fn what_is_cancelled_before_it_is_known_to_wait_is_known_to_be_cancelled_then() {
        let requester = crate::session::tests::requester(1);
        let session = Arc::new(Session::new(&requester, "2025-11-25", Peer::default()));
        let place = session.enter("1").unwrap();
        let (under_way, approval) = (Arc::clone(&place.under_way), ApprovalId::from_parts(1, 1));
        let (stored, is_stored) = tokio::sync::oneshot::channel();
        let (told, was_told) = tokio::sync::oneshot::channel();
        let storing = Arc::clone(&under_way);
        let flow: Flow = Box::pin(async move {
            is_stored.await.unwrap();
            told.send(storing.waits_for(approval)).unwrap();
            std::future::pending().await
        });
        let (_events, events) = mpsc::channel(1);
        let waiting = Waiting {
            id: "1".into(),
            shape: Shape::Tool,
            progress_token: None,
            flow,
            events,
            first: None,
            place,
            later: None,
            becomes: None,
        };
        let response = tokio::spawn(waiting.respond());
        assert_eq!(under_way.cancel(), None, "nothing is known to wait");
        assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        stored.send(()).unwrap();
        assert!(was_told.await.unwrap(), "whoever stored it is told to take it back");
        assert!(!under_way.waits_for(approval), "and once is enough");
        assert!(session.enter("1").is_none(), "its id is taken until it has ended");
    }

    #[test]
    fn progress_only_grows_whoever_tells_it() {
        let mut progress = Progress::default();
        assert!(progress.next() < progress.next());
        let server =
            |value: &str| format!(r#"{{"method":"notifications/progress","params":{{"progress":{value}}}}}"#);
        assert!(!progress.passes(server("0").as_bytes()));
        assert!(progress.passes(server("1").as_bytes()));
        assert!(!progress.passes(server("1").as_bytes()));
        assert!(progress.passes(br#"{"method":"notifications/message","params":{"level":"info"}}"#));
    }
}
