//! What we want to reach, and whether a row reaches it.

use super::matrix::{Mode, NETS};
use super::row::{OURS, PYTORCH, Row};

/// One result of a row beside what we want it to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What is measured.
    pub what: &'static str,
    /// What was measured: how many times better lasnn is, or what twice the time steps cost.
    pub found: f64,
    /// The worst and the best round; none for memory, which is measured once.
    pub range: Option<(f64, f64)>,
    /// What must be reached.
    pub required: f64,
    /// What we aim for.
    pub aim: f64,
    /// Whether less is better.
    pub less_is_better: bool,
}

impl Target {
    /// How far the row got.
    pub fn verdict(&self) -> &'static str {
        let reaches = |wanted: f64| match self.less_is_better {
            true => self.found <= wanted,
            false => self.found >= wanted,
        };
        match (reaches(self.aim), reaches(self.required)) {
            (true, _) => "aim reached",
            (false, true) => "reached",
            (false, false) => "not reached",
        }
    }
}

/// The firing rate for which the targets are set, and how far a row's rate may be from it.
const RATE: f64 = 0.05;
const RATE_TOLERANCE: f64 = 0.005;

/// The number of time steps at which the memory of training has a target.
const MANY_STEPS: usize = 100;

/// All targets that apply to a row.
pub fn targets(row: &Row) -> Vec<Target> {
    let at_rate = row.firing_rate.is_some_and(|rate| (rate - RATE).abs() < RATE_TOLERANCE);
    let is_named = NETS.iter().any(|(net, _)| row.net == *net);
    let time = |what, required, aim| Target {
        what,
        found: row.ratio_median,
        range: Some((row.ratio_min, row.ratio_max)),
        required,
        aim,
        less_is_better: false,
    };
    if row.peer == OURS {
        return match row.setting.strip_prefix("T = ") {
            Some(_) => vec![Target {
                less_is_better: true,
                range: Some((row.ratio_max, row.ratio_min)),
                ..time("cost of twice the time steps", 2.0, 2.0)
            }],
            None => vec![time("two threads against one", 1.8, 1.95)],
        };
    }
    if row.peer == PYTORCH {
        return vec![time("training step of an ordinary network", 1.0, 1.5)];
    }
    let mut all = Vec::new();
    match row.mode {
        Mode::Infer if row.trained => all.push(time("inference, trained student", 5.0, 10.0)),
        Mode::Infer if at_rate && is_named => all.push(time("inference at 5 %", 5.0, 10.0)),
        Mode::Train if at_rate && is_named => all.push(time("training step at 5 %", 2.0, 4.0)),
        _ => {}
    }
    let memory = row.peer_peak_mib.zip(row.ours_peak_mib).map(|(theirs, ours)| theirs / ours);
    if let Some(found) = memory
        && row.mode == Mode::Train
        && row.time_steps == MANY_STEPS
    {
        let memory = time("memory of training at T = 100", 4.0, 10.0);
        all.push(Target { found, range: None, ..memory });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::row::tests::row;

    fn verdicts(row: &Row) -> Vec<(&'static str, &'static str)> {
        targets(row).iter().map(|target| (target.what, target.verdict())).collect()
    }

    #[test]
    fn inference_is_wanted_at_five_per_cent() {
        assert_eq!(verdicts(&row()), [("inference at 5 %", "reached")]);
        let fast = Row { ratio_median: 10.0, ..row() };
        assert_eq!(verdicts(&fast), [("inference at 5 %", "aim reached")]);
        let slow = Row { ratio_median: 4.9, ..row() };
        assert_eq!(verdicts(&slow), [("inference at 5 %", "not reached")]);
        assert_eq!(verdicts(&Row { firing_rate: Some(0.2), ..row() }), []);
    }

    #[test]
    fn a_trained_network_counts_at_its_own_rate() {
        let student = Row { net: "narrow".into(), trained: true, firing_rate: Some(0.09), ..row() };
        assert_eq!(verdicts(&student), [("inference, trained student", "reached")]);
    }

    #[test]
    fn memory_is_wanted_at_many_steps_of_training() {
        let many = Row { mode: Mode::Train, time_steps: 100, ..row() };
        let expected =
            [("training step at 5 %", "aim reached"), ("memory of training at T = 100", "reached")];
        assert_eq!(verdicts(&many), expected);
    }

    #[test]
    fn an_ordinary_network_is_to_be_as_fast_as_pytorch() {
        let ordinary = Row { peer: PYTORCH.into(), firing_rate: None, ..row() };
        let verdict = |ratio_median| verdicts(&Row { ratio_median, ..ordinary.clone() })[0].1;
        assert_eq!(
            [verdict(0.9), verdict(1.0), verdict(1.5)],
            ["not reached", "reached", "aim reached"]
        );
    }

    #[test]
    fn twice_the_steps_may_cost_twice_and_no_more() {
        let doubled = |ratio_median| Row {
            peer: OURS.into(),
            setting: "T = 16".into(),
            ratio_median,
            ..row()
        };
        let what = "cost of twice the time steps";
        assert_eq!(verdicts(&doubled(2.0)), [(what, "aim reached")]);
        assert_eq!(verdicts(&doubled(2.1)), [(what, "not reached")]);
        let one = Row { setting: "1 thread".into(), ..doubled(1.9) };
        assert_eq!(verdicts(&one), [("two threads against one", "reached")]);
    }
}
