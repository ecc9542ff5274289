//! What is staged, and what never is.

use super::*;
use proptest::prelude::*;

fn frame(tag: u8, body: &[u8]) -> Frame {
    let mut whole = BytesMut::new();
    crate::reply::message(&mut whole, tag, |out| out.put_slice(body));
    Frame { tag, whole: whole.freeze() }
}

fn stage(pipeline: &mut Pipeline, tag: u8, body: &[u8]) -> Result<(), NotStaged> {
    pipeline.stage(Frontend::of(tag).unwrap(), &frame(tag, body), &Names::default(), 1 << 20)
}

#[test]
fn execute_asks_with_the_text_and_the_values() {
    let mut pipeline = Pipeline::default();
    stage(&mut pipeline, b'P', b"s\0delete from t where id = $1\0\0\0").unwrap();
    stage(&mut pipeline, b'B', b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x01\x07\xff\xff\xff\xff\0\0").unwrap();
    stage(&mut pipeline, b'E', b"\0\0\0\0\x05").unwrap();
    let (asked, rows) = &pipeline.asked[0];
    assert_eq!((&*asked.sql, *rows), ("delete from t where id = $1", 5));
    assert_eq!(asked.values, Some(vec![BoundValue::Binary(b"\x07".as_slice().into()), BoundValue::Null]));
    // Parsing the name again, or closing it, changes what the next one means.
    stage(&mut pipeline, b'P', b"s\0select 1\0\0\0").unwrap();
    stage(&mut pipeline, b'B', b"\0s\0\0\0\0\0\0\0").unwrap();
    stage(&mut pipeline, b'E', b"\0\0\0\0\0").unwrap();
    assert_eq!(&*pipeline.asked[1].0.sql, "select 1");
    stage(&mut pipeline, b'C', b"Ss\0").unwrap();
    let gone = stage(&mut pipeline, b'B', b"\0s\0\0\0\0\0\0\0").unwrap_err();
    assert!(matches!(&gone, NotStaged::Refused(said) if said.code == "26000"), "{gone:?}");
}

#[test]
fn what_is_asked_for_is_the_same_whatever_it_is_called() {
    let asks = |statement: &str, portal: &str, sql: &str, bound: &str| {
        let mut pipeline = Pipeline::default();
        stage(&mut pipeline, b'P', format!("{statement}\0{sql}\0\0\0").as_bytes()).unwrap();
        stage(&mut pipeline, b'P', b"other\0select 2\0\0\0").unwrap();
        let bind = format!("{portal}\0{bound}\0\0\0\0\0\0\0");
        stage(&mut pipeline, b'B', bind.as_bytes()).unwrap();
        stage(&mut pipeline, b'D', format!("P{portal}\0").as_bytes()).unwrap();
        stage(&mut pipeline, b'E', format!("{portal}\0\0\0\0\0").as_bytes()).unwrap();
        stage(&mut pipeline, b'C', format!("S{statement}\0").as_bytes()).unwrap();
        assert_ne!(pipeline.asks, pipeline.bytes);
        pipeline.asks
    };
    let first = asks("S_1", "C_1", "select 1", "S_1");
    assert_eq!(first, asks("S_77", "C_9", "select 1", "S_77"));
    for other in [
        asks("S_1", "C_1", "select 3", "S_1"),
        asks("S_1", "C_1", "select 1", "other"),
        asks("S_1", "", "select 1", "S_1"),
        asks("other", "C_1", "select 1", "other"),
    ] {
        assert_ne!(first, other);
    }
}

#[test]
fn what_cannot_be_read_whole_is_not_staged() {
    for (tag, body) in [
        (b'P', b"s\0select 1\0\0\x01".as_slice()),
        (b'P', b"s\0select 1\0\0\0x"),
        (b'P', b"s\0sel\xffct 1\0\0\0"),
        (b'C', b"Xs\0"),
        (b'E', b"\0\0\0\0"),
    ] {
        let got = stage(&mut Pipeline::default(), tag, body);
        assert!(matches!(got, Err(NotStaged::Frame(_) | NotStaged::Refused(_))), "{body:?}");
    }
    let mut bound = Pipeline::default();
    stage(&mut bound, b'P', b"s\0select 1\0\0\0").unwrap();
    for body in [b"\0s\0\0\x01\0\x02\0\x01\0\0\0\0\0\0".as_slice(), b"\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0"] {
        assert_eq!(stage(&mut bound, b'B', body), Err(FrameError::Meaningless.into()), "{body:?}");
    }
    assert!(matches!(stage(&mut bound, b'P', b"_countersign\0select 1\0\0\0"), Err(NotStaged::Refused(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(messages in proptest::collection::vec(
        (prop_oneof![Just(b'P'), Just(b'B'), Just(b'D'), Just(b'C'), Just(b'E')],
         proptest::collection::vec(any::<u8>(), 0..40)), 0..12)) {
        let mut pipeline = Pipeline::default();
        for (tag, body) in messages {
            let _ = stage(&mut pipeline, tag, &body);
        }
        prop_assert_eq!(pipeline.bytes.is_empty(), pipeline.is_empty());
    }
}
