//! The bot's token: asked for with the app's secret (OAuth 2.0 client credentials), kept until shortly before its end, and
//! never written anywhere.

use crate::{
    channel::{Again, Failed, Scope},
    outward::{Answer, Outward, retry_after},
};
use bytes::Bytes;
use countersign_core::Timestamp;
use countersign_pep::SecretRef;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// The largest answer that is read.
const LARGEST: usize = 64 << 10;
/// A token is asked for anew so long before its end, or at half of its life where that is later.
const BEFORE: Duration = Duration::from_mins(5);
/// Nothing is believed to be good for longer.
const LONGEST: Duration = Duration::from_hours(24);
/// How long the login is left alone where it does not say how long.
const REST: Duration = Duration::from_secs(30);

/// Where the token is got, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) outward: Outward,
    /// Of the tenant's token endpoint.
    pub(crate) path: String,
    pub(crate) app: String,
    pub(crate) secret: SecretRef,
    pub(crate) scope: String,
    pub(crate) kept: Arc<Mutex<Option<Kept>>>,
}

/// A token as it is presented. It is marked sensitive: nothing prints it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    bearer: HeaderValue,
    until: Timestamp,
}

impl Login {
    /// The token, asked for where none is good. Whoever comes meanwhile waits for that one.
    pub(super) async fn bearer(&self, now: Timestamp) -> Result<HeaderValue, Failed> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.until) {
            return Ok(kept.bearer.clone());
        }
        let answer = self.ask().await?;
        let fresh = read(&answer, now)?;
        let bearer = fresh.bearer.clone();
        *kept = Some(fresh);
        Ok(bearer)
    }

    /// A token that was refused is not presented again.
    pub(super) async fn forget(&self, refused: &HeaderValue) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.bearer == refused) {
            *kept = None;
        }
    }

    async fn ask(&self) -> Result<Answer, Failed> {
        // Read each time, so that a changed secret counts at once.
        let secret = self.secret.secret().map_err(|error| Failed::channel(error.to_string()))?;
        let pairs = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.app),
            ("client_secret", &secret),
            ("scope", &self.scope),
        ];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let form = Zeroizing::new(form);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let body = Bytes::copy_from_slice(form.as_bytes());
        let answer = self.outward.post(&self.path, vec![(header::CONTENT_TYPE, kind)], body, LARGEST).await;
        answer.map_err(Failed::channel)
    }
}

fn read(answer: &Answer, now: Timestamp) -> Result<Kept, Failed> {
    let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let text = |name: &str| said.as_ref().and_then(|said| said.get(name)).and_then(Value::as_str);
    if answer.status != StatusCode::OK {
        let wish = retry_after(&answer.headers);
        let again = match answer.status {
            StatusCode::TOO_MANY_REQUESTS => Again::After(wish.unwrap_or(REST)),
            _ => wish.map_or(Again::Yes, Again::After),
        };
        let why = match text("error").and_then(meaning) {
            Some(words) => format!("the login refused: {words}"),
            None => format!("the login answered {}", answer.status.as_u16()),
        };
        return Err(Failed { why, scope: Scope::Channel, again });
    }
    let strange = || Failed::channel("the login does not answer as one does");
    let token = text("access_token").filter(|token| !token.is_empty()).ok_or_else(strange)?;
    let seconds =
        said.as_ref().and_then(|said| said.get("expires_in")).and_then(whole).ok_or_else(strange)?;
    let bearer = Zeroizing::new(format!("Bearer {token}"));
    let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| strange())?;
    bearer.set_sensitive(true);
    let life = Duration::from_secs(seconds).min(LONGEST);
    Ok(Kept { bearer, until: now.plus(life.saturating_sub(BEFORE).max(life / 2)) })
}

/// A number, or one written as a text, as some servers do.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// What an error of the token endpoint means (RFC 6749, section 5.2), in our words.
fn meaning(error: &str) -> Option<&'static str> {
    Some(match error {
        "invalid_client" => "the app's secret is not right, or has ended (`invalid_client`)",
        "unauthorized_client" => "the tenant does not know this app (`unauthorized_client`)",
        "invalid_request" | "invalid_tenant" => "there is no such tenant (`invalid_request`)",
        "invalid_scope" => "the app may not speak as a bot (`invalid_scope`)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn said(status: u16, wish: Option<&'static str>, body: &'static str) -> Result<Kept, Failed> {
        let mut headers = HeaderMap::new();
        headers.extend(wish.map(|wish| (header::RETRY_AFTER, HeaderValue::from_static(wish))));
        let status = StatusCode::from_u16(status).unwrap();
        read(&Answer { status, headers, body: Bytes::from_static(body.as_bytes()) }, Timestamp(0))
    }

    #[test]
    fn a_token_is_kept_until_shortly_before_its_end_and_never_printed() {
        for (body, seconds) in [
            (r#"{"token_type":"Bearer","expires_in":3600,"access_token":"t0k3n"}"#, 3300),
            (r#"{"expires_in":"3599","access_token":"t0k3n"}"#, 3299),
            (r#"{"expires_in":100,"access_token":"t0k3n"}"#, 50),
            (r#"{"expires_in":99999999999,"access_token":"t0k3n"}"#, 86_100),
        ] {
            let kept = said(200, None, body).unwrap();
            assert_eq!(kept.until, Timestamp(0).plus(Duration::from_secs(seconds)), "{body}");
            assert!(!format!("{kept:?}").contains("t0k3n"));
        }
    }

    #[test]
    fn a_refusal_is_told_in_our_words_with_nothing_that_the_login_said() {
        for (status, wish, body, words, again) in [
            (
                401,
                None,
                r#"{"error":"invalid_client","error_description":"s3cret"}"#,
                "secret is not",
                Again::Yes,
            ),
            (400, None, r#"{"error":"unauthorized_client"}"#, "does not know this app", Again::Yes),
            (400, None, r#"{"error":"s3cret"}"#, "answered 400", Again::Yes),
            (429, Some("7"), "", "answered 429", Again::After(Duration::from_secs(7))),
            (429, None, "", "answered 429", Again::After(REST)),
            (302, None, "", "answered 302", Again::Yes),
            (200, None, "s3cret", "does not answer", Again::Yes),
            (200, None, r#"{"access_token":"s3cret"}"#, "does not answer", Again::Yes),
            (200, None, r#"{"access_token":"a\nb","expires_in":9}"#, "does not answer", Again::Yes),
        ] {
            let failed = said(status, wish, body).unwrap_err();
            assert!(failed.why.contains(words) && !failed.why.contains("s3cret"), "{body}: {}", failed.why);
            assert_eq!((failed.scope, failed.again), (Scope::Channel, again), "{body}");
        }
    }
}
