//! A gateway that serves: the wires for agents, the console for people, the socket for the operator.
//! Each has its own listener; none shares credentials with another.

mod accept;
mod on_call;
mod signals;
mod source;
mod watch;

use crate::{
    authors,
    config::Config,
    failure::{Failure, chain},
    wiring::{self, Opened},
};
use countersign_core::PersonId;
use countersign_engine::{Gate, definitions, port::store::Health, rules, start, timers};
use countersign_identity::Directory;
use countersign_pep::{BoundListener, Doors, Serving as Wires};
use countersign_pep_http::{bodies::Bodies, config::HttpTarget, text::HttpTexts};
use countersign_pep_mcp::config::{McpTarget, SqlSection};
use countersign_pep_sql::{
    config::PostgresTarget,
    text::SqlTexts,
    understand::{Reader, ReaderLimits},
};
use countersign_policy::Bundle;
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch as cell,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How long running work may take to end after the gateway was told to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// What helps when the store can no longer be written.
const RESTART: &str = "restart the gateway: it recovers from what is durable";

/// Everything that runs. Dropping it without [`Serving::stop`] stops at once, as a crash would.
pub(crate) struct Serving {
    gate: Arc<Gate>,
    directory: Arc<Directory>,
    config: Arc<Config>,
    store: Arc<countersign_store::SqliteStore>,
    pub(crate) log_key: String,
    wires: Wires,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Tells when the store can no longer be written, or its log turns out not to hold.
pub(crate) struct StoreWatch {
    health: cell::Receiver<Health>,
    store: Arc<countersign_store::SqliteStore>,
    audited: bool,
}

impl StoreWatch {
    /// Checks every entry once, then waits until only a restart helps; says why the gateway must stop.
    pub(crate) async fn failed(&mut self) -> Failure {
        loop {
            if let Health::Poisoned(why) = &*self.health.borrow_and_update() {
                return Failure::new(format!("the store stopped: {why}")).hint(RESTART);
            }
            let store = Arc::clone(&self.store);
            tokio::select! {
                changed = self.health.changed() => if changed.is_err() {
                    return Failure::new("the store's writer has ended").hint(RESTART);
                },
                audit = async move { store.verify_all().await }, if !self.audited => match audit {
                    Ok(audited) => {
                        self.audited = true;
                        tracing::info!(entries = audited.entries, "the whole log holds");
                    }
                    Err(error) => {
                        return Failure::new(format!("the log does not hold: {}", chain(&error)))
                            .hint("keep this database for the investigation and restore one that verifies");
                    }
                },
            }
        }
    }
}

/// Finds who reads the requests of tools.
fn read_requests(mcp: &mut [McpTarget], http: &[HttpTarget]) -> Result<(), Failure> {
    for server in mcp {
        let requests: Vec<(String, String)> =
            server.requests().map(|(tool, request)| (tool.to_owned(), request.target.clone())).collect();
        for (tool, target) in requests {
            let known = http.iter().find(|known| known.classifier.surroundings().target.as_str() == target);
            let known =
                known.ok_or_else(|| Failure::new(format!("nobody reads the requests of `{tool}`")))?;
            server.read_by(&tool, Arc::new(HttpTexts::new(known)));
        }
    }
    Ok(())
}

/// Finds who reads the texts of SQL of tools.
fn read_texts(gate: &Arc<Gate>, mcp: &mut [McpTarget], postgres: &[PostgresTarget]) -> Result<(), Failure> {
    if mcp.iter().all(|server| server.sql().next().is_none()) {
        return Ok(());
    }
    let reader = Reader::start(ReaderLimits::default())
        .map_err(|error| Failure::of("the threads that read SQL cannot be started", &error))?;
    for server in mcp {
        let texts: Vec<(String, SqlSection)> =
            server.sql().map(|(tool, sql)| (tool.to_owned(), sql.clone())).collect();
        for (tool, SqlSection { target, database, user, .. }) in texts {
            let target = postgres.iter().find(|known| known.name().as_str() == target);
            let texts = target.and_then(|target| {
                SqlTexts::new(Arc::clone(gate), reader.clone(), target, &database, user.as_deref())
            });
            let texts = texts.ok_or_else(|| Failure::new(format!("nobody reads the SQL of `{tool}`")))?;
            server.read_by(&tool, Arc::new(texts));
        }
    }
    Ok(())
}

impl Serving {
    /// Opens every listener, then goes on with what was approved before.
    pub(crate) async fn start(opened: Opened) -> Result<Self, Failure> {
        // Ten thousand held connections need as many descriptors; what the system allows is what there is.
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        let Opened { config, gate, console, directory, store, log_key } = opened;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind(config.console_listen).await.map_err(|error| {
            Failure::of(&format!("the console cannot listen on `{}`", config.console_listen), &error)
                .hint("another program has that port: set `console.listen`")
        })?;
        let socket = operator_socket(&config)?;
        let mut config = config;
        let bodies = Arc::new(Bodies::new(&config.bodies, config.data.clone()));
        let (http, postgres) = (std::mem::take(&mut config.http), std::mem::take(&mut config.postgres));
        let mut mcp = std::mem::take(&mut config.mcp);
        read_texts(&gate, &mut mcp, &postgres)?;
        read_requests(&mut mcp, &http)?;
        let rosters = on_call::open(&directory, std::mem::take(&mut config.rosters)).await?;
        let mut doors = Doors::default();
        countersign_pep_http::listen(&mut doors, Arc::clone(&gate), http, bodies)
            .await
            .map_err(|error| Failure::of("the gateway cannot serve", &error))?;
        countersign_pep_sql::listen(&mut doors, Arc::clone(&gate), postgres)
            .await
            .map_err(|error| Failure::of("the gateway cannot serve", &error))?;
        countersign_pep_mcp::listen(
            &mut doors,
            Arc::clone(&gate),
            mcp,
            std::mem::take(&mut config.mcp_endpoints),
        )
        .await
        .map_err(|error| Failure::of("the gateway cannot serve", &error))?;
        let wires = doors.open();
        // Answered last: whoever finds the console ready finds everything ready.
        let pages = countersign_console::router(console.clone());
        tasks.spawn(accept::people(listener, pages, Arc::clone(&config.console_proxies), stop.clone()));
        tasks.spawn(accept::operator(socket, countersign_console::operator_router(console), stop.clone()));
        let config = Arc::new(config);
        tasks.spawn(timers::run(Arc::clone(&gate)));
        for channel in &config.channels {
            let (name, tell) = (channel.spec().name, Arc::clone(channel.tell()));
            tasks.spawn(countersign_reviewer::run(Arc::clone(&gate), name, tell));
            if let Some(watch) = channel.speaks().watch() {
                tasks.spawn(watch.run(Arc::clone(&gate)));
            }
            if let Some(socket) = channel.speaks().socket() {
                tasks.spawn(socket.clone().run(Arc::clone(&gate)));
            }
        }
        for following in rosters {
            tasks.spawn(following.run());
        }
        for (name, poll) in directory.polled() {
            tasks.spawn(signals::fetch(Arc::clone(&gate), Arc::clone(&directory), name, poll.every));
        }
        let kept = Arc::clone(&directory);
        tasks.spawn(async move { kept.keep_issuers().await });
        let (watched, people) = (Arc::clone(&gate), Arc::clone(&directory));
        tasks.spawn(watch::policies(watched, people, Arc::clone(&config), stop.clone()));
        start::resume(&gate)
            .await
            .map_err(|error| Failure::of("approved work could not be resumed", &error))?;
        Ok(Self { gate, directory, config, store, log_key, wires, stop, tasks })
    }

    /// Where each target is reached, HTTP first.
    pub(crate) fn listeners(&self) -> &[BoundListener] {
        self.wires.listeners()
    }

    /// What is printed once everything listens.
    pub(crate) fn banner(&self) -> String {
        let wires = self.listeners().iter().map(|bound| format!("  {:<20} {}\n", bound.target, bound.addr));
        format!(
            "countersign {} is ready\n\nconsole  {}\nlog key  {}\ntargets\n{}",
            env!("CARGO_PKG_VERSION"),
            self.config.console_url,
            self.log_key,
            wires.collect::<String>()
        )
    }

    pub(crate) fn store_ended(&self) -> StoreWatch {
        StoreWatch { health: self.store.health_changes(), store: Arc::clone(&self.store), audited: false }
    }

    /// Reads the policy files again; a bad bundle changes nothing.
    pub(crate) async fn reload_policy(&self) {
        reload(&self.gate, &self.directory, &self.config).await;
    }

    /// Takes nothing new, lets running work end within [`DRAIN`], records the stop.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.stop.cancel();
        self.wires.stop(DRAIN).await;
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        // A poisoned store cannot be told; it was said when that happened.
        if self.gate.store().health() == Health::Ready {
            start::stopped(&self.gate)
                .await
                .map_err(|error| Failure::of("the stop could not be recorded", &error))?;
        }
        let _ = std::fs::remove_file(self.config.socket());
        Ok(())
    }
}

pub(crate) async fn reload(gate: &Gate, directory: &Directory, config: &Config) {
    let known = definitions::all(gate);
    let vocabulary = wiring::with_accepted(&config.vocabulary, known.iter().map(AsRef::as_ref));
    let known = gate.policies().current().files_digest();
    let loaded = wiring::load_bundle(&config.policy, &vocabulary).and_then(|bundle| {
        let same = bundle.files_digest() == known;
        let changed_by = if same { BTreeSet::new() } else { authors::named(config, directory, &bundle)? };
        Ok((bundle, changed_by))
    });
    let outcome = match loaded {
        Ok((bundle, changed_by)) => put_in_force(gate, bundle, changed_by).await,
        Err(errors) => {
            tracing::error!("the policies were not reloaded: {}", wiring::policy_mistakes(&errors).message);
            start::rejected_bundle(gate, errors.len()).await
        }
    };
    if let Err(error) = outcome {
        tracing::error!(error = %countersign_engine::record::chain(&error), "the policies stay as they were");
    }
}

/// A change by somebody whose own side waits for a decision stays out until it is made.
async fn put_in_force(
    gate: &Gate,
    bundle: Bundle,
    changed_by: BTreeSet<PersonId>,
) -> Result<(), countersign_engine::Error> {
    for author in &changed_by {
        if let Err(own) = rules::may_change_policy(gate, *author).await? {
            let name = gate.identity().called(*author).unwrap_or_default();
            let approval = own.approval;
            tracing::error!(
                "the policies were not reloaded: {name} changed them, whose own side asked for approval `{approval}`; \
                 send SIGHUP once that is decided"
            );
            return start::rejected_bundle(gate, 1).await;
        }
    }
    start::put_in_force(gate, bundle, changed_by).await
}

fn operator_socket(config: &Config) -> Result<UnixListener, Failure> {
    let path = config.socket();
    let io =
        |error: std::io::Error| Failure::of(&format!("the operator's socket `{}`", path.display()), &error);
    // The store's lock is held: a socket that is still there belongs to a gateway that crashed.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(io)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}
