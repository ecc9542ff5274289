//! The operator's way in: the running gateway's socket, or, when none runs, the same routes in this process.

use crate::{
    config::Config,
    failure::{Failure, chain},
    wiring,
};
use axum::Router;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tower::ServiceExt;

/// Where operator calls go.
pub(crate) enum Door {
    Socket(std::path::PathBuf),
    Here { router: Router, _opened: Box<wiring::Opened> },
}

impl Door {
    /// A running gateway's socket when there is one; else the store is opened here for the time of the command.
    pub(crate) async fn open(config: Config) -> Result<Self, Failure> {
        let socket = config.socket();
        if UnixStream::connect(&socket).await.is_ok() {
            return Ok(Self::Socket(socket));
        }
        let opened = wiring::open(config).await?;
        let router = countersign_console::operator_router(opened.console.clone());
        Ok(Self::Here { router, _opened: Box::new(opened) })
    }

    /// One call; refusals become failures in the words of the API.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let (status, bytes) = self.raw(method, path, body).await?;
        let value = if bytes.is_empty() { Value::Null } else { read(&bytes)? };
        if status.is_success() { Ok(value) } else { Err(refused(status, &value)) }
    }

    /// One call, answered with status and bytes as they are.
    pub(crate) async fn raw(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "operator")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::of("the call could not be made", &error))?;
        match self {
            Self::Here { router, .. } => {
                let request = request.map(axum::body::Body::new);
                let response = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
                collect(response).await
            }
            Self::Socket(path) => {
                let lost = |error: &dyn std::error::Error| {
                    Failure::new(format!(
                        "the gateway at `{}` does not answer: {}",
                        path.display(),
                        chain(error)
                    ))
                };
                let stream = UnixStream::connect(path).await.map_err(|error| lost(&error))?;
                let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| lost(&error))?;
                tokio::spawn(connection);
                let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
                collect(response).await
            }
        }
    }
}

async fn collect<B>(response: http::Response<B>) -> Result<(StatusCode, Bytes), Failure>
where
    B: hyper::body::Body,
    B::Error: std::error::Error + 'static,
{
    let status = response.status();
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|error| Failure::of("the answer ended early", &error))?;
    Ok((status, bytes.to_bytes()))
}

fn read(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::of("the answer is not JSON", &error))
}

pub(crate) fn refused(status: StatusCode, problem: &Value) -> Failure {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
    let message =
        text("detail").or_else(|| text("title")).unwrap_or_else(|| format!("refused with status {status}"));
    let failure = Failure::new(message);
    match text("hint") {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Percent-encodes one path segment.
pub(crate) fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
