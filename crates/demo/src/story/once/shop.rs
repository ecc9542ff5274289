//! The part of the story that is told in SQL, where there is a database: a read, a delete that two people countersign, and
//! one that nobody can.

use super::{Play, json};
use crate::{
    DemoError,
    person::Strength,
    report::Log,
    setup::AGENT,
    shop::{CANCELLED, DELETE, DELETE_ALL, ORDERS, READ, Shop},
};
use countersign_testkit::pgclient::{Message, PgClient, field, sqlstate};
use std::net::SocketAddr;
use tokio::time::timeout;

/// The database, and where the gateway stands before it.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    pub shop: &'a Shop,
    pub addr: SocketAddr,
}

impl Play {
    pub(super) async fn shop(&mut self, log: &mut Log, counter: Counter<'_>) -> Result<(), DemoError> {
        let mut session = Shop::session(counter.addr, AGENT, &self.token).await?;
        let answer = session.query(READ).await.map_err(DemoError::Database)?;
        let rows = answer.iter().filter(|(tag, _)| *tag == b'D').count();
        let promised = "a read of the shop's database is permitted, and its rows come back at once";
        log.step("sql-read-is-permitted", promised, done(&answer), rows == 3, json!({ "rows": rows }));
        self.delete(log, counter, &mut session).await?;
        let answer = session.query(DELETE_ALL).await.map_err(DemoError::Database)?;
        let (state, left) = (sqlstate(&answer), counter.shop.count("orders")?);
        let ok = state.as_deref() == Some("ZC003") && left == (ORDERS - CANCELLED).to_string();
        let promised = "a delete without a condition is refused by a wall nobody can lift";
        let observed = format!("{}; {left} orders", done(&answer));
        log.step("sql-wall-refuses", promised, observed, ok, json!({ "sqlstate": state, "orders": left }));
        Ok(())
    }

    async fn delete(
        &mut self,
        log: &mut Log,
        counter: Counter<'_>,
        session: &mut PgClient,
    ) -> Result<(), DemoError> {
        session.ask(DELETE).await.map_err(DemoError::Database)?;
        let late = |_| DemoError::Contract { door: "the database".into(), missing: "a notice".into() };
        let first = timeout(super::PATIENCE, session.message()).await.map_err(late)?;
        let notice = [first.map_err(DemoError::Database)?];
        let (said, left) = (done(&notice), counter.shop.count("orders")?);
        let link = field(&notice, b'D').and_then(|detail| detail.rsplit('/').next().map(str::to_owned));
        let ok = notice[0].0 == b'N' && link.is_some() && left == ORDERS.to_string();
        let promised = "a delete of rows waits for two people, and says so at once";
        log.step("sql-delete-is-held", promised, &*said, ok, json!({ "approval": link, "orders": left }));
        let Some(approval) = link else { return Ok(()) };
        let mut votes = Vec::new();
        for person in [&mut self.ana, &mut self.ben] {
            votes.push(person.vote(&approval, "approve", Strength::Passkey, None).await?.status);
        }
        let answer = timeout(super::PATIENCE, session.until_ready()).await.map_err(late)?;
        let answer = answer.map_err(DemoError::Database)?;
        let (said, left) = (done(&answer), counter.shop.count("orders")?);
        let ok = said == format!("DELETE {CANCELLED}") && left == (ORDERS - CANCELLED).to_string();
        let promised = "it runs in the session that waited, once, and takes exactly its rows";
        log.step("sql-delete-runs", promised, said, ok, json!({ "votes": votes, "orders": left }));
        Ok(())
    }
}

/// How a statement ended, or what is said of it, in the words of whoever answered.
fn done(answer: &[Message]) -> String {
    let tag = answer.iter().find(|(tag, _)| *tag == b'C');
    tag.map(|(_, body)| String::from_utf8_lossy(body).trim_end_matches('\0').to_owned())
        .or_else(|| field(answer, b'M'))
        .unwrap_or_else(|| "nothing".into())
}
