//! Archives of more than 65,535 entries whose end has no room for their number.
//!
//! The end of an archive has 16 bits for it. Programs that know zip64 put another end with 64 bits before
//! that one; others write the lower 16 bits of the number, and whoever wants all entries goes by the
//! length of their list. The library goes by the number, so such an archive is shown to it with the end
//! that zip64 asks for.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use ::zip::result::ZipError;

use super::next_name;

/// Bytes of the end without its comment, and of the two records of zip64 (APPNOTE 4.3.16, 4.3.14, 4.3.15).
const END: usize = 22;
const END64: usize = 56;
const LOCATOR: usize = 20;

/// An archive whose end counts its entries.
#[derive(Debug)]
pub struct Counted<R> {
    inner: R,
    at: u64,
    /// What is read from a byte on, in place of what is there.
    end: Option<(u64, Vec<u8>)>,
}

impl<R: Read + Seek> Counted<R> {
    /// Compares the list of entries with the number at the end, where there is no zip64.
    ///
    /// # Errors
    ///
    /// Fails if the list has another number of entries, whatever its upper bits, or cannot be read. Of an
    /// end that is not understood the library is left to complain.
    pub fn new(mut inner: R) -> Result<Self, ZipError> {
        let end = match End::find(&mut inner)? {
            Some(end) => end.amended(&mut inner)?,
            None => None,
        };
        inner.seek(SeekFrom::Start(0))?;
        Ok(Self { inner, at: 0, end })
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((start, end)) = &self.end else { return self.inner.read(buffer) };
        let read = match usize::try_from(self.at.saturating_sub(*start)) {
            _ if self.at < *start => {
                let most =
                    buffer.len().min(usize::try_from(*start - self.at).unwrap_or(usize::MAX));
                self.inner.read(&mut buffer[..most])?
            }
            Ok(from) => end.get(from..).unwrap_or_default().read(buffer)?,
            Err(_) => 0,
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let Some((start, end)) = &self.end else { return self.inner.seek(to) };
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => (start + end.len() as u64).checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let to = to.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.inner.seek(SeekFrom::Start(to))?;
        self.at = to;
        Ok(to)
    }
}

/// The end of an archive without zip64, with its list right before it and nothing before its first entry.
#[derive(Debug)]
struct End {
    /// Where it is.
    at: u64,
    entries: u16,
    /// The length of the list in bytes.
    size: u32,
}

impl End {
    fn find(archive: &mut (impl Read + Seek)) -> io::Result<Option<Self>> {
        let length = archive.seek(SeekFrom::End(0))?;
        // A comment has at most 65,535 bytes; before the end there may be the locator of zip64.
        let tail = length.min((LOCATOR + END + usize::from(u16::MAX)) as u64);
        archive.seek(SeekFrom::Start(length - tail))?;
        let mut bytes = Vec::new();
        archive.take(tail).read_to_end(&mut bytes)?;
        let end = bytes.windows(END).rposition(|end| end.starts_with(b"PK\x05\x06"));
        let Some((before, end)) = end.map(|at| bytes.split_at(at)) else { return Ok(None) };
        let locator = before.last_chunk::<LOCATOR>();
        if locator.is_some_and(|locator| locator.starts_with(b"PK\x06\x07")) {
            return Ok(None);
        }
        let short = |at: usize| u16::from_le_bytes([end[at], end[at + 1]]);
        let long = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
        let (size, start) = (long(12), long(16));
        let at = length - tail + before.len() as u64;
        let one_disk = [short(4), short(6)] == [0, 0] && short(8) == short(10);
        let abuts = u64::from(size) + u64::from(start) == at;
        Ok((one_disk && abuts).then_some(Self { at, entries: short(10), size }))
    }

    /// Counts the entries, and makes another end where their number does not fit into this one.
    fn amended(
        &self,
        archive: &mut (impl Read + Seek),
    ) -> Result<Option<(u64, Vec<u8>)>, ZipError> {
        let start = self.at - u64::from(self.size);
        archive.seek(SeekFrom::Start(start))?;
        let Some(entries) = count(archive, u64::from(self.size))? else { return Ok(None) };
        if entries == u64::from(self.entries) {
            return Ok(None);
        }
        if entries % (1 << 16) != u64::from(self.entries) {
            let found = format!("its end tells of {}, its list has {entries}", self.entries);
            return Err(ZipError::InvalidArchive(format!("entries: {found}").into()));
        }
        let mut end = Vec::with_capacity(END64 + LOCATOR + END);
        // What is left of the record, and by which versions it was made and can be read.
        end.extend(b"PK\x06\x06");
        end.extend((END64 as u64 - 12).to_le_bytes());
        end.extend([45, 0, 45, 0]);
        // Two numbers of disks, entries on this one and in all, length and start of the list.
        end.extend([0; 8]);
        for number in [entries, entries, u64::from(self.size), start] {
            end.extend(number.to_le_bytes());
        }
        end.extend(b"PK\x06\x07");
        end.extend([0; 4]);
        end.extend(self.at.to_le_bytes());
        end.extend([1, 0, 0, 0]);
        // The end itself with all bits of its numbers set, which says: see there. No comment.
        end.extend(b"PK\x05\x06");
        end.extend([0; 4]);
        end.extend([0xff; 12]);
        end.extend([0; 2]);
        Ok(Some((self.at, end)))
    }
}

/// How many entries a list of so many bytes has; none if it is no list.
fn count(list: &mut impl Read, size: u64) -> io::Result<Option<u64>> {
    let mut list = BufReader::new(list).take(size);
    let mut entries = 0;
    while list.limit() > 0 {
        match next_name(&mut list) {
            Ok(Some(_)) => entries += 1,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(entries))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use super::super::open;
    use super::super::tests::archive;
    use super::*;

    /// An archive as programs write it that know no zip64.
    pub(crate) fn without_zip64(mut archive: Vec<u8>, entries: usize) -> Vec<u8> {
        let end = archive.split_off(archive.len() - END);
        let records = archive.split_off(archive.len() - END64 - LOCATOR);
        assert!(records.starts_with(b"PK\x06\x06"), "it is no zip64");
        let count = (entries as u16).to_le_bytes();
        // The length of the list is in the record alone.
        [&archive[..], &end[..8], &count, &count, &records[40..44], &end[16..]].concat()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    fn archive_of(names: &[String]) -> Vec<u8> {
        let files: Vec<(&str, &[u8])> =
            names.iter().map(|name| (&**name, name.as_bytes())).collect();
        archive(&files)
    }

    #[test]
    fn a_number_without_its_upper_bits_is_completed() {
        for count in [65_536, 65_535 + 65_536] {
            let names = names(count);
            let bytes = without_zip64(archive_of(&names), count);
            let (mut archive, found) = open(Cursor::new(bytes)).unwrap();
            assert_eq!(found, names);
            let mut last = String::new();
            archive.by_name(&names[count - 1]).unwrap().read_to_string(&mut last).unwrap();
            assert_eq!(last, names[count - 1]);
        }
    }

    #[test]
    fn another_number_is_refused() {
        let whole = archive_of(&names(5));
        for (told, also) in [(3, 3), (6, 6), (0, 0)] {
            let mut bytes = whole.clone();
            let end = bytes.len() - END;
            (bytes[end + 8], bytes[end + 10]) = (told, also);
            let error = open(Cursor::new(bytes)).unwrap_err().to_string();
            let expected = format!("entries: its end tells of {told}, its list has 5");
            assert!(error.contains(&expected), "{error}");
        }
    }

    #[test]
    fn everything_else_is_shown_as_it_is() {
        let whole = archive_of(&names(3));
        let mut read = Vec::new();
        Counted::new(Cursor::new(whole.clone())).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, whole);
        assert!(Counted::new(Cursor::new(b"no archive")).unwrap().end.is_none());
    }
}
