//! Checkpoints that the command line names.

use std::path::{Path, PathBuf};

use lasnn_models::{Init, Network};
use lasnn_nn::{StateDict, state};
use lasnn_training::Checkpoint;
use sha2::{Digest, Sha256};

use crate::data::Data;
use crate::definition::{Definition, Overrides};
use crate::device::TrainingBackend;
use crate::failure::wrong;
use crate::recipe::{Plans, Recipe};
use crate::stage::StageName;
use crate::stored::About;

/// A checkpoint that takes the place of a stage.
#[derive(Clone, Debug)]
pub struct Given {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Its tensors.
    pub state: StateDict,
    /// What it says about itself.
    pub about: About,
}

impl Given {
    /// The checkpoint in `path`, which is to be the network of `stage` of a recipe.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read or does not say what its tensors are for.
    pub fn new(path: &Path, recipe: &Path, stage: StageName) -> anyhow::Result<Self> {
        let content = std::fs::read(path)
            .map_err(|error| wrong(format_args!("{}: {error}", path.display())))?;
        let sha256 = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let checkpoint = Checkpoint::from_bytes(path, &content).map_err(wrong)?;
        let about = About::of(&checkpoint, path, recipe, stage)?;
        Ok(Self { path: path.into(), sha256, state: checkpoint.state, about })
    }

    /// Checks that it is the ordinary network of `stage` of the recipe on these images.
    ///
    /// # Errors
    ///
    /// Names what differs, or the tensor that does not fit.
    pub fn check<A: TrainingBackend>(
        &self,
        stage: StageName,
        recipe: &Recipe,
        plans: &Plans,
        data: &Data,
        device: &A::Device,
    ) -> anyhow::Result<()> {
        let path = &self.path;
        self.can_be(stage)?;
        let expected = Definition::of(recipe, data, stage);
        self.about.definition.check(&expected, stage, Overrides::default(), path)?;
        let empty =
            Network::<A::InnerBackend>::new(plans.of(stage), Init::default(), recipe.seed, device);
        state::load(empty, self.state.clone())
            .map_err(|error| wrong(format_args!("{}: {error}", path.display())))?;
        Ok(())
    }

    /// Checks that it can take the place of a stage: an ordinary network of either ordinary stage,
    /// a spiking network of any other. Whether it is the recipe's network follows from its layers.
    ///
    /// # Errors
    ///
    /// Names the stage that it came out of.
    pub fn can_be(&self, stage: StageName) -> anyhow::Result<()> {
        let kind = |stage: StageName| if stage.is_spiking() { "a spiking" } else { "an ordinary" };
        match self.about.stage.is_spiking() == stage.is_spiking() {
            true => Ok(()),
            false => Err(wrong(format_args!(
                "{} holds {} network (`{}`), expected {} network for `{}`",
                self.path.display(),
                kind(self.about.stage),
                self.about.stage.name(),
                kind(stage),
                stage.name()
            ))),
        }
    }
}

/// Normalises the images with the numbers of the checkpoints that take the place of stages.
///
/// The numbers of `standard` follow from the images trained on, so another seed gives other
/// numbers. Teacher and student see the same images, so all checkpoints must have the same numbers.
///
/// # Errors
///
/// Fails if two checkpoints have other numbers, or if they make no sense.
pub fn normalise_as<'a>(
    data: &mut Data,
    given: impl IntoIterator<Item = &'a Given>,
) -> anyhow::Result<()> {
    let mut first: Option<&Given> = None;
    for next in given {
        let numbers = &next.about.definition.normalisation;
        match first {
            None => {
                let channels = data.dataset.shape.channels;
                data.normalise_with(numbers.normaliser(channels, &next.path)?);
                first = Some(next);
            }
            Some(first) if !first.about.definition.normalisation.is_close(numbers) => {
                let of = |given: &Given| {
                    let numbers = &given.about.definition.normalisation;
                    format!("{:?} and {:?}", numbers.mean, numbers.deviation)
                };
                return Err(wrong(format_args!(
                    "{} was trained on images with the means and deviations {}, {} with {}; both \
                     see the same images here, expected the same numbers",
                    first.path.display(),
                    of(first),
                    next.path.display(),
                    of(next)
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
