//! What the standard library leaves to do on a file system.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Waits until a file or a folder is on the disk.
pub fn sync(path: &Path) -> io::Result<()> {
    // Only Unix opens folders; elsewhere the file system keeps their order on its own.
    if cfg!(not(unix)) && path.is_dir() {
        return Ok(());
    }
    let file =
        if cfg!(unix) { File::open(path)? } else { File::options().write(true).open(path)? };
    match file.sync_all() {
        // Some file systems, network ones among them, cannot sync folders.
        Err(error) if path.is_dir() && error.kind() != ErrorKind::StorageFull => Ok(()),
        other => other,
    }
}

/// Removes a folder and everything in it, if it is there. Links are removed, not followed.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file, if it is there.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a link, a pipe or whatever else there is in place of a file; folders stay. Nobody but us
/// has business with such a file, so a link is somebody's mistake or trick: what it leads to must not
/// be written, nor a pipe be waited for.
pub fn remove_unless_file(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() || found.is_dir() => Ok(()),
        Ok(_) => remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a folder and those above it. A link, a pipe or the like in its place is removed as
/// [`remove_unless_file`] does, since what is in a folder of ours is removed without a question, and
/// behind a link it may be somebody's.
pub fn make_folder(path: &Path) -> io::Result<()> {
    remove_unless_file(path)?;
    fs::create_dir_all(path)
}

/// Reads a file of text that is at most `longest` bytes long; `None` if it is not there, is longer
/// or is no text.
pub fn read_text(path: &Path, longest: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Ok(None);
    }
    Ok(String::from_utf8(bytes).ok())
}
