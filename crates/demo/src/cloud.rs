//! A small cloud API to act on: services, customers, roles, configuration, zones and databases. It demands its own
//! credential, keeps its state in memory, and remembers every effect, so that what really happened can be compared
//! with what was approved. It knows nothing of Countersign.

mod customers;

use crate::{DemoError, tools};
use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};
use subtle::ConstantTimeEq;
use tokio::{net::TcpListener, task::JoinHandle};

/// The API's OpenAPI 3.1 description, with what Countersign is told about each operation.
pub const OPENAPI: &str = include_str!("cloud/openapi.json");

/// One request that reached the cloud and did something there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The operation, as the OpenAPI document names it.
    pub operation: String,
    /// What it was done to, and with which value.
    pub detail: String,
}

/// The running cloud. Dropping it stops it.
pub struct Cloud {
    address: SocketAddr,
    effects_address: SocketAddr,
    memory: Arc<Memory>,
    tasks: [JoinHandle<()>; 2],
}

pub(crate) struct Memory {
    credential: String,
    effects: Mutex<Vec<Effect>>,
    settings: Mutex<BTreeMap<String, String>>,
    bindings: Mutex<Vec<(String, String)>>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cloud").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Cloud {
    /// Listens on loopback, on ports the kernel chooses: one for the API, which wants `Bearer <credential>`, and one
    /// for the list of effects, which is not part of the API and never behind a gateway.
    pub async fn start(credential: impl Into<String>) -> Result<Self, DemoError> {
        let memory = Arc::new(Memory {
            credential: credential.into(),
            effects: Mutex::default(),
            settings: Mutex::new([("prod/checkout-timeout-ms".to_owned(), "1500".to_owned())].into()),
            bindings: Mutex::default(),
        });
        let bind = || TcpListener::bind(("127.0.0.1", 0));
        let (api, told) =
            (bind().await.map_err(DemoError::Listen)?, bind().await.map_err(DemoError::Listen)?);
        let address = api.local_addr().map_err(DemoError::Listen)?;
        let effects_address = told.local_addr().map_err(DemoError::Listen)?;
        let list = Router::new().route("/__effects", get(effects)).with_state(Arc::clone(&memory));
        let tasks = [serve(api, routes(&memory)), serve(told, list)];
        Ok(Self { address, effects_address, memory, tasks })
    }

    /// Where the API listens, such as `http://127.0.0.1:40123`: the target's upstream.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the list of effects is read.
    pub fn effects_url(&self) -> String {
        format!("http://{}/__effects", self.effects_address)
    }

    /// Everything that really happened, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.memory.effects.lock().clone()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn serve(listener: TcpListener, routes: Router) -> JoinHandle<()> {
    tokio::spawn(async move {
        // Accepting ends with the process only; a connection's own errors are that connection's.
        let _ = axum::serve(listener, routes).await;
    })
}

fn routes(memory: &Arc<Memory>) -> Router {
    Router::new()
        .route("/v1/services/{service}/status", get(status))
        .route("/v1/services/{service}/restart", post(restart))
        .route("/v1/customers/export", get(export))
        .route("/v1/iam/roles/{role}/bindings", post(bind_role))
        .route("/v1/config/{stage}/{key}", put(set_value))
        .route("/v1/zones/{zone}/records", get(records))
        .route("/v1/databases/{database}/tables/{table}/rows", delete(delete_rows))
        .route("/mcp", post(tools::answer))
        .layer(middleware::from_fn_with_state(Arc::clone(memory), demand_credential))
        .with_state(Arc::clone(memory))
}

async fn demand_credential(State(memory): State<Arc<Memory>>, request: Request, next: Next) -> Response {
    let presented = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    let wanted = format!("Bearer {}", memory.credential);
    match presented {
        Some(presented) if bool::from(presented.ct_eq(wanted.as_bytes())) => next.run(request).await,
        Some(_) | None => {
            let problem = json!({ "error": "the cloud wants its own credential" });
            (StatusCode::UNAUTHORIZED, Json(problem)).into_response()
        }
    }
}

impl Memory {
    pub(crate) fn happened(&self, operation: &str, detail: impl Into<String>) {
        self.effects.lock().push(Effect { operation: operation.into(), detail: detail.into() });
    }
}

async fn effects(State(memory): State<Arc<Memory>>) -> Json<Vec<Effect>> {
    Json(memory.effects.lock().clone())
}

async fn status(State(memory): State<Arc<Memory>>, Path(service): Path<String>) -> Json<Value> {
    memory.happened("serviceStatus", &*service);
    Json(
        json!({ "service": service, "status": "degraded", "error_rate": 0.041, "replicas": { "wanted": 6, "ready": 5 } }),
    )
}

async fn restart(State(memory): State<Arc<Memory>>, Path(service): Path<String>) -> impl IntoResponse {
    memory.happened("restartService", &*service);
    (StatusCode::ACCEPTED, Json(json!({ "service": service, "restarting": true })))
}

#[derive(Deserialize)]
struct Export {
    format: Option<String>,
}

async fn export(State(memory): State<Arc<Memory>>, Query(asked): Query<Export>) -> Response {
    let format = asked.format.unwrap_or_else(|| "csv".into());
    if format != "csv" {
        let problem = json!({ "error": "`csv` is the only format" });
        return (StatusCode::BAD_REQUEST, Json(problem)).into_response();
    }
    memory.happened("exportCustomers", "csv");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"customers.csv\""),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    (headers, customers::csv()).into_response()
}

#[derive(Deserialize)]
struct Binding {
    member: String,
}

async fn bind_role(
    State(memory): State<Arc<Memory>>,
    Path(role): Path<String>,
    Json(binding): Json<Binding>,
) -> impl IntoResponse {
    memory.happened("bindRole", format!("{role} to {}", binding.member));
    memory.bindings.lock().push((role.clone(), binding.member.clone()));
    (StatusCode::CREATED, Json(json!({ "role": role, "member": binding.member })))
}

#[derive(Deserialize)]
struct Setting {
    value: String,
}

async fn set_value(
    State(memory): State<Arc<Memory>>,
    Path((stage, key)): Path<(String, String)>,
    Json(setting): Json<Setting>,
) -> Json<Value> {
    let name = format!("{stage}/{key}");
    memory.happened("setConfig", format!("{name} = {}", setting.value));
    let before = memory.settings.lock().insert(name.clone(), setting.value.clone());
    Json(json!({ "key": name, "before": before, "value": setting.value }))
}

/// The zones there are. Their names are exact: `FEDRAMP-east` is no zone.
const ZONES: [&str; 3] = ["eu-1", "us-2", "fedramp-east"];

async fn records(State(memory): State<Arc<Memory>>, Path(zone): Path<String>) -> Response {
    if !ZONES.contains(&zone.as_str()) {
        return (StatusCode::NOT_FOUND, Json(json!({ "error": "there is no such zone" }))).into_response();
    }
    memory.happened("zoneRecords", &*zone);
    Json(json!({ "zone": zone, "records": [{ "id": 7001, "agency": "Bureau of Examples" }] })).into_response()
}

#[derive(Deserialize)]
struct Rows {
    r#where: Option<String>,
}

async fn delete_rows(
    State(memory): State<Arc<Memory>>,
    Path((database, table)): Path<(String, String)>,
    Query(rows): Query<Rows>,
) -> Json<Value> {
    let condition = rows.r#where.unwrap_or_else(|| "everything".into());
    memory.happened("deleteRows", format!("{database}.{table} where {condition}"));
    Json(
        json!({ "database": database, "table": table, "deleted": if condition == "everything" { customers::ROWS } else { 1 } }),
    )
}

#[cfg(test)]
mod tests;
