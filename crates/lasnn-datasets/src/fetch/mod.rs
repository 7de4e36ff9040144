//! Getting data sets from their official addresses.
//!
//! - [`catalogue`]: which files, where, how large and with which checksum,
//! - [`fn@fetch`]: all of it, from the request to the folder that a source reads,
//! - [`unpack`]: archives, unpacked as if somebody hostile had made them,
//! - [`progress`]: what goes on meanwhile.
//!
//! Nothing else in this crate touches a network, and [`crate::load`] does not call this.
//!
//! In the data directory `D`, the data set `cifar10` ends up in `D/cifar-10-batches-bin`. While it
//! is fetched, `D/.fetch/cifar10/` holds what has come, and `D/.fetch/cifar10.lock` keeps other
//! processes out. The folder is put together there and gets its place by being renamed, so it is
//! whole or not there. A process that is killed leaves what it has downloaded; the next one goes on
//! with it.

mod address;
pub mod catalogue;
mod checksum;
mod disk;
mod download;
mod error;
mod folder;
mod http;
mod lock;
mod pace;
mod part;
pub mod progress;
pub mod unpack;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use catalogue::Origin;
pub use checksum::Checksum;
pub use error::FetchError;
pub use http::Network;
pub use progress::{Event, Progress, Unwatched};

use address::Address;
use catalogue::Packing;
use download::Downloader;
use folder::Found;
use lock::Lock;
use unpack::{ArchiveError, Unpacked};

/// Where everything that is not finished lies, below the data directory.
const WORK: &str = ".fetch";

/// How to fetch.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The address below which the files lie, in place of the official one.
    pub mirror: Option<&'a str>,
    /// How servers are spoken to.
    pub network: Network,
    /// Waits between two attempts.
    pub sleep: &'a dyn Fn(Duration),
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { mirror: None, network: Network::default(), sleep: &std::thread::sleep }
    }
}

/// A data set that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder in which it is.
    pub folder: PathBuf,
    /// How many files of it are known.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// How many bytes came from servers; `None` if it had been there before, and nothing was done.
    pub received: Option<u64>,
}

/// Makes sure that a data set is in `data_dir`: does nothing if it is whole, and otherwise
/// downloads it, checks it and unpacks it.
///
/// # Errors
///
/// Says what went wrong. What was downloaded is kept for the next time unless it is wrong; nothing
/// is left in the data directory but `.fetch`. A folder that is in the way is not touched.
pub fn fetch(
    origin: &Origin<'_>,
    data_dir: &Path,
    options: &Options<'_>,
    progress: &mut dyn Progress,
) -> Result<Fetched, FetchError> {
    let base = match options.mirror {
        Some(mirror) => Address::mirror(mirror)?,
        None => Address::official(origin.base),
    };
    let folder = data_dir.join(origin.folder);
    if let Some(there) = already(&folder, origin)? {
        return Ok(there);
    }
    let work = data_dir.join(WORK);
    make(&work)?;
    let _lock = Lock::wait(&work.join(format!("{}.lock", origin.name)), progress)?;
    // Another process may have done it in the meantime.
    if let Some(there) = already(&folder, origin)? {
        return Ok(there);
    }

    let work = work.join(origin.name);
    make(&work)?;
    let staging = Staging::new(work.join("unpacked"))?;
    let client = http::Client::new(&options.network);
    let (network, sleep) = (&options.network, options.sleep);
    let mut downloader =
        Downloader { folder: &work, client: &client, network, sleep, progress, received: 0 };
    for file in origin.downloads {
        downloader.download(file, &base.file(file.file))?;
    }
    let received = downloader.received;
    let files = assemble(origin, &work, &staging.path, progress)?;
    settle(&staging.path.join(origin.folder), &folder)?;
    drop(staging);
    // The data set is there; that its archive stays too would be no reason to fail.
    if let Err(error) = disk::remove_folder(&work) {
        tracing::debug!(path = %work.display(), %error, "cannot be removed");
    }
    let bytes = files.iter().map(|file| file.bytes).sum();
    Ok(Fetched { folder, files: files.len() as u64, bytes, received: Some(received) })
}

/// What there is to say if the data set is there already.
fn already(folder: &Path, origin: &Origin<'_>) -> Result<Option<Fetched>, FetchError> {
    match folder::look(folder, origin)? {
        Found::Nothing => Ok(None),
        Found::Whole { files, bytes } => {
            Ok(Some(Fetched { folder: folder.to_owned(), files, bytes, received: None }))
        }
        Found::Else(found) => Err(FetchError::InTheWay { path: folder.to_owned(), found }),
    }
}

/// Makes the folder of the data set in `staging` from the files in `work`, and lists its files.
fn assemble(
    origin: &Origin<'_>,
    work: &Path,
    staging: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<Unpacked>, FetchError> {
    let folder = staging.join(origin.folder);
    let mut files = Vec::new();
    for download in origin.downloads {
        let archive = work.join(download.file);
        if download.packing == Packing::Plain {
            make(&folder)?;
            let target = folder.join(download.file);
            fs::rename(&archive, &target)
                .map_err(|error| FetchError::file("move", &archive, error))?;
            files.push(Unpacked { path: download.file.to_owned(), bytes: download.bytes });
            continue;
        }
        let opened = File::open(&archive);
        let opened = opened.map_err(|error| FetchError::file("open", &archive, error))?;
        let mut tick = |done, total| -> ControlFlow<()> {
            progress.hear(&Event::Unpacking { file: download.file, done, total })
        };
        let (top, limits) = (origin.folder, origin.limits);
        let unpacked = match download.packing {
            Packing::Zip => unpack::unpack_zip(opened, staging, top, limits, &mut tick),
            _ => unpack::unpack_tar_gz(opened, download.bytes, staging, top, limits, &mut tick),
        };
        let unpacked = match unpacked {
            Ok(unpacked) => unpacked,
            Err(error) => {
                // The next time would end like this one, unless the disk was full.
                if !matches!(error, ArchiveError::Write { .. } | ArchiveError::Stopped) {
                    disk::remove_file(&archive).ok();
                }
                return Err(FetchError::archive(download.file, error));
            }
        };
        files.extend(unpacked.into_iter().filter_map(|file| {
            let path = file.path.strip_prefix(top)?.strip_prefix('/')?.to_owned();
            Some(Unpacked { path, bytes: file.bytes })
        }));
    }
    folder::check_contents(&folder, origin)?;
    folder::write_list(&folder, origin.name, &files)?;
    disk::sync(&folder).map_err(|error| FetchError::file("write", &folder, error))?;
    Ok(files)
}

/// Gives the folder its place. What is there in the meantime stays.
fn settle(from: &Path, to: &Path) -> Result<(), FetchError> {
    match fs::rename(from, to) {
        Ok(()) => {}
        Err(error)
            if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) =>
        {
            let found = "it was not there a moment ago".into();
            return Err(FetchError::InTheWay { path: to.to_owned(), found });
        }
        Err(error) => return Err(FetchError::file("make", to, error)),
    }
    let above = to.parent().unwrap_or(to);
    disk::sync(above).map_err(|error| FetchError::file("write", above, error))
}

/// Makes a folder that is ours.
fn make(folder: &Path) -> Result<(), FetchError> {
    disk::make_folder(folder).map_err(|error| FetchError::file("make", folder, error))
}

/// A folder that is gone in the end, whatever happens, and with it the one around it if nothing is
/// kept there for the next time.
struct Staging {
    path: PathBuf,
}

impl Staging {
    /// An empty folder. What a killed process has left of it is removed.
    fn new(path: PathBuf) -> Result<Self, FetchError> {
        disk::remove_folder(&path).map_err(|error| FetchError::file("remove", &path, error))?;
        make(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Should it fail, the next fetch does it.
        disk::remove_folder(&self.path).ok();
        if let Some(around) = self.path.parent() {
            fs::remove_dir(around).ok();
        }
    }
}
