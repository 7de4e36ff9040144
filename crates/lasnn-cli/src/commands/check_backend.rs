//! `check-backend`: compares the kernels of a backend with their reference, on this device.

use std::fmt::{Debug, Display};

use anyhow::bail;
use lasnn_backend::parity::{DenseCase, DenseComparison, compare_dense};
use lasnn_neurons::parity::{Comparison, compare};
use lasnn_neurons::{ParityCase, ParityError};
use lasnn_snn::{NetworkCase, NetworkComparison, NetworkError, compare_network};
use serde::Serialize;

use crate::args::Global;
use crate::device::{Job, TrainingBackend};
use crate::output;
use crate::signals::{self, Interrupted};
use crate::tables::table;

/// The backend to check.
pub struct Check<'a> {
    /// The global options, which name the backend.
    pub global: &'a Global,
}

/// The result of one comparison.
#[derive(Serialize)]
struct Row {
    case: String,
    right: bool,
    /// The reason why the comparison failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    spikes: Option<usize>,
    differing_spikes: Option<usize>,
    gradient_error: Option<f64>,
    /// The error of the outputs of dense operations, of membrane potentials, or of class scores.
    value_error: Option<f64>,
}

/// The results of all comparisons.
#[derive(Serialize)]
struct Rows {
    backend: &'static str,
    right: bool,
    cases: Vec<Row>,
}

impl Job for Check<'_> {
    /// Makes all comparisons and prints their results.
    ///
    /// # Errors
    ///
    /// Fails if a comparison fails, after all results are printed.
    fn run<A: TrainingBackend>(&self, device: &A::Device) -> anyhow::Result<()> {
        let dense = DenseCase::all().into_iter().map(|case| dense_row::<A>(case, device));
        let neurons = ParityCase::all()
            .into_iter()
            .map(|case| neuron_row(case, compare::<A::InnerBackend>(case, device)));
        let networks = NetworkCase::ALL
            .into_iter()
            .map(|case| network_row(case, compare_network::<A>(case, device)));
        let all = dense.chain(neurons).chain(networks);
        let cases: Vec<Row> = all.take_while(|_| !signals::stopped()).collect();
        Interrupted::check()?;
        let wrong = cases.iter().filter(|row| !row.right).count();
        let rows = Rows { backend: self.global.backend.name(), right: wrong == 0, cases };
        output::print(self.global, &rows, || text(&rows))?;
        if wrong > 0 {
            bail!("{wrong} of {} comparisons on `{}` are wrong", rows.cases.len(), rows.backend);
        }
        Ok(())
    }
}

fn dense_row<A: TrainingBackend>(case: DenseCase, device: &A::Device) -> Row {
    let result = compare_dense::<A::InnerBackend>(case, device);
    let error = failure(
        &result,
        DenseComparison::is_right,
        "the result differs from the reference, or between repetitions",
    );
    let comparison = result.ok();
    Row {
        case: case.to_string(),
        right: error.is_none(),
        error,
        spikes: None,
        differing_spikes: None,
        gradient_error: comparison.and_then(|found| found.gradient_error),
        value_error: comparison.map(|found| found.value_error),
    }
}

fn neuron_row(case: ParityCase, result: Result<Comparison, ParityError>) -> Row {
    let error = result.as_ref().err().map(ToString::to_string);
    let comparison = match result {
        Ok(found)
        | Err(
            ParityError::Spikes(found)
            | ParityError::Gradient(found)
            | ParityError::Membrane(found),
        ) => Some(found),
        Err(ParityError::Device { .. }) => None,
    };
    Row {
        case: case.to_string(),
        right: error.is_none(),
        error,
        spikes: comparison.map(|found| found.spikes),
        differing_spikes: comparison.map(|found| found.differing_spikes),
        gradient_error: comparison.map(|found| found.gradient_error),
        value_error: comparison.map(|found| found.membrane_error),
    }
}

fn network_row(case: NetworkCase, result: Result<NetworkComparison, NetworkError>) -> Row {
    let error = failure(
        &result,
        NetworkComparison::is_right,
        "the result differs from that of the layer-by-layer reference",
    );
    let comparison = result.ok();
    Row {
        case: case.to_string(),
        right: error.is_none(),
        error,
        spikes: comparison.map(|found| found.spikes),
        differing_spikes: comparison.map(|found| found.differing),
        gradient_error: comparison.map(|found| found.gradient_error),
        value_error: comparison.map(|found| found.logit_error),
    }
}

/// The reason why a comparison failed, or `None`.
fn failure<T: Debug, E: Display>(
    result: &Result<T, E>,
    is_right: impl Fn(&T) -> bool,
    wrong: &str,
) -> Option<String> {
    match result {
        Ok(found) if is_right(found) => None,
        Ok(found) => Some(format!("{wrong}: {found:?}")),
        Err(error) => Some(error.to_string()),
    }
}

fn text(rows: &Rows) -> String {
    let mut table =
        table(&["case", "spikes", "differing", "gradient error", "value error", "verdict"]);
    let number = |value: Option<usize>| value.map_or("-".into(), |value| value.to_string());
    let error = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1e}"));
    for row in &rows.cases {
        table.add_row([
            row.case.clone(),
            number(row.spikes),
            number(row.differing_spikes),
            error(row.gradient_error),
            error(row.value_error),
            if row.right { "right".into() } else { "WRONG".into() },
        ]);
    }
    let right = rows.cases.iter().filter(|row| row.right).count();
    format!("{table}\n{right} of {} comparisons on `{}` are right", rows.cases.len(), rows.backend)
}
