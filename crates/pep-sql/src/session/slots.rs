//! The open sessions: how many there may be, in all and of one agent, and the keys by which another connection cancels
//! what one of them does.

use crate::reply::{Said, sqlstate};
use countersign_core::{ApprovalId, PrincipalId, Requester, TargetName};
use countersign_engine::Gate;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What a session shows to whoever wants to cancel what it does.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Rung when there is something to cancel and somebody wants that.
    pub(super) cancel: Notify,
    busy: AtomicBool,
    /// Asked for while the present statement was on its way, wherever it is by now.
    wanted: AtomicBool,
    held: Mutex<Option<ApprovalId>>,
}

/// While it lives, a cancel request has something to cancel.
pub(super) struct Busy<'a>(&'a Shared);

impl Shared {
    /// From here on there is something to cancel; requests from before are forgotten.
    pub(super) async fn busy(&self) -> Busy<'_> {
        tokio::select! {
            biased;
            () = self.cancel.notified() => {}
            () = std::future::ready(()) => {}
        }
        self.wanted.store(false, Ordering::SeqCst);
        self.busy.store(true, Ordering::SeqCst);
        Busy(self)
    }

    pub(super) fn hold(&self, approval: ApprovalId) {
        *self.held.lock() = Some(approval);
        self.recall();
    }

    /// Rings again for a wish that came before there was anything it could reach.
    pub(super) fn recall(&self) {
        if self.wanted.load(Ordering::SeqCst) {
            self.cancel.notify_one();
        }
    }

    pub(super) fn held(&self) -> Option<ApprovalId> {
        *self.held.lock()
    }

    pub(super) fn released(&self) {
        *self.held.lock() = None;
    }

    fn cancel(&self) {
        if self.busy.load(Ordering::SeqCst) {
            self.wanted.store(true, Ordering::SeqCst);
            self.cancel.notify_one();
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

/// The open sessions by the keys that clients were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<HashMap<[u8; 4], Slot>>>);

#[derive(Debug)]
struct Slot {
    secret: [u8; 4],
    shared: Arc<Shared>,
    target: TargetName,
    principal: PrincipalId,
}

/// A session's place among the open ones; leaves when dropped.
pub(super) struct Place {
    pub(super) process: [u8; 4],
    pub(super) secret: [u8; 4],
    pub(super) shared: Arc<Shared>,
    slots: Slots,
    _room: OwnedSemaphorePermit,
}

/// How many sessions there may be.
pub(super) struct Room<'a> {
    /// Of one listener, by all agents.
    pub(super) of_all: &'a Arc<Semaphore>,
    /// With one target, by one agent.
    pub(super) of_one: usize,
}

impl Slots {
    /// A place for one more session of this agent with this target, or why there is none.
    pub(super) fn enter(
        &self,
        gate: &Gate,
        (requester, target): (&Requester, &TargetName),
        room: &Room<'_>,
    ) -> Result<Place, Said> {
        let Ok(permit) = Arc::clone(room.of_all).try_acquire_owned() else {
            let why = "there are as many sessions here as there may be";
            let hint = "close sessions that are not used, or connect again later";
            return Err(Said::new(sqlstate::TOO_MANY_CONNECTIONS, why, hint));
        };
        let principal = requester.principal;
        let mut slots = self.0.lock();
        let own = slots.values().filter(|slot| slot.principal == principal && slot.target == *target);
        if own.count() >= room.of_one {
            let why = format!(
                "`{}` has as many sessions with target `{target}` as one may have: {}",
                requester.name, room.of_one
            );
            let hint = "close sessions that are not used; a pool of connections can be made smaller";
            return Err(Said::new(sqlstate::TOO_MANY_CONNECTIONS, why, hint));
        }
        let shared = Arc::new(Shared::default());
        loop {
            let [a, b, c, d, secret @ ..]: [u8; 8] = gate.journal().random();
            // Some clients show it as a process id, so it is positive.
            let process = [a & 0x7f, b, c, d];
            if process != [0; 4] && !slots.contains_key(&process) {
                let (target, shared_too) = (target.clone(), Arc::clone(&shared));
                slots.insert(process, Slot { secret, shared: shared_too, target, principal });
                return Ok(Place { process, secret, shared, slots: self.clone(), _room: permit });
            }
        }
    }

    /// Cancels what the session with this key does. Nobody is told whether there is one.
    pub(super) fn cancel(&self, key: &[u8]) {
        let Some((process, secret)) = key.split_first_chunk::<4>() else { return };
        let slots = self.0.lock();
        if let Some(slot) = slots.get(process)
            && aws_lc_rs::constant_time::verify_slices_are_equal(&slot.secret, secret).is_ok()
        {
            slot.shared.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.0.lock().remove(&self.process);
    }
}
