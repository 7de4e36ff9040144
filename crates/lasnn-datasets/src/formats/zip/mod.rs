//! The list of files in a zip archive.

pub(crate) mod counted;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use ::zip::ZipArchive;

pub use self::counted::Counted;
use super::text::quoted;
use crate::error::Flaw;

/// Opens an archive and gives the names of its files, folders left out.
///
/// Nothing is unpacked, and no file is ever written under a name from an archive; names that lead
/// out of it are refused all the same, since such an archive was made to deceive.
///
/// # Errors
///
/// Says that it is no zip archive, that its end tells of another number of entries than there are, that
/// a name comes twice, or which name is no plain path.
pub fn open<R: Read + Seek>(reader: R) -> Result<(ZipArchive<Counted<R>>, Vec<String>), Flaw> {
    let archive = Counted::new(reader).and_then(ZipArchive::new).map_err(damaged)?;
    if archive.has_duplicate_names() {
        let start = archive.central_directory_start();
        let name =
            first_twice(archive.into_inner(), start).map_err(|error| damaged(error.into()))?;
        let found = format!("two entries of the name {}", quoted(&String::from_utf8_lossy(&name)));
        return Err(Flaw::file(found, "another name for each"));
    }
    let mut names = Vec::new();
    for name in archive.file_names() {
        let name = name.map_err(damaged)?;
        if !is_plain(name.strip_suffix('/').unwrap_or(&name)) {
            let found = format!("the entry {}", quoted(&name));
            return Err(Flaw::file(found, "a path that stays inside the archive"));
        }
        if !name.ends_with('/') {
            names.push(name.into_owned());
        }
    }
    Ok((archive, names))
}

/// The first name that comes twice in the list of entries that begins at the byte `start`.
///
/// The library keeps one entry of each name and does not say of which there were two.
///
/// # Errors
///
/// Fails if the list cannot be read, or if no name comes twice.
pub(crate) fn first_twice(reader: impl Read + Seek, start: u64) -> io::Result<Vec<u8>> {
    let mut reader = io::BufReader::new(reader);
    reader.seek(SeekFrom::Start(start))?;
    let mut names = BTreeSet::new();
    while let Some(name) = next_name(&mut reader)? {
        if names.contains(&name) {
            return Ok(name);
        }
        names.insert(name);
    }
    Err(io::Error::new(ErrorKind::InvalidData, "no name comes twice in the list"))
}

/// Reads an entry of the list and gives its name; none if what is there is no entry.
fn next_name(list: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    // APPNOTE 4.3.12: a header of 46 bytes, then a name, a field of notes and a comment, with the
    // lengths of these three at byte 28.
    let mut header = [0; 46];
    list.read_exact(&mut header)?;
    if !header.starts_with(b"PK\x01\x02") {
        return Ok(None);
    }
    let length = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let mut name = vec![0; usize::from(length(28))];
    list.read_exact(&mut name)?;
    let rest = u64::from(length(30)) + u64::from(length(32));
    match io::copy(&mut list.take(rest), &mut io::sink())? {
        skipped if skipped < rest => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(Some(name)),
    }
}

/// An error of the library that reads archives.
pub(crate) fn damaged(error: ::zip::result::ZipError) -> Flaw {
    Flaw::file(format!("zip data that cannot be read ({error})"), "a whole zip archive")
}

/// Whether a path has no part that leads up, from the root, or to another drive.
fn is_plain(name: &str) -> bool {
    let odd = |c: char| c == '\\' || c == ':' || c.is_control();
    !name.contains(odd) && name.split('/').all(|part| !["", ".", ".."].contains(&part))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Cursor, Write};

    use ::zip::write::SimpleFileOptions;
    use ::zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// An archive of `files`, names and bytes; a name that ends in `/` is a folder.
    pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let methods = [CompressionMethod::Deflated, CompressionMethod::Stored];
        for ((name, bytes), method) in files.iter().zip(methods.into_iter().cycle()) {
            let options = SimpleFileOptions::default().compression_method(method);
            match name.strip_suffix('/') {
                Some(folder) => writer.add_directory(folder, options).unwrap(),
                None => {
                    writer.start_file(*name, options).unwrap();
                    writer.write_all(bytes).unwrap();
                }
            }
        }
        writer.finish().unwrap().into_inner()
    }

    /// The archive with other names of the same length in both places where it has names.
    fn renamed(archive: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut bytes = archive.to_vec();
        for at in 0..bytes.len() {
            if bytes[at..].starts_with(from) {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
        }
        bytes
    }

    #[test]
    fn folders_are_no_files() {
        let bytes = archive(&[("a/", b""), ("a/b.txt", b"1"), ("c", b"2")]);
        let (mut archive, names) = open(Cursor::new(bytes)).unwrap();
        assert_eq!(names, ["a/b.txt", "c"]);
        let mut text = String::new();
        archive.by_name("a/b.txt").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "1");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../up", "a/../../up", "/root", "a//b", "./a", "c:x", "a\\b"] {
            assert!(!is_plain(name), "{name}");
        }
        let bytes = archive(&[("fine", b""), ("up..", b"1")]);
        assert_eq!(
            open(Cursor::new(renamed(&bytes, b"up..", b"../u"))).unwrap_err().to_string(),
            "found the entry `../u`, expected a path that stays inside the archive"
        );
    }

    #[test]
    fn damage_is_noticed() {
        let whole = archive(&[("a", b"some bytes")]);
        for end in 0..whole.len() {
            let error = open(Cursor::new(&whole[..end])).unwrap_err().to_string();
            assert!(error.ends_with("expected a whole zip archive"), "{error}");
        }
        let twice = archive(&[("name 1", b""), ("name 2", b"")]);
        let error = open(Cursor::new(renamed(&twice, b"name 2", b"name 1"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "found two entries of the name `name 1`, expected another name for each"
        );
        let error = open(Cursor::new(renamed(
            &renamed(&twice, b"name 2", b"\x1B[2J\n!"),
            b"name 1",
            b"\x1B[2J\n!",
        )));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(r"of the name `\u{1b}[2J\n!`,"), "{error}");
    }
}
