//! Names that a pipeline's own statements give to something else before its later messages use them.

use super::pipeline::Step;
use crate::understand::{SessionEffect, Statement};
use std::collections::BTreeSet;

/// Whether a pipeline uses a name behind a statement of its own that may have given it to something else: what was staged
/// under it is not what the server would take.
pub(super) fn renames(steps: &[Step], statements: &[Statement]) -> bool {
    let (mut prepared, mut cursors) = (Renamed::default(), Renamed::default());
    let mut asked = 0;
    for step in steps {
        match step {
            Step::Execute(portal) => {
                if cursors.has(portal) {
                    return true;
                }
                let effects = statements.iter().filter(|one| one.asked == asked).flat_map(|one| &one.session);
                for effect in effects {
                    match effect {
                        SessionEffect::Prepare { name, .. }
                        | SessionEffect::Deallocate { name: Some(name) } => {
                            prepared.names.insert(name.clone());
                        }
                        SessionEffect::DeclareCursor { name, .. }
                        | SessionEffect::CloseCursor { name: Some(name) } => {
                            cursors.names.insert(name.clone());
                        }
                        SessionEffect::Deallocate { name: None } => prepared.all = true,
                        SessionEffect::CloseCursor { name: None } => cursors.all = true,
                        SessionEffect::Discard => (prepared.all, cursors.all) = (true, true),
                        SessionEffect::Transaction(_)
                        | SessionEffect::Set(_)
                        | SessionEffect::CreateTemporary { .. }
                        | SessionEffect::Listen
                        | SessionEffect::Defines
                        // Code that runs unseen could rename, too. It was decided on as such.
                        | SessionEffect::Opaque => {}
                    }
                }
                asked += 1;
            }
            Step::Bind { statement, .. } if prepared.has(statement) => return true,
            Step::Parse { name, .. } | Step::CloseStatement(name) => {
                prepared.names.remove(name);
            }
            Step::Bind { .. }
            | Step::ClosePortal(_)
            | Step::DescribeStatement(_)
            | Step::DescribePortal(_)
            | Step::Own => {}
        }
    }
    false
}

/// Names that statements gave to something else, or took away.
#[derive(Default)]
struct Renamed {
    names: BTreeSet<String>,
    all: bool,
}

impl Renamed {
    fn has(&self, name: &str) -> bool {
        !name.is_empty() && (self.all || self.names.contains(name))
    }
}
