//! The stages of a recipe as a graph: what each of them makes, and whose networks it needs.

use std::collections::BTreeSet;

use lasnn_distillation::LossConfig;
use lasnn_models::{ActivationConfig, Init};
use lasnn_snn::BatchNormConfig;
use lasnn_training::TrainConfig;

use super::network::{StageNetwork, UnknownStage};
use super::resolved::{
    AddedStage, AddedStudent, AnnConfig, IntermediateConfig, Recipe, Start, StudentStart,
};
use super::rules::Contradiction;
use crate::stage::StageName;

/// The threshold of every neuron of a student that starts at random.
pub const THRESHOLD: f64 = 1.0;

/// The stages of a recipe. Each comes after those whose networks it needs.
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    nodes: Vec<Node<'a>>,
}

/// A stage of a recipe.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The network that the stage makes.
    pub network: StageNetwork<'a>,
    /// How the stage makes it.
    pub work: Work<'a>,
}

/// How a stage makes its network.
#[derive(Clone, Debug)]
pub enum Work<'a> {
    /// An ANN is trained, unless a checkpoint is supplied in its place.
    Ann(AnnWork<'a>),
    /// An ANN is converted into a spiking network.
    Conversion {
        /// The stage that trains the ANN.
        from: StageName,
    },
    /// A spiking network is trained.
    Student(StudentWork<'a>),
}

/// The training of an ANN.
#[derive(Clone, Debug)]
pub struct AnnWork<'a> {
    /// How the weights are initialised.
    pub init: Init,
    /// The activation of all layers that have one.
    pub activation: ActivationConfig,
    /// How the network is trained.
    pub train: &'a TrainConfig,
}

/// The training of a spiking network.
#[derive(Clone, Debug)]
pub struct StudentWork<'a> {
    /// The table of the recipe with the keys of the training.
    pub table: String,
    /// The network with which the training begins.
    pub start: Start,
    /// The threshold of every neuron if the network starts at random.
    pub threshold: f64,
    /// The batch norms with which the network is trained. `None` if it is trained without.
    pub batch_norm: Option<BatchNormConfig>,
    /// The network that the student learns from, an ANN or a spiking network. `None` if no loss
    /// needs one, or if the recipe has no teacher.
    pub teacher: Option<StageName>,
    /// The number of time steps per image.
    pub time_steps: usize,
    /// The number of training images. `None` means all of them.
    pub train_limit: Option<usize>,
    /// How the network is trained.
    pub train: &'a TrainConfig,
    /// The losses that the network minimises.
    pub losses: Vec<LossConfig>,
}

impl<'a> Node<'a> {
    /// The name of the stage.
    pub fn name(&self) -> &StageName {
        &self.network.stage
    }

    /// The stages whose networks this one needs.
    pub fn inputs(&self) -> Vec<&StageName> {
        match &self.work {
            Work::Ann(_) => Vec::new(),
            Work::Conversion { from } => vec![from],
            Work::Student(work) => work.teacher.iter().chain(work.start.stage()).collect(),
        }
    }

    /// The training of the spiking network, if the stage has one.
    pub fn student(&self) -> Option<&StudentWork<'a>> {
        match &self.work {
            Work::Student(work) => Some(work),
            Work::Ann(_) | Work::Conversion { .. } => None,
        }
    }

    /// The name of the stage in a table for a person.
    pub fn title(&self) -> String {
        let is_distilled = self.student().is_some_and(|work| work.teacher.is_some());
        self.name().title(self.network.is_spiking(), is_distilled)
    }
}

impl<'a> Graph<'a> {
    /// The stages of a recipe.
    ///
    /// # Errors
    ///
    /// Names the key of a stage that does not exist, of a stage that would start from itself, of a
    /// name that is not possible, or of a table that is missing.
    pub fn new(recipe: &'a Recipe) -> Result<Self, Contradiction> {
        let mut nodes = Vec::new();
        if let Some(teacher) = &recipe.teacher {
            let AnnConfig { init, activation, ref train, .. } = *teacher;
            let work = AnnWork { init, activation, train };
            nodes.push(node(recipe, &StageName::TEACHER, Work::Ann(work))?);
        }
        if let Some(train) = &recipe.intermediate.train {
            let IntermediateConfig { init, activation, .. } = recipe.intermediate;
            let work = AnnWork { init, activation, train };
            nodes.push(node(recipe, &StageName::INTERMEDIATE, Work::Ann(work))?);
            let work = Work::Conversion { from: StageName::INTERMEDIATE };
            nodes.push(node(recipe, &StageName::CONVERTED, work)?);
        }
        let student = student(recipe);
        let control = recipe.student.without_distillation.then(|| StudentWork {
            teacher: None,
            losses: LossConfig::without_teacher(&student.losses),
            ..student.clone()
        });
        nodes.push(node(recipe, &StageName::STUDENT, Work::Student(student))?);
        if let Some(control) = control {
            nodes.push(node(recipe, &StageName::CONTROL, Work::Student(control))?);
        }
        check_names(recipe)?;
        for (name, stage) in &recipe.stages {
            let work = match stage {
                AddedStage::Ann(ann) => {
                    let AnnConfig { init, activation, ref train, .. } = *ann;
                    Work::Ann(AnnWork { init, activation, train })
                }
                AddedStage::Student(added) => Work::Student(added_student(recipe, name, added)),
            };
            nodes.push(node(recipe, name, work)?);
        }
        check_conversion(&nodes)?;
        check_references(recipe, &nodes)?;
        sorted(nodes)
    }

    /// All stages. Each comes after those whose networks it needs.
    pub fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    /// The stage with this name.
    ///
    /// # Errors
    ///
    /// Lists the stages of the recipe if none has the name.
    pub fn get(&self, name: &StageName) -> Result<&Node<'a>, UnknownStage> {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.ok_or_else(|| UnknownStage {
            name: name.clone(),
            names: self.nodes.iter().map(|node| node.name().clone()).collect(),
        })
    }

    /// The names of the stages that train a spiking network: the results of a run.
    pub fn students(&self) -> Vec<StageName> {
        let students = self.nodes.iter().filter(|node| node.student().is_some());
        students.map(|node| node.name().clone()).collect()
    }

    /// The stages of which the networks of `targets` need the networks, and `targets`, in the order
    /// in which they run.
    pub fn needed(&self, targets: &[StageName]) -> Vec<&Node<'a>> {
        let mut needed: BTreeSet<&StageName> = targets.iter().collect();
        for node in self.nodes.iter().rev() {
            if needed.contains(node.name()) {
                needed.extend(node.inputs());
            }
        }
        self.nodes.iter().filter(|node| needed.contains(node.name())).collect()
    }
}

fn node<'a>(
    recipe: &'a Recipe,
    name: &StageName,
    work: Work<'a>,
) -> Result<Node<'a>, Contradiction> {
    let network = recipe.network_of(name).map_err(|error| Contradiction {
        key: "stages".into(),
        found: format!("without `{name}`"),
        expected: error.to_string(),
    })?;
    Ok(Node { network, work })
}

/// The training of `[student]`.
fn student(recipe: &Recipe) -> StudentWork<'_> {
    let config = &recipe.student;
    StudentWork {
        table: "student".into(),
        start: match config.start {
            StudentStart::Converted => Start::Stage(StageName::CONVERTED),
            StudentStart::Random => Start::Random,
        },
        threshold: config.threshold.unwrap_or(THRESHOLD),
        batch_norm: config.batch_norm,
        teacher: teacher(recipe, &config.losses, config.teacher.as_ref()),
        time_steps: config.time_steps,
        train_limit: config.train_limit,
        train: &config.train,
        losses: config.losses.clone(),
    }
}

/// The training of a student in `[stages]`.
fn added_student<'a>(
    recipe: &'a Recipe,
    name: &StageName,
    config: &'a AddedStudent,
) -> StudentWork<'a> {
    StudentWork {
        table: format!("stages.{name}"),
        start: config.from.clone(),
        threshold: config.threshold.unwrap_or(THRESHOLD),
        batch_norm: config.batch_norm,
        teacher: teacher(recipe, &config.losses, config.teacher.as_ref()),
        time_steps: config.time_steps,
        train_limit: config.train_limit,
        train: &config.train,
        losses: config.losses.clone(),
    }
}

/// The teacher that some losses need: the one that is named, or else that of the recipe.
fn teacher(recipe: &Recipe, losses: &[LossConfig], named: Option<&StageName>) -> Option<StageName> {
    let of_recipe = recipe.teacher.as_ref().map(|_| StageName::TEACHER);
    let needs_teacher = losses.iter().any(|loss| loss.as_kind().needs_teacher());
    named.cloned().or(of_recipe).filter(|_| needs_teacher)
}

/// Checks that the names in `[stages]` are names of their own.
fn check_names(recipe: &Recipe) -> Result<(), Contradiction> {
    let mut earlier: Vec<&StageName> = Vec::new();
    for name in recipe.stages.keys() {
        let key = format!("stages.{name}");
        if name.is_reserved() {
            return Err(Contradiction {
                key,
                found: "a name with a meaning of its own".into(),
                expected: "another name".into(),
            });
        }
        let same = |other: &&&StageName| other.as_str().eq_ignore_ascii_case(name.as_str());
        if let Some(other) = earlier.iter().find(same) {
            return Err(Contradiction {
                key,
                found: format!("beside `stages.{other}`"),
                expected: "names that differ in more than capital letters, since files have them"
                    .into(),
            });
        }
        earlier.push(name);
    }
    Ok(())
}

/// Checks that the intermediate network can be trained if it has to be converted.
fn check_conversion(nodes: &[Node<'_>]) -> Result<(), Contradiction> {
    if nodes.iter().any(|node| *node.name() == StageName::CONVERTED) {
        return Ok(());
    }
    let converted = Start::Stage(StageName::CONVERTED);
    let starts = |node: &&Node<'_>| node.student().is_some_and(|work| work.start == converted);
    let Some(node) = nodes.iter().find(starts) else { return Ok(()) };
    let random = match *node.name() == StageName::STUDENT {
        true => "student.start = \"random\"".to_owned(),
        false => format!("stages.{}.from = \"random\"", node.name()),
    };
    Err(Contradiction {
        key: "intermediate.train".into(),
        found: "missing".into(),
        expected: format!(
            "a training table, since the stage `{}` starts from the converted network; with \
             `{random}` it does not",
            node.name()
        ),
    })
}

/// Checks that every stage that another one names exists and is of the right kind.
fn check_references(recipe: &Recipe, nodes: &[Node<'_>]) -> Result<(), Contradiction> {
    for node in nodes {
        let Some(work) = node.student() else { continue };
        // A teacher may be any network.
        let check = |key: &str, name: Option<&StageName>, is_start: bool| {
            let kind = nodes.iter().filter(|other| !is_start || other.network.is_spiking());
            let mut names: Vec<&StageName> = kind.map(Node::name).collect();
            let Some(name) = name.filter(|name| !names.contains(name)) else { return Ok(()) };
            names.retain(|other| *other != node.name());
            let names = names.into_iter().map(|name| format!("`{name}`"));
            let random = is_start.then(|| format!("`{}`", StageName::RANDOM));
            let names: Vec<_> = names.chain(random).collect();
            Err(Contradiction {
                key: format!("{}.{key}", work.table),
                found: format!("\"{name}\""),
                expected: match is_start {
                    true => format!("the start of a spiking network: {}", names.join(", ")),
                    false => format!("a teacher: {}", names.join(", ")),
                },
            })
        };
        check("from", work.start.stage(), true)?;
        // The name is checked even if no loss needs the teacher.
        if let Some(AddedStage::Student(added)) = recipe.stages.get(node.name()) {
            check("teacher", added.teacher.as_ref(), false)?;
        }
        if *node.name() == StageName::STUDENT {
            check("teacher", recipe.student.teacher.as_ref(), false)?;
        }
    }
    Ok(())
}

/// Sorts stages so that each comes after those whose networks it needs, and otherwise stays in
/// place.
fn sorted(nodes: Vec<Node<'_>>) -> Result<Graph<'_>, Contradiction> {
    let mut order = Vec::new();
    for index in 0..nodes.len() {
        visit(index, &nodes, &mut Vec::new(), &mut order)?;
    }
    let mut nodes: Vec<Option<Node<'_>>> = nodes.into_iter().map(Some).collect();
    let nodes = order.into_iter().filter_map(|index| nodes[index].take()).collect();
    Ok(Graph { nodes })
}

/// Adds a stage to `order`, after those whose networks it needs. `path` leads from a stage to one
/// that it needs, and so on to this one.
fn visit(
    index: usize,
    nodes: &[Node<'_>],
    path: &mut Vec<usize>,
    order: &mut Vec<usize>,
) -> Result<(), Contradiction> {
    if order.contains(&index) {
        return Ok(());
    }
    if let Some(start) = path.iter().position(|&earlier| earlier == index) {
        return Err(cycle(&path[start..], nodes));
    }
    path.push(index);
    for input in nodes[index].inputs() {
        // `check_references` has found every input.
        if let Some(input) = nodes.iter().position(|node| node.name() == input) {
            visit(input, nodes, path, order)?;
        }
    }
    path.pop();
    order.push(index);
    Ok(())
}

/// The error about stages in a circle: each needs the network of the next one, and the last one
/// needs that of the first one.
fn cycle(path: &[usize], nodes: &[Node<'_>]) -> Contradiction {
    let name = |place: usize| nodes[path[place % path.len()]].name();
    let work = |place: usize| nodes[path[place % path.len()]].student();
    let is_start =
        |place: usize| work(place).is_some_and(|work| work.start.stage() == Some(name(place + 1)));
    let link = |place: usize| match is_start(place) {
        true => format!("`{}` starts from `{}`", name(place), name(place + 1)),
        false => format!("`{}` learns from `{}`", name(place), name(place + 1)),
    };
    let links: Vec<_> = (0..path.len()).map(link).collect();
    let table = work(0).map_or_else(String::new, |work| work.table.clone());
    Contradiction {
        key: format!("{table}.{}", if is_start(0) { "from" } else { "teacher" }),
        found: format!("\"{}\"", name(1)),
        expected: format!(
            "a network that does not need the stage itself, but here {}",
            links.join(", ")
        ),
    }
}
