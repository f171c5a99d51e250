use latent_text_conditioning::{LengthPredictor, LengthPredictorConfig};
use latent_text_generation::ModelConfig;

use crate::TrainingError;
use crate::pipeline::settings::StageSettings;
use crate::pipeline::{Pipeline, PipelineStage};
use crate::stage::{DiffusionStage, LengthStage};
use crate::trainer::{Outcome, train};

/// Where a predictor of lengths is trained, below the folder of the diffusion stage.
const FOLDER: &str = "lengths";

impl Pipeline<'_> {
    /// Trains the predictor of lengths that the configuration asks for, on the texts and conditions of
    /// the denoiser; none if it asks for none.
    pub(super) fn length_predictor(
        &self,
        model: &ModelConfig,
        diffusion: &DiffusionStage,
        settings: &StageSettings,
    ) -> Result<Outcome<Option<(LengthPredictorConfig, LengthPredictor)>>, TrainingError> {
        let section = &self.config.diffusion;
        let (Some(lengths), Some(counted)) = (&section.lengths, &model.lengths) else {
            return Ok(Outcome::Finished(None));
        };
        let config = LengthPredictorConfig {
            source_dim: model.denoiser.source_dim(),
            classes: model.denoiser.classes(),
            hidden: lengths.hidden,
            max_length: counted.max(),
        };
        config.validate()?;
        let stage = LengthStage {
            labels: diffusion.labels.clone(),
            class_dropout: section.objective.class_dropout,
            train: diffusion.train.clone(),
            validation: diffusion.validation.clone(),
            batch_size: lengths.training.batch_size,
            seed: self.config.seed,
            device: self.device.clone(),
        };
        let folder = self.folder(PipelineStage::Diffusion).join(FOLDER);
        let run = self.run_settings(&folder, settings);
        self.device.seed(self.config.seed);
        let outcome = train(&stage, config.init(self.device), &lengths.training, &run)?;
        Ok(outcome.map(|predictor| Some((config, predictor))))
    }
}
