//! Every refusal has a status, an advice and a shape that a machine can read.

use super::*;
use countersign_core::{
    ActionId, ApprovalId, Assurance, Digest, PolicyId, Refusal, Timestamp, decision::Basis,
};
use countersign_engine::reply::WaitsFor;
use http_body_util::BodyExt as _;

async fn text(response: Response<ReplyBody>) -> String {
    let status = response.status();
    let mut out = format!("{status}\n");
    for (name, value) in response.headers() {
        out = format!("{out}{name}: {}\n", value.to_str().unwrap());
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    out + &serde_json::to_string_pretty(&json).unwrap()
}

fn refusal(code: RefusalCode) -> Refused {
    Refused {
        refusal: Refusal {
            code,
            reason: "production data stays inside".into(),
            remedy: "ask for the staging copy".into(),
            basis: Some(Basis {
                bundle: Digest([0; 32]),
                policies: [PolicyId::new("fedramp-wall").unwrap()].into(),
            }),
        },
        action: Some(ActionId::from_parts(0, 1)),
        approval: Some(ApprovalId::from_parts(0, 2)),
        link: Some("https://console/approvals/x".into()),
    }
}

#[tokio::test]
async fn a_refusal_is_a_problem_with_everything_a_caller_needs() {
    insta::assert_snapshot!(text(refused(&refusal(RefusalCode::Wall))).await);
}

#[test]
#[rustfmt::skip]
fn each_refusal_has_its_status_and_its_advice() {
    use WhatToDo::{Change, Repeat, Stop, Wait};
    let want = [
        (RefusalCode::Wall, 403, Stop), (RefusalCode::NotPermitted, 403, Stop), (RefusalCode::PolicyError, 403, Stop),
        (RefusalCode::Rejected, 403, Stop), (RefusalCode::Lapsed, 403, Repeat), (RefusalCode::Withdrawn, 403, Stop),
        (RefusalCode::Revoked, 403, Stop), (RefusalCode::Frozen, 403, Stop), (RefusalCode::TooMany, 429, Wait),
        (RefusalCode::TooLarge, 413, Change), (RefusalCode::NoRoom, 503, Repeat), (RefusalCode::Unauthenticated, 401, Stop),
        (RefusalCode::Malformed, 400, Change), (RefusalCode::JustificationMissing, 428, Change),
        (RefusalCode::NotRecordable, 503, Repeat), (RefusalCode::Spent, 409, Stop), (RefusalCode::Unreachable, 502, Repeat),
    ];
    assert_eq!(want.len(), RefusalCode::ALL.len());
    for (code, status, what) in want {
        let response = refused(&refusal(code));
        assert_eq!(response.status().as_u16(), status, "{code:?}");
        assert_eq!(meaning(code).1, what, "{code:?}");
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401, "{code:?}");
        assert_eq!(response.headers().contains_key("retry-after"), matches!(status, 429 | 502 | 503), "{code:?}");
    }
}

#[tokio::test]
async fn a_ticket_says_where_to_ask_who_decides_and_until_when() {
    let ticket = Ticket {
        approval: ApprovalId::from_parts(0, 2),
        action: ActionId::from_parts(0, 1),
        code: "E3B0-C442".into(),
        state: "pending".into(),
        sentence: "Export the customer table of billing (prod, personal data).".into(),
        waits_for: vec![WaitsFor {
            gate: "pii-export".into(),
            reason: "personal data leaves the system".into(),
            approvers: "2 people of privacy, each with a passkey".into(),
            votes: 0,
            quorum: 2,
            assurance: Assurance::Passkey,
        }],
        deadline: Some(Timestamp(0)),
        drifted: None,
        named: vec![],
        scope: None,
        link: "https://console/approvals/x".into(),
    };
    insta::assert_snapshot!(text(pending(&ticket, Some("respond-async".into()))).await);
}
