//! How the statements of one action are run so that the server refuses every write of those that were permitted as reads.
//! Where it could not, and a read runs code that only the configuration says is harmless, the whole is refused.

use super::{guard::Guard, pipeline::Step, renames};
use crate::understand::{
    Access, Asked, Chain, Effect, SessionEffect, SettingChange, SqlOperation, Statement, TransactionAccess,
    TransactionControl,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where a session stands, as far as guarding goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No transaction: the next one begins as the session's default says.
    Rest,
    /// In a transaction that the client began.
    Block,
    /// In a transaction that has failed.
    Failed,
    /// In a transaction that any statement of ours between the client's would commit.
    Begun(Begun),
}

/// What went up since the server was last asked to sum up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    /// How its transaction began. What began read-only stays so.
    pub(super) guard: Guard,
    /// Whether it is one of the client's own by now.
    pub(super) block: bool,
}

/// How an action is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// All of it in one way.
    Whole(Guard),
    /// As it is, in a transaction in which nothing can be written.
    AsItIs,
    /// With a guard around some steps of a pipeline: `true` for each of those.
    Each(Vec<bool>),
}

/// Why an action is not run at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unguarded {
    pub(super) why: &'static str,
    pub(super) hint: &'static str,
}

const BESIDE: Unguarded = Unguarded {
    why: "a read that calls code of the database stands where the server could not be kept from writing",
    hint: "send it by itself, or in a transaction that was begun before",
};
const LATER: Unguarded = Unguarded {
    why: "a cursor `WITH HOLD` that calls code of the database would run when its transaction commits, and could write then",
    hint: "declare it without `WITH HOLD`, or outside a transaction",
};
const BOUND: Unguarded = Unguarded {
    why: "what is bound and not run would be planned where something could be written",
    hint: "send `Bind` and `Execute` together, or end the pipeline with `Sync` before",
};
const BEGUN: Unguarded = Unguarded {
    why: "what went up before `Flush` only reads or binds, so nothing can be written in its transaction",
    hint: "send what writes in one piece up to `Sync`, or begin a transaction before",
};

/// A read that only the configuration says is harmless.
fn is_believed(statement: &Statement) -> bool {
    statement.believed && matches!(statement.access, Access::ReadOnly | Access::Control)
}

fn holds(statement: &Statement) -> bool {
    let holding = |effect: &SessionEffect| matches!(effect, SessionEffect::DeclareCursor { holds: true, .. });
    statement.session.iter().any(holding)
}

/// Whether a statement can change what the server lets its transaction do.
fn lifts(statement: &Statement) -> bool {
    statement.session.iter().any(|effect| match effect {
        SessionEffect::Transaction(control) => matches!(
            control,
            TransactionControl::Begin { access: Some(TransactionAccess::ReadWrite) }
                | TransactionControl::Characteristics { access: Some(_) }
        ),
        SessionEffect::Set(SettingChange { name, .. }) => {
            matches!(name.as_str(), "default_transaction_read_only" | "transaction_read_only" | "*")
        }
        SessionEffect::Discard | SessionEffect::Opaque => true,
        SessionEffect::Prepare { .. }
        | SessionEffect::Deallocate { .. }
        | SessionEffect::DeclareCursor { .. }
        | SessionEffect::CloseCursor { .. }
        | SessionEffect::CreateTemporary { .. }
        | SessionEffect::DropTemporary { .. }
        | SessionEffect::Listen
        | SessionEffect::Defines => false,
    })
}

fn controls(statement: &Statement) -> impl Iterator<Item = &TransactionControl> {
    statement.session.iter().filter_map(|effect| match effect {
        SessionEffect::Transaction(control) => Some(control),
        SessionEffect::Set(_)
        | SessionEffect::Prepare { .. }
        | SessionEffect::Deallocate { .. }
        | SessionEffect::DeclareCursor { .. }
        | SessionEffect::CloseCursor { .. }
        | SessionEffect::CreateTemporary { .. }
        | SessionEffect::DropTemporary { .. }
        | SessionEffect::Discard
        | SessionEffect::Listen
        | SessionEffect::Defines
        | SessionEffect::Opaque => None,
    })
}

/// Whether a transaction of the client's own is open behind these statements.
fn block_after<'s>(before: bool, statements: impl IntoIterator<Item = &'s Statement>) -> bool {
    let all = statements.into_iter().flat_map(controls);
    all.fold(before, |open, control| match control {
        TransactionControl::Begin { .. } => true,
        TransactionControl::Commit { chain } | TransactionControl::Rollback { chain } => {
            open && *chain == Chain::Yes
        }
        TransactionControl::Prepare { .. } => false,
        TransactionControl::Savepoint { .. }
        | TransactionControl::Release { .. }
        | TransactionControl::RollbackTo { .. }
        | TransactionControl::Characteristics { .. }
        | TransactionControl::CommitPrepared { .. }
        | TransactionControl::RollbackPrepared { .. } => open,
    })
}

impl Begun {
    /// What is begun when something goes up like this from there.
    pub(super) fn at(place: Place, shape: &Shape) -> Self {
        match place {
            Place::Begun(begun) => begun,
            Place::Rest if *shape == Shape::Whole(Guard::ReadOnly) => {
                Self { guard: Guard::ReadOnly, block: false }
            }
            Place::Rest => Self { guard: Guard::Free, block: false },
            Place::Block | Place::Failed => Self { guard: Guard::Free, block: true },
        }
    }

    /// What is begun once these have run in it.
    pub(super) fn then<'s>(self, done: impl Iterator<Item = &'s Statement> + Clone) -> Self {
        let guard = if done.clone().any(lifts) { Guard::Free } else { self.guard };
        Self { guard, block: block_after(self.block, done) }
    }
}

impl Place {
    const fn is_block(self) -> bool {
        match self {
            Self::Block | Self::Failed => true,
            Self::Begun(begun) => begun.block,
            Self::Rest => false,
        }
    }

    /// How what only binds is run.
    pub(super) fn to_bind(self) -> Result<Shape, Unguarded> {
        match self {
            Self::Rest | Self::Block | Self::Begun(Begun { block: true, guard: Guard::Free }) => {
                Ok(Shape::Whole(Guard::ReadOnly))
            }
            Self::Failed | Self::Begun(Begun { guard: Guard::ReadOnly, .. }) => Ok(Shape::AsItIs),
            Self::Begun(Begun { block: false, guard: Guard::Free }) => Err(BOUND),
        }
    }

    /// How these statements are run; `steps` are those of a pipeline.
    pub(super) fn shape(
        self,
        steps: Option<&[Step]>,
        statements: &[Statement],
        access: Access,
    ) -> Result<Shape, Unguarded> {
        let lifted = statements.iter().any(lifts);
        if matches!(self, Self::Begun(Begun { guard: Guard::ReadOnly, .. })) && !lifted {
            let reads = only_reads(statements) || access == Access::Control;
            return if reads { Ok(Shape::AsItIs) } else { Err(BEGUN) };
        }
        if self.is_block() && statements.iter().any(|one| holds(one) && is_believed(one)) {
            return Err(LATER);
        }
        if self.covers(statements, lifted) {
            return Ok(Shape::Whole(Guard::ReadOnly));
        }
        if let Some(steps) = steps {
            return self.each(steps, statements);
        }
        // A failed transaction runs nothing before it has ended.
        let runs = self != Self::Failed || statements.iter().flat_map(controls).next().is_some();
        if runs && statements.iter().any(is_believed) { Err(BESIDE) } else { Ok(Shape::Whole(Guard::Free)) }
    }

    /// Whether one guard around everything holds, and is in nobody's way.
    fn covers(self, statements: &[Statement], lifted: bool) -> bool {
        if lifted || !only_reads(statements) {
            return false;
        }
        let mut controls = statements.iter().flat_map(controls).peekable();
        match self {
            Self::Rest => {
                let read_only = |control: &TransactionControl| match control {
                    TransactionControl::Begin { access } => *access == Some(TransactionAccess::ReadOnly),
                    TransactionControl::Commit { .. }
                    | TransactionControl::Rollback { .. }
                    | TransactionControl::Savepoint { .. }
                    | TransactionControl::Release { .. }
                    | TransactionControl::RollbackTo { .. }
                    | TransactionControl::Characteristics { .. }
                    | TransactionControl::Prepare { .. }
                    | TransactionControl::CommitPrepared { .. }
                    | TransactionControl::RollbackPrepared { .. } => true,
                };
                // What stays open would stay read-only.
                !block_after(false, statements) || controls.all(read_only)
            }
            Self::Block | Self::Begun(Begun { block: true, .. }) => controls.peek().is_none(),
            Self::Failed | Self::Begun(_) => false,
        }
    }

    /// A guard around every read of a pipeline that stands in a transaction of the client's own.
    fn each(self, steps: &[Step], statements: &[Statement]) -> Result<Shape, Unguarded> {
        let of = |asked: usize| renames::of(statements, asked);
        let reads = |asked: usize| {
            let of_it = of(asked);
            !of_it.is_empty() && of_it.iter().all(|statement| statement.access == Access::ReadOnly)
        };
        let believed = |asked: usize| of(asked).iter().any(is_believed);
        let runs = runs(steps);
        let mut open = self.is_block() && self != Self::Failed;
        let mut asked = 0;
        let mut guarded = Vec::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            let guard = match step {
                Step::Execute(_) => {
                    let guard = open && reads(asked);
                    if believed(asked) && !guard {
                        return Err(BESIDE);
                    }
                    let was = open;
                    open = block_after(open, of(asked));
                    if was && of(asked).iter().any(|one| holds(one) && is_believed(one)) {
                        return Err(LATER);
                    }
                    asked += 1;
                    Some(guard)
                }
                Step::Bind { .. } => match runs.get(at).copied().flatten() {
                    Some(execution) if believed(execution) && !open => return Err(BESIDE),
                    Some(execution) => Some(open && reads(execution)),
                    None if open => Some(true),
                    None => return Err(BOUND),
                },
                Step::Parse { .. }
                | Step::CloseStatement(_)
                | Step::ClosePortal(_)
                | Step::DescribeStatement(_)
                | Step::DescribePortal(_)
                | Step::Own => None,
            };
            // What runs nothing goes with what is before it.
            guarded.push(guard.unwrap_or_else(|| guarded.last().copied().unwrap_or(false)));
        }
        Ok(Shape::Each(guarded))
    }
}

/// What a pipeline binds and does not run, each text once: what planning it may run does not hang on the values.
pub(super) fn only_planned(steps: &[Step]) -> Vec<Asked> {
    let runs = runs(steps);
    let mut seen = BTreeSet::new();
    let planned = steps.iter().zip(runs).filter_map(|(step, runs)| match step {
        Step::Bind { portal, .. } if runs.is_none() => {
            let text = (&portal.parsed.sql, &portal.parsed.types);
            seen.insert(text).then(|| portal.asked())
        }
        Step::Bind { .. }
        | Step::Parse { .. }
        | Step::CloseStatement(_)
        | Step::ClosePortal(_)
        | Step::DescribeStatement(_)
        | Step::DescribePortal(_)
        | Step::Execute(_)
        | Step::Own => None,
    });
    planned.collect()
}

/// Whether nothing but data is named by a statement, so that planning it runs nothing that tells of more.
pub(super) fn plans_alone(statement: &Statement) -> bool {
    let data = |effect: &Effect| match effect.operation {
        SqlOperation::Txn
        | SqlOperation::Setting
        | SqlOperation::Read
        | SqlOperation::ReadSensitive
        | SqlOperation::Lock
        | SqlOperation::Notify
        | SqlOperation::Export
        | SqlOperation::Insert
        | SqlOperation::UpdateBounded
        | SqlOperation::DeleteBounded
        | SqlOperation::UpdateUnbounded
        | SqlOperation::DeleteUnbounded => true,
        SqlOperation::Maintenance
        | SqlOperation::DdlAdditive
        | SqlOperation::DdlRewriting
        | SqlOperation::Code
        | SqlOperation::DdlDestructive
        | SqlOperation::TxnPrepared
        | SqlOperation::Session
        | SqlOperation::Network
        | SqlOperation::Server
        | SqlOperation::Authz
        | SqlOperation::FileOrProgram
        | SqlOperation::Indirect
        | SqlOperation::Unknown => false,
    };
    !statement.believed && statement.effects.iter().all(data)
}

/// For each step that binds, which of all executions runs its portal first; `None`: none of them.
fn runs(steps: &[Step]) -> Vec<Option<usize>> {
    let mut left = steps.iter().filter(|step| matches!(step, Step::Execute(_))).count();
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    let mut runs = vec![None; steps.len()];
    for (step, runs) in steps.iter().zip(&mut runs).rev() {
        match step {
            Step::Execute(name) => {
                left -= 1;
                next.insert(name, left);
            }
            // What stands before it under this name is another's.
            Step::Bind { name, .. } => *runs = next.remove(name.as_str()),
            Step::ClosePortal(name) => {
                next.remove(name.as_str());
            }
            Step::Parse { .. }
            | Step::CloseStatement(_)
            | Step::DescribeStatement(_)
            | Step::DescribePortal(_)
            | Step::Own => {}
        }
    }
    runs
}

/// Whether nothing is there but reads, at least one, and control around them.
fn only_reads(statements: &[Statement]) -> bool {
    let each = |statement: &Statement| matches!(statement.access, Access::ReadOnly | Access::Control);
    statements.iter().all(each) && statements.iter().any(|one| one.access == Access::ReadOnly)
}
