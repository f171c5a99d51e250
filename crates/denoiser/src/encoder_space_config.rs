use burn::tensor::Device;
use latent_text_nn::PositionBuckets;
use serde::{Deserialize, Serialize};

use crate::reference::{ENCODER_SPACE_NAMES, reference_name};
use crate::settings::{check_shape, check_sizes, refuse};
use crate::transformer::TransformerShape;
use crate::{DenoiserError, EncoderSpaceDenoiser, SkipRule};

/// Settings of an [`EncoderSpaceDenoiser`]. The defaults are those of LD4LG v1 for ROCStories, with
/// the states of BART-base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderSpaceDenoiserConfig {
    /// Width of one latent vector, which is a state of the language model's encoder. Default 768.
    pub latent_dim: usize,
    /// The most latent vectors of one text, one for each of its tokens; the length of the position
    /// table. Default 64.
    pub max_latents: usize,
    /// Width of the transformer, a multiple of `head_dim`. Default 768.
    pub dim: usize,
    /// Number of transformer layers. Default 12.
    pub depth: usize,
    /// Width of one attention head. Default 64.
    pub head_dim: usize,
    /// Inner width of a feed-forward network as a multiple of `dim`. Default 4.
    pub ff_mult: usize,
    /// Width of the time step's embedding as a multiple of `dim`. Default 4.
    pub time_dim_mult: usize,
    /// Number of relative positions that self-attention tells apart, a multiple of 4: half of them
    /// for earlier, half for later vectors. Default 32.
    pub relative_buckets: usize,
    /// The distance from which on all relative positions are the same, above a quarter of
    /// `relative_buckets`. Default 128.
    pub relative_distance: usize,
    /// Dropout probability of attention probabilities and inside feed-forward networks, in
    /// `[0, 1)`. Default 0, as for ROCStories and AG News; E2E and SST-2 have 0.1.
    pub dropout: f64,
    /// Number of classes `C` of a class-conditional denoiser, which also knows a null class of
    /// index `C`; none for an unconditional one. Default none.
    pub classes: Option<usize>,
}

impl Default for EncoderSpaceDenoiserConfig {
    fn default() -> Self {
        Self {
            latent_dim: 768,
            max_latents: 64,
            dim: 768,
            depth: 12,
            head_dim: 64,
            ff_mult: 4,
            time_dim_mult: 4,
            relative_buckets: 32,
            relative_distance: 128,
            dropout: 0.0,
            classes: None,
        }
    }
}

impl EncoderSpaceDenoiserConfig {
    /// A denoiser with fresh parameters on `device`.
    ///
    /// Linear layers start from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), tables and the stand-in for a
    /// missing estimate from N(0, 1). The output projection and all scales and shifts start from
    /// zero, so that a fresh denoiser returns zeros. Parameters are drawn from the device's
    /// generator when they are first used.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) refuses the settings.
    pub fn init(&self, device: &Device) -> EncoderSpaceDenoiser {
        if let Err(error) = self.validate() {
            panic!("{error}");
        }
        EncoderSpaceDenoiser::new(self, device)
    }

    /// Checks the settings; to be called on those that come from outside.
    ///
    /// # Errors
    /// [`DenoiserError::Setting`] names the first setting that can't be used.
    pub fn validate(&self) -> Result<(), DenoiserError> {
        check_sizes(&[
            ("latent_dim", self.latent_dim),
            ("max_latents", self.max_latents),
            ("relative_buckets", self.relative_buckets),
            ("relative_distance", self.relative_distance),
            ("classes", self.classes.unwrap_or(1)),
        ])?;
        check_shape(&self.transformer(), self.time_dim_mult)?;
        if !self.relative_buckets.is_multiple_of(4) {
            return refuse("relative_buckets", self.relative_buckets, "it must be a multiple of 4");
        }
        if self.relative_distance <= self.relative_buckets / 4 {
            let problem = format!(
                "it must be more than a quarter of `relative_buckets` = {}",
                self.relative_buckets
            );
            return refuse("relative_distance", self.relative_distance, problem);
        }
        Ok(())
    }

    /// The name that LD4LG's published code (v1) gives to the parameter at `path` of this denoiser.
    ///
    /// A path that no such denoiser has is returned as it is.
    ///
    /// ```
    /// # use latent_text_denoiser::EncoderSpaceDenoiserConfig;
    /// assert_eq!(
    ///     EncoderSpaceDenoiserConfig::default().reference_name("estimate_projection.bias"),
    ///     "context_proj.bias",
    /// );
    /// ```
    pub fn reference_name(&self, path: &str) -> String {
        reference_name(path, true, &ENCODER_SPACE_NAMES)
    }

    pub(crate) fn time_dim(&self) -> usize {
        self.dim.saturating_mul(self.time_dim_mult)
    }

    pub(crate) fn transformer(&self) -> TransformerShape {
        TransformerShape {
            dim: self.dim,
            depth: self.depth,
            head_dim: self.head_dim,
            ff_mult: self.ff_mult,
            time_dim: self.time_dim(),
            dropout: self.dropout,
            dense_connections: 0,
            skips: SkipRule::default(),
            cross_attention: true,
            relative_positions: Some(PositionBuckets {
                count: self.relative_buckets,
                max_distance: self.relative_distance,
                bidirectional: true,
            }),
        }
    }
}
