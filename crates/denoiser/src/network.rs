use burn::module::Module;
use burn::tensor::{Int, Tensor};
use latent_text_kernels::{Mapping, Tensors};

use crate::{Conditions, Denoiser, EmbeddedTime, EncoderSpaceDenoiser, Source, SourceContext};

/// Any of the denoisers, for code that trains or samples with each of them.
///
/// Its parameters have the names that they have in the denoiser alone.
#[derive(Module, Debug)]
pub enum DenoisingNetwork {
    /// LD4LG's second version.
    Latent(Denoiser),
    /// LD4LG's first version.
    EncoderSpace(EncoderSpaceDenoiser),
}

/// How noisy latents are, in the terms of every network.
#[derive(Clone, Debug)]
pub struct NetworkTime {
    /// The share of the signal in the variance, in (0, 1), of each sample or of all, `[batch]` or `[1]`:
    /// what a [`Denoiser`] is told.
    pub alpha: Tensor<1>,
    /// The step of a discrete noise schedule, from 0 (least noise), `[batch]` or `[1]`: what an
    /// [`EncoderSpaceDenoiser`] is told. None for a schedule in continuous time.
    pub step: Option<Tensor<1, Int>>,
}

impl NetworkTime {
    /// That of some samples of the batch.
    pub fn samples(self, range: std::ops::Range<usize>) -> Self {
        Self {
            alpha: self.alpha.slice(range.clone()),
            step: self.step.map(|step| step.slice(range)),
        }
    }

    fn known_step(self) -> Tensor<1, Int> {
        let Some(step) = self.step else {
            panic!("an encoder-space denoiser must be told the step of a discrete schedule")
        };
        step
    }

    /// On the device with autodiff.
    pub fn autodiff(self) -> Self {
        Self { alpha: self.alpha.autodiff(), step: self.step.map(Tensor::autodiff) }
    }
}

impl Tensors for NetworkTime {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self { alpha: self.alpha.map_tensors(mapping), step: self.step.map_tensors(mapping) }
    }
}

impl DenoisingNetwork {
    /// Whether a call takes tensors only from its arguments and parameters, so that a
    /// [`Graph`](latent_text_kernels::Graph) can record it on every device that records. An encoder-space
    /// denoiser gets its relative positions from the host.
    pub fn is_recordable(&self) -> bool {
        matches!(self, Self::Latent(_))
    }

    /// The network's output for every latent vector, in the dtype of `z`; see [`Denoiser::forward`] and
    /// [`EncoderSpaceDenoiser::forward`].
    ///
    /// # Shapes
    /// - `z`: the noisy latents, `[batch, latents, latent_dim]`
    /// - returns `[batch, latents, latent_dim]`
    ///
    /// # Panics
    /// If an encoder-space denoiser is not told the step, and as the networks do.
    pub fn forward(&self, z: Tensor<3>, time: NetworkTime, conditions: Conditions) -> Tensor<3> {
        match self {
            Self::Latent(denoiser) => denoiser.forward(z, time.alpha, conditions),
            Self::EncoderSpace(denoiser) => denoiser.forward(z, time.known_step(), conditions),
        }
    }

    /// What the layers are told of noise levels, which depends on nothing else: in a sampling run, this is
    /// done once for all levels of the plan.
    ///
    /// # Panics
    /// If an encoder-space denoiser is not told the steps.
    pub fn embed(&self, time: NetworkTime) -> EmbeddedTime {
        match self {
            Self::Latent(denoiser) => denoiser.embed(time.alpha),
            Self::EncoderSpace(denoiser) => denoiser.embed(time.known_step()),
        }
    }

    /// [`forward`](Self::forward) at the embedded noise level of each sample or of all. Up to rounding, the
    /// output is the same.
    ///
    /// # Panics
    /// If another network embedded the levels, and as [`forward`](Self::forward) does.
    pub fn forward_embedded(
        &self,
        z: Tensor<3>,
        time: EmbeddedTime,
        conditions: Conditions,
    ) -> Tensor<3> {
        match self {
            Self::Latent(denoiser) => denoiser.forward_embedded(z, time, conditions),
            Self::EncoderSpace(denoiser) => denoiser.forward_embedded(z, time, conditions),
        }
    }

    /// What all layers need of sources, for [`Conditions::source`]; see [`Denoiser::read_source`].
    ///
    /// # Panics
    /// If the network has no cross-attention to sources, or if a shape is not as [`Source`] has it.
    pub fn read_source(&self, source: Source) -> SourceContext {
        match self {
            Self::Latent(denoiser) => denoiser.read_source(source),
            Self::EncoderSpace(_) => panic!("an encoder-space denoiser was given sources"),
        }
    }
}

impl From<Denoiser> for DenoisingNetwork {
    fn from(denoiser: Denoiser) -> Self {
        Self::Latent(denoiser)
    }
}

impl From<EncoderSpaceDenoiser> for DenoisingNetwork {
    fn from(denoiser: EncoderSpaceDenoiser) -> Self {
        Self::EncoderSpace(denoiser)
    }
}
