//! A spiking network that is run again and again with the same weights.

use std::sync::Arc;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Features, Pass, Tapped};
use lasnn_kernels::spiking::Prepared;
use lasnn_neurons::SpikingBackend;

use crate::network::SpikingNetwork;

/// A network whose weights are packed once for all its passes, where the backend runs it as a
/// whole. It owns them and lends them out for reading only, so what is packed stays true.
#[derive(Clone, Debug)]
pub struct Simulator<B: Backend> {
    network: SpikingNetwork<B>,
    prepared: Option<Arc<Prepared>>,
}

impl<B: SpikingBackend> Simulator<B> {
    /// Packs the weights of a network.
    pub fn new(network: SpikingNetwork<B>) -> Self {
        let prepared = network.wiring().and_then(|wiring| wiring.prepare(&network));
        Self { network, prepared: prepared.map(Arc::new) }
    }

    /// The network.
    pub fn network(&self) -> &SpikingNetwork<B> {
        &self.network
    }

    /// Its packed weights.
    pub(crate) fn prepared(&self) -> Option<&Arc<Prepared>> {
        self.prepared.as_ref()
    }
}

impl<B: SpikingBackend> Tapped<B> for Simulator<B> {
    /// What the network would give.
    fn features(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Features<B> {
        self.network.run(images, pass, self.prepared())
    }
}
