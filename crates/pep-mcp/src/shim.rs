//! The other end for clients that start their servers: messages on standard input and output, and a gateway behind them
//! over Streamable HTTP. It decides nothing and keeps nothing that could not be lost: what waits for people waits at the
//! gateway, and the same call attaches to it.

use crate::{
    call, era,
    frame::{self, Answer, Message},
    members::{self, Members},
    mirror::{self, Mirrored},
    reply::{self, code},
    tools,
    upstream::{
        Outgoing, Peer, Reach, Way,
        http::{Endpoint, Http, Own},
        process::{next_line, on_one_line},
        standing::{Heard, Standing},
    },
};
use bytes::Bytes;
use countersign_engine::port::upstream::{Failed, Sent};
use countersign_pep::{Credential, Fault, Origin, SecretError, SecretRef, tls::UpstreamTlsSection};
use http::{StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, value::RawValue};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    task::AbortHandle,
    time::timeout,
};
use tokio_util::task::TaskTracker;

/// The largest message in either direction.
const LIMIT: usize = 16 << 20;
/// Between two bytes of an answer: a gateway sends some every 15 seconds.
const IDLE: Duration = Duration::from_mins(2);
const CONNECT: Duration = Duration::from_secs(10);
/// How long the gateway may take to hear that the session is over.
const PARTING: Duration = Duration::from_secs(2);
/// Messages that wait to be written.
const AHEAD: usize = 64;
/// The most tools of which is known what they want in the head of a call.
const MOST_TOOLS: usize = 4096;
/// What a client says once it uses its session.
const INITIALIZED: &str = "notifications/initialized";

/// Which gateway, and with which token.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Such as `https://gateway.example.com/mcp`.
    pub url: String,
    /// Read for every message, so that a renewed file counts at once.
    pub token: SecretRef,
    /// Trust these authorities (PEM) instead of the public ones.
    pub ca: Option<PathBuf>,
    /// Connect here instead of where the URL's name resolves to.
    pub connect_to: Option<SocketAddr>,
}

/// Why no client can be served.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("{0}")]
    Gateway(Fault),
    #[error(transparent)]
    Token(#[from] SecretError),
    #[error("the client's messages cannot be read")]
    Input(#[source] io::Error),
}

impl From<Fault> for ShimError {
    fn from(fault: Fault) -> Self {
        Self::Gateway(fault)
    }
}

/// Serves one client until it closes its end.
pub async fn run(
    gateway: Gateway,
    mut input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), ShimError> {
    let way = way(gateway)?;
    way.check_secrets()?;
    let (told, lines) = mpsc::channel(AHEAD);
    let written = tokio::spawn(write(output, lines));
    let shim = Arc::new(Shim {
        way: Arc::new(way),
        peer: Mutex::default(),
        opening: Mutex::default(),
        later: Mutex::default(),
        mirrored: Mutex::default(),
        listening: Mutex::default(),
        told,
    });
    let under_way = TaskTracker::new();
    let ended = loop {
        match next_line(&mut input, LIMIT).await {
            Ok(Some(line)) => shim.heard(line, &under_way).await,
            Ok(None) => break Ok(()),
            Err(error) => break Err(ShimError::Input(error)),
        }
    };
    // Calls that wait go on waiting at the gateway; nobody is left here to be told.
    let peer = shim.peer.lock().clone();
    let _ = timeout(PARTING, shim.way.end(&peer)).await;
    if let Some(listening) = shim.listening.lock().take() {
        listening.abort();
    }
    written.abort();
    ended
}

fn way(gateway: Gateway) -> Result<Way, Fault> {
    let remedy = "write the gateway's endpoint, such as `https://gateway.example.com/mcp`";
    let (origin, url) = Origin::read("gateway", &gateway.url, gateway.connect_to, remedy)?;
    let loopback = |host: &str| ["localhost", "127.0.0.1", "::1"].contains(&host);
    if !origin.tls && !loopback(&origin.host) && gateway.connect_to.is_none_or(|to| !to.ip().is_loopback()) {
        let why = "the token would pass in clear text";
        return Err(Fault::new("gateway.upstream", why, "reach the gateway by `https`"));
    }
    let tls = UpstreamTlsSection { ca: gateway.ca, ..UpstreamTlsSection::default() };
    let connector = tls.connector("gateway", Path::new("."), &[b"http/1.1"])?;
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    let (name, location) = (origin.host.clone(), format!("{}{query}", url.path()));
    let credential = Credential::new(header::AUTHORIZATION, gateway.token, "Bearer ", "");
    let http = Http::new(Endpoint { origin, location }, Own::Header(credential), connector, name, CONNECT);
    Ok(Way::new(Reach::Http(Box::new(http)), IDLE, LIMIT, Some(false)))
}

async fn write(mut output: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<Bytes>) {
    while let Some(message) = lines.recv().await {
        let mut line = on_one_line(&message);
        line.push(b'\n');
        if output.write_all(&line).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

struct Shim {
    way: Arc<Way>,
    /// The session at the gateway.
    peer: Mutex<Peer>,
    /// How the client opened it, to open another should the gateway not know it any more.
    opening: Mutex<Option<Bytes>>,
    /// Requests of the later era that are not answered yet, by their ids.
    later: Mutex<HashMap<String, AbortHandle>>,
    /// What tools want in the head of a call, as far as the client was shown them.
    mirrored: Mutex<HashMap<String, Vec<Mirrored>>>,
    /// Whoever hears what the gateway says by itself.
    listening: Mutex<Option<AbortHandle>>,
    told: mpsc::Sender<Bytes>,
}

impl Shim {
    async fn heard(self: &Arc<Self>, line: Bytes, under_way: &TaskTracker) {
        match frame::read(&line) {
            Ok(Message::Request { id, method, params }) => {
                let (shim, id, opens) = (Arc::clone(self), id.get().to_owned(), method == "initialize");
                let is_later = era::says_later(params);
                let key = id.clone();
                if opens {
                    *self.opening.lock() = Some(line.clone());
                    *self.peer.lock() = Peer::default();
                }
                // Its end waits until it stands there.
                let mut later = self.later.lock();
                let asking = under_way.spawn(async move {
                    let peer = if is_later { Peer::later() } else { shim.peer.lock().clone() };
                    let ended = shim.request(&id, &line, peer, opens).await;
                    shim.later.lock().remove(&id);
                    if let Err(failed) = ended {
                        let why = match failed.sent {
                            Sent::No => format!("the gateway was not reached, so nothing ran: {failed}"),
                            Sent::Maybe => format!(
                                "the gateway was lost from sight: {failed}. If the call was held it waits on, and \
                                 the identical call attaches to it"
                            ),
                        };
                        shim.say(reply::error(&id, code::SERVER, &why, &Value::Null)).await;
                    }
                });
                if is_later {
                    later.insert(key, asking.abort_handle());
                }
            }
            // Letting go of the answer is how the later era cancels.
            Ok(Message::Notification { method: "notifications/cancelled", params })
                if self.let_go(params) => {}
            // In their order: what is asked after them may depend on them.
            Ok(Message::Notification { .. } | Message::Response { .. }) => {
                let peer = self.peer.lock().clone();
                if let Err(failed) = self.note(&peer, line.clone()).await {
                    tracing::warn!(%failed, "the gateway was not told");
                }
                if matches!(frame::read(&line), Ok(Message::Notification { method: INITIALIZED, .. })) {
                    self.listen(peer);
                }
            }
            Err(why) => {
                let told = reply::error("null", code::INVALID_REQUEST, &why.to_string(), &Value::Null);
                self.say(told).await;
            }
        }
    }

    /// Passes on what the gateway says by itself in this session, in place of any before.
    fn listen(self: &Arc<Self>, peer: Peer) {
        let shim = Arc::clone(self);
        let listening = tokio::spawn(async move {
            let told = |heard: Heard<'_>| {
                match heard {
                    // A client that reads nothing is told nothing more in this way.
                    Heard::Message(message) => _ = shim.told.try_send(message.clone()),
                    Heard::Asked(question) => {
                        let told = shim.told.try_send(question.message.clone());
                        return told.map_err(|_| "the client reads nothing");
                    }
                    Heard::Missed => {}
                }
                Ok(())
            };
            Standing { way: &shim.way, peer: &peer, client: None, next_id: || 0 }.follow(told).await;
        });
        let before = self.listening.lock().replace(listening.abort_handle());
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Whether a request of the later era was cancelled by this.
    fn let_go(&self, params: Option<&RawValue>) -> bool {
        let id = params.and_then(Members::read).and_then(|params| params.find("requestId"));
        let asking = id.and_then(|id| self.later.lock().remove(id.get()));
        asking.is_some_and(|asking| {
            asking.abort();
            true
        })
    }

    async fn say(&self, message: impl Into<Bytes>) {
        // A client that is gone hears nothing.
        let _ = self.told.send(message.into()).await;
    }

    async fn note(&self, peer: &Peer, message: Bytes) -> Result<(), Failed> {
        let talk = self.way.post(self.way.take(peer).await?, peer, message).await?;
        self.way.finish(talk).await;
        Ok(())
    }

    /// Passes a request on, and everything that comes back up to its answer.
    async fn request(
        self: &Arc<Self>,
        id: &str,
        line: &Bytes,
        mut peer: Peer,
        opens: bool,
    ) -> Result<(), Failed> {
        let mut talk = self.way.post(self.way.take(&peer).await?, &peer, self.outgoing(line, &peer)).await?;
        if talk.status == StatusCode::NOT_FOUND && peer.link.is_some() && !opens {
            // The gateway does not know the session, so nothing ran.
            self.way.finish(talk).await;
            peer = self.open_again(&peer).await?;
            talk = self.way.post(self.way.take(&peer).await?, &peer, line.clone()).await?;
        }
        let (status, link) = (talk.status, talk.link.clone());
        let lists =
            peer.is_later() && matches!(frame::read(line), Ok(Message::Request { method: "tools/list", .. }));
        while let Some(message) = talk.next(IDLE).await? {
            match frame::read(&message) {
                Ok(Message::Response { id: of, answer }) if of.get() == id => {
                    if let (true, Answer::Result(result)) = (opens, answer) {
                        let version = call::agreed(result);
                        *self.peer.lock() = Peer { link, version };
                    } else if let (true, Answer::Result(result)) = (lists, answer) {
                        self.learn(result);
                    }
                    self.say(message.clone()).await;
                    self.way.finish(talk).await;
                    return Ok(());
                }
                // What the gateway says before it has read whose request it is.
                Ok(Message::Response { answer: Answer::Error(error), .. }) => {
                    self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, error.get())).await;
                    self.way.finish(talk).await;
                    return Ok(());
                }
                _ => self.say(message.clone()).await,
            }
        }
        let why = format!("it answered with HTTP {} and no message", status.as_u16());
        Err(Failed { sent: Sent::Maybe, why })
    }

    /// A client's message, with what its head must say of its arguments.
    fn outgoing(&self, line: &Bytes, peer: &Peer) -> Outgoing {
        let mut outgoing = Outgoing::from(line.clone());
        if let (true, Ok(Message::Request { method: "tools/call", params: Some(params), .. })) =
            (peer.is_later(), frame::read(line))
        {
            let name = Members::read(params).and_then(|params| members::text(params.find("name")?));
            let mirrored = self.mirrored.lock();
            let wanted = name.and_then(|name| mirrored.get(&name));
            outgoing.mirrored = wanted.map_or_else(Vec::new, |wanted| mirror::headers(wanted, params.get()));
        }
        outgoing
    }

    /// What the tools that the client is shown want in the head of a call.
    fn learn(&self, result: &RawValue) {
        let mut known = self.mirrored.lock();
        for (name, wanted) in tools::mirrored(result.get()) {
            if known.len() < MOST_TOOLS || known.contains_key(&name) {
                known.insert(name, wanted);
            }
        }
    }

    /// Opens the session again, as the client once did. The first of several finds the way for all.
    async fn open_again(self: &Arc<Self>, gone: &Peer) -> Result<Peer, Failed> {
        let now = self.peer.lock().clone();
        if let (Some(crate::upstream::Link::Named(now_named)), Some(crate::upstream::Link::Named(was))) =
            (&now.link, &gone.link)
            && now_named != was
        {
            return Ok(now);
        }
        let refused = |why: &str| Failed { sent: Sent::No, why: why.into() };
        let opening = self.opening.lock().clone().ok_or_else(|| refused("no session was opened"))?;
        let fresh = Peer::default();
        let mut talk = self.way.post(self.way.take(&fresh).await?, &fresh, opening).await?;
        let link = talk.link.clone();
        let answer = talk.next(IDLE).await?.ok_or_else(|| refused("no session could be opened"))?;
        let version = match frame::read(&answer) {
            Ok(Message::Response { answer: Answer::Result(result), .. }) => call::agreed(result),
            _ => None,
        };
        self.way.finish(talk).await;
        let peer = Peer { link, version };
        if peer.version.is_none() {
            return Err(refused("no session could be opened again"));
        }
        self.note(&peer, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.into()).await?;
        *self.peer.lock() = peer.clone();
        self.listen(peer.clone());
        Ok(peer)
    }
}
