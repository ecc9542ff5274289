//! The target: notes every byte that reaches it, and answers as its paths say.

use bytes::Bytes;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// Request line and headers, in lower case but for the path.
    pub(crate) head: String,
    pub(crate) body: Bytes,
}

pub(crate) struct Cloud {
    pub(crate) addr: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    /// `/slow` answers go on only as permits are added.
    pub(crate) pace: Arc<Semaphore>,
}

impl Cloud {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let pace = Arc::new(Semaphore::new(0));
        let (noted, paced) = (Arc::clone(&arrived), Arc::clone(&pace));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&noted), Arc::clone(&paced)));
            }
        });
        Self { addr, arrived, pace }
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, arrived: Arc<Mutex<Vec<Arrived>>>, pace: Arc<Semaphore>) -> Option<()> {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut held).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(held.drain(..end).collect()).unwrap();
        let body = body(&head, &mut stream, &mut held).await?;
        arrived.lock().unwrap().push(Arrived { head: head.clone(), body: body.clone() });
        let path = head.split(' ').nth(1).unwrap();
        let answer: &[u8] = match path {
            "/export" => {
                let big = vec![b'x'; 300_000];
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Kept: as it is\r\n\r\n", big.len());
                stream.write_all(&[head.as_bytes(), &big].concat()).await.ok()?;
                continue;
            }
            "/slow" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                    .await
                    .ok()?;
                pace.acquire().await.ok()?.forget();
                b"6\r\nsecond\r\n0\r\n\r\n"
            }
            "/cut" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await.ok()?;
                return None;
            }
            "/mute" => return None,
            "/away" => {
                b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n"
            }
            "/socket" | "/watched" => {
                stream
                    .write_all(
                        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n",
                    )
                    .await
                    .ok()?;
                let (mut read, mut write) = stream.split();
                write.write_all(&held).await.ok()?;
                tokio::io::copy(&mut read, &mut write).await.ok()?;
                return None;
            }
            _ if head.starts_with("DELETE") => {
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Shop: yes\r\n\r\ngone"
            }
            _ => b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-Shop: yes\r\n\r\nok",
        };
        stream.write_all(answer).await.ok()?;
    }
}

async fn body(head: &str, stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<Bytes> {
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    if let Some(length) = length {
        while held.len() < length {
            if stream.read_buf(held).await.ok()? == 0 {
                return None;
            }
        }
        return Some(held.drain(..length).collect::<Vec<_>>().into());
    }
    if !lower.contains("transfer-encoding: chunked") {
        return Some(Bytes::new());
    }
    let mut out = Vec::new();
    loop {
        let line = loop {
            if let Some(at) = held.windows(2).position(|two| two == b"\r\n") {
                break held.drain(..at + 2).collect::<Vec<_>>();
            }
            if stream.read_buf(held).await.ok()? == 0 {
                return None;
            }
        };
        let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
        while held.len() < size + 2 {
            if stream.read_buf(held).await.ok()? == 0 {
                return None;
            }
        }
        out.extend(held.drain(..size));
        held.drain(..2);
        if size == 0 {
            return Some(out.into());
        }
    }
}
