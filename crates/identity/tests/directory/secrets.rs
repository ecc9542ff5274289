//! Secrets are nowhere but in the hands of those they are for.

use crate::world::{ORIGIN, VISITOR, World, agent_of};
use countersign_identity::{Author, NewToken, Role};

#[tokio::test]
async fn planted_secrets_are_in_no_record_no_entry_no_error_and_no_debug_form() {
    let world = World::new().await;
    let directory = &world.directory;
    let (ana, link) = world.invite("Ana", &["sre"], Role::Reviewer).await;
    let first = directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    let (_, mut passkey) = world.add_passkey(&first.session).await;
    let second = world.sign_in(&mut passkey, ORIGIN).await.unwrap();
    let unused = directory.issue_link(Author::Operator, ana).await.unwrap();
    let agent = directory.create_agent(Author::Operator, agent_of(ana, "bot")).await.unwrap();
    let new = NewToken { agent, label: "ci".into(), expires: None, on_behalf_of: Some(ana) };
    let (_, token) = directory.create_token(Author::Operator, new).await.unwrap();

    let spent = directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap_err();
    let ended = directory.session(unused.secret.reveal()).await.unwrap_err();
    let cookie = directory.settings().cookie().set(&first.token);
    let seen = [
        world.store.everything(),
        format!("{:?} {:?}", directory.settings(), world.store.rows()),
        format!("{directory:?} {directory:#?} {link:?} {unused:?}"),
        format!("{first:?} {second:?} {token:?} {VISITOR:?} {cookie:?}"),
        format!("{:?} {:?} {:?}", directory.people(), directory.tokens(agent), directory.passkeys(ana)),
        format!("{spent} {spent:?} {ended} {ended:?}"),
    ]
    .concat();

    let secrets = [
        ("used link", link.secret.reveal()),
        ("unused link", unused.secret.reveal()),
        ("session from a link", first.token.reveal()),
        ("session from a passkey", second.token.reveal()),
        ("csrf", first.session.csrf.reveal()),
        ("csrf", second.session.csrf.reveal()),
        ("agent token", token.reveal()),
    ];
    for (what, secret) in secrets {
        assert_eq!(secret.len(), if what == "agent token" { 53 } else { 43 });
        assert!(!seen.contains(secret), "{what}");
    }
}

#[tokio::test]
async fn a_session_cookie_cannot_be_read_by_pages_or_sent_across_sites() {
    let world = World::new().await;
    let signed_in = world.enrol("Ana", &[], Role::Reviewer).await;
    let rule = world.directory.settings().cookie();
    let cookie = rule.set(&signed_in.token);
    let expected =
        format!("__Host-countersign={}; Path=/; HttpOnly; SameSite=Strict; Secure", signed_in.token.reveal());
    assert_eq!(cookie.reveal(), expected);
    let header = format!("a=b; __Host-countersign={}", signed_in.token.reveal());
    let found = rule.find([header.as_str()]).unwrap();
    assert_eq!(world.directory.session(found).await.unwrap().person, signed_in.session.person);
}
