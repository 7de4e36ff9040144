//! `--set KEY=VALUE`, which changes a recipe.

use clap_complete::engine::ArgValueCompleter;

use super::Global;
use crate::complete;
use crate::recipe::{Changes, Setting};

/// Values in place of those in the file of a recipe.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SetOptions {
    /// Change a value of the recipe, for instance student.train.epochs=8.
    ///
    /// The option may be repeated. A value that is no TOML is a text, as in data.source=cifar10. An
    /// element of a list is named by its index, counted from 0.
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
