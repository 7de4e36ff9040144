//! The list of files in a zip archive.
//!
//! Archives with more than 65,535 entries need the zip64 extension. Some programs omit it and write
//! only the lower 16 bits of the number of entries; of such an archive only the first entries are
//! found, and the data set then lacks files.

use std::io::{Read, Seek};

use ::zip::ZipArchive;

use super::text::quoted;
use crate::error::Flaw;

/// Opens an archive and returns the names of its files, without its folders.
///
/// This function unpacks nothing. It still refuses names that lead out of the archive, because such
/// an archive was made to deceive.
///
/// # Errors
///
/// Says that the bytes are not a zip archive, that a name occurs twice, or which name is not a
/// plain path.
pub fn open<R: Read + Seek>(reader: R) -> Result<(ZipArchive<R>, Vec<String>), Flaw> {
    let archive = ZipArchive::new(reader).map_err(damaged)?;
    if archive.has_duplicate_names() {
        return Err(Flaw::file("two entries with the same name", "a unique name for each entry"));
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

/// Describes an error of the library that reads zip archives.
pub(crate) fn damaged(error: ::zip::result::ZipError) -> Flaw {
    Flaw::file(format!("zip data that cannot be read ({error})"), "a complete zip archive")
}

/// Whether a path is relative, without `.` and `..`, and free of drive letters and backslashes.
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

    /// Makes an archive of `files` (name and bytes). A name that ends in `/` is a folder.
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

    /// Replaces a name by another one of the same length, in both places of the archive.
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
    fn folders_are_not_listed() {
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
        let complete = archive(&[("a", b"some bytes")]);
        for end in 0..complete.len() {
            let error = open(Cursor::new(&complete[..end])).unwrap_err().to_string();
            assert!(error.ends_with("expected a complete zip archive"), "{error}");
        }
        let twice = archive(&[("name 1", b""), ("name 2", b"")]);
        let error = open(Cursor::new(renamed(&twice, b"name 2", b"name 1"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "found two entries with the same name, expected a unique name for each entry"
        );
    }
}
