//! A data set small enough for tests, and a place to fetch it to.

use std::cell::RefCell;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use lasnn_datasets::fetch::catalogue::{Content, Download, Packing};
use lasnn_datasets::fetch::unpack::Limits;
use lasnn_datasets::fetch::{
    Checksum, Event, FetchError, Fetched, Network, Options, Origin, Progress, fetch,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::server::Server;

/// The name of the archive.
pub const ARCHIVE: &str = "toy.tar.gz";
pub const LIMITS: Limits = Limits { entries: 20, file_bytes: 400_000, total_bytes: 500_000 };

/// Bytes that no compression makes smaller.
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

/// The archive of the toy data set: 300,000 bytes and a few.
pub fn archive() -> Vec<u8> {
    gz(&tar(&[("toy/a.bin", &noise(1, 300_000)), ("toy/sub/b.txt", b"names")]))
}

/// A data set of one archive with the checksum of these bytes. It lives as long as the test.
pub fn origin(archive: &[u8]) -> Origin<'static> {
    let digits: &str = format!("{:x}", Sha256::digest(archive)).leak();
    let download = Download {
        file: ARCHIVE,
        bytes: archive.len() as u64,
        checksum: Checksum::Sha256(digits),
        packing: Packing::TarGz,
    };
    Origin {
        name: "toy",
        folder: "toy",
        base: "http://127.0.0.1:9/",
        downloads: vec![download].leak(),
        contents: &[
            Content { path: "a.bin", bytes: Some(300_000) },
            Content { path: "sub/b.txt", bytes: None },
        ],
        limits: LIMITS,
    }
}

/// Short limits, so that no test waits.
pub const NETWORK: Network = Network {
    connect: Duration::from_secs(5),
    stall: Duration::from_millis(400),
    span: Duration::from_millis(500),
    least: 400,
    redirects: 3,
    attempts: 4,
    much: 20_000,
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(3),
    proxy: false,
};

/// Keeps the events, and stops at some byte.
#[derive(Default)]
pub struct Watch {
    pub retries: Vec<String>,
    pub stop_at: Option<u64>,
    pub unpacked: bool,
}

impl Progress for Watch {
    fn hear(&mut self, event: &Event<'_>) -> ControlFlow<()> {
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
    /// How long the fetches would have waited.
    pub waits: RefCell<Vec<u64>>,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), waits: RefCell::default() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn fetch(&self, origin: &Origin<'_>, server: &Server) -> Result<Fetched, FetchError> {
        self.watched(origin, server, &mut Watch::default())
    }

    pub fn watched(
        &self,
        origin: &Origin<'_>,
        server: &Server,
        watch: &mut Watch,
    ) -> Result<Fetched, FetchError> {
        let sleep = |time: Duration| self.waits.borrow_mut().push(time.as_secs());
        let address = server.address();
        let options = Options { mirror: Some(&address), network: NETWORK, sleep: &sleep };
        fetch(origin, self.path(), &options, watch)
    }

    /// The names in the data directory.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// How many bytes of the archive are here.
    pub fn part(&self) -> Option<u64> {
        let part = self.path().join(".fetch/toy/toy.tar.gz.part");
        fs::metadata(part).ok().map(|part| part.len())
    }

    /// Checks that the data set is here and nothing is left of the fetch.
    #[track_caller]
    pub fn is_whole(&self) {
        assert_eq!(self.names(), [".fetch", "toy"]);
        assert_eq!(fs::read(self.path().join("toy/a.bin")).unwrap(), noise(1, 300_000));
        assert_eq!(fs::read(self.path().join("toy/sub/b.txt")).unwrap(), b"names");
        let left: Vec<_> = fs::read_dir(self.path().join(".fetch")).unwrap().collect();
        assert_eq!(left.len(), 1, "the lock alone: {left:?}");
    }

    /// Checks that nothing of the data set can be seen.
    #[track_caller]
    pub fn has_nothing(&self) {
        assert!(self.names().iter().all(|name| name == ".fetch"), "{:?}", self.names());
        assert!(!self.path().join(".fetch/toy/unpacked").exists());
    }
}
