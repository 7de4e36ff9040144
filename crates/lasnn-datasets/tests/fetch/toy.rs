//! A small data set and a data directory for it.

use std::cell::RefCell;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use lasnn_datasets::RemoteFiles;
use lasnn_datasets::fetch::{Event, FetchError, Fetched, Network, Options, Progress, fetch};
use lasnn_datasets::remote::{Checksum, Content, Download, Packing};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::server::Server;

/// The name of the archive.
pub const ARCHIVE: &str = "toy.tar.gz";

/// Random bytes, which cannot be compressed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A tar archive of files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut packed, bytes).unwrap();
    packed.finish().unwrap()
}

/// The archive of the toy data set, slightly more than 300,000 bytes.
pub fn archive() -> Vec<u8> {
    gz(&tar(&[("toy/a.bin", &noise(1, 300_000)), ("toy/sub/b.txt", b"names")]))
}

const CONTENTS: &[Content<'_>] = &[Content::sized("a.bin", 300_000), Content::new("sub/b.txt")];

/// A data set of one archive with the checksum of these bytes.
pub fn remote(archive: &[u8]) -> RemoteFiles<'static> {
    let digits: &str = format!("{:x}", Sha256::digest(archive)).leak();
    let download = Download {
        file: ARCHIVE,
        bytes: archive.len() as u64,
        checksum: Checksum::Sha256(digits),
        packing: Packing::TarGz,
    };
    RemoteFiles {
        name: "toy",
        folder: "toy",
        base: "http://127.0.0.1:9/",
        downloads: vec![download].leak(),
        contents: CONTENTS,
        unpacked_bytes: 500_000,
    }
}

/// Short times, so that no test waits long.
pub const NETWORK: Network = Network {
    connect: Duration::from_secs(5),
    stall: Duration::from_millis(400),
    attempts: 4,
    much: 20_000,
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(3),
    proxy: false,
};

/// Records the events and stops at a byte.
#[derive(Default)]
pub struct Watch {
    pub retries: Vec<String>,
    pub stop_at: Option<u64>,
    pub unpacked: bool,
}

impl Progress for Watch {
    fn on_event(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        match *event {
            Event::Retrying { reason, .. } => self.retries.push(reason.to_owned()),
            Event::Unpacking { .. } => self.unpacked = true,
            Event::Downloading { done, .. } if self.stop_at.is_some_and(|stop| done >= stop) => {
                return ControlFlow::Break(());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A data directory.
pub struct Place {
    pub folder: TempDir,
    /// The times between attempts, in seconds.
    pub waits: RefCell<Vec<u64>>,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), waits: RefCell::default() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn fetch(&self, remote: &RemoteFiles<'_>, server: &Server) -> Result<Fetched, FetchError> {
        self.watched(remote, server, &mut Watch::default())
    }

    pub fn watched(
        &self,
        remote: &RemoteFiles<'_>,
        server: &Server,
        watch: &mut Watch,
    ) -> Result<Fetched, FetchError> {
        let sleep = |time: Duration| self.waits.borrow_mut().push(time.as_secs());
        let address = server.address();
        let options = Options { mirror: Some(&address), network: NETWORK, sleep: &sleep };
        fetch(remote, self.path(), &options, watch)
    }

    /// The names in the data directory.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The length of the partly downloaded archive.
    pub fn part(&self) -> Option<u64> {
        let part = self.path().join(".fetch/toy/toy.tar.gz.part");
        fs::metadata(part).ok().map(|part| part.len())
    }

    /// Checks that the data set is complete and nothing else is left of the fetch.
    #[track_caller]
    pub fn check_complete(&self) {
        assert_eq!(self.names(), [".fetch", "toy"]);
        assert_eq!(fs::read(self.path().join("toy/a.bin")).unwrap(), noise(1, 300_000));
        assert_eq!(fs::read(self.path().join("toy/sub/b.txt")).unwrap(), b"names");
        let left: Vec<_> = fs::read_dir(self.path().join(".fetch")).unwrap().collect();
        assert_eq!(left.len(), 1, "the lock alone: {left:?}");
    }

    /// Checks that the data directory contains no part of the data set.
    #[track_caller]
    pub fn check_empty(&self) {
        assert!(self.names().iter().all(|name| name == ".fetch"), "{:?}", self.names());
        assert!(!self.path().join(".fetch/toy/unpacked").exists());
    }
}
