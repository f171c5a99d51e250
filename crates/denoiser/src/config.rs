use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::reference::{LATENT_NAMES, reference_name};
use crate::settings::{check_shape, check_sizes, refuse};
use crate::transformer::TransformerShape;
use crate::{Denoiser, DenoiserError};

/// Settings of a [`Denoiser`]. The defaults are those of LD4LG for ROCStories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenoiserConfig {
    /// Width of one latent vector. Default 64.
    pub latent_dim: usize,
    /// The most latent vectors of one text, which is the length of the position table. Default 64,
    /// of which LD4LG uses 32 (for WMT it has 128).
    pub max_latents: usize,
    /// Width of the transformer, a multiple of `head_dim`. Default 768.
    pub dim: usize,
    /// Number of transformer layers. Default 12.
    pub depth: usize,
    /// Width of one attention head. Default 64.
    pub head_dim: usize,
    /// Inner width of a feed-forward network as a multiple of `dim`. Default 4.
    pub ff_mult: usize,
    /// Width of the noise level's embedding as a multiple of `dim`. Default 4.
    pub time_dim_mult: usize,
    /// Number of long skips from early to late layers, at most half of `depth`. Default 3.
    pub dense_connections: usize,
    /// Which early output a long skip brings to which late layer. Default [`SkipRule::Symmetric`].
    pub skips: SkipRule,
    /// Dropout probability of attention probabilities and inside feed-forward networks, in
    /// `[0, 1)`. Default 0.1.
    pub dropout: f64,
    /// Number of classes `C` of a class-conditional denoiser, which also knows a null class of
    /// index `C`; none for an unconditional one. Default none.
    pub classes: Option<usize>,
    /// Width of the source encoder's states, which every layer of a sequence-to-sequence denoiser
    /// attends to; none for a denoiser without cross-attention. Default none. Encoders of base size
    /// have 768, of large size 1024, mT5-XL has 2048.
    pub source_dim: Option<usize>,
}

impl Default for DenoiserConfig {
    fn default() -> Self {
        Self {
            latent_dim: 64,
            max_latents: 64,
            dim: 768,
            depth: 12,
            head_dim: 64,
            ff_mult: 4,
            time_dim_mult: 4,
            dense_connections: 3,
            skips: SkipRule::Symmetric,
            dropout: 0.1,
            classes: None,
            source_dim: None,
        }
    }
}

/// How the long skips of a denoiser pair early with late layers.
///
/// Both rules have the same parameters, but weights trained with one do not work with the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipRule {
    /// The pairs of a U-ViT, as LD4LG's paper has them: the output of the first layer reaches the
    /// last, that of the second the second-last, and so on.
    #[default]
    Symmetric,
    /// What LD4LG's published code computes: the first late layer gets its skip as in
    /// [`Symmetric`](SkipRule::Symmetric), every later one is joined with a copy of its own input.
    /// Needed for weights trained with that code.
    ReferenceStack,
}

impl DenoiserConfig {
    /// A denoiser with fresh parameters on `device`.
    ///
    /// Linear layers start from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), tables and the null source from
    /// N(0, 1), the stand-in for a missing estimate from N(0, 0.02). The output projection and all
    /// scales and shifts start from zero, so that a fresh denoiser returns zeros. Parameters are
    /// drawn from the device's generator when they are first used.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) refuses the settings.
    pub fn init(&self, device: &Device) -> Denoiser {
        if let Err(error) = self.validate() {
            panic!("{error}");
        }
        Denoiser::new(self, device)
    }

    /// Checks the settings; to be called on those that come from outside.
    ///
    /// # Errors
    /// [`DenoiserError::Setting`] names the first setting that can't be used.
    pub fn validate(&self) -> Result<(), DenoiserError> {
        check_sizes(&[
            ("latent_dim", self.latent_dim),
            ("max_latents", self.max_latents),
            ("classes", self.classes.unwrap_or(1)),
            ("source_dim", self.source_dim.unwrap_or(1)),
        ])?;
        check_shape(&self.transformer(), self.time_dim_mult)?;
        if self.dense_connections > self.depth / 2 {
            let problem = format!("it must be at most half of `depth` = {}", self.depth);
            return refuse("dense_connections", self.dense_connections, problem);
        }
        Ok(())
    }

    /// The name that LD4LG's published code (v2) gives to the parameter at `path` of this denoiser.
    ///
    /// The code numbers the sub-layers of all layers in one row, so names depend on whether there is
    /// cross-attention. A path that no denoiser has is returned as it is.
    ///
    /// ```
    /// # use latent_text_denoiser::DenoiserConfig;
    /// let path = "transformer.layers.2.attention.query.weight";
    /// let plain = DenoiserConfig::default();
    /// assert_eq!(plain.reference_name(path), "encoder.layers.4.1.to_q.weight");
    /// let with_source = DenoiserConfig { source_dim: Some(768), ..plain };
    /// assert_eq!(with_source.reference_name(path), "encoder.layers.6.1.to_q.weight");
    /// ```
    pub fn reference_name(&self, path: &str) -> String {
        reference_name(path, self.source_dim.is_some(), &LATENT_NAMES)
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
            dense_connections: self.dense_connections,
            skips: self.skips,
            cross_attention: self.source_dim.is_some(),
            relative_positions: None,
        }
    }
}
