//! All stages, from raw text to a model folder.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::{LanguageAutoencoder, LatentNorm, PerceiverConfig};
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::Denoiser;
use latent_text_generation::{FORMAT_VERSION, LatentText, ModelConfig, Request};
use latent_text_language_model::{GenerationConfig, LanguageModel, TextTokenizer};
use latent_text_nn::cast_module;
use serde::Serialize;

use crate::TrainingError;
use crate::config::TrainingConfig;
use crate::data::{DatasetConfig, Record, read_texts};
use crate::latents::{LatentSet, LatentSource, cache_path, cached_latents};
use crate::stage::{
    AutoencoderInputs, AutoencoderStage, DiffusionStage, LanguageModelInputs, LanguageModelStage,
    PretrainingText, SampleDecoder,
};
use crate::trainer::{Outcome, Run, train};

/// One of the stages, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PipelineStage {
    /// Tokenizer and language model.
    LanguageModel,
    /// The autoencoder on the frozen language model.
    Autoencoder,
    /// Latents, denoiser and the finished model folder.
    Diffusion,
}

impl PipelineStage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LanguageModel, Self::Autoencoder, Self::Diffusion];

    /// Its name, which is also its folder's.
    pub fn name(self) -> &'static str {
        match self {
            Self::LanguageModel => "language-model",
            Self::Autoencoder => "autoencoder",
            Self::Diffusion => "diffusion",
        }
    }
}

/// Whether the pipeline reached its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything that was asked for is done; the path is that of the result.
    Finished(PathBuf),
    /// Asked to stop; to be continued with resume.
    Interrupted {
        /// The stage that was running.
        stage: PipelineStage,
        /// Steps that it has taken.
        step: u64,
    },
}

/// A training from raw text to a model folder.
///
/// The output folder holds one folder for each stage (`checkpoints/`, `metrics.jsonl`, `loss.svg`,
/// `samples.txt` and, once it is finished, `result/`) and in the end `model/`.
pub struct Pipeline<'a> {
    /// What to train.
    pub config: &'a TrainingConfig,
    /// Folder to which data paths are relative.
    pub data_root: &'a Path,
    /// Where everything is written.
    pub output: &'a Path,
    /// The device, without autodiff.
    pub device: &'a Device,
    /// Set from outside to save and stop.
    pub stop: &'a AtomicBool,
}

impl Pipeline<'_> {
    /// Runs `only` or all stages, going on where an earlier run stopped if `resume` is set.
    ///
    /// # Errors
    /// [`TrainingError::OutputExists`] if the output folder is in use and `resume` is not set;
    /// otherwise whatever ends a stage.
    pub fn run(
        &self,
        only: Option<PipelineStage>,
        resume: bool,
    ) -> Result<Progress, TrainingError> {
        self.config.check()?;
        let stages: Vec<PipelineStage> = match only {
            Some(stage) => vec![stage],
            None => PipelineStage::ALL.to_vec(),
        };
        let mut written = stages.iter().flat_map(|&stage| [self.folder(stage), self.result(stage)]);
        if !resume && let Some(path) = written.find(|path| path.exists()) {
            return Err(TrainingError::OutputExists { path });
        }
        let open: Vec<PipelineStage> =
            stages.iter().copied().filter(|&stage| !self.result(stage).exists()).collect();
        for &stage in &open {
            self.check_data(stage)?;
        }
        for &stage in &open {
            let done = match stage {
                PipelineStage::LanguageModel => self.language_model(),
                PipelineStage::Autoencoder => self.autoencoder(),
                PipelineStage::Diffusion => self.diffusion(),
            };
            match done {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(Progress::Interrupted { stage, step }),
                Err(TrainingError::Interrupted) => {
                    return Ok(Progress::Interrupted { stage, step: 0 });
                }
                Err(error) => return Err(error),
            }
        }
        let last = stages[stages.len() - 1];
        Ok(Progress::Finished(self.result(last)))
    }

    /// Reads a stage's texts, so that a bad file is told of before hours of training.
    fn check_data(&self, stage: PipelineStage) -> Result<(), TrainingError> {
        let TrainingConfig { language_model, autoencoder, diffusion, .. } = self.config;
        let (data, validation) = match stage {
            PipelineStage::LanguageModel => (&language_model.data, &language_model.validation),
            PipelineStage::Autoencoder => (&autoencoder.data, &autoencoder.validation),
            PipelineStage::Diffusion => (&diffusion.data, &diffusion.validation),
        };
        self.records(data)?;
        self.records(validation)?;
        Ok(())
    }

    fn folder(&self, stage: PipelineStage) -> PathBuf {
        self.output.join(stage.name())
    }

    /// What a finished stage leaves.
    fn result(&self, stage: PipelineStage) -> PathBuf {
        match stage {
            PipelineStage::Diffusion => self.output.join("model"),
            _ => self.folder(stage).join("result"),
        }
    }

    fn language_model(&self) -> Result<Option<u64>, TrainingError> {
        let section = &self.config.language_model;
        let texts = self.texts(&section.data)?;
        let validation = self.texts(&section.validation)?;
        let folder = self.folder(PipelineStage::LanguageModel);
        let tokenizer = self.tokenizer(&folder, &texts)?;
        let bart = section.model.bart(tokenizer.vocab_size(), self.config.max_tokens);
        let prepare =
            |texts: &[String]| PretrainingText::prepare(texts, &tokenizer, self.config.max_tokens);
        let inputs = LanguageModelInputs {
            train: prepare(&texts)?,
            validation: prepare(&validation)?,
            batch_size: section.training.batch_size,
            padding: self.config.padding(),
            seed: self.config.seed,
        };
        let stage = LanguageModelStage::new(
            bart.clone(),
            tokenizer.clone(),
            &section.noising,
            inputs,
            self.device,
        )?;
        let run = self.run_settings(&folder, section);
        self.device.seed(self.config.seed);
        match train(&stage, bart.init(self.device), &section.training, &run)? {
            Outcome::Interrupted { step, .. } => Ok(Some(step)),
            Outcome::Finished(model) => {
                let language_model = LanguageModel {
                    model: model.into(),
                    config: bart.into(),
                    tokenizer,
                    generation: GenerationConfig::default(),
                };
                self.publish(PipelineStage::LanguageModel, |folder| {
                    Ok(language_model.save(folder, FloatDType::F32)?)
                })
            }
        }
    }

    /// The tokenizer that an interrupted run learnt, or a new one.
    fn tokenizer(&self, folder: &Path, texts: &[String]) -> Result<TextTokenizer, TrainingError> {
        let kept = folder.join("tokenizer");
        if kept.exists() {
            return Ok(TextTokenizer::from_folder(&kept)?);
        }
        let vocabulary = self.config.language_model.vocabulary;
        let tokenizer =
            TextTokenizer::train_byte_level_bpe(texts.iter().map(String::as_str), vocabulary)?;
        write_folder(
            &kept,
            |folder| Ok(tokenizer.save_to_folder(folder, self.config.max_tokens)?),
        )?;
        Ok(tokenizer)
    }

    fn autoencoder(&self) -> Result<Option<u64>, TrainingError> {
        let section = &self.config.autoencoder;
        let language_model = Arc::new(self.trained_language_model("autoencoder")?);
        let config = self.perceiver_config(&language_model);
        let inputs = AutoencoderInputs {
            train: self.tokens(&language_model.tokenizer, &self.texts(&section.data)?)?.0,
            validation: self
                .tokens(&language_model.tokenizer, &self.texts(&section.validation)?)?
                .0,
            batch_size: section.training.batch_size,
            padding: self.config.padding(),
            seed: self.config.seed,
            precision: self.config.precision,
        };
        let stage = AutoencoderStage::new(
            language_model.clone(),
            section.objective.clone(),
            inputs,
            self.device,
        );
        let folder = self.folder(PipelineStage::Autoencoder);
        let run = self.run_settings(&folder, section);
        self.device.seed(self.config.seed);
        match train(&stage, config.init(self.device), &section.training, &run)? {
            Outcome::Interrupted { step, .. } => Ok(Some(step)),
            Outcome::Finished(perceiver) => {
                let language_model = (*language_model).clone();
                let autoencoder = LanguageAutoencoder { language_model, perceiver, config };
                self.publish(PipelineStage::Autoencoder, |folder| {
                    Ok(autoencoder.save(folder, FloatDType::F32)?)
                })
            }
        }
    }

    fn diffusion(&self) -> Result<Option<u64>, TrainingError> {
        let section = &self.config.diffusion;
        let autoencoder = self.trained_autoencoder()?;
        let train_records = self.records(&section.data)?;
        let labels = labels_of(&train_records)?;
        let train_latents = self.latents("train", &autoencoder, train_records, &labels)?;
        let validation_records = self.records(&section.validation)?;
        let validation = self.latents("validation", &autoencoder, validation_records, &labels)?;

        let mut denoiser = section.model.clone();
        denoiser.classes = labels.as_ref().map(|labels| labels.names().len());
        let config = ModelConfig {
            format_version: FORMAT_VERSION,
            denoiser: denoiser.clone(),
            schedule: section.schedule.clone(),
            prediction: section.prediction,
            labels: labels.clone(),
            statistics: train_latents.statistics().clone(),
            sampling: section.sampling.clone(),
            decoding: section.decoding.clone(),
        };
        let normalised = |set: LatentSet| match autoencoder.config.latent_norm {
            LatentNorm::L2 => set,
            LatentNorm::None => set.normalised(&config.statistics),
        };
        let stage = DiffusionStage {
            objective: section.objective.clone(),
            schedule: section.schedule.init()?,
            prediction: section.prediction,
            rescale_estimate: autoencoder.config.latent_norm == LatentNorm::L2,
            labels,
            train: Arc::new(normalised(train_latents)),
            validation: Arc::new(normalised(validation)),
            batch_size: section.training.batch_size,
            seed: self.config.seed,
            device: self.device.clone(),
            decode_samples: self.sample_decoder(&config, &autoencoder),
        };
        let folder = self.folder(PipelineStage::Diffusion);
        let run = self.run_settings(&folder, section);
        self.device.seed(self.config.seed);
        match train(&stage, denoiser.init(self.device), &section.training, &run)? {
            Outcome::Interrupted { step, .. } => Ok(Some(step)),
            Outcome::Finished(denoiser) => {
                let model = LatentText::new(config, autoencoder, denoiser, self.device)?;
                self.publish(PipelineStage::Diffusion, |folder| {
                    Ok(model.save(folder, FloatDType::F16)?)
                })
            }
        }
    }

    /// Latents of a split, from its cache where that still fits.
    fn latents(
        &self,
        split: &str,
        autoencoder: &LanguageAutoencoder,
        records: Vec<Record>,
        labels: &Option<ClassLabels>,
    ) -> Result<LatentSet, TrainingError> {
        let texts: Vec<String> = records.iter().map(|record| record.text.clone()).collect();
        let (tokens, kept) = self.tokens(&autoencoder.language_model.tokenizer, &texts)?;
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
        let folder = self.folder(PipelineStage::Diffusion);
        fs::create_dir_all(&folder).map_err(TrainingError::file("create", &folder))?;
        let weights = self.result(PipelineStage::Autoencoder);
        let source = LatentSource {
            autoencoder,
            fingerprint: fingerprint_of(&weights, &tokens)?,
            tokens: &tokens,
            classes,
            batch_size: self.config.autoencoder.training.batch_size,
            padding: self.config.padding(),
            precision: self.config.precision,
        };
        cached_latents(&cache_path(&folder, split), source, self.device, self.stop)
    }

    /// Decodes samples of a half-trained denoiser, for the log.
    fn sample_decoder(
        &self,
        config: &ModelConfig,
        autoencoder: &LanguageAutoencoder,
    ) -> Box<SampleDecoder> {
        let (config, device) = (config.clone(), self.device.clone());
        let (dtype, seed) = (self.config.precision.dtype(), self.config.seed);
        let mut language_model = autoencoder.language_model.clone();
        language_model.model = cast_module(language_model.model, dtype);
        let perceiver = cast_module(autoencoder.perceiver.clone(), dtype);
        let shape = autoencoder.config.clone();
        Box::new(move |denoiser: &Denoiser, samples: usize| {
            let autoencoder = LanguageAutoencoder {
                language_model: language_model.clone(),
                perceiver: perceiver.clone(),
                config: shape.clone(),
            };
            let model = LatentText::new(config.clone(), autoencoder, denoiser.clone(), &device)?;
            let request = Request { count: samples, seed, ..Request::default() };
            let texts = model.generate(&request, |_| ControlFlow::Continue(()))?;
            Ok(texts.into_iter().map(|generated| generated.text).collect())
        })
    }

    fn trained_language_model(&self, stage: &str) -> Result<LanguageModel, TrainingError> {
        let folder = self.finished(PipelineStage::LanguageModel, stage)?;
        Ok(LanguageModel::load(&folder, self.device)?)
    }

    fn trained_autoencoder(&self) -> Result<LanguageAutoencoder, TrainingError> {
        let folder = self.finished(PipelineStage::Autoencoder, "diffusion")?;
        Ok(LanguageAutoencoder::load(&folder, self.device)?)
    }

    fn finished(&self, needed: PipelineStage, by: &str) -> Result<PathBuf, TrainingError> {
        let missing = self.result(needed);
        if missing.exists() {
            Ok(missing)
        } else {
            Err(TrainingError::StageMissing { stage: by.to_string(), missing })
        }
    }

    fn perceiver_config(&self, language_model: &LanguageModel) -> PerceiverConfig {
        self.config
            .autoencoder
            .model
            .perceiver(language_model.config.d_model(), self.config.max_tokens)
    }

    fn records(&self, sets: &[DatasetConfig]) -> Result<Vec<Record>, TrainingError> {
        let mut records = Vec::new();
        for set in sets {
            records.extend(read_texts(set, self.data_root)?);
        }
        if records.is_empty() {
            return Err(TrainingError::setting("data", "names no text set"));
        }
        Ok(records)
    }

    fn texts(&self, sets: &[DatasetConfig]) -> Result<Vec<String>, TrainingError> {
        Ok(self.records(sets)?.into_iter().map(|record| record.text).collect())
    }

    /// Token ids of the texts that fit into the length limit, and which ones these are.
    fn tokens(
        &self,
        tokenizer: &TextTokenizer,
        texts: &[String],
    ) -> Result<(Vec<Vec<u32>>, Vec<usize>), TrainingError> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoded = tokenizer.encode_batch(&texts, usize::MAX)?.ids;
        let kept: Vec<usize> = (0..encoded.len())
            .filter(|&index| encoded[index].len() <= self.config.max_tokens)
            .collect();
        if kept.is_empty() {
            return Err(TrainingError::setting(
                "max_tokens",
                format!("is {}, which none of the texts fits into", self.config.max_tokens),
            ));
        }
        let tokens = kept.iter().map(|&index| encoded[index].clone()).collect();
        Ok((tokens, kept))
    }

    fn run_settings<'b>(&'b self, folder: &'b Path, section: &impl Serialize) -> Run<'b> {
        let settings = serde_json::json!({
            "max_tokens": self.config.max_tokens,
            "pad_to_multiple": self.config.pad_to_multiple,
            "precision": self.config.precision,
            "section": serde_json::to_value(section).unwrap_or_default(),
        });
        Run {
            folder,
            device: self.device,
            precision: self.config.precision,
            seed: self.config.seed,
            fingerprint: settings.to_string(),
            stop: self.stop,
        }
    }

    /// Puts a stage's result in its place, whole or not at all.
    fn publish(
        &self,
        stage: PipelineStage,
        write: impl FnOnce(&Path) -> Result<(), TrainingError>,
    ) -> Result<Option<u64>, TrainingError> {
        write_folder(&self.result(stage), write)?;
        Ok(None)
    }
}

/// Writes a folder under a temporary name and renames it once it is whole.
fn write_folder(
    target: &Path,
    write: impl FnOnce(&Path) -> Result<(), TrainingError>,
) -> Result<(), TrainingError> {
    let temporary = target.with_extension("tmp");
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(TrainingError::file("remove", &temporary))?;
    }
    fs::create_dir_all(&temporary).map_err(TrainingError::file("create", &temporary))?;
    write(&temporary)?;
    fs::rename(&temporary, target).map_err(TrainingError::file("write", target))
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

/// Tells apart the weights in `folder` (and below) and the texts that latents are made from.
fn fingerprint_of(folder: &Path, tokens: &[Vec<u32>]) -> Result<String, TrainingError> {
    let mut hash = Fnv::default();
    let mut files = Vec::new();
    collect_files(folder, &mut files)?;
    files.sort();
    for file in files {
        hash.add(&fs::read(&file).map_err(TrainingError::file("read", &file))?);
    }
    for row in tokens {
        hash.add(&(row.len() as u64).to_le_bytes());
        for id in row {
            hash.add(&id.to_le_bytes());
        }
    }
    Ok(format!("{:016x}", hash.0))
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), TrainingError> {
    for entry in fs::read_dir(folder).map_err(TrainingError::file("read", folder))? {
        let path = entry.map_err(TrainingError::file("read", folder))?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The 64-bit FNV-1a hash, which is the same on every machine and in every version.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
