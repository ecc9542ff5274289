//! TLS on both sides, and what is refused without it.

use crate::stage::{Stage, finished};
use countersign_testkit::postgres::Options;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority, and a certificate for a host under it with its key, as PEM.
fn pki(host: &str) -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, host);
    let certificate = params.signed_by(&key, &authority).unwrap().pem();
    (authority.pem(), certificate, key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_encrypted_and_verified() {
    let (authority, certificate, key) = pki("localhost");
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

/// A certificate for another name than the host's is taken only where the configuration says that name.
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_certificate_must_name_it() {
    let (authority, certificate, key) = pki("db.internal");
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("ca.pem").display().to_string();
    std::fs::write(&ca, authority).unwrap();
    let options = Options { tls: Some((certificate, key)), ..Options::default() };
    for (tls, fine) in [
        (serde_json::json!({"ca": ca}), false),
        (serde_json::json!({"ca": ca, "server_name": "db.elsewhere"}), false),
        (serde_json::json!({"ca": ca, "server_name": "db.internal"}), true),
    ] {
        let stage = Stage::with(&options, |section| {
            let port = section["upstream"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
            section["upstream"] = format!("localhost:{port}").into();
            section["upstream_tls"] = tls.clone();
        });
        let said = stage.await.run("select count(*) from orders").await;
        assert_eq!(said.fine, fine, "{tls}: {said:?}");
        if !fine {
            assert!(said.err.contains("could not be logged in to"), "{said:?}");
        }
    }
}

/// From the gateway's own machine a client may leave TLS out, and gets it when it asks.
#[tokio::test(flavor = "multi_thread")]
async fn from_this_machine_tls_is_offered_and_not_demanded() {
    let (authority, certificate, key) = pki("localhost");
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    for (name, text) in [("ca.pem", &authority), ("tls.pem", &certificate), ("tls.key", &key)] {
        std::fs::write(path(name), text).unwrap();
    }
    let options = Options::default();
    for (plain, without) in [("loopback", true), ("anywhere", true), ("never", false)] {
        let stage = Stage::with(&options, |section| {
            section["plain"] = plain.into();
            section["listener_tls"] =
                serde_json::json!({"certificate": path("tls.pem"), "key": path("tls.key")});
        });
        let stage = stage.await;
        for (mode, fine) in [("verify-full", true), ("prefer", true), ("disable", without)] {
            let mut command = stage.psql();
            command.env("PGSSLMODE", mode).env("PGSSLROOTCERT", path("ca.pem")).args(["-h", "localhost"]);
            command.args(["-c", "\\conninfo", "-c", "select 7"]);
            let said = finished(command).await;
            assert_eq!(said.fine, fine, "{plain} {mode}: {said:?}");
            assert_eq!(said.out.contains("TLSv1.3"), mode != "disable", "{plain} {mode}: {said:?}");
            if !fine {
                assert!(said.err.contains("connect with `sslmode=verify-full`"), "{said:?}");
            }
        }
    }
}
