//! A channel of kind `email`.

use super::{ChannelSection, Common, Made, Speaks, is_this_machine};
use crate::email::{CONNECTIONS, Email, Login, Security, Sender, Smtp};
use countersign_pep::{Fault, NOT_A_REFERENCE, Origin, kept, tls::UpstreamTlsSection};
use lettre::Address;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::Semaphore;

const SERVER_REMEDY: &str =
    "write the mail server's name, such as `smtp.example.com`, and its port in `port`";
const ADDRESS_REMEDY: &str = "write one address, such as `countersign@example.com`";
const TLS_REMEDY: &str = "write `implicit` or `starttls`; `none` for a server on this machine";

/// What was written of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Implicit,
    StartTls,
    /// Only on this machine.
    None,
    /// Anywhere.
    Insecure,
}

pub(super) fn check(section: &ChannelSection, common: &Common<'_>, faults: &mut Vec<Fault>) -> Option<Made> {
    let own =
        ["server", "port", "tls", "user", "password_from", "from", "to", "reply_to", "most_each", "groups"];
    section.foreign(&own, common, faults);
    let wanted = kept(wanted(section, common), faults);
    let origin = kept(origin(section, common, wanted.unwrap_or(Wanted::Implicit)), faults);
    let security = wanted.and_then(|wanted| kept(security(section, common, wanted), faults));
    let login = kept(login(section, common, wanted), faults);
    let from = common.needed("from", section.from.as_ref(), ADDRESS_REMEDY);
    let from = kept(from.and_then(|text| address("from", text, common)), faults);
    let reply_to = section.reply_to.as_deref().map(|text| address("reply_to", text, common)).transpose();
    let reply_to = kept(reply_to, faults);
    let listed: BTreeSet<&String> = section.to.iter().flatten().collect();
    let to: Vec<Address> =
        listed.into_iter().filter_map(|text| kept(address("to", text, common), faults)).collect();
    if section.to.as_ref().is_some_and(Vec::is_empty) {
        let why = "nobody would be written to";
        faults.push(common.fault(
            "to",
            why,
            "name addresses, or take it out: then those who may decide are written to",
        ));
    }
    let (most_each, groups) = (section.most_each(common, faults), section.groups(common, faults));
    for (key, there) in [("most_each", most_each.is_some()), ("groups", groups.is_some())] {
        if there && section.to.is_some() {
            let why = "this is for people who may decide, and those in `to` are nobody in particular";
            faults.push(common.fault(key, why, "take one of them out"));
        }
    }
    let ((origin, security), (login, from)) = (origin.zip(security)?, login.zip(from)?);
    let place = format!("smtp://{}, from {from}", origin.authority);
    let sender = Sender { from: from.to_string(), reply_to: reply_to?.map(|to| to.to_string()) };
    let email = Email {
        smtp: Smtp { origin, security, login, time_limit: common.time_limit },
        sender,
        from,
        to,
        channel: common.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        room: common.room,
        give_up_after: common.give_up_after,
        most_each,
        groups,
        turns: Arc::new(Semaphore::new(CONNECTIONS)),
        sent: Arc::default(),
    };
    Some(Made { kind: "email", place, tell: Arc::new(email), speaks: Speaks::Never, vouches: None })
}

fn wanted(section: &ChannelSection, common: &Common<'_>) -> Result<Wanted, Fault> {
    match section.tls.as_deref() {
        None | Some("implicit") => Ok(Wanted::Implicit),
        Some("starttls") => Ok(Wanted::StartTls),
        Some("none") => Ok(Wanted::None),
        Some("insecure") => Ok(Wanted::Insecure),
        Some(other) => Err(common.fault("tls", format!("`{other}` is not known"), TLS_REMEDY)),
    }
}

fn origin(section: &ChannelSection, common: &Common<'_>, wanted: Wanted) -> Result<Origin, Fault> {
    let host = common.needed("server", section.server.as_ref(), SERVER_REMEDY)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) || host.starts_with(['-', '.']) {
        let why = format!("`{}` is no server's name", countersign_core::visible::name(host));
        return Err(common.fault("server", why, SERVER_REMEDY));
    }
    // A name with a port behind it is no address of the sixth version.
    if host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err() {
        return Err(common.fault("server", "this names a port", SERVER_REMEDY));
    }
    if wanted == Wanted::None && !is_this_machine(host) {
        let why = "without TLS anybody on the way reads what is asked, and can follow the links";
        return Err(common.fault("tls", why, TLS_REMEDY));
    }
    let port = section.port.unwrap_or(match wanted {
        Wanted::Implicit => 465,
        Wanted::StartTls => 587,
        Wanted::None | Wanted::Insecure => 25,
    });
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let tls = matches!(wanted, Wanted::Implicit | Wanted::StartTls);
    Ok(Origin { tls, host: host.to_owned(), port, authority, connect_to: None })
}

fn security(section: &ChannelSection, common: &Common<'_>, wanted: Wanted) -> Result<Security, Fault> {
    let tls = || {
        let tls = UpstreamTlsSection { ca: section.ca.clone(), ..UpstreamTlsSection::default() };
        tls.connector(&common.place, common.folder, &[])
            .map_err(|fault| Fault { place: format!("{}.ca", common.place), ..fault })
    };
    Ok(match wanted {
        Wanted::Implicit => Security::Implicit(tls()?),
        Wanted::StartTls => Security::StartTls(tls()?),
        Wanted::None | Wanted::Insecure => Security::Nothing,
    })
}

fn login(
    section: &ChannelSection,
    common: &Common<'_>,
    wanted: Option<Wanted>,
) -> Result<Option<Login>, Fault> {
    let Some(reference) = &section.password_from else {
        return match &section.user {
            None => Ok(None),
            Some(_) => Err(common.fault("password_from", "a user needs a password", NOT_A_REFERENCE)),
        };
    };
    let user = common.needed("user", section.user.as_ref(), "write as whom the gateway signs in there")?;
    if wanted == Some(Wanted::Insecure) {
        let why = "a password never goes anywhere without TLS";
        return Err(common.fault("password_from", why, TLS_REMEDY));
    }
    Ok(Some(Login { user: user.to_owned(), password: common.secret("password_from", reference)? }))
}

/// One address in ASCII, without a name beside it.
fn address(key: &str, text: &str, common: &Common<'_>) -> Result<Address, Fault> {
    let plain = text.len() <= 254
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"()[],;:\\".contains(&byte));
    let address = text.parse().ok().filter(|_| plain);
    address.ok_or_else(|| {
        let why = format!("`{}` is no address", countersign_core::visible::name(text));
        common.fault(key, why, ADDRESS_REMEDY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    type Change = fn(&mut ChannelSection);

    fn section(server: &str, tls: Option<&str>) -> ChannelSection {
        ChannelSection {
            name: "mail".into(),
            kind: "email".into(),
            server: Some(server.into()),
            tls: tls.map(str::to_owned),
            from: Some("countersign@example.com".into()),
            ..ChannelSection::default()
        }
    }

    fn faults(section: ChannelSection) -> Vec<String> {
        let faults = section.check(Path::new("/")).err().unwrap_or_default();
        assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
        faults.into_iter().map(|fault| fault.place).collect()
    }

    #[test]
    fn nothing_goes_without_tls_off_this_machine_unless_that_is_written() {
        for (server, tls, place, wrong) in [
            ("smtp.example.com", None, "smtp://smtp.example.com:465, from countersign@example.com", None),
            (
                "smtp.example.com",
                Some("starttls"),
                "smtp://smtp.example.com:587, from countersign@example.com",
                None,
            ),
            ("127.0.0.1", Some("none"), "smtp://127.0.0.1:25, from countersign@example.com", None),
            ("::1", Some("none"), "smtp://[::1]:25, from countersign@example.com", None),
            (
                "relay.example.com",
                Some("insecure"),
                "smtp://relay.example.com:25, from countersign@example.com",
                None,
            ),
            ("smtp.example.com", Some("none"), "", Some("tls")),
            ("smtp.example.com", Some("tls"), "", Some("tls")),
            ("smtp.example.com:25", None, "", Some("server")),
            ("smtp://x", None, "", Some("server")),
            ("", None, "", Some("server")),
        ] {
            let want: Vec<_> = wrong.map(|key| format!("channel.mail.{key}")).into_iter().collect();
            match section(server, tls).check(Path::new("/")) {
                Ok(made) => assert_eq!((&*made.spec().place, want), (place, vec![]), "{server} {tls:?}"),
                Err(_) => assert_eq!(faults(section(server, tls)), want, "{server} {tls:?}"),
            }
        }
    }

    #[test]
    fn addresses_are_one_each_and_a_password_is_a_reference_and_goes_under_tls() {
        let with = |change: Change| {
            let mut section = section("smtp.example.com", Some("starttls"));
            change(&mut section);
            faults(section)
        };
        assert!(
            with(|section| section.to = Some(vec!["a@example.com".into(), "b@example.com".into()]))
                .is_empty()
        );
        let cases: [(Change, &str); 14] = [
            (|section| section.from = None, "from"),
            (|section| section.from = Some("Ana <ana@example.com>".into()), "from"),
            (|section| section.from = Some("ana@example.com\r\nBcc: x@example.com".into()), "from"),
            (|section| section.reply_to = Some("a@example.com, b@example.com".into()), "reply_to"),
            (|section| section.to = Some(vec!["äna@example.com".into()]), "to"),
            (|section| section.to = Some(vec![]), "to"),
            (|section| section.groups = Some(vec![]), "groups"),
            (
                |section| {
                    (section.groups, section.to) =
                        (Some(vec!["dba".into()]), Some(vec!["a@example.com".into()]));
                },
                "groups",
            ),
            (
                |section| (section.most_each, section.to) = (Some(5), Some(vec!["a@example.com".into()])),
                "most_each",
            ),
            (|section| section.user = Some("ana".into()), "password_from"),
            (|section| section.password_from = Some("env:PASSWORD".into()), "user"),
            (
                |section| {
                    (section.user, section.password_from) = (Some("ana".into()), Some("hunter2".into()));
                },
                "password_from",
            ),
            (
                |section| {
                    section.tls = Some("insecure".into());
                    (section.user, section.password_from) = (Some("ana".into()), Some("env:PASSWORD".into()));
                },
                "password_from",
            ),
            (|section| section.url = Some("https://x".into()), "url"),
        ];
        for (at, (change, key)) in cases.into_iter().enumerate() {
            assert_eq!(with(change), [format!("channel.mail.{key}")], "{at}");
        }
    }
}
