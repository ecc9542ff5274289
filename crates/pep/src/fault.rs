//! Mistakes in the configuration of a target.

use countersign_core::{EnvironmentName, TargetName};
use std::fmt;

/// One thing wrong with the configuration of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, such as `http.billing.operations[2].path`.
    pub place: String,
    /// What is wrong there, with the value in backticks.
    pub why: String,
    /// What to write instead.
    pub remedy: String,
}

impl Fault {
    pub fn new(place: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}\n\nhint: {}", self.place, self.why, self.remedy)
    }
}

/// What was checked, or a further fault.
pub fn kept<T>(checked: Result<T, Fault>, faults: &mut Vec<Fault>) -> Option<T> {
    checked.map_err(|fault| faults.push(fault)).ok()
}

/// Checks what every target's section says: its name and its environment.
pub fn named(
    place: &str,
    name: &str,
    environment: &str,
    faults: &mut Vec<Fault>,
) -> Option<(TargetName, EnvironmentName)> {
    let name = TargetName::new(name)
        .map_err(|error| Fault::new(format!("{place}.name"), error.to_string(), "choose another name"));
    let environment = EnvironmentName::new(environment).map_err(|error| {
        Fault::new(format!("{place}.environment"), error.to_string(), "write for example `prod`")
    });
    let (name, environment) = (kept(name, faults), kept(environment, faults));
    name.zip(environment)
}
