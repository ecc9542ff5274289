//! Forwarding: what was cleared goes up, what the server answers comes down, in the pieces it arrives in. Of a result only
//! the framing is read; rows are counted and never decoded.

mod copying;
mod oversize;
mod pieces;
mod stalled;

use self::{
    copying::{Copying, KeptBack, receive},
    oversize::{Hearing, Oversize},
    pieces::{behind, finished, passes, push, run, take_over},
    stalled::Stalled,
};
use super::{
    Session,
    pipeline::{Names, Step},
    state::{Parameters, State},
    veil::{self, Seeing, Veil},
};
use crate::{
    error::Ended,
    frame::{self, Fields, FrameError, HEADER, sqlstate},
    message::{Backend, BackendRule},
    results::Keeping,
    understand::SessionEffect,
};
use aws_lc_rs::digest;
use bytes::{Buf as _, Bytes, BytesMut};
use countersign_core::Digest;
use std::{collections::VecDeque, future::Future, time::Duration};
use tokio::time::{Instant, interval_at};

/// Messages that are read whole are short.
pub(super) const FOLLOWED: usize = 4 << 20;
/// So much of an error that is longer says which one it is.
const TELLING: usize = 1 << 10;
/// After which a statement that should have been cancelled is cancelled again.
const AGAIN: Duration = Duration::from_secs(1);
/// What a client may send ahead while its last statement runs.
const AHEAD: usize = 64 << 10;

/// One forwarding.
pub(super) struct Passage {
    /// Everything that goes up, the gateway's own messages around it included.
    pub(super) up: Bytes,
    /// How often the server is ready before the client's own answer begins, and after it has ended.
    pub(super) before: usize,
    pub(super) after: usize,
    pub(super) steps: VecDeque<Step>,
    pub(super) ends: Ends,
    /// Followed to its end even when the client leaves.
    pub(super) to_the_end: bool,
    /// What hides values in the answer.
    pub(super) veil: Option<Box<Veil>>,
    /// What each `Execute` leaves behind, in their order.
    pub(super) leaves: VecDeque<Vec<SessionEffect>>,
    /// Nothing but one copy into the database: the client's `Sync` behind it was kept back, see [`copying`].
    pub(super) copies_in: bool,
}

/// `Sync`, and `Flush`.
pub(super) const SYNC: &[u8] = b"S\0\0\0\x04";
pub(super) const FLUSH: &[u8] = b"H\0\0\0\x04";

/// When the server has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// It says that it is ready.
    Ready,
    /// It has answered every step, or failed at one.
    Steps,
}

impl Ends {
    /// The message with which the client asked for that, and which has the server send what it has to say.
    pub(super) const fn tag(self) -> u8 {
        match self {
            Self::Ready => b'S',
            Self::Steps => b'H',
        }
    }
}

/// What was seen of an answer.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What each statement that ended said of itself, such as `DELETE 14`.
    pub(super) tags: Vec<String>,
    /// SQLSTATE of the error that ended it.
    pub(super) error: Option<String>,
    pub(super) rows: u64,
    pub(super) received: u64,
    /// Bytes a client copied, and their digest.
    pub(super) copied: u64,
    pub(super) copy_digest: Option<Digest>,
    /// The client was gone when it ended.
    pub(super) client_gone: bool,
    /// It was to stop before anything of it went up, and nothing did.
    pub(super) unsent: bool,
    /// Who had it cancelled.
    pub(super) cancelled_by: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Before(usize),
    Answer,
    After(usize),
    Done,
}

struct Relay<'a> {
    names: &'a mut Names,
    parameters: &'a mut Parameters,
    status: &'a mut u8,
    steps: VecDeque<Step>,
    leaves: VecDeque<Vec<SessionEffect>>,
    extended: bool,
    ends: Ends,
    after: usize,
    at: At,
    skip: usize,
    copying: Copying,
    copy_skip: usize,
    hash: Option<digest::Context>,
    /// A copy of the extended protocol failed, and its client asked the server to sum up behind it.
    failed_copy: bool,
    synced: bool,
    /// It was revoked, frozen, or is out of time: nothing more of it goes up.
    halt: Option<Stalled>,
    kept_back: KeptBack,
    /// How many rows had come when the present statement's answer began.
    rows_before: u64,
    /// Still to come of a message that goes no further.
    lose: usize,
    hearing: Hearing,
    seeing: Seeing,
    seen: Seen,
}

impl Session {
    /// Forwards and relays until the server has answered; fails when the server was lost in the middle of it. `stop`
    /// resolves when it must be cancelled; `keeping` takes note of what the client is sent, to the moment it is gone.
    pub(super) async fn relay(
        &mut self,
        passage: Passage,
        mut keeping: Option<&mut Keeping>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Seen, Ended> {
        let Passage { mut up, before, after, steps, ends, to_the_end, veil, leaves, copies_in } = passage;
        let seeing = self.seeing(veil);
        let mut relay = Relay::of(&mut self.state, (steps, leaves, ends), (before, after), seeing);
        relay.kept_back = if copies_in { KeptBack::Sync } else { KeptBack::Nothing };
        let (client, server) = (&mut self.client, &mut self.server);
        let mut out = BytesMut::new();
        let (mut up_dirty, mut out_dirty) = (true, false);
        let mut cancel = None;
        let mut stop = std::pin::pin!(stop);
        let (mut again, whole) = (None, up.len());
        loop {
            if relay.seen.client_gone {
                out.clear();
                out_dirty = false;
                if !to_the_end && again.is_none() {
                    again = Some(interval_at(Instant::now() + AGAIN, AGAIN));
                    relay.cancel("client", &mut cancel, &self.way, &self.key);
                }
            }
            // A piece of a copy that was begun has to go up whole, or the server would take what comes next for its rest.
            let begun = relay.copy_skip > 0 && !relay.seen.client_gone;
            if relay.at == At::Done && !up_dirty && !out_dirty && !begun {
                break;
            }
            let room = client.inbox.buffer.len() < AHEAD && up.len() < AHEAD;
            let lost = tokio::select! {
                biased;
                () = &mut stop, if relay.halt.is_none() => {
                    relay.halt = Some(Stalled::default());
                    if up.len() == whole {
                        relay.seen.unsent = true;
                        break;
                    }
                    again = Some(interval_at(Instant::now() + AGAIN, AGAIN));
                    relay.cancel("revoked", &mut cancel, &self.way, &self.key);
                    false
                }
                // A statement may swallow a cancellation, and one may never arrive.
                () = passes(&mut again), if relay.at != At::Done || relay.halt.is_some() => {
                    let by = if relay.halt.is_some() { "revoked" } else { "client" };
                    relay.cancel(by, &mut cancel, &self.way, &self.key);
                    relay.seen.client_gone |= relay.is_stalled(out.len());
                    false
                }
                () = self.shared.cancel.notified() => {
                    relay.cancel("client", &mut cancel, &self.way, &self.key);
                    false
                }
                pushed = push(&mut client.write, &mut out), if out_dirty => {
                    relay.seen.client_gone |= pushed.is_err();
                    out_dirty = false;
                    if let Some(halt) = &mut relay.halt {
                        halt.moved();
                    }
                    // Empty, it would still keep the piece it was part of.
                    out = BytesMut::new();
                    false
                }
                pushed = push(&mut server.write, &mut up), if up_dirty => {
                    up_dirty = false;
                    pushed.is_err()
                }
                got = server.inbox.fill_fast(), if out.is_empty() && relay.at != At::Done => !got.unwrap_or(false),
                got = receive(&mut client.inbox, relay.copying), if room && !relay.seen.client_gone && (relay.at != At::Done || begun) => {
                    relay.seen.client_gone |= !got.unwrap_or(false);
                    false
                }
            };
            // What is there is read even when the server has closed behind it: it may say why.
            let there = out.len();
            let read = relay.read(&mut server.inbox.buffer, &mut out);
            if let Some(keeping) = keeping.as_deref_mut().filter(|_| !relay.seen.client_gone) {
                keeping.take(out.get(there..).unwrap_or_default());
            }
            let copied = read.and_then(|()| {
                if relay.hearing == Hearing::Little && cancel.is_none() {
                    relay.cancel("gateway", &mut cancel, &self.way, &self.key);
                }
                if relay.pays_sync() {
                    (up, up_dirty) = (behind(up.split_off(0), Bytes::from_static(SYNC)), true);
                }
                let more = relay.copy(&mut client.inbox.buffer, relay.seen.client_gone)?;
                if !more.is_empty() {
                    up_dirty = true;
                    up = behind(up.split_off(0), more.freeze());
                }
                Ok(())
            });
            out_dirty |= !out.is_empty();
            let why = copied.err().or((lost && relay.at != At::Done).then_some(Ended::ServerGone));
            if let Some(why) = why {
                let _ = client.send(&out).await;
                return Err(why);
            }
        }
        settled(cancel).await;
        relay.seen.copy_digest = relay.hash.take().map(finished);
        // A server that was still in the copy ignored the `Sync` it was sent first; one that was not answers both.
        // Nor can be told what an answer belongs to where the server was to say what it has, and was copying instead.
        self.over |= relay.synced && !copies_in && (relay.failed_copy || relay.ends == Ends::Steps);
        let seen = relay.seen;
        server.inbox.rest();
        client.inbox.rest();
        Ok(seen)
    }
}

/// A cancellation under way must not hit what comes next.
async fn settled(cancel: Option<tokio::task::JoinHandle<()>>) {
    if let Some(task) = cancel {
        let _: Result<(), tokio::task::JoinError> = task.await;
    }
}

impl<'a> Relay<'a> {
    /// What is about to be relayed in this session, and how often its server is ready before and after that.
    fn of(
        state: &'a mut State,
        (steps, leaves, ends): (VecDeque<Step>, VecDeque<Vec<SessionEffect>>, Ends),
        (before, after): (usize, usize),
        seeing: Seeing,
    ) -> Self {
        Self {
            names: &mut state.names,
            parameters: &mut state.parameters,
            status: &mut state.status,
            extended: !steps.is_empty(),
            steps,
            leaves,
            ends,
            after,
            at: if before > 0 { At::Before(before) } else { At::Answer },
            skip: 0,
            copying: Copying::No,
            copy_skip: 0,
            hash: None,
            failed_copy: false,
            synced: false,
            halt: None,
            kept_back: KeptBack::Nothing,
            rows_before: 0,
            lose: 0,
            hearing: Hearing::All,
            seeing,
            seen: Seen::default(),
        }
    }

    fn cancel(
        &mut self,
        by: &'static str,
        task: &mut Option<tokio::task::JoinHandle<()>>,
        way: &std::sync::Arc<crate::upstream::Way>,
        key: &super::ServerKey,
    ) {
        let under_way = task.as_ref().is_some_and(|task| !task.is_finished());
        if under_way || self.at == At::Done {
            return;
        }
        self.seen.cancelled_by = Some(by);
        let (way, key) = (std::sync::Arc::clone(way), key.clone());
        *task = Some(tokio::spawn(async move {
            if let Err(error) = way.cancel(key.process, &key.secret).await {
                tracing::warn!(%error, "a statement could not be cancelled");
            }
        }));
    }

    /// Reads what the server sent, and moves what is the client's to `out`.
    fn read(&mut self, buffer: &mut BytesMut, out: &mut BytesMut) -> Result<(), Ended> {
        let mut pass = 0;
        while self.at != At::Done || self.lose > 0 {
            if self.lose > 0 {
                take_over(buffer, pass, out);
                pass = 0;
                let here = self.lose.min(buffer.len());
                buffer.advance(here);
                self.lose -= here;
                if here == 0 {
                    break;
                }
                continue;
            }
            let rest = buffer.get(pass..).unwrap_or_default();
            if self.skip > 0 {
                let here = self.skip.min(rest.len());
                self.skip -= here;
                pass += here;
                if here == 0 {
                    break;
                }
                continue;
            }
            if self.at == At::Answer && self.seeing.is_blind() {
                let run = run(rest);
                if run.bytes > 0 {
                    self.seen.rows += run.rows;
                    self.seen.received += run.bytes as u64;
                    pass += run.bytes;
                    continue;
                }
            }
            let Some((tag, size)) = frame::head(rest).map_err(Ended::Server)? else { break };
            let message = Backend::of(tag).ok_or(Ended::Unexpected(tag))?;
            let whole = rest.get(..size);
            match self.oversize((message, tag), size, rest)? {
                Oversize::No => {}
                Oversize::Wait => break,
                Oversize::Lost(told) => {
                    take_over(buffer, pass, out);
                    out.extend_from_slice(&told);
                    (pass, self.lose) = (0, size);
                    self.seen.received += size as u64;
                    continue;
                }
            }
            let veiled = self.seeing.veil.is_some() && self.at == At::Answer && Veil::hides(message);
            let described = self.seeing.describes.is_some() && message == Backend::RowDescription;
            let rule = if veiled || described { BackendRule::Followed } else { message.rule() };
            let body = match (rule, whole) {
                (BackendRule::Passed, _) => &[],
                (BackendRule::Followed, Some(whole)) => whole.get(HEADER..).unwrap_or_default(),
                // Goes on as it is; its first fields say which error it is.
                (BackendRule::Followed, None)
                    if size > FOLLOWED && message == Backend::ErrorResponse && self.at == At::Answer =>
                {
                    rest.get(HEADER..TELLING).unwrap_or_default()
                }
                (BackendRule::Followed, None) if size > FOLLOWED => {
                    return Err(Ended::Server(FrameError::TooLarge { size, limit: FOLLOWED }));
                }
                (BackendRule::Followed, None) => break,
                (BackendRule::Ours | BackendRule::Unexpected, _) => return Err(Ended::Unexpected(tag)),
            };
            let mut whose = self.follow(message, body).map_err(Ended::Server)?;
            let unheard = !self.hearing.hears(message);
            if unheard {
                whose = Whose::Gateway;
            }
            if let (true, Some(veil), Some(whole)) = (veiled && !unheard, &self.seeing.veil, whole) {
                let mut shown = BytesMut::new();
                veil.write(tag, whole.get(HEADER..).unwrap_or_default(), &mut shown)?;
                self.seen.received += size as u64;
                take_over(buffer, pass, out);
                buffer.advance(size);
                out.extend_from_slice(&shown);
                pass = 0;
            } else if whose == Whose::Gateway {
                if whole.is_none() {
                    break;
                }
                take_over(buffer, pass, out);
                buffer.advance(size);
                pass = 0;
            } else {
                self.seen.received += size as u64;
                pass += size.min(rest.len());
                self.skip = size.saturating_sub(rest.len());
            }
        }
        take_over(buffer, pass, out);
        Ok(())
    }

    /// Learns from a message, and says whose it is.
    fn follow(&mut self, message: Backend, body: &[u8]) -> Result<Whose, FrameError> {
        if message == Backend::ParameterStatus {
            let mut fields = Fields::new(body);
            let (name, value) = (fields.text()?, fields.text()?);
            let own = self.at != At::Answer;
            self.parameters.told(name, value, own);
            return Ok(if own { Whose::Gateway } else { Whose::Client });
        }
        match self.at {
            At::Answer => self.answer(message, body),
            At::Before(_) | At::After(_) => {
                if message == Backend::NotificationResponse {
                    return Ok(Whose::Client);
                }
                if message == Backend::ReadyForQuery {
                    *self.status = Fields::new(body).byte()?;
                    self.at = match self.at {
                        At::Before(1) => At::Answer,
                        At::Before(left) => At::Before(left - 1),
                        At::After(1) | At::Answer | At::Done => At::Done,
                        At::After(left) => At::After(left - 1),
                    };
                }
                Ok(Whose::Gateway)
            }
            At::Done => Ok(Whose::Client),
        }
    }

    fn answer(&mut self, message: Backend, body: &[u8]) -> Result<Whose, FrameError> {
        let completes = matches!(
            message,
            Backend::ParseComplete
                | Backend::BindComplete
                | Backend::CommandComplete
                | Backend::CloseComplete
        );
        if completes && self.steps.front() == Some(&Step::Own) {
            self.done();
            return Ok(Whose::Gateway);
        }
        let mut fields = Fields::new(body);
        if self.seeing.describes.is_some() {
            self.described(message, body)?;
        }
        match message {
            Backend::DataRow => self.seen.rows += 1,
            Backend::ParseComplete | Backend::BindComplete | Backend::CloseComplete => self.done(),
            Backend::RowDescription | Backend::NoData
                if matches!(
                    self.steps.front(),
                    Some(Step::DescribeStatement(_) | Step::DescribePortal(_))
                ) =>
            {
                self.done();
            }
            Backend::CommandComplete => {
                self.seen.tags.push(fields.text()?.to_owned());
                self.executed();
            }
            Backend::EmptyQueryResponse => {
                self.seen.tags.push(String::new());
                self.executed();
            }
            // The server has no words for what came up to here.
            Backend::PortalSuspended => {
                let rows = self.seen.rows - self.rows_before;
                self.seen.tags.push(format!("suspended after {rows} rows"));
                self.executed();
            }
            Backend::ErrorResponse => {
                let code = sqlstate(body)?;
                self.seen.error.get_or_insert(code);
                self.steps.clear();
                self.failed_copy |= self.extended && self.hash.is_some();
                if self.copying == Copying::Data {
                    self.copying = if self.extended { Copying::UntilSync } else { Copying::No };
                }
                if self.ends == Ends::Steps {
                    self.ended();
                }
            }
            Backend::CopyInResponse => {
                self.copying = Copying::Data;
                // A server that copies ignores it.
                self.kept_back = KeptBack::Nothing;
                // One digest for all that a text copies.
                self.hash.get_or_insert_with(|| digest::Context::new(&digest::SHA256));
            }
            Backend::ReadyForQuery => {
                *self.status = fields.byte()?;
                self.steps.clear();
                self.ended();
            }
            Backend::RowDescription
            | Backend::NoData
            | Backend::Authentication
            | Backend::BackendKeyData
            | Backend::CopyBothResponse
            | Backend::CopyData
            | Backend::CopyDone
            | Backend::CopyOutResponse
            | Backend::FunctionCallResponse
            | Backend::NegotiateProtocolVersion
            | Backend::NoticeResponse
            | Backend::NotificationResponse
            | Backend::ParameterDescription
            | Backend::ParameterStatus => {}
        }
        Ok(Whose::Client)
    }

    /// The server has done the step it was at.
    fn done(&mut self) {
        if let Some(step) = self.steps.pop_front() {
            if matches!(step, Step::Execute(_)) {
                for effect in self.leaves.pop_front().unwrap_or_default() {
                    self.names.follow(&effect);
                }
            }
            self.names.apply(step);
        }
        if self.ends == Ends::Steps && self.steps.is_empty() {
            self.ended();
        }
    }

    /// The client's own answer is whole.
    fn ended(&mut self) {
        self.at = if self.after > 0 { At::After(self.after) } else { At::Done };
    }

    fn executed(&mut self) {
        self.rows_before = self.seen.rows;
        if matches!(self.steps.front(), Some(Step::Execute(_))) {
            self.done();
        }
    }

    /// Follows where the columns of rows come from: what hides values in them goes by it.
    fn described(&mut self, message: Backend, body: &[u8]) -> Result<(), FrameError> {
        let Some(version) = self.seeing.describes else { return Ok(()) };
        if message == Backend::RowDescription {
            let columns = veil::columns(body)?;
            if !self.extended
                && let Some(veil) = &mut self.seeing.veil
            {
                veil.expect(Some(&columns));
            }
            if let Some(parsed) = veil::parsed(self.steps.front(), self.names) {
                parsed.columns.set(version, columns);
            }
        } else if message == Backend::DataRow
            && self.extended
            && self.seen.rows == self.rows_before
            && let Some(veil) = &mut self.seeing.veil
        {
            let parsed = veil::parsed(self.steps.front(), self.names);
            veil.expect(parsed.and_then(|parsed| parsed.columns.under(version)).as_deref());
        } else if matches!(message, Backend::CommandComplete | Backend::PortalSuspended)
            && let Some(veil) = &mut self.seeing.veil
        {
            veil.expect(None);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Client,
    Gateway,
}
