//! What a gateway records, step by step, so that tests can tell honest and dishonest stories.

use crate::{
    assertion::tests::{ORIGIN, RELYING_PARTY, SoftKey, authenticator_data, client_data},
    bundle_digest,
    event::{
        Actor, Asked, Assertion, Authorization, ClosedAs, Event, Found, GateTerms, Judged, Recording,
        ResultFacts, RoundTerms, Through, TicketVote,
    },
    testlog::{Log, POLICY},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    ActionId, AgentId, ApprovalId, Assurance, ChannelName, CredentialId, Digest, EnvironmentName, GateName,
    GatewayId, PersonId, SignIn, TargetName, Timestamp,
    approval::{Outcome, Taker},
    decision::Approvers,
    statement::{Statement, Verdict},
};

pub(super) struct Story {
    pub(super) log: Log,
    /// The passkeys of persons 1 to 4.
    pub(super) passkeys: Vec<SoftKey>,
    nonce: u64,
}

pub(super) fn person(n: u128) -> PersonId {
    PersonId::from_parts(0, n)
}

pub(super) fn action(n: u128) -> ActionId {
    ActionId::from_parts(0, n)
}

pub(super) fn approval(n: u128) -> ApprovalId {
    ApprovalId::from_parts(0, n)
}

pub(super) fn credential(n: u128) -> CredentialId {
    CredentialId::from_parts(0, n)
}

pub(super) fn through(channel: &str, n: u128) -> Through {
    Through { channel: ChannelName::new(channel).unwrap(), binding: credential(n) }
}

pub(super) fn agent() -> Actor {
    Actor::Agent { id: AgentId::from_parts(0, 1), credential: credential(99) }
}

pub(super) fn asked(n: u128) -> Asked {
    Asked {
        class: "export".into(),
        digest: Digest::of(&n.to_be_bytes()),
        environment: EnvironmentName::new("prod").unwrap(),
        on_behalf_of: vec![person(9)],
        operation: "exportCustomers".into(),
        target: TargetName::new("crm").unwrap(),
        wire: "http".into(),
    }
}

pub(super) fn gate(name: &str, quorum: u32, assurance: Assurance) -> GateTerms {
    GateTerms {
        gate: GateName::new(name).unwrap(),
        quorum,
        assurance,
        distinct: false,
        groups: ["privacy"].map(|name| countersign_core::GroupName::new(name).unwrap()).into(),
        people: [].into(),
        policies: [].into(),
        break_glass: None,
        sign_in: None,
        tickets: [].into(),
    }
}

/// The same, where those of `sre` may lift it alone.
pub(super) fn glass(name: &str, quorum: u32) -> GateTerms {
    let groups = ["sre"].map(|name| countersign_core::GroupName::new(name).unwrap()).into();
    let alone = Approvers { groups, people: [].into() };
    GateTerms { break_glass: Some(alone), ..gate(name, quorum, Assurance::Passkey) }
}

pub(super) fn authorization(n: u128, attempt: u32, by: Option<ApprovalId>) -> Event {
    Event::ExecutionAuthorized(Authorization {
        asked: asked(n),
        attempt,
        epoch: 1,
        gateway: GatewayId::from_parts(0, 1),
        approval: by,
        bundle: bundle_digest(POLICY),
        policies: [].into(),
        body_bound: true,
        recording: Recording::First,
    })
}

/// Recorded a moment after it ran.
pub(super) fn deferred(n: u128, class: &str, by: Option<ApprovalId>) -> Event {
    let Event::ExecutionAuthorized(facts) = authorization(n, 1, by) else { unreachable!() };
    let asked = Asked { class: class.into(), ..facts.asked };
    Event::ExecutionAuthorized(Authorization { asked, recording: Recording::Deferred, ..facts })
}

pub(super) fn result(attempt: u32) -> Event {
    Event::ExecutionResult(ResultFacts {
        attempt,
        outcome: Outcome::Done,
        status: "200".into(),
        duration_us: 5,
        bytes_sent: 6,
        bytes_received: 7,
        ended_by: None,
        kept: None,
    })
}

/// A vote before it is signed; tests change what they like.
pub(super) struct Vote {
    pub(super) statement: Statement,
    pub(super) actor: Actor,
    pub(super) assurance: Assurance,
    /// Whose passkey signs.
    pub(super) signer: u128,
    /// The credential the assertion names.
    pub(super) credential: CredentialId,
    pub(super) sign_in: Option<SignIn>,
    pub(super) through: Option<Through>,
    pub(super) ticket: Option<TicketVote>,
}

impl Story {
    /// A log in which persons 1 to 4 have registered passkeys (entries 1 to 4).
    pub(super) fn begin() -> Self {
        let mut story =
            Self { log: Log::new(), passkeys: (0..4).map(|_| SoftKey::new()).collect(), nonce: 0 };
        for n in 1..=4 {
            story.register(n);
        }
        story
    }

    fn register(&mut self, n: u128) {
        let key = &self.passkeys[usize::try_from(n).unwrap() - 1];
        let event = Event::PasskeyRegistered {
            person: person(n),
            credential: credential(n),
            credential_id: "aWQ".into(),
            public_key: URL_SAFE_NO_PAD.encode(key.cose()),
            relying_party: RELYING_PARTY.into(),
            origin: ORIGIN.into(),
        };
        self.log.add(None, Actor::Person { id: person(n) }, event);
    }

    pub(super) fn add(&mut self, n: u128, actor: Actor, event: Event) {
        self.log.add(Some(action(n)), actor, event);
    }

    pub(super) fn round(&self, n: u128, number: u32, gates: Vec<GateTerms>) -> RoundTerms {
        RoundTerms {
            approval: approval(n),
            number,
            bundle: bundle_digest(POLICY),
            evidence: Digest([1; 32]),
            view: Digest([2; 32]),
            deadline: Timestamp(self.log.now + 600_000_000),
            gates,
            excluded: [person(9)].into(),
        }
    }

    pub(super) fn request(&mut self, n: u128, gates: Vec<GateTerms>) {
        let event = Event::ApprovalRequested { asked: asked(n), round: self.round(n, 1, gates) };
        let private = [("sentence", "exports all customers"), ("payload", "hunter2")];
        self.log.append(Some(action(n)), agent(), event, if n == 2 || n == 3 { &private } else { &[] });
        self.log.commit();
    }

    pub(super) fn ballot(&mut self, n: u128, round: u32, gate: &str, voter: u128) -> Vote {
        self.nonce += 1;
        Vote {
            statement: Statement {
                approval: approval(n),
                round,
                gate: GateName::new(gate).unwrap(),
                decision: Verdict::Approve,
                voter: person(voter),
                on_behalf_of: None,
                action_digest: asked(n).digest,
                bundle_digest: bundle_digest(POLICY),
                evidence_digest: Digest([1; 32]),
                view_digest: Digest([2; 32]),
                nonce: Digest::of(&self.nonce.to_be_bytes()).hex(),
                expires: Timestamp(self.log.now + 60_000_000),
            },
            actor: Actor::Person { id: person(voter) },
            assurance: Assurance::Passkey,
            signer: voter,
            credential: credential(voter),
            sign_in: None,
            through: None,
            ticket: None,
        }
    }

    /// The entry of a vote, signed by its signer's passkey.
    pub(super) fn voted(&self, vote: &Vote) -> Event {
        let assertion = (vote.assurance == Assurance::Passkey).then(|| self.signed(vote));
        let (statement, sign_in) = (vote.statement.clone(), vote.sign_in.clone());
        let (through, ticket) = (vote.through.clone(), vote.ticket.clone().map(Box::new));
        Event::ApprovalVoted { statement, assurance: vote.assurance, assertion, sign_in, through, ticket }
    }

    fn signed(&self, vote: &Vote) -> Assertion {
        let signer = &self.passkeys[usize::try_from(vote.signer).unwrap() - 1];
        let challenge = vote.statement.challenge().unwrap();
        let data = authenticator_data(RELYING_PARTY, 0x05, b"");
        let parts = signer.sign(&data, &client_data("webauthn.get", challenge.as_bytes(), ORIGIN, ""));
        Assertion {
            credential: vote.credential,
            authenticator_data: URL_SAFE_NO_PAD.encode(parts.authenticator_data),
            client_data_json: URL_SAFE_NO_PAD.encode(parts.client_data_json),
            signature: URL_SAFE_NO_PAD.encode(parts.signature),
        }
    }

    /// A break-glass before it is signed.
    pub(super) fn alone(&mut self, n: u128, gate: &str, voter: u128) -> Vote {
        let mut vote = self.ballot(n, 1, gate, voter);
        vote.statement.decision = Verdict::BreakGlass;
        vote
    }

    pub(super) fn shatter(&mut self, n: u128, vote: &Vote, told: &[u128]) {
        let (statement, assertion) = (vote.statement.clone(), self.signed(vote));
        let told = told.iter().copied().map(person).collect();
        self.add(
            n,
            vote.actor.clone(),
            Event::ApprovalGlassBroken { statement, assertion, told, sign_in: None },
        );
    }

    pub(super) fn reviewed(&mut self, n: u128, broken_by: u128, actor: Actor) {
        let (approval, broken_by) = (approval(n), person(broken_by));
        self.add(n, actor, Event::ApprovalGlassReviewed { approval, broken_by, found: Judged::Justified });
    }

    /// Two gates lifted by one person alone; run, and reviewed by another.
    pub(super) fn broken_and_reviewed(&mut self, n: u128) {
        self.request(n, vec![glass("data", 2), glass("finance", 1)]);
        let vote = self.alone(n, "data", 1);
        self.shatter(n, &vote, &[2, 3]);
        self.grant(n);
        self.run(n, 1);
        self.reviewed(n, 1, Actor::Person { id: person(2) });
    }

    pub(super) fn cast(&mut self, n: u128, vote: &Vote) {
        let event = self.voted(vote);
        self.add(n, vote.actor.clone(), event);
    }

    pub(super) fn vote(&mut self, n: u128, round: u32, gate: &str, voter: u128) {
        let vote = self.ballot(n, round, gate, voter);
        self.cast(n, &vote);
    }

    pub(super) fn grant(&mut self, n: u128) {
        let use_by = Timestamp(self.log.now + 300_000_000);
        self.add(n, Actor::Gateway, Event::ApprovalGranted { approval: approval(n), use_by });
    }

    pub(super) fn close(&mut self, n: u128, closing: ClosedAs) {
        let by = (closing == ClosedAs::Revoked).then_some(Taker::Operator);
        self.add(n, Actor::Gateway, Event::ApprovalClosed { approval: approval(n), closing, by });
    }

    pub(super) fn run(&mut self, n: u128, attempt: u32) {
        self.add(n, Actor::Gateway, authorization(n, attempt, Some(approval(n))));
        self.add(n, Actor::Gateway, result(attempt));
    }

    /// Held on one gate, `data`, that needs two people with passkeys; granted.
    pub(super) fn granted(&mut self, n: u128) {
        self.request(n, vec![gate("data", 2, Assurance::Passkey)]);
        self.vote(n, 1, "data", 1);
        self.vote(n, 1, "data", 2);
        self.grant(n);
    }

    pub(super) fn permitted(&mut self, n: u128) {
        self.add(n, agent(), authorization(n, 1, None));
        self.add(n, Actor::Gateway, result(1));
    }

    pub(super) fn approved_by_two(&mut self, n: u128) {
        self.granted(n);
        self.run(n, 1);
        self.add(n, Actor::Gateway, Event::ResultDelivered { approval: approval(n) });
    }

    pub(super) fn rejected(&mut self, n: u128) {
        self.request(n, vec![gate("data", 1, Assurance::Session)]);
        let mut vote = self.ballot(n, 1, "data", 3);
        vote.statement.decision = Verdict::Reject;
        vote.assurance = Assurance::Session;
        self.cast(n, &vote);
        self.close(n, ClosedAs::Rejected);
    }

    pub(super) fn revoked(&mut self, n: u128) {
        self.granted(n);
        self.close(n, ClosedAs::Revoked);
    }

    pub(super) fn unknown_and_resolved(&mut self, n: u128) {
        self.granted(n);
        self.add(n, Actor::Gateway, authorization(n, 1, Some(approval(n))));
        self.add(n, Actor::Gateway, Event::ExecutionUnknown { attempt: 1, why: "gateway restarted".into() });
        let by = Taker::Person(person(3));
        self.add(
            n,
            Actor::Person { id: person(3) },
            Event::ExecutionResolved { by, found: Found::DidNotRun },
        );
    }

    pub(super) fn taken_back_and_run_again(&mut self, n: u128) {
        self.granted(n);
        self.add(n, Actor::Gateway, authorization(n, 1, Some(approval(n))));
        self.add(n, Actor::Gateway, Event::ExecutionReleased { attempt: 1, why: "unreachable".into() });
        self.run(n, 2);
    }

    /// Granted once; then a new gate matched, and the gate was lifted by another person.
    pub(super) fn second_round(&mut self, n: u128) {
        self.granted(n);
        let mut extra = gate("finance", 1, Assurance::Session);
        extra.distinct = true;
        let round = self.round(n, 2, vec![extra]);
        self.add(n, Actor::Gateway, Event::ApprovalRoundOpened { round, because: None });
        self.vote(n, 2, "finance", 4);
        self.grant(n);
        self.run(n, 1);
    }

    pub(super) fn voted_once_but_granted(&mut self, n: u128) {
        self.request(n, vec![gate("data", 2, Assurance::Passkey)]);
        self.vote(n, 1, "data", 1);
        self.vote(n, 1, "data", 1);
        self.grant(n);
        self.run(n, 1);
    }
}
