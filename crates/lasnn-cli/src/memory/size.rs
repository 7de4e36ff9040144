//! Whole numbers with saturating arithmetic.
//!
//! A recipe may contain a layer of any size. The estimate must then be a large number, and not a
//! small one because of an overflow.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use lasnn_core::Shape;
use serde::{Serialize, Serializer};

/// A number of bytes or of elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u128);

impl Size {
    /// The number 0.
    pub const ZERO: Self = Self(0);

    /// The number `number`.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// The number, or the largest `u64` if it is larger.
    pub fn as_u64(self) -> u64 {
        u64::try_from(self.0).unwrap_or(u64::MAX)
    }

    /// The quotient, rounded up. The divisor 0 counts as 1.
    pub fn div_ceil(self, by: impl Into<Self>) -> Self {
        Self(self.0.div_ceil(by.into().0.max(1)))
    }

    /// The least multiple of `of` that is at least this number.
    pub fn up_to_multiple_of(self, of: impl Into<Self> + Copy) -> Self {
        self.div_ceil(of) * of
    }
}

/// The number of elements of a feature map.
pub fn elements(shape: Shape) -> Size {
    positions(shape) * shape.channels
}

/// The number of positions of a feature map: height times width.
pub fn positions(shape: Shape) -> Size {
    Size::from(shape.height) * shape.width
}

impl From<usize> for Size {
    fn from(number: usize) -> Self {
        Self(number as u128)
    }
}

impl<T: Into<Self>> Add<T> for Size {
    type Output = Self;

    fn add(self, other: T) -> Self {
        Self(self.0.saturating_add(other.into().0))
    }
}

impl<T: Into<Self>> AddAssign<T> for Size {
    fn add_assign(&mut self, other: T) {
        *self = *self + other;
    }
}

/// The difference is at least 0.
impl<T: Into<Self>> Sub<T> for Size {
    type Output = Self;

    fn sub(self, other: T) -> Self {
        Self(self.0.saturating_sub(other.into().0))
    }
}

impl<T: Into<Self>> Mul<T> for Size {
    type Output = Self;

    fn mul(self, other: T) -> Self {
        Self(self.0.saturating_mul(other.into().0))
    }
}

/// The divisor 0 counts as 1.
impl<T: Into<Self>> Div<T> for Size {
    type Output = Self;

    fn div(self, other: T) -> Self {
        Self(self.0 / other.into().0.max(1))
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, |sum, number| sum + number)
    }
}

/// Not every JSON reader supports larger whole numbers.
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.as_u64())
    }
}

/// The number as bytes in a unit such as MiB.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let (mut number, mut unit) = (self.0 as f64 / 1024.0, 0);
        while number >= 1024.0 && unit + 1 < UNITS.len() {
            number /= 1024.0;
            unit += 1;
        }
        let digits = match number {
            ..100.0 if unit > 1 => 2,
            _ => 0,
        };
        write!(f, "{number:.digits$} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let large = Size::new(u128::MAX / 2);
        assert_eq!(large * 3usize, Size::new(u128::MAX));
        assert_eq!(large + large + large, Size::new(u128::MAX));
        assert_eq!(Size::new(3) - 4usize, Size::ZERO);
        assert_eq!(Size::new(3) / 0usize, Size::new(3));
        assert_eq!(Size::new(7).up_to_multiple_of(4usize), Size::new(8));
        assert_eq!([large, large, large].into_iter().sum::<Size>(), Size::new(u128::MAX));
        assert_eq!(large.as_u64(), u64::MAX);
    }

    #[test]
    fn bytes_are_shown_in_a_unit() {
        for (bytes, shown) in [
            (0, "0 KiB"),
            (1 << 20, "1 MiB"),
            (1500 << 20, "1.46 GiB"),
            (200 << 30, "200 GiB"),
            (3 << 60, "3.00 EiB"),
        ] {
            assert_eq!(Size::new(bytes).to_string(), shown);
        }
    }
}
