//! `countersign log`: the ledger's keys, its own check, restores, tiles and erasure. `audit`, `rotate-keys` and
//! `accept-rollback` want the gateway stopped.

mod results;

use crate::{
    cli::{LogCommand, Output},
    config::Config,
    failure::Failure,
    operator::Door,
    output::{self, text},
    wiring,
};
use countersign_engine::{journal::Note, port::store::Commit};
use countersign_ledger::{
    LogKeys,
    event::{Actor, Event},
};
use countersign_store::OnRollback;
use http::Method;
use serde_json::json;
use std::{path::Path, sync::Arc};

pub(super) async fn run(config: Config, command: LogCommand, output: Output) -> Result<(), Failure> {
    match command {
        LogCommand::Key => {
            let key = wiring::open_keys(&config)?.log().verifier().to_string();
            output::show(output, &json!({"log_key": key}), |_| key.clone())
        }
        LogCommand::Audit => {
            let (store, _) = wiring::open_store(&config, wiring::open_keys(&config)?, OnRollback::Refuse)?;
            let audited = store.verify_all().await.map_err(|error| {
                Failure::not_as_promised(error.to_string())
                    .hint("keep this database for the investigation and restore one that verifies")
            })?;
            let told = json!({"entries": audited.entries, "batches": audited.batches});
            output::show(output, &told, |_| {
                format!(
                    "{} in {} hold.",
                    wiring::counted(usize::try_from(audited.entries).unwrap_or(usize::MAX), "entry"),
                    wiring::counted(usize::try_from(audited.batches).unwrap_or(usize::MAX), "batch")
                )
            })
        }
        LogCommand::Tiles { folder } => tiles(config, &folder, output).await,
        LogCommand::Redact { entry, paths, reason } => {
            let body = json!({"entry": entry, "paths": paths, "reason": reason});
            let done = Door::open(config).await?.call(Method::POST, "/api/v1/ledger/redact", &body).await?;
            output::show(output, &done, |_| {
                format!("Erased from {entry}: {}. Every proof stands.", paths.join(", "))
            })
        }
        LogCommand::Results(wanted) => results::show(config, wanted, output).await,
        LogCommand::RotateKeys => rotate(config, output).await,
        LogCommand::AcceptRollback => {
            let keys = wiring::open_keys(&config)?;
            let (store, _) = wiring::open_store(&config, keys, OnRollback::Accept)?;
            let Some(accepted) = store.accepted_rollback() else {
                return Err(Failure::new("the log is not behind its high-water mark; nothing was changed"));
            };
            let journal = wiring::journal(&config, &Arc::new(store))?;
            let event = Event::RollbackAccepted { size: accepted.size, mark: accepted.mark };
            let recorded = journal.commit(Vec::new(), vec![Note::new(Actor::Operator, event)]).await;
            recorded.map_err(|error| Failure::of("the acceptance could not be recorded", &error))?;
            let told = json!({"size": accepted.size, "mark": accepted.mark});
            output::show(output, &told, |_| {
                format!(
                    "Accepted: the log holds {} entries; {} had been promised.",
                    accepted.size, accepted.mark
                )
            })
        }
    }
}

async fn tiles(config: Config, folder: &Path, output: Output) -> Result<(), Failure> {
    let folder = std::path::absolute(folder)
        .map_err(|error| Failure::of(&format!("`{}` is no folder", folder.display()), &error))?;
    let body = json!({"folder": folder});
    let done = Door::open(config).await?.call(Method::POST, "/api/v1/ledger/tiles", &body).await?;
    output::show(output, &done, |done| {
        format!(
            "{} holds {} entries; it held {} before.",
            folder.display(),
            text(done, "/size"),
            text(done, "/from")
        )
    })
}

async fn rotate(config: Config, output: Output) -> Result<(), Failure> {
    let wrong = |error: &dyn std::error::Error| Failure::of("the keys could not be rotated", error);
    let (store, keys) = wiring::open_store(&config, wiring::open_keys(&config)?, OnRollback::Refuse)?;
    let store = Arc::new(store);
    let next = LogKeys::generate(&config.name).map_err(|error| wrong(&error))?;
    next.stage(&config.keys()).map_err(|error| wrong(&error))?;
    let event = keys.rotation(&next).map_err(|error| wrong(&error))?;
    let journal = wiring::journal(&config, &store)?;
    let row = journal.row(Note::new(Actor::Operator, event)).map_err(|error| wrong(&error))?;
    let next = Arc::new(next);
    let commit = Commit { changes: Vec::new(), entries: vec![row] };
    store.rotate(commit, Arc::clone(&next)).await.map_err(|error| wrong(&error))?;
    LogKeys::promote(&config.keys()).map_err(|error| wrong(&error))?;
    let key = next.log().verifier().to_string();
    output::show(output, &json!({"log_key": key}), |_| {
        format!(
            "New keys are in force. Exports from the log's beginning still verify with its first key; the newest is\n\n  {key}"
        )
    })
}
