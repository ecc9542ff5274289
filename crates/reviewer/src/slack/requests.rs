//! Requests of Slack's that came lately, and how far each is: what is under way is waited for, what is kept does nothing
//! more, and what failed may come again as if it never had.

use countersign_core::Timestamp;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Requests are remembered for longer than any signature is believed.
const REMEMBERED: Duration = Duration::from_mins(11);
const MOST: usize = 20_000;

/// The requests of one channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<Mutex<HashMap<String, Came>>>);

#[derive(Debug)]
struct Came {
    at: Timestamp,
    standing: Standing,
}

/// How far a request is.
#[derive(Clone, Debug)]
pub(super) struct Standing(watch::Receiver<bool>);

/// What is known of a request when it comes.
#[derive(Debug)]
pub(super) enum Comes {
    First(UnderWay),
    Again(Standing),
    /// No more can be remembered at the moment.
    TooMany,
}

/// A request that came for the first time. Dropped before it is kept, it is forgotten.
#[derive(Debug)]
pub(super) struct UnderWay {
    requests: Requests,
    once: String,
    kept: watch::Sender<bool>,
}

impl Requests {
    /// Takes in a request; `once` names this very one.
    pub(super) fn take(&self, once: &str, now: Timestamp) -> Comes {
        let mut came = self.0.lock();
        if came.len() >= MOST {
            came.retain(|_, came| now.since(came.at) < REMEMBERED);
        }
        if let Some(before) = came.get(once) {
            return Comes::Again(before.standing.clone());
        }
        if came.len() >= MOST {
            return Comes::TooMany;
        }
        let (kept, standing) = watch::channel(false);
        came.insert(once.to_owned(), Came { at: now, standing: Standing(standing) });
        Comes::First(UnderWay { requests: self.clone(), once: once.to_owned(), kept })
    }
}

impl UnderWay {
    pub(super) fn standing(&self) -> Standing {
        Standing(self.kept.subscribe())
    }

    /// What it said is carried out, durably, or there is nothing in it to lose.
    pub(super) fn kept(&self) {
        self.kept.send_replace(true);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !*self.kept.borrow() {
            self.requests.0.lock().remove(&self.once);
        }
    }
}

impl Standing {
    /// Waits until it is kept. `false`: it was not, and may come again.
    pub(super) async fn kept(mut self) -> bool {
        self.0.wait_for(|kept| *kept).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(requests: &Requests, once: &str, at: u64) -> UnderWay {
        let comes = requests.take(once, Timestamp(0).plus(Duration::from_mins(at)));
        let Comes::First(under_way) = comes else { panic!("{comes:?}") };
        under_way
    }

    #[tokio::test]
    async fn what_is_under_way_is_waited_for_and_what_failed_comes_for_the_first_time_again() {
        let requests = Requests::default();
        let again = |once: &str| {
            let comes = requests.take(once, Timestamp(0));
            let Comes::Again(standing) = comes else { panic!("{comes:?}") };
            standing
        };
        let failing = first(&requests, "a", 0);
        let waits = tokio::spawn(again("a").kept());
        drop(failing);
        assert!(!waits.await.unwrap());
        let under_way = first(&requests, "a", 0);
        let waits = tokio::spawn(again("a").kept());
        under_way.kept();
        assert!(waits.await.unwrap());
        drop(under_way);
        assert!(again("a").kept().await, "what was kept stays so");
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for_and_what_is_old_makes_room() {
        let requests = Requests::default();
        for number in 0..MOST {
            first(&requests, &number.to_string(), 0).kept();
        }
        let at = |minutes| Timestamp(0).plus(Duration::from_mins(minutes));
        assert!(matches!(requests.take("more", at(10)), Comes::TooMany));
        assert!(matches!(requests.take("0", at(10)), Comes::Again(_)));
        first(&requests, "more", 11).kept();
    }
}
