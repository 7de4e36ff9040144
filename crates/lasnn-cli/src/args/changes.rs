//! `--set KEY=VALUE`, which changes a recipe.

use clap_complete::engine::ArgValueCompleter;

use super::Global;
use crate::complete;
use crate::recipe::{Changes, Setting};

/// Values in place of those in the file of a recipe.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SetOptions {
    /// Change a value of the recipe, as in `--set student.train.epochs=8`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Setting::parse)]
    #[arg(add = ArgValueCompleter::new(complete::recipe_keys))]
    pub set: Vec<Setting>,
}

impl SetOptions {
    /// What the command line changes in a recipe.
    pub fn changes(&self, global: &Global) -> Changes<'_> {
        Changes { set: &self.set, seed: global.seed }
    }
}
