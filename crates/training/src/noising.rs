//! Noise for pretraining a denoising language model: text infilling and sentence permutation.
//!
//! Lewis et al. 2020, "BART: Denoising Sequence-to-Sequence Pre-training for Natural Language
//! Generation, Translation, and Comprehension", section 2.2.

use rand::seq::{IndexedRandom, SliceRandom, index};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Poisson};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How much noise the model has to undo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoisingConfig {
    /// Share of the tokens that are masked, from 0 to 1. Default 0.3.
    pub mask_ratio: f64,
    /// Mean length of a masked span before it is cut to what is left to mask; above 0. Default 3.
    pub poisson_lambda: f64,
    /// Share of the spans that a random token stands for, in place of the mask token, from 0 to 1.
    /// Default 0.1.
    pub random_ratio: f64,
    /// Whether the sentences of a text are put into a random order. Default true.
    pub permute_sentences: bool,
}

impl Default for NoisingConfig {
    fn default() -> Self {
        Self { mask_ratio: 0.3, poisson_lambda: 3.0, random_ratio: 0.1, permute_sentences: true }
    }
}

/// Settings that can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NoisingError {
    /// A number is out of its range.
    #[error("noising: `{setting}` is {value}, but must be {expected}")]
    OutOfRange {
        /// Name of the setting.
        setting: &'static str,
        /// What it was set to.
        value: f64,
        /// The range in words.
        expected: &'static str,
    },
    /// All ids of the vocabulary are special.
    #[error("noising: the vocabulary of {vocab_size} tokens has none that is not special")]
    NoOrdinaryToken {
        /// Size of the vocabulary.
        vocab_size: u32,
    },
}

impl NoisingConfig {
    /// Checks the settings as far as that needs no vocabulary.
    ///
    /// # Errors
    ///
    /// Where a setting is out of its range.
    pub fn check(&self) -> Result<(), NoisingError> {
        share("mask_ratio", self.mask_ratio)?;
        share("random_ratio", self.random_ratio)?;
        self.span_length().map(drop)
    }

    fn span_length(&self) -> Result<Poisson<f64>, NoisingError> {
        Poisson::new(self.poisson_lambda).map_err(|_| NoisingError::OutOfRange {
            setting: "poisson_lambda",
            value: self.poisson_lambda,
            expected: "a number above 0",
        })
    }

    /// Checks the settings for a vocabulary of the ids below `vocab_size`.
    ///
    /// `special_ids` (start, end, padding, ...) are never masked and never drawn as random tokens.
    ///
    /// # Errors
    ///
    /// Where a setting is out of its range, or all ids are special.
    pub fn init(
        &self,
        mask_id: u32,
        special_ids: &[u32],
        vocab_size: u32,
    ) -> Result<Noising, NoisingError> {
        self.check()?;
        let span_length = self.span_length()?;
        let mut special_ids = special_ids.to_vec();
        special_ids.push(mask_id);
        let ordinary_ids: Vec<u32> =
            (0..vocab_size).filter(|id| !special_ids.contains(id)).collect();
        if ordinary_ids.is_empty() {
            return Err(NoisingError::NoOrdinaryToken { vocab_size });
        }
        Ok(Noising { config: self.clone(), span_length, mask_id, special_ids, ordinary_ids })
    }
}

fn share(setting: &'static str, value: f64) -> Result<(), NoisingError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(NoisingError::OutOfRange { setting, value, expected: "from 0 to 1" })
}

/// Corrupts texts and token ids; made by [`NoisingConfig::init`].
#[derive(Debug, Clone)]
pub struct Noising {
    config: NoisingConfig,
    span_length: Poisson<f64>,
    mask_id: u32,
    special_ids: Vec<u32>,
    ordinary_ids: Vec<u32>,
}

impl Noising {
    /// The whole corruption of a text that comes as the token ids of its sentences: their order, if so
    /// configured, then [`corrupt_ids`](Self::corrupt_ids).
    pub fn corrupt(&self, sentences: &[Vec<u32>], rng: &mut impl Rng) -> Vec<u32> {
        let mut sentences: Vec<&[u32]> = sentences.iter().map(Vec::as_slice).collect();
        if self.config.permute_sentences {
            sentences.shuffle(rng);
        }
        self.corrupt_ids(&sentences.concat(), rng)
    }

    /// The noise of a tokenised text: text infilling.
    ///
    /// Each run of `n` ids between special ones loses `mask_ratio * n` of them (rounded up or down
    /// at random, so that the mean is exact) in spans of Poisson length, and each span leaves one
    /// mask token. A span of length 0 puts in a mask token and takes nothing away; there are at
    /// most as many of these as masked ids. Special ids stay as they are.
    ///
    /// The result is never longer than `ids.len() + masked`, where `masked` is the number of ids
    /// taken away; with the default settings it is nearly always shorter than `ids`. Callers with
    /// a fixed length cut it.
    pub fn corrupt_ids(&self, ids: &[u32], rng: &mut impl Rng) -> Vec<u32> {
        let is_special = |id: &u32| self.special_ids.contains(id);
        let mut noised = Vec::with_capacity(ids.len());
        for run in ids.chunk_by(|a, b| is_special(a) == is_special(b)) {
            if is_special(&run[0]) {
                noised.extend_from_slice(run);
            } else {
                self.infill(run, &mut noised, rng);
            }
        }
        noised
    }

    fn infill(&self, run: &[u32], noised: &mut Vec<u32>, rng: &mut impl Rng) {
        let masked = round_at_random(self.config.mask_ratio * run.len() as f64, rng);
        let mut spans = self.draw_spans(masked, rng);
        spans.shuffle(rng);
        let slots = run.len() - masked + spans.len();
        let mut is_span = vec![false; slots];
        for slot in index::sample(rng, slots, spans.len()) {
            is_span[slot] = true;
        }
        let mut rest = run.iter();
        for is_span in is_span {
            if !is_span {
                noised.extend(rest.next());
            } else if let Some(length) = spans.pop() {
                noised.push(self.stand_in(rng));
                rest = rest.as_slice()[length..].iter();
            }
        }
    }

    /// Span lengths that add up to `masked`.
    fn draw_spans(&self, masked: usize, rng: &mut impl Rng) -> Vec<usize> {
        let mut spans = Vec::new();
        let mut empty = 0;
        let mut left = masked;
        while left > 0 {
            let length = (self.span_length.sample(rng) as usize).min(left);
            if length > 0 {
                left -= length;
                spans.push(length);
            } else if empty < masked {
                empty += 1;
                spans.push(length);
            } else {
                spans.push(left);
                left = 0;
            }
        }
        spans
    }

    fn stand_in(&self, rng: &mut impl Rng) -> u32 {
        let random = rng.random_bool(self.config.random_ratio);
        let drawn = if random { self.ordinary_ids.choose(rng) } else { None };
        drawn.copied().unwrap_or(self.mask_id)
    }
}

/// Rounds up or down at random such that the mean is `x`.
fn round_at_random(x: f64, rng: &mut impl Rng) -> usize {
    x as usize + usize::from(rng.random_bool(x.fract()))
}

/// The sentences of `text`, each but the first with the white space in front of it.
///
/// A sentence ends at `.`, `!` or `?`, after which closing quotes and brackets may follow, before
/// white space. Put together, the sentences are the text again.
pub fn split_sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (end, _) in text.char_indices().filter(|(_, c)| c.is_whitespace()) {
        let closed = text[start..end].trim_end_matches(['"', '\'', '”', '’', ')', ']']);
        if closed.ends_with(['.', '!', '?']) {
            sentences.push(&text[start..end]);
            start = end;
        }
    }
    if start < text.len() {
        sentences.push(&text[start..]);
    }
    sentences
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const MASK: u32 = 4;
    const SPECIALS: [u32; 4] = [0, 1, 2, 3];
    const VOCAB: u32 = 2000;
    /// Ids of the test texts start here, below them are only special ids and random tokens.
    const FIRST: u32 = 1000;

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn noising(config: NoisingConfig) -> Noising {
        config.init(MASK, &SPECIALS, FIRST).expect("valid settings")
    }

    /// `<s> FIRST .. FIRST + length </s>`: every id once.
    fn ids(length: u32) -> Vec<u32> {
        let mut ids = vec![0];
        ids.extend(FIRST..FIRST + length);
        ids.push(2);
        ids
    }

    fn kept(noised: &[u32]) -> usize {
        noised.iter().filter(|id| **id >= FIRST).count()
    }

    fn stand_ins(noised: &[u32]) -> usize {
        noised.iter().filter(|id| **id < FIRST && !SPECIALS.contains(id)).count()
    }

    #[test]
    fn masked_share_is_the_ratio_in_the_mean() {
        for (ratio, length) in [(0.3, 19), (0.3, 3), (0.15, 62), (0.9, 7)] {
            let noising = noising(NoisingConfig { mask_ratio: ratio, ..Default::default() });
            let mut rng = rng(1);
            let runs = 4000;
            let kept: usize =
                (0..runs).map(|_| kept(&noising.corrupt_ids(&ids(length), &mut rng))).sum();
            let masked = 1.0 - kept as f64 / (runs * length as usize) as f64;
            // Rounding at random has a standard deviation of at most 0.5 ids a run.
            let deviation = 0.5 / (length as f64 * (runs as f64).sqrt());
            assert!((masked - ratio).abs() < 4.0 * deviation, "{masked} for {ratio}");
        }
    }

    #[test]
    fn spans_have_the_mean_length_of_the_poisson_distribution() {
        let noising = noising(NoisingConfig::default());
        let mut rng = rng(2);
        let length = 20_000;
        let noised = noising.corrupt_ids(&ids(length), &mut rng);
        let mean = (length as usize - kept(&noised)) as f64 / stand_ins(&noised) as f64;
        // About 2000 spans with variance 3: standard error 0.04.
        assert!((mean - 3.0).abs() < 0.16, "mean span length {mean}");
        let masks = noised.iter().filter(|id| **id == MASK).count() as f64;
        let random = 1.0 - masks / stand_ins(&noised) as f64;
        assert!((random - 0.1).abs() < 0.03, "share of random tokens {random}");
    }

    #[test]
    fn spans_of_length_zero_insert_masks() {
        let noising = noising(NoisingConfig {
            poisson_lambda: 0.05,
            random_ratio: 0.0,
            ..Default::default()
        });
        let noised = noising.corrupt_ids(&ids(100), &mut rng(3));
        assert_eq!(kept(&noised), 70);
        assert!(stand_ins(&noised) > 30, "only {} masks", stand_ins(&noised));
        assert!(stand_ins(&noised) <= 60);
    }

    #[test]
    fn specials_stay_and_the_order_is_kept() {
        let noising = noising(NoisingConfig { mask_ratio: 0.6, ..Default::default() });
        let mut rng = rng(4);
        for _ in 0..200 {
            let mut input = ids(10);
            input.extend(ids(12).iter().map(|id| if *id >= FIRST { id + 100 } else { *id }));
            input.extend([1, 1, 1]);
            let noised = noising.corrupt_ids(&input, &mut rng);
            let specials: Vec<u32> =
                noised.iter().copied().filter(|id| SPECIALS.contains(id)).collect();
            assert_eq!(specials, [0, 2, 0, 2, 1, 1, 1]);
            assert_eq!(noised[0], 0);
            assert_eq!(noised[noised.len() - 4..], [2, 1, 1, 1]);
            let texts: Vec<u32> = noised.iter().copied().filter(|id| *id >= FIRST).collect();
            assert!(texts.is_sorted());
            let border = noised.iter().position(|id| *id == 2).expect("an end");
            assert!(noised[..border].iter().all(|id| *id < FIRST + 100));
            assert!(noised[border..].iter().all(|id| *id < FIRST || *id >= FIRST + 100));
        }
    }

    #[test]
    fn lengths_are_bounded() {
        for lambda in [0.01, 1.0, 3.0, 50.0] {
            let noising = noising(NoisingConfig {
                poisson_lambda: lambda,
                mask_ratio: 0.5,
                ..Default::default()
            });
            let mut rng = rng(5);
            for length in 0..40 {
                let noised = noising.corrupt_ids(&ids(length), &mut rng);
                let masked = length as usize - kept(&noised);
                assert!(noised.len() <= 2 + length as usize + masked);
                assert!(noised.len() >= 2 + kept(&noised) + usize::from(masked > 0));
            }
        }
    }

    #[test]
    fn ratio_zero_changes_nothing_and_ratio_one_masks_all() {
        let nothing = noising(NoisingConfig { mask_ratio: 0.0, ..Default::default() });
        assert_eq!(nothing.corrupt_ids(&ids(50), &mut rng(6)), ids(50));
        assert_eq!(nothing.corrupt_ids(&[], &mut rng(6)), [0; 0]);
        let all = noising(NoisingConfig { mask_ratio: 1.0, ..Default::default() });
        assert_eq!(kept(&all.corrupt_ids(&ids(50), &mut rng(6))), 0);
    }

    #[test]
    fn a_seed_gives_the_same_noise() {
        let noising = noising(NoisingConfig::default());
        assert_eq!(
            noising.corrupt_ids(&ids(60), &mut rng(7)),
            noising.corrupt_ids(&ids(60), &mut rng(7))
        );
        assert_ne!(
            noising.corrupt_ids(&ids(60), &mut rng(7)),
            noising.corrupt_ids(&ids(60), &mut rng(8))
        );
    }

    #[test]
    fn masked_ids_are_spread_evenly_but_for_the_ends() {
        let noising = noising(NoisingConfig::default());
        let mut rng = rng(9);
        let (runs, length) = (8000, 60);
        let mut kept_at = vec![0u32; length];
        for _ in 0..runs {
            for id in noising.corrupt_ids(&ids(length as u32), &mut rng) {
                if id >= FIRST {
                    kept_at[(id - FIRST) as usize] += 1;
                }
            }
        }
        let share = |position: usize| kept_at[position] as f64 / runs as f64;
        for position in 6..length - 6 {
            let share = share(position);
            assert!((share - 0.69).abs() < 0.03, "id {position} is kept in {share} of the runs");
        }
        // Spans don't reach beyond the ends, so that fewer of them cover an id there; neither end
        // is favoured.
        for position in 0..6 {
            let (share, mirrored) = (share(position), share(length - 1 - position));
            assert!((share - mirrored).abs() < 0.03, "{share} against {mirrored}");
        }
    }

    #[test]
    fn sentences_are_split_and_add_up_to_the_text() {
        let text = "Cats sleep. Do dogs?\u{a0}\"They run!\" (So it is.) At 3.5 p the end";
        let sentences = [
            "Cats sleep.",
            " Do dogs?",
            "\u{a0}\"They run!\"",
            " (So it is.)",
            " At 3.5 p the end",
        ];
        assert_eq!(split_sentences(text), sentences);
        assert_eq!(split_sentences("one sentence"), ["one sentence"]);
        assert_eq!(split_sentences(""), [""; 0]);
    }

    #[test]
    fn sentences_are_permuted_only_if_so_configured() {
        let sentences: Vec<Vec<u32>> = (0..8).map(|i| vec![FIRST + i; 3]).collect();
        let corrupted = |permute_sentences: bool| {
            let config = NoisingConfig { permute_sentences, mask_ratio: 0.0, ..Default::default() };
            noising(config).corrupt(&sentences, &mut rng(10))
        };
        assert_eq!(corrupted(false), sentences.concat());
        let mut permuted = corrupted(true);
        assert_ne!(permuted, sentences.concat());
        assert!(permuted.chunks(3).all(|sentence| sentence.iter().all(|id| *id == sentence[0])));
        permuted.sort();
        assert_eq!(permuted, sentences.concat(), "none is lost");
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let fails = |config: NoisingConfig, setting: &str| {
            let error = config.init(MASK, &SPECIALS, VOCAB).expect_err("invalid settings");
            assert!(error.to_string().contains(setting), "{error}");
        };
        let default = NoisingConfig::default;
        fails(NoisingConfig { mask_ratio: 1.1, ..default() }, "mask_ratio");
        fails(NoisingConfig { mask_ratio: f64::NAN, ..default() }, "mask_ratio");
        fails(NoisingConfig { random_ratio: -0.1, ..default() }, "random_ratio");
        fails(NoisingConfig { poisson_lambda: 0.0, ..default() }, "poisson_lambda");
        fails(NoisingConfig { poisson_lambda: f64::INFINITY, ..default() }, "poisson_lambda");
        let error = default().init(MASK, &SPECIALS, 5).expect_err("no ordinary token");
        assert!(matches!(error, NoisingError::NoOrdinaryToken { vocab_size: 5 }));
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(serde_json::from_str::<NoisingConfig>(r#"{"mask_ration": 0.2}"#).is_err());
        let config: NoisingConfig = serde_json::from_str(r#"{"mask_ratio": 0.2}"#).expect("valid");
        assert_eq!(config, NoisingConfig { mask_ratio: 0.2, ..Default::default() });
    }
}
