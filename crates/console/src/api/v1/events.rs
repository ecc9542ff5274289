//! News for open pages, as server-sent events. A stream ends with the session it was opened in. Whatever happens between
//! the drawing of a page and the opening of its stream is not lost: the stream is asked with what the page shows, and
//! says at once when that is behind. Browsers ask with the same words when they connect again.

#![expect(unused_qualifications, reason = "written by the macro that describes query parameters")]

use crate::{
    body::Params,
    caller::Caller,
    console::Console,
    error::Problem,
    model::approval::{self, Read},
    streams::{NoPlace, Place},
};
use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event as News, Sse},
    },
};
use countersign_core::ApprovalId;
use countersign_engine::Changed;
use countersign_identity::SessionId;
use futures_util::stream;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Interval, MissedTickBehavior, interval},
};
use utoipa::IntoParams;

/// How often a stream that has no news says that it is there, and looks whether its session is.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the asker shows, so that it hears at once of what it missed.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Shown {
    /// The id of the approval that is shown.
    approval: Option<String>,
    /// The `version` of it that is shown.
    version: Option<u64>,
}

/// News: `approval` with id and state, `action` with id, `freeze`, `policy`, `glass` with id; `all` when some were missed. Named an
/// approval and the version that is shown, the stream begins with the news of it unless that is the present one.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(Shown), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn stream(
    State(console): State<Console>,
    caller: Caller,
    Params(shown): Params<Shown>,
) -> Result<Response, Problem> {
    let shown = shown.read()?;
    let place = console.streams().take(caller.session.as_ref()).map_err(|why| {
        let (status, detail) = match why {
            NoPlace::Own => (StatusCode::TOO_MANY_REQUESTS, "too many of your pages are watching"),
            NoPlace::All => (StatusCode::SERVICE_UNAVAILABLE, "too many pages are watching"),
        };
        Problem::new(status, "too-many", detail).hint("close some")
    })?;
    let mut heart = interval(HEARTBEAT);
    heart.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // INVARIANT: listening begins before the present version is read; what changes in between is told twice, not never.
    let changes = console.gate().changes();
    let missed = match shown {
        Some((id, version)) => {
            let Read { hold, version: present } = approval::load(&console, id).await?;
            let state = hold.approval.state.as_str();
            (version != present).then_some(Changed::Approval { id, state })
        }
        None => None,
    };
    let session = caller.session.map(|session| session.id);
    let watching = Watching { console, session, missed, changes, heart, _place: place };
    let news = stream::unfold(watching, |mut watching| async move {
        let news = watching.next().await?;
        Some((Ok::<_, Infallible>(news), watching))
    });
    let mut response = Sse::new(news).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Shown {
    fn read(self) -> Result<Option<(ApprovalId, u64)>, Problem> {
        match (self.approval, self.version) {
            (None, None) => Ok(None),
            (Some(id), Some(version)) => {
                let id = id.parse::<ApprovalId>().map_err(|error| Problem::invalid(error.to_string()))?;
                Ok(Some((id, version)))
            }
            (Some(_), None) | (None, Some(_)) => {
                Err(Problem::invalid("`approval` and `version` are given together, or not at all"))
            }
        }
    }
}

struct Watching {
    console: Console,
    /// `None`: the operator.
    session: Option<SessionId>,
    /// What happened before the stream was opened.
    missed: Option<Changed>,
    changes: Receiver<Changed>,
    heart: Interval,
    _place: Place,
}

impl Watching {
    /// The next thing to say; `None` ends the stream.
    async fn next(&mut self) -> Option<News> {
        if let Some(missed) = self.missed.take() {
            return Some(news(&missed));
        }
        let changed = tokio::select! {
            changed = self.changes.recv() => changed,
            _ = self.heart.tick() => return self.is_open().then(|| News::default().comment("here")),
        };
        if !self.is_open() {
            return None;
        }
        match changed {
            Ok(changed) => Some(news(&changed)),
            Err(RecvError::Lagged(_)) => Some(News::default().event("all").data("{}")),
            Err(RecvError::Closed) => None,
        }
    }

    fn is_open(&self) -> bool {
        self.session.is_none_or(|session| self.console.directory().is_open(session))
    }
}

fn news(changed: &Changed) -> News {
    let (name, data) = match changed {
        Changed::Approval { id, state } => ("approval", json!({"id": id, "state": state})),
        Changed::Action { id } => ("action", json!({"id": id})),
        Changed::Freeze => ("freeze", json!({})),
        Changed::Policy => ("policy", json!({})),
        Changed::Glass { id } => ("glass", json!({"id": id})),
        Changed::Tools => ("tools", json!({})),
    };
    News::default().event(name).data(data.to_string())
}
