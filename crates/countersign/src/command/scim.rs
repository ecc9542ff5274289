//! `countersign scim`: the tokens of provisioning clients.

use super::person::rows;
use crate::{
    cli::{Output, ScimCommand, ScimTokenCommand},
    failure::Failure,
    operator::{Door, segment},
    output::{self, text},
};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/scim/tokens";

pub(super) async fn run(door: &Door, command: ScimCommand, output: Output) -> Result<(), Failure> {
    let ScimCommand::Token(command) = command;
    match command {
        ScimTokenCommand::Create { label, expires } => {
            let body = json!({"label": label, "expires_in": expires});
            let made = door.call(Method::POST, PATH, &body).await?;
            output::show(output, &made, |made| {
                format!(
                    "{}\n\nThis token is shown this once. It goes into your identity provider's provisioning settings, \
                     beside the address ending in `/scim/v2`.",
                    text(made, "/token")
                )
            })
        }
        ScimTokenCommand::List => {
            let tokens = door.call(Method::GET, PATH, &Value::Null).await?;
            let head = ["id", "label", "created_at", "expires", "state"];
            output::show(output, &tokens, |tokens| rows(tokens, &head, "no provisioning client has a token"))
        }
        ScimTokenCommand::Revoke { id } => {
            door.call(Method::DELETE, &format!("{PATH}/{}", segment(&id)), &Value::Null).await?;
            output::show(output, &json!({"revoked": id}), |_| format!("{id} is worthless now"))
        }
    }
}
