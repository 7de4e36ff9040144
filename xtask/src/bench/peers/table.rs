//! The rows as a person reads them.

use std::fmt::Write;

use super::row::{OURS, Row};
use super::target::targets;
use crate::bench::machine::Machine;

/// What `README.md` says: how it was measured, what was wanted, what was found.
pub fn readme(rows: &[Row], machine: &Machine, command: &str) -> String {
    let mut text = format!(
        "# Our spiking networks beside SpikingJelly and snnTorch\n\n\
         Written by `{command}`; `peers.json` has the same rows, each with the commit that was measured.\n\n\
         - Machine of the last run: {}, {} GiB\n\
         - Date: {}\n\
         - Commit: {}\n\n",
        machine.kind(),
        machine.memory_gib,
        machine.date,
        machine.commit
    );
    text.push_str(HOW);
    let mut kinds: Vec<&str> = Vec::new();
    for row in rows {
        if !kinds.contains(&row.machine.as_str()) {
            kinds.push(&row.machine);
        }
    }
    for kind in kinds {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.machine == kind).collect();
        text.push_str(&format!("\n## {kind}\n\n### Targets\n\n"));
        text.push_str(&target_table(&rows));
        text.push_str("\n### Times and memory\n\n");
        text.push_str(&time_table(&rows));
        text.push_str("\n### Settings of the peers\n\n");
        text.push_str(&setting_table(&rows));
    }
    text
}

const HOW: &str = "\
Both sides read the same weights, thresholds and images from one file and take turns, step by step, on the same threads. A \
ratio is the peer's time over ours within one round; given are the median round and, in brackets, the worst and the best. Memory is the peak of \
resident memory of the whole process during the rounds, so it contains the interpreter and the libraries of a peer, its compiler \
where it has compiled. \
Firing rates are spikes per neuron and time step. Neurons are integrate-and-fire with reset by subtraction, without dropout. \
A training step is forward, cross-entropy, backward and Adam. Before the rounds both sides compute the same input, the peer in fp32 and plain layout whatever the setting that is timed: \
the table gives the largest difference of a layer's numbers of spikes (until commit 0535ad9 of all images together, since then image by image), and the share of images of the same class. What differs by more than 0.5 %, or gives \
less than three quarters of the images the same class, is not compared, nor what differs by more than 10 % where ours rounds its weights, which makes another network of random ones; until then the limits were 2 and 5 % (`int12` and `bf16`: `docs/recipes.md` says what they are; until commit 8f1b7fe `bf16` was the pass back alone in training). Under Poisson encoding the peers get their input spikes ready-made; ours draws them within the step. \
Ordinary networks are compared with PyTorch in the same way, but process by process, and without a look at memory.

The last table of each machine has the milliseconds of the fastest of a few steps, each setting in a process of its own; the fastest one was then \
measured in turns. `bf16` is autocast, `nhwc` channels last, `steps` one time step after the other instead of \
layer by layer, `compiled` is `torch.compile` (with frozen weights in inference). A setting without a time failed, or its \
compilation took more than four minutes, as that of training over 100 unrolled steps does, or `bf16` alone took four times as long as the \
fastest, as where the processor has no products of bfloat16.
";

fn target_table(rows: &[&Row]) -> String {
    let mut table = "| what | network | our numbers | against | wanted | aim | found | |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        for target in targets(row) {
            let sign = if target.less_is_better { "at most " } else { "" };
            let line = writeln!(
                table,
                "| {} | {} | {} | {} | {sign}{}x | {sign}{}x | {:.2}x | {} |",
                target.what,
                row.network(),
                row.format.name(),
                against(row),
                target.required,
                target.aim,
                target.found,
                target.verdict()
            );
            infallible(line);
        }
    }
    table
}

fn time_table(rows: &[&Row]) -> String {
    let mut table = "| network | mode | T | batch | rate | our numbers | against | setting | ours, ms | theirs, ms | ratio | \
                     ours, MiB | theirs, MiB | spikes differ | same class |\n\
                     |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mib = |mib: Option<f64>| mib.map_or_else(String::new, |mib| format!("{mib:.0}"));
    let share = |share: Option<f64>| share.map_or_else(String::new, percent);
    for row in rows {
        let line = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.2} ({:.2} to {:.2}) | {} | {} | {} | {} |",
            row.network(),
            row.mode.name(),
            row.time_steps,
            row.batch,
            row.firing_rate.map_or_else(String::new, |rate| format!("{:.1} %", 100.0 * rate)),
            row.format.name(),
            row.peer,
            row.setting,
            row.ours_ms,
            row.peer_ms,
            row.ratio_median,
            row.ratio_min,
            row.ratio_max,
            mib(row.ours_peak_mib),
            mib(row.peer_peak_mib),
            share(row.spike_difference),
            share(row.same_classes),
        );
        infallible(line);
    }
    table
}

/// One line for each choice of a setting, which serves all firing rates.
fn setting_table(rows: &[&Row]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| row.peer != OURS) {
        let mut tried: Vec<_> = row.settings_ms.iter().collect();
        tried.sort_by(|a, b| a.1.unwrap_or(f64::MAX).total_cmp(&b.1.unwrap_or(f64::MAX)));
        let tried: Vec<String> = tried
            .into_iter()
            .map(|(setting, ms)| match ms {
                Some(ms) => format!("{setting} {ms:.0}"),
                None => format!("{setting} none"),
            })
            .collect();
        let line = format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.network(),
            row.mode.name(),
            row.time_steps,
            row.batch,
            row.peer,
            tried.join(", ")
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    format!(
        "| network | mode | T | batch | peer | tried, ms |\n|---|---|---|---|---|---|\n{}",
        lines.concat()
    )
}

fn against(row: &Row) -> String {
    match row.peer.as_str() {
        OURS => format!("itself, {}", row.setting),
        peer => format!("{peer}, T = {}, batch {}", row.time_steps, row.batch),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Writing into a string cannot fail.
fn infallible(result: std::fmt::Result) {
    debug_assert!(result.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::row::tests::row;

    fn machine() -> Machine {
        Machine {
            processor: "Abacus 9".into(),
            cores: 2,
            memory_gib: 16,
            date: "2031-02-03".into(),
            commit: "0123456".into(),
        }
    }

    #[test]
    fn the_document_names_machine_command_and_verdict() {
        let text = readme(&[row()], &machine(), "cargo xtask bench peers");
        for part in [
            "Abacus 9, 2 cores, 16 GiB",
            "## Abacus 9, 2 cores",
            "2031-02-03",
            "`cargo xtask bench peers`",
            "| inference at 5 % | vgg5, direct | f32 | snntorch, T = 8, batch 16 | 5x | 10x | 6.00x | reached |",
            "| 10.0 | 60.0 | 6.00 (5.50 to 7.00) | 250 | 1000 | 0.00 % | 100.00 % |",
            "| snntorch | bf16-nhwc 61, fp32 none |",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }

    #[test]
    fn a_choice_of_settings_is_shown_once() {
        let (one, other) = (row(), Row { firing_rate: Some(0.2), ..row() });
        assert_eq!(setting_table(&[&one, &other]).matches("fp32 none").count(), 1);
    }
}
