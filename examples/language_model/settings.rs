//! Settings of generation as flags. What no flag is given for is as the model's folder says.

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use latent_text::language_model::{
    BeamSearch, Decoding, EarlyStopping, GenerationConfig, LanguageModel, Sampling, TextTokenizer,
};

#[derive(Args)]
pub struct Settings {
    /// Longest text in tokens, with its start token, prefix and end token.
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// The text may not end before it has so many tokens.
    #[arg(long, value_name = "N")]
    min_length: Option<usize>,
    /// Number of beams of a beam search; 1 for greedy decoding.
    #[arg(long, value_name = "N")]
    beams: Option<usize>,
    /// The score of a text in a beam search is divided by its length to this power.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    length_penalty: Option<f64>,
    /// When a beam search ends.
    #[arg(long, value_enum)]
    early_stopping: Option<Stopping>,
    /// Draws each token at random; the next four options imply it.
    #[arg(long)]
    sample: bool,
    /// Below 1 the probable tokens become more probable.
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Draws from the N most probable tokens only.
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Draws from the fewest tokens that hold this probability together.
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// The same in the order of how close their information is to the entropy.
    #[arg(long, value_name = "P")]
    typical_p: Option<f64>,
    /// Above 1 tokens that the text has already become less probable.
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f64>,
    /// No sequence of so many tokens comes twice; 0 allows all.
    #[arg(long, value_name = "N")]
    no_repeat_ngram: Option<usize>,
    /// Does not let the model write TEXT, in the tokens that it has in front of and inside a sentence;
    /// may be given several times.
    #[arg(long = "bad-word", value_name = "TEXT")]
    bad_words: Vec<String>,
    /// What every text begins with.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Number of texts for each source.
    #[arg(long, value_name = "N")]
    returns: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stopping {
    /// When the best unfinished text is no better than the finished ones.
    Heuristic,
    /// When there are as many finished texts as beams.
    First,
    /// When no unfinished text can become better.
    Never,
}

impl From<Stopping> for EarlyStopping {
    fn from(stopping: Stopping) -> Self {
        match stopping {
            Stopping::Heuristic => Self::Heuristic,
            Stopping::First => Self::First,
            Stopping::Never => Self::Never,
        }
    }
}

impl Settings {
    /// The model's own settings with these over them.
    pub fn over(&self, model: &LanguageModel) -> Result<GenerationConfig> {
        let own = model.generation.clone();
        let mut bad_words = own.bad_words;
        for word in &self.bad_words {
            bad_words.extend(token_forms(&model.tokenizer, word)?);
        }
        let prefix = self.prefix.as_ref().map(|text| prefix(&model.tokenizer, text)).transpose()?;
        Ok(GenerationConfig {
            max_length: self.max_length.unwrap_or(own.max_length),
            min_length: self.min_length.unwrap_or(own.min_length),
            decoding: self.decoding(own.decoding)?,
            repetition_penalty: self.repetition_penalty.unwrap_or(own.repetition_penalty),
            no_repeat_ngram_size: self.no_repeat_ngram.unwrap_or(own.no_repeat_ngram_size),
            bad_words,
            prefix: prefix.unwrap_or(own.prefix),
            returns: self.returns.unwrap_or(own.returns),
            ..own
        })
    }

    fn decoding(&self, own: Decoding) -> Result<Decoding> {
        let searches = self.length_penalty.is_some() || self.early_stopping.is_some();
        let samples = self.sample
            || self.temperature.is_some()
            || self.top_k.is_some()
            || self.top_p.is_some()
            || self.typical_p.is_some();
        if samples {
            ensure!(
                !searches && self.beams.is_none_or(|beams| beams == 1),
                "a beam search does not draw tokens; give either --beams or --sample and its options"
            );
            return Ok(Decoding::Sampling(self.sampling(own)));
        }
        match (own, self.beams) {
            (_, Some(1)) if !searches => Ok(Decoding::Greedy),
            (Decoding::Beam(_), _) | (_, Some(_)) => Ok(Decoding::Beam(self.search(own))),
            (own, None) => {
                ensure!(!searches, "--length-penalty and --early-stopping need --beams");
                Ok(own)
            }
        }
    }

    fn sampling(&self, own: Decoding) -> Sampling {
        let own = match own {
            Decoding::Sampling(own) => own,
            Decoding::Greedy | Decoding::Beam(_) => Sampling::default(),
        };
        Sampling {
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            typical_p: self.typical_p.unwrap_or(own.typical_p),
        }
    }

    fn search(&self, own: Decoding) -> BeamSearch {
        let own = match own {
            Decoding::Beam(own) => own,
            Decoding::Greedy | Decoding::Sampling(_) => BeamSearch::default(),
        };
        BeamSearch {
            beams: self.beams.unwrap_or(own.beams),
            length_penalty: self.length_penalty.unwrap_or(own.length_penalty),
            early_stopping: self.early_stopping.map_or(own.early_stopping, Into::into),
        }
    }
}

/// The ids of a text that is to go on: with what the model has in front of texts, without their end.
fn prefix(tokenizer: &TextTokenizer, text: &str) -> Result<Vec<u32>> {
    let ids = tokenizer.encode_batch(&[text], usize::MAX)?.ids.swap_remove(0);
    Ok(ids.into_iter().take_while(|&id| id != tokenizer.eos_id()).collect())
}

/// The ids of a word at the begin of a text and behind a space, without any around them.
fn token_forms(tokenizer: &TextTokenizer, word: &str) -> Result<Vec<Vec<u32>>> {
    ensure!(!word.trim().is_empty(), "--bad-word needs a word");
    let inside = format!(" {}", word.trim_start());
    let mut texts = tokenizer.encode_batch(&["", word, &inside], usize::MAX)?.ids;
    let around = texts.remove(0);
    for ids in &mut texts {
        ids.retain(|id| !around.contains(id));
    }
    texts.retain(|ids| !ids.is_empty());
    texts.dedup();
    Ok(texts)
}
