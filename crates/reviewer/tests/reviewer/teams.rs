//! Microsoft Teams: how a card is drawn, and how it is delivered to servers as strict as Microsoft's.

mod deliver;
mod draw;
mod kept;
