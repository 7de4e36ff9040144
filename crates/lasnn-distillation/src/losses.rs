//! The table of losses, and one module for each of them.

pub mod attention;
pub mod cross_entropy;
pub mod cumulative_logits;
pub mod firing_rate;
pub mod gradient_attention;
pub mod logit_regularisation;
pub mod logits;
pub mod spike_distillation;
pub mod step_distillation;

use burn::tensor::backend::Backend;
use lasnn_core::{Kind, Probes};
use serde::{Deserialize, Serialize};

pub use attention::Attention;
pub use cross_entropy::CrossEntropy;
pub use cumulative_logits::CumulativeLogits;
pub use firing_rate::FiringRate;
pub use gradient_attention::GradientAttention;
pub use logit_regularisation::LogitRegularisation;
pub use logits::Logits;
pub use spike_distillation::SpikeDistillation;
pub use step_distillation::StepDistillation;

use crate::loss::{Described, LossKind, StudentLoss, kind_of};

/// Declares the enum [`LossConfig`] and its table.
macro_rules! losses {
    ($($variant:ident: $module:ident::$loss:ident),+ $(,)?) => {
        /// A loss of the student with its numbers: an entry of `[[student.losses]]` in a recipe.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum LossConfig {
            $(
                #[doc = concat!("[`", stringify!($module), "::", stringify!($loss), "`].")]
                $variant($module::$loss),
            )+
        }

        impl LossConfig {
            /// All losses, for `lasnn list`.
            pub const KINDS: &'static [Kind] = &[$(kind_of::<$module::$loss>()),+];

            /// The name of this loss in a recipe.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$module::$loss as Described>::NAME,)+
                }
            }

            /// What is known about this loss before anything is computed.
            pub fn as_kind(&self) -> &dyn LossKind {
                match self {
                    $(Self::$variant(loss) => loss,)+
                }
            }

            /// This loss on a backend.
            pub fn as_loss<B: Backend>(&self) -> &dyn StudentLoss<B> {
                match self {
                    $(Self::$variant(loss) => loss,)+
                }
            }

            #[cfg(test)]
            fn defaults() -> Vec<Self> {
                vec![$(Self::$variant(Default::default())),+]
            }
        }
    };
}

losses! {
    CrossEntropy: cross_entropy::CrossEntropy,
    Attention: attention::Attention,
    GradientAttention: gradient_attention::GradientAttention,
    Logits: logits::Logits,
    SpikeDistillation: spike_distillation::SpikeDistillation,
    StepDistillation: step_distillation::StepDistillation,
    CumulativeLogits: cumulative_logits::CumulativeLogits,
    FiringRate: firing_rate::FiringRate,
    LogitRegularisation: logit_regularisation::LogitRegularisation,
}

impl LossConfig {
    /// The losses of the paper (Eq. 8), which a recipe without `student.losses` has: cross-entropy,
    /// of the mean logits, and attention at three taps.
    pub fn paper() -> Vec<Self> {
        vec![Self::CrossEntropy(CrossEntropy::default()), Self::Attention(Attention::default())]
    }

    /// What the student must return for all losses together.
    pub fn student_probes(losses: &[Self]) -> Probes {
        let probes = losses.iter().map(|loss| loss.as_kind().student_probes());
        probes.fold(Probes::NONE, Probes::union)
    }

    /// What the teacher must return for all losses together.
    pub fn teacher_probes(losses: &[Self]) -> Probes {
        let probes = losses.iter().map(|loss| loss.as_kind().teacher_probes());
        probes.fold(Probes::NONE, Probes::union)
    }

    /// The losses that need no teacher, in their order: those of a control without distillation.
    pub fn without_teacher(losses: &[Self]) -> Vec<Self> {
        losses.iter().filter(|loss| !loss.as_kind().needs_teacher()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Shape};

    use super::*;
    use crate::check::Subject;

    #[test]
    fn the_name_of_a_loss_is_its_kind_in_a_recipe() {
        let defaults = LossConfig::defaults();
        assert_eq!(defaults.len(), LossConfig::KINDS.len());
        for (loss, description) in defaults.iter().zip(LossConfig::KINDS) {
            assert_eq!(loss.name(), description.name);
            let json = serde_json::to_value(loss).unwrap();
            assert_eq!(json["kind"], description.name);
            assert_eq!(json["weight"], loss.as_kind().weight());
            let read: LossConfig = serde_json::from_value(json).unwrap();
            assert_eq!(&read, loss);
        }
    }

    #[test]
    fn a_recipe_can_leave_out_everything_but_the_kind() {
        for (loss, description) in LossConfig::defaults().into_iter().zip(LossConfig::KINDS) {
            let text = format!(r#"{{"kind": "{}"}}"#, description.name);
            assert_eq!(serde_json::from_str::<LossConfig>(&text).unwrap(), loss);
            let text = format!(r#"{{"kind": "{}", "wieght": 1}}"#, description.name);
            let error = serde_json::from_str::<LossConfig>(&text).unwrap_err().to_string();
            assert!(error.contains("wieght"), "{error}");
        }
    }

    #[test]
    fn every_temperature_has_a_range() {
        let layers = vec![Layer::conv(2), Layer::Classifier { bias: false }];
        let image = Shape { channels: 1, height: 8, width: 8 };
        let plan = Architecture { name: "net".into(), layers }.plan(image, 10).unwrap();
        let mut count = 0;
        for loss in LossConfig::defaults() {
            let mut json = serde_json::to_value(&loss).unwrap();
            if json.get("temperature").is_none() {
                continue;
            }
            count += 1;
            for temperature in [0.0, -1.0, 1e-7, 1e7] {
                json["temperature"] = temperature.into();
                let loss: LossConfig = serde_json::from_value(json.clone()).unwrap();
                let checked = loss.as_kind().check(Subject::spiking(&plan, 4), None);
                let error = checked.unwrap_err().to_string();
                let words = format!("`temperature` is {temperature}, expected a number above 0");
                assert!(error.starts_with(&words), "{}: {error}", loss.name());
            }
        }
        assert!(count >= 4, "losses with a temperature: {count}");
    }

    #[test]
    fn an_unknown_kind_is_refused_with_all_names() {
        let error = serde_json::from_str::<LossConfig>(r#"{"kind": "unheard-of"}"#).unwrap_err();
        for description in LossConfig::KINDS {
            assert!(error.to_string().contains(description.name), "{error}");
        }
    }

    #[test]
    fn a_control_has_the_losses_without_a_teacher() {
        let losses = LossConfig::without_teacher(&LossConfig::paper());
        assert_eq!(losses, [LossConfig::CrossEntropy(CrossEntropy::default())]);
    }
}
