//! From an answer's code to what the provider says of the person: the token endpoint, and the ID token's own rules
//! (OpenID Connect Core 1.0, section 3.1.3.7).

use super::{Known, Provider, flow::Flow, metadata::Metadata};
use crate::{
    email::EmailAddress,
    issuer::{claims, keyring::NotVouched},
    jose::{Unsound, read_json},
    outward::{OutwardError, SecretSource},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use countersign_core::{SignIn, Timestamp, visible};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use subtle::ConstantTimeEq;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

/// Why no ID token came of a code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error(transparent)]
    Outward(#[from] OutwardError),
    #[error("the client's secret cannot be read: {0}")]
    Secret(String),
    #[error("it did not take the code")]
    Refused,
    #[error("its answer holds no ID token")]
    NoToken,
    #[error(transparent)]
    Unsound(#[from] Unsound),
    #[error(transparent)]
    NotVouched(#[from] NotVouched),
}

/// A person, as a provider vouches for them.
#[derive(Debug)]
pub(crate) struct Vouched {
    pub(crate) subject: String,
    /// Verified, and of a domain the provider is believed about.
    pub(crate) email: Option<EmailAddress>,
    pub(crate) name: Option<String>,
    /// What the provider's claim of groups lists.
    pub(crate) groups: BTreeSet<String>,
    /// What its claims say of each attribute.
    pub(crate) attributes: BTreeMap<String, BTreeSet<String>>,
    /// The provider's own name for its session.
    pub(crate) sid: Option<String>,
    pub(crate) sign_in: SignIn,
}

impl Known {
    /// Redeems a code, and checks what comes back.
    pub(crate) async fn redeem(
        &self,
        metadata: &Metadata,
        flow: &Flow,
        code: &str,
        redirect: &str,
        now: impl Fn() -> Timestamp + Copy,
    ) -> Result<Vouched, ExchangeError> {
        let token = self.id_token(metadata, flow, code, redirect).await?;
        let issuer = &self.provider.issuer;
        let signed = self.keys.vouch(issuer, &token, now).await?;
        claims::check(issuer, &signed, now())?;
        Ok(vouched(&self.provider, &signed.claims, flow, now())?)
    }

    async fn id_token(
        &self,
        metadata: &Metadata,
        flow: &Flow,
        code: &str,
        redirect: &str,
    ) -> Result<String, ExchangeError> {
        let (headers, body) = self.token_request(metadata, flow, code, redirect)?;
        let outward = &self.provider.issuer.outward;
        let (status, body) = outward.call(Method::POST, &metadata.token, &headers, body).await?;
        if status != StatusCode::OK {
            return Err(ExchangeError::Refused);
        }
        let answer = read_json(&body).map_err(|_| ExchangeError::NoToken)?;
        answer.get("id_token").and_then(Value::as_str).map(str::to_owned).ok_or(ExchangeError::NoToken)
    }

    fn token_request(
        &self,
        metadata: &Metadata,
        flow: &Flow,
        code: &str,
        redirect: &str,
    ) -> Result<(Vec<(HeaderName, HeaderValue)>, Bytes), ExchangeError> {
        let provider = &self.provider;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect)
            .append_pair("code_verifier", &flow.verifier);
        let mut headers =
            vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))];
        let secret = provider.secret.as_ref().map(SecretSource::read).transpose();
        match secret.map_err(ExchangeError::Secret)? {
            None => {
                form.append_pair("client_id", &provider.client_id);
            }
            Some(secret) if metadata.secret_in_body => {
                form.append_pair("client_id", &provider.client_id).append_pair("client_secret", &secret);
            }
            Some(secret) => {
                // RFC 6749, section 2.3.1: both are form-encoded first.
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair = Zeroizing::new(format!("{}:{}", encoded(&provider.client_id), encoded(&secret)));
                let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                let mut value = value.map_err(|_| ExchangeError::Secret("it is no text".into()))?;
                value.set_sensitive(true);
                headers.push((header::AUTHORIZATION, value));
            }
        }
        Ok((headers, Bytes::from(form.finish())))
    }
}

fn vouched(
    provider: &Provider,
    claims: &Map<String, Value>,
    flow: &Flow,
    now: Timestamp,
) -> Result<Vouched, Unsound> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let nonce = text("nonce").unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(flow.nonce.as_bytes())) {
        return Err(Unsound("the ID token is not for this sign-in: its nonce is another"));
    }
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|several| several.len() > 1);
    let authorized = claims.get("azp");
    if (several || authorized.is_some()) && authorized.and_then(Value::as_str) != Some(&provider.client_id) {
        return Err(Unsound("the ID token was issued to another client"));
    }
    if !provider.acr.is_empty() && !text("acr").is_some_and(|acr| provider.acr.contains(acr)) {
        return Err(Unsound("the sign-in was not as strong as is asked for"));
    }
    let methods = claims.get("amr").map(claims::texts).unwrap_or_default();
    if !provider.amr.is_empty() && !methods.iter().any(|method| provider.amr.contains(method)) {
        return Err(Unsound("the sign-in was not as strong as is asked for"));
    }
    let proven_at = claims::time(claims, "auth_time")?;
    let within = [provider.max_age, flow.within_s.map(Duration::from_secs)];
    if let Some(longest) = within.into_iter().flatten().min() {
        let at = proven_at;
        let at = at.ok_or(Unsound("the ID token does not say when the person proved themself"))?;
        if now.since(at) > longest.saturating_add(provider.issuer.skew) {
            return Err(Unsound("the person proved themself too long ago"));
        }
    }
    if proven_at.is_some_and(|at| at > now.plus(provider.issuer.skew)) {
        return Err(Unsound("the person is said to have proven themself in the future"));
    }
    let subject = text("sub").filter(|subject| !subject.is_empty() && subject.len() <= 255);
    let verified = provider.email_is_verified || claims.get("email_verified") == Some(&Value::Bool(true));
    let email = text("email").filter(|_| verified).and_then(|email| EmailAddress::new(email).ok());
    Ok(Vouched {
        subject: subject.ok_or(Unsound("the ID token names no subject"))?.to_owned(),
        email: email.filter(|email| provider.domains.contains(email.domain())),
        name: text("name").map(str::to_owned),
        groups: claims::find(claims, &provider.groups_claim)
            .map(claims::texts)
            .unwrap_or_default()
            .into_iter()
            .collect(),
        attributes: attributes(provider, claims),
        sid: text("sid").filter(|sid| (1..=255).contains(&sid.len())).map(str::to_owned),
        sign_in: SignIn {
            // Never later than now, whatever the provider's clock says.
            proven_at: proven_at.map(|at| at.min(now)),
            acr: text("acr").filter(|acr| acr.len() <= 200).map(str::to_owned),
            amr: methods.into_iter().filter(|method| method.len() <= 200).take(16).collect(),
        },
    })
}

/// What the claims say of each attribute. What is too long, too much or cannot be seen is left out: a rule that asks for it is
/// not met.
fn attributes(provider: &Provider, claims: &Map<String, Value>) -> BTreeMap<String, BTreeSet<String>> {
    const MOST: usize = 64;
    const LONGEST: usize = 200;
    let said = |claim: &str| {
        let texts = claims::find(claims, claim).map(claims::texts).unwrap_or_default();
        let fits = |text: &String| {
            (1..=LONGEST).contains(&text.len())
                && !visible::has_hidden(text)
                && !text.contains(['\n', '\t', '\r'])
        };
        texts.into_iter().filter(fits).take(MOST).collect()
    };
    provider.attributes.iter().map(|(name, claim)| (name.clone(), said(claim))).collect()
}
