//! An agent with a raw connection: it can send what no polite client would.

use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An answer as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

pub(crate) struct Agent {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Agent {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), held: Vec::new() }
    }

    /// A request of `bot`, with more header lines and a body.
    pub(crate) async fn ask(&mut self, line: &str, more: &str, body: &str) -> Answer {
        self.ask_as("bot", line, more, body).await
    }

    pub(crate) async fn ask_as(&mut self, token: &str, line: &str, more: &str, body: &str) -> Answer {
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head =
            format!("{line} HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {token}\r\n{more}{length}\r\n");
        self.say(format!("{head}{body}").as_bytes()).await;
        self.answer().await
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Says that nothing more comes from this side.
    pub(crate) async fn close_side(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads until so much was received beyond the head.
    pub(crate) async fn until(&mut self, text: &str) {
        while !self.held.windows(text.len()).any(|found| found == text.as_bytes()) {
            assert!(self.more().await > 0, "the connection ended before `{text}`");
        }
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.held.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await > 0, "the connection ended before an answer");
        };
        let head = String::from_utf8(self.held.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        if let Some(length) = answer.header("content-length").map(|length| length.parse::<usize>().unwrap()) {
            while self.held.len() < length {
                assert!(self.more().await > 0, "the connection ended inside an answer");
            }
            answer.body = self.held.drain(..length).collect();
        } else if answer.header("transfer-encoding").is_some() {
            self.until("0\r\n\r\n").await;
            answer.body = std::mem::take(&mut self.held);
        }
        answer
    }

    /// Whether the gateway closed the connection; whatever it sent first is thrown away.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.is_ok()
    }

    /// Whatever comes until the connection ends, however it ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.held)
    }

    async fn more(&mut self) -> usize {
        self.stream.read_buf(&mut self.held).await.unwrap_or(0)
    }
}
