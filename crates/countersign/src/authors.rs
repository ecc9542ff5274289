//! Who changed the policy: a file beside it names them, where the configuration asks for one.

use crate::config::Config;
use countersign_core::{Digest, PersonId};
use countersign_identity::{Directory, EmailAddress};
use countersign_policy::{Bundle, PolicyError, Position};
use std::{collections::BTreeSet, fs, path::Path};

/// An address each line is what people write by hand; nobody has so many authors.
const LONGEST: u64 = 64 << 10;

/// The people whom the configuration's file names as having changed the policy; nobody where it asks for no such file.
///
/// # Errors
///
/// Everything that is wrong with the file. It must be of these very policy files, and name at least one person who is known
/// here: whoever answers for the change.
pub(crate) fn named(
    config: &Config,
    directory: &Directory,
    bundle: &Bundle,
) -> Result<BTreeSet<PersonId>, Vec<PolicyError>> {
    let files = bundle.files_digest();
    config
        .policy_changed_by
        .as_deref()
        .map_or_else(|| Ok(BTreeSet::new()), |file| read(file, files, directory))
}

fn read(file: &Path, files: Digest, directory: &Directory) -> Result<BTreeSet<PersonId>, Vec<PolicyError>> {
    let shown = file.display().to_string();
    let one = |why: String, hint: &str| vec![PolicyError::of_file(&shown, why).hint(hint)];
    let remedy = "write the address of everybody who changed the policy there, one a line";
    let large = fs::metadata(file).is_ok_and(|known| known.len() > LONGEST);
    let text = if large {
        Err(format!("it is larger than {LONGEST} bytes"))
    } else {
        fs::read_to_string(file).map_err(|error| error.to_string())
    };
    let text = text.map_err(|why| one(format!("who changed the policy cannot be read: {why}"), remedy))?;
    let (mut people, mut errors, mut meant) = (BTreeSet::new(), Vec::new(), None);
    for (line, said) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
        if said.is_empty() || said.starts_with('#') {
            continue;
        }
        if let Some(digest) = said.strip_prefix("files:") {
            meant = Some(digest.trim().to_owned());
            continue;
        }
        let at = Position { line, column: 1 };
        let wrong = |why: String, hint: &str| PolicyError::of_file(&shown, why).at(at).hint(hint);
        match EmailAddress::new(said) {
            Err(error) => {
                errors.push(wrong(error.to_string(), "write one address a line; `#` begins a remark"));
            }
            Ok(address) => match directory.person_by_email(&address) {
                Some(person) => drop(people.insert(person.id)),
                None => errors.push(wrong(
                    format!("nobody here has the address `{address}`"),
                    "name somebody who is known here and answers for the change",
                )),
            },
        }
    }
    if meant.as_deref() != Some(files.to_string().as_str()) {
        let why = match meant {
            None => "it does not say which files it is of".to_owned(),
            Some(other) => format!("it is of other files: `{other}`"),
        };
        let hint =
            format!("write `files: {files}`, as `countersign policy check` prints it, above the addresses");
        errors.push(PolicyError::of_file(&shown, why).hint(hint));
    }
    if people.is_empty() && errors.is_empty() {
        errors.push(PolicyError::of_file(&shown, "it names nobody who changed the policy").hint(remedy));
    }
    if errors.is_empty() { Ok(people) } else { Err(errors) }
}
