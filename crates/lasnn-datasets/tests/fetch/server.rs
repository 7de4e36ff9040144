//! A web server on 127.0.0.1 with answers that a test defines.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The number of earlier requests.
    pub number: usize,
    pub path: String,
    /// The first requested byte, if the request has a range.
    pub from: Option<usize>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    head: String,
    body: Vec<u8>,
    /// The server sends only this number of bytes, including the head...
    cut: Option<usize>,
    /// ...and keeps the connection open for this time.
    stall: Duration,
}

impl Reply {
    /// An answer with a status and headers.
    pub fn new(status: &str, headers: &[&str]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        headers.iter().for_each(|header| head.push_str(&format!("{header}\r\n")));
        Self { head, ..Self::default() }
    }

    /// An answer without a body.
    pub fn status(status: &str) -> Self {
        Self::new(status, &["Content-Length: 0"])
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// The whole file.
    pub fn whole(file: &[u8]) -> Self {
        Self::new("200 OK", &[&format!("Content-Length: {}", file.len())]).body(file)
    }

    /// The rest of a file.
    pub fn rest(file: &[u8], from: usize) -> Self {
        let range = format!("Content-Range: bytes {from}-{}/{}", file.len() - 1, file.len());
        let length = format!("Content-Length: {}", file.len() - from);
        Self::new("206 Partial Content", &[&range, &length]).body(&file[from..])
    }

    /// Ends after this number of bytes of the body.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(self.head.len() + 2 + bytes);
        self
    }

    /// Ends after this number of bytes of the head.
    pub fn cut_head(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Keeps the connection open in the end.
    pub fn stall(mut self, time: Duration) -> Self {
        self.stall = time;
        self
    }
}

/// The requested part of a file.
pub fn file(seen: &Seen, file: &[u8]) -> Reply {
    match seen.from {
        Some(from) => Reply::rest(file, from),
        None => Reply::whole(file),
    }
}

/// Listens until it is dropped.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let (all, stopped) = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (all, answer) = (all.clone(), answer.clone());
                // A client may close the connection early.
                std::thread::spawn(move || serve(stream.ok()?, &all, &*answer));
            }
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    pub fn address(&self) -> String {
        format!("http://{}/files", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The first requested byte of each request.
    pub fn starts(&self) -> Vec<Option<usize>> {
        self.seen().iter().map(|seen| seen.from).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        self.thread.take().unwrap().join().ok();
    }
}

fn serve(
    mut stream: TcpStream,
    all: &Mutex<Vec<Seen>>,
    answer: &dyn Fn(&Seen) -> Reply,
) -> Option<()> {
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).ok()?;
    stream.set_write_timeout(limit).ok()?;
    let mut seen = Seen { number: 0, path: String::new(), from: None };
    for (number, line) in BufReader::new(&stream).lines().take(100).enumerate() {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if number == 0 {
            seen.path = line.split(' ').nth(1)?.to_owned();
        } else if let Some(range) = lower.strip_prefix("range: bytes=") {
            seen.from = range.trim().trim_end_matches('-').parse().ok();
        }
    }
    let mut all = all.lock().unwrap();
    seen.number = all.len();
    all.push(seen.clone());
    drop(all);
    let reply = answer(&seen);
    let mut bytes = reply.head.into_bytes();
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&reply.body);
    bytes.truncate(reply.cut.unwrap_or(usize::MAX));
    stream.write_all(&bytes).ok()?;
    std::thread::sleep(reply.stall);
    Some(())
}
