//! What a pass remembers for its pass back: spikes, a bit each, and what it would be dear to compute again.

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use lasnn_gemm::memory::Scratch;

use super::circuit::{Call, Connection, Origin, Site};
use super::spikes::{Grid, Spikes};

/// The spikes of a pass, for the pass back.
#[derive(Debug)]
pub struct Tape {
    pub(super) input: Option<Spikes>,
    /// Constant currents of the first site, `[tile][image][position][lane]`.
    pub(super) constant: Option<Scratch>,
    pub(super) sites: Vec<Spikes>,
    /// By site: see [`Call::keeps`].
    pub(super) kept: Vec<Kept>,
    pub(super) steps: usize,
}

impl Tape {
    /// Bytes that the tape holds.
    pub fn bytes(&self) -> usize {
        let spikes = self.input.iter().chain(&self.sites).map(|spikes| spikes.words.len() * 2);
        let constant = self.constant.iter().map(|currents| currents.len() * 4);
        let kept = self.kept.iter().map(|kept| match kept {
            Kept::Nothing => 0,
            Kept::Currents(numbers) | Kept::Slopes(numbers) => numbers.len() * 4,
        });
        spikes.chain(constant).chain(kept).sum()
    }

    pub(super) fn spikes(&self, origin: Origin) -> &Spikes {
        match (origin, &self.input) {
            (Origin::Site(site), _) => &self.sites[site],
            (Origin::Input, Some(input)) => input,
            (Origin::Input, None) => unreachable!("sites see the input only where it is spikes"),
        }
    }
}

/// What a tape is to keep of a site beside its spikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Currents are computed again from spikes.
    Nothing,
    /// Membrane potentials are computed again from currents.
    Currents,
    /// The derivatives of spikes, which is all that is needed, in 8 bits.
    Slopes,
}

/// What a tape keeps, `[tile][image][step][position][lane]`.
#[derive(Debug)]
pub(super) enum Kept {
    Nothing,
    Currents(Scratch),
    /// Four of them in the place of a number.
    Slopes(Scratch),
}

/// The part of it for one unit of work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Nothing,
    Currents(&'a [f32]),
    Slopes(&'a [u8]),
}

/// The same, to be written.
#[derive(Debug)]
pub(super) enum PartMut<'a> {
    Nothing,
    Currents(&'a mut [f32]),
    Slopes(&'a mut [u8]),
}

impl Kept {
    /// Room for so many numbers, a multiple of four, whatever they are.
    pub fn new(keep: Keep, length: usize) -> Self {
        match keep {
            Keep::Nothing => Self::Nothing,
            Keep::Currents => Self::Currents(Scratch::new(length)),
            Keep::Slopes => Self::Slopes(Scratch::new(length / 4)),
        }
    }

    /// Whether currents have to be computed again.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// The `index`-th part of `size` numbers; the last one may be shorter.
    pub fn part(&self, index: usize, size: usize) -> Part<'_> {
        let range = |length: usize| index * size..length.min((index + 1) * size);
        match self {
            Self::Nothing => Part::Nothing,
            Self::Currents(all) => Part::Currents(&all[range(all.len())]),
            Self::Slopes(all) => Part::Slopes(&cast_slice(all)[range(4 * all.len())]),
        }
    }

    /// The parts of `size` numbers of each `whole`, of which there are so many; the last part of one may
    /// be shorter.
    pub fn parts_mut(&mut self, [whole, size]: [usize; 2], wholes: usize) -> Vec<PartMut<'_>> {
        fn parts<T>([whole, size]: [usize; 2], all: &mut [T]) -> impl Iterator<Item = &mut [T]> {
            all.chunks_mut(whole.max(1)).flat_map(move |part| part.chunks_mut(size.max(1)))
        }
        let sizes = [whole, size];
        match self {
            Self::Nothing => {
                let count = wholes * whole.div_ceil(size.max(1));
                (0..count).map(|_| PartMut::Nothing).collect()
            }
            Self::Currents(all) => parts(sizes, all).map(PartMut::Currents).collect(),
            Self::Slopes(all) => parts(sizes, cast_slice_mut(all)).map(PartMut::Slopes).collect(),
        }
    }
}

impl Call<'_> {
    /// What a tape keeps of each site: its slopes in a pass that rounds; else the currents of those that
    /// are the dearest to compute again, as many as leave all of the tape at no more than a byte per
    /// neuron and step.
    pub(super) fn keeps(&self) -> Vec<Keep> {
        let sites = &self.circuit.sites;
        if self.is_rough() {
            return vec![Keep::Slopes; sites.len()];
        }
        let numbers = |site: usize| {
            let grid: Grid = self.grid(site);
            grid.lanes() * grid.shape.positions()
        };
        let neurons: usize = sites.iter().map(|site| site.shape.neurons()).sum();
        let bits: usize = (0..sites.len()).map(numbers).sum();
        let mut left = neurons.saturating_sub(bits / 8);

        let mut dearest: Vec<usize> = (0..sites.len()).collect();
        dearest.sort_by_key(|&site| std::cmp::Reverse(self.inputs(&sites[site])));
        let mut kept = vec![Keep::Nothing; sites.len()];
        for site in dearest {
            let bytes = numbers(site) * size_of::<f32>();
            if bytes <= left && !sites[site].sources.is_empty() {
                kept[site] = Keep::Currents;
                left -= bytes;
            }
        }
        kept
    }

    /// From how many neurons a neuron of a site gets its current.
    fn inputs(&self, site: &Site) -> usize {
        let of = site.sources.iter().map(|source| {
            let seen = self.circuit.seen(source);
            match source.connection {
                Connection::Conv { kernel, .. } => kernel * kernel * seen.channels,
                Connection::Linear { .. } => seen.neurons(),
                Connection::Identity => 1,
            }
        });
        of.sum()
    }
}
