//! What a pass remembers for its pass back: spikes, a bit each, and what it would be dear to compute again.

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use lasnn_gemm::memory::Scratch;

use crate::args::ForwardArgs;
use crate::graph::{NeuronLayer, Presynaptic, Synapse};
use crate::spikes::{Grid, Spikes};

/// The spikes of a pass, for the pass back.
#[derive(Debug)]
pub struct Tape {
    pub(crate) input: Option<Spikes>,
    /// Constant currents of the first layer, `[tile][image][position][lane]`.
    pub(crate) constant: Option<Scratch>,
    pub(crate) layers: Vec<Spikes>,
    /// By layer: see [`ForwardArgs::save_policies`].
    pub(crate) saved: Vec<Saved>,
    pub(crate) steps: usize,
}

impl Tape {
    /// Bytes that the tape holds.
    pub fn bytes(&self) -> usize {
        let spikes = self.input.iter().chain(&self.layers).map(|spikes| spikes.words.len() * 2);
        let constant = self.constant.iter().map(|currents| currents.len() * 4);
        let saved = self.saved.iter().map(|saved| match saved {
            Saved::Nothing => 0,
            Saved::Currents(numbers) | Saved::SurrogateQ8(numbers) => numbers.len() * 4,
        });
        spikes.chain(constant).chain(saved).sum()
    }

    pub(crate) fn spikes(&self, presynaptic: Presynaptic) -> &Spikes {
        match (presynaptic, &self.input) {
            (Presynaptic::NeuronLayer(layer), _) => &self.layers[layer],
            (Presynaptic::Input, Some(input)) => input,
            (Presynaptic::Input, None) => {
                unreachable!("layers see the input only where it is spikes")
            }
        }
    }
}

/// What a tape is to save_policy of a layer beside its spikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SavePolicy {
    /// Currents are computed again from spikes.
    Nothing,
    /// Membrane potentials are computed again from currents.
    Currents,
    /// The derivatives of spikes, which is all that is needed, in 8 bits.
    SurrogateQ8,
}

/// What a tape save_policies, `[tile][image][step][position][lane]`.
#[derive(Debug)]
pub(crate) enum Saved {
    Nothing,
    Currents(Scratch),
    /// Four of them in the place of a number.
    SurrogateQ8(Scratch),
}

/// The part of it for one unit of work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Nothing,
    Currents(&'a [f32]),
    SurrogateQ8(&'a [u8]),
}

/// The same, to be written.
#[derive(Debug)]
pub(crate) enum PartMut<'a> {
    Nothing,
    Currents(&'a mut [f32]),
    SurrogateQ8(&'a mut [u8]),
}

impl Saved {
    /// Room for so many numbers, a multiple of four, whatever they are.
    pub fn new(save_policy: SavePolicy, length: usize) -> Self {
        match save_policy {
            SavePolicy::Nothing => Self::Nothing,
            SavePolicy::Currents => Self::Currents(Scratch::new(length)),
            SavePolicy::SurrogateQ8 => Self::SurrogateQ8(Scratch::new(length / 4)),
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
            Self::SurrogateQ8(all) => Part::SurrogateQ8(&cast_slice(all)[range(4 * all.len())]),
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
            Self::SurrogateQ8(all) => {
                parts(sizes, cast_slice_mut(all)).map(PartMut::SurrogateQ8).collect()
            }
        }
    }
}

impl ForwardArgs<'_> {
    /// What a tape save_policies of each layer: its surrogate_q8 in a pass that rounds; else the currents of those that
    /// are the dearest to compute again, as many as leave all of the tape at no more than a byte per
    /// neuron and step.
    pub(crate) fn save_policies(&self) -> Vec<SavePolicy> {
        let layers = &self.graph.layers;
        if self.uses_bf16() {
            return vec![SavePolicy::SurrogateQ8; layers.len()];
        }
        let numbers = |layer: usize| {
            let grid: Grid = self.grid(layer);
            grid.lanes() * grid.shape.positions()
        };
        let neurons: usize = layers.iter().map(|layer| layer.shape.len()).sum();
        let bits: usize = (0..layers.len()).map(numbers).sum();
        let mut left = neurons.saturating_sub(bits / 8);

        let mut dearest: Vec<usize> = (0..layers.len()).collect();
        dearest.sort_by_key(|&layer| std::cmp::Reverse(self.inputs(&layers[layer])));
        let mut saved = vec![SavePolicy::Nothing; layers.len()];
        for layer in dearest {
            let bytes = numbers(layer) * size_of::<f32>();
            if bytes <= left && !layers[layer].projections.is_empty() {
                saved[layer] = SavePolicy::Currents;
                left -= bytes;
            }
        }
        saved
    }

    /// From how many neurons a neuron of a layer gets its current.
    fn inputs(&self, layer: &NeuronLayer) -> usize {
        let of = layer.projections.iter().map(|projection| {
            let pooled = self.graph.pooled(projection);
            match projection.synapse {
                Synapse::Conv { kernel, .. } => kernel * kernel * pooled.channels,
                Synapse::Linear { .. } => pooled.len(),
                Synapse::Identity => 1,
            }
        });
        of.sum()
    }
}

/// What a tape has saved of a layer, for some images of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SavedImages<'a> {
    pub saved: &'a Saved,
    /// Images of the batch.
    pub batch: usize,
    /// The first of these images in the batch.
    pub first: usize,
}

impl<'a> SavedImages<'a> {
    /// The `size` numbers of an image, counted from the first of these, in a channel tile.
    pub fn part(&self, tile: usize, image: usize, size: usize) -> Part<'a> {
        self.saved.part(tile * self.batch + self.first + image, size)
    }
}
