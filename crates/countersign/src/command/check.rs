//! `countersign check`: every problem at once, and what the configuration resolves to.

use crate::{cli::Output, config::Config, failure::Failure, output};
use countersign_engine::outbox::Hears;
use countersign_reviewer::{ChannelConfig, Speaks};
use serde_json::json;
use std::path::Path;

pub(super) fn run(path: &Path, output: Output) -> Result<(), Failure> {
    let config = super::load(path)?;
    let bundle = super::policy::loaded(&config.policy, &config)?;
    let (limits, bodies) = (&config.limits, &config.bodies);
    let [targets, databases, servers] = targets(&config);
    let issuers: Vec<String> = config
        .settings
        .issuers
        .iter()
        .map(|issuer| {
            let agents: Vec<&str> = issuer.rules.iter().map(|rule| rule.agent.as_str()).collect();
            format!("{} ({}) -> {}", issuer.name, issuer.issuer, agents.join(", "))
        })
        .collect();
    let signals = signals(&config);
    let channels: Vec<String> = config.channels.iter().map(channel).collect();
    let rosters: Vec<String> = config.rosters.iter().map(ToString::to_string).collect();
    let routes: Vec<String> = config.routes.iter().map(ToString::to_string).collect();
    let warnings = super::policy::on_call_alone(&bundle, &config);
    let resolved = json!({
        "configuration": config.path.display().to_string(),
        "gateway": {"name": config.name, "data": config.data, "mark": config.mark},
        "console": {"listen": config.console_listen.to_string(), "url": config.console_url},
        "policy": {"path": config.policy, "rules": bundle.rules().count(), "bundle": bundle.digest(),
            "changed_by": config.policy_changed_by, "cooling_off_s": limits.author_cooling_off.as_secs()},
        "people": {"groups": config.groups, "cooling_off_s": limits.cooling_off.as_secs()},
        "limits": {
            "pending_per_principal": limits.pending_per_principal, "keep_bytes": limits.keep_bytes,
            "retention_s": limits.retention.as_secs(), "run_for_s": limits.run_for.as_secs(),
        },
        "bodies": {
            "in_memory_bytes": bodies.in_memory.0, "memory_bytes": bodies.memory.0, "disk_bytes": bodies.disk.0,
        },
        "http": targets, "postgres": databases, "mcp": servers, "issuers": issuers, "signals": signals, "channels": channels,
        "on_call": rosters, "routes": routes, "warnings": warnings,
    });
    output::show(output, &resolved, |_| {
        let lines = [
            ("ledger", config.name.clone(), "names the log in every checkpoint; never change it"),
            ("data", config.data.display().to_string(), "database, keys and the operator's socket"),
            (
                "mark",
                config.mark.display().to_string(),
                "high-water mark; best on another disk than the data",
            ),
            ("console", config.console_url.clone(), "where people decide; passkeys are bound to its host"),
            ("policy", config.policy.display().to_string(), "reloaded when a file changes, or on SIGHUP"),
            (
                "pending",
                limits.pending_per_principal.to_string(),
                "actions of one principal that may wait at once",
            ),
            ("keep", format!("{} bytes", limits.keep_bytes), "largest answer kept for who comes back for it"),
            ("retention", format!("{} s", limits.retention.as_secs()), "how long such an answer is kept"),
            (
                "run for",
                format!("{} s", limits.run_for.as_secs()),
                "an approved action that runs longer is cancelled",
            ),
            (
                "body in memory",
                format!("{} bytes", bodies.in_memory.0),
                "a larger body goes to a file while it is read before deciding",
            ),
            (
                "bodies in memory",
                format!("{} bytes", bodies.memory.0),
                "bodies of all connections together, while they are decided on too",
            ),
            (
                "bodies on disk",
                format!("{} bytes", bodies.disk.0),
                "in files without a name in the data folder; beyond it requests are refused with 503",
            ),
            (
                "cooling off",
                format!("{} s", limits.cooling_off.as_secs()),
                "people brought in by the requester's side have no vote for so long",
            ),
        ];
        let rows: Vec<Vec<String>> =
            lines.into_iter().map(|(name, value, why)| vec![name.into(), value, why.into()]).collect();
        let targets = [targets.as_slice(), &databases, &servers].concat();
        let targets = if targets.is_empty() { "none".into() } else { targets.join("\n  ") };
        let channels = if channels.is_empty() { "none".into() } else { channels.join("\n  ") };
        let rosters = if rosters.is_empty() { "none".into() } else { rosters.join("\n  ") };
        let routes = if routes.is_empty() { "none".into() } else { routes.join("\n  ") };
        let issuers = if issuers.is_empty() { "none".into() } else { issuers.join("\n  ") };
        let signals = if signals.is_empty() { "none".into() } else { signals.join("\n  ") };
        let warned =
            warnings.iter().map(|warning| format!("warning: {warning}\n")).collect::<Vec<_>>().concat();
        format!(
            "{}\n\ntargets\n  {targets}\n\nissuers\n  {issuers}\n\nsignals\n  {signals}\n\nchannels\n  {channels}\n\non call\n  {rosters}\n\nroutes\n  {routes}\n\n{warned}No problem found.",
            output::table(&["setting", "value", "meaning"], &rows, "")
        )
    })
}

/// Who says that sessions end: name, issuer, of whose people, and on which way.
fn signals(config: &Config) -> Vec<String> {
    let transmitters = config.settings.transmitters.iter();
    let told = transmitters.map(|one| {
        let way = one.poll.as_ref().map_or("pushed", |_| "fetched");
        let issuer = &one.issuer;
        format!("{} ({}) of the people of {}, {way}", issuer.name, issuer.issuer, one.provider)
    });
    told.collect()
}

/// A channel: name, kind, where it goes, and of what it is told.
fn channel(channel: &ChannelConfig) -> String {
    let spec = channel.spec();
    let hears = match spec.hears {
        Hears::Named => "where a gate names it with `@notify`, or a route does",
        Hears::Everything => "every approval",
    };
    let says = match channel.speaks() {
        Speaks::Never => "",
        Speaks::Events(_) | Speaks::Slack(_) | Speaks::Teams(_) | Speaks::Jira(_) | Speaks::Watched(_) => {
            "; its users may decide"
        }
        Speaks::Socket(_) => "; its users may decide, on a connection that the gateway keeps open",
    };
    format!("{} ({}) -> {}: {hears}{says}", spec.name, spec.kind, spec.place)
}

/// The targets of each wire: name, environment, and from where to where.
fn targets(config: &Config) -> [Vec<String>; 3] {
    let targets: Vec<String> = config
        .http
        .iter()
        .map(|target| {
            let around = target.classifier.surroundings();
            format!(
                "{} ({}) {} -> {}",
                around.target, around.environment, target.listen, target.origin.authority
            )
        })
        .collect();
    let databases: Vec<String> = config
        .postgres
        .iter()
        .map(|target| {
            let (name, around) = (target.name(), &target.sql.environment);
            format!("{name} ({around}) {} -> {}", target.listen, target.upstream())
        })
        .collect();
    let servers: Vec<String> = config
        .mcp
        .iter()
        .map(|target| {
            let around = target.classifier.surroundings();
            let (name, environment) = (&around.target, &around.environment);
            format!("{name} ({environment}) {}{} -> {}", target.listen, target.path, target.upstream())
        })
        .collect();
    let several = config.mcp_endpoints.iter().map(|endpoint| {
        let names: Vec<String> = endpoint.targets.iter().map(ToString::to_string).collect();
        format!("{} {}{} -> {}", endpoint.name, endpoint.listen, endpoint.path, names.join(", "))
    });
    [targets, databases, servers.into_iter().chain(several).collect()]
}
