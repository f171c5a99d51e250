//! What a training run tells: a log of metrics, a plot of the losses, and a progress bar.

mod metrics_log;
mod plot;
mod progress;

pub use metrics_log::{MetricsLine, MetricsLog, ReportError, read_metrics};
pub use plot::plot_loss;
pub use progress::TrainingProgress;
pub(crate) use progress::print_line;
