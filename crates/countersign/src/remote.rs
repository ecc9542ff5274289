//! A console somewhere else, reached as a person's command line: it reads, and nothing else.

use crate::failure::Failure;
use bytes::Bytes;
use countersign_identity::{Outward, is_safe};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use url::Url;
use zeroize::Zeroizing;

/// Where somebody is signed in: kept in a file that only they can read.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(crate) console: String,
    pub(crate) ca: Option<PathBuf>,
    token: String,
}

/// A console, and who asks there.
pub(crate) struct Remote {
    origin: String,
    outward: Outward,
    token: Option<Zeroizing<String>>,
}

/// What a console said, where it was no success.
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) problem: Value,
}

impl Login {
    pub(crate) fn new(console: String, ca: Option<PathBuf>, token: String) -> Self {
        Self { console, ca, token }
    }

    /// The file: in `$XDG_CONFIG_HOME`, or in `~/.config`.
    pub(crate) fn file() -> Result<PathBuf, Failure> {
        let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = of("XDG_CONFIG_HOME").or_else(|| of("HOME").map(|home| home.join(".config")));
        let missing = || {
            let failure = Failure::new("nothing says where your own files are");
            failure.hint("set `HOME`, or `XDG_CONFIG_HOME`")
        };
        Ok(folder.ok_or_else(missing)?.join("countersign").join("login.json"))
    }

    pub(crate) fn read() -> Result<Self, Failure> {
        let file = Self::file()?;
        let text = fs::read_to_string(&file).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                Failure::new("this command line is not signed in").hint("run `countersign login ADDRESS`")
            } else {
                Failure::of(&format!("`{}` cannot be read", file.display()), &error)
            }
        })?;
        let text = Zeroizing::new(text);
        serde_json::from_str(&text).map_err(|_| {
            let failure =
                Failure::new(format!("`{}` is not what `countersign login` writes", file.display()));
            failure.hint("run `countersign login ADDRESS` again")
        })
    }

    /// Writes the file; nobody else can ever read it.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let file = Self::file()?;
        let failed =
            |error: std::io::Error| Failure::of(&format!("`{}` cannot be written", file.display()), &error);
        let folder = file.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let text = Zeroizing::new(serde_json::to_string(self).map_err(|error| failed(error.into()))?);
        // A new file under the old name: an older one could be open to others.
        let fresh = file.with_extension("new");
        let _ = fs::remove_file(&fresh);
        let mut open =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
        open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).map_err(failed)?;
        fs::rename(&fresh, &file).map_err(failed)
    }

    pub(crate) fn forget() -> Result<(), Failure> {
        let file = Self::file()?;
        fs::remove_file(&file)
            .map_err(|error| Failure::of(&format!("`{}` cannot be removed", file.display()), &error))
    }
}

impl Remote {
    /// A console by its address, for somebody who is not signed in yet.
    pub(crate) fn new(console: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        let bad = |why: &str| {
            let failure = Failure::usage(format!("`{console}` {why}"));
            failure.hint("write the address of the console, such as `https://countersign.example.com`")
        };
        let url = Url::parse(console).map_err(|error| bad(&format!("is no address: {error}")))?;
        if !is_safe(&url) {
            return Err(bad("is not encrypted"));
        }
        if url.path() != "/" || url.query().is_some() {
            return Err(bad("has more than scheme, host and port"));
        }
        let outward = Outward::new(ca).map_err(Failure::usage)?;
        Ok(Self { origin: url.origin().ascii_serialization(), outward, token: None })
    }

    /// The console this command line is signed in at.
    pub(crate) fn signed_in(login: &Login) -> Result<Self, Failure> {
        let remote = Self::new(&login.console, login.ca.as_deref())?;
        Ok(Self { token: Some(Zeroizing::new(login.token.clone())), ..remote })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// One call. What the console refuses is the caller's to read.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Result<Value, Refused>, Failure> {
        let url = Url::parse(&format!("{}{path}", self.origin))
            .map_err(|error| Failure::of("the address cannot be made", &error))?;
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        let no_header = |error: header::InvalidHeaderValue| Failure::of("the call cannot be made", &error);
        headers.push((header::ORIGIN, HeaderValue::from_str(&self.origin).map_err(no_header)?));
        if let Some(token) = &self.token {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            let mut value = HeaderValue::from_str(&bearer).map_err(no_header)?;
            value.set_sensitive(true);
            headers.push((header::AUTHORIZATION, value));
        }
        let body = if body.is_null() {
            Bytes::new()
        } else {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
            Bytes::from(body.to_string())
        };
        let away = |error: countersign_identity::OutwardError| {
            Failure::of(&format!("the console at {} cannot be asked", self.origin), &error)
        };
        let (status, body) = self.outward.call(method, &url, &headers, body).await.map_err(away)?;
        let value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).map_err(|_| {
                let failure = Failure::new(format!("what answers at {} is no console", self.origin));
                failure.hint("check the address; open it in a browser")
            })?
        };
        Ok(if status.is_success() { Ok(value) } else { Err(Refused { status, problem: value }) })
    }

    /// The same for what must work.
    pub(crate) async fn read(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, &Value::Null).await?.map_err(Failure::from)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        if refused.status == StatusCode::UNAUTHORIZED {
            return Self::new("this command line is not signed in any more")
                .hint("run `countersign login ADDRESS`");
        }
        crate::operator::refused(refused.status, &refused.problem)
    }
}
