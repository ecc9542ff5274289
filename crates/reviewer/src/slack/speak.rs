//! What one user is told, where nobody else sees it, and the form that asks why.

use super::{
    escape::{Sink, cut, escaped},
    heard::{Click, FORM, FREEZE, REASON},
    sheet::Sheet,
};
use crate::desk::{
    PAGE, Target, Told,
    freeze::{Asked, written},
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
    let (shown_sentence, left_out) = cut(&visible::escaped(sentence), Sink::Plain, SENTENCE);
    let more = if left_out > 0 { format!(" … {left_out} characters more") } else { String::new() };
    let about = format!("{shown_sentence}{more} ");
    let input = why("It reaches the requester, and stands on the approval's page.", "");
    let carries = format!("{} {}", Target::value(*approval, shown), click.answer_to);
    modal(FORM, "Reject", &carries, &about, &input)
}

/// The form that asks once more before something is frozen, and why.
pub(super) fn freezing(asked: &Asked, answer_to: &str) -> Value {
    let about = format!(
        "This freezes {}: nothing new runs there, and what runs now is told to stop. It is lifted in the console. ",
        escaped(&asked.what.called, Sink::Plain)
    );
    let input = why("It is recorded with the freeze.", &asked.reason);
    modal(FREEZE, "Freeze", &format!("{} {answer_to}", written(&asked.what.scope)), &about, &input)
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// Asks why. `said`: what stands there already.
fn why(hint: &str, said: &str) -> Value {
    let mut field = json!({"type": "plain_text_input", "action_id": REASON, "multiline": true, "min_length": 1,
        "max_length": LONGEST_REASON});
    if let (false, Some(field)) = (said.is_empty(), field.as_object_mut()) {
        let said: String = said.chars().take(LONGEST_REASON).collect();
        field.insert("initial_value".into(), said.into());
    }
    json!({"type": "input", "block_id": REASON, "label": plain("Why?"), "element": field, "hint": plain(hint)})
}

fn modal(form: &str, title: &str, carries: &str, about: &str, input: &Value) -> Value {
    json!({
        "type": "modal", "callback_id": form, "title": plain(title), "submit": plain(title), "close": plain("Not yet"),
        "private_metadata": carries,
        "blocks": [{"type": "section", "text": plain(about), "expand": true}, input],
    })
}

fn to(link: &str, title: &str) -> String {
    format!("<{}|{}>", escaped(link, Sink::Plain).replace('|', "%7C"), escaped(title, Sink::Plain))
}
