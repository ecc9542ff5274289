//! E-mail.

mod deliver;
mod draw;
