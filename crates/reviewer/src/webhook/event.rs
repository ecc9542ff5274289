//! The body of a webhook: one `CloudEvents` 1.0 event in its JSON format.

use crate::channel::Letter;
use serde_json::{Value, json};

/// Before the type of the ledger's entry.
const PREFIX: &str = "io.github.countersign.";

pub(super) fn body(letter: &Letter) -> Vec<u8> {
    event(letter).to_string().into_bytes()
}

fn event(letter: &Letter) -> Value {
    let news = &letter.news;
    json!({
        "specversion": "1.0",
        "id": letter.id,
        "source": letter.source,
        "type": format!("{PREFIX}{}", news.kind),
        "subject": letter.approval,
        "time": news.at,
        "datacontenttype": "application/json",
        // The extension `sequence`: texts that sort as the news of this approval came.
        "sequence": format!("{:010}", news.number),
        "data": {
            "approval": letter.approval,
            "action": letter.action,
            "entry": news.entry,
            "number": news.number,
            "state": news.state,
            "gates": news.gates,
            "shown": letter.shown,
            "message": letter.message,
        },
    })
}
