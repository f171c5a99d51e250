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

    /// A dimension of the latents to sample is zero.
    #[error(
        "cannot sample latents of shape {shape:?} ([batch, latents, dim]): every dimension must be \
         at least 1"
    )]
    EmptyShape {
        /// The shape given, `[batch, latents, dim]`.
        shape: [usize; 3],
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
}
