//! Requests that reach a target otherwise than through this wire, such as in the arguments of a tool: read as strictly as one
//! that comes through it, and understood as the same operation.

use crate::{
    classify::{Classifier, DeclaredOperation, Shape, Understood},
    config::HttpTarget,
    head::{self, Dropped},
    path,
};
use async_trait::async_trait;
use countersign_core::{Class, Operation, visible};
use countersign_engine::port::{
    text::{Effect, RequestText, TextReader, TextRefusal},
    upstream::Gathered,
};
use countersign_pep::Origin;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

/// Reads the requests that go to one target by another way.
pub struct HttpTexts {
    classifier: Arc<Classifier>,
    origin: Origin,
    dropped: Dropped,
}

impl fmt::Debug for HttpTexts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "HttpTexts({})", self.classifier.surroundings().target)
    }
}

impl HttpTexts {
    pub fn new(target: &HttpTarget) -> Self {
        let (classifier, origin) = (Arc::clone(&target.classifier), target.origin.clone());
        Self { classifier, origin, dropped: target.dropped.clone() }
    }

    /// What policy calls an operation of this target, wherever it is asked for.
    fn named(&self, operation: &str) -> String {
        named(self.classifier.surroundings().target.as_str(), operation)
    }

    fn understood(&self, text: &str) -> Result<Understood, TextRefusal> {
        let given: RequestText =
            serde_json::from_str(text).map_err(|_| refused("the request cannot be read"))?;
        let method = Method::from_bytes(given.method.as_bytes())
            .map_err(|_| refused(format!("`{}` is no method", visible::name(&given.method))))?;
        let headers = self.headers(&given.headers)?;
        head::check(&method, &headers).map_err(|why| refused(why.to_string()))?;
        let location = self.location(&given.url)?;
        let location = path::read(location).map_err(|why| refused(why.to_string()))?;
        let found = self.classifier.find(&method, &location.segments);
        let body = given.body.as_bytes();
        let understood =
            self.classifier.understand(&found, Shape::Exchange, &method, &location, &headers, body);
        understood.map_err(|why| refused(why.to_string()))
    }

    /// Path and query of a URL that goes to this target and nowhere else, as they stand in it.
    fn location<'u>(&self, url: &'u str) -> Result<&'u str, TextRefusal> {
        let scheme = if self.origin.tls { "https://" } else { "http://" };
        let (authority, port) = (&self.origin.authority, self.origin.port);
        let rest = url.strip_prefix(scheme);
        let split = rest.and_then(|rest| rest.split_at_checked(rest.find('/')?));
        let Some((at, location)) = split else {
            return Err(refused(format!("the URL does not begin with `{scheme}{authority}/`")));
        };
        if !at.eq_ignore_ascii_case(authority) && !at.eq_ignore_ascii_case(&format!("{authority}:{port}")) {
            let why =
                format!("the URL goes to `{}`, and the tool may only call `{authority}`", visible::name(at));
            return Err(refused(why));
        }
        if location.contains('#') {
            return Err(refused("the URL has a fragment"));
        }
        Ok(location)
    }

    /// Headers that say something about the request, each once. Those that say who asks or for whom are the tool's own to
    /// send, and no agent's.
    fn headers(&self, given: &[(String, String)]) -> Result<HeaderMap, TextRefusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            let shown = visible::name(name);
            let read = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let (name, value) =
                read.ok_or_else(|| refused(format!("the header `{shown}` cannot be sent")))?;
            if self.dropped.holds(&name) {
                return Err(refused(format!("the header `{shown}` is not for an agent to give")));
            }
            if headers.insert(name, value).is_some() {
                return Err(refused(format!("the header `{shown}` is there twice")));
            }
        }
        Ok(headers)
    }

    fn effect(&self, understood: Understood) -> Effect {
        let Understood { operation, resources, mut facts, sentence } = understood;
        facts.insert("host".into(), self.origin.authority.as_str().into());
        let name = operation.name.map(|name| self.named(&name));
        Effect { operation: Operation { name, class: operation.class }, resources, facts, sentence }
    }
}

/// What policy calls an operation of a target that is asked for by another way: as at the target itself.
pub fn named(target: &str, operation: &str) -> String {
    format!("{target}/{operation}")
}

fn refused(why: impl Into<String>) -> TextRefusal {
    TextRefusal { why: why.into(), remedy: "send a request that every reader reads the same way".into() }
}

#[async_trait]
impl TextReader for HttpTexts {
    fn language(&self) -> &'static str {
        "http"
    }

    async fn read(&self, text: &str) -> Result<Effect, TextRefusal> {
        Ok(self.effect(self.understood(text)?))
    }

    async fn gather(&self, _: &str, _: &Map<String, Value>, _: usize) -> Option<Gathered> {
        None
    }

    fn possible(&self) -> Vec<Effect> {
        let nothing = |name: Option<String>, class| Effect {
            operation: Operation { name, class },
            resources: Vec::new(),
            facts: Map::from_iter(["method", "path", "query"].map(|fact| (fact.to_owned(), "".into()))),
            sentence: String::new(),
        };
        let declared = self.classifier.declared().into_iter();
        let declared =
            declared.map(|DeclaredOperation { name, class, .. }| nothing(Some(self.named(&name)), class));
        declared.chain([nothing(None, Class::Unknown)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpSection;
    use serde_json::json;

    fn texts() -> HttpTexts {
        let section = json!({
            "name": "api", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "https://api.example.com",
            "operations": [
                {"name": "read-setting", "method": "GET", "path": "/settings/{name}", "class": "read"},
                {"name": "update-setting", "method": "PUT", "path": "/settings/{name}", "class": "configure",
                 "sentence": "Set {name} to {value}", "facts": [{"name": "value", "pointer": "/value"}]},
            ],
        });
        let section: HttpSection = serde_json::from_value(section).unwrap();
        HttpTexts::new(&section.check(std::path::Path::new("/")).unwrap())
    }

    fn text(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> String {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let (method, url) = (method.to_owned(), url.to_owned());
        let headers = headers.iter().map(own).collect();
        RequestText { method, url, headers, body: body.into() }.to_string()
    }

    #[tokio::test]
    async fn a_request_is_the_operation_it_is_at_its_target() {
        let texts = texts();
        let body = r#"{"value":"200"}"#;
        for (method, url, name, class) in [
            ("GET", "https://api.example.com/settings/queue", Some("api/read-setting"), Class::Read),
            (
                "PUT",
                "https://API.example.com:443/settings/queue",
                Some("api/update-setting"),
                Class::Configure,
            ),
            ("DELETE", "https://api.example.com/settings/queue", None, Class::Unknown),
            ("GET", "https://api.example.com/", None, Class::Unknown),
        ] {
            let effect = texts.read(&text(method, url, &[("accept", "*/*")], body)).await.unwrap();
            assert_eq!(
                (effect.operation.name.as_deref(), effect.operation.class),
                (name, class),
                "{method} {url}"
            );
        }
        let effect =
            texts.read(&text("PUT", "https://api.example.com/settings/queue?a=b", &[], body)).await.unwrap();
        assert_eq!(effect.sentence, "Set “queue” to “200” (prod).");
        assert_eq!(
            (&effect.facts["value"], &effect.facts["host"]),
            (&json!("200"), &json!("api.example.com"))
        );
    }

    #[tokio::test]
    #[rustfmt::skip]
    async fn what_goes_elsewhere_or_could_be_read_in_two_ways_does_not_run() {
        let (texts, url) = (texts(), "https://api.example.com/settings/queue");
        for (method, url, headers, body, why) in [
            ("GET", "http://api.example.com/settings/queue", &[][..], "", "does not begin with"),
            ("GET", "https://api.example.com", &[], "", "does not begin with"),
            ("GET", "https://api.example.com?x=/", &[], "", "goes to"),
            ("GET", "https://api.example.com.evil.org/settings/queue", &[], "", "goes to"),
            ("GET", "https://api.example.com@evil.org/settings/queue", &[], "", "goes to"),
            ("GET", "https://api.example.com:8443/settings/queue", &[], "", "goes to"),
            ("GET", "https://api.example.com/settings/../admin", &[], "", "path"),
            ("GET", "https://api.example.com/settings/a%2Fb", &[], "", "path"),
            ("GET", "https://api.example.com/settings/queue#x", &[], "", "fragment"),
            ("GET", "https://api.example.com/settings\\queue", &[], "", "path"),
            ("CONNECT", url, &[], "", "not offered"),
            ("GE T", url, &[], "", "no method"),
            ("GET", url, &[("authorization", "Bearer x")], "", "not for an agent"),
            ("GET", url, &[("host", "evil.org")], "", "not for an agent"),
            ("GET", url, &[("X-HTTP-Method-Override", "DELETE")], "", "something else"),
            ("GET", url, &[("accept", "a"), ("Accept", "b")], "", "twice"),
            ("GET", url, &[("accept", "a\r\nhost: evil.org")], "", "cannot be sent"),
            ("PUT", url, &[], r#"{"value":"1","value":"2"}"#, "value"),
        ] {
            let refused = texts.read(&text(method, url, headers, body)).await.unwrap_err();
            assert!(refused.why.contains(why), "{method} {url}: {}", refused.why);
        }
        assert!(texts.read("not a request").await.is_err());
    }
}
