//! Command lines that ask to be signed in (RFC 8628): who waits for somebody to allow them. In memory, bounded, for minutes; a
//! restart forgets, and they ask again.

use crate::secret::{Secret, fingerprint};
use countersign_core::{Digest, Timestamp};
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// How long one waits.
pub(crate) const WAITS: Duration = Duration::from_mins(10);
/// How often it may ask.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// How many wait at once, and of one source. The oldest makes room, before it whoever does not come back to ask: who asks is
/// nobody yet, and must not keep others out by asking often.
const MOST: usize = 16_384;
/// Behind a proxy everybody is one source.
const OF_A_SOURCE: usize = 4_096;
/// What codes are made of: nothing that is read for something else, no word (RFC 8628, section 6.1).
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// A command line that waits.
#[derive(Debug)]
pub(crate) struct Device {
    /// By what it is known to the person.
    user_code: String,
    pub(crate) label: String,
    pub(crate) source: IpAddr,
    pub(crate) user_agent: Option<String>,
    pub(crate) asked_at: Timestamp,
    polled_at: Option<Timestamp>,
    pub(crate) answer: Answer,
}

#[derive(Debug)]
pub(crate) enum Answer {
    None,
    No,
    Yes { token: Secret, ends_at: Timestamp },
}

/// Those that wait, by the fingerprint of what they ask with.
#[derive(Debug, Default)]
pub(crate) struct Devices(HashMap<Digest, Device>);

impl Devices {
    /// Lets one wait; false where another has that code.
    pub(crate) fn add(&mut self, code: &Secret, user_code: &str, mut device: Device) -> bool {
        let now = device.asked_at;
        self.0.retain(|_, device| now < device.asked_at.plus(WAITS));
        if self.0.values().any(|other| other.user_code == user_code) {
            return false;
        }
        let source = network(device.source);
        self.make_room(|other| network(other.source) == source, OF_A_SOURCE, now);
        self.make_room(|_| true, MOST, now);
        user_code.clone_into(&mut device.user_code);
        self.0.insert(fingerprint(code.reveal()), device);
        true
    }

    /// Forgets one of these where there are as many as there may be.
    fn make_room(&mut self, of: impl Fn(&Device) -> bool, most: usize, now: Timestamp) {
        let these = || self.0.iter().filter(|(_, device)| of(device));
        if these().count() >= most {
            let asks = |device: &Device| device.polled_at.is_some_and(|at| now.since(at) <= INTERVAL * 3);
            let oldest =
                these().min_by_key(|(_, device)| (asks(device), device.asked_at)).map(|(key, _)| *key);
            oldest.and_then(|key| self.0.remove(&key));
        }
    }

    /// The one a person means, that nobody has answered yet.
    pub(crate) fn meant(&mut self, user_code: &str, now: Timestamp) -> Option<&mut Device> {
        let typed = typed(user_code);
        self.0.values_mut().find(|device| {
            device.user_code == typed
                && now < device.asked_at.plus(WAITS)
                && matches!(device.answer, Answer::None)
        })
    }

    /// The one that asks; and whether it asks too soon. An answered one is gone with that.
    pub(crate) fn ask(&mut self, code: &str, now: Timestamp) -> Option<(Answer, bool)> {
        let key = fingerprint(code);
        let device = self.0.get_mut(&key).filter(|device| now < device.asked_at.plus(WAITS))?;
        if !matches!(device.answer, Answer::None) {
            return self.0.remove(&key).map(|device| (device.answer, false));
        }
        // A little before is on time: clocks and networks are not exact.
        let soon = device.polled_at.is_some_and(|polled| now.since(polled) < INTERVAL.mul_f32(0.8));
        device.polled_at = Some(now);
        Some((Answer::None, soon))
    }
}

impl Device {
    pub(crate) fn new(
        label: String,
        source: IpAddr,
        user_agent: Option<String>,
        asked_at: Timestamp,
    ) -> Self {
        let (polled_at, answer) = (None, Answer::None);
        Self { user_code: String::new(), label, source, user_agent, asked_at, polled_at, answer }
    }
}

/// What one party has of addresses: a single one of IPv4, 64 bits' worth of IPv6.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}

/// Eight letters: 34 bits, good for minutes and for a few wrong answers.
pub(crate) fn user_code(random: &[u8; 32]) -> String {
    // INVARIANT: 240 is a multiple of 20, so that no letter comes more often than another.
    let letters = random.iter().filter(|byte| **byte < 240).map(|byte| usize::from(byte % 20));
    letters.filter_map(|at| ALPHABET.get(at)).take(8).map(|letter| char::from(*letter)).collect()
}

/// A code as it is shown: in two halves.
pub(crate) fn shown(user_code: &str) -> String {
    match user_code.split_at_checked(4) {
        Some((first, second)) => format!("{first}-{second}"),
        None => user_code.to_owned(),
    }
}

/// A code as somebody typed it: whatever stands between the letters, and however they are written.
fn typed(text: &str) -> String {
    text.chars()
        .take(64)
        .filter(char::is_ascii_alphabetic)
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: usize) -> Timestamp {
        Timestamp(i64::try_from(second).unwrap() * 1_000_000)
    }

    fn add(devices: &mut Devices, number: usize, source: [u8; 4], asked_at: Timestamp) -> Secret {
        let byte = |at: usize| u8::try_from(number >> (at % 4 * 8) & 0xff).unwrap();
        let code = Secret::of_bytes(&std::array::from_fn(byte));
        let device = Device::new("x".into(), source.into(), None, asked_at);
        assert!(devices.add(&code, &format!("{number:08}"), device));
        code
    }

    #[test]
    fn whoever_asks_often_keeps_nobody_out() {
        let mut devices = Devices::default();
        let mine = add(&mut devices, 0, [192, 0, 2, 1], at(0));
        for number in 1..=OF_A_SOURCE + 100 {
            add(&mut devices, number, [192, 0, 2, 9], at(1));
        }
        assert!(devices.0.len() <= OF_A_SOURCE + 1);
        assert!(devices.ask(mine.reveal(), at(6)).is_some(), "another's asking took the place");
    }

    #[test]
    fn whoever_comes_back_to_ask_is_not_crowded_out_by_those_who_do_not() {
        let mut devices = Devices::default();
        // Behind one proxy, everybody is one source.
        let mine = add(&mut devices, 0, [192, 0, 2, 9], at(0));
        for (second, others) in [(5, 10), (10, OF_A_SOURCE + 50), (15, 100)] {
            assert!(devices.ask(mine.reveal(), at(second)).is_some());
            for number in 1..=others {
                add(&mut devices, second * 10_000 + number, [192, 0, 2, 9], at(second + 1));
            }
        }
        assert!(devices.ask(mine.reveal(), at(20)).is_some());
    }

    #[test]
    fn codes_are_eight_letters_that_can_be_typed_as_people_do() {
        let code = user_code(&std::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        assert_eq!((code.len(), code.bytes().all(|letter| ALPHABET.contains(&letter))), (8, true));
        assert_eq!(typed(&format!(" {} ", shown(&code).to_lowercase())), code);
    }
}
