//! How a session begins: TLS, start-up packet, token, target, and the gateway's own login. And the keys by which another
//! connection cancels it.

use super::{ServerKey, Session, line::Line, pipeline::Pipeline, state::State};
use crate::{
    config::{Plain, PostgresTarget},
    error::LoginError,
    frame,
    message::{Frontend, Opening},
    reply::{Said, Severity, message, put_text, ready, sqlstate},
    startup::{self, Claims, Read, Startup},
    understand::Reader,
    upstream::Stream,
};
use bytes::{BufMut as _, BytesMut};
use countersign_core::{ApprovalId, ClientCertificate, RefusalCode, Requester};
use countersign_engine::{Gate, execute::Closing, port::identity::Presented, record};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Longer tokens are nobody's.
const LONGEST_PASSWORD: usize = 20 << 10;

/// What a session shows to whoever wants to cancel what it does.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Rung when there is something to cancel and somebody wants that.
    pub(super) cancel: Notify,
    busy: AtomicBool,
    /// Asked for while the present statement was on its way, wherever it is by now.
    wanted: AtomicBool,
    held: Mutex<Option<ApprovalId>>,
}

/// While it lives, a cancel request has something to cancel.
pub(super) struct Busy<'a>(&'a Shared);

impl Shared {
    /// From here on there is something to cancel; requests from before are forgotten.
    pub(super) async fn busy(&self) -> Busy<'_> {
        tokio::select! {
            biased;
            () = self.cancel.notified() => {}
            () = std::future::ready(()) => {}
        }
        self.wanted.store(false, Ordering::SeqCst);
        self.busy.store(true, Ordering::SeqCst);
        Busy(self)
    }

    pub(super) fn hold(&self, approval: ApprovalId) {
        *self.held.lock() = Some(approval);
        self.recall();
    }

    /// Rings again for a wish that came before there was anything it could reach.
    pub(super) fn recall(&self) {
        if self.wanted.load(Ordering::SeqCst) {
            self.cancel.notify_one();
        }
    }

    pub(super) fn held(&self) -> Option<ApprovalId> {
        *self.held.lock()
    }

    pub(super) fn released(&self) {
        *self.held.lock() = None;
    }

    fn cancel(&self) {
        if self.busy.load(Ordering::SeqCst) {
            self.wanted.store(true, Ordering::SeqCst);
            self.cancel.notify_one();
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

/// The open sessions by the keys that clients were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<HashMap<[u8; 4], Slot>>>);

#[derive(Debug)]
struct Slot {
    secret: [u8; 4],
    shared: Arc<Shared>,
}

/// A session's place among the open ones; leaves when dropped.
struct Place {
    process: [u8; 4],
    secret: [u8; 4],
    slots: Slots,
}

impl Slots {
    fn enter(&self, gate: &Gate, shared: &Arc<Shared>) -> Place {
        let mut slots = self.0.lock();
        loop {
            let [a, b, c, d, secret @ ..]: [u8; 8] = gate.journal().random();
            // Some clients show it as a process id, so it is positive.
            let process = [a & 0x7f, b, c, d];
            if process != [0; 4] && !slots.contains_key(&process) {
                slots.insert(process, Slot { secret, shared: Arc::clone(shared) });
                return Place { process, secret, slots: self.clone() };
            }
        }
    }

    /// Cancels what the session with this key does. Nobody is told whether there is one.
    fn cancel(&self, key: &[u8]) {
        let Some((process, secret)) = key.split_first_chunk::<4>() else { return };
        let slots = self.0.lock();
        if let Some(slot) = slots.get(process)
            && aws_lc_rs::constant_time::verify_slices_are_equal(&slot.secret, secret).is_ok()
        {
            slot.shared.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.0.lock().remove(&self.process);
    }
}

/// What all connections of one listener share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) gate: Arc<Gate>,
    pub(crate) reader: Reader,
    /// The targets behind it, in the order of the configuration.
    pub(crate) targets: Vec<Arc<PostgresTarget>>,
    pub(crate) slots: Slots,
    pub(crate) stopping: CancellationToken,
}

/// How far an opening got.
enum Opened {
    Session(Box<(Session, Place)>),
    /// The connection is over, with what its client was told.
    Over,
}

/// Serves one connection from its first byte to its last.
pub(crate) async fn serve(door: Door, stream: TcpStream) {
    let Some(first) = door.targets.first() else { return };
    let (login, connect) = (first.limits.login.0, first.limits.connect.0);
    // Without it small answers could wait for an acknowledgement; no reason to fail.
    let _ = stream.set_nodelay(true);
    // The database's own time to answer comes on top of the client's.
    match timeout(login + connect, door.open(stream)).await {
        Ok(Ok(Opened::Session(opened))) => {
            let (session, place) = *opened;
            session.run().await;
            drop(place);
        }
        Ok(Ok(Opened::Over)) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client left before its session began"),
    }
}

/// What is known of a client before it has said who it is.
struct From {
    secure: bool,
    /// It is on this machine.
    local: bool,
    client: Option<Arc<ClientCertificate>>,
}

/// What came of asking for a password.
enum Asked {
    Known(Requester),
    Left,
    Unknown(Said),
}

impl Door {
    /// The caller by its certificate; `None` where it has none that names anybody, and is asked for a token.
    async fn certified(&self, client: Option<&ClientCertificate>) -> Option<Requester> {
        self.gate.authenticate(Presented::Certificate(client?)).await.ok()
    }

    /// Asks for the password, which is the agent's token.
    async fn by_password(&self, stream: &mut Box<dyn Stream>) -> io::Result<Asked> {
        let mut out = BytesMut::new();
        message(&mut out, b'R', |out| out.put_i32(3));
        stream.write_all(&out).await?;
        stream.flush().await?;
        let Some(password) = password(stream).await? else { return Ok(Asked::Left) };
        Ok(match self.gate.authenticate(Presented::Bearer(&password)).await {
            Ok(requester) => Asked::Known(requester),
            Err(refusal) => {
                let hint = "the password is the agent's token; ask its owner for a new one";
                Asked::Unknown(Said::new(sqlstate::INVALID_PASSWORD, refusal.reason, hint))
            }
        })
    }

    async fn open(&self, stream: TcpStream) -> io::Result<Opened> {
        let local = stream.peer_addr()?.ip().to_canonical().is_loopback();
        let acceptor = self.targets.iter().find_map(|target| target.acceptor.clone());
        let mut first = [0; 1];
        let direct = stream.peek(&mut first).await? == 1 && first == [0x16];
        let mut client = None;
        let (mut stream, mut secure): (Box<dyn Stream>, bool) = match (&acceptor, direct) {
            (Some(acceptor), true) => {
                let (stream, certificate) = acceptor.accept(stream).await?;
                client = certificate;
                // Without agreeing on the protocol, another one could be meant (PostgreSQL 17 demands the same).
                if stream.get_ref().1.alpn_protocol() != Some(startup::ALPN) {
                    return Ok(Opened::Over);
                }
                (Box::new(stream), true)
            }
            (None, true) => return Ok(Opened::Over),
            (_, false) => (Box::new(stream), false),
        };
        loop {
            let length = stream.read_u32().await?;
            let size = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(8);
            if length < 8 || size > startup::LONGEST {
                return Ok(Opened::Over);
            }
            let code = stream.read_u32().await?;
            match Opening::of(code) {
                Some(Opening::Tls) if size == 0 && !secure => match &acceptor {
                    Some(acceptor) => {
                        stream.write_all(b"S").await?;
                        stream.flush().await?;
                        // What came behind the request in clear text would be read as TLS, and fail.
                        let (wrapped, certificate) = acceptor.accept(stream).await?;
                        (stream, client, secure) = (Box::new(wrapped), certificate, true);
                    }
                    None => stream.write_all(b"N").await?,
                },
                Some(Opening::Gss) if size == 0 => stream.write_all(b"N").await?,
                Some(Opening::Cancel) => {
                    let mut key = vec![0; size];
                    stream.read_exact(&mut key).await?;
                    self.slots.cancel(&key);
                    return Ok(Opened::Over);
                }
                Some(Opening::Startup { minor }) => {
                    let mut packet = vec![0; size];
                    stream.read_exact(&mut packet).await?;
                    return match startup::read(minor, &packet) {
                        Ok(Read::Startup(startup)) => {
                            let from = From { secure, local, client };
                            self.start(stream, &startup, from).await
                        }
                        Ok(Read::Refused(said)) => self.refuse(stream, said, RefusalCode::Malformed).await,
                        Err(error) => {
                            let said = Said::new(sqlstate::PROTOCOL_VIOLATION, error.to_string(), "");
                            self.refuse(stream, said, RefusalCode::Malformed).await
                        }
                    };
                }
                Some(Opening::Tls | Opening::Gss) | None => {
                    let why = "this is no start-up packet of protocol 3";
                    let said = Said::new("0A000", why, "use a client of PostgreSQL 7.4 or later");
                    return self.refuse(stream, said, RefusalCode::Malformed).await;
                }
            }
            stream.flush().await?;
        }
    }

    async fn start(&self, mut stream: Box<dyn Stream>, startup: &Startup, from: From) -> io::Result<Opened> {
        let target = match self.choose(startup) {
            Ok(target) => target,
            Err(said) => return self.refuse(stream, said, RefusalCode::NotPermitted).await,
        };
        let plain = match target.plain {
            Plain::Anywhere => true,
            Plain::Loopback => from.local,
            Plain::Never => false,
        };
        if !from.secure && !plain {
            let why = "a token is not asked for without TLS";
            let said = Said::new("28000", why, "connect with `sslmode=verify-full`");
            return self.refuse(stream, said, RefusalCode::Unauthenticated).await;
        }
        let database = startup.database.clone().unwrap_or_else(|| startup.user_and_target().0.to_owned());
        if !target.databases.contains(&database) {
            let offered = target.databases.iter().cloned().collect::<Vec<_>>().join(", ");
            let why = format!("the database \"{database}\" is not offered by target `{}`", target.name());
            let said = Said::new(sqlstate::INVALID_DATABASE, why, format!("offered are: {offered}"));
            return self.refuse(stream, said, RefusalCode::NotPermitted).await;
        }
        let mut out = BytesMut::new();
        startup.negotiate(&mut out);
        stream.write_all(&out).await?;
        let requester = match self.certified(from.client.as_deref()).await {
            Some(requester) => requester,
            None => match self.by_password(&mut stream).await? {
                Asked::Known(requester) => requester,
                Asked::Left => return Ok(Opened::Over),
                Asked::Unknown(said) => {
                    return self.refuse(stream, said, RefusalCode::Unauthenticated).await;
                }
            },
        };
        let nonce = self.gate.journal().random();
        match target.way.login(&database, &startup.passed, nonce).await {
            Ok(server) => {
                let opening = (database, startup.claims.clone());
                self.ready(stream, target, requester, server, opening).await
            }
            Err(error) => self.no_database(stream, &target, &error).await,
        }
    }

    /// The target that the login name names behind `#`, that offers the database, or the only one there is.
    fn choose(&self, startup: &Startup) -> Result<Arc<PostgresTarget>, Said> {
        let (user, named) = startup.user_and_target();
        let database = startup.database.as_deref().unwrap_or(user);
        let found = match named {
            Some(name) => self.targets.iter().find(|target| target.name().as_str() == name),
            None => match self.targets.as_slice() {
                [only] => Some(only),
                several => several.iter().find(|target| target.databases.contains(database)),
            },
        };
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = self.targets.iter().map(|target| target.name().as_str()).collect();
            let why = "no target behind this listener is meant by that user and database";
            let hint = format!(
                "write the target behind the user name, as in `{user}#target`; there are: {}",
                names.join(", ")
            );
            Said::new(sqlstate::INVALID_DATABASE, why, hint)
        })
    }

    async fn ready(
        &self,
        mut stream: Box<dyn Stream>,
        target: Arc<PostgresTarget>,
        requester: Requester,
        server: crate::upstream::login::LoggedIn,
        (database, claims): (String, Claims),
    ) -> io::Result<Opened> {
        let shared = Arc::new(Shared::default());
        let place = self.slots.enter(&self.gate, &shared);
        let user = target.way.credential.user.clone();
        let Some(catalog) = target.catalogs.get(&database).cloned() else { return Ok(Opened::Over) };
        let scout = target.scouts.get(&database).cloned();
        let state = State::new(server.parameters, database, user, claims);
        let mut out = BytesMut::new();
        message(&mut out, b'R', |out| out.put_i32(0));
        for (name, value) in state.parameters.iter() {
            message(&mut out, b'S', |out| {
                put_text(out, name);
                put_text(out, value);
            });
        }
        message(&mut out, b'K', |out| {
            out.extend_from_slice(&place.process);
            out.extend_from_slice(&place.secret);
        });
        ready(&mut out, state.status);
        stream.write_all(&out).await?;
        stream.flush().await?;
        let session = Session {
            gate: Arc::clone(&self.gate),
            reader: self.reader.clone(),
            way: Arc::clone(&target.way),
            catalog,
            scout,
            target,
            requester,
            client: Line::new(stream, BytesMut::new()),
            server: Line::new(server.stream, server.buffer),
            key: ServerKey { process: server.process, secret: server.secret },
            state,
            shared,
            stopping: self.stopping.clone(),
            pipeline: Pipeline::default(),
            skipping: false,
            unsynced: false,
            begun: None,
            over: false,
            late: BytesMut::new(),
            closing: Closing::default(),
        };
        Ok(Opened::Session(Box::new((session, place))))
    }

    /// The reason stays in the gateway's own log, where it can name roles and addresses.
    async fn no_database(
        &self,
        stream: Box<dyn Stream>,
        target: &PostgresTarget,
        error: &LoginError,
    ) -> io::Result<Opened> {
        tracing::warn!(target = %target.name(), %error, "the gateway could not log in to the database");
        let why = format!("the database of target `{}` could not be logged in to", target.name());
        let said =
            Said::new(sqlstate::CANNOT_CONNECT, why, "connect again later, or ask the gateway's operator");
        self.refuse(stream, said, RefusalCode::Unreachable).await
    }

    /// Tells why there is no session, and counts it.
    async fn refuse(&self, mut stream: Box<dyn Stream>, said: Said, code: RefusalCode) -> io::Result<Opened> {
        let target = self.targets.first().map(|target| target.name().clone());
        if let Err(error) = record::count(&self.gate, code, target).await {
            tracing::error!(error = %record::chain(&error), "a refused login was not recorded");
        }
        let mut out = BytesMut::new();
        said.write(Severity::Fatal, &mut out);
        stream.write_all(&out).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        Ok(Opened::Over)
    }
}

/// Reads the client's password; `None` when something else came.
async fn password(stream: &mut Box<dyn Stream>) -> io::Result<Option<Zeroizing<String>>> {
    let mut header = [0; frame::HEADER];
    stream.read_exact(&mut header).await?;
    let Ok(Some((tag, size))) = frame::head(&header) else { return Ok(None) };
    let length = size - frame::HEADER;
    if Frontend::of(tag) != Some(Frontend::Password) || length > LONGEST_PASSWORD {
        return Ok(None);
    }
    let mut body = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut body).await?;
    let text = body.split_last().filter(|(last, _)| **last == 0).map(|(_, text)| text);
    Ok(text.and_then(|text| std::str::from_utf8(text).ok()).map(|text| Zeroizing::new(text.to_owned())))
}
