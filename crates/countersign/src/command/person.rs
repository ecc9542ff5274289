//! `countersign person`: who decides.

use crate::{
    cli::{Output, PersonCommand},
    failure::Failure,
    operator::{Door, segment},
    output::{self, text},
};
use http::Method;
use serde_json::{Value, json};

pub(super) async fn run(door: &Door, command: PersonCommand, output: Output) -> Result<(), Failure> {
    match command {
        PersonCommand::Invite { email, name, groups, role } => {
            let name = name.unwrap_or_else(|| email.split('@').next().unwrap_or(&email).to_owned());
            let role = role.as_str();
            let body = json!({"name": name, "email": email, "groups": groups, "role": role});
            let made = door.call(Method::POST, "/api/v1/people", &body).await?;
            output::show(output, &made, |made| {
                format!(
                    "Invited {email}. This link enrols one browser, once, until {}:\n\n  {}\n\nHand it over by a way only {email} reads.",
                    text(made, "/expires"),
                    text(made, "/link")
                )
            })
        }
        PersonCommand::List => {
            let people = door.call(Method::GET, "/api/v1/people", &Value::Null).await?;
            output::show(output, &people, |people| {
                let head = ["id", "name", "email", "role", "groups", "state"];
                rows(people, &head, "nobody is invited yet; see `countersign person invite --help`")
            })
        }
        PersonCommand::Signals => {
            let transmitters = door.call(Method::GET, "/api/v1/transmitters", &Value::Null).await?;
            output::show(output, &transmitters, |transmitters| {
                let head = ["name", "issuer", "provider", "delivery", "heard_at", "failure"];
                rows(transmitters, &head, "none is configured; see `[[signals]]` in the configuration")
            })
        }
        PersonCommand::Link { email } => {
            let path = format!("/api/v1/people/{}/link", segment(&id_of(door, &email).await?));
            let made = door.call(Method::POST, &path, &json!({})).await?;
            output::show(output, &made, |made| format!("  {}", text(made, "/link")))
        }
        PersonCommand::Passkeys { email, remove: Some(id) } => {
            let theirs = format!("/api/v1/people/{}/passkeys", segment(&id_of(door, &email).await?));
            let theirs = door.call(Method::GET, &theirs, &Value::Null).await?;
            if !items(&theirs).iter().any(|passkey| text(passkey, "/id") == id) {
                let hint = format!("see `countersign person passkeys {email}`");
                return Err(Failure::new(format!("{email} has no passkey `{id}`")).hint(hint));
            }
            let path = format!("/api/v1/passkeys/{}", segment(&id));
            door.call(Method::DELETE, &path, &Value::Null).await?;
            let hint = format!("countersign person link {email}");
            output::show(output, &json!({"removed": id}), |_| {
                format!("{id} is removed. With a new link they register another: {hint}")
            })
        }
        PersonCommand::Passkeys { email, remove: None } => {
            let path = format!("/api/v1/people/{}/passkeys", segment(&id_of(door, &email).await?));
            let passkeys = door.call(Method::GET, &path, &Value::Null).await?;
            output::show(output, &passkeys, |passkeys| {
                rows(passkeys, &["id", "name", "created_at", "used_at"], "they have none")
            })
        }
        PersonCommand::Bindings { email, remove } => {
            bindings(door, email.as_deref(), remove.as_deref(), output).await
        }
        PersonCommand::SignOut { email } => {
            let path = format!("/api/v1/people/{}/sessions", segment(&id_of(door, &email).await?));
            door.call(Method::DELETE, &path, &Value::Null).await?;
            output::show(output, &json!({"signed_out": email}), |_| {
                format!("{email} is signed out everywhere")
            })
        }
        PersonCommand::Groups { email, add, remove } => {
            let path = format!("/api/v1/people/{}", segment(&id_of(door, &email).await?));
            let changed = door.call(Method::PATCH, &path, &json!({"add": add, "remove": remove})).await?;
            output::show(output, &changed, |changed| format!("{email}: {}", text(changed, "/groups")))
        }
        PersonCommand::Role { email, role } => {
            let path = format!("/api/v1/people/{}/role", segment(&id_of(door, &email).await?));
            let changed = door.call(Method::PUT, &path, &json!({"role": role.as_str()})).await?;
            output::show(output, &changed, |changed| format!("{email} is {} now", text(changed, "/role")))
        }
        PersonCommand::Away { email, end: true, .. } => {
            let path = format!("/api/v1/people/{}/delegation", segment(&id_of(door, &email).await?));
            door.call(Method::DELETE, &path, &Value::Null).await?;
            output::show(output, &json!({"ended": email}), |_| format!("nobody votes in place of {email}"))
        }
        PersonCommand::Away { email, to, from, until, end: false } => {
            let path = format!("/api/v1/people/{}/delegation", segment(&id_of(door, &email).await?));
            let to = to.unwrap_or_default();
            let body = json!({"to": id_of(door, &to).await?, "from": from, "until": until});
            let person = door.call(Method::PUT, &path, &body).await?;
            output::show(output, &person, |_| format!("{to} votes in place of {email}"))
        }
        PersonCommand::Disable { email } => {
            let path = format!("/api/v1/people/{}", segment(&id_of(door, &email).await?));
            door.call(Method::DELETE, &path, &Value::Null).await?;
            output::show(output, &json!({"disabled": email}), |_| format!("{email} is disabled"))
        }
    }
}

/// Who speaks for whom on which channel; or the end of it.
async fn bindings(
    door: &Door,
    email: Option<&str>,
    remove: Option<&str>,
    output: Output,
) -> Result<(), Failure> {
    let of = |id: &str| format!("/api/v1/people/{}/bindings", segment(id));
    if let (Some(email), Some(binding)) = (email, remove) {
        let theirs = of(&id_of(door, email).await?);
        let known = door.call(Method::GET, &theirs, &Value::Null).await?;
        if !items(&known).iter().any(|one| text(one, "/id") == binding) {
            let hint = format!("see `countersign person bindings {email}`");
            return Err(Failure::new(format!("nobody speaks for {email} by `{binding}`")).hint(hint));
        }
        door.call(Method::DELETE, &format!("{theirs}/{}", segment(binding)), &Value::Null).await?;
        return output::show(output, &json!({"removed": binding}), |_| {
            format!("{binding} is ended: what that user says counts for nobody")
        });
    }
    let path = match email {
        Some(email) => of(&id_of(door, email).await?),
        None => "/api/v1/bindings".to_owned(),
    };
    let found = door.call(Method::GET, &path, &Value::Null).await?;
    output::show(output, &json!({"items": found}), |found| {
        let everybody: &[&str] = &["email", "channel", "user", "user_name", "bound_at", "id"];
        let own = everybody.get(1..).unwrap_or_default();
        rows(found, if email.is_some() { own } else { everybody }, "nobody speaks there on any channel")
    })
}

/// A person's id by e-mail; an id is taken as it is.
pub(super) async fn id_of(door: &Door, who: &str) -> Result<String, Failure> {
    if who.starts_with("per_") {
        return Ok(who.to_owned());
    }
    let people = door.call(Method::GET, "/api/v1/people?limit=1000", &Value::Null).await?;
    let found = items(&people).iter().find(|person| text(person, "/email").eq_ignore_ascii_case(who));
    found.map(|person| text(person, "/id")).ok_or_else(|| {
        Failure::new(format!("nobody has the e-mail `{who}`")).hint("see `countersign person list`")
    })
}

/// Items of a listing as a table of the named members.
pub(super) fn rows(listing: &Value, head: &[&str], empty: &str) -> String {
    let row = |item: &Value| head.iter().map(|name| text(item, &format!("/{name}"))).collect();
    let rows: Vec<Vec<String>> = items(listing).iter().map(row).collect();
    output::table(head, &rows, empty)
}

/// What a listing lists, whether it comes in pages or whole.
pub(super) fn items(listing: &Value) -> &[Value] {
    let found = listing.pointer("/items").unwrap_or(listing);
    found.as_array().map(Vec::as_slice).unwrap_or_default()
}
