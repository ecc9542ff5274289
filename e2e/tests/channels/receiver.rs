//! A receiver of webhooks: writes down whatever comes, whole, and answers as it is told to.

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// How long something may take to come: longer than any channel waits before it tries again.
const COMES_WITHIN: Duration = Duration::from_mins(3);

/// What it answers: a status line and further headers.
pub(crate) const TAKEN: &str = "204 No Content";
pub(crate) const DOWN: &str = "500 Internal Server Error";

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) taken: bool,
}

impl Got {
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The type of the ledger's entry.
    pub(crate) fn kind(&self) -> String {
        let event = self.event();
        event["type"].as_str().unwrap().trim_start_matches("io.github.countersign.").to_owned()
    }

    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({"headers": self.headers, "body": self.body})
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    answer: Arc<Mutex<String>>,
    got: watch::Sender<Vec<Got>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (answer, got) = (Arc::new(Mutex::new(answer.to_owned())), watch::Sender::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (answers, writes) = (Arc::clone(&answer), got.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, Arc::clone(&answers), writes.clone()));
            }
        });
        Self { url, answer, got, _tasks: tasks }
    }

    pub(crate) fn answers(&self, answer: &str) {
        answer.clone_into(&mut self.answer.lock().unwrap());
    }

    /// Everything so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.borrow().clone()
    }

    /// Waits until what came satisfies this.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&[Got]) -> bool) -> Vec<Got> {
        let mut news = self.got.subscribe();
        let found = timeout(COMES_WITHIN, news.wait_for(|got| enough(got))).await;
        if let Ok(Ok(got)) = found {
            return got.clone();
        }
        panic!("{what} never came; what came is {:?}", self.got().iter().map(Got::kind).collect::<Vec<_>>())
    }
}

async fn take(mut stream: TcpStream, answer: Arc<Mutex<String>>, writes: watch::Sender<Vec<Got>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (head, length) = loop {
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
            Ok(_) | Err(_) => return,
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        break (head.to_owned(), length.unwrap_or(0));
    };
    let start = head.len() + 4;
    while bytes.len() < start + length {
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
            Ok(_) | Err(_) => return,
        }
    }
    let mut lines = head.lines();
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let answer = answer.lock().unwrap().clone();
    let body = String::from_utf8(bytes[start..].to_vec()).unwrap();
    let taken = answer.starts_with('2');
    writes.send_modify(|got| got.push(Got { path, headers, body, taken }));
    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // Whoever was killed meanwhile does not hear it.
    let _ = stream.write_all(answer.as_bytes()).await;
}
