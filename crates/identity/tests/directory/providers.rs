//! Signing in through a provider: who comes in, whose account is whose, and what a provider, a browser or a passer-by
//! cannot do.
//! Long because one stage with a provider serves every way of coming in by it.

use crate::world::{HOME, ORIGIN, VISITOR, World, groups};
use countersign_core::Assurance;
use countersign_engine::port::identity::Identity as _;
use countersign_identity::{
    Algorithm, Answer, Arrived, Author, Begun, Directory, EmailAddress, IdentityError as E, Issuer,
    KeySource, NewPerson, Outward, PersonState, Provider, Role, SecretSource, Settings, SignedIn, Visitor,
};
use countersign_testkit::{
    issuer::{SigningKey, token_with_secret},
    passkey::SoftPasskey,
    provider::{Back, CLIENT, OpenIdProvider, SECRET},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use zeroize::Zeroizing;

fn provider(name: &str, url: &str) -> Provider {
    Provider {
        issuer: Issuer {
            name: name.into(),
            issuer: url.into(),
            audiences: [CLIENT.to_owned()].into(),
            keys: KeySource::Discovery,
            outward: Outward::new(None).unwrap(),
            algorithms: [Algorithm::Rs256].into(),
            skew: Duration::from_mins(1),
            longest: Duration::from_hours(24),
            tags: BTreeSet::new(),
            rules: Vec::new(),
        },
        label: "Example".into(),
        client_id: CLIENT.into(),
        secret: Some(SecretSource::new(|| Ok(Zeroizing::new(SECRET.into())))),
        scopes: ["openid", "email"].map(str::to_owned).into(),
        domains: ["example.com".to_owned()].into(),
        email_is_verified: false,
        admits: false,
        groups_claim: "groups".into(),
        groups: [("sso-sre".to_owned(), countersign_core::GroupName::new("sre").unwrap())].into(),
        attributes: [("country", "country"), ("unit", "/org/units")]
            .map(|(name, claim)| (name.to_owned(), claim.to_owned()))
            .into(),
        acr: BTreeSet::new(),
        amr: BTreeSet::new(),
        max_age: None,
    }
}

struct Stage {
    world: World,
    op: OpenIdProvider,
    directory: Arc<Directory>,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Provider)) -> Self {
        let world = World::new().await;
        let op = OpenIdProvider::start(world.now().0 / 1_000_000).await.unwrap();
        op.lie(|lies| lies.claims["email"] = "ana@example.com".into());
        let mut corp = provider("corp", &op.url());
        change(&mut corp);
        let directory = open(&world, vec![corp], &[]).await;
        Self { world, op, directory }
    }

    async fn invited(&self, name: &str, in_groups: &[&str]) {
        let email = format!("{}@example.com", name.to_lowercase());
        let who = NewPerson { name: name.into(), email, groups: groups(in_groups), role: Role::Reviewer };
        self.directory.invite(Author::Operator, who).await.unwrap();
    }

    async fn begin(&self) -> (Begun, Back) {
        let begun = self.directory.begin_with_provider("corp", "/approvals/apr_1").await.unwrap();
        let back = self.op.authorize(&begun.location).unwrap();
        (begun, back)
    }

    async fn sign_in(&self) -> Result<SignedIn, E> {
        let (begun, back) = self.begin().await;
        come_back(&self.directory, &begun, &back).await
    }

    /// The same with an ID token that says something else.
    async fn saying(&self, claims: Value) -> Result<SignedIn, E> {
        self.op.lie(|lies| lies.claims = claims);
        let outcome = self.sign_in().await;
        self.op.lie(|lies| lies.claims = json!({"email": "ana@example.com"}));
        outcome
    }
}

async fn open(world: &World, providers: Vec<Provider>, administrators: &[&str]) -> Arc<Directory> {
    let mut settings = Settings::new(ORIGIN).unwrap();
    settings.providers = providers;
    settings.administrators = administrators.iter().map(|one| EmailAddress::new(one).unwrap()).collect();
    let declared = groups(&["sre", "privacy", "platform-agents"]);
    Directory::open(world.journal.clone(), declared, settings).await.unwrap()
}

fn answer<'r>(begun: &'r Begun, back: &'r Back) -> Answer<'r> {
    Answer {
        state: Some(&back.state),
        code: Some(&back.code),
        issuer: Some(&back.issuer),
        error: None,
        flow: Some(begun.flow.reveal()),
    }
}

async fn come_back(directory: &Directory, begun: &Begun, back: &Back) -> Result<SignedIn, E> {
    arrived(directory.finish_with_provider("corp", &answer(begun, back), &VISITOR).await)
}

fn arrived(outcome: Result<Arrived, E>) -> Result<SignedIn, E> {
    match outcome? {
        Arrived::SignedIn { signed_in, next } => {
            assert_eq!(next, "/approvals/apr_1");
            Ok(*signed_in)
        }
        Arrived::Linked { .. } => Err(E::AccountTaken),
    }
}

#[tokio::test]
async fn an_invited_person_comes_in_by_their_verified_address_and_then_by_their_account() {
    let stage = Stage::new().await;
    assert!(matches!(stage.sign_in().await, Err(E::NotInvited)), "nobody is let in uninvited");
    stage.invited("Ana", &["privacy"]).await;
    let first =
        stage.saying(json!({"email": "Ana@example.com", "groups": ["sso-sre", "other"]})).await.unwrap();
    assert_eq!((first.session.assurance, first.session.role), (Assurance::Session, Role::Reviewer));
    assert_eq!(first.session.groups, groups(&["privacy", "sre"]));
    assert_eq!(first.session.provider.as_deref(), Some("corp"));
    let types = stage.world.types();
    let told = ["account.linked", "person.groups_changed", "session.opened"];
    assert_eq!(types[types.len() - 3..], told);
    assert!(!stage.world.entries().iter().any(|entry| entry.to_string().contains("u-1")), "a private value");
    // From now on it is the account, whatever its address: and groups follow the provider.
    let again = stage.saying(json!({"email": "renamed@other.test", "email_verified": false})).await.unwrap();
    assert_eq!(again.session.person, first.session.person);
    assert_eq!(again.session.groups, groups(&["privacy"]), "only the groups the provider speaks for");
    assert_ne!(again.token.reveal(), first.token.reveal());
    let ended = stage.directory.provider_sign_out(&again.session).await.unwrap();
    assert!(ended.starts_with(&format!("{}/end?client_id=countersign&", stage.op.url())), "{ended}");
    // After a restart, too; and a disabled person stays out.
    let after = open(&stage.world, vec![provider("corp", &stage.op.url())], &[]).await;
    let begun = after.begin_with_provider("corp", "/approvals/apr_1").await.unwrap();
    let back = stage.op.authorize(&begun.location).unwrap();
    assert_eq!(come_back(&after, &begun, &back).await.unwrap().session.person, first.session.person);
    after.disable_person(Author::Operator, first.session.person).await.unwrap();
    let begun = after.begin_with_provider("corp", "/").await.unwrap();
    let back = stage.op.authorize(&begun.location).unwrap();
    assert!(matches!(come_back(&after, &begun, &back).await, Err(E::NotInvited)));
}

#[tokio::test]
async fn what_a_provider_says_of_a_person_follows_with_every_sign_in() {
    let stage = Stage::new().await;
    stage.invited("Ana", &["privacy"]).await;
    let said =
        json!({"email": "ana@example.com", "country": "DE", "org": {"units": ["ops", "o\u{202e}ps", ""]}});
    let first = stage.saying(said.clone()).await.unwrap();
    let known = |directory: &Directory| directory.voter(first.session.person).unwrap().attributes;
    let pairs = |pairs: &[&str]| pairs.iter().map(|pair| (*pair).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(known(&stage.directory), pairs(&["country=DE", "unit=ops"]));
    let changed = || stage.world.types().iter().filter(|kind| *kind == "person.attributes_changed").count();
    assert_eq!(changed(), 1);
    assert!(
        !stage.world.entries().iter().any(|entry| entry["data"].to_string().contains("DE")),
        "a private value"
    );
    stage.saying(said).await.unwrap();
    assert_eq!(changed(), 1, "nothing new was said");
    stage.saying(json!({"email": "ana@example.com", "country": ["FR", "DE"]})).await.unwrap();
    assert_eq!((known(&stage.directory), changed()), (pairs(&["country=DE", "country=FR"]), 2));
    let after = open(&stage.world, vec![provider("corp", &stage.op.url())], &[]).await;
    assert_eq!(known(&after), pairs(&["country=DE", "country=FR"]), "it outlives a restart");
    // Nor is it believed when the configuration asks for it no more, or when the account is unlinked.
    let asked = Provider { attributes: [].into(), ..provider("corp", &stage.op.url()) };
    let without = open(&stage.world, vec![asked], &[]).await;
    assert_eq!(known(&without), pairs(&[]));
    let fresh = stage.saying(json!({"email": "ana@example.com", "country": "DE"})).await.unwrap();
    stage.directory.unlink_account(&fresh.session, "corp").await.unwrap();
    assert_eq!(known(&stage.directory), pairs(&[]));
}

/// Unlinking is not the way to stay, and an administrator who makes a link says that somebody is still here.
#[tokio::test]
async fn whoever_unlinks_is_vouched_for_no_longer_than_before() {
    let stage = Stage::new().await;
    stage.invited("Ana", &["privacy"]).await;
    let said = json!({"email": "ana@example.com"});
    let ana = stage.saying(said).await.unwrap().session;
    stage.world.pass(Duration::from_mins(20));
    stage.directory.unlink_account(&ana, "corp").await.unwrap();
    stage.world.pass(Duration::from_mins(7 * 24 * 60 - 21));
    assert!(stage.directory.voter(ana.person).is_some());
    stage.world.pass(Duration::from_mins(1));
    assert!(stage.directory.voter(ana.person).is_none(), "a week after it last vouched for her");
    assert_eq!(stage.directory.address(ana.person), None, "and nobody tells her anything any more");
    let link = stage.directory.issue_link(Author::Operator, ana.person).await.unwrap();
    assert!(stage.directory.voter(ana.person).is_none());
    stage.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap();
    assert!(stage.directory.voter(ana.person).is_some());
}

/// Nobody tells us when somebody leaves their provider, and a passkey asks no provider.
#[tokio::test]
async fn whom_a_provider_has_not_vouched_for_in_a_week_neither_votes_nor_comes_in_by_a_passkey() {
    let stage = Stage::new().await;
    stage.invited("Ana", &[]).await;
    let said = json!({"email": "ana@example.com", "groups": ["sso-sre"]});
    let ana = stage.saying(said.clone()).await.unwrap().session;
    let mut passkey = SoftPasskey::new().unwrap();
    let options = stage.directory.begin_registration(&ana).unwrap();
    let answer = passkey.register(&options, ORIGIN).unwrap().to_string();
    stage.directory.finish_registration(&ana, "laptop", answer.as_bytes()).await.unwrap();
    let (reading, _) = stage.directory.create_reading(&ana, "report").await.unwrap();
    let mut comes_in = async || {
        let answer = passkey.assert(&stage.directory.begin_sign_in().unwrap(), ORIGIN).unwrap().to_string();
        stage.directory.finish_sign_in(answer.as_bytes(), &VISITOR).await
    };
    stage.world.pass(Duration::from_mins(7 * 24 * 60 - 10));
    comes_in().await.unwrap();
    assert_eq!(stage.directory.voter(ana.person).unwrap().groups, groups(&["sre"]));
    stage.world.pass(Duration::from_mins(10));
    assert!(matches!(comes_in().await, Err(E::ProviderFirst)));
    assert!(stage.directory.voter(ana.person).is_none() && stage.directory.voters().is_empty());
    assert!(stage.directory.reading(reading.reveal()).await.is_err());
    // It vouches for her again, and says what she is in now.
    let now = stage.world.now().0 / 1_000_000;
    let anew = json!({"email": "ana@example.com", "groups": [], "iat": now, "exp": now + 300});
    stage.saying(anew).await.unwrap();
    comes_in().await.unwrap();
    assert_eq!(stage.directory.voter(ana.person).unwrap().groups, groups(&[]));
}

#[tokio::test]
async fn an_account_that_is_unlinked_takes_its_groups_and_nothing_else_along() {
    let stage = Stage::new().await;
    stage.invited("Ana", &["privacy"]).await;
    let ana = stage.saying(json!({"email": "ana@example.com", "groups": ["sso-sre"]})).await.unwrap().session;
    assert_eq!(stage.directory.voter(ana.person).unwrap().groups, groups(&["privacy", "sre"]));
    stage.directory.unlink_account(&ana, "corp").await.unwrap();
    assert_eq!(stage.directory.voter(ana.person).unwrap().groups, groups(&["privacy"]));
    let types = stage.world.types();
    assert_eq!(types[types.len() - 2..], ["account.unlinked", "person.groups_changed"]);
}

#[tokio::test]
async fn an_address_alone_gives_nobody_the_place_of_somebody_who_is_here() {
    let stage = Stage::new().await;
    stage.invited("Ana", &[]).await;
    for (claims, why) in [
        (json!({"email": "ana@example.com", "email_verified": false}), "not verified"),
        (json!({"email": "ana@example.com", "email_verified": "true"}), "verified by a text"),
        (json!({"email": "ana@example.com", "email_verified": null}), "nothing said"),
        (json!({"email": "ana@evil.test"}), "a domain it is not believed about"),
        (json!({"email": "ana@sub.example.com"}), "a domain within"),
        (json!({"email": ["ana@example.com"]}), "no text"),
        (json!({}), "no address"),
    ] {
        assert!(matches!(stage.saying(claims).await, Err(E::NotInvited)), "{why}");
    }
    let ana = stage.sign_in().await.unwrap().session;
    // Another account at the same provider that has come by her address.
    let taken = stage.saying(json!({"sub": "u-2", "email": "ana@example.com"})).await;
    assert!(matches!(taken, Err(E::LinkFirst)), "{taken:?}");
    // Somebody who came by a link, and has never used the provider.
    let ben = stage.world.enrol("Ben", &[], Role::Administrator).await.session.person;
    let directory = open(&stage.world, vec![provider("corp", &stage.op.url())], &[]).await;
    stage.op.lie(|lies| lies.claims = json!({"sub": "u-3", "email": "ben@example.com"}));
    let begun = directory.begin_with_provider("corp", "/").await.unwrap();
    let back = stage.op.authorize(&begun.location).unwrap();
    assert!(matches!(come_back(&directory, &begun, &back).await, Err(E::LinkFirst)));
    assert!(directory.person(ben).unwrap().accounts.is_empty());
    assert_eq!(directory.person(ana.person).unwrap().accounts.len(), 1);
}

#[tokio::test]
async fn a_signed_in_person_links_an_account_and_nobody_elses() {
    let stage = Stage::new().await;
    let ben = stage.world.enrol("Ben", &[], Role::Reviewer).await.session;
    let cleo = stage.world.enrol("Cleo", &[], Role::Reviewer).await.session;
    let directory = open(&stage.world, vec![provider("corp", &stage.op.url())], &[]).await;
    stage.op.lie(|lies| lies.claims = json!({"sub": "u-9", "email": "whoever@other.test"}));
    let begun = directory.begin_linking(&ben, "corp").await.unwrap();
    let back = stage.op.authorize(&begun.location).unwrap();
    let linked = directory.finish_with_provider("corp", &answer(&begun, &back), &VISITOR).await;
    assert!(matches!(linked, Ok(Arrived::Linked { next }) if next == "/account"));
    let begun = directory.begin_with_provider("corp", "/approvals/apr_1").await.unwrap();
    let back = stage.op.authorize(&begun.location).unwrap();
    assert_eq!(come_back(&directory, &begun, &back).await.unwrap().session.person, ben.person);
    // One account speaks for one person, so one person is one voice.
    let begun = directory.begin_linking(&cleo, "corp").await.unwrap();
    let back = stage.op.authorize(&begun.location).unwrap();
    let taken = directory.finish_with_provider("corp", &answer(&begun, &back), &VISITOR).await;
    assert!(matches!(taken, Err(E::AccountTaken)), "{taken:?}");
    // A link that was begun in a session that has ended links nothing.
    stage.op.lie(|lies| lies.claims = json!({"sub": "u-10"}));
    let begun = directory.begin_linking(&cleo, "corp").await.unwrap();
    let back = stage.op.authorize(&begun.location).unwrap();
    directory.close_session(cleo.id).await.unwrap();
    let late = directory.finish_with_provider("corp", &answer(&begun, &back), &VISITOR).await;
    assert!(matches!(late, Err(E::NotSignedIn)), "{late:?}");
    directory.unlink_account(&ben, "corp").await.unwrap();
    assert!(directory.person(ben.person).unwrap().accounts.is_empty());
    assert_eq!(stage.world.types().pop().unwrap(), "account.unlinked");
}

#[tokio::test]
async fn an_answer_counts_once_in_the_browser_that_asked_from_the_provider_that_was_asked() {
    let stage = Stage::new().await;
    stage.invited("Ana", &[]).await;
    let other = OpenIdProvider::start(stage.world.now().0 / 1_000_000).await.unwrap();
    let both = vec![provider("corp", &stage.op.url()), provider("evil", &other.url())];
    let directory = open(&stage.world, both, &[]).await;
    let begin = async || {
        let begun = directory.begin_with_provider("corp", "/approvals/apr_1").await.unwrap();
        let back = stage.op.authorize(&begun.location).unwrap();
        (begun, back)
    };
    let (begun, back) = begin().await;
    let (foreign, _) = begin().await;
    let good = answer(&begun, &back);
    let elsewhere = other.url();
    let refused = [
        ("no cookie", Answer { flow: None, ..good }),
        ("another browser's cookie", Answer { flow: Some(foreign.flow.reveal()), ..good }),
        ("a cookie of nobody", Answer { flow: Some("AAAA"), ..good }),
        ("no state", Answer { state: None, ..good }),
        ("another state", Answer { state: Some("x"), ..good }),
        ("no code", Answer { code: None, ..good }),
        ("another issuer", Answer { issuer: Some(&elsewhere), ..good }),
        ("no issuer, though it names itself", Answer { issuer: None, ..good }),
        ("a refusal", Answer { error: Some("access_denied"), ..good }),
        ("an unknown refusal", Answer { error: Some("<script>"), ..good }),
    ];
    let visitor = |last: u8| Visitor { source: [192, 0, 2, last].into(), ..VISITOR };
    for (at, (what, answer)) in (10..).zip(refused) {
        let outcome = directory.finish_with_provider("corp", &answer, &visitor(at)).await;
        assert!(matches!(outcome, Err(E::SignInOver | E::NotVouched(_))), "{what}: {outcome:?}");
    }
    // Mix-up: the answer of one provider at the address of another.
    let mixed = directory.finish_with_provider("evil", &good, &visitor(9)).await;
    assert!(matches!(mixed, Err(E::SignInOver)), "{mixed:?}");
    assert!(!other.asked().iter().any(|path| path == "/token"), "no code went to the wrong provider");
    come_back(&directory, &begun, &back).await.unwrap();
    // Once, though the provider would take its code again.
    stage.op.lie(|lies| lies.again = true);
    let replayed = directory.finish_with_provider("corp", &good, &VISITOR).await;
    assert!(matches!(replayed, Err(E::SignInOver)), "{replayed:?}");
    // In time.
    let (begun, back) = begin().await;
    stage.world.pass(Duration::from_mins(10));
    assert!(matches!(come_back(&directory, &begun, &back).await, Err(E::SignInOver)));
    // And it leads nowhere else.
    for next in ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)", ""] {
        stage.op.lie(|lies| lies.claims["exp"] = (stage.world.now().0 / 1_000_000 + 300).into());
        let begun = directory.begin_with_provider("corp", next).await.unwrap();
        let back = stage.op.authorize(&begun.location).unwrap();
        let outcome = directory.finish_with_provider("corp", &answer(&begun, &back), &VISITOR).await;
        assert!(matches!(&outcome, Ok(Arrived::SignedIn { next, .. }) if next == "/"), "{next}: {outcome:?}");
    }
}

#[tokio::test]
async fn what_a_provider_says_is_believed_only_under_its_signature_for_this_client_and_sign_in() {
    let stage = Stage::new().await;
    stage.invited("Ana", &[]).await;
    let at = stage.world.now().0 / 1_000_000;
    let url = stage.op.url();
    for (claim, value, why) in [
        ("iss", json!("https://evil.test"), "issuer"),
        ("iss", json!(format!("{url}/")), "issuer"),
        ("aud", json!("other-client"), "audience"),
        ("aud", json!([CLIENT, "other-client"]), "another client"),
        ("azp", json!("other-client"), "another client"),
        ("azp", json!(7), "another client"),
        ("exp", json!(at - 61), "expired"),
        ("exp", Value::Null, "no end"),
        ("iat", json!(at + 3600), "lies ahead"),
        ("nonce", json!("replayed"), "nonce"),
        ("nonce", Value::Null, "nonce"),
        ("sub", json!(""), "subject"),
        ("sub", Value::Null, "subject"),
    ] {
        let refused = stage.saying(json!({"email": "ana@example.com", claim: value})).await;
        // Guessing slows its own source; this is not what is looked at here.
        stage.world.pass(Duration::from_secs(6));
        let Err(E::NotVouched(said)) = refused else { panic!("{claim} {value}: {refused:?}") };
        assert!(said.contains(why), "{claim} {value}: {said}");
    }
    stage.world.pass(Duration::from_mins(2));
    let at = stage.world.now().0 / 1_000_000;
    let claims = json!({"iss": url, "aud": CLIENT, "sub": "u-1", "exp": at + 300, "email": "ana@example.com", "email_verified": true});
    let none =
        countersign_testkit::issuer::signed_part(&json!({"alg": "none"}).to_string(), &claims.to_string());
    let confused =
        token_with_secret(&stage.op.public_der(), &json!({"alg": "HS256", "kid": "op-1"}), &claims);
    let secret = token_with_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims);
    for token in [format!("{none}."), confused, secret, "no token".into()] {
        stage.op.lie(|lies| lies.token = Some(token));
        let refused = stage.sign_in().await;
        assert!(matches!(refused, Err(E::NotVouched(_))), "{refused:?}");
    }
    stage.op.lie(|lies| {
        lies.token = None;
        lies.key = Some(SigningKey::rsa("op-1").unwrap());
    });
    assert!(matches!(stage.sign_in().await, Err(E::NotVouched("the token's signature does not hold"))));
    stage.op.lie(|lies| lies.key = None);
    stage.saying(json!({"email": "ana@example.com", "exp": at + 300, "aud": [CLIENT]})).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_cannot_be_used_safely_is_not_used() {
    let stage = Stage::new().await;
    for change in [
        json!({"issuer": "https://evil.test"}),
        json!({"token_endpoint": "http://198.51.100.7/token"}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
        json!({"token_endpoint": null}),
        json!({"code_challenge_methods_supported": ["plain"]}),
    ] {
        let mut before = Value::Null;
        stage.op.describe(|discovery| {
            before = discovery.clone();
            for (name, value) in change.as_object().unwrap() {
                discovery[name.as_str()] = value.clone();
            }
        });
        let refused = stage.directory.begin_with_provider("corp", "/").await;
        assert!(matches!(refused, Err(E::ProviderAway)), "{change}: {refused:?}");
        stage.op.describe(|discovery| *discovery = before);
        stage.world.pass(Duration::from_secs(5));
    }
    stage.directory.begin_with_provider("corp", "/").await.unwrap();
    assert!(matches!(stage.directory.begin_with_provider("other", "/").await, Err(E::UnknownProvider)));
}

#[tokio::test]
async fn a_stronger_sign_in_is_asked_for_and_must_have_happened() {
    let stage = Stage::with(|corp| {
        corp.acr = ["phr".to_owned()].into();
        corp.amr = ["hwk".to_owned()].into();
        corp.max_age = Some(Duration::from_mins(5));
    })
    .await;
    stage.invited("Ana", &[]).await;
    let (begun, _) = stage.begin().await;
    assert!(begun.location.contains("acr_values=phr") && begun.location.contains("max_age=300"));
    let at = stage.world.now().0 / 1_000_000;
    let good =
        json!({"email": "ana@example.com", "acr": "phr", "amr": ["pwd", "hwk"], "auth_time": at - 300});
    for (claim, value) in [
        ("acr", json!("0")),
        ("acr", Value::Null),
        ("amr", json!(["pwd"])),
        ("amr", json!("pwd")),
        ("auth_time", Value::Null),
        ("auth_time", json!(at - 361)),
    ] {
        let mut claims = good.clone();
        claims[claim] = value;
        assert!(matches!(stage.saying(claims).await, Err(E::NotVouched(_))), "{claim}");
    }
    stage.saying(good).await.unwrap();
}

#[tokio::test]
async fn the_first_administrator_is_named_and_not_whoever_comes_first() {
    let stage = Stage::with(|corp| corp.admits = true).await;
    let open =
        async || open(&stage.world, vec![provider("corp", &stage.op.url())], &["olga@example.com"]).await;
    let directory = open().await;
    let come = async |directory: &Directory, claims: Value| {
        stage.op.lie(|lies| lies.claims = claims);
        let begun = directory.begin_with_provider("corp", "/approvals/apr_1").await.unwrap();
        let back = stage.op.authorize(&begun.location).unwrap();
        come_back(directory, &begun, &back).await
    };
    let stranger = come(&directory, json!({"sub": "s", "email": "first@example.com"})).await;
    assert!(matches!(stranger, Err(E::NotInvited)), "{stranger:?}");
    let olga =
        come(&directory, json!({"sub": "o", "email": "olga@example.com", "name": "Olga"})).await.unwrap();
    assert_eq!((olga.session.role, olga.session.name.as_str()), (Role::Administrator, "Olga"));
    // Where it admits everybody of its domains, they come as reviewers without a group.
    let admitted =
        stage.saying(json!({"sub": "n", "email": "new@example.com", "name": "a\u{202e}b"})).await.unwrap();
    let admitted = stage.directory.person(admitted.session.person).unwrap();
    assert_eq!(
        (admitted.role, admitted.state(), admitted.name.as_str()),
        (Role::Reviewer, PersonState::Enrolled, "new")
    );
    assert!(admitted.groups.is_empty());
    // Whoever is here already becomes one at the next start, with an entry.
    let pat = stage.directory.person_by_email(&EmailAddress::new("new@example.com").unwrap()).unwrap();
    let again = super::providers::open(&stage.world, vec![], &["new@example.com"]).await;
    assert_eq!(again.person(pat.id).unwrap().role, Role::Administrator);
    assert_eq!(stage.world.types().pop().unwrap(), "person.role_changed");
    assert_eq!(HOME, VISITOR.source);
}

#[tokio::test]
async fn a_session_knows_how_its_person_proved_themself_and_a_gate_can_ask_for_it_anew() {
    let stage = Stage::new().await;
    stage.invited("Ana", &[]).await;
    let plain = stage.sign_in().await.unwrap().session;
    assert_eq!(plain.sign_in, countersign_core::SignIn::default(), "nobody says");
    let at = stage.world.now().0 / 1_000_000;
    let strong =
        json!({"email": "ana@example.com", "auth_time": at - 30, "acr": "gold", "amr": ["hwk", "pin"]});
    let session = stage.saying(strong.clone()).await.unwrap().session;
    assert_eq!(session.sign_in.proven_at.map(|at| at.0 / 1_000_000), Some(at - 30));
    assert_eq!((session.sign_in.acr.as_deref(), session.sign_in.amr.len()), (Some("gold"), 2));
    let terms = countersign_core::SignInTerms {
        within_s: Some(60),
        acr: ["gold".to_owned()].into(),
        amr: ["hwk".to_owned()].into(),
    };
    let again = |claims: Value| {
        let (stage, terms) = (&stage, &terms);
        async move {
            stage.op.lie(|lies| lies.claims = claims);
            let begun = stage.directory.begin_again("corp", "/approvals/apr_1", terms).await.unwrap();
            for asked in ["max_age=60", "acr_values=gold", "prompt=login"] {
                assert!(begun.location.contains(asked), "{}", begun.location);
            }
            let back = stage.op.authorize(&begun.location).unwrap();
            come_back(&stage.directory, &begun, &back).await
        }
    };
    assert!(again(strong).await.is_ok());
    let ahead = json!({"email": "ana@example.com", "auth_time": at + 3600});
    let old = json!({"email": "ana@example.com", "auth_time": at - 3600, "acr": "gold"});
    for unproven in [json!({"email": "ana@example.com"}), old, ahead] {
        let refused = again(unproven.clone()).await;
        assert!(matches!(refused, Err(E::NotVouched(_))), "{unproven}: {refused:?}");
    }
}

#[tokio::test]
async fn a_provider_ends_the_sessions_it_began_under_its_signature_once() {
    const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
    let stage = Stage::new().await;
    stage.invited("Ana", &[]).await;
    let come = |sid: &'static str| {
        let stage = &stage;
        async move {
            let claims = json!({"email": "ana@example.com", "sid": sid});
            stage.saying(claims).await.unwrap().token
        }
    };
    let open = |token: countersign_identity::Secret| {
        let directory = Arc::clone(&stage.directory);
        async move { directory.session(token.reveal()).await.is_ok() }
    };
    let at = stage.world.now().0 / 1_000_000;
    let token = |change: Value| {
        let mut claims = json!({"iss": stage.op.url(), "aud": CLIENT, "iat": at, "exp": at + 120,
            "jti": "l-1", "events": {EVENT: {}}, "sub": "u-1"});
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name.as_str()] = value.clone();
            }
        }
        stage.op.sign(&json!({"typ": "logout+jwt"}), &claims).unwrap()
    };
    let end = |token: String| {
        let directory = Arc::clone(&stage.directory);
        async move { directory.end_by_provider("corp", &token, VISITOR.source).await }
    };
    let (one, two) = (come("s-1").await, come("s-2").await);
    // What reads was made from a session, and ends with it.
    let made = async |from: &countersign_identity::Secret| {
        let session = stage.directory.session(from.reveal()).await.unwrap();
        stage.directory.create_reading(&session, "report").await.unwrap().0
    };
    let (reads_one, reads_two) = (made(&one).await, made(&two).await);
    assert_eq!(end(token(json!({"jti": "a", "sid": "s-1"}))).await.unwrap(), 2);
    assert!(stage.directory.reading(reads_one.reveal()).await.is_err());
    stage.directory.reading(reads_two.reveal()).await.unwrap();
    assert!(!open(one).await && open(two.clone()).await);
    assert_eq!(stage.world.types().last().map(String::as_str), Some("session.closed"));
    for (what, change) in [
        ("used before", json!({"jti": "a", "sid": "s-2"})),
        ("of another client", json!({"jti": "b", "aud": "other"})),
        ("of another issuer", json!({"jti": "c", "iss": "https://evil.example"})),
        ("an ID token", json!({"jti": "d", "nonce": "n"})),
        ("without its event", json!({"jti": "e", "events": null})),
        ("without a name", json!({"jti": null})),
        ("for nobody", json!({"jti": "f", "sub": null})),
        ("over", json!({"jti": "g", "exp": at - 600})),
        ("without its time", json!({"jti": "h", "iat": null})),
    ] {
        let refused = end(token(change)).await;
        assert!(matches!(refused, Err(E::NotVouched(_))), "{what}: {refused:?}");
    }
    let strange = SigningKey::rsa("op-1").unwrap();
    let claims = json!({"iss": stage.op.url(), "aud": CLIENT, "iat": at, "exp": at + 120, "jti": "z",
        "events": {EVENT: {}}, "sub": "u-1"});
    let forged = strange.token(&json!({"alg": "RS256", "kid": "op-1"}), &claims).unwrap();
    assert!(matches!(end(forged).await, Err(E::NotVouched(_))));
    assert!(open(two.clone()).await);
    // A flood of wrong ones from the same address holds up no right one.
    let mut slowed = false;
    for _ in 0..25 {
        slowed |= matches!(end("a.b.c".into()).await, Err(E::TooManyAttempts { .. }));
    }
    assert!(slowed);
    // Somebody else's subject ends nothing; the person's own ends all that began there.
    assert_eq!(end(token(json!({"jti": "i", "sub": "u-2"}))).await.unwrap(), 0);
    assert_eq!(end(token(json!({"jti": "j"}))).await.unwrap(), 2);
    assert!(!open(two).await && stage.directory.reading(reads_two.reveal()).await.is_err());
}
