use burn::tensor::{Bool, Int, Tensor};
use latent_text_kernels::{Mapping, Tensors};

use crate::context::Context;

/// What a denoiser is told besides noisy latents and their noise level. The default is nothing: no
/// estimate, the null class, the null source, all latents real.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The previous estimate of the clean latents; none before the first one.
    pub self_cond: Option<SelfCondition>,
    /// Class indices, `[batch]`, of a class-conditional denoiser, where index `C` is the null class.
    /// None stands for the null class everywhere.
    pub classes: Option<Tensor<1, Int>>,
    /// The sources of a sequence-to-sequence denoiser. None stands for the null source everywhere.
    pub source: Option<SourceContext>,
    /// Which latents are real, `[batch, latents]`, where texts have latents in different numbers.
    /// None means all. The output for the others is of no use, and nothing in the output for real
    /// ones depends on them. There must be a real one in each sample.
    pub mask: Option<Tensor<2, Bool>>,
}

/// A previous estimate of the clean latents, which the denoiser refines.
#[derive(Clone, Debug)]
pub struct SelfCondition {
    /// The estimate of x0, `[batch, latents, latent_dim]`.
    pub estimate: Tensor<3>,
    /// Which samples have an estimate, `[batch]`; the others get the learned stand-in. None means
    /// that all have one.
    pub present: Option<Tensor<1, Bool>>,
}

/// Sources of a sequence-to-sequence denoiser, as a frozen encoder sees them.
#[derive(Clone, Debug)]
pub struct Source {
    /// The encoder's last hidden states, `[batch, tokens, source_dim]`.
    pub states: Tensor<3>,
    /// Which tokens are real, `[batch, tokens]`, at least one in each source. None means all.
    pub mask: Option<Tensor<2, Bool>>,
    /// Which samples have a source, `[batch]`; the others get the learned null source, as training
    /// for classifier-free guidance needs. None means that all have one.
    pub present: Option<Tensor<1, Bool>>,
}

/// What a denoiser keeps of [`Source`]s: keys and values of all its layers. It is the same in every
/// step of a sampling run, so [`Denoiser::read_source`](crate::Denoiser::read_source) is called once.
///
/// Takes `2 * depth * batch * tokens * dim` numbers of memory.
#[derive(Clone, Debug)]
pub struct SourceContext(pub(crate) Context);

impl Tensors for Conditions {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self {
            self_cond: self.self_cond.map_tensors(mapping),
            classes: self.classes.map_tensors(mapping),
            source: self.source.map_tensors(mapping),
            mask: self.mask.map_tensors(mapping),
        }
    }
}

impl Tensors for SelfCondition {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self {
            estimate: self.estimate.map_tensors(mapping),
            present: self.present.map_tensors(mapping),
        }
    }
}

impl Tensors for SourceContext {
    fn map_tensors(&self, mapping: &mut Mapping<'_>) -> Self {
        Self(self.0.map_tensors(mapping))
    }
}
