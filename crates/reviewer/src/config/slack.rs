//! A channel of kind `slack`.

use super::{ChannelSection, Common, Made, Speaks};
use crate::slack::{Api, Door, Signing, Slack};
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;
use tokio::sync::Semaphore;

const API: &str = "https://slack.com/api/";
const CHANNEL_REMEDY: &str =
    "write the channel's id, such as `C0123456789`: it stands at the end of its details in Slack";

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    let own = ["token_from", "channel", "signing_secret_from", "previous_signing_secret_from", "api"];
    section.foreign(&own, common, faults);
    let keys = ["signing_secret_from", "previous_signing_secret_from"];
    let texts = [section.signing_secret_from.as_ref(), section.previous_signing_secret_from.as_ref()];
    let signing = common.changing(keys, texts, faults);
    let token = common
        .needed("token_from", section.token_from.as_ref(), NOT_A_REFERENCE)
        .and_then(|text| common.secret("token_from", text));
    let token = kept(token, faults);
    let channel = common.needed("channel", section.channel.as_ref(), CHANNEL_REMEDY);
    let channel = kept(channel.and_then(|id| checked_channel(id, common)), faults);
    let api = section.api.as_deref().unwrap_or(API);
    let api = common.outward("api", api, section.ca.as_ref()).and_then(|(outward, path)| {
        if path.contains('?') {
            return Err(common.fault(
                "api",
                "this has a query",
                "write where the methods are, such as `https://slack.com/api/`",
            ));
        }
        Ok((outward, if path.ends_with('/') { path } else { path + "/" }))
    });
    let (outward, path) = kept(api, faults)?;
    let (token, channel) = token.zip(channel)?;
    let place = format!("{}, {channel}", outward.origin);
    let slack = Slack {
        api: Api { outward, path, token },
        channel,
        room: common.room,
        give_up_after: common.give_up_after,
        pace: Arc::new(Semaphore::new(1)),
        listens: signing.is_some(),
    };
    let speaks = match signing.zip(common.name.clone()) {
        Some(((present, previous), name)) => {
            Speaks::Slack(Box::new(Door::new(slack.clone(), name, Signing { present, previous })))
        }
        None => Speaks::Never,
    };
    Some(Made { kind: "slack", place, tell: Arc::new(slack), speaks, vouches: None })
}

/// A channel's id: public (`C`), private (`G`) or direct (`D`). Names change, ids do not.
fn checked_channel(id: &str, common: &Common<'_>) -> Result<String, Fault> {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let fine = id.len() >= 9 && id.len() <= 32 && id.starts_with(['C', 'G', 'D']) && id.bytes().all(plain);
    if !fine {
        return Err(common.fault("channel", format!("`{id}` is no channel's id"), CHANNEL_REMEDY));
    }
    Ok(id.to_owned())
}
