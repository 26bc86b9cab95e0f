// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TPM 2.0 in software, for machines that keep or measure something.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::escaped;
use crate::disk::succeed;
use crate::need;

/// How often, every 10 ms, the socket is looked for.
const TRIES: u32 = 500;

/// The TPM of one machine: what it holds outlives reboots, in a directory.
#[derive(Clone, Debug)]
pub struct Tpm {
    state: PathBuf,
}

impl Tpm {
    /// A TPM as it leaves the factory, with its state in a new directory; `None` after
    /// [`need::missing`] has been told.
    pub fn create(state: &Path) -> Result<Option<Self>> {
        if need::tool("swtpm").is_none() {
            return Ok(None);
        }
        fs::create_dir(state).context("making the directory of a TPM")?;
        Ok(Some(Self {
            state: state.to_owned(),
        }))
    }

    /// A copy that shares no change with this one.
    pub fn copy_to(&self, state: &Path) -> Result<Self> {
        let mut copy = Command::new("cp");
        succeed(copy.arg("--recursive").arg(&self.state).arg(state))?;
        Ok(Self {
            state: state.to_owned(),
        })
    }

    /// Plugs it into the machine that `command` starts; it runs as long as what is given back.
    pub(super) fn add_to(&self, command: &mut Command, socket: &Path) -> Result<Running> {
        let swtpm = need::find_tool("swtpm").context("swtpm is missing")?;
        let mut start = Command::new("setpriv");
        start.args(["--pdeathsig", "KILL"]).arg(swtpm);
        start.args(["socket", "--tpm2", "--tpmstate"]);
        start.arg(format!("dir={}", self.state.display()));
        start.args(["--terminate", "--ctrl"]);
        start.arg(format!("type=unixio,path={}", socket.display()));
        let quiet = start
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let running = quiet.spawn();
        let running = Running(running.context("starting swtpm")?);
        for _ in 0..TRIES {
            if socket.exists() {
                let socket = escaped(socket)?;
                command.args(["-chardev", &format!("socket,id=tpm,path={socket}")]);
                command.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm"]);
                command.args(["-device", "tpm-crb,tpmdev=tpm0"]);
                return Ok(running);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("swtpm made no socket at {}", socket.display())
    }
}

/// A running swtpm, killed by its process id when dropped.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
