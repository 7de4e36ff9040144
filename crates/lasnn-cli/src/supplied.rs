//! Checkpoints that the command line supplies in place of a stage.

use std::path::{Path, PathBuf};

use lasnn_nn::StateDict;
use lasnn_training::Checkpoint;
use sha2::{Digest, Sha256};

use crate::definition::Definition;
use crate::definition_check::Overrides;
use crate::device::TrainingBackend;
use crate::failure::invalid_input;
use crate::pipeline::ann;
use crate::recipe::{Plans, Recipe, StageNetwork};
use crate::splits::Splits;
use crate::stage::StageName;
use crate::stage_artifact::ArtifactMetadata;

/// A checkpoint file that the command line names.
#[derive(Clone, Debug)]
pub struct SuppliedCheckpoint {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The tensors of the network.
    pub state: StateDict,
    /// What the file says about the network.
    pub metadata: ArtifactMetadata,
}

impl SuppliedCheckpoint {
    /// Reads the checkpoint `path`, which is expected to be the network of `stage`. An error names
    /// `recipe` and `stage` in the command that helps.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or does not contain the definition of its network.
    pub fn read(path: &Path, recipe: &Path, stage: &StageName) -> anyhow::Result<Self> {
        let content = std::fs::read(path)
            .map_err(|error| invalid_input(format_args!("{}: {error}", path.display())))?;
        let sha256 = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let checkpoint = Checkpoint::from_bytes(path, &content).map_err(invalid_input)?;
        let metadata = ArtifactMetadata::of(&checkpoint, path, recipe, stage)?;
        Ok(Self { path: path.into(), sha256, state: checkpoint.state, metadata })
    }

    /// Checks that the checkpoint can be used as `network`, an ANN of a recipe on these images.
    ///
    /// # Errors
    ///
    /// Names the values that differ from the recipe, or a tensor that does not fit the network.
    pub fn check<A: TrainingBackend>(
        &self,
        network: &StageNetwork<'_>,
        recipe: &Recipe,
        plans: &Plans,
        splits: &Splits,
        device: &A::Device,
    ) -> anyhow::Result<()> {
        let path = &self.path;
        self.check_kind(network)?;
        let expected = Definition::of(recipe, splits, network);
        self.metadata.definition.check(&expected, network, Overrides::default(), path)?;
        let plan = plans.of(&network.stage);
        let (stage, tensors) = (&network.stage, self.state.clone());
        ann::loaded::<A::InnerBackend>(recipe, plan, stage, tensors, device)
            .map_err(|error| invalid_input(format_args!("{}: {error}", path.display())))?;
        Ok(())
    }

    /// Checks that the checkpoint holds an ANN if `network` is an ANN, and a spiking network if it
    /// is a spiking network.
    ///
    /// A teacher may be used as an intermediate network and the other way round. Whether it is the
    /// network of the recipe follows from its layers.
    ///
    /// # Errors
    ///
    /// Names the stage that has written the checkpoint.
    pub fn check_kind(&self, network: &StageNetwork<'_>) -> anyhow::Result<()> {
        let kind = |is_spiking: bool| match is_spiking {
            true => "a spiking network",
            false => "an ANN",
        };
        let is_spiking = self.metadata.definition.spiking.is_some();
        match is_spiking == network.is_spiking() {
            true => Ok(()),
            false => Err(invalid_input(format_args!(
                "{} holds {} (`{}`), expected {} for `{}`",
                self.path.display(),
                kind(is_spiking),
                self.metadata.stage,
                kind(network.is_spiking()),
                network.stage
            ))),
        }
    }
}

/// Normalises the images with the mean and the deviation that the supplied checkpoints were trained
/// with.
///
/// With the normalisation `standard` these numbers are computed from the training images, so they
/// depend on the seed. Teacher and student see the same images, so all checkpoints must have the
/// same numbers.
///
/// # Errors
///
/// Fails if two checkpoints have different numbers, or if a deviation is not positive.
pub fn normalise_as<'a>(
    splits: &mut Splits,
    supplied: impl IntoIterator<Item = &'a SuppliedCheckpoint>,
) -> anyhow::Result<()> {
    let mut first: Option<&SuppliedCheckpoint> = None;
    for next in supplied {
        let numbers = &next.metadata.definition.normalisation;
        match first {
            None => {
                let channels = splits.dataset.shape.channels;
                splits.normalise_with(numbers.normaliser(channels, &next.path)?);
                first = Some(next);
            }
            Some(first) if !first.metadata.definition.normalisation.is_close(numbers) => {
                let numbers = |supplied: &SuppliedCheckpoint| {
                    let numbers = &supplied.metadata.definition.normalisation;
                    format!("mean {:?} and deviation {:?}", numbers.mean, numbers.deviation)
                };
                return Err(invalid_input(format_args!(
                    "{} was trained on images with {}, {} on images with {}; expected the same \
                     numbers, since both networks see the same images here",
                    first.path.display(),
                    numbers(first),
                    next.path.display(),
                    numbers(next)
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
