//! One connection: greeted, listened to, asked whether it is there, and left once another stands in its place.

use super::{End, OFF, Socket};
use crate::{
    door::Reply,
    outward::{Line, Outward},
    slack::{
        door::Door,
        heard::{self, Heard},
    },
};
use bytes::Bytes;
use countersign_engine::Gate;
use futures_util::{SinkExt as _, StreamExt as _, stream::FuturesUnordered};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

/// The largest message that is read: a click comes with the message it was made on.
const LARGEST: usize = 512 << 10;
const BUFFER: usize = 16 << 10;
/// A connection that is left is read for so long at most while something waits to be acknowledged.
const DRAINED: Duration = Duration::from_secs(5);
/// Nobody waits longer for what is sent to be taken.
const SENT: Duration = Duration::from_secs(3);
/// The longest id of an envelope.
const LONGEST_ID: usize = 256;

const BROKE: &str = "the connection broke";

/// A connection that was greeted.
pub(super) struct Link(WebSocketStream<Box<dyn Line>>);

/// What something that came leads to.
enum Next {
    Nothing,
    /// An envelope, under its id.
    Takes(Heard, String),
    /// This is said.
    Say(Value),
    Ends(End),
}

impl Link {
    /// Connects, and waits for the greeting, which says how many connections the app has by now; the error is one plain
    /// sentence that names no address. Not bounded in time.
    pub(super) async fn open(outward: &Outward, address: &str) -> Result<(Self, u64), String> {
        let line = outward.line().await?;
        let request = address.into_client_request().map_err(|_| "its address cannot be used".to_owned())?;
        let limits = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(LARGEST)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        let opened = client_async_with_config(request, line, Some(limits)).await;
        let (mut socket, _) = opened.map_err(|error| {
            if let Error::Http(answer) = error {
                return format!("Slack answers {} to the connection", answer.status().as_u16());
            }
            "Slack does not answer as for a connection".to_owned()
        })?;
        loop {
            let Some(Ok(said)) = socket.next().await else { return Err(BROKE.into()) };
            let Message::Text(text) = said else { continue };
            let said: Value = serde_json::from_str(&text).unwrap_or_default();
            return match (kind(&said), reason(&said)) {
                ("hello", _) => {
                    let connections = said.get("num_connections").and_then(Value::as_u64).unwrap_or_default();
                    Ok((Self(socket), connections))
                }
                ("disconnect", "too_many_websockets") => {
                    Err("too many connections are open for this app (`too_many_websockets`)".into())
                }
                ("disconnect", "link_disabled") => Err(OFF.into()),
                _ => Err("Slack does not greet on the connection".into()),
            };
        }
    }

    /// Listens until the connection ends. `ends` is told when another is needed; `replaced` ends when that stands.
    pub(super) async fn serve(
        mut self,
        socket: Socket,
        gate: Arc<Gate>,
        ends: oneshot::Sender<End>,
        mut replaced: oneshot::Receiver<()>,
    ) {
        let pace = socket.pace;
        let mut ends = Some(ends);
        let mut tell = |end| {
            // Nobody waits where the gateway ends.
            let _ = ends.take().map(|ends| ends.send(end));
        };
        let mut pings = interval(pace.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut leave: Option<Instant> = None;
        // Envelopes that are acknowledged once what they hold is durable; the door bounds how many are under way.
        let mut under_way: FuturesUnordered<JoinHandle<Option<Value>>> = FuturesUnordered::new();
        let end = loop {
            let at = leave.unwrap_or(heard);
            let next = tokio::select! {
                said = self.0.next() => {
                    heard = Instant::now();
                    match said {
                        Some(Ok(Message::Text(text))) => read(&socket, &text),
                        // A question whether somebody is there is answered by the library.
                        Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Next::Nothing,
                        Some(Ok(Message::Close(_))) | None => break End::Lost("Slack closed the connection"),
                        Some(Err(Error::Capacity(_))) => break End::Lost("Slack sent more than is read at once"),
                        Some(Err(_)) => break End::Lost(BROKE),
                    }
                }
                Some(said) = under_way.next(), if !under_way.is_empty() => {
                    said.ok().flatten().map_or(Next::Nothing, Next::Say)
                }
                _ = pings.tick() => {
                    if heard.elapsed() >= pace.silent {
                        break End::Lost("nothing came on the connection any more");
                    }
                    if !self.send(Message::Ping(Bytes::new())).await {
                        break End::Lost(BROKE);
                    }
                    Next::Nothing
                }
                _ = &mut replaced, if leave.is_none() => {
                    leave = Some(Instant::now() + pace.linger);
                    Next::Nothing
                }
                // Until it is closed Slack may hand in here: it is read for as long as something waits to be acknowledged.
                () = sleep_until(at), if leave.is_some() && under_way.is_empty() => break End::Renew,
                () = sleep_until(at + DRAINED), if leave.is_some() => break End::Renew,
            };
            match next {
                Next::Nothing => {}
                // It goes on though the connection ends, so that what was read is not lost.
                Next::Takes(heard, id) => {
                    let (door, gate) = (socket.door.clone(), Arc::clone(&gate));
                    under_way.push(tokio::spawn(async move { take(&door, &gate, heard, id).await }));
                }
                Next::Say(said) => {
                    if !self.send(Message::text(said.to_string())).await {
                        break End::Lost(BROKE);
                    }
                }
                Next::Ends(End::Renew) => tell(End::Renew),
                Next::Ends(end) => break end,
            }
        };
        tell(end);
        // A goodbye that does not arrive changes nothing.
        let _ = timeout(SENT, self.0.close(None)).await;
    }

    async fn send(&mut self, message: Message) -> bool {
        matches!(timeout(SENT, self.0.send(message)).await, Ok(Ok(())))
    }
}

/// Reads what came.
fn read(socket: &Socket, text: &str) -> Next {
    let Ok(said) = serde_json::from_str::<Value>(text) else { return Next::Nothing };
    match kind(&said) {
        "hello" => return Next::Nothing,
        "disconnect" => {
            return Next::Ends(match reason(&said) {
                "link_disabled" => End::Off,
                "too_many_websockets" => End::Lost("too many connections are open for this app"),
                _ => End::Renew,
            });
        }
        _ => {}
    }
    let id = said.get("envelope_id").and_then(Value::as_str).unwrap_or_default();
    if !(1..=LONGEST_ID).contains(&id.len()) {
        return Next::Nothing;
    }
    let payload = said.get("payload").unwrap_or(&Value::Null);
    let Some(heard) = heard::enveloped(kind(&said), payload) else {
        tracing::warn!(channel = %socket.door.name, "what came from Slack cannot be read");
        return Next::Nothing;
    };
    Next::Takes(heard, id.to_owned())
}

/// Takes in what an envelope held, and says how it is acknowledged, if it is.
async fn take(door: &Door, gate: &Arc<Gate>, heard: Heard, id: String) -> Option<Value> {
    if let Some(channel) = gate.channels().named(&door.name) {
        channel.hears(gate.now());
    }
    match door.hand_in(gate, heard, &format!("envelope:{id}")).await {
        Reply::Json(answer) => Some(json!({"envelope_id": id, "payload": answer})),
        Reply::Taken | Reply::Text(_) => Some(json!({"envelope_id": id})),
        // What is not acknowledged comes again, or its user is told that it did not work.
        Reply::Busy | Reply::Unreadable | Reply::NotBelieved(_) => None,
    }
}

fn kind(said: &Value) -> &str {
    said.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn reason(said: &Value) -> &str {
    said.get("reason").and_then(Value::as_str).unwrap_or_default()
}
