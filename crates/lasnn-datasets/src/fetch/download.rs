//! Downloads of single files: resumed, retried and checked against their checksum.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use md5::Md5;
use sha2::Sha256;
use sha2::digest::DynDigest;
use ureq::http::{StatusCode, header};
use ureq::{Agent, Proxy};

use super::address::Address;
use super::error::FetchError;
use super::progress::{Event, Progress};
use crate::hex::hex;
use crate::remote::{Checksum, Download};

/// The number of bytes that are read at once.
const BLOCK: usize = 64 * 1024;

/// How servers are contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The longest time until a connection is established.
    pub connect: Duration,
    /// The longest time in which a server sends nothing.
    pub stall: Duration,
    /// The number of attempts to get a file, at least 1. An attempt that brings `much` new bytes
    /// does not count, so a large file arrives over a connection that breaks often.
    pub attempts: u32,
    /// See `attempts`.
    pub much: u64,
    /// The time between the first and the second attempt. It doubles with each attempt.
    pub first_wait: Duration,
    /// The longest time between two attempts.
    pub longest_wait: Duration,
    /// Whether the variables `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are used.
    pub proxy: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            attempts: 6,
            much: 1 << 20,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(15),
            proxy: true,
        }
    }
}

impl Network {
    /// An HTTP client. It keeps no connection between requests, because a new request is often made
    /// after a connection broke.
    pub(super) fn agent(&self) -> Agent {
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(Some(self.connect))
            .timeout_connect(Some(self.connect))
            .timeout_send_request(Some(self.stall))
            .timeout_recv_response(Some(self.stall))
            .timeout_per_read(Some(self.stall))
            .max_idle_connections(0)
            .user_agent(concat!("lasnn/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .proxy(if self.proxy { Proxy::try_from_env() } else { None })
            .build()
            .new_agent()
    }
}

/// Downloads the files of a data set.
pub(super) struct Downloader<'a> {
    /// The folder of the downloaded files.
    pub folder: &'a Path,
    pub agent: Agent,
    pub network: &'a Network,
    pub sleep: &'a dyn Fn(Duration),
    pub progress: &'a mut dyn Progress,
    /// The number of bytes that servers have sent.
    pub received: u64,
}

impl Downloader<'_> {
    /// Downloads a file from `url`, unless it has been downloaded before. Its checksum is right
    /// afterwards.
    pub fn download(&mut self, file: &Download<'_>, url: &Address) -> Result<(), FetchError> {
        let path = self.folder.join(file.file);
        let mut part = Part::open(&path, file)?;
        let mut restarted = false;
        loop {
            if let Err(error) = self.receive(file, url, &mut part) {
                if part.length == 0 {
                    fs::remove_file(&part.path).ok();
                }
                return Err(error);
            }
            let found = hex(&part.hash.box_clone().finalize());
            let (Checksum::Sha256(expected) | Checksum::Md5(expected)) = file.checksum;
            if expected.eq_ignore_ascii_case(&found) {
                return part.finish(&path);
            }
            // A file of several pieces may mix two versions, so it gets one more chance.
            if restarted || !part.in_pieces {
                fs::remove_file(&part.path).ok();
                let (url, expected) = (url.to_string(), file.checksum.to_string());
                return Err(FetchError::Checksum { url, found, expected });
            }
            part.clear()?;
            restarted = true;
        }
    }

    /// Receives all missing bytes, in several attempts if necessary.
    fn receive(
        &mut self,
        file: &Download<'_>,
        url: &Address,
        part: &mut Part,
    ) -> Result<(), FetchError> {
        let Network { attempts, much, first_wait, longest_wait, .. } = *self.network;
        let attempts = attempts.max(1);
        let (mut attempt, mut wait) = (1, first_wait);
        // This length only grows, so a server that starts over again and again does not keep this
        // loop going.
        let mut reached = part.length;
        loop {
            let error = match self.attempt(file, url, part) {
                Err(error) if error.is_temporary() => error,
                other => return other,
            };
            if part.length >= reached.saturating_add(much.max(1)) {
                (attempt, wait, reached) = (1, first_wait, part.length);
            } else if attempt < attempts {
                attempt += 1;
            } else {
                return Err(FetchError::GaveUp { attempts, source: Box::new(error) });
            }
            let reason = match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            };
            self.report(&Event::Retrying { file: file.file, reason: &reason, wait })?;
            (self.sleep)(wait);
            wait = wait.saturating_mul(2).min(longest_wait);
        }
    }

    /// Makes one attempt to receive the missing bytes.
    fn attempt(
        &mut self,
        file: &Download<'_>,
        url: &Address,
        part: &mut Part,
    ) -> Result<(), FetchError> {
        let (name, total) = (file.file, file.bytes);
        if part.length == total {
            return Ok(());
        }
        self.report(&Event::Downloading { file: name, done: part.length, total })?;
        let mut start = part.length;
        let body = loop {
            let mut request = self.agent.get(url.secret());
            if start > 0 {
                request = request.header(header::RANGE, format!("bytes={start}-"));
            }
            let response = request.call().map_err(|error| failed(url, error))?;
            let range = response.headers().get(header::CONTENT_RANGE);
            let is_rest = range.is_some_and(|range| range_starts_at(range.as_bytes(), start));
            match response.status() {
                StatusCode::OK => {
                    start = 0;
                    break response.into_body();
                }
                StatusCode::PARTIAL_CONTENT if start > 0 && is_rest => break response.into_body(),
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                    start = 0;
                }
                status => {
                    let (url, status) = (url.to_string(), status.as_u16());
                    return Err(FetchError::Status { url, status });
                }
            }
        };
        // Checked before anything is discarded: the answer may be the login page of a network.
        let expected = total - start;
        if let Some(found) = body.content_length().filter(|&found| found != expected) {
            return Err(FetchError::Announced { url: url.to_string(), found, expected });
        }
        if start == 0 {
            part.clear()?;
        } else {
            part.in_pieces = true;
        }
        let mut body = body.into_reader();
        let mut buffer = vec![0; BLOCK];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A server that announces no length may leave the connection open.
                Err(_) if part.length == total => 0,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                Err(source) => {
                    return Err(FetchError::Unreachable { url: url.to_string(), source });
                }
            };
            if read == 0 {
                let (found, url) = (part.length, url.to_string());
                return match found == total {
                    true => Ok(()),
                    false => Err(FetchError::CutOff { url, found, expected: total }),
                };
            }
            if read as u64 > total - part.length {
                part.clear()?;
                return Err(FetchError::TooLong { url: url.to_string(), expected: total });
            }
            part.append(&buffer[..read])?;
            self.received += read as u64;
            self.report(&Event::Downloading { file: name, done: part.length, total })?;
        }
    }

    fn report(&mut self, event: &Event<'_>) -> Result<(), FetchError> {
        match self.progress.on_event(event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(FetchError::Stopped),
        }
    }
}

/// Whether a Content-Range starts at byte `start`. A wrong end is noticed by the announced length
/// or by the number of bytes.
fn range_starts_at(range: &[u8], start: u64) -> bool {
    range.starts_with(format!("bytes {start}-").as_bytes())
}

fn failed(url: &Address, error: ureq::Error) -> FetchError {
    use ureq::Error;
    let url = url.to_string();
    match error {
        Error::TooManyRedirects => FetchError::Redirects { url },
        Error::Timeout(_)
        | Error::Io(_)
        | Error::HostNotFound
        | Error::ConnectionFailed
        | Error::ConnectProxyFailed(_)
        | Error::Protocol(_) => FetchError::Unreachable { url, source: error.into_io() },
        _ => FetchError::Refused { url, source: error.into_io() },
    }
}

/// The first bytes of a file, under the name `*.part`, and their hash.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    hash: Box<dyn DynDigest>,
    /// Whether the bytes came with more than one answer.
    in_pieces: bool,
}

impl Part {
    /// Opens what an earlier fetch has left of the file `path`, and hashes it. A complete file
    /// becomes a part again, since its checksum decides whether it is used.
    fn open(path: &Path, download: &Download<'_>) -> Result<Self, FetchError> {
        let part = path.with_added_extension("part");
        if let Err(error) = fs::rename(path, &part)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(FetchError::file("move", path, error));
        }
        let hash: Box<dyn DynDigest> = match download.checksum {
            Checksum::Sha256(_) => Box::new(Sha256::default()),
            Checksum::Md5(_) => Box::new(Md5::default()),
        };
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(&part);
        let file = options.map_err(|error| FetchError::file("open", &part, error))?;
        let mut part = Self { path: part, file, length: 0, hash, in_pieces: false };
        part.length = part.hash().map_err(|error| FetchError::file("read", &part.path, error))?;
        part.in_pieces = part.length > 0;
        if part.length > download.bytes {
            part.clear()?;
        }
        Ok(part)
    }

    /// Hashes the file from its start to its end, and returns its length.
    fn hash(&mut self) -> io::Result<u64> {
        let mut buffer = vec![0; BLOCK];
        let mut length = 0;
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(length),
                Ok(read) => self.hash.update(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            length = self.file.stream_position()?;
        }
    }

    fn clear(&mut self) -> Result<(), FetchError> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map_err(|error| FetchError::file("truncate", &self.path, error))?;
        self.hash.reset();
        (self.length, self.in_pieces) = (0, false);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| FetchError::file("write", &self.path, error))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives the complete file its name.
    fn finish(self, path: &Path) -> Result<(), FetchError> {
        self.file.sync_all().map_err(|error| FetchError::file("write", &self.path, error))?;
        drop(self.file);
        fs::rename(&self.path, path).map_err(|error| FetchError::file("create", path, error))
    }
}
