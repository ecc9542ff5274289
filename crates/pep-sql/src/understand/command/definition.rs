//! Statements that define, change or drop objects, and who may use them.

use super::super::{
    SessionEffect, SqlOperation as Op, Temporary,
    account::Thing,
    names::{self, Name},
    sentence::quoted,
    setting,
    tree::{self, Place, Unplaced},
    walk::{Obscure, Scope, Walked, Walker},
};
use pg_query::{
    Node, NodeEnum, NodeRef,
    protobuf::{
        AlterDatabaseSetStmt, AlterRoleSetStmt, AlterRoleStmt, AlterSystemStmt, AlterTableCmd,
        AlterTableStmt, AlterTableType as At, CompositeTypeStmt, ConstrType, Constraint,
        CreateForeignTableStmt, CreateFunctionStmt, CreateRoleStmt, CreateSchemaStmt, CreateSeqStmt,
        CreateStmt, CreateTrigStmt, GrantRoleStmt, GrantStmt, GrantTargetType, IndexStmt, ObjectType,
        RefreshMatViewStmt, RenameStmt, RoleSpec, RoleSpecType, RuleStmt, VariableSetStmt, ViewStmt,
    },
};

impl Walker<'_> {
    /// The objects a statement names, walking everything else in it.
    pub(super) fn named(&mut self, node: NodeRef<'_>) -> Result<Vec<Thing>, Obscure> {
        let mut things = Vec::new();
        for part in tree::parts(node)? {
            things.extend(self.part(part)?);
        }
        Ok(things)
    }

    /// A part of a definition: objects are named, expressions and queries are walked.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`tree::place` has placed every kind; these need more"
    )]
    pub(super) fn part(&mut self, node: NodeRef<'_>) -> Result<Vec<Thing>, Obscure> {
        match node {
            NodeRef::RangeVar(relation) => return Ok(vec![self.thing(relation)]),
            NodeRef::RoleSpec(role) => return Ok(vec![role_thing(role)]),
            // A list of strings is a name; what it names depends on the statement and is shown as written.
            NodeRef::List(list) if !list.items.is_empty() => {
                if let Some(name) = Name::of(&list.items) {
                    return Ok(vec![Thing::plain("object", name.shown())]);
                }
            }
            NodeRef::ObjectWithArgs(object) => {
                return Ok(Name::of(&object.objname)
                    .map(|name| Thing::plain("object", name.shown()))
                    .into_iter()
                    .collect());
            }
            NodeRef::SelectStmt(_) | NodeRef::FuncCall(_) | NodeRef::AExpr(_) => {
                self.walk(node, &Scope::default())?;
                return Ok(Vec::new());
            }
            // The name of a type, or of whatever else an option means. Values become one only in expressions.
            NodeRef::TypeName(_) => return Ok(Vec::new()),
            NodeRef::ColumnDef(column) => {
                self.account.columns.insert(column.colname.clone());
            }
            // The parts of a constraint that are no expressions name columns; the table it refers to is only looked at.
            NodeRef::Constraint(constraint) => return self.constraint(constraint).map(|()| Vec::new()),
            _ => {}
        }
        if tree::place(node) == Place::Command {
            self.command(node)?;
            return Ok(Vec::new());
        }
        self.named(node)
    }

    fn constraint(&mut self, constraint: &Constraint) -> Walked {
        if let Some(relation) = &constraint.pktable {
            let thing = self.thing(relation);
            self.account.reads(thing);
        }
        for part in tree::parts(NodeRef::Constraint(constraint))? {
            if !matches!(part, NodeRef::RangeVar(_) | NodeRef::String(_)) {
                self.part(part)?;
            }
        }
        Ok(())
    }

    pub(super) fn view(&mut self, view: &ViewStmt) -> Walked {
        let relation = view.view.as_ref().ok_or(Unplaced::UnknownKind)?;
        let thing = self.new_relation("view", Temporary::View, relation);
        self.account.does(Op::Code, &[thing]);
        self.maybe(view.query.as_deref(), &Scope::default())?;
        self.options(&view.options)
    }

    pub(super) fn create_schema(&mut self, create: &CreateSchemaStmt) -> Walked {
        let name = if create.schemaname.is_empty() {
            "(own name)".to_owned()
        } else {
            names::identifier(&create.schemaname)
        };
        self.account.does(Op::DdlAdditive, &[Thing::plain("schema", name)]);
        if let Some(role) = &create.authrole {
            self.account.does(Op::Authz, &[role_thing(role)]);
        }
        create.schema_elts.iter().try_for_each(|element| self.command(tree::node(element)?))
    }

    pub(super) fn create_table(&mut self, create: &CreateStmt) -> Walked {
        let relation = create.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let thing = self.new_relation("table", Temporary::of(create.oncommit()), relation);
        self.account.does(Op::DdlAdditive, &[thing]);
        for part in tree::parts(NodeRef::CreateStmt(create))? {
            for thing in self.part(part)? {
                let known = self.account.effects.iter().any(|(_, things)| things.contains(&thing));
                if !known && thing.kind != "object" {
                    self.account.reads(thing);
                }
            }
        }
        Ok(())
    }

    pub(super) fn create_composite(&mut self, create: &CompositeTypeStmt) -> Walked {
        let relation = create.typevar.as_ref().ok_or(Unplaced::UnknownKind)?;
        self.account.does(Op::DdlAdditive, &[Thing::plain("type", Name::of_relation(relation).shown())]);
        self.options(&create.coldeflist)
    }

    pub(super) fn create_sequence(&mut self, create: &CreateSeqStmt) -> Walked {
        let relation = create.sequence.as_ref().ok_or(Unplaced::UnknownKind)?;
        let thing = self.new_relation("sequence", Temporary::Table, relation);
        self.account.does(Op::DdlAdditive, &[thing]);
        self.options(&create.options)
    }

    pub(super) fn create_foreign_table(&mut self, create: &CreateForeignTableStmt) -> Walked {
        self.create_table(create.base_stmt.as_ref().ok_or(Unplaced::UnknownKind)?)?;
        self.account.does(Op::Network, &[Thing::plain("server", create.servername.clone())]);
        Ok(())
    }

    pub(super) fn alter_table(&mut self, alter: &AlterTableStmt) -> Walked {
        let relation = alter.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let mut thing = self.thing(relation);
        // Indexes and types are no relations of the catalog's snapshot: that they are not found says nothing.
        if matches!(alter.objtype(), ObjectType::ObjectIndex | ObjectType::ObjectType) {
            thing = Thing::plain("object", Name::of_relation(relation).shown());
        }
        for node in &alter.cmds {
            let Some(NodeEnum::AlterTableCmd(command)) = &node.node else {
                return Err(Unplaced::UnknownKind.into());
            };
            let operation = of_alteration(command)?;
            self.account.does(operation, std::slice::from_ref(&thing));
            if !command.name.is_empty() {
                self.account.columns.insert(command.name.clone());
            }
            if operation == Op::DdlDestructive {
                let what = if command.subtype() == At::AtDropConstraint { "constraint" } else { "column" };
                self.account.details.push(format!("{what} {}", quoted(&command.name)));
            }
            for part in tree::parts(NodeRef::AlterTableCmd(command))? {
                self.part(part)?;
            }
        }
        Ok(())
    }

    pub(super) fn create_index(&mut self, index: &IndexStmt) -> Walked {
        let relation = index.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let thing = self.thing(relation);
        self.account.does(if index.concurrent { Op::DdlAdditive } else { Op::DdlRewriting }, &[thing]);
        for part in tree::parts(NodeRef::IndexStmt(index))? {
            if !matches!(part, NodeRef::RangeVar(_)) {
                self.part(part)?;
            }
        }
        Ok(())
    }

    pub(super) fn object(&mut self, kind: &'static str, object: &Node) -> Result<Thing, Obscure> {
        let unnamed = || Obscure("it names nothing".into());
        let name = match &object.node {
            Some(NodeEnum::List(list)) => {
                let Some(mut parts) = names::strings(&list.items) else {
                    // A cast goes by its two types, a transform by a type and a language.
                    let parts: Option<Vec<String>> = list.items.iter().map(type_or_name).collect();
                    return Ok(Thing::plain(kind, parts.ok_or_else(unnamed)?.join(" and ")));
                };
                // Triggers, rules and policies come after the table they stand on.
                if matches!(kind, "trigger" | "rule" | "policy") {
                    let own = parts.pop().ok_or_else(unnamed)?;
                    let table = parts.pop().ok_or_else(unnamed)?;
                    let table = Name { schema: parts.pop(), name: table }.shown();
                    return Ok(Thing::plain(kind, format!("{} on {table}", names::identifier(&own))));
                }
                let name = parts.pop().ok_or_else(unnamed)?;
                Name { schema: parts.pop(), name }
            }
            Some(NodeEnum::String(name)) => Name { schema: None, name: name.sval.clone() },
            Some(NodeEnum::TypeName(name)) => Name::of(&name.names).ok_or_else(unnamed)?,
            Some(NodeEnum::ObjectWithArgs(object)) => Name::of(&object.objname).ok_or_else(unnamed)?,
            _ => return Err(unnamed()),
        };
        if matches!(kind, "table" | "view" | "materialized-view" | "foreign-table" | "sequence") {
            let relation = pg_query::protobuf::RangeVar {
                schemaname: name.schema.unwrap_or_default(),
                relname: name.name,
                ..Default::default()
            };
            return Ok(self.thing(&relation));
        }
        Ok(Thing::plain(kind, name.shown()))
    }

    pub(super) fn rename(&mut self, rename: &RenameStmt) -> Walked {
        let operation = match object_kind(rename.rename_type()).ok_or(Unplaced::UnknownKind)? {
            "role" | "policy" => Op::Authz,
            "database" | "server" | "tablespace" => Op::Server,
            _ => Op::DdlRewriting,
        };
        let mut things = self.named(NodeRef::RenameStmt(rename))?;
        if things.is_empty() {
            things.push(Thing::plain("object", names::identifier(&rename.subname)));
        }
        self.account.details.push(format!("to {}", quoted(&rename.newname)));
        if let Some(relation) = &rename.relation
            && self.session.temporary.contains(&relation.relname)
        {
            // What it was may be a view.
            let name = rename.newname.clone();
            self.account.session.push(SessionEffect::CreateTemporary { name, kind: Temporary::View });
        }
        self.account.does(operation, &things);
        Ok(())
    }

    pub(super) fn rule(&mut self, rule: &RuleStmt) -> Walked {
        let relation = rule.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let thing = self.thing(relation);
        self.account.does(Op::Code, &[thing]);
        Ok(())
    }

    pub(super) fn grant(&mut self, grant: &GrantStmt) -> Walked {
        let kind = object_kind(grant.objtype()).ok_or(Unplaced::UnknownKind)?;
        let mut things = Vec::new();
        for object in &grant.objects {
            if let Some(NodeEnum::RangeVar(relation)) = &object.node {
                things.push(self.thing(relation));
            } else if grant.targtype() == GrantTargetType::AclTargetAllInSchema {
                things.extend(
                    names::string(object).map(|name| Thing::plain("schema", names::identifier(&name))),
                );
                self.account.reasons.insert("it is about everything in the schema".into());
            } else {
                things.extend(self.object(kind, object));
            }
        }
        things.extend(roles(&grant.grantees));
        let right = |right: &Node| {
            let Some(NodeEnum::AccessPriv(right)) = &right.node else { return None };
            Some(if right.priv_name.is_empty() { "all".into() } else { quoted(&right.priv_name) })
        };
        self.account.details.extend(grant.privileges.iter().filter_map(right));
        if grant.privileges.is_empty() {
            self.account.details.push("all".into());
        }
        if grant.grant_option {
            self.account.details.push("with grant option".into());
        }
        self.account.does(Op::Authz, &things);
        Ok(())
    }

    pub(super) fn grant_role(&mut self, grant: &GrantRoleStmt) {
        let granted = grant.granted_roles.iter().filter_map(|role| {
            let Some(NodeEnum::AccessPriv(role)) = &role.node else { return None };
            Some(Thing::plain("role", names::identifier(&role.priv_name)))
        });
        let things: Vec<Thing> = granted.chain(roles(&grant.grantee_roles)).collect();
        self.account.does(Op::Authz, &things);
    }

    pub(super) fn create_role(&mut self, create: &CreateRoleStmt) {
        self.account.does(Op::Authz, &[Thing::plain("role", names::identifier(&create.role))]);
        self.role_options(&create.options);
    }

    pub(super) fn alter_role(&mut self, alter: &AlterRoleStmt) {
        let things: Vec<Thing> = alter.role.iter().map(role_thing).collect();
        self.account.does(Op::Authz, &things);
        self.role_options(&alter.options);
    }

    /// What a role is given or loses, never a password's text.
    fn role_options(&mut self, options: &[Node]) {
        for (name, value) in options.iter().filter_map(setting::option) {
            let off = matches!(value.as_deref(), Some("false" | "0"));
            self.account.details.push(if off { format!("no {name}") } else { name });
        }
    }

    pub(super) fn create_function(&mut self, create: &CreateFunctionStmt) -> Walked {
        let name = Self::name_of(&create.funcname)?;
        let kind = if create.is_procedure { "procedure" } else { "function" };
        self.account.does(Op::Code, &[Thing::plain(kind, name.shown())]);
        if create
            .options
            .iter()
            .filter_map(setting::option)
            .any(|option| option.0 == "security" && setting::is_on(&option))
        {
            self.account.reasons.insert("it will run with the rights of its owner".into());
        }
        Ok(())
    }

    pub(super) fn create_trigger(&mut self, create: &CreateTrigStmt) -> Walked {
        let relation = create.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let thing = self.thing(relation);
        let function = Self::name_of(&create.funcname)?;
        self.account.triggers.insert(function.shown());
        self.account.does(Op::Code, &[thing]);
        Ok(())
    }

    pub(super) fn refresh(&mut self, refresh: &RefreshMatViewStmt) -> Walked {
        let relation = refresh.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let thing = self.thing(relation);
        // Its query, and whatever functions it calls, run with the rights of its owner.
        self.account.does(Op::Code, &[thing]);
        Ok(())
    }

    pub(super) fn alter_system(&mut self, alter: &AlterSystemStmt) {
        let things = setting_of(alter.setstmt.as_ref());
        self.account.does(Op::Server, &things);
    }

    pub(super) fn alter_role_set(&mut self, alter: &AlterRoleSetStmt) {
        let things = alter.role.iter().map(role_thing).chain(setting_of(alter.setstmt.as_ref()));
        let things: Vec<Thing> = things.collect();
        self.account.does(Op::Authz, &things);
    }

    pub(super) fn alter_database_set(&mut self, alter: &AlterDatabaseSetStmt) {
        let mut things = vec![Thing::plain("database", names::identifier(&alter.dbname))];
        things.extend(setting_of(alter.setstmt.as_ref()));
        self.account.does(Op::Server, &things);
    }
}

fn type_or_name(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::TypeName(kind)) => Name::of(&kind.names).map(|name| name.shown()),
        _ => names::string(node).map(|name| names::identifier(&name)),
    }
}

fn setting_of(set: Option<&VariableSetStmt>) -> Vec<Thing> {
    set.into_iter()
        .filter(|set| !set.name.is_empty())
        .map(|set| Thing::plain("setting", set.name.to_lowercase()))
        .collect()
}

pub(super) fn roles(roles: &[Node]) -> impl Iterator<Item = Thing> {
    roles.iter().filter_map(|role| {
        let Some(NodeEnum::RoleSpec(role)) = &role.node else { return None };
        Some(role_thing(role))
    })
}

fn role_thing(role: &RoleSpec) -> Thing {
    let name = match role.roletype() {
        RoleSpecType::RolespecCstring => names::identifier(&role.rolename),
        RoleSpecType::RolespecCurrentRole | RoleSpecType::RolespecCurrentUser => "(current user)".into(),
        RoleSpecType::RolespecSessionUser => "(session user)".into(),
        RoleSpecType::RolespecPublic => "(everybody)".into(),
        RoleSpecType::Undefined => "(unknown)".into(),
    };
    Thing::plain("role", name)
}

/// What one part of an `ALTER TABLE` does.
fn of_alteration(command: &AlterTableCmd) -> Result<Op, Obscure> {
    Ok(match command.subtype() {
        At::AtAddColumn if rewrites(command) => Op::DdlRewriting,
        At::AtAddConstraint if !skips_validation(command) => Op::DdlRewriting,
        At::AtAddColumn
        | At::AtAddColumnToView
        | At::AtColumnDefault
        | At::AtDropNotNull
        | At::AtDropExpression
        | At::AtSetStatistics
        | At::AtSetOptions
        | At::AtResetOptions
        | At::AtSetStorage
        | At::AtSetCompression
        | At::AtAddConstraint
        | At::AtAddIndexConstraint
        | At::AtClusterOn
        | At::AtDropCluster
        | At::AtSetRelOptions
        | At::AtResetRelOptions
        | At::AtReplaceRelOptions
        | At::AtReplicaIdentity
        | At::AtAddIdentity
        | At::AtSetIdentity
        | At::AtAddInherit
        | At::AtAddOf
        | At::AtDropOf => Op::DdlAdditive,
        At::AtSetNotNull
        | At::AtSetExpression
        | At::AtAddIndex
        | At::AtAlterConstraint
        | At::AtValidateConstraint
        | At::AtAlterColumnType
        | At::AtSetLogged
        | At::AtSetUnLogged
        | At::AtDropOids
        | At::AtSetAccessMethod
        | At::AtSetTableSpace
        | At::AtDropInherit
        | At::AtAttachPartition
        | At::AtDetachPartition
        | At::AtDetachPartitionFinalize => Op::DdlRewriting,
        At::AtDropColumn | At::AtDropConstraint | At::AtDropIdentity => Op::DdlDestructive,
        At::AtAlterColumnGenericOptions | At::AtGenericOptions => Op::Server,
        At::AtChangeOwner
        | At::AtEnableRowSecurity
        | At::AtDisableRowSecurity
        | At::AtForceRowSecurity
        | At::AtNoForceRowSecurity => Op::Authz,
        At::AtEnableTrig
        | At::AtEnableAlwaysTrig
        | At::AtEnableReplicaTrig
        | At::AtDisableTrig
        | At::AtEnableTrigAll
        | At::AtDisableTrigAll
        | At::AtEnableTrigUser
        | At::AtDisableTrigUser
        | At::AtEnableRule
        | At::AtEnableAlwaysRule
        | At::AtEnableReplicaRule
        | At::AtDisableRule => Op::Code,
        At::Undefined
        | At::AtCookedColumnDefault
        | At::AtReAddIndex
        | At::AtReAddConstraint
        | At::AtReAddDomainConstraint
        | At::AtReAddComment
        | At::AtReAddStatistics => return Err(Unplaced::OnlyAnalysed.into()),
    })
}

/// Whether a new column may need every row to be written again: it is computed, or its default is.
fn rewrites(command: &AlterTableCmd) -> bool {
    let Some(NodeEnum::ColumnDef(column)) = command.def.as_deref().and_then(|def| def.node.as_ref()) else {
        return true;
    };
    column.constraints.iter().any(|node| {
        let Some(NodeEnum::Constraint(constraint)) = &node.node else { return true };
        match constraint.contype() {
            ConstrType::ConstrNull
            | ConstrType::ConstrAttrDeferrable
            | ConstrType::ConstrAttrNotDeferrable
            | ConstrType::ConstrAttrDeferred
            | ConstrType::ConstrAttrImmediate
            | ConstrType::ConstrAttrEnforced
            | ConstrType::ConstrAttrNotEnforced
            | ConstrType::ConstrNotnull => false,
            ConstrType::ConstrDefault => constraint
                .raw_expr
                .as_deref()
                .is_none_or(|value| super::super::bounds::literal(value).is_none()),
            ConstrType::Undefined
            | ConstrType::ConstrIdentity
            | ConstrType::ConstrGenerated
            | ConstrType::ConstrCheck
            | ConstrType::ConstrPrimary
            | ConstrType::ConstrUnique
            | ConstrType::ConstrExclusion
            | ConstrType::ConstrForeign => true,
        }
    })
}

fn skips_validation(command: &AlterTableCmd) -> bool {
    let constraint = command.def.as_deref().and_then(|def| def.node.as_ref());
    matches!(constraint, Some(NodeEnum::Constraint(constraint)) if constraint.skip_validation)
}

/// What a kind of object is called; `None` for one no statement can name.
pub(super) fn object_kind(kind: ObjectType) -> Option<&'static str> {
    Some(match kind {
        ObjectType::Undefined => return None,
        ObjectType::ObjectAccessMethod => "access-method",
        ObjectType::ObjectAggregate | ObjectType::ObjectFunction | ObjectType::ObjectRoutine => "function",
        ObjectType::ObjectProcedure => "procedure",
        ObjectType::ObjectAttribute | ObjectType::ObjectColumn => "column",
        ObjectType::ObjectCast => "cast",
        ObjectType::ObjectCollation => "collation",
        ObjectType::ObjectConversion => "conversion",
        ObjectType::ObjectDatabase => "database",
        ObjectType::ObjectDomain | ObjectType::ObjectType => "type",
        ObjectType::ObjectEventTrigger => "event-trigger",
        ObjectType::ObjectExtension => "extension",
        ObjectType::ObjectFdw => "foreign-data-wrapper",
        ObjectType::ObjectForeignServer => "server",
        ObjectType::ObjectForeignTable => "foreign-table",
        ObjectType::ObjectIndex => "index",
        ObjectType::ObjectLanguage => "language",
        ObjectType::ObjectLargeobject => "large-object",
        ObjectType::ObjectMatview => "materialized-view",
        ObjectType::ObjectOpclass
        | ObjectType::ObjectOpfamily
        | ObjectType::ObjectOperator
        | ObjectType::ObjectAmop
        | ObjectType::ObjectAmproc => "operator",
        ObjectType::ObjectParameterAcl => "setting",
        ObjectType::ObjectPolicy => "policy",
        ObjectType::ObjectPublication
        | ObjectType::ObjectPublicationNamespace
        | ObjectType::ObjectPublicationRel => "publication",
        ObjectType::ObjectRole => "role",
        ObjectType::ObjectRule => "rule",
        ObjectType::ObjectSchema => "schema",
        ObjectType::ObjectSequence => "sequence",
        ObjectType::ObjectSubscription => "subscription",
        ObjectType::ObjectStatisticExt => "statistics",
        ObjectType::ObjectTabconstraint
        | ObjectType::ObjectDomconstraint
        | ObjectType::ObjectDefault
        | ObjectType::ObjectDefacl => "constraint",
        ObjectType::ObjectTable => "table",
        ObjectType::ObjectTablespace => "tablespace",
        ObjectType::ObjectTransform => "transform",
        ObjectType::ObjectTrigger => "trigger",
        ObjectType::ObjectTsconfiguration
        | ObjectType::ObjectTsdictionary
        | ObjectType::ObjectTsparser
        | ObjectType::ObjectTstemplate => "text-search",
        ObjectType::ObjectUserMapping => "user-mapping",
        ObjectType::ObjectView => "view",
    })
}
