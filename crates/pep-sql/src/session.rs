//! One client's session with one database: reads its messages, keeps back what asks for something until the engine has
//! cleared it, and forwards exactly that. Refuses at the first doubt; decides nothing.

mod act;
mod ended;
mod guard;
mod keep;
mod left;
mod line;
mod open;
mod pipeline;
mod reason;
mod relay;
mod renames;
mod shape;
mod slots;
mod state;
mod stood;
mod veil;

pub(crate) use open::{Door, serve};
pub(crate) use reason::Setting;
pub(crate) use slots::Slots;
pub(crate) use veil::Masked;

use crate::{
    beforehand::Scout,
    catalogs::Watch,
    config::PostgresTarget,
    error::Ended,
    frame::{Frame, FrameError, HEADER, head},
    message::{Backend, Frontend},
    reply::{Said, Severity, ready, sqlstate},
    understand::Reader,
    upstream::Way,
};
use act::Wish;
use bytes::{Buf as _, BytesMut};
use countersign_core::{RefusalCode, Requester};
use countersign_engine::{Gate, execute::Closing, record};
use guard::Sending;
use line::Line;
use pipeline::{NotStaged, Pipeline, Step};
use relay::{Ends, Passage};
use shape::{Begun, Unguarded};
use slots::Shared;
use state::State;
use std::{collections::VecDeque, sync::Arc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What cancels a session's statements at the server.
#[derive(Clone)]
pub(super) struct ServerKey {
    process: i32,
    secret: Vec<u8>,
}

/// A session that is open on both sides.
pub(crate) struct Session {
    gate: Arc<Gate>,
    reader: Reader,
    target: Arc<PostgresTarget>,
    way: Arc<Way>,
    catalog: Arc<Watch>,
    scout: Option<Arc<Scout>>,
    requester: Requester,
    client: Line,
    server: Line,
    key: ServerKey,
    state: State,
    shared: Arc<Shared>,
    stopping: CancellationToken,
    pipeline: Pipeline,
    /// A message of the pipeline failed: the rest of it is let go, up to its `Sync`.
    skipping: bool,
    /// Something went up that the server has not been asked to sum up yet.
    unsynced: bool,
    /// And something of it ran or was bound, so that summing it up now would commit or lose it.
    begun: Option<Begun>,
    /// What the server answers next can no more be told from what it answers later.
    over: bool,
    /// What the server said by itself while a statement of the gateway's own ran: told once nothing waits for the client.
    late: BytesMut,
    /// The end of the last statement, which is recorded while the client reads its answer and asks for more.
    closing: Closing,
}

/// What comes next on a session.
enum Next {
    Message(Frame),
    /// Larger than what is read before deciding; its bytes are let go.
    TooLarge {
        tag: u8,
        size: usize,
    },
    Over,
}

impl Session {
    /// Serves the client until one side ends it.
    pub(crate) async fn run(mut self) {
        let ended = self.messages().await;
        let closed = self.closing.durable().await.map_err(Ended::Engine);
        let Err(why) = ended.and(closed) else { return };
        let said = match &why {
            Ended::ClientGone => None,
            Ended::Client(_) => Some(Said::new(
                sqlstate::PROTOCOL_VIOLATION,
                why.to_string(),
                "send what the protocol allows",
            )),
            Ended::Stopping => Some(Said::new(
                sqlstate::SHUTTING_DOWN,
                why.to_string(),
                "connect again later; what was held stays held",
            )),
            Ended::ServerGone | Ended::Server(_) | Ended::Unexpected(_) => Some(Said::new(
                sqlstate::CONNECTION_FAILURE,
                why.to_string(),
                "connect again; what was held stays held",
            )),
            Ended::NotGuarded(_) => {
                Some(Said::new(sqlstate::CONNECTION_FAILURE, why.to_string(), "connect again"))
            }
            Ended::Idle { in_transaction } => Some(Said::new(
                if *in_transaction { sqlstate::IDLE_IN_TRANSACTION } else { sqlstate::IDLE_SESSION },
                why.to_string(),
                if *in_transaction {
                    "connect again, and begin again: the transaction was rolled back"
                } else {
                    "connect again; nothing was lost but the session's own settings"
                },
            )),
            Ended::Unmaskable { .. } => Some(Said::new(
                sqlstate::TOO_LARGE,
                why.to_string(),
                "connect again, and look at what it did before you send it once more",
            )),
            Ended::Confused => Some(Said::new(
                sqlstate::CONNECTION_FAILURE,
                why.to_string(),
                "connect again; copy by a simple query",
            )),
            Ended::Engine(_) => {
                let why = "nothing could be recorded, so nothing ran";
                Some(Said::new(
                    crate::reply::sqlstate_of(RefusalCode::NotRecordable),
                    why,
                    "connect again later",
                ))
            }
        };
        if let Ended::Engine(error) = &why {
            tracing::error!(error = %record::chain(error), "a database session ended");
        } else {
            tracing::debug!(%why, "a database session ended");
        }
        if let Some(said) = said {
            let mut out = BytesMut::new();
            said.write(Severity::Fatal, &mut out);
            // The client may be gone as well.
            let _ = self.client.send(&out).await;
        }
    }

    async fn messages(&mut self) -> Result<(), Ended> {
        loop {
            match self.next().await? {
                Next::Over => return Ok(()),
                Next::TooLarge { tag, size } => self.too_large(tag, size).await?,
                Next::Message(frame) => match Frontend::of(frame.tag) {
                    Some(Frontend::Terminate) => return Ok(()),
                    Some(message) => {
                        self.message(message, frame).await?;
                        if self.over {
                            return Err(Ended::Confused);
                        }
                    }
                    None => return Err(Ended::Client(FrameError::Meaningless)),
                },
            }
        }
    }

    /// Waits for the client's next message; passes on what the server says meanwhile of its own accord.
    async fn next(&mut self) -> Result<Next, Ended> {
        let late = std::mem::take(&mut self.late);
        if !late.is_empty() {
            self.client.send(&late).await.map_err(|_| Ended::ClientGone)?;
        }
        let (limit, idle) = (self.target.limits.message.0, self.target.limits.idle.0);
        let mut silence = std::pin::pin!(sleep(idle));
        loop {
            match head(&self.client.inbox.buffer).map_err(Ended::Client)? {
                Some((tag, size)) if size > limit => return Ok(Next::TooLarge { tag, size }),
                Some(_) | None => {}
            }
            if let Some(frame) = self.client.inbox.take(limit).map_err(Ended::Client)? {
                return Ok(Next::Message(frame));
            }
            self.client.inbox.rest();
            tokio::select! {
                got = self.client.inbox.fill() => {
                    if !got.unwrap_or(false) { return Ok(Next::Over) }
                    silence.as_mut().reset(Instant::now() + idle);
                }
                got = self.server.inbox.fill() => {
                    let alive = got.unwrap_or(false);
                    self.unasked().await?;
                    if !alive { return Err(Ended::ServerGone) }
                    silence.as_mut().reset(Instant::now() + idle);
                }
                () = &mut silence => {
                    return Err(Ended::Idle { in_transaction: self.state.status != state::IDLE });
                }
                durable = self.closing.durable(), if self.closing.is_open() => durable?,
                () = self.stopping.cancelled() => return Err(Ended::Stopping),
            }
        }
    }

    /// What a server says without being asked: notifications, changed settings, notices, and why it goes.
    async fn unasked(&mut self) -> Result<(), Ended> {
        while guard::is_whole(&self.server.inbox.buffer) {
            let Some(frame) = self.server.inbox.take(1 << 20).map_err(Ended::Server)? else { break };
            match Backend::of(frame.tag) {
                Some(Backend::ParameterStatus) => {
                    let mut fields = crate::frame::Fields::new(frame.body());
                    let (name, value) = (fields.text(), fields.text());
                    let (name, value) = (name.map_err(Ended::Server)?, value.map_err(Ended::Server)?);
                    self.state.parameters.told(name, value, false);
                }
                Some(Backend::NotificationResponse | Backend::NoticeResponse | Backend::ErrorResponse) => {}
                _ => return Err(Ended::Unexpected(frame.tag)),
            }
            self.client.send(&frame.whole).await.map_err(|_| Ended::ClientGone)?;
        }
        self.server.inbox.rest();
        Ok(())
    }

    async fn message(&mut self, message: Frontend, frame: Frame) -> Result<(), Ended> {
        match message {
            Frontend::Query => self.query(&frame).await,
            Frontend::Parse | Frontend::Bind | Frontend::Describe | Frontend::Close | Frontend::Execute => {
                self.stage(message, &frame).await
            }
            Frontend::Flush => {
                if self.skipping || self.pipeline.is_empty() {
                    Ok(())
                } else {
                    self.ask(Ends::Steps).await
                }
            }
            Frontend::Sync => self.sync().await,
            Frontend::FunctionCall => {
                let why = "function calls by number are not offered: they say nothing that could be read";
                self.count(RefusalCode::Malformed).await?;
                self.refuse(
                    Said::new(sqlstate::NOT_OFFERED, why, "call the function with `SELECT`"),
                    Ends::Ready,
                )
                .await
            }
            // What is left of a copy that the server has already ended.
            Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail
                if self.skipping || self.pipeline.asked.is_empty() =>
            {
                Ok(())
            }
            // What would run is still kept back. Let go in silence, the server would wait for them in vain.
            Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail => {
                self.count(RefusalCode::Malformed).await?;
                let why = "rows of a copy came before the database asked for them";
                let hint = "send `Sync` behind the `Execute`, and rows once `CopyInResponse` has come";
                self.refuse(Said::new(sqlstate::NOT_OFFERED, why, hint), Ends::Steps).await
            }
            Frontend::Password | Frontend::Terminate => Err(Ended::Client(FrameError::Meaningless)),
        }
    }

    async fn stage(&mut self, message: Frontend, frame: &Frame) -> Result<(), Ended> {
        if self.skipping {
            return Ok(());
        }
        let limit = self.target.limits.message.0;
        match self.pipeline.stage(message, frame, &self.state.names, limit) {
            Ok(()) => Ok(()),
            Err(NotStaged::Frame(error)) => Err(Ended::Client(error)),
            Err(NotStaged::Refused(said)) => self.refuse(said, Ends::Steps).await,
        }
    }

    async fn query(&mut self, frame: &Frame) -> Result<(), Ended> {
        if self.skipping {
            return Ok(());
        }
        if !self.pipeline.is_empty() {
            // The server would do what came before first.
            self.ask(Ends::Steps).await?;
            if self.skipping {
                return Ok(());
            }
        }
        let mut fields = crate::frame::Fields::new(frame.body());
        let sql = fields.text().map_err(Ended::Client)?;
        fields.end().map_err(Ended::Client)?;
        self.act(Wish::simple(sql)).await
    }

    async fn sync(&mut self) -> Result<(), Ended> {
        if !self.skipping {
            return self.ask(Ends::Ready).await;
        }
        self.skipping = false;
        self.pipeline = Pipeline::default();
        if self.unsynced {
            return self.sum_up().await;
        }
        self.say_ready().await
    }

    /// Asks for what was kept back.
    async fn ask(&mut self, ends: Ends) -> Result<(), Ended> {
        let pipeline = std::mem::take(&mut self.pipeline);
        if let Some(said) = self.outdated(&pipeline.used).await? {
            return self.refuse(said, ends).await;
        }
        if let Some(said) = self.only_planned(&pipeline).await? {
            return self.refuse(said, ends).await;
        }
        if !pipeline.asked.is_empty() {
            return self.act(Wish::extended(pipeline, ends)).await;
        }
        if let Some(said) = self.may_not_go_on(ends).await? {
            return self.refuse(said, ends).await;
        }
        let binds = pipeline.binds();
        let Pipeline { bytes: mut up, steps, cuts, .. } = pipeline;
        crate::reply::message(&mut up, ends.tag(), |_| {});
        let sending = Sending { up: up.freeze(), steps: steps.into(), cuts };
        if !binds {
            let Sending { up, steps, .. } = sending;
            let passage = Passage {
                up,
                before: 0,
                after: 0,
                steps,
                ends,
                to_the_end: false,
                veil: None,
                leaves: VecDeque::new(),
                copies_in: false,
            };
            return self.plain(passage, self.begun).await;
        }
        // Nothing runs but what planning runs, and that where nothing can be written.
        let place = self.place();
        let shape = match place.to_bind() {
            Ok(shape) => shape,
            Err(unguarded) => return self.unguarded(unguarded, ends).await,
        };
        let passage = self.guarded(&shape, sending, ends).await?;
        self.plain(passage, Some(Begun::at(place, &shape))).await
    }

    /// Why what is bound and not run is refused. To bind is to plan, and whoever plans may run functions to guess at rows:
    /// what they find is told in an error, without policy or anybody else having been asked.
    async fn only_planned(&mut self, pipeline: &Pipeline) -> Result<Option<Said>, Ended> {
        let planned = shape::only_planned(&pipeline.steps);
        if planned.is_empty() {
            return Ok(None);
        }
        if let Some(said) = self.unknown_by_now().await? {
            return Ok(Some(said));
        }
        let (_, understood) = self.understand(planned, &pipeline.steps).await;
        if understood.refused.is_none() && understood.statements.iter().all(shape::plans_alone) {
            return Ok(None);
        }
        self.count(RefusalCode::NotPermitted).await?;
        let why = "what is bound and not run calls more than planning it should run";
        Ok(Some(Said::new(sqlstate::NOT_OFFERED, why, "send `Bind` and `Execute` together")))
    }

    /// Why what is no action may not go up. A `Sync` can be the commit of what went up before it, about which nobody else is
    /// asked.
    async fn may_not_go_on(&mut self, ends: Ends) -> Result<Option<Said>, Ended> {
        if let Some(said) = self.unknown_by_now().await? {
            return Ok(Some(said));
        }
        let commits = ends == Ends::Ready
            && self.begun.is_some_and(|begun| begun.guard == guard::Guard::Free && !begun.block);
        let frozen = self.gate.frozen(self.requester.principal, self.target.name()).filter(|_| commits);
        let Some(scope) = frozen else { return Ok(None) };
        self.count(RefusalCode::Frozen).await?;
        let why = format!("{scope} is frozen, so nothing is committed");
        let hint = "stop, and ask an operator when the freeze will be lifted";
        Ok(Some(Said::new(crate::reply::sqlstate_of(RefusalCode::Frozen), why, hint)))
    }

    /// Refuses what could not be run so that the server refuses its writes.
    async fn unguarded(&mut self, unguarded: Unguarded, ends: Ends) -> Result<(), Ended> {
        self.count(RefusalCode::NotPermitted).await?;
        self.refuse(Said::new(sqlstate::NOT_OFFERED, unguarded.why, unguarded.hint), ends).await
    }

    /// Forwards what is no action.
    async fn plain(&mut self, mut passage: Passage, begun: Option<Begun>) -> Result<(), Ended> {
        let ends = passage.ends;
        let shared = Arc::clone(&self.shared);
        let _busy = shared.busy().await;
        let coming = self.coming(passage.steps.make_contiguous(), None).await;
        let seen = self.relay(passage, None, std::future::pending()).await?;
        self.came(coming);
        self.begun = begun;
        self.after(ends, seen.error.is_some());
        if seen.client_gone { Err(Ended::ClientGone) } else { Ok(()) }
    }

    /// What an answer leaves of the pipeline.
    fn after(&mut self, ends: Ends, failed: bool) {
        self.unsynced = ends == Ends::Steps;
        self.begun = self.begun.filter(|_| self.unsynced);
        self.skipping = ends == Ends::Steps && failed;
        if failed {
            self.state.fails();
        }
        if ends == Ends::Ready {
            self.state.stands();
        }
    }

    /// Has the server say that it is ready, after what went up before.
    async fn sum_up(&mut self) -> Result<(), Ended> {
        let mut up = BytesMut::new();
        crate::reply::message(&mut up, b'S', |_| {});
        let steps = VecDeque::<Step>::new();
        let passage = Passage {
            up: up.freeze(),
            before: 0,
            after: 0,
            steps,
            ends: Ends::Ready,
            to_the_end: false,
            veil: None,
            leaves: VecDeque::new(),
            copies_in: false,
        };
        self.plain(passage, None).await
    }

    async fn say_ready(&mut self) -> Result<(), Ended> {
        let mut out = BytesMut::new();
        ready(&mut out, self.state.status);
        self.client.send(&out).await.map_err(|_| Ended::ClientGone)
    }

    /// Answers with an error, as the server does: an open transaction has failed, and of a pipeline the rest is let go.
    async fn refuse(&mut self, said: Said, ends: Ends) -> Result<(), Ended> {
        let mut out = BytesMut::new();
        said.write(Severity::Error, &mut out);
        self.state.refusals += 1;
        self.pipeline = Pipeline::default();
        self.client.send(&out).await.map_err(|_| Ended::ClientGone)?;
        self.abort().await?;
        if self.unsynced && ends == Ends::Ready {
            return self.sum_up().await;
        }
        match ends {
            Ends::Ready => self.say_ready().await,
            Ends::Steps => {
                self.skipping = true;
                Ok(())
            }
        }
    }

    /// Lets a message go that is too large to be decided on.
    async fn too_large(&mut self, tag: u8, size: usize) -> Result<(), Ended> {
        let mut left = size;
        loop {
            let here = left.min(self.client.inbox.buffer.len());
            self.client.inbox.buffer.advance(here);
            left -= here;
            if left == 0 {
                break;
            }
            let Ok(got) = timeout(self.target.limits.idle.0, self.client.inbox.fill()).await else {
                return Err(Ended::Idle { in_transaction: self.state.status != state::IDLE });
            };
            if !got.unwrap_or(false) {
                return Err(Ended::ClientGone);
            }
        }
        // What is left of a copy that the server has already ended is let go whatever its size.
        let copied =
            matches!(Frontend::of(tag), Some(Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail));
        if self.skipping || copied {
            return Ok(());
        }
        self.count(RefusalCode::TooLarge).await?;
        let limit = self.target.limits.message.0;
        let why = FrameError::TooLarge { size: size.saturating_sub(HEADER), limit }.to_string();
        let said = Said::new(sqlstate::TOO_LARGE, why, "send less at once; `COPY` streams");
        self.refuse(said, if tag == Frontend::Query.tag() { Ends::Ready } else { Ends::Steps }).await
    }

    /// Counts what never became an action.
    async fn count(&self, code: RefusalCode) -> Result<(), Ended> {
        Ok(record::count(&self.gate, code, Some(self.target.name().clone())).await?)
    }
}
