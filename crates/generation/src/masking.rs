//! Keeping what is no latent out of a run.

use burn::tensor::{Bool, Device, Tensor};
use latent_text_autoencoder::Latents;
use latent_text_diffusion::{NoiseSource, SampleNoise};

/// `x`, `[rows, latents, dim]`, with zeros where `mask`, `[rows, latents]`, is false.
pub(crate) fn masked(x: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    let Some(mask) = mask else { return x };
    let padding = mask.clone().bool_not().unsqueeze_dim::<3>(2).expand(x.dims());
    x.mask_fill(padding, 0.0)
}

/// Latents with zeros where none are real.
pub(crate) fn without_padding(latents: Latents) -> Latents {
    Latents { values: masked(latents.values, latents.mask.as_ref()), mask: latents.mask }
}

/// Noise for texts with latents in varying number.
///
/// What a latent gets depends on its row and its place alone: as much is drawn for each row as for the
/// longest text that there can be.
pub(crate) struct RowNoise {
    pub(crate) noise: SampleNoise,
    pub(crate) max_latents: usize,
    pub(crate) mask: Option<Tensor<2, Bool>>,
}

impl NoiseSource<3> for RowNoise {
    fn draw(&mut self, [rows, latents, dim]: [usize; 3], device: &Device) -> Tensor<3> {
        let drawn = self.noise.normal([rows, self.max_latents, dim], device);
        masked(drawn.narrow(1, 0, latents), self.mask.as_ref())
    }
}
