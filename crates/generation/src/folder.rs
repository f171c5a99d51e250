use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use burn::tensor::{Device, FloatDType};
use latent_text_autoencoder::LanguageAutoencoder;
use latent_text_conditioning::{LengthPredictor, LengthPredictorConfig};
use latent_text_denoiser::{DenoisingNetwork, DenoisingNetworkConfig};
use latent_text_language_model::LanguageModel;
use latent_text_nn::{weights, write_atomically};

use crate::{FORMAT_VERSION, GenerationError, LatentText, ModelConfig, SourceEncoder};

/// The file that describes a model folder. It is written last, so a folder without it is not whole.
pub const MODEL_CONFIG_FILE: &str = "config.json";
/// The file with the denoiser's weights.
pub const DENOISER_FILE: &str = "denoiser.safetensors";
/// The folder of the language model that reads sources, where it is not the autoencoder's.
pub const SOURCE_ENCODER_FOLDER: &str = "source_encoder";
/// The file with the weights of what predicts lengths, where something does.
pub const LENGTH_PREDICTOR_FILE: &str = "length_predictor.safetensors";
/// The file with the weights of the denoiser that autoguidance leads away from, where there is one.
pub const WEAKER_DENOISER_FILE: &str = "weaker_denoiser.safetensors";

impl LatentText {
    /// Reads a model folder onto `device`, in f32; [`cast`](Self::cast) takes it to another dtype.
    ///
    /// # Errors
    /// [`GenerationError::NoModel`] if the folder is missing or half-written; otherwise what its files
    /// answer when they are damaged or do not fit.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, GenerationError> {
        let mut config = read_config(folder)?;
        let predictor = match config.length_predictor.take() {
            None => None,
            Some(predictor) => Some((load_predictor(folder, &predictor, device)?, predictor)),
        };
        let weaker = match config.weaker_denoiser.take() {
            None => None,
            Some(weaker) => {
                Some((load_denoiser(folder, WEAKER_DENOISER_FILE, &weaker, device)?, weaker))
            }
        };
        let mut model = Self::load_parts(folder, config, device)?;
        if let Some((predictor, config)) = predictor {
            model = model.with_length_predictor(config, predictor)?;
        }
        if let Some((weaker, config)) = weaker {
            model = model.with_weaker_denoiser(config, weaker)?;
        }
        Ok(model)
    }

    /// All but what predicts lengths and the weaker denoiser.
    fn load_parts(
        folder: &Path,
        config: ModelConfig,
        device: &Device,
    ) -> Result<Self, GenerationError> {
        let denoiser = load_denoiser(folder, DENOISER_FILE, &config.denoiser, device)?;
        let autoencoder = LanguageAutoencoder::load(folder, device)?;
        if config.source.as_ref().is_none_or(|source| source.encoder == SourceEncoder::Autoencoder)
        {
            return Self::new(config, autoencoder, denoiser, device);
        }
        let source_folder = folder.join(SOURCE_ENCODER_FOLDER);
        if !source_folder.exists() {
            return Err(not_whole(folder, SOURCE_ENCODER_FOLDER));
        }
        let source_encoder = LanguageModel::load(&source_folder, device)?;
        Self::with_source_encoder(config, autoencoder, denoiser, device, source_encoder)
    }

    /// Writes the model to `folder`, its weights as `dtype`; `config.json` comes last. Weights that
    /// another model left there, of a part that this one lacks, are removed.
    ///
    /// # Errors
    /// What writing answers.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), GenerationError> {
        fs::create_dir_all(folder).map_err(|source| GenerationError::File {
            action: "create",
            path: folder.to_path_buf(),
            source,
        })?;
        self.autoencoder.save(folder, dtype)?;
        let source_encoder = self.own_source_encoder();
        if let Some(source_encoder) = source_encoder {
            source_encoder.save(&folder.join(SOURCE_ENCODER_FOLDER), dtype)?;
        }
        weights::save(&self.denoiser, &folder.join(DENOISER_FILE), dtype, &|name| {
            name.to_string()
        })?;
        if let Some(predictor) = &self.length_predictor {
            weights::save(predictor, &folder.join(LENGTH_PREDICTOR_FILE), dtype, &|name| {
                name.to_string()
            })?;
        }
        if let Some(weaker) = &self.weaker_denoiser {
            weights::save(weaker, &folder.join(WEAKER_DENOISER_FILE), dtype, &|name| {
                name.to_string()
            })?;
        }
        let path = folder.join(MODEL_CONFIG_FILE);
        let text = serde_json::to_string_pretty(&self.config)
            .map_err(|source| GenerationError::Config { path: path.clone(), source })?;
        write_atomically(&path, |file| writeln!(file, "{text}"))
            .map_err(|source| GenerationError::File { action: "write", path, source })?;
        for (present, file) in [
            (self.length_predictor.is_some(), LENGTH_PREDICTOR_FILE),
            (self.weaker_denoiser.is_some(), WEAKER_DENOISER_FILE),
        ] {
            if !present {
                remove(&folder.join(file), fs::remove_file)?;
            }
        }
        if source_encoder.is_none() {
            remove(&folder.join(SOURCE_ENCODER_FOLDER), fs::remove_dir_all)?;
        }
        Ok(())
    }

    /// The language model that reads sources, where it is not the autoencoder's.
    pub(crate) fn own_source_encoder(&self) -> Option<&LanguageModel> {
        let source = self.config.source.as_ref()?;
        let reader = self.source_reader.as_ref()?;
        (source.encoder == SourceEncoder::Own).then(|| reader.language_model())
    }
}

/// Removes `path`, which need not be there.
fn remove<'a>(
    path: &'a Path,
    by: impl FnOnce(&'a Path) -> io::Result<()>,
) -> Result<(), GenerationError> {
    match by(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(GenerationError::File { action: "remove", path: path.to_path_buf(), source: error })
        }
        _ => Ok(()),
    }
}

fn load_denoiser(
    folder: &Path,
    file: &str,
    config: &DenoisingNetworkConfig,
    device: &Device,
) -> Result<DenoisingNetwork, GenerationError> {
    let path = folder.join(file);
    if !path.exists() {
        return Err(not_whole(folder, file));
    }
    config.validate()?;
    Ok(weights::load(config.init(device), &path, &|name| name.to_string())?)
}

fn load_predictor(
    folder: &Path,
    config: &LengthPredictorConfig,
    device: &Device,
) -> Result<LengthPredictor, GenerationError> {
    let path = folder.join(LENGTH_PREDICTOR_FILE);
    if !path.exists() {
        return Err(not_whole(folder, LENGTH_PREDICTOR_FILE));
    }
    config.validate()?;
    Ok(weights::load(config.init(device), &path, &|name| name.to_string())?)
}

fn read_config(folder: &Path) -> Result<ModelConfig, GenerationError> {
    let path = folder.join(MODEL_CONFIG_FILE);
    if !path.exists() {
        return Err(not_whole(folder, MODEL_CONFIG_FILE));
    }
    let text = fs::read_to_string(&path).map_err(|source| GenerationError::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let understood = |source| GenerationError::Config { path: path.clone(), source };
    let json: serde_json::Value = serde_json::from_str(&text).map_err(understood)?;
    if let Some(found) = json.get("format_version").and_then(serde_json::Value::as_u64)
        && found != u64::from(FORMAT_VERSION)
    {
        return Err(GenerationError::FormatVersion {
            path: path.clone(),
            found,
            known: FORMAT_VERSION,
        });
    }
    serde_json::from_value(json).map_err(understood)
}

fn not_whole(folder: &Path, missing: &str) -> GenerationError {
    let (missing, hint) = if folder.is_dir() {
        (
            missing,
            "; the folder may be half-written: copy it again, or end its training with --resume",
        )
    } else {
        ("the folder itself", "; check the path")
    };
    GenerationError::NoModel { folder: folder.to_path_buf(), missing: missing.to_string(), hint }
}
