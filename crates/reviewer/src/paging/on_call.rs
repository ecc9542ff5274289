//! Who is on call now, as a schedule of `PagerDuty` or Opsgenie says: addresses of people. What they may do here is for others to
//! say; this only asks, over our own connection, and an answer that is not whole is none.

use super::opsgenie;
use crate::{
    backoff,
    channel::{Again, Failed, Scope},
    outward::{Answer, Outward, retry_after},
};
use bytes::Bytes;
use countersign_core::GroupName;
use countersign_pep::SecretRef;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use zeroize::Zeroizing;

/// The largest answer that is read: one page of a schedule.
const LARGEST: usize = 1 << 20;
/// Entries of a page, and pages that are read.
const PAGE: usize = 100;
const PAGES: usize = 20;
/// How long it is left alone where it does not say how long.
const REST: Duration = Duration::from_secs(30);

/// Whose schedule it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    PagerDuty,
    Opsgenie,
}

/// A schedule, and the group of those who are on call by it.
#[derive(Clone, Debug)]
pub struct Roster {
    /// What the configuration calls it.
    pub name: String,
    pub group: GroupName,
    /// How often it is asked.
    pub every: Duration,
    /// How long its last answer holds while it does not answer.
    pub holds_for: Duration,
    pub(crate) vendor: Vendor,
    pub(crate) outward: Outward,
    /// Before the paths of its interface; without a slash behind it.
    pub(crate) path: String,
    pub(crate) token: SecretRef,
    /// The schedule's id: nothing that means something in a path.
    pub(crate) schedule: String,
}

impl std::fmt::Display for Roster {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, group, outward, schedule, every, holds_for, .. } = self;
        let (every, holds) = (every.as_secs(), holds_for.as_secs());
        write!(
            out,
            "{name}: group {group} is whoever is on call by {schedule} of {}, asked every {every} s; its answer holds for {holds} s",
            outward.origin
        )
    }
}

impl Roster {
    /// The addresses of those who are on call now.
    pub async fn look(&self) -> Result<BTreeSet<String>, Failed> {
        match self.vendor {
            Vendor::PagerDuty => self.look_in_pages().await,
            Vendor::Opsgenie => {
                let path =
                    format!("/v2/schedules/{}/on-calls?scheduleIdentifierType=id&flat=true", self.schedule);
                recipients(&self.read(&path).await?)
            }
        }
    }

    async fn look_in_pages(&self) -> Result<BTreeSet<String>, Failed> {
        let mut found = BTreeSet::new();
        for page in 0..PAGES {
            let (schedule, offset) = (&self.schedule, page * PAGE);
            // With their times left out it is those of this moment.
            let path = format!(
                "/oncalls?schedule_ids%5B%5D={schedule}&include%5B%5D=users&limit={PAGE}&offset={offset}"
            );
            let said = self.read(&path).await?;
            found.extend(users(&said, schedule)?);
            match said.get("more").and_then(Value::as_bool) {
                Some(true) => {}
                Some(false) => return Ok(found),
                None => return Err(unlike()),
            }
        }
        Err(Failed::channel("more are on call by the schedule than are read"))
    }

    async fn read(&self, rest: &str) -> Result<Value, Failed> {
        let (authorization, accept) = match self.vendor {
            Vendor::PagerDuty => {
                let secret = self.token.secret().map_err(|error| Failed::channel(error.to_string()))?;
                let text = Zeroizing::new(format!("Token token={}", secret.trim()));
                let mut value = HeaderValue::from_str(&text).map_err(|_| {
                    Failed::channel(format!("`{}` holds nothing that can be sent", self.token))
                })?;
                value.set_sensitive(true);
                (value, "application/vnd.pagerduty+json;version=2")
            }
            Vendor::Opsgenie => (opsgenie::genie(&self.token)?, "application/json"),
        };
        let headers =
            vec![(header::AUTHORIZATION, authorization), (header::ACCEPT, HeaderValue::from_static(accept))];
        let path = format!("{}{rest}", self.path);
        let answer = self.outward.send(Method::GET, &path, headers, Bytes::new(), LARGEST).await;
        let answer = answer.map_err(Failed::channel)?;
        judge(&answer)?;
        serde_json::from_slice(&answer.body).map_err(|_| unlike())
    }
}

/// Of whom the entries of `PagerDuty` are. One without an address would be somebody whom nobody notices missing.
fn users(said: &Value, schedule: &str) -> Result<Vec<String>, Failed> {
    let entries = said.get("oncalls").and_then(Value::as_array).ok_or_else(unlike)?;
    let of_this = |entry: &&Value| entry.pointer("/schedule/id").and_then(Value::as_str) == Some(schedule);
    let address = |entry: &Value| entry.pointer("/user/email").and_then(Value::as_str).map(str::to_owned);
    entries.iter().filter(of_this).map(|entry| address(entry).ok_or_else(unlike)).collect()
}

/// Of whom Opsgenie's schedule speaks. By one that is switched off nobody is on call.
fn recipients(said: &Value) -> Result<BTreeSet<String>, Failed> {
    let data = said.get("data").ok_or_else(unlike)?;
    if data.pointer("/_parent/enabled").and_then(Value::as_bool) == Some(false) {
        return Ok(BTreeSet::new());
    }
    let recipients = data.get("onCallRecipients").and_then(Value::as_array).ok_or_else(unlike)?;
    recipients.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(unlike)).collect()
}

fn unlike() -> Failed {
    Failed::channel("it does not answer as its interface is described")
}

/// What an answer means. Nothing it says is repeated.
fn judge(answer: &Answer) -> Result<(), Failed> {
    let wish = opsgenie::wish(&answer.headers).or_else(|| retry_after(&answer.headers));
    let soon = wish.map_or(Again::Yes, |wish| Again::After(wish.min(backoff::WISH)));
    let (why, again) = match answer.status {
        StatusCode::OK => return Ok(()),
        StatusCode::UNAUTHORIZED => ("it does not take the token".to_owned(), soon),
        StatusCode::FORBIDDEN => ("the token may not read the schedule".to_owned(), soon),
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            ("it knows no such schedule".to_owned(), soon)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            ("it asks for fewer calls".to_owned(), Again::After(wish.unwrap_or(REST)))
        }
        status => (format!("it answered {}", status.as_u16()), soon),
    };
    Err(Failed { why, scope: Scope::Channel, again })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_counts_whole_or_not_at_all() {
        let ana = json!({"schedule": {"id": "P1"}, "user": {"email": "ana@example.com"}});
        let other = json!({"schedule": {"id": "P2"}, "user": {"email": "bea@example.com"}});
        let nameless = json!({"schedule": {"id": "P1"}, "user": {"summary": "Bea"}});
        let found = |entries: Value| users(&json!({"oncalls": entries}), "P1");
        assert_eq!(found(json!([ana, other])), Ok(vec!["ana@example.com".to_owned()]));
        assert_eq!(found(json!([])), Ok(vec![]));
        assert!(found(json!([ana, nameless])).is_err());
        assert!(users(&json!({"error": {}}), "P1").is_err());
        let opsgenie = |data: Value| recipients(&json!({"data": data}));
        let one = json!({"onCallRecipients": ["ana@example.com"], "_parent": {"enabled": true}});
        assert_eq!(opsgenie(one), Ok(BTreeSet::from(["ana@example.com".to_owned()])));
        let off = json!({"onCallRecipients": ["ana@example.com"], "_parent": {"enabled": false}});
        assert_eq!(opsgenie(off), Ok(BTreeSet::new()));
        assert!(opsgenie(json!({"onCallRecipients": [{"name": "ana"}]})).is_err());
        assert!(opsgenie(json!({})).is_err());
    }
}
