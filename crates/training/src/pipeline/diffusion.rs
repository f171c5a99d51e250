mod lengths;
mod models;
mod samples;
mod split;

use std::sync::Arc;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::LanguageAutoencoder;
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::DenoisingNetwork;
use latent_text_generation::{FORMAT_VERSION, GenerationError, LatentText, ModelConfig};
use latent_text_language_model::LanguageModel;

use super::{Pipeline, PipelineStage};
use crate::TrainingError;
use crate::data::Record;
use crate::stage::{DiffusionSet, DiffusionStage};
use crate::trainer::{Outcome, train};
use models::FrozenModels;
use split::{Split, TRAIN, VALIDATION};

impl Pipeline<'_> {
    pub(super) fn diffusion(&self) -> Result<Option<u64>, TrainingError> {
        let section = &self.config.diffusion;
        let models = self.frozen_models()?;
        let train_records = self.records(&section.data)?;
        let labels = labels_of(&train_records)?;
        let train_split = self.split(TRAIN, &models, train_records, &labels)?;
        let validation_records = self.records(&section.validation)?;
        let validation = self.split(VALIDATION, &models, validation_records, &labels)?;

        let config = self.model_config(&models, labels, &train_split)?;
        let stage = self.diffusion_stage(&models, &config, train_split, validation)?;
        let settings = self.settings_of(PipelineStage::Diffusion)?;
        let lengths = match self.length_predictor(&config, &stage, &settings)? {
            Outcome::Interrupted { step, .. } => return Ok(Some(step)),
            Outcome::Finished(lengths) => lengths,
        };
        let folder = self.folder(PipelineStage::Diffusion);
        let run = self.run_settings(&folder, &settings);
        self.device.seed(self.config.seed);
        let denoiser = config.denoiser.init(self.device);
        match train(&stage, denoiser, &section.training, &run)? {
            Outcome::Interrupted { step, .. } => Ok(Some(step)),
            Outcome::Finished(denoiser) => {
                let FrozenModels { autoencoder, sources, .. } = models;
                let own = sources.and_then(|sources| sources.own);
                let mut model = assemble(config, autoencoder, denoiser, own, self.device)?;
                if let Some((config, predictor)) = lengths {
                    model = model.with_length_predictor(config, predictor)?;
                }
                self.publish(PipelineStage::Diffusion, settings, |folder| {
                    Ok(model.save(folder, FloatDType::F16)?)
                })
            }
        }
    }

    /// The settings of the finished model, but for a predictor of lengths.
    fn model_config(
        &self,
        models: &FrozenModels,
        labels: Option<ClassLabels>,
        train: &Split,
    ) -> Result<ModelConfig, TrainingError> {
        let section = &self.config.diffusion;
        let classes = labels.as_ref().map(|labels| labels.names().len());
        let source_dim = models.sources.as_ref().map(|sources| sources.reader.dim());
        let max_latents = models.autoencoder.max_latents();
        let varying = models.autoencoder.has_varying_lengths();
        Ok(ModelConfig {
            format_version: FORMAT_VERSION,
            denoiser: section.model.clone().conditioned(classes, source_dim)?,
            schedule: section.schedule.clone(),
            prediction: section.prediction,
            labels,
            source: models.sources.as_ref().map(|sources| sources.config.clone()),
            null_trained: section.learns_null(),
            statistics: train.set.latents.statistics().clone(),
            lengths: varying.then(|| train.lengths(max_latents)).transpose()?,
            length_predictor: None,
            weaker_denoiser: None,
            sampling: section.sampling.clone(),
            decoding: section.decoding.clone(),
        })
    }

    fn diffusion_stage(
        &self,
        models: &FrozenModels,
        config: &ModelConfig,
        train: Split,
        validation: Split,
    ) -> Result<DiffusionStage, TrainingError> {
        let section = &self.config.diffusion;
        let l2_normalised = models.autoencoder.is_l2_normalised();
        let normalised = |set: DiffusionSet| match l2_normalised {
            true => set,
            false => DiffusionSet { latents: set.latents.normalised(&config.statistics), ..set },
        };
        let schedule = section.schedule.init()?;
        Ok(DiffusionStage {
            objective: section.objective.clone(),
            steps: schedule.table_len().filter(|_| section.model.is_told_steps()),
            schedule,
            prediction: section.prediction,
            rescale_estimate: l2_normalised,
            labels: config.labels.clone(),
            times: section.objective.times.init()?,
            train: Arc::new(normalised(train.set)),
            validation: Arc::new(normalised(validation.set)),
            batch_size: section.training.batch_size,
            seed: self.config.seed,
            device: self.device.clone(),
            decode_samples: self.sample_decoder(config, models, &validation.sources),
        })
    }
}

/// The whole model; `own` is its source encoder, if that is not the autoencoder's.
fn assemble(
    config: ModelConfig,
    autoencoder: LanguageAutoencoder,
    denoiser: DenoisingNetwork,
    own: Option<LanguageModel>,
    device: &Device,
) -> Result<LatentText, GenerationError> {
    match own {
        None => LatentText::new(config, autoencoder, denoiser, device),
        Some(own) => LatentText::with_source_encoder(config, autoencoder, denoiser, device, own),
    }
}

/// The labels that occur, in alphabetical order; none if no text has one.
pub(super) fn labels_of(records: &[Record]) -> Result<Option<ClassLabels>, TrainingError> {
    let mut names: Vec<&String> =
        records.iter().filter_map(|record| record.label.as_ref()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(None);
    }
    Ok(Some(ClassLabels::new(names)?))
}
