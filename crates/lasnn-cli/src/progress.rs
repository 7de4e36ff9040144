//! Progress on the standard error: bars and a few lines on a terminal, a few lines elsewhere.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bars of the whole program. There is one set of them, because log lines must be printed
/// above all bars.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// How many lines of a series are printed, such as those of the epochs. A stage prints at most
/// three other lines, so it prints at most ten lines.
const LINES_PER_SERIES: usize = 7;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bars,
    Lines,
    Silent,
}

/// Shows progress on the standard error.
#[derive(Clone, Debug)]
pub struct Progress {
    style: Style,
    bars: MultiProgress,
}

impl Progress {
    /// Shows bars if the standard error is a terminal, lines if not, and nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let style = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        };
        Self { style, bars: bars().clone() }
    }

    /// Prints a line that stays on the screen.
    pub fn say(&self, text: impl AsRef<str>) {
        match self.style {
            Style::Silent => {}
            Style::Lines => eprintln!("{}", text.as_ref()),
            Style::Bars => self.bars.suspend(|| eprintln!("{}", text.as_ref())),
        }
    }

    /// Prints line `index` of a series of `count` lines, such as one per epoch.
    ///
    /// A long series prints its first line, its last line and a few lines spread evenly between
    /// them. The run's log has all of them.
    pub fn say_some(&self, index: usize, count: usize, text: impl AsRef<str>) {
        if is_selected(index, count, LINES_PER_SERIES) {
            self.say(text);
        }
    }

    /// A bar that counts to `total`. It is hidden where there is no terminal.
    pub fn bar(&self, label: impl Into<String>, total: u64) -> Bar {
        if self.style != Style::Bars {
            return Bar(ProgressBar::hidden());
        }
        let bar = self.bars.add(ProgressBar::new(total)).with_style(style());
        bar.set_message(label.into());
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar(bar)
    }
}

/// One bar. It disappears when it is dropped.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// Shows that `done` of the total are done.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Restarts the bar with another label and another total.
    pub fn restart(&self, label: impl Into<String>, total: u64) {
        self.0.set_message(label.into());
        self.0.set_length(total);
        self.0.reset();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The bars of the program. What prints to the terminal suspends them meanwhile.
pub fn bars() -> &'static MultiProgress {
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
}

fn style() -> ProgressStyle {
    let template = "{msg:<28} {bar:30} {human_pos}/{human_len} {per_sec}, {eta} left";
    // If the template were wrong, the default style would still show progress.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Whether `index` is one of `most` indices that are spread evenly over `0..count`. The first and
/// the last index are selected. All are selected if `count` is at most `most`.
fn is_selected(index: usize, count: usize, most: usize) -> bool {
    // The share of the series that is done grows by `most - 1` intervals of equal length. The first
    // index of each interval is selected.
    count <= most || index * (most - 1) % (count - 1) < most - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_series_prints_its_first_its_last_and_evenly_spread_lines() {
        let selected =
            |count: usize| (0..count).filter(|&i| is_selected(i, count, 7)).collect::<Vec<_>>();
        assert_eq!(selected(1), [0]);
        assert_eq!(selected(7), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(selected(13), [0, 2, 4, 6, 8, 10, 12]);
        for count in 8..300 {
            let selected = selected(count);
            assert_eq!((selected.len(), selected[0], selected[6]), (7, 0, count - 1));
            let gaps: Vec<usize> = selected.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
            assert!(most - least <= 1, "{count}: {selected:?}");
        }
    }
}
