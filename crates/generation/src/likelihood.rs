use burn::tensor::{Bool, Tensor};
use latent_text_autoencoder::Latents;
use latent_text_language_model::{TokenBatch, cross_entropy, shift_language_first, shift_right};

use crate::{GenerationError, LatentText};

/// So many texts are scored at once: logits of a large vocabulary take much memory.
const TEXTS_AT_ONCE: usize = 8;

impl LatentText {
    /// How likely the decoder finds texts, given the latents that they are to stand for,
    /// `[texts, latents, dim]` in the space that the diffusion runs in: the mean log-probability of a
    /// text's tokens, in nats, each after those before it (teacher forcing). Only the first tokens
    /// count of texts beyond the autoencoder's `max_tokens`.
    ///
    /// # Errors
    /// [`GenerationError::Latents`] for latents as [`decode`](Self::decode) refuses them, or not as many
    /// as texts; what the tokenizer answers.
    pub fn log_likelihoods(
        &self,
        x0: impl Into<Latents>,
        texts: &[&str],
    ) -> Result<Vec<f64>, GenerationError> {
        let x0 = self.checked(x0.into())?;
        if x0.texts() != texts.len() {
            let given = x0.texts();
            return Err(GenerationError::Latents(format!(
                "there are those of {given} texts, but {} texts",
                texts.len()
            )));
        }
        let language_model = &self.autoencoder.language_model;
        let tokens = language_model.tokenizer.encode_batch(texts, self.autoencoder.max_tokens())?;
        let (states, mask) = self.autoencoder.decoder_states(self.denormalise(x0));
        let mut nats = Vec::with_capacity(texts.len());
        for (part, ids) in tokens.ids.chunks(TEXTS_AT_ONCE).enumerate() {
            let first = part * TEXTS_AT_ONCE;
            let states = states.clone().narrow(0, first, ids.len());
            let mask = mask.clone().map(|mask| mask.narrow(0, first, ids.len()));
            let tokens = TokenBatch { ids: ids.to_vec(), pad_id: tokens.pad_id };
            nats.extend(self.nats(tokens, states, mask));
        }
        let nats: Vec<f32> = self.read(Tensor::cat(nats, 0))?;
        Ok(nats.into_iter().map(|nats| -f64::from(nats)).collect())
    }

    /// The mean cross-entropy of each text, `[1]`, given the states of which the decoder sees those that
    /// `mask` shows.
    fn nats(
        &self,
        tokens: TokenBatch,
        states: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
    ) -> Vec<Tensor<1>> {
        let language_model = &self.autoencoder.language_model;
        let (labels, counted) = tokens.tensors(tokens.longest().max(1), self.device());
        let read = if language_model.config.shifts_language_first() {
            shift_language_first(labels.clone(), tokens.pad_id)
        } else {
            shift_right(labels.clone(), language_model.config.decoder_start_token_id())
        };
        let logits = language_model.model.decode(read, states, mask);
        let of_text = |text| {
            cross_entropy(
                logits.clone().narrow(0, text, 1),
                labels.clone().narrow(0, text, 1),
                counted.clone().narrow(0, text, 1),
            )
        };
        (0..tokens.ids.len()).map(of_text).collect()
    }
}
