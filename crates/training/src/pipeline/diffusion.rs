use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::{LanguageAutoencoder, LatentNorm};
use latent_text_conditioning::{ClassLabels, SourceReader};
use latent_text_denoiser::Denoiser;
use latent_text_generation::{
    FORMAT_VERSION, GenerationError, LatentText, ModelConfig, Request, SourceConfig, SourceEncoder,
};
use latent_text_language_model::LanguageModel;
use latent_text_nn::cast_module;

use super::fingerprint::Fingerprint;
use super::{Pipeline, PipelineStage};
use crate::TrainingError;
use crate::config::AutoencoderSection;
use crate::data::Record;
use crate::latents::{LatentSet, LatentSource, cache_path, cached_latents};
use crate::source::{SourceEncoderChoice, SourceSet};
use crate::stage::{DiffusionSet, DiffusionStage, SampleDecoder};
use crate::trainer::{Outcome, train};

/// The models that the denoiser is trained with and that stay as they are.
struct FrozenModels {
    autoencoder: LanguageAutoencoder,
    autoencoder_folder: PathBuf,
    sources: Option<FrozenSourceEncoder>,
}

/// What reads the sources.
struct FrozenSourceEncoder {
    config: SourceConfig,
    /// In the dtype of the passes.
    reader: Arc<SourceReader>,
    /// The language model in f32, if it is not the autoencoder's.
    own: Option<LanguageModel>,
    own_folder: Option<PathBuf>,
}

/// The texts of a split.
struct Split {
    set: DiffusionSet,
    /// The source of each text, if there are sources.
    sources: Vec<String>,
}

impl Pipeline<'_> {
    pub(super) fn diffusion(&self) -> Result<Option<u64>, TrainingError> {
        let section = &self.config.diffusion;
        let models = self.frozen_models()?;
        let train_records = self.records(&section.data)?;
        let labels = labels_of(&train_records)?;
        let train_split = self.split("train", &models, train_records, &labels)?;
        let validation_records = self.records(&section.validation)?;
        let validation = self.split("validation", &models, validation_records, &labels)?;

        let mut denoiser = section.model.clone();
        denoiser.classes = labels.as_ref().map(|labels| labels.names().len());
        denoiser.source_dim = models.sources.as_ref().map(|sources| sources.reader.dim());
        let config = ModelConfig {
            format_version: FORMAT_VERSION,
            denoiser: denoiser.clone(),
            schedule: section.schedule.clone(),
            prediction: section.prediction,
            labels: labels.clone(),
            source: models.sources.as_ref().map(|sources| sources.config.clone()),
            null_trained: section.learns_null(),
            statistics: train_split.set.latents.statistics().clone(),
            sampling: section.sampling.clone(),
            decoding: section.decoding.clone(),
        };
        let normalised = |set: DiffusionSet| match models.autoencoder.config.latent_norm {
            LatentNorm::L2 => set,
            LatentNorm::None => {
                DiffusionSet { latents: set.latents.normalised(&config.statistics), ..set }
            }
        };
        let stage = DiffusionStage {
            objective: section.objective.clone(),
            schedule: section.schedule.init()?,
            prediction: section.prediction,
            rescale_estimate: models.autoencoder.config.latent_norm == LatentNorm::L2,
            labels,
            times: section.objective.times.init()?,
            train: Arc::new(normalised(train_split.set)),
            validation: Arc::new(normalised(validation.set)),
            batch_size: section.training.batch_size,
            seed: self.config.seed,
            device: self.device.clone(),
            decode_samples: self.sample_decoder(&config, &models, &validation.sources),
        };
        let folder = self.folder(PipelineStage::Diffusion);
        let run = self.run_settings(&folder, section, self.given_models(&models)?);
        self.device.seed(self.config.seed);
        match train(&stage, denoiser.init(self.device), &section.training, &run)? {
            Outcome::Interrupted { step, .. } => Ok(Some(step)),
            Outcome::Finished(denoiser) => {
                let FrozenModels { autoencoder, sources, .. } = models;
                let own = sources.and_then(|sources| sources.own);
                let model = assemble(config, autoencoder, denoiser, own, self.device)?;
                self.publish(PipelineStage::Diffusion, |folder| {
                    Ok(model.save(folder, FloatDType::F16)?)
                })
            }
        }
    }

    fn frozen_models(&self) -> Result<FrozenModels, TrainingError> {
        let autoencoder_folder = match &self.config.autoencoder {
            AutoencoderSection::Given { folder } => self.data_root.join(folder),
            AutoencoderSection::Trained(_) => {
                self.finished(PipelineStage::Autoencoder, "diffusion")?
            }
        };
        let autoencoder = LanguageAutoencoder::load(&autoencoder_folder, self.device)?;
        self.config.check_fit(&autoencoder.config)?;
        let sources = self.source_encoder(&autoencoder)?;
        Ok(FrozenModels { autoencoder, autoencoder_folder, sources })
    }

    fn source_encoder(
        &self,
        autoencoder: &LanguageAutoencoder,
    ) -> Result<Option<FrozenSourceEncoder>, TrainingError> {
        let Some(section) = &self.config.diffusion.source else { return Ok(None) };
        let (encoder, own_folder) = match &section.encoder {
            SourceEncoderChoice::Autoencoder => (SourceEncoder::Autoencoder, None),
            SourceEncoderChoice::Folder(path) => {
                (SourceEncoder::Own, Some(self.data_root.join(path)))
            }
        };
        let own = match &own_folder {
            None => None,
            Some(folder) => Some(LanguageModel::load(folder, self.device)?),
        };
        let language_model = self.for_passes(own.as_ref().unwrap_or(&autoencoder.language_model));
        let reader = Arc::new(SourceReader::new(language_model, section.max_tokens)?);
        let config = SourceConfig { encoder, max_tokens: section.max_tokens };
        Ok(Some(FrozenSourceEncoder { config, reader, own, own_folder }))
    }

    /// A copy in the dtype of the passes.
    fn for_passes(&self, language_model: &LanguageModel) -> LanguageModel {
        let mut copy = language_model.clone();
        copy.model = cast_module(copy.model, self.config.precision.dtype());
        copy
    }

    /// Tells apart the models that this training did not make itself; none if there are no such.
    fn given_models(&self, models: &FrozenModels) -> Result<Option<String>, TrainingError> {
        let given = matches!(self.config.autoencoder, AutoencoderSection::Given { .. });
        let own_folder = models.sources.as_ref().and_then(|sources| sources.own_folder.as_ref());
        if !given && own_folder.is_none() {
            return Ok(None);
        }
        let mut fingerprint = Fingerprint::new();
        if given {
            fingerprint = fingerprint.autoencoder(&models.autoencoder_folder)?;
        }
        if let Some(folder) = own_folder {
            fingerprint = fingerprint.folder(folder)?;
        }
        Ok(Some(fingerprint.finish()))
    }

    /// The texts of a split that are short enough, with their latents, classes and sources.
    fn split(
        &self,
        name: &str,
        models: &FrozenModels,
        records: Vec<Record>,
        labels: &Option<ClassLabels>,
    ) -> Result<Split, TrainingError> {
        let texts: Vec<String> = records.iter().map(|record| record.text.clone()).collect();
        let tokenizer = &models.autoencoder.language_model.tokenizer;
        let (tokens, kept) = self.tokens(tokenizer, &texts)?;
        let classes = match labels {
            None => Vec::new(),
            Some(labels) => kept
                .iter()
                .map(|&index| match &records[index].label {
                    Some(label) => Ok(labels.index_of(label)?),
                    None => Err(TrainingError::setting(
                        "diffusion.data",
                        "only some of the sets have a label_column; give one to all of them or to none",
                    )),
                })
                .collect::<Result<_, _>>()?,
        };
        let sources: Vec<String> =
            kept.iter().filter_map(|&index| records[index].source.clone()).collect();
        let source_set = match &models.sources {
            None => None,
            Some(encoder) => {
                let texts: Vec<&str> = sources.iter().map(String::as_str).collect();
                let multiple = self.config.pad_to_multiple;
                Some(SourceSet::new(encoder.reader.clone(), &texts, multiple)?)
            }
        };
        let latents = self.latents(name, models, &tokens, classes)?;
        Ok(Split { set: DiffusionSet { latents, sources: source_set }, sources })
    }

    /// Latents of a split, from its cache where that still fits.
    fn latents(
        &self,
        split: &str,
        models: &FrozenModels,
        tokens: &[Vec<u32>],
        classes: Vec<usize>,
    ) -> Result<LatentSet, TrainingError> {
        let folder = self.folder(PipelineStage::Diffusion);
        fs::create_dir_all(&folder).map_err(TrainingError::file("create", &folder))?;
        let fingerprint = Fingerprint::new().autoencoder(&models.autoencoder_folder)?;
        let training = match self.config.autoencoder.training() {
            Some(autoencoder) => &autoencoder.training,
            None => &self.config.diffusion.training,
        };
        let source = LatentSource {
            autoencoder: &models.autoencoder,
            fingerprint: fingerprint.tokens(tokens).finish(),
            tokens,
            classes,
            batch_size: training.batch_size,
            padding: self.config.padding(),
            precision: self.config.precision,
        };
        cached_latents(&cache_path(&folder, split), source, self.device, self.stop)
    }

    /// Decodes samples of a half-trained denoiser, for the log; with sources, for the first ones of
    /// `sources` that differ.
    fn sample_decoder(
        &self,
        config: &ModelConfig,
        models: &FrozenModels,
        sources: &[String],
    ) -> Box<SampleDecoder> {
        let (config, device, seed) = (config.clone(), self.device.clone(), self.config.seed);
        let language_model = self.for_passes(&models.autoencoder.language_model);
        let perceiver =
            cast_module(models.autoencoder.perceiver.clone(), self.config.precision.dtype());
        let shape = models.autoencoder.config.clone();
        let own = models.sources.as_ref().and_then(|encoder| encoder.own.as_ref());
        let own = own.map(|own| self.for_passes(own));
        let mut sources = sources.to_vec();
        sources.dedup();
        sources.truncate(self.config.diffusion.training.samples);
        Box::new(move |denoiser: &Denoiser, samples: usize| {
            let autoencoder = LanguageAutoencoder {
                language_model: language_model.clone(),
                perceiver: perceiver.clone(),
                config: shape.clone(),
            };
            let (config, denoiser) = (config.clone(), denoiser.clone());
            let model = assemble(config, autoencoder, denoiser, own.clone(), &device)?;
            let request = Request {
                count: samples,
                seed,
                sources: sources.clone(),
                truncate_sources: true,
                ..Request::default()
            };
            let texts = model.generate(&request, |_| ControlFlow::Continue(()))?;
            let lines = texts.into_iter().map(|generated| match generated.source {
                None => generated.text,
                Some(source) => format!("{source} -> {}", generated.text),
            });
            Ok(lines.collect())
        })
    }
}

/// The whole model; `own` is its source encoder, if that is not the autoencoder's.
fn assemble(
    config: ModelConfig,
    autoencoder: LanguageAutoencoder,
    denoiser: Denoiser,
    own: Option<LanguageModel>,
    device: &Device,
) -> Result<LatentText, GenerationError> {
    match own {
        None => LatentText::new(config, autoencoder, denoiser, device),
        Some(own) => LatentText::with_source_encoder(config, autoencoder, denoiser, device, own),
    }
}

/// The labels that occur, in alphabetical order; none if no text has one.
fn labels_of(records: &[Record]) -> Result<Option<ClassLabels>, TrainingError> {
    let mut names: Vec<&String> =
        records.iter().filter_map(|record| record.label.as_ref()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(None);
    }
    Ok(Some(ClassLabels::new(names)?))
}
