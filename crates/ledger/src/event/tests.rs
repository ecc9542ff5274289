use super::*;
use crate::{Entry, EntryDraft, Sealing, seal};
use countersign_core::ActionId;
use serde_json::{Value, json};

/// One of every event.
fn samples() -> Vec<Value> {
    let ulid = "00000000000000000000000001";
    let [person, agent, credential, approval, gateway] =
        ["per_", "agt_", "crd_", "apr_", "gw_"].map(|prefix| format!("{prefix}{ulid}"));
    let (digest, time) = (Digest([1; 32]).to_string(), "2026-11-21T02:00:00.000000Z");
    let asked = json!({"class": "read", "digest": digest, "environment": "prod", "on_behalf_of": [person],
        "operation": "list", "target": "crm", "wire": "http"});
    let gate = json!({"gate": "data", "quorum": 1, "assurance": "session", "distinct": true,
        "groups": ["privacy"], "people": [person], "policies": ["p"],
        "break_glass": {"groups": ["sre"], "people": []}, "sign_in": {"within_s": 60, "acr": ["a"], "amr": ["hwk"]}, "tickets": ["team"]});
    let round = json!({"approval": approval, "number": 1, "bundle": digest, "evidence": digest, "view": digest,
        "deadline": time, "gates": [gate], "excluded": [person]});
    let statement = json!({"approval": approval, "round": 1, "gate": "data", "decision": "approve",
        "voter": person, "action_digest": digest, "bundle_digest": digest, "evidence_digest": digest,
        "view_digest": digest, "nonce": "00", "expires": time});
    let mut alone = statement.clone();
    alone["decision"] = json!("break-glass");
    let assertion = json!({"credential": credential, "authenticator_data": "", "client_data_json": "",
        "signature": ""});
    let ticket = json!({"system": "jira", "ticket": "OPS-12", "id": "10012", "change": "10124", "approved_at": time,
        "read_at": time, "scope": digest, "uses": 2, "used": 1, "until": time, "checked": ["scope", "approver"]});
    let keys = json!({"log_key": "l", "gateway_key": "g", "endorsement": "e"});
    let samples = [
        ("log.opened", keys.clone()),
        ("key.rotated", keys.clone()),
        ("log.rollback_accepted", json!({"size": 1, "mark": 2})),
        ("gateway.started", json!({"version": "1", "epoch": 1, "configuration": digest, "bundle": digest})),
        ("gateway.stopped", json!({"epoch": 1})),
        ("clock.stepped", json!({"from": time, "to": time})),
        ("policy.loaded", json!({"bundle": digest, "previous": null})),
        ("policy.rejected", json!({"errors": 1, "kept": digest})),
        ("freeze.set", json!({"scope": {"scope": "all"}})),
        ("freeze.lifted", json!({"scope": {"scope": "agent", "id": agent}})),
        ("tool.noticed", json!({"target": "shop", "definition": digest, "accepted": null})),
        ("tool.accepted", json!({"target": "shop", "definition": digest, "replaces": digest})),
        ("notification.given_up", json!({"approval": approval, "channel": "ops"})),
        ("notification.replayed", json!({"approval": approval, "channel": "ops"})),
        ("tool.refused", json!({"target": "shop", "definition": digest})),
        ("ledger.exported", json!({"from": 1, "to": 2})),
        ("ledger.read", json!({"what": "entries"})),
        ("ledger.redacted", json!({"entry": format!("ent_{ulid}"), "paths": ["payload"]})),
        ("person.invited", json!({"person": person, "groups": ["privacy"]})),
        ("person.link_issued", json!({"person": person})),
        ("person.attributes_changed", json!({"person": person})),
        ("person.groups_changed", json!({"person": person, "added": [], "removed": ["privacy"]})),
        ("person.disabled", json!({"person": person})),
        ("person.returned", json!({"person": person})),
        ("person.provisioned", json!({"person": person, "credential": credential})),
        ("provisioner.created", json!({"credential": credential, "expires": time})),
        ("provisioner.revoked", json!({"credential": credential})),
        ("approval.votes_withdrawn", json!({"approval": approval, "person": person})),
        ("delegation.set", json!({"person": person, "to": person, "from": time, "until": time})),
        ("delegation.ended", json!({"person": person, "to": person})),
        (
            "passkey.registered",
            json!({"person": person, "credential": credential, "credential_id": "a", "public_key": "b", "relying_party": "c", "origin": "d"}),
        ),
        ("passkey.removed", json!({"person": person, "credential": credential})),
        ("push.subscribed", json!({"person": person, "subscription": credential})),
        ("push.unsubscribed", json!({"person": person, "subscription": credential})),
        ("person.role_changed", json!({"person": person, "role": "auditor"})),
        ("account.linked", json!({"person": person, "provider": "corp"})),
        ("account.unlinked", json!({"person": person, "provider": "corp"})),
        ("session.opened", json!({"person": person, "assurance": "session", "reading": true})),
        ("session.closed", json!({"person": person, "everywhere": true})),
        ("signal.received", json!({"person": person, "transmitter": "okta", "signal": "session-revoked"})),
        ("agent.created", json!({"agent": agent, "principal": "agent", "owners": [person], "groups": []})),
        ("agent.changed", json!({"agent": agent, "owners": [], "groups": []})),
        (
            "token.created",
            json!({"agent": agent, "credential": credential, "on_behalf_of": person, "expires": null}),
        ),
        (
            "workload.admitted",
            json!({"agent": agent, "credential": credential, "issuer": "ci", "on_behalf_of": [person],
                "through": [agent]}),
        ),
        ("token.revoked", json!({"agent": agent, "credential": credential})),
        ("intake.refused", json!({"code": "malformed", "count": 3, "target": null})),
        ("action.refused", json!({"asked": asked, "code": "wall", "bundle": digest, "policies": ["p"]})),
        ("approval.requested", json!({"asked": asked, "round": round})),
        ("approval.round_opened", json!({"round": round, "because": "evidence"})),
        (
            "approval.voted",
            json!({"statement": statement, "assurance": "passkey", "assertion": assertion, "sign_in": {"proven_at": time, "acr": "a", "amr": ["hwk"]}, "through": {"channel": "team", "binding": credential},
                "ticket": ticket}),
        ),
        ("approval.glass_broken", json!({"statement": alone, "assertion": assertion, "told": [person]})),
        (
            "approval.glass_reviewed",
            json!({"approval": approval, "broken_by": person, "found": "not-justified"}),
        ),
        ("approval.granted", json!({"approval": approval, "use_by": time})),
        ("approval.closed", json!({"approval": approval, "closing": "lapsed", "by": {"person": person}})),
        (
            "execution.authorized",
            json!({"asked": asked, "attempt": 1, "epoch": 1, "gateway": gateway, "approval": null, "bundle": digest, "policies": ["p"], "body_bound": false}),
        ),
    ];
    let all = samples.into_iter().chain(ends()).chain(calls()).chain(bindings());
    all.map(|(kind, data)| json!({"type": kind, "data": data})).collect()
}

/// Calling people while nobody decides, and what does not count or is stopped.
fn calls() -> [(&'static str, Value); 5] {
    let approval = "apr_00000000000000000000000001";
    [
        ("approval.reminded", json!({"approval": approval, "reminder": 2})),
        ("approval.escalated", json!({"approval": approval, "step": 1, "channels": ["ops", "sre"]})),
        (
            "approval.vote_refused",
            json!({"approval": approval, "gate": null, "reason": "late", "channel": "team"}),
        ),
        ("approval.revoked_while_running", json!({"approval": approval, "by": "freeze"})),
        (
            "approval.ticket_refused",
            json!({"approval": approval, "channel": "team", "ticket": "OPS-12", "check": "unchanged"}),
        ),
    ]
}

fn bindings() -> [(&'static str, Value); 2] {
    let (person, credential) = ("per_00000000000000000000000001", "crd_00000000000000000000000001");
    let binding = json!({"person": person, "binding": credential, "channel": "team"});
    [("channel.bound", binding.clone()), ("channel.unbound", binding)]
}

/// How an execution can end.
fn ends() -> Vec<(&'static str, Value)> {
    let approval = "apr_00000000000000000000000001";
    vec![
        ("execution.released", json!({"attempt": 1, "why": "unreachable"})),
        (
            "execution.result",
            json!({"attempt": 1, "outcome": "done", "status": "200", "duration_us": 1, "bytes_sent": 2, "bytes_received": 3, "ended_by": null}),
        ),
        ("execution.outcome_unknown", json!({"attempt": 1, "why": "restart"})),
        ("execution.resolved", json!({"by": "operator", "found": "did-not-run"})),
        ("result.delivered", json!({"approval": approval})),
    ]
}

#[test]
fn every_event_is_sealed_under_its_own_name_and_reads_back() {
    let sealing = Sealing { origin: "example.com/log".into(), gateway: GatewayId::from_parts(0, 1) };
    for sample in samples() {
        let event = Event::deserialize(&sample).unwrap_or_else(|error| panic!("{sample}: {error}"));
        assert_eq!(sample.get("type").and_then(Value::as_str), Some(event.kind()));
        let draft = EntryDraft {
            id: EntryId::from_parts(0, 1),
            at: Timestamp(0),
            action: Some(ActionId::from_parts(0, 1)),
            parent: None,
            actor: Actor::Operator,
            event: event.clone(),
            private: Vec::new(),
        };
        let sealed = seal(draft, &sealing, &mut |_| {}).unwrap();
        assert_eq!(Entry::parse(&sealed.bytes).unwrap().event, event);
    }
}

#[test]
fn no_event_is_without_a_sample() {
    let unknown = Event::deserialize(json!({"type": "?", "data": {}})).unwrap_err().to_string();
    let (_, known) = unknown.split_once("expected one of ").unwrap();
    assert_eq!(known.split(", ").count(), samples().len());
}
