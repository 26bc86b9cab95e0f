// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server that speaks as S3 does: moto, which `cargo xtask setup` installs.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::need;

/// How long it may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Says that somebody asks who may; moto does not look whether it is true.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, \
                             SignedHeaders=host, Signature=none";

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct S3Server {
    process: Child,
    address: SocketAddr,
    _log: TempDir,
}

impl S3Server {
    /// The server of this process, started if it does not run; `None` after [`need::missing`] has been
    /// told. It is slow to start, so tests share it: each has buckets of its own.
    ///
    /// # Panics
    /// If it does not start.
    pub fn shared() -> Option<Arc<Self>> {
        static RUNNING: Mutex<Weak<S3Server>> = Mutex::new(Weak::new());
        let program = need::tool("moto_server")?;
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = running.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start(&program).expect("moto starts"));
        *running = Arc::downgrade(&server);
        Some(server)
    }

    fn start(program: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("log");
        let mut process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let started = Instant::now();
        loop {
            let said = fs::read_to_string(&log)?;
            let address = said.split_once("http://").map(|(_, rest)| rest);
            let address = address.and_then(|rest| rest.split_once('\n'));
            if let Some((address, _)) = address {
                return Ok(Self {
                    process,
                    address: address.trim().parse()?,
                    _log: directory,
                });
            }
            if process.try_wait()?.is_some() || started.elapsed() > START_TIMEOUT {
                process.kill()?;
                process.wait()?;
                bail!("it says where it listens nowhere in:\n{said}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://<address>:<port>`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a bucket with objects that anybody may read.
    pub fn make_bucket(&self, name: &str) -> io::Result<()> {
        let answer = self.ask("PUT", &format!("/{name}"), "x-amz-acl: public-read\r\n")?;
        if answer.starts_with("HTTP/1.1 200 ") {
            return Ok(());
        }
        Err(io::Error::other(answer))
    }

    /// The whole answer to a request without a body; `headers` are lines.
    pub fn ask(&self, method: &str, path: &str, headers: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {AUTHORIZATION}\r\n\
             Connection: close\r\nContent-Length: 0\r\n{headers}\r\n",
            self.address
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may have ended by itself, which a test has noticed then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
