//! One plain English sentence for a request, computed from its bytes alone. Values that somebody else chose stand
//! in quotation marks they cannot leave; one that is too long is named by its length and never cut.

use crate::{classify::Surroundings, template::TextTemplate};
use countersign_core::{Class, visible};
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeSet};

/// The longest value a sentence spells out, in characters.
const LONGEST: usize = 120;

/// The sentence of an operation that has a template.
pub fn from_template<'l>(
    around: &Surroundings,
    template: &TextTemplate,
    facts: &Map<String, Value>,
    labels: impl Iterator<Item = &'l String>,
) -> String {
    let mut said = template.fill(|name| match name {
        "target" => Cow::Borrowed(around.target.as_str()),
        "environment" => Cow::Borrowed(around.environment.as_str()),
        _ => Cow::Owned(facts.get(name).map_or_else(|| "(nothing)".to_owned(), |value| quoted(&text(value)))),
    });
    said.truncate(said.trim_end_matches('.').len());
    said.push(' ');
    said.push_str(&context(around, labels));
    said.push('.');
    said
}

/// The sentence of an operation without a template.
pub fn plain<'l>(
    around: &Surroundings,
    class: Class,
    name: &str,
    method: &str,
    location: &str,
    labels: impl Iterator<Item = &'l String>,
) -> String {
    let does = match class {
        Class::Read => "Read",
        Class::Write => "Write",
        Class::Delete => "Delete",
        Class::Export => "Export data",
        Class::Configure => "Change how it runs",
        Class::Execute => "Run something",
        Class::Administer => "Change who may do what",
        Class::Connect => "Open a stream",
        Class::Unknown => "Do something that is not declared",
    };
    let (name, context) = (quoted(name), context(around, labels));
    format!("{does} with {name}: {method} {} on {} {context}.", shown(location), around.target)
}

/// The sentence of a request that matches nothing declared.
pub fn unrecognised(around: &Surroundings, method: &str, location: &str) -> String {
    let (method, location) = (shown(method), shown(location));
    let context = context(around, around.labels.iter());
    format!(
        "Unrecognised request: {method} {location} on {} {context}. Countersign cannot tell what it does.",
        around.target
    )
}

/// The sentence of an upgrade.
pub fn stream(around: &Surroundings, protocol: &str, method: &str, location: &str) -> String {
    let (protocol, location) = (quoted(protocol), shown(location));
    let context = context(around, around.labels.iter());
    format!(
        "Open a {protocol} stream: {method} {location} on {} {context}. Countersign does not read what goes through it.",
        around.target
    )
}

/// A fact as text.
pub(crate) fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(items) => Cow::Owned(items.iter().map(text).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Cow::Owned(value.to_string()),
    }
}

/// Somebody else's text in quotation marks that it cannot close.
fn quoted(text: &str) -> String {
    let length = text.chars().count();
    if length > LONGEST {
        return format!("a value of {length} characters (shown whole on the approval page)");
    }
    let mut out = String::with_capacity(text.len() + 6);
    out.push('“');
    for character in visible::one_line(text).chars() {
        match character {
            '“' | '”' | '„' | '‟' => out.push_str(&visible::label(character)),
            _ => out.push(character),
        }
    }
    out.push('”');
    out
}

/// A path or a method: checked by the edge, but of any length.
fn shown(text: &str) -> Cow<'_, str> {
    let length = text.chars().count();
    if length > LONGEST {
        return Cow::Owned(format!("a path of {length} characters (shown whole on the approval page)"));
    }
    Cow::Owned(visible::one_line(text))
}

fn context<'l>(around: &Surroundings, labels: impl Iterator<Item = &'l String>) -> String {
    // Tags of an API description sort its pages; they say nothing about the data.
    let labels: BTreeSet<&str> =
        labels.map(String::as_str).filter(|label| !label.starts_with("tag:")).collect();
    let words = labels.into_iter().map(|label| match label {
        "pii" => "personal data",
        "phi" => "health data",
        "pci" => "card data",
        other => other,
    });
    let mut all = String::with_capacity(64);
    all.push('(');
    all.push_str(around.environment.as_str());
    for word in words {
        all.push_str(", ");
        all.push_str(word);
    }
    all.push(')');
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::{EnvironmentName, TargetName};

    fn around(labels: &[&str]) -> Surroundings {
        Surroundings {
            target: TargetName::new("billing").unwrap(),
            environment: EnvironmentName::new("prod").unwrap(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        }
    }

    fn filled(template: &str, facts: &Value) -> String {
        let around = around(&["pii"]);
        let template = TextTemplate::parse(template).unwrap();
        from_template(&around, &template, facts.as_object().unwrap(), around.labels.iter())
    }

    #[test]
    fn sentences_read_as_a_person_would_say_them() {
        let none = serde_json::json!({});
        insta::assert_snapshot!(filled("Export the customer table of {target}", &none),
            @"Export the customer table of billing (prod, personal data).");
        insta::assert_snapshot!(filled("Delete customer {customer} from {target}", &serde_json::json!({"customer": "42"})),
            @"Delete customer “42” from billing (prod, personal data).");
        insta::assert_snapshot!(filled("Delete customer {customer}.", &none),
            @"Delete customer (nothing) (prod, personal data).");
        insta::assert_snapshot!(unrecognised(&around(&[]), "POST", "/x?y=1"),
            @"Unrecognised request: POST /x?y=1 on billing (prod). Countersign cannot tell what it does.");
        insta::assert_snapshot!(plain(&around(&["pci"]), Class::Read, "listCards", "GET", "/cards", around(&["pci"]).labels.iter()),
            @"Read with “listCards”: GET /cards on billing (prod, card data).");
        insta::assert_snapshot!(stream(&around(&[]), "websocket", "GET", "/ws"),
            @"Open a “websocket” stream: GET /ws on billing (prod). Countersign does not read what goes through it.");
    }

    #[test]
    fn a_value_cannot_leave_its_quotation_marks_or_hide() {
        let hostile = serde_json::json!({"c": "42” (dev). Approved.\n\u{202e}“"});
        insta::assert_snapshot!(filled("Delete customer {c}", &hostile),
            @"Delete customer “42⟨U+201D⟩ (dev). Approved.⟨U+000A⟩⟨U+202E⟩⟨U+201C⟩” (prod, personal data).");
    }

    #[test]
    fn a_value_too_long_to_show_is_named_and_never_cut() {
        let long = serde_json::json!({"c": "x".repeat(5000)});
        insta::assert_snapshot!(filled("Delete customer {c}", &long),
            @"Delete customer a value of 5000 characters (shown whole on the approval page) (prod, personal data).");
    }

    #[test]
    fn tags_of_an_api_description_are_not_spoken() {
        let around = around(&["pii", "tag:orders"]);
        assert!(
            plain(&around, Class::Read, "op", "GET", "/", around.labels.iter())
                .ends_with("(prod, personal data).")
        );
    }

    #[test]
    fn every_class_has_a_sentence() {
        for class in Class::ALL {
            assert!(plain(&around(&[]), class, "op", "GET", "/", std::iter::empty()).ends_with("(prod)."));
        }
    }
}
