// SPDX-License-Identifier: MIT OR Apache-2.0
//! The web server that many vendors serve files with, as Debian has it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// How long it may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server of static files; it stops when dropped.
#[derive(Debug)]
pub struct Nginx {
    program: PathBuf,
    root: PathBuf,
    directory: TempDir,
    port: u16,
    process: Child,
}

impl Nginx {
    /// Serves the files in a directory, each over one connection at most at `kib_per_second`, if that
    /// is not 0. It needs no rights.
    pub fn serve(program: &Path, root: &Path, kib_per_second: u64) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        // Free until it is taken: there is no way to let nginx choose.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        Ok(Self {
            process: start(program, root, directory.path(), port, kib_per_second)?,
            program: program.into(),
            root: root.into(),
            directory,
            port,
        })
    }

    /// Kills it, and starts it again at the same address.
    pub fn restart(&mut self, kib_per_second: u64) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        let directory = self.directory.path();
        self.process = start(
            &self.program,
            &self.root,
            directory,
            self.port,
            kib_per_second,
        )?;
        Ok(())
    }

    /// `http://<address>:<port>`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One line for each request that was answered to its end: status, bytes of the body, path.
    pub fn requests(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("access"))?)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself, which a test has noticed then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(
    program: &Path,
    root: &Path,
    directory: &Path,
    port: u16,
    kib_per_second: u64,
) -> Result<Child> {
    let at = directory.display();
    let temporary = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"];
    let temporary = temporary.map(|what| format!("{what}_temp_path {at}/{what};\n"));
    let config = format!(
        "daemon off;\nmaster_process off;\npid {at}/pid;\nevents {{}}\nhttp {{\n{}\
         log_format short '$status $body_bytes_sent $uri';\naccess_log {at}/access short;\n\
         server {{\nlisten 127.0.0.1:{port};\nroot {};\nlimit_rate {kib_per_second}k;\n}}\n}}\n",
        temporary.concat(),
        root.display(),
    );
    let config_path = directory.join("config");
    fs::write(&config_path, config)?;
    let error_log = directory.join("error");
    let mut process = Command::new(program)
        .arg("-c")
        .arg(&config_path)
        .arg("-e")
        .arg(&error_log)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if process.try_wait()?.is_some() || started.elapsed() > START_TIMEOUT {
            process.kill()?;
            process.wait()?;
            bail!(
                "nginx listens nowhere:\n{}",
                fs::read_to_string(&error_log)?
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}
