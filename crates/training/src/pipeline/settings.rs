//! What a finished stage was made with, so that a resumed run does not take it for something else.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::{Pipeline, PipelineStage};
use crate::TrainingError;
use crate::checkpoint::write_json;
use crate::config::AutoencoderSection;
use crate::source::SourceEncoderChoice;

const SETTINGS_FILE: &str = "settings.json";

/// What a stage's numbers depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageSettings {
    pub(super) seed: u64,
    pub(super) fingerprint: String,
}

impl Pipeline<'_> {
    /// The settings of a stage by this configuration.
    pub(super) fn settings_of(&self, stage: PipelineStage) -> Result<StageSettings, TrainingError> {
        let config = self.config;
        match stage {
            PipelineStage::LanguageModel => {
                Ok(self.stage_settings(config.language_model_training()?, None))
            }
            PipelineStage::Autoencoder => {
                let given = match self.given_language_model()? {
                    Some(folder) => Some(Fingerprint::new().folder(&folder)?.finish()),
                    None => None,
                };
                Ok(match config.autoencoder.training() {
                    Some(section) => self.stage_settings(section, given),
                    None => self.stage_settings(&config.autoencoder, given),
                })
            }
            PipelineStage::Diffusion => {
                Ok(self.stage_settings(&config.diffusion, self.models_given_to_diffusion()?))
            }
        }
    }

    /// `given` tells apart the models that the stage is given and that its section only names.
    fn stage_settings(&self, section: &impl Serialize, given: Option<String>) -> StageSettings {
        let mut settings = serde_json::json!({
            "max_tokens": self.config.max_tokens,
            "pad_to_multiple": self.config.pad_to_multiple,
            "precision": self.config.precision,
            "section": serde_json::to_value(section).unwrap_or_default(),
        });
        if let Some(given) = given {
            settings["given"] = given.into();
        }
        StageSettings { seed: self.config.seed, fingerprint: settings.to_string() }
    }

    /// Tells apart the models of the diffusion that this training does not make itself; none if there
    /// are no such.
    fn models_given_to_diffusion(&self) -> Result<Option<String>, TrainingError> {
        let autoencoder = match self.config.autoencoder {
            AutoencoderSection::Given { ref folder } => {
                Some(self.given_folder("autoencoder.folder", folder)?)
            }
            AutoencoderSection::EncoderStates { .. } | AutoencoderSection::Trained(_) => None,
        };
        let encoder = match self.config.diffusion.source.as_ref().map(|source| &source.encoder) {
            Some(SourceEncoderChoice::Folder(folder)) => {
                Some(self.given_folder("diffusion.source.encoder", folder)?)
            }
            Some(SourceEncoderChoice::Autoencoder) | None => None,
        };
        if autoencoder.is_none() && encoder.is_none() {
            return Ok(None);
        }
        let mut fingerprint = Fingerprint::new();
        if let Some(folder) = autoencoder {
            fingerprint = fingerprint.autoencoder(&folder)?;
        }
        if let Some(folder) = encoder {
            fingerprint = fingerprint.folder(&folder)?;
        }
        Ok(Some(fingerprint.finish()))
    }

    /// Keeps what a stage's result is about to be published under.
    pub(super) fn write_settings(
        &self,
        stage: PipelineStage,
        settings: &StageSettings,
    ) -> Result<(), TrainingError> {
        let folder = self.folder(stage);
        fs::create_dir_all(&folder).map_err(TrainingError::file("create", &folder))?;
        write_json(&self.settings_file(stage), settings)
    }

    /// Refuses a finished stage that was made with other settings. Results of versions that kept none
    /// are taken as they are.
    pub(super) fn check_settings_of_result(
        &self,
        stage: PipelineStage,
    ) -> Result<(), TrainingError> {
        let path = self.settings_file(stage);
        if !path.exists() {
            return Ok(());
        }
        let text = fs::read_to_string(&path).map_err(TrainingError::file("read", &path))?;
        let refuse = |problem: String| TrainingError::Checkpoint { path: path.clone(), problem };
        let made_with: StageSettings = serde_json::from_str(&text)
            .map_err(|error| refuse(format!("{error}; the file is damaged")))?;
        let expected = self.settings_of(stage)?;
        let what = if made_with.seed != expected.seed {
            "the finished stage was made with another seed"
        } else if made_with.fingerprint != expected.fingerprint {
            "the finished stage was made with other settings"
        } else {
            return Ok(());
        };
        Err(refuse(format!(
            "{what}; resume with the configuration it was made with, or train into another folder"
        )))
    }

    fn settings_file(&self, stage: PipelineStage) -> PathBuf {
        self.folder(stage).join(SETTINGS_FILE)
    }
}
