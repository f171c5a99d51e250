use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::{gelu, log_softmax};
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, TensorData};
use latent_text_nn::{embedding, layer_norm, linear};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::ConditioningError;
use crate::lengths::check_length;

/// Settings of a [`LengthPredictor`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthPredictorConfig {
    /// Width of the source encoder's states, for a predictor that looks at sources. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_dim: Option<usize>,
    /// Number of classes `C` of a predictor that looks at classes; it also knows the null class, of
    /// index `C`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Width of the hidden layer. Default 256.
    #[serde(default = "default_hidden")]
    pub hidden: usize,
    /// The longest length. Required.
    pub max_length: usize,
}

fn default_hidden() -> usize {
    256
}

impl LengthPredictorConfig {
    /// A predictor with fresh parameters on `device`, for which all lengths are equally likely.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) refuses the settings.
    pub fn init(&self, device: &Device) -> LengthPredictor {
        if let Err(error) = self.validate() {
            panic!("{error}");
        }
        LengthPredictor::new(self, device)
    }

    /// Checks the settings; to be called on those that come from outside.
    ///
    /// # Errors
    /// [`ConditioningError::LengthPredictor`] if there is neither a source nor a class to predict from,
    /// or if a size is 0.
    pub fn validate(&self) -> Result<(), ConditioningError> {
        let refuse = |setting, problem: &str| {
            Err(ConditioningError::LengthPredictor { setting, problem: problem.to_string() })
        };
        if self.source_dim.is_none() && self.classes.is_none() {
            return refuse(
                "source_dim",
                "and `classes` are both missing, so there is nothing to predict a length from",
            );
        }
        for (setting, size) in [
            ("source_dim", self.source_dim.unwrap_or(1)),
            ("classes", self.classes.unwrap_or(1)),
            ("hidden", self.hidden),
            ("max_length", self.max_length),
        ] {
            if size == 0 {
                return refuse(setting, "must be at least 1");
            }
        }
        Ok(())
    }
}

/// Predicts how long a text is from what it is conditioned on: a small head on the mean of a source's
/// encoder states, on a class, or on both.
///
/// It gives every length from 1 to `max_length` a probability. LD4LG (v1) draws lengths from the training
/// set whatever the condition; see [`LengthDistribution`](crate::LengthDistribution) for that.
#[derive(Module, Debug)]
pub struct LengthPredictor {
    source: Option<SourceSummary>,
    classes: Option<Embedding>,
    output: Linear,
}

/// The mean of a source's states, brought to the hidden layer's width.
#[derive(Module, Debug)]
struct SourceSummary {
    norm: LayerNorm,
    projection: Linear,
}

impl LengthPredictor {
    fn new(config: &LengthPredictorConfig, device: &Device) -> Self {
        let hidden = config.hidden;
        Self {
            source: config.source_dim.map(|dim| SourceSummary {
                norm: LayerNormConfig::new(dim).init(device),
                projection: LinearConfig::new(dim, hidden).init(device),
            }),
            classes: config
                .classes
                .map(|classes| EmbeddingConfig::new(classes + 1, hidden).init(device)),
            output: LinearConfig::new(hidden, config.max_length)
                .with_initializer(Initializer::Zeros)
                .init(device),
        }
    }

    /// Unnormalised log-probabilities of the lengths 1, 2, .., `max_length`, in f32.
    ///
    /// Padding in sources has no influence, whatever stands there.
    ///
    /// # Shapes
    /// - `source`: states `[batch, tokens, source_dim]` and which of them are real, `[batch, tokens]`, at
    ///   least one in each source; to be given if and only if the predictor looks at sources
    /// - `classes`: `[batch]`; for a predictor that looks at classes, none stands for the null class
    /// - returns `[batch, max_length]`; `[1, max_length]` for neither a source nor classes
    ///
    /// # Panics
    /// If a source is missing, if a source or a class is given that the predictor does not look at, or
    /// if a shape is not as it should be.
    pub fn forward(
        &self,
        source: Option<(&Tensor<3>, &Tensor<2, Bool>)>,
        classes: Option<Tensor<1, Int>>,
    ) -> Tensor<2> {
        let source = match (&self.source, source) {
            (Some(summary), Some((states, mask))) => Some(summary.forward(states, mask)),
            (Some(_), None) => panic!("a predictor of lengths for sources was given none"),
            (None, Some(_)) => panic!("a predictor of lengths without sources was given some"),
            (None, None) => None,
        };
        let class = match &self.classes {
            Some(table) => Some(class_rows(table, classes)),
            None => {
                assert!(classes.is_none(), "a predictor of lengths without classes was given some");
                None
            }
        };
        let hidden = match (source, class) {
            (Some(source), Some(class)) => source + class,
            (Some(hidden), None) | (None, Some(hidden)) => hidden,
            (None, None) => unreachable!("a configuration without both is refused"),
        };
        linear(&self.output, gelu(hidden)).cast(FloatDType::F32)
    }

    /// The longest length that is predicted.
    pub fn max_length(&self) -> usize {
        self.output.weight.dims()[1]
    }

    /// The mean cross-entropy, `[1]`, of texts of these lengths under logits `[batch, max_length]`.
    ///
    /// # Errors
    /// [`ConditioningError::LengthRange`] for a length outside `1..=max_length`.
    ///
    /// # Panics
    /// If there is not one length for each row of the logits.
    pub fn loss(
        &self,
        logits: Tensor<2>,
        lengths: &[usize],
    ) -> Result<Tensor<1>, ConditioningError> {
        let [rows, max_length] = logits.dims();
        assert_eq!(rows, lengths.len(), "one length for each row of the logits");
        let mut places = Vec::with_capacity(rows);
        for (index, &length) in lengths.iter().enumerate() {
            check_length(index, length, max_length)?;
            places.push(length as i64 - 1);
        }
        let places = TensorData::new(places, [rows, 1]);
        let places = Tensor::<2, Int>::from_data(places, &logits.device());
        Ok(-log_softmax(logits, 1).gather(1, places).mean())
    }

    /// A length for each row of the logits `[batch, max_length]`, drawn with the row's own generator: a
    /// row's draw does not depend on the others.
    ///
    /// # Errors
    /// [`ConditioningError::LengthLogits`] if a logit is not a finite number,
    /// [`ConditioningError::Device`] if the logits can't be read.
    ///
    /// # Panics
    /// If there is not one generator for each row.
    pub fn draw(logits: Tensor<2>, rngs: &mut [impl Rng]) -> Result<Vec<usize>, ConditioningError> {
        let [rows, max_length] = logits.dims();
        assert_eq!(rows, rngs.len(), "one generator for each row of the logits");
        let logits: Vec<f32> = logits
            .try_into_vec_as::<f32>()
            .map_err(|error| ConditioningError::Device(error.to_string()))?;
        let draws = logits.chunks(max_length).zip(rngs).enumerate();
        draws.map(|(index, (logits, rng))| draw_one(index, logits, rng)).collect()
    }
}

impl SourceSummary {
    /// `[batch, hidden]`.
    fn forward(&self, states: &Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<2> {
        let shape = states.dims();
        assert_eq!(mask.dims(), shape[..2], "one mask entry for each state of a source");
        let hidden = mask.clone().bool_not().unsqueeze_dim::<3>(2).expand(shape);
        let states = states.clone().cast(FloatDType::F32).mask_fill(hidden, 0.0);
        let count = mask.clone().float().cast(FloatDType::F32).sum_dim(1);
        let mean = states.sum_dim(1).squeeze_dim::<2>(1) / count;
        linear(&self.projection, layer_norm(&self.norm, mean.cast(self.projection.weight.dtype())))
    }
}

/// `[batch, hidden]`; `[1, hidden]` without classes.
fn class_rows(table: &Embedding, classes: Option<Tensor<1, Int>>) -> Tensor<2> {
    match classes {
        Some(classes) => embedding(table.weight.val(), classes.unsqueeze_dim(1)).squeeze_dim(1),
        None => {
            let [rows, _] = table.weight.dims();
            table.weight.val().slice_dim(0, rows - 1..rows)
        }
    }
}

fn draw_one(
    index: usize,
    logits: &[f32],
    rng: &mut (impl Rng + ?Sized),
) -> Result<usize, ConditioningError> {
    if logits.iter().any(|logit| !logit.is_finite()) {
        return Err(ConditioningError::LengthLogits { index });
    }
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let cumulative: Vec<f64> = logits
        .iter()
        .scan(0.0, |sum, &logit| {
            *sum += f64::from(logit - largest).exp();
            Some(*sum)
        })
        .collect();
    let total = cumulative[cumulative.len() - 1];
    let at = rng.random::<f64>() * total;
    let place = cumulative.partition_point(|&sum| sum <= at);
    Ok(place.min(logits.len() - 1) + 1)
}
