//! The configuration file: joins the sections of the rooms, and finds every mistake in one run.

mod channels;
mod doors;
mod issuers;
mod on_call;
mod providers;
mod read;
mod told;
mod transmitters;

use countersign_core::{Digest, EnvironmentName, GroupName, TargetName};
use countersign_engine::{Limits, outbox::Route};
use countersign_identity::{EmailAddress, Settings};
use countersign_pep::{Fault, Size, Span};
use countersign_pep_http::{
    bodies::BodiesSection,
    classify::DeclaredOperation,
    config::{HttpSection, HttpTarget},
    facts::{ALWAYS, FactType},
};
use countersign_pep_mcp::{
    OPERATIONS as MCP_OPERATIONS,
    config::{ArgumentType, McpEndpoint, McpEndpointSection, McpSection, McpTarget},
};
use countersign_pep_sql::{
    config::{PostgresSection, PostgresTarget},
    understand::SqlOperation,
};
use countersign_policy::{DeclaredTarget, FactType as PolicyFact, Vocabulary};
use countersign_reviewer::{ChannelConfig, ChannelSection, Declared, OnCallSection, Roster, RouteSection};
use ipnet::IpNet;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use issuers::IssuerSection;
pub(crate) use providers::ProviderSection;
pub(crate) use read::load;
pub(crate) use transmitters::TransmitterSection;

/// One mistake: where it stands, what is wrong, what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// File, line and column, or what overrides the file.
    pub(crate) at: Option<String>,
    /// The key, such as `http.billing.upstream`; empty where there is none.
    pub(crate) place: String,
    /// Which of the `[[http]]` sections it is in.
    pub(crate) item: Option<usize>,
    pub(crate) why: String,
    pub(crate) hint: String,
}

impl Mistake {
    pub(crate) fn new(place: impl Into<String>, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { at: None, place: place.into(), item: None, why: why.into(), hint: hint.into() }
    }

    fn of(fault: Fault, item: usize) -> Self {
        Self { item: Some(item), ..Self::new(fault.place, fault.why, fault.remedy) }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.at.iter().chain(Some(&self.place).filter(|place| !place.is_empty()));
        places.into_iter().try_for_each(|place| write!(out, "{place}: "))?;
        write!(out, "{}\n  hint: {}", self.why, self.hint)
    }
}

/// The gateway itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GatewaySection {
    /// Names the ledger for ever; part of every checkpoint.
    #[serde(default = "default_name")]
    pub(crate) name: String,
    /// Database, keys and the operator's socket.
    #[serde(default = "default_data")]
    pub(crate) data: PathBuf,
    /// The high-water mark; best on another disk than `data`.
    #[serde(default = "default_mark")]
    pub(crate) mark: PathBuf,
}

/// Where people decide.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ConsoleSection {
    #[serde(default = "default_console")]
    pub(crate) listen: SocketAddr,
    /// What people type into their browser. Passkeys are bound to its host.
    pub(crate) url: Option<String>,
    /// Addresses or networks of the proxies before it, whose word is taken for where a request comes from.
    #[serde(default)]
    pub(crate) proxies: BTreeSet<String>,
}

/// The policy files.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PolicySection {
    /// A `.cedar` file, or a folder of them.
    #[serde(default = "default_policy")]
    pub(crate) path: PathBuf,
    /// Labels policies may name beside those of the targets.
    #[serde(default)]
    pub(crate) labels: BTreeSet<String>,
    /// Environments policies may name beside those of the targets.
    #[serde(default)]
    pub(crate) environments: BTreeSet<String>,
    /// The file that names who changed the policy.
    #[serde(default)]
    pub(crate) changed_by: Option<PathBuf>,
    /// How long they have no vote on what is asked under it.
    #[serde(default)]
    pub(crate) cooling_off: Option<Span>,
}

/// Groups and the rules around them.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PeopleSection {
    /// Every group of people or agents there is.
    #[serde(default)]
    pub(crate) groups: BTreeSet<String>,
    /// How long a session lasts without being used, and at most.
    #[serde(default)]
    pub(crate) session_idle: Option<Span>,
    #[serde(default)]
    pub(crate) session_end: Option<Span>,
    /// How long whoever comes through a provider is here after it last vouched for them.
    #[serde(default)]
    pub(crate) provider_again: Option<Span>,
    /// Addresses of those who are administrators from the beginning.
    #[serde(default)]
    pub(crate) administrators: BTreeSet<String>,
    /// The groups a provisioning client speaks for: what it calls each, and what it is here.
    #[serde(default)]
    pub(crate) scim_groups: BTreeMap<String, String>,
    /// How long people brought in by the requester's side have no vote for it.
    pub(crate) cooling_off: Option<Span>,
}

/// How much is accepted, kept and waited for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct LimitsSection {
    pub(crate) pending_per_principal: Option<usize>,
    pub(crate) keep: Option<Size>,
    pub(crate) retention: Option<Span>,
    pub(crate) run_for: Option<Span>,
}

/// The whole file.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) gateway: Option<GatewaySection>,
    pub(crate) console: Option<ConsoleSection>,
    pub(crate) policy: Option<PolicySection>,
    pub(crate) people: Option<PeopleSection>,
    pub(crate) limits: Option<LimitsSection>,
    pub(crate) bodies: Option<BodiesSection>,
    /// Each with its number in the file.
    pub(crate) http: Vec<(usize, HttpSection)>,
    pub(crate) postgres: Vec<(usize, PostgresSection)>,
    pub(crate) issuers: Vec<(usize, IssuerSection)>,
    pub(crate) sign_in: Vec<(usize, ProviderSection)>,
    pub(crate) signals: Vec<(usize, TransmitterSection)>,
    pub(crate) mcp: Vec<(usize, McpSection)>,
    pub(crate) mcp_endpoint: Vec<(usize, McpEndpointSection)>,
    pub(crate) channel: Vec<(usize, ChannelSection)>,
    pub(crate) on_call: Vec<(usize, OnCallSection)>,
    pub(crate) route: Vec<(usize, RouteSection)>,
}

/// Everything the gateway runs on, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// The file it came from.
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    pub(crate) mark: PathBuf,
    pub(crate) console_listen: SocketAddr,
    pub(crate) console_proxies: Arc<[IpNet]>,
    pub(crate) console_url: String,
    pub(crate) settings: Settings,
    pub(crate) policy: PathBuf,
    /// The file that names who changed the policy; `None`: nobody is named.
    pub(crate) policy_changed_by: Option<PathBuf>,
    pub(crate) groups: BTreeSet<GroupName>,
    pub(crate) limits: Limits,
    pub(crate) bodies: BodiesSection,
    pub(crate) http: Vec<HttpTarget>,
    pub(crate) postgres: Vec<PostgresTarget>,
    pub(crate) mcp: Vec<McpTarget>,
    pub(crate) mcp_endpoints: Vec<McpEndpoint>,
    pub(crate) channels: Vec<ChannelConfig>,
    pub(crate) rosters: Vec<Roster>,
    pub(crate) routes: Vec<Route>,
    pub(crate) vocabulary: Vocabulary,
    /// Over the file's bytes as they were read, overrides included.
    pub(crate) digest: Digest,
}

impl Config {
    /// Where the operator's commands reach a running gateway.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join("operator.sock")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("countersign.db")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.data.join("keys")
    }
}

fn check(file: File, path: &Path, digest: Digest) -> Result<Config, Vec<Mistake>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut mistakes = Vec::new();
    let gateway = file.gateway.unwrap_or_else(|| GatewaySection {
        name: default_name(),
        data: default_data(),
        mark: default_mark(),
    });
    let console = file.console.unwrap_or(ConsoleSection {
        listen: default_console(),
        url: None,
        proxies: BTreeSet::new(),
    });
    let policy = file.policy.unwrap_or_else(|| PolicySection {
        path: default_policy(),
        labels: BTreeSet::new(),
        environments: BTreeSet::new(),
        changed_by: None,
        cooling_off: None,
    });
    if gateway.name.is_empty() || gateway.name.contains([' ', '+', '\n']) {
        let why = format!("`{}` cannot name a ledger", gateway.name);
        let hint = "use a name without spaces or `+`, such as `countersign.example.com/prod`";
        mistakes.push(Mistake::new("gateway.name", why, hint));
    }
    let url = console.url.unwrap_or_else(|| format!("http://localhost:{}", console.listen.port()));
    let settings = Settings::new(&url).map_err(|error| {
        let hint =
            "write scheme, host and port as people type them, such as `https://countersign.example.com`";
        mistakes.push(Mistake::new("console.url", error.to_string(), hint));
    });
    let proxies = checked_proxies(&console.proxies, &mut mistakes);
    let people = file.people.unwrap_or_default();
    let groups = checked_names(&people.groups, "people.groups", GroupName::new, &mut mistakes);
    let issuers = issuers::check(file.issuers, folder, &groups, &mut mistakes);
    let providers = providers::check(file.sign_in, folder, &groups, &mut mistakes);
    let transmitters = transmitters::check(file.signals, folder, &providers, &mut mistakes);
    let read = |text: String| EmailAddress::new(&text);
    let administrators = checked_names(&people.administrators, "people.administrators", read, &mut mistakes);
    let scim_groups = checked_scim_groups(people.scim_groups, &groups, &mut mistakes);
    let rosters = on_call::check(file.on_call, folder, &groups, (&scim_groups, &providers), &mut mistakes);
    let environments =
        checked_names(&policy.environments, "policy.environments", EnvironmentName::new, &mut mistakes);
    let http = checked_targets(file.http, |section| section.check(folder), &mut mistakes);
    let postgres = checked_targets(file.postgres, |section| section.check(folder), &mut mistakes);
    let mcp = checked_targets(file.mcp, |section| section.check(folder), &mut mistakes);
    let known = mcp.iter().map(|(_, target)| target.classifier.surroundings().target.clone()).collect();
    let endpoints =
        checked_targets(file.mcp_endpoint, |section| section.check(folder, &known), &mut mistakes);
    let channels = channels::checked(file.channel, folder, &groups, &mut mistakes);
    doors::check(console.listen, (&http, &postgres, &mcp, &endpoints), &issuers, &mut mistakes);
    let bodies = file.bodies.unwrap_or_default();
    check_bodies(&bodies, &http, &mut mistakes);
    let http: Vec<HttpTarget> = http.into_iter().map(|(_, target)| target).collect();
    let postgres: Vec<PostgresTarget> = postgres.into_iter().map(|(_, target)| target).collect();
    let mut vocabulary = vocabulary(&http, &groups, environments, policy.labels);
    let mcp: Vec<McpTarget> = mcp.into_iter().map(|(_, target)| target).collect();
    for target in &postgres {
        declare_database(target, &mut vocabulary);
    }
    for target in &mcp {
        declare_server(target, &http, &mut vocabulary);
    }
    vocabulary.channels = channels.iter().map(|channel| channel.spec().name).collect();
    let vouches = channels.iter().filter(|channel| channel.vouches().is_some());
    vocabulary.ticket_channels = vouches.map(|channel| channel.spec().name).collect();
    let routes = checked_routes(file.route, &vocabulary, &mut mistakes);
    let (Ok(mut settings), true) = (settings, mistakes.is_empty()) else { return Err(mistakes) };
    settings.issuers = issuers;
    settings.providers = providers;
    settings.transmitters = transmitters;
    settings.administrators = administrators;
    (settings.scim_groups, settings.on_call) = (scim_groups, on_call::groups(&rosters));
    let within = |span: Option<Span>, base: std::time::Duration| span.map_or(base, |span| span.0);
    settings.session_idle = within(people.session_idle, settings.session_idle);
    settings.session_end = within(people.session_end, settings.session_end);
    settings.provider_again = within(people.provider_again, settings.provider_again);
    Ok(Config {
        path: path.to_owned(),
        name: gateway.name,
        data: folder.join(gateway.data),
        mark: folder.join(gateway.mark),
        console_listen: console.listen,
        console_proxies: proxies,
        console_url: url.trim_end_matches('/').to_owned(),
        settings,
        policy: folder.join(policy.path),
        policy_changed_by: policy.changed_by.map(|file| folder.join(file)),
        groups,
        limits: limits(&file.limits.unwrap_or_default(), people.cooling_off, policy.cooling_off),
        bodies,
        http,
        postgres,
        mcp,
        mcp_endpoints: endpoints.into_iter().map(|(_, endpoint)| endpoint).collect(),
        channels,
        rosters,
        routes,
        vocabulary,
        digest,
    })
}

/// What policies may say of a database.
fn declare_database(target: &PostgresTarget, vocabulary: &mut Vocabulary) {
    let sql = &target.sql;
    vocabulary.environments.insert(sql.environment.clone());
    vocabulary.labels.extend(sql.labels.iter().cloned());
    vocabulary.labels.extend(sql.tables.iter().flat_map(|table| table.labels.iter().cloned()));
    let declared = DeclaredTarget { environment: sql.environment.clone(), labels: sql.labels.clone() };
    vocabulary.targets.insert(sql.target.clone(), declared);
    vocabulary.operations.extend(sql_operations(&sql.target));
}

/// The targets of one wire that can be used, each with its number in the file.
fn checked_targets<S, T>(
    sections: Vec<(usize, S)>,
    check: impl Fn(S) -> Result<T, Vec<Fault>>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(usize, T)> {
    let mut targets = Vec::new();
    for (number, section) in sections {
        match check(section) {
            Ok(target) => targets.push((number, target)),
            Err(faults) => mistakes.extend(faults.into_iter().map(|fault| Mistake::of(fault, number))),
        }
    }
    targets
}

/// Groups that are declared, each spoken for under one name.
fn checked_scim_groups(
    sections: BTreeMap<String, String>,
    declared: &BTreeSet<GroupName>,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, GroupName> {
    const PLACE: &str = "people.scim_groups";
    let mut groups: BTreeMap<String, GroupName> = BTreeMap::new();
    for (theirs, ours) in sections {
        let Some(group) = declared.iter().find(|group| group.as_str() == ours) else {
            let hint = "declare it in `people.groups`";
            mistakes.push(Mistake::new(PLACE, format!("there is no group `{ours}`"), hint));
            continue;
        };
        let same =
            |(name, known): (&String, &GroupName)| known == group || name.eq_ignore_ascii_case(&theirs);
        if theirs.trim().is_empty() || groups.iter().any(same) {
            let why = format!("`{theirs}` or `{ours}` is there twice, or has no name");
            mistakes.push(Mistake::new(PLACE, why, "give each group one name of the directory's"));
            continue;
        }
        groups.insert(theirs, group.clone());
    }
    groups
}

/// The routes that can be used, each with a name of its own.
fn checked_routes(
    sections: Vec<(usize, RouteSection)>,
    vocabulary: &Vocabulary,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Route> {
    let targets = vocabulary.targets.keys().cloned().collect();
    let declared = Declared {
        groups: &vocabulary.groups,
        targets: &targets,
        environments: &vocabulary.environments,
        channels: &vocabulary.channels,
    };
    unlike(sections.iter().map(|(number, section)| (*number, &*section.name)), "route", mistakes);
    let routes = checked_targets(sections, |section| section.check(declared), mistakes);
    routes.into_iter().map(|(_, route)| route).collect()
}

/// That no two sections of this kind have the same name.
fn unlike<'n>(
    names: impl Iterator<Item = (usize, &'n str)>,
    kind: &'static str,
    mistakes: &mut Vec<Mistake>,
) {
    let mut seen = BTreeSet::new();
    for (number, name) in names.filter(|(_, name)| !seen.insert(*name)) {
        let (place, why) = (format!("{kind}.{name}.name"), format!("two {kind}s are named `{name}`"));
        let mistake = Mistake::new(place, why, format!("give each {kind} a name of its own"));
        mistakes.push(Mistake { item: Some(number), ..mistake });
    }
}

fn checked_proxies(texts: &BTreeSet<String>, mistakes: &mut Vec<Mistake>) -> Arc<[IpNet]> {
    let mut proxies = Vec::new();
    for text in texts {
        if let Ok(net) = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>()) {
            proxies.push(net);
        } else {
            let why = format!("`{text}` is neither an address nor a network");
            mistakes.push(Mistake::new("console.proxies", why, "write it as `10.0.0.5` or `10.0.0.0/8`"));
        }
    }
    proxies.into()
}

fn checked_names<T: Ord, E: fmt::Display>(
    texts: &BTreeSet<String>,
    place: &str,
    read: impl Fn(String) -> Result<T, E>,
    mistakes: &mut Vec<Mistake>,
) -> BTreeSet<T> {
    let mut names = BTreeSet::new();
    for text in texts {
        match read(text.clone()) {
            Ok(name) => {
                names.insert(name);
            }
            Err(error) => mistakes.push(Mistake::new(place, error.to_string(), "choose another name")),
        }
    }
    names
}

/// What SQL can do, in policy's words, at a target where it is sent.
fn sql_operations(target: &TargetName) -> impl Iterator<Item = countersign_policy::DeclaredOperation> + '_ {
    SqlOperation::ALL.into_iter().map(|operation| countersign_policy::DeclaredOperation {
        target: target.clone(),
        name: operation.as_str().into(),
        class: operation.class(),
        facts: BTreeMap::new(),
    })
}

/// An MCP server in policy's words: what every one offers, and its declared tools with their arguments.
fn declare_server(target: &McpTarget, http: &[HttpTarget], vocabulary: &mut Vocabulary) {
    let around = target.classifier.surroundings();
    vocabulary.environments.insert(around.environment.clone());
    vocabulary.labels.extend(target.classifier.labels());
    let declared = DeclaredTarget { environment: around.environment.clone(), labels: around.labels.clone() };
    vocabulary.targets.insert(around.target.clone(), declared);
    vocabulary.mcp.insert(around.target.clone());
    let own = MCP_OPERATIONS.iter().map(|(name, class)| ((*name).to_owned(), *class, BTreeMap::new()));
    let tools = target.classifier.tools().filter_map(|tool| {
        let facts = tool.arguments.iter().map(|(name, given)| (name.clone(), policy_type(*given))).collect();
        Some((tool.name.clone(), tool.class?, facts))
    });
    if target.sql().next().is_some() {
        vocabulary.operations.extend(sql_operations(&around.target));
    }
    let asked: BTreeSet<&str> = target.requests().map(|(_, request)| request.target.as_str()).collect();
    for api in http.iter().filter(|api| asked.contains(api.classifier.surroundings().target.as_str())) {
        vocabulary.labels.extend(api.classifier.labels());
        vocabulary.operations.extend(api.classifier.declared().into_iter().map(|operation| {
            // The same operation, asked for by another way.
            let own = declared_operation(operation);
            let name = countersign_pep_http::text::named(own.target.as_str(), &own.name);
            countersign_policy::DeclaredOperation { target: around.target.clone(), name, ..own }
        }));
    }
    let texts = target.text_operations().into_iter().map(|(name, class)| (name, class, BTreeMap::new()));
    vocabulary.operations.extend(own.chain(tools).chain(texts).map(|(name, class, facts)| {
        let target = around.target.clone();
        countersign_policy::DeclaredOperation { target, name, class, facts }
    }));
}

/// An argument of a tool in policy's words.
pub(crate) const fn policy_type(kind: ArgumentType) -> PolicyFact {
    match kind {
        ArgumentType::Text => PolicyFact::String,
        ArgumentType::Number => PolicyFact::Long,
        ArgumentType::Flag => PolicyFact::Bool,
        ArgumentType::TextSet => PolicyFact::SetOfString,
    }
}

fn check_bodies(bodies: &BodiesSection, http: &[(usize, HttpTarget)], mistakes: &mut Vec<Mistake>) {
    let faults = bodies.faults();
    let own =
        faults.iter().map(|fault| Mistake::new(fault.place.clone(), fault.why.clone(), fault.remedy.clone()));
    mistakes.extend(own);
    // A limit that is too small already makes every target's too large.
    if faults.is_empty() {
        mistakes.extend(http.iter().filter_map(|(number, target)| {
            let name = target.classifier.surroundings().target.as_str();
            bodies.limit_fault(name, target.body_limit()).map(|fault| Mistake::of(fault, *number))
        }));
    }
}

fn vocabulary(
    http: &[HttpTarget],
    groups: &BTreeSet<GroupName>,
    mut environments: BTreeSet<EnvironmentName>,
    mut labels: BTreeSet<String>,
) -> Vocabulary {
    let mut vocabulary = Vocabulary { groups: groups.clone(), ..Vocabulary::default() };
    for target in http {
        let around = target.classifier.surroundings();
        environments.insert(around.environment.clone());
        labels.extend(target.classifier.labels());
        let declared =
            DeclaredTarget { environment: around.environment.clone(), labels: around.labels.clone() };
        vocabulary.targets.insert(around.target.clone(), declared);
        vocabulary.operations.extend(target.classifier.declared().into_iter().map(declared_operation));
    }
    vocabulary.environments = environments;
    vocabulary.labels = labels;
    vocabulary
}

/// An operation of a wire adapter in policy's words. What every request has is not declared again.
fn declared_operation(operation: DeclaredOperation) -> countersign_policy::DeclaredOperation {
    let kind = |kind: FactType| match kind {
        FactType::Text => PolicyFact::String,
        FactType::Number => PolicyFact::Long,
        FactType::Flag | FactType::Present => PolicyFact::Bool,
        FactType::TextSet => PolicyFact::SetOfString,
    };
    let own = operation.facts.into_iter().filter(|(name, _)| ALWAYS.iter().all(|(always, _)| name != always));
    countersign_policy::DeclaredOperation {
        target: operation.target,
        name: operation.name,
        class: operation.class,
        facts: own.map(|(name, fact)| (name, kind(fact))).collect(),
    }
}

fn limits(section: &LimitsSection, cooling_off: Option<Span>, authors: Option<Span>) -> Limits {
    let base = Limits::default();
    Limits {
        pending_per_principal: section.pending_per_principal.unwrap_or(base.pending_per_principal),
        keep_bytes: section.keep.map_or(base.keep_bytes, |size| size.0 as u64),
        retention: section.retention.map_or(base.retention, |span| span.0),
        cooling_off: cooling_off.map_or(base.cooling_off, |span| span.0),
        author_cooling_off: authors.map_or(base.author_cooling_off, |span| span.0),
        run_for: section.run_for.map_or(base.run_for, |span| span.0),
    }
}

fn default_name() -> String {
    "countersign.local".into()
}

fn default_data() -> PathBuf {
    "data".into()
}

fn default_mark() -> PathBuf {
    "mark/high-water".into()
}

const fn default_console() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7100)
}

fn default_policy() -> PathBuf {
    "policy".into()
}
