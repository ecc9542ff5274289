//! `countersign init`: a working configuration and policies, commented, never over existing files.

use crate::{cli::Output, failure::Failure, output};
use serde_json::json;
use std::{fs, io::Write, path::Path};

const FILES: [(&str, &str); 3] = [
    ("countersign.toml", include_str!("init/countersign.toml")),
    ("policy/10-access.cedar", include_str!("init/10-access.cedar")),
    ("policy/20-gates.cedar", include_str!("init/20-gates.cedar")),
];

pub(super) fn run(folder: &Path, output: Output) -> Result<(), Failure> {
    let taken: Vec<_> =
        FILES.iter().map(|(name, _)| folder.join(name)).filter(|path| path.exists()).collect();
    if let Some(path) = taken.first() {
        return Err(Failure::usage(format!("`{}` is there already; nothing was written", path.display()))
            .hint("choose another folder, or move the file away"));
    }
    for (name, text) in FILES {
        let path = folder.join(name);
        let io = |error: std::io::Error| {
            Failure::of(&format!("`{}` could not be written", path.display()), &error)
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
    }
    let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    output::show(output, &json!({"folder": folder, "written": names}), |_| {
        format!(
            "Wrote {} into {}.\n\nNext:\n  countersign check                      every problem at once\n  countersign person invite you@example.com --group sre\n  countersign agent create deploy-bot --owner you@example.com --group platform-agents\n  countersign agent token create deploy-bot\n  countersign serve",
            names.join(", "),
            folder.display()
        )
    })
}
