//! What we want to reach, and whether a row does.

use super::matrix::{Mode, NETS};
use super::row::{OURS, PYTORCH, Row};

/// A row measured against what we want.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What is measured.
    pub what: &'static str,
    /// What was found: how many times better we are, or what twice the steps cost.
    pub found: f64,
    /// What must be reached.
    pub reach: f64,
    /// What we aim for.
    pub aim: f64,
    /// Whether less is better.
    pub less: bool,
}

impl Target {
    /// How far the row got.
    pub fn verdict(&self) -> &'static str {
        let got = |wanted: f64| match self.less {
            true => self.found <= wanted,
            false => self.found >= wanted,
        };
        match (got(self.aim), got(self.reach)) {
            (true, _) => "aim reached",
            (false, true) => "reached",
            (false, false) => "not reached",
        }
    }
}

/// The rate at which the targets hold, and how near to it a row must be.
const RATE: f64 = 0.05;
const NEAR: f64 = 0.005;

/// Training over so many steps is where memory counts.
const MANY_STEPS: usize = 100;

/// What is wanted of a row.
pub fn targets(row: &Row) -> Vec<Target> {
    let at_rate = row.firing_rate.is_some_and(|rate| (rate - RATE).abs() < NEAR);
    let named = NETS.iter().any(|(net, _)| row.net == *net);
    let more = |what, reach, aim| Target { what, found: row.ratio_median, reach, aim, less: false };
    if row.peer == OURS {
        return match row.setting.strip_prefix("T = ") {
            Some(_) => {
                let (what, found) = ("cost of twice the time steps", row.ratio_median);
                vec![Target { what, found, reach: 2.0, aim: 2.0, less: true }]
            }
            None => vec![more("two threads against one", 1.8, 1.95)],
        };
    }
    if row.peer == PYTORCH {
        return vec![more("training step of an ordinary network", 1.0, 1.5)];
    }
    let mut all = Vec::new();
    match row.mode {
        Mode::Infer if row.trained => all.push(more("inference, trained student", 5.0, 10.0)),
        Mode::Infer if at_rate && named => all.push(more("inference at 5 %", 5.0, 10.0)),
        Mode::Train if at_rate && named => all.push(more("training step at 5 %", 2.0, 4.0)),
        _ => {}
    }
    let memory = row.peer_peak_mib.zip(row.ours_peak_mib).map(|(theirs, ours)| theirs / ours);
    if let Some(found) = memory
        && row.mode == Mode::Train
        && row.time_steps == MANY_STEPS
    {
        let what = "memory of training at T = 100";
        all.push(Target { what, found, reach: 4.0, aim: 10.0, less: false });
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
