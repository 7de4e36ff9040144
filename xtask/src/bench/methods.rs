//! `cargo xtask bench methods`: what each loss of the student costs beside the cross-entropy, in
//! time and in memory. `bench pair` does this for trained parameters of neurons.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::destination::DestinationArguments;
use super::environment::build;
use super::machine::Machine;
use super::statistics::median;
use crate::markdown::wrap;
use crate::workspace::{Workspace, replace_file, run_for_output};

/// The networks of the paper that a training step is measured with.
const NETS: [&str; 2] = ["vgg5", "resnet12"];

/// Time steps, and as many images as make a step last some seconds at most.
const SIZES: [(usize, usize); 2] = [(8, 64), (100, 16)];

#[derive(clap::Args)]
pub struct MethodsArguments {
    /// The number of pairs of each comparison
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// A network by its name, in place of vgg5 and resnet12; may be repeated
    #[arg(long)]
    net: Vec<String>,
    /// A number of time steps, in place of 8 and 100; may be repeated
    #[arg(long)]
    time_steps: Vec<usize>,
    /// A loss as JSON, in place of all; may be repeated
    #[arg(long)]
    loss: Vec<String>,
    /// Also print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    destination: DestinationArguments,
}

/// All rows of a measurement.
#[derive(Serialize)]
struct Report {
    machine: String,
    date: String,
    commit: String,
    command: String,
    rows: Vec<Row>,
}

/// What one loss costs in one network.
#[derive(Serialize)]
struct Row {
    net: String,
    time_steps: usize,
    batch: usize,
    /// The loss as JSON.
    loss: String,
    /// The median seconds of a step with cross-entropy alone.
    plain_seconds: f64,
    /// The median seconds of a step with the loss, without the pass of the teacher.
    loss_seconds: f64,
    /// The median seconds of the teacher's pass; 0 if the loss needs no teacher.
    teacher_seconds: f64,
    /// The time of a step with the loss and without the teacher's pass, divided by that of a plain
    /// step: in the median, the best and the worst pair.
    ratio: [f64; 3],
    /// The peak memory with cross-entropy alone, in MiB.
    plain_peak_mib: f64,
    /// The peak memory with the loss, in MiB; a teacher is included.
    loss_peak_mib: f64,
}

#[derive(Deserialize)]
struct Times {
    plain_seconds: Vec<f64>,
    loss_seconds: Vec<f64>,
    teacher_seconds: Vec<f64>,
}

#[derive(Deserialize)]
struct Peak {
    peak_mib: f64,
}

/// Measures all losses, and writes a folder with the report.
///
/// # Errors
///
/// If the program of the steps fails, or the folder cannot be written.
#[allow(clippy::print_stdout, reason = "the report is what the command is for")]
pub fn methods(workspace: &Workspace, arguments: &MethodsArguments) -> anyhow::Result<()> {
    let machine = Machine::here(workspace)?;
    let folder = arguments.destination.new_folder(&workspace.root, "method-costs", &machine)?;
    let program = build(workspace, "snn-step")?;
    let losses = match &arguments.loss[..] {
        [] => listed(&program)?,
        losses => losses.to_vec(),
    };
    let nets = match &arguments.net[..] {
        [] => NETS.map(str::to_owned).to_vec(),
        nets => nets.to_vec(),
    };
    let sizes: Vec<(usize, usize)> = match &arguments.time_steps[..] {
        [] => SIZES.to_vec(),
        steps => steps.iter().map(|&steps| (steps, if steps > 16 { 16 } else { 64 })).collect(),
    };
    let mut rows = Vec::new();
    for net in &nets {
        for &(time_steps, batch) in &sizes {
            let case = Case { program: &program, net, time_steps, batch };
            let plain_peak = case.peak(None)?;
            for loss in &losses {
                let row = case.measure(loss, arguments.pairs, plain_peak)?;
                eprintln!("{}", line(&row).trim_end());
                rows.push(row);
            }
        }
    }
    let report = Report {
        machine: machine.kind(),
        date: machine.date,
        commit: machine.commit,
        command: command(arguments),
        rows,
    };
    let text = serde_json::to_string_pretty(&report)? + "\n";
    if arguments.json {
        print!("{text}");
    }
    folder.create()?;
    replace_file(&folder.path.join("methods.json"), &text)?;
    replace_file(&folder.path.join("README.md"), &readme(&report))?;
    eprintln!("wrote {}", folder.path.join("README.md").display());
    Ok(())
}

/// A network with which losses are measured.
struct Case<'a> {
    program: &'a Path,
    net: &'a str,
    time_steps: usize,
    batch: usize,
}

impl Case<'_> {
    fn measure(&self, loss: &str, pairs: usize, plain_peak_mib: f64) -> anyhow::Result<Row> {
        let Times { plain_seconds, loss_seconds, teacher_seconds } =
            self.run(&["--loss", loss, "--pairs", &pairs.to_string()])?;
        let own: Vec<f64> =
            loss_seconds.iter().zip(&teacher_seconds).map(|(all, teacher)| all - teacher).collect();
        let mut ratios: Vec<f64> =
            own.iter().zip(&plain_seconds).map(|(own, plain)| own / plain).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios.first().copied(), ratios.last().copied());
        Ok(Row {
            net: self.net.into(),
            time_steps: self.time_steps,
            batch: self.batch,
            loss: loss.into(),
            plain_seconds: median(&plain_seconds),
            loss_seconds: median(&own),
            teacher_seconds: median(&teacher_seconds),
            ratio: [median(&ratios), least.unwrap_or(f64::NAN), most.unwrap_or(f64::NAN)],
            plain_peak_mib,
            loss_peak_mib: self.peak(Some(loss))?,
        })
    }

    fn peak(&self, loss: Option<&str>) -> anyhow::Result<f64> {
        let mut arguments = vec!["--peak"];
        arguments.extend(loss.iter().flat_map(|loss| ["--loss", loss]));
        Ok(self.run::<Peak>(&arguments)?.peak_mib)
    }

    fn run<T: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<T> {
        let mut command = Command::new(self.program);
        command.args(["losses", "--net", self.net]);
        command.args(["--time-steps", &self.time_steps.to_string()]);
        command.args(["--batch", &self.batch.to_string()]).args(arguments);
        let output = run_for_output(command)?;
        serde_json::from_str(&output).with_context(|| format!("the output of snn-step: {output}"))
    }
}

/// The losses that the program can measure.
fn listed(program: &Path) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new(program);
    command.args(["losses", "--list"]);
    Ok(run_for_output(command)?.lines().map(str::to_owned).collect())
}

/// The command as a reader would type it.
fn command(arguments: &MethodsArguments) -> String {
    let mut command = format!("cargo xtask bench methods --pairs {}", arguments.pairs);
    let mut add = |text: String| command.push_str(&text);
    arguments.net.iter().for_each(|net| add(format!(" --net {net}")));
    arguments.time_steps.iter().for_each(|steps| add(format!(" --time-steps {steps}")));
    arguments.loss.iter().for_each(|loss| add(format!(" --loss '{loss}'")));
    if let Some(suffix) = &arguments.destination.suffix {
        add(format!(" --suffix {suffix}"));
    }
    command
}

fn readme(report: &Report) -> String {
    let Report { machine, date, commit, command, rows } = report;
    let summary = format!(
        "Each loss of the student was added to the cross-entropy on the mean logits, on {machine}."
    );
    let lines: String = rows.iter().map(line).collect();
    format!(
        "# What the losses of a student cost\n\n{}\n\n    {command}\n\n\
         - **Date and commit:** {date}, commit {commit}.\n\
         - **Files:** [methods.json](methods.json) has the same numbers.\n\n{HOW}\n{HEAD}{lines}",
        wrap(&summary, 0, 100),
    )
}

const HOW: &str = "\
## How it was measured

A training step in bfloat16 has a forward pass, the losses, a backward pass and Adam. The images and
the weights are random, and every layer fires at a rate of 0.1. Steps without and with the loss take
turns in one process, and the pass of the teacher (`teacher-resnet20`) is timed on its own in each
turn.
\"Time\" is the time of a step with the loss and without the teacher's pass, divided by that of a
step with cross-entropy alone: in the median pair and, in brackets, in the least and the most
expensive one.
\"Memory\" is the peak of a process that makes two steps, divided by that of a process with
cross-entropy alone. It includes the teacher.

## Results
";

const HEAD: &str = "
| network | T | images | loss | plain step | time | teacher's pass | memory |
|---|---|---|---|---|---|---|---|
";

fn line(row: &Row) -> String {
    let [ratio, least, most] = row.ratio;
    let loss = row.loss.replace(['{', '}', '"'], "").replace("kind:", "").replace(',', ", ");
    let teacher = match row.teacher_seconds * 1e3 {
        milliseconds if milliseconds < 0.05 => "-".into(),
        milliseconds => format!("{milliseconds:.0} ms"),
    };
    format!(
        "| {} | {} | {} | `{loss}` | {:.0} ms | {ratio:.2} ({least:.2} to {most:.2}) | {teacher} | \
         {:.2} |\n",
        row.net,
        row.time_steps,
        row.batch,
        row.plain_seconds * 1e3,
        row.loss_peak_mib / row.plain_peak_mib
    )
}
