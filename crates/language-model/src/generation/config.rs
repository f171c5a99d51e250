use serde::{Deserialize, Serialize};

use crate::LanguageModelError;

/// Texts of one source that are drawn together.
const MOST_RETURNS: usize = 1 << 16;

/// How texts are decoded. Lengths count the decoder's start token, as in `transformers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationConfig {
    /// Longest text in tokens, with its start token, prefix and end token. Default 64.
    pub max_length: usize,
    /// The end token may not come before a text has so many tokens. Default 0.
    pub min_length: usize,
    /// How the next token is chosen. Default greedy.
    pub decoding: Decoding,
    /// What the scores of tokens that a text already has are divided by where they are positive, and
    /// multiplied by where they are negative (Keskar et al., 2019): above 1 repeats are rarer, below 1
    /// more frequent. The start token counts as one that the text has. Default 1.
    pub repetition_penalty: f64,
    /// No sequence of so many tokens comes twice in a text (Paulus et al., 2018); 0 allows all.
    /// Default 0.
    pub no_repeat_ngram_size: usize,
    /// Sequences of ids that no text may have. Default none.
    pub bad_words: Vec<Vec<u32>>,
    /// Ids that every text begins with, behind the start token. Default none.
    pub prefix: Vec<u32>,
    /// What every text begins with if there is no prefix. Default as the model's configuration says.
    pub forced_bos: ForcedToken,
    /// What takes the last place of a text that reaches `max_length`. Default as the model's
    /// configuration says.
    pub forced_eos: ForcedToken,
    /// Number of texts for every source. Greedy decoding has one only, sampling at most 65,536, beam
    /// search at most as many as it has beams, and fewer where the settings allow no more. Default 1.
    pub returns: usize,
    /// Whether texts that are not from a beam search, which always gives them, carry their score.
    /// Default false.
    pub with_scores: bool,
    /// Lets the device record what is done for a token and replay it for the others, on GPUs that do so (CUDA,
    /// and what WebGPU runs on) and where at least 16 tokens may come. Default true; a file has it only where
    /// it is false.
    ///
    /// While CUDA records, no other thread should work on the device: it would get no memory. And the model
    /// must have been loaded on the thread that decodes; others are not recorded. See
    /// [`Graph`](latent_text_kernels::Graph).
    #[serde(skip_serializing_if = "is_true")]
    pub graphs: bool,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            max_length: 64,
            min_length: 0,
            decoding: Decoding::Greedy,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            bad_words: Vec::new(),
            prefix: Vec::new(),
            forced_bos: ForcedToken::OfModel,
            forced_eos: ForcedToken::OfModel,
            returns: 1,
            with_scores: false,
            graphs: true,
        }
    }
}

fn is_true(value: &bool) -> bool {
    *value
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decoding {
    /// The most probable one.
    Greedy,
    /// Drawn at random.
    Sampling(Sampling),
    /// The most probable text that a search with several beams finds.
    Beam(BeamSearch),
}

impl Decoding {
    /// Nucleus sampling (Holtzman et al., 2020).
    pub const fn nucleus(top_p: f64, temperature: f64) -> Self {
        Self::Sampling(Sampling { temperature, top_k: None, top_p, typical_p: 1.0 })
    }
}

/// Which tokens are drawn from, in the order of the fields, and how probable they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// What scores are divided by before, above 0; 1 leaves them alone. Default 1.
    pub temperature: f64,
    /// The so many most probable ones (Fan et al., 2018). Default all.
    pub top_k: Option<usize>,
    /// The fewest that hold this probability together, in `(0, 1]` (nucleus sampling, Holtzman et al.,
    /// 2020); 0.95 is usual. Default 1: all.
    pub top_p: f64,
    /// The fewest that hold this probability together, in `(0, 1]`, in the order in which their
    /// information is close to the entropy (Meister et al., 2023). Default 1: all.
    pub typical_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: 1.0, typical_p: 1.0 }
    }
}

/// A search that keeps the best unfinished texts of every source and the best finished ones, in the
/// way of `transformers`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BeamSearch {
    /// Number of texts that are kept. Default 4.
    pub beams: usize,
    /// The score of a text is the sum of its log-probabilities divided by its length to this power:
    /// above 0 long texts gain, below 0 short ones. Default 1.
    pub length_penalty: f64,
    /// When a source's search ends. Default heuristic.
    pub early_stopping: EarlyStopping,
}

impl Default for BeamSearch {
    fn default() -> Self {
        Self { beams: 4, length_penalty: 1.0, early_stopping: EarlyStopping::Heuristic }
    }
}

/// When the search for a source's texts ends, at `max_length` at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// As soon as the best unfinished text, were it to end now, would be no better than the finished
    /// ones (`early_stopping=False`).
    Heuristic,
    /// As soon as there are as many finished texts as beams (`early_stopping=True`).
    First,
    /// As soon as no unfinished text can become better than the finished ones, even at `max_length`
    /// (`early_stopping="never"`).
    Never,
}

/// A token that a text must have in a certain place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForcedToken {
    /// The one that the model's configuration names, if it does.
    #[default]
    OfModel,
    /// None.
    None,
    /// This one.
    Id(u32),
}

impl ForcedToken {
    pub(super) fn or_of_model(self, of_model: Option<u32>) -> Option<u32> {
        match self {
            Self::OfModel => of_model,
            Self::None => None,
            Self::Id(id) => Some(id),
        }
    }
}

impl GenerationConfig {
    /// Number of tokens that texts have before the first one is chosen.
    pub(super) fn prompt_length(&self) -> usize {
        1 + self.prefix.len()
    }

    /// Checks the settings for a model with so many positions (none if there is no bound) and ids.
    ///
    /// # Errors
    /// [`LanguageModelError::Setting`] with the first one that is wrong.
    pub fn validate(
        &self,
        max_positions: Option<usize>,
        vocab_size: usize,
    ) -> Result<(), LanguageModelError> {
        self.validate_lengths(max_positions)?;
        self.validate_ids(vocab_size)?;
        require(
            self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0,
            "repetition_penalty",
            || format!("{} must be above 0", self.repetition_penalty),
        )?;
        match self.decoding {
            Decoding::Greedy => require(self.returns == 1, "returns", || {
                format!("{} must be 1: greedy decoding has one text", self.returns)
            }),
            Decoding::Sampling(sampling) => {
                require((1..=MOST_RETURNS).contains(&self.returns), "returns", || {
                    format!("{} must lie in 1..={MOST_RETURNS}", self.returns)
                })?;
                sampling.validate()
            }
            Decoding::Beam(search) => {
                search.validate(vocab_size)?;
                require((1..=search.beams).contains(&self.returns), "returns", || {
                    format!("{} must lie in 1..={}, the beams", self.returns, search.beams)
                })
            }
        }
    }

    fn validate_lengths(&self, max_positions: Option<usize>) -> Result<(), LanguageModelError> {
        let shortest = self.prompt_length() + 1;
        require(self.max_length >= shortest, "max_length", || {
            format!(
                "{} must be at least {shortest}, for the start token, the prefix and one token more",
                self.max_length
            )
        })?;
        require(max_positions.is_none_or(|most| self.max_length <= most), "max_length", || {
            let most = max_positions.unwrap_or_default();
            format!("{} must not exceed {most}, the model's positions", self.max_length)
        })?;
        require(self.min_length <= self.max_length, "min_length", || {
            format!("{} must not exceed max_length = {}", self.min_length, self.max_length)
        })
    }

    fn validate_ids(&self, vocab_size: usize) -> Result<(), LanguageModelError> {
        let forced = |token| match token {
            ForcedToken::Id(id) => vec![id],
            ForcedToken::OfModel | ForcedToken::None => Vec::new(),
        };
        for (setting, ids) in [
            ("prefix", self.prefix.clone()),
            ("bad_words", self.bad_words.concat()),
            ("forced_bos", forced(self.forced_bos)),
            ("forced_eos", forced(self.forced_eos)),
        ] {
            let unknown = ids.into_iter().find(|&id| id as usize >= vocab_size);
            require(unknown.is_none(), setting, || {
                let id = unknown.unwrap_or_default();
                format!("the model has no token {id}, its vocab_size is {vocab_size}")
            })?;
        }
        require(self.bad_words.iter().all(|word| !word.is_empty()), "bad_words", || {
            "one has no ids; take it out".to_string()
        })
    }
}

impl Sampling {
    fn validate(&self) -> Result<(), LanguageModelError> {
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        require(is_share(self.top_p), "top_p", || format!("{} must lie in (0, 1]", self.top_p))?;
        require(is_share(self.typical_p), "typical_p", || {
            format!("{} must lie in (0, 1]", self.typical_p)
        })?;
        require(self.top_k != Some(0), "top_k", || "must be at least 1, or absent".to_string())?;
        require(self.temperature.is_finite() && self.temperature > 0.0, "temperature", || {
            format!("{} must be above 0", self.temperature)
        })
    }
}

impl BeamSearch {
    fn validate(&self, vocab_size: usize) -> Result<(), LanguageModelError> {
        require((1..=vocab_size).contains(&self.beams), "beams", || {
            format!("{} must lie in 1..={vocab_size}, the model's ids", self.beams)
        })?;
        require(self.length_penalty.is_finite(), "length_penalty", || {
            format!("{} must be a finite number", self.length_penalty)
        })
    }
}

fn require(
    holds: bool,
    setting: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), LanguageModelError> {
    if holds { Ok(()) } else { Err(LanguageModelError::Setting { setting, problem: problem() }) }
}
