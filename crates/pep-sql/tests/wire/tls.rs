//! TLS on both sides, and what is refused without it.

use crate::stage::{Stage, finished};
use countersign_testkit::postgres::Options;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority, and a certificate for `localhost` under it with its key, as PEM.
fn pki() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = params.signed_by(&key, &authority).unwrap().pem();
    (authority.pem(), certificate, key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_encrypted_and_verified() {
    let (authority, certificate, key) = pki();
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    for (name, text) in [("ca.pem", &authority), ("tls.pem", &certificate), ("tls.key", &key)] {
        std::fs::write(path(name), text).unwrap();
    }
    let options = Options { tls: Some((certificate, key)), ..Options::default() };
    let stage = Stage::with(&options, |section| {
        let port = section["upstream"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        section["upstream"] = format!("localhost:{port}").into();
        section["upstream_tls"] = serde_json::json!({"ca": path("ca.pem")});
        section["listener_tls"] = serde_json::json!({"certificate": path("tls.pem"), "key": path("tls.key")});
        section["plain"] = "never".into();
    });
    let stage = stage.await;
    let asked = |host: &str, mode: &str| {
        let mut command = stage.psql();
        command.env("PGSSLMODE", mode).env("PGSSLROOTCERT", path("ca.pem")).args(["-h", host]);
        command.args(["-c", "\\conninfo", "-c", "select count(*) from orders"]);
        finished(command)
    };
    let said = asked("localhost", "verify-full").await;
    assert!(said.fine && said.out.contains("SSL connection (protocol: TLSv1.3"), "{said:?}");
    assert!(said.out.ends_with("100"), "{said:?}");
    let upstream =
        "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'app'";
    let mut psql = stage.cluster.psql("shop");
    psql.args(["-c", upstream]);
    assert_eq!(finished(psql).await.out, "t", "the gateway's own connections are encrypted");
    let said = asked("127.0.0.1", "verify-full").await;
    assert!(!said.fine && said.err.contains("does not match host name"), "{said:?}");
    let said = asked("localhost", "disable").await;
    assert!(!said.fine && said.err.contains("a token is not asked for without TLS"), "{said:?}");
    // A large result and a copy go through it as well.
    let mut command = stage.psql();
    command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", path("ca.pem")).args(["-h", "localhost"]);
    command.args(["-c", "select length(string_agg(repeat('x', 1000), '')) from generate_series(1, 5000)"]);
    command.args(["-c", "copy (select repeat('y', 10000) from generate_series(1, 300)) to stdout"]);
    let said = finished(command).await;
    assert_eq!(said.out.len(), 7 + 1 + 300 * 10_001 - 1, "{:?}", said.err);
}
