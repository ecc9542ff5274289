//! `countersign login` and `logout`: the device flow (RFC 8628). The person allows this command line in their browser.

use crate::{
    cli::Output,
    failure::Failure,
    output::{self, text},
    remote::{Login, Remote},
};
use countersign_core::visible;
use http::Method;
use serde_json::{Value, json};
use std::{io::Write as _, path::PathBuf, time::Duration};

pub(super) async fn login(
    console: &str,
    ca: Option<PathBuf>,
    label: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let ca = ca.map(std::path::absolute).transpose();
    let ca = ca.map_err(|error| Failure::of("the file of authorities cannot be named", &error))?;
    let remote = Remote::new(console, ca.as_deref())?;
    let label = label.unwrap_or_else(machine);
    let begun = remote.call(Method::POST, "/api/v1/session/device", &json!({"label": label})).await??;
    let number = |pointer: &str| begun.pointer(pointer).and_then(Value::as_u64);
    let (wait, mut pause) = (number("/expires_in").unwrap_or(600), number("/interval").unwrap_or(5));
    // To standard error: standard output is for the result.
    let said = writeln!(
        std::io::stderr(),
        "Open this page in your browser, compare the code, and allow it:\n\n  {}\n  {}\n",
        visible::one_line(&text(&begun, "/verification_uri_complete")),
        visible::one_line(&text(&begun, "/user_code")),
    );
    said.map_err(|error| Failure::of("standard error cannot be written", &error))?;
    let asks = json!({"device_code": begun.pointer("/device_code")});
    let begun_at = tokio::time::Instant::now();
    let token = loop {
        tokio::time::sleep(Duration::from_secs(pause.clamp(1, 60))).await;
        match remote.call(Method::POST, "/api/v1/session/device/token", &asks).await? {
            Ok(answer) => break answer,
            Err(refused) => match text(&refused.problem, "/code").as_str() {
                "authorization-pending" => {}
                // RFC 8628, section 3.5.
                "slow-down" => pause += 5,
                _ => return Err(refused.into()),
            },
        }
        if begun_at.elapsed() > Duration::from_secs(wait) {
            return Err(Failure::new("nobody allowed it in time").hint("run it again"));
        }
    };
    Login::new(remote.origin().to_owned(), ca, text(&token, "/token")).write()?;
    let made = json!({"console": remote.origin(), "expires": token.pointer("/expires")});
    output::show(output, &made, |made| {
        format!("Signed in at {} for reading, until {}.", text(made, "/console"), text(made, "/expires"))
    })
}

pub(super) async fn logout(output: Output) -> Result<(), Failure> {
    let login = Login::read()?;
    let ended = match Remote::signed_in(&login) {
        Ok(remote) => remote.call(Method::DELETE, "/api/v1/session", &Value::Null).await,
        Err(failure) => Err(failure),
    };
    // The file goes whatever the console says: nobody must find it.
    Login::forget()?;
    match ended? {
        Err(refused) if refused.status != http::StatusCode::UNAUTHORIZED => return Err(refused.into()),
        Ok(_) | Err(_) => {}
    }
    output::show(output, &json!({"signed_out": login.console}), |_| {
        format!("Signed out at {}.", login.console)
    })
}

/// What this machine is called.
fn machine() -> String {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = visible::one_line(name.trim());
    if name.is_empty() { "a command line".into() } else { name }
}
