//! A real WebSocket client and a real WebSocket server with the gateway in between: what policy permits opens at once,
//! what people have to approve opens when they have.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use countersign_demo::person::{Person, Strength};
use countersign_e2e::{Gateway, Setup};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, header};
use serde_json::Value;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, handshake::client::Response},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_mins(2);

/// Gives back every message it gets.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Connections that only look whether somebody is there end here.
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if !(message.is_text() || message.is_binary()) || socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

struct Stage {
    gateway: Gateway,
    token: String,
    ana: Person,
}

impl Stage {
    async fn open() -> Self {
        let target = format!(
            "[[http]]\nlisten = \"127.0.0.1:WIRE\"\nname = \"machines\"\nenvironment = \"prod\"\nupstream = \"{}\"\nupgrades = \"action\"\n",
            echo().await
        );
        let setup = Setup {
            policy: include_str!("../fixtures/websocket.cedar"),
            groups: r#"["operators", "sre"]"#,
            sections: &target,
            files: &[],
        };
        let gateway = Gateway::start(&setup).await.unwrap();
        gateway.invite("olga@example.com", "operators").await.unwrap();
        let link = gateway.invite("ana@example.com", "sre").await.unwrap();
        let token = gateway.agent("bot", "olga@example.com", "operators").await.unwrap();
        let ana = Person::open(&gateway.console_url, &link).await.unwrap();
        Self { gateway, token, ana }
    }

    /// Opens a socket in a task of its own.
    fn connect(&self, path: &str) -> JoinHandle<Result<(Socket, Response), Error>> {
        let mut asked =
            format!("{}{path}", self.gateway.url.replace("http://", "ws://")).into_client_request().unwrap();
        let token = HeaderValue::try_from(format!("Bearer {}", self.token)).unwrap();
        asked.headers_mut().insert(header::AUTHORIZATION, token);
        tokio::spawn(connect_async(asked))
    }

    /// The one approval in this state, once there is one.
    async fn approval(&self, status: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let listed = self.ana.read(&format!("approvals?status={status}")).await.unwrap().json();
            let items = listed.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            if let [item] = items.as_slice() {
                return item.get("id").and_then(Value::as_str).unwrap().to_owned();
            }
            assert!(Instant::now() < end, "no single approval is {status}: {listed}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn approve(&mut self, id: &str) {
        self.ana.vote(id, "approve", Strength::Session, None).await.unwrap().success("vote").unwrap();
    }
}

async fn opened(connecting: JoinHandle<Result<(Socket, Response), Error>>) -> Socket {
    match timeout(PATIENCE, connecting).await.unwrap().unwrap() {
        Ok((socket, response)) => {
            assert_eq!(response.status(), 101);
            socket
        }
        Err(error) => panic!("the socket did not open: {error}"),
    }
}

async fn speaks(socket: &mut Socket, words: &str) {
    socket.send(Message::text(words)).await.unwrap();
    let heard = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(heard, Message::text(words));
    let large = Message::binary(vec![7; 300_000]);
    socket.send(large.clone()).await.unwrap();
    assert_eq!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), large);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_opens_at_once_or_when_people_have_approved_it() {
    let mut stage = Stage::open().await;
    let mut free = opened(stage.connect("/metrics")).await;
    speaks(&mut free, "how are you").await;

    // The same client, the same library: it only waits longer for its handshake.
    let waiting = stage.connect("/shell/db-1");
    let id = stage.approval("pending").await;
    assert!(!waiting.is_finished());
    stage.approve(&id).await;
    let mut shell = opened(waiting).await;
    speaks(&mut shell, "ls").await;
    assert_eq!(stage.approval("executing").await, id);
    shell.close(None).await.unwrap();
    while let Some(Ok(_)) = shell.next().await {}
    drop(shell);
    assert_eq!(stage.approval("done").await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_comes_back_to_the_same_approval_and_revoking_cuts_its_socket() {
    let mut stage = Stage::open().await;
    let address = stage.gateway.url.trim_start_matches("http://");
    let mut gone = TcpStream::connect(address).await.unwrap();
    let asked = format!(
        "GET /shell/db-1 HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        stage.token
    );
    gone.write_all(asked.as_bytes()).await.unwrap();
    let id = stage.approval("pending").await;
    gone.shutdown().await.unwrap();
    let ended = timeout(PATIENCE, gone.read_to_end(&mut Vec::new())).await;
    assert_eq!(ended.unwrap().unwrap(), 0, "the gateway has let go of it");
    stage.approve(&id).await;
    // A new handshake with a new key, and still the same action.
    let mut shell = opened(stage.connect("/shell/db-1")).await;
    speaks(&mut shell, "ls").await;
    assert_eq!(stage.approval("executing").await, id);
    let why = serde_json::json!({"reason": "enough"});
    stage.ana.write(&format!("approvals/{id}/revoke"), &why).await.unwrap().success("revoke").unwrap();
    let end = timeout(PATIENCE, async { while let Some(Ok(_)) = shell.next().await {} }).await;
    assert!(end.is_ok(), "the socket stays open");
    assert_eq!(stage.approval("cancelled").await, id);
}
