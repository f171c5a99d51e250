//! The fixtures' models, prompts and cases.

use std::fs::File;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use flate2::read::GzDecoder;
use latent_text_language_model::{
    EncoderDecoder, EncoderDecoderConfig, EosTokenIds, GeneratedText, GenerationConfig,
};
use latent_text_testing::fixture;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub const FAMILIES: [&str; 5] = ["bart", "mbart", "t5", "flan", "mt5"];

#[derive(Deserialize)]
pub struct Family {
    pub prompts: Vec<Vec<u32>>,
    pub cases: Vec<Case>,
}

/// What `transformers` writes for some of the prompts.
#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub config: GenerationConfig,
    /// The prompts.
    pub rows: Vec<usize>,
    /// `config.returns` for each row.
    pub texts: Vec<Vec<u32>>,
    /// Those of a beam search.
    pub scores: Option<Vec<f64>>,
    /// The end tokens, where they aren't those of the model.
    pub eos: Option<Vec<u32>>,
}

pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = fixture("decoding").join(format!("{name}.json.gz"));
    serde_json::from_reader(GzDecoder::new(File::open(path).unwrap())).unwrap()
}

/// A model and what its encoder makes of the prompts.
pub struct Source {
    pub model: EncoderDecoder,
    pub config: EncoderDecoderConfig,
    pub states: Tensor<3>,
    pub mask: Tensor<2, Bool>,
}

impl Source {
    /// With the first prompts of a family.
    pub fn of(name: &str, count: usize) -> Self {
        let family: Family = read(name);
        Self::with(name, &family.prompts[..count], None)
    }

    pub fn with(name: &str, prompts: &[Vec<u32>], eos: Option<&[u32]>) -> Self {
        let device = Device::default();
        let folder = fixture("decoding").join(name);
        let mut config = EncoderDecoderConfig::from_folder(&folder).unwrap();
        if let Some(eos) = eos {
            let eos = EosTokenIds::new(eos).unwrap();
            match &mut config {
                EncoderDecoderConfig::Bart(config) => config.eos_token_id = eos,
                EncoderDecoderConfig::T5(config) => config.eos_token_id = eos,
            }
        }
        let model = EncoderDecoder::load(&folder, &config, &device).unwrap();
        let (ids, mask) = padded(prompts, &device);
        let states = model.encode(ids, Some(mask.clone()));
        Self { model, config, states, mask }
    }

    pub fn rows(&self, rows: &[usize]) -> Self {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let count = rows.len();
        let rows = TensorData::new(rows, [count]);
        let rows = Tensor::<1, Int>::from_data(rows, &self.states.device());
        Self {
            model: self.model.clone(),
            config: self.config.clone(),
            states: self.states.clone().select(0, rows.clone()),
            mask: self.mask.clone().select(0, rows),
        }
    }

    pub fn count(&self) -> usize {
        self.states.dims()[0]
    }

    /// With the seeds 0, 1, ..
    pub fn generate(&self, config: &GenerationConfig) -> Vec<GeneratedText> {
        let seeds: Vec<u64> = (0..self.count() as u64).collect();
        self.generate_with(config, &seeds)
    }

    pub fn generate_with(&self, config: &GenerationConfig, seeds: &[u64]) -> Vec<GeneratedText> {
        let mask = Some(self.mask.clone());
        self.model.generate(self.states.clone(), mask, config, seeds).unwrap()
    }
}

fn padded(prompts: &[Vec<u32>], device: &Device) -> (Tensor<2, Int>, Tensor<2, Bool>) {
    let width = prompts.iter().map(Vec::len).max().unwrap();
    let shape = [prompts.len(), width];
    let places = || prompts.iter().flat_map(|prompt| (0..width).map(|place| prompt.get(place)));
    let ids: Vec<i64> = places().map(|id| i64::from(id.copied().unwrap_or(0))).collect();
    let mask: Vec<bool> = places().map(|id| id.is_some()).collect();
    (
        Tensor::from_data(TensorData::new(ids, shape), device),
        Tensor::from_data(TensorData::new(mask, shape), device),
    )
}
