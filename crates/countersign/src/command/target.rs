//! `countersign target`: where actions go.

use crate::{
    cli::{Output, TargetCommand},
    config::Config,
    failure::Failure,
    output,
};
use serde_json::{Value, json};

pub(super) fn run(config: &Config, command: &TargetCommand, output: Output) -> Result<(), Failure> {
    let TargetCommand::List = command;
    let one = |target: &countersign_pep_http::config::HttpTarget| {
        let around = target.classifier.surroundings();
        json!({
            "name": around.target, "environment": around.environment, "wire": "http",
            "listen": target.listen.to_string(), "upstream": target.origin.authority,
            "labels": around.labels, "operations": target.classifier.declared().len(),
        })
    };
    let database = |target: &countersign_pep_sql::config::PostgresTarget| {
        json!({
            "name": target.name(), "environment": target.sql.environment, "wire": "postgres",
            "listen": target.listen.to_string(), "upstream": target.upstream(),
            "labels": target.sql.labels, "operations": countersign_pep_sql::understand::SqlOperation::ALL.len(),
        })
    };
    let server = |target: &countersign_pep_mcp::config::McpTarget| {
        let around = target.classifier.surroundings();
        let operations = countersign_pep_mcp::OPERATIONS.len() + target.classifier.tools().count();
        json!({
            "name": around.target, "environment": around.environment, "wire": "mcp",
            "listen": format!("{}{}", target.listen, target.path), "upstream": target.upstream(),
            "labels": around.labels, "operations": operations,
        })
    };
    let targets = config.http.iter().map(one).chain(config.postgres.iter().map(database));
    let targets: Vec<Value> = targets.chain(config.mcp.iter().map(server)).collect();
    output::show(output, &json!({"items": targets}), |listing| {
        let head = ["name", "environment", "wire", "listen", "upstream", "labels", "operations"];
        super::person::rows(listing, &head, "no target is configured; see `countersign init`")
    })
}
