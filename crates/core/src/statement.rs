//! What a person says when they vote: the approval statement, and the challenge a passkey signs over it.

use crate::{
    ApprovalId, BundleDigest, Digest, GateName, PersonId, Timestamp,
    canonical::{self, CanonicalError},
};
use serde::{Deserialize, Serialize};

/// Yes or no; or yes alone, for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Approve,
    Reject,
    /// Lifts every gate of the round that is still shut, alone. The statement names the first of them.
    BreakGlass,
}

/// Everything a vote is bound to. Its canonical form is what the ledger keeps and what a passkey signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    pub approval: ApprovalId,
    pub round: u32,
    pub gate: GateName,
    pub decision: Verdict,
    pub voter: PersonId,
    /// Whose say this is, when the voter stands in for somebody; `None`: their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<PersonId>,
    /// The salted form of the action digest that the ledger publishes for this action.
    pub action_digest: Digest,
    pub bundle_digest: BundleDigest,
    pub evidence_digest: Digest,
    pub view_digest: Digest,
    /// 32 random bytes as hexadecimal, used up by one vote.
    pub nonce: String,
    /// From here on the statement is void.
    pub expires: Timestamp,
}

impl Statement {
    /// SHA-256 over the canonical form, in a domain of its own: the WebAuthn challenge.
    pub fn challenge(&self) -> Result<Digest, CanonicalError> {
        Ok(Digest::of_parts("countersign/vote/v1", &[&canonical::to_vec(self)?]))
    }
}

/// The salted form of an action digest: tells whether two entries speak of the same action without telling which
/// bytes it was. The salt is random, one for each action, and kept out of the ledger.
pub fn published_digest(salt: &[u8; 32], action: &Digest) -> Digest {
    Digest::of_parts("countersign/published-action/v1", &[salt, action.as_bytes()])
}
