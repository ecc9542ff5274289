//! What one user is told, where nobody else sees it, and the form that asks why.

use super::{
    escape::{Sink, cut, escaped},
    heard::{Click, FORM, REASON},
    sheet::Sheet,
};
use crate::desk::{PAGE, Target, Told};
use countersign_core::visible;
use countersign_engine::inward::LONGEST_REASON;
use serde_json::{Value, json};

const SENTENCE: usize = 500;

/// Something said to one user.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words {
    text: String,
    blocks: Vec<Value>,
}

impl Words {
    /// What the desk tells.
    pub(super) fn of(told: &Told) -> Self {
        match told {
            Told::Plain(words) => Self::plain(words),
            Told::Linked { words, title, link } => Self::linked(words, title, link),
            Told::Status { state, sentence, link } => Self::status(state, sentence, link),
            Told::List { waiting, more, console } => Self::list(waiting, *more, console),
        }
    }

    fn plain(ours: &str) -> Self {
        let mut sheet = Sheet::default();
        sheet.ours(ours);
        Self { text: ours.to_owned(), blocks: sheet.blocks() }
    }

    fn linked(words: &str, title: &str, link: &str) -> Self {
        let mut sheet = Sheet::default();
        sheet.plain(words, SENTENCE);
        sheet.ours(&format!("*{}*", to(link, title)));
        Self { text: escaped(words, Sink::Plain), blocks: sheet.blocks() }
    }

    fn status(state: &str, sentence: &str, link: &str) -> Self {
        let mut sheet = Sheet::default();
        sheet.ours(&format!("*{state}*"));
        sheet.plain(&visible::escaped(sentence), SENTENCE);
        sheet.ours(&format!("*{}*", to(link, PAGE)));
        Self { text: state.to_owned(), blocks: sheet.blocks() }
    }

    fn list(waiting: &[(String, String, String)], more: usize, console: &str) -> Self {
        let mut sheet = Sheet::default();
        if waiting.is_empty() {
            return Self::plain("Nothing waits for you.");
        }
        for (code, sentence, link) in waiting {
            let sentence = sheet.code(&visible::escaped(sentence), SENTENCE);
            sheet.ours(&format!("*{}* {sentence}", to(link, code)));
        }
        if more > 0 {
            sheet.ours(&format!("*{}*", to(console, &format!("{more} more"))));
        }
        Self { text: "What waits for you".into(), blocks: sheet.blocks() }
    }

    /// As it is sent.
    pub(super) fn ephemeral(&self) -> Value {
        json!({"response_type": "ephemeral", "replace_original": false, "text": self.text, "blocks": self.blocks})
    }
}

/// The form. It carries what the button carried, and where to answer.
pub(super) fn form(click: &Click, sentence: &str) -> Value {
    let Target { approval, shown } = &click.target;
    let plain = |text: &str| json!({"type": "plain_text", "text": text, "emoji": false});
    let (shown_sentence, left_out) = cut(&visible::escaped(sentence), Sink::Plain, SENTENCE);
    let more = if left_out > 0 { format!(" … {left_out} characters more") } else { String::new() };
    let about =
        json!({"type": "section", "text": plain(&format!("{shown_sentence}{more} ")), "expand": true});
    let field = json!({"type": "plain_text_input", "action_id": REASON, "multiline": true, "min_length": 1,
        "max_length": LONGEST_REASON});
    let input = json!({"type": "input", "block_id": REASON, "label": plain("Why?"), "element": field,
        "hint": plain("It reaches the requester, and stands on the approval's page.")});
    json!({
        "type": "modal", "callback_id": FORM, "title": plain("Reject"), "submit": plain("Reject"), "close": plain("Not yet"),
        "private_metadata": format!("{} {}", Target::value(*approval, shown), click.answer_to),
        "blocks": [about, input],
    })
}

fn to(link: &str, title: &str) -> String {
    format!("<{}|{}>", escaped(link, Sink::Plain).replace('|', "%7C"), escaped(title, Sink::Plain))
}
