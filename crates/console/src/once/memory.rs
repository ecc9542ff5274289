//! Which keys were used for what, and what came of it: bounded in number, in size and in time.

use axum::body::Bytes;
use countersign_core::{Digest, Timestamp};
use countersign_identity::SessionId;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long a key is remembered.
pub(crate) const LIFETIME: Duration = Duration::from_hours(1);
/// How many keys of one session are: its oldest makes room.
const OF_A_SESSION: usize = 256;
/// How many keys are at all.
const MOST: usize = 8_192;
/// The largest answer that is kept to be given again.
const ANSWER: usize = 64 << 10;
/// All answers together.
const ANSWERS: usize = 16 << 20;

/// A key as one session used it; `None` is the operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) session: Option<SessionId>,
    pub(crate) text: String,
}

/// What was asked with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked(pub(crate) Digest);

/// An answer as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `None`: too large to be given again.
    pub(crate) body: Option<Bytes>,
}

type Told = watch::Sender<Option<Arc<Kept>>>;
type Answer = watch::Receiver<Option<Arc<Kept>>>;

/// Whose turn it is.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Nobody asked this before: do it, and tell.
    First(Told, Answer),
    /// It was done, or is being done.
    Again(Answer),
    /// The key stands for another request.
    Another,
    /// There is no room to remember it.
    Full,
}

/// The keys that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<Key, Used>,
    /// Counts uses, so that the oldest is known.
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Used {
    asked: Asked,
    at: Timestamp,
    use_number: u64,
    answer: Answer,
    bytes: usize,
}

impl Memory {
    pub(crate) fn turn(&self, key: &Key, asked: Asked, now: Timestamp) -> Turn {
        let mut known = self.0.lock();
        if let Some(used) = known.keys.get(key).filter(|used| now.since(used.at) < LIFETIME) {
            return if used.asked == asked { Turn::Again(used.answer.clone()) } else { Turn::Another };
        }
        known.make_room(key, now);
        if known.keys.len() >= MOST {
            return Turn::Full;
        }
        let (tell, answer) = watch::channel(None);
        known.uses += 1;
        let used = Used { asked, at: now, use_number: known.uses, answer: answer.clone(), bytes: 0 };
        known.keys.insert(key.clone(), used);
        Turn::First(tell, answer)
    }

    /// Keeps the answer for whoever asks again, as far as there is room; forgets the key when the same request may
    /// well be answered otherwise next time.
    pub(crate) fn answered(&self, key: &Key, kept: &Arc<Kept>) {
        let mut known = self.0.lock();
        if passes(kept.status) {
            known.forget(key);
            return;
        }
        let size = kept.body.as_ref().map_or(0, Bytes::len);
        let fits = size <= ANSWER && known.bytes + size <= ANSWERS;
        let Some(used) = known.keys.get_mut(key) else { return };
        if fits {
            used.bytes = size;
            known.bytes += size;
        } else {
            let bare = Kept { status: kept.status, headers: HeaderMap::new(), body: None };
            used.answer = watch::channel(Some(Arc::new(bare))).1;
        }
    }
}

impl Known {
    fn make_room(&mut self, key: &Key, now: Timestamp) {
        let old: Vec<Key> = self
            .keys
            .iter()
            .filter(|(_, used)| now.since(used.at) >= LIFETIME)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &old {
            self.forget(key);
        }
        let own = || self.keys.iter().filter(|(other, _)| other.session == key.session);
        if own().count() >= OF_A_SESSION {
            let oldest = own().min_by_key(|(_, used)| used.use_number).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.forget(&oldest);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(used) = self.keys.remove(key) {
            self.bytes = self.bytes.saturating_sub(used.bytes);
        }
    }
}

/// Whether an answer says something about the moment rather than about the request: a session that must be made fresh,
/// too many attempts, a full disk.
fn passes(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn key(text: &impl ToString) -> Key {
        Key { session: None, text: text.to_string() }
    }

    fn asked(what: &str) -> Asked {
        Asked(Digest::of(what.as_bytes()))
    }

    fn answer(status: StatusCode, bytes: usize) -> Arc<Kept> {
        Arc::new(Kept { status, headers: HeaderMap::new(), body: Some(vec![b'x'; bytes].into()) })
    }

    fn done(memory: &Memory, key: &Key, kept: &Arc<Kept>) {
        let Turn::First(tell, _) = memory.turn(key, asked("it"), NOW) else { panic!("it was done before") };
        memory.answered(key, kept);
        tell.send_replace(Some(Arc::clone(kept)));
    }

    fn again(memory: &Memory, key: &Key, now: Timestamp) -> Option<usize> {
        match memory.turn(key, asked("it"), now) {
            Turn::Again(answer) => {
                answer.borrow().as_ref().map(|kept| kept.body.as_ref().map_or(0, Bytes::len))
            }
            Turn::First(..) | Turn::Another | Turn::Full => None,
        }
    }

    #[test]
    fn a_key_stands_for_one_request_for_a_while() {
        let memory = Memory::default();
        done(&memory, &key(&"a"), &answer(StatusCode::OK, 7));
        assert_eq!(again(&memory, &key(&"a"), NOW), Some(7));
        assert!(matches!(memory.turn(&key(&"a"), asked("other"), NOW), Turn::Another));
        let late = NOW.plus(LIFETIME);
        assert!(matches!(memory.turn(&key(&"a"), asked("other"), late), Turn::First(..)));
        assert_eq!(memory.0.lock().bytes, 0);
    }

    #[test]
    fn what_passes_is_not_kept() {
        let memory = Memory::default();
        for status in [401, 403, 408, 429, 503] {
            done(&memory, &key(&"a"), &answer(StatusCode::from_u16(status).unwrap(), 1));
        }
        done(&memory, &key(&"a"), &answer(StatusCode::CONFLICT, 1));
        assert_eq!(again(&memory, &key(&"a"), NOW), Some(1));
    }

    #[test]
    fn neither_keys_nor_answers_grow_without_end() {
        let memory = Memory::default();
        done(&memory, &key(&"large"), &answer(StatusCode::OK, ANSWER + 1));
        assert_eq!(again(&memory, &key(&"large"), NOW), Some(0));
        for n in 0..2 * OF_A_SESSION {
            done(&memory, &key(&n), &answer(StatusCode::OK, ANSWER));
        }
        let known = memory.0.lock();
        assert_eq!((known.keys.len(), known.bytes), (OF_A_SESSION, ANSWERS));
        drop(known);
        // The newest are there, the oldest are not.
        assert!(matches!(memory.turn(&key(&0), asked("it"), NOW), Turn::First(..)));
        assert_eq!(again(&memory, &key(&(2 * OF_A_SESSION - 1)), NOW), Some(ANSWER));
        let of = |n: usize| Key {
            session: serde_json::from_value(serde_json::to_value(Digest::of(&n.to_be_bytes())).unwrap())
                .unwrap(),
            text: "x".into(),
        };
        let full = (0..=MOST).find(|n| matches!(memory.turn(&of(*n), asked("it"), NOW), Turn::Full)).unwrap();
        assert_eq!(full + OF_A_SESSION, MOST);
        let room = NOW.plus(LIFETIME);
        assert!(matches!(memory.turn(&of(full), asked("it"), room), Turn::First(..)));
    }
}
