//! Small pieces of markup that several pages share: times, states, icons, digests. Whatever comes in is escaped.

use super::escape;
use crate::model::tools::DiffLine;
use askama::filters::{Escaper as _, Html};

/// A moment: readable without a script, in the viewer's own zone with one; UTC on hover.
pub(crate) fn time(at: &str) -> String {
    let whole = at.split('.').next().unwrap_or(at).trim_end_matches('Z');
    let utc = attribute(&whole.replacen('T', " ", 1));
    format!("<time datetime=\"{}\" title=\"{utc} UTC\">{utc} UTC</time>", attribute(at))
}

/// A moment that is counted down to.
pub(crate) fn countdown(at: &str) -> String {
    time(at).replacen("<time ", "<time data-countdown ", 1)
}

/// Where something stands: colour, icon and word.
pub(crate) fn state(state: &str) -> String {
    let (tone, glyph, word) = match state {
        "pending" => ("wait", "clock", "Waiting"),
        "granted" => ("good", "check", "Approved, not run yet"),
        "executing" => ("wait", "play", "Running"),
        "done" => ("good", "check", "Done"),
        "resolved" => ("flat", "check", "Resolved by a person"),
        "rejected" => ("bad", "cross", "Rejected"),
        "refused" => ("bad", "wall", "Refused"),
        "revoked" => ("bad", "ban", "Revoked"),
        "cancelled" => ("bad", "ban", "Cancelled while running"),
        "unknown" => ("warn", "question", "Outcome unknown"),
        "lapsed" => ("flat", "clock", "Lapsed"),
        "withdrawn" => ("flat", "back", "Withdrawn"),
        "not-run" => ("flat", "back", "Not run"),
        other => return format!("<span class=\"state flat\">{}</span>", escape::text(other)),
    };
    format!("<span class=\"state {tone}\">{}{word}</span>", icon(glyph))
}

/// An icon beside a word; it says nothing the word does not.
pub(crate) fn icon(name: &str) -> String {
    let path = match name {
        "clock" => "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM8 4.5V8l2.5 1.5",
        "check" => "M2.5 8.5l3.5 3.5 7.5-8",
        "cross" => "M3.5 3.5l9 9m0-9l-9 9",
        "play" => "M4.5 2.5l8 5.5-8 5.5z",
        "ban" => "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM3.5 3.5l9 9",
        "wall" => "M1.5 3h13v10h-13zM1.5 8h13M8 3v5M5 8v5M11 8v5",
        "question" => "M5.5 5.5a2.5 2.5 0 1 1 3.6 2.2C8.300 8.100 8 8.600 8 9.500M8 12.500v.3",
        "back" => "M6.500 3L2.500 7l4 4M2.500 7H10a3.500 3.500 0 0 1 0 7H8",
        "key" => "M10 2a4 4 0 1 1-2.800 6.800L2 14h0v-2.500l4.500-4.500A4 4 0 0 1 10 2z",
        "snow" => "M8 1v14M2 4.500l12 7M2 11.500l12-7",
        "shield" => "M8 1.500l5.500 2v4.500c0 3.500-2.500 5.500-5.500 6.500-3-1-5.500-3-5.500-6.500V3.500z",
        "warn" => "M8 2l6.500 12h-13zM8 6.500v3.500M8 11.800v.3",
        _ => "M8 8h.01",
    };
    format!(
        "<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\" focusable=\"false\"><path d=\"{path}\"/></svg>"
    )
}

/// How much care an environment asks for, as a colour.
pub(crate) fn environment(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    if name.starts_with("prod") || name.contains("fedramp") { "live" } else { "other" }
}

/// A digest, broken where it must be, and whole when copied.
pub(crate) fn digest(digest: &str) -> String {
    format!("<code class=\"digest\">{}</code>", escape::text(digest))
}

/// What an entry's type says, in words.
pub(crate) fn entry_kind(kind: &str) -> &str {
    match kind {
        "action.refused" => "Refused by policy",
        "approval.requested" => "Held for review",
        "approval.round_opened" => "New round of review",
        "approval.voted" => "Vote",
        "approval.vote_refused" => "Vote refused",
        "approval.reminded" => "Reminded: nobody has decided yet",
        "approval.escalated" => "Further people told: nobody has decided yet",
        "approval.glass_broken" => "Glass broken: lifted by one person alone",
        "approval.glass_reviewed" => "Break-glass reviewed",
        "approval.granted" => "Approved",
        "approval.closed" => "Approval closed",
        "approval.revoked_while_running" => "Revoked while running",
        "execution.authorized" => "Execution authorised",
        "execution.released" => "Execution taken back: nothing was sent",
        "execution.result" => "Result",
        "execution.outcome_unknown" => "Outcome unknown",
        "execution.resolved" => "Outcome found out by a person",
        "result.delivered" => "Result delivered",
        other => other,
    }
}

/// Words of ours as a sentence.
pub(crate) fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// A value as JSON, for an attribute.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// `14,000`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "templates hand over references")]
pub(crate) fn number(value: &u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A value of computed facts, on one line of text.
pub(crate) fn fact(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) if text.is_empty() => "<span class=\"dim\">empty</span>".into(),
        serde_json::Value::Array(items) if items.is_empty() => "<span class=\"dim\">none</span>".into(),
        serde_json::Value::String(text) => escape::text(text),
        serde_json::Value::Array(items) => {
            items.iter().map(fact).collect::<Vec<_>>().join("<span class=\"dim\">, </span>")
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Object(_) => escape::text(&value.to_string()),
    }
}

fn attribute(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a String cannot fail.
    let _ = Html.write_escaped_str(&mut out, &countersign_core::visible::one_line(text));
    out
}

/// What was there, with what is not any more marked.
pub(crate) fn was(line: &DiffLine) -> String {
    parted("del", line.before.as_deref(), line.after.as_deref())
}

/// What is there now, with what was not there before marked.
pub(crate) fn is(line: &DiffLine) -> String {
    parted("ins", line.after.as_deref(), line.before.as_deref())
}

/// A text with the part marked in which it differs from another.
fn parted(tag: &str, text: Option<&str>, other: Option<&str>) -> String {
    let Some(text) = text else { return String::new() };
    let Some(other) = other else { return format!("<{tag}>{}</{tag}>", escape::text(text)) };
    let common = |same: usize, (left, right): (char, char)| {
        if left == right { Ok(same + left.len_utf8()) } else { Err(same) }
    };
    let (Ok(start) | Err(start)) = text.chars().zip(other.chars()).try_fold(0, common);
    let (head, rest) = text.split_at_checked(start).unwrap_or((text, ""));
    let other = other.get(start..).unwrap_or_default();
    let (Ok(end) | Err(end)) = rest.chars().rev().zip(other.chars().rev()).try_fold(0, common);
    let (middle, tail) = rest.split_at_checked(rest.len() - end).unwrap_or((rest, ""));
    let middle =
        if middle.is_empty() { String::new() } else { format!("<{tag}>{}</{tag}>", escape::text(middle)) };
    format!("{}{middle}{}", escape::text(head), escape::text(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_in_utc_without_a_script() {
        assert_eq!(
            time("2026-11-21T02:00:00.250000Z"),
            "<time datetime=\"2026-11-21T02:00:00.250000Z\" title=\"2026-11-21 02:00:00 UTC\">2026-11-21 02:00:00 UTC</time>"
        );
        assert!(!time("\"><b>").contains("<b>"));
    }

    #[test]
    fn every_state_of_an_approval_has_a_word_an_icon_and_a_colour() {
        for word in [
            "pending",
            "granted",
            "executing",
            "done",
            "cancelled",
            "unknown",
            "rejected",
            "withdrawn",
            "lapsed",
            "revoked",
        ] {
            let drawn = state(word);
            assert!(drawn.contains("<svg") && !drawn.contains(&format!(">{word}<")), "{word}");
        }
        assert_eq!(state("<b>"), "<span class=\"state flat\">&#60;b&#62;</span>");
    }

    #[test]
    fn only_what_differs_is_marked_and_nothing_of_it_is_markup() {
        for (text, other, want) in [
            ("Counts rows.", Some("Counts all rows."), "Counts rows."),
            ("Counts all rows.", Some("Counts rows."), "Counts <ins>all </ins>rows."),
            ("<b>\u{202e}", None, "<ins>&#60;b&#62;<mark>⟨U+202E⟩</mark></ins>"),
            ("é", Some("è"), "<ins>é</ins>"),
            ("aa", Some("a"), "a<ins>a</ins>"),
        ] {
            assert_eq!(parted("ins", Some(text), other), want);
        }
    }
}
