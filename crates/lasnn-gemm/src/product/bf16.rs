//! Conversions between `f32` and bfloat16.
//!
//! A bfloat16 number is the upper half of an `f32`: it has the same exponent and 8 bits of
//! precision.

use lasnn_core::vectorised;

/// The bits of `number` rounded to bfloat16, in the lower 16 bits of the result.
///
/// Rounds to the nearest number, ties to even. Numbers beyond the range become infinite, and NaN
/// stays NaN.
#[inline(always)]
pub fn bf16_bits(number: f32) -> u32 {
    let bits = number.to_bits();
    // Sets a bit of the mantissa: the lower bits alone may have made this a NaN.
    let quiet = bits >> 16 | 0x40;
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if number.is_nan() { quiet } else { rounded }
}

/// `number` rounded to bfloat16 and converted back to `f32`.
#[inline]
pub fn round_to_bf16(number: f32) -> f32 {
    f32::from_bits(bf16_bits(number) << 16)
}

/// The number whose bfloat16 bits are `bits`. The conversion is exact.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Packs two numbers, rounded to bfloat16: `first` into the lower 16 bits, `second` into the upper
/// 16 bits.
#[inline(always)]
pub fn pack_bf16(first: f32, second: f32) -> u32 {
    bf16_bits(first) | bf16_bits(second) << 16
}

vectorised! {
    /// Packs two rows: element `i` of `to` contains `first[i]` and `second[i]`; see [`pack_bf16`].
    ///
    /// Stops at the end of the shortest slice.
    pub fn pack_bf16_rows<'a>(first: &'a [f32], second: &'a [f32], to: &'a mut [u32]) -> () {
        for ((&first, &second), to) in first.iter().zip(second).zip(to) {
            *to = bf16_bits(first) | bf16_bits(second) << 16;
        }
    }
}

vectorised! {
    /// Packs one row: element `i` of `to` contains `row[2 · i]` and `row[2 · i + 1]`.
    pub(super) fn pack_bf16_row<'a>(row: &'a [f32], to: &'a mut [u32]) -> () {
        for (&[first, second], to) in row.as_chunks().0.iter().zip(to) {
            *to = pack_bf16(first, second);
        }
    }
}
