//! Reads run where the server itself refuses a write, and nothing a client sends can lift that.
//!
//! Outside a transaction the session's default is read-only while reads run; the server reports every change of it, so it
//! is put right before the next statement whatever the last one did. Inside one, each read runs in a savepoint of its own
//! that is read-only and released behind it; in a pipeline, between the client's own messages. The client's text shares
//! neither with the statements that set the guard.

use super::{
    Session,
    act::Wish,
    pipeline::{OWN, Step},
    relay::{Ends, Passage},
    shape::{Place, Shape, Unguarded},
    state::{FAILED, OPEN},
};
use crate::{
    error::Ended,
    frame::{self, Fields},
    message::Backend,
    reply::{message, put_text},
    understand::Understood,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use std::collections::VecDeque;

/// How a statement is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// The server must refuse a write.
    ReadOnly,
    /// It may write, as far as the session lets it.
    Free,
}

/// Notifications that came while a statement of the gateway's own ran are kept up to so many bytes.
const LATE: usize = 1 << 20;

/// How many answers the server gives to a statement of the gateway's own.
const OWN_ANSWERS: usize = 5;

/// Messages of the gateway's own. The extended protocol leaves the client's unnamed statement alone.
fn own_statement(sql: &str, out: &mut BytesMut) {
    message(out, b'P', |out| {
        put_text(out, OWN);
        put_text(out, sql);
        out.put_i16(0);
    });
    message(out, b'B', |out| {
        put_text(out, OWN);
        put_text(out, OWN);
        out.put_i16(0);
        out.put_i16(0);
        out.put_i16(0);
    });
    message(out, b'E', |out| {
        put_text(out, OWN);
        out.put_i32(0);
    });
    for kind in *b"PS" {
        message(out, b'C', |out| {
            out.put_u8(kind);
            put_text(out, OWN);
        });
    }
}

fn sync(out: &mut BytesMut) {
    message(out, b'S', |_| {});
}

/// What goes up, and what the server answers to it step by step.
pub(super) struct Sending {
    pub(super) up: Bytes,
    pub(super) steps: VecDeque<Step>,
    /// Where each step ends in what goes up.
    pub(super) cuts: Vec<usize>,
}

impl Sending {
    /// With a savepoint that is read-only around every run of guarded steps. The client's own bytes stay as they are.
    fn interleaved(self, guarded: &[bool]) -> Self {
        let Self { up, steps, cuts } = self;
        let (mut out, mut all) =
            (BytesMut::with_capacity(up.len() + 512), VecDeque::with_capacity(steps.len()));
        let (mut from, mut inside) = (0, false);
        for ((step, cut), guard) in steps.into_iter().zip(cuts).zip(guarded) {
            if *guard != inside {
                inside = *guard;
                put_guard(inside, &mut out, &mut all);
            }
            out.extend_from_slice(up.get(from..cut).unwrap_or_default());
            from = cut;
            all.push_back(step);
        }
        if inside {
            put_guard(false, &mut out, &mut all);
        }
        out.extend_from_slice(up.get(from..).unwrap_or_default());
        Self { up: out.freeze(), steps: all, cuts: Vec::new() }
    }
}

/// Begins a guard, or ends it.
fn put_guard(begins: bool, out: &mut BytesMut, steps: &mut VecDeque<Step>) {
    let begin = [format!("SAVEPOINT {OWN}"), "SET TRANSACTION READ ONLY".into()];
    let end = [format!("RELEASE SAVEPOINT {OWN}")];
    for sql in if begins { &begin[..] } else { &end[..] } {
        own_statement(sql, out);
        steps.extend((0..OWN_ANSWERS).map(|_| Step::Own));
    }
}

impl Session {
    /// Where the session stands.
    pub(super) fn place(&self) -> Place {
        match (self.begun, self.state.status) {
            (Some(begun), _) => Place::Begun(begun),
            (None, OPEN) => Place::Block,
            (None, FAILED) => Place::Failed,
            (None, _) => Place::Rest,
        }
    }

    /// Puts the guard around a client's bytes, setting the session's default right where that is it.
    pub(super) async fn guarded(
        &mut self,
        shape: &Shape,
        sending: Sending,
        ends: Ends,
    ) -> Result<Passage, Ended> {
        let place = self.place();
        if place == Place::Rest {
            let guard = if *shape == Shape::Whole(Guard::ReadOnly) { Guard::ReadOnly } else { Guard::Free };
            self.set_default(guard).await?;
        }
        let sending = match shape {
            Shape::Each(guarded) => sending.interleaved(guarded),
            Shape::Whole(_) | Shape::AsItIs => sending,
        };
        let Sending { up, steps, .. } = sending;
        let mut passage = Passage {
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
        if place != Place::Rest && *shape == Shape::Whole(Guard::ReadOnly) {
            let mut up = BytesMut::new();
            own_statement(&format!("SAVEPOINT {OWN}"), &mut up);
            own_statement("SET TRANSACTION READ ONLY", &mut up);
            sync(&mut up);
            up.extend_from_slice(&passage.up);
            own_statement(&format!("RELEASE SAVEPOINT {OWN}"), &mut up);
            sync(&mut up);
            passage.up = up.freeze();
            passage.before = 1;
            passage.after = 1;
        }
        Ok(passage)
    }

    /// How an action is run from here.
    pub(super) fn shape(&self, wish: &Wish, understood: &Understood) -> Result<Shape, Unguarded> {
        self.place().shape(wish.steps(), &understood.statements, understood.access)
    }

    /// Makes the next transaction begin as the guard wants it. Only what the server confirms counts.
    async fn set_default(&mut self, guard: Guard) -> Result<(), Ended> {
        let want = guard == Guard::ReadOnly || self.state.parameters.wants_read_only;
        if self.state.parameters.read_only == want {
            return Ok(());
        }
        let access = if want { "READ ONLY" } else { "READ WRITE" };
        self.own(&[&format!("SET SESSION CHARACTERISTICS AS TRANSACTION {access}")]).await?;
        if self.state.parameters.read_only == want {
            Ok(())
        } else {
            Err(Ended::NotGuarded("the server does not confirm the access mode"))
        }
    }

    /// Asks the server for what it does not report by itself.
    pub(super) async fn refresh(&mut self) -> Result<(), Ended> {
        if !self.state.stale || self.state.status == FAILED {
            return Ok(());
        }
        let rows = self.own(&["SHOW search_path", "SHOW role"]).await?;
        let [path, role] = rows.as_slice() else {
            return Err(Ended::NotGuarded("the server does not say which names it looks up where"));
        };
        self.state.asked(path, role);
        Ok(())
    }

    /// Makes the server see that a statement of the transaction failed, as it would have had it run.
    pub(super) async fn abort(&mut self) -> Result<(), Ended> {
        if self.state.status != OPEN && self.begun.is_none() {
            return Ok(());
        }
        (self.begun, self.unsynced) = (None, false);
        // No statement at all: the server's log says why the transaction is over.
        match self.own(&["countersign refused the next statement of this transaction"]).await {
            Err(Ended::NotGuarded(_)) if self.state.status != OPEN => {
                self.state.fails();
                self.state.stands();
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => Err(Ended::NotGuarded("the transaction could not be failed")),
        }
    }

    /// Runs statements of the gateway's own; the first column of every row, as text. What was begun and not summed up
    /// stays so.
    async fn own(&mut self, statements: &[&str]) -> Result<Vec<String>, Ended> {
        let mut up = BytesMut::new();
        for sql in statements {
            own_statement(sql, &mut up);
        }
        let mut answers = statements.len() * OWN_ANSWERS;
        let summed = self.begun.is_none();
        if summed {
            sync(&mut up);
        } else {
            message(&mut up, b'H', |_| {});
        }
        self.server.send(&up).await.map_err(|_| Ended::ServerGone)?;
        let (mut rows, mut failed) = (Vec::new(), false);
        loop {
            let Some(frame) = self.server.inbox.take(1 << 20).map_err(Ended::Server)? else {
                if !self.server.inbox.fill().await.map_err(|_| Ended::ServerGone)? {
                    return Err(Ended::ServerGone);
                }
                continue;
            };
            let mut fields = Fields::new(frame.body());
            match Backend::of(frame.tag) {
                Some(Backend::DataRow) => rows.push(fields.first_column().map_err(Ended::Server)?),
                Some(Backend::ErrorResponse) if summed => failed = true,
                // Whatever was begun is over.
                Some(Backend::ErrorResponse) => {
                    return Err(Ended::NotGuarded("a statement of the gateway's own failed"));
                }
                Some(
                    Backend::ParseComplete
                    | Backend::BindComplete
                    | Backend::CommandComplete
                    | Backend::CloseComplete,
                ) => {
                    answers = answers.saturating_sub(1);
                    if answers == 0 && !summed {
                        break;
                    }
                }
                // A client that does not read must not stretch what comes between a clearance and its first byte.
                Some(Backend::NotificationResponse) => {
                    if self.late.len() + frame.whole.len() > LATE {
                        return Err(Ended::NotGuarded("more notifications came than are kept for a client"));
                    }
                    self.late.extend_from_slice(&frame.whole);
                }
                Some(Backend::ParameterStatus) => {
                    let (name, value) = (fields.text(), fields.text());
                    let (name, value) = (name.map_err(Ended::Server)?, value.map_err(Ended::Server)?);
                    self.state.parameters.told(name, value, true);
                }
                Some(Backend::ReadyForQuery) => {
                    self.state.status = fields.byte().map_err(Ended::Server)?;
                    break;
                }
                _ => {}
            }
        }
        if failed { Err(Ended::NotGuarded("a statement of the gateway's own failed")) } else { Ok(rows) }
    }
}

/// Whether these bytes hold a whole message.
pub(super) fn is_whole(buffer: &[u8]) -> bool {
    matches!(frame::head(buffer), Ok(Some((_, size))) if buffer.len() >= size)
}
