//! Tokens that somebody else has signed: what is believed, what is not, and who stands behind the caller.
//! Long because every kind of token is tried against one directory.

mod certificates;
mod hostile;
mod shapes;

use crate::world::{World, agent_of, groups};
use countersign_core::{CredentialId, PrincipalKind, Requester};
use countersign_engine::port::identity::{Identity, NotAuthenticated as N, Presented};
use countersign_identity::{
    Algorithm, Author, Behalf, Description, Directory, EmailAddress, IdentityError, Issuer, KeySource,
    Outward, Pattern, Role, Rule, Template, Told,
};
use countersign_testkit::issuer::{SigningKey, TokenIssuer};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const AUDIENCE: &str = "https://sign.example.com";

fn emails(names: &[&str]) -> BTreeSet<EmailAddress> {
    names.iter().map(|name| EmailAddress::new(name).unwrap()).collect()
}

fn rule(agent: &str, wanted: &[(&str, &str)]) -> Rule {
    let patterns = |pattern: &str| vec![Pattern::new(pattern).unwrap()];
    Rule {
        agent: Template::new(agent).unwrap(),
        wanted: wanted.iter().map(|(claim, pattern)| ((*claim).to_owned(), patterns(pattern))).collect(),
        described: Some(Description {
            kind: PrincipalKind::Service,
            owners: emails(&["owner@example.com"]),
            groups: groups(&["platform-agents"]),
            clearances: BTreeSet::new(),
        }),
        obtainable_by: BTreeSet::new(),
        behalf: None,
    }
}

fn issuer(url: &str, rules: Vec<Rule>) -> Issuer {
    Issuer {
        name: "ci".into(),
        issuer: url.into(),
        audiences: [AUDIENCE.to_owned()].into(),
        keys: KeySource::Discovery,
        outward: Outward::new(None).unwrap(),
        algorithms: [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].into(),
        skew: Duration::from_mins(1),
        longest: Duration::from_hours(24),
        tags: ["ref", "run_attempt", "/deployment/ring"].map(str::to_owned).into(),
        rules,
    }
}

/// A world with one issuer, whose tokens of `acme/shop` are the service `deploy`.
struct Stage {
    world: World,
    key: SigningKey,
    issuer: TokenIssuer,
    directory: Arc<Directory>,
}

impl Stage {
    async fn new() -> Self {
        Self::with(vec![rule("deploy", &[("repository", "acme/shop")])]).await
    }

    async fn with(rules: Vec<Rule>) -> Self {
        let world = World::new().await;
        world.reviewer("Owner").await;
        let key = SigningKey::p256("k1").unwrap();
        let ci = TokenIssuer::start(&[&key]).await.unwrap();
        let directory = world.trusting(vec![issuer(&ci.url(), rules)]).await;
        Self { world, key, issuer: ci, directory }
    }

    fn seconds(&self) -> i64 {
        self.world.now().0 / 1_000_000
    }

    /// What a good token says.
    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer.url(), "aud": AUDIENCE, "sub": "repo:acme/shop:ref:refs/heads/main",
            "iat": self.seconds(), "nbf": self.seconds(), "exp": self.seconds() + 600,
            "repository": "acme/shop",
        })
    }

    fn head(&self) -> Value {
        json!({"alg": self.key.algorithm(), "kid": self.key.id, "typ": "JWT"})
    }

    fn token_saying(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.key.token(&self.head(), &claims).unwrap()
    }

    fn token(&self) -> String {
        self.token_saying(|_| {})
    }

    /// As a wire asks: once more after what was missing was brought.
    async fn caller(&self, text: &str) -> Result<Requester, N> {
        present(&self.directory, text, &self.world).await
    }
}

async fn present(directory: &Arc<Directory>, text: &str, world: &World) -> Result<Requester, N> {
    let presented = Presented::Bearer(text);
    match directory.authenticate(presented, world.now()) {
        Err(N::NotYet) => {
            directory.prepare(presented).await;
            directory.authenticate(presented, world.now())
        }
        outcome => outcome,
    }
}

#[tokio::test]
async fn claims_that_are_listed_are_told_as_texts_and_no_others_are() {
    let stage = Stage::new().await;
    let caller = stage.caller(&stage.token()).await.unwrap();
    let of = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(caller.claims, of(&[]), "what it does not say is no tag");
    let more = stage.token_saying(|claims| {
        claims["ref"] = "refs/heads/main".into();
        claims["run_attempt"] = json!(2);
        claims["deployment"] = json!({"ring": true});
        claims["unlisted"] = json!("x");
    });
    let other = stage.caller(&more).await.unwrap();
    let told = [("/deployment/ring", "true"), ("ref", "refs/heads/main"), ("run_attempt", "2")];
    assert_eq!(other.claims, of(&told));
    assert_eq!(other.credential, caller.credential, "it is the same credential");
    // What its credential alone is known by says nothing of a token.
    let known = stage.directory.requester(caller.credential, stage.world.now()).unwrap();
    assert_eq!(known.claims, of(&[]));
    for bad in [json!(["2"]), json!({"n": 2}), json!("x".repeat(513))] {
        let refused = stage.caller(&stage.token_saying(|claims| claims["run_attempt"] = bad.clone())).await;
        assert!(
            matches!(refused, Err(N::NotTrusted(why)) if why.contains("policies may look at")),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_token_that_fits_a_rule_is_its_agent_with_everyone_behind_it() {
    let held_by =
        Rule { obtainable_by: emails(&["root@example.com"]), ..rule("deploy", &[("repository", "acme/*")]) };
    let stage = Stage::with(vec![held_by]).await;
    let owner =
        stage.world.directory.person_by_email(&EmailAddress::new("owner@example.com").unwrap()).unwrap();
    let caller = stage.caller(&stage.token()).await.unwrap();
    assert_eq!((caller.name.as_str(), caller.kind), ("deploy", PrincipalKind::Service));
    assert_eq!(caller.groups, groups(&["platform-agents"]));
    assert_eq!(caller.side(), [owner.id].into());
    assert_eq!(stage.issuer.fetched(), 1);
    let types = stage.world.types();
    assert_eq!(types[types.len() - 2..], ["agent.created", "workload.admitted"]);
    let entry = stage.world.entries().pop().unwrap();
    assert_eq!((&entry["data"]["issuer"], &entry["actor"]["kind"]), (&json!("ci"), &json!("gateway")));
    assert!(!entry.to_string().contains("refs/heads"), "the subject is a private value: {entry}");

    // The next token of the same subject is the same credential, and nothing is written again.
    let before = stage.world.types().len();
    let next = stage.token_saying(|claims| claims["jti"] = "another".into());
    let again = stage.caller(&next).await.unwrap();
    assert_eq!(again.credential, caller.credential);
    assert_eq!(stage.world.types().len(), before);
    assert_eq!(stage.directory.requester(caller.credential, stage.world.now()), Ok(again));
    let listed = stage.directory.tokens(stage.directory.agent_by_name("deploy").unwrap().id);
    assert_eq!((listed.len(), listed[0].label.as_str()), (1, "repo:acme/shop:ref:refs/heads/main"));
    assert_eq!(listed[0].used_at, Some(stage.world.now()));

    // Who can come by such a token never approves for it, from the moment they are known.
    let root = stage.world.directory.invite(
        Author::Operator,
        countersign_identity::NewPerson {
            name: "Root".into(),
            email: "root@example.com".into(),
            groups: groups(&["sre"]),
            role: Role::Reviewer,
        },
    );
    root.await.unwrap();
    let after = stage
        .world
        .trusting(vec![issuer(
            &stage.issuer.url(),
            vec![Rule {
                obtainable_by: emails(&["root@example.com"]),
                ..rule("deploy", &[("repository", "acme/*")])
            }],
        )])
        .await;
    let caller = present(&after, &stage.token(), &stage.world).await.unwrap();
    assert_eq!(caller.side().len(), 2);
}

#[tokio::test]
async fn a_new_address_lifts_nobody_off_the_requesters_side() {
    let stage = Stage::new().await;
    let held_by =
        Rule { obtainable_by: emails(&["root@example.com"]), ..rule("deploy", &[("repository", "acme/*")]) };
    let directory = stage.world.trusting(vec![issuer(&stage.issuer.url(), vec![held_by])]).await;
    let told = |email: &str| Told {
        user_name: "root".into(),
        external_id: None,
        name: None,
        email: email.into(),
        active: true,
    };
    let client = stage.world.journal.id(CredentialId::from_parts);
    let root = directory.provision(client, told("root@example.com")).await.unwrap();
    assert!(present(&directory, &stage.token(), &stage.world).await.unwrap().side().contains(&root));
    directory.reprovision(client, root, told("moved@example.com")).await.unwrap();
    assert!(present(&directory, &stage.token(), &stage.world).await.unwrap().side().contains(&root));
    // Whoever has the address now is on it as well; and it outlives a restart.
    let next = directory
        .provision(client, Told { user_name: "next".into(), ..told("root@example.com") })
        .await
        .unwrap();
    let held_by =
        Rule { obtainable_by: emails(&["root@example.com"]), ..rule("deploy", &[("repository", "acme/*")]) };
    let after = stage.world.trusting(vec![issuer(&stage.issuer.url(), vec![held_by])]).await;
    let side = present(&after, &stage.token(), &stage.world).await.unwrap().side();
    assert!(side.contains(&root) && side.contains(&next), "{side:?}");
}

#[tokio::test]
async fn keys_are_fetched_for_a_new_name_and_not_for_every_request() {
    let stage = Stage::new().await;
    for _ in 0..20 {
        stage.caller(&stage.token_saying(|claims| claims["jti"] = 1.into())).await.unwrap();
    }
    assert_eq!(stage.issuer.fetched(), 1);
    // The issuer takes a new key into use: its first token brings it, and the old one ends with its being withdrawn.
    let next = SigningKey::p256("k2").unwrap();
    let rotated = next.token(&json!({"alg": "ES256", "kid": "k2"}), &stage.claims()).unwrap();
    stage.issuer.publish(&[&next]);
    let said = Err(N::NotTrusted("the token is signed with a key its issuer does not publish"));
    assert_eq!(stage.caller(&rotated).await, said, "asked a moment ago");
    stage.world.pass(Duration::from_secs(10));
    stage.caller(&rotated).await.unwrap();
    assert_eq!(stage.issuer.fetched(), 2);
    assert_eq!(stage.caller(&stage.token()).await, said, "remembering that it held does not outlive its key");
    // Names nobody has ever used make no more than one fetch in ten seconds, however many ask at once.
    stage.world.pass(Duration::from_secs(10));
    let invented =
        |kid: usize| next.token(&json!({"alg": "ES256", "kid": kid.to_string()}), &stage.claims()).unwrap();
    let tokens: Vec<String> = (0..50).map(invented).collect();
    let all = tokens.iter().map(|token| stage.caller(token));
    for refused in futures_util::future::join_all(all).await {
        assert_eq!(refused, said);
    }
    assert_eq!(stage.issuer.fetched(), 3);
}

#[tokio::test]
async fn without_fresh_keys_nobody_is_let_in_and_the_reason_is_told() {
    let stage = Stage::new().await;
    stage.issuer.set_down(true);
    assert_eq!(stage.caller(&stage.token()).await, Err(N::NoKeys));
    let seen = stage.directory.issuers().pop().unwrap();
    assert_eq!(seen.keys.failure.as_deref(), Some("its server answered 503 Service Unavailable"));
    stage.issuer.set_down(false);
    assert_eq!(stage.caller(&stage.token()).await, Err(N::NoKeys), "asked a moment ago");
    stage.world.pass(Duration::from_secs(10));
    stage.caller(&stage.token()).await.unwrap();
    // An issuer that is away for an hour stops nobody; one that is away for a day does.
    stage.issuer.set_down(true);
    stage.world.pass(Duration::from_hours(1));
    stage.caller(&stage.token()).await.unwrap();
    stage.world.pass(Duration::from_hours(23));
    assert_eq!(stage.caller(&stage.token()).await, Err(N::NoKeys));
    // Whoever answers in the issuer's place is not it.
    stage.issuer.set_down(false);
    for (discovery, why) in [
        (
            json!({"issuer": "https://evil.example", "jwks_uri": format!("{}/keys", stage.issuer.url())}),
            "another issuer",
        ),
        (json!({"issuer": stage.issuer.url(), "jwks_uri": "http://198.51.100.1/keys"}), "not encrypted"),
        (json!({"issuer": stage.issuer.url(), "jwks_uri": "file:///etc/passwd"}), "not encrypted"),
        (json!({"issuer": stage.issuer.url()}), "no address of keys"),
        (json!([]), "another issuer"),
    ] {
        stage.issuer.describe(discovery);
        stage.world.pass(Duration::from_secs(10));
        assert_eq!(stage.caller(&stage.token()).await, Err(N::NoKeys));
        let failure = stage.directory.issuers().pop().unwrap().keys.failure.unwrap();
        assert!(failure.contains(why), "{failure}");
    }
}

#[tokio::test]
async fn a_rule_that_changes_or_goes_ends_what_it_let_in() {
    let stage = Stage::with(vec![rule("deploy", &[("repository", "acme/*")])]).await;
    let caller = stage.caller(&stage.token()).await.unwrap();
    let directory =
        async |rules: Vec<Rule>| stage.world.trusting(vec![issuer(&stage.issuer.url(), rules)]).await;
    // Other groups and owners: the same credential, with what stands in the configuration now.
    let mut described = rule("deploy", &[("repository", "acme/*")]);
    let next = stage.world.reviewer("Next").await.person;
    if let Some(described) = &mut described.described {
        described.groups = groups(&["sre"]);
        described.owners = emails(&["next@example.com"]);
    }
    let changed = directory(vec![described]).await;
    let now = changed.requester(caller.credential, stage.world.now()).unwrap();
    assert_eq!(now.groups, groups(&["sre"]));
    assert!(
        now.side().contains(&next) && now.side().is_superset(&caller.side()),
        "an owner knew how to come by it"
    );
    assert_eq!(stage.world.types().pop().unwrap(), "agent.changed");
    // Another rule: what was let in by the old one is let in no more, until it is presented again and fits.
    let narrowed = directory(vec![rule("deploy", &[("repository", "acme/shop")])]).await;
    assert_eq!(narrowed.requester(caller.credential, stage.world.now()), Err(N::Revoked));
    let again = present(&narrowed, &stage.token(), &stage.world).await.unwrap();
    assert_eq!(again.principal, caller.principal);
    assert_ne!(again.credential, caller.credential);
    let gone = directory(vec![]).await;
    assert_eq!(gone.requester(again.credential, stage.world.now()), Err(N::Revoked));
}

#[tokio::test]
async fn a_credential_can_be_revoked_and_an_agent_disabled_whatever_the_issuer_signs() {
    let stage = Stage::new().await;
    let caller = stage.caller(&stage.token()).await.unwrap();
    stage.directory.revoke_token(Author::Operator, caller.credential).await.unwrap();
    let fresh = stage.token_saying(|claims| claims["jti"] = 2.into());
    assert_eq!(stage.caller(&fresh).await, Err(N::Revoked));
    let other = stage.token_saying(|claims| claims["sub"] = "repo:acme/shop:environment:prod".into());
    stage.caller(&other).await.unwrap();
    let agent = stage.directory.agent_by_name("deploy").unwrap().id;
    let by_hand =
        stage.directory.change_agent(Author::Operator, agent, countersign_identity::AgentChange::default());
    assert!(matches!(by_hand.await, Err(IdentityError::Described(_))));
    stage.directory.disable_agent(Author::Operator, agent).await.unwrap();
    assert_eq!(stage.caller(&other).await, Err(N::Disabled));
    let again = stage
        .world
        .trusting(vec![issuer(&stage.issuer.url(), vec![rule("deploy", &[("repository", "acme/shop")])])]);
    assert_eq!(
        present(&again.await, &other, &stage.world).await,
        Err(N::Disabled),
        "a restart brings nobody back"
    );
}

#[tokio::test]
async fn a_token_takes_over_no_agent_that_people_keep() {
    let stage =
        Stage::with(vec![rule("ci/{repository}", &[("repository", "acme/*")]), rule("kept", &[("x", "y")])])
            .await;
    let owner = stage.directory.person_by_email(&EmailAddress::new("owner@example.com").unwrap()).unwrap().id;
    let world = &stage.world;
    world.directory.create_agent(Author::Operator, agent_of(owner, "ci/acme/admin")).await.unwrap();
    let directory = world
        .trusting(vec![issuer(
            &stage.issuer.url(),
            vec![
                rule("ci/{repository}", &[("repository", "acme/*")]),
                Rule { described: None, ..rule("CI/acme/admin", &[("environment", "admin")]) },
                Rule { described: None, ..rule("nobody", &[("environment", "nobody")]) },
            ],
        )])
        .await;
    let shop = present(&directory, &stage.token(), world).await.unwrap();
    assert_eq!(shop.name, "ci/acme/shop");
    let admin = stage.token_saying(|claims| claims["repository"] = "acme/admin".into());
    assert_eq!(
        present(&directory, &admin, world).await,
        Err(N::NotTrusted("the token's agent is not known here"))
    );
    // The operator may say in so many words that it is that agent.
    let named = stage.token_saying(|claims| {
        claims["repository"] = "x".into();
        claims["environment"] = "admin".into();
    });
    let caller = present(&directory, &named, world).await.unwrap();
    assert_eq!((caller.name.as_str(), caller.clearances.len()), ("ci/acme/admin", 1));
    let nobody = stage.token_saying(|claims| {
        claims["repository"] = "x".into();
        claims["environment"] = "nobody".into();
    });
    assert_eq!(
        present(&directory, &nobody, world).await,
        Err(N::NotTrusted("the token's agent is not known here"))
    );
    // Without an owner anybody knows, there is no agent.
    let mut orphan = rule("orphan", &[("repository", "acme/shop")]);
    orphan.described.as_mut().unwrap().owners = emails(&["nobody@example.com"]);
    let directory = world.trusting(vec![issuer(&stage.issuer.url(), vec![orphan])]).await;
    assert_eq!(present(&directory, &stage.token(), world).await, Err(N::NotYet));
    assert!(directory.agent_by_name("orphan").is_none());
}

/// Tokens of which it cannot be told who stands behind them.
fn chains_that_cannot_be_told() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("a person nobody maps", json!({"sub": "u-9", "act": {"sub": "deploy-client"}}), "not known here"),
        (
            "a person who is not here",
            json!({"sub": "u-2", "act": {"sub": "deploy-client"}}),
            "not known here",
        ),
        (
            "an actor nobody knows",
            json!({"act": {"sub": "deploy-client", "act": {"sub": "other"}}}),
            "not known here",
        ),
        (
            "an actor of another issuer",
            json!({"act": {"sub": "deploy-client", "act": {"sub": "planner-client", "iss": "https://x"}}}),
            "not known here",
        ),
        ("an actor that is none", json!({"act": {"sub": "deploy-client", "act": 7}}), "not known here"),
        (
            "another actor in front",
            json!({"act": {"sub": "planner-client", "act": {"sub": "deploy-client"}}}),
            "no rule",
        ),
        (
            "an e-mail that is not verified",
            json!({"azp": "mail-client", "email": "ana@example.com"}),
            "not verified",
        ),
        (
            "verified by a text",
            json!({"azp": "mail-client", "email": "ana@example.com", "email_verified": "true"}),
            "not verified",
        ),
        ("no e-mail", json!({"azp": "mail-client", "email_verified": true}), "for whom it acts"),
        (
            "no address",
            json!({"azp": "mail-client", "email": "ana", "email_verified": true}),
            "not known here",
        ),
        (
            "an actor the rule does not look at",
            json!({"azp": "mail-client", "email": "ana@example.com", "email_verified": true, "act": {"sub": "x"}}),
            "not known here",
        ),
    ]
}

/// A user writes most claims themself, and would put a colleague in their own place.
#[tokio::test]
async fn a_claim_that_users_write_names_nobody_by_an_address() {
    for claim in ["preferred_username", "/user/email", "upn"] {
        let behalf = Behalf { claim: claim.into(), people: [].into(), actors: [].into() };
        let named = Rule { behalf: Some(behalf), ..rule("mailed", &[("azp", "mail-client")]) };
        let stage = Stage::with(vec![named]).await;
        stage.world.reviewer("Ana").await;
        let token = stage.token_saying(|claims| {
            claims["azp"] = "mail-client".into();
            claims["email_verified"] = true.into();
            for name in ["preferred_username", "upn"] {
                claims[name] = "ana@example.com".into();
            }
            claims["user"] = json!({"email": "ana@example.com"});
        });
        let refused = stage.caller(&token).await;
        assert!(
            matches!(refused, Err(N::NotTrusted(why)) if why.contains("not verified")),
            "{claim}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn the_person_and_the_agents_a_token_comes_through_stand_behind_it() {
    let behalf = |claim: &str, people: &[(&str, &str)]| Behalf {
        claim: claim.into(),
        people: people
            .iter()
            .map(|(said, email)| ((*said).to_owned(), EmailAddress::new(email).unwrap()))
            .collect(),
        actors: [("planner-client".to_owned(), "planner".to_owned())].into(),
    };
    let acting = Rule {
        behalf: Some(behalf("sub", &[("u-1", "ana@example.com"), ("u-2", "ghost@example.com")])),
        ..rule("deploy", &[("/act/sub", "deploy-client")])
    };
    let mailed = Rule { behalf: Some(behalf("email", &[])), ..rule("mailed", &[("azp", "mail-client")]) };
    let stage = Stage::with(vec![acting, mailed]).await;
    let world = &stage.world;
    let [owner, ana, planner_owner] = [
        stage.directory.person_by_email(&EmailAddress::new("owner@example.com").unwrap()).unwrap().id,
        world.reviewer("Ana").await.person,
        world.reviewer("Pia").await.person,
    ];
    let planner =
        world.directory.create_agent(Author::Operator, agent_of(planner_owner, "planner")).await.unwrap();
    let rules = vec![
        Rule {
            behalf: Some(behalf("sub", &[("u-1", "ana@example.com"), ("u-2", "ghost@example.com")])),
            ..rule("deploy", &[("/act/sub", "deploy-client")])
        },
        Rule { behalf: Some(behalf("email", &[])), ..rule("mailed", &[("azp", "mail-client")]) },
    ];
    let directory = world.trusting(vec![issuer(&stage.issuer.url(), rules)]).await;
    let saying = |more: Value| {
        stage.token_saying(|claims| {
            claims["sub"] = "u-1".into();
            for (name, value) in more.as_object().unwrap() {
                claims[name.as_str()] = value.clone();
            }
        })
    };
    let direct = present(&directory, &saying(json!({"act": {"sub": "deploy-client"}})), world).await.unwrap();
    assert_eq!((direct.on_behalf_of.clone(), direct.side()), (vec![ana], [owner, ana].into()));
    let chained = saying(json!({"act": {"sub": "deploy-client", "act": {"sub": "planner-client"}}}));
    let chained = present(&directory, &chained, world).await.unwrap();
    assert_eq!(chained.side(), [owner, ana, planner_owner].into());
    assert_ne!(chained.credential, direct.credential);
    let entry = world.entries().pop().unwrap();
    assert_eq!(entry["data"]["through"], json!([planner.to_string()]));
    assert_eq!(entry["data"]["on_behalf_of"], json!([ana.to_string()]));
    // What was taken down is what is looked at again later, a restart in between.
    let rules = vec![Rule {
        behalf: Some(behalf("sub", &[("u-1", "ana@example.com"), ("u-2", "ghost@example.com")])),
        ..rule("deploy", &[("/act/sub", "deploy-client")])
    }];
    let after = world.trusting(vec![issuer(&stage.issuer.url(), rules)]).await;
    assert_eq!(after.requester(chained.credential, world.now()).unwrap().side(), chained.side());

    for (what, more, why) in chains_that_cannot_be_told() {
        let refused = present(&directory, &saying(more), world).await;
        let Err(N::NotTrusted(said)) = refused else { panic!("{what}: {refused:?}") };
        assert!(said.contains(why), "{what}: {said}");
    }
    let deep =
        (0..10).fold(json!({"sub": "planner-client"}), |act, _| json!({"sub": "planner-client", "act": act}));
    let refused =
        present(&directory, &saying(json!({"act": {"sub": "deploy-client", "act": deep}})), world).await;
    assert_eq!(refused, Err(N::NotTrusted("the token came through too many agents")));
    let mailed = saying(json!({"azp": "mail-client", "email": "Ana@example.com", "email_verified": true}));
    assert_eq!(present(&directory, &mailed, world).await.unwrap().on_behalf_of, vec![ana]);
    // With the person, or an agent on the way, the token is worth nothing any more.
    directory.disable_agent(Author::Operator, planner).await.unwrap();
    assert_eq!(directory.requester(chained.credential, world.now()), Err(N::Disabled));
    directory.disable_person(Author::Operator, ana).await.unwrap();
    assert_eq!(directory.requester(direct.credential, world.now()), Err(N::Disabled));
}

#[tokio::test]
async fn keys_come_from_a_file_or_an_address_too_and_other_tokens_stay_what_they_are() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, json!({"keys": [stage.key.jwk()]}).to_string()).unwrap();
    let address = format!("{}/keys", stage.issuer.url()).parse().unwrap();
    for keys in [KeySource::File(file.clone()), KeySource::Url(address)] {
        let rules = vec![rule("deploy", &[("repository", "acme/shop")])];
        let directory =
            stage.world.trusting(vec![Issuer { keys, ..issuer(&stage.issuer.url(), rules) }]).await;
        present(&directory, &stage.token(), &stage.world).await.unwrap();
    }
    std::fs::remove_file(&file).unwrap();
    let rules = vec![rule("deploy", &[("repository", "acme/shop")])];
    let lost = stage
        .world
        .trusting(vec![Issuer { keys: KeySource::File(file), ..issuer(&stage.issuer.url(), rules) }]);
    assert_eq!(present(&lost.await, &stage.token(), &stage.world).await, Err(N::NoKeys));
    // Without any issuer, such a token is as unknown as any other text.
    assert_eq!(present(&stage.world.directory, &stage.token(), &stage.world).await, Err(N::Unknown));
    assert_eq!(stage.caller("csn_nothing").await, Err(N::Unknown));
}

/// Each gateway's clock may be wrong by what the configuration allows, one early and one late: a token made now is good at both,
/// and none lives longer anywhere than that allows.
#[tokio::test]
async fn two_gateways_whose_clocks_differ_believe_the_same_fresh_token() {
    let early = Stage::new().await;
    let late = World::new().await;
    late.reviewer("Owner").await;
    let rules = vec![rule("deploy", &[("repository", "acme/shop")])];
    let directory = late.trusting(vec![issuer(&early.issuer.url(), rules)]).await;
    let (skew, off) = (Duration::from_mins(1), Duration::from_secs(59));
    // True time is between the two: the early one's clock is 59 s behind it, the late one's 59 s before it.
    let issued = early.seconds() + 59;
    late.pass(off + off);
    let token = |from: i64, until: i64| {
        early.token_saying(|claims| {
            claims["iat"] = json!(from);
            claims["nbf"] = json!(from);
            claims["exp"] = json!(until);
        })
    };
    let fresh = token(issued, issued + 600);
    early.caller(&fresh).await.unwrap();
    present(&directory, &fresh, &late).await.unwrap();
    // Two seconds more are too many: not begun at the one, over at the other.
    let begins = token(issued + 2, issued + 600);
    let refused = N::NotTrusted("the token is not good yet: its time lies ahead");
    assert_eq!(early.caller(&begins).await, Err(refused));
    present(&directory, &begins, &late).await.unwrap();
    let over = token(issued - 60, issued - 2);
    assert_eq!(present(&directory, &over, &late).await, Err(N::NotTrusted("the token has expired")));
    early.caller(&over).await.unwrap();
    // Known and good before, it is no longer at either once its end and the allowance are past there.
    late.pass(Duration::from_secs(601));
    let over = N::NotTrusted("the token has expired");
    assert_eq!(present(&directory, &fresh, &late).await, Err(over));
    early.world.pass(Duration::from_mins(10) + skew + off);
    assert_eq!(early.caller(&fresh).await, Err(over));
}
