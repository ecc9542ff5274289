//! How many pages watch: enough for everybody, and not all of them for one.

use countersign_core::PersonId;
use countersign_identity::{SessionId, SessionInfo};
use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, sync::Arc};

/// How many streams may be open at once.
const MOST: usize = 512;
/// How many of them may be of one session: a browser has that many tabs.
const OF_A_SESSION: usize = 16;
/// How many of them may be of one person, in however many sessions.
const OF_A_PERSON: usize = 48;

/// The open streams, counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// `None`: the operator, who counts like a person with one session.
    sessions: HashMap<Option<SessionId>, usize>,
    people: HashMap<Option<PersonId>, usize>,
}

/// A place among the open streams; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Streams,
    session: Option<SessionId>,
    person: Option<PersonId>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// Everybody together watches too much.
    All,
    /// This session, or this person, does.
    Own,
}

impl Streams {
    /// Takes a place for this session; `None` is the operator.
    pub(crate) fn take(&self, session: Option<&SessionInfo>) -> Result<Place, NoPlace> {
        self.place(session.map(|session| session.id), session.map(|session| session.person))
    }

    fn place(&self, session: Option<SessionId>, person: Option<PersonId>) -> Result<Place, NoPlace> {
        let mut open = self.0.lock();
        let of = |count: Option<&usize>| count.copied().unwrap_or(0);
        if of(open.sessions.get(&session)) >= OF_A_SESSION || of(open.people.get(&person)) >= OF_A_PERSON {
            return Err(NoPlace::Own);
        }
        if open.all >= MOST {
            return Err(NoPlace::All);
        }
        open.all += 1;
        *open.sessions.entry(session).or_default() += 1;
        *open.people.entry(person).or_default() += 1;
        Ok(Place { streams: self.clone(), session, person })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock();
        open.all = open.all.saturating_sub(1);
        leave(&mut open.sessions, &self.session);
        leave(&mut open.people, &self.person);
    }
}

fn leave<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    let Some(count) = counts.get_mut(key) else { return };
    *count = count.saturating_sub(1);
    if *count == 0 {
        counts.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::Digest;

    #[test]
    fn nobody_takes_every_place_and_a_place_left_is_free() {
        let streams = Streams::default();
        let person = |n: u128| Some(PersonId::from_parts(1, n));
        let session = |n: u128| -> Option<SessionId> {
            serde_json::from_value(serde_json::to_value(Digest::of(&n.to_be_bytes())).unwrap()).unwrap()
        };
        let mut places = Vec::new();
        for n in 0..3 {
            places.extend((0..OF_A_SESSION).map(|_| streams.place(session(n), person(1)).unwrap()));
            assert_eq!(streams.place(session(n), person(1)).err(), Some(NoPlace::Own));
        }
        assert_eq!(streams.place(session(3), person(1)).err(), Some(NoPlace::Own), "a person, however often");
        places.pop();
        places.push(streams.place(session(3), person(1)).unwrap());
        // The others have the rest, and no more.
        places.extend((0..OF_A_SESSION).map(|_| streams.place(None, None).unwrap()));
        for n in 4.. {
            match streams.place(session(n), person(n)) {
                Ok(place) => places.push(place),
                Err(why) => {
                    assert_eq!((why, places.len()), (NoPlace::All, MOST));
                    break;
                }
            }
        }
        drop(places);
        let open = streams.0.lock();
        assert_eq!((open.all, open.sessions.len(), open.people.len()), (0, 0, 0));
    }
}
