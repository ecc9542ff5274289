//! A channel of kind `teams`.

use super::{ChannelSection, Common, Made, Speaks};
use crate::{
    outward::Outward,
    teams::{Api, Believed, Door, Login, Teams},
};
use countersign_pep::{Fault, NOT_A_REFERENCE, kept};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::Semaphore;
use url::Url;

const SERVICE: &str = "https://smba.trafficmanager.net/teams/";
const LOGIN: &str = "https://login.microsoftonline.com/";
const ISSUER: &str = "https://api.botframework.com";
const OPENID: &str = "https://login.botframework.com/v1/.well-known/openidconfiguration";
const ID_REMEDY: &str =
    "copy it from the registration of the app in Microsoft Entra: `00000000-0000-0000-0000-000000000000`";
const CONVERSATION_REMEDY: &str = "write the id of a channel, such as `19:…@thread.tacv2`, or of a chat";

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    let own = [
        "app_id",
        "tenant",
        "client_secret_from",
        "conversation",
        "decides",
        "service",
        "login",
        "issuer",
        "openid",
    ];
    section.foreign(&own, common, faults);
    let mut id = |key, text: Option<&String>| {
        let text = common.needed(key, text, ID_REMEDY).and_then(|text| guid(key, text, common));
        kept(text, faults)
    };
    let (app, tenant) = (id("app_id", section.app_id.as_ref()), id("tenant", section.tenant.as_ref()));
    let secret = common
        .needed("client_secret_from", section.client_secret_from.as_ref(), NOT_A_REFERENCE)
        .and_then(|text| common.secret("client_secret_from", text));
    let secret = kept(secret, faults);
    let conversation = common.needed("conversation", section.conversation.as_ref(), CONVERSATION_REMEDY);
    let conversation = kept(conversation.and_then(|id| checked_conversation(id, common)), faults);
    let ca = section.ca.as_ref();
    let service = kept(base("service", section.service.as_deref().unwrap_or(SERVICE), ca, common), faults);
    let login = kept(base("login", section.login.as_deref().unwrap_or(LOGIN), ca, common), faults);
    let issuer = section.issuer.as_deref().unwrap_or(ISSUER).trim_end_matches('/').to_owned();
    let openid = section.openid.as_deref().unwrap_or(OPENID);
    // Checked as every address is; it is fetched by whoever looks at tokens.
    let openid = common.outward("openid", openid, ca).and_then(|_| {
        Url::parse(openid).map_err(|error| common.fault("openid", error.to_string(), super::URL_REMEDY))
    });
    let openid = kept(openid, faults);
    let ((app, tenant), (secret, conversation)) = (app.zip(tenant)?, secret.zip(conversation)?);
    let ((outward, path), (at_login, login_path)) = service.zip(login)?;
    let place = format!("{}, {conversation}", outward.origin);
    let login = Login {
        outward: at_login,
        path: format!("{login_path}{tenant}/oauth2/v2.0/token"),
        app: app.clone(),
        secret,
        scope: format!("{issuer}/.default"),
        kept: Arc::default(),
    };
    let listens = section.decides.unwrap_or(false);
    let teams = Teams {
        api: Api { outward, path, login },
        app: app.clone(),
        tenant,
        conversation,
        room: common.room,
        give_up_after: common.give_up_after,
        pace: Arc::new(Semaphore::new(1)),
        listens,
    };
    let ca = ca.map(|ca| common.folder.join(ca));
    let believed = Believed { issuer, audience: app, openid: openid?, ca };
    let speaks = match common.name.clone().filter(|_| listens) {
        Some(name) => Speaks::Teams(Box::new(Door::new(teams.clone(), name, believed))),
        None => Speaks::Never,
    };
    Some(Made { kind: "teams", place, tell: Arc::new(teams), speaks, vouches: None })
}

/// An address that paths are put behind.
pub(super) fn base(
    key: &str,
    text: &str,
    ca: Option<&PathBuf>,
    common: &Common<'_>,
) -> Result<(Outward, String), Fault> {
    let (outward, path) = common.outward(key, text, ca)?;
    if path.contains('?') {
        return Err(common.fault(key, "this has a query", "write the address that paths are put behind"));
    }
    Ok((outward, if path.ends_with('/') { path } else { path + "/" }))
}

/// An id as Entra gives them, in small letters.
fn guid(key: &str, text: &str, common: &Common<'_>) -> Result<String, Fault> {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fine = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(hex);
    if fine {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(common.fault(key, format!("`{text}` is no such id"), ID_REMEDY))
    }
}

/// A channel's id, or a chat's, without the message that a link to one ends in.
fn checked_conversation(id: &str, common: &Common<'_>) -> Result<String, Fault> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b';' | b'?' | b'#' | b'/' | b'%');
    if (8..=256).contains(&id.len()) && id.contains(':') && id.bytes().all(plain) {
        Ok(id.to_owned())
    } else {
        Err(common.fault("conversation", format!("`{id}` is no conversation's id"), CONVERSATION_REMEDY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn section() -> ChannelSection {
        ChannelSection {
            name: "ops".into(),
            kind: "teams".into(),
            app_id: Some("11111111-2222-4333-8444-55555555555A".into()),
            tenant: Some("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".into()),
            client_secret_from: Some("env:SECRET".into()),
            conversation: Some("19:abc_d-e@thread.tacv2".into()),
            ..ChannelSection::default()
        }
    }

    fn faults(section: ChannelSection) -> Vec<String> {
        let faults = section.check(Path::new("/")).err().unwrap_or_default();
        assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
        faults.into_iter().map(|fault| fault.place).collect()
    }

    #[test]
    fn it_goes_to_microsoft_or_where_nobody_on_the_way_can_read_it_and_decides_where_that_is_asked_for() {
        let ops = section().check(Path::new("/")).unwrap();
        let place = "https://smba.trafficmanager.net, 19:abc_d-e@thread.tacv2";
        assert_eq!((ops.spec().kind, &*ops.spec().place), ("teams", place));
        assert!(matches!(ops.speaks(), Speaks::Never), "off unless asked for");
        let ca = Path::new("/etc/countersign");
        let speaks = ChannelSection { decides: Some(true), ..section() }.check(ca).unwrap();
        let Speaks::Teams(door) = speaks.speaks() else { panic!("nobody listens") };
        let believed = door.believed();
        assert_eq!((&*believed.issuer, believed.openid.as_str()), (ISSUER, OPENID));
        assert_eq!(believed.audience, "11111111-2222-4333-8444-55555555555a");
        for (key, address, fine) in [
            ("service", "http://127.0.0.1:8080/x", true),
            ("service", "http://smba.example.com/x", false),
            ("service", "https://smba.example.com/?x=y", false),
            ("login", "https://login.microsoftonline.us", true),
            ("login", "http://login.microsoftonline.us", false),
            ("openid", "https://login.botframework.azure.us/v1/.well-known/openidconfiguration", true),
            ("openid", "http://login.botframework.azure.us/", false),
            ("openid", "https://user:hunter2@login.botframework.azure.us/", false),
        ] {
            let address = Some(address.to_owned());
            let other = match key {
                "service" => ChannelSection { service: address.clone(), ..section() },
                "login" => ChannelSection { login: address.clone(), ..section() },
                _ => ChannelSection { openid: address.clone(), ..section() },
            };
            let want: Vec<_> = (!fine).then(|| format!("channel.ops.{key}")).into_iter().collect();
            assert_eq!(faults(other), want, "{key} {address:?}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_key() {
        let wrong = ChannelSection {
            app_id: Some("Countersign".into()),
            tenant: None,
            client_secret_from: Some("hunter2".into()),
            conversation: Some("19:x@thread.tacv2;messageid=1".into()),
            token_from: Some("env:TOKEN".into()),
            ..section()
        };
        let keys = ["token_from", "app_id", "tenant", "client_secret_from", "conversation"];
        assert_eq!(faults(wrong), keys.map(|key| format!("channel.ops.{key}")));
        for conversation in ["general", "19:../x", "19:a b@thread.v2", ""] {
            let wrong = ChannelSection { conversation: Some(conversation.into()), ..section() };
            assert_eq!(faults(wrong), ["channel.ops.conversation"], "{conversation}");
        }
        let slack = ChannelSection { kind: "webhook".into(), ..section() };
        assert_eq!(faults(slack).iter().filter(|place| place.ends_with("tenant")).count(), 1);
    }
}
