use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::AutoencoderError;

const SMALLEST_SCALE: f32 = 1e-5;

/// Mean and spread of a set of latents, for a diffusion on latents that are not l2-normalised.
///
/// `(x - mean) / scale` has mean 0 in every dimension and variance 1 over all of them together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentStatistics {
    /// Mean of every dimension over texts and latent vectors, `[latent_dim]`.
    pub mean: Vec<f32>,
    /// Standard deviation of all values about their dimension's mean (the population's: divided
    /// by the number of values).
    pub scale: f32,
    /// Number of latent vectors that were looked at.
    pub count: u64,
}

impl LatentStatistics {
    /// `(x - mean) / scale`, `[batch, latents, latent_dim]` in and out. A scale below 1e-5 counts
    /// as 1e-5.
    ///
    /// # Panics
    /// If `latent_dim` is not the length of `mean`.
    pub fn normalise(&self, x: Tensor<3>) -> Tensor<3> {
        let mean = self.mean_like(&x);
        (x - mean) / self.divisor()
    }

    /// The inverse of [`normalise`](Self::normalise).
    ///
    /// # Panics
    /// If `latent_dim` is not the length of `mean`.
    pub fn denormalise(&self, x: Tensor<3>) -> Tensor<3> {
        let mean = self.mean_like(&x);
        x * self.divisor() + mean
    }

    fn divisor(&self) -> f32 {
        self.scale.max(SMALLEST_SCALE)
    }

    fn mean_like(&self, x: &Tensor<3>) -> Tensor<3> {
        let dim = self.mean.len();
        assert_eq!(x.dims()[2], dim, "latents of another width than the statistics");
        let mean = TensorData::new(self.mean.clone(), [1, 1, dim]);
        Tensor::from_data(mean, (&x.device(), x.dtype()))
    }
}

/// Computes [`LatentStatistics`] batch by batch, in f64.
#[derive(Clone, Debug)]
pub struct LatentStatisticsAccumulator {
    mean: Vec<f64>,
    /// Sum of squared deviations from the mean, per dimension.
    deviation: Vec<f64>,
    count: u64,
}

impl LatentStatisticsAccumulator {
    /// For latents of width `latent_dim`.
    ///
    /// # Panics
    /// If `latent_dim` is 0.
    pub fn new(latent_dim: usize) -> Self {
        assert!(latent_dim > 0, "latents have at least one dimension");
        Self { mean: vec![0.0; latent_dim], deviation: vec![0.0; latent_dim], count: 0 }
    }

    /// Takes in latent vectors that lie one behind the other.
    ///
    /// # Panics
    /// If the last one is not whole.
    pub fn add_values(&mut self, values: &[f32]) {
        let vectors = values.chunks_exact(self.mean.len());
        assert!(vectors.remainder().is_empty(), "the last latent vector is not whole");
        for vector in vectors {
            self.add_vector(vector);
        }
    }

    /// Welford's update, which stays exact where a sum of squares would cancel.
    fn add_vector(&mut self, vector: &[f32]) {
        self.count += 1;
        let weight = 1.0 / self.count as f64;
        for ((mean, deviation), &value) in self.mean.iter_mut().zip(&mut self.deviation).zip(vector)
        {
            let difference = f64::from(value) - *mean;
            *mean += difference * weight;
            *deviation += difference * (f64::from(value) - *mean);
        }
    }

    /// The statistics of all latents taken in.
    ///
    /// # Errors
    /// [`AutoencoderError::NoLatents`] if there were none, [`AutoencoderError::NotFinite`] if one
    /// of them was infinite or not a number.
    pub fn finish(&self) -> Result<LatentStatistics, AutoencoderError> {
        let values = self.count as f64 * self.mean.len() as f64;
        if values == 0.0 {
            return Err(AutoencoderError::NoLatents);
        }
        let variance = self.deviation.iter().sum::<f64>() / values;
        if !variance.is_finite() {
            return Err(AutoencoderError::NotFinite);
        }
        Ok(LatentStatistics {
            mean: self.mean.iter().map(|&mean| mean as f32).collect(),
            scale: variance.sqrt() as f32,
            count: self.count,
        })
    }
}
