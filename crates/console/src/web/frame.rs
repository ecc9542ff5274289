//! What surrounds every page: who is signed in, where one can go, and what everybody must see at once.

use super::draw;
use crate::{caller::Caller, console::Console, error::Problem};
use askama::Template;
use axum::{
    extract::{FromRequestParts, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use countersign_engine::{definitions, port::store::Health, read};
use countersign_identity::SessionInfo;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

/// The frame of one page.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) page: &'static str,
    pub(super) signed_in: bool,
    pub(super) name: String,
    pub(super) role: &'static str,
    pub(super) csrf: Option<String>,
    /// What is frozen, in words.
    pub(super) frozen: Vec<String>,
    /// How many outcomes nobody knows.
    pub(super) unresolved: usize,
    /// How many tools are described as nobody has accepted them.
    pub(super) tools_waiting: usize,
    /// The store accepts nothing.
    pub(super) trouble: Option<String>,
}

const NAV: [(&str, &str, &str); 9] = [
    ("inbox", "/", "Inbox"),
    ("history", "/history", "History"),
    ("ledger", "/ledger", "Ledger"),
    ("policy", "/policy", "Policy"),
    ("targets", "/targets", "Targets"),
    ("agents", "/agents", "Agents"),
    ("people", "/people", "People"),
    ("channels", "/channels", "Channels"),
    ("freezes", "/freezes", "Freeze"),
];

impl Frame {
    pub(super) async fn of(console: &Console, viewer: &Viewer, page: &'static str) -> Result<Self, Problem> {
        let session = &viewer.session;
        let unresolved = read::unresolved_holds(console.gate()).await?.len()
            + read::unresolved(console.gate()).await?.len();
        let trouble = match console.gate().store().health() {
            Health::Ready => None,
            Health::Full => {
                Some("The disk is full: nothing runs and nothing can be decided until there is room.".into())
            }
            Health::Poisoned(_) => Some("The store stopped after a write error: restart the gateway.".into()),
        };
        Ok(Self {
            page,
            signed_in: true,
            name: session.name.clone(),
            role: session.role.as_str(),
            csrf: Some(session.csrf.reveal().to_owned()),
            frozen: console.gate().freezes().iter().map(|scope| console.freeze_words(scope)).collect(),
            unresolved,
            tools_waiting: definitions::waiting(console.gate()),
            trouble,
        })
    }

    /// Where one can go: address, word, and whether this page is there.
    pub(super) fn nav(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        NAV.iter().map(|(page, path, label)| (*path, *label, *page == self.page))
    }
}

/// A person who looks at a page. Whoever is not signed in is sent to do so.
pub(super) struct Viewer {
    pub(super) caller: Caller,
    pub(super) session: SessionInfo,
}

impl FromRequestParts<Console> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        match Caller::from_request_parts(parts, console).await {
            Ok(caller @ Caller { session: Some(_), .. }) => {
                let session = caller.session.clone();
                let missing = || Fault::from(Problem::not_signed_in()).into_response();
                session.map(|session| Self { caller, session }).ok_or_else(missing)
            }
            Err(problem) if problem.status() != StatusCode::UNAUTHORIZED => {
                Err(Fault::from(problem).into_response())
            }
            Ok(_) | Err(_) if parts.uri.path().starts_with("/fragments/") => {
                Err(Problem::not_signed_in().into_response())
            }
            Ok(_) | Err(_) => {
                let wanted = parts.uri.path_and_query().map_or("/", |path| path.as_str());
                let next: String = form_encoded(wanted);
                Err(Redirect::to(&format!("/sign-in?next={next}")).into_response())
            }
        }
    }
}

/// Percent-encodes everything but letters, digits and `-._~/`.
pub(super) fn form_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Whether a browser asks for something to look at.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A page that cannot be shown.
#[derive(Debug)]
pub(super) struct Fault(Problem);

impl<E: Into<Problem>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<askama::Error> for Problem {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "a page could not be drawn");
        Self::internal("the page could not be drawn")
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'p> {
    frame: Frame,
    title: &'p str,
    detail: String,
    hint: Option<&'p str>,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let mut words = problem.detail().chars();
        let first = words.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
        let message = Message {
            frame: Frame::default(),
            title: problem.title(),
            detail: first + words.as_str(),
            hint: problem.advice(),
        };
        match message.render() {
            Ok(page) => (problem.status(), Html(page)).into_response(),
            Err(_) => problem.into_response(),
        }
    }
}

/// A page, drawn.
pub(super) fn draw_page(template: &impl Template) -> Result<Response, Fault> {
    Ok(Html(template.render().map_err(Problem::from)?).into_response())
}

/// A plain text that is shown or kept.
pub(super) fn plain_text(text: String) -> Response {
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[derive(Template)]
#[template(path = "banner.html")]
struct Banner {
    frame: Frame,
}

/// The banners alone, for a page that is open already.
pub(super) async fn banner(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    draw_page(&Banner { frame: Frame::of(&console, &viewer, "").await? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_being_a_parameter() {
        assert_eq!(form_encoded("/history?q=a b&x=ü"), "/history%3Fq%3Da%20b%26x%3D%C3%BC");
    }
}
