use super::*;
use crate::assertion::tests::{
    EXPECTED, ORIGIN, RELYING_PARTY, SoftKey, authenticator_data, client_data, cose_bytes,
};
use ciborium::cbor;
use proptest::prelude::*;

fn object(format: &str, data: Vec<u8>) -> Vec<u8> {
    cose_bytes(&cbor!({"fmt" => format, "attStmt" => {}, "authData" => Value::Bytes(data)}).unwrap())
}

fn credential(id: &[u8], key: &[u8]) -> Vec<u8> {
    let length = u16::try_from(id.len()).unwrap().to_be_bytes();
    [&[9; 16][..], &length, id, key].concat()
}

fn client() -> Vec<u8> {
    client_data("webauthn.create", EXPECTED.challenge, ORIGIN, "")
}

#[test]
fn a_registration_gives_the_credential_and_its_key() {
    let key = SoftKey::new().cose();
    let data = authenticator_data(RELYING_PARTY, 0x45, &credential(b"id-1", &key));
    for format in ["none", "packed"] {
        let made = verify(&EXPECTED, &client(), &object(format, data.clone())).unwrap();
        assert_eq!((made.credential_id.as_slice(), &made.key_bytes), (&b"id-1"[..], &key));
        assert_eq!((made.model, made.authenticator.counter), ([9; 16], 7));
        assert_eq!(CoseKey::parse(&made.key_bytes).unwrap(), made.key);
    }
    let extended = [&credential(b"id-1", &key)[..], &[0xa0]].concat();
    let data = authenticator_data(RELYING_PARTY, 0xc5, &extended);
    assert!(verify(&EXPECTED, &client(), &object("none", data)).is_ok());
}

#[test]
fn a_registration_is_refused_where_anything_is_off() {
    let key = SoftKey::new().cose();
    let good = authenticator_data(RELYING_PARTY, 0x45, &credential(b"id-1", &key));
    let with = |flags, rest: &[u8]| object("none", authenticator_data(RELYING_PARTY, flags, rest));
    for (what, client, object) in [
        (
            "an assertion",
            client_data("webauthn.get", EXPECTED.challenge, ORIGIN, ""),
            object("none", good.clone()),
        ),
        ("another challenge", client_data("webauthn.create", b"x", ORIGIN, ""), object("none", good.clone())),
        ("trailing bytes", client(), [&object("none", good.clone())[..], &[0]].concat()),
        ("bytes after the key", client(), with(0x45, &[&credential(b"id-1", &key)[..], &[0]].concat())),
        ("no credential", client(), with(0x05, b"")),
        ("not verified", client(), with(0x41, &credential(b"id-1", &key))),
        ("no id", client(), with(0x45, &credential(b"", &key))),
        ("an id too long", client(), with(0x45, &credential(&[1; 1024], &key))),
        (
            "no statement",
            client(),
            cose_bytes(&cbor!({"fmt" => "none", "authData" => Value::Bytes(good)}).unwrap()),
        ),
    ] {
        assert!(verify(&EXPECTED, &client, &object).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn arbitrary_objects_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = verify(&EXPECTED, &client(), &bytes);
        let _ = verify(&EXPECTED, &client(), &object("none", bytes));
    }
}
