//! Records in which people approve before anything is asked: their own field `approval`, put to `approved` by a person, by the
//! instance's own audit; their scope in the description; and the window in which a change is planned.

use super::{OURS, ServiceNow, draw, history, id_of, text};
use crate::ticket::{Beforehand, By, Done, Places, Refusal, Said, Tickets as _, Turn, approved, invitation};
use async_trait::async_trait;
use countersign_core::{TicketCheck, TicketKey, Timestamp};
use countersign_engine::port::ticket::{Found, NotVouched, Tickets};
use serde_json::Value;
use std::time::Duration;

const FIELDS: &str = "sys_id,number,sys_created_by,correlation_id,correlation_display,approval,state,description,start_date,end_date";
/// What of a record has to be as it was when it was approved.
pub(super) const FIXED: &str = "approval,number,short_description,description,start_date,end_date";
const APPROVED: &str = "approved";
pub(super) const UNAUDITED: &str = "the instance's dictionary does not say, to this account, that it audits all of what has to stay: the table as a whole, \
                                    with its texts and when it is planned";

/// The records of one table, where they count beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) servicenow: ServiceNow,
    pub(crate) beforehand: Beforehand,
}

#[async_trait]
impl Tickets for Records {
    fn system(&self) -> &'static str {
        "servicenow"
    }

    fn origin(&self) -> String {
        self.servicenow.api.0.outward.origin.to_string()
    }

    /// Numbers are letters with digits behind them: nothing of a query's.
    fn could_be(&self, key: &TicketKey) -> bool {
        let digits = key.as_str().trim_start_matches(|first: char| first.is_ascii_uppercase());
        let letters = key.as_str().len() - digits.len();
        letters >= 2 && digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
    }

    fn good_for(&self) -> Duration {
        self.beforehand.good_for
    }

    async fn look_up(&self, key: &TicketKey) -> Result<Found, NotVouched> {
        self.servicenow.api.0.rested().await?;
        let said = self.said(key).await?;
        approved(said, &Places { approved: APPROVED, behind: &[], same: |one, other| one == other })
    }

    async fn invite(&self, found: &Found, link: &str) -> Result<(), String> {
        let (who, told) = invitation(found, link);
        self.servicenow.whisper(&found.id, &who, &told).await.map_err(|refusal| refusal.failed.why)
    }
}

impl Records {
    async fn said(&self, key: &TicketKey) -> Result<Said, NotVouched> {
        let (api, table) = (&self.servicenow.api, &self.servicenow.table);
        // What it says first: whoever changes that behind it is in the audit, which is read after.
        let found = api.list(table, &format!("number={key}"), FIELDS, (0, 2)).await?;
        // A query with a mistake in it finds everything.
        let [record] = found.as_slice() else { return Err(gone()) };
        let id = id_of(record).filter(|_| text(record, "number") == key.as_str()).ok_or_else(gone)?;
        // What is not audited could have been changed since, and nobody would know.
        if !self.servicenow.is_audited().await? {
            return Err(NotVouched::new(TicketCheck::History, UNAUDITED));
        }
        let turns = self.turns(&id).await?;
        let creator = text(record, "sys_created_by");
        // A copy of what we wrote about an approval quotes a requester, whoever made it.
        let copied = text(record, "correlation_display") == OURS
            || text(record, "correlation_id").starts_with("apr_")
            || text(record, "description").lines().any(draw::is_heading);
        let ours = creator.is_empty() || creator == api.0.user || copied;
        let state = text(record, "state");
        Ok(Said {
            is_ours: ours,
            is_of_a_type: true,
            is_in_place: self.beforehand.stands_in.iter().any(|one| one == state),
            stands: text(record, "approval").to_owned(),
            text: text(record, "description").to_owned(),
            from: planned(record, "start_date")?,
            until: planned(record, "end_date")?,
            turns,
            id,
        })
    }

    /// What was done to a record, oldest first.
    async fn turns(&self, id: &str) -> Result<Vec<Turn>, Refusal> {
        let entries = self.servicenow.audited(id, FIXED).await?;
        let turns = entries.into_iter().map(|(entry, by)| of(&entry, by));
        turns.collect::<Option<_>>().ok_or_else(history::unread)
    }
}

fn gone() -> NotVouched {
    NotVouched::new(TicketCheck::Found, "there is no such record in the table, or not for this account")
}

/// When a change is planned. What cannot be read is no time.
fn planned(record: &Value, field: &str) -> Result<Option<Timestamp>, NotVouched> {
    match text(record, field) {
        "" => Ok(None),
        written => history::moment(written)
            .map(Some)
            .ok_or_else(|| NotVouched::new(TicketCheck::Time, "when the change is planned cannot be read")),
    }
}

/// What one entry of the audit says was done. `None`: it cannot be read.
fn of(entry: &Value, by: By) -> Option<Turn> {
    let did = match text(entry, "fieldname") {
        "approval" => Done::Put(text(entry, "newvalue").to_owned()),
        field if FIXED.split(',').any(|fixed| fixed == field) => Done::Wrote,
        _ => return None,
    };
    Some(Turn { id: id_of(entry)?, at: history::moment(text(entry, "sys_created_on"))?, by, did })
}
