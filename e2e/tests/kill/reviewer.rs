//! A reviewer who looks at what waits and decides, again and again. What they decide follows from a seed and the
//! request's words, not from when they see it.

use crate::{Phase, agent::Ask};
use countersign_demo::person::{Person, Strength};
use serde_json::{Value, json};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};
use tokio::{sync::watch, time::sleep};

/// Between two looks at the inbox.
const GLANCE: Duration = Duration::from_millis(10);

pub(crate) struct Reviewer<'a> {
    person: &'a mut Person,
    seed: u64,
    phase: watch::Receiver<Phase>,
}

impl<'a> Reviewer<'a> {
    pub(crate) fn new(person: &'a mut Person, seed: u64, phase: watch::Receiver<Phase>) -> Self {
        Self { person, seed, phase }
    }

    /// Votes until the run is over.
    pub(crate) async fn vote(&mut self) {
        loop {
            let _ = self.phase.wait_for(|phase| *phase != Phase::Down).await;
            if let Ok(listing) = self.person.read("approvals?status=pending&limit=200").await {
                let listing = listing.json();
                let items = listing.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                for item in &items {
                    self.decide(item).await;
                }
            }
            sleep(GLANCE).await;
        }
    }

    async fn decide(&mut self, item: &Value) {
        let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let is = |pointer: &str| item.pointer(pointer).and_then(Value::as_bool).unwrap_or_default();
        let (id, sentence) = (text("/id"), text("/sentence"));
        let early = *self.phase.borrow() == Phase::First;
        if !is("/you/can_vote") || is("/you/voted") || (early && Ask::is_kept_back(sentence)) {
            return;
        }
        let strength = match text("/gates/0/assurance") {
            "session" => Strength::Session,
            _ => Strength::Passkey,
        };
        let mut hasher = DefaultHasher::new();
        (self.seed, sentence).hash(&mut hasher);
        // A refused vote or a lost connection is part of the story: the next look shows where it stands.
        match hasher.finish() % 12 {
            0 if !Ask::is_kept_back(sentence) => {
                let _ = self.person.vote(id, "reject", strength, Some("not tonight")).await;
            }
            1 if !Ask::is_kept_back(sentence) => {
                let _ = self.person.vote(id, "approve", strength, None).await;
                let why = json!({ "reason": "on second thoughts" });
                let _ = self.person.write(&format!("approvals/{id}/revoke"), &why).await;
            }
            _ => {
                let _ = self.person.vote(id, "approve", strength, None).await;
            }
        }
    }
}
