//! What a forward pass saves for its backward pass: spikes, one bit each, and per layer the numbers
//! that would take long to compute again.

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use lasnn_core::Trace;
use lasnn_gemm::memory::Scratch;

use crate::graph::Presynaptic;
use crate::neuron::TileNeurons;
use crate::spikes::Spikes;

/// A recorded forward pass. [`ForwardArgs::record`](crate::ForwardArgs::record) makes it for
/// [`ForwardArgs::backward`](crate::ForwardArgs::backward).
#[derive(Debug)]
pub struct Tape {
    /// The input spikes, if the input is spikes.
    pub(crate) input: Option<Spikes>,
    /// The constant currents of the first layer, `[tile][image][position][lane]`, if the input is
    /// currents.
    pub(crate) constant: Option<Scratch>,
    /// By layer: its spikes.
    pub(crate) layers: Vec<Spikes>,
    /// By layer: what is saved beside its spikes.
    pub(crate) saved: Vec<Saved>,
    pub(crate) steps: usize,
}

impl Tape {
    /// Bytes of memory that the tape holds.
    pub fn bytes(&self) -> usize {
        let spikes = self.input.iter().chain(&self.layers).map(|spikes| spikes.words.len() * 2);
        let constant = self.constant.iter().map(|currents| currents.len() * 4);
        let saved = self.saved.iter().map(|saved| match saved {
            Saved::Nothing => 0,
            Saved::Currents(numbers)
            | Saved::SurrogateQ8(numbers)
            | Saved::MembraneBf16(numbers) => numbers.len() * 4,
        });
        spikes.chain(constant).chain(saved).sum()
    }

    /// The spike activation map of a layer at each step, `[steps, batch, height, width]`.
    ///
    /// # Panics
    ///
    /// Panics if the graph has no such layer.
    pub fn activation_map(&self, layer: usize, trace: Trace) -> Vec<f32> {
        self.layers[layer].activation_map(trace)
    }

    pub(crate) fn spikes(&self, presynaptic: Presynaptic) -> &Spikes {
        match (presynaptic, &self.input) {
            (Presynaptic::NeuronLayer(layer), _) => &self.layers[layer],
            (Presynaptic::Input, Some(input)) => input,
            (Presynaptic::Input, None) => {
                unreachable!("a projection from the input, but the input is currents")
            }
        }
    }
}

/// What a tape saves of a layer beside its spikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SavePolicy {
    /// Nothing. The backward pass computes currents again from spikes.
    Nothing,
    /// The currents. The backward pass computes membrane potentials again from currents.
    Currents,
    /// The surrogate derivatives in 8 bits. The backward pass needs nothing else.
    SurrogateQ8,
    /// The membrane potentials after each step, in bfloat16.
    MembraneBf16,
}

/// The saved numbers of a layer, `[tile][image][step][position][lane]`.
#[derive(Debug)]
pub(crate) enum Saved {
    Nothing,
    Currents(Scratch),
    /// Four derivatives in the memory of one number.
    SurrogateQ8(Scratch),
    /// Two membrane potentials in the memory of one number.
    MembraneBf16(Scratch),
}

/// The saved numbers that one thread reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Nothing,
    Currents(&'a [f32]),
    SurrogateQ8(&'a [u8]),
    MembraneBf16(&'a [u16]),
}

/// The saved numbers that one thread writes.
#[derive(Debug)]
pub(crate) enum PartMut<'a> {
    Nothing,
    Currents(&'a mut [f32]),
    SurrogateQ8(&'a mut [u8]),
    MembraneBf16(&'a mut [u16]),
}

impl Saved {
    /// Memory for `length` numbers, a multiple of four. Its content is unspecified.
    pub fn new(save_policy: SavePolicy, length: usize) -> Self {
        match save_policy {
            SavePolicy::Nothing => Self::Nothing,
            SavePolicy::Currents => Self::Currents(Scratch::new(length)),
            SavePolicy::SurrogateQ8 => Self::SurrogateQ8(Scratch::new(length / 4)),
            SavePolicy::MembraneBf16 => Self::MembraneBf16(Scratch::new(length / 2)),
        }
    }

    /// Whether the backward pass has to compute currents again.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Part number `index` of the parts of `size` numbers. The last part may be shorter.
    pub fn part(&self, index: usize, size: usize) -> Part<'_> {
        let range = |length: usize| index * size..length.min((index + 1) * size);
        match self {
            Self::Nothing => Part::Nothing,
            Self::Currents(all) => Part::Currents(&all[range(all.len())]),
            Self::SurrogateQ8(all) => Part::SurrogateQ8(&cast_slice(all)[range(4 * all.len())]),
            Self::MembraneBf16(all) => Part::MembraneBf16(&cast_slice(all)[range(2 * all.len())]),
        }
    }

    /// Cuts the numbers into `wholes` stretches of `whole` numbers, and each stretch into parts of
    /// `size` numbers. The last part of a stretch may be shorter.
    pub fn parts_mut(&mut self, [whole, size]: [usize; 2], wholes: usize) -> Vec<PartMut<'_>> {
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
            Self::MembraneBf16(all) => {
                parts(sizes, cast_slice_mut(all)).map(PartMut::MembraneBf16).collect()
            }
        }
    }
}

/// What a forward pass writes of a layer beside its spikes.
#[derive(Debug)]
pub(crate) struct LayerRecord {
    pub saved: Saved,
    /// The membrane potentials after each step, in the layout of `saved`, if a probe returns them.
    pub membranes: Option<Scratch>,
}

/// What one thread writes of a layer beside its spikes.
#[derive(Debug)]
pub(crate) struct RecordPart<'a> {
    pub saved: PartMut<'a>,
    pub membranes: Option<&'a mut [f32]>,
}

impl LayerRecord {
    /// Memory for `length` numbers of each kind, a multiple of four. Its content is unspecified.
    pub fn new((save_policy, has_membranes): (SavePolicy, bool), length: usize) -> Self {
        let membranes = has_membranes.then(|| Scratch::new(length));
        Self { saved: Saved::new(save_policy, length), membranes }
    }

    /// See [`Saved::parts_mut`].
    pub fn parts_mut(&mut self, sizes: [usize; 2], wholes: usize) -> Vec<RecordPart<'_>> {
        let saved = self.saved.parts_mut(sizes, wholes);
        let mut membranes = self.membranes.as_mut().into_iter().flat_map(|all| parts(sizes, all));
        let part = |saved| RecordPart { saved, membranes: membranes.next() };
        saved.into_iter().map(part).collect()
    }
}

/// Cuts `all` as [`Saved::parts_mut`] does.
fn parts<T>([whole, size]: [usize; 2], all: &mut [T]) -> impl Iterator<Item = &mut [T]> {
    all.chunks_mut(whole.max(1)).flat_map(move |part| part.chunks_mut(size.max(1)))
}

impl RecordPart<'_> {
    /// Writes what the backward pass and the probe need of the membrane potentials `u`, from number
    /// `place` on.
    #[inline(always)]
    pub fn write(&mut self, neurons: &TileNeurons<'_>, u: &[f32], place: usize) {
        match &mut self.saved {
            PartMut::Nothing | PartMut::Currents(_) => {}
            PartMut::SurrogateQ8(saved) => neurons.surrogate_q8(u, &mut saved[place..][..u.len()]),
            PartMut::MembraneBf16(saved) => {
                neurons.membrane_bf16(u, &mut saved[place..][..u.len()])
            }
        }
        if let Some(membranes) = &mut self.membranes {
            membranes[place..][..u.len()].copy_from_slice(u);
        }
    }
}

/// The saved numbers of a layer, for some consecutive images of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SavedImages<'a> {
    pub saved: &'a Saved,
    /// The number of images in the batch.
    pub batch: usize,
    /// The first of these images in the batch.
    pub first: usize,
}

impl<'a> SavedImages<'a> {
    /// The `size` numbers of one channel tile of an image, which is counted from the first of these
    /// images.
    pub fn part(&self, tile: usize, image: usize, size: usize) -> Part<'a> {
        self.saved.part(tile * self.batch + self.first + image, size)
    }
}
