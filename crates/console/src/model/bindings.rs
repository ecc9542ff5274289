//! Users of channels who speak for people, and what they are answered.

use super::time;
use countersign_core::visible;
use countersign_engine::inward::{Answer, Outcome};
use countersign_identity::{Binding, Person, Proposed};
use serde::Serialize;
use utoipa::ToSchema;

/// A user of a channel who speaks for somebody.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct BindingItem {
    pub(crate) id: String,
    pub(crate) channel: String,
    /// As the channel tells its users apart.
    pub(crate) user: String,
    /// What the channel called them when they were bound.
    pub(crate) user_name: Option<String>,
    pub(crate) bound_at: String,
}

/// A user of a channel, and for whom they speak.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct BoundItem {
    pub(crate) person: String,
    pub(crate) email: String,
    #[serde(flatten)]
    pub(crate) binding: BindingItem,
}

impl BoundItem {
    /// Who speaks for this person.
    pub(crate) fn all_of(person: &Person) -> Vec<Self> {
        let of = |binding: &Binding| Self {
            person: person.id.to_string(),
            email: person.email.to_string(),
            binding: BindingItem::from(binding),
        };
        person.bindings.iter().map(of).collect()
    }
}

/// Who would speak for the person who looks, hidden characters written out: a script shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ProposedItem {
    channel: String,
    user: String,
    /// What the channel calls them: claimed, never believed.
    user_name: Option<String>,
    expires: String,
}

/// What a channel's user is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SaidAnswer {
    /// `done`: it counts. `refused`: it does not.
    outcome: String,
    /// A stable word for programs: `counted`, `granted`, `rejected`, `said-before`, `link`; `not-bound`, `open-page`,
    /// `shown-changed`…
    code: String,
    /// One plain sentence for the user.
    message: String,
    /// The page of this very approval; for `link` the link with which to be bound, for that user alone.
    link: String,
    /// Until when the link is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl SaidAnswer {
    pub(crate) fn done(code: &str, message: &str, link: String, expires: Option<String>) -> Self {
        Self { outcome: "done".into(), code: code.into(), message: message.into(), link, expires }
    }

    pub(crate) fn refused(code: &str, message: &str, link: String) -> Self {
        Self { outcome: "refused".into(), ..Self::done(code, message, link, None) }
    }
}

impl From<Answer> for SaidAnswer {
    fn from(answer: Answer) -> Self {
        let message = visible::told(&answer.message);
        match answer.outcome {
            Outcome::Done => Self::done(&answer.code, &message, answer.link, None),
            Outcome::Refused => Self::refused(&answer.code, &message, answer.link),
        }
    }
}

impl From<&Binding> for BindingItem {
    fn from(binding: &Binding) -> Self {
        Self {
            id: binding.id.to_string(),
            channel: binding.channel.to_string(),
            user: binding.user.clone(),
            user_name: binding.name.clone(),
            bound_at: time(binding.bound_at),
        }
    }
}

impl From<Proposed> for ProposedItem {
    fn from(proposed: Proposed) -> Self {
        Self {
            channel: proposed.channel.to_string(),
            user: visible::one_line(&proposed.user),
            user_name: proposed.name.map(|name| visible::one_line(&name)),
            expires: time(proposed.expires),
        }
    }
}
