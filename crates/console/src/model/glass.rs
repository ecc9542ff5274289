//! A break-glass as people see it: who, why, who was told, and what somebody else says of it.

use super::{Named, approval::word, time};
use crate::{caller::Caller, console::Console, error::Problem};
use countersign_engine::{
    glass,
    hold::{Glass, Hold},
    vote::VoteRefused,
};
use countersign_identity::Role;
use serde::Serialize;
use utoipa::ToSchema;

/// One break-glass.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GlassItem {
    pub(crate) by: Named,
    pub(crate) at: String,
    pub(crate) reason: String,
    /// Who was told at once.
    pub(crate) told: Vec<Named>,
    /// `None`: nobody else has reviewed it yet.
    pub(crate) review: Option<ReviewItem>,
    /// Whether the viewer may review it.
    pub(crate) can_review: bool,
    pub(crate) why_not: Option<String>,
}

/// What somebody else says of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReviewItem {
    pub(crate) by: Named,
    /// `justified` or `not-justified`.
    pub(crate) found: String,
    pub(crate) note: String,
    pub(crate) at: String,
}

/// Whether the viewer may break the glass here.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MayBreak {
    pub(crate) can: bool,
    pub(crate) why_not: Option<String>,
}

/// A break-glass that waits for its review.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OpenReview {
    pub(crate) approval: String,
    pub(crate) sentence: String,
    /// How the approval stands.
    pub(crate) state: String,
    pub(crate) broken_by: Named,
    pub(crate) at: String,
    pub(crate) reason: String,
    /// Where it is reviewed.
    pub(crate) link: String,
}

impl Console {
    pub(crate) async fn open_reviews(&self) -> Result<Vec<OpenReview>, Problem> {
        let mut found = Vec::new();
        for hold in glass::open(self.gate()).await? {
            for glass in hold.glass.iter().filter(|glass| glass.review.is_none()) {
                found.push(OpenReview {
                    approval: hold.approval.id.to_string(),
                    sentence: hold.view.computed.sentence.clone(),
                    state: hold.approval.state.as_str().into(),
                    broken_by: self.person_named(glass.by),
                    at: time(glass.at),
                    reason: glass.reason.clone(),
                    link: self.gate().approval_link(hold.approval.id),
                });
            }
        }
        Ok(found)
    }

    pub(crate) fn glass_items(&self, hold: &Hold, caller: &Caller) -> Vec<GlassItem> {
        hold.glass.iter().map(|glass| self.glass_item(hold, glass, caller)).collect()
    }

    fn glass_item(&self, hold: &Hold, glass: &Glass, caller: &Caller) -> GlassItem {
        let why_not = match (caller.person(), caller.role()) {
            (_, Some(Role::Auditor)) => Some("auditors read, and change nothing".to_owned()),
            (None, _) => Some("a person reviews it, not the operator".to_owned()),
            (Some(person), _) => {
                glass::may_review(self.gate(), hold, glass.by, person).err().map(|why| why.to_string())
            }
        };
        let waits = glass.review.is_none();
        GlassItem {
            by: self.person_named(glass.by),
            at: time(glass.at),
            reason: glass.reason.clone(),
            told: self.people_named(&glass.told),
            review: glass.review.as_ref().map(|review| ReviewItem {
                by: self.person_named(review.by),
                found: word(&review.found),
                note: review.note.clone(),
                at: time(review.at),
            }),
            can_review: waits && why_not.is_none(),
            why_not: why_not.filter(|_| waits),
        }
    }

    /// `None` where it is not open, or policy has no break-glass that would lift all of it.
    pub(crate) async fn may_break(&self, hold: &Hold, caller: &Caller) -> Result<Option<MayBreak>, Problem> {
        let pending = matches!(hold.approval.state, countersign_core::approval::State::Pending);
        let offered = pending && hold.approval.shut_gates().all(|(_, gate)| gate.break_glass.is_some());
        let voter =
            caller.person().filter(|_| matches!(caller.role(), Some(Role::Reviewer | Role::Administrator)));
        let (true, Some(person)) = (offered, voter) else { return Ok(None) };
        Ok(match glass::may(self.gate(), hold, person).await? {
            Ok(_) => Some(MayBreak { can: true, why_not: None }),
            // Whoever the gate does not name is not told of what others may.
            Err(VoteRefused::NotEligible(_) | VoteRefused::NotAPerson | VoteRefused::Rule(_)) => None,
            Err(refused) => Some(MayBreak { can: false, why_not: Some(refused.to_string()) }),
        })
    }
}
