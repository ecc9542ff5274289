//! `countersign policy`: checks the files, and explains what they say of an action.

mod question;

use crate::{
    cli::{Output, PolicyCommand},
    config::Config,
    failure::Failure,
    output,
    system::SystemClock,
    wiring,
};
use countersign_engine::port::clock::Clock;
use countersign_policy::Bundle;
use question::Question;
use serde_json::json;
use std::{io::Read, path::Path};

pub(super) fn run(config: &Path, command: PolicyCommand, output: Output) -> Result<(), Failure> {
    let config = super::load(config)?;
    match command {
        PolicyCommand::Check { path } => {
            let path = path.unwrap_or_else(|| config.policy.clone());
            let bundle = loaded(&path, &config)?;
            let rules = bundle.rules().count();
            let mut warnings: Vec<String> = bundle.idle_deferrals().iter().map(ToString::to_string).collect();
            warnings.extend(on_call_alone(&bundle, &config));
            let told = json!({"bundle": bundle.digest(), "files": bundle.sources().len(),
                "files_digest": bundle.files_digest(), "rules": rules, "warnings": warnings});
            output::show(output, &told, |_| {
                let files = wiring::counted(bundle.sources().len(), "file");
                let rules = wiring::counted(rules, "rule");
                let warned = warnings.iter().map(|warning| format!("\nwarning: {warning}"));
                format!(
                    "{rules} in {files} hold.\nbundle {}\nfiles  {}{}",
                    bundle.digest(),
                    bundle.files_digest(),
                    warned.collect::<String>()
                )
            })
        }
        PolicyCommand::Schema => {
            let bundle = loaded(&config.policy, &config)?;
            let schema = bundle.schema_text().ok_or_else(|| Failure::new("the schema cannot be written"))?;
            output::show(output, &json!({"schema": schema}), |_| schema.clone())
        }
        PolicyCommand::Why { action } => {
            let action = read_question(&action)?.action(&config, SystemClock.now())?;
            let bundle = loaded(&config.policy, &config)?;
            let explanation = bundle.explain(&action, SystemClock.now());
            let told = serde_json::to_value(&explanation)
                .map_err(|error| Failure::of("the explanation cannot be written", &error))?;
            output::show(output, &told, |_| format!("{}\n\n{explanation}", action.sentence))
        }
    }
}

/// The bundle of these files, or everything that is wrong with them.
pub(super) fn loaded(path: &Path, config: &Config) -> Result<Bundle, Failure> {
    let known = wiring::peek_accepted(config)?;
    let vocabulary = wiring::with_accepted(&config.vocabulary, known.iter());
    wiring::load_bundle(path, &vocabulary).map_err(|errors| wiring::policy_mistakes(&errors))
}

/// Warnings of gates that nobody but whoever is on call decides.
pub(super) fn on_call_alone(bundle: &Bundle, config: &Config) -> Vec<String> {
    bundle.resting_on(&config.settings.on_call).iter().map(ToString::to_string).collect()
}

fn read_question(path: &Path) -> Result<Question, Failure> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    let path = path.display();
    read.map_err(|error| {
        Failure::usage(format!("`{path}` cannot be read: {error}")).hint(question::EXAMPLE)
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("`{path}` is not an action: {error}")).hint(question::EXAMPLE)
    })
}
