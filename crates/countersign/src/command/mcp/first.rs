//! `countersign mcp inspect URL`: a server that is not behind the gateway yet. What it says of its tools, what of that a
//! person should look at twice, and a section, policies and pins to begin with.

mod draft;

use crate::{
    cli::{FirstArgs, Output},
    failure::{Failure, chain},
    output,
};
use countersign_core::{TargetName, definition, visible};
use countersign_engine::{definitions::Definition, port::upstream::Upstream as _};
use countersign_pep_mcp::{config::McpSection, upstream::McpUpstream};
use draft::{Draft, Group};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

pub(super) async fn run(url: &str, args: FirstArgs, output: Output) -> Result<(), Failure> {
    let name = name_of(url, args.name.as_deref())?;
    let mut tools = asked(url, &name, &args).await?;
    tools.sort_by(|one, other| one.tool.cmp(&other.tool));
    let draft = Draft {
        target: name,
        environment: args.environment,
        url: url.to_owned(),
        credential: args.credential,
        ca: args.ca,
        agents: args.agents,
        approvers: args.approvers,
        tools: tools.iter().map(draft::Tool::of).collect(),
    };
    let written = match &args.write {
        Some(folder) => write(folder, &draft)?,
        None => Vec::new(),
    };
    let items: Vec<Value> = draft.tools.iter().zip(&tools).map(|(tool, said)| item(tool, said)).collect();
    let told = json!({"target": draft.target, "server": url, "items": items, "written": written});
    output::show(output, &told, |_| drawn(&draft, &tools, &written))
}

/// What policies and pages are to call it: the first part of its host that says something.
fn name_of(url: &str, given: Option<&str>) -> Result<TargetName, Failure> {
    let host =
        url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    let mut parts = host.split('.').filter(|part| !["mcp", "www", "api", "localhost"].contains(part));
    let found = given.or_else(|| parts.next().filter(|part| !is_address && !part.is_empty()));
    let name = found.ok_or_else(|| {
        Failure::usage("the server's address does not say what to call it").hint("give it a `--name`")
    })?;
    if name.contains('/') {
        return Err(
            Failure::usage(format!("`{name}` cannot be the name of files")).hint("give it another `--name`")
        );
    }
    TargetName::new(name).map_err(|error| Failure::usage(chain(&error)).hint("give it another `--name`"))
}

async fn asked(url: &str, name: &TargetName, args: &FirstArgs) -> Result<Vec<Definition>, Failure> {
    let credential =
        args.credential.as_ref().map(|reference| json!({"profile": name, "value_from": reference}));
    let tls = args.ca.as_ref().map_or_else(|| json!({}), |ca| json!({"ca": ca}));
    let section = json!({
        "name": name, "environment": args.environment, "listen": draft::LISTEN, "upstream": url,
        "credential": credential, "upstream_tls": tls,
    });
    let section: McpSection = serde_json::from_value(section)
        .map_err(|error| Failure::of("the server cannot be described", &error))?;
    let target = section.check(Path::new(".")).map_err(|faults| {
        let mut faults = faults.into_iter();
        let first = faults.next();
        let failure = Failure::usage(first.as_ref().map_or_else(String::new, |fault| fault.why.clone()));
        failure.hint(first.map_or_else(String::new, |fault| fault.remedy))
    })?;
    target.check_credential().map_err(|error| Failure::usage(chain(&error)))?;
    let found = McpUpstream::new(&target).definitions().await.transpose();
    let found = found.map_err(|failed| {
        Failure::new(format!("`{}` did not say which tools it has: {}", visible::one_line(url), failed.why))
            .hint("a server that wants a token gets it with `--credential env:NAME`")
    })?;
    Ok(found.unwrap_or_default())
}

/// The draft's files, none of them over one that is there.
fn write(folder: &Path, draft: &Draft) -> Result<Vec<PathBuf>, Failure> {
    let files = draft.files();
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(Failure::usage(format!("`{}` is there already; nothing was written", path.display()))
            .hint("choose another folder, or move the file away"));
    }
    for (path, (_, text)) in paths.iter().zip(&files) {
        let io = |error: std::io::Error| {
            Failure::of(&format!("`{}` could not be written", path.display()), &error)
        };
        fs::create_dir_all(folder).map_err(io)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
    }
    Ok(paths)
}

fn item(tool: &draft::Tool, said: &Definition) -> Value {
    let flags = definition::flags(&said.tool, &value(said));
    json!({
        "tool": said.tool, "definition": said.digest, "hints": tool.hints, "starts_as": tool.group.as_str(),
        "class": tool.group.class(), "because": tool.group.because(), "flags": flags, "described_as": tool.described,
    })
}

fn value(said: &Definition) -> Value {
    serde_json::from_str(&said.text).unwrap_or_default()
}

fn drawn(draft: &Draft, tools: &[Definition], written: &[PathBuf]) -> String {
    let row = |tool: &draft::Tool| {
        let described = tool.described.lines().next().unwrap_or_default();
        vec![
            tool.name.clone(),
            if tool.hints.is_empty() { "none".into() } else { tool.hints.join(", ") },
            tool.flags.join(", "),
            tool.group.as_str().to_owned(),
            described.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = draft.tools.iter().map(row).collect();
    let head = ["tool", "it says of itself", "flags", "starts as", "described as"];
    let mut told = vec![output::table(&head, &rows, "the server has no tools")];
    let flagged = tools.iter().flat_map(|said| {
        let of = |flag: definition::Flag| {
            let found = if flag.found.is_empty() { String::new() } else { format!(": {}", flag.found) };
            let place = visible::one_line(&flag.place);
            format!(
                "! {}: {} {}{}",
                visible::name(&said.tool),
                place,
                flag.rule.meaning(),
                visible::one_line(&found)
            )
        };
        definition::flags(&said.tool, &value(said)).into_iter().map(of)
    });
    let flagged: Vec<String> = flagged.collect();
    if !flagged.is_empty() {
        told.push(flagged.join("\n"));
    }
    told.push(
        "What a server says of itself is no proof: read the tools that start as permitted before agents call them.".into(),
    );
    if let [section, policy, pins] = written {
        let name = &draft.target;
        let (section, policy, pins) = (section.display(), policy.display(), pins.display());
        told.push(format!(
            "Wrote {section}, {policy} and {pins}.\n\nNext, after reading them:\n  cat {section} >> countersign.toml\n  \
             cp {policy} policy/\n  countersign check\n  countersign serve\n  countersign mcp accept {name} --pins {pins}"
        ));
    }
    told.join("\n\n")
}

impl Group {
    /// The class that the written section gives such a tool.
    fn class(self) -> Option<&'static str> {
        self.declared().map(countersign_core::Class::as_str)
    }
}
