//! Checks whether a recipe can be run on its images, before anything is trained.

use std::collections::BTreeMap;
use std::path::Path;

use lasnn_core::{Plan, Shape};
use lasnn_datasets::Source;
use lasnn_distillation::Subject;

use super::error::RecipeError;
use super::graph::{Graph, Node, StudentWork, Work};
use super::resolved::{Recipe, Start};
use super::rules::{self, Contradiction};
use crate::stage::StageName;

/// The networks of a recipe, planned for the shape of its images.
#[derive(Clone, Debug)]
pub struct Plans {
    /// The network of most spiking networks: the intermediate network with its batch norms folded.
    pub spiking: Plan,
    /// The spiking networks that have biases where `spiking` has none, since they were trained with
    /// batch norms that have been folded.
    pub students: BTreeMap<StageName, Plan>,
    /// The intermediate network with a batch norm after each convolution, which students with
    /// `batch_norm` are while they are trained.
    normalised: Plan,
    /// The intermediate network, the teacher and the ANNs in `[stages]`.
    pub anns: BTreeMap<StageName, Plan>,
}

impl Plans {
    /// The plan of the network of a stage.
    pub fn of(&self, stage: &StageName) -> &Plan {
        self.anns.get(stage).or_else(|| self.students.get(stage)).unwrap_or(&self.spiking)
    }

    /// The plan of the network of a stage while it is trained: with the batch norms of a student
    /// that has some.
    pub fn trained(&self, node: &Node<'_>) -> &Plan {
        match node.student().and_then(|work| work.batch_norm) {
            Some(_) => &self.normalised,
            None => self.of(node.name()),
        }
    }
}

/// Plans the networks of a recipe for images of `shape` in `classes` classes and checks all values.
/// There are `images` images to train on.
///
/// # Errors
///
/// Names the file, the table or key, the value found and the value expected.
pub fn validate(
    recipe: &Recipe,
    file: &Path,
    shape: Shape,
    classes: usize,
    images: usize,
) -> Result<Plans, RecipeError> {
    let check = Check { file };
    // A folder may contain a validation split. This is known only after the folder has been read.
    if recipe.data.source != Source::Folder {
        check.value(
            "data.validation",
            recipe.data.validation,
            1,
            "since the validation images choose the epoch",
        )?;
    }
    let graph = check.rule(Graph::new(recipe))?;
    let intermediate = &recipe.intermediate.network;
    let plan = check.table("intermediate.network", intermediate.plan(shape, classes))?;
    let spiking =
        check.table("intermediate.network", intermediate.folded().plan(shape, classes))?;
    let normalised = intermediate.with_batch_norm().plan(shape, classes);
    let normalised = check.table("intermediate.network", normalised)?;
    let anns = BTreeMap::from([(StageName::INTERMEDIATE, plan)]);
    let mut plans = Plans { spiking, students: BTreeMap::new(), normalised, anns };
    for node in graph.nodes() {
        if node.network.is_spiking() {
            let plan = node.network.layers.plan(shape, classes);
            let plan = check.table("intermediate.network", plan)?;
            if plan != plans.spiking {
                plans.students.insert(node.name().clone(), plan);
            }
        }
        if let Work::Ann(work) = &node.work {
            if *node.name() != StageName::INTERMEDIATE {
                let table = format!("{}.network", node.network.table);
                let plan = check.table(&table, node.network.layers.plan(shape, classes))?;
                plans.anns.insert(node.name().clone(), plan);
            }
            check.table(&format!("{}.activation", node.network.table), work.activation.check())?;
            check.table(&format!("{}.train", node.network.table), work.train.validate())?;
        }
    }
    check.rule(rules::check_pooling(intermediate))?;
    check.table("intermediate.network", intermediate.folded().check_spiking())?;
    check.table("intermediate.activation", recipe.intermediate.activation.check())?;
    check.table("spiking.neuron", recipe.spiking.neuron.check())?;
    check.rule(rules::check(recipe, &graph))?;
    check.table("conversion", recipe.conversion.check())?;
    for (node, work) in graph.nodes().iter().filter_map(|node| Some((node, node.student()?))) {
        // The losses of the control are checked below: no key of the recipe has them.
        if *node.name() != StageName::CONTROL {
            check.student(node, work, &graph, &plans)?;
        }
    }
    let control = Subject::spiking(&plans.spiking, recipe.student.time_steps);
    check.rule(rules::check_control(recipe, control))?;
    check.value("evaluation.batch", recipe.evaluation.batch, 1, "")?;
    for &steps in &recipe.evaluation.time_steps {
        check.value("evaluation.time_steps", steps, 1, "each")?;
    }
    check.rule(rules::check_images(recipe, &graph, &plans, images))?;
    Ok(plans)
}

/// Turns what is wrong into an error of the recipe.
struct Check<'a> {
    file: &'a Path,
}

impl Check<'_> {
    /// Checks the training of a spiking network.
    fn student(
        &self,
        node: &Node<'_>,
        work: &StudentWork<'_>,
        graph: &Graph<'_>,
        plans: &Plans,
    ) -> Result<(), RecipeError> {
        let table = &work.table;
        self.value(&format!("{table}.time_steps"), work.time_steps, 1, "")?;
        if let Some(limit) = work.train_limit {
            self.value(&format!("{table}.train_limit"), limit, 1, "")?;
        }
        self.rule(rules::check_threshold(work))?;
        if let Some(config) = &work.batch_norm {
            if let Start::Stage(from) = &work.start {
                return self.rule(Err(Contradiction {
                    key: format!("{table}.batch_norm"),
                    found: format!("beside a start from `{from}`"),
                    expected: "no batch norm, or a network that starts at random: the batch norms \
                               of a network that was made before have been folded"
                        .into(),
                }));
            }
            self.table(&format!("{table}.batch_norm"), config.check())?;
        }
        self.table(&format!("{table}.train"), work.train.validate())?;
        let student = Subject::spiking(plans.of(node.name()), work.time_steps);
        let teacher = work.teacher.as_ref().map(|name| {
            let steps = graph.get(name).ok().and_then(|node| node.network.time_steps.as_ref());
            match steps {
                Some(steps) => Subject::spiking(plans.of(name), steps.number),
                None => Subject::ordinary(plans.of(name)),
            }
        });
        self.table(table, lasnn_distillation::check(&work.losses, student, teacher))
    }

    fn table<T, E>(&self, table: &str, result: Result<T, E>) -> Result<T, RecipeError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        result.map_err(|source| RecipeError::Table {
            at: self.file.into(),
            table: table.to_owned(),
            source: source.into(),
        })
    }

    fn value(&self, key: &str, found: usize, least: usize, why: &str) -> Result<(), RecipeError> {
        if found >= least {
            return Ok(());
        }
        let expected = format!("at least {least} {why}").trim_end().to_owned();
        self.rule(Err(Contradiction { key: key.to_owned(), found: found.to_string(), expected }))
    }

    fn rule<T>(&self, result: Result<T, Contradiction>) -> Result<T, RecipeError> {
        result.map_err(|contradiction| contradiction.in_file(self.file))
    }
}
