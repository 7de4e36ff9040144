//! What a pass remembers for its pass back: spikes, a bit each, and some currents.

use crate::memory::Scratch;

use super::circuit::{Call, Connection, Origin, Site};
use super::spikes::{Grid, Spikes};

/// The spikes of a pass, for the pass back.
#[derive(Debug)]
pub struct Tape {
    pub(super) input: Option<Spikes>,
    /// Constant currents of the first site, `[tile][image][position][lane]`.
    pub(super) constant: Option<Scratch>,
    pub(super) sites: Vec<Spikes>,
    /// By site, the currents `[tile][image][step][position][lane]`, where they are kept: see
    /// [`Call::keeps_currents`].
    pub(super) currents: Vec<Option<Scratch>>,
    pub(super) steps: usize,
}

impl Tape {
    /// Bytes that the tape holds.
    pub fn bytes(&self) -> usize {
        let spikes = self.input.iter().chain(&self.sites).map(|spikes| spikes.words.len() * 2);
        let currents = self.constant.iter().chain(self.currents.iter().flatten());
        spikes.sum::<usize>() + currents.map(|currents| currents.len() * 4).sum::<usize>()
    }

    pub(super) fn spikes(&self, origin: Origin) -> &Spikes {
        match (origin, &self.input) {
            (Origin::Site(site), _) => &self.sites[site],
            (Origin::Input, Some(input)) => input,
            (Origin::Input, None) => unreachable!("sites see the input only where it is spikes"),
        }
    }
}

impl Call<'_> {
    /// Of which sites a tape keeps the currents: of those that are the dearest to compute again, as
    /// many as leave all of the tape at no more than a byte per neuron and step.
    pub(super) fn keeps_currents(&self) -> Vec<bool> {
        let sites = &self.circuit.sites;
        let numbers = |site: usize| {
            let grid: Grid = self.grid(site);
            grid.lanes() * grid.shape.positions()
        };
        let neurons: usize = sites.iter().map(|site| site.shape.neurons()).sum();
        let bits: usize = (0..sites.len()).map(numbers).sum();
        let mut left = neurons.saturating_sub(bits / 8);

        let mut dearest: Vec<usize> = (0..sites.len()).collect();
        dearest.sort_by_key(|&site| std::cmp::Reverse(self.inputs(&sites[site])));
        let mut kept = vec![false; sites.len()];
        for site in dearest {
            let bytes = numbers(site) * size_of::<f32>();
            if bytes <= left && !sites[site].sources.is_empty() {
                kept[site] = true;
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
