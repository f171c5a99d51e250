use latent_text_language_model::TextTokenizer;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::objective::{AutoencoderObjective, TokenReplacement};
use crate::TrainingError;
use crate::order::generator;

/// Replaces tokens of the texts that the decoder is shown.
#[derive(Clone, Debug)]
pub(super) struct TokenDropout {
    probability: f64,
    /// The ids that a replacement is drawn from.
    replacements: Vec<u32>,
    special: Vec<u32>,
    seed: u64,
}

impl TokenDropout {
    /// None if no token is dropped.
    pub(super) fn new(
        objective: &AutoencoderObjective,
        tokenizer: &TextTokenizer,
        seed: u64,
    ) -> Result<Option<Self>, TrainingError> {
        if objective.token_dropout == 0.0 {
            return Ok(None);
        }
        let tokens = tokenizer.special_tokens();
        let mut special = vec![tokens.eos, tokens.pad];
        special.extend([tokens.bos, tokens.unk, tokens.mask].into_iter().flatten());
        let replacements = match objective.token_replacement {
            TokenReplacement::Random => {
                let ids = 0..tokenizer.vocab_size() as u32;
                ids.filter(|id| !special.contains(id)).collect()
            }
            TokenReplacement::Mask => vec![tokens.mask.ok_or_else(|| {
                TrainingError::setting(
                    "autoencoder.objective.token_replacement",
                    "is `mask`, but the language model's tokenizer has no mask token; use `random`",
                )
            })?],
        };
        Ok(Some(Self { probability: objective.token_dropout, replacements, special, seed }))
    }

    /// The texts of batch number `batch` with tokens replaced; a function of the seed and `batch` alone.
    pub(super) fn apply(&self, texts: &[Vec<u32>], batch: u64) -> Vec<Vec<u32>> {
        // A stream of its own, apart from the order of the samples and the noise on the device.
        let mut rng = generator(self.seed ^ 0x746f_6b65, batch);
        let mut texts = texts.to_vec();
        for text in &mut texts {
            let Some((_, inner)) = text.split_last_mut() else { continue };
            for id in inner.iter_mut().filter(|id| !self.special.contains(id)) {
                if rng.random_bool(self.probability)
                    && let Some(&replacement) = self.replacements.choose(&mut rng)
                {
                    *id = replacement;
                }
            }
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 3] = ["The Mill is a cheap pub.", "A pub near the river.", "Quiet."];

    fn tokenizer() -> TextTokenizer {
        TextTokenizer::train_byte_level_bpe(TEXTS, 300).expect("a tokenizer")
    }

    fn dropout(token_dropout: f64, token_replacement: TokenReplacement) -> TokenDropout {
        let objective =
            AutoencoderObjective { token_dropout, token_replacement, ..Default::default() };
        let dropout = TokenDropout::new(&objective, &tokenizer(), 3).expect("settings");
        dropout.expect("it drops")
    }

    fn texts() -> Vec<Vec<u32>> {
        tokenizer().encode_batch(&TEXTS, 64).expect("tokens").ids
    }

    #[test]
    fn the_share_of_replaced_tokens_is_the_probability() {
        for replacement in [TokenReplacement::Mask, TokenReplacement::Random] {
            let dropout = dropout(0.3, replacement);
            let mask = tokenizer().special_tokens().mask.expect("a mask token");
            let (mut replaced, mut all) = (0.0, 0.0);
            for batch in 0..400 {
                for (before, after) in texts().iter().zip(dropout.apply(&texts(), batch)) {
                    assert_eq!(before.len(), after.len());
                    let ends = [0, before.len() - 1];
                    assert!(ends.iter().all(|&end| before[end] == after[end]), "{after:?}");
                    for (old, new) in before.iter().zip(&after) {
                        all += f64::from(!dropout.special.contains(old));
                        if old != new {
                            replaced += 1.0;
                            let masked = *new == mask;
                            assert_eq!(masked, replacement == TokenReplacement::Mask);
                            assert!(masked || !dropout.special.contains(new), "{new}");
                        }
                    }
                }
            }
            // A random token is now and then the one that stood there.
            let kept = f64::from(replacement == TokenReplacement::Random) / 250.0;
            let expected: f64 = 0.3 * (1.0 - kept);
            let deviation = (expected * (1.0 - expected) / all).sqrt();
            let share = replaced / all;
            assert!((share - expected).abs() < 4.0 * deviation + 0.001, "{share}, not {expected}");
        }
    }

    #[test]
    fn a_batch_is_the_same_whenever_it_is_made() {
        let dropout = dropout(0.5, TokenReplacement::Random);
        let first = dropout.apply(&texts(), 7);
        assert_ne!(dropout.apply(&texts(), 8), first);
        assert_eq!(dropout.apply(&texts(), 7), first);
    }

    #[test]
    fn at_probability_one_only_special_tokens_stay() {
        let dropout = dropout(1.0, TokenReplacement::Mask);
        let tokens = tokenizer().special_tokens();
        let (mask, bos) = (tokens.mask.expect("a mask token"), tokens.bos.expect("a start token"));
        for text in dropout.apply(&texts(), 0) {
            let inner = &text[1..text.len() - 1];
            assert_eq!((text[0], text[text.len() - 1]), (bos, tokens.eos));
            assert!(inner.iter().all(|&id| id == mask), "{text:?}");
        }
    }
}
