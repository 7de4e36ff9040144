//! Which spike gradients a layer needs.
//!
//! A spike whose surrogate derivative is zero needs no gradient, nor does a spike that a mask
//! silences.

use super::{Bptt, widened};
use crate::bf16::frames::LaneGroup;
use crate::bf16::{Downstream, GROUP};
use crate::event::simd::LANES;
use crate::neuron::TileNeurons;
use crate::spikes::fires_at;
use crate::tape::Part;

impl Bptt<'_> {
    /// Writes the lanes whose gradient is needed, as bits, a word for each frame.
    ///
    /// The position of `pooled` is one after the pooling of `downstream`. A lane is needed there if
    /// it is needed at any position of the pooling window.
    pub(super) fn mark_needed(
        &self,
        downstream: &Downstream,
        pooled: LaneGroup,
        needed: &mut [u32],
    ) {
        let Self { grid, params, images, steps, .. } = *self;
        let [rows, columns] = downstream.pooling.pool;
        let shape = downstream.pooling.shape(grid.shape);
        let LaneGroup { position: pooled, group } = pooled;
        let (row, column) = (pooled / shape.width * rows, pooled % shape.width * columns);
        needed.fill(0);
        for half in 0..GROUP / LANES {
            let lane = group * GROUP + half * LANES;
            if lane >= grid.lanes() {
                return;
            }
            let of_tile = lane % grid.tile;
            let neurons = params.tile(lane / grid.tile).lanes(of_tile..of_tile + LANES);
            for image in 0..images {
                let saved = self.saved(lane, image);
                let mask = downstream.mask.as_deref().map_or(u16::MAX, |mask| {
                    let of_image = (image * shape.positions() + pooled) * grid.lanes();
                    mask[of_image + lane..][..LANES]
                        .iter()
                        .rev()
                        .fold(0, |bits, &factor| bits << 1 | u16::from(factor != 0.0))
                });
                for step in 0..steps {
                    let Some(fires) = fires_at(neurons.options, step, steps) else { continue };
                    let mut bits = 0;
                    for place in 0..rows * columns {
                        let at =
                            (row + place / columns) * grid.shape.width + column + place % columns;
                        let at = (step * grid.shape.positions() + at) * grid.tile;
                        bits |= nonzero(&neurons, saved, at + of_tile);
                    }
                    needed[image * steps + fires] |= u32::from(bits & mask) << (half * LANES);
                }
            }
        }
    }
}

/// A bit for each of [`LANES`] numbers from `place` on, set if the surrogate derivative there is
/// not zero.
#[inline(always)]
fn nonzero(neurons: &TileNeurons<'_>, saved: Part<'_>, place: usize) -> u16 {
    match saved {
        Part::SurrogateQ8(numbers) => nonzero_numbers(&numbers[place..]),
        Part::MembraneBf16(numbers) => {
            let mut derivatives = [1.0; LANES];
            neurons.through_spikes(&widened(numbers, place), &mut derivatives);
            let lanes = derivatives.iter().enumerate();
            lanes.fold(0, |bits, (lane, &number)| bits | u16::from(number != 0.0) << lane)
        }
        Part::Nothing | Part::Currents(_) => u16::MAX,
    }
}

/// A bit for each of the first [`LANES`] numbers, set if it is not zero.
#[inline(always)]
fn nonzero_numbers(numbers: &[u8]) -> u16 {
    let eights = numbers[..LANES].as_chunks::<8>().0;
    eights.iter().rev().fold(0, |bits, &eight| bits << 8 | u16::from(nonzero_bytes(eight)))
}

#[inline(always)]
fn nonzero_bytes(bytes: [u8; 8]) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let all = u64::from_le_bytes(bytes);
    // Sets the highest bit of each byte that is not zero, without a carry into the next byte.
    let highest = (((all & LOW) + LOW) | all) & !LOW;
    // The product moves each of these bits to its place in the highest byte.
    ((highest >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_set_for_each_nonzero_number() {
        for seed in 0..1000_usize {
            let number = |i: usize| (seed * 7919 + i * 104_729) * i % 7 * (seed + i) % 256;
            let numbers: Vec<u8> = (0..LANES).map(|i| number(i) as u8).collect();
            let bits = nonzero_numbers(&numbers);
            for (i, &number) in numbers.iter().enumerate() {
                assert_eq!(bits >> i & 1 == 1, number != 0, "{i} of {numbers:?}");
            }
        }
    }
}
