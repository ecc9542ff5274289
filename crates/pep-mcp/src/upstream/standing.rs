//! What a server says by itself, outside of answers: on a stream that the gateway opens for a session while its agent
//! listens, in the form of the server's era. No word of an agent's is in it. A stream that breaks is opened again, behind
//! the last event where the server gave its events ids.

use super::{Link, Peer, STREAM_LIMIT, Way, answers::Answers, talk::Talk};
use crate::{
    era,
    frame::{self, Message},
    method::{self, FromServer},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// A server that says nothing for so long is asked anew: it may be gone.
const QUIET: Duration = Duration::from_mins(15);
/// Between two tries; twice that the next time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A stream that held so long is opened again soon.
const SETTLED: Duration = Duration::from_mins(1);

/// The first message of a subscription.
pub(crate) const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// What is heard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'b> {
    /// A notification, as it came.
    Message(&'b Bytes),
    /// Something is asked of the agent: why it is refused is answered.
    Asked(Question<'b>),
    /// Something may have been said that nobody heard.
    Missed,
}

/// What a server asks of an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'b> {
    /// As it came.
    pub(crate) message: &'b Bytes,
    pub(crate) id: &'b RawValue,
    pub(crate) method: &'b str,
    pub(crate) params: Option<&'b RawValue>,
}

/// What became of what was heard: why a question is not taken.
pub(crate) type Taken = Result<(), &'static str>;

/// Why there is nothing more to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The server says nothing in this way.
    NotOffered,
    /// The server does not know the session any more.
    Forgotten,
}

/// How far a stream has come.
#[derive(Debug, Default)]
struct Reached {
    /// The last event, where the server gave it an id.
    after: Option<HeaderValue>,
    /// It was asked for before.
    is_again: bool,
    /// The server has opened it before.
    was_open: bool,
}

/// A session whose server is listened to.
pub(crate) struct Standing<'s, I> {
    pub(crate) way: &'s Arc<Way>,
    pub(crate) peer: &'s Peer,
    /// The agent's client, as JSON, for a server of the later era.
    pub(crate) client: Option<&'s str>,
    pub(crate) next_id: I,
}

impl<I: Fn() -> u64> Standing<'_, I> {
    /// Listens for as long as the server says anything in this way; whoever has enough lets go.
    pub(crate) async fn follow(&self, tell: impl Fn(Heard<'_>) -> Taken) -> Over {
        if let Some(Link::Process(process)) = &self.peer.link {
            let mut coming = process.listen();
            while let Some(line) = coming.recv().await {
                if let Ok(Message::Request { id, method, params }) = frame::read(&line) {
                    let question = Question { message: &line, id, method, params };
                    if let Err(why) = tell(Heard::Asked(question)) {
                        // A process that has ended hears nothing.
                        let _ = process.tell(method::refusal(id.get(), why).into()).await;
                    }
                } else {
                    let _ = tell(Heard::Message(&line));
                }
                if process.has_left_out() {
                    let _ = tell(Heard::Missed);
                }
            }
            return Over::NotOffered;
        }
        let (mut pause, mut reached) = (FIRST_PAUSE, Reached::default());
        loop {
            let begun = Instant::now();
            if let Some(over) = self.once(&mut reached, &tell).await {
                return over;
            }
            reached.is_again = true;
            pause = if begun.elapsed() >= SETTLED { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            sleep(pause).await;
        }
    }

    /// Listens to one stream to its end. Nothing where it may be opened again.
    async fn once(&self, reached: &mut Reached, tell: &impl Fn(Heard<'_>) -> Taken) -> Option<Over> {
        let Ok(mut talk) = self.open(reached.after.as_ref()).await else { return None };
        if !talk.status.is_success() || !talk.is_stream() {
            let status = talk.status;
            self.way.finish(talk).await;
            // What it does not go on behind, it may begin anew.
            if is_passing(status) || reached.after.take().is_some() {
                return None;
            }
            // One that never opened the stream may only mean that it has none.
            let is_session = reached.was_open && matches!(self.peer.link, Some(Link::Named(_)));
            let is_forgotten = status == StatusCode::NOT_FOUND && is_session;
            return Some(if is_forgotten { Over::Forgotten } else { Over::NotOffered });
        }
        if reached.is_again {
            let _ = tell(Heard::Missed);
        }
        reached.was_open = true;
        listen(self.way, self.peer, &mut talk, tell).await;
        reached.after = talk.last_event_id().or(reached.after.take());
        None
    }

    async fn open(&self, after: Option<&HeaderValue>) -> Result<Talk, super::Failed> {
        if !self.peer.is_later() {
            return self.way.listen(self.peer, after, QUIET).await;
        }
        let ask = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"subscriptions/listen","params":{{"notifications":{{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}},"_meta":{{{}}}}}}}"#,
            (self.next_id)(),
            era::envelope(self.client, "{}")
        );
        self.way.post(self.way.take(self.peer).await?, self.peer, ask).await
    }
}

/// Whether a refusal can be otherwise the next time.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || [
            StatusCode::UNAUTHORIZED,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::CONFLICT,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&status)
}

/// Reads a stream to its end. What the server asks on it is answered by the gateway.
pub(crate) async fn listen(way: &Arc<Way>, peer: &Peer, talk: &mut Talk, tell: impl Fn(Heard<'_>) -> Taken) {
    let answers = Answers::new(way, peer);
    talk.reads_at_most(STREAM_LIMIT);
    while let Ok(Some(message)) = talk.next(QUIET).await {
        match frame::read(&message) {
            Ok(Message::Notification { method, .. }) if method != ACKNOWLEDGED => {
                let _ = tell(Heard::Message(&message));
            }
            Ok(Message::Request { id, method, params })
                if method::from_server(method) == FromServer::Asks =>
            {
                let question = Question { message: &message, id, method, params };
                if let Err(why) = tell(Heard::Asked(question)) {
                    answers.refuse(id, why);
                }
            }
            Ok(Message::Request { id, method, .. }) => answers.give(method, id),
            // A subscription that the server ends is answered then.
            Ok(Message::Response { .. }) if peer.is_later() => return,
            Ok(Message::Notification { .. } | Message::Response { .. }) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::McpSection;
    use serde_json::json;
    use std::path::Path;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// The way to a server that gives these responses, a connection each, and the heads of what it was asked.
    async fn server(responses: Vec<&'static str>) -> (Arc<Way>, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}/mcp", listener.local_addr().unwrap());
        let section =
            json!({"name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "upstream": upstream});
        let target = serde_json::from_value::<McpSection>(section).unwrap().check(Path::new(".")).unwrap();
        let asked = tokio::spawn(async move {
            let mut heads = Vec::new();
            for response in responses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                heads.push(String::from_utf8(head).unwrap());
                let closes = "connection: close\r\n\r\n";
                let response = response.replacen("\n\n", &format!("\r\n{closes}"), 1);
                stream.write_all(response.as_bytes()).await.unwrap();
            }
            heads
        });
        (target.way, asked)
    }

    #[tokio::test]
    async fn what_is_larger_than_is_read_of_a_stream_ends_it_in_both_eras() {
        let small = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
        let large = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":"{}"}}"#,
            "x".repeat(8 * STREAM_LIMIT)
        );
        let events = format!("data: {small}\n\ndata: {large}\n\ndata: {small}\n\n");
        let response = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\n\n{events}");
        let named =
            Peer { link: Some(Link::Named(HeaderValue::from_static("s"))), version: Some("2025-11-25") };
        for peer in [named, Peer::later()] {
            let (way, _) = server(vec![String::leak(response.clone())]).await;
            let standing = Standing { way: &way, peer: &peer, client: None, next_id: || 1 };
            let told = std::cell::Cell::new(0);
            let tell = |heard: Heard<'_>| {
                assert!(matches!(heard, Heard::Message(message) if message.len() == small.len()));
                told.set(told.get() + 1);
                Ok(())
            };
            assert_eq!(standing.once(&mut Reached::default(), &tell).await, None);
            assert_eq!(told.get(), 1, "{peer:?}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_cannot_be_taken_up_is_begun_anew_and_a_session_that_is_gone_is_known_to_be() {
        const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\n\nid: 7\ndata: {}\n\n";
        const GONE: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\n\n";
        let named =
            Peer { link: Some(Link::Named(HeaderValue::from_static("s"))), version: Some("2025-11-25") };
        let (way, asked) = server(vec![STREAM, GONE, GONE]).await;
        let standing = Standing { way: &way, peer: &named, client: None, next_id: || 1 };
        let mut reached = Reached::default();
        assert_eq!(standing.once(&mut reached, &|_| Ok(())).await, None);
        assert_eq!(
            standing.once(&mut reached, &|_| Ok(())).await,
            None,
            "it may be the event that it does not know"
        );
        assert_eq!(standing.once(&mut reached, &|_| Ok(())).await, Some(Over::Forgotten));
        let heads = asked.await.unwrap();
        let behind: Vec<bool> = heads.iter().map(|head| head.contains("last-event-id: 7")).collect();
        assert_eq!(behind, [false, true, false]);
        let (way, _) = server(vec![GONE]).await;
        let standing = Standing { way: &way, peer: &named, client: None, next_id: || 1 };
        let over = standing.once(&mut Reached::default(), &|_| Ok(())).await;
        assert_eq!(over, Some(Over::NotOffered), "it may have no such stream");
    }
}
