//! Whether a JPEG is whole. Decoders are lenient: they paint what is missing grey.
//!
//! Its end mark alone says little, since a file may have lost its middle. So the codes of all pixels
//! are walked through, as the standard (ITU-T T.81) has them, without working out what they stand for;
//! that takes a fraction of the time of decoding. What a decoder refuses anyway is left to it.

mod code;
mod scan;

use self::code::{Bits, Table};
use self::scan::{Codes, Scan};
use super::picture::LARGEST_IMAGE;

/// No more scans than this are walked through, the most that the decoder allows as well: each may
/// stand for all pixels in a few bytes.
const MOST_SCANS: usize = 100;

/// Whether a JPEG has the codes of all its pixels and an end mark after them. Bytes behind that, which
/// some cameras and programs leave there, do no harm.
pub fn is_whole(bytes: &[u8]) -> bool {
    has_end(bytes) && pixels(bytes) != Err(Stop::Broken)
}

/// Why nothing more can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// There is less than there must be, or something that can be nothing.
    Broken,
    /// This is no JPEG that is known here; decoders may have more to say.
    Unknown,
}

/// Whether an end mark comes after the pixels began.
///
/// Within pixels the byte 255 is followed by 0 or a mark, so the end mark cannot be a part of them.
fn has_end(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(&[0xFF, 0xD8]) else { return false };
    // The parts of the header; a preview in one of them has an end of its own.
    while let Some((mark, _, after)) = part(rest) {
        if mark == 0xDA {
            return after.windows(2).any(|pair| pair == [0xFF, 0xD9]);
        }
        rest = after;
    }
    false
}

/// The next part of a file: its mark, what is in it, and what is behind it. None where there is no
/// such part, as at the end mark.
fn part(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    match from_mark(bytes) {
        [0xFF, 0xD9, ..] => None,
        [0xFF, mark, high, low, after @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(2)?;
            let (content, after) = after.split_at_checked(length)?;
            Some((*mark, content, after))
        }
        _ => None,
    }
}

/// Leaves out bytes that fill up, and marks without a part.
fn from_mark(mut bytes: &[u8]) -> &[u8] {
    loop {
        bytes = match bytes {
            [0xFF, 0xFF, ..] => &bytes[1..],
            [0xFF, 0x01 | 0xD0..=0xD7, after @ ..] => after,
            _ => return bytes,
        };
    }
}

/// Walks through the codes of all pixels.
fn pixels(bytes: &[u8]) -> Result<(), Stop> {
    let mut rest = bytes.get(2..).ok_or(Stop::Broken)?;
    let (mut codes, mut frame) = (Codes::default(), None);
    let mut scans = 0;
    while let Some((mark, content, after)) = part(rest) {
        rest = after;
        match (mark, &mut frame) {
            (0xC4, _) => tables(content, &mut codes)?,
            (0xDD, _) => match content {
                [high, low] => codes.restart = u16::from_be_bytes([*high, *low]).into(),
                _ => return Err(Stop::Unknown),
            },
            (0xC0..=0xC2, None) => frame = Some(Frame::new(content, mark == 0xC2)?),
            // Arithmetic codes, pixels without loss, one frame in another.
            (0xC0..=0xCF, _) | (0xDA, None) => return Err(Stop::Unknown),
            (0xDA, Some(frame)) => {
                scans += 1;
                if scans > MOST_SCANS {
                    return Err(Stop::Unknown);
                }
                let scan = frame.scan(content)?;
                let mut bits = Bits::new(after);
                scan::walk(&mut bits, &scan, frame, &codes)?;
                rest = bits.rest();
                // Whatever comes now, nobody looks at it.
                if !frame.progressive && frame.is_seen() {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
    match frame {
        Some(frame) if frame.is_seen() && from_mark(rest).starts_with(&[0xFF, 0xD9]) => Ok(()),
        _ => Err(Stop::Broken),
    }
}

/// Takes in the codes that a part of the file describes.
fn tables(mut content: &[u8], codes: &mut Codes) -> Result<(), Stop> {
    while let [which, after @ ..] = content {
        let (counts, after) = after.split_first_chunk().ok_or(Stop::Unknown)?;
        let values: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let (values, after) = after.split_at_checked(values).ok_or(Stop::Unknown)?;
        let kind = if which >> 4 == 0 { &mut codes.first } else { &mut codes.others };
        let place = kind.get_mut(usize::from(which & 15)).ok_or(Stop::Unknown)?;
        *place = Some(Table::new(counts, values).ok_or(Stop::Unknown)?);
        content = after;
    }
    Ok(())
}

/// What the pixels consist of.
#[derive(Debug)]
struct Frame {
    /// Whether each block comes in several scans.
    progressive: bool,
    /// How many units there are in a row, where a scan has several components.
    across: usize,
    /// How many rows of them.
    down: usize,
    components: Vec<Component>,
}

/// Brightness, or a part of the colour.
#[derive(Debug)]
struct Component {
    id: u8,
    /// How many rows and columns of blocks a unit of several components has.
    sampling: [usize; 2],
    /// How many blocks there are in a row, where a scan has this component alone.
    across: usize,
    /// How many rows of them.
    down: usize,
    /// How many blocks there are in a row of whole units.
    stride: usize,
    /// Whether a scan has had it.
    seen: bool,
    /// Which coefficients of each block are known not to be 0, where that decides what comes next.
    found: Vec<u64>,
}

impl Component {
    fn block(&mut self, block: usize) -> Result<&mut u64, Stop> {
        self.found.get_mut(block).ok_or(Stop::Unknown)
    }
}

impl Frame {
    fn new(content: &[u8], progressive: bool) -> Result<Self, Stop> {
        let &[8, a, b, c, d, count, ref rest @ ..] = content else { return Err(Stop::Unknown) };
        let [height, width] = [[a, b], [c, d]].map(|side| usize::from(u16::from_be_bytes(side)));
        let pixels = height as u64 * width as u64;
        let count = usize::from(count);
        if pixels == 0 || pixels > LARGEST_IMAGE || count == 0 || rest.len() != 3 * count {
            return Err(Stop::Unknown);
        }
        let sampling = |part: &[u8]| [part[1] & 15, part[1] >> 4].map(usize::from);
        let all = || rest.chunks_exact(3).map(sampling);
        if count > 4 || all().flatten().any(|sampling| !(1..=4).contains(&sampling)) {
            return Err(Stop::Unknown);
        }
        let [high, wide] = [0, 1].map(|side| all().map(|s| s[side]).max().unwrap_or(1));
        let (down, across) = (height.div_ceil(8 * high), width.div_ceil(8 * wide));
        let component = |part: &[u8]| {
            let [rows, columns] = sampling(part);
            let stride = across * columns;
            Component {
                id: part[0],
                sampling: [rows, columns],
                across: (width * columns).div_ceil(8 * wide),
                down: (height * rows).div_ceil(8 * high),
                stride,
                seen: false,
                found: if progressive { vec![0; stride * down * rows] } else { Vec::new() },
            }
        };
        let components = rest.chunks_exact(3).map(component).collect();
        Ok(Self { progressive, across, down, components })
    }

    /// Reads the header of a scan, and marks its components as seen.
    fn scan(&mut self, content: &[u8]) -> Result<Scan, Stop> {
        let [count, rest @ ..] = content else { return Err(Stop::Unknown) };
        let (parts, rest) = rest.split_at_checked(2 * usize::from(*count)).ok_or(Stop::Unknown)?;
        let &[first, last, bits] = rest else { return Err(Stop::Unknown) };
        let (first, last, refines) = (usize::from(first), usize::from(last), bits >> 4 > 0);
        let mut components = Vec::new();
        for part in parts.chunks_exact(2) {
            let which = self.components.iter().position(|component| component.id == part[0]);
            let which = which.ok_or(Stop::Unknown)?;
            let [first, others] = [part[1] >> 4, part[1] & 15].map(usize::from);
            if first > 3 || others > 3 {
                return Err(Stop::Unknown);
            }
            self.components[which].seen = true;
            components.push((which, first, others));
        }
        let sense = match components.len() {
            0 => false,
            _ if !self.progressive => true,
            // The first coefficient has scans of its own, the others one for each component.
            _ if first == 0 => last == 0,
            1 => first <= last && last < 64,
            _ => false,
        };
        if components.len() > 4 || !sense {
            return Err(Stop::Unknown);
        }
        Ok(Scan { components, first, last, refines })
    }

    fn is_seen(&self) -> bool {
        self.components.iter().all(|component| component.seen)
    }
}

#[cfg(test)]
mod tests;
