//! What a user sees while a run goes on: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where the bars are drawn; one for the whole program, because log lines must step aside for
/// them.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

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
    /// Bars if the standard error is a terminal, lines if not, nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let style = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        };
        Self { style, bars: bars().clone() }
    }

    /// Says something that stays on the screen.
    pub fn say(&self, text: impl AsRef<str>) {
        match self.style {
            Style::Silent => {}
            Style::Lines => eprintln!("{}", text.as_ref()),
            Style::Bars => self.bars.suspend(|| eprintln!("{}", text.as_ref())),
        }
    }

    /// A bar that counts to `total`; without a terminal it is not shown.
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

/// One bar; gone when dropped.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// Shows that `done` are done.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Shows another label and another total, from the start.
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

/// The bars of the program.
pub fn bars() -> &'static MultiProgress {
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
}

fn style() -> ProgressStyle {
    let template = "{msg:<28} {bar:30} {human_pos}/{human_len} {per_sec}, {eta} left";
    // The template is a constant; should it be wrong, the default still shows progress.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
