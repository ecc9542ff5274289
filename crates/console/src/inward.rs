//! The door at which channels speak: who checks that they do, and which deliveries came lately. What a delivery says is
//! read in `api/v1/said.rs`; what it counts for is the engine's to say.

use async_trait::async_trait;
use countersign_core::{ChannelName, Digest, Timestamp};
use http::HeaderMap;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

/// Tells whether what says that it comes from a channel does.
pub trait Signed: Send + Sync + fmt::Debug {
    /// `id`, `timestamp` and `signatures` stand as in the headers of Standard Webhooks; `now` is seconds of Unix time.
    fn check(&self, delivery: &Delivery<'_>, now: u64) -> Result<(), NotSigned>;
}

/// A delivery as it came.
#[derive(Clone, Copy)]
pub struct Delivery<'d> {
    pub id: &'d str,
    pub timestamp: &'d str,
    pub signatures: &'d str,
    pub body: &'d [u8],
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Delivery").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Why it is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSigned {
    /// No signature holds.
    Wrong,
    /// It was signed too long ago, or in the future.
    Time,
    /// The secret cannot be read, which the gateway's own log says.
    NoSecret,
}

/// Who checks each channel that may speak.
pub type Signers = BTreeMap<ChannelName, Arc<dyn Signed>>;

/// A door at which a channel speaks in a way of its own: it checks who speaks, does what is to be done or begins it, and says
/// what the channel is answered.
#[async_trait]
pub trait Speaks: Send + Sync + fmt::Debug {
    /// What speaks there, as the door's address ends: `slack`, `teams`, `jira`.
    fn kind(&self) -> &'static str;

    async fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Spoken;
}

/// What a channel is answered at a door of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// It was taken in.
    Taken,
    Text(String),
    /// A JSON document.
    Json(String),
    NotSigned(NotSigned),
    /// It is signed, and cannot be read.
    Unreadable,
    /// Too much is under way, or what was said is not durable in time.
    Busy,
}

/// The doors of channels that have one of their own.
pub type Doors = BTreeMap<ChannelName, Arc<dyn Speaks>>;

/// How long a delivery's id is remembered: longer than any signature is believed, before and after its time.
const REMEMBERED: Duration = Duration::from_mins(15);
/// Ids remembered at once.
const MOST: usize = 65_536;

/// The deliveries of late, and what those were answered that the engine does not remember itself.
#[derive(Debug, Default)]
pub(crate) struct Deliveries(Mutex<HashMap<Digest, Came>>);

#[derive(Clone, Debug)]
struct Came {
    body: Digest,
    at: Timestamp,
    answer: Option<Vec<u8>>,
}

/// What is known of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing, or the very same: whoever decides knows what became of it.
    Same,
    /// The very same, with what it was answered.
    Answered(Vec<u8>),
    /// Something else came under this id.
    Otherwise,
    /// No more can be remembered at the moment.
    Full,
}

impl Deliveries {
    /// Takes a delivery in. Where it comes for the first time, `first` may give its answer, while nobody else asks.
    pub(crate) fn take(
        &self,
        channel: &ChannelName,
        (id, body): (&str, &[u8]),
        now: Timestamp,
        first: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Seen {
        let key =
            Digest::of_parts("countersign/console/came/v1", &[channel.as_str().as_bytes(), id.as_bytes()]);
        let body = Digest::of(body);
        let mut came = self.0.lock();
        if let Some(known) = came.get(&key).filter(|known| now.since(known.at) < REMEMBERED) {
            return match &known.answer {
                _ if known.body != body => Seen::Otherwise,
                Some(answer) => Seen::Answered(answer.clone()),
                None => Seen::Same,
            };
        }
        if came.len() >= MOST {
            came.retain(|_, known| now.since(known.at) < REMEMBERED);
            if came.len() >= MOST {
                return Seen::Full;
            }
        }
        let answer = first();
        came.insert(key, Came { body, at: now, answer: answer.clone() });
        answer.map_or(Seen::Same, Seen::Answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_answered_once_and_its_id_stands_for_nothing_else() {
        let (came, team) = (Deliveries::default(), ChannelName::new("team").unwrap());
        let at = |minutes| Timestamp(0).plus(Duration::from_mins(minutes));
        let take = |id: &str, body: &str, now, answer: Option<&str>| {
            came.take(&team, (id, body.as_bytes()), now, || answer.map(|answer| answer.as_bytes().to_vec()))
        };
        assert_eq!(take("a", "bind", at(0), Some("link 1")), Seen::Answered(b"link 1".to_vec()));
        assert_eq!(take("a", "bind", at(14), Some("link 2")), Seen::Answered(b"link 1".to_vec()));
        assert_eq!(take("a", "approve", at(14), None), Seen::Otherwise);
        assert_eq!(take("b", "approve", at(0), None), Seen::Same);
        assert_eq!(take("b", "approve", at(1), None), Seen::Same);
        let other = ChannelName::new("other").unwrap();
        assert_eq!(came.take(&other, ("a", b"approve"), at(1), || None), Seen::Same);
    }
}
