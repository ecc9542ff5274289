//! A channel of kind `webhook`.

use super::{ChannelSection, Common, Made, URL_REMEDY};
use crate::webhook::{Secrets, Webhook};
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    section.foreign(&["url", "secret_from", "previous_secret_from"], common, faults);
    let secrets = secrets(section, common, faults);
    let url = common.needed("url", section.url.as_ref(), URL_REMEDY);
    let outward = url.and_then(|url| common.outward("url", url, section.ca.as_ref()));
    let (secrets, (outward, path)) = secrets.zip(kept(outward, faults))?;
    let place = outward.origin.to_string();
    let (room, give_up_after) = (common.room, common.give_up_after);
    Some(("webhook", place, Arc::new(Webhook { outward, path, secrets, room, give_up_after })))
}

fn secrets(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Secrets> {
    let present = common
        .needed("secret_from", section.secret_from.as_ref(), NOT_A_REFERENCE)
        .and_then(|text| common.secret("secret_from", text));
    let present = kept(present, faults);
    let previous = section.previous_secret_from.as_deref();
    let previous = previous.map(|text| kept(common.secret("previous_secret_from", text), faults));
    Some(Secrets { present: present?, previous: previous.flatten() })
}
