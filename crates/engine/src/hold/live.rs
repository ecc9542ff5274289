//! Open holds in memory: who waits for what. Everything here can be rebuilt from the store.

use super::Hold;
use countersign_core::{ApprovalId, PrincipalId, Refusal, Timestamp, approval::State};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tokio::sync::{Notify, watch};

/// What waiters need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) at: At,
    /// An attempt that sent nothing: told to those who waited for it. The grant is as good as before.
    pub(crate) hiccup: Option<Arc<Refusal>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Pending,
    Granted,
    Executing,
    Closed,
}

#[derive(Debug)]
struct Live {
    handle_given: bool,
    deadline: Option<Timestamp>,
    /// When people are called again.
    call: Option<Timestamp>,
    /// Version of the stored hold this was taken from; news of older versions is ignored.
    version: u64,
    standing: watch::Sender<Standing>,
    /// A task of this gateway is at work on it.
    worked_on: bool,
}

#[derive(Debug, Default)]
struct Inner {
    live: HashMap<ApprovalId, Live>,
    attached: HashMap<String, ApprovalId>,
    deadlines: BTreeSet<(Timestamp, ApprovalId)>,
    calls: BTreeSet<(Timestamp, ApprovalId)>,
    pending: HashMap<PrincipalId, usize>,
}

/// The open holds of this gateway.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    inner: Mutex<Inner>,
    /// Rung when the earliest moment that matters may have changed.
    pub(crate) timer: Notify,
}

/// The right to work on a hold; only one task has it at a time.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    holds: &'a Holds,
    id: ApprovalId,
}

impl Holds {
    /// Takes in a hold that was just placed, or found in the store.
    pub(crate) fn insert(&self, hold: &Hold, version: u64) {
        let mut inner = self.inner.lock();
        if !hold.attaches() || inner.live.contains_key(&hold.approval.id) {
            return;
        }
        inner.attached.insert(hold.attach_key.clone(), hold.approval.id);
        let live = Live {
            handle_given: hold.handle_given,
            deadline: None,
            call: None,
            version: 0,
            standing: watch::Sender::new(Standing { at: At::Closed, hiccup: None }),
            worked_on: false,
        };
        inner.live.insert(hold.approval.id, live);
        drop(inner);
        self.update(hold, version);
    }

    /// Takes in what a hold has become. One that is not held here, or is known in a newer version, is left alone.
    pub(crate) fn update(&self, hold: &Hold, version: u64) {
        let mut guard = self.inner.lock();
        let Inner { live: all, attached, deadlines, calls, pending } = &mut *guard;
        let id = hold.approval.id;
        let Some(live) = all.get_mut(&id).filter(|live| live.version < version) else { return };
        let was_open = live.standing.borrow().at != At::Closed;
        let open = !hold.approval.state.is_closed();
        match (was_open, open) {
            (false, true) => *pending.entry(hold.principal).or_default() += 1,
            (true, false) => leave(pending, hold.principal),
            (true, true) | (false, false) => {}
        }
        if let Some(deadline) = live.deadline.take() {
            deadlines.remove(&(deadline, id));
        }
        live.deadline = hold.approval.next_deadline();
        deadlines.extend(live.deadline.map(|moment| (moment, id)));
        if let Some(call) = live.call.take() {
            calls.remove(&(call, id));
        }
        live.call = hold.next_call().map(|(moment, _)| moment);
        calls.extend(live.call.map(|moment| (moment, id)));
        live.version = version;
        live.handle_given = hold.handle_given;
        live.standing.send_replace(Standing { at: at(&hold.approval.state), hiccup: None });
        if !hold.attaches() {
            attached.remove(&hold.attach_key);
            all.remove(&id);
        }
        drop(guard);
        self.timer.notify_one();
    }

    pub(crate) fn attached(&self, key: &str) -> Option<ApprovalId> {
        self.inner.lock().attached.get(key).copied()
    }

    pub(crate) fn watch(&self, id: ApprovalId) -> Option<watch::Receiver<Standing>> {
        Some(self.inner.lock().live.get(&id)?.standing.subscribe())
    }

    /// How many open holds a principal has.
    pub(crate) fn open_of(&self, principal: PrincipalId) -> usize {
        self.inner.lock().pending.get(&principal).copied().unwrap_or(0)
    }

    pub(crate) fn handle_given(&self, id: ApprovalId) -> bool {
        self.inner.lock().live.get(&id).is_some_and(|live| live.handle_given)
    }

    /// The right to work on a hold, unless a task has it already.
    pub(crate) fn work(&self, id: ApprovalId) -> Option<Work<'_>> {
        let mut inner = self.inner.lock();
        let live = inner.live.get_mut(&id).filter(|live| !live.worked_on)?;
        live.worked_on = true;
        Some(Work { holds: self, id })
    }

    /// Tells waiters that an attempt sent nothing.
    pub(crate) fn hiccup(&self, id: ApprovalId, refusal: Refusal) {
        if let Some(live) = self.inner.lock().live.get(&id) {
            live.standing.send_modify(|standing| standing.hiccup = Some(Arc::new(refusal)));
        }
    }

    /// Has everyone who waits look again.
    pub(crate) fn wake(&self, id: ApprovalId) {
        if let Some(live) = self.inner.lock().live.get(&id) {
            live.standing.send_modify(|_| {});
        }
    }

    /// Holds whose deadline has come, earliest first.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<ApprovalId> {
        reached(&self.inner.lock().deadlines, now)
    }

    /// Holds whose people are to be called again, earliest first.
    pub(crate) fn silent(&self, now: Timestamp) -> Vec<ApprovalId> {
        reached(&self.inner.lock().calls, now)
    }

    /// Closed holds whose answer nobody has had yet.
    pub(crate) fn undelivered(&self) -> Vec<ApprovalId> {
        let inner = self.inner.lock();
        inner
            .live
            .iter()
            .filter(|(_, live)| live.standing.borrow().at == At::Closed)
            .map(|(id, _)| *id)
            .collect()
    }

    /// When something is to be done about one of them.
    pub(crate) fn next_moment(&self) -> Option<Timestamp> {
        let inner = self.inner.lock();
        let firsts = inner.deadlines.first().into_iter().chain(inner.calls.first());
        firsts.map(|(moment, _)| *moment).min()
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if let Some(live) = self.holds.inner.lock().live.get_mut(&self.id) {
            live.worked_on = false;
        }
    }
}

fn reached(moments: &BTreeSet<(Timestamp, ApprovalId)>, now: Timestamp) -> Vec<ApprovalId> {
    moments.iter().take_while(|(moment, _)| *moment <= now).map(|(_, id)| *id).collect()
}

fn leave(pending: &mut HashMap<PrincipalId, usize>, principal: PrincipalId) {
    if let Some(count) = pending.get_mut(&principal) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            pending.remove(&principal);
        }
    }
}

fn at(state: &State) -> At {
    match state {
        State::Pending => At::Pending,
        State::Granted { .. } => At::Granted,
        State::Executing(_) => At::Executing,
        State::Closed(_) => At::Closed,
    }
}
