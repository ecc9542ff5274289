//! Version 1: one file for each kind of thing.

pub(crate) mod accounts;
pub(crate) mod actions;
pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod bindings;
pub(crate) mod channels;
pub(crate) mod chats;
pub(crate) mod events;
pub(crate) mod freezes;
pub(crate) mod glass;
pub(crate) mod ledger;
pub(crate) mod passkeys;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod reading;
pub(crate) mod said;
pub(crate) mod scim;
pub(crate) mod session;
pub(crate) mod subscriptions;
pub(crate) mod summons;
pub(crate) mod tools;
pub(crate) mod upkeep;
pub(crate) mod votes;

use crate::console::Console;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Every route, with its description.
pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new()
        .routes(routes!(session::open_by_link))
        .routes(routes!(session::passkey_options))
        .routes(routes!(session::open_by_passkey))
        .routes(routes!(accounts::begin))
        .routes(routes!(accounts::link))
        .routes(routes!(accounts::unlink))
        .routes(routes!(session::show, session::close))
        .routes(routes!(reading::begin))
        .routes(routes!(reading::ask))
        .routes(routes!(reading::answer))
        .routes(routes!(reading::list, reading::create))
        .routes(routes!(reading::end))
        .routes(routes!(passkeys::list, passkeys::register))
        .routes(routes!(passkeys::options))
        .routes(routes!(passkeys::remove))
        .routes(routes!(passkeys::of_person))
        .routes(routes!(subscriptions::list, subscriptions::subscribe))
        .routes(routes!(subscriptions::unsubscribe))
        .routes(routes!(subscriptions::test))
        .routes(routes!(subscriptions::of_person))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::show))
        .routes(routes!(approvals::revoke))
        .routes(routes!(summons::open))
        .routes(routes!(votes::ballot))
        .routes(routes!(votes::cast))
        .routes(routes!(glass::review))
        .routes(routes!(glass::open))
        .routes(routes!(actions::list))
        .routes(routes!(actions::show))
        .routes(routes!(actions::proof))
        .routes(routes!(actions::resolve))
        .routes(routes!(actions::unresolved))
        .routes(routes!(ledger::show))
        .routes(routes!(ledger::export))
        .routes(routes!(upkeep::tiles))
        .routes(routes!(upkeep::redact))
        .routes(routes!(policy::targets))
        .routes(routes!(tools::list))
        .routes(routes!(tools::show))
        .routes(routes!(tools::look))
        .routes(routes!(tools::decide))
        .routes(routes!(policy::show))
        .routes(routes!(policy::why))
        .routes(routes!(agents::list, agents::create))
        .routes(routes!(agents::show, agents::change, agents::disable))
        .routes(routes!(agents::tokens, agents::create_token))
        .routes(routes!(agents::revoke_token))
        .routes(routes!(agents::chain))
        .routes(routes!(agents::issuers))
        .routes(routes!(agents::activity))
        .routes(routes!(people::list, people::invite))
        .routes(routes!(people::link))
        .routes(routes!(people::transmitters))
        .routes(routes!(people::role))
        .routes(routes!(people::sign_out))
        .routes(routes!(people::delegate, people::end_delegation))
        .routes(routes!(people::show, people::change, people::disable))
        .routes(routes!(bindings::look))
        .routes(routes!(bindings::everybody, bindings::bind))
        .routes(routes!(bindings::list))
        .routes(routes!(bindings::unbind))
        .routes(routes!(scim::list, scim::create))
        .routes(routes!(scim::revoke))
        .routes(routes!(freezes::list, freezes::set, freezes::lift))
        .routes(routes!(channels::list))
        .routes(routes!(channels::outgoing))
        .routes(routes!(channels::replay))
        .routes(routes!(said::said))
        .routes(routes!(chats::slack))
        .routes(routes!(chats::teams))
        .routes(routes!(chats::jira))
        .routes(routes!(events::stream))
}
