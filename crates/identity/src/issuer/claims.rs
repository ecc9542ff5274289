//! What a token's claims say of where it is good, for how long, and for whom.

use super::{Issuer, Rule};
use crate::jose::{Unsound, compact::Signed};
use countersign_core::Timestamp;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// Kinds of tokens that may be presented. Others are signed by the same key for another end (RFC 8725, section 3.11).
const KINDS: [&str; 3] = ["jwt", "at+jwt", "jose"];
/// Times beyond the year 9999 are no times.
const LATEST: u64 = 253_402_300_800;

/// A claim by its name, or by a JSON pointer (RFC 6901) to one that is further in.
pub(crate) fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let mut steps = path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
    let first = claims.get(&steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(&step))
}

/// What a claim says, as texts: one, or each of a list.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Bool(flag) => vec![flag.to_string()],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

/// The longest value of a tag, in bytes.
const LONGEST_TAG: usize = 512;

/// What policy may look at. A claim that is there and is no plain text makes the token unsound: a rule that looks for it
/// would find nothing.
pub(crate) fn tags(
    issuer: &Issuer,
    claims: &Map<String, Value>,
) -> Result<BTreeMap<String, String>, Unsound> {
    let mut tags = BTreeMap::new();
    for name in &issuer.tags {
        let value = match find(claims, name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Array(_) | Value::Object(_)) => {
                return Err(Unsound("a claim that policies may look at is no text"));
            }
        };
        if value.len() > LONGEST_TAG {
            return Err(Unsound("a claim that policies may look at is too long"));
        }
        tags.insert(name.clone(), value);
    }
    Ok(tags)
}

/// Checks issuer, audience and times. Gives the moment the token ends.
pub(crate) fn check(issuer: &Issuer, token: &Signed, now: Timestamp) -> Result<Timestamp, Unsound> {
    check_kind(issuer, token, now, &KINDS)
}

/// The same for a token of one of these kinds.
pub(crate) fn check_kind(
    issuer: &Issuer,
    token: &Signed,
    now: Timestamp,
    kinds: &[&str],
) -> Result<Timestamp, Unsound> {
    let claims = &token.claims;
    if token.kind.as_deref().is_some_and(|kind| !kinds.contains(&kind)) {
        return Err(Unsound("the token is of a kind that is not for presenting"));
    }
    addressed(issuer, claims)?;
    let expires = time(claims, "exp")?.ok_or(Unsound("the token has no end"))?;
    if expires.plus(issuer.skew) <= now {
        return Err(Unsound("the token has expired"));
    }
    if expires > now.plus(issuer.longest).plus(issuer.skew) {
        return Err(Unsound("the token is good for longer than is accepted from its issuer"));
    }
    for begins in ["nbf", "iat"] {
        if time(claims, begins)?.is_some_and(|begins| begins > now.plus(issuer.skew)) {
            return Err(Unsound("the token is not good yet: its time lies ahead"));
        }
    }
    Ok(expires.plus(issuer.skew))
}

/// Checks who issued it, and that it is for this gateway.
pub(crate) fn addressed(issuer: &Issuer, claims: &Map<String, Value>) -> Result<(), Unsound> {
    if claims.get("iss").and_then(Value::as_str) != Some(&issuer.issuer) {
        return Err(Unsound("the token's issuer is not trusted here"));
    }
    let meant = match claims.get("aud") {
        Some(Value::String(one)) => issuer.audiences.contains(one),
        Some(Value::Array(several)) => {
            let known =
                |audience: &Value| audience.as_str().is_some_and(|text| issuer.audiences.contains(text));
            several.iter().all(Value::is_string) && several.iter().any(known)
        }
        _ => false,
    };
    if meant { Ok(()) } else { Err(Unsound("the token is not for this gateway: its audience is another")) }
}

/// The rule a token fits first, with its place among them.
pub(crate) fn rule<'i>(issuer: &'i Issuer, claims: &Map<String, Value>) -> Option<&'i Rule> {
    issuer.rules.iter().find(|rule| {
        rule.wanted.iter().all(|(name, patterns)| {
            let said = find(claims, name).map(texts).unwrap_or_default();
            said.iter().any(|text| patterns.iter().any(|pattern| pattern.fits(text)))
        })
    })
}

/// A time in seconds, whole or not.
pub(crate) fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Unsound> {
    const BAD: Unsound = Unsound("one of the token's times cannot be read");
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match value.as_u64() {
        Some(seconds) => seconds,
        // RFC 7519 allows fractions; what is before 1970 or is no number is neither.
        None => match value.as_f64() {
            Some(seconds) if (0.0..1e12).contains(&seconds) => Duration::from_secs_f64(seconds).as_secs(),
            Some(_) | None => return Err(BAD),
        },
    };
    if seconds > LATEST {
        return Err(BAD);
    }
    let micros = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    micros.map(|micros| Some(Timestamp(micros))).ok_or(BAD)
}
