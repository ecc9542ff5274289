//! How a connection begins: TLS or not, cancel or start, and with which parameters. What could change the meaning of
//! later statements, or opens another protocol, is refused with its name.

use crate::{
    frame::{Fields, FrameError},
    reply::{Said, message, put_text, sqlstate},
    session::Setting,
};
use bytes::{BufMut as _, BytesMut};
use countersign_core::visible;

/// What clients that begin with TLS at once must agree on (PostgreSQL 17 and later).
pub const ALPN: &[u8] = b"postgresql";

/// Longer start-up packets are nobody's.
pub const LONGEST: usize = 10_000;

/// Parameters that go to the server as the client wrote them: formats and limits of its own session.
pub const PASSED: [&str; 12] = [
    "application_name",
    "bytea_output",
    "datestyle",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "statement_timeout",
    "timezone",
    "transaction_timeout",
];

/// What a client says of its statements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// What they are for.
    pub justification: Option<String>,
    /// Where they were approved beforehand.
    pub ticket: Option<String>,
}

impl Claims {
    pub(crate) fn of(&self, setting: Setting) -> Option<&String> {
        match setting {
            Setting::Justification => self.justification.as_ref(),
            Setting::Ticket => self.ticket.as_ref(),
        }
    }

    pub(crate) fn set(&mut self, setting: Setting, value: Option<String>) {
        match setting {
            Setting::Justification => self.justification = value,
            Setting::Ticket => self.ticket = value,
        }
    }
}

/// A start-up packet as far as it is of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    pub minor: u16,
    pub user: String,
    pub database: Option<String>,
    /// Goes to the server, in the client's order.
    pub passed: Vec<(String, String)>,
    /// What the client says of its statements.
    pub claims: Claims,
    /// Protocol options nobody here knows (`_pq_.…`).
    pub unknown: Vec<String>,
}

/// Whether the packet can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Startup(Startup),
    Refused(Said),
}

/// Reads the parameters of a start-up packet, the code before them already taken.
pub fn read(minor: u16, body: &[u8]) -> Result<Read, FrameError> {
    let mut fields = Fields::new(body);
    let mut startup = Startup { minor, ..Startup::default() };
    loop {
        let name = fields.text()?;
        if name.is_empty() {
            fields.end()?;
            break;
        }
        let value = fields.text()?;
        if let Some(said) = startup.parameter(name, value) {
            return Ok(Read::Refused(said));
        }
    }
    if startup.user.is_empty() {
        return Ok(Read::Refused(Said::new(
            "28000",
            "no user name was given",
            "name any user; the password is your token",
        )));
    }
    Ok(Read::Startup(startup))
}

impl Startup {
    fn parameter(&mut self, name: &str, value: &str) -> Option<Said> {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "user" => self.user = value.into(),
            "database" => self.database = Some(value.into()).filter(|name: &String| !name.is_empty()),
            "client_encoding" => {
                let encoding =
                    value.trim_matches(['\'', '"', ' ']).to_ascii_lowercase().replace(['-', '_'], "");
                if !matches!(encoding.as_str(), "utf8" | "unicode" | "auto") {
                    let why =
                        format!("the client encoding `{value}` is not offered: statements are read as UTF-8");
                    return Some(Said::new("22023", why, "set the client encoding to UTF8"));
                }
            }
            "replication" => {
                if !matches!(value.to_ascii_lowercase().as_str(), "" | "false" | "off" | "no" | "0") {
                    let why = "replication connections are not offered: what they stream cannot be read";
                    return Some(Said::new(sqlstate::NOT_OFFERED, why, "connect without `replication`"));
                }
            }
            own if Setting::named(own).is_some() => return self.claim(own, value),
            "options" => match options(value) {
                Some(settings) => {
                    let refused = settings.iter().filter(|(name, _)| Setting::named(name).is_none());
                    if let Some((name, _)) = refused.into_iter().next() {
                        return Some(not_offered(name));
                    }
                    return settings.iter().find_map(|(name, value)| self.claim(name, value));
                }
                None => return Some(not_offered("options")),
            },
            "standard_conforming_strings" if value.eq_ignore_ascii_case("on") => {}
            _ if name.starts_with("_pq_.") => self.unknown.push(name.into()),
            passed if PASSED.contains(&passed) => self.passed.push((lower, value.into())),
            _ => return Some(not_offered(name)),
        }
        None
    }

    fn claim(&mut self, name: &str, value: &str) -> Option<Said> {
        let setting = Setting::named(name)?;
        if value.len() > setting.longest() {
            let why = format!("`{name}` is longer than {} bytes", setting.longest());
            return Some(Said::new(sqlstate::TOO_LARGE, why, "say it shorter"));
        }
        self.claims.set(setting, Some(value.into()));
        None
    }

    /// The user name's own part and the target after `#`, if it names one.
    pub fn user_and_target(&self) -> (&str, Option<&str>) {
        match self.user.rsplit_once('#') {
            Some((user, target)) => (user, Some(target)),
            None => (&self.user, None),
        }
    }

    /// Appends `NegotiateProtocolVersion` where the client asked for more than is spoken.
    pub fn negotiate(&self, out: &mut BytesMut) {
        const NEWEST: u16 = 2;
        if self.minor <= NEWEST && self.unknown.is_empty() {
            return;
        }
        message(out, b'v', |out| {
            out.put_u32((3 << 16) | u32::from(self.minor.min(NEWEST)));
            out.put_i32(i32::try_from(self.unknown.len()).unwrap_or(i32::MAX));
            for name in &self.unknown {
                put_text(out, name);
            }
        });
    }
}

fn not_offered(name: &str) -> Said {
    let name = visible::one_line(name);
    let why = format!("the start-up parameter `{name}` is not offered: it could change what statements mean");
    let hint = format!(
        "leave it out; offered are user, database, client_encoding, {}, {}",
        Setting::ALL.map(Setting::name).join(", "),
        PASSED.join(", ")
    );
    Said::new(sqlstate::NOT_OFFERED, why, hint)
}

/// The settings of `options`, as the server splits them: words by spaces, a backslash takes the next character as it is.
/// `None`: something else than `-c name=value` or `--name=value` stands there.
fn options(text: &str) -> Option<Vec<(String, String)>> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    let mut words = words.into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--") {
            Some(setting) => setting.to_owned(),
            None if word == "-c" => words.next()?,
            None => word.strip_prefix("-c")?.to_owned(),
        };
        let (name, value) = setting.split_once('=')?;
        settings.push((name.to_ascii_lowercase().replace('-', "_"), value.to_owned()));
    }
    Some(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in pairs {
            out.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        out.push(0);
        out
    }

    #[test]
    fn what_clients_send_is_passed_or_refused_by_name() {
        for (name, value, want) in [
            ("application_name", "psql", None),
            ("DateStyle", "ISO", None),
            ("client_encoding", "'utf-8'", None),
            ("client_encoding", "SQL_ASCII", Some("22023")),
            ("options", "", None),
            ("options", "-c search_path=evil", Some("ZC002")),
            ("search_path", "evil", Some("ZC002")),
            ("replication", "database", Some("ZC002")),
            ("replication", "false", None),
            ("role", "postgres", Some("ZC002")),
            ("session_replication_role", "replica", Some("ZC002")),
            ("default_transaction_read_only", "off", Some("ZC002")),
            ("_pq_.shiny", "1", None),
        ] {
            let got = match read(0, &packet(&[("user", "bot"), (name, value)])).unwrap() {
                Read::Startup(_) => None,
                Read::Refused(said) => Some(said.code),
            };
            assert_eq!(got.as_deref(), want, "{name}={value}");
        }
        assert!(matches!(read(0, &packet(&[])).unwrap(), Read::Refused(_)));
        assert_eq!(read(0, b"user\0bot"), Err(FrameError::Short));
        assert_eq!(read(0, b"user\0bot\0\0x"), Err(FrameError::Long));
    }

    #[test]
    fn a_justification_may_come_with_the_start_up() {
        let long = format!("-c countersign.justification={}", "x".repeat(2_001));
        let long_ticket = format!("-c countersign.ticket={}", "x".repeat(101));
        for (options, want) in [
            ("-c countersign.justification=ticket\\ 7\\\\8", Ok("ticket 7\\8")),
            ("  --countersign.justification=a=b ", Ok("a=b")),
            ("-ccountersign.justification=x", Ok("x")),
            ("-c countersign.ticket=OPS-12", Ok("OPS-12")),
            ("-c countersign.ticket=OPS-12 -c countersign.other=x", Err("ZC002")),
            ("-c countersign.justification=x -c search_path=evil", Err("ZC002")),
            ("-c countersign.justification=x -d 5", Err("ZC002")),
            ("-c countersign.justification", Err("ZC002")),
            ("-c", Err("ZC002")),
            (&long, Err("54000")),
            (&long_ticket, Err("54000")),
        ] {
            let got = match read(0, &packet(&[("user", "bot"), ("options", options)])).unwrap() {
                Read::Startup(startup) => Ok(startup.claims.justification.or(startup.claims.ticket).unwrap()),
                Read::Refused(said) => Err(said.code),
            };
            let got = got.as_ref().map(String::as_str).map_err(|code| &**code);
            assert_eq!(got, want, "{options}");
        }
    }

    #[test]
    fn the_user_name_may_name_the_target() {
        for (user, want) in
            [("bot", ("bot", None)), ("bot#shop", ("bot", Some("shop"))), ("a#b#c", ("a#b", Some("c")))]
        {
            let startup = Startup { user: user.into(), ..Startup::default() };
            assert_eq!(startup.user_and_target(), want);
        }
    }

    #[test]
    fn newer_protocols_are_negotiated_down() {
        for (minor, unknown, want) in
            [(0, vec![], false), (2, vec![], false), (9999, vec![], true), (0, vec!["_pq_.x".into()], true)]
        {
            let startup = Startup { minor, unknown, ..Startup::default() };
            let mut out = BytesMut::new();
            startup.negotiate(&mut out);
            assert_eq!(!out.is_empty(), want, "{minor}");
        }
    }
}
