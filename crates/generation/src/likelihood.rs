use burn::tensor::Tensor;
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
        x0: Tensor<3>,
        texts: &[&str],
    ) -> Result<Vec<f64>, GenerationError> {
        self.check_given(&x0)?;
        if x0.dims()[0] != texts.len() {
            let given = x0.dims()[0];
            return Err(GenerationError::Latents(format!(
                "there are those of {given} texts, but {} texts",
                texts.len()
            )));
        }
        let language_model = &self.autoencoder.language_model;
        let tokens =
            language_model.tokenizer.encode_batch(texts, self.autoencoder.config.max_tokens)?;
        let states = self.autoencoder.perceiver.reconstruct(self.denormalise(x0));
        let mut nats = Vec::with_capacity(texts.len());
        for (part, ids) in tokens.ids.chunks(TEXTS_AT_ONCE).enumerate() {
            let states = states.clone().narrow(0, part * TEXTS_AT_ONCE, ids.len());
            nats.extend(self.nats(TokenBatch { ids: ids.to_vec(), pad_id: tokens.pad_id }, states));
        }
        let nats = Tensor::cat(nats, 0).to_data();
        Ok(nats.iter::<f64>().map(|nats| -nats).collect())
    }

    /// The mean cross-entropy of each text, `[1]`, given the states that the decoder sees.
    fn nats(&self, tokens: TokenBatch, states: Tensor<3>) -> Vec<Tensor<1>> {
        let language_model = &self.autoencoder.language_model;
        let (labels, counted) = tokens.tensors(tokens.longest().max(1), self.device());
        let read = if language_model.config.shifts_language_first() {
            shift_language_first(labels.clone(), tokens.pad_id)
        } else {
            shift_right(labels.clone(), language_model.config.decoder_start_token_id())
        };
        let logits = language_model.model.decode(read, states, None);
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
