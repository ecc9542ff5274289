//! The two parts of a mail: plain text, and HTML that needs nothing from anywhere. Pure. Every text that is not ours goes
//! through [`super::escape`]; in plain text none of it begins a line, so that it cannot look like a line of ours.

use super::{
    escape::{html, line, lines},
    page::Page,
};
use crate::words::Piece;

const BODY: &str =
    "margin:0;padding:16px;font:15px/1.5 system-ui,sans-serif;color:#1c2430;background:#ffffff";
const CODE: &str = "margin:4px 0 12px;padding:10px;border:1px solid #c7ced8;border-radius:6px;background:#f4f6f9;\
                    color:#1c2430;font:13px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere";
const CLAIM: &str =
    "margin:16px 0;padding:10px 12px;border:1px dashed #8a94a3;border-radius:6px;overflow-wrap:anywhere";
const BUTTON: &str = "display:inline-block;padding:10px 18px;border-radius:6px;background:#1f5fbf;color:#ffffff;\
                      text-decoration:none;font-weight:600";

/// As plain text.
pub(super) fn text(page: &Page) -> String {
    let mut out = format!("{}\n\n  {}\n\n", page.title, line(&page.sentence));
    let mut add = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    if !page.step.is_empty() {
        add(&format!("Now: {}\n", pieces(&page.step, line)));
    }
    for (title, value) in &page.rows {
        add(&format!("{title}: {}", line(value)));
    }
    for (title, bytes) in &page.bytes {
        add(&format!("\n{title}:"));
        for each in lines(bytes).split('\n') {
            add(&format!("| {each}"));
        }
    }
    for (title, list) in &page.lists {
        add(&format!("\n{title}:"));
        for each in list {
            add(&format!("- {}", pieces(each, line)));
        }
    }
    for (title, said) in &page.said {
        add(&format!("\n{title}:"));
        for each in lines(said).split('\n') {
            add(&format!("| {each}"));
        }
    }
    if let Some((marked, name, reason)) = &page.claimed {
        add(&format!("\n({marked})\n| {} says:", line(name)));
        for each in lines(reason).split('\n') {
            add(&format!("| {each}"));
        }
    }
    if let Some(warning) = page.warning {
        add(&format!("\n⚠ {warning}"));
    }
    add(&format!("\n{}:\n{}\n\n-- \n{}", page.link.0, page.link.1, page.note));
    out
}

/// As HTML, without a script, a picture or an address that is not ours.
pub(super) fn markup(page: &Page) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title></head>\n<body style=\"{BODY}\"><div style=\"max-width:42em\">\n\
         <h1 style=\"font-size:18px;margin:0 0 8px\">{title}</h1>\n<p style=\"font-size:17px;margin:0 0 12px;\
         overflow-wrap:anywhere\">{}</p>\n",
        theirs(&page.sentence),
        title = html(&page.title),
    );
    let mut add = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    if !page.step.is_empty() {
        add(&format!("<p><strong>{}</strong></p>", pieces(&page.step, theirs)));
    }
    if !page.rows.is_empty() {
        add("<table style=\"border-collapse:collapse;margin:0 0 12px\">");
        for (title, value) in &page.rows {
            add(&format!(
                "<tr><th style=\"text-align:left;vertical-align:top;padding:2px 16px 2px 0;font-weight:400;\
                 color:#5a6676;white-space:nowrap\">{title}</th><td style=\"padding:2px 0;overflow-wrap:anywhere\">{}</td></tr>",
                theirs(value)
            ));
        }
        add("</table>");
    }
    for (title, bytes) in &page.bytes {
        add(&format!("<p style=\"margin:12px 0 0\"><strong>{}</strong></p>{}", html(title), fence(bytes)));
    }
    for (title, list) in &page.lists {
        add(&format!(
            "<p style=\"margin:12px 0 0\"><strong>{title}</strong></p><ul style=\"margin:4px 0 12px\">"
        ));
        for each in list {
            add(&format!("<li style=\"overflow-wrap:anywhere\">{}</li>", pieces(each, theirs)));
        }
        add("</ul>");
    }
    for (title, said) in &page.said {
        add(&format!("<p style=\"margin:12px 0 0\"><strong>{title}</strong></p>{}", fence(said)));
    }
    if let Some((marked, name, reason)) = &page.claimed {
        add(&format!(
            "<div style=\"{CLAIM}\"><em>🗣️ {marked}</em><br><code>{}</code> says:{}</div>",
            theirs(name),
            fence(reason)
        ));
    }
    if let Some(warning) = page.warning {
        add(&format!("<p><strong>⚠️ {warning}</strong></p>"));
    }
    add(&format!(
        "<p style=\"margin:20px 0\"><a style=\"{BUTTON}\" href=\"{}\">{}</a></p>\n\
         <p style=\"color:#5a6676;font-size:13px\">{}</p>\n</div></body></html>",
        html(&page.link.1),
        page.link.0,
        page.note
    ));
    out
}

fn fence(text: &str) -> String {
    format!("<pre style=\"{CODE}\">{}</pre>", html(&lines(text)))
}

fn theirs(text: &str) -> String {
    html(&line(text))
}

fn pieces(pieces: &[Piece], theirs: impl Fn(&str) -> String) -> String {
    let one = |piece: &Piece| match piece {
        Piece::Ours(text) => text.clone(),
        Piece::Theirs(text) => theirs(text),
    };
    pieces.iter().map(one).collect()
}
