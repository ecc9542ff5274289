//! The gateway's own question which tools a server has, when a person wants to know: a session of its own, opened, asked
//! and ended. No agent's word is in it.

use super::fetch;
use crate::{
    call,
    frame::{self, Answer, Message},
    method::NEWEST,
    upstream::{Peer, Way, talk::lost},
};
use countersign_engine::{definitions::Definition, port::upstream::Failed};
use std::sync::atomic::{AtomicU64, Ordering};

/// Asks the server.
pub(crate) async fn look(way: &Way) -> Result<Vec<Definition>, Failed> {
    let next = AtomicU64::new(2);
    let id = || next.fetch_add(1, Ordering::Relaxed);
    if way.is_later().await? {
        return Ok(fetch(way, &Peer::later(), None, id).await?.1);
    }
    let open = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{NEWEST}","capabilities":{{}},"clientInfo":{{"name":"countersign","version":"{}"}}}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    let mut talk = way.post(way.take(&Peer::default()).await?, &Peer::default(), open).await?;
    let opened = loop {
        let Some(message) = talk.next(way.idle).await? else {
            return Err(lost(&format!("the server opens no session: HTTP {}", talk.status.as_u16())));
        };
        match frame::read(&message) {
            Ok(Message::Response { answer: Answer::Result(result), .. }) => break result.get().to_owned(),
            Ok(Message::Notification { .. }) => {}
            Ok(Message::Response { .. } | Message::Request { .. }) | Err(_) => {
                return Err(lost("the server opens no session"));
            }
        }
    };
    let (version, _) = call::opened(&opened)
        .ok_or_else(|| lost("the server speaks none of the protocol versions that are spoken here"))?;
    let peer = Peer { link: talk.link.clone(), version: Some(version) };
    way.finish(talk).await;
    way.tell(&peer, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.into()).await?;
    let found = fetch(way, &peer, None, id).await;
    if let Err(error) = way.end(&peer).await {
        tracing::debug!(%error, "a session could not be ended at its server");
    }
    Ok(found?.1)
}
