//! The words of the product and its pure rules: who asks, for what, what was decided, and the life of an
//! approval. Nothing here waits, reads a clock, draws randomness or touches a disk.

pub mod action;
pub mod approval;
pub mod canonical;
pub mod certificate;
pub mod decision;
pub mod definition;
pub mod digest;
pub mod evidence;
pub mod id;
pub mod principal;
pub mod sign_in;
pub mod statement;
pub mod ticket;
pub mod time;
pub mod visible;

pub use action::{Action, Body, Class, Operation, Payload, Resource};
pub use approval::{Approval, Assurance};
pub use certificate::ClientCertificate;
pub use decision::{Decision, Refusal, RefusalCode, Terms};
pub use digest::Digest;
pub use evidence::Evidence;
pub use id::{
    ActionId, AgentId, ApprovalId, BundleDigest, ChannelName, CredentialId, EntryId, EnvironmentName,
    GateName, GatewayId, GroupName, PersonId, PolicyId, TargetName,
};
pub use principal::{Caller, PrincipalId, PrincipalKind, Requester};
pub use sign_in::{SignIn, SignInTerms};
pub use ticket::{TicketCheck, TicketKey};
pub use time::Timestamp;
