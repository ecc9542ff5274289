//! The two eras of the protocol. Up to 2025-11-25 a session is opened and remembers what was agreed on; from 2026-07-28 on each
//! request says everything itself, in its `_meta` and once more in its head, and nothing is remembered.

use crate::{
    edge::one,
    members::{self, Members},
    mirror,
    reply::code,
    tasks::EXTENSION,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Value, json, value::RawValue};

/// The version of the later era that is spoken.
pub(crate) const MODERN: &str = "2026-07-28";

/// What a request says about itself in its head, for whoever routes it.
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT_KEY: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL_KEY: &str = "io.modelcontextprotocol/logLevel";

/// Whether a member of `_meta` is about one side's connection to the other, and so not part of what is asked.
pub(crate) fn is_envelope(name: &str) -> bool {
    [VERSION_KEY, CAPABILITIES_KEY, CLIENT_KEY, LOG_LEVEL_KEY].contains(&name)
}

/// What a request of the later era declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    /// The agent's client, as JSON.
    pub(crate) client: Option<String>,
    /// What its client can do, as JSON.
    pub(crate) capabilities: String,
    /// It knows tasks (SEP-2663).
    pub(crate) tasks: bool,
    /// Arguments that its head says as well.
    pub(crate) mirrored: mirror::Head,
}

/// Why a request of the later era is not taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mismatch {
    pub(crate) code: i64,
    pub(crate) why: String,
    pub(crate) data: Value,
}

impl Mismatch {
    pub(crate) fn new(code: i64, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), data: Value::Null }
    }

    /// The version is not spoken here.
    pub(crate) fn unsupported(requested: Option<&str>) -> Self {
        let data = json!({"supported": supported(), "requested": requested});
        Self { code: code::UNSUPPORTED_VERSION, why: "this protocol version is not spoken here".into(), data }
    }
}

/// Every version that is spoken, the newest first.
pub(crate) fn supported() -> Vec<&'static str> {
    std::iter::once(MODERN).chain(crate::method::VERSIONS.into_iter().rev()).collect()
}

/// Whether a head says that its message is of the later era: it names a version that the earlier one does not have.
pub(crate) fn is_modern(version: Option<&str>) -> bool {
    version.is_some_and(|version| !crate::method::VERSIONS.contains(&version))
}

/// Whether a message says of itself that it is of the later era.
pub(crate) fn says_later(params: Option<&RawValue>) -> bool {
    let meta = params.and_then(Members::read).and_then(|params| params.find("_meta"));
    meta.and_then(Members::read).is_some_and(|meta| meta.find(VERSION_KEY).is_some())
}

/// What a request declares, once its head and its body agree; `None` where it is of the earlier era.
pub(crate) fn read(
    headers: &HeaderMap,
    version: Option<&str>,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Option<Declared>, Mismatch> {
    let params = params.and_then(Members::read);
    let meta = params.as_ref().and_then(|params| params.find("_meta")).and_then(Members::read);
    let said = meta.as_ref().and_then(|meta| meta.find(VERSION_KEY));
    if said.is_none() && !is_modern(version) {
        return Ok(None);
    }
    let missing = |key| Mismatch::new(code::INVALID_PARAMS, format!("`_meta` does not say `{key}`"));
    let meta = meta.ok_or_else(|| missing(VERSION_KEY))?;
    let said = said.ok_or_else(|| missing(VERSION_KEY))?;
    let said = members::text(said).ok_or_else(|| missing(VERSION_KEY))?;
    let declared = meta.find(CAPABILITIES_KEY).ok_or_else(|| missing(CAPABILITIES_KEY))?;
    let capabilities = Members::read(declared).ok_or_else(|| missing(CAPABILITIES_KEY))?;
    let differs = |header: &HeaderName| {
        Mismatch::new(code::HEADER_MISMATCH, format!("the header `{header}` is not what the message says"))
    };
    if version != Some(said.as_str()) {
        return Err(differs(&crate::upstream::VERSION));
    }
    if one(headers, &METHOD).ok().flatten() != Some(method) {
        return Err(differs(&METHOD));
    }
    let named = name_of(method, params.as_ref());
    let told = one(headers, &NAME).map_err(|_| differs(&NAME))?;
    // Clients name a task there only lately (SEP-2663).
    let unnamed = told.is_none() && method.starts_with("tasks/");
    if named.is_some() && !unnamed && told.and_then(decoded) != named {
        return Err(differs(&NAME));
    }
    if said != MODERN {
        return Err(Mismatch::unsupported(Some(&said)));
    }
    let extensions = capabilities.find("extensions").and_then(Members::read);
    let tasks = extensions.is_some_and(|known| known.find(EXTENSION).is_some());
    let client = meta.find(CLIENT_KEY).map(RawValue::get).filter(|client| client.starts_with('{'));
    let mirrored = mirror::Head::read(headers)?;
    let (client, capabilities) = (client.map(str::to_owned), declared.get().to_owned());
    Ok(Some(Declared { client, capabilities, tasks, mirrored }))
}

/// What a request is about, for the head: a tool's or a prompt's name, or a resource.
fn name_of(method: &str, params: Option<&Members<'_>>) -> Option<String> {
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return None,
    };
    members::text(params?.find(member)?)
}

/// The headers that a request of the later era carries, by its message.
pub(crate) fn headers(method: &str, params: Option<&RawValue>) -> Vec<(HeaderName, String)> {
    let name = name_of(method, params.and_then(Members::read).as_ref());
    let name = name.map(|name| (NAME, encoded(&name)));
    std::iter::once((METHOD, method.to_owned())).chain(name).collect()
}

/// The members of `_meta` with which the gateway sends a request of the later era. `capabilities` is what the server may ask
/// of the agent, as JSON.
pub(crate) fn envelope(client: Option<&str>, capabilities: &str) -> String {
    let client = client.map_or_else(String::new, |client| format!(r#","{CLIENT_KEY}":{client}"#));
    format!(r#""{VERSION_KEY}":"{MODERN}","{CAPABILITIES_KEY}":{capabilities}{client}"#)
}

/// A text as a header can carry it.
pub(crate) fn encoded(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && text.trim() == text;
    if plain && !text.starts_with("=?base64?") {
        return text.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(text))
}

/// What a header's text stands for; `None` where it is written in no way it may be.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(text.to_owned());
    };
    String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok()
}

/// A result as the later era has it: with what kind it is, and where it could be kept by others, that it must not be. `None`: it
/// cannot be read for certain, or is none yet, which is told in another way where it may be.
pub(crate) fn modern(result: &str, method: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(result).ok()?;
    let members = Members::read(raw)?;
    let listed = method.ends_with("/list") || ["resources/read", "server/discover"].contains(&method);
    let mut more = Vec::new();
    match members.find("resultType").map(RawValue::get) {
        None => more.push(r#""resultType":"complete""#.to_owned()),
        Some(r#""complete""#) => {}
        Some(_) => return None,
    }
    if listed {
        if members.find("ttlMs").is_none() {
            more.push(r#""ttlMs":0"#.to_owned());
        }
        if members.find("cacheScope").is_none() {
            more.push(r#""cacheScope":"private""#.to_owned());
        }
    }
    // What one agent may see is not for another.
    let shared = listed && members.find("cacheScope").is_some_and(|scope| scope.get() != r#""private""#);
    if more.is_empty() && !shared {
        return Some(result.to_owned());
    }
    let kept = members.rewritten(|name, value| {
        Some(if shared && name == "cacheScope" { r#""private""#.into() } else { value.get().to_owned() })
    });
    let comma = if members.is_empty() || more.is_empty() { "" } else { "," };
    Some(format!("{{{}{comma}{}", more.join(","), kept.strip_prefix('{')?))
}

/// The status a response of the later era has, by its error's code.
pub(crate) fn status(code: Option<i64>) -> StatusCode {
    match code {
        Some(
            -32700
            | code::INVALID_REQUEST
            | code::INVALID_PARAMS
            | code::HEADER_MISMATCH
            | code::MISSING_CAPABILITY
            | code::UNSUPPORTED_VERSION,
        ) => StatusCode::BAD_REQUEST,
        Some(code::NO_METHOD) => StatusCode::NOT_FOUND,
        Some(_) | None => StatusCode::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn asked(params: &str, pairs: &[(&'static str, &str)]) -> Result<Option<Declared>, i64> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let version = pairs.iter().find(|(name, _)| *name == "mcp-protocol-version").map(|(_, value)| *value);
        let read = read(&headers, version, "tools/call", Some(&raw(params)));
        read.map_err(|mismatch| mismatch.code)
    }

    #[test]
    fn what_is_none_yet_or_cannot_be_read_is_no_result() {
        for (result, want) in [
            (r#"{"n":1.50}"#, Some(r#"{"resultType":"complete","n":1.50}"#)),
            (r#"{"resultType":"complete","n":1.50}"#, Some(r#"{"resultType":"complete","n":1.50}"#)),
            (r#"{"resultType":"input_required","inputRequests":{}}"#, None),
            (r#"{"resultType":"input\u005frequired","inputRequests":{}}"#, None),
            (r#"{"result\u0054ype":"input_required","inputRequests":{}}"#, None),
            (r#"{"resultType":"complete","\u0072esultType":"input_required"}"#, None),
            (r#"{"resultType":"complete","resultType":"input_required"}"#, None),
            ("1", None),
        ] {
            assert_eq!(modern(result, "tools/call").as_deref(), want, "{result}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn head_and_body_say_the_same_or_nothing_is_taken() {
        let (version, method, name) = (("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", "x"));
        let meta = format!(r#""_meta":{{"{VERSION_KEY}":"{MODERN}","{CAPABILITIES_KEY}":{{}}}}"#);
        let (fine, plain) = (format!(r#"{{"name":"x",{meta}}}"#), r#"{"name":"x"}"#.to_owned());
        let declared = Ok(Some(Declared { client: None, capabilities: "{}".into(), tasks: false, mirrored: mirror::Head::default() }));
        for (params, pairs, want) in [
            (&fine, &[version, method, name][..], declared.clone()),
            (&plain, &[("mcp-protocol-version", "2025-11-25")], Ok(None)),
            (&plain, &[], Ok(None)),
            (&plain, &[version, method, name], Err(code::INVALID_PARAMS)),
            (&fine, &[method, name], Err(code::HEADER_MISMATCH)),
            (&fine, &[("mcp-protocol-version", "2025-11-25"), method, name], Err(code::HEADER_MISMATCH)),
            (&fine, &[version, name], Err(code::HEADER_MISMATCH)),
            (&fine, &[version, ("mcp-method", "tools/list"), name], Err(code::HEADER_MISMATCH)),
            (&fine, &[version, method], Err(code::HEADER_MISMATCH)),
            (&fine, &[version, method, ("mcp-name", "y")], Err(code::HEADER_MISMATCH)),
            (&fine, &[version, method, name, name], Err(code::HEADER_MISMATCH)),
            (&fine, &[version, method, ("mcp-name", "=?base64?eA==?=")], declared.clone()),
            (&fine.replace(MODERN, "2027-01-01"), &[("mcp-protocol-version", "2027-01-01"), method, name], Err(code::UNSUPPORTED_VERSION)),
            (&fine.replace(&format!(r#","{CAPABILITIES_KEY}":{{}}"#), ""), &[version, method, name], Err(code::INVALID_PARAMS)),
        ] {
            assert_eq!(asked(params, pairs), want, "{params} {pairs:?}");
        }
        let with = fine.replace(
            ":{}", r#":{"extensions":{"io.modelcontextprotocol/tasks":{}}},"io.modelcontextprotocol/clientInfo":{"name":"c"}"#,
        );
        let capabilities = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#.into();
        let declared = Declared { client: Some(r#"{"name":"c"}"#.into()), capabilities, tasks: true, mirrored: mirror::Head::default() };
        assert_eq!(asked(&with, &[version, method, name]), Ok(Some(declared)));
    }

    #[test]
    fn names_survive_a_header() {
        for name in ["x", "zähl", " x", "=?base64?eA==?=", "a\nb", ""] {
            let header = encoded(name);
            assert!(header.parse::<http::HeaderValue>().is_ok(), "{header}");
            assert_eq!(decoded(&header).as_deref(), Some(name));
        }
        assert_eq!(decoded("=?base64?x?="), None);
    }

    #[test]
    fn results_say_what_kind_they_are_and_that_they_are_their_agents_alone() {
        for (result, method, want) in [
            (r#"{"content":[ 1.0]}"#, "tools/call", r#"{"resultType":"complete","content":[ 1.0]}"#),
            ("{}", "ping", r#"{"resultType":"complete"}"#),
            (r#"{"resultType":"complete","a":1}"#, "tools/call", r#"{"resultType":"complete","a":1}"#),
            (
                r#"{"tools":[],"cacheScope":"public","ttlMs":5}"#,
                "tools/list",
                r#"{"resultType":"complete","tools":[],"cacheScope":"private","ttlMs":5}"#,
            ),
            (
                r#"{"contents":[]}"#,
                "resources/read",
                r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","contents":[]}"#,
            ),
        ] {
            assert_eq!(modern(result, method).as_deref(), Some(want));
        }
    }
}
