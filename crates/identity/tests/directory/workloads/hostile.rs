//! Tokens that must not be believed: wrong in what they say, in how they are signed, or in how they are written.

use super::{AUDIENCE, Stage};
use countersign_engine::port::identity::{Identity, NotAuthenticated as N, Presented};
use countersign_testkit::issuer::{SigningKey, TokenIssuer, signed_part, token_with_secret};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn what_a_token_says_of_issuer_audience_and_time_must_hold() {
    let stage = Stage::new().await;
    stage.caller(&stage.token()).await.unwrap();
    let at = stage.seconds();
    let url = stage.issuer.url();
    let cases: Vec<(&str, Value, &str)> = vec![
        ("iss", json!("https://evil.example"), "issuer is not trusted"),
        ("iss", json!(format!("{url}/")), "issuer is not trusted"),
        ("iss", json!([url]), "issuer is not trusted"),
        ("iss", Value::Null, "issuer is not trusted"),
        ("aud", json!("https://other.example"), "audience"),
        ("aud", json!([]), "audience"),
        ("aud", json!(["https://other.example"]), "audience"),
        ("aud", json!([AUDIENCE, 7]), "audience"),
        ("aud", json!({"a": AUDIENCE}), "audience"),
        ("aud", Value::Null, "audience"),
        ("exp", json!(at - 60), "has expired"),
        ("exp", json!(0), "has expired"),
        ("exp", json!(-1), "cannot be read"),
        ("exp", json!("9999999999"), "cannot be read"),
        ("exp", json!(1e300), "cannot be read"),
        ("exp", json!(u64::MAX), "cannot be read"),
        ("exp", Value::Null, "cannot be read"),
        ("exp", json!(at + 25 * 3600), "longer than is accepted"),
        ("nbf", json!(at + 61), "not good yet"),
        ("nbf", json!("soon"), "cannot be read"),
        ("iat", json!(at + 61), "not good yet"),
        ("sub", Value::Null, "no subject"),
        ("sub", json!(""), "no subject"),
        ("sub", json!("x".repeat(1025)), "subject is too long"),
        ("repository", json!("acme/shop2"), "no rule"),
        ("repository", json!("ACME/shop"), "no rule"),
        ("repository", json!({"acme/shop": 1}), "no rule"),
        ("repository", Value::Null, "no rule"),
        ("act", json!({"sub": "x"}), "acts for somebody"),
        ("act", Value::Null, "acts for somebody"),
    ];
    for (claim, value, why) in cases {
        let refused = stage.caller(&stage.token_saying(|claims| claims[claim] = value.clone())).await;
        let Err(N::NotTrusted(said)) = refused else { panic!("{claim} {value}: {refused:?}") };
        assert!(said.contains(why), "{claim} {value}: {said}");
    }
    let unending = stage.token_saying(|claims| drop(claims.as_object_mut().unwrap().remove("exp")));
    assert_eq!(stage.caller(&unending).await, Err(N::NotTrusted("the token has no end")));
    // A clock that is a minute off is no attack; fractions are times, and an audience may be one of several.
    for (claim, value) in [
        ("exp", json!(at - 59)),
        ("nbf", json!(at + 60)),
        ("exp", json!(f64::from(i32::try_from(at).unwrap()) + 5.5)),
        ("aud", json!(["https://other.example", AUDIENCE])),
        ("repository", json!(["other", "acme/shop"])),
    ] {
        let caller = stage.caller(&stage.token_saying(|claims| claims[claim] = value.clone())).await;
        assert!(caller.is_ok(), "{claim} {value}: {caller:?}");
    }
    // A token that was good is not good for ever.
    let good = stage.token();
    stage.caller(&good).await.unwrap();
    stage.world.pass(Duration::from_mins(11));
    assert_eq!(stage.caller(&good).await, Err(N::NotTrusted("the token has expired")));
}

#[tokio::test]
async fn nothing_a_token_says_of_its_own_key_is_believed() {
    let stage = Stage::new().await;
    let (head, claims) = (stage.head(), stage.claims());
    let evil = SigningKey::p256("k1").unwrap();
    let elsewhere = TokenIssuer::start(&[&evil]).await.unwrap();
    let keys = format!("{}/keys", elsewhere.url());
    let with = |name: &str, value: Value| {
        let mut head = head.clone();
        head[name] = value;
        head
    };
    let mut corpus: Vec<(&str, String)> = vec![
        ("another key of the same name", evil.token(&head, &claims).unwrap()),
        ("jwk", evil.token(&with("jwk", evil.jwk()), &claims).unwrap()),
        ("jku", evil.token(&with("jku", json!(keys)), &claims).unwrap()),
        ("x5u", evil.token(&with("x5u", json!(keys)), &claims).unwrap()),
        ("x5c", evil.token(&with("x5c", json!(["MIIB"])), &claims).unwrap()),
        (
            "a secret made of the public key",
            token_with_secret(&stage.key.public_der(), &with("alg", json!("HS256")), &claims),
        ),
        (
            "a secret made of the published key",
            token_with_secret(stage.key.jwk().to_string().as_bytes(), &with("alg", json!("HS256")), &claims),
        ),
        ("an empty secret", token_with_secret(b"", &with("alg", json!("HS256")), &claims)),
        ("no signature", format!("{}.", signed_part(&head.to_string(), &claims.to_string()))),
        ("zeros", format!("{}.{}", signed_part(&head.to_string(), &claims.to_string()), "A".repeat(86))),
        ("a foreign algorithm", stage.key.token(&with("alg", json!("EdDSA")), &claims).unwrap()),
        ("critical", stage.key.token(&with("crit", json!(["exp"])), &claims).unwrap()),
        ("critical and empty", stage.key.token(&with("crit", json!([])), &claims).unwrap()),
        ("unencoded", stage.key.token(&with("b64", json!(false)), &claims).unwrap()),
        ("nested", stage.key.token(&with("cty", json!("JWT")), &claims).unwrap()),
        ("zipped", stage.key.token(&with("zip", json!("DEF")), &claims).unwrap()),
        ("a log-out token", stage.key.token(&with("typ", json!("logout+jwt")), &claims).unwrap()),
        (
            "a security event",
            stage.key.token(&with("typ", json!("application/secevent+jwt")), &claims).unwrap(),
        ),
        ("a kid that is a path", evil.token(&with("kid", json!("../../dev/null")), &claims).unwrap()),
        ("a kid that is a query", evil.token(&with("kid", json!("x' UNION SELECT 'k")), &claims).unwrap()),
        ("a kid that is no text", stage.key.token(&with("kid", json!(["k1"])), &claims).unwrap()),
    ];
    for none in ["none", "None", "nOnE", "NONE", "", "HS256", "HS512", "RSA-OAEP", "dir", "ES256K", "RS1"] {
        let part = signed_part(&with("alg", json!(none)).to_string(), &claims.to_string());
        corpus.push(("no algorithm", format!("{part}.")));
        corpus.push(("no algorithm", format!("{part}.AAAA")));
    }
    let (head_text, claims_text) = (head.to_string(), claims.to_string());
    let twice = claims_text.replacen('{', "{\"repository\":\"acme/other\",", 1);
    corpus.push(("a claim twice", stage.key.token_of(&head_text, &twice).unwrap()));
    let escaped = claims_text.replacen('{', "{\"\\u0061ud\":\"https://other.example\",", 1);
    corpus.push(("a claim twice, written otherwise", stage.key.token_of(&head_text, &escaped).unwrap()));
    let twice = head_text.replacen('{', "{\"alg\":\"none\",", 1);
    corpus.push(("a head twice", stage.key.token_of(&twice, &claims_text).unwrap()));
    corpus.push((
        "more behind the claims",
        stage.key.token_of(&head_text, &format!("{claims_text}{{}}")).unwrap(),
    ));
    corpus.push(("no object", stage.key.token_of(&head_text, "[]").unwrap()));
    corpus.push((
        "deep",
        stage
            .key
            .token_of(
                &head_text,
                &claims_text.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(60), "]".repeat(60)), 1),
            )
            .unwrap(),
    ));
    corpus.push(("huge", stage.token_saying(|claims| claims["x"] = json!("x".repeat(20_000)))));
    let good = stage.token();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    corpus.push(("padded", format!("{signed}.{signature}=")));
    corpus.push(("a space", format!("{signed}. {signature}")));
    corpus.push(("signature twice", format!("{good}.{signature}")));
    let twisted: String =
        signature.chars().take(85).chain([if signature.ends_with('B') { 'C' } else { 'B' }]).collect();
    corpus.push(("trailing bits", format!("{signed}.{twisted}")));
    let der = format!("{signed}.MEUCIQDx{signature}");
    corpus.push(("a signature of another form", der));

    for (what, token) in corpus {
        let refused = stage.caller(&token).await;
        assert!(matches!(refused, Err(N::NotTrusted(_) | N::Unknown)), "{what}: {refused:?}");
        let again = stage.directory.authenticate(Presented::Bearer(&token), stage.world.now());
        assert_eq!(again, refused, "{what}");
    }
    assert_eq!(elsewhere.fetched(), 0, "nobody led the gateway to another address");
    assert!(stage.directory.tokens(stage.directory.agent_by_name("deploy").unwrap().id).is_empty());
    stage.caller(&good).await.unwrap();
}

#[tokio::test]
async fn each_accepted_algorithm_is_checked_with_a_key_of_its_own_kind() {
    let stage = Stage::new().await;
    let keys =
        [SigningKey::rsa("r").unwrap(), SigningKey::p256("e").unwrap(), SigningKey::ed25519("o").unwrap()];
    stage.issuer.publish(&keys.iter().collect::<Vec<_>>());
    let claims = stage.claims();
    for key in &keys {
        let head = json!({"alg": key.algorithm(), "kid": key.id});
        stage.caller(&key.token(&head, &claims).unwrap()).await.unwrap();
    }
    // Not accepted from this issuer, though the key could.
    let pss = keys[0].token(&json!({"alg": "PS256", "kid": "r"}), &claims).unwrap();
    assert!(stage.caller(&pss).await.is_err());
    // The name of one key does not make another one fit, and a token without a name has no choice among several.
    for (alg, kid) in [("ES256", "r"), ("RS256", "e"), ("EdDSA", "e")] {
        let token = keys[1].token(&json!({"alg": alg, "kid": kid}), &claims).unwrap();
        assert!(stage.caller(&token).await.is_err(), "{alg} {kid}");
    }
    let unnamed = keys[0].token(&json!({"alg": "RS256"}), &claims).unwrap();
    stage.caller(&unnamed).await.unwrap();
    stage.world.pass(Duration::from_secs(10));
    let other = SigningKey::rsa("r2").unwrap();
    stage.issuer.publish(&[&keys[0], &other]);
    let named = other.token(&json!({"alg": "RS256", "kid": "r2"}), &claims).unwrap();
    stage.caller(&named).await.unwrap();
    assert!(stage.caller(&unnamed).await.is_err(), "two keys could have signed it");

    // Secrets, keys for encryption, weak keys and keys for another algorithm check nothing.
    let mut short = keys[0].jwk();
    short["n"] = json!(
        "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7QkrmBL7jTKEn5u-qKhbwKfBstIs-bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyehkd3qqGElvW_VDL5AaWTg0nM"
    );
    let unfit = |name: &str, value: Value| {
        let mut key = keys[1].jwk();
        key[name] = value;
        key
    };
    let useless = vec![
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256"}),
        unfit("use", json!("enc")),
        unfit("alg", json!("RS256")),
        unfit("alg", json!(7)),
        unfit("crv", json!("P-521")),
        unfit("key_ops", json!(["sign"])),
        unfit("kty", json!("RSA")),
        short,
    ];
    stage.world.pass(Duration::from_hours(25));
    stage.issuer.publish_raw(useless);
    assert_eq!(stage.caller(&stage.token()).await, Err(N::NoKeys));
    let seen = stage.directory.issuers().pop().unwrap();
    assert_eq!(seen.keys.keys, 0);
    assert!(seen.keys.failure.unwrap().contains("none of its keys"));
}
