//! A channel of kind `slack`.

use super::{ChannelSection, Common, Made, Speaks};
use crate::slack::{Api, Door, Pace, Signing, Slack, Socket};
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;
use tokio::sync::Semaphore;

const API: &str = "https://slack.com/api/";
const CHANNEL_REMEDY: &str =
    "write the channel's id, such as `C0123456789`: it stands at the end of its details in Slack";

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    let own = [
        "token_from",
        "channel",
        "signing_secret_from",
        "previous_signing_secret_from",
        "app_token_from",
        "api",
    ];
    section.foreign(&own, common, faults);
    let keys = ["signing_secret_from", "previous_signing_secret_from"];
    let texts = [section.signing_secret_from.as_ref(), section.previous_signing_secret_from.as_ref()];
    let signing = common.changing(keys, texts, faults);
    let app_token = section.app_token_from.as_ref().map(|text| common.secret("app_token_from", text));
    let app_token = app_token.and_then(|app_token| kept(app_token, faults));
    if section.app_token_from.is_some() && section.signing_secret_from.is_some() {
        let why = "with Socket Mode Slack sends nothing that would be signed";
        faults.push(common.fault("app_token_from", why, "take out this, or `signing_secret_from`"));
    }
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
    let api = |token| Api { outward: outward.clone(), path: path.clone(), token };
    let slack = Slack {
        api: api(token),
        channel,
        room: common.room,
        give_up_after: common.give_up_after,
        pace: Arc::new(Semaphore::new(1)),
        listens: signing.is_some() || app_token.is_some(),
    };
    let signing = signing.map(|(present, previous)| Signing { present, previous });
    let speaks = match (common.name.clone(), signing, app_token) {
        (Some(name), _, Some(app_token)) => {
            let door = Door::new(slack.clone(), name, None);
            Speaks::Socket(Box::new(Socket { door, api: api(app_token), pace: Pace::of(common.time_limit) }))
        }
        (Some(name), Some(signing), None) => {
            Speaks::Slack(Box::new(Door::new(slack.clone(), name, Some(signing))))
        }
        (_, None, None) | (None, _, _) => Speaks::Never,
    };
    Some(Made { kind: "slack", place, tell: Arc::new(slack), speaks })
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
