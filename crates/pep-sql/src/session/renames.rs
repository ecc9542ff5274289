//! Names that a pipeline's own statements give to something else before its later messages use them.

use super::pipeline::Step;
use crate::understand::{SessionEffect, Statement, TransactionControl};
use std::collections::{BTreeSet, VecDeque};

/// Whether a pipeline uses a name behind a statement of its own that may have given it to something else, or what it parsed or
/// bound behind one that changes what texts mean: what was staged is not what the server would take. `returns`: so does the
/// end of the transaction, or of a part of it.
pub(super) fn renames(steps: &[Step], statements: &[Statement], returns: bool) -> bool {
    let (mut prepared, mut cursors) = (Renamed::default(), Renamed::default());
    let mut read = Read { moved: false, sets: returns, since: BTreeSet::new() };
    let (mut bound, mut outlived) = (BTreeSet::new(), BTreeSet::new());
    let mut asked = 0;
    for step in steps {
        match step {
            Step::Execute(portal) => {
                if cursors.has(portal) || outlived.contains(portal) {
                    return true;
                }
                for effect in of(statements, asked).iter().flat_map(|one| &one.session) {
                    match effect {
                        SessionEffect::Prepare { name, .. }
                        | SessionEffect::Deallocate { name: Some(name) } => {
                            prepared.give(name);
                        }
                        SessionEffect::DeclareCursor { name, .. }
                        | SessionEffect::CloseCursor { name: Some(name) } => cursors.give(name),
                        SessionEffect::Deallocate { name: None } => prepared.give_all(),
                        SessionEffect::CloseCursor { name: None } => cursors.give_all(),
                        // Code that runs unseen could rename, too.
                        SessionEffect::Discard | SessionEffect::Opaque => {
                            prepared.give_all();
                            cursors.give_all();
                        }
                        SessionEffect::Set(change) => {
                            if change.moves() {
                                outlived.append(&mut bound);
                            }
                            if change.rereads() {
                                read.moves();
                            }
                        }
                        SessionEffect::Transaction(control) => read.ends(control),
                        SessionEffect::CreateTemporary { .. }
                        | SessionEffect::DropTemporary { .. }
                        | SessionEffect::Listen
                        | SessionEffect::Defines => {}
                    }
                }
                asked += 1;
            }
            Step::Bind { statement, name, .. } => {
                if prepared.has(statement) || (read.moved && !read.since.contains(statement)) {
                    return true;
                }
                cursors.take(name);
                outlived.remove(name);
                bound.insert(name.clone());
            }
            Step::Parse { name, .. } => {
                prepared.take(name);
                read.since.insert(name.clone());
            }
            Step::CloseStatement(name) => prepared.take(name),
            Step::ClosePortal(name) => {
                cursors.take(name);
                outlived.remove(name);
                bound.remove(name);
            }
            Step::DescribeStatement(_) | Step::DescribePortal(_) | Step::Own => {}
        }
    }
    false
}

/// The statements of one of the texts; they stand in the order of these.
pub(super) fn of(statements: &[Statement], asked: usize) -> &[Statement] {
    let start = statements.partition_point(|statement| statement.asked < asked);
    let end = statements.partition_point(|statement| statement.asked <= asked);
    statements.get(start..end).unwrap_or_default()
}

/// Whether one of them prepares another.
pub(super) fn prepares(statements: &[Statement]) -> bool {
    let mut effects = statements.iter().flat_map(|one| &one.session);
    effects.any(|effect| matches!(effect, SessionEffect::Prepare { .. }))
}

/// What each `Execute` of a pipeline leaves behind.
pub(super) fn leaves(statements: &[Statement], executes: usize) -> VecDeque<Vec<SessionEffect>> {
    let of_it = |asked| of(statements, asked).iter().flat_map(|one| one.session.iter().cloned()).collect();
    (0..executes).map(of_it).collect()
}

/// What texts were read with, and which of them were read since that changed.
struct Read {
    moved: bool,
    /// Something was set that the end of the transaction takes back.
    sets: bool,
    since: BTreeSet<String>,
}

impl Read {
    fn moves(&mut self) {
        (self.moved, self.sets) = (true, true);
        self.since.clear();
    }

    fn ends(&mut self, control: &TransactionControl) {
        let ends = match control {
            TransactionControl::Commit { .. }
            | TransactionControl::Rollback { .. }
            | TransactionControl::RollbackTo { .. }
            | TransactionControl::Prepare { .. } => true,
            TransactionControl::Begin { .. }
            | TransactionControl::Savepoint { .. }
            | TransactionControl::Release { .. }
            | TransactionControl::Characteristics { .. }
            | TransactionControl::CommitPrepared { .. }
            | TransactionControl::RollbackPrepared { .. } => false,
        };
        if ends && self.sets {
            self.moves();
        }
    }
}

/// Names that statements gave to something else, or took away.
#[derive(Default)]
struct Renamed {
    names: BTreeSet<String>,
    /// All of them, but for those that the protocol took since.
    all: bool,
    taken: BTreeSet<String>,
}

impl Renamed {
    fn has(&self, name: &str) -> bool {
        !name.is_empty() && (self.names.contains(name) || (self.all && !self.taken.contains(name)))
    }

    fn give(&mut self, name: &str) {
        self.names.insert(name.to_owned());
        self.taken.remove(name);
    }

    fn give_all(&mut self) {
        self.all = true;
        self.taken.clear();
    }

    /// The protocol says what it stands for from here on.
    fn take(&mut self, name: &str) {
        self.names.remove(name);
        self.taken.insert(name.to_owned());
    }
}
