//! Stable words for programs about votes that do not count.

use super::VoteRefused;
use countersign_core::approval::Refused;

impl VoteRefused {
    /// The stable word for why it does not count.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rule(rule) => rule_code(rule),
            Self::NotEligible(_) | Self::NotAPerson => "not-eligible",
            Self::Ballot => "ballot",
            Self::ReasonMissing | Self::GlassReasonMissing => "reason-missing",
            Self::ReviewOpen(_) => "review-open",
            Self::NobodyTold => "nobody-told",
            Self::StepUp(_) => "sign-in-again",
        }
    }
}

/// The stable word for a step that an approval does not allow.
pub fn rule_code(rule: &Refused) -> &'static str {
    match rule {
        Refused::RequesterSide => "requester-side",
        Refused::TooWeak { .. } => "too-weak",
        Refused::NotDistinct => "not-eligible",
        Refused::SeatTaken => "said-already",
        Refused::NoBreakGlass(_) => "no-break-glass",
        Refused::NoSuchGate(_) | Refused::OldRound { .. } => "old-round",
        Refused::TooLate => "too-late",
        Refused::TooEarly | Refused::DigestMismatch | Refused::NotTheOwner | Refused::OutOfOrder(_) => {
            "out-of-order"
        }
    }
}
