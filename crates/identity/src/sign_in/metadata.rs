//! What a provider says of itself (OpenID Connect Discovery 1.0), fetched when somebody signs in and kept for a while.

use crate::{
    issuer::{Issuer, keyring::discovery},
    jose::read_json,
    outward::{OutwardError, is_safe},
};
use countersign_core::Timestamp;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use url::Url;

/// How long what was fetched is used.
const KEPT: Duration = Duration::from_mins(10);
/// Between two fetches that failed.
const GAP: Duration = Duration::from_secs(5);

/// A provider's endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) authorization: Url,
    pub(crate) token: Url,
    pub(crate) end_session: Option<Url>,
    /// It says in every answer who it is (RFC 9207).
    pub(crate) names_itself: bool,
    /// It takes the client's secret in the body only.
    pub(crate) secret_in_body: bool,
}

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error(transparent)]
    Outward(#[from] OutwardError),
    #[error("what it says of itself cannot be used: {0}")]
    Unfit(&'static str),
    #[error("it could not be reached a moment ago")]
    JustFailed,
}

/// What was fetched, and when somebody tried.
#[derive(Debug, Default)]
pub(crate) struct Described(tokio::sync::Mutex<Tried>);

#[derive(Debug, Default)]
struct Tried {
    found: Option<(Arc<Metadata>, Timestamp)>,
    failed_at: Option<Timestamp>,
}

impl Described {
    /// The endpoints, fetched if need be. One fetch at a time, and not over and over while it fails.
    pub(crate) async fn get(&self, issuer: &Issuer, now: Timestamp) -> Result<Arc<Metadata>, MetadataError> {
        let mut tried = self.0.lock().await;
        if let Some((found, at)) = &tried.found
            && now.since(*at) < KEPT
        {
            return Ok(Arc::clone(found));
        }
        if tried.failed_at.is_some_and(|failed| now.since(failed) < GAP && failed <= now) {
            return Err(MetadataError::JustFailed);
        }
        match fetch(issuer).await {
            Ok(found) => {
                let found = Arc::new(found);
                *tried = Tried { found: Some((Arc::clone(&found), now)), failed_at: None };
                Ok(found)
            }
            Err(error) => {
                tried.failed_at = Some(now);
                Err(error)
            }
        }
    }
}

async fn fetch(issuer: &Issuer) -> Result<Metadata, MetadataError> {
    use MetadataError::Unfit;
    let address = discovery(&issuer.issuer).ok_or(Unfit("the issuer is no address"))?;
    let document = issuer.outward.get(&address).await?;
    let document = read_json(&document).map_err(|_| Unfit("it is not JSON"))?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("issuer") != Some(&issuer.issuer) {
        return Err(Unfit("it calls itself another issuer"));
    }
    let endpoint = |name: &str| match text(name) {
        None => Ok(None),
        Some(text) => {
            let url = Url::parse(text).ok().filter(is_safe);
            let url = url.filter(|url| url.scheme() == "https" || address.scheme() == "http");
            url.map(Some).ok_or(Unfit("one of its addresses is not encrypted"))
        }
    };
    let lists = |name: &str, wanted: &str| {
        let listed = document.get(name).and_then(Value::as_array);
        listed.map(|listed| listed.iter().any(|item| item.as_str() == Some(wanted)))
    };
    if lists("code_challenge_methods_supported", "S256") == Some(false) {
        return Err(Unfit("it does not offer PKCE with S256"));
    }
    let basic = lists("token_endpoint_auth_methods_supported", "client_secret_basic");
    let post = lists("token_endpoint_auth_methods_supported", "client_secret_post");
    let names_itself = document.get("authorization_response_iss_parameter_supported");
    Ok(Metadata {
        authorization: endpoint("authorization_endpoint")?
            .ok_or(Unfit("it names no authorization endpoint"))?,
        token: endpoint("token_endpoint")?.ok_or(Unfit("it names no token endpoint"))?,
        end_session: endpoint("end_session_endpoint")?,
        names_itself: names_itself == Some(&Value::Bool(true)),
        secret_in_body: basic == Some(false) && post == Some(true),
    })
}
