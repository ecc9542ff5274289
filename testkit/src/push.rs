//! A push service and the browsers behind it, on loopback, written from RFC 8030, RFC 8188, RFC 8291 and RFC 8292: it refuses
//! what the real ones refuse, keeps of one topic only the newest message, and decrypts as the browser does.

use crate::server::{Answer, Asked, Server, Troubles, empty, lock};
use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    encoding::{AsBigEndian as _, EcPrivateKeyBin},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey as Signer},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

/// The largest message that is taken.
const LARGEST: usize = 4_096;
/// Salt, record size, length of the key, key.
const HEAD: usize = 16 + 4 + 1 + 65;
const DAY: u64 = 24 * 60 * 60;

/// A browser that let itself be subscribed: what it hands over, and what it keeps.
#[derive(Debug)]
pub struct Device {
    /// What its page is told.
    pub endpoint: String,
    pub p256dh: String,
    pub auth: String,
    private: PrivateKey,
    secret: [u8; 16],
    /// For whose key it was subscribed.
    key: String,
}

/// A message as the browser has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Which device it is for: the last part of its endpoint.
    pub device: String,
    /// What was inside.
    pub text: String,
    pub ttl: u64,
    pub urgency: String,
    pub topic: String,
    /// Bytes of the encrypted body.
    pub size: usize,
    /// The token's claims.
    pub claims: Value,
    /// As it came.
    pub body: Vec<u8>,
    pub authorization: String,
}

/// A message that is not taken.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// A status, without anything said.
    Status(u16),
    /// A status, with so many seconds in `Retry-After`.
    Later(u16, u64),
}

/// The service, running.
pub struct PushService {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for PushService {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PushService").field("url", &self.url()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    origin: String,
    devices: BTreeMap<String, Arc<Device>>,
    messages: Vec<Message>,
    /// The status that was answered to each, and why.
    calls: Vec<(u16, String)>,
    /// Bodies larger than this are not taken.
    largest: Option<usize>,
    /// Which second it is, where that is not the machine's to say.
    now: Option<u64>,
    troubles: Troubles<Refusal>,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl PushService {
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Listens there.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let answering = Arc::clone(&shared);
        let answer: Answer = Arc::new(move |asked| lock(&answering).answer(asked));
        let server = Server::start_at(address, answer).await?;
        lock(&shared).origin = server.url();
        Ok(Self { server, shared })
    }

    /// Its origin.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// A browser subscribes, for messages signed with this key.
    pub fn subscribe(&self, name: &str, key: &str) -> Result<Arc<Device>, Unspecified> {
        let private = PrivateKey::generate(&ECDH_P256)?;
        let mut secret = [0; 16];
        rand::fill(&mut secret)?;
        let device = Arc::new(Device {
            endpoint: format!("{}/push/{name}", self.url()),
            p256dh: BASE64.encode(private.compute_public_key()?.as_ref()),
            auth: BASE64.encode(secret),
            private,
            secret,
            key: key.to_owned(),
        });
        lock(&self.shared).devices.insert(name.to_owned(), Arc::clone(&device));
        Ok(device)
    }

    /// A browser gives its subscription up.
    pub fn forget(&self, name: &str) {
        lock(&self.shared).devices.remove(name);
    }

    /// The next messages are answered like this.
    pub fn refuse(&self, refusals: &[Refusal]) {
        lock(&self.shared).troubles.next.extend(refusals);
    }

    /// Every message is, until it is said otherwise.
    pub fn down(&self, refusal: Option<Refusal>) {
        lock(&self.shared).troubles.down = refusal;
    }

    /// Larger ones are answered with 413.
    pub fn take_at_most(&self, largest: usize) {
        lock(&self.shared).largest = Some(largest);
    }

    /// For the service it is this second since 1970, as it is for a gateway whose clock is driven.
    pub fn now_is(&self, second: u64) {
        lock(&self.shared).now = Some(second);
    }

    /// What the browsers have not fetched, oldest first: of one topic the newest alone.
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.shared).messages.clone()
    }

    /// Every status that was answered, and why.
    pub fn calls(&self) -> Vec<(u16, String)> {
        lock(&self.shared).calls.clone()
    }

    /// Waits until what waits is as it should be.
    pub async fn until(
        &self,
        what: &str,
        enough: impl Fn(&[Message]) -> bool,
    ) -> Result<Vec<Message>, String> {
        let found = self.server.comes(|| Some(self.messages()).filter(|messages| enough(messages))).await;
        found.ok_or_else(|| format!("{what} never came; {:?}", self.calls()))
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        let (response, why) = match self.troubles.of(asked) {
            Some(refusal) => (refusal.response(), "as it was told".to_owned()),
            None => match self.taken(asked) {
                Ok(message) => {
                    self.messages.retain(|known| {
                        (&known.device, &known.topic) != (&message.device, &message.topic)
                            || known.topic.is_empty()
                    });
                    self.messages.push(message);
                    (empty(StatusCode::CREATED), String::new())
                }
                Err((status, why)) => (empty(status), why.to_owned()),
            },
        };
        self.calls.push((response.status().as_u16(), why));
        response
    }

    fn taken(&self, asked: &Asked) -> Result<Message, (StatusCode, &'static str)> {
        let refused = |status, why| Err((status, why));
        if *asked.method() != Method::POST {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "not a POST");
        }
        let name = asked.uri().path().strip_prefix("/push/").unwrap_or_default();
        let Some(device) = self.devices.get(name) else {
            return refused(StatusCode::GONE, "no such subscription");
        };
        let claims = self.believed(asked, device)?;
        let head = |name: &'static str| one(asked, &HeaderName::from_static(name)).unwrap_or_default();
        if head("content-encoding") != "aes128gcm" {
            return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not aes128gcm");
        }
        let Ok(ttl) = head("ttl").parse() else {
            return refused(StatusCode::BAD_REQUEST, "no TTL");
        };
        if !matches!(head("urgency").as_str(), "" | "very-low" | "low" | "normal" | "high") {
            return refused(StatusCode::BAD_REQUEST, "no such urgency");
        }
        let topic = head("topic");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if topic.len() > 32 || !topic.bytes().all(plain) {
            return refused(StatusCode::BAD_REQUEST, "not a topic");
        }
        let size = asked.body().len();
        if size > self.largest.unwrap_or(LARGEST) {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "too large");
        }
        // The service itself does not see this; the browser drops what it cannot read.
        let Ok(text) = device.decrypt(asked.body()) else {
            return refused(StatusCode::BAD_REQUEST, "the browser cannot decrypt it");
        };
        let Ok(text) = String::from_utf8(text) else {
            return refused(StatusCode::BAD_REQUEST, "not UTF-8");
        };
        Ok(Message {
            device: name.to_owned(),
            text,
            ttl,
            urgency: head("urgency"),
            topic,
            size,
            claims,
            body: asked.body().to_vec(),
            authorization: one(asked, &header::AUTHORIZATION).unwrap_or_default(),
        })
    }

    /// The claims of the token, if its signature, its audience, its time and its key are right (RFC 8292, sections 2 and 4.2).
    fn believed(&self, asked: &Asked, device: &Device) -> Result<Value, (StatusCode, &'static str)> {
        let unauthorized = |why| (StatusCode::UNAUTHORIZED, why);
        let sent = one(asked, &header::AUTHORIZATION).ok_or(unauthorized("no Authorization"))?;
        let parameters = sent.strip_prefix("vapid ").ok_or(unauthorized("not vapid"))?;
        let parameter = |name: &str| {
            let named = parameters.split(',').map(str::trim).filter_map(|one| one.split_once('='));
            named.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        let (token, key) = parameter("t").zip(parameter("k")).ok_or(unauthorized("no t or no k"))?;
        let [head, claims, signature] = <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>())
            .map_err(|_| unauthorized("no JWT"))?;
        let bytes = |text: &str| BASE64.decode(text).map_err(|_| unauthorized("not base64url"));
        let read =
            |text: &str| serde_json::from_slice::<Value>(&bytes(text)?).map_err(|_| unauthorized("not JSON"));
        if read(head)?.get("alg").and_then(Value::as_str) != Some("ES256") {
            return Err(unauthorized("not ES256"));
        }
        let signed = format!("{head}.{}", token.split('.').nth(1).unwrap_or_default());
        Signer::new(&ECDSA_P256_SHA256_FIXED, bytes(key)?)
            .verify(signed.as_bytes(), &bytes(signature)?)
            .map_err(|_| unauthorized("the signature is wrong"))?;
        let claims = read(claims)?;
        if claims.get("aud").and_then(Value::as_str) != Some(&*self.origin) {
            return Err(unauthorized("for another service"));
        }
        let machine =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or_else(|_| 0, |since| since.as_secs());
        let now = self.now.unwrap_or_else(machine);
        let expires = claims.get("exp").and_then(Value::as_u64).unwrap_or_default();
        if expires <= now || expires > now + DAY {
            return Err(unauthorized("expired, or good for more than a day"));
        }
        if claims.get("sub").is_some_and(|sub| {
            !sub.as_str().is_some_and(|sub| sub.starts_with("mailto:") || sub.starts_with("https:"))
        }) {
            return Err(unauthorized("nobody to write to"));
        }
        if key != device.key {
            return Err((StatusCode::FORBIDDEN, "another key than it was subscribed for"));
        }
        Ok(claims)
    }
}

impl Device {
    /// Its private key as 32 bytes, base64url: for other implementations that play the browser.
    pub fn private_key(&self) -> Result<String, Unspecified> {
        let bytes: EcPrivateKeyBin<'_> = self.private.as_be_bytes()?;
        Ok(BASE64.encode(bytes.as_ref()))
    }

    /// What a message says to this browser (RFC 8291, section 4).
    pub fn decrypt(&self, body: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (head, record) = body.split_at_checked(HEAD).ok_or(Unspecified)?;
        let (salt, rest) = head.split_at_checked(16).ok_or(Unspecified)?;
        let (size, rest) = rest.split_at_checked(4).ok_or(Unspecified)?;
        let (length, sender) = rest.split_at_checked(1).ok_or(Unspecified)?;
        let size = u32::from_be_bytes(size.try_into().map_err(|_| Unspecified)?);
        // A push message is one record.
        if length != [65] || usize::try_from(size).map_err(|_| Unspecified)? < record.len() {
            return Err(Unspecified);
        }
        let own = self.private.compute_public_key()?;
        let info = [b"WebPush: info\0".as_slice(), own.as_ref(), sender];
        let peer = UnparsedPublicKey::new(&ECDH_P256, sender);
        let ikm: [u8; 32] =
            agree(&self.private, peer, Unspecified, |shared| derived(&self.secret, shared, &info))?;
        let key: [u8; 16] = derived(salt, &ikm, &[b"Content-Encoding: aes128gcm\0"])?;
        let nonce: [u8; 12] = derived(salt, &ikm, &[b"Content-Encoding: nonce\0"])?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
        let mut record = record.to_vec();
        let text = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;
        let end = text.iter().rposition(|byte| *byte != 0).ok_or(Unspecified)?;
        let (text, delimiter) = text.split_at_checked(end).ok_or(Unspecified)?;
        if delimiter.first() == Some(&2) { Ok(text.to_vec()) } else { Err(Unspecified) }
    }
}

fn derived<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut out = [0; N];
    Salt::new(HKDF_SHA256, salt).extract(secret).expand(info, Length(N))?.fill(&mut out)?;
    Ok(out)
}

/// A header that is there once.
fn one(asked: &Asked, name: &HeaderName) -> Option<String> {
    let mut values = asked.headers().get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?.to_owned();
    values.next().is_none().then_some(value)
}

impl Refusal {
    fn response(self) -> Response<Bytes> {
        let (status, after) = match self {
            Self::Status(status) => (status, None),
            Self::Later(status, seconds) => (status, Some(seconds)),
        };
        let mut response = Response::new(Bytes::from_static(b"planted words"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        if let Some(seconds) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
