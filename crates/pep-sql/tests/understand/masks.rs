//! What an agent may not see is taken out of the rows, by where each column comes from.

use crate::cases::{CATALOG, case, catalog, target};
use countersign_pep_sql::understand::{Hidden, Mask, Masking, ResultColumn, understand};

const TEXT: u32 = 25;
const INT8: u32 = 20;

/// What a row of values becomes when these columns of `public.users` (0: computed) come back.
fn masked(sql: &str, columns: &[(i16, u32)], values: &[&str]) -> Option<Vec<String>> {
    let question = case(sql.into()).question(catalog());
    let understood = understand(&question);
    let columns: Vec<ResultColumn> = columns
        .iter()
        .map(|(attribute, kind)| ResultColumn {
            relation: if *attribute == 0 { 0 } else { users() },
            attribute: *attribute,
            kind: *kind,
        })
        .collect();
    let hidden = Hidden { labels: ["pii".to_owned()].into(), masking: Masking::Partial, key: [1; 32] };
    let mask = Mask::plan(&columns, &hidden, &understood, &question.catalog, &target())?;
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    let row = mask.row(&body).unwrap();
    let mut rest = row.get(2..).unwrap();
    let mut out = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = i32::from_be_bytes(*length);
        let Ok(length) = usize::try_from(length) else {
            out.push("null".into());
            rest = after;
            continue;
        };
        let (value, after) = after.split_at(length);
        out.push(String::from_utf8(value.to_vec()).unwrap());
        rest = after;
    }
    Some(out)
}

/// The identifier of `public.users` in the catalog beside.
fn users() -> u32 {
    let answers: Vec<Vec<serde_json::Value>> = serde_json::from_str(CATALOG).unwrap();
    let named = |row: &&serde_json::Value| {
        row["schema"] == "public" && row["name"] == "users" && row["oid"].is_number()
    };
    let oid = answers.iter().flatten().find(named).unwrap()["oid"].as_u64().unwrap();
    oid.try_into().unwrap()
}

#[test]
fn labelled_columns_are_masked_and_others_are_not() {
    let row = ["7", "jane@example.org", "Jane"];
    let three = [(1, INT8), (2, TEXT), (3, TEXT)];
    assert_eq!(
        masked("SELECT id, email, name FROM users WHERE id = 7", &three, &row).unwrap(),
        ["7", "j…g", "Jane"]
    );
    assert_eq!(
        masked("SELECT id, name FROM users WHERE id = 7", &[(1, INT8), (3, TEXT)], &["7", "Jane"]),
        None
    );
}

#[test]
fn what_is_computed_from_labelled_columns_is_left_out() {
    let computed = [(1, INT8), (0, TEXT)];
    let found =
        masked("SELECT id, email || name FROM users WHERE id = 7", &computed, &["7", "jane@example.orgJane"]);
    assert_eq!(found.unwrap(), ["7", "null"]);
    assert_eq!(masked("SELECT id, name || 'x' FROM users WHERE id = 7", &computed, &["7", "Janex"]), None);
    let unknown = masked("SELECT id, writes() FROM users WHERE id = 7", &computed, &["7", "1"]);
    assert_eq!(unknown.unwrap(), ["7", "null"], "what runs code may return anything");
}

#[test]
fn values_of_other_types_are_left_out() {
    let found = masked("SELECT email FROM users WHERE id = 7", &[(2, INT8)], &["jane@example.org"]);
    assert_eq!(found.unwrap(), ["null"]);
}
