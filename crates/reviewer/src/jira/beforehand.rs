//! Issues in which people approve before anything is asked. Their scope stands in a block of code of the description: what the
//! editor draws as one, so that whoever approves the issue sees it as it is read.

use super::{Jira, draw, history, id_of, is, sheet, text};
use crate::ticket::{Beforehand, Done, Places, Said, Tickets as _, Turn, approved, invitation};
use async_trait::async_trait;
use countersign_core::{TicketCheck, TicketKey, ticket::Scope};
use countersign_engine::port::ticket::{Found, NotVouched, Tickets};
use serde_json::Value;
use std::time::Duration;

const FIELDS: &str = "project,issuetype,status,summary,description,creator,labels";
/// What of an issue has to be as it was when it was approved.
const FIXED: [&str; 6] = ["summary", "description", "project", "issuetype", "Key", "key"];

/// The issues of one project, where they count beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Issues {
    pub(crate) jira: Jira,
    pub(crate) beforehand: Beforehand,
}

#[async_trait]
impl Tickets for Issues {
    fn system(&self) -> &'static str {
        "jira"
    }

    fn origin(&self) -> String {
        self.jira.api.0.outward.origin.to_string()
    }

    fn could_be(&self, key: &TicketKey) -> bool {
        let number = key.as_str().strip_prefix(&self.jira.project).and_then(|rest| rest.strip_prefix('-'));
        number.is_some_and(|number| {
            !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    }

    fn good_for(&self) -> Duration {
        self.beforehand.good_for
    }

    async fn look_up(&self, key: &TicketKey) -> Result<Found, NotVouched> {
        self.jira.api.0.rested().await?;
        let said = self.said(key).await?;
        let places =
            Places { approved: &self.jira.statuses.approved, behind: &self.beforehand.stands_in, same: is };
        approved(said, &places)
    }

    async fn invite(&self, found: &Found, link: &str) -> Result<(), String> {
        let (who, told) = invitation(found, link);
        self.jira.whisper(&found.id, &who, &told).await.map_err(|refusal| refusal.failed.why)
    }
}

impl Issues {
    async fn said(&self, key: &TicketKey) -> Result<Said, NotVouched> {
        let me = self.jira.me().await?;
        // What it says first: whoever changes that behind it is in the changelog, which is read after.
        let issue = self.jira.api.get(&format!("issue/{key}?fields={FIELDS}")).await?;
        let gone = || NotVouched::new(TicketCheck::Found, "Jira calls another issue so, or none");
        // An issue that was moved is found under its old key.
        let id = id_of(&issue).filter(|_| text(&issue, "/key") == key.as_str()).ok_or_else(gone)?;
        let of_the_project = text(&issue, "/fields/project/key") == self.jira.project;
        let kind = text(&issue, "/fields/issuetype/name");
        let types = &self.beforehand.types;
        let text_of_it = scope(&issue)?;
        let creator = text(&issue, "/fields/creator/accountId");
        let mut turns = Vec::new();
        for entry in self.jira.changelog(&id).await? {
            turns.extend(of(&entry, me).ok_or_else(history::garbled)?);
        }
        Ok(Said {
            id,
            is_ours: creator.is_empty() || creator == me || quotes(&issue),
            is_of_a_type: of_the_project && (types.is_empty() || types.iter().any(|one| is(one, kind))),
            is_in_place: true,
            stands: text(&issue, "/fields/status/name").to_owned(),
            text: text_of_it,
            from: None,
            until: None,
            turns,
        })
    }
}

/// Whether it looks as what we write about an approval, whoever made it: somebody cloned or copied it, with what a requester said.
fn quotes(issue: &Value) -> bool {
    let labels = issue.pointer("/fields/labels").and_then(Value::as_array).into_iter().flatten();
    let marked = labels.filter_map(Value::as_str).any(|label| label.starts_with("apr_"));
    let whole = issue.pointer("/fields/description").map(sheet::read).unwrap_or_default();
    marked || whole.lines().any(|line| draw::HEADINGS.iter().any(|ours| line.trim().starts_with(ours)))
}

/// The one block of code at the top of the description, where nothing is folded away, that is a scope and nothing else.
fn scope(issue: &Value) -> Result<String, NotVouched> {
    let description = issue.pointer("/fields/description");
    let nodes = description.and_then(|document| document.get("content")).and_then(Value::as_array);
    let is_code = |node: &&Value| node.get("type").and_then(Value::as_str) == Some("codeBlock");
    let blocks = nodes.into_iter().flatten().filter(is_code);
    let blocks: Vec<&Value> = blocks.filter(|block| Scope::has_lines(&sheet::read(block))).collect();
    let not = |why: &str| Err(NotVouched::new(TicketCheck::Scope, why));
    let block = match blocks.as_slice() {
        [] => String::new(),
        [block] if is_plain(block) => sheet::read(block),
        [_] => return not("the block of code with its scope has something in it that is no text"),
        [..] => return not("it has more than one block of code that looks like a scope"),
    };
    let whole = description.map(sheet::read).unwrap_or_default();
    // One that stands elsewhere would be read by people, and not by us.
    let elsewhere = Scope::count(&whole) + Scope::count(text(issue, "/fields/summary"));
    if elsewhere > Scope::count(&block) {
        return not("a scope stands in it outside of a block of code, where it is not read");
    }
    if !block.is_empty() && !Scope::is_all_of(&block) {
        return not("the block of code with its scope has something else in it");
    }
    Ok(block)
}

/// Whether a block of code holds texts and nothing else.
fn is_plain(block: &Value) -> bool {
    let mut nodes = block.get("content").and_then(Value::as_array).into_iter().flatten();
    nodes.all(|node| node.get("type").and_then(Value::as_str) == Some("text") && node.get("marks").is_none())
}

/// What one entry of the changelog says was done. `None`: it cannot be read.
fn of(entry: &Value, me: &str) -> Option<Vec<Turn>> {
    let (id, at) = (id_of(entry)?, history::moment(text(entry, "/created"))?);
    let by = history::author(entry, me);
    let items = entry.get("items")?.as_array()?;
    let did = items.iter().filter_map(|item| {
        // A field of somebody's own making may be called like one of Jira's.
        let own = text(item, "/fieldtype") == "jira";
        match text(item, "/fieldId") {
            "status" if own => Some(Done::Put(text(item, "/toString").to_owned())),
            field => {
                let fixed = FIXED.contains(&field) || FIXED.contains(&text(item, "/field"));
                fixed.then_some(Done::Wrote)
            }
        }
    });
    Some(did.map(|did| Turn { id: id.clone(), at, by: by.clone(), did }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(text: &str) -> Value {
        json!({"type": "codeBlock", "content": [{"type": "text", "text": text}]})
    }

    #[test]
    fn a_scope_is_read_where_people_see_it_and_nowhere_else() {
        let said = |nodes: Value, summary: &str| {
            let issue =
                json!({"fields": {"summary": summary, "description": {"type": "doc", "content": nodes}}});
            scope(&issue).map_err(|not| not.check)
        };
        let one = "countersign scope 1\ntarget: x";
        assert_eq!(said(json!([code(one)]), "s"), Ok(format!("{one}\n")));
        assert_eq!(said(json!([]), "s"), Ok(String::new()));
        let folded = json!([{"type": "expand", "content": [code(one)]}]);
        let typed = json!([{"type": "paragraph", "content": [{"type": "text", "text": one}]}]);
        let both = json!([code(one), {"type": "expand", "content": [code(one)]}]);
        for (nodes, summary) in [(folded, "s"), (typed, "s"), (both, "s"), (json!([code(one)]), one)] {
            assert_eq!(said(nodes, summary), Err(TicketCheck::Scope));
        }
        // What else stands in the block, or in another one, would be read by people alone.
        let more = format!("{one}\n\nuntil: tomorrow");
        let above = format!("For Tuesday.\n{one}");
        let inline = json!({"type": "inlineCard", "attrs": {"url": "https://x"}});
        let mixed = json!({"type": "codeBlock", "content": [{"type": "text", "text": one}, inline]});
        for nodes in [
            json!([code(one), code(one)]),
            json!([code(one), code("action: abc")]),
            json!([code(&more)]),
            json!([code(&above)]),
            json!([mixed]),
        ] {
            assert_eq!(said(nodes.clone(), "s"), Err(TicketCheck::Scope), "{nodes}");
        }
        assert!(said(json!([code(one), code("echo hello")]), "s").is_ok());
    }

    #[test]
    fn a_copy_of_what_we_wrote_quotes_a_requester() {
        let issue = |labels: Value, text: &str| {
            let text = json!({"type": "paragraph", "content": [{"type": "text", "text": text}]});
            json!({"fields": {"labels": labels, "description": {"type": "doc", "content": [text]}}})
        };
        assert!(!quotes(&issue(json!(["db", "april"]), "Please.")));
        assert!(quotes(&issue(json!(["apr_01JD0000000000000000000000"]), "Please.")));
        for ours in draw::HEADINGS {
            assert!(quotes(&issue(json!([]), ours)), "{ours}");
        }
    }

    #[test]
    fn a_change_is_one_of_status_or_of_what_has_to_stay() {
        let read = |item: Value| {
            let entry = json!({
                "id": "10124", "created": "2026-11-21T02:00:00.250+0000",
                "author": {"accountId": "557058:ana", "accountType": "atlassian"}, "items": [item],
            });
            of(&entry, "557058:us").map(|turns| turns.into_iter().map(|turn| turn.did).collect::<Vec<_>>())
        };
        let status = |kind: &str| json!({"field": "status", "fieldtype": kind, "fieldId": "status", "toString": "Approved"});
        assert_eq!(read(status("jira")), Some(vec![Done::Put("Approved".into())]));
        assert_eq!(read(status("custom")), Some(vec![]));
        for field in ["description", "summary", "project", "issuetype"] {
            assert_eq!(
                read(json!({"field": field, "fieldtype": "jira", "fieldId": field})),
                Some(vec![Done::Wrote])
            );
        }
        assert_eq!(read(json!({"field": "Key", "fieldtype": "jira"})), Some(vec![Done::Wrote]));
        assert_eq!(read(json!({"field": "labels", "fieldId": "labels"})), Some(vec![]));
    }
}
