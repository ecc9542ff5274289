//! Socket Mode: connections that the app opens, on which Slack hands in what people do
//! (<https://docs.slack.dev/apis/events-api/using-socket-mode>). An address is good for one connection, an app has ten at
//! most, and what is handed in has to be acknowledged within three seconds. What a client does that Slack would not take is
//! kept as a fault.

use super::{Said, Shared, Slack, person::Request};
use crate::server::{Asked, Takes, empty, lock};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};
use url::form_urlencoded;

/// The app-level token.
pub const APP_TOKEN: &str = "xapp-1-A0123456789-planted-slack-app-token";
/// The app.
pub const APP: &str = "A0123456789";
/// An app has so many connections at most.
const MOST: usize = 10;
/// Within this something that was handed in has to be acknowledged. Slack itself waits three seconds; a busy machine may take
/// longer, and that is no fault of the app.
const ACKNOWLEDGED: Duration = Duration::from_mins(1);
/// Slack asks so often whether somebody is there.
const PING: Duration = Duration::from_secs(5);

/// Everything about the app's connections.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Addresses that nobody connected to yet.
    tickets: BTreeSet<String>,
    links: BTreeMap<u64, mpsc::UnboundedSender<Order>>,
    /// Connections that were greeted, ever.
    greeted: u64,
    /// What was handed in and not acknowledged yet, and when.
    handed: BTreeMap<String, Instant>,
    acknowledged: Vec<(String, Value)>,
    faults: Vec<String>,
    /// Connections of somebody else who holds the app's token.
    others: usize,
    /// Somebody switched Socket Mode off in the app's settings.
    off: bool,
    count: u64,
}

/// What a connection is to do.
#[derive(Debug)]
enum Order {
    Say(String),
    /// It says goodbye.
    Close,
    /// It is gone without a word.
    Vanish,
    /// It stays, reads nothing and says nothing.
    Stall,
}

impl Slack {
    /// How many connections stand.
    pub fn connections(&self) -> usize {
        lock(&self.shared).sockets.links.len()
    }

    /// How many connections were greeted, ever.
    pub fn greeted(&self) -> u64 {
        lock(&self.shared).sockets.greeted
    }

    /// Somebody else who holds the app's token has so many connections.
    pub fn others(&self, connections: usize) {
        lock(&self.shared).sockets.others = connections;
    }

    /// What the app did that Slack would not take.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.shared).sockets.faults.clone()
    }

    /// What came back for an envelope: the payload, `null` where there was none.
    pub fn acknowledged(&self, envelope: &str) -> Option<Value> {
        let shared = lock(&self.shared);
        let mut known = shared.sockets.acknowledged.iter();
        known.find(|(id, _)| id == envelope).map(|(_, payload)| payload.clone())
    }

    /// Hands in what somebody did on the newest connection, or on the oldest: the envelope's id.
    pub fn hand_in(&self, request: &Request, on: Link) -> Result<String, String> {
        let (kind, payload) = content(request)?;
        let id = {
            let mut shared = lock(&self.shared);
            shared.sockets.count += 1;
            format!("envelope-{:08}", shared.sockets.count)
        };
        self.deliver(&id, kind, &payload, on)?;
        Ok(id)
    }

    /// Hands in the very same envelope once more, as Slack does where nobody acknowledged it.
    pub fn hand_in_again(&self, id: &str, request: &Request, on: Link) -> Result<(), String> {
        let (kind, payload) = content(request)?;
        self.deliver(id, kind, &payload, on)
    }

    fn deliver(&self, id: &str, kind: &str, payload: &Value, on: Link) -> Result<(), String> {
        let envelope =
            json!({"envelope_id": id, "type": kind, "payload": payload, "accepts_response_payload": true});
        let mut shared = lock(&self.shared);
        shared.sockets.handed.insert(id.to_owned(), Instant::now());
        shared.sockets.order(on, Order::Say(envelope.to_string()))
    }

    /// Says something on a connection, whatever it is.
    pub fn say(&self, text: &str, on: Link) -> Result<(), String> {
        lock(&self.shared).sockets.order(on, Order::Say(text.to_owned()))
    }

    /// Tells a connection that it ends: `warning` or `refresh_requested`. It goes on until it is closed.
    pub fn asks_to_leave(&self, reason: &str, on: Link) -> Result<(), String> {
        let said = json!({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}});
        self.say(&said.to_string(), on)
    }

    /// Closes a connection.
    pub fn close(&self, on: Link) -> Result<(), String> {
        lock(&self.shared).sockets.order(on, Order::Close)
    }

    /// A connection ends without a word.
    pub fn vanish(&self, on: Link) -> Result<(), String> {
        lock(&self.shared).sockets.order(on, Order::Vanish)
    }

    /// A connection stays and nothing comes through any more.
    pub fn stall(&self, on: Link) -> Result<(), String> {
        lock(&self.shared).sockets.order(on, Order::Stall)
    }

    /// Somebody switches Socket Mode off, or on again.
    pub fn socket_mode(&self, on: bool) {
        let mut shared = lock(&self.shared);
        shared.sockets.off = !on;
        if !on {
            let said = json!({"type": "disconnect", "reason": "link_disabled"}).to_string();
            for link in shared.sockets.links.values() {
                // Whoever is gone needs not be told.
                let _ = link.send(Order::Say(said.clone()));
                let _ = link.send(Order::Close);
            }
        }
    }
}

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Oldest,
    Newest,
}

impl Sockets {
    fn order(&mut self, on: Link, order: Order) -> Result<(), String> {
        let link = match on {
            Link::Oldest => self.links.first_key_value(),
            Link::Newest => self.links.last_key_value(),
        };
        let (_, link) = link.ok_or("the app has no connection")?;
        link.send(order).map_err(|_| "the connection is gone".to_owned())
    }

    fn heard(&mut self, text: &str) {
        let said: Value = serde_json::from_str(text).unwrap_or_default();
        let id = said.get("envelope_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        match self.handed.remove(&id) {
            None => self.faults.push(format!("acknowledged, but not handed in: {text}")),
            Some(at) if at.elapsed() > ACKNOWLEDGED => {
                self.faults.push(format!("{id} was acknowledged late"));
            }
            Some(_) => {}
        }
        self.acknowledged.push((id, said.get("payload").cloned().unwrap_or_default()));
    }
}

impl Shared {
    /// `apps.connections.open`: an address that is good once.
    pub(super) fn open_connection(&mut self, host: &str) -> Said {
        if self.sockets.off {
            return Err("link_disabled".into());
        }
        self.sockets.count += 1;
        let ticket = format!("ticket-{:08}", self.sockets.count);
        self.sockets.tickets.insert(ticket.clone());
        Ok(json!({"ok": true, "url": format!("ws://{host}/link/?ticket={ticket}&app_id={APP}")}))
    }

    /// Somebody connects.
    pub(super) fn link(&mut self, asked: &Asked, own: &Weak<Mutex<Self>>) -> Response<Bytes> {
        let header = |name: &str| asked.headers().get(name).and_then(|value| value.to_str().ok());
        let key = header("sec-websocket-key").filter(|_| {
            let websocket = header("upgrade").is_some_and(|kind| kind.eq_ignore_ascii_case("websocket"));
            websocket && header("sec-websocket-version") == Some("13")
        });
        let query = asked.uri().query().unwrap_or_default();
        let pairs: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let known = pairs.get("ticket").is_some_and(|ticket| self.sockets.tickets.remove(ticket));
        let (Some(key), true, Some(shared)) = (key, known, own.upgrade()) else {
            self.sockets.faults.push("somebody connected without an address that is good".into());
            return empty(StatusCode::FORBIDDEN);
        };
        if header("authorization").is_some() {
            self.sockets.faults.push("a token was sent where none is asked for".into());
        }
        let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
            headers.insert("sec-websocket-accept", accept);
        }
        response.extensions_mut().insert(Takes(Arc::new(move |connection| {
            tokio::spawn(serve(connection, Arc::clone(&shared)));
        })));
        response
    }
}

/// What an envelope holds where an address would get a form: the kind, and the payload.
fn content(request: &Request) -> Result<(&'static str, Value), String> {
    let pairs: BTreeMap<String, String> =
        form_urlencoded::parse(request.body.as_bytes()).into_owned().collect();
    match pairs.get("payload") {
        Some(payload) => {
            Ok(("interactive", serde_json::from_str(payload).map_err(|error| error.to_string())?))
        }
        None if pairs.contains_key("command") => Ok(("slash_commands", json!(pairs))),
        None => Err("no address would get this in an envelope".into()),
    }
}

async fn serve(connection: Upgraded, shared: Arc<Mutex<Shared>>) {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
    let (orders, mut todo) = mpsc::unbounded_channel();
    let number = {
        let mut shared = lock(&shared);
        let sockets = &mut shared.sockets;
        if sockets.links.len() < MOST {
            sockets.count += 1;
            let number = sockets.count;
            sockets.links.insert(number, orders);
            Some(number)
        } else {
            None
        }
    };
    let Some(number) = number else {
        let said = json!({"type": "disconnect", "reason": "too_many_websockets"}).to_string();
        let _ = socket.send(Message::text(said)).await;
        let _ = socket.close(None).await;
        return;
    };
    let connections = {
        let shared = lock(&shared);
        shared.sockets.links.len() + shared.sockets.others
    };
    let hello = json!({
        "type": "hello", "num_connections": connections, "connection_info": {"app_id": APP},
        "debug_info": {"host": "applink-1", "build_number": 1, "approximate_connection_time": 18_060},
    });
    if socket.send(Message::text(hello.to_string())).await.is_ok() {
        lock(&shared).sockets.greeted += 1;
        ring(&shared);
        let end = converse(&mut socket, &mut todo, &shared).await;
        lock(&shared).sockets.links.remove(&number);
        ring(&shared);
        if end == End::Stalled {
            // The connection stays as long as the server does.
            return std::future::pending().await;
        }
    }
    lock(&shared).sockets.links.remove(&number);
}

/// How a conversation ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Over,
    Stalled,
}

fn ring(shared: &Mutex<Shared>) {
    let bell = lock(shared).bell.clone();
    if let Some(bell) = bell {
        bell.send_modify(|count| *count += 1);
    }
}

async fn converse(
    socket: &mut WebSocketStream<TokioIo<Upgraded>>,
    todo: &mut mpsc::UnboundedReceiver<Order>,
    shared: &Mutex<Shared>,
) -> End {
    let mut pings = tokio::time::interval(PING);
    loop {
        let sent = tokio::select! {
            order = todo.recv() => match order {
                Some(Order::Say(text)) => socket.send(Message::text(text)).await,
                Some(Order::Close) => socket.close(None).await,
                Some(Order::Stall) => return End::Stalled,
                Some(Order::Vanish) | None => return End::Over,
            },
            _ = pings.tick() => socket.send(Message::Ping(Bytes::from_static(b"Ping from applink-1"))).await,
            heard = socket.next() => match heard {
                Some(Ok(Message::Text(text))) => {
                    lock(shared).sockets.heard(&text);
                    ring(shared);
                    Ok(())
                }
                Some(Ok(Message::Binary(_))) => {
                    lock(shared).sockets.faults.push("nothing binary is spoken here".into());
                    Ok(())
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Over,
            },
        };
        if sent.is_err() {
            return End::Over;
        }
    }
}
