//! Calls to `ServiceNow`'s Table API and Email API, and what its refusals mean
//! (<https://www.servicenow.com/docs/bundle/api-reference/page/integrate/inbound-rest/concept/c_TableAPI.html>).

use crate::{
    channel::{Again, Failed, Scope},
    outward::{Answer, retry_after},
    ticket::{About, Calls, REST, Refusal},
};
use http::{Method, StatusCode};
use serde_json::Value;
use url::form_urlencoded;

/// What is asked for of a record that was written.
const WRITTEN: &str = "sys_id,approval,state,short_description,description";

/// The instance.
#[derive(Clone, Debug)]
pub(crate) struct Api(pub(crate) Calls);

impl Api {
    pub(super) async fn create(&self, table: &str, fields: &Value) -> Result<Value, Refusal> {
        let path = format!("table/{table}?{}", query(&[("sysparm_fields", WRITTEN)]));
        result(self.call(Method::POST, &path, Some(fields)).await?)
    }

    pub(super) async fn change(&self, table: &str, id: &str, fields: &Value) -> Result<Value, Refusal> {
        let path = format!("table/{table}/{id}?{}", query(&[("sysparm_fields", WRITTEN)]));
        result(self.call(Method::PATCH, &path, Some(fields)).await?)
    }

    pub(super) async fn read(&self, table: &str, id: &str, fields: &str) -> Result<Value, Refusal> {
        let asked = [("sysparm_fields", fields), ("sysparm_exclude_reference_link", "true")];
        result(self.call(Method::GET, &format!("table/{table}/{id}?{}", query(&asked)), None).await?)
    }

    /// Records from so many on, at most so many.
    pub(super) async fn list(
        &self,
        table: &str,
        wanted: &str,
        fields: &str,
        span: (usize, usize),
    ) -> Result<Vec<Value>, Refusal> {
        self.counted(table, wanted, fields, span).await.map(|(records, _)| records)
    }

    /// The same, with how many the query finds in all, those included that the account may not see: they are left out of
    /// pages without a word.
    pub(super) async fn counted(
        &self,
        table: &str,
        wanted: &str,
        fields: &str,
        (offset, limit): (usize, usize),
    ) -> Result<(Vec<Value>, Option<usize>), Refusal> {
        let (offset, limit) = (offset.to_string(), limit.to_string());
        let asked = [
            ("sysparm_query", wanted),
            ("sysparm_fields", fields),
            ("sysparm_exclude_reference_link", "true"),
            ("sysparm_offset", &offset),
            ("sysparm_limit", &limit),
        ];
        let path = format!("table/{table}?{}", query(&asked));
        let answer = self.0.send(Method::GET, &format!("api/now/{path}"), None).await?;
        let count =
            answer.headers.get("x-total-count").and_then(|count| count.to_str().ok()?.trim().parse().ok());
        match result(judge(&path, &answer)?)? {
            Value::Array(records) => Ok((records, count)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(garbled())
            }
        }
    }

    pub(super) async fn mail(&self, body: &Value) -> Result<(), Refusal> {
        self.call(Method::POST, "v1/email", Some(body)).await.map(drop)
    }

    async fn call(&self, method: Method, rest: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        judge(rest, &self.0.send(method, &format!("api/now/{rest}"), body).await?)
    }
}

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn result(mut answer: Value) -> Result<Value, Refusal> {
    answer.get_mut("result").map(Value::take).ok_or_else(garbled)
}

fn garbled() -> Refusal {
    Refusal::channel("it does not answer as ServiceNow's Table API does")
}

/// What an answer means. Nothing of what it says is repeated.
fn judge(rest: &str, answer: &Answer) -> Result<Value, Refusal> {
    let wish = retry_after(&answer.headers);
    let soon = wish.map_or(Again::Yes, Again::After);
    let channel = |why: String, again| Refusal {
        about: About::Other,
        failed: Failed { why, scope: Scope::Channel, again },
    };
    // `table/change_request/<id>?…`: one record.
    let of_a_record = rest.split('?').next().is_some_and(|path| path.split('/').count() == 3);
    Err(match answer.status {
        status if status.is_success() => return serde_json::from_slice(&answer.body).map_err(|_| garbled()),
        StatusCode::UNAUTHORIZED => {
            channel("ServiceNow does not take the user and its password".into(), soon)
        }
        StatusCode::NOT_FOUND if of_a_record => {
            Refusal::news(About::Gone, "the record is gone, or the account may not see it")
        }
        StatusCode::FORBIDDEN if of_a_record => Refusal::news(
            About::Way,
            "the account, or a rule of the table, does not let the record be changed so",
        ),
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST if rest == "v1/email" => {
            Refusal::news(About::Other, "the account may not send mail there")
        }
        StatusCode::FORBIDDEN => channel("the account may not do this in the table".into(), soon),
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
            channel("there is no such table, or it is no ServiceNow".into(), soon)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            channel("ServiceNow asks for fewer calls".into(), Again::After(wish.unwrap_or(REST)))
        }
        status => channel(format!("ServiceNow answered {}", status.as_u16()), soon),
    })
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
        for (rest, status, wish, want) in [
            ("table/incident?x", 401, None, (A::Other, S::Channel, G::Yes)),
            ("table/incident?x", 403, None, (A::Other, S::Channel, G::Yes)),
            ("table/incident?x", 400, None, (A::Other, S::Channel, G::Yes)),
            ("table/incident/00?x", 403, None, (A::Way, S::News, G::Yes)),
            ("table/incident/00?x", 404, None, (A::Gone, S::News, G::Yes)),
            ("v1/email", 403, None, (A::Other, S::News, G::Yes)),
            ("table/incident?x", 429, Some("7"), (A::Other, S::Channel, after(7))),
            ("table/incident?x", 429, None, (A::Other, S::Channel, after(30))),
            ("table/incident?x", 302, None, (A::Other, S::Channel, G::Yes)),
            ("table/incident?x", 503, Some("3"), (A::Other, S::Channel, after(3))),
            ("table/incident?x", 200, None, (A::Other, S::Channel, G::Yes)),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(wish.map(|wish| (header::RETRY_AFTER, HeaderValue::from_static(wish))));
            let body = Bytes::from_static(b"made up");
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = judge(rest, &Answer { status, headers, body }).unwrap_err();
            assert_eq!((refusal.about, refusal.failed.scope, refusal.failed.again), want, "{rest} {status}");
            assert!(!refusal.failed.why.contains("made up"), "{}", refusal.failed.why);
        }
    }
}
