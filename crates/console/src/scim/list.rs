//! Many resources at once: filtered, page by page, with the attributes that were asked for.

use super::{Shown, error::Fault, filter::Filter};
use axum::extract::{FromRequestParts, Query};
use http::{StatusCode, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};

/// The most resources in one answer.
pub(super) const MOST: usize = 200;
/// How many there are when nobody says.
const USUAL: usize = 100;
/// What every resource carries, whatever was asked for.
const ALWAYS: [&str; 2] = ["schemas", "id"];

/// What a query asks for. Parameters that are not known are not looked at, as is usual with this standard.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    filter: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let query = Query::<Self>::from_request_parts(parts, state).await;
        query.map(|Query(wanted)| wanted).map_err(|_| Fault::value("the query is not understood"))
    }
}

impl Wanted {
    /// The page of these that was asked for.
    pub(super) fn page(&self, all: impl Iterator<Item = Value>) -> Result<Shown, Fault> {
        let filter = self.filter.as_deref().filter(|text| !text.trim().is_empty());
        let filter = filter.map(Filter::parse).transpose()?;
        let fits = |one: &Value| filter.as_ref().is_none_or(|filter| filter.fits(one));
        let start = usize::try_from(self.start_index.unwrap_or(1).max(1)).unwrap_or(usize::MAX);
        let count = self.count.map_or(USUAL, |count| usize::try_from(count.max(0)).unwrap_or(MOST)).min(MOST);
        let (mut total, mut page) = (0_usize, Vec::new());
        for one in all.filter(fits) {
            total += 1;
            if total >= start && page.len() < count {
                page.push(self.trim(one));
            }
        }
        let list = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": total,
            "startIndex": start,
            "itemsPerPage": page.len(),
            "Resources": page,
        });
        Ok(Shown(StatusCode::OK, list))
    }

    /// A resource with the attributes that were asked for.
    pub(super) fn trim(&self, mut one: Value) -> Value {
        let named = |list: &str, key: &str| {
            let mut names = list.split(',').map(|name| name.trim().split('.').next().unwrap_or_default());
            names.any(|name| name.eq_ignore_ascii_case(key))
        };
        if let Some(object) = one.as_object_mut() {
            object.retain(|key, _| {
                ALWAYS.contains(&key.as_str())
                    || self.attributes.as_deref().is_none_or(|list| named(list, key))
                        && !self.excluded_attributes.as_deref().is_some_and(|list| named(list, key))
            });
        }
        one
    }
}
