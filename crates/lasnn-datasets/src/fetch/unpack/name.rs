//! Names of entries, and which of them may become paths.

use super::ArchiveError;

/// The longest part of a path that common file systems take.
const LONGEST_PART: usize = 255;
/// Far more than the paths of data sets have, and little enough for every system.
const LONGEST: usize = 1024;
/// How much of a name an error shows.
const SHOWN: usize = 100;

/// The path of an entry below `folder`, as parts joined by slashes that begins with `folder`.
///
/// `.` and empty parts are left out, so two ways to write a path give the same one.
///
/// # Errors
///
/// Says why the name is none that is written.
pub fn inside(name: &[u8], folder: &str) -> Result<String, ArchiveError> {
    let entry = || shown(name);
    if name.len() > LONGEST {
        let (found, longest) = (name.len() as u64, LONGEST as u64);
        return Err(ArchiveError::LongName { entry: entry(), found, longest });
    }
    let text = std::str::from_utf8(name).map_err(|_| ArchiveError::NotUtf8 { entry: entry() })?;
    let outside = || ArchiveError::Outside { entry: entry(), folder: folder.to_owned() };
    // A drive letter or a stream of Windows, and its way to write a path, are refused everywhere,
    // so that an archive is unpacked alike on every system.
    let bytes = text.as_bytes();
    let drive = bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    if text.starts_with(['/', '\\']) || drive || text.split(['/', '\\']).any(|part| part == "..") {
        return Err(outside());
    }
    let character = text.chars().find_map(|c| match c {
        '\\' => Some("a backslash"),
        ':' => Some("a colon"),
        c if c.is_control() => Some("a control character"),
        _ => None,
    });
    if let Some(found) = character {
        return Err(ArchiveError::Character { entry: entry(), found });
    }
    let parts: Vec<&str> =
        text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if let Some(long) = parts.iter().find(|part| part.len() > LONGEST_PART) {
        let (found, longest) = (long.len() as u64, LONGEST_PART as u64);
        return Err(ArchiveError::LongName { entry: entry(), found, longest });
    }
    if parts.first().is_some_and(|first| *first != folder) {
        return Err(outside());
    }
    Ok(parts.join("/"))
}

/// A name as an error shows it: text, on one line, not too long.
pub fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(4 * SHOWN)]);
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().count() > SHOWN {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn takes(name: &str, path: &str) {
        assert_eq!(inside(name.as_bytes(), "top").unwrap(), path);
    }

    #[track_caller]
    fn refuses(name: &[u8], message: &str) {
        assert_eq!(inside(name, "top").unwrap_err().to_string(), message);
    }

    #[test]
    fn paths_are_made_alike() {
        takes("top", "top");
        takes("top/", "top");
        takes("./top/a", "top/a");
        takes("top//a/./b", "top/a/b");
        takes("top/..a", "top/..a");
        takes("top/ä b.bin", "top/ä b.bin");
        takes("./", "");
        takes(&format!("top/{}", "x".repeat(255)), &format!("top/{}", "x".repeat(255)));
    }

    #[test]
    fn what_lies_outside_is_refused() {
        for name in [
            "/etc/passwd",
            "//top/a",
            "../top/a",
            "top/../../a",
            "top/a/..",
            "..",
            "other/a",
            "a",
            "topmost",
            "C:/top/a",
            "c:top",
            "\\\\host\\top",
            "top\\..\\a",
        ] {
            let shown = shown(name.as_bytes());
            let message = format!(
                "the entry `{shown}` lies outside, expected only entries in the folder `top`"
            );
            refuses(name.as_bytes(), &message);
        }
    }

    #[test]
    fn characters_that_not_every_system_takes_are_refused() {
        refuses(b"top/a\\b", "the entry `top/a\\\\b` has a backslash in its name, expected none");
        refuses(b"top/a:b", "the entry `top/a:b` has a colon in its name, expected none");
        let control = "has a control character in its name, expected none";
        refuses(b"top/a\nb", &format!("the entry `top/a\\nb` {control}"));
        refuses(b"top/a\0b", &format!("the entry `top/a\\0b` {control}"));
    }

    #[test]
    fn names_that_are_no_text_or_too_long_are_refused() {
        refuses(b"top/\xFF", "the entry `top/\u{FFFD}` has a name that is not UTF-8");
        let long = format!("top/{}", "x".repeat(256));
        let message = format!(
            "the entry `top/{}…` has a name of 256 bytes, expected at most 255",
            "x".repeat(96)
        );
        refuses(long.as_bytes(), &message);
        let long = format!("top{}", "/x".repeat(600));
        let message = format!(
            "the entry `top{}/…` has a name of 1203 bytes, expected at most 1024",
            "/x".repeat(48)
        );
        refuses(long.as_bytes(), &message);
    }
}
