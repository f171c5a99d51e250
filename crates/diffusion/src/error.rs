use crate::Family;
use crate::schedule::SCALE_RANGE;

/// What can go wrong when settings are turned into a schedule or a plan, and while sampling.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionError {
    /// The schedule's `scale` is outside its range or not a number.
    #[error(
        "the noise schedule has scale {scale}, but it must lie between {min} and {max}; \
         1 leaves the schedule as it is",
        min = SCALE_RANGE.start(),
        max = SCALE_RANGE.end()
    )]
    Scale {
        /// The value given.
        scale: f64,
    },

    /// The parameters of a schedule's curve do not make it fall from 1 to 0.
    #[error(
        "the {schedule} schedule cannot have start {start}, end {end} and tau {tau}: {requirement}"
    )]
    Curve {
        /// Name of the schedule.
        schedule: &'static str,
        /// The `start` given.
        start: f64,
        /// The `end` given.
        end: f64,
        /// The `tau` given.
        tau: f64,
        /// What the parameters must satisfy.
        requirement: &'static str,
    },

    /// A plan of zero steps was asked for.
    #[error("a sampler needs at least 1 step, but 0 were asked for")]
    NoSteps,

    /// A dimension of the data to sample is zero.
    #[error(
        "cannot sample data of shape {shape:?} ([batch, ..]): every dimension must be at least 1"
    )]
    EmptyShape {
        /// The shape given, `[batch, ..]`.
        shape: Vec<usize>,
    },

    /// No sampler has this name.
    #[error("there is no sampler `{name}`; choose one of: {known}")]
    UnknownSampler {
        /// The name given.
        name: String,
        /// The known names, separated by commas.
        known: String,
    },

    /// The callback stopped the run before its last step.
    #[error("sampling was stopped after {step} of {steps} steps")]
    Stopped {
        /// Steps completed.
        step: usize,
        /// Steps of the plan.
        steps: usize,
    },

    /// Times and losses for a loss history do not belong together.
    #[error("{losses} losses for {times} times: the loss history takes one loss for every time")]
    LossCount {
        /// Number of times given.
        times: usize,
        /// Number of losses given.
        losses: usize,
    },

    /// A loss history cannot use a loss or its time.
    #[error(
        "the loss history cannot take loss {loss} at time {time} (entry {index}): losses must be \
         finite and times lie between 0 and 1"
    )]
    UnusableLoss {
        /// Place in the batch.
        index: usize,
        /// The time given.
        time: f64,
        /// The loss given.
        loss: f32,
    },

    /// A stored loss history does not fit the settings that are to continue it.
    #[error(
        "a loss history of {found} bins cannot be continued with {expected} bins \
         (0 if times are not drawn by importance); keep the setting `bins` or start a new history"
    )]
    LossHistoryBins {
        /// Bins of the history.
        found: usize,
        /// Bins of the settings.
        expected: usize,
    },

    /// A stored loss history is damaged.
    #[error(
        "bin {bin} of the stored loss history holds a mean square of {mean_square} over {count} \
         losses; it must be finite and at least 0: the state is damaged, start a new history"
    )]
    DamagedLossHistory {
        /// Index of the bin.
        bin: usize,
        /// What it holds.
        mean_square: f64,
        /// How many losses it says to hold.
        count: u64,
    },

    /// A sampler was given the points of another family of processes.
    #[error("the sampler `{sampler}` needs a process of the family {family:?}")]
    WrongFamily {
        /// Name of the sampler.
        sampler: &'static str,
        /// The family that it is for.
        family: Family,
    },

    /// The network's answer has another shape than the data that it was asked about.
    #[error("the network answered with shape {found:?} for data of shape {expected:?}")]
    OutputShape {
        /// The shape of the data, `[batch, ..]`.
        expected: Vec<usize>,
        /// The shape of the answer.
        found: Vec<usize>,
    },

    /// A run needs at least two points with less noise from each to the next.
    #[error(
        "point {index} of a sampling run has log-SNR {log_snr}, which is not above that of the point \
         before ({before}): a run goes from much noise to little, in at least one step"
    )]
    PointOrder {
        /// Number of the point, from 0.
        index: usize,
        /// Its log-SNR.
        log_snr: f64,
        /// The log-SNR of the point before; minus infinity for the first.
        before: f64,
    },

    /// The factors of a sampler's step are not finite.
    #[error(
        "{sampler} has no finite step from log-SNR {log_snr} (time {time}); begin at less noise, or \
         choose a sampler that can start at pure noise, as DDIM can"
    )]
    Unreachable {
        /// The sampler and its settings.
        sampler: String,
        /// The log-SNR that the step starts from.
        log_snr: f64,
        /// The time that the step starts from.
        time: f64,
    },

    /// A setting is out of range or not a number.
    #[error("{what} cannot have {setting} = {value}: {requirement}")]
    Setting {
        /// What the setting belongs to.
        what: &'static str,
        /// Name of the setting.
        setting: &'static str,
        /// The value given.
        value: f64,
        /// What the value must satisfy.
        requirement: &'static str,
    },

    /// A guidance needs two predictions but was given one.
    #[error(
        "{guidance} needs the unconditional prediction (or the weaker model's) at step {step}, but \
         only the conditional one was given; run the second pass wherever `needs_unconditional` says so"
    )]
    MissingUnconditional {
        /// The guidance that needs it.
        guidance: &'static str,
        /// The step, counted from 0.
        step: usize,
    },

    /// A tensor given to a guidance does not have the shape of the conditional prediction.
    #[error(
        "{guidance}: {what} has the shape {shape:?}, but the conditional prediction has \
         {expected:?}; both must be for the same `z`"
    )]
    GuidanceShape {
        /// The guidance that was given the tensor.
        guidance: &'static str,
        /// Which tensor it is.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// The shape of the conditional prediction.
        expected: Vec<usize>,
    },

    /// Zero-initialised guidance of a network that predicts `x0`.
    #[error(
        "CFG-Zero* guidance cannot predict zero in its first {zero_steps} steps with a network that \
         predicts x0, because that would erase `z`; set zero_steps to 0 or use a network that \
         predicts v or velocity"
    )]
    ZeroX0 {
        /// The number of steps given.
        zero_steps: usize,
    },

    /// A network that predicts `x0` can't tell the noise of clean data.
    #[error(
        "a run that starts from clean data asks the network for the noise there, which a prediction \
         of x0 does not hold; begin at a point with some noise"
    )]
    NoiseFromData,

    /// The log-SNR of a table or of knots does not fall from one entry to the next.
    #[error(
        "the {schedule} schedule must have finite, strictly falling log-SNRs, but entry {index} is \
         {log_snr} and the next one {next}; the settings are not monotone, or too extreme"
    )]
    NotFalling {
        /// Name of the schedule.
        schedule: &'static str,
        /// The first of the two entries.
        index: usize,
        /// Its log-SNR.
        log_snr: f64,
        /// The log-SNR of the entry after it.
        next: f64,
    },

    /// A spacing over a table was asked for, but the schedule is not a table.
    #[error(
        "the {spacing} spacing picks entries of a discrete table, but the noise schedule is in \
         continuous time; use a `table` schedule, or the uniform spacing"
    )]
    NotATable {
        /// Name of the spacing.
        spacing: &'static str,
    },

    /// The table has too few entries for the steps asked for.
    #[error(
        "the {spacing} spacing cannot place {steps} steps in a table of {len} entries without \
         repeating one or leaving the table; take fewer steps or a smaller offset"
    )]
    TooManySteps {
        /// Name of the spacing.
        spacing: &'static str,
        /// The steps asked for.
        steps: usize,
        /// Entries of the table.
        len: usize,
    },

    /// The spacing needs a finite range of noise, but the schedule's is infinite.
    #[error(
        "the {spacing} spacing needs finite noise levels at both ends, but those of the noise \
         schedule are not; set {setting} of the spacing"
    )]
    UnboundedNoise {
        /// Name of the spacing.
        spacing: &'static str,
        /// The setting to give.
        setting: &'static str,
    },

    /// The points that the caller gave are not one for each step.
    #[error("{given} {what} were given for {steps} steps; give one for each step, noise first")]
    GivenPoints {
        /// What was given.
        what: &'static str,
        /// How many were given.
        given: usize,
        /// The steps asked for.
        steps: usize,
    },

    /// The noise does not fall in a step.
    #[error(
        "step {step} goes from log-SNR {from} to {to}, but the noise must fall in every step: the \
         points repeat, are out of order or not numbers, or lie where the noise schedule is flat"
    )]
    RepeatedNoise {
        /// The step, counted from 1.
        step: usize,
        /// The log-SNR before the step.
        from: f64,
        /// The log-SNR after it.
        to: f64,
    },

    /// A noise level is so extreme that f32 latents cannot hold it.
    #[error("log-SNR {log_snr} gives factors of the data and the noise that f32 cannot hold")]
    ExtremeNoise {
        /// The log-SNR of the level.
        log_snr: f64,
    },

    /// An observation for an adaptive schedule is not a number.
    #[error("cannot learn from the loss {loss} at log-SNR {log_snr}: both must be numbers")]
    Observation {
        /// The log-SNR given.
        log_snr: f64,
        /// The loss given.
        loss: f64,
    },

    /// There are not as many losses as log-SNRs.
    #[error("{losses} losses were given for {log_snrs} log-SNRs")]
    ObservationCount {
        /// How many log-SNRs were given.
        log_snrs: usize,
        /// How many losses were given.
        losses: usize,
    },

    /// A schedule cannot be fitted, because the loss does not grow with the noise.
    #[error(
        "cannot fit a schedule: the losses observed at {observed} of {places} noise levels do not \
         grow with the noise; observe more of them, and a loss that grows"
    )]
    NoLossGrowth {
        /// Levels with observations.
        observed: usize,
        /// Levels in all.
        places: usize,
    },

    /// A saved adaptive schedule does not fit its own settings.
    #[error(
        "the saved adaptive schedule has {saved} averages where its settings need {needed}, or some \
         are not numbers"
    )]
    SavedAverages {
        /// Averages that were saved.
        saved: usize,
        /// Averages that the settings ask for.
        needed: usize,
    },
}
