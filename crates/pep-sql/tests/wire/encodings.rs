//! Databases in other encodings, and bytes that are in none: what names could stand for something else at the server is
//! never taken for what it says here.

use crate::{
    stage::{POLICY, Said, Stage, finished},
    strict::{contains, login, message, packet, said},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// Whatever is not understood is refused.
async fn stage() -> Stage {
    let policy = POLICY.to_owned()
        + r#"@id("unclear") @reason("nobody knows what it does") forbid (principal, action in Action::"unknown", resource);"#;
    let stage = Stage::under(&policy, |section| {
        section["databases"] = serde_json::json!(["shop", "latin", "bytes"]);
    });
    let stage = stage.await;
    for (name, encoding) in [("latin", "LATIN1"), ("bytes", "SQL_ASCII")] {
        let made =
            format!("create database {name} owner app template template0 encoding '{encoding}' locale 'C'");
        stage.cluster.run("postgres", &made).unwrap();
        let tables = "set role app; create table towns (name text); insert into towns values ('Köln'); \
            create table \"größe\" (x int); create view v as select x from \"größe\"";
        let mut psql = stage.cluster.psql(name);
        psql.env("PGCLIENTENCODING", "UTF8").args(["-c", tables]);
        let said = finished(psql).await;
        assert!(said.fine, "{said:?}");
    }
    stage
}

async fn run(stage: &Stage, database: &str, sql: &str) -> Said {
    let mut command = stage.psql();
    command.args(["-d", database, "-c", sql]);
    finished(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_beyond_ascii_are_understood_in_utf_8_alone() {
    let stage = stage().await;
    stage.direct("set role app; create table \"größe\" (x int)");
    assert_eq!(run(&stage, "shop", "select count(*) from \"größe\"").await.out, "0");
    for database in ["latin", "bytes"] {
        // Values are values in any encoding.
        let said = run(&stage, database, "select name from towns where name = 'Köln' -- grün").await;
        assert_eq!((said.out.as_str(), said.err.as_str()), ("Köln", ""), "{database}");
        for sql in [
            "select count(*) from \"größe\"",
            "select count(*) from größe",
            "select count(*) from U&\"gr\\00f6\\00dfe\"",
            "select count(*) from v",
            "prepare p as select x from größe",
        ] {
            let said = run(&stage, database, sql).await;
            assert!(
                said.err.contains("ZC003") && said.err.contains("unclear"),
                "{database}: {sql}: {said:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_are_the_servers_to_refuse() {
    let stage = stage().await;
    let (mut stream, opened) = login(&stage, &[("database", "bytes")]).await;
    assert!(contains(&opened, "server_encoding\0SQL_ASCII"), "{}", String::from_utf8_lossy(&opened));
    stream.write_all(&message(b'Q', b"select 'a' || chr(255) || 'z'\0")).await.unwrap();
    let told = said(&mut stream).await;
    assert!(contains(&told, "C22021") && told.ends_with(b"I"), "{}", String::from_utf8_lossy(&told));
    stream.write_all(&message(b'Q', "select 'aü'\0".as_bytes())).await.unwrap();
    let told = said(&mut stream).await;
    assert!(contains(&told, "aü") && told.ends_with(b"I"), "{}", String::from_utf8_lossy(&told));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_utf_8_are_never_read_as_sql() {
    let stage = stage().await;
    // Neither as a session's encoding, nor as one of a statement.
    let (_, told) = login(&stage, &[("client_encoding", "SQL_ASCII")]).await;
    assert!(contains(&told, "C22023") && contains(&told, "Hset the client encoding to UTF8"), "{told:?}");
    let said_of = run(&stage, "shop", "set client_encoding = 'SQL_ASCII'").await;
    assert!(said_of.err.contains("ZC002"), "{said_of:?}");
    for (tag, body) in [
        (b'Q', b"select '\xff'; delete from orders\0".as_slice()),
        (b'Q', b"select '\xc0\xa7'\0"),
        (b'P', b"\0select '\xff'\0\0\0"),
        (b'P', b"\xff\0select 1\0\0\0"),
    ] {
        let (mut stream, _) = login(&stage, &[]).await;
        stream.write_all(&[message(tag, body), message(b'S', b"")].concat()).await.unwrap();
        let told = said(&mut stream).await;
        assert!(contains(&told, "SFATAL") && contains(&told, "C08P01"), "{}", String::from_utf8_lossy(&told));
    }
    let mut stream = TcpStream::connect(stage.addr).await.unwrap();
    stream.write_all(&packet(196_608, &[("user", "bot"), ("database", "shöp")])).await.unwrap();
    assert!(contains(&said(&mut stream).await, "C3D000"));
    // A value is the server's to judge, and the session goes on.
    let (mut stream, _) = login(&stage, &[]).await;
    let bind = message(b'B', b"\0\0\0\0\0\x01\0\0\0\x01\xff\0\0");
    let pipeline =
        [message(b'P', b"\0select $1::text\0\0\0"), bind, message(b'E', b"\0\0\0\0\0"), message(b'S', b"")];
    stream.write_all(&pipeline.concat()).await.unwrap();
    let told = said(&mut stream).await;
    assert!(contains(&told, "C22021") && told.ends_with(b"I"), "{}", String::from_utf8_lossy(&told));
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}
