//! Who did what to a record, as the instance's own audit (`sys_audit`) says it, and what they said with it.

use super::{ServiceNow, beforehand::FIXED, id_of, is_id, text};
use crate::{
    desk::Who,
    ticket::{About, By, Change, Did, History, MOST_CHANGES, Refusal, Stand, digest},
};
use countersign_core::Timestamp;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// What every table of tasks stands on, and the one of changes.
const PARENT: &str = "task";
const CHANGES: &str = "change_request";
/// Changes on one page.
const PAGE: usize = 100;
/// How long before and behind a decision somebody says why.
const BEFORE: Duration = Duration::from_mins(5);
const BEHIND: Duration = Duration::from_mins(1);

/// Whose name one is. The audit keeps names, and a name may have been somebody else's before.
struct Known {
    by: By,
    /// The same, as nobody whom we know.
    whoever: By,
    /// Since when they are there, where they are a person.
    since: Option<Timestamp>,
}

impl Known {
    fn by_then(&self, at: Option<Timestamp>) -> By {
        let there = self.since.zip(at).is_some_and(|(since, at)| since <= at);
        match &self.by {
            By::Person(_) if !there => self.whoever.clone(),
            by @ (By::Us | By::Person(_) | By::Machine(_)) => by.clone(),
        }
    }
}

impl ServiceNow {
    /// Whether the instance keeps an audit of everything that has to stay as it was approved: by its dictionary, in which a table
    /// is audited as a whole and a field may be left out. What the account may not read there counts as not kept.
    pub(super) async fn is_audited(&self) -> Result<bool, Refusal> {
        let table = &self.table;
        let fields = "name,element,internal_type,audit,attributes";
        let of_the_table = format!("name={table}^internal_type=collection");
        let tables = self.api.list("sys_dictionary", &of_the_table, fields, (0, PAGE)).await?;
        let of_its_fields = format!("nameIN{table},{PARENT}^elementIN{FIXED}");
        let rows = self.api.list("sys_dictionary", &of_its_fields, fields, (0, PAGE)).await?;
        let left_out = |row: &Value| text(row, "attributes").contains("no_audit");
        // A query with a mistake in it finds everything.
        let is_table =
            |row: &&Value| text(row, "name") == table && text(row, "internal_type") == "collection";
        let table_is = |row: &Value| text(row, "audit") == "true" && !left_out(row);
        let is_kept = |field: &str| {
            let of = |row: &&Value| {
                text(row, "element") == field && [table.as_str(), PARENT].contains(&text(row, "name"))
            };
            let mut of = rows.iter().filter(of).peekable();
            // Only a change has to have a plan.
            let may_lack = table != CHANGES && field.ends_with("_date");
            (of.peek().is_some() || may_lack) && !of.any(left_out)
        };
        Ok(tables.iter().find(is_table).is_some_and(table_is) && FIXED.split(',').all(is_kept))
    }

    pub(super) async fn read_history(&self, id: &str) -> Result<History, Refusal> {
        // The words first: whoever changes them after that is in the audit, which is read behind it.
        let fields = "sys_id,correlation_id,approval,state,short_description,description";
        let record = self.api.read(&self.table, id, fields).await?;
        let changes = self.audit(id).await?;
        // Where the audit is not kept, or not for this account, it would seem as if nobody had done anything.
        let put = changes.iter().rev().find_map(|change| match change.did {
            Did::Put(stand) => Some(stand),
            Did::Wrote => None,
        });
        let is_put = |stand| put == Some(Some(stand));
        match text(&record, "approval") {
            "approved" if !is_put(Stand::Approved) => return Err(untold()),
            "rejected" if !is_put(Stand::Rejected) => return Err(untold()),
            _ => {}
        }
        Ok(History {
            approvals: text(&record, "correlation_id").parse().into_iter().collect(),
            words: digest(text(&record, "short_description"), text(&record, "description")),
            closed: text(&record, "state") == self.closed,
            changes,
        })
    }

    /// What was done to a record, oldest first.
    async fn audit(&self, id: &str) -> Result<Vec<Change>, Refusal> {
        let entries = self.audited(id, "approval,short_description,description").await?;
        let changes = entries.into_iter().map(|(entry, by)| of(&entry, by));
        changes.collect::<Option<_>>().ok_or_else(unread)
    }

    /// The audit's entries about some fields of a record, oldest first, each with whose doing it was.
    pub(super) async fn audited(&self, id: &str, fields: &str) -> Result<Vec<(Value, By)>, Refusal> {
        let query = format!(
            "tablename={}^documentkey={id}^fieldnameIN{fields}^ORDERBYrecord_checkpoint^ORDERBYsys_id",
            self.table
        );
        let fields = "sys_id,tablename,documentkey,fieldname,newvalue,user,sys_created_on";
        let (mut changes, mut users) = (Vec::new(), BTreeMap::new());
        for start in (0..).step_by(PAGE) {
            let (page, count) = self.api.counted("sys_audit", &query, fields, (start, PAGE)).await?;
            for entry in &page {
                let user = text(entry, "user");
                if !users.contains_key(user) {
                    users.insert(user.to_owned(), self.user(user).await?);
                }
                let at = moment(text(entry, "sys_created_on"));
                let by = users.get(user).map(|known| known.by_then(at));
                // A query with a mistake in it finds everything.
                let own = text(entry, "documentkey") == id && text(entry, "tablename") == self.table;
                changes.push((entry.clone(), by.filter(|_| own).ok_or_else(unread)?));
            }
            let is_last = count.map_or(page.len() < PAGE, |count| start + PAGE >= count);
            if is_last {
                // What the account may not see is counted all the same.
                if count.is_some_and(|count| count > changes.len()) {
                    return Err(Refusal::news(
                        About::Other,
                        "the account may not read all of a record's audit",
                    ));
                }
                return Ok(changes);
            }
            if start + PAGE >= MOST_CHANGES {
                break;
            }
        }
        let why = "more was done to the record than is read: nothing is decided in it";
        Err(Refusal::news(About::Long, why))
    }

    /// Who has this user name. Nobody is taken for a person who is not one known there.
    async fn user(&self, name: &str) -> Result<Known, Refusal> {
        let whoever = By::Machine(Who { id: name.to_owned(), name: Some(name.to_owned()) });
        let machine = Known { by: whoever.clone(), whoever: whoever.clone(), since: None };
        if name == self.api.0.user {
            return Ok(Known { by: By::Us, ..machine });
        }
        // It stands in a query.
        if name.is_empty() || name.len() > 100 || name.contains('^') || name.contains(char::is_control) {
            return Ok(machine);
        }
        let fields =
            "sys_id,user_name,name,active,sys_created_on,web_service_access_only,internal_integration_user";
        let found = self.api.list("sys_user", &format!("user_name={name}"), fields, (0, 2)).await?;
        let [user] = found.as_slice() else { return Ok(machine) };
        let is = |field: &str, value: &str| text(user, field) == value;
        let person = is("user_name", name)
            && is("active", "true")
            && !is("web_service_access_only", "true")
            && !is("internal_integration_user", "true");
        let Some(id) = id_of(user).filter(|_| person) else { return Ok(machine) };
        let name = Some(text(user, "name").to_owned()).filter(|name| !name.is_empty());
        let since = moment(text(user, "sys_created_on"));
        Ok(Known { by: By::Person(Who { id, name }), whoever, since })
    }

    /// What whoever did it said about it: the newest comment of theirs from about that time.
    pub(super) async fn read_reason(&self, id: &str, change: &Change) -> Result<Option<String>, Refusal> {
        let By::Person(who) = &change.by else { return Ok(None) };
        if !is_id(&who.id) {
            return Ok(None);
        }
        let user = self.api.read("sys_user", &who.id, "sys_id,user_name").await?;
        let name = text(&user, "user_name");
        if name.is_empty() || name.contains('^') {
            return Ok(None);
        }
        let comments = self.notes(id, "comments", name).await?;
        let about_then = |comment: &&Value| {
            moment(text(comment, "sys_created_on"))
                .is_some_and(|at| at >= change.at.minus(BEFORE) && at <= change.at.plus(BEHIND))
        };
        Ok(comments.iter().find(about_then).map(|comment| text(comment, "value").to_owned()))
    }
}

pub(super) fn unread() -> Refusal {
    Refusal::news(About::Other, "a record's audit cannot be read")
}

fn untold() -> Refusal {
    Refusal::news(About::Other, "a record's audit does not say who put it where it stands")
}

/// What one entry of the audit says was done. `None`: it cannot be read.
fn of(entry: &Value, by: By) -> Option<Change> {
    let did = match (text(entry, "fieldname"), text(entry, "newvalue")) {
        ("approval", "approved") => Did::Put(Some(Stand::Approved)),
        ("approval", "rejected") => Did::Put(Some(Stand::Rejected)),
        ("approval", "requested") => Did::Put(Some(Stand::Waiting)),
        ("approval", _) => Did::Put(None),
        ("short_description" | "description", _) => Did::Wrote,
        _ => return None,
    };
    Some(Change { id: id_of(entry)?, at: moment(text(entry, "sys_created_on"))?, by, did })
}

/// A moment as the Table API writes it, in UTC: `2026-11-21 02:00:00`.
pub(super) fn moment(written: &str) -> Option<Timestamp> {
    Timestamp::parse(&format!("{}Z", written.replacen(' ', "T", 1))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_read_or_not_at_all() {
        let read = |field: &str, value: &str, at: &str| {
            let id = "0123456789abcdef0123456789abcdef";
            let entry = json!({"sys_id": id, "fieldname": field, "newvalue": value, "sys_created_on": at});
            of(&entry, By::Us).map(|change| change.did)
        };
        let at = "2026-11-21 02:00:00";
        for (field, value, did) in [
            ("approval", "approved", Some(Did::Put(Some(Stand::Approved)))),
            ("approval", "rejected", Some(Did::Put(Some(Stand::Rejected)))),
            ("approval", "requested", Some(Did::Put(Some(Stand::Waiting)))),
            ("approval", "Approved", Some(Did::Put(None))),
            ("description", "x", Some(Did::Wrote)),
            ("short_description", "x", Some(Did::Wrote)),
            ("priority", "1", None),
        ] {
            assert_eq!(read(field, value, at), did, "{field} {value}");
        }
        assert_eq!(read("approval", "approved", "yesterday"), None);
        assert_eq!(moment(at), Timestamp::parse("2026-11-21T02:00:00Z").ok());
    }
}
