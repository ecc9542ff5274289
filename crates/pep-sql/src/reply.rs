//! What a client is told by the gateway itself: errors and notices with a message, a detail and a hint that a program or
//! a model can act on. SQLSTATE class `ZC` is ours; a code never changes its meaning.

use bytes::{BufMut as _, BytesMut};
use countersign_core::{Refusal, RefusalCode};
use countersign_engine::reply::{Refused, TellTicket, Ticket};
use std::borrow::Cow;

/// The gateway's own SQLSTATEs, beside those of the standard that say the same.
pub mod sqlstate {
    /// Held: it waits for people.
    pub const HELD: &str = "ZC000";
    /// Still held, and the client's time to wait is over. Repeating it attaches.
    pub const STILL_HELD: &str = "ZC001";
    /// A session setting, message or option that is not let through.
    pub const NOT_OFFERED: &str = "ZC002";
    /// It ran already, or may have.
    pub const SPENT: &str = "ZC009";
    pub const QUERY_CANCELED: &str = "57014";
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    pub const INVALID_PASSWORD: &str = "28P01";
    pub const INVALID_DATABASE: &str = "3D000";
    pub const INVALID_CURSOR: &str = "34000";
    pub const INVALID_STATEMENT: &str = "26000";
    pub const TOO_LARGE: &str = "54000";
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    pub const IDLE_SESSION: &str = "57P05";
    pub const IDLE_IN_TRANSACTION: &str = "25P03";
    pub const SHUTTING_DOWN: &str = "57P01";
    pub const CONNECTION_FAILURE: &str = "08006";
    pub const CANNOT_CONNECT: &str = "08001";
}

/// One message to a client, as its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub code: Cow<'static, str>,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Notice,
    Error,
    /// The connection ends after it.
    Fatal,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "NOTICE",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

impl Said {
    pub fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with(code, message, hint)
    }

    /// With a code that the server gave.
    pub fn with(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), message: message.into(), detail: String::new(), hint: hint.into() }
    }

    /// What is shown as soon as a statement is held.
    pub fn held(ticket: &Ticket) -> Self {
        Self {
            code: sqlstate::HELD.into(),
            message: match ticket.drifted {
                None => format!("held until people approve it: {}", ticket.sentence),
                Some(_) => format!("held again until people approve it: {}", ticket.sentence),
            },
            detail: waiting(ticket),
            hint: "wait, and it runs here once it is approved; after a lost connection send the same statement again, \
                   and it attaches; cancel to withdraw it"
                .into(),
        }
    }

    /// The client's time to wait is over; the approval is not.
    pub fn still_held(ticket: &Ticket) -> Self {
        Self {
            code: sqlstate::STILL_HELD.into(),
            message: format!("not run yet: {}", ticket.sentence),
            detail: waiting(ticket),
            hint:
                "send the same statement again later: it attaches to this approval, and nobody is asked twice"
                    .into(),
        }
    }

    /// Why a statement does not run.
    pub fn refused(refused: &Refused) -> Self {
        let Refusal { code, reason, remedy, basis } = &refused.refusal;
        let mut detail = format!("decision: {}", code.as_str());
        if let Some(basis) = basis.as_ref().filter(|basis| !basis.policies.is_empty()) {
            let names: Vec<String> = basis.policies.iter().map(ToString::to_string).collect();
            detail = format!("{detail}\npolicies: {}", names.join(", "));
        }
        if let Some(approval) = &refused.approval {
            detail = format!("{detail}\napproval: {approval}");
        }
        if let Some(link) = &refused.link {
            detail = format!("{detail}\nmore: {link}");
        }
        let hint = if *code == RefusalCode::JustificationMissing {
            "send `SET countersign.justification = '…'` with the reason, and then the statement again".into()
        } else {
            remedy.clone()
        };
        Self { code: sqlstate_of(*code).into(), message: reason.clone(), detail, hint }
    }

    /// Appends it as a message of the protocol.
    pub fn write(&self, severity: Severity, out: &mut BytesMut) {
        let tag = match severity {
            Severity::Notice => b'N',
            Severity::Error | Severity::Fatal => b'E',
        };
        message(out, tag, |out| {
            let fields = [
                (b'S', severity.as_str()),
                (b'V', severity.as_str()),
                (b'C', &*self.code),
                (b'M', &self.message),
                (b'D', &self.detail),
                (b'H', &self.hint),
            ];
            for (kind, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
                out.put_u8(kind);
                put_text(out, text);
            }
            out.put_u8(0);
        });
    }
}

fn waiting(ticket: &Ticket) -> String {
    let mut lines = vec![format!("approval: {}", ticket.approval), format!("code: {}", ticket.code)];
    lines.extend(ticket.drifted.iter().map(|why| format!("changed: {why}")));
    lines.extend(ticket.waits_for.iter().map(|gate| {
        let votes = format!("{} of {}", gate.votes, gate.quorum);
        format!("waits for: {} ({votes} so far), because {}", gate.approvers, gate.reason)
    }));
    lines.extend(ticket.named.iter().map(TellTicket::line));
    if let Some(scope) = &ticket.scope {
        lines.push("a ticket that says this and is approved may be named, with `countersign.ticket`:".into());
        lines.extend(scope.lines().map(|line| format!("  {line}")));
    }
    lines.extend(ticket.deadline.map(|deadline| format!("until: {deadline}")));
    lines.push(format!("decide at: {}", ticket.link));
    lines.join("\n")
}

/// Every refusal has a code of its own, so that a client can tell them apart without reading.
pub const fn sqlstate_of(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Wall => "ZC003",
        RefusalCode::NotPermitted => "ZC004",
        RefusalCode::PolicyError => "ZC005",
        RefusalCode::Rejected => "ZC006",
        RefusalCode::Lapsed => "ZC007",
        RefusalCode::Withdrawn => sqlstate::QUERY_CANCELED,
        RefusalCode::Revoked => "ZC008",
        RefusalCode::Spent => sqlstate::SPENT,
        RefusalCode::Frozen => "ZC00A",
        RefusalCode::TooMany => "ZC00B",
        RefusalCode::TooLarge => sqlstate::TOO_LARGE,
        RefusalCode::Unauthenticated => "ZC00C",
        RefusalCode::Malformed => sqlstate::PROTOCOL_VIOLATION,
        RefusalCode::JustificationMissing => "ZC00D",
        RefusalCode::NotRecordable => "ZC00E",
        RefusalCode::NoRoom => "ZC00F",
        RefusalCode::Unreachable => sqlstate::CANNOT_CONNECT,
    }
}

/// Appends a message with its length.
pub(crate) fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let at = out.len();
    out.put_i32(0);
    body(out);
    let length = i32::try_from(out.len() - at).unwrap_or(i32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length);
    }
}

/// Appends a text and its NUL; a NUL inside would end it early and is shown as a space.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().map(|byte| if byte == 0 { b' ' } else { byte }));
    out.put_u8(0);
}

pub(crate) fn ready(out: &mut BytesMut, status: u8) {
    message(out, b'Z', |out| out.put_u8(status));
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::{ActionId, ApprovalId, Assurance, Timestamp};
    use countersign_engine::reply::WaitsFor;
    use std::collections::BTreeSet;

    fn ticket() -> Ticket {
        Ticket {
            approval: ApprovalId::from_parts(1, 1),
            action: ActionId::from_parts(1, 2),
            code: "7F3K2Q9A".into(),
            state: "pending".into(),
            sentence: "Delete rows from table public.users in shop (prod).".into(),
            waits_for: vec![WaitsFor {
                gate: "deletes".into(),
                reason: "rows go away".into(),
                approvers: "2 people of sre".into(),
                votes: 1,
                quorum: 2,
                assurance: Assurance::Session,
            }],
            deadline: Some(Timestamp(1_795_226_400_000_000)),
            drifted: None,
            named: vec![],
            scope: None,
            link: "https://sign.example/approvals/1".into(),
        }
    }

    fn shown(said: &Said, severity: Severity) -> String {
        let mut out = BytesMut::new();
        said.write(severity, &mut out);
        String::from_utf8_lossy(&out).replace('\0', "\n")
    }

    #[test]
    fn what_clients_are_told() {
        let held = "held until people approve it: Delete rows from table public.users in shop (prod).";
        let waits = "approval: apr_00000000010000000000000001\ncode: 7F3K2Q9A\n\
                     waits for: 2 people of sre (1 of 2 so far), because rows go away\n\
                     until: 2026-11-21T02:00:00.000000Z\ndecide at: https://sign.example/approvals/1";
        let said = Said::held(&ticket());
        assert_eq!((&*said.code, said.message.as_str(), said.detail.as_str()), ("ZC000", held, waits));
        assert!(said.hint.contains("send the same statement again, and it attaches"), "{said:?}");
        let said = Said::still_held(&ticket());
        assert_eq!((&*said.code, said.detail.as_str()), ("ZC001", waits));
        let refused = Refused {
            refusal: Refusal {
                code: RefusalCode::Wall,
                reason: "never in production".into(),
                remedy: "stop".into(),
                basis: None,
            },
            action: None,
            approval: None,
            link: Some("https://sign.example/actions/2".into()),
        };
        let said = shown(&Said::refused(&refused), Severity::Error);
        let want = "SERROR\nVERROR\nCZC003\nMnever in production\nDdecision: wall\n\
                    more: https://sign.example/actions/2\nHstop\n\n";
        assert_eq!(said.get(5..), Some(want));
    }

    #[test]
    fn every_refusal_has_a_code_of_its_own() {
        let codes: BTreeSet<_> = RefusalCode::ALL.into_iter().map(sqlstate_of).collect();
        assert_eq!(codes.len(), RefusalCode::ALL.len());
        assert!(codes.iter().all(|code| code.len() == 5));
        assert!(
            ![sqlstate::HELD, sqlstate::STILL_HELD, sqlstate::NOT_OFFERED]
                .iter()
                .any(|own| codes.contains(own))
        );
    }
}
