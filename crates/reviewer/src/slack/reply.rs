//! What stands in the thread below a message: one line for each piece of news.

use super::sheet::Sheet;
use crate::{
    channel::Letter,
    words::{Piece, step},
};
use serde_json::Value;

const NAME: usize = 200;
const SAID: usize = 1_000;

/// One line, as blocks and as plain text for notifications.
pub(super) fn reply(letter: &Letter) -> (String, Vec<Value>) {
    let mut sheet = Sheet::default();
    let step = step(letter);
    let mut line = String::new();
    for piece in step.line {
        match piece {
            Piece::Ours(text) => line.push_str(&text),
            Piece::Theirs(text) => line.push_str(&sheet.code(&text, NAME)),
        }
    }
    let said = step.said.map(|said| sheet.code(&said, SAID));
    let markup = said.map_or_else(|| line.clone(), |said| format!("{line}\n{said}"));
    sheet.ours(&markup);
    (line, sheet.blocks())
}
