//! What of a ticket system counts beforehand: `preapproves` and what belongs to it.

use super::{ChannelSection, Common, jira::checked};
use crate::ticket::Beforehand;
use countersign_pep::{Fault, kept};
use std::time::Duration;

/// For how long what was approved in a ticket is good: usually, at most.
const GOOD_FOR: Duration = Duration::from_hours(7 * 24);
const LONGEST: Duration = Duration::from_hours(90 * 24);
/// The most places or types that are named.
const MOST: usize = 20;

/// `None`: nothing there counts beforehand, or something is wrong. `places` is where a ticket may stand if nothing is said; what is
/// named has to be `fine`.
pub(super) fn check(
    section: &ChannelSection,
    common: &Common<'_>,
    places: &[&str],
    (fine, remedy): (fn(&str) -> bool, &str),
    faults: &mut Vec<Fault>,
) -> Option<Beforehand> {
    if !section.preapproves.unwrap_or(false) {
        for (key, there) in [
            ("preapproved_in", section.preapproved_in.is_some()),
            ("preapproved_types", section.preapproved_types.is_some()),
            ("preapproved_for", section.preapproved_for.is_some()),
        ] {
            if there {
                let remedy = "set `preapproves = true`, or take it out";
                faults.push(common.fault(key, "nothing there counts beforehand", remedy));
            }
        }
        return None;
    }
    let before = faults.len();
    let mut names = |key: &str, named: &[String]| {
        if named.is_empty() || named.len() > MOST {
            faults.push(common.fault(key, "this names nothing, or too much", "name 1 to 20, or take it out"));
        }
        let named = named.iter().map(|name| checked(key, name, fine, remedy, common));
        named.filter_map(|name| kept(name, faults)).collect::<Vec<_>>()
    };
    let stands_in = match &section.preapproved_in {
        Some(named) => names("preapproved_in", named),
        None => places.iter().map(|place| (*place).to_owned()).collect(),
    };
    let types =
        section.preapproved_types.as_ref().map_or_else(Vec::new, |named| names("preapproved_types", named));
    let good_for = section.preapproved_for.map_or(GOOD_FOR, |span| span.0);
    if good_for.is_zero() || good_for > LONGEST {
        let why = "nothing is good for so long, or so short";
        faults.push(common.fault("preapproved_for", why, "use `1s` to `2160h`"));
    }
    (faults.len() == before).then_some(Beforehand { stands_in, types, good_for })
}
