//! The directory over the real store: what was promised is there after a restart.

use crate::world::{HOME, ORIGIN, VISITOR, agent_of, groups, journal_over, open};
use countersign_engine::port::identity::{Identity, NotAuthenticated, Presented};
use countersign_identity::{Author, IdentityError as E, NewPerson, NewToken, Role, Visitor};
use countersign_ledger::LogKeys;
use countersign_store::{SqliteOptions, SqliteStore};
use countersign_testkit::passkey::SoftPasskey;
use std::{path::Path, sync::Arc};

fn store(folder: &Path) -> Arc<SqliteStore> {
    let keys = Arc::new(LogKeys::open(folder, "log.example").unwrap());
    let options = SqliteOptions::new(folder.join("countersign.db"), folder.join("mark"), keys);
    Arc::new(SqliteStore::open(&options).unwrap())
}

#[tokio::test]
async fn people_passkeys_sessions_and_tokens_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let before = store(folder.path());
    let (journal, _) = journal_over(Arc::clone(&before) as _);
    let directory = open(&journal, ORIGIN, &["sre", "platform-agents"]).await;
    let who = NewPerson {
        name: "Ana".into(),
        email: "ana@example.com".into(),
        groups: groups(&["sre"]),
        role: Role::Reviewer,
    };
    let (ana, link) = directory.invite(Author::Operator, who).await.unwrap();
    let session = directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    let mut passkey = SoftPasskey::new().unwrap();
    let options = directory.begin_registration(&session.session).unwrap();
    let answer = passkey.register(&options, ORIGIN).unwrap().to_string();
    directory.finish_registration(&session.session, "laptop", answer.as_bytes()).await.unwrap();
    let agent = directory.create_agent(Author::Operator, agent_of(ana, "bot")).await.unwrap();
    let new = || NewToken { agent, label: "ci".into(), expires: None, on_behalf_of: None };
    let (_, good) = directory.create_token(Author::Operator, new()).await.unwrap();
    let (revoked, bad) = directory.create_token(Author::Operator, new()).await.unwrap();
    directory.revoke_token(Author::Operator, revoked).await.unwrap();
    let (people, voters, agents) = (directory.people(), directory.voters(), directory.agents());
    drop((directory, journal));
    Arc::into_inner(before).unwrap().close().await;

    let (journal, _) = journal_over(store(folder.path()));
    let directory = open(&journal, ORIGIN, &["sre", "platform-agents"]).await;
    assert_eq!((directory.people(), directory.voters(), directory.agents()), (people, voters, agents));
    assert_eq!(directory.session(session.token.reveal()).await.unwrap().person, ana);
    let caller = |text: &str| directory.authenticate(Presented::Bearer(text), journal.now());
    assert!(caller(good.reveal()).is_ok());
    assert_eq!(caller(bad.reveal()), Err(NotAuthenticated::Revoked));
    let spent = directory.redeem_link(link.secret.reveal(), &VISITOR).await;
    assert!(matches!(spent, Err(E::LinkSpent)));
    let answer = passkey.assert(&directory.begin_sign_in().unwrap(), ORIGIN).unwrap().to_string();
    let visitor = Visitor { source: HOME, user_agent: None, cookie: Some(session.token.reveal()) };
    directory.finish_sign_in(answer.as_bytes(), &visitor).await.unwrap();
    assert!(directory.session(session.token.reveal()).await.is_err());
}
