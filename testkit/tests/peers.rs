//! The system's services start in folders of their own, answer, and end with their owner.

use countersign_testkit::{
    etcd::Etcd,
    nginx::{Nginx, Site},
};

async fn text(url: &str) -> reqwest::Result<String> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    client.get(url).send().await?.error_for_status()?.text().await
}

#[tokio::test]
async fn etcd_answers_and_ends_with_its_owner() {
    let etcd = Etcd::start().await.unwrap();
    let version = format!("{}/version", etcd.url());
    assert!(text(&version).await.unwrap().contains("etcdserver"));
    drop(etcd);
    assert!(text(&version).await.is_err());
}

#[tokio::test]
async fn nginx_serves_takes_uploads_and_stands_in_front_of_another() {
    let files = Nginx::start(Site::Files).await.unwrap();
    std::fs::write(files.root().join("a.txt"), "hello").unwrap();
    assert_eq!(text(&format!("{}/a.txt", files.url())).await.unwrap(), "hello");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let stored = client.put(format!("{}/b.txt", files.url())).body("stored").send().await.unwrap();
    assert_eq!(stored.status(), 201);
    assert_eq!(std::fs::read_to_string(files.root().join("b.txt")).unwrap(), "stored");
    let proxy = Nginx::start(Site::ReverseProxy { upstream: files.url() }).await.unwrap();
    assert_eq!(text(&format!("{}/a.txt", proxy.url())).await.unwrap(), "hello");
}
