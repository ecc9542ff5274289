//! Calls to Jira Cloud's REST API, version 3, and what its refusals mean
//! (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/intro/>).

use crate::{
    channel::{Again, Failed, Scope},
    outward::{Answer, retry_after},
    ticket::{About, Calls, REST, Refusal},
};
use http::{Method, StatusCode};
use serde_json::Value;

/// The site.
#[derive(Clone, Debug)]
pub(crate) struct Api(pub(crate) Calls);

impl Api {
    pub(super) async fn get(&self, rest: &str) -> Result<Value, Refusal> {
        self.call(Method::GET, rest, None).await
    }

    pub(super) async fn post(&self, rest: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::POST, rest, Some(body)).await
    }

    pub(super) async fn put(&self, rest: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::PUT, rest, Some(body)).await
    }

    async fn call(&self, method: Method, rest: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        judge(rest, &self.0.send(method, &format!("rest/api/3/{rest}"), body).await?)
    }
}

/// What an answer means. Of what Jira says only names of fields are looked at, and nothing is repeated.
fn judge(rest: &str, answer: &Answer) -> Result<Value, Refusal> {
    let wish = retry_after(&answer.headers);
    let channel = |why: String, again| Refusal {
        about: About::Other,
        failed: Failed { why, scope: Scope::Channel, again },
    };
    let news = Refusal::news;
    let soon = wish.map_or(Again::Yes, Again::After);
    Err(match answer.status {
        StatusCode::NO_CONTENT => return Ok(Value::Null),
        status if status.is_success() => {
            return serde_json::from_slice(&answer.body)
                .map_err(|_| channel("it does not answer as Jira's REST API does".into(), Again::Yes));
        }
        StatusCode::UNAUTHORIZED => channel("Jira does not take the account and its token".into(), soon),
        StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST if rest.ends_with("/transitions") => {
            news(About::Way, "the issue's workflow does not let the account take that transition as it is")
        }
        StatusCode::FORBIDDEN if rest.starts_with("issue/") => {
            news(About::Other, "the account may not do this with the issue")
        }
        StatusCode::FORBIDDEN => channel("the account may not do this in the project".into(), soon),
        StatusCode::NOT_FOUND if rest.starts_with("issue/") => {
            news(About::Gone, "the issue is gone, or the account may not see it")
        }
        StatusCode::NOT_FOUND => channel("there is no Jira at this address".into(), soon),
        StatusCode::BAD_REQUEST if rest == "search/jql" => {
            channel("Jira does not know the project or a status that is looked for".into(), soon)
        }
        StatusCode::BAD_REQUEST if rest.ends_with("/notify") => {
            news(About::Other, "Jira does not write that mail")
        }
        StatusCode::BAD_REQUEST => refused_fields(&answer.body),
        StatusCode::PAYLOAD_TOO_LARGE => news(About::Text, "Jira does not take a text: it is too long"),
        StatusCode::CONFLICT => news(About::Other, "somebody else changed the issue at that moment"),
        StatusCode::TOO_MANY_REQUESTS => {
            channel("Jira asks for fewer calls".into(), Again::After(wish.unwrap_or(REST)))
        }
        status => channel(format!("Jira answered {}", status.as_u16()), soon),
    })
}

/// A 400: which fields it is about says whether others would be refused as well.
fn refused_fields(body: &[u8]) -> Refusal {
    let said = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let fields = said.get("errors").and_then(Value::as_object);
    let named = |field: &str| fields.is_some_and(|fields| fields.contains_key(field));
    for (field, words) in [
        ("project", "there is no such project, or the account may not create issues in it"),
        ("issuetype", "the project has no such type of issue"),
        ("labels", "issues of this type take no labels: put the field on their screen"),
        ("reporter", "the account may not be the reporter there"),
    ] {
        if named(field) {
            return Refusal::channel(format!("Jira refused: {words} (`{field}`)"));
        }
    }
    if ["description", "summary", "comment", "body"].into_iter().any(named)
        || fields.is_none_or(serde_json::Map::is_empty)
    {
        return Refusal::news(About::Text, "Jira does not take a text as it is, or it is too long");
    }
    Refusal::channel("Jira refused: the project asks for fields that are not filled in")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, header};
    use std::time::Duration;

    #[test]
    #[rustfmt::skip]
    fn a_refusal_says_what_it_is_about_and_when_to_try_again() {
        use {About as A, Again as G, Scope as S};
        let after = |seconds| G::After(Duration::from_secs(seconds));
        for (rest, status, wish, body, want) in [
            ("issue", 401, None, "made up", (A::Other, S::Channel, G::Yes)),
            ("issue", 403, None, "", (A::Other, S::Channel, G::Yes)),
            ("issue", 404, None, "", (A::Other, S::Channel, G::Yes)),
            ("issue/1/comment", 404, None, "", (A::Gone, S::News, G::Yes)),
            ("issue", 400, None, r#"{"errorMessages":[],"errors":{"project":"made up"}}"#, (A::Other, S::Channel, G::Yes)),
            ("issue", 400, None, r#"{"errors":{"issuetype":"made up"}}"#, (A::Other, S::Channel, G::Yes)),
            ("issue", 400, None, r#"{"errors":{"customfield_1":"made up"}}"#, (A::Other, S::Channel, G::Yes)),
            ("issue", 400, None, r#"{"errors":{"description":"made up"}}"#, (A::Text, S::News, G::Yes)),
            ("issue", 400, None, r#"{"errorMessages":["INVALID_INPUT"],"errors":{}}"#, (A::Text, S::News, G::Yes)),
            ("issue", 413, None, "", (A::Text, S::News, G::Yes)),
            ("issue/1/transitions", 409, None, "", (A::Other, S::News, G::Yes)),
            ("issue/1/transitions", 400, None, r#"{"errors":{"resolution":"made up"}}"#, (A::Way, S::News, G::Yes)),
            ("issue/1/transitions", 403, None, "", (A::Way, S::News, G::Yes)),
            ("search/jql", 400, None, r#"{"errorMessages":["made up"],"errors":{}}"#, (A::Other, S::Channel, G::Yes)),
            ("issue/1/notify", 400, None, r#"{"errorMessages":["made up"],"errors":{}}"#, (A::Other, S::News, G::Yes)),
            ("issue/1/notify", 403, None, "", (A::Other, S::News, G::Yes)),
            ("issue/1/comment", 403, None, "", (A::Other, S::News, G::Yes)),
            ("issue", 429, Some("7"), "", (A::Other, S::Channel, after(7))),
            ("issue", 429, None, "", (A::Other, S::Channel, after(30))),
            ("issue", 302, None, "", (A::Other, S::Channel, G::Yes)),
            ("issue", 503, Some("3"), "made up", (A::Other, S::Channel, after(3))),
            ("issue", 200, None, "made up", (A::Other, S::Channel, G::Yes)),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(wish.map(|wish| (header::RETRY_AFTER, HeaderValue::from_static(wish))));
            let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::from_static(body.as_bytes()));
            let refusal = judge(rest, &Answer { status, headers, body }).unwrap_err();
            assert_eq!((refusal.about, refusal.failed.scope, refusal.failed.again), want, "{rest} {status}");
            assert!(!refusal.failed.why.contains("made up"), "nothing the other side said: {}", refusal.failed.why);
        }
    }
}
