//! An OpenAPI 3.0 or 3.1 document to operations. Read tolerantly where the document says more than is needed,
//! strictly where it says what an operation is. A class by method is given only to what the document names.

use crate::{
    classify::OperationSpec,
    config::operation::{FactSection, OperationSection, ResourceSection, VariantSection},
};
use countersign_core::Class;
use countersign_pep::Fault;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const METHODS: [(&str, Class); 7] = [
    ("get", Class::Read),
    ("head", Class::Read),
    ("options", Class::Read),
    ("post", Class::Write),
    ("put", Class::Write),
    ("patch", Class::Write),
    ("delete", Class::Delete),
];

/// The `x-countersign` extension of an operation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Extension {
    class: Option<Class>,
    sentence: Option<String>,
    resource: Option<ResourceSection>,
    resources: Vec<ResourceSection>,
    labels: BTreeSet<String>,
    facts: Vec<FactSection>,
    variants: Vec<VariantSection>,
}

/// The operations of a document in JSON.
pub fn operations(place: &str, document: &[u8]) -> Result<Vec<OperationSpec>, Vec<Fault>> {
    let refuse = |why: String, remedy: &str| vec![Fault::new(place, why, remedy)];
    let document: Value = serde_json::from_slice(document).map_err(|error| {
        refuse(format!("the document is not JSON: {error}"), "convert a YAML document to JSON")
    })?;
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or("none");
    if !version.starts_with("3.0") && !version.starts_with("3.1") {
        let why = format!("the document's `openapi` version is `{version}`");
        return Err(refuse(why, "use OpenAPI 3.0 or 3.1; Swagger 2.0 documents can be converted"));
    }
    let prefix = server_prefix(place, &document)?;
    let paths = document.get("paths").and_then(Value::as_object);
    let paths =
        paths.ok_or_else(|| refuse("the document has no `paths`".into(), "name a document of an API"))?;
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (path, item) in paths {
        let Some(item) = item.as_object() else {
            faults.push(Fault::new(place, format!("`{path}` is not an object"), "write a path item there"));
            continue;
        };
        if item.contains_key("$ref") {
            let why = format!("`{path}` refers to another document");
            faults.push(Fault::new(place, why, "write the path item out in this document"));
        }
        for (method, class) in METHODS {
            let Some(operation) = item.get(method) else { continue };
            match one(place, &prefix, path, method, class, operation) {
                Ok(spec) => found.push(spec),
                Err(more) => faults.extend(more),
            }
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn one(
    place: &str,
    prefix: &str,
    path: &str,
    method: &str,
    class: Class,
    operation: &Value,
) -> Result<OperationSpec, Vec<Fault>> {
    let empty = Map::new();
    let members = operation.as_object().unwrap_or(&empty);
    let method = method.to_uppercase();
    let name = members.get("operationId").and_then(Value::as_str);
    let place = format!("{place}: {method} {path}");
    let extension = members.get("x-countersign").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let extension: Extension = serde_json::from_value(extension).map_err(|error| {
        vec![Fault::new(
            &place,
            format!("`x-countersign` cannot be read: {error}"),
            "see the reference of operations",
        )]
    })?;
    let (path, renamed) = with_plain_names(path);
    let mut resources: Vec<_> = extension.resource.into_iter().chain(extension.resources).collect();
    if resources.is_empty() {
        resources = renamed.iter().rev().map(|name| resource_of(name)).collect();
    }
    let tags = members.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let labels = tags.map(|tag| format!("tag:{tag}")).chain(extension.labels).collect();
    let section = OperationSection {
        name: name.map_or_else(|| format!("{method} {path}"), str::to_owned),
        method,
        path: format!("{prefix}{path}"),
        class: extension.class.unwrap_or(class),
        resources,
        labels,
        facts: extension.facts,
        sentence: extension.sentence,
        variants: extension.variants,
    };
    section.check(&place)
}

/// A path parameter as the resource it names: `{customer_id}` is a `customer`.
fn resource_of(name: &str) -> ResourceSection {
    let kind = name.trim_end_matches("_id").trim_end_matches("Id");
    let kind = if kind.is_empty() { name } else { kind };
    ResourceSection { kind: kind.to_lowercase(), name: format!("{{{name}}}"), labels: BTreeSet::new() }
}

/// Parameter names as policy can write them: everything that is no letter, digit or `_` becomes `_`.
fn with_plain_names(path: &str) -> (String, Vec<String>) {
    let (mut out, mut names) = (String::with_capacity(path.len()), Vec::new());
    let mut rest = path;
    while let Some((before, tail)) = rest.split_once('{') {
        let (name, after) = tail.split_once('}').unwrap_or((tail, ""));
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let taken = matches!(plain.as_str(), "target" | "environment" | "method" | "path" | "query");
        let plain = if taken { format!("{plain}_") } else { plain };
        for piece in [before, "{", &plain, "}"] {
            out.push_str(piece);
        }
        names.push(plain);
        rest = after;
    }
    out.push_str(rest);
    (out, names)
}

/// The path all of a document's servers begin with.
fn server_prefix(place: &str, document: &Value) -> Result<String, Vec<Fault>> {
    let servers = document.get("servers").and_then(Value::as_array).into_iter().flatten();
    let urls = servers.filter_map(|server| server.get("url").and_then(Value::as_str));
    let prefixes: BTreeSet<String> = urls.map(path_of_server).collect();
    let mut prefixes = prefixes.into_iter();
    match (prefixes.next(), prefixes.next()) {
        (None, _) => Ok(String::new()),
        (Some(prefix), None) if !prefix.contains('{') => Ok(prefix),
        _ => {
            let why = "the document's servers begin with different paths, or with a variable";
            Err(vec![Fault::new(place, why, "leave one server with the path the target really has")])
        }
    }
}

fn path_of_server(url: &str) -> String {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}")),
        None => url.to_owned(),
    };
    path.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn read(document: &Value) -> Result<Vec<OperationSpec>, Vec<Fault>> {
        operations("http.shop.openapi", document.to_string().as_bytes())
    }

    #[test]
    fn a_document_of_either_version_gives_its_operations() {
        for version in ["3.0.3", "3.1.0"] {
            let found = read(&serde_json::json!({
                "openapi": version,
                "info": {"title": "shop", "version": "1"},
                "servers": [{"url": "https://shop.example/api/"}],
                "paths": {
                    "/orders/{order-id}": {
                        "parameters": [{"name": "order-id", "in": "path", "required": true, "schema": {"type": ["string", "null"]}}],
                        "get": {"operationId": "getOrder", "tags": ["orders"], "responses": {}},
                        "delete": {"responses": {}, "x-countersign": {"class": "administer", "labels": ["money"],
                            "sentence": "Cancel order {order_id}", "resource": {"kind": "order", "name": "{order_id}"}}},
                    },
                    "/orders:export": {"get": {"operationId": "exportOrders", "x-countersign": {"class": "export"}}},
                },
            }))
            .unwrap();
            let told: Vec<_> =
                found.iter().map(|spec| (spec.name.as_str(), spec.class, spec.method.clone())).collect();
            assert_eq!(
                told,
                [
                    ("getOrder", Class::Read, Method::GET),
                    ("DELETE /orders/{order_id}", Class::Administer, Method::DELETE),
                    ("exportOrders", Class::Export, Method::GET),
                ]
            );
            assert_eq!(found[0].path.segments.len(), 3);
            assert_eq!(found[0].resources[0].kind, "order");
            assert_eq!(found[0].labels, ["tag:orders".to_owned()].into());
            assert_eq!(found[1].labels, ["money".to_owned()].into());
        }
    }

    #[test]
    fn documents_that_say_less_than_is_needed_are_refused() {
        for (document, why) in [
            (serde_json::json!({"swagger": "2.0", "paths": {}}), "version"),
            (serde_json::json!({"openapi": "3.0.0"}), "no `paths`"),
            (serde_json::json!({"openapi": "3.0.0", "paths": {"/a": {"$ref": "x"}}}), "another document"),
            (serde_json::json!({"openapi": "3.0.0", "paths": {"a": {"get": {}}}}), "does not begin"),
            (
                serde_json::json!({"openapi": "3.0.0", "servers": [{"url": "/v1"}, {"url": "/v2"}], "paths": {}}),
                "different paths",
            ),
            (
                serde_json::json!({"openapi": "3.0.0", "paths": {"/a": {"get": {"x-countersign": {"clas": "read"}}}}}),
                "x-countersign",
            ),
        ] {
            let faults = read(&document).unwrap_err();
            assert!(faults[0].why.contains(why), "{document}: {faults:?}");
        }
        assert!(operations("x", b"openapi: 3.0.0").is_err());
    }
}
