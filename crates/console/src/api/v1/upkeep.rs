//! What the operator does to the audit log: laying out tiles for readers, and erasing private values.

use super::approvals::reason;
use crate::{
    body::Input,
    caller::Caller,
    console::{Console, actor},
    error::Problem,
};
use axum::{Json, extract::State};
use countersign_core::EntryId;
use countersign_engine::{
    journal::Note,
    port::store::Store,
    redact::{self, NotRedacted},
};
use countersign_ledger::{error::ExportError, event::Event, tile, tree::TileTree};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};
use utoipa::ToSchema;

/// Where the tiles go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayOut {
    /// A folder on the gateway's machine, from the root on.
    #[schema(value_type = String)]
    folder: PathBuf,
}

/// How far the folder is.
#[derive(Serialize, ToSchema)]
pub(crate) struct LaidOut {
    folder: String,
    /// How many entries it held before.
    from: u64,
    /// How many it holds now: all there are.
    size: u64,
}

/// What to erase.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redact {
    entry: String,
    /// As the entry names them, such as `request_body`.
    paths: BTreeSet<String>,
    reason: String,
}

/// What was erased.
#[derive(Serialize, ToSchema)]
pub(crate) struct Redacted {
    entry: String,
    erased: BTreeSet<String>,
}

/// Bring a folder of tiles (C2SP tlog-tiles) up to the newest checkpoint. Only the operator may.
#[utoipa::path(post, path = "/api/v1/ledger/tiles", tag = "ledger", request_body = LayOut, responses(
    (status = 200, body = LaidOut), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn tiles(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<LayOut>,
) -> Result<Json<LaidOut>, Problem> {
    caller.operator()?;
    if !asked.folder.is_absolute() {
        return Err(Problem::invalid("`folder` must begin at the root"));
    }
    let store = Arc::clone(console.gate().store());
    let folder = asked.folder.clone();
    let from = blocking(move || before(&store, &folder)).await?;
    // Recorded before anything leaves.
    let to = super::ledger::status(&console).await?.size;
    let note = Note::new(actor(caller.author), Event::LedgerExported { from, to });
    console.gate().journal().commit(Vec::new(), vec![note]).await?;
    let store = Arc::clone(console.gate().store());
    let folder = asked.folder.clone();
    let size = blocking(move || lay_out(&store, &folder, from)).await?;
    Ok(Json(LaidOut { folder: asked.folder.display().to_string(), from, size }))
}

/// Erase private values of an entry. Its commitments stay, so every proof holds. Only the operator may.
#[utoipa::path(post, path = "/api/v1/ledger/redact", tag = "ledger", request_body = Redact, responses(
    (status = 200, body = Redacted), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn redact(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<Redact>,
) -> Result<Json<Redacted>, Problem> {
    caller.operator()?;
    let reason = reason(&asked.reason)?;
    if asked.paths.is_empty() {
        return Err(Problem::invalid("`paths` must name what to erase"));
    }
    let entry =
        asked.entry.parse::<EntryId>().map_err(|error| Problem::invalid(format!("`entry`: {error}")))?;
    let done = redact::redact(console.gate(), entry, &asked.paths, actor(caller.author), reason).await?;
    match done {
        Ok(()) => Ok(Json(Redacted { entry: entry.to_string(), erased: asked.paths })),
        Err(why @ (NotRedacted::NoEntry(_) | NotRedacted::NoValue(_))) => {
            Err(Problem::not_found(why.to_string()))
        }
        Err(why @ NotRedacted::Open) => Err(Problem::new(StatusCode::CONFLICT, "open", why.to_string())),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| Problem::internal("the tiles could not be written"))?;
    done.map_err(|error| {
        let problem = Problem::new(StatusCode::CONFLICT, "tiles", error.to_string());
        problem.hint("name a folder the gateway may write, empty or with tiles of this log")
    })
}

fn before(store: &Arc<dyn Store>, folder: &Path) -> Result<u64, ExportError> {
    let ledger = store.ledger().map_err(std::io::Error::other)?;
    tile::laid_out(folder, ledger.as_ref(), &mut TileTree::default())
}

fn lay_out(store: &Arc<dyn Store>, folder: &Path, from: u64) -> Result<u64, ExportError> {
    let ledger = store.ledger().map_err(std::io::Error::other)?;
    tile::lay_out(folder, from, ledger.as_ref(), &mut TileTree::default())
}
