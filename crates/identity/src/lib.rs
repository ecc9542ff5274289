//! Who is calling, and who the people are: a credential on a wire becomes a principal, a browser becomes a
//! signed-in person, a passkey's signature becomes a vote's assertion.
//!
//! One door: [`Directory`]. It answers from memory and changes memory only after the store has made the change
//! and its ledger entry durable. It never decides whether something may run, never sees a target, and never
//! keeps a secret: tokens, links and session cookies are stored as SHA-256 only.

mod attempts;
mod cookie;
mod devices;
mod directory;
mod email;
mod error;
mod issuer;
mod jose;
mod memory;
mod outward;
mod record;
mod secret;
mod seen;
mod settings;
mod sign_in;
mod signals;
mod trust;
mod vouch;
mod webauthn;

pub use cookie::CookieRule;
pub use directory::{
    Author, Directory,
    agents::{AgentChange, NewAgent, NewToken},
    bindings::Proposed,
    chain::Behind,
    people::{Link, NewPerson},
    providers::{Answer, Arrived, Begun, Offered, is_ours},
    provisioning::{Since, Told},
    reading::{DeviceAsks, DeviceBegun, Polled},
    rosters::Followed,
    sessions::{OpenSession, SessionInfo, SignedIn, Visitor},
    signals::{Answered, Fetched},
    subscriptions::NewSubscription,
    workloads::IssuerSeen,
};
pub use email::EmailAddress;
pub use error::IdentityError;
pub use issuer::{
    Behalf, Description, Issuer, KeySource, Pattern, PatternError, Rule, Template, TemplateError,
    keyring::KeysSeen,
};
pub use jose::Algorithm;
pub use outward::{Outward, OutwardError, SecretSource, is_safe};
pub use record::{
    agent::{Agent, Token, Workload},
    link::LinkKind,
    passkey::Passkey,
    person::{Account, Binding, Delegation, Person, PersonState, Role},
    provisioner::Provisioner,
    session::SessionId,
    subscription::{Subscription, Trouble},
};
pub use secret::{Secret, token::has_personal_shape};
pub use seen::Seen;
pub use settings::{Settings, SettingsError};
pub use sign_in::Provider;
pub use signals::{Heard, Poll, SignalError, Transmitter, TransmitterSeen};
pub use vouch::{NotVouched, Vouched, Voucher};
