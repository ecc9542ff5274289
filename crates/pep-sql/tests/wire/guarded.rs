//! Whatever shape a read is sent in, the server refuses what it would write; where the server could not, the read is
//! refused. The function that writes is one that the configuration takes to be harmless.

use crate::{
    stage::{Said, Stage, finished},
    strict::{login, message, said},
};
use countersign_testkit::postgres::Options;
use tokio::io::AsyncWriteExt;

async fn stage() -> Stage {
    let trusting = |section: &mut serde_json::Value| {
        section["trusted_functions"] = serde_json::json!(["public.sneaky", "public.sly"]);
    };
    let stage = Stage::with(&Options::default(), trusting).await;
    // It says that planning may run it, and it does more.
    stage.direct("create function sly(int) returns int immutable language plpgsql as $$ begin perform sneaky(); return $1; end $$");
    stage
}

fn nothing_written(stage: &Stage, shape: &str) {
    assert_eq!(stage.direct("select count(*) from audit"), "0", "{shape}");
    assert_eq!(stage.direct("select count(*) from orders"), "100", "{shape}");
}

async fn session(stage: &Stage, statements: &[&str]) -> Said {
    let mut command = stage.psql();
    for sql in statements {
        command.args(["-c", sql]);
    }
    finished(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_mix_reads_with_others_write_nothing() {
    let stage = stage().await;
    for (statements, refused) in [
        (&["begin; select sneaky(); commit"][..], "25006"),
        (&["begin; select 1; select sneaky(); rollback"], "25006"),
        (&["begin read only; select sneaky()"], "25006"),
        (&["set work_mem = '8MB'; select sneaky()"], "25006"),
        (&["begin", "set local work_mem = '8MB'; select sneaky()"], "25006"),
        (&["declare c cursor with hold for select sneaky()"], "25006"),
        (&["begin", "declare c cursor for select sneaky()", "fetch c", "commit"], "25006"),
        (&["begin; select sneaky()"], "ZC002"),
        (&["begin read write; select sneaky(); commit"], "ZC002"),
        (&["begin; set transaction read write; select sneaky(); commit"], "ZC002"),
        (&["select set_config('application_name', 'x', false), sneaky()"], "ZC002"),
        (&["select set_config('transaction_read_only', 'off', true); select sneaky()"], "ZC002"),
        (&["set default_transaction_read_only = on; select sneaky()"], "ZC002"),
        (&["insert into orders values (200, 'new', 1); select sneaky()"], "ZC002"),
        (&["begin", "select sneaky(); commit"], "ZC002"),
        (&["begin", "savepoint a; select sneaky()", "commit"], "ZC002"),
        (&["begin", "select 1/0", "rollback; begin; select sneaky(); commit"], "ZC002"),
        (&["begin", "declare c cursor with hold for select sneaky()", "commit"], "ZC002"),
    ] {
        let said = session(&stage, statements).await;
        assert!(said.err.contains(refused), "{statements:?}: {said:?}");
        nothing_written(&stage, statements[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_in_a_text_with_others_stands_in_nobodys_way() {
    let stage = stage().await;
    let said = session(&stage, &["begin; select count(*) from orders; commit"]).await;
    assert_eq!(said.out, "BEGIN\n100\nCOMMIT", "{said:?}");
    let said = session(
        &stage,
        &["begin; select count(*) from orders", "insert into orders values (200, 'new', 1)", "commit"],
    )
    .await;
    assert_eq!(said.out, "BEGIN\n100\nINSERT 0 1\nCOMMIT", "{said:?}");
    let said = session(&stage, &["insert into audit (what) select 'x'; select count(*) from audit"]).await;
    assert_eq!(said.out, "INSERT 0 1\n1", "{said:?}");
    let said = session(
        &stage,
        &["set default_transaction_read_only = on; select 1", "insert into audit (what) values ('y')"],
    )
    .await;
    assert!(said.err.contains("25006"), "its own wish is kept: {said:?}");
}

/// `Parse`, `Bind` and `Execute` of a text.
pub(crate) fn runs(sql: &str) -> Vec<u8> {
    [bound("", sql), execute("")].concat()
}

pub(crate) fn bound(portal: &str, sql: &str) -> Vec<u8> {
    let parse = message(b'P', format!("\0{sql}\0\0\0").as_bytes());
    let bind = message(b'B', format!("{portal}\0\0\0\0\0\0\0\0").as_bytes());
    [parse, bind].concat()
}

pub(crate) fn execute(portal: &str) -> Vec<u8> {
    message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

/// What the server answers, by the kinds of its messages, with the SQLSTATE of an error.
pub(crate) fn kinds(mut bytes: &[u8]) -> String {
    let mut out = String::new();
    while let [tag, a, b, c, d, ..] = bytes {
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        out.push(char::from(*tag));
        let body = &bytes[5..=size];
        if *tag == b'E' {
            let code = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C'));
            out.push_str(&String::from_utf8_lossy(&code.unwrap()[1..]));
        } else if *tag == b'Z' {
            out.push(char::from(body[0]));
        }
        bytes = &bytes[size + 1..];
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_mix_reads_with_others_write_nothing() {
    let stage = stage().await;
    let insert = "insert into orders values (200, 'new', 1)";
    let (flush, sync) = (message(b'H', b""), message(b'S', b""));
    let (sneaky, begin, commit, write) =
        (runs("select sneaky()"), runs("begin"), runs("commit"), runs(insert));
    let read = runs("select count(*) from orders");
    for (name, messages, want) in [
        ("closed", vec![&begin, &sneaky, &commit, &sync], "12C12E25006ZI"),
        ("left open", vec![&begin, &sneaky, &sync], "12C12E25006ZE"),
        ("behind a write", vec![&begin, &write, &sneaky, &commit, &sync], "12C12C12E25006ZI"),
        ("behind a write, alone", vec![&write, &sneaky, &sync], "EZC002ZI"),
        ("before it begins", vec![&sneaky, &begin, &write, &sync], "EZC002ZI"),
        ("behind the end", vec![&begin, &write, &commit, &sneaky, &sync], "EZC002ZI"),
        ("flushed, then read", vec![&write, &flush, &sneaky, &sync], "12CEZC002ZI"),
        ("flushed, then wrote", vec![&read, &flush, &write, &sync], "12DCEZC002ZI"),
        (
            "flushed in a transaction",
            vec![&begin, &flush, &write, &flush, &sneaky, &sync],
            "12C12C12E25006ZE",
        ),
        ("flushed behind a read", vec![&read, &flush, &sneaky, &sync], "12DC12E25006ZI"),
        ("bound, then wrote", vec![&bound("", insert), &flush, &execute(""), &sync], "12EZC002ZI"),
        ("bound beside a write", vec![&bound("p", "select sly(1)"), &write, &sync], "EZC002ZI"),
        (
            "bound behind a write",
            vec![&write, &flush, &bound("p", "select sly(1)"), &flush, &sync],
            "12CEZC002ZI",
        ),
        ("bound in a transaction", vec![&begin, &bound("p", "select sly(1)"), &write, &sync], "EZC002ZI"),
    ] {
        let (mut stream, _) = login(&stage, &[]).await;
        let messages: Vec<u8> = messages.into_iter().flatten().copied().collect();
        stream.write_all(&messages).await.unwrap();
        let mut told = kinds(&said(&mut stream).await);
        if name == "closed" || name == "behind a write" {
            // The server takes the failed transaction's end as what it is.
            told = told.replace("ZE", "ZI");
        }
        assert_eq!(told, want, "{name}");
        drop(stream);
        nothing_written(&stage, name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_read_and_write_are_answered_as_by_the_server() {
    let stage = stage().await;
    let (flush, sync) = (message(b'H', b""), message(b'S', b""));
    let (mut stream, _) = login(&stage, &[]).await;
    let read = runs("select count(*) from orders");
    let insert = |id: u32| runs(&format!("insert into orders values ({id}, 'new', 1)"));
    let whole = [
        runs("begin"),
        read.clone(),
        insert(200),
        bound("p", "select id from orders order by id desc limit 2"),
        message(b'E', b"p\0\0\0\0\x01"),
        insert(201),
        execute("p"),
        runs("commit"),
        sync.clone(),
    ];
    stream.write_all(&whole.concat()).await.unwrap();
    let told = kinds(&said(&mut stream).await);
    assert_eq!(told, "12C12DC12C12Ds12CDC12CZI");
    // Piece by piece, the same.
    let pieces =
        [runs("begin"), flush.clone(), read, flush.clone(), insert(202), flush, runs("commit"), sync];
    stream.write_all(&pieces.concat()).await.unwrap();
    assert_eq!(kinds(&said(&mut stream).await), "12C12DC12C12CZI");
    assert_eq!(stage.direct("select count(*) from orders"), "103");
}

/// What is asked for in a transaction is asked for behind what ran in it, also where nothing was summed up in between.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_flushed_before_is_part_of_what_is_asked_for() {
    let stage =
        Stage::with(&Options::default(), |section| section["transaction_hold_limit"] = "300ms".into()).await;
    let (flush, sync) = (message(b'H', b""), message(b'S', b""));
    let delete = runs("delete from orders where id <= 2");
    let insert = runs("insert into orders values (200, 'new', 1)");
    let other = runs("insert into audit (what) values ('x')");
    for (number, before) in
        [vec![], vec![&insert, &flush], vec![&insert, &flush, &other, &flush]].iter().enumerate()
    {
        let (mut stream, _) = login(&stage, &[]).await;
        let messages: Vec<u8> = before.iter().copied().chain([&delete, &sync]).flatten().copied().collect();
        stream.write_all(&messages).await.unwrap();
        let asked = stage.in_state("pending", number + 1).await;
        assert_eq!(asked.len(), number + 1, "another action each time");
    }
    nothing_written(&stage, "held");
}
