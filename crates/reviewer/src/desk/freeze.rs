//! Somebody in a chat stops an agent, a target or everything. Whoever may on the console may here, as the person they are
//! bound to; lifting a freeze is left to the console, where the rules for that are.

use super::{Told, Who, binding};
use countersign_core::{AgentId, ChannelName, TargetName, visible};
use countersign_engine::{
    Error, Gate,
    port::identity::Bound,
    rules,
    settle::{self, FreezeScope, Freezer, Froze, Through},
};

/// The longest name that is looked for.
const LONGEST: usize = 256;
const TITLE: &str = "Open what is frozen";
const USAGE: &str = "Say what: `freeze agent NAME`, `freeze target NAME` or `freeze all`, and behind it why.";

/// What somebody wants frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) what: What,
    /// What they said about it already.
    pub(crate) reason: String,
}

/// Something that can be frozen, and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct What {
    pub(crate) scope: FreezeScope,
    pub(crate) called: String,
}

/// What somebody asks for in words, where they may and it is there; otherwise what they are told.
pub(crate) fn asked(gate: &Gate, channel: &ChannelName, who: &Who, text: &str) -> Result<Asked, Told> {
    may(gate, channel, who)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let (kind, rest) = words.split_first().map_or(("", [].as_slice()), |(kind, rest)| (*kind, rest));
    if matches!(kind, "all" | "everything") {
        let what = What { scope: FreezeScope::All, called: "everything".into() };
        return Ok(Asked { what, reason: rest.join(" ") });
    }
    if !matches!(kind, "agent" | "target") || rest.is_empty() {
        return Err(Told::plain(USAGE));
    }
    // Names may have spaces: the longest that is one counts.
    for length in (1..=rest.len()).rev() {
        let (name, reason) = rest.split_at(length);
        if let Some(what) = named(gate, kind, &name.join(" ")) {
            return Ok(Asked { what, reason: reason.join(" ") });
        }
    }
    let first = rest.first().copied().unwrap_or_default();
    Err(Told::Linked {
        words: format!("There is no {kind} “{}”.", visible::name(first)),
        title: TITLE,
        link: format!("{}/freezes", gate.who().console_url),
    })
}

/// Freezes it, as whoever this user is bound to now.
pub(crate) async fn freeze(
    gate: &Gate,
    channel: &ChannelName,
    who: &Who,
    scope: FreezeScope,
    reason: String,
) -> Result<Told, Error> {
    let bound = match may(gate, channel, who) {
        Ok(bound) => bound,
        Err(told) => return Ok(told),
    };
    let Some(What { scope, called }) = known(gate, scope) else {
        return Ok(Told::plain("What was to be frozen is not there any more."));
    };
    let through = Some(Through { channel: channel.clone(), binding: bound.binding });
    let freezer = Freezer { by: Some(bound.person), through, reason: Some(reason) };
    let words = match settle::freeze(gate, scope, freezer).await? {
        Froze::Now => format!(
            "Frozen: {called}. Nothing new runs there, and what ran was told to stop. It is lifted in the console, and not \
             from here."
        ),
        Froze::Before => format!("Frozen before: {called}. It is lifted in the console, and not from here."),
    };
    Ok(Told::Linked { words, title: TITLE, link: format!("{}/freezes", gate.who().console_url) })
}

fn may(gate: &Gate, channel: &ChannelName, who: &Who) -> Result<Bound, Told> {
    let Some(bound) = gate.identity().bound(channel, &who.id) else {
        return Err(binding(gate, channel, who));
    };
    if rules::may_freeze(gate, bound.person) {
        return Ok(bound);
    }
    Err(Told::plain("Your role only reads: whoever reviews or operates the gateway may freeze."))
}

fn named(gate: &Gate, kind: &str, name: &str) -> Option<What> {
    let name = Some(name).filter(|name| name.len() <= LONGEST)?;
    let scope = match kind {
        "agent" => {
            let by_id = name.parse::<AgentId>().ok();
            FreezeScope::Agent { id: by_id.or_else(|| gate.identity().agent_named(name))? }
        }
        _ => FreezeScope::Target { name: TargetName::new(name).ok()? },
    };
    known(gate, scope)
}

/// The same where there is such a thing.
fn known(gate: &Gate, scope: FreezeScope) -> Option<What> {
    let called = match &scope {
        FreezeScope::All => "everything".to_owned(),
        FreezeScope::Agent { id } => {
            format!("agent “{}”", visible::name(&gate.identity().agent_called(*id)?))
        }
        FreezeScope::Target { name } => {
            gate.target(name)?;
            format!("target “{name}”")
        }
    };
    Some(What { scope, called })
}

/// As a form carries it.
pub(crate) fn written(scope: &FreezeScope) -> String {
    match scope {
        FreezeScope::All => "all".into(),
        FreezeScope::Agent { id } => format!("agent:{id}"),
        FreezeScope::Target { name } => format!("target:{name}"),
    }
}

pub(crate) fn read(text: &str) -> Option<FreezeScope> {
    match text.split_once(':') {
        None => (text == "all").then_some(FreezeScope::All),
        Some(("agent", id)) => Some(FreezeScope::Agent { id: id.parse().ok()? }),
        Some(("target", name)) => Some(FreezeScope::Target { name: TargetName::new(name).ok()? }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_carries_what_is_to_be_frozen_and_nothing_else_is_taken_for_it() {
        for scope in [
            FreezeScope::All,
            FreezeScope::Agent { id: AgentId::from_parts(1, 2) },
            FreezeScope::Target { name: TargetName::new("shop").unwrap() },
        ] {
            assert_eq!(read(&written(&scope)), Some(scope));
        }
        for wrong in ["", "All", "all:", "agent:", "agent:shop", "target:", "group:dba", "target:a b"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
