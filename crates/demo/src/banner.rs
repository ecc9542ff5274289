//! What `countersign demo` prints before the agent begins: where to look, how to sign in, what to paste, what to try.

use crate::{
    setup::{AGENT, ANA, BEN, Cast, Links, OLGA},
    shop,
};
use std::{fmt, net::SocketAddr};

/// The text, for a terminal of 100 columns. It holds one-time links and the agent's token: print it, never log it.
#[derive(Clone, Copy)]
pub struct Banner<'a> {
    pub console_url: &'a str,
    pub gateway_url: &'a str,
    /// Where the gateway stands before the shop's database, where there is one.
    pub database: Option<SocketAddr>,
    /// Where the gateway stands before the cloud's MCP server.
    pub tools_url: &'a str,
    pub token: &'a str,
    pub links: &'a Links,
    /// The whole `countersign export …` and `countersign verify …` commands, one for each line.
    pub verify: &'a [String],
}

impl fmt::Debug for Banner<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Banner").field("console_url", &self.console_url).finish_non_exhaustive()
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "Countersign demo")?;
        writeln!(out, "It is 2 a.m. The agent `{AGENT}` is on call; you decide what it may do.\n")?;
        writeln!(out, "Console   {}", self.console_url)?;
        writeln!(out, "Gateway   {}   (agents, in front of the demo cloud)\n", self.gateway_url)?;
        writeln!(out, "SIGN IN. Each link works once; use one browser profile for each person.")?;
        person(out, ANA, &self.links.ana)?;
        person(out, BEN, &self.links.ben)?;
        person(out, OLGA, &self.links.olga)?;
        writeln!(
            out,
            "\nOn the page, register a passkey. Without one you can still decide the configuration change,"
        )?;
        writeln!(out, "for which policy accepts a signed-in session, and reject anything.\n")?;
        self.commands(out)?;
        self.tools(out)?;
        self.database(out)?;
        writeln!(out, "\nWHAT TO TRY")?;
        writeln!(
            out,
            "  * Approve the customer export as Ana and as Ben: it runs once, after the second vote."
        )?;
        writeln!(out, "  * Reject the role binding with a reason: the reason reaches the agent.")?;
        writeln!(out, "  * Open a request as Olga, who owns the agent: she is told why she cannot decide.")?;
        writeln!(out, "  * Paste a command twice while it waits: both attach to the one approval.")?;
        writeln!(out, "  * Change a byte of it: that is a new request, whatever was approved before.")?;
        if !self.verify.is_empty() {
            writeln!(
                out,
                "\nCHECK THE RECORD. The verifier needs the export and the public key, not this process."
            )?;
            for line in self.verify {
                writeln!(out, "  {line}")?;
            }
        }
        writeln!(out, "\nCtrl-C ends the demo.")
    }
}

impl Banner<'_> {
    fn commands(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "ACT AS THE AGENT. Plain curl; the token opens the gateway and nothing else.")?;
        writeln!(out, "  TOKEN={}", self.token)?;
        writeln!(out, "  GATEWAY={}\n", self.gateway_url)?;
        for (what, command) in COMMANDS {
            writeln!(out, "  # {what}")?;
            for line in command {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn tools(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "\nCONNECT AN MCP CLIENT to the cloud's tools; the same token, as a header. Claude Code:"
        )?;
        writeln!(out, "  claude mcp add --transport http cloud {} \\", self.tools_url)?;
        writeln!(out, "    --header \"Authorization: Bearer $TOKEN\"")?;
        writeln!(
            out,
            "Its two tools wait until Olga accepts what the server says of them: Targets, in the console."
        )
    }

    fn database(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(addr) = self.database else {
            writeln!(
                out,
                "\nNO DATABASE. A PostgreSQL server is not installed here, so there is none to act on;"
            )?;
            return writeln!(out, "{}, and start the demo again.", shop::hint());
        };
        writeln!(out, "\nASK THE SHOP'S DATABASE. Plain psql; the password is the same token.")?;
        writeln!(out, "  {}\n", shop::environment(addr, AGENT))?;
        for (what, sql) in STATEMENTS {
            writeln!(out, "  # {what}\n  psql -c \"{sql}\"")?;
        }
        Ok(())
    }
}

/// What can be pasted into `psql`, with what comes of it.
const STATEMENTS: [(&str, &str); 4] = [
    ("permitted: answered at once", shop::READ),
    ("held for two people of sre; psql waits meanwhile, and Ctrl-C takes it back", shop::DELETE),
    ("held for two people of privacy: personal data, and no limit", shop::EXPORT),
    ("refused by a wall: nobody can approve it", shop::DELETE_ALL),
];

fn person(out: &mut fmt::Formatter<'_>, who: Cast, link: &str) -> fmt::Result {
    writeln!(out, "  {:<12} {}\n    {link}", who.name, who.part)
}

/// What can be pasted, with what comes of it.
const COMMANDS: [(&str, &[&str]); 5] = [
    (
        "permitted: answered at once",
        &[r#"curl -s -H "Authorization: Bearer $TOKEN" $GATEWAY/v1/services/checkout/status; echo"#],
    ),
    (
        "held for two people of privacy (waits 55 s, then 202; repeat it to attach)",
        &[r#"curl -si -H "Authorization: Bearer $TOKEN" "$GATEWAY/v1/customers/export?format=csv""#],
    ),
    (
        "held for one person of security",
        &[
            r#"curl -si -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \"#,
            r#"  -H 'Countersign-Reason: I need this to finish' -d '{"member":"night-ops"}' \"#,
            r"  $GATEWAY/v1/iam/roles/administrator/bindings",
        ],
    ),
    (
        "held for one person of sre; a signed-in session is enough (202 at once)",
        &[
            r#"curl -si -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -X PUT \"#,
            r#"  -H 'Prefer: respond-async' -d '{"value":"3000"}' \"#,
            r"  $GATEWAY/v1/config/prod/checkout-timeout-ms",
        ],
    ),
    (
        "refused by a wall: nobody can approve it",
        &[r#"curl -si -H "Authorization: Bearer $TOKEN" $GATEWAY/v1/zones/fedramp-east/records"#],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_fits_a_hundred_columns_and_keeps_secrets_out_of_debug() {
        let link = |token: char| format!("http://localhost:40123/enrol#{}", token.to_string().repeat(43));
        let links = Links { ana: link('a'), ben: link('b'), olga: link('o'), zoe: link('z') };
        let token = format!("csn_{}", "t".repeat(49));
        let verify = ["countersign verify bundle.csn --key log.pub".to_owned()];
        let (console_url, gateway_url) = ("http://localhost:40123", "http://127.0.0.1:40124");
        let database = Some(SocketAddr::from(([127, 0, 0, 1], 40125)));
        let (links, verify, tools_url) = (&links, &verify, "http://127.0.0.1:40126/mcp");
        let banner = Banner { console_url, gateway_url, database, tools_url, token: &token, links, verify };
        let without = Banner { database: None, ..banner }.to_string();
        assert!(without.contains("apt-get install postgresql"), "{without}");
        let text = banner.to_string();
        for line in text.lines().chain(without.lines()) {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for must in [
            &links.ana,
            &links.ben,
            &links.olga,
            &token,
            &verify[0],
            "checkout-timeout-ms",
            "PGPORT=40125",
            "cloud http://127.0.0.1:40126/mcp",
        ] {
            assert!(text.contains(must), "{must}");
        }
        assert!(!text.contains(&links.zoe), "nobody needs to sign in as Zoe");
        for told in [format!("{banner:?}"), format!("{links:?}")] {
            assert!(!told.contains(&token) && !told.contains(&"a".repeat(43)), "{told}");
        }
    }
}
