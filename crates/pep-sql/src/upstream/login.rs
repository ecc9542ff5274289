//! Logging in to a database: start-up packet, proof of the password, and what the server says of the new session.

use super::{Stream, Way};
use crate::{
    error::LoginError,
    frame::{self, Fields, Frame, FrameError},
    message::Backend,
    reply::{message, put_text},
    scram::{Scram, ScramError},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{BufMut as _, BytesMut};
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// Messages of a login are short.
const LONGEST: usize = 64 << 10;

/// Settings every session begins with, so that a reset comes back to them: what text means does not change.
const PINNED: [(&str, &str); 3] = [
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
];

/// A session of the gateway's own with a database.
pub(crate) struct LoggedIn {
    pub(crate) stream: Box<dyn Stream>,
    /// What was received behind the login, if anything.
    pub(crate) buffer: BytesMut,
    pub(crate) process: i32,
    pub(crate) secret: Vec<u8>,
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Way {
    /// Logs in. `settings` are the client's own start-up parameters that may pass.
    pub(crate) async fn login(
        &self,
        database: &str,
        settings: &[(String, String)],
        nonce: [u8; 18],
    ) -> Result<LoggedIn, LoginError> {
        timeout(self.connect, self.login_now(database, settings, nonce))
            .await
            .map_err(|_| LoginError::TooLate)?
    }

    async fn login_now(
        &self,
        database: &str,
        settings: &[(String, String)],
        nonce: [u8; 18],
    ) -> Result<LoggedIn, LoginError> {
        let mut login = Login { stream: self.open().await?, buffer: BytesMut::with_capacity(4096) };
        let mut packet = BytesMut::new();
        packet.put_i32(0);
        packet.put_u32(3 << 16);
        let own = [("user", self.credential.user.as_str()), ("database", database)];
        let client = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.into_iter().chain(PINNED).chain(client) {
            put_text(&mut packet, name);
            put_text(&mut packet, value);
        }
        packet.put_u8(0);
        let length = i32::try_from(packet.len()).unwrap_or(i32::MAX).to_be_bytes();
        if let Some(place) = packet.get_mut(..4) {
            place.copy_from_slice(&length);
        }
        login.send(&packet).await?;
        login.authenticate(self, nonce).await?;
        login.settle().await
    }
}

struct Login {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

impl Login {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), LoginError> {
        self.stream.write_all(bytes).await.map_err(LoginError::Connect)?;
        self.stream.flush().await.map_err(LoginError::Connect)
    }

    /// The next message; notices are let go.
    async fn next(&mut self) -> Result<(Backend, Frame), LoginError> {
        loop {
            if let Some(frame) = frame::take(&mut self.buffer, LONGEST)? {
                match Backend::of(frame.tag) {
                    Some(Backend::ErrorResponse) => return Err(LoginError::Refused(said(frame.body())?)),
                    Some(Backend::NoticeResponse) => continue,
                    Some(message) => return Ok((message, frame)),
                    None => return Err(FrameError::Meaningless.into()),
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(LoginError::Connect)? == 0 {
                let closed = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(LoginError::Connect(closed));
            }
        }
    }

    async fn asked(&mut self) -> Result<(i32, Frame), LoginError> {
        let (Backend::Authentication, frame) = self.next().await? else {
            return Err(FrameError::Meaningless.into());
        };
        Ok((Fields::new(frame.body()).i32()?, frame))
    }

    async fn authenticate(&mut self, way: &Way, nonce: [u8; 18]) -> Result<(), LoginError> {
        let (code, frame) = self.asked().await?;
        match code {
            0 => return Ok(()),
            3 if way.credential.cleartext => {
                let mut out = BytesMut::new();
                let password = way.credential.password()?;
                message(&mut out, b'p', |out| {
                    out.extend_from_slice(&password);
                    out.put_u8(0);
                });
                self.send(&out).await?;
                out.fill(0);
            }
            3 => return Err(LoginError::Method("a password in clear text".into())),
            5 => return Err(LoginError::Method("MD5".into())),
            10 => self.scram(way, nonce, &frame).await?,
            other => return Err(LoginError::Method(format!("number {other}"))),
        }
        match self.asked().await? {
            (0, _) => Ok(()),
            (other, _) => Err(LoginError::Method(format!("number {other} after the password"))),
        }
    }

    async fn scram(&mut self, way: &Way, nonce: [u8; 18], offered: &Frame) -> Result<(), LoginError> {
        const MECHANISM: &str = "SCRAM-SHA-256";
        let mut fields = Fields::new(offered.body());
        fields.i32()?;
        loop {
            match fields.text()? {
                MECHANISM => break,
                "" => return Err(LoginError::Method("SASL without SCRAM-SHA-256".into())),
                _ => {}
            }
        }
        let scram = Scram::new(STANDARD_NO_PAD.encode(nonce), &way.credential.password()?);
        let mut out = BytesMut::new();
        let first = scram.first();
        message(&mut out, b'p', |out| {
            put_text(out, MECHANISM);
            out.put_i32(i32::try_from(first.len()).unwrap_or(i32::MAX));
            out.extend_from_slice(first.as_bytes());
        });
        self.send(&out).await?;
        let server_first = self.sasl(11).await?;
        let (last, awaiting) = scram.last(&server_first).map_err(scram_error)?;
        out.clear();
        message(&mut out, b'p', |out| out.extend_from_slice(last.as_bytes()));
        self.send(&out).await?;
        let server_last = self.sasl(12).await?;
        awaiting.proven(&server_last).map_err(scram_error)
    }

    async fn sasl(&mut self, want: i32) -> Result<String, LoginError> {
        let (code, frame) = self.asked().await?;
        if code != want {
            return Err(LoginError::NotProven);
        }
        let text = frame.body().get(4..).unwrap_or_default();
        String::from_utf8(text.to_vec()).map_err(|_| FrameError::NotUtf8.into())
    }

    /// Reads on until the session is ready.
    async fn settle(mut self) -> Result<LoggedIn, LoginError> {
        let (mut process, mut secret, mut parameters) = (0, Vec::new(), BTreeMap::new());
        loop {
            let (message, frame) = self.next().await?;
            let mut fields = Fields::new(frame.body());
            #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else belongs into a login")]
            match message {
                Backend::ParameterStatus => {
                    parameters.insert(fields.text()?.to_owned(), fields.text()?.to_owned());
                }
                Backend::BackendKeyData => {
                    process = fields.i32()?;
                    secret = fields.rest().to_vec();
                }
                Backend::NegotiateProtocolVersion => {}
                Backend::ReadyForQuery => break,
                _ => return Err(FrameError::Meaningless.into()),
            }
        }
        if !parameters.contains_key("default_transaction_read_only") {
            return Err(LoginError::TooOld);
        }
        Ok(LoggedIn { stream: self.stream, buffer: self.buffer, process, secret, parameters })
    }
}

fn scram_error(error: ScramError) -> LoginError {
    match error {
        ScramError::Malformed => FrameError::Meaningless.into(),
        ScramError::OtherNonce | ScramError::NotProven => LoginError::NotProven,
    }
}

/// Code and message of an `ErrorResponse`.
fn said(body: &[u8]) -> Result<String, FrameError> {
    let mut fields = Fields::new(body);
    let (mut code, mut text) = (String::new(), String::new());
    loop {
        match fields.byte()? {
            0 => return Ok(format!("{text} ({code})")),
            b'C' => fields.text()?.clone_into(&mut code),
            b'M' => fields.text()?.clone_into(&mut text),
            _ => {
                fields.text()?;
            }
        }
    }
}
