//! Bits of a JPEG's pixels, and the Huffman codes in them.

use super::Stop;

/// The longest code, in bits.
const LONGEST: usize = 16;
/// Codes up to this length are looked up at once; longer ones are rare.
const FAST: usize = 9;

/// A Huffman code.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// By the next [`FAST`] bits: how long the code is, times 256, and its value; 0 where it is
    /// longer.
    fast: Vec<u16>,
    /// By length: the first code that is too large for it.
    limits: [u32; LONGEST + 1],
    /// By length: what to add to a code for its place among the values, 2^32 wrapped around.
    offsets: [u32; LONGEST + 1],
    values: Vec<u8>,
}

impl Table {
    /// The code of which `counts` values each have the lengths 1 to 16. None if there is no such
    /// code.
    pub(super) fn new(counts: &[u8; LONGEST], values: &[u8]) -> Option<Self> {
        let mut table = Self {
            fast: vec![0; 1 << FAST],
            limits: [0; LONGEST + 1],
            offsets: [0; LONGEST + 1],
            values: values.to_owned(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1..).zip(counts) {
            table.offsets[length] = (place as u32).wrapping_sub(code);
            for _ in 0..count {
                let value = *values.get(place)?;
                if length <= FAST {
                    let spare = FAST - length;
                    let all = (code as usize) << spare..(code as usize + 1) << spare;
                    table.fast.get_mut(all)?.fill((length as u16) << 8 | u16::from(value));
                }
                (code, place) = (code + 1, place + 1);
            }
            if code > 1 << length {
                return None;
            }
            table.limits[length] = code;
            code <<= 1;
        }
        Some(table)
    }
}

/// The bits of a scan, up to the next mark. Within them the byte 255 has a 0 behind it.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The byte that is read next.
    at: usize,
    /// The next bits, the first one on top.
    buffer: u64,
    /// How many of those there are.
    left: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, left: 0 }
    }

    /// What is behind them, from the next mark on that is none of a restart.
    pub(super) fn rest(self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_mark = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xD0..=0xD7 | 0xFF);
        let place = rest.windows(2).position(is_mark).unwrap_or(rest.len());
        &rest[place..]
    }

    /// Takes bytes in until there is no room or a mark comes.
    fn fill(&mut self) {
        while self.left <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            let mut next = self.at + 1;
            if byte == 0xFF {
                // Any number of them may stand before what says whether it is a mark.
                while self.bytes.get(next) == Some(&0xFF) {
                    next += 1;
                }
                if self.bytes.get(next) != Some(&0) {
                    return;
                }
                next += 1;
            }
            self.buffer |= u64::from(byte) << (56 - self.left);
            self.left += 8;
            self.at = next;
        }
    }

    /// The next `count` bits, at most 16, as a number.
    pub(super) fn take(&mut self, count: usize) -> Result<usize, Stop> {
        if self.left < count {
            self.fill();
            if self.left < count {
                return Err(Stop::Broken);
            }
        }
        // In two steps, since none may be taken.
        let taken = (self.buffer >> 1 >> (63 - count)) as usize;
        self.buffer <<= count;
        self.left -= count;
        Ok(taken)
    }

    /// The value of the next code.
    pub(super) fn value(&mut self, table: &Table) -> Result<u8, Stop> {
        self.fill();
        let known = table.fast[(self.buffer >> (64 - FAST)) as usize];
        if known > 0 {
            self.take(usize::from(known >> 8))?;
            return Ok(known as u8);
        }
        for length in FAST + 1..=LONGEST {
            let code = (self.buffer >> (64 - length)) as u32;
            if code < table.limits[length] {
                self.take(length)?;
                let place = code.wrapping_add(table.offsets[length]) as usize;
                return table.values.get(place).copied().ok_or(Stop::Broken);
            }
        }
        Err(Stop::Broken)
    }

    /// Goes behind the next mark, which must be that of a restart.
    pub(super) fn restart(&mut self) -> Result<(), Stop> {
        (self.buffer, self.left) = (0, 0);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_mark = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF);
        let place = rest.windows(2).position(is_mark).ok_or(Stop::Broken)?;
        if !matches!(rest[place + 1], 0xD0..=0xD7) {
            return Err(Stop::Broken);
        }
        self.at += place + 2;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes 0, 10, 110, and one of 16 bits that begins with 111.
    fn table() -> Table {
        let mut counts = [0; LONGEST];
        (counts[0], counts[1], counts[2], counts[15]) = (1, 1, 1, 1);
        Table::new(&counts, &[5, 6, 7, 8]).unwrap()
    }

    #[test]
    fn codes_are_read_to_the_last_bit() {
        // 0, 10, 110, 1110000000000000, and 11 to fill up; 255, which is no mark; the end.
        let bytes = [0x5B, 0x80, 0x03, 0xFF, 0x00, 0xFF, 0xD9];
        let (table, mut bits) = (table(), Bits::new(&bytes));
        let values: Vec<u8> = (0..4).map(|_| bits.value(&table).unwrap()).collect();
        assert_eq!(values, [5, 6, 7, 8]);
        assert_eq!((bits.take(2), bits.take(8), bits.take(0)), (Ok(3), Ok(255), Ok(0)));
        assert_eq!((bits.take(1), bits.value(&table)), (Err(Stop::Broken), Err(Stop::Broken)));
        assert_eq!(bits.rest(), [0xFF, 0xD9]);
        let mut none = Bits::new(&[0xF0, 0]);
        assert_eq!(none.value(&table), Err(Stop::Broken), "there is no such code");
    }

    #[test]
    fn a_restart_needs_its_mark() {
        let mut bits = Bits::new(&[0xAA, 0xAA, 0xFF, 0xFF, 0xD3, 0x80, 0xFF, 0xD9, 0xFF, 0xD0]);
        assert_eq!((bits.take(4), bits.restart(), bits.take(1)), (Ok(10), Ok(()), Ok(1)));
        assert_eq!(bits.restart(), Err(Stop::Broken));
    }

    #[test]
    fn codes_that_overlap_are_none() {
        let mut counts = [0; LONGEST];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_none());
        counts[0] = 2;
        assert!(Table::new(&counts, &[1]).is_none(), "a value is missing");
        assert!(Table::new(&counts, &[1, 2]).is_some());
    }
}
