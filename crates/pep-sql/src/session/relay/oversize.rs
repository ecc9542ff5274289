//! Messages of a server that are too large to be read whole, where they would have to be. What nobody can mask goes no
//! further, and the client is told why.

use super::{At, FOLLOWED, Relay, TELLING};
use crate::{
    error::Ended,
    frame::HEADER,
    message::{Backend, BackendRule},
    reply::{Said, Severity, sqlstate},
    session::veil::Veil,
    understand::Access,
};
use bytes::BytesMut;

/// What becomes of a message in the client's own answer, by its size.
pub(super) enum Oversize {
    /// Nothing: it is read as any other.
    No,
    /// Not enough of it has come.
    Wait,
    /// It goes no further; this is told in its place.
    Lost(BytesMut),
}

/// What of an answer its client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    All,
    /// It was told of an error that the server knows nothing of: of the rest only what stands behind errors as well.
    Little,
}

impl Hearing {
    pub(super) fn hears(self, message: Backend) -> bool {
        let anyway = matches!(
            message,
            Backend::ReadyForQuery | Backend::ParameterStatus | Backend::NotificationResponse
        );
        self == Self::All || anyway
    }
}

impl Relay<'_> {
    pub(super) fn oversize(
        &mut self,
        (message, tag): (Backend, u8),
        size: usize,
        rest: &[u8],
    ) -> Result<Oversize, Ended> {
        if self.at != At::Answer {
            return Ok(Oversize::No);
        }
        if !self.hearing.hears(message) && message.rule() == BackendRule::Passed {
            return Ok(Oversize::Lost(BytesMut::new()));
        }
        if size <= FOLLOWED {
            return Ok(Oversize::No);
        }
        if message == Backend::ErrorResponse && rest.len() < TELLING {
            return Ok(Oversize::Wait);
        }
        let Some(veil) = self.seeing.veil.as_deref().filter(|_| Veil::hides(message)) else {
            return Ok(Oversize::No);
        };
        let mut told = BytesMut::new();
        if message == Backend::DataRow {
            // What changed nothing can fail here as well as at the server. Anything else would be taken back in the
            // client's eyes, and was not.
            if veil.access() != Access::ReadOnly {
                return Err(Ended::Unmaskable { size });
            }
            self.seen.error.get_or_insert_with(|| sqlstate::TOO_LARGE.into());
            self.hearing = Hearing::Little;
            unmaskable(size).write(Severity::Error, &mut told);
        } else {
            let telling = rest.get(HEADER..TELLING).unwrap_or_default();
            self.follow(message, telling).map_err(Ended::Server)?;
            if let Some(veil) = self.seeing.veil.as_deref() {
                veil.write(tag, telling, &mut told)?;
            }
        }
        Ok(Oversize::Lost(told))
    }
}

fn unmaskable(size: usize) -> Said {
    let why = format!("a row of {size} bytes is too large to be masked; the most is {FOLLOWED}");
    Said::new(sqlstate::TOO_LARGE, why, "ask for fewer columns, or for parts of the long ones")
}
