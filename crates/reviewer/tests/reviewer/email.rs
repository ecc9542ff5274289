//! E-mail.

mod deliver;
pub(crate) mod draw;
