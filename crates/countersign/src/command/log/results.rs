//! `countersign log results`: what was kept of an action's result, opened with the key of whoever audits. The key is read
//! here and goes nowhere; the gateway hands out what is sealed.

use crate::{
    cli::{Output, ResultsArgs},
    config::Config,
    failure::Failure,
    operator::Door,
    output,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::ActionId;
use countersign_pep::{NOT_A_REFERENCE, SecretRef};
use countersign_pep_sql::results::{self, PATH, ResultsKey};
use http::Method;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

pub(super) async fn show(config: Config, wanted: ResultsArgs, output: Output) -> Result<(), Failure> {
    let ResultsArgs { action, key_from, from_export } = wanted;
    let id: ActionId = action.parse().map_err(|_| Failure::usage(format!("`{action}` is no action's id")))?;
    let here = std::env::current_dir();
    let here = here.map_err(|error| Failure::of("there is no folder to start at", &error))?;
    let reference =
        SecretRef::read(&key_from, &here).map_err(|why| Failure::usage(why).hint(NOT_A_REFERENCE))?;
    let wrong = |error: &dyn std::error::Error| Failure::of("what was kept could not be read", error);
    let key = ResultsKey::read(&reference).map_err(|error| wrong(&error))?;
    let sealed = match from_export {
        Some(file) => in_export(&file, id)
            .map_err(|error| Failure::of(&format!("`{}` could not be read", file.display()), &error))?,
        None => in_log(config, id).await?,
    };
    let sealed = sealed.ok_or_else(|| {
        Failure::new("nothing is kept of its result")
            .hint("no policy asked for it, it was erased, or the export discloses nothing")
    })?;
    let (about, kept) = key.open(id, &sealed).map_err(|error| wrong(&error))?;
    let rows = results::rows(&about, &kept).map_err(|error| wrong(&error))?;
    let told = json!({
        "action": id.to_string(), "bytes": about.bytes, "kept": about.kept, "cut": about.is_cut(),
        "sha256": about.sha256.to_string(), "rows": rows,
    });
    output::show(output, &told, |_| {
        let mut lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
        if about.is_cut() {
            lines.push(format!("(cut: {} of {} bytes were kept)", about.kept, about.bytes));
        }
        lines.join("\n")
    })
}

async fn in_log(config: Config, id: ActionId) -> Result<Option<String>, Failure> {
    let path = format!("/api/v1/actions/{id}");
    let told = Door::open(config).await?.call(Method::GET, &path, &Value::Null).await?;
    let entries = told.pointer("/entries").and_then(Value::as_array).into_iter().flatten();
    let mut sealed = entries.filter_map(|entry| entry.get("private")?.get(PATH)?.as_str());
    Ok(sealed.next().map(str::to_owned))
}

/// What a bundle discloses of the action: the line behind its entry.
fn in_export(file: &Path, id: ActionId) -> io::Result<Option<String>> {
    let (id, mut its_own) = (id.to_string(), false);
    for line in BufReader::new(File::open(file)?).lines() {
        let line: Value = serde_json::from_str(&line?).map_err(io::Error::other)?;
        if let Some(entry) = line.get("entry") {
            its_own = entry.pointer("/leaf/action_id").and_then(Value::as_str) == Some(&id);
        }
        let disclosure = line.get("disclosure").filter(|_| its_own);
        let disclosure = disclosure.filter(|it| it.get("path").and_then(Value::as_str) == Some(PATH));
        if let Some(value) = disclosure.and_then(|it| it.get("value")?.as_str()) {
            let value = URL_SAFE_NO_PAD.decode(value).map_err(io::Error::other)?;
            return String::from_utf8(value).map(Some).map_err(io::Error::other);
        }
    }
    Ok(None)
}
