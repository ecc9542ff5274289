//! Paging: whoever is on call is called while an approval waits for people, and the page ends when it does not any more. A page
//! holds what was computed and a link, never what the requester claims nor the bytes; nothing that happens to it
//! comes back: who acknowledges it has decided nothing. How that is told stands here, once; what a vendor is sent stands with it.

pub(crate) mod on_call;
pub(crate) mod opsgenie;
pub(crate) mod pagerduty;
mod text;

use crate::{
    channel::{Before, Failed, Gathering, Letter, Over, Tell},
    message::Room,
    words,
};
use async_trait::async_trait;
use countersign_core::ApprovalId;
use countersign_engine::outbox::News;
use std::time::Duration;

/// Behind the key of a page that was ended.
const RESOLVED: &str = " resolved";

/// One vendor, and one integration there.
#[async_trait]
pub(crate) trait Pager: Send + Sync + std::fmt::Debug {
    /// Before the id of an approval in the key of its page.
    fn prefix(&self) -> &'static str;

    /// Before the id of a gathering.
    fn prefix_of_several(&self) -> &'static str;

    /// Opens the page with this key; where it is open it says once more that it waits. However often this comes, it is one page.
    async fn call(&self, letter: &Letter, key: &str, page: Page) -> Result<(), Failed>;

    /// Opens one page about several approvals.
    async fn call_together(&self, gathering: &Gathering, key: &str) -> Result<(), Failed>;

    /// Ends the page, where there is one.
    async fn end(&self, key: &str, how: &str) -> Result<(), Failed>;
}

/// What is known of the page about an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Never,
    Open,
    Resolved,
}

/// A channel that pages.
#[derive(Debug)]
pub(crate) struct Paging<P> {
    pub(crate) pager: P,
    pub(crate) give_up_after: Duration,
}

#[async_trait]
impl<P: Pager> Tell for Paging<P> {
    fn room(&self, _news: &News) -> Room {
        // Bytes do not belong on a pager.
        Room { characters: None }
    }

    fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    fn gathers(&self) -> bool {
        true
    }

    async fn tell_together(&self, gathering: &Gathering) -> Result<Option<String>, Failed> {
        let key = format!("{}{}", self.pager.prefix_of_several(), gathering.id);
        self.pager.call_together(gathering, &key).await?;
        Ok(Some(key))
    }

    async fn over(&self, over: &Over) -> Result<(), Failed> {
        self.pager.end(&over.posted, words::OVER).await
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let key = self.key(letter.approval);
        let end = || self.pager.end(&key, words::title(&letter.message.state));
        if letter.news.kind == "channel.test" {
            self.pager.call(letter, &key, Page::Never).await?;
            end().await?;
            return Ok(None);
        }
        // What counts is how it stands now: nobody is woken for what was decided while this waited.
        match (letter.message.state.as_str(), Page::of(letter.posted.as_deref())) {
            ("pending", page) if page != Page::Open || words::calls(&letter.news.kind) => {
                self.pager.call(letter, &key, page).await?;
                Ok(Some(key))
            }
            ("pending", _) => Ok(None),
            // Where a try before may have paged without our knowing, it is ended once more.
            (_, Page::Never | Page::Resolved) if letter.before == Before::Never => Ok(None),
            (_, Page::Open | Page::Never | Page::Resolved) => {
                end().await?;
                Ok(Some(format!("{key}{RESOLVED}")))
            }
        }
    }
}

impl<P: Pager> Paging<P> {
    /// Names the page: the same for all news of one approval.
    fn key(&self, approval: ApprovalId) -> String {
        format!("{}{approval}", self.pager.prefix())
    }
}

impl Page {
    fn of(posted: Option<&str>) -> Self {
        match posted {
            None => Self::Never,
            Some(key) if key.ends_with(RESOLVED) => Self::Resolved,
            Some(_) => Self::Open,
        }
    }
}
