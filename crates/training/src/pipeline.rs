//! All stages, from raw text to a model folder.

mod autoencoder;
mod diffusion;
mod fingerprint;
mod fitting;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::LANGUAGE_MODEL_FOLDER;
use latent_text_language_model::{
    EncoderDecoderConfig, GenerationConfig, LanguageModel, TextTokenizer,
};

use crate::TrainingError;
use crate::config::{AutoencoderSection, LanguageModelSection, TrainingConfig};
use crate::data::{DatasetConfig, Record, read_texts};
use crate::source::{SourceEncoderChoice, SourceSection};
use crate::stage::{LanguageModelInputs, LanguageModelStage, PretrainingText};
use crate::trainer::{Outcome, Run, train};
use settings::StageSettings;

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

/// A training from raw text, or from a finished autoencoder, to a model folder.
///
/// The output folder holds one folder for each stage (`checkpoints/`, `metrics.jsonl`, `loss.svg`,
/// `samples.txt` and, once it is finished, `settings.json`, which a resumed run is compared by, and
/// `result/`) and in the end `model/`.
pub struct Pipeline<'a> {
    /// What to train.
    pub config: &'a TrainingConfig,
    /// Folder to which the paths of data and of given models are relative.
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
    /// [`TrainingError::Checkpoint`] if a stage that is finished or was interrupted had other settings;
    /// otherwise whatever ends a stage.
    pub fn run(
        &self,
        only: Option<PipelineStage>,
        resume: bool,
    ) -> Result<Progress, TrainingError> {
        self.config.check()?;
        let stages: Vec<PipelineStage> = match only {
            Some(stage) if self.stages().contains(&stage) => vec![stage],
            Some(stage) => return Err(self.no_such_stage(stage)),
            None => self.stages().to_vec(),
        };
        let mut written = stages.iter().flat_map(|&stage| [self.folder(stage), self.result(stage)]);
        if !resume && let Some(path) = written.find(|path| path.exists()) {
            return Err(TrainingError::OutputExists { path });
        }
        for &stage in stages.iter().filter(|&&stage| self.result(stage).exists()) {
            self.check_settings_of_result(stage)?;
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

    /// The stages of this configuration, in their order.
    fn stages(&self) -> &'static [PipelineStage] {
        match (&self.config.autoencoder, &self.config.language_model) {
            (AutoencoderSection::Given { .. }, _) => &PipelineStage::ALL[2..],
            (_, Some(LanguageModelSection::Given { .. })) => &PipelineStage::ALL[1..],
            _ => &PipelineStage::ALL,
        }
    }

    fn no_such_stage(&self, stage: PipelineStage) -> TrainingError {
        let (setting, given) = match self.config.autoencoder {
            AutoencoderSection::Given { .. } => ("autoencoder.folder", "autoencoder"),
            AutoencoderSection::EncoderStates { .. } | AutoencoderSection::Trained(_) => {
                ("language_model.folder", "language model")
            }
        };
        let problem = format!("gives the {given}, so there is no stage `{}`", stage.name());
        TrainingError::setting(setting, problem)
    }

    /// The folder of a language model that is not trained here, nor a part of a given autoencoder.
    fn given_language_model(&self) -> Result<Option<PathBuf>, TrainingError> {
        match &self.config.language_model {
            Some(LanguageModelSection::Given { folder }) => {
                self.given_folder("language_model.folder", folder).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A folder that `setting` names.
    fn given_folder(&self, setting: &str, folder: &Path) -> Result<PathBuf, TrainingError> {
        let path = self.data_root.join(folder);
        if path.is_dir() {
            Ok(path)
        } else {
            let problem = format!("names {}, where there is no folder", path.display());
            Err(TrainingError::setting(setting, problem))
        }
    }

    /// Reads a stage's texts, so that a bad file is told of before hours of training.
    fn check_data(&self, stage: PipelineStage) -> Result<(), TrainingError> {
        let (name, data, validation) = match stage {
            PipelineStage::LanguageModel => {
                let section = self.config.language_model_training()?;
                ("language_model", &section.data, &section.validation)
            }
            PipelineStage::Autoencoder => {
                self.check_given_language_model()?;
                let Some(section) = self.config.autoencoder.training() else { return Ok(()) };
                ("autoencoder", &section.data, &section.validation)
            }
            PipelineStage::Diffusion => {
                self.check_decoding_of_given()?;
                let section = &self.config.diffusion;
                if let Some(source) = &section.source {
                    self.check_source_encoder(source)?;
                }
                ("diffusion", &section.data, &section.validation)
            }
        };
        for (list, sets) in [("data", data), ("validation", validation)] {
            if sets.is_empty() {
                let setting = format!("{name}.{list}");
                return Err(TrainingError::setting(setting, "is empty; name a text set"));
            }
        }
        let (data, validation) = (self.records(data)?, self.records(validation)?);
        if stage == PipelineStage::Diffusion
            && let Some(labels) = diffusion::labels_of(&data)?
        {
            for label in validation.iter().filter_map(|record| record.label.as_ref()) {
                labels.index_of(label)?;
            }
        }
        Ok(())
    }

    /// Looks at the configuration of the language model that is given, alone or with an autoencoder, which
    /// has the ids and the positions that the settings of decoding speak of.
    fn check_decoding_of_given(&self) -> Result<(), TrainingError> {
        let folder = match &self.config.autoencoder {
            AutoencoderSection::Given { folder } => {
                self.given_folder("autoencoder.folder", folder)?.join(LANGUAGE_MODEL_FOLDER)
            }
            _ => match self.given_language_model()? {
                Some(folder) => folder,
                None => return Ok(()),
            },
        };
        let language_model = EncoderDecoderConfig::from_folder(&folder)?;
        self.config.check_decoding_fits(language_model.max_positions(), language_model.vocab_size())
    }

    /// Looks at the configuration of an encoder from a folder.
    fn check_source_encoder(&self, section: &SourceSection) -> Result<(), TrainingError> {
        let folder = match &section.encoder {
            SourceEncoderChoice::Folder(folder) => {
                self.given_folder("diffusion.source.encoder", folder)?
            }
            SourceEncoderChoice::Autoencoder => match self.given_language_model()? {
                Some(folder) => folder,
                None => return Ok(()),
            },
        };
        let config = EncoderDecoderConfig::from_folder(&folder)?;
        match config.max_positions() {
            Some(most) if section.max_tokens > most => Err(TrainingError::setting(
                "diffusion.source.max_tokens",
                format!("is {}, but the encoder has only {most} positions", section.max_tokens),
            )),
            _ => Ok(()),
        }
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
        let section = self.config.language_model_training()?;
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
        let settings = self.settings_of(PipelineStage::LanguageModel)?;
        let run = self.run_settings(&folder, &settings);
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
                self.publish(PipelineStage::LanguageModel, settings, |folder| {
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
        let vocabulary = self.config.language_model_training()?.vocabulary;
        let tokenizer =
            TextTokenizer::train_byte_level_bpe(texts.iter().map(String::as_str), vocabulary)?;
        write_folder(
            &kept,
            |folder| Ok(tokenizer.save_to_folder(folder, self.config.max_tokens)?),
        )?;
        Ok(tokenizer)
    }

    fn finished(&self, needed: PipelineStage, by: &str) -> Result<PathBuf, TrainingError> {
        let missing = self.result(needed);
        if missing.exists() {
            Ok(missing)
        } else {
            Err(TrainingError::StageMissing { stage: by.to_string(), missing })
        }
    }

    fn records(&self, sets: &[DatasetConfig]) -> Result<Vec<Record>, TrainingError> {
        let mut records = Vec::new();
        for set in sets {
            records.extend(read_texts(set, self.data_root)?);
        }
        Ok(records)
    }

    fn texts(&self, sets: &[DatasetConfig]) -> Result<Vec<String>, TrainingError> {
        Ok(self.records(sets)?.into_iter().map(|record| record.text).collect())
    }

    fn run_settings<'b>(&'b self, folder: &'b Path, settings: &StageSettings) -> Run<'b> {
        Run {
            folder,
            device: self.device,
            precision: self.config.precision,
            seed: self.config.seed,
            fingerprint: settings.fingerprint.clone(),
            stop: self.stop,
        }
    }

    /// Puts a stage's result in its place, whole or not at all.
    fn publish(
        &self,
        stage: PipelineStage,
        settings: StageSettings,
        write: impl FnOnce(&Path) -> Result<(), TrainingError>,
    ) -> Result<Option<u64>, TrainingError> {
        self.write_settings(stage, &settings)?;
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
