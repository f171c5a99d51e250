use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Seconds between the lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{prefix} [{wide_bar}] {pos}/{len} {per_sec}, {eta_precise} left, {msg}";

/// Shows on the standard error how far a training stage is: steps, steps per second, time left and
/// the loss.
///
/// On a terminal this is a progress bar. Elsewhere, as in a log file, a line is printed every ten
/// seconds and at the end.
pub struct TrainingProgress {
    display: Display,
}

enum Display {
    Bar(ProgressBar),
    Lines(Lines<io::Stderr>),
}

impl TrainingProgress {
    /// Starts at `first_step` (0, or the step a run resumes after) of `total_steps`.
    pub fn new(stage: &str, first_step: u64, total_steps: u64) -> Self {
        let display = if io::stderr().is_terminal() {
            Display::Bar(bar(stage, first_step, total_steps))
        } else {
            let now = Instant::now();
            Display::Lines(Lines::new(io::stderr(), stage, first_step, total_steps, now))
        };
        Self { display }
    }

    /// Tells that `step` steps are done; a loss of `None` leaves the last one standing.
    pub fn update(&mut self, step: u64, loss: Option<f64>) {
        match &mut self.display {
            Display::Bar(bar) => {
                if let Some(loss) = loss {
                    bar.set_message(loss_message(loss));
                }
                bar.set_position(step);
            }
            Display::Lines(lines) => lines.update(step, loss, Instant::now()),
        }
    }

    /// Prints a line of its own, such as a validation result, without breaking the bar.
    pub fn print(&mut self, line: &str) {
        match &mut self.display {
            Display::Bar(bar) => bar.println(line),
            Display::Lines(lines) => lines.print(line),
        }
    }

    /// Ends the display where it stands.
    pub fn finish(mut self) {
        match &mut self.display {
            Display::Bar(bar) => bar.abandon(),
            Display::Lines(lines) => lines.print_status(Instant::now()),
        }
    }
}

/// Prints a line on the standard error while no progress is shown.
pub(crate) fn print_line(line: &str) {
    // As in a progress: a closed standard error must not end the training.
    let _ = writeln!(io::stderr(), "{line}");
}

fn bar(stage: &str, first_step: u64, total_steps: u64) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(Some(total_steps), target)
        .with_style(
            ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()),
        )
        .with_prefix(stage.to_owned())
        .with_position(first_step);
    bar.reset_eta();
    bar
}

fn loss_message(loss: f64) -> String {
    format!("loss {loss:.4}")
}

struct Lines<W> {
    out: W,
    stage: String,
    first_step: u64,
    total_steps: u64,
    started: Instant,
    printed: Instant,
    step: u64,
    loss: Option<f64>,
}

impl<W: Write> Lines<W> {
    fn new(out: W, stage: &str, first_step: u64, total_steps: u64, now: Instant) -> Self {
        Self {
            out,
            stage: stage.to_owned(),
            first_step,
            total_steps,
            started: now,
            printed: now,
            step: first_step,
            loss: None,
        }
    }

    fn update(&mut self, step: u64, loss: Option<f64>, now: Instant) {
        self.step = step;
        self.loss = loss.or(self.loss);
        if now - self.printed >= LINE_INTERVAL {
            self.print_status(now);
            self.printed = now;
        }
    }

    fn print_status(&mut self, now: Instant) {
        let status = self.status(now);
        self.print(&status);
    }

    fn print(&mut self, line: &str) {
        // A closed standard error must not end the training.
        let _ = writeln!(self.out, "{line}");
    }

    fn status(&self, now: Instant) -> String {
        let mut status = format!("{} {}/{}", self.stage, self.step, self.total_steps);
        let done = self.step.saturating_sub(self.first_step);
        let seconds = (now - self.started).as_secs_f64();
        if done > 0 && seconds > 0.0 {
            let rate = done as f64 / seconds;
            let left = self.total_steps.saturating_sub(self.step) as f64 / rate;
            status += &format!(", {rate:.2} steps/s, {} left", clock(left));
        }
        if let Some(loss) = self.loss {
            status += &format!(", {}", loss_message(loss));
        }
        status
    }
}

/// Hours, minutes and seconds as `h:mm:ss`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_a_line_comes_every_ten_seconds() {
        let start = Instant::now();
        let mut lines = Lines::new(Vec::new(), "diffusion", 100, 1100, start);
        for second in 1..=25 {
            let loss = (second % 5 == 0).then_some(0.5 - second as f64 / 100.0);
            lines.update(100 + 4 * second, loss, start + Duration::from_secs(second));
        }
        lines.print("valid: loss 0.3");
        lines.print_status(start + Duration::from_secs(25));
        let text = String::from_utf8(lines.out).expect("text");
        assert_eq!(
            text,
            "diffusion 140/1100, 4.00 steps/s, 0:04:00 left, loss 0.4000\n\
             diffusion 180/1100, 4.00 steps/s, 0:03:50 left, loss 0.3000\n\
             valid: loss 0.3\n\
             diffusion 200/1100, 4.00 steps/s, 0:03:45 left, loss 0.2500\n"
        );
    }

    #[test]
    fn nothing_done_has_no_rate() {
        let start = Instant::now();
        let lines = Lines::new(Vec::new(), "autoencoder", 7, 10, start);
        assert_eq!(lines.status(start + Duration::from_secs(3)), "autoencoder 7/10");
    }

    #[test]
    fn the_template_of_the_bar_is_valid() {
        ProgressStyle::with_template(TEMPLATE).expect("a valid template");
        let bar = bar("stage", 5, 10);
        assert_eq!((bar.position(), bar.length()), (5, Some(10)));
    }

    #[test]
    fn hours_minutes_and_seconds() {
        assert_eq!(clock(0.4), "0:00:00");
        assert_eq!(clock(3_661.2), "1:01:01");
    }
}
