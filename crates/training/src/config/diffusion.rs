use latent_text_denoiser::DenoisingNetworkConfig;
use latent_text_diffusion::{NoiseScheduleConfig, Prediction};
use latent_text_generation::SamplingDefaults;
use latent_text_language_model::GenerationConfig;
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::data::DatasetConfig;
use crate::source::SourceSection;
use crate::stage::{DiffusionObjective, LengthsSection};
use crate::trainer::TrainerConfig;

/// The diffusion model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionSection {
    /// Text sets to train on; with a `label_column`, the model is class-conditional on the labels
    /// that occur, in alphabetical order. With a `source_column`, it writes texts for sources.
    ///
    /// Sets without a `label_column` may stand beside such with one (semi-supervised training): their
    /// texts are trained with the null class at every step. The class dropout is that of texts with a
    /// label, whose null class comes on top.
    pub data: Vec<DatasetConfig>,
    /// Text sets to validate on. They have a `label_column` if all sets of `data` have one; beside sets
    /// without labels, they may do without.
    pub validation: Vec<DatasetConfig>,
    /// What the sources are read with; needed if the data has sources, else left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSection>,
    /// Which network the denoiser is, and its shape. Its `classes` are taken from the data, its `source_dim`
    /// from what reads the sources, and both must be left out. With `kind = "encoder_space"`, the network
    /// of LD4LG's first version, which needs a schedule of discrete steps (a `table`) and reads no sources.
    #[serde(default)]
    pub model: DenoisingNetworkConfig,
    /// Noise schedule; default cosine.
    #[serde(default)]
    pub schedule: NoiseScheduleConfig,
    /// What the network predicts; default v.
    #[serde(default)]
    pub prediction: Prediction,
    /// Loss, noise levels, self-conditioning, dropout of conditions.
    #[serde(default)]
    pub objective: DiffusionObjective,
    /// How the finished model samples by default.
    #[serde(default)]
    pub sampling: SamplingDefaults,
    /// How the finished model decodes by default.
    #[serde(default)]
    pub decoding: GenerationConfig,
    /// A predictor of how many latents a text has, from its source, its class or both, which is trained
    /// before the denoiser; only where texts have them in varying number. Left out, lengths are drawn as
    /// they occur in the training set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<LengthsSection>,
    /// Steps, batches, optimiser.
    pub training: TrainerConfig,
}

impl DiffusionSection {
    /// Whether every condition of the model is also left away in training.
    pub(crate) fn learns_null(&self) -> bool {
        let objective = &self.objective;
        let null_class = objective.class_dropout > 0.0 || self.some_unlabelled();
        (null_class || !self.some_labelled())
            && (objective.source_dropout > 0.0 || self.source.is_none())
    }

    /// Whether texts have labels or sources.
    pub(crate) fn has_conditions(&self) -> bool {
        self.some_labelled() || self.source.is_some()
    }

    fn some_labelled(&self) -> bool {
        self.data.iter().any(|set| set.label_column.is_some())
    }

    fn some_unlabelled(&self) -> bool {
        self.data.iter().any(|set| set.label_column.is_none())
    }

    pub(super) fn check(&self) -> Result<(), TrainingError> {
        self.training.check("diffusion.training")?;
        self.objective.check()?;
        self.model.validate()?;
        self.schedule.init()?;
        for (setting, given, origin) in [
            ("diffusion.model.classes", self.model.classes().is_some(), "the data's labels"),
            (
                "diffusion.model.source_dim",
                self.model.source_dim().is_some(),
                "the encoder in [diffusion.source]",
            ),
        ] {
            if given {
                let problem = format!("is taken from {origin}; leave it out");
                return Err(TrainingError::setting(setting, problem));
            }
        }
        self.check_steps()?;
        self.check_labels()?;
        self.check_sources()?;
        self.check_lengths()
    }

    /// A network that is told steps needs a schedule that has them.
    fn check_steps(&self) -> Result<(), TrainingError> {
        if self.model.is_told_steps() && self.schedule.init()?.table_len().is_none() {
            return Err(TrainingError::setting(
                "diffusion.schedule",
                "is in continuous time, but an encoder_space denoiser is told the step of a discrete one; \
                 use a `table`, for LD4LG kind = { name = \"table\", betas = { name = \"linear\" } }",
            ));
        }
        Ok(())
    }

    fn check_lengths(&self) -> Result<(), TrainingError> {
        let Some(lengths) = &self.lengths else { return Ok(()) };
        if !self.has_conditions() {
            return Err(TrainingError::setting(
                "diffusion.lengths",
                "has nothing to predict lengths from, neither labels nor sources; leave it out, and lengths \
                 are drawn as they occur in the training set",
            ));
        }
        lengths.check()
    }

    fn check_labels(&self) -> Result<(), TrainingError> {
        let unlabelled = self.validation.iter().any(|set| set.label_column.is_none());
        if unlabelled && self.some_labelled() && !self.some_unlabelled() {
            return Err(TrainingError::setting(
                "diffusion.validation",
                "has a text set without a label_column, but all sets of diffusion.data have one; add it, \
                 or train on texts without labels too",
            ));
        }
        Ok(())
    }

    fn check_sources(&self) -> Result<(), TrainingError> {
        let mut sets = self.data.iter().chain(&self.validation);
        match &self.source {
            None if sets.any(|set| set.source_column.is_some()) => Err(TrainingError::setting(
                "diffusion.source",
                "is missing, but a text set has a source_column; add the section or remove the column",
            )),
            None => Ok(()),
            Some(_) if sets.any(|set| set.source_column.is_none()) => Err(TrainingError::setting(
                "diffusion.data",
                "has a text set without a source_column, which [diffusion.source] needs; add it to all \
                 sets, those for validation too",
            )),
            Some(_) if self.model.is_told_steps() => Err(TrainingError::setting(
                "diffusion.source",
                "can't be used with an encoder_space denoiser, which reads no sources; use kind = \"latent\"",
            )),
            Some(source) => source.check(),
        }
    }
}
