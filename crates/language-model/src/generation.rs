//! Cached decoding of texts from encoder states.

mod batch;
mod chooser;
mod decoder;
mod nucleus;

use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};

use self::batch::Batch;
use self::chooser::Chooser;
use crate::{Bart, LanguageModelError};

pub(crate) use self::decoder::{TextDecoder, TextEnds};
pub use self::nucleus::nucleus_distributions;

/// How texts are decoded. Lengths count the decoder's start token, as in `transformers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationConfig {
    /// Longest text in tokens, with its start and end tokens. Default 64.
    pub max_length: usize,
    /// The end token may not come before a text has so many tokens. Default 0.
    pub min_length: usize,
    /// How the next token is chosen. Default greedy.
    pub decoding: Decoding,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self { max_length: 64, min_length: 0, decoding: Decoding::Greedy }
    }
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decoding {
    /// The most probable one.
    Greedy,
    /// Drawn from the fewest tokens that hold the probability `top_p` (Holtzman et al., 2020).
    Nucleus {
        /// Probability that the kept tokens hold together, in `(0, 1]`; 0.95 is usual.
        top_p: f64,
        /// What logits are divided by before, above 0; 1 leaves them alone.
        temperature: f64,
    },
}

impl GenerationConfig {
    fn validate(&self, max_positions: usize) -> Result<(), LanguageModelError> {
        let fault = |setting, problem| Err(LanguageModelError::Setting { setting, problem });
        if !(2..=max_positions).contains(&self.max_length) {
            return fault(
                "max_length",
                format!(
                    "{} must lie in 2..={max_positions}, the model's positions",
                    self.max_length
                ),
            );
        }
        if self.min_length > self.max_length {
            return fault(
                "min_length",
                format!("{} must not exceed max_length = {}", self.min_length, self.max_length),
            );
        }
        if let Decoding::Nucleus { top_p, temperature } = self.decoding {
            if !(top_p > 0.0 && top_p <= 1.0) {
                return fault("top_p", format!("{top_p} must lie in (0, 1]"));
            }
            if !(temperature.is_finite() && temperature > 0.0) {
                return fault("temperature", format!("{temperature} must be above 0"));
            }
        }
        Ok(())
    }
}

impl Bart {
    /// Decodes one text for every row of `encoder_states`.
    ///
    /// Returns the ids of each text without the start token and without the end token and what would
    /// follow it. A row's text does not depend on the other rows: `seeds` has one seed for each row,
    /// which nucleus decoding draws from and greedy decoding ignores.
    ///
    /// On an autodiff device dropout would act and a graph be kept: call `valid()` on the model, and
    /// `without_autodiff` on the states, first.
    ///
    /// # Shapes
    /// - `encoder_states`: `[batch, source, d_model]`
    /// - `encoder_mask`: `[batch, source]`, `true` where the decoder may look; none for everywhere
    ///
    /// # Errors
    /// If a setting is outside its range, if there is not one seed for each row, if the model's output
    /// is not finite (nucleus), or if the device fails.
    pub fn generate(
        &self,
        encoder_states: Tensor<3>,
        encoder_mask: Option<Tensor<2, Bool>>,
        config: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<Vec<u32>>, LanguageModelError> {
        generate(self, encoder_states, encoder_mask, config, seeds)
    }
}

/// What [`Bart::generate`] does, for any network.
pub(crate) fn generate(
    decoder: &impl TextDecoder,
    encoder_states: Tensor<3>,
    encoder_mask: Option<Tensor<2, Bool>>,
    config: &GenerationConfig,
    seeds: &[u64],
) -> Result<Vec<Vec<u32>>, LanguageModelError> {
    config.validate(decoder.max_positions())?;
    let rows = encoder_states.dims()[0];
    if seeds.len() != rows {
        return Err(LanguageModelError::Setting {
            setting: "seeds",
            problem: format!("there are {} for a batch of {rows} rows", seeds.len()),
        });
    }
    let ends = decoder.text_ends();
    let device = encoder_states.device();
    let mut chooser = Chooser::new(config, ends.eos, seeds);
    let mut batch = Batch::new(rows, ends.eos);
    let mut cache = decoder.start_cache(encoder_states, encoder_mask);
    let mut newest = chooser::same_for_all(ends.start, rows, &device);

    for length in 1..config.max_length {
        if batch.is_done() {
            break;
        }
        let last = length + 1 == config.max_length;
        if let (true, Some(id)) = (last, ends.forced_eos) {
            batch.push(&vec![id; batch.width()]);
            break;
        }
        let state = decoder.step(newest, &mut cache);
        newest = match forced_first(length, ends) {
            Some(id) => {
                batch.push(&vec![id; batch.width()]);
                chooser::same_for_all(id, batch.width(), &device)
            }
            None => {
                let logits = decoder.logits(state).squeeze_dim(1);
                let (ids, next) = chooser.choose(logits, length, &batch)?;
                batch.push(&ids);
                next
            }
        };
        if let Some(rows) = batch.drop_finished(&device) {
            cache.keep(&rows);
            newest = newest.select(0, rows);
        }
    }
    Ok(batch.into_texts())
}

fn forced_first(length: usize, ends: TextEnds) -> Option<u32> {
    if length == 1 { ends.forced_bos } else { None }
}
