//! A channel of kind `slack`.

use super::{ChannelSection, Common, Made, Speaks};
use crate::{
    outward::Outward,
    slack::{Api, Door, Pace, People, Signing, Slack, Socket},
};
use countersign_core::ChannelName;
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::sync::Arc;
use tokio::sync::Semaphore;

const API: &str = "https://slack.com/api/";
const CHANNEL_REMEDY: &str =
    "write the channel's id, such as `C0123456789`: it stands at the end of its details in Slack";

const OF_PEOPLE: [&str; 5] = ["token_from", "people_of", "most_each", "groups", "api"];
const OF_A_CHANNEL: [&str; 6] =
    ["token_from", "channel", "signing_secret_from", "previous_signing_secret_from", "app_token_from", "api"];

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    let direct = section.people_of.is_some();
    let own: &[&str] = if direct { &OF_PEOPLE } else { &OF_A_CHANNEL };
    section.foreign(own, common, faults);
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
    let channel = if direct {
        // Each conversation has a channel of its own.
        Some(String::new())
    } else {
        let channel = common.needed("channel", section.channel.as_ref(), CHANNEL_REMEDY);
        kept(channel.and_then(|id| checked_channel(id, common)), faults)
    };
    let people_of = section.people_of.as_ref().map(|name| {
        ChannelName::new(name.as_str())
            .map_err(|error| common.fault("people_of", error.to_string(), "name a channel of kind `slack`"))
    });
    let people_of = people_of.and_then(|name| kept(name, faults));
    let (most_each, groups) = (section.most_each(common, faults), section.groups(common, faults));
    let (outward, path) = kept(methods(section, common), faults)?;
    let (token, channel) = token.zip(channel)?;
    let place = match &people_of {
        Some(of) => format!("{}, people of {of}", outward.origin),
        None => format!("{}, {channel}", outward.origin),
    };
    let api = |token| Api { outward: outward.clone(), path: path.clone(), token };
    let slack = Slack {
        api: api(token),
        channel,
        room: common.room,
        give_up_after: common.give_up_after,
        pace: Arc::new(Semaphore::new(1)),
        // What is clicked in a conversation comes to the channel whose people are written to.
        listens: signing.is_some() || app_token.is_some() || direct,
    };
    if let Some(of) = people_of {
        let people = People { slack, of, most_each, groups, sent: Arc::default(), paces: Arc::default() };
        return Some(Made {
            kind: "slack",
            place,
            tell: Arc::new(people),
            speaks: Speaks::Never,
            vouches: None,
        });
    }
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
    Some(Made { kind: "slack", place, tell: Arc::new(slack), speaks, vouches: None })
}

/// Where the methods are.
fn methods(section: &ChannelSection, common: &Common<'_>) -> Result<(Outward, String), Fault> {
    let api = section.api.as_deref().unwrap_or(API);
    let (outward, path) = common.outward("api", api, section.ca.as_ref())?;
    if path.contains('?') {
        let remedy = "write where the methods are, such as `https://slack.com/api/`";
        return Err(common.fault("api", "this has a query", remedy));
    }
    Ok((outward, if path.ends_with('/') { path } else { path + "/" }))
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
