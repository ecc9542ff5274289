//! nginx from Debian's packages with a configuration of its own: as a file server that also takes uploads, or as a
//! plain reverse proxy to compare with.

use crate::{
    peer::{Peer, PeerError, Program},
    ports,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
};

const NGINX: Program = Program { name: "nginx", path: "/usr/sbin/nginx", package: "nginx-light" };
/// What is asked until nginx is up.
const READY: &str = "/__ready";

/// What nginx does.
#[derive(Clone, Debug)]
pub enum Site {
    /// Serves the files below [`Nginx::root`], and stores what is `PUT` there.
    Files,
    /// Hands every request on to this origin, keeping connections to it open.
    ReverseProxy { upstream: String },
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    peer: Peer,
    port: u16,
}

impl Nginx {
    /// Starts one on loopback and waits until it answers.
    pub async fn start(site: Site) -> Result<Self, PeerError> {
        let chosen = AtomicU16::new(0);
        let peer = NGINX.run(|folder| {
            let port = ports::free()?;
            chosen.store(port, Ordering::Relaxed);
            fs::create_dir_all(folder.join("root"))?;
            let file = folder.join("nginx.conf");
            fs::write(&file, configuration(folder, port, &site))?;
            let (file, prefix) = (file.display().to_string(), folder.display().to_string());
            let log = folder.join("error.log").display().to_string();
            let arguments = ["-p", &prefix, "-c", &file, "-e", &log].map(str::to_owned).to_vec();
            Ok((arguments, format!("http://127.0.0.1:{port}{READY}")))
        });
        let peer = peer.await?;
        Ok(Self { peer, port: chosen.load(Ordering::Relaxed) })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its one process.
    pub fn pid(&self) -> u32 {
        self.peer.pid()
    }

    /// The folder whose files it serves.
    pub fn root(&self) -> PathBuf {
        self.peer.folder.path().join("root")
    }
}

fn configuration(folder: &Path, port: u16, site: &Site) -> String {
    let folder = folder.display();
    let (outside, inside) = match site {
        Site::Files => (
            String::new(),
            format!("root {folder}/root;\n      dav_methods PUT;\n      create_full_put_path on;"),
        ),
        Site::ReverseProxy { upstream } => {
            let authority = upstream.trim_start_matches("http://").trim_end_matches('/');
            (
                format!("upstream target {{ server {authority}; keepalive 64; }}"),
                "proxy_pass http://target;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";".into(),
            )
        }
    };
    format!(
        r"daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/octet-stream;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  sendfile on;
  {outside}
  server {{
    listen 127.0.0.1:{port};
    location = {READY} {{ return 204; }}
    location / {{
      {inside}
    }}
  }}
}}
"
    )
}
