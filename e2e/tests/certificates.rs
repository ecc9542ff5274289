//! Clients known by their certificates, on every wire of the real binary: `curl` and `psql` with a key and no token.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use countersign_e2e::{Gateway, Setup, client::curl};
use countersign_testkit::{
    postgres::{Options, Postgres},
    server::{Server, json},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use serde_json::json;
use std::{fs, path::PathBuf, process::Output, sync::Arc};
use tempfile::TempDir;

const SECRET: &str = "planted-upstream-secret";
const ID: &str = "spiffe://prod.example.com/ns/ci/sa/deployer";
const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
"#;

/// An authority; certificates of its making go into the folder.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: TempDir::new().unwrap() }
    }

    /// A certificate and its key, as PEM.
    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A client's, with these URI names, as files.
    fn client(&self, name: &str, uris: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Client {
        let (certificate, key) = self.sign(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.subject_alt_names =
                uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
            change(params);
        });
        let file = |kind: &str, text: &str| {
            let path = self.folder.path().join(format!("{name}.{kind}"));
            fs::write(&path, text).unwrap();
            // libpq reads no key that others can.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&path, mode).unwrap();
            path
        };
        Client { certificate: file("pem", &certificate), key: file("key", &key) }
    }
}

struct Client {
    certificate: PathBuf,
    key: PathBuf,
}

struct Stage {
    gateway: Gateway,
    cluster: Postgres,
    authority: Authority,
    server_ca: PathBuf,
    mcp: u16,
    _target: Server,
    _folder: TempDir,
}

impl Stage {
    async fn open() -> Self {
        let cluster = Postgres::start(&Options::default()).await.unwrap();
        cluster.run("postgres", &format!("create role app login password '{SECRET}'")).unwrap();
        cluster.run("postgres", "create database shop owner app").unwrap();
        let target =
            Server::start(Arc::new(|_| json(http::StatusCode::OK, &json!({"status": "fine"})))).await;
        let target = target.unwrap();
        let (authority, ours) = (Authority::new(), Authority::new());
        let (certificate, key) = ours.sign(|params| {
            params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        });
        let mcp = countersign_testkit::ports::free().unwrap();
        let tls = r#"listener_tls = { certificate = "tls.pem", key = "tls.key", clients = { issuer = "mesh", ca = "mesh.pem" } }"#;
        let sections = format!(
            r#"[[http]]
name = "api"
environment = "prod"
listen = "127.0.0.1:WIRE"
upstream = "{url}"
{tls}

[[http.operations]]
name = "getStatus"
method = "GET"
path = "/status"
class = "read"
sentence = "Read the status"

[[postgres]]
name = "shop"
environment = "prod"
listen = "127.0.0.1:SECOND"
upstream = "127.0.0.1:{port}"
databases = ["shop"]
credential = {{ profile = "shop-app", user = "app", value_from = "file:secret" }}
{tls}

[[mcp]]
name = "tools"
environment = "prod"
listen = "127.0.0.1:{mcp}"
upstream = "{url}/mcp"
{tls}

[[issuers]]
name = "mesh"
certificates = true
trust_domain = "prod.example.com"

[[issuers.agents]]
agent = "mesh/{{spiffe_path}}"
match = {{ spiffe_id = "spiffe://prod.example.com/ns/ci/sa/*" }}
owners = ["olga@example.com"]
groups = ["agents"]
kind = "service"
"#,
            url = target.url(),
            port = cluster.port(),
        );
        let setup = Setup {
            policy: POLICY,
            groups: r#"["agents", "sre"]"#,
            sections: &sections,
            files: &[
                ("secret", SECRET),
                ("tls.pem", &certificate),
                ("tls.key", &key),
                ("mesh.pem", &authority.issuer.pem()),
            ],
        };
        let gateway = Gateway::start(&setup).await.unwrap();
        gateway.invite("olga@example.com", "sre").await.unwrap();
        let folder = TempDir::new().unwrap();
        let server_ca = folder.path().join("ca.pem");
        fs::write(&server_ca, ours.issuer.pem()).unwrap();
        Self { gateway, cluster, authority, server_ca, mcp, _target: target, _folder: folder }
    }

    /// Status and body; `None`: there was no answer at all.
    async fn get(&self, client: Option<&Client>, more: &[&str]) -> Option<(u16, String)> {
        let url = self.gateway.url.replace("http://127.0.0.1", "https://localhost") + "/status";
        self.ask(client, more, &url).await
    }

    async fn ask(&self, client: Option<&Client>, more: &[&str], url: &str) -> Option<(u16, String)> {
        let mut arguments = vec!["--cacert", self.server_ca.to_str().unwrap()];
        if let Some(Client { certificate, key }) = client {
            arguments.extend(["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()]);
        }
        arguments.extend(more);
        arguments.push(url);
        let seen = curl(&arguments).await.ok()?;
        Some((seen.status, String::from_utf8_lossy(&seen.body).into_owned()))
    }

    async fn psql(&self, client: &Client) -> Output {
        let mut command = self.cluster.program("psql");
        let target = format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=ci dbname=shop sslmode=verify-full sslrootcert={} sslcert={} sslkey={}",
            self.gateway.second_port,
            self.server_ca.display(),
            client.certificate.display(),
            client.key.display(),
        );
        // -w: it never asks for a password.
        command.args(["-X", "-A", "-t", "-w", "-c", "select current_user", &target]);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_known_by_its_certificate_on_every_wire() {
    let stage = Stage::open().await;
    let fine = Some((200, r#"{"status":"fine"}"#.to_owned()));
    let deployer = stage.authority.client("deployer", &[ID], |_| {});
    for version in ["--http1.1", "--http2"] {
        assert_eq!(stage.get(Some(&deployer), &[version]).await, fine, "{version}");
    }
    let out = stage.psql(&deployer).await;
    assert_eq!(String::from_utf8_lossy(&out.stdout), "app\n", "{}", String::from_utf8_lossy(&out.stderr));
    let mcp = format!("https://localhost:{}/mcp", stage.mcp);
    let (known, _) = stage.ask(Some(&deployer), &[], &mcp).await.unwrap();
    let (stranger, _) = stage.ask(None, &[], &mcp).await.unwrap();
    assert_eq!((known == 401, stranger), (false, 401));
    let agents = stage.gateway.command(&["agent", "list"]).await.unwrap();
    assert!(agents.to_string().contains("mesh/ns/ci/sa/deployer"), "{agents}");

    // Nobody without one, and a token that does not hold is not made up for by the machine it comes from.
    assert_eq!(stage.get(None, &[]).await.unwrap().0, 401);
    for header in ["Authorization: Bearer cst_wrong", "Authorization: Basic YTpi"] {
        assert_eq!(stage.get(Some(&deployer), &["-H", header]).await.unwrap().0, 401, "{header}");
    }
    // A good token says who it is, whatever the machine.
    let token = stage.gateway.agent("bot", "olga@example.com", "agents").await.unwrap();
    let header = format!("Authorization: Bearer {token}");
    assert_eq!(stage.get(Some(&deployer), &["-H", &header]).await, fine);

    for (what, client) in [
        (
            "of another place",
            stage.authority.client("dev", &["spiffe://prod.example.com/ns/dev/sa/x"], |_| {}),
        ),
        (
            "of another trust domain",
            stage.authority.client("evil", &["spiffe://evil.example.com/ns/ci/sa/x"], |_| {}),
        ),
        ("with two names", stage.authority.client("two", &[ID, "https://example.com"], |_| {})),
        (
            "with a crooked name",
            stage.authority.client("crooked", &["spiffe://prod.example.com/ns/ci/../x"], |_| {}),
        ),
        ("without a name", stage.authority.client("none", &[], |_| {})),
    ] {
        let (status, said) = stage.get(Some(&client), &[]).await.unwrap();
        assert_eq!(status, 401, "{what}: {said}");
        let out = stage.psql(&client).await;
        assert!(out.stdout.is_empty(), "{what}");
    }
    let past = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    for (what, client) in [
        ("of an unknown authority", Authority::new().client("stranger", &[ID], |_| {})),
        ("that is over", stage.authority.client("past", &[ID], past)),
        ("for a server", stage.authority.client("server", &[ID], server)),
    ] {
        assert_eq!(stage.get(Some(&client), &[]).await, None, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_are_those_the_file_holds_now() {
    let stage = Stage::open().await;
    let deployer = stage.authority.client("deployer", &[ID], |_| {});
    assert_eq!(stage.get(Some(&deployer), &[]).await.unwrap().0, 200);
    let token = stage.gateway.agent("bot", "olga@example.com", "agents").await.unwrap();
    let header = format!("Authorization: Bearer {token}");
    let next = Authority::new();
    let file = stage.gateway.folder().join("mesh.pem");
    fs::write(&file, format!("{}{}", stage.authority.issuer.pem(), next.issuer.pem())).unwrap();
    let rotated = next.client("rotated", &[ID], |_| {});
    assert_eq!(stage.get(Some(&deployer), &[]).await.unwrap().0, 200);
    assert_eq!(stage.get(Some(&rotated), &[]).await.unwrap().0, 200);
    fs::write(&file, next.issuer.pem()).unwrap();
    assert_eq!(stage.get(Some(&deployer), &[]).await, None, "its authority is gone");
    assert_eq!(stage.get(Some(&rotated), &[]).await.unwrap().0, 200);
    fs::write(&file, "nothing that can be read").unwrap();
    assert_eq!(stage.get(Some(&rotated), &[]).await, None, "nobody's authority is known");
    assert_eq!(stage.get(None, &["-H", &header]).await.unwrap().0, 200, "tokens go on");
}
