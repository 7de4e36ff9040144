//! One file, from the first request to the right checksum.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::Address;
use super::catalogue::Download;
use super::disk;
use super::error::FetchError;
use super::http::{self, Answer, Client, Network};
use super::part::{self, Part};
use super::progress::{Event, Progress};

/// How much is read at once.
const BLOCK: usize = 64 * 1024;
/// No page with which a hotel or a proxy answers in place of the server is longer, in bytes.
const LONGEST_PAGE: u64 = 256 * 1024;

/// What all files of a data set share.
pub struct Downloader<'a> {
    /// Where files and their parts lie.
    pub folder: &'a Path,
    /// Speaks to servers.
    pub client: &'a Client,
    /// How often and after which waits.
    pub network: &'a Network,
    /// Waits.
    pub sleep: &'a dyn Fn(Duration),
    /// Hears what goes on.
    pub progress: &'a mut dyn Progress,
    /// How many bytes have come from servers.
    pub received: u64,
}

impl Downloader<'_> {
    /// Gets a file from `url`, unless it is here already, and says where it is. Its checksum is
    /// right.
    pub fn download(&mut self, file: &Download<'_>, url: &Address) -> Result<PathBuf, FetchError> {
        let path = self.folder.join(file.file);
        if is_whole(&path, file)? {
            return Ok(path);
        }
        let mut part = Part::open(self.folder, file.file, file.bytes, file.checksum.hasher())?;
        // A file of several pieces may be one of several versions; one of a single piece is not.
        let mut pieces = part.length() > 0;
        loop {
            pieces |= match self.receive(file, url, &mut part) {
                Ok(pieces) => pieces,
                Err(error) => {
                    // What can neither be gone on with nor used only keeps the disk full.
                    if part.resume().is_none() && part.length() < file.bytes {
                        part.remove().ok();
                    }
                    return Err(error);
                }
            };
            let found = part.digits();
            if file.checksum.is(&found) {
                part.complete(&path)?;
                return Ok(path);
            }
            if !pieces {
                part.remove()?;
                let (url, expected) = (url.to_string(), file.checksum.to_string());
                return Err(FetchError::Checksum { url, found, expected });
            }
            tracing::debug!(file = file.file, "the pieces do not fit, from the start");
            part.start_over()?;
            pieces = false;
        }
    }

    /// Receives all that is missing, in several attempts if need be. Says whether some of it was
    /// added to what an earlier attempt had left.
    fn receive(
        &mut self,
        file: &Download<'_>,
        url: &Address,
        part: &mut Part,
    ) -> Result<bool, FetchError> {
        let mut pieces = false;
        let Network { attempts, much, first_wait, longest_wait, .. } = *self.network;
        let attempts = attempts.max(1);
        let (mut attempt, mut wait) = (1, first_wait);
        // It only grows, so no server can keep this going by breaking off or starting over.
        let mut reached = part.length();
        loop {
            let error = match self.attempt(file, url, part) {
                Ok(continued) => return Ok(pieces | continued),
                Err(error) if !error.is_passing() => return Err(error),
                Err(error) => error,
            };
            if part.length() >= reached.saturating_add(much.max(1)) {
                (attempt, wait, reached) = (1, first_wait, part.length());
            } else if attempt < attempts {
                attempt += 1;
            } else {
                return Err(FetchError::GaveUp { attempts, source: Box::new(error) });
            }
            pieces |= part.length() > 0;
            let reason = reason(&error);
            tracing::debug!(file = file.file, attempt, reason, "an attempt failed");
            self.tell(&Event::Retrying { file: file.file, reason: &reason, wait })?;
            (self.sleep)(wait);
            wait = wait.saturating_mul(2).min(longest_wait);
        }
    }

    /// Asks once for what is missing and takes what comes. Says whether it was added to what was
    /// here.
    fn attempt(
        &mut self,
        file: &Download<'_>,
        url: &Address,
        part: &mut Part,
    ) -> Result<bool, FetchError> {
        if part.length() == file.bytes {
            return Ok(false);
        }
        self.tell(&Event::Downloading { file: file.file, done: part.length(), total: file.bytes })?;
        let mut answer = self.client.get(url, part.resume(), file.bytes)?;
        if matches!(answer, Answer::StartOver) {
            answer = self.client.get(url, None, file.bytes)?;
        }
        let Answer::Body { start, length, validator, mut body } = answer else {
            // A request without a range gets no such answer; should it, the next one may not.
            return Err(FetchError::CutOff {
                url: url.to_string(),
                found: 0,
                expected: file.bytes,
            });
        };
        // What is here is thrown away only for an answer that can be the file: it may be hours of
        // downloading, and the answer the page of a hotel that asks for a room number.
        let expected = file.bytes - start;
        if let Some(found) = length.filter(|&found| found != expected) {
            return Err(FetchError::Announced { url: url.to_string(), found, expected });
        }
        if start == 0 {
            if length.is_none() && part.length() > 0 {
                body = longer_than_a_page(body, url, file.bytes)?;
            }
            part.start_over()?;
            part.note(validator)?;
        }
        self.take(file, url, part, &mut body)?;
        Ok(start > 0)
    }

    /// Takes a body to its end.
    fn take(
        &mut self,
        file: &Download<'_>,
        url: &Address,
        part: &mut Part,
        body: &mut dyn Read,
    ) -> Result<(), FetchError> {
        let total = file.bytes;
        let mut buffer = vec![0; BLOCK];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A server that does not say how much comes may leave the connection open.
                Err(_) if part.length() == total => 0,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                Err(error) => return Err(http::broke(url, error)),
            };
            if read == 0 {
                let (found, url) = (part.length(), url.to_string());
                return match found == total {
                    true => Ok(()),
                    false => Err(FetchError::CutOff { url, found, expected: total }),
                };
            }
            if read as u64 > total - part.length() {
                part.start_over()?;
                return Err(FetchError::TooLong { url: url.to_string(), expected: total });
            }
            part.append(&buffer[..read])?;
            self.received += read as u64;
            self.tell(&Event::Downloading { file: file.file, done: part.length(), total })?;
        }
    }

    /// Tells what goes on, and stops if that is wanted.
    pub fn tell(&mut self, event: &Event<'_>) -> Result<(), FetchError> {
        match self.progress.hear(event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(FetchError::Stopped),
        }
    }
}

/// A body of which nobody has said how long it is, if it is longer than a page or as long as the
/// file.
fn longer_than_a_page(
    mut body: Box<dyn Read>,
    url: &Address,
    total: u64,
) -> Result<Box<dyn Read>, FetchError> {
    let least = LONGEST_PAGE.min(total);
    let mut opening = Vec::new();
    match body.by_ref().take(least).read_to_end(&mut opening) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            return Err(http::broke(url, error));
        }
        _ => {}
    }
    let found = opening.len() as u64;
    if found < least {
        return Err(FetchError::CutOff { url: url.to_string(), found, expected: total });
    }
    Ok(Box::new(Cursor::new(opening).chain(body)))
}

/// Whether a file of an earlier fetch is there and right. One that is not is removed.
fn is_whole(path: &Path, file: &Download<'_>) -> Result<bool, FetchError> {
    let failed = |error| FetchError::file("read", path, error);
    disk::remove_unless_file(path).map_err(failed)?;
    let mut found = match File::open(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut hasher = file.checksum.hasher();
    let length = part::hash(&mut found, &mut hasher, file.bytes).map_err(failed)?;
    let whole = length == file.bytes && file.checksum.is(&hasher.digits());
    drop(found);
    if !whole {
        disk::remove_file(path).map_err(|error| FetchError::file("remove", path, error))?;
    }
    Ok(whole)
}

/// An error and its cause on one line.
fn reason(error: &FetchError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
