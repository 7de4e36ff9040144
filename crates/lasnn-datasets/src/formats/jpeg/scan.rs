//! The blocks of a scan, walked through code by code.
//!
//! Names are those of the standard (ITU-T T.81): a scan has *minimum coded units*, each of one block
//! of 64 coefficients, or of some blocks of every component if the scan has several.

use super::code::{Bits, Table};
use super::{Component, Frame, Stop};

/// What the header of a scan says.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Which components of the frame, each with the numbers of its codes for the first coefficient
    /// and for the others.
    pub components: Vec<(usize, usize, usize)>,
    /// The first coefficient that is in the scan, of 0 to 63.
    pub first: usize,
    /// The last one.
    pub last: usize,
    /// Whether earlier scans have had the higher bits of these coefficients.
    pub refines: bool,
}

/// The codes that are known, and how many units there are from restart to restart, 0 for no restarts.
#[derive(Debug, Default)]
pub(super) struct Codes {
    pub first: [Option<Table>; 4],
    pub others: [Option<Table>; 4],
    pub restart: usize,
}

/// Walks through all blocks of a scan.
///
/// # Errors
///
/// Fails if bits or restarts are missing, or if some are no code.
pub(super) fn walk(
    bits: &mut Bits<'_>,
    scan: &Scan,
    frame: &mut Frame,
    codes: &Codes,
) -> Result<(), Stop> {
    let mut walker = Walker { bits, scan, progressive: frame.progressive, run: 0 };
    let restart = |walker: &mut Walker<'_, '_>, unit: usize| match codes.restart {
        0 => Ok(()),
        restart if unit == 0 || !unit.is_multiple_of(restart) => Ok(()),
        _ => {
            walker.run = 0;
            walker.bits.restart()
        }
    };
    if let [(which, first, others)] = scan.components[..] {
        let (first, others) = (codes.first[first].as_ref(), codes.others[others].as_ref());
        let component = &mut frame.components[which];
        for unit in 0..component.across * component.down {
            restart(&mut walker, unit)?;
            let block = unit / component.across * component.stride + unit % component.across;
            walker.block(component, block, first, others)?;
        }
        return Ok(());
    }
    for unit in 0..frame.across * frame.down {
        restart(&mut walker, unit)?;
        for &(which, first, others) in &scan.components {
            let (first, others) = (codes.first[first].as_ref(), codes.others[others].as_ref());
            let component = &mut frame.components[which];
            let [high, wide] = component.sampling;
            for at in 0..high * wide {
                let row = unit / frame.across * high + at / wide;
                let column = unit % frame.across * wide + at % wide;
                walker.block(component, row * component.stride + column, first, others)?;
            }
        }
    }
    Ok(())
}

struct Walker<'a, 'b> {
    bits: &'a mut Bits<'b>,
    scan: &'a Scan,
    progressive: bool,
    /// How many blocks have nothing more in this scan.
    run: usize,
}

impl Walker<'_, '_> {
    fn block(
        &mut self,
        component: &mut Component,
        block: usize,
        first: Option<&Table>,
        others: Option<&Table>,
    ) -> Result<(), Stop> {
        let first = || first.ok_or(Stop::Unknown);
        let others = || others.ok_or(Stop::Unknown);
        if !self.progressive {
            self.difference(first()?)?;
            return self.coefficients(1, 63, others()?).map(|_| ());
        }
        match (self.scan.first, self.scan.refines) {
            (0, false) => self.difference(first()?),
            (0, true) => self.bits.take(1).map(|_| ()),
            (_, false) if self.run > 0 => {
                self.run -= 1;
                Ok(())
            }
            (from, false) => {
                let found = self.coefficients(from, self.scan.last, others()?)?;
                *component.block(block)? |= found;
                Ok(())
            }
            (from, true) => self.refined(from, component.block(block)?, others()?),
        }
    }

    /// The first coefficient, as a difference to that of the block before.
    fn difference(&mut self, table: &Table) -> Result<(), Stop> {
        let size = usize::from(self.bits.value(table)?);
        // No difference has more bits, and no reader here gives more at once.
        if size > 16 {
            return Err(Stop::Broken);
        }
        self.bits.take(size).map(|_| ())
    }

    /// Coefficients from number `at` to `last`; which of them are not 0.
    fn coefficients(&mut self, mut at: usize, last: usize, table: &Table) -> Result<u64, Stop> {
        let mut found = 0;
        while at <= last {
            let value = usize::from(self.bits.value(table)?);
            let (zeros, size) = (value >> 4, value & 15);
            if size > 0 {
                at += zeros;
                self.bits.take(size)?;
                found |= 1_u64.checked_shl(at as u32).unwrap_or(0);
                at += 1;
            } else if zeros == 15 {
                at += 16;
            } else if self.progressive {
                self.run = (1 << zeros) + self.bits.take(zeros)? - 1;
                break;
            } else {
                break;
            }
        }
        Ok(found)
    }

    /// One more bit of each coefficient that is not 0, and some that become so.
    fn refined(&mut self, mut at: usize, found: &mut u64, table: &Table) -> Result<(), Stop> {
        let last = self.scan.last;
        let before = *found;
        let is_known = |at: usize| before >> at & 1 == 1;
        while self.run == 0 && at <= last {
            let value = usize::from(self.bits.value(table)?);
            let (mut zeros, size) = (value >> 4, value & 15);
            if size > 0 {
                self.bits.take(1)?;
            } else if zeros < 15 {
                self.run = (1 << zeros) + self.bits.take(zeros)?;
                break;
            }
            while at <= last {
                if is_known(at) {
                    self.bits.take(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if size > 0 && at <= last {
                *found |= 1 << at;
            }
            at += 1;
        }
        if self.run > 0 {
            for at in at..=last {
                if is_known(at) {
                    self.bits.take(1)?;
                }
            }
            self.run -= 1;
        }
        Ok(())
    }
}
