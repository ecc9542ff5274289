//! Text made to fool a reviewer, and bytes made to break a parser, through the gateway: what reaches the API, the
//! pages and the terminal shows everything, and what cannot be read with certainty is refused in plain words.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test stops at the first surprise"
)]

mod refused;
mod secrets;
mod shown;

/// Characters nobody sees, or that change how others are seen. Line feeds and tabs are not among them.
pub(crate) fn hidden_in(text: &str) -> Option<char> {
    text.chars().find(|character| {
        (character.is_control() && !matches!(character, '\n' | '\t'))
            || matches!(
                *character,
                '\u{200b}'..='\u{200f}'
                    | '\u{202a}'..='\u{202e}'
                    | '\u{2060}'..='\u{2069}'
                    | '\u{feff}'
                    | '\u{e0000}'..='\u{e007f}'
            )
    })
}
