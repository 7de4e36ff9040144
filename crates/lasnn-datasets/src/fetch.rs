//! Downloading data sets from their official addresses.
//!
//! - [`fn@fetch`]: makes sure that a data set is in the data directory,
//! - [`unpack`]: unpacks archives,
//! - [`progress`]: events for a caller that shows or stops a fetch.
//!
//! This is the only module that uses the network, and [`crate::load()`] does not call it.
//!
//! In the data directory `D`, the data set `cifar10` is stored in `D/cifar-10-batches-bin`. During
//! a fetch, `D/.fetch/cifar10/` holds the downloaded bytes, and the lock `D/.fetch/cifar10.lock`
//! excludes other processes. The folder of the data set is assembled there and then renamed, so it
//! is complete or does not exist. A killed process leaves the bytes that it has downloaded, and the
//! next one continues with them.

mod address;
mod download;
mod error;
mod folder;
pub mod progress;
pub mod unpack;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use download::Network;
pub use error::FetchError;
pub use progress::{Event, NoProgress, Progress};

use address::Address;
use download::Downloader;
use folder::Found;
use unpack::{ArchiveError, Extractor, Unpacked};

use crate::lock::lock;
use crate::remote::{Packing, RemoteFiles};

/// The folder of unfinished files in the data directory.
const WORK: &str = ".fetch";

/// Options of a fetch.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The address of a folder with the files, instead of the official one.
    pub mirror: Option<&'a str>,
    /// How servers are contacted.
    pub network: Network,
    /// Waits between two attempts.
    pub sleep: &'a dyn Fn(Duration),
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { mirror: None, network: Network::default(), sleep: &std::thread::sleep }
    }
}

/// The result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder of the data set.
    pub folder: PathBuf,
    /// The number of its known files.
    pub files: u64,
    /// The number of their bytes.
    pub bytes: u64,
    /// The number of bytes that servers have sent. `None` if the data set existed before, so that
    /// there was nothing to do.
    pub received: Option<u64>,
}

/// Makes sure that a data set is in `data_dir`. If it is not, this function downloads, checks and
/// unpacks it.
///
/// # Errors
///
/// Downloaded bytes are kept for the next fetch unless they are wrong. Nothing else is left in the
/// data directory but the folder `.fetch`. An existing folder in the place of the data set is never
/// changed.
pub fn fetch(
    remote: &RemoteFiles<'_>,
    data_dir: &Path,
    options: &Options<'_>,
    progress: &mut dyn Progress,
) -> Result<Fetched, FetchError> {
    let base = match options.mirror {
        Some(mirror) => Address::mirror(mirror)?,
        None => Address::official(remote.base),
    };
    let folder = data_dir.join(remote.folder);
    if let Some(fetched) = existing(&folder, remote)? {
        return Ok(fetched);
    }
    let work = data_dir.join(WORK);
    create_folder(&work)?;
    let path = work.join(format!("{}.lock", remote.name));
    let wait = || match progress.on_event(&Event::Waiting).is_break() {
        true => Err(FetchError::Stopped),
        false => Ok(()),
    };
    let _lock = lock(&path, |error| FetchError::file("lock", &path, error), wait)?;
    // Another process may have fetched it in the meantime.
    if let Some(fetched) = existing(&folder, remote)? {
        return Ok(fetched);
    }

    let work = work.join(remote.name);
    create_folder(&work)?;
    let staging = Staging::new(work.join("unpacked"))?;
    let (network, sleep) = (&options.network, options.sleep);
    let agent = network.agent();
    let mut downloader = Downloader { folder: &work, agent, network, sleep, progress, received: 0 };
    for file in remote.downloads {
        downloader.download(file, &base.file(file.file))?;
    }
    let received = downloader.received;
    let files = assemble(remote, &work, &staging.path, progress)?;
    publish(&staging.path.join(remote.folder), &folder)?;
    drop(staging);
    // The data set is complete, so a leftover archive is no reason to fail.
    if let Err(error) = fs::remove_dir_all(&work) {
        tracing::debug!(path = %work.display(), %error, "cannot be removed");
    }
    let bytes = files.iter().map(|file| file.bytes).sum();
    Ok(Fetched { folder, files: files.len() as u64, bytes, received: Some(received) })
}

/// The result for a data set that exists already.
fn existing(folder: &Path, remote: &RemoteFiles<'_>) -> Result<Option<Fetched>, FetchError> {
    match folder::look(folder, remote)? {
        Found::Nothing => Ok(None),
        Found::Complete { files, bytes } => {
            Ok(Some(Fetched { folder: folder.to_owned(), files, bytes, received: None }))
        }
        Found::Other(found) => Err(FetchError::InTheWay { path: folder.to_owned(), found }),
    }
}

/// Makes the folder of the data set in `staging` from the files in `work`, and lists its files.
fn assemble(
    remote: &RemoteFiles<'_>,
    work: &Path,
    staging: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<Unpacked>, FetchError> {
    let folder = staging.join(remote.folder);
    create_folder(&folder)?;
    let mut files = Vec::new();
    for download in remote.downloads {
        let archive = work.join(download.file);
        if download.packing == Packing::Plain {
            fs::rename(&archive, folder.join(download.file))
                .map_err(|error| FetchError::file("move", &archive, error))?;
            files.push(Unpacked { path: download.file.to_owned(), bytes: download.bytes });
            continue;
        }
        let opened = File::open(&archive);
        let opened = opened.map_err(|error| FetchError::file("open", &archive, error))?;
        let mut extractor = Extractor {
            into: staging,
            folder: remote.folder,
            limit: remote.unpacked_bytes,
            progress: &mut |done, total| {
                progress.on_event(&Event::Unpacking { file: download.file, done, total })
            },
        };
        let unpacked = match download.packing {
            Packing::Zip => extractor.zip(opened),
            _ => extractor.tar_gz(opened),
        };
        files.extend(unpacked.map_err(|error| {
            // The next attempt would fail in the same way, unless the disk was full.
            if !matches!(error, ArchiveError::Write { .. } | ArchiveError::Stopped) {
                fs::remove_file(&archive).ok();
            }
            FetchError::archive(download.file, error)
        })?);
    }
    folder::check_contents(&folder, remote)?;
    folder::write_list(&folder, remote.name, &files)?;
    // All at the end: the system has written most files by now, and waiting for each of a hundred
    // thousand small files in its turn would take minutes.
    for path in files.iter().map(|file| folder.join(&file.path)).chain([folder.clone()]) {
        sync(&path).map_err(|error| FetchError::file("write", &path, error))?;
    }
    Ok(files)
}

/// Gives the complete folder its name.
fn publish(from: &Path, to: &Path) -> Result<(), FetchError> {
    match fs::rename(from, to) {
        Ok(()) => {}
        Err(error)
            if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) =>
        {
            let found = "it did not exist a moment ago".into();
            return Err(FetchError::InTheWay { path: to.to_owned(), found });
        }
        Err(error) => return Err(FetchError::file("create", to, error)),
    }
    let parent = to.parent().unwrap_or(to);
    sync(parent).map_err(|error| FetchError::file("write", parent, error))
}

fn create_folder(folder: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(folder).map_err(|error| FetchError::file("create", folder, error))
}

/// Waits until a file or folder is on the disk.
fn sync(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return File::options().write(true).open(path)?.sync_all();
    }
    // Only Unix opens folders, and some file systems cannot sync them.
    match File::open(path).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() == ErrorKind::StorageFull => Err(error),
        _ => Ok(()),
    }
}

/// An empty folder that is removed when this value is dropped, together with the folder around it
/// if that is empty.
struct Staging {
    path: PathBuf,
}

impl Staging {
    /// Creates the folder, after removing what a killed process may have left of it.
    fn new(path: PathBuf) -> Result<Self, FetchError> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(FetchError::file("remove", &path, error));
            }
            _ => {}
        }
        create_folder(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If this fails, the next fetch removes the folder.
        fs::remove_dir_all(&self.path).ok();
        if let Some(around) = self.path.parent() {
            fs::remove_dir(around).ok();
        }
    }
}
