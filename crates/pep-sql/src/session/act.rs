//! One action of a session: understood, handed to the engine, and run exactly as the engine clears it.

use super::{
    Session, Setting,
    ended::{end_facts, written},
    guard::{Guard, Sending},
    left,
    line::Inbox,
    pipeline::{Pipeline, Step},
    relay::{Ends, Seen},
    renames::{leaves, prepares, renames},
    shape::{Begun, Shape},
    slots::Shared,
    state::{End, FAILED, IDLE, OPEN, failed},
    stood::Coming,
    veil::Veil,
};
use crate::{
    error::Ended,
    reply::{Said, Severity, message, sqlstate},
    scouting::{Scouting, look_up},
    understand::{Access, Asked, BoundValue, Question, SessionEffect, Statement, Understood, names_kept},
};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use countersign_core::{Action, Body, Digest, Operation, Payload, RefusalCode};
use countersign_engine::{
    Gate, Reply, Request, Ticket,
    execute::{Clearance, Ending},
    flow,
    port::upstream::{BindError, Exchange, Failed, Gathered, Passage as Through, Sent},
    settle,
};
use countersign_ledger::event::Actor;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncWriteExt as _, WriteHalf};

/// What a client may send ahead while its statement waits.
const AHEAD: usize = 64 << 10;

/// The first line of every payload's head: how the rest is written.
const FORM: &str = "countersign-postgres/1\n";

/// What a client asks for.
pub(super) struct Wish {
    payload: Payload,
    /// A pipeline as the client sent it: the payload with the client's own names.
    sent: Bytes,
    asked: Vec<Asked>,
    steps: Vec<Step>,
    /// Where each of them ends in what was sent.
    cuts: Vec<usize>,
    ends: Ends,
    kind: Kind,
    /// Of a pipeline, the formats that each `Execute` gets its columns in.
    formats: Option<Vec<Arc<[i16]>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Simple,
    Extended,
}

impl Wish {
    /// A simple query: its text is all there is.
    pub(super) fn simple(sql: &str) -> Self {
        Self {
            payload: Payload {
                head: Bytes::from(format!("{FORM}query\n")),
                body: Body::Bound(Bytes::copy_from_slice(sql.as_bytes())),
            },
            sent: Bytes::new(),
            asked: vec![Asked { sql: sql.into(), types: Vec::new(), values: None }],
            steps: Vec::new(),
            cuts: Vec::new(),
            ends: Ends::Ready,
            kind: Kind::Simple,
            formats: None,
        }
    }

    /// A pipeline: its messages as they were sent, and what each `Execute` runs, written out.
    pub(super) fn extended(pipeline: Pipeline, ends: Ends) -> Self {
        let Pipeline { mut bytes, mut asks, steps, cuts, asked, formats, .. } = pipeline;
        for end in [&mut bytes, &mut asks] {
            message(end, ends.tag(), |_| {});
        }
        let shown: Vec<Value> = asked.iter().map(|(asked, rows)| shown(asked, *rows)).collect();
        let text = serde_json::to_string_pretty(&shown).unwrap_or_default();
        Self {
            payload: Payload {
                head: Bytes::from(format!("{FORM}pipeline\n{text}\n")),
                body: Body::Bound(asks.freeze()),
            },
            sent: bytes.freeze(),
            asked: asked.into_iter().map(|(asked, _)| asked).collect(),
            steps,
            cuts,
            ends,
            kind: Kind::Extended,
            formats: Some(formats),
        }
    }
}

impl Wish {
    /// Adds the texts kept from earlier that will run: whoever decides sees them, and it is another action with others.
    fn keep(&mut self, statements: &[Statement]) {
        let mut kept: Vec<(&String, &Arc<str>)> = statements.iter().flat_map(|one| &one.kept).collect();
        // In the order in which they run: the same name can stand for one text and then for another.
        kept.dedup();
        if !kept.is_empty() {
            let text = serde_json::to_string_pretty(&kept).unwrap_or_default();
            self.payload.head = [&self.payload.head, format!("kept\n{text}\n").as_bytes()].concat().into();
        }
    }

    pub(super) fn is_simple(&self) -> bool {
        self.kind == Kind::Simple
    }

    pub(super) const fn ends(&self) -> Ends {
        self.ends
    }

    /// The steps of a pipeline.
    pub(super) fn steps(&self) -> Option<&[Step]> {
        (self.kind == Kind::Extended).then_some(&self.steps)
    }
}

fn shown(asked: &Asked, rows: i32) -> Value {
    let value = |value: &BoundValue| match value {
        BoundValue::Null => Value::Null,
        BoundValue::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => json!({"text": text}),
            Err(_) => json!({"base64": STANDARD.encode(text)}),
        },
        BoundValue::Binary(bytes) => json!({"binary": STANDARD.encode(bytes)}),
    };
    let values: Vec<Value> = asked.values.iter().flatten().map(value).collect();
    json!({"sql": &*asked.sql, "types": asked.types, "values": values, "rows": rows})
}

/// The bytes of a cleared payload as the server wants them: names in a pipeline are the session's own. `None`: it is not
/// what this client asks for.
fn wire(payload: &Payload, wish: &Wish) -> Option<Bytes> {
    if *payload != wish.payload {
        return None;
    }
    match wish.kind {
        Kind::Extended => Some(wish.sent.clone()),
        Kind::Simple => {
            let body = body(payload);
            let mut out = BytesMut::with_capacity(body.len() + 8);
            message(&mut out, b'Q', |out| {
                out.extend_from_slice(body);
                out.extend_from_slice(&[0]);
            });
            Some(out.freeze())
        }
    }
}

/// A statement on its way through the engine. What it runs through is the session itself, once it is cleared.
struct Asking<'a> {
    client: &'a mut WriteHalf<Box<dyn crate::upstream::Stream>>,
    shared: &'a Shared,
    gate: &'a Gate,
    /// What is looked into beforehand.
    scouting: Box<Scouting>,
    only_reads: bool,
    /// There is a key that results are kept under.
    keeps_results: bool,
}

#[async_trait]
impl Exchange for Asking<'_> {
    type Reply = (Clearance, Ending);

    fn passage(&self) -> Through {
        Through::Own
    }

    fn only_reads(&self) -> bool {
        self.only_reads
    }

    fn keeps_results(&self) -> bool {
        self.keeps_results
    }

    async fn held(&mut self, ticket: &Ticket) {
        self.shared.hold(ticket.approval);
        let mut out = BytesMut::new();
        Said::held(ticket).write(Severity::Notice, &mut out);
        // A client that is gone is noticed by whoever reads its side.
        if self.client.write_all(&out).await.is_ok() {
            let _ = self.client.flush().await;
        }
    }

    async fn gather(&mut self, action: &Action) -> Option<Gathered> {
        let nonce = || self.gate.journal().random();
        self.scouting.gather((&action.facts, action.resources.len()), || self.gate.now(), nonce).await
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        Err(BindError::Broken("a statement is always whole".into()))
    }

    /// The session is connected; whether it still is, is seen by whoever reads its side.
    async fn connect(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    async fn send(self, clearance: Clearance, ending: Ending) -> Result<Self::Reply, Failed> {
        Ok((clearance, ending))
    }
}

impl Session {
    /// Understands, asks, and runs what was cleared.
    pub(super) async fn act(&mut self, mut wish: Wish) -> Result<(), Ended> {
        let shared = Arc::clone(&self.shared);
        let _busy = shared.busy().await;
        if let Some(said) = self.unknown_by_now().await? {
            return self.refuse(said, wish.ends).await;
        }
        self.refresh().await?;
        if !self.state.parameters.readable() {
            let why = "the session's encoding is not UTF-8, so its statements cannot be read";
            return self.refuse(Said::new(sqlstate::NOT_OFFERED, why, "connect again"), wish.ends).await;
        }
        let (question, understood) = self.understand(wish.asked.clone(), &wish.steps).await;
        if renames(&wish.steps, &understood.statements, self.state.returns()) {
            self.count(RefusalCode::Malformed).await?;
            let why = "the pipeline uses a name behind a statement that may give it to something else";
            let hint =
                "send `Sync` between `PREPARE`, `DEALLOCATE`, `DECLARE` or `CLOSE` and what uses the name";
            return self.refuse(Said::new(sqlstate::NOT_OFFERED, why, hint), wish.ends).await;
        }
        if prepares(&understood.statements)
            && let Some(said) = self.state.names.no_room(0)
        {
            self.count(RefusalCode::TooLarge).await?;
            return self.refuse(said, wish.ends).await;
        }
        wish.keep(&understood.statements);
        if let Some(answered) = self.own_setting(&wish, &understood).await {
            return answered;
        }
        if let Some(refusal) = &understood.refused {
            self.count(RefusalCode::Malformed).await?;
            let said = Said::new(sqlstate::NOT_OFFERED, refusal.to_string(), "leave it as it is");
            return self.refuse(said, wish.ends).await;
        }
        let veil = match self.veil(&understood, &question.catalog) {
            Ok(veil) => veil.map(Box::new),
            Err(why) => {
                self.count(RefusalCode::NotPermitted).await?;
                let hint = "ask for less at once, or for columns that are not masked";
                return self.refuse(Said::new(sqlstate::NOT_OFFERED, why, hint), wish.ends).await;
            }
        };
        let shape = match self.shape(&wish, &understood) {
            Ok(shape) => shape,
            Err(unguarded) => return self.unguarded(unguarded, wish.ends).await,
        };
        let coming = self.coming(&wish.steps, Some(&understood)).await;
        let digest =
            Digest::of_parts("countersign/sql-statement/v1", &[&wish.payload.head, body(&wish.payload)]);
        let scouting = self.scouting(question, &understood);
        match self.decide(&wish, &understood, &shape, scouting).await? {
            Reply::Live((clearance, ending)) => {
                self.run_cleared((wish, veil, shape, coming), &understood, digest, clearance, ending).await
            }
            Reply::Kept(handover) => {
                self.hand_over(&wish, handover.kept()).await?;
                Ok(handover.done().await?)
            }
            Reply::Pending(ticket) => self.refuse(Said::still_held(&ticket), wish.ends).await,
            Reply::Refused(refused) => self.refuse(Said::refused(&refused), wish.ends).await,
        }
    }

    /// What an agent is told whose token is not good any more.
    pub(super) async fn unknown_by_now(&mut self) -> Result<Option<Said>, Ended> {
        let Some(requester) = self.gate.renewed(&self.requester) else {
            self.count(RefusalCode::Unauthenticated).await?;
            let why = "the token is not good any more";
            let hint = "ask the agent's owner for a new token";
            return Ok(Some(Said::new(sqlstate::INVALID_PASSWORD, why, hint)));
        };
        self.requester = requester;
        Ok(None)
    }

    pub(super) async fn understand(
        &mut self,
        asked: Vec<Asked>,
        steps: &[Step],
    ) -> (Question, Arc<Understood>) {
        let catalog = self.known_catalog().await;
        let now = if asked.iter().any(|asked| names_kept(&asked.sql)) {
            self.look_at_kept(&asked, &catalog).await;
            Some(self.state.moment(catalog.version()))
        } else {
            None
        };
        let nonce = || self.gate.journal().random();
        let question = Question {
            asked,
            session: self.state.facts(steps, now.as_ref()),
            catalog,
            target: Arc::clone(&self.target.sql),
        };
        look_up(&self.reader, &self.catalog, question, nonce).await
    }

    fn request(&self, wish: &Wish, understood: &Understood) -> Request {
        let mut facts = understood.facts.clone();
        for (name, count) in [
            ("session_statements", self.state.statements),
            ("session_rows_read", self.state.rows_read),
            ("session_rows_written", self.state.rows_written),
            ("session_refusals", self.state.refusals),
        ] {
            facts.insert(name.into(), count.into());
        }
        facts.insert("masked".into(), self.masked().is_some().into());
        Request {
            requester: self.requester.clone(),
            target: self.target.name().clone(),
            operation: Operation {
                name: Some(understood.operation.as_str().into()),
                class: understood.class,
            },
            resources: understood.resources.clone(),
            facts,
            session: self.state.context(),
            payload: wish.payload.clone(),
            idempotency_key: None,
            sentence: understood.sentence.clone(),
            claimed_reason: self.state.claimed(Setting::Justification),
            claimed_ticket: self.state.claimed(Setting::Ticket),
            patience: if self.state.status == IDLE && self.begun.is_none() {
                self.target.hold_limit
            } else {
                self.target.transaction_hold_limit
            },
        }
    }

    /// What may be found out about the statement.
    fn scouting(&self, question: Question, understood: &Arc<Understood>) -> Box<Scouting> {
        Box::new(Scouting {
            scout: self.scout.clone(),
            reader: self.reader.clone(),
            catalog: Arc::clone(&self.catalog),
            settings: self.state.context(),
            committed: self.state.status == IDLE && self.begun.is_none(),
            question,
            understood: Arc::clone(understood),
        })
    }

    /// Has the engine decide, and waits with the client while people do.
    async fn decide(
        &mut self,
        wish: &Wish,
        understood: &Understood,
        shape: &Shape,
        scouting: Box<Scouting>,
    ) -> Result<Reply<(Clearance, Ending)>, Ended> {
        let request = self.request(wish, understood);
        let (shared, gate) = (&*self.shared, &*self.gate);
        // Where the server itself refuses a write.
        let only_reads = understood.access == Access::ReadOnly && *shape == Shape::Whole(Guard::ReadOnly);
        let keeps_results = self.target.results_key.is_some();
        let asking =
            Asking { client: &mut self.client.write, shared, gate, scouting, only_reads, keeps_results };
        let (client, server) = (&mut self.client.inbox, &mut self.server.inbox);
        let mut handled = std::pin::pin!(flow::handle(&self.gate, request, asking));
        let decided = loop {
            tokio::select! {
                biased;
                reply = &mut handled => break reply.map_err(Ended::Engine),
                () = self.shared.cancel.notified() => {
                    if let Some(approval) = self.shared.held() {
                        settle::withdraw(&self.gate, &self.requester, Actor::Gateway, approval).await?;
                    }
                }
                gone = closed(client) => if gone { break Err(Ended::ClientGone) },
                gone = closed(server) => if gone { break Err(Ended::ServerGone) },
                () = self.stopping.cancelled() => break Err(Ended::Stopping),
            }
        };
        self.shared.released();
        decided
    }

    async fn run_cleared(
        &mut self,
        (wish, veil, shape, coming): (Wish, Option<Box<Veil>>, Shape, Option<Coming>),
        understood: &Understood,
        digest: Digest,
        clearance: Clearance,
        ending: Ending,
    ) -> Result<(), Ended> {
        let guard = if understood.access == Access::ReadOnly { Guard::ReadOnly } else { Guard::Free };
        let place = self.place();
        let (ends, kind, was) = (wish.ends, wish.kind, self.state.status);
        let Some(up) = wire(clearance.payload(), &wish) else {
            let failed = Failed { sent: Sent::No, why: "what was cleared is not what was asked for".into() };
            ending.failed(&failed).await?;
            return Err(Ended::NotGuarded("what was cleared is not what was asked for"));
        };
        let sent = up.len() as u64;
        if kind == Kind::Simple {
            self.state.names.statements.remove("");
        }
        let executes = wish.asked.len();
        let sending = Sending { up, steps: wish.steps.into(), cuts: wish.cuts };
        let mut keeping = match self.keeping(&clearance, wish.formats) {
            Ok(keeping) => keeping,
            Err(error) => {
                tracing::error!(%error, "a result that policy wants kept could not be");
                let why = "policy wants its result kept, and there is no key to keep it under";
                ending.failed(&Failed { sent: Sent::No, why: why.into() }).await?;
                let said = Said::new(sqlstate::NOT_OFFERED, why, "ask the gateway's operator");
                return self.refuse(said, ends).await;
            }
        };
        let mut passage = match self.guarded(&shape, sending, ends).await {
            Ok(passage) => passage,
            Err(error) => {
                let failed = Failed { sent: Sent::No, why: "the session could not be guarded".into() };
                ending.failed(&failed).await?;
                return Err(error);
            }
        };
        if let Err(error) = self.closing.durable().await {
            let why = "the end of the statement before could not be recorded".into();
            ending.failed(&Failed { sent: Sent::No, why }).await?;
            return Err(error.into());
        }
        self.shared.recall();
        passage.veil = veil;
        if kind == Kind::Extended {
            passage.leaves = leaves(&understood.statements, executes);
            passage.copies_in(&understood.statements);
        }
        passage.to_the_end = ending.is_approved();
        let approved = passage.to_the_end;
        let seen = match self.relay(passage, keeping.as_deref_mut(), clearance.cancelled()).await {
            Ok(seen) => seen,
            Err(why) => {
                let failed = Failed { sent: Sent::Maybe, why: why.to_string() };
                ending.lost(&failed, self.kept_results(&clearance, keeping)).await?;
                return Err(why);
            }
        };
        if seen.unsent {
            return self.unsent(ending, ends).await;
        }
        let done = done(understood, kind, &seen.tags);
        self.begun = Some(Begun::at(place, &shape).then(done.iter().map(|(statement, _)| *statement)));
        self.tally(&seen, guard);
        if kind == Kind::Simple {
            for effect in done.iter().flat_map(|(statement, _)| &statement.session) {
                self.state.names.follow(effect);
            }
        }
        let failing = seen.error.as_ref().and_then(|_| failing(understood, kind, seen.tags.len()));
        let in_block = ends == Ends::Ready && self.state.status == FAILED;
        let ended = if seen.error.is_some() { failed(failing, in_block) } else { End::Done };
        if ended != End::Done && failing.is_some_and(|one| one.session.contains(&SessionEffect::Opaque)) {
            self.state.names.doubt();
        }
        self.state.ran(&done, ended, digest, ends == Ends::Steps);
        self.came(coming);
        self.after(ends, seen.error.is_some());
        let mut facts = end_facts(&seen, sent);
        if ended == End::Unseen {
            facts.status.push_str("; code that may have committed ran before that");
        }
        facts.results = self.kept_results(&clearance, keeping);
        let client_gone = seen.client_gone;
        if approved && client_gone {
            let in_transaction = was == OPEN || self.state.status != IDLE || ends == Ends::Steps;
            ending.finish_undelivered(facts, left::kept(&seen, sent, kind, in_transaction)).await?;
        } else {
            self.closing = ending.finish_behind(facts).await?;
        }
        if client_gone { Err(Ended::ClientGone) } else { Ok(()) }
    }

    /// What was revoked, frozen or too late before its first byte went up is not sent.
    async fn unsent(&mut self, ending: Ending, ends: Ends) -> Result<(), Ended> {
        let why = "it was to stop before anything of it was sent";
        ending.failed(&Failed { sent: Sent::No, why: why.into() }).await?;
        self.refuse(Said::new(sqlstate::QUERY_CANCELED, why, "ask again, where it is still wanted"), ends)
            .await
    }

    /// Per-session counts, so that policy can see many small steps.
    fn tally(&mut self, seen: &Seen, guard: Guard) {
        self.state.statements += 1;
        let rows = i64::try_from(seen.rows).unwrap_or(i64::MAX);
        self.state.rows_read = self.state.rows_read.saturating_add(rows);
        // What is copied out comes in no rows of a result.
        let told = seen.tags.iter().filter_map(|tag| written(tag)).fold(0_i64, i64::saturating_add);
        let count = match guard {
            Guard::Free => &mut self.state.rows_written,
            Guard::ReadOnly => &mut self.state.rows_read,
        };
        *count = count.saturating_add(told);
    }
}

/// The statements that succeeded, with what the server said of each. It answers a simple query statement by statement, and
/// a pipeline `Execute` by `Execute`, those of an empty text included.
fn done<'a>(understood: &'a Understood, kind: Kind, tags: &'a [String]) -> Vec<(&'a Statement, &'a str)> {
    let statements = understood.statements.iter();
    match kind {
        Kind::Simple => statements.zip(tags).map(|(statement, tag)| (statement, tag.as_str())).collect(),
        Kind::Extended => statements
            .filter_map(|statement| Some((statement, tags.get(statement.asked)?.as_str())))
            .collect(),
    }
}

/// The statement behind so many that ended, which is the one that failed.
fn failing(understood: &Understood, kind: Kind, ended: usize) -> Option<&Statement> {
    match kind {
        Kind::Simple => understood.statements.get(ended),
        // Of a text with none, nothing can fail.
        Kind::Extended => understood.statements.iter().find(|statement| statement.asked == ended),
    }
}

fn body(payload: &Payload) -> &[u8] {
    match &payload.body {
        Body::Bound(body) => body,
        Body::Unbound => &[],
    }
}

/// Resolves when something arrived or the other side has closed; `true` for the latter.
async fn closed(inbox: &mut Inbox) -> bool {
    if inbox.buffer.len() >= AHEAD {
        // Not read any further, so an end is not seen either.
        std::future::pending::<()>().await;
    }
    !inbox.fill().await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_what_runs_and_comes_back_as_it_was() {
        let wish = Wish::simple("select 'ü'");
        assert_eq!(&*wire(&wish.payload, &wish).unwrap(), "Q\0\0\0\x10select 'ü'\0".as_bytes());
        let mut pipeline = Pipeline::default();
        pipeline.bytes.extend_from_slice(b"B...");
        let values = vec![
            BoundValue::Text(b"7".as_slice().into()),
            BoundValue::Null,
            BoundValue::Binary(b"\x01".as_slice().into()),
        ];
        pipeline.asked.push((Asked { sql: "select $1".into(), types: vec![23], values: Some(values) }, 0));
        let wish = Wish::extended(pipeline, Ends::Ready);
        assert_eq!(&*wire(&wish.payload, &wish).unwrap(), b"B...S\0\0\0\x04");
        assert!(wire(&Wish::simple("select 1").payload, &wish).is_none());
        let head = String::from_utf8(wish.payload.head.to_vec()).unwrap();
        assert!(
            head.starts_with("countersign-postgres/1\npipeline\n") && head.contains("\"binary\": \"AQ==\""),
            "{head}"
        );
    }
}
