//! The counter-based generator Philox 4×32-10
//! (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! It maps a counter and a key to a block of four independent 32-bit draws.

/// The block of draws for one counter.
#[inline]
pub fn block(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [block] = lanes([counter], key);
    block
}

/// Writes one block for each element of `out`.
///
/// The counter of block `i` is `first + i` (wrapping), followed by `rest`.
pub fn blocks(first: u32, rest: [u32; 3], key: [u32; 2], out: &mut [[u32; 4]]) {
    crate::simd::vectors().dispatch(Blocks { first, rest, key, out });
}

/// Blocks that are computed at once: as many as the longest vectors have lanes.
const LANES: usize = 16;

struct Blocks<'a> {
    first: u32,
    rest: [u32; 3],
    key: [u32; 2],
    out: &'a mut [[u32; 4]],
}

impl pulp::WithSimd for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { first, rest: [a, b, c], key, out } = self;
        for (index, out) in out.chunks_mut(LANES).enumerate() {
            let first = first.wrapping_add((index * LANES) as u32);
            let counter = |lane: usize| [first.wrapping_add(lane as u32), a, b, c];
            let blocks: [[u32; 4]; LANES] = lanes(std::array::from_fn(counter), key);
            out.copy_from_slice(&blocks[..out.len()]);
        }
    }
}

/// The ten rounds for `N` counters.
#[inline(always)]
fn lanes<const N: usize>(counters: [[u32; 4]; N], mut key: [u32; 2]) -> [[u32; 4]; N] {
    // Transposed, so that one vector holds the same word of all counters.
    let mut state: [[u32; N]; 4] =
        std::array::from_fn(|number| std::array::from_fn(|lane| counters[lane][number]));
    for _ in 0..10 {
        let before = state;
        for lane in 0..N {
            let a = u64::from(before[0][lane]) * 0xD251_1F53;
            let b = u64::from(before[2][lane]) * 0xCD9E_8D57;
            state[0][lane] = (b >> 32) as u32 ^ before[1][lane] ^ key[0];
            state[1][lane] = b as u32;
            state[2][lane] = (a >> 32) as u32 ^ before[3][lane] ^ key[1];
            state[3][lane] = a as u32;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    std::array::from_fn(|lane| std::array::from_fn(|number| state[number][lane]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that ship with Random123, the generator's reference implementation.
    #[test]
    fn blocks_match_the_known_answers() {
        let check = |counter, key, expected: [u32; 4]| assert_eq!(block(counter, key), expected);
        check([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        check([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        check(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        );
    }

    #[test]
    fn many_blocks_equal_single_blocks() {
        // The last case wraps the counter around.
        for (first, count) in [(0, 1), (5, 16), (1000, 37), (u32::MAX - 3, 20)] {
            let mut found = vec![[0; 4]; count];
            blocks(first, [7, 8, 9], [3, 4], &mut found);
            for (index, found) in found.into_iter().enumerate() {
                let counter = [first.wrapping_add(index as u32), 7, 8, 9];
                assert_eq!(found, block(counter, [3, 4]), "{first} + {index}");
            }
        }
    }
}
