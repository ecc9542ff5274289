//! What runs right now, so that a revocation, a freeze or a deadline can reach it.

use countersign_core::{ActionId, PersonId, PrincipalId, Requester, TargetName};
use countersign_ledger::event::FreezeScope;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Run {
    principal: PrincipalId,
    /// The people it is done for.
    on_behalf_of: Vec<PersonId>,
    target: TargetName,
    cancel: CancellationToken,
}

/// The running executions of this gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<ActionId, Run>>>);

/// A place among the running executions; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    action: ActionId,
    all: Running,
}

impl Running {
    pub(crate) fn enter(
        &self,
        action: ActionId,
        requester: &Requester,
        target: TargetName,
    ) -> (Place, CancellationToken) {
        let cancel = CancellationToken::new();
        let run = Run {
            principal: requester.principal,
            on_behalf_of: requester.on_behalf_of.clone(),
            target,
            cancel: cancel.clone(),
        };
        self.0.lock().insert(action, run);
        (Place { action, all: self.clone() }, cancel)
    }

    pub(crate) fn cancel(&self, action: ActionId) {
        if let Some(run) = self.0.lock().get(&action) {
            run.cancel.cancel();
        }
    }

    /// Cancels everything that is done for somebody.
    pub(crate) fn cancel_for(&self, person: PersonId) {
        for run in self.0.lock().values() {
            if run.principal == PrincipalId::Person(person) || run.on_behalf_of.contains(&person) {
                run.cancel.cancel();
            }
        }
    }

    /// Cancels everything a freeze reaches.
    pub(crate) fn cancel_scope(&self, scope: &FreezeScope) {
        for run in self.0.lock().values() {
            if crate::gate::reaches(scope, run.principal, &run.target) {
                run.cancel.cancel();
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.action);
    }
}
