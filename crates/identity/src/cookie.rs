//! The session cookie: its name, its attributes, and how it is found in a request. It never holds anything but
//! the opaque session token.

use crate::secret::Secret;

/// How the console's session cookie is named and written. With `https` the name carries the `__Host-` prefix, so
/// that no sibling domain can plant one; on loopback without `https` browsers would refuse that prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieRule {
    name: &'static str,
}

impl CookieRule {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name }
    }

    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The `Set-Cookie` value that gives the browser this session. It ends with the browser, or earlier here.
    pub fn set(self, token: &Secret) -> Secret {
        Secret::new(format!("{}={}{}", self.name, token.reveal(), self.attributes()))
    }

    /// The `Set-Cookie` value that takes the session from the browser.
    pub fn clear(self) -> String {
        format!("{}={}; Max-Age=0", self.name, self.attributes())
    }

    /// The `Set-Cookie` value that lets a browser keep a sign-in under way. It comes back when the provider sends the
    /// browser here, which is another site's doing: so it is `Lax`, and worth nothing without the provider's answer.
    pub fn set_flow(self, flow: &Secret) -> Secret {
        Secret::new(format!("{}={}{}; Max-Age=600", self.flow_name(), flow.reveal(), self.flow_attributes()))
    }

    /// The `Set-Cookie` value that ends it.
    pub fn clear_flow(self) -> String {
        format!("{}={}; Max-Age=0", self.flow_name(), self.flow_attributes())
    }

    /// The sign-in under way in a request's `Cookie` headers.
    pub fn find_flow<'h>(self, headers: impl IntoIterator<Item = &'h str>) -> Option<&'h str> {
        Self::new(self.flow_name()).find(headers)
    }

    fn flow_name(self) -> &'static str {
        if self.is_host() { "__Host-countersign-flow" } else { "countersign-flow" }
    }

    fn flow_attributes(self) -> &'static str {
        if self.is_host() {
            "; Path=/; HttpOnly; SameSite=Lax; Secure"
        } else {
            "; Path=/; HttpOnly; SameSite=Lax"
        }
    }

    fn is_host(self) -> bool {
        self.name.starts_with("__Host-")
    }

    /// The token in a request's `Cookie` headers. Two cookies of the name are ambiguous, so neither counts.
    pub fn find<'h>(self, headers: impl IntoIterator<Item = &'h str>) -> Option<&'h str> {
        let pairs = headers.into_iter().flat_map(|header| header.split(';'));
        let mut found =
            pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == self.name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            (Some(_) | None, _) => None,
        }
    }

    fn attributes(self) -> &'static str {
        if self.is_host() {
            "; Path=/; HttpOnly; SameSite=Strict; Secure"
        } else {
            "; Path=/; HttpOnly; SameSite=Strict"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: CookieRule = CookieRule::new("__Host-countersign");
    const PLAIN: CookieRule = CookieRule::new("countersign");

    #[test]
    fn cookies_are_out_of_reach_of_scripts_other_sites_and_siblings() {
        let token = Secret::new("t0k".into());
        assert_eq!(
            HOST.set(&token).reveal(),
            "__Host-countersign=t0k; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(PLAIN.set(&token).reveal(), "countersign=t0k; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(PLAIN.clear(), "countersign=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    }

    #[test]
    fn a_planted_second_cookie_makes_both_worthless() {
        assert_eq!(HOST.find(["a=b; __Host-countersign=x; c=d"]), Some("x"));
        assert_eq!(HOST.find(["__Host-countersign=x", "__Host-countersign=y"]), None);
        assert_eq!(HOST.find(["countersign=x; __host-countersign=y; x__Host-countersign=z"]), None);
        assert_eq!(HOST.find([]), None);
    }
}
