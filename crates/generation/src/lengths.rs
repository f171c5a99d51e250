use burn::tensor::{Bool, Tensor};
use latent_text_conditioning::{
    ConditioningError, LengthDistribution, LengthPredictor, LengthPredictorConfig, length_mask,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::batch::Batch;
use crate::conditions::BatchConditions;
use crate::{GenerationError, LatentText, Lengths, Request};

/// Keeps the generators of lengths apart from those of noise.
const LENGTH_SEED: u64 = 0x6c65_6e67_7468;

/// How many latents the rows of a request get.
#[derive(Debug)]
pub(crate) enum RowLengths<'a> {
    /// All as many.
    Fixed(usize),
    /// Each by a draw of its own.
    Drawn { distribution: &'a LengthDistribution, seed: u64 },
    /// Text `i` entry `i % len`.
    Given(&'a [usize]),
    /// Each by a draw of its own from what is predicted for its conditions.
    Predicted { predictor: &'a LengthPredictor, from: &'a LengthPredictorConfig, seed: u64 },
}

impl LatentText {
    /// How many latents the request's texts are to have.
    pub(crate) fn lengths<'a>(
        &'a self,
        request: &'a Request,
    ) -> Result<RowLengths<'a>, GenerationError> {
        let Some(distribution) = &self.config.lengths else {
            let latents = self.autoencoder.max_latents();
            return match request.lengths {
                None => Ok(RowLengths::Fixed(latents)),
                Some(_) => Err(GenerationError::FixedLength { latents }),
            };
        };
        let seed = request.seed ^ LENGTH_SEED;
        match &request.lengths {
            None if !self.can_predict_lengths(request) => {
                Ok(RowLengths::Drawn { distribution, seed })
            }
            Some(Lengths::Drawn) => Ok(RowLengths::Drawn { distribution, seed }),
            None | Some(Lengths::Predicted) => self.predicted_lengths(request, seed),
            Some(Lengths::Given(lengths)) => {
                self.check_lengths(lengths)?;
                Ok(RowLengths::Given(lengths))
            }
        }
    }

    /// Whether there is a predictor, and the request has what it looks at.
    fn can_predict_lengths(&self, request: &Request) -> bool {
        let from = self.config.length_predictor.as_ref();
        from.is_some_and(|from| from.source_dim.is_none() || !request.sources.is_empty())
    }

    fn predicted_lengths<'a>(
        &'a self,
        request: &'a Request,
        seed: u64,
    ) -> Result<RowLengths<'a>, GenerationError> {
        let (Some(predictor), Some(from)) = (&self.length_predictor, &self.config.length_predictor)
        else {
            return Err(GenerationError::NoPredictedLengths(
                "the model has no predictor; set `lengths` to drawn or give them",
            ));
        };
        if from.source_dim.is_some() && request.sources.is_empty() {
            return Err(GenerationError::NoPredictedLengths(
                "the model predicts them from sources, and the texts have none; set `lengths` to drawn \
                 or give them",
            ));
        }
        Ok(RowLengths::Predicted { predictor, from, seed })
    }

    /// The lengths of a batch's rows under these conditions.
    pub(crate) fn lengths_of(
        &self,
        batch: Batch,
        lengths: &RowLengths<'_>,
        conditions: &BatchConditions,
    ) -> Result<Vec<usize>, GenerationError> {
        Ok(match *lengths {
            RowLengths::Fixed(latents) => vec![latents; batch.rows()],
            RowLengths::Drawn { distribution, seed } => {
                generators(batch, seed).map(|mut rng| distribution.draw(&mut rng)).collect()
            }
            RowLengths::Given(lengths) => {
                batch.text_of_rows().map(|text| lengths[text % lengths.len()]).collect()
            }
            RowLengths::Predicted { predictor, from, seed } => {
                let logits = predicted(predictor, from, conditions);
                let [predictions, max_length] = logits.dims();
                let logits = match predictions {
                    1 => logits.expand([batch.rows(), max_length]),
                    _ => logits,
                };
                let mut generators: Vec<ChaCha8Rng> = generators(batch, seed).collect();
                LengthPredictor::draw(logits, &mut generators)?
            }
        })
    }

    fn check_lengths(&self, lengths: &[usize]) -> Result<(), GenerationError> {
        if lengths.is_empty() {
            return Err(GenerationError::Request(
                "it gives lengths, but there are none; leave `lengths` out to have them drawn"
                    .to_string(),
            ));
        }
        let max = self.autoencoder.max_latents();
        match lengths.iter().enumerate().find(|(_, length)| !(1..=max).contains(*length)) {
            None => Ok(()),
            Some((index, &length)) => {
                Err(ConditioningError::LengthRange { index, length, max }.into())
            }
        }
    }

    /// Which latents of a batch are real, `[rows, longest]`, and the longest length; no mask if all are.
    pub(crate) fn mask_of(
        &self,
        lengths: &[usize],
    ) -> Result<(Option<Tensor<2, Bool>>, usize), GenerationError> {
        let longest = lengths.iter().copied().max().unwrap_or(1);
        if lengths.iter().all(|&length| length == longest) {
            return Ok((None, longest));
        }
        Ok((Some(length_mask(lengths, longest, self.device())?), longest))
    }
}

/// A generator for each row, which depends on nothing but its text and its candidate.
fn generators(batch: Batch, seed: u64) -> impl Iterator<Item = ChaCha8Rng> {
    batch.streams().map(move |stream| {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        generator
    })
}

/// The logits of lengths, `[rows, max_length]`, or `[1, max_length]` where all rows have the same
/// conditions.
fn predicted(
    predictor: &LengthPredictor,
    from: &LengthPredictorConfig,
    conditions: &BatchConditions,
) -> Tensor<2> {
    let classes = conditions.classes.clone().filter(|_| from.classes.is_some());
    let source = conditions.source.as_ref().filter(|_| from.source_dim.is_some());
    let Some(source) = source else { return predictor.forward(None, classes) };
    let [texts, tokens, _] = source.states.dims();
    let all = || Tensor::full([texts, tokens], true, &source.states.device());
    let mask = source.mask.clone().unwrap_or_else(all);
    predictor.forward(Some((&source.states, &mask)), classes)
}
