//! Writing a file completely or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes the file `path` with `write`. The file gets its name only when it is complete, and
/// nothing is left if anything fails.
///
/// An incomplete file that a killed process has left is overwritten. Callers make sure that no two
/// processes write the same file at the same time, or that it does no harm.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut part = Part { path: path.with_added_extension("part"), renamed: false };
    // If the name is a link, its target must not be written.
    match fs::remove_file(&part.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create_new(&part.path)?;
    write(&mut file)?;
    drop(file);
    fs::rename(&part.path, path)?;
    part.renamed = true;
    Ok(())
}

/// A file that is removed when this value is dropped, unless it was renamed.
struct Part {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "an incomplete file cannot be removed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_finished_leaves_the_old_one() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a");
        write_atomically(&path, |file| file.write_all(b"old")).unwrap();
        let error = write_atomically(&path, |file| {
            file.write_all(b"half of the new")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[cfg(unix)]
    #[test]
    fn the_target_of_a_link_is_not_written() {
        let directory = TempDir::new().unwrap();
        let [precious, link] = ["precious", "a.part"].map(|name| directory.path().join(name));
        fs::write(&precious, "old").unwrap();
        std::os::unix::fs::symlink(&precious, link).unwrap();
        write_atomically(&directory.path().join("a"), |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(precious).unwrap(), b"old");
    }
}
