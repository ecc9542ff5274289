//! Connects the rooms: from a checked configuration to an engine over its store.

mod channels;

use crate::{
    authors,
    config::Config,
    failure::{Failure, chain},
    system::{SystemClock, SystemEntropy},
};
use countersign_console::{Console, Keys, Ways};
use countersign_core::{GatewayId, PersonId};
use countersign_engine::{
    Gate, Parts, Who,
    definitions::{self, Known},
    gate::Reachable,
    journal::Journal,
    outbox::Channels,
    port::{
        store::{Change, Expect, Find, Kind, ReadError, Store},
        upstream::{Target, Upstream},
    },
    preapproval::Systems,
    rules,
    start::{self, Opening},
};
use countersign_identity::Directory;
use countersign_ledger::{LogKeys, Sealing};
use countersign_pep_http::upstream::HttpUpstream;
use countersign_pep_mcp::{tools::argument_types, upstream::McpUpstream};
use countersign_pep_sql::upstream::PostgresUpstream;
use countersign_policy::{Bundle, Policies, PolicyError, Vocabulary, sources_from_path};
use countersign_reviewer::ChannelConfig;
use countersign_store::{OnRollback, OpenError, SqliteOptions, SqliteStore};
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

/// A gateway, opened but not serving yet.
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) gate: Arc<Gate>,
    pub(crate) console: Console,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Arc<SqliteStore>,
    /// The log's public key.
    pub(crate) log_key: String,
}

/// Opens store, directory, policies and engine, in this order; says what to do about whatever does not open.
pub(crate) async fn open(config: Config) -> Result<Opened, Failure> {
    let keys = open_keys(&config)?;
    let (store, keys) = open_store(&config, keys, OnRollback::Refuse)?;
    let store = Arc::new(store);
    let journal = journal(&config, &store)?;
    let id = journal.sealing().gateway;
    let who = Who { id, epoch: store.epoch(), console_url: config.console_url.clone() };
    let directory = Directory::open(journal.clone(), config.groups.clone(), config.settings.clone())
        .await
        .map_err(|error| Failure::of("people and agents could not be read", &error))?;
    let unread = |error: ReadError| Failure::of("what is accepted of tools cannot be read", &error);
    let records = definitions::stored(&*store).await.map_err(unread)?;
    let known: Vec<Known> = records.iter().map(Known::read).collect::<Result<_, _>>().map_err(unread)?;
    let vocabulary = with_accepted(&config.vocabulary, known.iter());
    let bundle = load_bundle(&config.policy, &vocabulary).map_err(|errors| policy_mistakes(&errors))?;
    let policy_changed_by =
        changed_since(&store, &bundle, || authors::named(&config, &directory, &bundle)).await?;
    let attach_secret = attach_secret(&journal).await?;
    let parts = Parts {
        journal,
        policies: Arc::new(Policies::new(bundle)),
        identity: Arc::clone(&directory) as Arc<dyn countersign_engine::port::identity::Identity>,
        targets: targets(&config)?,
        channels: Channels::new(config.channels.iter().map(ChannelConfig::spec))
            .routed(config.routes.clone()),
        tickets: Systems::new(
            config
                .channels
                .iter()
                .filter_map(|channel| Some((channel.spec().name, Arc::clone(channel.vouches()?)))),
        ),
        limits: config.limits.clone(),
        who,
        attach_secret,
    };
    let opening = Opening {
        version: env!("CARGO_PKG_VERSION").into(),
        configuration: config.digest,
        log_opened: keys.opened().map_err(|error| Failure::of("the log's keys cannot be used", &error))?,
        policy_changed_by,
    };
    let gate = start::open(parts, opening)
        .await
        .map_err(|error| Failure::of("the gateway could not start", &error))?;
    let log_key = keys.log().verifier().to_string();
    let shown = Keys {
        origin: config.name.clone(),
        log_key: log_key.clone(),
        gateway_key: keys.gateway().verifier().to_string(),
    };
    let console = {
        let (gate, directory) = (Arc::clone(&gate), Arc::clone(&directory));
        let ways = Ways {
            signers: channels::signers(&config),
            doors: channels::doors(&config, &gate)?,
            devices: channels::devices(&config, &gate)?,
        };
        Console::with_ways(gate, directory, shown, ways)
    };
    Ok(Opened { config, gate, console, directory, store, log_key })
}

/// Who changed the policy since the last run: asked only where there was one, with another policy.
async fn changed_since(
    store: &SqliteStore,
    bundle: &Bundle,
    named: impl FnOnce() -> Result<BTreeSet<PersonId>, Vec<PolicyError>>,
) -> Result<BTreeSet<PersonId>, Failure> {
    let last = rules::last(store)
        .await
        .map_err(|error| Failure::of("the policy of the last run cannot be read", &error))?;
    let same = last.is_none_or(|last| match last.files {
        Some(files) => files == bundle.files_digest(),
        None => last.bundle == bundle.digest(),
    });
    if same { Ok(BTreeSet::new()) } else { named().map_err(|errors| policy_mistakes(&errors)) }
}

/// Both keys of the log, made at first use.
pub(crate) fn open_keys(config: &Config) -> Result<Arc<LogKeys>, Failure> {
    private_folder(&config.data)?;
    private_folder(&config.keys())?;
    if let Some(folder) = config.mark.parent() {
        private_folder(folder)?;
    }
    let keys = LogKeys::open(&config.keys(), &config.name);
    keys.map(Arc::new).map_err(|error| Failure::of("the log's keys could not be opened", &error))
}

/// Opens the database; finishes a key rotation that a crash interrupted.
pub(crate) fn open_store(
    config: &Config,
    keys: Arc<LogKeys>,
    on_rollback: OnRollback,
) -> Result<(SqliteStore, Arc<LogKeys>), Failure> {
    let open = |keys: &Arc<LogKeys>| {
        let options = SqliteOptions::new(config.database(), &config.mark, Arc::clone(keys));
        SqliteStore::open(&SqliteOptions { on_rollback, ..options })
    };
    let folder = config.keys();
    let rotation = |error: &dyn std::error::Error| Failure::of("a key rotation could not be finished", error);
    let staged = LogKeys::staged(&folder, &config.name).map_err(|error| rotation(&error))?.map(Arc::new);
    match (open(&keys), staged) {
        (Ok(store), None) => Ok((store, keys)),
        (Ok(store), Some(_)) => {
            countersign_ledger::keys::discard(&folder).map_err(|error| rotation(&error))?;
            Ok((store, keys))
        }
        (Err(OpenError::Keys(_)), Some(staged)) => {
            LogKeys::promote(&folder).map_err(|error| rotation(&error))?;
            Ok((open(&staged).map_err(|error| not_opened(&error))?, staged))
        }
        (Err(error), _) => Err(not_opened(&error)),
    }
}

fn not_opened(error: &OpenError) -> Failure {
    let text = chain(error);
    match text.split_once("\n\nhint: ") {
        Some((message, hint)) => Failure::new(message).hint(hint),
        None => Failure::new(text),
    }
}

/// Reads and checks the policy files against what the configuration declares, and what is accepted of tools.
pub(crate) fn load_bundle(path: &Path, vocabulary: &Vocabulary) -> Result<Bundle, Vec<PolicyError>> {
    sources_from_path(path).and_then(|sources| Bundle::load(sources, vocabulary))
}

/// The vocabulary with the arguments that accepted descriptions of declared tools name.
pub(crate) fn with_accepted<'k>(
    vocabulary: &Vocabulary,
    known: impl Iterator<Item = &'k Known>,
) -> Vocabulary {
    let mut vocabulary = vocabulary.clone();
    for known in known {
        let tool = vocabulary
            .operations
            .iter_mut()
            .find(|operation| operation.target == known.target && operation.name == known.tool);
        let Some(tool) = tool.filter(|_| vocabulary.mcp.contains(&known.target)) else { continue };
        // What was accepted before keeps its words, so that accepting another description breaks no rule.
        for (name, kind) in known.trusted().flat_map(|version| argument_types(&version.text)) {
            tool.facts.entry(name).or_insert(crate::config::policy_type(kind));
        }
    }
    vocabulary
}

/// What is accepted of tools, as the store holds it; nothing where there is no store yet.
pub(crate) fn peek_accepted(config: &Config) -> Result<Vec<Known>, Failure> {
    let unread = |error: ReadError| Failure::of("what is accepted of tools cannot be read", &error);
    if config.vocabulary.mcp.is_empty() || !config.database().exists() {
        return Ok(Vec::new());
    }
    let find = Find { keys: vec![("known", "yes".into())], before: None, limit: 100_000 };
    let records = countersign_store::peek(&config.database(), Kind::Definition, &find).map_err(unread)?;
    records.iter().map(Known::read).collect::<Result<_, _>>().map_err(unread)
}

/// Every mistake of the policy files, as one failure.
pub(crate) fn policy_mistakes(errors: &[PolicyError]) -> Failure {
    let list = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Failure::usage(format!("{} in the policies:\n{list}", counted(errors.len(), "mistake")))
        .hint("mend them and run `countersign policy check`")
}

/// `1 mistake`, `3 mistakes`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn targets(config: &Config) -> Result<Vec<Reachable>, Failure> {
    let one = |target: &countersign_pep_http::config::HttpTarget| {
        let around = target.classifier.surroundings();
        let known = Target {
            name: around.target.clone(),
            environment: around.environment.clone(),
            wire: "http".into(),
            credential_profile: target.credential_profile.clone(),
        };
        let way = HttpUpstream::new(target)
            .map_err(|error| Failure::of(&format!("target `{}` cannot be used", known.name), &error))?;
        Ok((known, Arc::new(way) as Arc<dyn Upstream>))
    };
    let databases = config.postgres.iter().map(|target| {
        let known = Target {
            name: target.name().clone(),
            environment: target.sql.environment.clone(),
            wire: "postgres".into(),
            credential_profile: target.credential_profile.clone(),
        };
        Ok((known, Arc::new(PostgresUpstream) as Arc<dyn Upstream>))
    });
    let servers = config.mcp.iter().map(|target| {
        let around = target.classifier.surroundings();
        let known = Target {
            name: around.target.clone(),
            environment: around.environment.clone(),
            wire: "mcp".into(),
            credential_profile: target.credential_profile.clone(),
        };
        target
            .check_credential()
            .map_err(|error| Failure::of(&format!("target `{}` cannot be used", known.name), &error))?;
        Ok((known, Arc::new(McpUpstream::new(target)) as Arc<dyn Upstream>))
    });
    config.http.iter().map(one).chain(databases).chain(servers).collect()
}

/// Who this gateway is, kept beside its keys for as long as its data lives.
fn gateway_id(data: &Path) -> Result<GatewayId, Failure> {
    let path = data.join("gateway-id");
    let io = |error: std::io::Error| Failure::of(&format!("`{}` cannot be used", path.display()), &error);
    if path.exists() {
        let text = fs::read_to_string(&path).map_err(io)?;
        return text.trim().parse().map_err(|error| {
            Failure::of(&format!("`{}` is not a gateway id", path.display()), &error)
                .hint("restore the file from a backup, or remove it to become a new gateway")
        });
    }
    let mut random = [0; 16];
    countersign_engine::port::clock::Entropy::fill(&SystemEntropy, &mut random);
    let now = countersign_engine::port::clock::Clock::now(&SystemClock);
    let id = GatewayId::from_parts(now.unix_ms(), u128::from_be_bytes(random));
    // Whole or not there: who is killed in between leaves nothing that keeps the next one from starting.
    let partial = data.join("gateway-id.partial");
    let begun = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
    let mut file = begun.map_err(io)?;
    writeln!(file, "{id}").and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&partial, &path).and_then(|()| fs::File::open(data)?.sync_all()).map_err(io)?;
    Ok(id)
}

async fn attach_secret(journal: &Journal) -> Result<[u8; 32], Failure> {
    const ID: &str = "attach-secret";
    let read = |error: &dyn std::error::Error| Failure::of("the store could not be read", error);
    if let Some(record) = journal.store().fetch(Kind::Meta, ID).await.map_err(|error| read(&error))? {
        return record.doc.as_ref().try_into().map_err(|error: std::array::TryFromSliceError| read(&error));
    }
    let secret: [u8; 32] = journal.random();
    let doc = bytes::Bytes::copy_from_slice(&secret);
    let put = Change::Put { kind: Kind::Meta, id: ID.into(), expect: Expect::Absent, doc, keys: vec![] };
    journal
        .commit(vec![put], vec![])
        .await
        .map_err(|error| Failure::of("the store could not be written", &error))?;
    Ok(secret)
}

/// A way to write for commands that need no engine.
pub(crate) fn journal(config: &Config, store: &Arc<SqliteStore>) -> Result<Journal, Failure> {
    let sealing = Sealing { origin: config.name.clone(), gateway: gateway_id(&config.data)? };
    let shared: Arc<dyn Store> = Arc::clone(store) as Arc<dyn Store>;
    Ok(Journal::new(shared, Arc::new(SystemClock), Arc::new(SystemEntropy), sealing))
}

fn private_folder(path: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::of(&format!("the folder `{}` cannot be made", path.display()), &error))
}
