use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor};
use latent_text_nn::linear;

use crate::class_embedding::{class_rows, class_table};
use crate::context::{Context, null_where_absent};
use crate::stream::{enter, leave};
use crate::time_embedding::TimeEmbedding;
use crate::time_terms::TimeTerms;
use crate::transformer::Transformer;
use crate::{Conditions, EmbeddedTime, EncoderSpaceDenoiserConfig, SelfCondition};

/// The network of LD4LG's first version (arXiv 2212.09462v1), for diffusion in the space of a
/// language encoder's own states: as many latents as a text has tokens.
///
/// It differs from [`Denoiser`](crate::Denoiser) in this: it is told the integer time step of a
/// discrete diffusion; the previous estimate and the class are not inputs of the stream but what
/// every layer attends to; self-attention also knows relative positions; and there are no long
/// skips. LD4LG v1 has it predict x0.
#[derive(Module, Debug)]
pub struct EncoderSpaceDenoiser {
    time: TimeEmbedding,
    class_embedding: Option<Embedding>,
    /// Takes the place of the projected estimate where there is none, `[1, dim]`.
    initial_estimate: Param<Tensor<2>>,
    estimate_projection: Linear,
    input_projection: Linear,
    positions: Embedding,
    time_projection: Linear,
    transformer: Transformer,
    output_norm: LayerNorm,
    output_projection: Linear,
}

impl EncoderSpaceDenoiser {
    pub(crate) fn new(config: &EncoderSpaceDenoiserConfig, device: &Device) -> Self {
        let (dim, time_dim, latent_dim) = (config.dim, config.time_dim(), config.latent_dim);
        Self {
            time: TimeEmbedding::new(dim, time_dim, device),
            class_embedding: config.classes.map(|classes| class_table(classes, dim, device)),
            initial_estimate: Initializer::Normal { mean: 0.0, std: 1.0 }.init([1, dim], device),
            estimate_projection: LinearConfig::new(latent_dim, dim).init(device),
            input_projection: LinearConfig::new(latent_dim, dim).init(device),
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
    /// Inside, the dtype of the parameters is used, save for norms, softmax, relative positions and
    /// the sinusoid of the time, which are computed in f32. Dropout acts on an autodiff device only.
    ///
    /// # Shapes
    /// - `z`: the noisy latents, `[batch, latents, latent_dim]`
    /// - `steps`: the time step of each sample or of all, from 0 (least noise) to 999 in LD4LG, `[batch]`
    ///   or `[1]`
    /// - `conditions`: with a mask for texts of different lengths
    /// - returns `[batch, latents, latent_dim]`
    ///
    /// # Panics
    /// If there are more latents than `max_latents`, if a shape is not as it should be, if the
    /// denoiser is given classes that its configuration has not, or if it is given sources.
    pub fn forward(
        &self,
        z: Tensor<3>,
        steps: Tensor<1, Int>,
        conditions: Conditions,
    ) -> Tensor<3> {
        self.predict(z, self.time_terms(steps), conditions)
    }

    /// What [`forward_embedded`](Self::forward_embedded) needs of time steps, as [`forward`](Self::forward)
    /// is told them.
    pub(crate) fn embed(&self, steps: Tensor<1, Int>) -> EmbeddedTime {
        EmbeddedTime(self.time_terms(steps).join())
    }

    /// [`forward`](Self::forward) at time steps that are [embedded](Self::embed).
    pub(crate) fn forward_embedded(
        &self,
        z: Tensor<3>,
        time: EmbeddedTime,
        conditions: Conditions,
    ) -> Tensor<3> {
        let [_, dim] = self.time_projection.weight.dims();
        self.predict(z, TimeTerms::split(time.0, dim), conditions)
    }

    fn time_terms(&self, steps: Tensor<1, Int>) -> TimeTerms {
        let time = self.time.forward(steps.cast(FloatDType::F32));
        TimeTerms::new(time, &self.time_projection, &self.transformer)
    }

    fn predict(&self, z: Tensor<3>, terms: TimeTerms, conditions: Conditions) -> Tensor<3> {
        let Conditions { self_cond, classes, source, mask } = conditions;
        assert!(source.is_none(), "an encoder-space denoiser was given sources");
        let [batch, _, _] = z.dims();
        let dtype = z.dtype();
        let inputs = z.cast(self.input_projection.weight.dtype());
        let (projection, positions) = (&self.input_projection, &self.positions);
        let h = enter(inputs, projection, positions, terms.shift);
        let context = self.context(self_cond, classes, mask.clone(), batch);
        let h = self.transformer.forward(h, terms.modulation, mask, Some(&context));
        leave(h, &self.output_norm, &self.output_projection).cast(dtype)
    }

    /// What every layer attends to: the estimate, masked as the latents, and the class behind it.
    fn context(
        &self,
        self_cond: Option<SelfCondition>,
        classes: Option<Tensor<1, Int>>,
        mask: Option<Tensor<2, Bool>>,
        batch: usize,
    ) -> Context {
        let (estimate, mask) = self.estimate(self_cond, mask);
        let Some(table) = &self.class_embedding else {
            assert!(classes.is_none(), "an unconditional denoiser was given classes");
            return self.transformer.read(estimate, mask);
        };
        let [_, length, dim] = estimate.dims();
        let class = class_rows(table, classes).unsqueeze_dim::<3>(1).expand([batch, 1, dim]);
        let context = Tensor::cat(vec![estimate.expand([batch, length, dim]), class], 1);
        let mask = mask.map(|mask| {
            let shown = Tensor::<2, Bool>::full([batch, 1], true, &mask.device());
            Tensor::cat(vec![mask, shown], 1)
        });
        self.transformer.read(context, mask)
    }

    /// The projected estimate where there is one and the learned stand-in elsewhere, with the mask
    /// that belongs to it; the stand-in alone, `[1, 1, dim]`, where no sample has one.
    fn estimate(
        &self,
        self_cond: Option<SelfCondition>,
        mask: Option<Tensor<2, Bool>>,
    ) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
        let initial = self.initial_estimate.val();
        let Some(SelfCondition { estimate, present }) = self_cond else {
            return (initial.unsqueeze_dim(0), None);
        };
        let estimate = estimate.cast(self.estimate_projection.weight.dtype());
        null_where_absent(linear(&self.estimate_projection, estimate), mask, present, initial)
    }
}
