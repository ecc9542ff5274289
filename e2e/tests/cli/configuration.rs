//! Mistakes in the configuration: place, value and remedy, all of them in one run.

use crate::Desk;
use countersign_e2e::cli::countersign_with;

const TARGET: &str = r#"
[[http]]
name = "one"
environment = "prod"
listen = "127.0.0.1:7102"
upstream = "http://127.0.0.1:8081"
"#;

/// What is added to a configuration that holds, and what must be said of it.
const MISTAKES: [(&str, &[&str]); 46] = [
    (
        "[[channel]]\nname = \"one\"\nkind = \"jira\"\nsite = \"https://x.atlassian.net\"\nuser = \"one@example.com\"\ntoken_from = \"env:PATH\"\nproject = \"OPS\"\npreapproves = true\n\
         [[channel]]\nname = \"two\"\nkind = \"jira\"\nsite = \"https://x.atlassian.net/\"\nuser = \"two@example.com\"\ntoken_from = \"env:PATH\"\nproject = \"HR\"",
        &["channel.user", "`two` writes tickets there", "use one account"],
    ),
    ("[gatway]\nname = \"x\"", &["gatway", "did you mean `gateway`?"]),
    ("[gateway]\ndta = \"x\"", &["gateway.dta", "did you mean `data`?"]),
    ("[gateway]\nname = \"a b\"", &["gateway.name", "`a b`"]),
    ("console = 3", &["console", "`3`", "a section"]),
    ("[console]\nlisten = \"localhost:99999\"", &["console.listen", "`localhost:99999`", "127.0.0.1:7100"]),
    ("[console]\nurl = \"ftp://x\"", &["console.url", "`ftp://x`", "https://"]),
    ("[console]\nproxies = [\"10.0.0.0/40\"]", &["console.proxies", "`10.0.0.0/40`", "`10.0.0.0/8`"]),
    (
        "[[channel]]\nname = \"a\"\nkind = \"email\"\nserver = \"mail.example.com\"\nfrom = \"a@example.com\"\ngroups = [\"nobodies\"]",
        &["channel.a.groups", "`nobodies` is declared nowhere", "people.groups"],
    ),
    (
        "[[channel]]\nname = \"a\"\nkind = \"push\"\n[[channel]]\nname = \"b\"\nkind = \"push\"",
        &["channel.b.kind", "`a`", "one channel of kind `push`"],
    ),
    (
        "[[channel]]\nname = \"a\"\nkind = \"push\"\nservices = [\"10.0.0.1\"]",
        &["channel.a.services", "`10.0.0.1`", "fcm.googleapis.com"],
    ),
    ("[limits]\nrun_for = \"5 minutes\"", &["limits.run_for", "`5 minutes`", "`55s`"]),
    ("[limits]\nkeep = \"8MB\"", &["limits.keep", "`8MB`", "`64KiB`"]),
    (
        "[limits]\npending_per_principal = \"many\"",
        &["limits.pending_per_principal", "many", "a whole number"],
    ),
    ("[bodies]\nmemory = \"512KiB\"", &["bodies.memory", "`524288`", "`1MiB`"]),
    ("[bodies]\nin_memory = \"1MiB\"\nmemory = \"1MiB\"", &["bodies.in_memory", "`1048576`", "smaller"]),
    ("[bodies]\ndisc = \"1MiB\"", &["bodies.disc", "did you mean `disk`?"]),
    ("+body_limit = \"11MiB\"", &["http.one.body_limit", "`11534336`", "`66MiB`"]),
    ("[people]\ngroups = [\"\"]", &["people.groups", "``"]),
    ("[people]\ncooling_off = 7", &["people.cooling_off", "`7`"]),
    (
        "[[channel]]\nname = \"a\"\nkind = \"slack\"\nchannel = \"C0123456789\"\ntoken_from = \"env:T\"\n\
         app_token_from = \"env:A\"\n[[channel]]\nname = \"b\"\nkind = \"slack\"\nchannel = \"C0123456780\"\n\
         token_from = \"env:T\"\napp_token_from = \"env:A\"",
        &["channel.b.app_token_from", "another channel connects", "an app of its own"],
    ),
    (
        "[[channel]]\nname = \"b\"\nkind = \"slack\"\npeople_of = \"a\"\ntoken_from = \"env:T\"",
        &["channel.b.people_of", "`a` is no channel of kind `slack` in which people decide"],
    ),
    ("[http]\nname = \"x\"", &["http", "[[http]]"]),
    ("[[http]]\nname = \"one\"", &["http.one", "environment"]),
    ("[[http]]\nbody_limt = \"1MiB\"", &["body_limt", "did you mean `body_limit`?"]),
    ("+upstream = \"nope\"", &["http.one.upstream", "`nope`", "https://"]),
    ("+upstream = \"ftp://host\"", &["http.one.upstream", "`ftp`"]),
    ("+upstream = \"http://host/path\"", &["http.one.upstream", "no path"]),
    ("+openapi = \"none.json\"", &["http.one.openapi", "none.json", "cannot be read"]),
    ("+credential = { profile = \"p\", value_from = \"planted-secret\" }", &["value_from", "env:NAME"]),
    ("+listener_tls = { certificate = \"none.pem\", key = \"none.pem\" }", &["listener_tls", "none.pem"]),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"http://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\n",
        &["issuers.ci.issuer", "`http://ci.test`", "keys_file"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = []\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\n",
        &["issuers.ci.audiences", "meant for others"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\nalgorithms = [\"HS256\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\n",
        &["issuers.ci.algorithms", "`HS256`", "`RS256`"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"*x\" }\n",
        &["issuers.ci.agents.match", "anybody"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"{sub}\"\nmatch = { sub = \"x\" }\n",
        &["issuers.ci.agents.agent", "`{sub}`"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\ngroups = [\"sre\"]",
        &["issuers.ci.agents.groups", "`sre`", "people.groups"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\nkind = \"service\"",
        &["issuers.ci.agents.owners", "needs an owner"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\nowners = [\"olga\"]",
        &["issuers.ci.agents.owners", "olga"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\npeople = { a = \"a@example.com\" }",
        &["issuers.ci.agents.people", "on_behalf_of"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\non_behalf_of = \"preferred_username\"",
        &["issuers.ci.agents.on_behalf_of", "`people`", "`email_verified`"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\n[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\n",
        &["issuers.ci.name", "issuers.ci.issuer", "two sections"],
    ),
    (
        "[[issuers]]\nname = \"ci\"\nissuer = \"https://ci.test\"\naudiences = [\"a\"]\naudience = \"x\"\n[[issuers.agents]]\nagent = \"bot\"\nmatch = { sub = \"x\" }\n",
        &["issuers.ci.audience", "did you mean `audiences`?"],
    ),
    ("~target = \"orders\"", &["mcp.tools.tools.run_sql.sql.target", "`elsewhere`", "declare it"]),
    ("~database = \"shop\"", &["mcp.tools.tools.run_sql.sql.database", "`elsewhere`", "`shop`"]),
    ("~environment = \"prod\"", &["mcp.tools.tools.run_sql.sql.target", "`elsewhere`", "one environment"]),
];

/// A tool that is given SQL, and the database it is for.
const SQL: &str = r#"
[[mcp]]
name = "tools"
environment = "prod"
listen = "127.0.0.1:7104"
upstream = "http://127.0.0.1:8082/mcp"

[[mcp.tools]]
name = "run_sql"
sql = { argument = "query", target = "orders", database = "shop" }

[[postgres]]
name = "orders"
environment = "prod"
listen = "127.0.0.1:7103"
upstream = "127.0.0.1:5432"
databases = ["shop"]
credential = { profile = "app", user = "app", value_from = "env:PASSWORD" }
"#;

#[tokio::test]
async fn every_mistake_is_told_with_place_value_and_remedy() {
    let desk = Desk::open().await;
    for (text, says) in MISTAKES {
        let text = match (text.strip_prefix('+'), text.strip_prefix('~')) {
            // A part of the tool's target, or of the tool, that is of something else.
            (None, Some(part)) => {
                let (key, _) = part.split_once(' ').unwrap();
                SQL.replacen(part, &format!("{key} = \"elsewhere\""), 1)
            }
            // A key of the target instead of its own.
            (Some(line), _) => {
                let key = line.split(' ').next().unwrap();
                let kept: Vec<&str> = TARGET.lines().filter(|line| !line.starts_with(key)).collect();
                format!("{}\n{line}\n", kept.join("\n"))
            }
            (None, None) => text.to_owned(),
        };
        desk.write("wrong.toml", &text);
        let ran = desk.refused(&["--config", "wrong.toml", "check"], 2, says).await;
        assert!(ran.stderr.contains("\nwrong.toml:"), "no line is named: {}", ran.stderr);
        assert!(ran.stderr.contains("\n\nhint: "), "{}", ran.stderr);
        assert!(!ran.stderr.contains("planted-secret"), "a secret is not repeated: {}", ran.stderr);
    }
}

/// The beginning of each section about somebody whose word is believed, and what of it is wrong.
const SIGNED: [(&str, &str, &[&str]); 13] = [
    ("signals", "provider = \"nobody\"", &["signals.x.provider", "`[[sign_in]]` named `nobody`"]),
    ("signals", "audiences = []", &["signals.x.audiences", "meant for others"]),
    ("signals", "poll_every = \"5s\"", &["signals.x.poll_every", "`poll_url`"]),
    ("signals", "poll_url = \"https://x.test/poll\"", &["signals.x.poll_token_from", "to whom they are for"]),
    ("signals", "poll_url = \"http://x.test/poll\"", &["signals.x.poll_url", "not encrypted"]),
    ("signals", "push_token_from = \"planted-secret\"", &["signals.x.push_token_from", "env:NAME"]),
    ("certificates", "issuer = \"https://x.test\"", &["issuers.x.issuer", "listener_tls.clients"]),
    (
        "certificates",
        "trust_domain = \"Prod/x\"",
        &["issuers.x.trust_domain", "`Prod/x`", "prod.example.com"],
    ),
    ("tokens", "trust_domain = \"prod.example.com\"", &["issuers.x.trust_domain", "only certificates"]),
    ("on_call", "group = \"nobody\"", &["on_call.x.group", "no group `nobody`", "people.groups"]),
    ("on_call", "kind = \"pigeon\"", &["on_call.x.kind", "`pigeon`", "`pagerduty` or `opsgenie`"]),
    ("on_call", "token_from = \"planted-secret\"", &["on_call.x.token_from", "env:NAME"]),
    ("on_call", "holds_for = \"1s\"", &["on_call.x.holds_for", "shorter than `every`"]),
];

#[tokio::test]
async fn mistakes_about_transmitters_and_certificates_are_told() {
    let desk = Desk::open().await;
    for (section, line, says) in SIGNED {
        let (head, tail) = match section {
            "signals" => (
                "[[sign_in]]\nname = \"corp\"\nissuer = \"https://corp.test\"\nclient_id = \"c\"\ndomains = [\"x.test\"]\n\
                 [[signals]]\nname = \"x\"\nissuer = \"https://x.test\"\naudiences = [\"a\"]\nprovider = \"corp\"\n",
                "",
            ),
            "certificates" => ("[[issuers]]\nname = \"x\"\ncertificates = true\n", AGENT),
            "on_call" => (
                "[people]\ngroups = [\"a\"]\n[[on_call]]\nname = \"x\"\nkind = \"opsgenie\"\ngroup = \"a\"\n\
                 schedule = \"night\"\ntoken_from = \"env:T\"\n",
                "",
            ),
            _ => ("[[issuers]]\nname = \"x\"\nissuer = \"https://x.test\"\naudiences = [\"a\"]\n", AGENT),
        };
        let key = line.split(' ').next().unwrap();
        let kept: Vec<&str> = head.lines().filter(|line| !line.starts_with(&format!("{key} "))).collect();
        desk.write("wrong.toml", format!("{}\n{line}\n{tail}", kept.join("\n")));
        let ran = desk.refused(&["--config", "wrong.toml", "check"], 2, says).await;
        assert!(!ran.stderr.contains("planted-secret"), "a secret is not repeated: {}", ran.stderr);
    }
}

const AGENT: &str = "[[issuers.agents]]\nagent = \"bot\"\nmatch = { spiffe_id = \"spiffe://x/y\" }\n";

#[tokio::test]
async fn targets_at_one_address_say_the_same_of_tls() {
    let desk = Desk::open().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    desk.write("tls.pem", params.self_signed(&key).unwrap().pem());
    desk.write("tls.key", key.serialize_pem());
    let with = r#"listener_tls = { certificate = "tls.pem", key = "tls.key", clients = { issuer = "mesh", ca = "tls.pem" } }"#;
    let without = r#"listener_tls = { certificate = "tls.pem", key = "tls.key" }"#;
    let issuer = format!("[[issuers]]\nname = \"mesh\"\ncertificates = true\n{AGENT}");
    let targets = |first: &str, second: &str, issuer: &str| {
        let one = format!("{TARGET}hosts = [\"one.test\"]\n{first}\n");
        let two = TARGET.replace("\"one\"", "\"two\"") + &format!("hosts = [\"two.test\"]\n{second}\n");
        desk.write("wrong.toml", format!("[policy]\npath = \"policy\"\n{one}{two}{issuer}"));
    };
    // Whoever has a certificate of the mesh would otherwise be believed at a target that takes none.
    for (first, second) in [(with, without), (without, with), ("", with), (without, "")] {
        targets(first, second, &issuer);
        let says = ["http.two.listener_tls", "`one` listens at `127.0.0.1:7102` as well"];
        desk.refused(&["--config", "wrong.toml", "check"], 2, &says).await;
    }
    targets(with, with, "");
    let says = ["http.one.listener_tls.clients.issuer", "`mesh`", "`certificates = true`"];
    desk.refused(&["--config", "wrong.toml", "check"], 2, &says).await;
    targets(with, with, &issuer);
    let ran = desk.run(&["--config", "wrong.toml", "check"]).await;
    assert!(!ran.stderr.contains("listener_tls"), "{}", ran.stderr);
}

#[tokio::test]
async fn mistakes_of_all_sections_are_told_in_one_run() {
    let desk = Desk::open().await;
    let text = format!(
        "[gateway]\nname = \"a b\"\n[limits]\nrun_for = 5\n[console]\nurl = \"ftp://x\"\nlisten = \"127.0.0.1:7102\"\n\
         [[http]]\nname = \"x\"\n{TARGET}{}[polcy]\n",
        TARGET.replace("7102", "7103")
    );
    desk.write("wrong.toml", text);
    let says = [
        "7 mistakes",
        "gateway.name",
        "limits.run_for",
        "console.url",
        "polcy",
        "http.x",
        "two targets are named `one`",
        "`127.0.0.1:7102` is the console's address",
    ];
    for command in [&["check"][..], &["serve"], &["person", "list"]] {
        desk.refused(&[&["--config", "wrong.toml"], command].concat(), 2, &says).await;
    }
}

/// Every line here is wrong in its own way.
const LINES: &str = r#"[gateway]
name = "a b"
dta = "x"
[console]
listen = "nowhere"
[limits]
keep = "8MB"
run_for = 5
retain = "1h"
[[http]]
name = "one"
environment = "prod"
listen = "127.0.0.1:7102"
upstream = "ftp://host"
[[http.operations]]
name = "readThings"
method = "GET"
path = "/things/{a}/{a}"
class = "read"
[[http]]
name = "two"
environment = "prod"
listen = "127.0.0.1:7103"
upstream = "http://host"
[[http.operations]]
name = "a"
method = "GET"
path = "/a"
class = "read"
[[http.operations]]
name = "b"
method = "GET"
path = "/b"
class = "raed"
"#;

#[tokio::test]
async fn mistakes_in_values_name_file_line_and_key() {
    let desk = Desk::open().await;
    desk.write("wrong.toml", LINES);
    let says = [
        "wrong.toml:2:1: gateway.name: `a b`",
        "wrong.toml:3:1: gateway.dta: ",
        "wrong.toml:5:10: console.listen: `nowhere`",
        "wrong.toml:7:8: limits.keep: ",
        "wrong.toml:8:1: limits.run_for: ",
        "wrong.toml:9:1: limits.retain: ",
        "wrong.toml:14:1: http.one.upstream: `ftp`",
        "wrong.toml:18:1: http.one.operations[0].path",
        "wrong.toml:34:9: http.two.operations",
        "9 mistakes",
    ];
    desk.refused(&["--config", "wrong.toml", "check"], 2, &says).await;
    desk.write("good.toml", TARGET);
    let overridden = [("COUNTERSIGN__CONSOLE__LISTEN", "nowhere")];
    let ran = countersign_with(desk.path(), &["-c", "good.toml", "check"], &overridden).await.unwrap();
    let says = "environment variable `COUNTERSIGN__CONSOLE__LISTEN`: console.listen: `nowhere`";
    assert!(ran.stderr.contains(says), "{}", ran.stderr);
}

#[tokio::test]
async fn a_file_that_is_missing_or_no_toml_is_told_with_its_place() {
    let desk = Desk::open().await;
    desk.refused(&["-c", "none.toml", "check"], 2, &["none.toml", "countersign init"]).await;
    desk.write("wrong.toml", "[gateway]\nname = ");
    desk.refused(&["-c", "wrong.toml", "check"], 2, &["wrong.toml:2:8"]).await;
    desk.write("wrong.toml", [0xff, 0xfe]);
    desk.refused(&["-c", "wrong.toml", "check"], 2, &["wrong.toml", "UTF-8"]).await;
    desk.refused(&["-c", ".", "check"], 2, &["cannot be read"]).await;
}

#[tokio::test]
async fn the_environment_overrides_single_keys_and_its_mistakes_are_told() {
    let desk = Desk::open().await;
    let with = async |name: &str, value: &str| {
        countersign_with(desk.path(), &["check", "--output", "json"], &[(name, value)]).await.unwrap()
    };
    let changed = with("COUNTERSIGN__CONSOLE__URL", "https://countersign.example.com").await;
    assert_eq!(changed.json()["console"]["url"], "https://countersign.example.com", "{}", changed.stderr);
    for (name, value, says) in [
        ("COUNTERSIGN__CONSOLE__LISTEN", "nowhere", "`nowhere`"),
        ("COUNTERSIGN__CONSOLE__LISTN", "x", "did you mean `listen`?"),
        ("COUNTERSIGN__CONSOLE", "x", "COUNTERSIGN__CONSOLE"),
        ("COUNTERSIGN__HTTP__NAME", "x", "COUNTERSIGN__HTTP__NAME"),
    ] {
        let ran = with(name, value).await;
        assert_eq!(ran.status, Some(2), "{name}: {}", ran.stdout);
        assert!(ran.stderr.contains(says), "{name}: {}", ran.stderr);
    }
}
