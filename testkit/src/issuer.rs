//! Somebody who signs tokens, and publishes the keys to check them with: as a CI service, a cluster or an identity
//! provider does. It signs with AWS-LC directly, and signs whatever a test wants, nonsense included.

use crate::server::{Answer, Server, empty, json, lock};
use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};
use std::{
    io,
    sync::{Arc, Mutex},
};

/// A key that signs.
#[derive(Debug)]
pub struct SigningKey {
    /// Its `kid`.
    pub id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn failed(error: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

impl SigningKey {
    pub fn rsa(id: &str) -> io::Result<Self> {
        Ok(Self { id: id.into(), pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?) })
    }

    pub fn p256(id: &str) -> io::Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        Ok(Self { id: id.into(), pair: Pair::P256(pair) })
    }

    pub fn ed25519(id: &str) -> io::Result<Self> {
        Ok(Self { id: id.into(), pair: Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?) })
    }

    /// The algorithm it signs with when nothing else is said.
    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half as a JSON Web Key.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.pair {
            Pair::Rsa(pair) => {
                let public = aws_lc_rs::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": text(&public.n), "e": text(&public.e)})
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
                json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
        };
        for (name, value) in [("kid", self.id.as_str()), ("use", "sig"), ("alg", self.algorithm())] {
            if let Some(members) = key.as_object_mut() {
                members.insert(name.into(), value.into());
            }
        }
        key
    }

    /// The public half as a DER document: what is mistaken for a secret when algorithms are confused.
    pub fn public_der(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => {
                pair.public_key().as_der().map(|der| der.as_ref().to_vec()).unwrap_or_default()
            }
            Pair::P256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// A token with this head and these claims; the head says what it is signed with.
    pub fn token(&self, head: &Value, claims: &Value) -> io::Result<String> {
        self.token_of(&head.to_string(), &claims.to_string())
    }

    /// The same of texts, which need not be what a serializer would write.
    pub fn token_of(&self, head: &str, claims: &str) -> io::Result<String> {
        let signed = signed_part(head, claims);
        let pss = head.contains("\"PS256\"");
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes(), pss)?)))
    }

    fn sign(&self, message: &[u8], pss: bool) -> io::Result<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn RsaEncoding = if pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::P256(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// A token under a shared secret (HS256).
pub fn token_with_secret(secret: &[u8], head: &Value, claims: &Value) -> String {
    let signed = signed_part(&head.to_string(), &claims.to_string());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A token's first two parts.
pub fn signed_part(head: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims))
}

/// An issuer with an address: what it says of itself and its keys are fetched from there.
#[derive(Debug)]
pub struct TokenIssuer {
    server: Server,
    published: Arc<Mutex<Published>>,
}

/// What an issuer publishes.
#[derive(Debug, Default)]
struct Published {
    keys: Vec<Value>,
    discovery: Value,
    down: bool,
}

impl TokenIssuer {
    /// Starts one that publishes these keys.
    pub async fn start(keys: &[&SigningKey]) -> io::Result<Self> {
        let published = Arc::new(Mutex::new(Published::default()));
        let shared = Arc::clone(&published);
        let answer: Answer = Arc::new(move |asked| {
            let published = lock(&shared);
            if published.down {
                return empty(StatusCode::SERVICE_UNAVAILABLE);
            }
            match asked.uri().path() {
                "/.well-known/openid-configuration" => json(StatusCode::OK, &published.discovery),
                "/keys" => json(StatusCode::OK, &json!({"keys": published.keys})),
                _ => empty(StatusCode::NOT_FOUND),
            }
        });
        let server = Server::start(answer).await?;
        let issuer = Self { server, published };
        let url = issuer.url();
        issuer.describe(json!({"issuer": url, "jwks_uri": format!("{url}/keys")}));
        issuer.publish(keys);
        Ok(issuer)
    }

    /// What stands in `iss`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Publishes these keys from now on, and no others.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.publish_raw(keys.iter().map(|key| key.jwk()).collect());
    }

    /// The same with keys as they shall be written.
    pub fn publish_raw(&self, keys: Vec<Value>) {
        lock(&self.published).keys = keys;
    }

    /// What it says of itself.
    pub fn describe(&self, discovery: Value) {
        lock(&self.published).discovery = discovery;
    }

    /// Answers nothing but 503 while it is down.
    pub fn set_down(&self, down: bool) {
        lock(&self.published).down = down;
    }

    /// How often its keys were fetched.
    pub fn fetched(&self) -> usize {
        self.server.asked().iter().filter(|path| *path == "/keys").count()
    }
}
