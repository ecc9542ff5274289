//! What one user is told, where nobody else sees it, and the form that asks why.

use super::{
    escape::{Sink, cut, escaped},
    heard::{Click, FORM, REASON, Target},
    sheet::Sheet,
};
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
    /// A sentence of ours.
    pub(super) fn plain(ours: &str) -> Self {
        let mut sheet = Sheet::default();
        sheet.ours(ours);
        Self { text: ours.to_owned(), blocks: sheet.blocks() }
    }

    /// The same with a link of ours.
    pub(super) fn linked(words: &str, title: &str, link: &str) -> Self {
        let mut sheet = Sheet::default();
        sheet.plain(words, SENTENCE);
        sheet.ours(&format!("*{}*", to(link, title)));
        Self { text: escaped(words, Sink::Plain), blocks: sheet.blocks() }
    }

    /// How an approval stands.
    pub(super) fn status(state: &str, sentence: &str, link: &str) -> Self {
        let mut sheet = Sheet::default();
        sheet.ours(&format!("*{state}*"));
        sheet.plain(&visible::escaped(sentence), SENTENCE);
        sheet.ours(&format!("*{}*", to(link, "Open its page")));
        Self { text: state.to_owned(), blocks: sheet.blocks() }
    }

    /// What waits for a person: code, sentence and page of each.
    pub(super) fn list(waiting: &[(String, String, String)], more: usize, console: &str) -> Self {
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

/// A message of the engine as a sentence.
pub(super) fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
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
