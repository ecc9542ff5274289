//! What the gateway answers a server that asks something of its agent.

use super::{Peer, Way};
use crate::method;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many answers are on their way to one stream's server at the same time. Each can take a connection of its own.
const MOST: usize = 8;

/// The gateway's answers to what is asked on one stream.
#[derive(Debug)]
pub(crate) struct Answers {
    way: Arc<Way>,
    peer: Peer,
    room: Arc<Semaphore>,
}

impl Answers {
    pub(crate) fn new(way: &Arc<Way>, peer: &Peer) -> Self {
        Self { way: Arc::clone(way), peer: peer.clone(), room: Arc::new(Semaphore::new(MOST)) }
    }

    /// Answers what the server asks, without waiting for that. A server that asks faster than it takes answers gets none to
    /// what is too much.
    pub(crate) fn give(&self, method: &str, id: &RawValue) {
        if let Some(message) = method::own_answer(method, id.get()) {
            self.say(message);
        }
    }

    /// Tells the server that this does not go on to its agent.
    pub(crate) fn refuse(&self, id: &RawValue, why: &str) {
        self.say(method::refusal(id.get(), why));
    }

    fn say(&self, message: String) {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else { return };
        let (way, peer) = (Arc::clone(&self.way), self.peer.clone());
        tokio::spawn(async move {
            if let Err(error) = way.tell(&peer, message).await {
                tracing::debug!(%error, "a server was not told that it is refused");
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::McpSection;
    use serde_json::json;
    use std::path::Path;

    #[tokio::test]
    async fn a_server_that_asks_without_end_takes_no_more_than_its_share() {
        let section = json!({
            "name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "http://127.0.0.1:1/mcp",
        });
        let target = serde_json::from_value::<McpSection>(section).unwrap().check(Path::new(".")).unwrap();
        let answers = Answers::new(&target.way, &Peer::default());
        let id = RawValue::from_string("1".into()).unwrap();
        for _ in 0..1_000 {
            answers.give("ping", &id);
        }
        // Nothing else runs before this one waits for something.
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), MOST);
        let _all_over = answers.room.acquire_many(u32::try_from(MOST).unwrap()).await.unwrap();
    }
}
