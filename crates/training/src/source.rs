//! The sources of a sequence-to-sequence training.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use latent_text_conditioning::SourceReader;
use latent_text_language_model::TokenBatch;
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::padding::Padding;

/// What sources are read with, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSection {
    /// The frozen language model whose encoder reads the sources; default that of the autoencoder.
    pub encoder: SourceEncoderChoice,
    /// Longest source in tokens, with its special tokens; default 64. Longer ones are cut off.
    pub max_tokens: usize,
}

impl Default for SourceSection {
    fn default() -> Self {
        Self { encoder: SourceEncoderChoice::Autoencoder, max_tokens: 64 }
    }
}

impl SourceSection {
    /// Checks that a source can have a token between its special ones.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn check(&self) -> Result<(), TrainingError> {
        if self.max_tokens < 3 {
            return Err(TrainingError::setting(
                "diffusion.source.max_tokens",
                "must be at least 3",
            ));
        }
        Ok(())
    }
}

/// A frozen language model: written as `"autoencoder"`, or as the path of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum SourceEncoderChoice {
    /// The language model of the autoencoder.
    #[default]
    Autoencoder,
    /// The language model in a folder as Hugging Face has it; a relative path starts where those of
    /// data sets start. It becomes a part of the finished model.
    Folder(PathBuf),
}

const OF_AUTOENCODER: &str = "autoencoder";

impl From<String> for SourceEncoderChoice {
    fn from(text: String) -> Self {
        if text == OF_AUTOENCODER { Self::Autoencoder } else { Self::Folder(text.into()) }
    }
}

impl From<SourceEncoderChoice> for String {
    fn from(choice: SourceEncoderChoice) -> Self {
        match choice {
            SourceEncoderChoice::Autoencoder => OF_AUTOENCODER.to_string(),
            SourceEncoderChoice::Folder(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// Texts whose states take no more than this are encoded once and kept on the device.
const KEPT_BYTES: usize = 1 << 30;
/// Sources encoded at once for keeping.
const ENCODED_AT_ONCE: usize = 256;

/// The sources of a set of texts, as a denoiser attends to them.
///
/// A source that several texts share is held once. If the states of all sources are small, they are
/// computed once and kept; otherwise those of a batch are computed when they are needed.
pub struct SourceSet {
    reader: Arc<SourceReader>,
    distinct: Vec<Vec<u32>>,
    /// The source of each text, as an index into `distinct`.
    of_text: Vec<usize>,
    pad_id: u32,
    padding: Padding,
    kept: Option<KeptStates>,
    device: Device,
}

/// The states of all distinct sources, `[sources, tokens * dim]`.
struct KeptStates {
    states: Tensor<2>,
    tokens: usize,
}

impl SourceSet {
    /// The sources `texts`, one for each text of the set. Batches of them are padded to multiples of
    /// `multiple` tokens.
    ///
    /// # Errors
    /// As [`SourceReader::tokenize`].
    pub fn new(
        reader: Arc<SourceReader>,
        texts: &[&str],
        multiple: usize,
    ) -> Result<Self, TrainingError> {
        let mut set = Self::unread(reader, texts, multiple)?;
        if set.bytes() <= KEPT_BYTES {
            set.keep();
        }
        Ok(set)
    }

    fn unread(
        reader: Arc<SourceReader>,
        texts: &[&str],
        multiple: usize,
    ) -> Result<Self, TrainingError> {
        let TokenBatch { ids, pad_id } = reader.tokenize(texts)?;
        let mut index_of: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut distinct = Vec::new();
        let of_text = ids
            .into_iter()
            .map(|source| {
                *index_of.entry(source).or_insert_with_key(|source| {
                    distinct.push(source.clone());
                    distinct.len() - 1
                })
            })
            .collect();
        let padding = Padding { max_tokens: reader.max_tokens(), multiple };
        let device = reader.device();
        Ok(Self { reader, distinct, of_text, pad_id, padding, kept: None, device })
    }

    /// How many texts have a source here.
    pub fn len(&self) -> usize {
        self.of_text.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.of_text.is_empty()
    }

    /// The states of the sources of these texts, `[batch, tokens, dim]`, and where they are real,
    /// `[batch, tokens]`. The tokens are padded to one of few lengths, for which GPU kernels are tuned.
    ///
    /// # Panics
    /// If there is no such text.
    pub fn read(&self, texts: &[i32]) -> (Tensor<3>, Tensor<2, Bool>) {
        let sources: Vec<usize> = texts.iter().map(|&text| self.of_text[text as usize]).collect();
        match &self.kept {
            None => self.encode(&sources),
            Some(kept) => {
                let rows: Vec<i32> = sources.iter().map(|&source| source as i32).collect();
                let rows = TensorData::new(rows, [sources.len()]);
                let rows = Tensor::<1, Int>::from_data(rows, &self.device);
                let states = kept.states.clone().select(0, rows);
                let shape = [sources.len(), kept.tokens, self.reader.dim()];
                (states.reshape(shape), self.mask(&sources, kept.tokens))
            }
        }
    }

    fn keep(&mut self) {
        let tokens = self.longest();
        let all: Vec<usize> = (0..self.distinct.len()).collect();
        let states = all
            .chunks(ENCODED_AT_ONCE)
            .map(|sources| {
                let states = self.encode_to(sources, tokens).0;
                let [rows, tokens, dim] = states.dims();
                states.reshape([rows, tokens * dim])
            })
            .collect();
        self.kept = Some(KeptStates { states: Tensor::cat(states, 0), tokens });
    }

    fn encode(&self, sources: &[usize]) -> (Tensor<3>, Tensor<2, Bool>) {
        let longest = sources.iter().map(|&source| self.distinct[source].len()).max();
        self.encode_to(sources, self.padding.length(longest.unwrap_or(0)))
    }

    fn encode_to(&self, sources: &[usize], tokens: usize) -> (Tensor<3>, Tensor<2, Bool>) {
        let ids = sources.iter().map(|&source| self.distinct[source].clone()).collect();
        let (ids, mask) = TokenBatch { ids, pad_id: self.pad_id }.tensors(tokens, &self.device);
        (self.reader.encode(ids, mask.clone()), mask)
    }

    fn mask(&self, sources: &[usize], tokens: usize) -> Tensor<2, Bool> {
        let real: Vec<bool> = sources
            .iter()
            .flat_map(|&source| (0..tokens).map(move |token| (source, token)))
            .map(|(source, token)| token < self.distinct[source].len())
            .collect();
        Tensor::from_data(TensorData::new(real, [sources.len(), tokens]), &self.device)
    }

    fn longest(&self) -> usize {
        self.padding.length(self.distinct.iter().map(Vec::len).max().unwrap_or(0))
    }

    /// What keeping takes, in single precision.
    fn bytes(&self) -> usize {
        self.distinct.len() * self.longest() * self.reader.dim() * size_of::<f32>()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use latent_text_testing::{device_turn, language_model, tiny_bart};

    use super::*;

    pub(crate) const SOURCES: [&str; 4] =
        ["name[A], food[B]", "name[C]", "name[A], food[B]", "area[riverside]"];

    /// An encoder of width 16 with fresh weights.
    pub(crate) fn reader(device: &Device) -> Arc<SourceReader> {
        let language_model = language_model(SOURCES, 300, tiny_bart(16, 24), device);
        Arc::new(SourceReader::new(language_model, 24).expect("a reader"))
    }

    #[test]
    fn kept_states_are_those_of_the_encoder() {
        let _turn = device_turn();
        let device = Device::default();
        let reader = reader(&device);
        let tokens = reader.tokenize(&SOURCES).expect("tokens").ids;
        let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
        let fresh = SourceSet::unread(reader.clone(), &SOURCES, 8).expect("sources");
        let kept = SourceSet::new(reader, &SOURCES, 8).expect("sources");
        assert_eq!((kept.len(), kept.distinct.len()), (4, 3));
        assert!(kept.kept.is_some() && fresh.kept.is_none());
        for texts in [vec![0, 1, 2, 3], vec![3], vec![2, 2, 1]] {
            let (kept_states, kept_mask) = kept.read(&texts);
            let (states, mask) = fresh.read(&texts);
            let real = |mask: Tensor<2, Bool>| -> Vec<usize> {
                let [_, tokens] = mask.dims();
                let mask = mask.int().try_into_vec_as::<i64>().expect("numbers");
                mask.chunks(tokens).map(|row| row.iter().sum::<i64>() as usize).collect()
            };
            let expected: Vec<usize> = texts.iter().map(|&text| lengths[text as usize]).collect();
            assert_eq!(real(kept_mask), expected);
            assert_eq!(real(mask), expected);
            for (row, length) in expected.into_iter().enumerate() {
                let of_row = |states: &Tensor<3>| {
                    let states = states.clone().slice([row..row + 1, 0..length]);
                    states.try_into_vec_as::<f32>().expect("numbers")
                };
                for (a, b) in of_row(&kept_states).iter().zip(of_row(&states)) {
                    assert!((a - b).abs() < 1e-4, "{a} against {b}");
                }
            }
        }
    }

    #[test]
    fn an_encoder_is_named_or_a_folder() {
        for (text, choice) in [
            ("\"autoencoder\"", SourceEncoderChoice::Autoencoder),
            ("\"models/bart\"", SourceEncoderChoice::Folder("models/bart".into())),
        ] {
            let read: SourceEncoderChoice = serde_json::from_str(text).expect("a choice");
            assert_eq!(read, choice);
            assert_eq!(serde_json::to_string(&choice).expect("a text"), text);
        }
    }
}
