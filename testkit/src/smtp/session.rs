//! One connection, from its greeting to its end.

use super::{At, Mail, Mode, PASSWORD, Shared, Taken, Tampering, USER};
use crate::server::lock;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::io;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// A command's line, and a mail's (RFC 5321, section 4.5.3.1), with its end.
const COMMAND: usize = 512;
const LINE: usize = 1_000;
/// A mail of ours is never larger.
const LARGEST: usize = 4 << 20;

/// How a conversation ended.
enum Ended<S> {
    Over,
    /// TLS was asked for.
    Upgrade(S),
}

/// What was said so far.
#[derive(Default)]
struct Talk {
    shielded: bool,
    greeted: bool,
    user: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

pub(super) async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    if lock(&shared.state).trouble.down {
        return Ok(());
    }
    let missing = || io::Error::other("this mode needs a certificate");
    match shared.mode {
        Mode::Implicit => {
            let stream = shared.tls.as_ref().ok_or_else(missing)?.accept(stream).await?;
            talk(stream, shared, Talk { shielded: true, ..Talk::default() }, true).await?;
        }
        Mode::Plain => drop(talk(stream, shared, Talk::default(), true).await?),
        Mode::StartTls => {
            if let Ended::Upgrade(stream) = talk(stream, shared, Talk::default(), true).await? {
                let stream = shared.tls.as_ref().ok_or_else(missing)?.accept(stream).await?;
                talk(stream, shared, Talk { shielded: true, ..Talk::default() }, false).await?;
            }
        }
    }
    Ok(())
}

async fn talk<S>(stream: S, shared: &Shared, mut talk: Talk, greets: bool) -> io::Result<Ended<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    if greets {
        let code = refused(shared, At::Connection).unwrap_or(220);
        say(&mut stream, shared, "(connection)", code, "mail.example.com").await?;
        if code != 220 {
            return Ok(Ended::Over);
        }
    }
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(Ended::Over);
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let Some(command) = text.strip_suffix("\r\n").filter(|_| line.len() <= COMMAND && line.is_ascii())
        else {
            say(&mut stream, shared, "(line)", 500, "no such line").await?;
            return Ok(Ended::Over);
        };
        let word = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match &*word {
            "QUIT" => {
                say(&mut stream, shared, &word, 221, "bye").await?;
                return Ok(Ended::Over);
            }
            "STARTTLS" if shared.mode == Mode::StartTls && !talk.shielded && talk.greeted => {
                let injected = lock(&shared.state).trouble.on_the_way == Tampering::Injects;
                let behind = if injected { "\r\n250 taken" } else { "" };
                say(&mut stream, shared, &word, 220, &format!("go on{behind}")).await?;
                // What was sent before TLS must not be read under it.
                return Ok(if stream.buffer().is_empty() {
                    Ended::Upgrade(stream.into_inner())
                } else {
                    Ended::Over
                });
            }
            "EHLO" => {
                talk.greeted = true;
                let offers = offers(shared, &talk);
                log(shared, &word, 250);
                stream.write_all(offers.as_bytes()).await?;
                stream.flush().await?;
            }
            "AUTH" => {
                let code = auth(shared, &mut talk, command, &mut stream).await?;
                say(&mut stream, shared, &word, code, "so it is").await?;
            }
            "DATA" => {
                let code = if talk.to.is_some() { refused(shared, At::Data).unwrap_or(354) } else { 503 };
                say(&mut stream, shared, &word, code, "end with a dot").await?;
                if code != 354 {
                    continue;
                }
                let data = content(&mut stream).await?;
                let (from, to) = (talk.from.take().unwrap_or_default(), talk.to.take().unwrap_or_default());
                let taken = Taken { from, to, shielded: talk.shielded, user: talk.user.clone(), ..data };
                let code = take(shared, taken);
                if code == 0 {
                    return Ok(Ended::Over);
                }
                say(&mut stream, shared, "(content)", code, "so it is").await?;
            }
            "MAIL" if lock(&shared.state).trouble.endless => loop {
                stream.write_all(&[b'2'; 4_096]).await?;
                stream.flush().await?;
            },
            _ => {
                let code = envelope(shared, &mut talk, &word, command);
                say(&mut stream, shared, &word, code, "so it is").await?;
                if code == 421 {
                    return Ok(Ended::Over);
                }
            }
        }
    }
}

fn offers(shared: &Shared, talk: &Talk) -> String {
    let state = lock(&shared.state);
    let mut words = vec!["mail.example.com".to_owned(), "ENHANCEDSTATUSCODES".into()];
    if shared.mode == Mode::StartTls && !talk.shielded && state.trouble.on_the_way != Tampering::Strips {
        words.push("STARTTLS".into());
    }
    if talk.shielded {
        words.push("AUTH PLAIN LOGIN".into());
    }
    words.push(format!("SIZE {}", state.trouble.largest.unwrap_or(LARGEST)));
    let last = words.len() - 1;
    let line = |(at, word)| format!("250{}{word}\r\n", if at == last { ' ' } else { '-' });
    words.into_iter().enumerate().map(line).collect()
}

/// `AUTH PLAIN` (RFC 4616), or `LOGIN` as it is spoken though written nowhere; only under TLS.
async fn auth<S>(
    shared: &Shared,
    talk: &mut Talk,
    command: &str,
    stream: &mut BufReader<S>,
) -> io::Result<u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !talk.shielded || !talk.greeted || talk.user.is_some() {
        return Ok(503);
    }
    let mut words = command.split(' ').skip(1);
    let (way, given) = (words.next().unwrap_or_default(), words.next());
    let decoded = |text: &str| STANDARD.decode(text).map(|raw| String::from_utf8_lossy(&raw).into_owned());
    let (user, password) = match (way, given) {
        ("PLAIN", Some(given)) => {
            let all = decoded(given).unwrap_or_default();
            let mut parts = all.split('\0').skip(1).map(str::to_owned);
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        }
        ("LOGIN", None) => {
            let mut answers = [String::new(), String::new()];
            for (answer, asked) in answers.iter_mut().zip(["Username:", "Password:"]) {
                let asked = format!("334 {}\r\n", STANDARD.encode(asked));
                stream.write_all(asked.as_bytes()).await?;
                stream.flush().await?;
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                *answer = decoded(line.trim_end()).unwrap_or_default();
            }
            let [user, password] = answers;
            (user, password)
        }
        _ => return Ok(504),
    };
    if let Some(code) = refused(shared, At::Auth) {
        return Ok(code);
    }
    if user != USER || password != PASSWORD {
        return Ok(535);
    }
    talk.user = Some(user);
    Ok(235)
}

/// Who it is from and for.
fn envelope(shared: &Shared, talk: &mut Talk, word: &str, command: &str) -> u16 {
    let path = |start: &str| {
        let rest = command.get(start.len()..).filter(|_| command.to_ascii_uppercase().starts_with(start))?;
        rest.strip_prefix('<')?.split_once('>').map(|(address, _)| address.to_owned())
    };
    match word {
        "NOOP" => 250,
        "RSET" => {
            (talk.from, talk.to) = (None, None);
            250
        }
        "MAIL" if shared.mode != Mode::Plain && !talk.shielded => 530,
        "MAIL" if shared.mode != Mode::Plain && talk.user.is_none() => 530,
        "MAIL" if !talk.greeted || talk.from.is_some() => 503,
        "MAIL" => match (refused(shared, At::Mail), path("MAIL FROM:")) {
            (Some(code), _) => code,
            (None, Some(from)) => {
                talk.from = Some(from);
                250
            }
            (None, None) => 501,
        },
        "RCPT" => match (&talk.from, path("RCPT TO:")) {
            (None, _) => 503,
            (Some(_), None) => 501,
            (Some(from), Some(to)) => {
                let code = recipient(shared, from, &to);
                if code == 250 {
                    talk.to = Some(to);
                }
                code
            }
        },
        _ => 502,
    }
}

fn recipient(shared: &Shared, from: &str, to: &str) -> u16 {
    if let Some(code) = refused(shared, At::Rcpt) {
        return code;
    }
    let mut state = lock(&shared.state);
    if state.trouble.unknown.contains(to) || !to.contains('@') {
        return 550;
    }
    let new = state.seen.insert((from.to_owned(), to.to_owned()));
    if state.trouble.greylists && new { 450 } else { 250 }
}

/// A mail up to its dot, without what was stuffed; what is wrong with it stands in place of what it says.
async fn content<S>(stream: &mut BufReader<S>) -> io::Result<Taken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut data, mut wrong) = (String::new(), None);
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            break;
        }
        let inner = line.strip_suffix(b"\r\n").unwrap_or(&line);
        if !line.ends_with(b"\r\n") || inner.contains(&b'\r') {
            wrong = Some("a line does not end in CRLF");
        } else if line.len() > LINE {
            wrong = Some("a line is too long");
        } else if !inner.is_ascii() || inner.contains(&0) {
            wrong = Some("what was not announced is not ASCII");
        }
        let line = line.strip_prefix(b".").unwrap_or(&line);
        data.push_str(&String::from_utf8_lossy(line));
    }
    let mail = match wrong {
        Some(why) => Err(why.to_owned()),
        None => Mail::read(&data),
    };
    let mail = mail.unwrap_or_else(|why| Mail { wrong: Some(why), ..Mail::default() });
    Ok(Taken { from: String::new(), to: String::new(), shielded: false, user: None, data, mail })
}

/// The code that a mail is answered with; 0: the connection ends without one.
fn take(shared: &Shared, taken: Taken) -> u16 {
    if let Some(code) = refused(shared, At::Content) {
        return code;
    }
    let mut state = lock(&shared.state);
    if taken.data.len() > state.trouble.largest.unwrap_or(LARGEST) {
        return 552;
    }
    if taken.mail.wrong.is_some() {
        return 554;
    }
    let lost = state.trouble.lost > 0;
    state.trouble.lost = state.trouble.lost.saturating_sub(1);
    state.taken.push(taken);
    drop(state);
    shared.changed.send_modify(|count| *count += 1);
    if lost { 0 } else { 250 }
}

fn refused(shared: &Shared, at: At) -> Option<u16> {
    let mut state = lock(&shared.state);
    let next = state.trouble.refusals.front().copied();
    let (_, code) = next.filter(|(where_to, _)| *where_to == at)?;
    state.trouble.refusals.pop_front();
    Some(code)
}

fn log(shared: &Shared, word: &str, code: u16) {
    lock(&shared.state).said.push((word.to_owned(), code));
}

async fn say<S>(
    stream: &mut BufReader<S>,
    shared: &Shared,
    word: &str,
    code: u16,
    text: &str,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    log(shared, word, code);
    stream.write_all(format!("{code} {text}\r\n").as_bytes()).await?;
    stream.flush().await
}
