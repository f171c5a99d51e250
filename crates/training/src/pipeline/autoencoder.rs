use burn::tensor::FloatDType;
use latent_text_autoencoder::{LanguageAutoencoder, LatentSpace};
use latent_text_language_model::{EncoderDecoderConfig, LanguageModel};

use super::{Pipeline, PipelineStage};
use crate::TrainingError;
use crate::config::{AutoencoderSection, OwnStates};
use crate::stage::{
    AutoencoderInputs, AutoencoderModel, AutoencoderStage, FineTunedAutoencoder, LanguageModelMode,
};
use crate::trainer::{Outcome, train};

impl Pipeline<'_> {
    pub(super) fn autoencoder(&self) -> Result<Option<u64>, TrainingError> {
        if let AutoencoderSection::EncoderStates { latents: OwnStates::Encoder } =
            self.config.autoencoder
        {
            return self.encoder_states();
        }
        let section = self.config.autoencoder_training()?;
        let language_model = self.language_model_of_autoencoder()?;
        let config = section.perceiver(language_model.config.d_model(), self.config.max_tokens);
        config.validate_with(&language_model.config)?;
        self.device.seed(self.config.seed);
        let perceiver = config.init(self.device);
        let trained = match section.objective.language_model_training {
            LanguageModelMode::Frozen => {
                let stage = self.autoencoder_stage(&language_model)?;
                self.train_autoencoder(&stage, perceiver)?
                    .map(|perceiver| (perceiver, language_model))
            }
            LanguageModelMode::FineTuned => {
                let stage = self.autoencoder_stage(&language_model)?;
                let LanguageModel { model, config, tokenizer, generation } = language_model;
                let dropout = section.objective.language_model_dropout;
                let both = FineTunedAutoencoder::new(perceiver, model, dropout);
                self.train_autoencoder(&stage, both)?.map(
                    |FineTunedAutoencoder { perceiver, language_model: model }| {
                        (perceiver, LanguageModel { model, config, tokenizer, generation })
                    },
                )
            }
        };
        match trained {
            Outcome::Interrupted { step, .. } => Ok(Some(step)),
            Outcome::Finished((perceiver, language_model)) => {
                let space = LatentSpace::Perceiver { perceiver, config };
                let autoencoder = LanguageAutoencoder::new(language_model, space)?;
                let settings = self.settings_of(PipelineStage::Autoencoder)?;
                self.publish(PipelineStage::Autoencoder, settings, |folder| {
                    Ok(autoencoder.save(folder, FloatDType::F32)?)
                })
            }
        }
    }

    /// An autoencoder with nothing to train: latents are the encoder's states.
    fn encoder_states(&self) -> Result<Option<u64>, TrainingError> {
        let checkpoints = self.folder(PipelineStage::Autoencoder).join("checkpoints");
        if checkpoints.exists() {
            return Err(TrainingError::Checkpoint {
                path: checkpoints,
                problem: "it was made with other settings, under which an autoencoder is trained; resume \
                          with the configuration it was made with, or train into another folder"
                    .to_string(),
            });
        }
        let language_model = self.language_model_of_autoencoder()?;
        let config = self.config.encoder_latents(language_model.config.d_model());
        let autoencoder =
            LanguageAutoencoder::new(language_model, LatentSpace::Encoder { config })?;
        let settings = self.settings_of(PipelineStage::Autoencoder)?;
        self.publish(PipelineStage::Autoencoder, settings, |folder| {
            Ok(autoencoder.save(folder, FloatDType::F32)?)
        })
    }

    fn autoencoder_stage<M: AutoencoderModel>(
        &self,
        language_model: &LanguageModel,
    ) -> Result<AutoencoderStage<M>, TrainingError> {
        let section = self.config.autoencoder_training()?;
        let tokens = |list, sets| -> Result<Vec<Vec<u32>>, TrainingError> {
            Ok(self.tokens(list, &language_model.tokenizer, &self.texts(sets)?)?.0)
        };
        let inputs = AutoencoderInputs {
            train: tokens("autoencoder, train texts", &section.data)?,
            validation: tokens("autoencoder, validation texts", &section.validation)?,
            batch_size: section.training.batch_size,
            padding: self.config.padding(),
            seed: self.config.seed,
            precision: self.config.precision,
        };
        AutoencoderStage::new(language_model, section.objective.clone(), inputs, self.device)
    }

    fn train_autoencoder<M: AutoencoderModel>(
        &self,
        stage: &AutoencoderStage<M>,
        model: M,
    ) -> Result<Outcome<M>, TrainingError> {
        let section = self.config.autoencoder_training()?;
        let folder = self.folder(PipelineStage::Autoencoder);
        let settings = self.settings_of(PipelineStage::Autoencoder)?;
        let run = self.run_settings(&folder, &settings);
        train(stage, model, &section.training, &run)
    }

    fn language_model_of_autoencoder(&self) -> Result<LanguageModel, TrainingError> {
        let folder = match self.given_language_model()? {
            Some(folder) => folder,
            None => self.finished(PipelineStage::LanguageModel, "autoencoder")?,
        };
        Ok(LanguageModel::load(&folder, self.device)?)
    }

    /// Looks at the configuration of a language model from a folder, which the shape of the autoencoder
    /// depends on.
    pub(super) fn check_given_language_model(&self) -> Result<(), TrainingError> {
        let Some(folder) = self.given_language_model()? else { return Ok(()) };
        let language_model = EncoderDecoderConfig::from_folder(&folder)?;
        let config = self.config.autoencoder_on(language_model.d_model());
        config.validate_with(&language_model)?;
        self.config.check_fit(&config)
    }
}
