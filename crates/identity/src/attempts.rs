//! How many wrong answers one source, or one person, may give: memory is bounded, and nobody spends another's share.

use countersign_core::{PersonId, Timestamp};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Wrong answers a source may give at once.
const BURST: u32 = 20;
/// One more is forgiven each time so much passes.
const REFILL: Duration = Duration::from_secs(6);
/// Sources remembered; the one that failed longest ago is forgotten first.
const SOURCES: usize = 4096;

/// Who gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guesser {
    /// What one holder has: an IPv4 address, or an IPv6 network of 64 bits.
    Network(IpAddr),
    /// Somebody signed in, from wherever.
    Person(PersonId),
}

impl From<IpAddr> for Guesser {
    fn from(source: IpAddr) -> Self {
        Self::Network(network(source))
    }
}

/// Whoever gave too many has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSoon {
    pub(crate) retry_after: Duration,
}

/// Wrong answers, by who gave them.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failures: BTreeMap<Guesser, Failures>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    /// From when on `count` is what it says.
    since: Timestamp,
}

impl Failures {
    /// What is left of the count at `now`, after what was forgiven.
    fn left(&self, now: Timestamp) -> u32 {
        let forgiven = now.since(self.since).as_micros() / REFILL.as_micros();
        self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

impl Attempts {
    /// How long this one has to wait; `None` when it may try.
    pub(crate) fn wait(&self, who: impl Into<Guesser>, now: Timestamp) -> Option<Duration> {
        let known = self.failures.get(&who.into())?;
        (known.left(now) >= BURST).then_some(REFILL)
    }

    /// Counts a wrong answer.
    pub(crate) fn failed(&mut self, who: impl Into<Guesser>, now: Timestamp) {
        let who = who.into();
        let left = self.failures.get(&who).map_or(0, |known| known.left(now));
        self.failures.insert(who, Failures { count: (left + 1).min(BURST), since: now });
        if self.failures.len() > SOURCES {
            self.failures.retain(|_, known| known.left(now) > 0);
        }
        if self.failures.len() > SOURCES {
            let oldest = self.failures.iter().min_by_key(|(_, known)| known.since).map(|(who, _)| *who);
            oldest.and_then(|who| self.failures.remove(&who));
        }
    }
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn second(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    #[test]
    fn guessing_slows_its_own_source_only() {
        let mut attempts = Attempts::default();
        let [guesser, other] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        for _ in 0..BURST {
            assert_eq!(attempts.wait(guesser, second(0)), None);
            attempts.failed(guesser, second(0));
        }
        assert!(attempts.wait(guesser, second(5)).is_some());
        assert_eq!(attempts.wait(other, second(5)), None);
        assert_eq!(attempts.wait(guesser, second(6)), None, "forgiven with time");
    }

    #[test]
    fn an_ipv6_holder_is_one_source_and_memory_stays_bounded() {
        let mut attempts = Attempts::default();
        for last in 0..BURST {
            attempts.failed(IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(last))), second(0));
        }
        assert!(attempts.wait("2001:db8::ffff".parse::<IpAddr>().unwrap(), second(0)).is_some());
        for address in 0..20_000_u32 {
            attempts.failed(IpAddr::V4(Ipv4Addr::from_bits(address)), second(i64::from(address) % 3));
        }
        assert!(attempts.failures.len() <= SOURCES);
    }
}
