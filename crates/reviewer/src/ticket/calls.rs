//! Calls to a ticket system: JSON there and back, each under a user's name and secret (RFC 7617).

use super::Refusal;
use crate::outward::{Answer, Outward};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use countersign_pep::SecretRef;
use http::{HeaderValue, Method, header};
use serde_json::Value;
use zeroize::Zeroizing;

/// The largest answer that is read: a ticket with its changes, a page of notes.
const LARGEST: usize = 4 << 20;

/// Where the system is, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) outward: Outward,
    /// Before the paths of its interface, with the slash behind it.
    pub(crate) path: String,
    pub(crate) user: String,
    /// Read for every call.
    pub(crate) secret: SecretRef,
}

impl Calls {
    /// What it answered, whatever that means there.
    pub(crate) async fn send(
        &self,
        method: Method,
        rest: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Refusal> {
        let json = HeaderValue::from_static("application/json");
        let mut headers =
            vec![(header::AUTHORIZATION, self.authorization()?), (header::ACCEPT, json.clone())];
        let body = body.map_or_else(Bytes::new, |body| {
            headers.push((header::CONTENT_TYPE, json));
            body.to_string().into()
        });
        let path = format!("{}{rest}", self.path);
        let answer = self.outward.send(method, &path, headers, body, LARGEST).await;
        answer.map_err(Refusal::channel)
    }

    fn authorization(&self) -> Result<HeaderValue, Refusal> {
        let secret = self.secret.secret().map_err(|error| Refusal::channel(error.to_string()))?;
        let pair = Zeroizing::new(format!("{}:{}", self.user, secret.trim_end_matches(['\r', '\n'])));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = HeaderValue::from_str(&basic)
            .map_err(|_| Refusal::channel(format!("`{}` holds nothing that can be sent", self.secret)))?;
        basic.set_sensitive(true);
        Ok(basic)
    }
}
