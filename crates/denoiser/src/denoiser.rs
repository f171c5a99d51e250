use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, FloatDType, Int, Tensor};

use crate::class_embedding::ClassEmbedding;
use crate::context::Context;
use crate::source_reader::SourceReader;
use crate::stream::{enter, leave};
use crate::time_embedding::TimeEmbedding;
use crate::time_terms::TimeTerms;
use crate::transformer::Transformer;
use crate::{Conditions, DenoiserConfig, EmbeddedTime, SelfCondition, Source, SourceContext};

/// The sinusoid was made for integer times up to about a thousand.
const ALPHA_TO_TIME: f64 = 1000.0;

/// The network that looks at noisy latents and predicts what the diffusion asks of it: v, x0 or eps.
///
/// A pre-norm transformer over the latent vectors of a text. It is told the noise level as `alpha`,
/// the share of the signal in the variance (`z = sqrt(alpha) x0 + sqrt(1 - alpha) eps`), never the
/// time, and its own previous estimate of x0 (self-conditioning); with classes also a class, and
/// with sources it attends to the states of a source encoder in every layer. See Lovelace et al.,
/// "Latent Diffusion for Language Generation" (LD4LG), section 4 and appendix.
#[derive(Module, Debug)]
pub struct Denoiser {
    time: TimeEmbedding,
    class_embedding: Option<ClassEmbedding>,
    source: Option<SourceReader>,
    /// Takes the place of the estimate where there is none, `[1, latent_dim]`.
    initial_estimate: Param<Tensor<2>>,
    input_projection: Linear,
    positions: Embedding,
    time_projection: Linear,
    transformer: Transformer,
    output_norm: LayerNorm,
    output_projection: Linear,
}

impl Denoiser {
    pub(crate) fn new(config: &DenoiserConfig, device: &Device) -> Self {
        let (dim, time_dim, latent_dim) = (config.dim, config.time_dim(), config.latent_dim);
        Self {
            time: TimeEmbedding::new(dim, time_dim, device),
            class_embedding: config
                .classes
                .map(|classes| ClassEmbedding::new(classes, dim, time_dim, device)),
            source: config.source_dim.map(|width| SourceReader::new(width, dim, device)),
            initial_estimate: Initializer::Normal { mean: 0.0, std: 0.02 }
                .init([1, latent_dim], device),
            input_projection: LinearConfig::new(2 * latent_dim, dim).init(device),
            positions: EmbeddingConfig::new(config.max_latents, dim).init(device),
            time_projection: LinearConfig::new(time_dim, dim).init(device),
            transformer: Transformer::new(&config.transformer(), device),
            output_norm: LayerNormConfig::new(dim).init(device),
            output_projection: LinearConfig::new(dim, latent_dim)
                .with_initializer(Initializer::Zeros)
                .init(device),
        }
    }

    /// The network's output for every latent vector, in the dtype of `z`.
    ///
    /// Inside, the dtype of the parameters is used, save for norms, softmax and the sinusoid of
    /// `alpha`, which are computed in f32. Dropout acts on an autodiff device only. `alpha` gets no
    /// gradient.
    ///
    /// # Shapes
    /// - `z`: the noisy latents, `[batch, latents, latent_dim]`
    /// - `alpha`: the share of the signal in the variance, in (0, 1), of each sample or of all:
    ///   `[batch]` or `[1]`
    /// - returns `[batch, latents, latent_dim]`
    ///
    /// # Panics
    /// If there are more latents than `max_latents`, if a shape is not as it should be, or if the
    /// denoiser is given classes or sources that its configuration has not.
    pub fn forward(&self, z: Tensor<3>, alpha: Tensor<1>, conditions: Conditions) -> Tensor<3> {
        let condition = self.embed_condition(alpha, conditions.classes.clone());
        self.predict(z, self.time_terms(condition), conditions)
    }

    /// What [`forward_embedded`](Self::forward_embedded) needs of noise levels, as [`forward`](Self::forward)
    /// is told them.
    pub(crate) fn embed(&self, alpha: Tensor<1>) -> EmbeddedTime {
        let embedding = self.embed_level(alpha);
        EmbeddedTime(match &self.class_embedding {
            Some(_) => embedding,
            None => self.time_terms(embedding).join(),
        })
    }

    /// [`forward`](Self::forward) at noise levels that are [embedded](Self::embed).
    pub(crate) fn forward_embedded(
        &self,
        z: Tensor<3>,
        time: EmbeddedTime,
        conditions: Conditions,
    ) -> Tensor<3> {
        let [_, dim] = self.time_projection.weight.dims();
        let terms = match &self.class_embedding {
            Some(_) => self.time_terms(self.add_class(time.0, conditions.classes.clone())),
            None => TimeTerms::split(time.0, dim),
        };
        self.predict(z, terms, conditions)
    }

    fn predict(&self, z: Tensor<3>, terms: TimeTerms, conditions: Conditions) -> Tensor<3> {
        let Conditions { self_cond, classes, source, mask } = conditions;
        let told = classes.is_none() || self.class_embedding.is_some();
        assert!(told, "an unconditional denoiser was given classes");
        let dtype = z.dtype();
        let estimate = self.estimate(self_cond, z.dims());
        let inputs = Tensor::cat(vec![z.cast(estimate.dtype()), estimate], 2);
        let (projection, positions) = (&self.input_projection, &self.positions);
        let h = enter(inputs, projection, positions, terms.shift);
        let context = self.context(source);
        let h = self.transformer.forward(h, terms.modulation, mask, context.as_ref());
        leave(h, &self.output_norm, &self.output_projection).cast(dtype)
    }

    /// What all layers need of sources, for [`Conditions::source`]. In a sampling run this is done
    /// once, in training in every step.
    ///
    /// # Panics
    /// If this denoiser has no cross-attention, or if a shape is not as [`Source`] has it.
    pub fn read_source(&self, source: Source) -> SourceContext {
        let Some(reader) = &self.source else {
            panic!("a denoiser without cross-attention was given sources")
        };
        let (context, mask) = reader.forward(source);
        SourceContext(self.transformer.read(context, mask))
    }

    fn context(&self, source: Option<SourceContext>) -> Option<Context> {
        let Some(reader) = &self.source else {
            assert!(source.is_none(), "a denoiser without cross-attention was given sources");
            return None;
        };
        Some(match source {
            Some(SourceContext(context)) => context,
            None => self.transformer.read(reader.null(), None),
        })
    }

    /// Noise level and class, `[batch, time_dim]`.
    fn embed_condition(&self, alpha: Tensor<1>, classes: Option<Tensor<1, Int>>) -> Tensor<2> {
        self.add_class(self.embed_level(alpha), classes)
    }

    /// The noise level alone, `[batch, time_dim]`.
    fn embed_level(&self, alpha: Tensor<1>) -> Tensor<2> {
        self.time.forward(alpha.cast(FloatDType::F32) * ALPHA_TO_TIME)
    }

    fn add_class(&self, time: Tensor<2>, classes: Option<Tensor<1, Int>>) -> Tensor<2> {
        match &self.class_embedding {
            Some(embedding) => time + embedding.forward(classes),
            None => time,
        }
    }

    fn time_terms(&self, condition: Tensor<2>) -> TimeTerms {
        TimeTerms::new(condition, &self.time_projection, &self.transformer)
    }

    /// The estimate where there is one and the learned stand-in elsewhere, in the parameters' dtype.
    fn estimate(&self, self_cond: Option<SelfCondition>, shape: [usize; 3]) -> Tensor<3> {
        let initial = self.initial_estimate.val().unsqueeze_dim::<3>(0);
        let dtype = initial.dtype();
        match self_cond {
            None => initial.expand(shape),
            Some(SelfCondition { estimate, present: None }) => estimate.cast(dtype),
            Some(SelfCondition { estimate, present: Some(present) }) => {
                let present = present.unsqueeze_dims::<3>(&[1, 2]).expand(shape);
                initial.expand(shape).mask_where(present, estimate.cast(dtype))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_adds_its_projected_row_to_the_condition() {
        let device = Device::default();
        let config = DenoiserConfig {
            latent_dim: 4,
            dim: 8,
            head_dim: 4,
            depth: 2,
            dense_connections: 1,
            classes: Some(3),
            ..Default::default()
        };
        let denoiser = config.init(&device);
        let embedding = denoiser.class_embedding.as_ref().unwrap();
        let alpha = || Tensor::<1>::from_data([0.2, 0.9], &device);

        let classes = Tensor::from_data([2, 0], &device);
        let added = denoiser.embed_condition(alpha(), Some(classes))
            - denoiser.time.forward(alpha() * ALPHA_TO_TIME);
        let rows = embedding.table.weight.val();
        let rows = Tensor::cat(vec![rows.clone().slice(2..3), rows.slice(0..1)], 0);
        let expected = embedding.projection.forward(rows);
        let error: f32 = (added - expected).abs().max().into_scalar();
        assert!(error < 1e-6, "{error}");

        let null = Tensor::from_data([3, 3], &device);
        let named = denoiser.embed_condition(alpha(), Some(null));
        let implied = denoiser.embed_condition(alpha(), None);
        let error: f32 = (named - implied).abs().max().into_scalar();
        assert!(error < 1e-6, "{error}");
    }
}
