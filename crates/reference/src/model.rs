use std::fmt::{self, Display};
use std::path::PathBuf;

use burn::tensor::Device;
use latent_text_generation::LatentText;
use latent_text_nn::weights::TensorFile;

use crate::assembly::Parts;
use crate::run::Run;
use crate::{ReferenceError, TextLengths, denoiser};

pub(crate) const LAST: &str = "model.pt";
const BEST: &str = "best_model.pt";

/// A model of the published code: where its parts are, and what its files don't say.
#[derive(Clone, Debug)]
pub struct ReferenceModel {
    /// The run folder of the diffusion, `saved_diff_models/..`.
    pub diffusion: PathBuf,
    /// The run folder of the autoencoder, `saved_latent_models/..`; none for models over the encoder's
    /// own states: all of the first version, and those of the second that were trained without one.
    pub autoencoder: Option<PathBuf>,
    /// A Hugging Face folder with configuration and tokenizer of the language model. Its weights are
    /// only read where there is no autoencoder.
    pub language_model: PathBuf,
    /// The Hugging Face folder, with weights, of the language model whose encoder reads sources. Not
    /// needed if both runs name the same one. Default none.
    pub source_encoder: Option<PathBuf>,
    /// Which checkpoint of the diffusion. Default the best one.
    pub checkpoint: Checkpoint,
    /// Width of a head of the denoiser's attention. Default 64, which the published code always has.
    pub head_dim: usize,
    /// Names of the classes 0, 1, ..; default those of AG News if it is the data set.
    pub labels: Option<Vec<String>>,
    /// The most tokens of a source; default as the published code has it for XSum, QQP and WMT14.
    pub source_max_tokens: Option<usize>,
    /// Lengths of the texts, for models over the encoder's own states. Default none.
    pub lengths: Option<TextLengths>,
}

/// A checkpoint of a diffusion run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checkpoint {
    /// `best_model.pt`, which only sequence-to-sequence runs have; `model.pt` if it is not there.
    #[default]
    Best,
    /// `model.pt`.
    Last,
}

/// A model that was read from checkpoints.
pub struct Converted {
    /// The model, in f32; [`LatentText::save`] writes its folder.
    pub model: LatentText,
    /// What the model does not do as its run did, and what had to be assumed, in words.
    pub notes: Vec<String>,
}

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Arguments and denoiser of the diffusion run.
    Denoiser,
    /// The autoencoder with its language model; without one, the language model.
    Autoencoder,
    /// What reads sources.
    SourceEncoder,
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denoiser => "denoiser",
            Self::Autoencoder => "autoencoder",
            Self::SourceEncoder => "source encoder",
        })
    }
}

impl ReferenceModel {
    /// The model of a diffusion run, over latents of this language model, with defaults for the rest.
    pub fn new(diffusion: impl Into<PathBuf>, language_model: impl Into<PathBuf>) -> Self {
        Self {
            diffusion: diffusion.into(),
            autoencoder: None,
            language_model: language_model.into(),
            source_encoder: None,
            checkpoint: Checkpoint::default(),
            head_dim: 64,
            labels: None,
            source_max_tokens: None,
            lengths: None,
        }
    }

    /// Reads the model onto `device`: the running averages of the weights, with which the published code
    /// samples. `on_part` is told what comes next.
    ///
    /// # Errors
    /// If a file is missing or damaged, if tensors are missing or left over or of sizes that no model
    /// has, if the arguments of a run contradict its checkpoint or ask for what is not known here, and
    /// if something is needed that was not given.
    pub fn load(
        &self,
        device: &Device,
        mut on_part: impl FnMut(Part),
    ) -> Result<Converted, ReferenceError> {
        on_part(Part::Denoiser);
        let run = Run::new(&self.diffusion, self.checkpoint_file())?;
        let averages = averages(&run)?;
        let parts = Parts { given: self, arguments: &run.arguments, averages: &averages, device };
        let network = denoiser::load(&run.arguments, &parts.tensors(), self.head_dim, device)?;
        parts.model(network, &mut on_part)
    }

    fn checkpoint_file(&self) -> &'static str {
        match self.checkpoint {
            Checkpoint::Best if self.diffusion.join(BEST).exists() => BEST,
            Checkpoint::Best | Checkpoint::Last => LAST,
        }
    }
}

/// The running averages of a diffusion run.
fn averages(run: &Run) -> Result<TensorFile, ReferenceError> {
    let mut file = run.open(&["ema"])?;
    file.retain(|name| name.starts_with("ema_model."));
    Ok(file)
}
