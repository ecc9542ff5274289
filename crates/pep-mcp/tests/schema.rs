//! Every method in the schemas of every protocol version has a rule, as the official SDK lists them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use countersign_pep_mcp::method::{self, FromServer, Note, Rule};
use std::{path::PathBuf, process::Command};

/// Lists who sends what in which version, as `["client requests", "tools/call", "2025-11-25"]`.
const LIST: &str = r#"
import json
from mcp_types import methods
tables = {
    "client requests": methods.CLIENT_REQUESTS, "client notifications": methods.CLIENT_NOTIFICATIONS,
    "server requests": methods.SERVER_REQUESTS, "server notifications": methods.SERVER_NOTIFICATIONS,
}
print(json.dumps([[kind, method, version] for kind, table in tables.items() for method, version in table]))
"#;

/// Where `.ci/drivers` puts the SDK.
fn sdk() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().find(|folder| folder.join("drivers").exists());
    let Some(sdk) = target.map(|target| target.join("drivers/mcp")).filter(|sdk| sdk.exists()) else {
        panic!("the SDK is not there\n\nhint: run `.ci/drivers`, as `make test` does");
    };
    sdk
}

/// Whether nothing is said of a method but that there is none.
fn is_unknown(rule: Rule) -> bool {
    matches!(rule, Rule::Refused(why) if why == "there is no such method" || why.contains("does not have it"))
}

#[test]
fn every_method_of_every_version_has_a_rule() {
    let mut python = Command::new("python3");
    let said = python.args(["-c", LIST]).env("PYTHONPATH", sdk()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let listed: Vec<[String; 3]> = serde_json::from_slice(&said.stdout).unwrap();
    assert!(listed.len() > 100, "{listed:?}");
    for [kind, name, version] in &listed {
        let later = version.as_str() >= "2026-07-28";
        let missing = match kind.as_str() {
            "client requests" if later => is_unknown(method::later_request(name)),
            "client requests" => is_unknown(method::request(name)),
            "client notifications" => {
                matches!(method::note(name), Note::Dropped(why) if why == "there is no such notification")
            }
            _ => {
                matches!(method::from_server(name), FromServer::Refused(why) if why == "there is no such method")
            }
        };
        assert!(!missing, "{kind}: `{name}` of {version} has no rule");
    }
    // What the one era has and the other has not is refused there.
    let of = |later: bool| {
        let names = listed.iter().filter(move |[kind, _, version]| {
            kind == "client requests" && (version.as_str() >= "2026-07-28") == later
        });
        names.map(|[_, name, _]| name.as_str()).collect::<Vec<_>>()
    };
    for name in of(false).into_iter().filter(|name| !of(true).contains(name)) {
        assert!(is_unknown(method::later_request(name)), "`{name}` is not of the later era");
    }
    for name in of(true).into_iter().filter(|name| !of(false).contains(name)) {
        assert!(is_unknown(method::request(name)), "`{name}` is not of the earlier era");
    }
}
