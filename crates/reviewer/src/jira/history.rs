//! Who did what to an issue, as Jira's own changelog says it, and what they said with it
//! (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/>).

use super::{Jira, Statuses, id_of, sheet, text};
use crate::{
    desk::Who,
    ticket::{About, By, Change, Did, History, MOST_CHANGES, Refusal, digest},
};
use countersign_core::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// Changes on one page: the most that Jira gives.
const PAGE: usize = 100;
/// How long before and behind a move somebody says why.
const BEFORE: Duration = Duration::from_mins(5);
const BEHIND: Duration = Duration::from_mins(1);
/// Labels of one issue that are looked at.
const LABELS: usize = 20;

impl Jira {
    pub(super) async fn read_history(&self, id: &str) -> Result<History, Refusal> {
        let me = self.me().await?;
        // The words first: whoever changes them after that is in the changelog, which is read behind it.
        let issue = self.api.get(&format!("issue/{id}?fields=labels,summary,description")).await?;
        let labels = issue.pointer("/fields/labels").and_then(Value::as_array).into_iter().flatten();
        let approvals = labels.filter_map(Value::as_str).filter_map(|label| label.parse().ok());
        let description = issue.pointer("/fields/description").map(sheet::read).unwrap_or_default();
        let mut changes = Vec::new();
        for entry in self.changelog(id).await? {
            changes.extend(of(&entry, me, &self.statuses).ok_or_else(garbled)?);
        }
        Ok(History {
            approvals: approvals.take(LABELS).collect(),
            words: digest(text(&issue, "/fields/summary"), &description),
            closed: false,
            changes,
        })
    }

    /// Every entry of an issue's changelog, oldest first.
    pub(super) async fn changelog(&self, id: &str) -> Result<Vec<Value>, Refusal> {
        let mut entries = Vec::new();
        loop {
            let path = format!("issue/{id}/changelog?startAt={}&maxResults={PAGE}", entries.len());
            let mut page = self.api.get(&path).await?;
            let values = page.get_mut("values").and_then(Value::as_array_mut).map(std::mem::take);
            let values = values.unwrap_or_default();
            let is_empty = values.is_empty();
            entries.extend(values);
            if page.get("isLast").and_then(Value::as_bool).ok_or_else(garbled)? {
                return Ok(entries);
            }
            if is_empty {
                return Err(garbled());
            }
            if entries.len() >= MOST_CHANGES {
                let why = "more was done to the issue than is read: nothing is decided in it";
                return Err(Refusal::news(About::Long, why));
            }
        }
    }
}

pub(super) fn garbled() -> Refusal {
    Refusal::news(About::Other, "an issue's changelog cannot be read")
}

/// What one entry of the changelog says was done. `None`: it cannot be read.
fn of(entry: &Value, me: &str, statuses: &Statuses) -> Option<Vec<Change>> {
    let (id, at) = (id_of(entry)?, moment(text(entry, "/created"))?);
    let by = author(entry, me);
    let items = entry.get("items")?.as_array()?;
    let did = items.iter().filter_map(|item| {
        let field = text(item, "/fieldId");
        // A field of somebody's own making may be called like one of Jira's.
        let own = text(item, "/fieldtype") == "jira";
        match field {
            "status" if own => Some(Did::Put(statuses.stand(text(item, "/toString")))),
            "summary" | "description" => Some(Did::Wrote),
            _ => matches!(text(item, "/field"), "summary" | "description").then_some(Did::Wrote),
        }
    });
    Some(did.map(|did| Change { id: id.clone(), at, by: by.clone(), did }).collect())
}

/// Whose doing it was. Nobody is taken for a person whom Jira does not call one.
pub(super) fn author(entry: &Value, me: &str) -> By {
    let id = text(entry, "/author/accountId");
    let name = Some(text(entry, "/author/displayName")).filter(|name| !name.is_empty());
    let who = Who { id: id.to_owned(), name: name.map(str::to_owned) };
    // What an app did for somebody says so.
    let through =
        entry.get("historyMetadata").and_then(Value::as_object).is_some_and(|said| !said.is_empty());
    if id == me {
        By::Us
    } else if !id.is_empty() && text(entry, "/author/accountType") == "atlassian" && !through {
        By::Person(who)
    } else {
        By::Machine(who)
    }
}

/// What whoever did it said about it: the newest comment of theirs from about that time that everybody may read.
pub(super) fn reason(comments: &[Value], change: &Change) -> Option<String> {
    let By::Person(who) = &change.by else { return None };
    let fits = |comment: &&Value| {
        let at = moment(text(comment, "/created"));
        let about_then = at.is_some_and(|at| at >= change.at.minus(BEFORE) && at <= change.at.plus(BEHIND));
        text(comment, "/author/accountId") == who.id
            && about_then
            && comment.get("visibility").is_none_or(Value::is_null)
    };
    comments.iter().find(fits).and_then(|comment| comment.get("body")).map(sheet::read)
}

/// A moment as Jira writes it: `2026-11-21T02:00:00.000+0000`.
pub(super) fn moment(written: &str) -> Option<Timestamp> {
    let (local, sign, offset) = [('+', 1), ('-', -1)].into_iter().find_map(|(mark, sign)| {
        let (day, clock) = written.split_once('T')?;
        let (clock, offset) = clock.split_once(mark)?;
        Some((format!("{day}T{clock}Z"), sign, offset.replace(':', "")))
    })?;
    let number = |digits: Option<&str>| digits.and_then(|digits| digits.parse::<i64>().ok());
    if offset.len() != 4 || !offset.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let minutes = number(offset.get(..2))? * 60 + number(offset.get(2..))?;
    let local = Timestamp::parse(&local).ok()?;
    Some(Timestamp(local.0 - sign * minutes * 60_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::Stand;
    use serde_json::json;

    fn statuses() -> Statuses {
        let [waiting, approved, rejected, closed] =
            ["To Do", "Approved", "Rejected", "Done"].map(str::to_owned);
        Statuses { waiting, approved, rejected, closed }
    }

    fn entry() -> Value {
        json!({
            "id": "10124", "created": "2026-11-21T02:00:00.250+0000",
            "author": {"accountId": "557058:ana", "accountType": "atlassian", "displayName": "Ana", "active": true},
            "items": [{"field": "status", "fieldtype": "jira", "fieldId": "status", "from": "1", "fromString": "To Do",
                "to": "2", "toString": "APPROVED"}],
        })
    }

    #[test]
    fn a_change_says_who_and_where_to_and_nothing_else_is_taken_for_one() {
        let read = |change: fn(&mut Value)| {
            let mut entry = entry();
            change(&mut entry);
            of(&entry, "557058:us", &statuses())
        };
        let ana = Who { id: "557058:ana".into(), name: Some("Ana".into()) };
        let changes = read(|_| ()).unwrap();
        let [change] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((&*change.id, &change.by), ("10124", &By::Person(ana.clone())));
        assert_eq!(change.did, Did::Put(Some(Stand::Approved)));
        assert_eq!(change.at, Timestamp::parse("2026-11-21T02:00:00.25Z").unwrap());
        for (change, by) in [
            (
                (|entry| entry["author"]["accountType"] = json!("app")) as fn(&mut Value),
                By::Machine(ana.clone()),
            ),
            (|entry| entry["author"]["accountType"] = json!("customer"), By::Machine(ana.clone())),
            (|entry| entry["historyMetadata"] = json!({"type": "rule"}), By::Machine(ana.clone())),
            (|entry| entry["historyMetadata"] = json!({}), By::Person(ana.clone())),
            (|entry| entry["author"] = json!(null), By::Machine(Who { id: String::new(), name: None })),
            (|entry| entry["author"]["accountId"] = json!("557058:us"), By::Us),
        ] {
            assert_eq!(read(change).unwrap()[0].by, by);
        }
        let custom = read(|entry| {
            entry["items"][0]["fieldtype"] = json!("custom");
            entry["items"][0]["fieldId"] = json!("customfield_10001");
        });
        assert_eq!(custom, Some(vec![]));
        let elsewhere = read(|entry| entry["items"][0]["toString"] = json!("Blocked"));
        assert_eq!(elsewhere.unwrap()[0].did, Did::Put(None));
        let wrote =
            read(|entry| entry["items"][0] = json!({"field": "description", "fieldId": "description"}));
        assert_eq!(wrote.unwrap()[0].did, Did::Wrote);
        for broken in [
            (|entry| entry["id"] = json!("10124/..")) as fn(&mut Value),
            |entry| entry["created"] = json!("yesterday"),
            |entry| entry["items"] = json!(null),
        ] {
            assert_eq!(read(broken), None);
        }
    }

    #[test]
    fn a_moment_is_read_with_its_offset() {
        let at = |text| moment(text).map(|at| at.to_string());
        let utc = Some("2026-11-21T02:00:00.000000Z".to_owned());
        assert_eq!(at("2026-11-21T02:00:00.000+0000"), utc);
        assert_eq!(at("2026-11-21T04:30:00.000+0230"), utc);
        assert_eq!(at("2026-11-20T18:00:00.000-08:00"), utc);
        for wrong in ["", "2026-11-21", "2026-11-21T02:00:00.000", "2026-11-21T02:00:00.000+0é"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_reason_is_their_own_from_then_and_for_everybody() {
        let entry = of(&entry(), "557058:us", &statuses()).unwrap().remove(0);
        let said = |who: &str, at: &str, text: &str| {
            json!({"author": {"accountId": who}, "created": at, "body": {"type": "doc", "content": [
                {"type": "paragraph", "content": [{"type": "text", "text": text}]}]}})
        };
        let then = "2026-11-21T02:00:00.200+0000";
        let mut hidden = said("557058:ana", then, "for admins");
        hidden["visibility"] = json!({"type": "role", "value": "Administrators"});
        let comments = [
            hidden,
            said("557058:bob", then, "somebody else's"),
            said("557058:ana", "2026-11-21T02:02:00.000+0000", "much later"),
            said("557058:ana", then, "not tonight"),
            said("557058:ana", "2026-11-21T01:58:00.000+0000", "before"),
        ];
        assert_eq!(reason(&comments, &entry).as_deref(), Some("not tonight\n\n"));
        assert_eq!(reason(&comments[..3], &entry), None);
    }
}
