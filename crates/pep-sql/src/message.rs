//! Every message of the PostgreSQL protocol, each with what becomes of it here. A tag that is not listed ends the session.

/// A message of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frontend {
    Bind,
    Close,
    CopyData,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    Parse,
    /// `PasswordMessage`, and whatever else answers an authentication request under the same tag.
    Password,
    Query,
    Sync,
    Terminate,
}

/// What becomes of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontendRule {
    /// Kept back until the pipeline it belongs to is asked for.
    Staged,
    /// Adds an action to the pipeline, and is kept back with it.
    Raises,
    /// Asks for what was kept back, as one action.
    Asks,
    /// Passes only while a cleared statement copies from the client.
    Copying,
    /// Read here and answered here.
    Ours,
    /// Refused, whatever it holds.
    Refused(&'static str),
}

impl Frontend {
    pub const ALL: [Self; 14] = [
        Self::Bind,
        Self::Close,
        Self::CopyData,
        Self::CopyDone,
        Self::CopyFail,
        Self::Describe,
        Self::Execute,
        Self::Flush,
        Self::FunctionCall,
        Self::Parse,
        Self::Password,
        Self::Query,
        Self::Sync,
        Self::Terminate,
    ];

    pub const fn tag(self) -> u8 {
        match self {
            Self::Bind => b'B',
            Self::Close => b'C',
            Self::CopyData => b'd',
            Self::CopyDone => b'c',
            Self::CopyFail => b'f',
            Self::Describe => b'D',
            Self::Execute => b'E',
            Self::Flush => b'H',
            Self::FunctionCall => b'F',
            Self::Parse => b'P',
            Self::Password => b'p',
            Self::Query => b'Q',
            Self::Sync => b'S',
            Self::Terminate => b'X',
        }
    }

    pub fn of(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|message| message.tag() == tag)
    }

    pub const fn rule(self) -> FrontendRule {
        use FrontendRule as Rule;
        match self {
            Self::Bind | Self::Close | Self::Describe | Self::Parse => Rule::Staged,
            Self::Execute => Rule::Raises,
            Self::Query | Self::Sync | Self::Flush => Rule::Asks,
            Self::CopyData | Self::CopyDone | Self::CopyFail => Rule::Copying,
            Self::Password | Self::Terminate => Rule::Ours,
            Self::FunctionCall => Rule::Refused("function calls by number say nothing that could be read"),
        }
    }
}

/// What a client sends before its first tagged message, by the code in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Answered with `S` where TLS is offered, `N` elsewhere.
    Tls,
    /// Answered with `N`: GSSAPI encryption is not spoken.
    Gss,
    /// Withdraws what is held or cancels what runs, in the session whose key it names.
    Cancel,
    /// Protocol 3; `0` and `2` are spoken, newer ones negotiated down.
    Startup { minor: u16 },
}

impl Opening {
    pub const TLS: u32 = 80_877_103;
    pub const GSS: u32 = 80_877_104;
    pub const CANCEL: u32 = 80_877_102;

    pub fn of(code: u32) -> Option<Self> {
        match (code, code >> 16) {
            (Self::TLS, _) => Some(Self::Tls),
            (Self::GSS, _) => Some(Self::Gss),
            (Self::CANCEL, _) => Some(Self::Cancel),
            (_, 3) => Some(Self::Startup { minor: u16::try_from(code & 0xffff).unwrap_or(u16::MAX) }),
            _ => None,
        }
    }
}

/// A message of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    Authentication,
    BackendKeyData,
    BindComplete,
    CloseComplete,
    CommandComplete,
    CopyBothResponse,
    CopyData,
    CopyDone,
    CopyInResponse,
    CopyOutResponse,
    DataRow,
    EmptyQueryResponse,
    ErrorResponse,
    FunctionCallResponse,
    NegotiateProtocolVersion,
    NoData,
    NoticeResponse,
    NotificationResponse,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
    PortalSuspended,
    ReadyForQuery,
    RowDescription,
}

/// What becomes of a server's message once a session is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendRule {
    /// Passed on byte for byte; only its length is read.
    Passed,
    /// Passed on byte for byte, and read for what it says of the session.
    Followed,
    /// Only before a session is open.
    Ours,
    /// Ends the session: nothing that is forwarded can be answered with it.
    Unexpected,
}

impl Backend {
    pub const ALL: [Self; 24] = [
        Self::Authentication,
        Self::BackendKeyData,
        Self::BindComplete,
        Self::CloseComplete,
        Self::CommandComplete,
        Self::CopyBothResponse,
        Self::CopyData,
        Self::CopyDone,
        Self::CopyInResponse,
        Self::CopyOutResponse,
        Self::DataRow,
        Self::EmptyQueryResponse,
        Self::ErrorResponse,
        Self::FunctionCallResponse,
        Self::NegotiateProtocolVersion,
        Self::NoData,
        Self::NoticeResponse,
        Self::NotificationResponse,
        Self::ParameterDescription,
        Self::ParameterStatus,
        Self::ParseComplete,
        Self::PortalSuspended,
        Self::ReadyForQuery,
        Self::RowDescription,
    ];

    pub const fn of(tag: u8) -> Option<Self> {
        Some(match tag {
            b'R' => Self::Authentication,
            b'K' => Self::BackendKeyData,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'C' => Self::CommandComplete,
            b'W' => Self::CopyBothResponse,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'G' => Self::CopyInResponse,
            b'H' => Self::CopyOutResponse,
            b'D' => Self::DataRow,
            b'I' => Self::EmptyQueryResponse,
            b'E' => Self::ErrorResponse,
            b'V' => Self::FunctionCallResponse,
            b'v' => Self::NegotiateProtocolVersion,
            b'n' => Self::NoData,
            b'N' => Self::NoticeResponse,
            b'A' => Self::NotificationResponse,
            b't' => Self::ParameterDescription,
            b'S' => Self::ParameterStatus,
            b'1' => Self::ParseComplete,
            b's' => Self::PortalSuspended,
            b'Z' => Self::ReadyForQuery,
            b'T' => Self::RowDescription,
            _ => return None,
        })
    }

    pub const fn rule(self) -> BackendRule {
        use BackendRule as Rule;
        match self {
            Self::CopyData
            | Self::CopyDone
            | Self::CopyOutResponse
            | Self::DataRow
            | Self::NotificationResponse
            | Self::NoticeResponse
            | Self::ParameterDescription
            | Self::RowDescription => Rule::Passed,
            Self::BindComplete
            | Self::CloseComplete
            | Self::CommandComplete
            | Self::CopyInResponse
            | Self::EmptyQueryResponse
            | Self::ErrorResponse
            | Self::NoData
            | Self::ParameterStatus
            | Self::ParseComplete
            | Self::PortalSuspended
            | Self::ReadyForQuery => Rule::Followed,
            Self::Authentication | Self::BackendKeyData | Self::NegotiateProtocolVersion => Rule::Ours,
            Self::CopyBothResponse | Self::FunctionCallResponse => Rule::Unexpected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tags of protocol 3.0 to 3.2, as PostgreSQL 18 documents them (chapter 54.7) and lists in `protocol.h`.
    #[test]
    fn every_documented_message_is_listed() {
        let frontend = *b"BCdcfDEHFPpQSX";
        assert_eq!(frontend.len(), Frontend::ALL.len());
        for tag in frontend {
            assert_eq!(Frontend::of(tag).map(Frontend::tag), Some(tag), "{}", char::from(tag));
        }
        let backend = *b"RK23CWdcGHDIEVvnNAtS1sZT";
        let mut listed: Vec<_> = backend.iter().filter_map(|tag| Backend::of(*tag)).collect();
        listed.sort_unstable();
        assert_eq!(listed, Backend::ALL);
        let others = (0..=u8::MAX).filter(|tag| !frontend.contains(tag));
        assert!(others.into_iter().all(|tag| Frontend::of(tag).is_none()));
        let others = (0..=u8::MAX).filter(|tag| !backend.contains(tag));
        assert!(others.into_iter().all(|tag| Backend::of(tag).is_none()));
    }

    #[test]
    fn what_opens_a_connection_is_told_apart_by_its_code() {
        for (code, want) in [
            (80_877_103, Some(Opening::Tls)),
            (80_877_104, Some(Opening::Gss)),
            (80_877_102, Some(Opening::Cancel)),
            (196_608, Some(Opening::Startup { minor: 0 })),
            (196_610, Some(Opening::Startup { minor: 2 })),
            (131_072, None),
            (0, None),
        ] {
            assert_eq!(Opening::of(code), want, "{code}");
        }
    }
}
