//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use countersign_pep::Span;
use std::path::PathBuf;

/// An identity-aware proxy with action-level approvals for AI agents and automation.
///
/// Exit status: 0 done, 1 it did not work, 2 the command line or a file is wrong, 3 something was checked and does
/// not hold.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// How results are printed.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// The configuration file.
    #[arg(long, short, global = true, env = "COUNTERSIGN_CONFIG", default_value = "countersign.toml")]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole product on this machine with a scripted agent, nothing else needed.
    Demo(DemoArgs),
    /// Write a commented configuration and starting policies.
    Init {
        /// The folder to write into.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Report every problem of the configuration at once, and what it resolves to.
    Check,
    /// Run the gateway.
    Serve,
    /// People who decide.
    #[command(subcommand)]
    Person(PersonCommand),
    /// Agents and services, and their tokens.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Directories that say which people there are, through SCIM.
    #[command(subcommand)]
    Scim(ScimCommand),
    /// Where actions go.
    #[command(subcommand)]
    Target(TargetCommand),
    /// MCP servers: what they say of their tools and what of it was accepted, and the shim for clients that start servers.
    #[command(subcommand)]
    Mcp(McpCommand),
    /// What waits, and what was decided.
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Sign this command line in at a console, for reading; you allow it there.
    Login {
        /// The console's address, such as `https://countersign.example.com`.
        console: String,
        /// Authorities (PEM) to believe instead of the public ones.
        #[arg(long)]
        ca: Option<PathBuf>,
        /// What you are asked about there; this machine's name when not given.
        #[arg(long)]
        label: Option<String>,
    },
    /// End what `login` began.
    Logout,
    /// What waits for you, live; deciding opens the page. Needs `login`.
    Inbox {
        /// Print it once.
        #[arg(long)]
        once: bool,
    },
    /// Ways on which people and systems are told of approvals.
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Policy files.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Write a range of the ledger into one file that can be verified offline.
    Export(ExportArgs),
    /// Check an exported file with nothing but a public key.
    Verify {
        bundle: PathBuf,
        /// The log's public key, as printed by `countersign log key`.
        #[arg(long)]
        key: String,
    },
    /// Stop everything, one agent or one target at once.
    #[command(subcommand)]
    Freeze(FreezeCommand),
    /// The ledger's keys and its high-water mark.
    #[command(subcommand)]
    Log(LogCommand),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Play the whole story without a person, verify the log, print what was observed, and stop.
    #[arg(long)]
    pub(crate) once: bool,
    /// The console's port; the gateway takes the next three. Ignored with `--once`.
    #[arg(long, default_value_t = 7100)]
    pub(crate) port: u16,
    /// Keep the demo's data here instead of a temporary folder.
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PersonCommand {
    /// Invite a person; prints a one-time enrolment link.
    Invite {
        email: String,
        /// What people call them; the part before the `@` when not given.
        #[arg(long)]
        name: Option<String>,
        #[arg(long = "group")]
        groups: Vec<String>,
        #[arg(long, value_enum, default_value_t = RoleArg::Reviewer)]
        role: RoleArg,
    },
    /// Everyone there is.
    List,
    /// Transmitters of shared signals, and how they are doing.
    Signals,
    /// Print a new one-time link for a person who lost theirs. Of a lost passkey, remove it first.
    Link { email: String },
    /// A person's passkeys; or remove one that is lost.
    Passkeys {
        email: String,
        /// The id of the one to remove.
        #[arg(long)]
        remove: Option<String>,
    },
    /// Users of channels who speak for a person, or for everybody; or end what one of them may.
    Bindings {
        email: Option<String>,
        /// The id of the one to end.
        #[arg(long, requires = "email")]
        remove: Option<String>,
    },
    /// End every session of a person.
    SignOut { email: String },
    /// Put a person into groups or take them out.
    Groups {
        email: String,
        #[arg(long)]
        add: Vec<String>,
        #[arg(long)]
        remove: Vec<String>,
    },
    /// Say what a person may do beside voting.
    Role {
        email: String,
        #[arg(value_enum)]
        role: RoleArg,
    },
    /// Have somebody vote in a person's place while they are away.
    Away {
        email: String,
        /// E-mail of whoever votes in their place.
        #[arg(long, required_unless_present = "end")]
        to: Option<String>,
        /// Such as `2026-12-24T17:00:00Z`.
        #[arg(long, required_unless_present = "end")]
        from: Option<String>,
        /// 90 days after `--from` at most.
        #[arg(long, required_unless_present = "end")]
        until: Option<String>,
        /// End it now, or before it begins.
        #[arg(long, conflicts_with_all = ["to", "from", "until"])]
        end: bool,
    },
    /// End a person's sessions and votes.
    Disable { email: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    Reviewer,
    Auditor,
    Administrator,
    /// Freezes, lifts freezes and resolves; never votes.
    Operator,
}

impl RoleArg {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reviewer => "reviewer",
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
            Self::Operator => "operator",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Make an agent known.
    Create {
        name: String,
        /// E-mail of the person who answers for it, and who can never approve for it.
        #[arg(long)]
        owner: String,
        #[arg(long = "group")]
        groups: Vec<String>,
        #[arg(long = "clearance")]
        clearances: Vec<String>,
        #[arg(long, value_enum, default_value_t = KindArg::Agent)]
        kind: KindArg,
    },
    /// Every agent there is.
    List,
    /// Who can never approve what an agent asks, and why.
    Chain { name: String },
    /// What agents did lately, and the permits they did not use.
    Activity {
        /// How far back, 90 at most.
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Issuers whose signed tokens are believed, and how their keys are doing.
    Issuers,
    /// An agent's credentials.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    Agent,
    Service,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; it is shown this once.
    Create {
        agent: String,
        #[arg(long, default_value = "cli")]
        label: String,
        /// Such as `30d`; without it the token does not expire.
        #[arg(long)]
        expires: Option<String>,
        /// E-mail of the person the agent acts for with this token.
        #[arg(long = "for")]
        on_behalf_of: Option<String>,
    },
    /// An agent's tokens, without their secrets.
    List { agent: String },
    /// Make a token worthless from now on.
    Revoke { id: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScimCommand {
    /// What a provisioning client comes with.
    #[command(subcommand)]
    Token(ScimTokenCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScimTokenCommand {
    /// Make a token; it is shown this once.
    Create {
        #[arg(long, default_value = "scim")]
        label: String,
        /// Such as `90d`; without it the token does not expire.
        #[arg(long)]
        expires: Option<String>,
    },
    /// Every token, without its secret.
    List,
    /// Make a token worthless from now on.
    Revoke { id: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Every configured target.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum McpCommand {
    /// Be an MCP server on standard input and output, with the gateway's target behind it.
    Stdio {
        /// The target's endpoint at the gateway, such as `https://gateway.example.com/mcp`, or the name of a target in the
        /// configuration.
        target: String,
        /// Where the agent's token is: `env:NAME` or `file:PATH`, never the token.
        #[arg(long, default_value = "env:COUNTERSIGN_TOKEN")]
        token: String,
        /// Trust these authorities (PEM) instead of the public ones.
        #[arg(long)]
        ca: Option<PathBuf>,
    },
    /// Ask a server which tools it has now, and say where each stands. With an address in place of a target's name: a server
    /// that is not configured yet.
    Inspect {
        /// A target's name, or a server's endpoint, such as `https://mcp.example.com/mcp`.
        target: String,
        /// Say of each tool what policy makes of a call by this agent, without arguments.
        #[arg(long)]
        agent: Option<String>,
        #[command(flatten)]
        first: FirstArgs,
    },
    /// What a tool is described as, and what is different from what was accepted.
    Show { target: String, tool: String },
    /// Accept tools as they are described now: agents may call them where policy allows it.
    Accept {
        target: String,
        tools: Vec<String>,
        /// Every tool that waits, except those in which something is flagged.
        #[arg(long, conflicts_with = "tools", required_unless_present_any = ["tools", "pins"])]
        all: bool,
        /// Those that this file of `countersign mcp inspect` names, as far as the server still describes them so.
        #[arg(long, conflicts_with_all = ["tools", "all"])]
        pins: Option<PathBuf>,
    },
    /// Refuse tools as they are described now, accepted or not.
    Refuse {
        target: String,
        #[arg(required = true)]
        tools: Vec<String>,
    },
}

/// What a server that is not configured yet is asked with, and what is written for it.
#[derive(Debug, Args)]
pub(crate) struct FirstArgs {
    /// Write a section, policies and pins to begin with into this folder, over nothing that is there.
    #[arg(long, conflicts_with = "agent")]
    pub(crate) write: Option<PathBuf>,
    /// What it is to be called; a part of its host's name when not given.
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[arg(long, default_value = "prod")]
    pub(crate) environment: String,
    /// Where the server's token is: `env:NAME` or `file:PATH`, never the token.
    #[arg(long)]
    pub(crate) credential: Option<String>,
    /// Trust these authorities (PEM) instead of the public ones.
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// The group whose agents may call its tools.
    #[arg(long, default_value = "platform-agents")]
    pub(crate) agents: String,
    /// The group that is asked.
    #[arg(long, default_value = "sre")]
    pub(crate) approvers: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// Approvals, newest first.
    List {
        /// Only these.
        #[arg(long, value_parser = [
            "pending", "granted", "executing", "done", "rejected", "lapsed", "revoked", "withdrawn", "unknown",
        ])]
        status: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One approval. Deciding opens the page: no token that can vote is kept on a disk.
    Show { id: String },
    /// Break-glasses that nobody else has reviewed yet. Reviewing one opens the page.
    Reviews,
    /// Take an approval back; what runs under it is cancelled.
    Revoke {
        id: String,
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChannelCommand {
    /// Every channel, and how it has fared.
    List,
    /// Walk through setting one up: asks what it needs and adds its section to the configuration.
    Add {
        kind: ChannelKind,
        /// What it is called here; asked for when not given.
        #[arg(long)]
        name: Option<String>,
    },
    /// Send a test message from here, as the gateway would, and say whether it was taken.
    Test {
        name: String,
        /// Of a channel that writes to people: to whom, by e-mail or id.
        #[arg(long)]
        person: Option<String>,
        /// Wait so long until somebody there is heard by the gateway, such as `2m`.
        #[arg(long, value_name = "SPAN")]
        answer_within: Option<Span>,
    },
    /// Tell a channel once more what was given up, of one approval or of all.
    Replay {
        name: String,
        #[arg(long)]
        approval: Option<String>,
    },
}

/// What is spoken on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChannelKind {
    Slack,
    Teams,
    Email,
    Push,
    Webhook,
    Pagerduty,
    Opsgenie,
    Jira,
    Servicenow,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Report every mistake of the policy files at once.
    Check {
        /// A file or folder; the configured one when not given.
        path: Option<PathBuf>,
    },
    /// Print every name a policy may use, as a Cedar schema: what the configuration declares, and the arguments of tools
    /// that were accepted.
    Schema,
    /// Explain what the policies say of an action: every permit, wall and gate, and what would lift it.
    Why {
        /// Who asks for which request, as JSON: `{"groups": [...], "target": "...", "method": "...", "path": "..."}`;
        /// `-` reads standard input.
        action: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// The action's id.
    pub(crate) action: String,
    /// The key it was kept under: `env:NAME` or `file:PATH`.
    #[arg(long)]
    pub(crate) key_from: String,
    /// An export with disclosed values (`--disclose all`) to read it from, without a gateway; `countersign verify` says
    /// whether it is genuine.
    #[arg(long)]
    pub(crate) from_export: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// First tree index.
    #[arg(long, default_value_t = 0)]
    pub(crate) from: u64,
    /// Tree index after the last one; the newest when not given.
    #[arg(long)]
    pub(crate) to: Option<u64>,
    /// Which private values are disclosed.
    #[arg(long, value_enum, default_value_t = Disclose::None)]
    pub(crate) disclose: Disclose,
    /// The file to write.
    #[arg(long, default_value = "countersign-export.jsonl")]
    pub(crate) file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Disclose {
    None,
    All,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FreezeCommand {
    /// Nothing runs any more, and what runs is cancelled.
    All,
    /// One agent, by name.
    Agent { name: String },
    /// One target, by name.
    Target { name: String },
    /// What is frozen.
    List,
    /// Lift a freeze: `all`, `agent NAME` or `target NAME`.
    Lift {
        #[arg(value_parser = ["all", "agent", "target"])]
        what: String,
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print the log's public key, for `countersign verify --key`.
    Key,
    /// Check every entry, batch and signature in the database. The gateway must not run.
    Audit,
    /// Bring a folder of C2SP tiles, entries and the newest checkpoint up to date, for readers and mirrors.
    Tiles { folder: PathBuf },
    /// Erase private values of an entry, with an entry that says so; its commitments and every proof stand.
    Redact {
        /// The entry's id, as its action's timeline shows it.
        entry: String,
        /// What to erase, such as `request_body`.
        #[arg(required = true)]
        paths: Vec<String>,
        #[arg(long)]
        reason: String,
    },
    /// Print what was kept of an action's result, where policy asked for that (`@keep_results`).
    Results(ResultsArgs),
    /// Put new keys in force; the old ones sign the change. The gateway must not run.
    RotateKeys,
    /// Accept a log that is behind its high-water mark, after a restore; this is recorded. The gateway must not run.
    AcceptRollback,
}
