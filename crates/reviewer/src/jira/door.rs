//! The door at which Jira says that something happened. A webhook of its administration is signed: HMAC-SHA256 over the body under the
//! webhook's secret, as `X-Hub-Signature: sha256=…`, without a time. So nothing that it says is believed but which issue to look at, and
//! whoever repeats one has us look once more.
//!
//! <https://developer.atlassian.com/cloud/jira/platform/webhooks/>

use super::is_id;
use crate::{
    door::{NotBelieved, Reply, single},
    slack::{Signing, unhex},
    ticket::Watch,
};
use aws_lc_rs::hmac;
use countersign_core::ChannelName;
use http::HeaderMap;
use serde_json::Value;

/// Where Jira speaks, and what looks at its issues.
#[derive(Clone, Debug)]
pub struct Door {
    watch: Watch,
    name: ChannelName,
    /// `None`: nobody is heard, and issues are looked at now and then.
    signing: Option<Signing>,
}

impl Door {
    pub(crate) fn new(watch: Watch, name: ChannelName, signing: Option<Signing>) -> Self {
        Self { watch, name, signing }
    }

    /// What has to be run for decisions to be taken in.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Whether Jira may speak there at all.
    pub fn hears(&self) -> bool {
        self.signing.is_some()
    }

    /// Takes in a webhook.
    pub fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Reply {
        let Some(signing) = &self.signing else { return Reply::NotBelieved(NotBelieved::NoKey) };
        let signature = single(headers, "x-hub-signature");
        if let Err(why) = signing.any(|secret| holds(secret, signature, body)) {
            tracing::warn!(channel = %self.name, %why, "a request was not believed to be Jira's");
            return Reply::NotBelieved(why);
        }
        let Ok(event) = serde_json::from_slice::<Value>(body) else { return Reply::Unreadable };
        // An id of digits, as Jira writes it; older events have a number.
        let issue = event.pointer("/issue/id");
        let issue = issue
            .and_then(|id| id.as_str().map(str::to_owned).or_else(|| id.as_u64().map(|id| id.to_string())));
        if let Some(issue) = issue.filter(|id| is_id(id)) {
            self.watch.hint(&issue);
        }
        Reply::Taken
    }
}

/// Whether this secret signed it.
fn holds(secret: &str, signature: &str, body: &[u8]) -> Result<(), NotBelieved> {
    let tag = signature.strip_prefix("sha256=").and_then(unhex).ok_or(NotBelieved::Wrong)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::verify(&key, body, &tag).map_err(|_| NotBelieved::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Atlassian's own documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello World!";
    const SIGNATURE: &str = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";

    #[test]
    fn only_what_was_signed_with_the_secret_holds() {
        assert_eq!(holds(SECRET, SIGNATURE, BODY), Ok(()));
        assert_eq!(holds("another", SIGNATURE, BODY), Err(NotBelieved::Wrong));
        assert_eq!(holds(SECRET, SIGNATURE, b"Hello World?"), Err(NotBelieved::Wrong));
        for wrong in ["", "sha256=", "sha256=a4", "sha1=a4771c39", SIGNATURE.trim_start_matches("sha256=")] {
            assert_eq!(holds(SECRET, wrong, BODY), Err(NotBelieved::Wrong), "{wrong}");
        }
    }
}
