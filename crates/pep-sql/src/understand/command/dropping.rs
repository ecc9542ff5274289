//! Statements that drop objects.

use super::{
    super::{
        SessionEffect, SqlOperation as Op,
        account::Thing,
        names::{self, Name},
        tree::Unplaced,
        walk::{Walked, Walker},
    },
    definition::{object_kind, roles},
};
use pg_query::{
    Node, NodeEnum, NodeRef,
    protobuf::{DropBehavior, DropOwnedStmt, DropRoleStmt, DropStmt, DropdbStmt},
};

impl Walker<'_> {
    pub(super) fn drop_objects(&mut self, drop: &DropStmt) -> Walked {
        let kind = object_kind(drop.remove_type()).ok_or(Unplaced::UnknownKind)?;
        let mut things = Vec::new();
        for object in &drop.objects {
            let thing = self.object(kind, object)?;
            self.drops_temporary(kind, object);
            things.push(thing);
        }
        let operation = match kind {
            "policy" => Op::Authz,
            "extension" | "server" | "foreign-data-wrapper" | "publication" | "access-method" => Op::Server,
            _ => Op::DdlDestructive,
        };
        self.account.does(Op::DdlDestructive, &things);
        self.account.does(operation, &things);
        if drop.behavior() == DropBehavior::DropCascade {
            self.account.reasons.insert("everything that depends on it is dropped as well".into());
        }
        Ok(())
    }

    /// A temporary relation is the first one of its name, unless the search path puts it elsewhere: dropped by that name,
    /// it is gone.
    fn drops_temporary(&mut self, kind: &'static str, object: &Node) {
        let Some(NodeEnum::List(list)) = &object.node else { return };
        let Some(Name { schema, name }) = Name::of(&list.items) else { return };
        let first = match schema.as_deref() {
            None => !self.session.search_path.iter().any(|schema| schema == "pg_temp"),
            Some(schema) => schema == "pg_temp",
        };
        if first && matches!(kind, "table" | "view" | "sequence") && self.session.temporary.contains(&name) {
            self.account.session.push(SessionEffect::DropTemporary { name: Some(name) });
        }
    }

    pub(super) fn drop_owned(&mut self, drop: &DropOwnedStmt) -> Walked {
        let things = self.named(NodeRef::DropOwnedStmt(drop))?;
        self.account.does(Op::DdlDestructive, &things);
        self.account.does(Op::Authz, &things);
        Ok(())
    }

    pub(super) fn drop_database(&mut self, drop: &DropdbStmt) {
        let thing = [Thing::plain("database", names::identifier(&drop.dbname))];
        self.account.does(Op::DdlDestructive, &thing);
        self.account.does(Op::Server, &thing);
    }

    pub(super) fn drop_role(&mut self, drop: &DropRoleStmt) {
        let things: Vec<Thing> = roles(&drop.roles).collect();
        self.account.does(Op::Authz, &things);
    }
}
