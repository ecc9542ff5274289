//! A target that tells when something arrived.

use crate::Result;
use std::time::Instant;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

/// A target that answers everything at once, and tells when the first byte of each request arrived.
pub async fn upstream() -> Result<(String, mpsc::UnboundedReceiver<Instant>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (arrived, arrivals) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let arrived = arrived.clone();
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                let mut head = Vec::new();
                while let Ok(read) = stream.read(&mut piece).await {
                    let now = Instant::now();
                    if read == 0 {
                        return;
                    }
                    if head.is_empty() && arrived.send(now).is_err() {
                        return;
                    }
                    head.extend_from_slice(piece.get(..read).unwrap_or_default());
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Ok((url, arrivals))
}
