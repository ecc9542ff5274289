//! Reading a catalog: the queries, and what their rows mean. Every row is one text, a JSON object.

use super::{Catalog, Function, Relation, Type};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Why a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("a row of the server's catalog is not what was asked for")]
    Row(#[from] serde_json::Error),
    #[error("{0} answers were expected, one for each query")]
    Answers(usize),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

/// Versions are given out once in a process.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Catalog {
    /// To be run first, so that everything is of one moment and every name outside `pg_catalog` comes qualified. Printing a
    /// definition locks what it is of: somebody who changes a table must not keep everybody else from being read.
    pub const BEGIN: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
        SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '1s'";
    pub const END: &'static str = "ROLLBACK";

    /// One row with one text that changes whenever a definition does, and not with temporary objects. Cheap: to be
    /// asked often.
    pub const STAMP: &'static str = "\
        WITH own AS (SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg\\_temp\\_%' OR nspname LIKE 'pg\\_toast\\_temp\\_%'), \
        hidden AS (SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM own)), \
        parts AS (\
        SELECT 'c' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) AS part \
          FROM pg_class WHERE relnamespace NOT IN (SELECT oid FROM own) \
        UNION ALL SELECT 'a' || count(*) || '.' || coalesce(sum(hashtext(attrelid::text || attnum::text || xmin::text)::bigint), 0) \
          FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0 AND attrelid NOT IN (SELECT oid FROM hidden) \
        UNION ALL SELECT 'p' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_proc WHERE pronamespace NOT IN (SELECT oid FROM own) \
        UNION ALL SELECT 'r' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_rewrite WHERE ev_class NOT IN (SELECT oid FROM hidden) \
        UNION ALL SELECT 't' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_trigger WHERE tgrelid NOT IN (SELECT oid FROM hidden) \
        UNION ALL SELECT 'k' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_constraint WHERE conrelid NOT IN (SELECT oid FROM hidden) \
        UNION ALL SELECT 'i' || count(*) || '.' || coalesce(sum(hashtext(indexrelid::text || xmin::text)::bigint), 0) \
          FROM pg_index WHERE indrelid NOT IN (SELECT oid FROM hidden) \
        UNION ALL SELECT 'h' || count(*) || '.' || coalesce(sum(hashtext(inhrelid::text || inhparent::text || xmin::text)::bigint), 0) \
          FROM pg_inherits WHERE inhrelid NOT IN (SELECT oid FROM hidden) \
        UNION ALL SELECT 'y' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_type WHERE typnamespace NOT IN (SELECT oid FROM own) \
        UNION ALL SELECT 'n' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_namespace WHERE oid NOT IN (SELECT oid FROM own) \
        UNION ALL SELECT 'o' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_operator WHERE true \
        UNION ALL SELECT 's' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_cast WHERE true \
        UNION ALL SELECT 'l' || count(*) || '.' || coalesce(sum(hashtext(oid::text || xmin::text)::bigint), 0) \
          FROM pg_policy WHERE true \
        ) SELECT md5(string_agg(part, ',' ORDER BY part)) FROM parts";

    /// To be run in this order, in one transaction with [`Catalog::STAMP`]. Each answers with rows of one text.
    pub const QUERIES: [&'static str; 6] = [SCHEMAS, SYSTEM, RELATIONS, ROUTINES, OPERATORS, TYPES];

    /// Reads the answers to [`Catalog::QUERIES`], in their order.
    pub fn read(stamp: &str, answers: &[Vec<String>]) -> Result<Self, CatalogError> {
        let [schemas, system, relations, routines, operators, types] = answers else {
            return Err(CatalogError::Answers(Self::QUERIES.len()));
        };
        let schemas: Vec<Named> = rows(schemas)?;
        let system: Vec<Named> = rows(system)?;
        let relations: Vec<Relation> = rows(relations)?;
        let routines: Vec<Function> = rows(routines)?;
        let operators: Vec<Function> = rows(operators)?;
        let types: Vec<Type> = rows(types)?;
        Ok(Self {
            version: NEXT.fetch_add(1, Ordering::Relaxed),
            read: true,
            stamp: stamp.into(),
            foreign: false,
            schemas: schemas.into_iter().map(|schema| schema.name).collect(),
            system: system.into_iter().map(|relation| relation.name).collect(),
            relations: by_name(relations, |relation| &relation.name),
            routines: by_name(routines, |routine| &routine.name),
            operators: by_name(operators, |operator| &operator.name),
            types: by_name(types, |kind| &kind.name),
        })
    }
}

fn rows<T: DeserializeOwned>(rows: &[String]) -> Result<Vec<T>, CatalogError> {
    rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
}

fn by_name<T>(things: Vec<T>, name: impl Fn(&T) -> &String) -> BTreeMap<String, Vec<T>> {
    things.into_iter().fold(BTreeMap::new(), |mut named, thing| {
        named.entry(name(&thing).clone()).or_default().push(thing);
        named
    })
}

const SCHEMAS: &str = "SELECT json_build_object('name', nspname)::text FROM pg_namespace";

const SYSTEM: &str = "SELECT json_build_object('name', relname)::text FROM pg_class \
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')";

const RELATIONS: &str = "\
    SELECT json_build_object(\
      'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,\
      'columns', (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_attribute a \
        WHERE a.attrelid = c.oid AND NOT a.attisdropped),\
      'numbers', (SELECT coalesce(json_object_agg(a.attnum, a.attname), '{}') FROM pg_attribute a \
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),\
      'keys', (SELECT coalesce(json_agg((SELECT json_agg(a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid \
          AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))), '[]') FROM pg_index i \
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL),\
      'behind', encode(sha256(convert_to(\
        coalesce((SELECT string_agg(concat_ws('|', r.rulename, r.ev_type, r.ev_enabled, r.ev_qual::text, r.ev_action::text), E'\\n' \
          ORDER BY r.rulename) FROM pg_rewrite r WHERE r.ev_class = c.oid), '') || E'\\n' || \
        coalesce((SELECT string_agg(concat(t.tgenabled, pg_get_triggerdef(t.oid)), E'\\n' ORDER BY t.tgname) \
          FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal), ''), 'UTF8')), 'hex'),\
      'definition', CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END,\
      'rules', (SELECT coalesce(json_agg(DISTINCT r.ev_type), '[]') FROM pg_rewrite r \
        WHERE r.ev_class = c.oid AND r.ev_enabled <> 'D' AND NOT (r.rulename = '_RETURN' AND c.relkind IN ('v', 'm'))),\
      'triggers', (SELECT coalesce(json_agg(json_build_object('events', t.tgtype, \
          'function', fn.nspname || '.' || p.proname) ORDER BY t.tgname), '[]') \
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace fn ON fn.oid = p.pronamespace \
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'),\
      'policies', CASE WHEN c.relrowsecurity THEN (SELECT coalesce(json_agg(pg_get_expr(e, c.oid)), '[]') \
        FROM pg_policy l CROSS JOIN LATERAL (VALUES (l.polqual), (l.polwithcheck)) AS v(e) \
        WHERE l.polrelid = c.oid AND e IS NOT NULL) ELSE '[]' END,\
      'expressions', (SELECT coalesce(json_agg(e), '[]') FROM (\
        SELECT pg_get_expr(d.adbin, c.oid) AS e FROM pg_attrdef d WHERE d.adrelid = c.oid \
        UNION ALL SELECT pg_get_expr(k.conbin, c.oid) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c' \
        UNION ALL SELECT pg_get_expr(k.conbin, 0) FROM pg_constraint k JOIN pg_attribute a ON a.atttypid = k.contypid \
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND k.contypid <> 0 AND k.conbin IS NOT NULL \
        UNION ALL SELECT pg_get_expr(i.indexprs, c.oid) FROM pg_index i WHERE i.indrelid = c.oid AND i.indexprs IS NOT NULL \
        UNION ALL SELECT pg_get_expr(i.indpred, c.oid) FROM pg_index i WHERE i.indrelid = c.oid AND i.indpred IS NOT NULL\
        ) AS all_of_them WHERE e IS NOT NULL),\
      'far', c.relkind = 'f' OR EXISTS (WITH RECURSIVE d AS (\
          SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = c.oid \
          UNION SELECT h.inhrelid FROM pg_inherits h JOIN d ON h.inhparent = d.inhrelid) \
        SELECT FROM d JOIN pg_class k ON k.oid = d.inhrelid WHERE k.relkind = 'f'),\
      'heirs', (SELECT count(*) FROM pg_inherits h JOIN pg_class k ON k.oid = h.inhrelid \
        WHERE h.inhparent = c.oid AND NOT k.relispartition),\
      'cascades', (SELECT coalesce(json_agg(json_build_object('table', kn.nspname || '.' || k.relname, \
          'on_delete', f.confdeltype, 'on_update', f.confupdtype) ORDER BY f.conname), '[]') \
        FROM pg_constraint f JOIN pg_class k ON k.oid = f.conrelid JOIN pg_namespace kn ON kn.oid = k.relnamespace \
        WHERE f.contype = 'f' AND f.confrelid = c.oid)\
    )::text \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') \
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
      AND n.nspname NOT LIKE 'pg\\_temp\\_%' AND n.nspname NOT LIKE 'pg\\_toast\\_temp\\_%'";

const ROUTINES: &str = "\
    SELECT json_build_object('schema', n.nspname, 'name', p.proname, 'volatility', p.provolatile,\
      'definer', p.prosecdef, 'language', l.lanname, \
      'code', encode(sha256(convert_to(concat_ws('|', p.prosrc, p.probin, p.prosqlbody::text, p.proconfig::text, p.proowner, \
        p.proargtypes::text, (SELECT g::text FROM pg_aggregate g WHERE g.aggfnoid = p.oid)), 'UTF8')), 'hex'), \
      'extension', EXISTS (SELECT FROM pg_depend x WHERE x.objid = p.oid AND x.classid = 'pg_proc'::regclass AND x.deptype = 'e'))::text \
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
    WHERE n.nspname <> 'information_schema' AND (n.nspname <> 'pg_catalog' OR p.oid >= 16384)";

const OPERATORS: &str = "\
    SELECT json_build_object('schema', n.nspname, 'name', o.oprname, 'volatility', p.provolatile,\
      'definer', p.prosecdef, 'language', l.lanname, \
      'code', encode(sha256(convert_to(concat_ws('|', p.prosrc, p.probin, p.prosqlbody::text, p.proconfig::text, p.proowner, \
        p.proargtypes::text, (SELECT g::text FROM pg_aggregate g WHERE g.aggfnoid = p.oid)), 'UTF8')), 'hex'), \
      'extension', EXISTS (SELECT FROM pg_depend x WHERE x.objid = p.oid AND x.classid = 'pg_proc'::regclass AND x.deptype = 'e'))::text \
    FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace JOIN pg_proc p ON p.oid = o.oprcode \
    JOIN pg_language l ON l.oid = p.prolang \
    WHERE n.nspname <> 'pg_catalog' OR o.oid >= 16384";

const TYPES: &str = "\
    SELECT json_build_object('schema', n.nspname, 'name', t.typname,\
      'checks', (SELECT coalesce(json_agg(pg_get_expr(k.conbin, 0)), '[]') FROM pg_constraint k \
        WHERE k.contypid = t.oid AND k.conbin IS NOT NULL),\
      'runs', EXISTS (SELECT FROM pg_cast s JOIN pg_proc p ON p.oid = s.castfunc JOIN pg_language l ON l.oid = p.prolang \
        WHERE (s.casttarget = t.oid OR s.castsource = t.oid) AND l.lanname NOT IN ('c', 'internal')))::text \
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
    WHERE n.nspname NOT IN ('information_schema', 'pg_toast') AND (n.nspname <> 'pg_catalog' OR t.oid >= 16384) \
      AND n.nspname NOT LIKE 'pg\\_temp\\_%' AND n.nspname NOT LIKE 'pg\\_toast\\_temp\\_%'";
