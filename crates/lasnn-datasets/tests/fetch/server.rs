//! A web server that answers as a test wants it, on 127.0.0.1.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many came before.
    pub number: usize,
    pub path: String,
    /// From which byte on the file is wanted.
    pub from: Option<usize>,
    pub if_range: Option<String>,
}

/// What the server says.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    head: String,
    body: Vec<u8>,
    /// After so many bytes, head included, the server says nothing more...
    cut: Option<usize>,
    /// ...but for one byte at a time, with so long between them...
    drip: Option<Duration>,
    /// ...and keeps the connection for so long.
    stall: Duration,
}

impl Reply {
    /// A status and headers, one a line.
    pub fn new(status: &str, headers: &[&str]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        headers.iter().for_each(|header| head.push_str(&format!("{header}\r\n")));
        Self { head, ..Self::default() }
    }

    /// An error without a body.
    pub fn status(status: &str) -> Self {
        Self::new(status, &["Content-Length: 0"])
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// The whole file.
    pub fn whole(file: &[u8], headers: &[&str]) -> Self {
        let length = format!("Content-Length: {}", file.len());
        Self::new("200 OK", &[headers, &[&length]].concat()).body(file)
    }

    /// The rest of a file.
    pub fn rest(file: &[u8], from: usize, headers: &[&str]) -> Self {
        let range = format!("Content-Range: bytes {from}-{}/{}", file.len() - 1, file.len());
        let length = format!("Content-Length: {}", file.len() - from);
        let headers = [headers, &[&range, &length]].concat();
        Self::new("206 Partial Content", &headers).body(&file[from..])
    }

    /// Ends after so many bytes of the body.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(self.head.len() + 2 + bytes);
        self
    }

    /// Ends after so many bytes of the head.
    pub fn cut_head(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// After so many bytes of the body, sends the rest byte by byte with a pause before each.
    pub fn drip(self, bytes: usize, pause: Duration) -> Self {
        Self { drip: Some(pause), ..self.cut(bytes) }
    }

    /// Keeps the connection in the end.
    pub fn stall(mut self, time: Duration) -> Self {
        self.stall = time;
        self
    }
}

/// A server for files: whole, or the rest if the version is still that of the tag.
pub fn file(seen: &Seen, file: &[u8], tag: &str) -> Reply {
    let header = format!("ETag: {tag}");
    match seen.from {
        Some(from) if seen.if_range.as_deref() == Some(tag) => Reply::rest(file, from, &[&header]),
        _ => Reply::whole(file, &[&header]),
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
                // A client that goes away is no failure of the test's.
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

    /// From which bytes the file was asked for.
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
    let mut seen = Seen { number: 0, path: String::new(), from: None, if_range: None };
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
        } else if lower.starts_with("if-range:") {
            seen.if_range = Some(line["if-range:".len()..].trim().to_owned());
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
    let rest = bytes.split_off(reply.cut.unwrap_or(usize::MAX).min(bytes.len()));
    stream.write_all(&bytes).ok()?;
    // A client that waits for all of it has failed the test, and need not wait for hours.
    for byte in rest.chunks(1).take(300).take_while(|_| reply.drip.is_some()) {
        std::thread::sleep(reply.drip.unwrap_or_default());
        stream.write_all(byte).ok()?;
    }
    std::thread::sleep(reply.stall);
    Some(())
}
