//! What is promised about strength and size, on the page's own words.

use super::*;

#[test]
fn presets_are_reasons_a_requester_can_act_on() {
    assert_eq!(PRESETS, ["Not expected", "Wrong target", "Too broad", "Needs a ticket"]);
    assert_eq!(LARGE, 262_144);
}
