//! A mail taken apart (RFC 5322, RFC 2046), and what no real server or filter would take of one.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Headers that a mail has once.
const ONCE: [&str; 8] =
    ["from", "to", "subject", "date", "message-id", "mime-version", "content-type", "auto-submitted"];

/// What a mail says.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub text: String,
    pub html: String,
    /// Why it would not be taken.
    pub wrong: Option<String>,
}

impl Mail {
    /// Takes apart a mail with CRLF; the error says what is wrong with it.
    pub fn read(data: &str) -> Result<Self, String> {
        let (head, body) = data.split_once("\r\n\r\n").ok_or("it has no body")?;
        let headers = headers(head)?;
        for name in ONCE {
            let count = headers.iter().filter(|(known, _)| known == name).count();
            if count != 1 {
                return Err(format!("`{name}` stands there {count} times"));
            }
        }
        let mut mail = Self { headers, ..Self::default() };
        let kind = mail.header("content-type");
        let boundary =
            kind.strip_prefix("multipart/alternative; boundary=\"").and_then(|rest| rest.strip_suffix('"'));
        let boundary = boundary.ok_or("it has no two parts")?.to_owned();
        let end = format!("--{boundary}--");
        let body = body.strip_suffix("\r\n").unwrap_or(body).strip_suffix(&*end).ok_or("it does not end")?;
        let begin = format!("--{boundary}\r\n");
        let mut parts = body.split(&*begin);
        if parts.next() != Some("") {
            return Err("something stands before its parts".into());
        }
        for part in parts {
            let (head, coded) = part.split_once("\r\n\r\n").ok_or("a part has no body")?;
            let head = headers_of(head)?;
            let is = |name: &str, value: &str| head.iter().any(|(known, is)| known == name && is == value);
            if !is("content-transfer-encoding", "base64") {
                return Err("a part is not in base64".into());
            }
            let raw = STANDARD.decode(coded.replace("\r\n", "")).map_err(|error| error.to_string())?;
            let text = String::from_utf8(raw).map_err(|error| error.to_string())?;
            if is("content-type", "text/plain; charset=utf-8") {
                mail.text = text;
            } else if is("content-type", "text/html; charset=utf-8") {
                mail.html = text;
            } else {
                return Err("a part of a kind that is not known".into());
            }
        }
        Ok(mail)
    }

    /// A header's value; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Every address that the markup leads to or fetches.
    pub fn links(&self) -> Vec<String> {
        let mut found = Vec::new();
        for attribute in ["href=\"", "src=\"", "action=\"", "background=\"", "url("] {
            let parts = self.html.split(attribute).skip(1);
            found.extend(parts.filter_map(|part| part.split(['"', ')']).next()).map(str::to_owned));
        }
        found
    }
}

fn headers_of(head: &str) -> Result<Vec<(String, String)>, String> {
    headers(head.trim_end_matches("\r\n"))
}

fn headers(head: &str) -> Result<Vec<(String, String)>, String> {
    let read = |line: &str| {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("`{line}` is no header"))?;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !plain || value.bytes().any(|byte| !matches!(byte, b' '..=b'~')) {
            return Err(format!("`{line}` is no header"));
        }
        Ok((name.to_ascii_lowercase(), value.to_owned()))
    };
    head.split("\r\n").map(read).collect()
}
