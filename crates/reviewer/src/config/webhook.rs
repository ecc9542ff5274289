//! A channel of kind `webhook`.

use super::{ChannelSection, Common, Made, Speaks, URL_REMEDY};
use crate::webhook::{Inward, Secrets, Webhook};
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    let own =
        ["url", "secret_from", "previous_secret_from", "inward_secret_from", "previous_inward_secret_from"];
    section.foreign(&own, common, faults);
    let speaks = inward(section, common, faults).map_or(Speaks::Never, Speaks::Events);
    let secrets = secrets(section, common, faults);
    let url = common.needed("url", section.url.as_ref(), URL_REMEDY);
    let outward = url.and_then(|url| common.outward("url", url, section.ca.as_ref()));
    let (secrets, (outward, path)) = secrets.zip(kept(outward, faults))?;
    let place = outward.origin.to_string();
    let (room, give_up_after) = (common.room, common.give_up_after);
    let tell = Arc::new(Webhook { outward, path, secrets, room, give_up_after });
    Some(Made { kind: "webhook", place, tell, speaks, vouches: None })
}

fn inward(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Inward> {
    let keys = ["inward_secret_from", "previous_inward_secret_from"];
    let texts = [section.inward_secret_from.as_ref(), section.previous_inward_secret_from.as_ref()];
    let outward = [section.secret_from.as_ref(), section.previous_secret_from.as_ref()];
    let mut shared = false;
    for (key, text) in keys.into_iter().zip(texts) {
        if text.is_some_and(|text| outward.into_iter().flatten().any(|known| known == text)) {
            let why = "whoever is told could speak with the secret they are told with";
            faults.push(common.fault(key, why, "make another secret for this way"));
            shared = true;
        }
    }
    if shared {
        return None;
    }
    let (present, previous) = common.changing(keys, texts, faults)?;
    Some(Inward(Secrets { present, previous }))
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
