//! The names of stages.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The greatest length of a name, which is part of names of files.
const LONGEST: usize = 64;

/// The name of a stage, which is also the name of the network that the stage makes.
///
/// Files and folders have this name, so it consists of letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StageName(Cow<'static, str>);

/// A text that is no name of a stage.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{found:?} is no name of a stage, expected at most {LONGEST} letters, digits, `-` and `_`, and \
     no `-` at the beginning"
)]
pub struct InvalidName {
    /// The text.
    found: String,
}

impl StageName {
    /// The network that the student learns from.
    pub const TEACHER: Self = Self(Cow::Borrowed("teacher"));
    /// The network that is converted into the student.
    pub const INTERMEDIATE: Self = Self(Cow::Borrowed("intermediate"));
    /// The spiking network before training.
    pub const CONVERTED: Self = Self(Cow::Borrowed("converted"));
    /// The spiking network that is trained.
    pub const STUDENT: Self = Self(Cow::Borrowed("student"));
    /// The spiking network that is trained without distillation.
    pub const CONTROL: Self = Self(Cow::Borrowed("control"));
    /// No stage: the start of a student whose weights are drawn.
    pub const RANDOM: Self = Self(Cow::Borrowed("random"));

    /// The stages that a recipe has without a table `[stages]`.
    pub const STANDARD: [Self; 5] =
        [Self::TEACHER, Self::INTERMEDIATE, Self::CONVERTED, Self::STUDENT, Self::CONTROL];

    /// The name that files, messages and the command line use.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a stage in `[stages]` cannot have this name. Names that differ only in capital
    /// letters are the same file on some systems.
    pub fn is_reserved(&self) -> bool {
        let names = Self::STANDARD.into_iter().chain([Self::RANDOM]);
        let mut all = names.flat_map(|name| [name.in_summary().to_owned(), name.0.into_owned()]);
        all.any(|name| name.eq_ignore_ascii_case(self.as_str()))
    }

    /// The name that `summary.json` and `metrics.jsonl` use.
    pub fn in_summary(&self) -> &str {
        match self.as_str() {
            "converted" => "conversion",
            "control" => "student_without_distillation",
            other => other,
        }
    }

    /// The stage with this key in `summary.json`. `None` if the key is no name.
    pub fn from_summary(key: &str) -> Option<Self> {
        let standard = Self::STANDARD.into_iter().find(|name| name.in_summary() == key);
        standard.or_else(|| key.parse().ok())
    }

    /// Whether a stage of [`STANDARD`](Self::STANDARD) makes a spiking network. `None` for other
    /// names.
    pub fn is_spiking_by_name(&self) -> Option<bool> {
        let is_ann = *self == Self::TEACHER || *self == Self::INTERMEDIATE;
        Self::STANDARD.contains(self).then_some(!is_ann)
    }

    /// The name in a table for a person. `is_spiking` and `is_distilled` describe the network:
    /// whether it spikes, and whether it has learned from a teacher.
    pub fn title(&self, is_spiking: bool, is_distilled: bool) -> String {
        match (self.as_str(), is_spiking) {
            ("teacher", _) => "teacher".into(),
            ("intermediate", _) => "intermediate ANN".into(),
            ("converted", _) => "converted SNN, not trained".into(),
            ("control", _) => "SNN without distillation".into(),
            ("student", _) if is_distilled => "distilled SNN".into(),
            ("student", _) => "trained SNN".into(),
            (name, true) => format!("SNN `{name}`"),
            (name, false) => format!("ANN `{name}`"),
        }
    }

    /// The place in the order of a report, in which the result of a run comes last. Stages of
    /// `[stages]` with the same place are reported in the order in which they run.
    pub fn rank(&self, is_spiking: bool) -> u8 {
        match (self.as_str(), is_spiking) {
            ("teacher", _) => 0,
            ("intermediate", _) => 2,
            ("converted", _) => 3,
            ("control", _) => 4,
            ("student", _) => 5,
            (_, false) => 1,
            (_, true) => 6,
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<String> for StageName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let fits = !name.is_empty() && name.len() <= LONGEST && !name.starts_with('-');
        match fits && name.chars().all(allowed) {
            true => Ok(Self(Cow::Owned(name))),
            false => Err(InvalidName { found: name }),
        }
    }
}

impl FromStr for StageName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        name.to_owned().try_into()
    }
}

impl From<StageName> for String {
    fn from(name: StageName) -> Self {
        name.0.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_and_no_option() {
        for name in ["longer", "Longer_2", "a-b", "7", "_"] {
            assert_eq!(name.parse::<StageName>().unwrap().to_string(), name);
        }
        let long = "a".repeat(LONGEST + 1);
        for name in ["", "..", "a/b", "a\\b", "a.b", "-a", "a b", "größer", "a\0", &long] {
            let error = name.parse::<StageName>().unwrap_err().to_string();
            assert!(error.contains("expected at most 64 letters"), "{error}");
        }
        assert!(serde_json::from_str::<StageName>("\"../a\"").is_err());
    }

    #[test]
    fn names_of_the_standard_stages_are_reserved() {
        for name in ["student", "Student", "conversion", "student_without_distillation", "random"] {
            assert!(name.parse::<StageName>().unwrap().is_reserved(), "{name}");
        }
        assert!(!"longer".parse::<StageName>().unwrap().is_reserved());
    }

    #[test]
    fn a_stage_is_found_by_its_key_in_the_summary() {
        for name in StageName::STANDARD {
            assert_eq!(StageName::from_summary(name.in_summary()), Some(name));
        }
        assert_eq!(StageName::from_summary("longer").unwrap().as_str(), "longer");
        assert_eq!(StageName::from_summary("a/b"), None);
    }

    #[test]
    fn the_title_says_what_a_network_has_learned_from() {
        assert_eq!(StageName::STUDENT.title(true, true), "distilled SNN");
        assert_eq!(StageName::STUDENT.title(true, false), "trained SNN");
        let longer: StageName = "longer".parse().unwrap();
        assert_eq!(longer.title(true, true), "SNN `longer`");
        assert_eq!(longer.title(false, false), "ANN `longer`");
    }
}
