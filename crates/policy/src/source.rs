//! Where policies come from: a file, or the `*.cedar` files of one folder. Nothing outside that folder is read.

use crate::PolicyError;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// One policy file: its name as people know it, and its whole text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub name: String,
    pub text: String,
}

impl Source {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// Larger policy files are refused: nobody reviews them.
const MAX_BYTES: u64 = 4 << 20;

/// The policies at `path`: one file, or every `*.cedar` directly in a folder, sorted by name. All errors in one run.
pub fn sources_from_path(path: &Path) -> Result<Vec<Source>, Vec<PolicyError>> {
    let shown = path.display().to_string();
    let fail = |why: String| vec![PolicyError::of_file(&shown, why)];
    let root = path.canonicalize().map_err(|error| fail(format!("`{shown}` cannot be opened: {error}")))?;
    if !root.is_dir() {
        let name = path.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
        return read(&root, &name).map(|source| vec![source]).map_err(|error| vec![error]);
    }
    let listing =
        fs::read_dir(&root).map_err(|error| fail(format!("`{shown}` cannot be listed: {error}")))?;
    let mut sources = Vec::new();
    let mut errors = Vec::new();
    for entry in listing {
        match entry {
            Ok(entry) if entry.path().extension().is_some_and(|extension| extension == "cedar") => {
                match read_inside(&root, &entry.path()) {
                    Ok(source) => sources.push(source),
                    Err(error) => errors.push(error),
                }
            }
            Ok(_) => {}
            Err(error) => {
                errors.push(PolicyError::of_file(&shown, format!("`{shown}` cannot be listed: {error}")));
            }
        }
    }
    if sources.is_empty() && errors.is_empty() {
        let hint = "put at least one `*.cedar` file there; without a permit everything is refused";
        errors.push(PolicyError::of_file(&shown, format!("`{shown}` holds no policy files")).hint(hint));
    }
    sources.sort();
    errors.sort();
    if errors.is_empty() { Ok(sources) } else { Err(errors) }
}

fn read_inside(root: &Path, path: &Path) -> Result<Source, PolicyError> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        let shown = path.display().to_string();
        return Err(PolicyError::of_file(&shown, format!("the file name `{shown}` is not UTF-8")));
    };
    let real = path
        .canonicalize()
        .map_err(|error| PolicyError::of_file(name, format!("`{name}` cannot be opened: {error}")))?;
    if !real.starts_with(root) {
        let hint = "copy the file into the folder, so that what is reviewed is what is loaded";
        return Err(
            PolicyError::of_file(name, format!("`{name}` is a link that leaves the folder")).hint(hint)
        );
    }
    read(&real, name)
}

fn read(path: &Path, name: &str) -> Result<Source, PolicyError> {
    let fail = |why: String| PolicyError::of_file(name, why);
    let data = fs::metadata(path).map_err(|error| fail(format!("`{name}` cannot be opened: {error}")))?;
    if !data.is_file() {
        return Err(fail(format!("`{name}` is not a regular file")));
    }
    if data.len() > MAX_BYTES {
        return Err(fail(format!("`{name}` is larger than {} MiB", MAX_BYTES >> 20)).hint("split it"));
    }
    let bytes = fs::read(path).map_err(|error| fail(format!("`{name}` cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        fail(format!("`{name}` is not UTF-8 (byte {})", error.utf8_error().valid_up_to()))
            .hint("save it as UTF-8")
    })?;
    Ok(Source::new(name, text))
}
