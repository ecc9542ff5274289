//! One HTTP/1.1 connection of a caller: its requests one after the other, each run and answered in the connection's
//! own task. Whoever leaves while a request runs lets go of it.

mod body;
mod line;
mod write;

pub(crate) use body::RequestBody;
pub(crate) use line::{Line, ROOM};

use crate::{
    config::LimitsSection,
    frame,
    reply::Hangs,
    session::Listener,
    upstream::{
        relay::ReplyBody,
        said::{Said, SaidHead},
        tunnel::Tunnel,
    },
};
use bytes::Bytes;
use http::{Method, Request, Version, header};
use http_body::Body as _;
use line::{Heard, SharedLine};
use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};
use write::{Ask, Pieces};

/// Serves a caller until the connection ends.
pub(crate) async fn talk(line: &SharedLine, listener: &Listener, limits: &LimitsSection) {
    loop {
        line.lock().wait(limits.request_head.0);
        let heard = poll_fn(|cx| line.lock().poll_head(cx)).await;
        match heard {
            Heard::Head(head) => {
                let Some(request) = frame::request(&head, RequestBody::None) else {
                    refuse(line, listener, frame::FrameRefusal::Target).await;
                    return poll_fn(|cx| line.lock().poll_linger(cx)).await;
                };
                match exchange(line, listener, request).await {
                    After::Next => {}
                    After::Tunnel(tunnel) => return join(line, *tunnel).await,
                    After::Close => return poll_fn(|cx| line.lock().poll_linger(cx)).await,
                    After::Gone => return,
                }
            }
            Heard::Refused(why) => {
                refuse(line, listener, why).await;
                return poll_fn(|cx| line.lock().poll_linger(cx)).await;
            }
            Heard::Gone => return,
        }
    }
}

/// What becomes of the connection after an exchange.
enum After {
    Next,
    /// Both have left HTTP.
    Tunnel(Box<Tunnel>),
    /// Everything was said.
    Close,
    /// The caller left, or the answer broke off.
    Gone,
}

async fn exchange(line: &SharedLine, listener: &Listener, mut request: Request<RequestBody>) -> After {
    let ask = Ask {
        version_11: request.version() == Version::HTTP_11,
        bodiless: request.method() == Method::HEAD,
        // Whoever wanted to leave HTTP and may not could have said anything behind the request.
        keeps: frame::keeps(&request) && !request.headers().contains_key(header::UPGRADE),
    };
    let length = line.lock().begin_body(ask.version_11 && request.headers().contains_key(header::EXPECT));
    if length != Some(0) {
        *request.body_mut() = RequestBody::http1(Arc::clone(line), length);
    }
    let said = {
        let mut answer = std::pin::pin!(listener.answer(request));
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(said) => Poll::Ready(Some(said)),
            Poll::Pending => line.lock().poll_gone(cx).map(|()| None),
        })
        .await
    };
    match said {
        Some(said) => deliver(line, listener, said, ask).await,
        None => After::Gone,
    }
}

async fn refuse(line: &SharedLine, listener: &Listener, why: frame::FrameRefusal) {
    let said = listener.refuse(why).await;
    let ask = Ask { version_11: true, bodiless: false, keeps: false };
    deliver(line, listener, said, ask).await;
}

/// Writes a reply, its body as it comes.
async fn deliver(line: &SharedLine, listener: &Listener, said: Said, mut ask: Ask) -> After {
    let Said { head, mut body } = said;
    if let ReplyBody::Tunnel(tunnel) = body {
        line.lock().say(|out| write::switching(out, &head));
        return match poll_fn(|cx| line.lock().poll_out(cx)).await {
            Ok(()) => After::Tunnel(tunnel),
            Err(_) => After::Gone,
        };
    }
    if let SaidHead::Made(parts) = &head {
        ask.keeps &= parts.extensions.get::<Hangs>().is_none();
    }
    let pieces = line.lock().open_reply(&head, body.size_hint().exact(), ask, listener.gate.now());
    if let (ReplyBody::Whole(whole), true) = (&mut body, pieces != Pieces::None) {
        let whole = whole.take().unwrap_or_default();
        line.lock().say_whole(whole);
    } else if pieces != Pieces::None && !pass(line, &mut body, pieces).await {
        return After::Gone;
    }
    if poll_fn(|cx| line.lock().poll_out(cx)).await.is_err() {
        return After::Gone;
    }
    drop(body);
    if line.lock().goes_on() { After::Next } else { After::Close }
}

/// Writes a body piece by piece; whether it came through whole.
async fn pass(line: &SharedLine, body: &mut ReplyBody, pieces: Pieces) -> bool {
    loop {
        let next = poll_fn(|cx| {
            if line.lock().poll_gone(cx).is_ready() {
                return Poll::Ready(Err(()));
            }
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            // What there is goes out while nothing more comes.
            match line.lock().poll_out(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(Err(())),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        });
        let data = match next.await {
            Err(()) | Ok(Some(Err(_))) => return false,
            Ok(None) => Bytes::new(),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() => data,
                // Trailers have no place in what was announced.
                Ok(_) | Err(_) => continue,
            },
        };
        if data.is_empty() {
            line.lock().say(|out| pieces.end(out));
            return true;
        }
        let mut data = Some(data);
        let written = poll_fn(|cx| {
            let wrote = line.lock().poll_piece(cx, &mut data, pieces);
            if wrote.is_pending() {
                body.poll_upload(cx);
            }
            wrote
        });
        if written.await.is_err() {
            return false;
        }
    }
}

async fn join(line: &SharedLine, tunnel: Tunnel) {
    let taken = line.lock().take();
    if let Some((wire, early)) = taken {
        tunnel.join(wire, early).await;
    }
}
