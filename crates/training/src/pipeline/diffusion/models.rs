use std::path::PathBuf;
use std::sync::Arc;

use latent_text_autoencoder::LanguageAutoencoder;
use latent_text_conditioning::SourceReader;
use latent_text_generation::{SourceConfig, SourceEncoder};
use latent_text_language_model::LanguageModel;
use latent_text_nn::cast_module;

use crate::TrainingError;
use crate::config::AutoencoderSection;
use crate::pipeline::{Pipeline, PipelineStage};
use crate::source::SourceEncoderChoice;

/// The models that the denoiser is trained with and that stay as they are.
pub(super) struct FrozenModels {
    pub(super) autoencoder: LanguageAutoencoder,
    pub(super) autoencoder_folder: PathBuf,
    pub(super) sources: Option<FrozenSourceEncoder>,
}

/// What reads the sources.
pub(super) struct FrozenSourceEncoder {
    pub(super) config: SourceConfig,
    /// In the dtype of the passes.
    pub(super) reader: Arc<SourceReader>,
    /// The language model in f32, if it is not the autoencoder's.
    pub(super) own: Option<LanguageModel>,
}

impl Pipeline<'_> {
    pub(super) fn frozen_models(&self) -> Result<FrozenModels, TrainingError> {
        let autoencoder_folder = match &self.config.autoencoder {
            AutoencoderSection::Given { folder } => {
                self.given_folder("autoencoder.folder", folder)?
            }
            AutoencoderSection::EncoderStates { .. } | AutoencoderSection::Trained(_) => {
                self.finished(PipelineStage::Autoencoder, "diffusion")?
            }
        };
        let autoencoder = LanguageAutoencoder::load(&autoencoder_folder, self.device)?;
        self.config.check_fit(&autoencoder.config())?;
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
                (SourceEncoder::Own, Some(self.given_folder("diffusion.source.encoder", path)?))
            }
        };
        let own = match &own_folder {
            None => None,
            Some(folder) => Some(LanguageModel::load(folder, self.device)?),
        };
        let language_model = self.for_passes(own.as_ref().unwrap_or(&autoencoder.language_model));
        let reader = Arc::new(SourceReader::new(language_model, section.max_tokens)?);
        let config = SourceConfig { encoder, max_tokens: section.max_tokens };
        Ok(Some(FrozenSourceEncoder { config, reader, own }))
    }

    /// A copy in the dtype of the passes.
    pub(super) fn for_passes(&self, language_model: &LanguageModel) -> LanguageModel {
        let mut copy = language_model.clone();
        copy.model = cast_module(copy.model, self.config.precision.dtype());
        copy
    }
}
