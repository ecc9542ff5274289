//! Tools as their targets describe them: what people have accepted, what waits, and what is different between the two.

use super::{Named, time};
use crate::{console::Console, error::Problem};
use countersign_core::{
    Digest, TargetName,
    definition::{self, Line},
};
use countersign_engine::definitions::{self, Known, State, Version};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use utoipa::ToSchema;

/// One tool of a target.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ToolItem {
    pub(crate) target: String,
    pub(crate) tool: String,
    /// The description people have accepted; without one the tool cannot be called as it is declared.
    pub(crate) accepted: Option<VersionItem>,
    /// What nobody has decided on yet, newest first.
    pub(crate) waiting: Vec<VersionItem>,
    /// What somebody refused, newest first.
    pub(crate) refused: Vec<VersionItem>,
}

/// One description of a tool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct VersionItem {
    /// The description's digest.
    pub(crate) definition: String,
    /// `waiting`, `accepted`, `refused` or `replaced`.
    pub(crate) state: String,
    pub(crate) noticed_at: String,
    pub(crate) decided_at: Option<String>,
    pub(crate) decided_by: Option<Named>,
    /// The server's own words.
    pub(crate) description: String,
    pub(crate) flags: Vec<FlagItem>,
}

/// Something to look at twice.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FlagItem {
    pub(crate) rule: String,
    pub(crate) meaning: String,
    pub(crate) place: String,
    pub(crate) found: String,
}

/// A description beside the one people have accepted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ToolFull {
    pub(crate) target: String,
    pub(crate) tool: String,
    pub(crate) version: VersionItem,
    /// The one it is compared with: the accepted one, where that is another.
    pub(crate) compared_with: Option<String>,
    pub(crate) lines: Vec<DiffLine>,
    /// The description itself, in canonical form.
    pub(crate) text: String,
}

/// One value of a description, and whether it is another one than was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct DiffLine {
    /// `same`, `added`, `removed` or `changed`.
    pub(crate) mark: &'static str,
    pub(crate) place: String,
    /// What was accepted; `null` where there was nothing.
    pub(crate) before: Option<String>,
    /// What is described now; `null` where there is nothing.
    pub(crate) after: Option<String>,
}

impl Console {
    /// Every tool of a target that is known.
    pub(crate) fn tool_items(&self, target: &TargetName) -> Vec<ToolItem> {
        let known = definitions::of_target(self.gate(), target);
        known.iter().map(|known| self.tool_item(known)).collect()
    }

    pub(crate) fn tool_item(&self, known: &Known) -> ToolItem {
        let of = |state| {
            let versions = known.versions.iter().rev().filter(move |version| version.state == state);
            versions.map(|version| self.version_item(&known.tool, version)).collect()
        };
        ToolItem {
            target: known.target.to_string(),
            tool: known.tool.clone(),
            accepted: known.accepted().map(|version| self.version_item(&known.tool, version)),
            waiting: of(State::Waiting),
            refused: of(State::Refused),
        }
    }

    fn version_item(&self, tool: &str, version: &Version) -> VersionItem {
        let value: Value = serde_json::from_str(&version.text).unwrap_or_default();
        let flag = |flag: definition::Flag| FlagItem {
            rule: flag.rule.as_str().into(),
            meaning: flag.rule.meaning().into(),
            place: flag.place,
            found: flag.found,
        };
        VersionItem {
            definition: version.digest.to_string(),
            state: super::approval::word(&version.state),
            noticed_at: time(version.noticed_at),
            decided_at: version.decided.as_ref().map(|decided| time(decided.at)),
            decided_by: version.decided.as_ref().map(|decided| self.taker_named(&decided.by)),
            description: value.get("description").and_then(Value::as_str).unwrap_or_default().into(),
            flags: definition::flags(tool, &value).into_iter().map(flag).collect(),
        }
    }

    /// One description, compared with the accepted one.
    pub(crate) fn tool_full(&self, target: &TargetName, digest: Digest) -> Result<ToolFull, Problem> {
        let missing = || Problem::not_found(format!("`{target}` has described no tool as `{digest}`"));
        let known = definitions::of_target(self.gate(), target);
        let known = known.into_iter().find(|known| known.version(digest).is_some()).ok_or_else(missing)?;
        let version = known.version(digest).ok_or_else(missing)?;
        let accepted = known.accepted().filter(|accepted| accepted.digest != digest);
        let laid_out = |text: &str| definition::lines(&serde_json::from_str(text).unwrap_or_default());
        let (new, old) = (laid_out(&version.text), accepted.map(|accepted| laid_out(&accepted.text)));
        let lines = match old {
            Some(old) => compared(old, new),
            None => new.into_iter().map(|line| kept(line.place, line.text)).collect(),
        };
        Ok(ToolFull {
            target: target.to_string(),
            tool: known.tool.clone(),
            version: self.version_item(&known.tool, version),
            compared_with: accepted.map(|accepted| accepted.digest.to_string()),
            lines,
            text: version.text.clone(),
        })
    }
}

fn kept(place: String, text: String) -> DiffLine {
    DiffLine { mark: "same", place, before: Some(text.clone()), after: Some(text) }
}

/// Two descriptions side by side, place by place. Both are in the same order, and no place occurs twice.
fn compared(old: Vec<Line>, new: Vec<Line>) -> Vec<DiffLine> {
    let before: HashMap<String, String> =
        old.iter().map(|line| (line.place.clone(), line.text.clone())).collect();
    let after: HashMap<String, String> =
        new.iter().map(|line| (line.place.clone(), line.text.clone())).collect();
    let mut gone = old.into_iter().peekable();
    let mut lines = Vec::new();
    for Line { place, text } in new {
        let mut removed = |until: Option<&str>| {
            while let Some(line) =
                gone.next_if(|line| Some(line.place.as_str()) != until && !after.contains_key(&line.place))
            {
                lines.push(DiffLine {
                    mark: "removed",
                    place: line.place,
                    before: Some(line.text),
                    after: None,
                });
            }
        };
        removed(Some(&place));
        gone.next_if(|line| line.place == place);
        lines.push(match before.get(&place) {
            None => DiffLine { mark: "added", place, before: None, after: Some(text) },
            Some(was) if *was == text => kept(place, text),
            Some(was) => DiffLine { mark: "changed", place, before: Some(was.clone()), after: Some(text) },
        });
    }
    let rest = gone.filter(|line| !after.contains_key(&line.place));
    lines.extend(rest.map(|line| DiffLine {
        mark: "removed",
        place: line.place,
        before: Some(line.text),
        after: None,
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_difference_is_told_at_its_place() {
        let lines = |value: Value| definition::lines(&value);
        let old = lines(json!({"a": 1, "b": {"x": "one"}, "c": [1, 2], "z": true}));
        let new = lines(json!({"a": 1, "b": {"x": "two", "y": {}}, "c": [1], "n": null}));
        let told: Vec<String> = compared(old, new)
            .into_iter()
            .map(|line| {
                let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
                format!("{} {} {} {}", line.mark, line.place, text(line.before), text(line.after))
            })
            .collect();
        assert_eq!(
            told,
            [
                "same a 1 1",
                "changed b.x one two",
                "added b.y - {}",
                "same c[0] 1 1",
                "removed c[1] 2 -",
                "removed z true -",
                "added n - null"
            ]
        );
    }
}
