//! Who is told of an approval, and when again while nobody decides: a pure function of what is asked, of the routes in the
//! configuration and of the clock. Routes tell; they never decide, and nobody may decide because of one.

use super::rest::Rest;
use countersign_core::{
    ChannelName, Class, EnvironmentName, GateName, GroupName, TargetName, Timestamp, decision::Gate,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// So many reminders in one round, and no more.
pub const MOST_REMINDERS: u32 = 20;

/// A route as the configuration declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: String,
    pub when: When,
    /// Told from the beginning, beside those that gates name.
    pub channels: BTreeSet<ChannelName>,
    /// Told as well when nobody has decided for so long.
    pub escalate: Vec<(Duration, BTreeSet<ChannelName>)>,
    /// How long nobody has to have decided, or been told, until all who are told are told once more.
    pub remind: Option<Duration>,
    pub urgency: Urgency,
}

/// How soon people have to hear of what a route is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// The route does not say: what it tells is told at once.
    #[default]
    Unsaid,
    /// At once, on every channel, whatever other routes say.
    High,
    /// What the route tells can wait for these times.
    Low(Rest),
}

impl Urgency {
    /// Nothing where the route does not say.
    pub fn in_words(&self) -> Option<String> {
        match self {
            Self::Unsaid => None,
            Self::High => Some("urgent".to_owned()),
            Self::Low(rest) => Some(format!("can wait ({rest})")),
        }
    }
}

/// Which approvals a route is for. What is empty asks nothing; of each of the others one must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Groups that may lift one of the gates.
    pub groups: BTreeSet<GroupName>,
    pub gates: BTreeSet<GateName>,
    pub targets: BTreeSet<TargetName>,
    pub environments: BTreeSet<EnvironmentName>,
    pub classes: BTreeSet<Class>,
}

/// What routes look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub target: &'a TargetName,
    pub environment: &'a EnvironmentName,
    pub class: Class,
    pub gates: &'a [Gate],
}

/// Who is told of one round of an approval, and when again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub channels: BTreeSet<ChannelName>,
    /// Earliest first.
    pub steps: Vec<Step>,
    pub remind_s: Option<u64>,
    /// Channels that are told when it suits whoever reads there: at the earliest of these times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rests: BTreeMap<ChannelName, Vec<Rest>>,
}

/// Further channels, after so many seconds in which nobody decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub after_s: u64,
    pub channels: BTreeSet<ChannelName>,
}

/// A plan, and how far it was followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    pub plan: Plan,
    /// Steps that were taken.
    pub steps: u32,
    pub reminders: u32,
    /// When people were last called.
    pub last: Option<Timestamp>,
    /// Nobody hears of it before: silence begins then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_from: Option<Timestamp>,
}

/// Calling people while nobody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Everybody who is told is told once more. Counted from 1 in each round.
    Remind { reminder: u32 },
    /// Further channels are told as well. Counted from 1 in each round.
    Escalate { step: u32, channels: BTreeSet<ChannelName> },
}

impl When {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        fn has<T: Ord>(wanted: &BTreeSet<T>, mut there: impl Iterator<Item = T>) -> bool {
            wanted.is_empty() || there.any(|one| wanted.contains(&one))
        }
        let gates = facts.gates.iter();
        has(&self.groups, gates.clone().flat_map(|gate| gate.approvers.groups.iter().cloned()))
            && has(&self.gates, gates.map(|gate| gate.name.clone()))
            && has(&self.targets, std::iter::once(facts.target.clone()))
            && has(&self.environments, std::iter::once(facts.environment.clone()))
            && has(&self.classes, std::iter::once(facts.class))
    }
}

impl When {
    /// What it asks, such as `class delete or export`; nothing where it is for everything.
    pub fn in_words(&self) -> Vec<String> {
        fn one<T: ToString>(what: &str, names: impl Iterator<Item = T>) -> Option<String> {
            let names: Vec<String> = names.map(|name| name.to_string()).collect();
            (!names.is_empty()).then(|| format!("{what} {}", names.join(" or ")))
        }
        let asks = [
            one("group", self.groups.iter()),
            one("gate", self.gates.iter()),
            one("target", self.targets.iter()),
            one("environment", self.environments.iter()),
            one("class", self.classes.iter().map(|class| class.as_str())),
        ];
        asks.into_iter().flatten().collect()
    }
}

impl fmt::Display for Route {
    /// `dba-prod: group dba -> ops; after 10 min leads; again every 15 min`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &BTreeSet<ChannelName>| {
            names.iter().map(ChannelName::as_str).collect::<Vec<_>>().join(", ")
        };
        let asks = self.when.in_words();
        let asks = if asks.is_empty() { "every approval".to_owned() } else { asks.join(", ") };
        write!(out, "{}: {asks} ->", self.name)?;
        let mut says = Vec::new();
        if !self.channels.is_empty() {
            says.push(list(&self.channels));
        }
        for (after, channels) in &self.escalate {
            says.push(format!("after {} {}", span_in_words(*after), list(channels)));
        }
        says.extend(self.remind.map(|span| format!("again every {}", span_in_words(span))));
        says.extend(self.urgency.in_words());
        write!(out, " {}", says.join("; "))
    }
}

/// `10 min`, `2 h`, `90 s`.
pub fn span_in_words(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds > 0 && seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        seconds if seconds > 0 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// What every route that is for it says together: all channels, all steps, the shortest time between reminders.
pub(super) fn plan(routes: &[Route], facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut steps: BTreeMap<u64, BTreeSet<ChannelName>> = BTreeMap::new();
    let fitting: Vec<&Route> = routes.iter().filter(|route| route.when.holds(facts)).collect();
    for route in &fitting {
        plan.channels.extend(route.channels.iter().cloned());
        for (after, channels) in &route.escalate {
            steps.entry(after.as_secs()).or_default().extend(channels.iter().cloned());
        }
        let remind = route.remind.map(|span| span.as_secs());
        plan.remind_s = plan.remind_s.into_iter().chain(remind).min();
    }
    plan.steps = steps.into_iter().map(|(after_s, channels)| Step { after_s, channels }).collect();
    plan.rests = rests(&fitting);
    plan
}

/// Which channels can be told later: those to which only routes lead whose news can wait.
fn rests(fitting: &[&Route]) -> BTreeMap<ChannelName, Vec<Rest>> {
    let mut rests: BTreeMap<ChannelName, Vec<Rest>> = BTreeMap::new();
    if fitting.iter().any(|route| route.urgency == Urgency::High) {
        return rests;
    }
    let mut at_once = BTreeSet::new();
    for route in fitting {
        for channel in route.channels.iter().chain(route.escalate.iter().flat_map(|(_, names)| names)) {
            match &route.urgency {
                Urgency::Low(rest) => rests.entry(channel.clone()).or_default().push(rest.clone()),
                Urgency::Unsaid | Urgency::High => {
                    at_once.insert(channel);
                }
            }
        }
    }
    rests.retain(|channel, _| !at_once.contains(channel));
    rests
}

impl Plan {
    /// When a channel is told of something that came up at `at`, in a round that began and ends so: not later than when half
    /// of its time is over, so that nothing lapses because it was put off. `None`: at once.
    pub fn release(
        &self,
        channel: &str,
        at: Timestamp,
        (opened, deadline): (Timestamp, Timestamp),
    ) -> Option<Timestamp> {
        let (_, rests) = self.rests.iter().find(|(name, _)| name.as_str() == channel)?;
        let release = rests.iter().map(|rest| rest.release(at)).min()?;
        let release = release.min(opened.plus(deadline.since(opened) / 2));
        (release > at).then_some(release)
    }
}

impl Calls {
    pub fn new(plan: Plan) -> Self {
        Self { plan, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The next call, when nobody has decided anything since `silent_since`, and its moment.
    pub fn next(&self, silent_since: Timestamp) -> Option<(Timestamp, Call)> {
        let after = |from: Timestamp, seconds: u64| from.plus(Duration::from_secs(seconds));
        let silent_since = self.heard_from.map_or(silent_since, |heard| heard.max(silent_since));
        let taken = usize::try_from(self.steps).unwrap_or(usize::MAX);
        let further = self.plan.steps.get(taken).map(|step| {
            let call = Call::Escalate { step: self.steps.saturating_add(1), channels: step.channels.clone() };
            (after(silent_since, step.after_s), call)
        });
        let quiet_since = self.last.map_or(silent_since, |last| last.max(silent_since));
        let remind = self.plan.remind_s.filter(|_| self.reminders < MOST_REMINDERS).map(|seconds| {
            let reminder = self.reminders.saturating_add(1);
            (after(quiet_since, seconds), Call::Remind { reminder })
        });
        // At the same moment further people are called: that tells everybody.
        further.into_iter().chain(remind).min_by_key(|(moment, _)| *moment)
    }

    /// A call was made.
    pub fn made(&mut self, call: &Call, now: Timestamp) {
        match call {
            Call::Remind { reminder } => self.reminders = *reminder,
            Call::Escalate { step, .. } => self.steps = *step,
        }
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests;
