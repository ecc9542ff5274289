//! How many messages of one kind people are sent in a while. Similar approvals beyond that are told together. It is
//! remembered by this gateway alone: after a restart the first few have messages of their own once more.

use super::channels::Together;
use countersign_core::{Digest, Timestamp};
use std::collections::BTreeMap;

/// Kinds that are counted apart. Of more, whatever is not known is told together.
const KINDS: usize = 1_024;
/// What those have in common that are not counted apart.
const REST: &str = "many";

/// Every kind that people were asked for lately.
#[derive(Debug, Default)]
pub(super) struct Floods {
    kinds: BTreeMap<String, Flood>,
}

#[derive(Clone, Copy, Debug)]
struct Flood {
    began: Timestamp,
    count: u32,
}

/// What is told with others: when, and with which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flooded {
    pub(super) until: Timestamp,
    pub(super) with: String,
}

impl Floods {
    /// Counts one more. `Some`: there are too many of its kind.
    pub(super) fn admit(&mut self, similar: &str, at: Timestamp, limit: Together) -> Option<Flooded> {
        if !self.kinds.contains_key(similar) && self.kinds.len() >= KINDS {
            self.kinds.retain(|_, flood| at < flood.began.plus(limit.within.saturating_mul(2)));
        }
        let known = self.kinds.contains_key(similar) || self.kinds.len() < KINDS;
        let kind = if known { similar } else { REST };
        let flood = self.kinds.entry(kind.to_owned()).or_insert(Flood { began: at, count: 0 });
        let end = flood.began.plus(limit.within);
        // A clock that was set back knows of no flood.
        if at < flood.began || at >= end {
            // A flood that goes on is still one.
            let goes_on = flood.count > limit.after && (end..end.plus(limit.within)).contains(&at);
            *flood = Flood { began: at, count: if goes_on { limit.after } else { 0 } };
        }
        flood.count = flood.count.saturating_add(1);
        let until = flood.began.plus(limit.within);
        (!known || flood.count > limit.after).then(|| Flooded { until, with: kind.to_owned() })
    }
}

/// Names a kind: what has all of this in common is similar.
pub(super) fn similar(parts: &[&str]) -> String {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    Digest::of_parts("countersign/similar/v1", &parts).hex()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMIT: Together = Together { after: 3, within: Duration::from_mins(2) };

    fn second(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn until(floods: &mut Floods, at: i64) -> Option<i64> {
        floods.admit("deletes", second(at), LIMIT).map(|flooded| flooded.until.0 / 1_000_000)
    }

    #[test]
    fn the_first_few_stand_alone_and_a_flood_that_goes_on_begins_with_none() {
        let mut floods = Floods::default();
        for (at, want) in [
            (0, None),
            (1, None),
            (2, None),
            (3, Some(120)),
            (119, Some(120)),
            (130, Some(250)),
            (131, Some(250)),
            // Nothing for longer than the span: it is over.
            (500, None),
            (501, None),
            (502, None),
            (503, Some(620)),
            // The clock was set back.
            (60, None),
            (61, None),
            (62, None),
            (63, Some(180)),
        ] {
            assert_eq!(until(&mut floods, at), want, "{at}");
        }
        assert_eq!(floods.admit("exports", second(503), LIMIT), None, "another kind");
    }

    #[test]
    fn ten_thousand_within_an_hour_share_a_message_for_each_span() {
        let mut floods = Floods::default();
        let moments: Vec<_> = (0..10_000).map(|number| until(&mut floods, number * 3_600 / 10_000)).collect();
        let shared: std::collections::BTreeSet<i64> = moments.iter().flatten().copied().collect();
        assert_eq!(moments.iter().filter(|until| until.is_none()).count(), 3);
        assert_eq!(shared.len(), 30, "one every two minutes");
    }

    #[test]
    fn of_endlessly_many_kinds_a_bounded_number_is_remembered() {
        let mut floods = Floods::default();
        let mut alone = 0;
        for kind in 0..10_000 {
            alone += usize::from(floods.admit(&format!("{kind}"), second(kind / 1_000), LIMIT).is_none());
        }
        assert_eq!(alone, KINDS);
        assert!(floods.kinds.len() <= KINDS + 1);
        assert_eq!(floods.admit("later", second(1_000), LIMIT), None);
    }
}
