//! A channel of kind `push`.

use super::{ChannelSection, Common, Made, Speaks, is_this_machine};
use crate::push::{Host, Push, Services, USUAL};
use countersign_pep::{Fault, Origin, kept, tls::UpstreamTlsSection};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

const SERVICES_REMEDY: &str =
    "write the name of a push service, such as `fcm.googleapis.com` or `*.notify.windows.com`";
const PRIVATE_REMEDY: &str =
    "write an origin, such as `https://push.example.com:8443`, or `http` on this machine";
const CONTACT_REMEDY: &str = "write `mailto:` and an address, or an `https` address";
const SHOW_REMEDY: &str =
    "write how many characters of a sentence are shown, `0` to `500`: a longer one is left out";
/// What a phone shows for certain, once a notification is unfolded.
const SHOW: usize = 180;
const MOST_SHOWN: usize = 500;
const PLACE: &str = "the devices of whoever may decide";

pub(super) fn check(
    section: &ChannelSection,
    common: &Common<'_>,
    faults: &mut Vec<Fault>,
) -> Option<(Made, Arc<Push>)> {
    section.foreign(&["services", "private_services", "contact", "most_each"], common, faults);
    let show = section.show.unwrap_or(SHOW);
    if show > MOST_SHOWN {
        faults.push(common.fault("show", "no phone shows so much", SHOW_REMEDY));
    }
    let most_each = section.most_each(common, faults);
    let usual = || USUAL.iter().map(|host| (*host).to_owned()).collect();
    let named: Vec<String> = section.services.clone().unwrap_or_else(usual);
    let public = named.iter().filter_map(|text| {
        let unknown = || {
            let why = format!("`{}` is no name of a push service", countersign_core::visible::name(text));
            common.fault("services", why, SERVICES_REMEDY)
        };
        kept(Host::read(text).ok_or_else(unknown), faults)
    });
    let public: Vec<Host> = public.collect();
    let private = section.private_services.iter().flatten();
    let private: Vec<Origin> = private.filter_map(|text| kept(origin(text, common), faults)).collect();
    if named.is_empty() && section.private_services.as_ref().is_none_or(Vec::is_empty) {
        faults.push(common.fault("services", "no device could be told", SERVICES_REMEDY));
    }
    let contact = section.contact.as_deref().map(|text| contact(text, common)).transpose();
    let contact = kept(contact, faults);
    let tls = UpstreamTlsSection { ca: section.ca.clone(), ..UpstreamTlsSection::default() };
    let tls = tls
        .connector(&common.place, common.folder, &[b"http/1.1"])
        .map_err(|fault| Fault { place: format!("{}.ca", common.place), ..fault });
    let (contact, tls) = contact.zip(kept(tls, faults))?;
    let push = Arc::new(Push {
        services: Services { public, private, tls, time_limit: common.time_limit },
        contact,
        show,
        give_up_after: common.give_up_after,
        most_each,
        opened: OnceLock::new(),
        memory: Mutex::default(),
    });
    let tell = Arc::clone(&push) as Arc<dyn crate::channel::Tell>;
    Some((Made { kind: "push", place: PLACE.into(), tell, speaks: Speaks::Never, vouches: None }, push))
}

fn origin(text: &str, common: &Common<'_>) -> Result<Origin, Fault> {
    let refuse = |why: &str| common.fault("private_services", why, PRIVATE_REMEDY);
    let (origin, url) =
        Origin::read(&common.place, text, None, PRIVATE_REMEDY).map_err(|_| refuse("this is no origin"))?;
    if url.path() != "/" || url.query().is_some() {
        return Err(refuse("this has a path"));
    }
    if !origin.tls && !is_this_machine(&origin.host) {
        return Err(refuse("without TLS anybody on the way sees who is told, and when"));
    }
    Ok(origin)
}

/// Whom a push service writes to (RFC 8292, section 2.1).
fn contact(text: &str, common: &Common<'_>) -> Result<String, Fault> {
    let plain = text.len() <= 254 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mail = text.strip_prefix("mailto:").is_some_and(|to| to.parse::<lettre::Address>().is_ok());
    let page = text.starts_with("https://") && url::Url::parse(text).is_ok();
    if plain && (mail || page) {
        return Ok(text.to_owned());
    }
    let why =
        format!("`{}` is nothing that somebody could be written to", countersign_core::visible::name(text));
    Err(common.fault("contact", why, CONTACT_REMEDY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    type Change = fn(&mut ChannelSection);

    fn section() -> ChannelSection {
        ChannelSection { name: "phones".into(), kind: "push".into(), ..ChannelSection::default() }
    }

    #[test]
    fn it_needs_nothing_and_goes_to_the_push_services_that_are_named() {
        let made = section().check(Path::new("/")).unwrap();
        assert_eq!((made.spec().kind, &*made.spec().place), ("push", PLACE));
        assert!(made.push().is_some() && made.spec().together.is_some());
        let cases: [(Change, Option<&str>); 16] = [
            (|one| one.services = Some(vec!["push.example.com".into(), "*.push.example.com".into()]), None),
            (|one| one.private_services = Some(vec!["https://push.lan:8443".into()]), None),
            (|one| one.private_services = Some(vec!["http://127.0.0.1:8080".into()]), None),
            (|one| one.contact = Some("mailto:ops@example.com".into()), None),
            (|one| one.contact = Some("https://example.com/ops".into()), None),
            (|one| (one.show, one.most_each) = (Some(0), Some(5)), None),
            (|one| one.services = Some(vec![]), Some("services")),
            (|one| one.services = Some(vec!["https://fcm.googleapis.com".into()]), Some("services")),
            (|one| one.services = Some(vec!["10.0.0.1".into()]), Some("services")),
            (|one| one.private_services = Some(vec!["http://push.lan".into()]), Some("private_services")),
            (|one| one.private_services = Some(vec!["https://push.lan/x".into()]), Some("private_services")),
            (|one| one.contact = Some("ops@example.com".into()), Some("contact")),
            (|one| one.show = Some(501), Some("show")),
            (|one| one.most_each = Some(0), Some("most_each")),
            (|one| one.groups = Some(vec!["dba".into()]), Some("groups")),
            (|one| one.url = Some("https://x".into()), Some("url")),
        ];
        for (at, (change, wrong)) in cases.into_iter().enumerate() {
            let mut section = section();
            change(&mut section);
            let faults = section.check(Path::new("/")).err().unwrap_or_default();
            let places: Vec<_> = faults.into_iter().map(|fault| fault.place).collect();
            let want: Vec<_> = wrong.map(|key| format!("channel.phones.{key}")).into_iter().collect();
            assert_eq!(places, want, "{at}");
        }
    }
}
