//! What people have accepted of a server's tools, and what follows for its agents. A tool that nobody has accepted as it
//! is described is hidden, refused, or decided on as one that nobody knows: never more than that.

use super::{Definition, Tools, arguments::Arguments};
use crate::upstream::{Peer, Way};
use countersign_core::{Digest, TargetName, visible};
use countersign_engine::{
    Gate,
    definitions::{self, Prompted, Standing},
    port::upstream::{Failed, Sent},
    record,
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{collections::HashMap, fmt, sync::Arc};

/// What becomes of a tool that nobody has accepted as it is described.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unreviewed {
    /// It is not listed, and a call is answered as if there were none.
    Hidden,
    /// It is listed without a word of the server's, and a call is refused.
    #[default]
    Refused,
    /// It is listed as it is, and a call is decided on as one of a tool that is not declared: operation `mcp.tool`, class
    /// `unknown`. What somebody has refused is refused.
    Reviewable,
}

impl Unreviewed {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Refused => "refused",
            Self::Reviewable => "reviewable",
        }
    }
}

/// What may be done with a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// Ask policy.
    Decide(Standing),
    Refuse(Standing),
    Hide,
}

/// Compiled schemas are let go of beyond this many.
const MOST_SCHEMAS: usize = 256;

/// The store took nothing; why is in the gateway's own log.
struct Unkept;

/// One target's tools as people know them.
pub(crate) struct Book {
    gate: Arc<Gate>,
    target: TargetName,
    unreviewed: Unreviewed,
    schemas: Mutex<HashMap<Digest, Arc<Result<Arguments, String>>>>,
}

impl Book {
    pub(crate) fn new(gate: Arc<Gate>, target: TargetName, unreviewed: Unreviewed) -> Self {
        Self { gate, target, unreviewed, schemas: Mutex::default() }
    }

    /// Asks a server which tools it has, and keeps what nobody has seen yet for people to look at.
    pub(crate) async fn fetch(
        &self,
        way: &Way,
        peer: &Peer,
        client: Option<&str>,
        id: impl Fn() -> u64,
    ) -> Result<Tools, Failed> {
        let (tools, described) = super::fetch(way, peer, client, id).await?;
        let why = "what the server says of its tools could not be recorded";
        self.keep(described).await.map_err(|Unkept| Failed { sent: Sent::No, why: why.into() })?;
        Ok(tools)
    }

    /// Keeps what a list that an agent asked for says, where nobody has seen it yet.
    pub(crate) async fn listed(&self, result: &str) {
        // What is not kept cannot be accepted, and is not shown as if it were.
        let _ = self.keep(super::described(result)).await;
    }

    async fn keep(&self, described: Vec<definitions::Definition>) -> Result<(), Unkept> {
        let noticed = definitions::notice(&self.gate, &self.target, described, Prompted::ByTraffic).await;
        noticed.map_err(|error| {
            tracing::error!(error = %record::chain(&error), "a tool's description could not be kept");
            Unkept
        })
    }

    /// What may be done with a tool as its server describes it now.
    pub(crate) fn ruling(&self, tool: &str, digest: Digest) -> Ruling {
        let standing = definitions::standing(&self.gate, &self.target, tool, digest);
        match (standing, self.unreviewed) {
            (Standing::Accepted, _) | (Standing::New | Standing::Changed, Unreviewed::Reviewable) => {
                Ruling::Decide(standing)
            }
            (Standing::New | Standing::Changed | Standing::Refused, Unreviewed::Hidden) => Ruling::Hide,
            (Standing::New | Standing::Changed | Standing::Refused, _) => Ruling::Refuse(standing),
        }
    }

    /// Whether arguments are what the accepted definition says they must be; what is wrong with them, for a model.
    pub(crate) fn check(
        &self,
        tool: &str,
        definition: &Definition,
        given: Option<&RawValue>,
    ) -> Result<(), String> {
        let Some(arguments) = self.arguments(tool, definition.digest) else { return Ok(()) };
        match &*arguments {
            Ok(arguments) => arguments.check(given.map_or("{}", RawValue::get)),
            Err(why) => Err(format!(
                "The tool's schema cannot be used, so nothing can be said to fit it: {why}.\nWhat to do: use another \
                 tool; whoever keeps the server has to mend the schema."
            )),
        }
    }

    fn arguments(&self, tool: &str, digest: Digest) -> Option<Arc<Result<Arguments, String>>> {
        if let Some(known) = self.schemas.lock().get(&digest) {
            return Some(Arc::clone(known));
        }
        let known = definitions::of_tool(&self.gate, &self.target, tool)?;
        let accepted = known.accepted().filter(|version| version.digest == digest)?;
        let made = Arc::new(Arguments::of(&accepted.text));
        let mut schemas = self.schemas.lock();
        if schemas.len() >= MOST_SCHEMAS {
            schemas.clear();
        }
        schemas.insert(digest, Arc::clone(&made));
        Some(made)
    }

    /// Why a tool may not be called, for a model.
    pub(crate) fn refusal(&self, tool: &str, standing: Standing) -> String {
        let stands = match standing {
            Standing::Changed => "the server describes it otherwise than people have accepted it",
            Standing::Refused => "somebody has refused it as the server describes it",
            Standing::New | Standing::Accepted => "nobody has accepted it as the server describes it",
        };
        format!(
            "This call was refused: the tool “{}” may not be called, since {stands}.\nWhat to do: use another tool, or ask \
             an administrator to look at it at {}/targets/{}/tools.",
            visible::name(tool),
            self.gate.who().console_url,
            self.target
        )
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Book")
            .field("target", &self.target)
            .field("unreviewed", &self.unreviewed)
            .finish_non_exhaustive()
    }
}
