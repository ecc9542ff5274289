//! Microsoft Teams: how a card is drawn, and how it is delivered to servers as strict as Microsoft's.

pub(crate) mod deliver;
pub(crate) mod draw;
mod kept;
