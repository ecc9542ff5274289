//! What people and rules do in `ServiceNow`.

use super::{Record, ServiceNow, Shared};
use crate::server::lock;
use serde_json::{Map, Value};

impl ServiceNow {
    /// Somebody changes fields of a record, and may say something with it.
    pub fn change(&self, who: &str, record: &str, fields: &[(&str, &str)]) -> Result<(), String> {
        let body: Map<String, Value> =
            fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).into())).collect();
        let changed = lock(&self.shared).change(who, record, &body);
        self.server.ring();
        changed.map(drop).map_err(|status| format!("{status}"))
    }

    /// Somebody creates a record by hand: its number.
    pub fn file(&self, who: &str, fields: &[(&str, &str)]) -> String {
        let body: Map<String, Value> =
            fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).into())).collect();
        let record = lock(&self.shared).create(who, &body);
        record.get("number").cloned().unwrap_or_default()
    }

    /// The id of the record with this number.
    pub fn numbered(&self, number: &str) -> String {
        let records = self.records();
        let record = records.iter().find(|record| record.get("number").is_some_and(|own| own == number));
        record.and_then(|record| record.get("sys_id")).cloned().unwrap_or_default()
    }

    /// Somebody else gets a user's name, from a moment on.
    pub fn renews(&self, name: &str, at: &str) {
        let mut shared = lock(&self.shared);
        let users = shared.tables.entry("sys_user").or_default();
        let user = users.iter_mut().find(|user| user.get("user_name").is_some_and(|own| own == name));
        if let Some(user) = user {
            user.insert("sys_created_on".into(), at.into());
        }
    }

    /// What a user is called from now on.
    pub fn calls_itself(&self, user: &str, name: &str) {
        let mut shared = lock(&self.shared);
        let users = shared.tables.entry("sys_user").or_default();
        let user = users.iter_mut().find(|known| known.get("user_name").is_some_and(|own| own == user));
        if let Some(user) = user {
            user.insert("name".into(), name.into());
        }
    }

    /// The user's id.
    pub fn user(&self, name: &str) -> String {
        let shared = lock(&self.shared);
        let users = shared.tables.get("sys_user").map(Vec::as_slice).unwrap_or_default();
        let user = users.iter().find(|user| user.get("user_name").is_some_and(|own| own == name));
        user.and_then(|user| user.get("sys_id")).cloned().unwrap_or_default()
    }

    /// What a user wrote into a record's work notes, oldest first.
    pub fn notes(&self, who: &str, record: &str) -> Vec<String> {
        let is = |entry: &&Record, field: &str, value: &str| entry.get(field).is_some_and(|own| own == value);
        let shared = lock(&self.shared);
        let own = journal(&shared).iter().filter(|entry| {
            is(entry, "element_id", record)
                && is(entry, "element", "work_notes")
                && is(entry, "sys_created_by", who)
        });
        own.filter_map(|entry| entry.get("value").cloned()).collect()
    }

    /// Who put what into a field of a record, oldest first.
    pub fn audit(&self, record: &str, field: &str) -> Vec<(String, String, String)> {
        let shared = lock(&self.shared);
        let entries = shared.tables.get("sys_audit").map(Vec::as_slice).unwrap_or_default();
        let of = |entry: &Record, name: &str| entry.get(name).cloned().unwrap_or_default();
        let own = entries
            .iter()
            .filter(|entry| of(entry, "documentkey") == record && of(entry, "fieldname") == field);
        own.map(|entry| (of(entry, "user"), of(entry, "oldvalue"), of(entry, "newvalue"))).collect()
    }

    /// To whom mail went in our name, and what.
    pub fn mails(&self) -> Vec<(String, String)> {
        lock(&self.shared).mails.clone()
    }
}

fn journal(shared: &Shared) -> &[Record] {
    shared.tables.get("sys_journal_field").map(Vec::as_slice).unwrap_or_default()
}
