use serde::{Deserialize, Serialize};

use crate::TrainingError;

/// What the autoencoder is trained towards, beside reconstruction. Everything is off by default, which
/// is LD4LG.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderObjective {
    /// Gaussian noise on the latents `x` while the decoder's side trains, which makes it forgiving of
    /// the small errors of sampled latents: it is shown `x + latent_noise * s * eps` with `eps` from
    /// N(0, I) (the noise injection of Ghosh et al. 2020, "From Variational to Deterministic
    /// Autoencoders", section 3.1). Default 0.
    ///
    /// The scale `s` is 1 for l2-normalised latents, whose root mean square it is. Of others it is the
    /// deviation of the batch's latents from each dimension's mean, which
    /// [`LatentStatistics::scale`](latent_text_autoencoder::LatentStatistics) is of a whole data set: so
    /// the noise has this size on the standardised latents of a diffusion, and can't be escaped by
    /// latents that grow.
    pub latent_noise: f64,
    /// Weight of the divergence of a Gaussian posterior from N(0, I). Above 0, the Perceiver gives a mean
    /// and a variance for each number of the latents, the decoder's side is shown draws, and the loss is
    /// `reconstruction + kl * KL` (see [`LatentPosterior`](latent_text_autoencoder::LatentPosterior));
    /// texts are encoded to the mean. Default 0.
    ///
    /// The reconstruction is a mean over tokens, the divergence a sum over a text's latents: the bound on
    /// a text's likelihood (Kingma and Welling 2014) has the weight `1 / tokens`, the weak regularisation
    /// of latent diffusion (Rombach et al. 2022) something like 1e-6. The means of l2-normalised latents
    /// stay on their sphere, so there the divergence pulls at the variances alone.
    #[serde(skip_serializing_if = "is_default")]
    pub kl: f64,
    /// Probability with which each token that the decoder is shown is replaced, so that it has to rely
    /// on the latents (word dropout: Bowman et al. 2016, "Generating Sentences from a Continuous Space",
    /// section 3.1). The token that decoders start with never is, nor are the tokenizer's own tokens for
    /// the start, the end and unknown characters, nor a text's last one; what is to be written stays the
    /// text. Default 0.
    #[serde(skip_serializing_if = "is_default")]
    pub token_dropout: f64,
    /// What those tokens are replaced by; default mask.
    #[serde(skip_serializing_if = "is_default")]
    pub token_replacement: TokenReplacement,
    /// What becomes of the language model; default frozen.
    #[serde(skip_serializing_if = "is_default")]
    pub language_model_training: LanguageModelMode,
    /// Whether the dropout that the language model's configuration names acts in its encoder and its
    /// decoder while the autoencoder trains, as in LD4LG's published code. Default false.
    #[serde(skip_serializing_if = "is_default")]
    pub language_model_dropout: bool,
}

/// What stands for a dropped token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenReplacement {
    /// The mask token, which BART's tokenizers have and T5's have not.
    #[default]
    Mask,
    /// A token drawn uniformly from the vocabulary without those for the start, the end, padding,
    /// unknown characters and masks.
    Random,
}

/// What becomes of the language model while the autoencoder trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LanguageModelMode {
    /// It stays as it is.
    #[default]
    Frozen,
    /// All of it is trained with the Perceiver, by the same optimiser, as LD4LG does with mT5. It becomes
    /// a part of the result.
    FineTuned,
}

// Settings that a training can do without are left out of what checkpoints are compared by, so that
// those made before there were such settings can still be resumed.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl AutoencoderObjective {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for a number out of its range.
    pub fn check(&self) -> Result<(), TrainingError> {
        let refuse = |name: &str, problem: String| {
            Err(TrainingError::setting(format!("autoencoder.objective.{name}"), problem))
        };
        for (name, value) in [("latent_noise", self.latent_noise), ("kl", self.kl)] {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(name, format!("is {value}, must be at least 0"));
            }
        }
        if !(0.0..=1.0).contains(&self.token_dropout) {
            return refuse(
                "token_dropout",
                format!("is {}, must lie in 0..=1", self.token_dropout),
            );
        }
        if self.token_dropout == 0.0 && self.token_replacement != TokenReplacement::default() {
            let problem = "is of no use, as token_dropout is 0; leave it out, or drop tokens";
            return refuse("token_replacement", problem.to_string());
        }
        Ok(())
    }
}
