//! The README.md of a campaign.

use super::campaign::Refused;
use super::row::{OURS, PYTORCH, Row};
use super::target::targets;
use crate::bench::machine::Machine;
use crate::markdown::wrap;

const WIDTH: usize = 100;

/// How the campaign was measured, the targets, and all rows.
pub fn readme(rows: &[Row], refused: &[Refused], machine: &Machine, command: &str) -> String {
    let kind = machine.kind();
    let summary = format!("Steps of lasnn were timed in turns with {} on {kind}.", peers(rows));
    let machine_line = format!("- **Machine:** {kind}, {} GiB.", machine.memory_gib);
    let rows: Vec<&Row> = rows.iter().collect();
    let mut text = format!(
        "# Speed and memory of lasnn compared with its peers\n\n\
         {}\n\n    {command}\n\n\
         - **Date and commit:** {}, commit {}.\n\
         {}\n\
         - **Files:** [peers.json](peers.json) has the same rows.\n\n{HOW}",
        wrap(&summary, 0, WIDTH),
        machine.date,
        machine.commit,
        wrap(&machine_line, 2, WIDTH),
    );
    for (title, table) in [
        ("Targets", target_table(&rows)),
        ("Times and memory", time_table(&rows)),
        ("Not compared", refused_list(refused)),
        ("Settings of the peers", setting_table(&rows)),
    ] {
        if !table.is_empty() {
            text.push_str(&format!("\n## {title}\n\n{table}"));
        }
    }
    text
}

const HOW: &str = "\
## How it was measured

Both sides read the same weights, thresholds and images from one file.
They take turns: in each round both run one step, on the same number of threads.
A ratio is the peer's time divided by the time of lasnn, in the same round.
The tables give the ratio of the median round and, in brackets, of the worst and the best round.

A firing rate is the number of spikes per neuron and time step.
All neurons are integrate-and-fire neurons with reset by subtraction, and there is no dropout.
A training step is a forward pass, cross-entropy, a backward pass and an update with Adam.
Under Poisson encoding the peers get input spikes that were drawn before; lasnn draws them in the
step.
`docs/recipes.md` explains the number formats `int12` and `bf16` of lasnn.

Memory is the peak of resident memory of the whole process during the rounds.
The memory of a peer includes its interpreter, its libraries and, where it compiles, its compiler.

Before the rounds both sides compute the same input, and their spikes and classes are compared.
The peer does this in fp32 with the default memory layout, whatever setting is timed.
\"Spikes differ\" is the largest difference of a layer: the differences between the spike counts of
each image, added up, as a share of the layer's spikes.
\"Same class\" is the share of images to which both sides give the same class.
A comparison is not timed if the spikes differ by more than 0.5 %, or if fewer than three quarters
of the images have the same class.
If lasnn rounds its weights (`int12`, `bf16`), the only limit is a difference of 10 %: rounded
random weights are another network, with other spikes and classes.

Ordinary networks are compared with PyTorch.
For them whole processes take turns, not single steps, and memory is not measured.

## The settings of a peer

A peer is timed in its fastest setting.
To find it, a few steps are timed in every setting, in a process of its own; the last table has the
fastest of these steps.
A setting is a number format, followed by any of the options below.
The format is `fp32` or, with autocast, `bf16`, which is `bfloat16` for ordinary networks.

- `nhwc`: the memory layout channels last.
- `steps`: one time step after the other, in place of layer by layer.
- `fused`: PyTorch's fused optimiser.
- `compiled`: `torch.compile`, with frozen weights in inference.

A setting has no time for one of three reasons:

- It failed.
- Its compilation took more than four minutes, as it does for training over 100 time steps.
- Its number format alone took four times as long as the fastest setting, as `bf16` does on
  processors without products of bfloat16.
";

/// The names of all other sides.
fn peers(rows: &[Row]) -> String {
    let names = [
        ("spikingjelly", "SpikingJelly"),
        ("snntorch", "snnTorch"),
        (PYTORCH, "PyTorch"),
        (OURS, "itself"),
    ];
    let has = |peer: &str| rows.iter().any(|row| row.peer == peer);
    let names: Vec<&str> =
        names.iter().filter(|(peer, _)| has(peer)).map(|(_, name)| *name).collect();
    match names.split_last() {
        None => "its peers".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

fn refused_list(refused: &[Refused]) -> String {
    refused.iter().map(|refused| wrap(&format!("- {}", refused.reason), 2, WIDTH) + "\n").collect()
}

fn target_table(rows: &[&Row]) -> String {
    let mut table = "| what | network | numbers | against | required | aim | found | |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        for target in targets(row) {
            let sign = if target.less_is_better { "at most " } else { "" };
            table.push_str(&format!(
                "| {} | {} | {} | {} | {sign}{}x | {sign}{}x | {:.2}x | {} |\n",
                target.what,
                row.network(),
                row.format.name(),
                against(row),
                target.required,
                target.aim,
                target.found,
                target.verdict()
            ));
        }
    }
    table
}

const TIME_TABLE_HEAD: &str = "\
| network | mode | T | batch | rate | numbers | against | setting | ours, ms | theirs, ms | ratio \
| ours, MiB | theirs, MiB | spikes differ | same class |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

fn time_table(rows: &[&Row]) -> String {
    let mut table = TIME_TABLE_HEAD.to_owned();
    let percent = |share: f64, digits| format!("{:.digits$} %", 100.0 * share);
    let share = |share: Option<f64>| share.map_or_else(String::new, |share| percent(share, 2));
    let mib = |mib: Option<f64>| mib.map_or_else(String::new, |mib| format!("{mib:.0}"));
    for row in rows {
        let cells = [
            row.network(),
            row.mode.name().to_owned(),
            row.time_steps.to_string(),
            row.batch.to_string(),
            row.firing_rate.map_or_else(String::new, |rate| percent(rate, 1)),
            row.format.name().to_owned(),
            row.peer.clone(),
            row.setting.clone(),
            format!("{:.1}", row.ours_ms),
            format!("{:.1}", row.peer_ms),
            format!("{:.2} ({:.2} to {:.2})", row.ratio_median, row.ratio_min, row.ratio_max),
            mib(row.ours_peak_mib),
            mib(row.peer_peak_mib),
            share(row.spike_difference),
            share(row.same_classes),
        ];
        table.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    table
}

/// One line for each choice of a setting. All firing rates share the choice.
fn setting_table(rows: &[&Row]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| row.peer != OURS) {
        let mut tried: Vec<_> = row.settings_ms.iter().collect();
        tried.sort_by(|a, b| a.1.unwrap_or(f64::MAX).total_cmp(&b.1.unwrap_or(f64::MAX)));
        let tried: Vec<String> = tried
            .into_iter()
            .map(|(setting, ms)| match ms {
                Some(ms) => format!("{setting} {ms:.0}"),
                None => format!("{setting} no time"),
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
    if lines.is_empty() {
        return String::new();
    }
    let head = "| network | mode | T | batch | peer | settings, ms |\n|---|---|---|---|---|---|\n";
    head.to_owned() + &lines.concat()
}

fn against(row: &Row) -> String {
    match row.peer.as_str() {
        OURS => format!("itself, {}", row.setting),
        peer => format!("{peer}, T = {}, batch {}", row.time_steps, row.batch),
    }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::Format;
    use super::*;
    use crate::bench::machine::tests::machine;
    use crate::bench::peers::row::tests::row;

    #[test]
    fn the_document_names_machine_command_and_verdict() {
        let refused = [Refused { reason: "spikes differ".into(), format: Format::Int12 }];
        let text = readme(&[row()], &refused, &machine(), "cargo xtask bench peers");
        for part in [
            "Steps of lasnn were timed in turns with snnTorch on Abacus 9, 2 cores.",
            "- **Date and commit:** 2031-02-03, commit 0123456.",
            "- **Machine:** Abacus 9, 2 cores, 16 GiB.",
            "\n    cargo xtask bench peers\n",
            "| inference at 5 % | vgg5, direct | f32 | snntorch, T = 8, batch 16 | 5x | 10x \
             | 6.00x | reached |",
            "| 10.0 | 60.0 | 6.00 (5.50 to 7.00) | 250 | 1000 | 0.00 % | 100.00 % |",
            "## Not compared\n\n- spikes differ\n",
            "| snntorch | bf16-nhwc 61, fp32 no time |",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        let is_short = |line: &str| line.starts_with('|') || line.chars().count() <= WIDTH;
        assert!(text.lines().all(is_short), "{text}");
        assert!(!readme(&[row()], &[], &machine(), "").contains("Not compared"));
    }

    #[test]
    fn all_peers_are_named() {
        let with = |peer: &str| Row { peer: peer.into(), ..row() };
        assert_eq!(peers(&[]), "its peers");
        let rows = [with(OURS), with("spikingjelly"), row()];
        assert_eq!(peers(&rows), "SpikingJelly, snnTorch and itself");
    }

    #[test]
    fn a_choice_of_settings_is_shown_once() {
        let (one, other) = (row(), Row { firing_rate: Some(0.2), ..row() });
        assert_eq!(setting_table(&[&one, &other]).matches("fp32 no time").count(), 1);
    }
}
