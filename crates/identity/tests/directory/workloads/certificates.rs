//! Certificates of clients: which agent one is, and until when.

use super::{World, issuer, rule};
use countersign_core::{ClientCertificate, Digest};
use countersign_engine::port::identity::{Identity, NotAuthenticated as N, Presented};
use countersign_identity::{Author, Directory, Issuer, KeySource, Rule};
use std::{sync::Arc, time::Duration};

fn mesh(name: &str, trust_domain: Option<&str>, rules: Vec<Rule>) -> Issuer {
    let issues = trust_domain.map_or(format!("certificates:{name}"), |domain| format!("spiffe://{domain}"));
    let audiences = [].into();
    Issuer { name: name.into(), audiences, keys: KeySource::Certificates, ..issuer(&issues, rules) }
}

fn certificate(world: &World, spiffe_id: Option<&str>) -> ClientCertificate {
    ClientCertificate {
        issuer: "mesh".into(),
        fingerprint: Digest::of(spiffe_id.unwrap_or("none").as_bytes()),
        spiffe_id: spiffe_id.map(str::to_owned),
        dns: vec!["deployer.example.com".into()],
        common_name: Some("deployer".into()),
        organization: None,
        organizational_unit: None,
        subject: "CN=deployer".into(),
        not_before: world.now().minus(Duration::from_mins(5)),
        not_after: world.now().plus(Duration::from_hours(1)),
        flaw: None,
    }
}

/// As a wire asks: once more after what was missing was brought. The agent's name.
async fn who(
    directory: &Arc<Directory>,
    certificate: &ClientCertificate,
    world: &World,
) -> Result<String, N> {
    let presented = Presented::Certificate(certificate);
    let caller = match directory.authenticate(presented, world.now()) {
        Err(N::NotYet) => {
            directory.prepare(presented).await;
            directory.authenticate(presented, world.now())
        }
        other => other,
    };
    let agents = directory.agents();
    caller.map(|caller| {
        let found =
            agents.iter().find(|agent| caller.principal == countersign_core::PrincipalId::Agent(agent.id));
        found.unwrap().name.clone()
    })
}

#[tokio::test]
async fn a_certificate_is_the_agent_its_spiffe_id_names_and_no_longer_than_it_lasts() {
    let world = World::new().await;
    world.reviewer("Owner").await;
    let rules = vec![rule("mesh/{spiffe_path}", &[("spiffe_id", "spiffe://prod.example.com/ns/ci/sa/*")])];
    let directory = world.trusting(vec![mesh("mesh", Some("prod.example.com"), rules)]).await;
    let good = certificate(&world, Some("spiffe://prod.example.com/ns/ci/sa/deployer"));
    assert_eq!(who(&directory, &good, &world).await.as_deref(), Ok("mesh/ns/ci/sa/deployer"));
    let entries = world.types();
    assert_eq!(entries.last().map(String::as_str), Some("workload.admitted"));
    // The same workload with its next certificate is the same credential.
    let rotated = ClientCertificate { fingerprint: Digest::of(b"next"), ..good.clone() };
    let credential = |certificate| {
        directory.authenticate(Presented::Certificate(certificate), world.now()).unwrap().credential
    };
    assert_eq!(credential(&good), credential(&rotated));
    assert_eq!(world.types().len(), entries.len());

    for (what, wrong) in [
        ("another trust domain", certificate(&world, Some("spiffe://evil.example.com/ns/ci/sa/deployer"))),
        ("another place in it", certificate(&world, Some("spiffe://prod.example.com/ns/dev/sa/deployer"))),
        ("no SPIFFE id", certificate(&world, None)),
        (
            "a flaw",
            ClientCertificate { flaw: Some("it has two"), fingerprint: Digest::of(b"f"), ..good.clone() },
        ),
        (
            "not yet good",
            ClientCertificate {
                not_before: world.now().plus(Duration::from_mins(5)),
                fingerprint: Digest::of(b"b"),
                ..good.clone()
            },
        ),
    ] {
        let refused = who(&directory, &wrong, &world).await;
        assert!(matches!(refused, Err(N::NotTrusted(_))), "{what}: {refused:?}");
    }
    // The listener says whose it is: it is nobody's anywhere else.
    let elsewhere = ClientCertificate { issuer: "other".into(), ..good.clone() };
    assert_eq!(who(&directory, &elsewhere, &world).await, Err(N::Unknown));
    // A connection may outlast its certificate; what it proves does not.
    world.pass(Duration::from_hours(1));
    assert_eq!(who(&directory, &good, &world).await, Err(N::Expired));
}

#[tokio::test]
async fn rules_may_go_by_names_and_a_revoked_workload_stays_out() {
    let world = World::new().await;
    world.reviewer("Owner").await;
    let rules = vec![rule("deploy", &[("dns", "deployer.example.com"), ("common_name", "deployer")])];
    let directory = world.trusting(vec![mesh("mesh", None, rules)]).await;
    let good = certificate(&world, None);
    assert_eq!(who(&directory, &good, &world).await.as_deref(), Ok("deploy"));
    let other = ClientCertificate { common_name: None, fingerprint: Digest::of(b"o"), ..good.clone() };
    assert!(matches!(who(&directory, &other, &world).await, Err(N::NotTrusted(_))));
    let caller = directory.authenticate(Presented::Certificate(&good), world.now()).unwrap();
    directory.revoke_token(Author::Operator, caller.credential).await.unwrap();
    assert_eq!(who(&directory, &good, &world).await, Err(N::Revoked));
}
