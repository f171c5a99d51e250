use std::path::PathBuf;

use burn::tensor::FloatDType;
use latent_text_autoencoder::AutoencoderError;
use latent_text_conditioning::{ConditioningError, UnknownLabel};
use latent_text_denoiser::DenoiserError;
use latent_text_diffusion::DiffusionError;
use latent_text_language_model::LanguageModelError;
use latent_text_nn::weights::WeightsError;

/// Why a model can't be loaded, saved or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// There is no model at the path.
    #[error("{folder} is not a model folder: {missing} is missing{hint}")]
    NoModel {
        /// The folder.
        folder: PathBuf,
        /// What it should hold.
        missing: String,
        /// What to do.
        hint: &'static str,
    },
    /// A file of the folder can't be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// `read`, `write`, `create` or `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `config.json` says something that this version doesn't understand.
    #[error("cannot understand {path}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The folder was written by another version of the format.
    #[error(
        "{path} has format version {found}, this version of latent-text reads {known}; {}",
        if .found > &u64::from(*.known) { "update latent-text" }
        else { "train or convert the model again" }
    )]
    FormatVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is understood.
        known: u32,
    },
    /// The parts of the model don't fit each other.
    #[error("the model's parts don't fit: {0}")]
    Inconsistent(String),
    /// A class was asked of a model without classes.
    #[error("the model has no classes, so it can't generate the label `{0}`; leave labels out")]
    NotConditional(String),
    /// Sources were given to a model that does not read them.
    #[error("the model reads no source texts, so it can't write for them; leave sources out")]
    NotForSources,
    /// A model that writes for source texts was given none.
    #[error(
        "the model writes texts for source texts, but the request has none; give it `sources`, or set \
         `without_source` for texts that stand alone"
    )]
    NoSources,
    /// Something needs predictions without a condition, which the model was not trained to make.
    #[error("the model was never trained without its conditions, but {needed_by}")]
    NullUntrained {
        /// What needs them, and what to do instead.
        needed_by: &'static str,
    },
    /// Lengths were asked of a model whose texts all have as many latents.
    #[error(
        "the model makes {latents} latents of every text, so that texts have no length to choose; leave \
         `lengths` out"
    )]
    FixedLength {
        /// How many latents a text has.
        latents: usize,
    },
    /// Lengths are to be predicted by a model that can't, or for texts that it can't do it for.
    #[error("lengths can't be predicted: {0}")]
    NoPredictedLengths(&'static str),
    /// Norm rescale of latents that are not l2-normalised.
    #[error(
        "`rescale_x0` brings all latents to one norm, but the model's latents are not l2-normalised; \
         set it to false"
    )]
    Rescale,
    /// There is no condition that guidance could strengthen.
    #[error(
        "guidance strengthens a condition, but the texts have none; {}",
        if *.possible { "give labels or sources, or leave guidance out" }
        else { "the model knows none, so leave guidance out" }
    )]
    NothingToGuide {
        /// Whether the model knows conditions.
        possible: bool,
    },
    /// Autoguidance without a denoiser that is weaker than the model's own.
    #[error(
        "autoguidance needs a weaker denoiser, which the model does not have; give it one \
         (`with_weaker_denoiser`), or choose another guidance"
    )]
    NoWeakerDenoiser,
    /// Guidance of the caller's made latents that can't be decoded.
    #[error(
        "guidance led the latents of text {text} to values that are no finite numbers; lower its weight, \
         or see that its gradient is finite at every noise level"
    )]
    Misguided {
        /// Index of the text.
        text: usize,
    },
    /// The model is to compute in what its device does not compute in.
    #[error(
        "the model can't compute in {dtype:?} on {device}; leave it in f32, or load it onto another device"
    )]
    Precision {
        /// What was asked for.
        dtype: FloatDType,
        /// The model's device, as Burn calls it.
        device: String,
    },
    /// The device failed to hand over values.
    #[error("cannot read values back from the device: {0}")]
    Device(String),
    /// Latents that can't be decoded.
    #[error("these latents can't be decoded: {0}")]
    Latents(String),
    /// The request makes no sense.
    #[error("bad request: {0}")]
    Request(String),
    /// The label isn't one of the model's.
    #[error(transparent)]
    Label(#[from] UnknownLabel),
    /// Source texts can't be read.
    #[error(transparent)]
    Conditioning(#[from] ConditioningError),
    /// The autoencoder can't be used.
    #[error(transparent)]
    Autoencoder(#[from] AutoencoderError),
    /// The denoiser can't be used.
    #[error(transparent)]
    Denoiser(#[from] DenoiserError),
    /// The diffusion process can't be used, or the caller's callback stopped it.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// The language model can't be used.
    #[error(transparent)]
    LanguageModel(#[from] LanguageModelError),
    /// A weights file can't be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
