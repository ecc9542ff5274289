//! What a client may find out before it begins (RFC 7644, section 4): what is served, and how resources are made up.

use super::{Client, Shown, error::Fault, group, list::MOST, user};
use axum::extract::Path;
use http::StatusCode;
use serde_json::{Value, json};

pub(super) async fn service(_: Client) -> Shown {
    let no = json!({"supported": false});
    Shown(
        StatusCode::OK,
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": {"supported": true},
            "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
            "filter": {"supported": true, "maxResults": MOST},
            "changePassword": no,
            "sort": no,
            "etag": no,
            "authenticationSchemes": [{
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "A token of `countersign scim token create`, in `Authorization: Bearer`",
                "primary": true,
            }],
        }),
    )
}

pub(super) async fn kinds(_: Client) -> Shown {
    several(&["User", "Group"].map(described))
}

pub(super) async fn kind(_: Client, Path(id): Path<String>) -> Result<Shown, Fault> {
    match id.as_str() {
        "User" | "Group" => Ok(Shown(StatusCode::OK, described(&id))),
        _ => Err(Fault::missing()),
    }
}

pub(super) async fn schemas(_: Client) -> Shown {
    several(&[users(), groups()])
}

pub(super) async fn schema(_: Client, Path(id): Path<String>) -> Result<Shown, Fault> {
    let found =
        [users(), groups()].into_iter().find(|schema| schema.get("id") == Some(&Value::from(id.as_str())));
    found.map(|schema| Shown(StatusCode::OK, schema)).ok_or_else(Fault::missing)
}

fn several(all: &[Value]) -> Shown {
    let list = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": all.len(),
        "startIndex": 1,
        "itemsPerPage": all.len(),
        "Resources": all,
    });
    Shown(StatusCode::OK, list)
}

fn described(name: &str) -> Value {
    let schema = if name == "User" { user::SCHEMA } else { group::SCHEMA };
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": name,
        "name": name,
        "endpoint": format!("/{name}s"),
        "schema": schema,
    })
}

/// An attribute of one value, as section 7 of RFC 7643 describes one.
fn attribute(name: &str, kind: &str, mutability: &str) -> Value {
    json!({
        "name": name, "type": kind, "multiValued": false, "required": name == "userName" || name == "displayName",
        "caseExact": name == "externalId", "mutability": mutability, "returned": "default",
        "uniqueness": if name == "userName" { "server" } else { "none" },
    })
}

fn of_many(name: &str, mutability: &str, parts: &[Value]) -> Value {
    json!({
        "name": name, "type": "complex", "multiValued": true, "required": false, "mutability": mutability,
        "returned": "default", "uniqueness": "none", "subAttributes": parts,
    })
}

fn users() -> Value {
    let text = |name: &str| attribute(name, "string", "readWrite");
    let shown = |name: &str| attribute(name, "string", "readOnly");
    let name = json!({
        "name": "name", "type": "complex", "multiValued": false, "required": false, "mutability": "readWrite",
        "returned": "default", "uniqueness": "none",
        "subAttributes": [text("formatted"), text("givenName"), text("familyName")],
    });
    let address = [text("value"), text("type"), attribute("primary", "boolean", "readWrite")];
    described_by(
        user::SCHEMA,
        "User",
        &[
            text("userName"),
            name,
            attribute("displayName", "string", "readWrite"),
            of_many("emails", "readWrite", &address),
            attribute("active", "boolean", "readWrite"),
            of_many("groups", "readOnly", &[shown("value"), shown("display")]),
        ],
    )
}

fn groups() -> Value {
    let part = |name: &str| attribute(name, "string", "immutable");
    described_by(
        group::SCHEMA,
        "Group",
        &[
            attribute("displayName", "string", "immutable"),
            of_many("members", "readWrite", &[part("value"), part("display"), part("type")]),
        ],
    )
}

fn described_by(id: &str, name: &str, attributes: &[Value]) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
        "id": id,
        "name": name,
        "attributes": attributes,
    })
}
