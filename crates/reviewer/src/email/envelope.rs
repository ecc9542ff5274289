//! A mail as it goes over the wire (RFC 5322, MIME). Nothing that a requester, a reviewer or a target wrote stands in a
//! header, and both parts are base64: no text can end a header, a part, a line or the mail.

use super::draw;
use crate::{
    channel::{Gathering, Letter},
    email::page::Page,
    words,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_core::{Digest, Timestamp};
use std::time::{Duration, UNIX_EPOCH};

/// Characters of one line of base64 (RFC 2045, section 6.8).
const LINE: usize = 76;
/// No line of base64 holds a hyphen.
const BOUNDARY: &str = "=_countersign-part";

/// Who writes, and where answers would go.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) from: String,
    pub(crate) reply_to: Option<String>,
}

/// What a mail's headers say of what it is about.
#[derive(Clone, Debug)]
pub(super) struct About {
    subject: String,
    at: Timestamp,
    /// What it is about, the same for all mails about it, and what this one is.
    thread: String,
    id: String,
}

impl About {
    pub(super) fn letter(letter: &Letter) -> Self {
        let thread = letter.approval.to_string();
        let id = if letter.news.number == 1 { thread.clone() } else { letter.id.clone() };
        Self { subject: subject(letter), at: letter.news.at, thread, id }
    }

    pub(super) fn gathering(gathering: &Gathering) -> Self {
        let subject = format!("[Countersign] {}", words::several(gathering).trim_start_matches("⏳ "));
        Self { subject, at: gathering.now, thread: gathering.id.clone(), id: gathering.id.clone() }
    }
}

/// The whole mail, with CRLF and nothing beyond ASCII.
pub(super) fn written(sender: &Sender, to: &str, about: &About, channel: &str, page: &Page) -> String {
    let sent = UNIX_EPOCH + Duration::from_millis(about.at.unix_ms());
    // RFC 5322 knows `GMT` as obsolete only.
    let date = httpdate::fmt_http_date(sent).replace("GMT", "+0000");
    let [id, root] = ids(sender, to, about, channel);
    let mut headers = vec![
        ("From", format!("Countersign <{}>", sender.from)),
        ("To", format!("<{to}>")),
        ("Subject", about.subject.clone()),
        ("Date", date),
        ("Message-ID", id.clone()),
    ];
    if id != root {
        headers.extend([("In-Reply-To", root.clone()), ("References", root)]);
    }
    headers.extend(sender.reply_to.iter().map(|to| ("Reply-To", format!("<{to}>"))));
    headers.extend([
        // RFC 3834: nobody answers it by machine; the other is what Exchange listens to.
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", format!("multipart/alternative; boundary=\"{BOUNDARY}\"")),
    ]);
    let mut out = String::new();
    for (name, value) in headers {
        out.extend([name, ": ", &printable(&value), "\r\n"]);
    }
    out.push_str("\r\n");
    for (kind, text) in [("plain", draw::text(page)), ("html", draw::markup(page))] {
        out.extend(["--", BOUNDARY, "\r\nContent-Type: text/", kind, "; charset=utf-8\r\n"]);
        out.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
        let coded = STANDARD.encode(text.replace('\n', "\r\n"));
        for piece in coded.as_bytes().chunks(LINE) {
            out.push_str(&String::from_utf8_lossy(piece));
            out.push_str("\r\n");
        }
    }
    // The line is ended by whoever sends it.
    out.extend(["--", BOUNDARY, "--"]);
    out
}

/// The code, and names that the configuration gave: the same for every mail about an approval, so that they thread.
fn subject(letter: &Letter) -> String {
    let seen = &letter.message.computed;
    let about = match &*letter.message.state {
        "test" => "a test".to_owned(),
        _ => format!("{} on {} in {}", seen.class, seen.target, seen.environment),
    };
    let again = if letter.news.number > 1 { "Re: " } else { "" };
    format!("{again}[Countersign {}] {about}", letter.message.code)
}

/// The mail's id, and that of the first about the same approval to the same address. Each is the same at every try.
fn ids(sender: &Sender, to: &str, about: &About, channel: &str) -> [String; 2] {
    let domain = sender.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let mark = Digest::of_parts("countersign/mail-id/v1", &[channel.as_bytes(), to.as_bytes()]).hex();
    let mark: String = mark.chars().take(16).collect();
    [&about.id, &about.thread].map(|what| format!("<{what}.{mark}@{domain}>"))
}

/// Printable ASCII. Nothing else is expected in a header; and what is not expected does not break one.
fn printable(value: &str) -> String {
    value.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' }).collect()
}
