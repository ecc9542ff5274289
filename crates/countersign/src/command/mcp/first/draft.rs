//! What a server's own words about its tools come to as a beginning: a section of the configuration, policies and pins.
//! Pure: from definitions to texts. A hint that a tool is harmless permits it here, and nowhere else in the product: these
//! files are read by a person before they hold.

use countersign_core::{Class, Digest, TargetName, definition, visible};
use countersign_engine::definitions::Definition;
use serde_json::{Value, json};
use std::{fmt::Write as _, path::PathBuf};

/// Where the section has the gateway listen.
pub(super) const LISTEN: &str = "127.0.0.1:7201";

/// All that the files are made of.
pub(super) struct Draft {
    pub(super) target: TargetName,
    pub(super) environment: String,
    pub(super) url: String,
    /// Where the server's token is, `env:NAME` or `file:PATH`.
    pub(super) credential: Option<String>,
    pub(super) ca: Option<PathBuf>,
    /// The group of who may call the tools, and of who is asked.
    pub(super) agents: String,
    pub(super) approvers: String,
    pub(super) tools: Vec<Tool>,
}

/// One tool, and what becomes of it at first.
pub(super) struct Tool {
    pub(super) name: String,
    digest: Digest,
    /// What its annotations say, in words.
    pub(super) hints: Vec<&'static str>,
    /// The rules that found something in it.
    pub(super) flags: Vec<&'static str>,
    pub(super) group: Group,
    pub(super) described: String,
}

/// What the policies make of a tool at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Reads,
    ReachesOut,
    Changes,
    Destroys,
    Flagged,
    Unknown,
}

impl Group {
    const HELD: [Self; 5] = [Self::Flagged, Self::Destroys, Self::Changes, Self::ReachesOut, Self::Unknown];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Reads => "permitted",
            Self::ReachesOut | Self::Changes | Self::Destroys | Self::Flagged | Self::Unknown => "held",
        }
    }

    /// Its policies' names, behind the target's.
    const fn id(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::ReachesOut => "reaches-out",
            Self::Changes => "changes",
            Self::Destroys => "destroys",
            Self::Flagged => "flagged",
            Self::Unknown => "unknown",
        }
    }

    pub(super) const fn because(self) -> &'static str {
        match self {
            Self::Reads => "the server says that it only reads",
            Self::ReachesOut => "the server says that it reads beyond itself: what it is given goes there",
            Self::Changes => "the server says that it changes something",
            Self::Destroys => "the server says that it may destroy something",
            Self::Flagged => "something in its description should be looked at twice",
            Self::Unknown => "the server does not say what it does",
        }
    }

    /// `None` where nothing can be said: such a tool stays undeclared.
    pub(super) const fn declared(self) -> Option<Class> {
        match self {
            Self::Reads | Self::ReachesOut => Some(Class::Read),
            Self::Changes => Some(Class::Write),
            Self::Destroys => Some(Class::Delete),
            Self::Flagged | Self::Unknown => None,
        }
    }
}

impl Tool {
    pub(super) fn of(said: &Definition) -> Self {
        let value: Value = serde_json::from_str(&said.text).unwrap_or_default();
        let hint = |name: &str| value.pointer(&format!("/annotations/{name}")).and_then(Value::as_bool);
        let (reads, destroys, open) = (hint("readOnlyHint"), hint("destructiveHint"), hint("openWorldHint"));
        let flags = definition::flags(&said.tool, &value);
        let mut rules: Vec<&'static str> = flags.iter().map(|flag| flag.rule.as_str()).collect();
        rules.dedup();
        let group = match (reads, destroys, open) {
            _ if !flags.is_empty() => Group::Flagged,
            // The protocol's own default: what changes something may destroy it.
            (_, Some(true), _) | (Some(false), None, _) => Group::Destroys,
            (Some(true), _, Some(true)) => Group::ReachesOut,
            (Some(true), ..) => Group::Reads,
            (_, Some(false), _) => Group::Changes,
            (None, None, _) => Group::Unknown,
        };
        let words = [
            (reads, "only reads", "changes something"),
            (destroys, "may destroy", "destroys nothing"),
            (hint("idempotentHint"), "twice is once", "twice is twice"),
            (open, "reaches beyond itself", "stays within itself"),
        ];
        let hints = words.into_iter().filter_map(|(said, yes, no)| said.map(|is| if is { yes } else { no }));
        let described = value.pointer("/description").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            name: said.tool.clone(),
            digest: said.digest,
            hints: hints.collect(),
            flags: rules,
            group,
            described,
        }
    }
}

impl Draft {
    /// Names and texts: section, policies and pins, in this order.
    pub(super) fn files(&self) -> [(String, String); 3] {
        let name = &self.target;
        [
            (format!("{name}.toml"), self.section()),
            (format!("{name}.cedar"), self.policies()),
            (format!("{name}.pins.json"), self.pins()),
        ]
    }

    fn of(&self, group: Group) -> impl Iterator<Item = &Tool> {
        self.tools.iter().filter(move |tool| tool.group == group)
    }

    fn section(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        // Writing to a String cannot fail, here and below.
        let mut out = format!(
            "# Written by `countersign mcp inspect` from what the server says of itself. Read it before it holds.\n[[mcp]]\n\
             name = {}\nenvironment = {}\nlisten = \"{LISTEN}\"\nupstream = {}\n",
            quoted(self.target.as_str()),
            quoted(&self.environment),
            quoted(&self.url)
        );
        if let Some(reference) = &self.credential {
            let (profile, reference) = (quoted(self.target.as_str()), quoted(reference));
            let _ = writeln!(out, "credential = {{ profile = {profile}, value_from = {reference} }}");
        }
        if let Some(ca) = &self.ca {
            let _ = writeln!(out, "upstream_tls = {{ ca = {} }}", quoted(&ca.to_string_lossy()));
        }
        out.push_str("# A tool whose description nobody has accepted, or that was changed since, is not called.\nunreviewed = \"refused\"\n");
        for tool in &self.tools {
            let (name, why) = (visible::name(&tool.name), tool.group.because());
            let _ = if let Some(class) = tool.group.declared() {
                let (quoted, class) = (quoted(&tool.name), class.as_str());
                write!(out, "\n# {name}: {why}.\n[[mcp.tools]]\nname = {quoted}\nclass = \"{class}\"\n")
            } else {
                let told = "stays undeclared, and so `mcp.tool`";
                write!(out, "\n# {name} {told}: {why}. Declare it once you know what it does.\n")
            };
        }
        out
    }

    fn policies(&self) -> String {
        let target = self.target.as_str();
        let (agents, approvers) = (cedar(&self.agents), cedar(&self.approvers));
        let environment = cedar(&self.environment);
        let mut out = format!(
            "// Written by `countersign mcp inspect` from what the server says of itself. A beginning: its words are no proof, so\n\
             // read every tool that is permitted. What no rule here permits is refused.\n\n\
             // Agents may open a session and see which tools they may call.\n\
             @id(\"{target}-look\")\n\
             permit (\n    principal in Group::{agents},\n    action in [{}, {}],\n    resource in Environment::{environment}\n);\n",
            action(target, "mcp.session"),
            action(target, "mcp.list"),
        );
        let held: Vec<Group> =
            Group::HELD.into_iter().filter(|group| self.of(*group).next().is_some()).collect();
        let permits = std::iter::once(Group::Reads).filter(|_| self.of(Group::Reads).next().is_some());
        for group in permits {
            self.permit(
                &mut out,
                &[group],
                "Agents may call these without asking.",
                group.id(),
                (&agents, &environment),
            );
        }
        if !held.is_empty() {
            let why =
                "Agents may ask to call these; the gates below hold each call until somebody approves it.";
            self.permit(&mut out, &held, why, "held", (&agents, &environment));
        }
        let mut undeclared = held.iter().filter(|group| group.declared().is_none()).peekable();
        let gates = held.iter().filter(|group| group.declared().is_some());
        let gates = gates.map(|group| vec![*group]);
        let last = undeclared.peek().is_some().then(|| undeclared.copied().collect::<Vec<_>>());
        for gate in gates.chain(last) {
            self.gate(&mut out, &gate, &approvers);
        }
        out
    }

    fn permit(
        &self,
        out: &mut String,
        groups: &[Group],
        why: &str,
        id: &str,
        (agents, environment): (&str, &str),
    ) {
        let target = self.target.as_str();
        let _ = write!(out, "\n// {why}\n");
        for group in groups.iter().filter(|group| **group == Group::Reads) {
            self.comments(out, *group);
        }
        let _ = write!(
            out,
            "@id(\"{target}-{id}-may\")\npermit (\n    principal in Group::{agents},\n    action in [{}],\n    \
             resource in Environment::{environment}\n);\n",
            self.actions(groups)
        );
    }

    fn gate(&self, out: &mut String, groups: &[Group], approvers: &str) {
        let target = self.target.as_str();
        let Some(first) = groups.last() else { return };
        out.push('\n');
        for group in groups {
            self.comments(out, *group);
        }
        // Annotations hold Cedar's own strings.
        let asked = cedar(&format!("Group::{approvers}"));
        let (id, why) =
            (first.id(), if groups.len() > 1 { Group::Unknown.because() } else { first.because() });
        let _ = write!(
            out,
            "@id(\"{target}-{id}\")\n@gate(\"{target}-{id}\")\n@approvers({asked})\n@quorum(\"1\")\n@expires(\"30m\")\n\
             @step_up(\"session\")\n@reason({})\nforbid (\n    principal,\n    action in [{}],\n    resource\n);\n",
            cedar(why),
            self.actions(groups)
        );
    }

    /// A line for each tool, which says why it is where it is.
    fn comments(&self, out: &mut String, group: Group) {
        for tool in self.of(group) {
            let flags =
                if tool.flags.is_empty() { String::new() } else { format!(" ({})", tool.flags.join(", ")) };
            let _ = writeln!(out, "// - {}: {}{flags}.", visible::name(&tool.name), group.because());
        }
    }

    /// The actions of these groups, each once.
    fn actions(&self, groups: &[Group]) -> String {
        let mut named = Vec::new();
        for tool in groups.iter().flat_map(|group| self.of(*group)) {
            let operation = if tool.group.declared().is_some() { tool.name.as_str() } else { "mcp.tool" };
            let written = action(self.target.as_str(), operation);
            if !named.contains(&written) {
                named.push(written);
            }
        }
        named.join(", ")
    }

    /// The definitions as they are now, for `countersign mcp accept --pins`. What is flagged is not among them: a person
    /// looks at it and names it.
    fn pins(&self) -> String {
        let pinned = self.tools.iter().filter(|tool| tool.flags.is_empty());
        let pinned: Vec<Value> =
            pinned.map(|tool| json!({"tool": tool.name, "definition": tool.digest})).collect();
        let flagged = self.tools.iter().filter(|tool| !tool.flags.is_empty());
        let flagged: Vec<Value> = flagged
            .map(|tool| json!({"tool": tool.name, "definition": tool.digest, "flags": tool.flags}))
            .collect();
        format!("{:#}\n", json!({"target": self.target, "pins": pinned, "flagged": flagged}))
    }
}

fn action(target: &str, operation: &str) -> String {
    format!("Action::{}", cedar(&format!("{target}/{operation}")))
}

/// A string as Cedar writes it, with nothing hidden in it.
fn cedar(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            plain if plain == ' ' || plain.is_ascii_graphic() || plain.is_alphanumeric() => out.push(plain),
            other => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(other));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(text: &Value) -> Tool {
        Tool::of(&Definition {
            tool: text["name"].as_str().unwrap().to_owned(),
            digest: Digest::of_parts("test", &[text.to_string().as_bytes()]),
            text: text.to_string(),
        })
    }

    #[test]
    #[rustfmt::skip]
    fn only_what_says_that_it_reads_and_nothing_else_starts_permitted() {
        for (annotations, name, want) in [
            (json!({"readOnlyHint": true}), "look", Group::Reads),
            (json!({"readOnlyHint": true, "openWorldHint": false, "idempotentHint": true}), "look", Group::Reads),
            (json!({"readOnlyHint": true, "openWorldHint": true}), "search", Group::ReachesOut),
            (json!({"readOnlyHint": true, "destructiveHint": true}), "look", Group::Destroys),
            (json!({"readOnlyHint": false}), "put", Group::Destroys),
            (json!({"destructiveHint": false}), "put", Group::Changes),
            (json!({"readOnlyHint": "true"}), "look", Group::Unknown),
            (json!({}), "look", Group::Unknown),
            // Its name says otherwise.
            (json!({"readOnlyHint": true}), "delete_all", Group::Flagged),
        ] {
            let made = tool(&json!({"name": name, "annotations": annotations}));
            assert_eq!(made.group, want, "{name} {annotations}");
        }
    }

    #[test]
    fn texts_of_a_server_stay_within_their_strings() {
        assert_eq!(
            cedar("a\"; permit(principal, action, resource);\n//"),
            r#""a\"; permit(principal, action, resource);\u{a}//""#
        );
        assert_eq!(cedar("zero\u{200b}width"), r#""zero\u{200b}width""#);
    }
}
