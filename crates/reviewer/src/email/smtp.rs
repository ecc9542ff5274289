//! The exchange with a mail server (RFC 5321), through lettre. TLS is our own, as for every other channel. What the server
//! says is never repeated: only its codes are.

use crate::channel::{Again, Failed, Scope};
use countersign_pep::{Origin, SecretRef};
use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, AsyncTokioStream},
        commands::{Data, Mail, Rcpt, Rset},
        extension::ClientId,
    },
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The longest reply that is read (RFC 5321, section 4.5.3.1.5, has 512 bytes for a line).
const LONGEST: usize = 16 << 10;

/// What a server answers to a mail larger than it takes.
pub(super) const TOO_LARGE: u16 = 552;

/// One mail server, and how it is spoken to.
#[derive(Clone)]
pub(crate) struct Smtp {
    pub(crate) origin: Origin,
    pub(crate) security: Security,
    pub(crate) login: Option<Login>,
    pub(crate) time_limit: Duration,
}

/// What keeps others from reading along.
#[derive(Clone)]
pub(crate) enum Security {
    /// TLS from the first byte (RFC 8314).
    Implicit(Arc<ClientConfig>),
    /// TLS after the server was asked for it, or nothing (RFC 3207).
    StartTls(Arc<ClientConfig>),
    Nothing,
}

/// Who the server is to think we are.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: SecretRef,
}

/// Why a mail was not taken.
#[derive(Debug)]
pub(super) enum NotSent {
    /// This recipient alone.
    Recipient(u16, Again),
    /// It is larger than the server takes.
    TooLarge,
    /// This mail.
    Mail(u16, Again),
    /// Nothing gets through.
    Channel(Failed),
}

/// A server that listens, and took our credential where we have one.
pub(super) struct Connection<'s> {
    server: &'s Smtp,
    smtp: AsyncSmtpConnection,
    /// Every answer so far was to the command before it.
    in_step: bool,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Smtp({})", self.origin.authority)
    }
}

impl Smtp {
    /// Connects and signs in. `me` is the name that the gateway greets with.
    pub(super) async fn connect(&self, me: &str) -> Result<Connection<'_>, Failed> {
        let opened = tokio::time::timeout(self.time_limit, self.open(me)).await;
        let mut smtp = opened.map_err(|_| self.late())??;
        if let Some(login) = &self.login {
            let password = login.password.secret().map_err(|error| Failed::channel(error.to_string()))?;
            let credentials = Credentials::new(login.user.clone(), password.trim_end().to_owned());
            let asked = smtp.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            match tokio::time::timeout(self.time_limit, asked).await {
                Err(_) => return Err(self.late()),
                Ok(Err(error)) => return Err(self.refused("user and password", &error)),
                Ok(Ok(_)) => {}
            }
        }
        Ok(Connection { server: self, smtp, in_step: true })
    }

    async fn open(&self, me: &str) -> Result<AsyncSmtpConnection, Failed> {
        let mut stream = self.origin.dial().await.map_err(Failed::channel)?;
        let peer = stream.peer_addr().map_err(|_| self.broken())?;
        let stream: Box<dyn AsyncTokioStream> = match &self.security {
            Security::Nothing => Box::new(Bounded::new(b"", stream, peer)),
            Security::Implicit(tls) => Box::new(Bounded::new(b"", self.shielded(tls, stream).await?, peer)),
            Security::StartTls(tls) => {
                self.ask_for_tls(&mut stream, me).await?;
                // The server greets once, before TLS; whoever reads on from here waits for a greeting.
                Box::new(Bounded::new(b"220 go on\r\n", self.shielded(tls, stream).await?, peer))
            }
        };
        let hello = ClientId::Domain(me.to_owned());
        AsyncSmtpConnection::connect_with_transport(stream, &hello)
            .await
            .map_err(|error| self.refused("the greeting", &error))
    }

    async fn shielded(
        &self,
        tls: &Arc<ClientConfig>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failed> {
        let host = &self.origin.host;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| Failed::channel(format!("`{host}` is no name a certificate can have")))?;
        let shielded = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        shielded.map_err(|error| Failed::channel(format!("no TLS with `{}`: {error}", self.origin.authority)))
    }

    /// Has the server begin TLS. Nothing that was said before counts, and nothing may wait behind the last of it: it would
    /// be taken for what was said under TLS.
    async fn ask_for_tls(&self, stream: &mut TcpStream, me: &str) -> Result<(), Failed> {
        let (code, _) = self.reply(stream).await?;
        if code != 220 {
            return Err(self.said("the connection", code));
        }
        self.say(stream, &format!("EHLO {me}\r\n")).await?;
        let (code, said) = self.reply(stream).await?;
        if code != 250 {
            return Err(self.said("the greeting", code));
        }
        let offers = said
            .lines()
            .skip(1)
            .any(|line| line.get(4..).is_some_and(|word| word.trim_end().eq_ignore_ascii_case("STARTTLS")));
        if !offers {
            let why = format!("`{}` offers no STARTTLS: nothing is sent without TLS", self.origin.authority);
            return Err(Failed::channel(why));
        }
        self.say(stream, "STARTTLS\r\n").await?;
        match self.reply(stream).await? {
            (220, _) => Ok(()),
            (code, _) => Err(self.said("STARTTLS", code)),
        }
    }

    async fn say(&self, stream: &mut TcpStream, line: &str) -> Result<(), Failed> {
        stream.write_all(line.as_bytes()).await.map_err(|_| self.broken())
    }

    async fn reply(&self, stream: &mut TcpStream) -> Result<(u16, String), Failed> {
        let mut got = Vec::new();
        loop {
            let mut some = [0; 1024];
            let count = stream.read(&mut some).await.map_err(|_| self.broken())?;
            got.extend_from_slice(some.get(..count).unwrap_or_default());
            match reply(&got) {
                Some(Ok(reply)) => return Ok(reply),
                None if count > 0 && got.len() < LONGEST => {}
                Some(Err(())) | None => {
                    let why = format!("`{}` does not speak SMTP before TLS", self.origin.authority);
                    return Err(Failed::channel(why));
                }
            }
        }
    }

    fn late(&self) -> Failed {
        let (place, seconds) = (&self.origin.authority, self.time_limit.as_secs());
        Failed::channel(format!("`{place}` did not answer within {seconds} s"))
    }

    fn broken(&self) -> Failed {
        Failed::channel(format!("`{}` ended the connection before it answered", self.origin.authority))
    }

    fn said(&self, what: &str, code: u16) -> Failed {
        Failed::channel(format!("`{}` refused {what} ({code})", self.origin.authority))
    }

    fn refused(&self, what: &str, error: &Error) -> Failed {
        match code_of(error) {
            Some(code) => self.said(what, code),
            None if error.is_client() => Failed::channel(format!(
                "`{}` offers no way that is known here for {what}",
                self.origin.authority
            )),
            None => self.broken(),
        }
    }
}

impl Connection<'_> {
    /// Hands over one mail for one recipient.
    pub(super) async fn send(&mut self, from: &Address, to: &Address, mail: &[u8]) -> Result<(), NotSent> {
        let sent = self.hand_over(from, to, mail).await;
        if matches!(sent, Err(NotSent::Recipient(..) | NotSent::TooLarge | NotSent::Mail(..))) {
            // The next mail finds the server as if nothing had been begun. An answer that comes later would be taken for
            // that to another command.
            let begun_anew = tokio::time::timeout(self.server.time_limit, self.smtp.command(Rset)).await;
            self.in_step = matches!(begun_anew, Ok(Ok(_)));
        }
        sent
    }

    async fn hand_over(&mut self, from: &Address, to: &Address, mail: &[u8]) -> Result<(), NotSent> {
        let (server, limit) = (self.server, self.server.time_limit);
        if !self.in_step {
            return Err(NotSent::Channel(server.broken()));
        }
        let late = |_| NotSent::Channel(server.late());
        let sender = self.smtp.command(Mail::new(Some(from.clone()), Vec::new()));
        let taken = tokio::time::timeout(limit, sender).await.map_err(late)?;
        taken.map_err(|error| NotSent::Channel(server.refused("the sender's address", &error)))?;
        let recipient = self.smtp.command(Rcpt::new(to.clone(), Vec::new()));
        let taken = tokio::time::timeout(limit, recipient).await.map_err(late)?;
        taken.map_err(|error| server.sorted(&error, NotSent::Recipient))?;
        let sorted = |error: Error| server.sorted(&error, NotSent::Mail);
        tokio::time::timeout(limit, self.smtp.command(Data)).await.map_err(late)?.map_err(sorted)?;
        tokio::time::timeout(limit, self.smtp.message(mail)).await.map_err(late)?.map_err(sorted)?;
        Ok(())
    }

    /// Says that no more comes. Whatever is answered changes nothing.
    pub(super) async fn quit(mut self) {
        let _ = tokio::time::timeout(self.server.time_limit, self.smtp.quit()).await;
    }
}

impl Smtp {
    /// Whom a refusal concerns: 421 is the end of the connection, 552 is about size, 4yz is for now and 5yz for good.
    fn sorted(&self, error: &Error, concerns: impl Fn(u16, Again) -> NotSent) -> NotSent {
        match code_of(error) {
            Some(421) => NotSent::Channel(self.said("to go on", 421)),
            Some(TOO_LARGE) => NotSent::TooLarge,
            Some(code) if code < 500 => concerns(code, Again::Yes),
            Some(code) => concerns(code, Again::No),
            None => NotSent::Channel(self.refused("a mail", error)),
        }
    }
}

impl NotSent {
    pub(super) fn failed(scope: Scope, again: Again, why: String) -> Failed {
        Failed { why, scope, again }
    }
}

fn code_of(error: &Error) -> Option<u16> {
    error.status().and_then(|code| code.to_string().parse().ok())
}

/// A reply that is whole; `None` while more of it is to come; an error where something stands behind it, or it is none.
fn reply(got: &[u8]) -> Option<Result<(u16, String), ()>> {
    let text = String::from_utf8_lossy(got);
    let mut seen = 0;
    for line in text.split_inclusive('\n') {
        if !line.ends_with('\n') {
            return None;
        }
        seen += line.len();
        let code = line.get(..3).and_then(|code| code.parse().ok()).filter(|code| (200..600).contains(code));
        let Some(code) = code else { return Some(Err(())) };
        match line.as_bytes().get(3) {
            Some(b'-') => {}
            Some(b' ' | b'\r' | b'\n') if seen == text.len() => return Some(Ok((code, text.into_owned()))),
            _ => return Some(Err(())),
        }
    }
    None
}

/// A stream on which a greeting may be read first, and no answer without end: the library reads on until a line ends.
#[derive(Debug)]
struct Bounded<S> {
    greeting: &'static [u8],
    stream: S,
    peer: SocketAddr,
    /// How much came since something was last said.
    unasked: usize,
}

impl<S> Bounded<S> {
    fn new(greeting: &'static [u8], stream: S, peer: SocketAddr) -> Self {
        Self { greeting, stream, peer, unasked: 0 }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> AsyncTokioStream for Bounded<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            self.unasked += buf.filled().len() - before;
            return Poll::Ready(if self.unasked > LONGEST {
                Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without end"))
            } else {
                Ok(())
            });
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(buf.remaining()));
        buf.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.unasked = 0;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_with_its_last_line_and_nothing_stands_behind_it() {
        for (got, want) in [
            ("220 ready\r\n", Some(Ok(220))),
            ("250-a\r\n250-STARTTLS\r\n250 b\r\n", Some(Ok(250))),
            ("250\r\n", Some(Ok(250))),
            ("250-a\r\n", None),
            ("220 re", None),
            ("", None),
            ("220 ready\r\n250 more\r\n", Some(Err(()))),
            ("220 ready\r\nx", Some(Err(()))),
            ("HTTP/1.1 400\r\n", Some(Err(()))),
            ("99", None),
            ("999 x\r\n", Some(Err(()))),
        ] {
            assert_eq!(reply(got.as_bytes()).map(|said| said.map(|(code, _)| code)), want, "{got:?}");
        }
    }
}
