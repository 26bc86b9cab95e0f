// SPDX-License-Identifier: MIT OR Apache-2.0
//! An HTTP server of static files that can be told to misbehave, request by request.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The path, without the first `/`.
    pub path: String,
    /// First and last byte that were asked for.
    pub range: Option<(u64, u64)>,
    /// How many requests there were before.
    pub number: usize,
}

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As it should be.
    Honest,
    /// A status and nothing else.
    Status(u16),
    /// The connection ends before any answer.
    Hangup,
    /// No answer at all.
    Silence,
    /// Nonsense in the place of an answer.
    Garbage,
    /// A header that never ends.
    EndlessHeader,
    /// The content ends after so many bytes, and more were promised.
    CutAfter(usize),
    /// As [`Answer::CutAfter`], and the connection is reset.
    ResetAfter(usize),
    /// Only so many bytes, and no more were promised.
    Short(usize),
    /// Twice as many bytes as were asked for.
    Long,
    /// The whole file, whatever part of it was asked for.
    WholeFile,
    /// Another part of the file, said to be that other part.
    OtherRange,
    /// Another part of the file, said to be the one that was asked for.
    ShiftedContent,
    /// Content that never ends.
    Endless,
    /// A byte at a time, with a pause after each.
    Drip(Duration),
    /// One bit of the byte at this place of the answer is another.
    Flip(usize),
    /// As many zeros.
    Zeros,
    /// These bytes, with status 200.
    Page(Vec<u8>),
    /// What another file has at that place.
    OtherFile(String),
    /// "It is there."
    Redirect(String),
    /// A length that is no number.
    BadLength,
    /// Said to be compressed, and not.
    FalselyEncoded,
}

type Behave = dyn Fn(&HttpRequest) -> Answer + Send + Sync;

/// Whole answers are sent, and counted, in pieces of so many bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// How much was sent of whole answers, and may be.
#[derive(Debug)]
struct Meter {
    sent_bytes: AtomicU64,
    max_bytes: AtomicU64,
}

impl Meter {
    /// Counts a piece of at most so many bytes; how many of them may be sent.
    fn count(&self, len: usize) -> usize {
        let max_bytes = self.max_bytes.load(Ordering::Relaxed);
        let left = |sent: u64| max_bytes.saturating_sub(sent).min(len as u64);
        let count = |sent| Some(sent + left(sent));
        let (Ok(sent) | Err(sent)) =
            (self.sent_bytes).fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        usize::try_from(left(sent)).unwrap_or(len)
    }
}

fn any_port() -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", 0))
}

/// A running server; it stops when dropped.
pub struct HttpServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
    is_stopped: Arc<AtomicBool>,
    meter: Arc<Meter>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HttpServer").field(&self.address).finish()
    }
}

impl HttpServer {
    /// Serves the files in a directory, each request as `behave` says.
    pub fn serve(
        root: &Path,
        behave: impl Fn(&HttpRequest) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::serve_metered(any_port()?, root, u64::MAX, Arc::new(behave))
    }

    /// Serves the files in a directory as it should be, until so many bytes of answers were sent:
    /// then all connections stand still.
    pub fn serve_at_most(root: &Path, max_bytes: u64) -> io::Result<Self> {
        Self::serve_metered(any_port()?, root, max_bytes, Arc::new(|_| Answer::Honest))
    }

    /// Serves the files in a directory as it should be, at a port of this machine.
    pub fn serve_at(port: u16, root: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        Self::serve_metered(listener, root, u64::MAX, Arc::new(|_| Answer::Honest))
    }

    fn serve_metered(
        listener: TcpListener,
        root: &Path,
        max_bytes: u64,
        behave: Arc<Behave>,
    ) -> io::Result<Self> {
        let server = Self {
            address: listener.local_addr()?,
            requests: Arc::default(),
            is_stopped: Arc::default(),
            meter: Arc::new(Meter {
                sent_bytes: AtomicU64::new(0),
                max_bytes: AtomicU64::new(max_bytes),
            }),
        };
        let (requests, is_stopped) = (server.requests.clone(), server.is_stopped.clone());
        let (root, meter) = (PathBuf::from(root), server.meter.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_stopped.load(Ordering::Relaxed) {
                    break;
                }
                let connection = Connection {
                    root: root.clone(),
                    behave: behave.clone(),
                    requests: requests.clone(),
                    is_stopped: is_stopped.clone(),
                    meter: meter.clone(),
                };
                // A client that goes away is no concern of ours.
                thread::spawn(move || connection.run(stream));
            }
        });
        Ok(server)
    }

    /// `http://<address>:<port>`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked for so far.
    pub fn requests(&self) -> Vec<HttpRequest> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many bytes of whole answers were sent, headers included. A client may not have read all.
    pub fn sent_bytes(&self) -> u64 {
        self.meter.sent_bytes.load(Ordering::Relaxed)
    }

    /// Lets all connections stand still.
    pub fn pause(&self) {
        self.meter.max_bytes.store(0, Ordering::Relaxed);
    }

    /// What the kernel holds of what was sent, because clients have not read it (`proc_net_tcp(5)`).
    pub fn unread_bytes(&self) -> io::Result<u64> {
        let table = fs::read_to_string("/proc/net/tcp")?;
        let port = format!(":{:04X}", self.address.port());
        let unread = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let (local, remote) = (words.next()?, words.next()?);
            let (to_send, to_read) = words.nth(1)?.split_once(':')?;
            let queue = match (local.ends_with(&port), remote.ends_with(&port)) {
                (true, _) => to_send,
                (_, true) => to_read,
                _ => return None,
            };
            u64::from_str_radix(queue, 16).ok()
        };
        Ok(table.lines().filter_map(unread).sum())
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // Wakes the one who listens.
        drop(TcpStream::connect(self.address));
    }
}

struct Connection {
    root: PathBuf,
    behave: Arc<Behave>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
    is_stopped: Arc<AtomicBool>,
    meter: Arc<Meter>,
}

impl Connection {
    fn run(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut out = stream;
        while let Some(request) = self.read(&mut reader)? {
            let answer = (self.behave)(&request);
            if !self.answer(&request, &answer, &mut out)? {
                out.shutdown(Shutdown::Both)?;
                break;
            }
        }
        Ok(())
    }

    fn read(&self, reader: &mut BufReader<TcpStream>) -> io::Result<Option<HttpRequest>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line);
        }
        let path = lines.first().and_then(|line| line.split(' ').nth(1));
        let path = path.unwrap_or_default().trim_start_matches('/').to_owned();
        let range = lines.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = value.trim().strip_prefix("bytes=")?;
            let (first, last) = value.split_once('-')?;
            let range = (first.parse().ok()?, last.parse().ok()?);
            name.eq_ignore_ascii_case("range").then_some(range)
        });
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let request = HttpRequest {
            path,
            range,
            number: requests.len(),
        };
        requests.push(request.clone());
        Ok(Some(request))
    }

    /// Answers; whether the connection goes on.
    fn answer(
        &self,
        request: &HttpRequest,
        answer: &Answer,
        out: &mut TcpStream,
    ) -> io::Result<bool> {
        let wanted = match answer {
            Answer::OtherFile(path) => path,
            _ => &request.path,
        };
        let Ok(file) = fs::read(self.root.join(wanted)) else {
            out.write_all(&status(404))?;
            return Ok(true);
        };
        if let Some(message) = complete(answer, &file, request) {
            self.send(&message, out)?;
            return Ok(true);
        }
        self.break_off(answer, &Part::of(&file, request, 0), out)?;
        Ok(false)
    }

    fn send(&self, mut message: &[u8], out: &mut TcpStream) -> io::Result<()> {
        while !message.is_empty() {
            let len = self.meter.count(message.len().min(PIECE_BYTES));
            let (piece, rest) = message.split_at(len);
            out.write_all(piece)?;
            message = rest;
            if len == 0 {
                self.wait_for_stop();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Answers so that the connection cannot go on.
    fn break_off(&self, answer: &Answer, part: &Part, out: &mut TcpStream) -> io::Result<()> {
        let Part { said, content } = part;
        let first = |len: usize| &content[..len.min(content.len())];
        match answer {
            Answer::Silence => self.wait_for_stop(),
            Answer::Garbage => out.write_all(b"\0\xff what?\r\n\r\n\r\n")?,
            Answer::EndlessHeader => {
                out.write_all(b"HTTP/1.1 206 Partial Content\r\n")?;
                while !self.is_stopped() {
                    out.write_all(&b"X-More: and more\r\n".repeat(1000))?;
                }
            }
            Answer::CutAfter(len) => {
                out.write_all(&message(206, said, content.len(), first(*len)))?;
            }
            Answer::ResetAfter(len) => {
                out.write_all(&message(206, said, content.len(), first(*len)))?;
                set_socket_linger(&*out, Some(Duration::ZERO))?;
            }
            Answer::Endless => {
                out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                while !self.is_stopped() {
                    out.write_all(&[b"10000\r\n", &*vec![b'x'; 0x1_0000], b"\r\n"].concat())?;
                }
            }
            Answer::Drip(pause) => {
                out.write_all(&message(206, said, content.len(), &[]))?;
                for byte in content {
                    if self.is_stopped() {
                        break;
                    }
                    out.write_all(&[*byte])?;
                    thread::sleep(*pause);
                }
            }
            // Nothing: the connection ends.
            _ => {}
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    fn wait_for_stop(&self) {
        while !self.is_stopped() {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The part of a file that an answer has.
struct Part {
    /// Its `Content-Range`.
    said: String,
    content: Vec<u8>,
}

impl Part {
    /// The part that was asked for, moved by so many bytes.
    fn of(file: &[u8], request: &HttpRequest, shift: u64) -> Self {
        let size = file.len();
        let (first, last) = request.range.unwrap_or((0, u64::MAX));
        let place = |at: u64| usize::try_from(at.saturating_add(shift)).unwrap_or(usize::MAX);
        let start = place(first).min(size);
        let end = place(last).saturating_add(1).min(size);
        let content = file.get(start..end).unwrap_or_default().to_vec();
        let said = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
        Self { said, content }
    }
}

/// An answer that is whole, right or wrong.
fn complete(answer: &Answer, file: &[u8], request: &HttpRequest) -> Option<Vec<u8>> {
    let part = Part::of(file, request, 0);
    let next = Part::of(file, request, 1);
    let with = |content: &[u8]| message(206, &part.said, content.len(), content);
    let content = &part.content;
    Some(match answer {
        Answer::Honest | Answer::OtherFile(_) => with(content),
        Answer::OtherRange => message(206, &next.said, next.content.len(), &next.content),
        Answer::ShiftedContent => with(&next.content),
        Answer::Status(number) => status(*number),
        Answer::Short(len) => with(&content[..(*len).min(content.len())]),
        Answer::Long => with(&content.repeat(2)),
        Answer::WholeFile => message(200, "", file.len(), file),
        Answer::Flip(at) => {
            let mut content = content.clone();
            let at = at % content.len().max(1);
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1;
            }
            with(&content)
        }
        Answer::Zeros => with(&vec![0; content.len()]),
        Answer::Page(page) => message(200, "", page.len(), page),
        Answer::Redirect(location) => {
            let head = "HTTP/1.1 302 Found\r\nContent-Length: 0";
            format!("{head}\r\nLocation: {location}\r\n\r\n").into_bytes()
        }
        Answer::BadLength => {
            let head = b"HTTP/1.1 206 Partial Content\r\nContent-Length: -1x\r\n\r\n";
            [head, &**content].concat()
        }
        Answer::FalselyEncoded => {
            let said = format!("{}\r\nContent-Encoding: gzip", part.said);
            message(206, &said, content.len(), content)
        }
        _ => return None,
    })
}

fn status(number: u16) -> Vec<u8> {
    message(number, "", 0, &[])
}

fn message(number: u16, range: &str, len: usize, content: &[u8]) -> Vec<u8> {
    let range = match range {
        "" => String::new(),
        range => format!("Content-Range: {range}\r\n"),
    };
    let head = format!("HTTP/1.1 {number} As Told\r\nContent-Length: {len}\r\n{range}\r\n");
    [head.as_bytes(), content].concat()
}
