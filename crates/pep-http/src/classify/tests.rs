//! Classification through its door: find, then understand.

use super::*;
use crate::{facts::Wrapping, path};

fn around() -> Surroundings {
    Surroundings {
        target: TargetName::new("billing").unwrap(),
        environment: EnvironmentName::new("prod").unwrap(),
        labels: ["pii".to_owned()].into(),
    }
}

fn operation(name: &str, method: Method, path: &str, class: Class) -> OperationSpec {
    OperationSpec {
        name: name.into(),
        method,
        path: PathTemplate::parse(path).unwrap(),
        class,
        resources: Vec::new(),
        labels: BTreeSet::new(),
        facts: Vec::new(),
        sentence: None,
        variants: Vec::new(),
    }
}

fn operations() -> Vec<OperationSpec> {
    let mut read = operation("getCustomer", Method::GET, "/v1/customers/{customer}", Class::Read);
    read.resources.push(ResourceSpec {
        kind: "customer".into(),
        name: TextTemplate::parse("{customer}").unwrap(),
        labels: ["vip".to_owned()].into(),
    });
    let mut range = operation("deleteKeys", Method::POST, "/v3/kv/deleterange", Class::Delete);
    range.facts.push(Fact {
        name: "key".into(),
        source: Source::Body(vec![vec!["key".into()]]),
        kind: FactType::Text,
        wrapping: Wrapping::Base64,
    });
    range.facts.push(Fact {
        name: "ranged".into(),
        source: Source::Body(vec![vec!["range_end".into()], vec!["rangeEnd".into()]]),
        kind: FactType::Present,
        wrapping: Wrapping::Plain,
    });
    range.sentence = Some(TextTemplate::parse("Delete the key {key} of {target}").unwrap());
    range.variants.push(Variant {
        when: "ranged".into(),
        class: Some(Class::Administer),
        sentence: Some(TextTemplate::parse("Delete every key from {key} on, of {target}").unwrap()),
    });
    vec![
        read,
        range,
        operation("listCustomers", Method::GET, "/v1/customers", Class::Read),
        operation("makeCustomer", Method::POST, "/v1/customers", Class::Write),
        operation("exportCustomers", Method::GET, "/v1/customers/export", Class::Export),
        operation("dropCustomer", Method::DELETE, "/v1/customers/{customer}", Class::Delete),
        operation("cancelOrder", Method::POST, "/v1/orders/{order}:cancel", Class::Execute),
        operation("deepOrder", Method::GET, "/v1/{kind}/x/y", Class::Read),
        operation("root", Method::GET, "/", Class::Read),
    ]
}

fn understood(method: &str, target: &str, body: &[u8]) -> Result<Understood, FactRefusal> {
    let classifier = Classifier::new(around(), operations()).unwrap();
    let method = method.parse().unwrap();
    let location = path::read(target).unwrap();
    let found = classifier.find(&method, &location.segments);
    classifier.understand(&found, Shape::Exchange, &method, &location, &HeaderMap::new(), body)
}

#[test]
#[rustfmt::skip]
fn each_request_is_the_operation_it_was_declared_as_or_unknown() {
    for (method, target, name, class) in [
        ("GET", "/v1/customers", Some("listCustomers"), Class::Read),
        ("GET", "/v1/customers?page=2", Some("listCustomers"), Class::Read),
        ("HEAD", "/v1/customers", Some("listCustomers"), Class::Read),
        ("POST", "/v1/customers", Some("makeCustomer"), Class::Write),
        ("GET", "/v1/customers/42", Some("getCustomer"), Class::Read),
        ("GET", "/v1/customers/export", Some("exportCustomers"), Class::Export),
        ("DELETE", "/v1/customers/42", Some("dropCustomer"), Class::Delete),
        ("DELETE", "/v1/customers/export", Some("dropCustomer"), Class::Delete),
        ("POST", "/v1/orders/7:cancel", Some("cancelOrder"), Class::Execute),
        ("GET", "/v1/customers/x/y", Some("deepOrder"), Class::Read),
        ("GET", "/", Some("root"), Class::Read),
        ("HEAD", "/v1/customers/export", None, Class::Unknown),
        ("GET", "/v1/customers/", None, Class::Unknown),
        ("GET", "/v1/Customers", None, Class::Unknown),
        ("PUT", "/v1/customers", None, Class::Unknown),
        ("OPTIONS", "/v1/customers", None, Class::Unknown),
        ("POST", "/v1/orders/7", None, Class::Unknown),
        ("POST", "/v1/orders/:cancel", None, Class::Unknown),
        ("get", "/v1/customers", None, Class::Unknown),
        ("GET", "/v2/anything", None, Class::Unknown),
    ] {
        let found = understood(method, target, b"").unwrap();
        assert_eq!((found.operation.name.as_deref(), found.operation.class), (name, class), "{method} {target}");
    }
}

#[test]
fn resources_and_facts_come_from_the_path() {
    let found = understood("GET", "/v1/customers/a%20b", b"").unwrap();
    let want = Resource {
        kind: "customer".into(),
        name: "a b".into(),
        labels: ["pii".to_owned(), "vip".to_owned()].into(),
    };
    assert_eq!(found.resources, [want]);
    assert_eq!(found.facts.get("customer"), Some(&"a b".into()));
    assert_eq!(found.facts.get("path"), Some(&"/v1/customers/a%20b".into()));
    insta::assert_snapshot!(found.sentence,
        @"Read with “getCustomer”: GET /v1/customers/a%20b on billing (prod, personal data, vip).");
}

#[test]
fn a_range_delete_is_not_taken_for_a_single_one() {
    let one = understood("POST", "/v3/kv/deleterange", br#"{"key":"Zm9v"}"#).unwrap();
    insta::assert_snapshot!(one.sentence, @"Delete the key “foo” of billing (prod, personal data).");
    assert_eq!(one.operation.class, Class::Delete);
    for body in [r#"{"key":"Zm9v","range_end":"AA=="}"#, r#"{"key":"Zm9v","rangeEnd":"AA=="}"#] {
        let many = understood("POST", "/v3/kv/deleterange", body.as_bytes()).unwrap();
        assert_eq!(many.sentence, "Delete every key from “foo” on, of billing (prod, personal data).");
        assert_eq!(many.operation.class, Class::Administer);
    }
    assert!(understood("POST", "/v3/kv/deleterange", br#"{"key":"Zm9v","RangeEnd":"AA=="}"#).is_err());
    assert!(understood("POST", "/v3/kv/deleterange", br#"{"key":"Zm9v","key":"YmFy"}"#).is_err());
}

#[test]
fn an_upgrade_is_a_connect_whatever_its_path() {
    let classifier = Classifier::new(around(), operations()).unwrap();
    for target in ["/v1/customers", "/other"] {
        let location = path::read(target).unwrap();
        let found = classifier.find(&Method::GET, &location.segments);
        let shape = Shape::Stream("websocket");
        let read =
            classifier.understand(&found, shape, &Method::GET, &location, &HeaderMap::new(), b"").unwrap();
        assert_eq!(read.operation.class, Class::Connect, "{target}");
        assert!(read.sentence.starts_with("Open a “websocket” stream"), "{}", read.sentence);
    }
}

#[test]
fn operations_that_cannot_be_told_apart_are_refused_at_load() {
    for (one, two) in [("/a/{x}", "/a/{y}"), ("/a/{x}/c", "/a/b/{y}"), ("/a/x{b}", "/a/{b}y")] {
        let pair = [one, two].map(|path| operation(path, Method::GET, path, Class::Read));
        let faults = Classifier::new(around(), pair.into()).unwrap_err();
        assert!(faults[0].why.contains("could be either"), "{one} {two}: {faults:?}");
    }
    let twins = ["/a", "/b"].map(|path| operation("same", Method::GET, path, Class::Read));
    assert!(Classifier::new(around(), twins.into()).unwrap_err()[0].why.contains("two operations are named"));
}

#[test]
fn names_that_no_fact_has_are_refused_at_load() {
    let mut wrong = operation("x", Method::GET, "/a/{target}", Class::Read);
    wrong.sentence = Some(TextTemplate::parse("Do {nothing}").unwrap());
    let faults = Classifier::new(around(), vec![wrong]).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn the_vocabulary_names_every_operation_with_its_facts() {
    let declared = Classifier::new(around(), operations()).unwrap().declared();
    let range = declared.iter().find(|operation| operation.name == "deleteKeys").unwrap();
    assert_eq!(range.class, Class::Delete);
    assert_eq!(range.facts.get("ranged"), Some(&FactType::Present));
    assert_eq!(range.facts.len(), 6);
}
