//! The commands, a file each.

mod agent;
mod approvals;
mod channel;
mod check;
mod demo;
mod export;
mod freeze;
mod inbox;
mod init;
mod log;
mod login;
mod mcp;
mod person;
mod policy;
mod scim;
mod serve;
mod target;
mod verify;

use crate::{
    cli::{Cli, Command},
    config::{self, Config},
    failure::Failure,
    operator::Door,
    wiring::counted,
};
use std::path::Path;

/// Does what the command line asks.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let (output, path) = (cli.output, cli.config);
    match cli.command {
        Command::Demo(args) => demo::run(&args, output).await,
        Command::Init { folder } => init::run(&folder, output),
        Command::Check => check::run(&path, output),
        Command::Serve => serve::run(load(&path)?).await,
        Command::Person(command) => person::run(&door(&path).await?, command, output).await,
        Command::Agent(command) => agent::run(&door(&path).await?, command, output).await,
        Command::Scim(command) => scim::run(&door(&path).await?, command, output).await,
        Command::Target(command) => target::run(&load(&path)?, &command, output),
        Command::Mcp(command) => Box::pin(mcp::run(&path, command, output)).await,
        Command::Approvals(command) => approvals::run(&door(&path).await?, command, output).await,
        Command::Login { console, ca, label } => login::login(&console, ca, label, output).await,
        Command::Logout => login::logout(output).await,
        Command::Inbox { once } => inbox::run(once, output).await,
        Command::Channel(command) => channel::run(&path, command, output).await,
        Command::Policy(command) => policy::run(&path, command, output),
        Command::Export(args) => export::run(&door(&path).await?, &args, output).await,
        Command::Verify { bundle, key } => verify::run(&bundle, &key, output),
        Command::Freeze(command) => freeze::run(&door(&path).await?, command, output).await,
        Command::Log(command) => Box::pin(log::run(load(&path)?, command, output)).await,
    }
}

async fn door(path: &Path) -> Result<Door, Failure> {
    Door::open(load(path)?).await
}

/// The configuration, or everything that is wrong with it.
fn load(path: &Path) -> Result<Config, Failure> {
    config::load(path).map_err(|mistakes| {
        let list = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Failure::usage(format!("{} in the configuration:\n{list}", counted(mistakes.len(), "mistake")))
            .hint("mend them and run `countersign check`")
    })
}
