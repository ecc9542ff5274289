//! The audit log: its state, and exporting it for an auditor.

#![expect(unused_qualifications, reason = "written by the macro that describes query parameters")]

use crate::{
    body::Params,
    caller::Caller,
    console::{Console, actor},
    error::Problem,
    proofs,
};
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use countersign_engine::{
    journal::Note,
    port::store::{Health, Store},
};
use countersign_identity::Role;
use countersign_ledger::{bundle, event::Event};
use futures_util::StreamExt as _;
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Write},
    sync::Arc,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

/// The log's newest state and its keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LedgerItem {
    pub(crate) origin: String,
    /// How many entries there are.
    pub(crate) size: u64,
    /// Base64.
    pub(crate) root: String,
    /// The signed checkpoint, a C2SP signed note.
    pub(crate) checkpoint: String,
    /// Public keys in C2SP vkey form.
    pub(crate) log_key: String,
    pub(crate) gateway_key: String,
    /// `ready`, `full` or `stopped`.
    pub(crate) health: String,
}

/// What to export.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Range {
    /// The first entry; 0 unless said.
    from: Option<u64>,
    /// The entry after the last; all unless said.
    to: Option<u64>,
    /// `none` or `all`: whether private values go into the file.
    #[serde(default)]
    #[param(value_type = String)]
    disclose: Disclose,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Disclose {
    #[default]
    None,
    All,
}

/// The audit log's state.
#[utoipa::path(get, path = "/api/v1/ledger", tag = "ledger", responses(
    (status = 200, body = LedgerItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(console): State<Console>,
    _caller: Caller,
) -> Result<Json<LedgerItem>, Problem> {
    status(&console).await.map(Json)
}

/// Export a range as one file that an auditor verifies with the log's key alone.
#[utoipa::path(get, path = "/api/v1/ledger/export", tag = "ledger", params(Range), responses(
    (status = 200, content_type = "application/octet-stream"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn export(
    State(console): State<Console>,
    caller: Caller,
    Params(range): Params<Range>,
) -> Result<Response, Problem> {
    if range.disclose == Disclose::All && matches!(caller.role(), Some(Role::Reviewer | Role::Operator)) {
        return Err(Problem::forbidden(
            "only auditors, administrators and the operator export private values",
        ));
    }
    let size = head(&console).await?.size;
    let (from, to) = (range.from.unwrap_or(0), range.to.unwrap_or(size));
    if from > to || to > size {
        let detail = format!("`from` and `to` must be a range within the {size} entries there are");
        return Err(Problem::invalid(detail));
    }
    // Recorded before anything leaves.
    let note = Note::new(actor(caller.author), Event::LedgerExported { from, to });
    console.gate().journal().commit(Vec::new(), vec![note]).await?;
    let (sender, receiver) = mpsc::channel(8);
    let (store, origin) = (Arc::clone(console.gate().store()), console.keys().origin.clone());
    let disclose = range.disclose;
    tokio::task::spawn_blocking(move || {
        let mut out = Pipe { sender, buffer: Vec::with_capacity(CHUNK) };
        if let Err(error) = write(&store, &origin, (from, to), disclose, &mut out) {
            tracing::error!(%error, "an export broke off");
            // The reader sees a broken body; without its last line no bundle verifies.
            let _ = out.sender.blocking_send(Err(error));
        }
    });
    let name = format!("attachment; filename=\"countersign-{from}-{to}.bundle\"");
    let name = HeaderValue::from_str(&name).map_err(|_| Problem::internal("the file has no name"))?;
    let mut response = Body::from_stream(ReceiverStream::new(receiver).boxed()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

pub(crate) async fn status(console: &Console) -> Result<LedgerItem, Problem> {
    let head = head(console).await?;
    let keys = console.keys();
    let health = match console.gate().store().health() {
        Health::Ready => "ready",
        Health::Full => "full",
        Health::Poisoned(_) => "stopped",
    };
    Ok(LedgerItem {
        origin: keys.origin.clone(),
        size: head.size,
        root: STANDARD.encode(head.checkpoint.root),
        checkpoint: head.note,
        log_key: keys.log_key.clone(),
        gateway_key: keys.gateway_key.clone(),
        health: health.into(),
    })
}

async fn head(console: &Console) -> Result<proofs::Head, Problem> {
    let store = Arc::clone(console.gate().store());
    let read = tokio::task::spawn_blocking(move || proofs::head(&store)).await;
    read.map_err(|_| Problem::internal("the ledger could not be read"))?
}

fn write(
    store: &Arc<dyn Store>,
    origin: &str,
    (from, to): (u64, u64),
    disclose: Disclose,
    out: &mut Pipe,
) -> io::Result<()> {
    let ledger = store.ledger().map_err(io::Error::other)?;
    let disclose = |_: u64, _: &str| disclose == Disclose::All;
    let request = bundle::Request { from, to, disclose: &disclose };
    bundle::write(&mut *out, ledger.as_ref(), origin, &request).map_err(io::Error::other)?;
    out.flush()
}

/// A file written on one side and streamed out on the other, never whole in memory.
struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

const CHUNK: usize = 64 * 1024;

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(Ok(chunk.into())).map_err(gone)
    }
}
