//! `countersign policy`: checks the files, and explains what they say of an action.

use crate::{
    cli::{Output, PolicyCommand},
    failure::Failure,
    output,
    system::SystemClock,
    wiring,
};
use countersign_core::Action;
use countersign_engine::port::clock::Clock;
use serde_json::json;
use std::{io::Read, path::Path};

pub(super) fn run(config: &Path, command: PolicyCommand, output: Output) -> Result<(), Failure> {
    let config = super::load(config)?;
    match command {
        PolicyCommand::Check { path } => {
            let path = path.unwrap_or_else(|| config.policy.clone());
            let bundle = wiring::load_bundle(&path, &config)?;
            let rules = bundle.rules().count();
            let told = json!({"bundle": bundle.digest(), "files": bundle.sources().len(), "rules": rules});
            output::show(output, &told, |_| {
                let files = wiring::counted(bundle.sources().len(), "file");
                format!("{} in {files} hold.\nbundle {}", wiring::counted(rules, "rule"), bundle.digest())
            })
        }
        PolicyCommand::Why { action } => {
            let action = read_action(&action)?;
            let bundle = wiring::load_bundle(&config.policy, &config)?;
            let explanation = bundle.explain(&action, SystemClock.now());
            let told = serde_json::to_value(&explanation)
                .map_err(|error| Failure::of("the explanation cannot be written", &error))?;
            output::show(output, &told, |_| explanation.to_string())
        }
    }
}

fn read_action(path: &Path) -> Result<Action, Failure> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::usage(format!("`{}` cannot be read: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("`{}` is not an action: {error}", path.display()))
            .hint("save the `action` of `GET /api/v1/approvals/{id}`, or see the guide to policies")
    })
}
