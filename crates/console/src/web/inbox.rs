//! The inbox and the list of all approvals.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page, form_encoded},
};
use crate::{
    api::v1::approvals::{self, Which},
    body::Params,
    console::Console,
    model::{approval::ApprovalItem, glass::OpenReview},
};
use askama::Template;
use axum::{extract::State, response::Response};

#[derive(Template)]
#[template(path = "inbox.html")]
struct Inbox {
    frame: Frame,
    reviews: Vec<OpenReview>,
    mine: Vec<ApprovalItem>,
    others: Vec<ApprovalItem>,
    lately: Vec<ApprovalItem>,
    more: bool,
}

#[derive(Template)]
#[template(path = "inbox_list.html")]
struct InboxList {
    /// Break-glasses that nobody else has reviewed.
    reviews: Vec<OpenReview>,
    mine: Vec<ApprovalItem>,
    others: Vec<ApprovalItem>,
    lately: Vec<ApprovalItem>,
    more: bool,
}

#[derive(Template)]
#[template(path = "approvals.html")]
struct Approvals {
    frame: Frame,
    items: Vec<ApprovalItem>,
    next: Option<String>,
    states: &'static [&'static str],
    targets: Vec<String>,
    status: Option<String>,
    target: Option<String>,
    /// What else was asked for, as a link from a message about several approvals does: key and value.
    narrowed: Vec<(&'static str, String)>,
}

const STATES: [&str; 10] = [
    "pending",
    "granted",
    "executing",
    "done",
    "rejected",
    "revoked",
    "lapsed",
    "withdrawn",
    "cancelled",
    "unknown",
];

pub(super) async fn page(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "inbox").await?;
    let InboxList { reviews, mine, others, lately, more } = gather(&console, &viewer).await?;
    draw_page(&Inbox { frame, reviews, mine, others, lately, more })
}

pub(super) async fn list(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    draw_page(&gather(&console, &viewer).await?)
}

pub(super) async fn approvals(
    State(console): State<Console>,
    viewer: Viewer,
    Params(which): Params<Which>,
) -> Result<Response, Fault> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (status, target) = (given(which.status.clone()), given(which.target.clone()));
    let (principal, environment, class) =
        (given(which.principal.clone()), given(which.environment.clone()), given(which.class.clone()));
    let narrowed = [("principal", &principal), ("environment", &environment), ("class", &class)];
    let narrowed: Vec<(&'static str, String)> =
        narrowed.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
    let which =
        Which { status: status.clone(), target: target.clone(), principal, environment, class, ..which };
    let page = approvals::page(&console, &viewer.caller, which).await?;
    let link = |next: String| {
        let (status, target) = (status.as_deref().unwrap_or_default(), target.as_deref().unwrap_or_default());
        let also = narrowed.iter().map(|(key, value)| format!("&{key}={}", form_encoded(value)));
        let also: String = also.collect();
        format!(
            "/approvals?status={}&target={}{also}&before={next}",
            form_encoded(status),
            form_encoded(target)
        )
    };
    draw_page(&Approvals {
        frame: Frame::of(&console, &viewer, "inbox").await?,
        items: page.items,
        next: page.next.map(link),
        states: &STATES,
        targets: console.gate().targets().map(|target| target.name.to_string()).collect(),
        status,
        target,
        narrowed,
    })
}

async fn gather(console: &Console, viewer: &Viewer) -> Result<InboxList, Fault> {
    let some = |open: &str, limit| Which { open: Some(open.into()), limit: Some(limit), ..Which::default() };
    let open = approvals::page(console, &viewer.caller, some("yes", 200)).await?;
    let lately = approvals::page(console, &viewer.caller, some("no", 5)).await?.items;
    let (mine, others) = open.items.into_iter().partition(|item| item.you.can_vote);
    let reviews = console.open_reviews().await?;
    Ok(InboxList { reviews, mine, others, lately, more: open.next.is_some() })
}
