//! A PostgreSQL client of bare messages, for what drivers do not let anybody do: stop reading, leave in the middle of an
//! answer, or wait for one message alone. It asks for what a gateway offers, a password in clear text.

use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PROTOCOL: u32 = 3 << 16;
const CANCEL: u32 = 80_877_102;

/// A message: its tag and what it holds.
pub type Message = (u8, Vec<u8>);

/// An open session.
#[derive(Debug)]
pub struct PgClient {
    stream: TcpStream,
    addr: SocketAddr,
    key: Vec<u8>,
}

/// What cancels a session's statements, from anywhere.
#[derive(Clone, Debug)]
pub struct Key {
    addr: SocketAddr,
    key: Vec<u8>,
}

impl PgClient {
    /// Connects without TLS, and waits until the session is ready.
    pub async fn connect(addr: SocketAddr, user: &str, password: &str, database: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, addr, key: Vec::new() };
        let body = format!("user\0{user}\0database\0{database}\0\0");
        client.stream.write_all(&packet(PROTOCOL, body.as_bytes())?).await?;
        loop {
            match client.message().await? {
                (b'R', body) if body == [0, 0, 0, 3] => client.send(b'p', &text(password)).await?,
                (b'K', key) => client.key = key,
                (b'E', body) => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
                (b'Z', _) => return Ok(client),
                _ => {}
            }
        }
    }

    /// Sends one message.
    pub async fn send(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(&[&[tag], length(body.len())?.as_slice(), body].concat()).await
    }

    /// Sends a simple query, and reads nothing.
    pub async fn ask(&mut self, sql: &str) -> io::Result<()> {
        self.send(b'Q', &text(sql)).await
    }

    /// The next message.
    pub async fn message(&mut self) -> io::Result<Message> {
        let tag = self.stream.read_u8().await?;
        let size = self.stream.read_u32().await?;
        let mut body = vec![0; usize::try_from(size.saturating_sub(4)).map_err(io::Error::other)?];
        self.stream.read_exact(&mut body).await?;
        Ok((tag, body))
    }

    /// Everything up to and with the next message that says that the session is ready.
    pub async fn until_ready(&mut self) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            let message = self.message().await?;
            let ready = message.0 == b'Z';
            messages.push(message);
            if ready {
                return Ok(messages);
            }
        }
    }

    /// Sends a simple query, and reads its answer.
    pub async fn query(&mut self, sql: &str) -> io::Result<Vec<Message>> {
        self.ask(sql).await?;
        self.until_ready().await
    }

    /// What cancels the session's statements.
    pub fn key(&self) -> Key {
        Key { addr: self.addr, key: self.key.clone() }
    }
}

impl Key {
    /// Asks, over a connection of its own, to cancel what the session does; returns once that one is closed.
    pub async fn cancel(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.addr).await?;
        stream.write_all(&packet(CANCEL, &self.key)?).await?;
        stream.read_to_end(&mut Vec::new()).await?;
        Ok(())
    }
}

/// The SQLSTATE of the first error among these messages.
pub fn sqlstate(messages: &[Message]) -> Option<String> {
    let error = messages.iter().find(|(tag, _)| *tag == b'E')?;
    field(std::slice::from_ref(error), b'C')
}

/// A field of the first error or notice among these messages, by its letter.
pub fn field(messages: &[Message], letter: u8) -> Option<String> {
    let (_, body) = messages.iter().find(|(tag, _)| matches!(tag, b'E' | b'N'))?;
    let mut fields = body.split(|byte| *byte == 0);
    let text = fields.find_map(|field| field.strip_prefix(&[letter]))?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The length of a message that holds so many bytes.
fn length(size: usize) -> io::Result<[u8; 4]> {
    Ok(u32::try_from(size + 4).map_err(io::Error::other)?.to_be_bytes())
}

fn packet(code: u32, body: &[u8]) -> io::Result<Vec<u8>> {
    Ok([length(body.len() + 4)?.as_slice(), &code.to_be_bytes(), body].concat())
}
