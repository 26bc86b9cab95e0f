// SPDX-License-Identifier: MIT OR Apache-2.0
//! A line to a server, on which somebody listens who may cut it or answer in the server's place.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What becomes of bytes on their way to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They arrive.
    Pass,
    /// They do not, nor does anything after them, on this connection or another.
    Cut,
    /// They do not; this is said in the server's place, and the connection ends.
    Answer(Vec<u8>),
}

type Listen = dyn Fn(&[u8]) -> Verdict + Send + Sync;

/// The line; gone when dropped.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
}

impl Line {
    /// Opens a line to a server. `listen` is shown what goes to the server, as it comes.
    pub fn open(
        server: SocketAddr,
        listen: impl Fn(&[u8]) -> Verdict + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let line = Self {
            address: listener.local_addr()?,
            is_cut: Arc::default(),
        };
        let (is_cut, listen): (_, Arc<Listen>) = (line.is_cut.clone(), Arc::new(listen));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_cut.load(Ordering::Relaxed) {
                    break;
                }
                let (is_cut, listen) = (is_cut.clone(), listen.clone());
                // Whoever goes away is no concern of ours.
                thread::spawn(move || connect(&client, server, &is_cut, &*listen));
            }
        });
        Ok(line)
    }

    /// `http://<address>:<port>`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.is_cut.store(true, Ordering::Relaxed);
        // Wakes the one who waits for connections.
        drop(TcpStream::connect(self.address));
    }
}

fn connect(
    mut client: &TcpStream,
    server: SocketAddr,
    is_cut: &AtomicBool,
    listen: &Listen,
) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    let mut answers = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let copied = io::copy(&mut answers.0, &mut answers.1);
        answers.1.shutdown(Shutdown::Both).and(copied)
    });
    let mut bytes = vec![0; 1 << 16];
    loop {
        let len = client.read(&mut bytes)?;
        let said = bytes.get(..len).unwrap_or_default();
        if said.is_empty() {
            return server.shutdown(Shutdown::Write);
        }
        match listen(said) {
            _ if is_cut.load(Ordering::Relaxed) => break,
            Verdict::Pass => (&server).write_all(said)?,
            Verdict::Cut => {
                is_cut.store(true, Ordering::Relaxed);
                break;
            }
            Verdict::Answer(answer) => {
                client.write_all(&answer)?;
                break;
            }
        }
    }
    client.shutdown(Shutdown::Both)?;
    server.shutdown(Shutdown::Both)
}
