//! A server that the gateway starts, and speaks with over its standard input and output: one process to a session, in an
//! environment and within limits that the configuration sets alone. What it says on standard error goes to the log.

mod launch;
mod stderr;

pub(crate) use launch::Launch;

use super::{
    STREAM_LIMIT,
    talk::{Talk, lost},
};
use crate::{
    asks::{NOBODY, OVER},
    frame::{self, Message},
    members::Members,
    method::{self, FromServer},
};
use bytes::Bytes;
use countersign_engine::port::upstream::{Failed, Sent};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _},
    runtime::Handle,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Messages that wait to be written, and to be read.
const AHEAD: usize = 256;

/// A process at work. Letting go of it stops it.
#[derive(Debug)]
pub(crate) struct Process {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Bytes>,
    stop: CancellationToken,
    _stops: DropGuard,
}

/// What the tasks around a process share.
#[derive(Debug)]
struct Shared {
    ended: CancellationToken,
    /// Requests without an answer, the newest last.
    waiting: Mutex<Vec<Waiting>>,
    /// Those that nobody waits for any more, by their ids: the server may still be at work for them.
    given_up: Mutex<Vec<(String, Instant)>>,
    /// What is said to the server.
    outgoing: mpsc::WeakSender<Bytes>,
    /// Who hears what is about no request.
    listener: Mutex<Option<mpsc::Sender<Bytes>>>,
    /// Something was too much for the listener.
    left_out: AtomicBool,
}

/// Messages about no request that wait to be heard.
const UNHEARD: usize = 32;

#[derive(Debug)]
struct Waiting {
    id: String,
    /// Under which it hears of progress, in its bytes.
    progress_token: Option<String>,
    /// It may be what the server asks something for.
    may_be_asked_for: bool,
    told: mpsc::Sender<Bytes>,
}

/// How long a server may be at work for what was given up, and ask something for it.
const STILL_AT_WORK: Duration = Duration::from_mins(10);
/// How many of them are remembered.
const MOST_GIVEN_UP: usize = 64;

/// Why a question goes to nobody that could be for one of several calls.
const WHOSE: &str = "several calls are under way, and it does not say in which of them it is asked";

/// What servers ask something of agents for.
const ASKED_FOR: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

impl Process {
    /// Whether it has ended, or is about to.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.ended.is_cancelled() || self.stop.is_cancelled()
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// What the server says by itself from now on, to this listener alone; it ends with the process. One message too many is
    /// left out: those that matter say that something is to be looked at again.
    pub(super) fn listen(&self) -> Coming {
        let (told, lines) = mpsc::channel(UNHEARD);
        *self.shared.listener.lock() = Some(told);
        if self.has_ended() {
            // What clears it when the process ends may have come before.
            *self.shared.listener.lock() = None;
        }
        Coming { lines, shared: Arc::clone(&self.shared) }
    }

    /// Whether something was left out since this was last asked.
    pub(super) fn has_left_out(&self) -> bool {
        self.shared.left_out.swap(false, Ordering::AcqRel)
    }

    /// Sends one message. Only a request is answered.
    pub(super) async fn post(process: Arc<Self>, message: Bytes) -> Result<Talk, Failed> {
        let unsent = |why: &str| Failed { sent: Sent::No, why: why.into() };
        let (told, coming) = mpsc::channel(AHEAD);
        let request = match frame::read(&message) {
            Ok(Message::Request { id, method, params }) => {
                let meta = params.and_then(Members::read).and_then(|params| params.find("_meta"));
                let token = meta.and_then(Members::read).and_then(|meta| meta.find("progressToken"));
                let progress_token = token.map(|token| token.get().to_owned());
                let may_be_asked_for = ASKED_FOR.contains(&method);
                Some(Waiting { id: id.get().to_owned(), progress_token, may_be_asked_for, told })
            }
            Ok(Message::Notification { .. } | Message::Response { .. }) => None,
            Err(_) => return Err(unsent("the message cannot be read")),
        };
        let id = request.as_ref().map(|request| request.id.clone());
        process.shared.waiting.lock().extend(request);
        let replies = Replies { id, coming, shared: Arc::clone(&process.shared) };
        process.tell(message).await?;
        Ok(Talk::with_process(process, replies))
    }

    pub(crate) async fn tell(&self, message: Bytes) -> Result<(), Failed> {
        let ended = || Failed { sent: Sent::No, why: "the server's process has ended".into() };
        if self.has_ended() {
            return Err(ended());
        }
        self.outgoing.send(message).await.map_err(|_| ended())
    }
}

/// What a server says by itself. A question that nobody comes to hear of is refused.
pub(super) struct Coming {
    lines: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
}

impl Coming {
    pub(super) async fn recv(&mut self) -> Option<Bytes> {
        self.lines.recv().await
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.shared.unheard(&mut self.lines, NOBODY);
    }
}

/// What comes for one request.
pub(super) struct Replies {
    id: Option<String>,
    coming: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
}

impl Replies {
    pub(super) async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Failed> {
        if self.id.is_none() {
            return Ok(None);
        }
        let ended = || lost("the server's process ended before it answered");
        tokio::select! {
            biased;
            reply = timeout(idle, self.coming.recv()) => match reply {
                Ok(reply) => reply.map(Some).ok_or_else(ended),
                Err(_) => Err(lost("the server did not answer in time")),
            },
            () = self.shared.ended.cancelled() => Err(ended()),
        }
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.shared.forget(id);
            self.shared.unheard(&mut self.coming, OVER);
        }
    }
}

impl Shared {
    fn forget(&self, id: &str) {
        let mut waiting = self.waiting.lock();
        let Some(at) = waiting.iter().position(|waiting| waiting.id == id) else { return };
        if waiting.remove(at).may_be_asked_for {
            let mut given_up = self.given_up.lock();
            // Where there are too many, the last one stands for all that come: it is not forgotten when it is answered.
            if given_up.len() >= MOST_GIVEN_UP {
                given_up.pop();
            }
            let known = if given_up.len() + 1 < MOST_GIVEN_UP { id } else { "" };
            given_up.push((known.to_owned(), Instant::now()));
        }
    }

    /// Refuses the questions among what was not read, and takes nothing more.
    fn unheard(&self, lines: &mut mpsc::Receiver<Bytes>, why: &str) {
        lines.close();
        while let Ok(line) = lines.try_recv() {
            if let Ok(Message::Request { id, .. }) = frame::read(&line) {
                self.say(method::refusal(id.get(), why));
            }
        }
    }

    /// Says something to the server without waiting for that.
    fn say(&self, message: String) {
        let Some(outgoing) = self.outgoing.upgrade() else { return };
        if let Err(mpsc::error::TrySendError::Full(message)) = outgoing.try_send(message.into())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { outgoing.send(message).await });
        }
    }

    /// Hands a question to the call that it is asked in, or to whoever listens where none is under way: why it is refused.
    fn ask(&self, waiting: &[Waiting], line: &Bytes) -> Result<(), &'static str> {
        if line.len() > STREAM_LIMIT {
            return Err("what it asks is longer than is passed on");
        }
        let mut given_up = self.given_up.lock();
        given_up.retain(|(_, since)| since.elapsed() < STILL_AT_WORK);
        let mut able = waiting.iter().filter(|waiting| waiting.may_be_asked_for);
        match (able.next(), able.next(), given_up.is_empty()) {
            (Some(only), None, true) => {
                // Notifications leave one place free, so that there is room for the answer.
                let taken = only.told.capacity() > 1 && only.told.try_send(line.clone()).is_ok();
                taken.then_some(()).ok_or(NOBODY)
            }
            (None, _, true) => {
                let listener = self.listener.lock();
                let taken = listener.as_ref().is_some_and(|listener| listener.try_send(line.clone()).is_ok());
                taken.then_some(()).ok_or(NOBODY)
            }
            (Some(_), _, _) => Err(WHOSE),
            (None, _, false) => Err(OVER),
        }
    }

    /// Takes in one line of the server's; what has to be said back.
    fn heard(&self, line: &Bytes) -> Option<String> {
        let Ok(message) = frame::read(line) else {
            tracing::debug!("a server wrote a line that is no message");
            return None;
        };
        let mut waiting = self.waiting.lock();
        match message {
            Message::Response { id, .. } => {
                self.given_up.lock().retain(|(known, _)| known != id.get());
                let at = waiting.iter().position(|waiting| waiting.id == id.get())?;
                // Notifications leave one place free, so that there is room.
                let _ = waiting.remove(at).told.try_send(line.clone());
                None
            }
            Message::Notification { params, .. } => {
                let token = params.and_then(Members::read).and_then(|params| params.find("progressToken"));
                let about = waiting.iter().find(|waiting| {
                    token.is_some_and(|token| waiting.progress_token.as_deref() == Some(token.get()))
                });
                if token.is_none()
                    && let Some(listener) = self.listener.lock().as_ref()
                    && !listener.is_closed()
                {
                    let left_out = line.len() > STREAM_LIMIT;
                    self.left_out.fetch_or(left_out, Ordering::AcqRel);
                    // An empty line has whoever listens look whether something was left out.
                    let said = if left_out { Bytes::new() } else { line.clone() };
                    if listener.try_send(said).is_err() {
                        self.left_out.store(true, Ordering::Release);
                    }
                    return None;
                }
                // What names no request is told with the newest one.
                let about = about.or_else(|| waiting.last().filter(|_| token.is_none()))?;
                // What is said ahead of an answer may wait for a slow agent, and is bounded.
                if about.told.capacity() > 1 && line.len() <= STREAM_LIMIT {
                    let _ = about.told.try_send(line.clone());
                }
                None
            }
            Message::Request { id, method, .. } if method::from_server(method) == FromServer::Asks => {
                // It names none of them.
                let refused = self.ask(&waiting, line).err()?;
                Some(method::refusal(id.get(), refused))
            }
            Message::Request { id, method, .. } => method::own_answer(method, id.get()),
        }
    }
}

/// Writes what is sent, a line each, until there is nothing more to come.
async fn write(mut stdin: impl AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<Bytes>) {
    while let Some(message) = outgoing.recv().await {
        let mut line = on_one_line(&message);
        line.push(b'\n');
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// A message without line ends. They stand between its tokens alone: in a string they are escaped.
pub(crate) fn on_one_line(message: &[u8]) -> Vec<u8> {
    message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// Reads what the server says to its end. An error when a line is longer than is read.
async fn read(
    mut stdout: impl AsyncBufRead + Unpin,
    shared: Arc<Shared>,
    outgoing: mpsc::WeakSender<Bytes>,
    limit: usize,
) -> std::io::Result<()> {
    while let Some(line) = next_line(&mut stdout, limit).await? {
        let Some(back) = shared.heard(&line) else { continue };
        let Some(outgoing) = outgoing.upgrade() else { break };
        if outgoing.send(back.into()).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The next line that is not empty, without its end; `None` at the end. An error when it is longer than `limit`.
pub(crate) async fn next_line(
    from: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> std::io::Result<Option<Bytes>> {
    let mut line = Vec::new();
    loop {
        let piece = from.fill_buf().await?;
        if piece.is_empty() {
            return Ok(None);
        }
        let (end, used) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(at) => (true, at + 1),
            None => (false, piece.len()),
        };
        line.extend_from_slice(piece.get(..used).unwrap_or_default());
        from.consume(used);
        if line.len() > limit {
            return Err(std::io::Error::other("the line is longer than is read"));
        }
        if end {
            let length = line.trim_ascii_end().len();
            line.truncate(length);
            if !line.is_empty() {
                return Ok(Some(line.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
