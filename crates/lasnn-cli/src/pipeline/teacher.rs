//! The teacher of a student: an ordinary or a spiking network, without gradients.

use burn::tensor::{Int, Tensor};
use lasnn_core::{Pass, Probes};
use lasnn_models::DifferentiableNetwork;
use lasnn_nn::{Observable, Observations, StateDict, state};
use lasnn_snn::{Simulator, SpikingNetwork};

use super::ann;
use super::session::Session;
use crate::device::TrainingBackend;
use crate::stage::StageName;

/// A network that a student learns from.
pub enum Teacher<A: TrainingBackend> {
    /// An ordinary network.
    Ann(DifferentiableNetwork<A>),
    /// A spiking network.
    Spiking(Simulator<A::InnerBackend>),
}

impl<A: TrainingBackend> Teacher<A> {
    /// The network of a stage with these tensors.
    ///
    /// # Errors
    ///
    /// Names a stage that the recipe lacks, or a tensor that does not fit the network.
    pub fn new(
        session: &Session<'_>,
        name: &StageName,
        tensors: StateDict,
        device: &A::Device,
    ) -> anyhow::Result<Self> {
        let (recipe, plan) = (session.recipe, session.plans.of(name));
        let Some(steps) = recipe.network_of(name)?.time_steps else {
            let network = ann::loaded::<A>(recipe, plan, name, tensors, device)?;
            return Ok(Self::Ann(DifferentiableNetwork::new(network)));
        };
        let network =
            SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps.number, device)?;
        Ok(Self::Spiking(Simulator::new(state::load(network, tensors)?)))
    }
}

impl<A: TrainingBackend> Observable<A::InnerBackend> for Teacher<A> {
    fn observe(
        &self,
        images: Tensor<A::InnerBackend, 4>,
        pass: &Pass<'_>,
        probes: &Probes,
    ) -> Observations<A::InnerBackend> {
        match self {
            Self::Ann(network) => network.observe(images, pass, probes),
            Self::Spiking(network) => network.observe(images, pass, probes),
        }
    }

    fn observe_labelled(
        &self,
        images: Tensor<A::InnerBackend, 4>,
        targets: &Tensor<A::InnerBackend, 1, Int>,
        pass: &Pass<'_>,
        probes: &Probes,
    ) -> Observations<A::InnerBackend> {
        match self {
            Self::Ann(network) => network.observe_labelled(images, targets, pass, probes),
            Self::Spiking(network) => network.observe(images, pass, probes),
        }
    }
}
