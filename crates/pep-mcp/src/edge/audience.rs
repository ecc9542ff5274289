//! For whom a token is: one of an issuer's has to name this very target, so that what was given for another resource opens
//! nothing here (RFC 8707; 2026-07-28, basic/authorization, "Token Handling").

use crate::config::Resource;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use std::fmt::Write as _;

/// A token's audiences: one, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Claims {
    aud: Option<Audience>,
}

/// Whether a token that was found to be good is for this resource. The gateway's own tokens are for all of its targets; they
/// are no signed documents.
pub(super) fn admits(token: &str, resource: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return true;
    };
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok();
    let claims = claims.and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok());
    match claims.and_then(|claims| claims.aud) {
        None => false,
        Some(Audience::One(audience)) => audience == resource,
        Some(Audience::Several(audiences)) => audiences.iter().any(|audience| audience == resource),
    }
}

/// How a client that is not known is told where to get a token.
pub(super) fn challenge(resource: Option<&Resource>, presented: bool) -> String {
    let mut out = "Bearer realm=\"countersign\"".to_owned();
    if presented {
        out.push_str(", error=\"invalid_token\"");
    }
    if let Some(resource) = resource {
        // Writing to a String cannot fail.
        let _ = write!(out, ", resource_metadata=\"{}\"", resource.address);
        if !resource.scopes.is_empty() {
            let _ = write!(out, ", scope=\"{}\"", resource.scopes);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_token_is_for_whom_it_says() {
        let token = |claims: &str| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let here = "https://gateway.example.com/mcp";
        for (claims, fine) in [
            (r#"{"aud":"https://gateway.example.com/mcp"}"#, true),
            (r#"{"aud":["https://other.example.com","https://gateway.example.com/mcp"]}"#, true),
            (r#"{"aud":"https://gateway.example.com/mcp2"}"#, false),
            (r#"{"aud":"https://gateway.example.com"}"#, false),
            (r#"{"aud":[]}"#, false),
            (r#"{"sub":"x"}"#, false),
            ("no claims", false),
        ] {
            assert_eq!(admits(&token(claims), here), fine, "{claims}");
        }
        assert!(admits("cst_0123", here), "the gateway's own");
    }
}
