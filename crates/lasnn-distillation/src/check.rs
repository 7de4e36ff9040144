//! Whether losses can be computed with two networks: found before anything is trained.

use lasnn_core::{Plan, Probe, Probes, Shape, Tap};

use crate::losses::LossConfig;

/// A network that a loss looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its layers.
    pub plan: &'a Plan,
    /// The number of time steps of a spiking network. Only these have values of time steps and
    /// neurons. `None` for an ordinary network.
    pub time_steps: Option<usize>,
}

impl<'a> Subject<'a> {
    /// A spiking network over `time_steps` time steps.
    pub fn spiking(plan: &'a Plan, time_steps: usize) -> Self {
        Self { plan, time_steps: Some(time_steps) }
    }

    /// An ordinary network.
    pub fn ordinary(plan: &'a Plan) -> Self {
        Self { plan, time_steps: None }
    }

    /// Checks that the network has the values of all `probes`.
    fn check(self, role: &'static str, probes: &Probes) -> Result<(), LossError> {
        let network = || self.plan.name.clone();
        for probe in probes.iter() {
            if probe.is_spiking() && self.time_steps.is_none() {
                return Err(LossError::NotSpiking { probe, role, network: network() });
            }
            if probe.is_ordinary() && self.time_steps.is_some() {
                return Err(LossError::NotOrdinary { probe, role, network: network() });
            }
            if let Some(tap) = probe.tap().filter(|&tap| self.plan.tap(tap).is_none()) {
                return Err(LossError::MissingTap { tap, role, network: network() });
            }
        }
        Ok(())
    }
}

/// Why a loss cannot be computed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LossError {
    /// A number is out of range.
    #[error("`{key}` is {found}, expected {expected}")]
    Value {
        /// The key in the entry of the recipe.
        key: &'static str,
        /// The value found.
        found: String,
        /// The expected range.
        expected: &'static str,
    },
    /// There is no teacher.
    #[error("it compares the student with a teacher, but there is none")]
    NoTeacher,
    /// A network has no layer at a tap.
    #[error(
        "it looks at tap `{tap}`, but the {role} `{network}` has no layer with `tap = \"{tap}\"`"
    )]
    MissingTap {
        /// The tap.
        tap: Tap,
        /// `teacher` or `student`.
        role: &'static str,
        /// The network's name.
        network: String,
    },
    /// A network that does not spike has no such values.
    #[error("it looks at {probe}, but the {role} `{network}` is not a spiking network")]
    NotSpiking {
        /// The values.
        probe: Probe,
        /// `teacher` or `student`.
        role: &'static str,
        /// The network's name.
        network: String,
    },
    /// A network that spikes has no such values.
    #[error("it looks at {probe}, but the {role} `{network}` is a spiking network")]
    NotOrdinary {
        /// The values.
        probe: Probe,
        /// `teacher` or `student`.
        role: &'static str,
        /// The network's name.
        network: String,
    },
    /// The number of the teacher's time steps is no multiple of the student's.
    #[error(
        "the teacher has {teacher} time steps and the student {student}, expected a multiple of \
         the student's"
    )]
    Steps {
        /// Those of the teacher.
        teacher: usize,
        /// Those of the student.
        student: usize,
    },
    /// The student has one time step, and the loss looks at two.
    #[error("`time_steps` is 1, expected at least 2, since it looks at two time steps together")]
    OneStep,
    /// The attention maps at a tap have one position. Normalised, they are 1 for every image.
    #[error(
        "it compares tap `{tap}`, where the teacher's feature map is {teacher} and the student's \
         is {student}: attention maps of one position are always equal, expected at least 2 \
         positions"
    )]
    OnePosition {
        /// The tap.
        tap: Tap,
        /// The shape of the teacher's feature map.
        teacher: Shape,
        /// The shape of the student's feature map.
        student: Shape,
    },
    /// The order of the taps differs between the two networks.
    #[error(
        "the order of the taps is {} in the teacher and {} in the student, expected the same order",
        names(teacher),
        names(student)
    )]
    Order {
        /// The taps of the teacher, from the image on.
        teacher: Vec<Tap>,
        /// The taps of the student, from the image on.
        student: Vec<Tap>,
    },
}

/// Why a list of losses cannot be computed. Losses are counted from 0.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LossesError {
    /// One of the losses is wrong.
    #[error("`losses[{index}]` ({name}): {source}")]
    Loss {
        /// The position in the list.
        index: usize,
        /// The name of the loss.
        name: &'static str,
        /// What is wrong.
        source: LossError,
    },
    /// The student would learn nothing.
    #[error(
        "none of {count} in `losses` has a weight above 0 and compares the student with the labels \
         or with a teacher, expected at least one"
    )]
    Nothing {
        /// The number of losses.
        count: usize,
    },
    /// Two losses count the spikes of activation maps differently. A pass has one way for all.
    #[error(
        "`losses[{first}]` and `losses[{second}]` count earlier spikes in activation maps \
         differently, expected the same `gamma` and `include_current`"
    )]
    Traces {
        /// The position of the one loss.
        first: usize,
        /// The position of the other loss.
        second: usize,
    },
}

/// The names of taps, separated by commas.
fn names(taps: &[Tap]) -> String {
    let names: Vec<_> = taps.iter().map(Tap::to_string).collect();
    names.join(", ")
}

/// Checks that all numbers are in range, that the two networks have the values that the losses look
/// at, and that the student learns something.
///
/// # Errors
///
/// Names the first loss that is wrong.
pub fn check(
    losses: &[LossConfig],
    student: Subject<'_>,
    teacher: Option<Subject<'_>>,
) -> Result<(), LossesError> {
    let mut learns = false;
    for (index, loss) in losses.iter().enumerate() {
        let name = loss.name();
        let at = |source| LossesError::Loss { index, name, source };
        check_one(loss, student, teacher).map_err(at)?;
        let kind = loss.as_kind();
        learns |= kind.weight() > 0.0 && (kind.uses_labels() || kind.needs_teacher());
        for (first, other) in losses[..index].iter().map(LossConfig::as_kind).enumerate() {
            let agree = kind.student_probes().agrees_with(&other.student_probes())
                && kind.teacher_probes().agrees_with(&other.teacher_probes());
            if !agree {
                return Err(LossesError::Traces { first, second: index });
            }
        }
    }
    match learns {
        true => Ok(()),
        false => Err(LossesError::Nothing { count: losses.len() }),
    }
}

fn check_one(
    loss: &LossConfig,
    student: Subject<'_>,
    teacher: Option<Subject<'_>>,
) -> Result<(), LossError> {
    let kind = loss.as_kind();
    let weight = kind.weight();
    if !(weight.is_finite() && weight >= 0.0) {
        let (key, expected) = ("weight", "a number of at least 0");
        return Err(LossError::Value { key, found: weight.to_string(), expected });
    }
    student.check("student", &kind.student_probes())?;
    match teacher.filter(|_| kind.needs_teacher()) {
        Some(teacher) => teacher.check("teacher", &kind.teacher_probes())?,
        None if kind.needs_teacher() => return Err(LossError::NoTeacher),
        None => {}
    }
    kind.check(student, teacher)
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer};

    use super::*;
    use crate::losses::{Attention, CrossEntropy, Logits};
    use crate::on::On;

    fn plan(taps: &[Tap]) -> Plan {
        let mut layers: Vec<Layer> = taps.iter().map(|&tap| Layer::conv(2).tapped(tap)).collect();
        layers.push(Layer::Classifier { bias: false });
        let image = Shape { channels: 1, height: 8, width: 8 };
        Architecture { name: "net".into(), layers }.plan(image, 10).unwrap()
    }

    /// The message of the error, empty if there is none.
    fn message(losses: &[LossConfig], taps_of_student: &[Tap]) -> String {
        let (teacher, student) = (plan(&Tap::ALL), plan(taps_of_student));
        let teacher = Some(Subject::ordinary(&teacher));
        let checked = check(losses, Subject::spiking(&student, 4), teacher);
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[track_caller]
    fn refuses(losses: &[LossConfig], words: &[&str]) {
        let message = message(losses, &Tap::ALL);
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
    }

    fn cross_entropy(weight: f64) -> LossConfig {
        LossConfig::CrossEntropy(CrossEntropy { weight, on: On::Step })
    }

    #[test]
    fn a_missing_tap_is_named_with_its_network() {
        assert_eq!(message(&LossConfig::paper(), &Tap::ALL), "");
        let message = message(&LossConfig::paper(), &[Tap::Low, Tap::High]);
        assert!(message.starts_with("`losses[1]` (attention): "), "{message}");
        assert!(message.contains("`middle`, but the student `net`"), "{message}");
    }

    #[test]
    fn numbers_are_checked() {
        refuses(&[cross_entropy(f64::NAN)], &["`losses[0]` (cross-entropy)", "`weight` is NaN"]);
        refuses(&[cross_entropy(-1.0)], &["`weight` is -1, expected a number of at least 0"]);
        let logits = |temperature| LossConfig::Logits(Logits { temperature, ..Default::default() });
        refuses(
            &[cross_entropy(1.0), logits(0.0)],
            &["`losses[1]` (logits)", "`temperature` is 0"],
        );
        refuses(&[logits(f64::INFINITY)], &["`temperature` is inf"]);
    }

    #[test]
    fn a_student_that_learns_nothing_is_refused() {
        refuses(&[], &["none of 0 in `losses`"]);
        let attention = Attention { weight: 0.0, ..Default::default() };
        let losses = [cross_entropy(0.0), LossConfig::Attention(attention)];
        refuses(&losses, &["none of 2 in `losses`", "a weight above 0"]);
        assert_eq!(message(&[cross_entropy(0.0), LossConfig::paper()[1].clone()], &Tap::ALL), "");
    }

    #[test]
    fn a_loss_that_needs_a_teacher_is_refused_without_one() {
        let student = plan(&Tap::ALL);
        let check = |losses: &[LossConfig]| check(losses, Subject::spiking(&student, 4), None);
        assert_eq!(check(&[cross_entropy(1.0)]), Ok(()));
        let error = check(&LossConfig::paper()).unwrap_err().to_string();
        assert!(error.contains("(attention)") && error.contains("there is none"), "{error}");
    }

    #[test]
    fn logits_by_step_need_a_spiking_network() {
        let student = plan(&Tap::ALL);
        let error = check(&[cross_entropy(1.0)], Subject::ordinary(&student), None).unwrap_err();
        assert!(error.to_string().contains("the logits of every time step"), "{error}");
        assert!(error.to_string().contains("`net` is not a spiking network"), "{error}");
    }
}
