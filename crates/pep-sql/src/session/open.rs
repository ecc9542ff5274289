//! How a session begins: TLS, start-up packet, token, target, and the gateway's own login.

use super::{
    ServerKey, Session,
    line::Line,
    pipeline::Pipeline,
    slots::{Place, Room, Slots},
    state::State,
};
use crate::{
    config::PostgresTarget,
    error::LoginError,
    frame,
    message::{Frontend, Opening},
    reply::{Said, Severity, message, put_text, ready, sqlstate},
    startup::{self, Claims, Read, Startup},
    understand::Reader,
    upstream::Stream,
};
use bytes::{BufMut as _, BytesMut};
use countersign_core::{ClientCertificate, RefusalCode, Requester};
use countersign_engine::{Gate, execute::Closing, port::identity::Presented, record};
use countersign_pep::keep_alive;
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Longer tokens are nobody's.
const LONGEST_PASSWORD: usize = 20 << 10;

/// What all connections of one listener share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) gate: Arc<Gate>,
    pub(crate) reader: Reader,
    /// The targets behind it, in the order of the configuration.
    pub(crate) targets: Vec<Arc<PostgresTarget>>,
    pub(crate) slots: Slots,
    /// Sessions of this listener.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) stopping: CancellationToken,
}

/// What a client began with.
enum First {
    Startup {
        stream: Box<dyn Stream>,
        startup: Box<Startup>,
        from: From,
    },
    Refused {
        stream: Box<dyn Stream>,
        said: Said,
    },
    /// A cancel request, or bytes nobody could answer.
    Over,
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
    let limits = &first.limits;
    // Without these small answers could wait for an acknowledgement, or a peer that is gone be waited for; no reason to
    // fail.
    let _ = stream.set_nodelay(true);
    let _ = keep_alive(&stream, limits.keepalive.0);
    let known_by = Instant::now() + limits.login.0;
    let opened = async {
        match timeout_at(known_by, door.first(stream)).await {
            Ok(Ok(First::Startup { stream, startup, from })) => {
                door.start(stream, &startup, from, known_by).await
            }
            Ok(Ok(First::Refused { stream, said })) => {
                door.refuse(stream, said, RefusalCode::Malformed).await
            }
            Ok(Ok(First::Over)) | Err(_) => Ok(Opened::Over),
            Ok(Err(error)) => Err(error),
        }
    };
    // The database's own time to answer comes on top of the client's.
    match timeout(limits.login.0 + limits.connect.0, opened).await {
        Ok(Ok(Opened::Session(opened))) => {
            let (session, place) = *opened;
            Box::pin(session.run()).await;
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
    Unknown(Said),
}

impl Door {
    /// The caller by its certificate; `None` where it has none that names anybody, and is asked for a token.
    async fn certified(&self, client: Option<&ClientCertificate>) -> Option<Requester> {
        self.gate.authenticate(Presented::Certificate(client?)).await.ok()
    }

    /// Asks for the password, which is the agent's token, and waits for it until then.
    async fn by_password(&self, stream: &mut Box<dyn Stream>, until: Instant) -> io::Result<Asked> {
        const HINT: &str = "the password is the agent's token; ask its owner for a new one";
        let mut out = BytesMut::new();
        message(&mut out, b'R', |out| out.put_i32(3));
        stream.write_all(&out).await?;
        stream.flush().await?;
        let Ok(password) = timeout_at(until, password(stream)).await else {
            let why = "no password came in time";
            return Ok(Asked::Unknown(Said::new(sqlstate::QUERY_CANCELED, why, HINT)));
        };
        let Some(password) = password? else {
            let why = "a password was asked for, and something else came";
            return Ok(Asked::Unknown(Said::new(sqlstate::PROTOCOL_VIOLATION, why, HINT)));
        };
        Ok(match self.gate.authenticate(Presented::Bearer(&password)).await {
            Ok(requester) => Asked::Known(requester),
            Err(refusal) => Asked::Unknown(Said::new(sqlstate::INVALID_PASSWORD, refusal.reason, HINT)),
        })
    }

    /// Reads up to the start-up packet.
    async fn first(&self, stream: TcpStream) -> io::Result<First> {
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
                    return Ok(First::Over);
                }
                (Box::new(stream), true)
            }
            (None, true) => return Ok(First::Over),
            (_, false) => (Box::new(stream), false),
        };
        loop {
            let length = stream.read_u32().await?;
            let size = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(8);
            if length < 8 || size > startup::LONGEST {
                let why = "this is no start-up packet: its length cannot be";
                let hint = "connect with a client of PostgreSQL";
                let said = Said::new(sqlstate::PROTOCOL_VIOLATION, why, hint);
                return Ok(First::Refused { stream, said });
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
                    return Ok(First::Over);
                }
                Some(Opening::Startup { minor }) => {
                    let mut packet = vec![0; size];
                    stream.read_exact(&mut packet).await?;
                    let said = match startup::read(minor, &packet) {
                        Ok(Read::Startup(startup)) => {
                            let (from, startup) = (From { secure, local, client }, Box::new(startup));
                            return Ok(First::Startup { stream, startup, from });
                        }
                        Ok(Read::Refused(said)) => said,
                        Err(error) => {
                            let why = format!("the start-up packet cannot be read: {error}");
                            let hint = "send names and values as UTF-8, each ended by a zero byte";
                            Said::new(sqlstate::PROTOCOL_VIOLATION, why, hint)
                        }
                    };
                    return Ok(First::Refused { stream, said });
                }
                Some(Opening::Tls | Opening::Gss) | None => {
                    let why = "this is no start-up packet of protocol 3";
                    let said = Said::new("0A000", why, "use a client of PostgreSQL 7.4 or later");
                    return Ok(First::Refused { stream, said });
                }
            }
            stream.flush().await?;
        }
    }

    async fn start(
        &self,
        mut stream: Box<dyn Stream>,
        startup: &Startup,
        from: From,
        known_by: Instant,
    ) -> io::Result<Opened> {
        let target = match self.choose(startup) {
            Ok(target) => target,
            Err(said) => return self.refuse(stream, said, RefusalCode::NotPermitted).await,
        };
        if !from.secure && !target.plain.admits(from.local) {
            let why = "a token is not asked for without TLS";
            let hint = match target.acceptor {
                Some(_) => "connect with `sslmode=verify-full`",
                None => "connect from the gateway's own machine, or ask its operator for `listener_tls`",
            };
            let said = Said::new("28000", why, hint);
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
            None => match self.by_password(&mut stream, known_by).await? {
                Asked::Known(requester) => requester,
                Asked::Unknown(said) => {
                    return self.refuse(stream, said, RefusalCode::Unauthenticated).await;
                }
            },
        };
        let room = Room { of_all: &self.room, of_one: target.limits.agent_connections };
        let place = match self.slots.enter(&self.gate, (&requester, target.name()), &room) {
            Ok(place) => place,
            Err(said) => return self.refuse(stream, said, RefusalCode::TooMany).await,
        };
        let nonce = self.gate.journal().random();
        match target.way.login(&database, &startup.passed, nonce).await {
            Ok(server) => {
                let opening = (database, startup.claims.clone());
                self.ready(stream, target, (requester, place), server, opening).await
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
        (requester, place): (Requester, Place),
        server: crate::upstream::login::LoggedIn,
        (database, claims): (String, Claims),
    ) -> io::Result<Opened> {
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
            shared: Arc::clone(&place.shared),
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
