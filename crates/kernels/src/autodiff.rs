//! How gradients flow through the operations.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use crate::ops::{FusedGradients, FusedOps};
use crate::{Attention, DropRule};

/// A backend that has both the operations and their gradients.
pub(crate) trait Differentiable: FusedOps + FusedGradients {}

impl<B: FusedOps + FusedGradients> Differentiable for B {}

/// Defines the backward pass `$name` over `$n` inputs: `$backward` gets what was kept of the forward pass
/// and the gradient of the output, and answers with the gradients of the inputs that have one.
macro_rules! backward {
    ($name:ident, $n:literal, $state:ty, |$kept:pat_param, $wanted:ident, $dy:ident| $backward:expr) => {
        #[derive(Debug)]
        struct $name;

        impl<B: Differentiable> Backward<B, $n> for $name {
            type State = $state;

            fn backward(
                self,
                ops: Ops<Self::State, $n>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let $dy = grads.consume::<B>(&ops.node);
                let $wanted = ops.parents.each_ref().map(Option::is_some);
                let $kept = ops.state;
                let found: [Option<FloatTensor<B>>; $n] = $backward;
                for (parent, gradient) in ops.parents.into_iter().zip(found) {
                    if let (Some(parent), Some(gradient)) = (parent, gradient) {
                        grads.register::<B>(parent.id, gradient);
                    }
                }
            }
        }
    };
}

backward!(LinearBackward, 2, (FloatTensor<B>, FloatTensor<B>), |(x, weight), wanted, dy| [
    wanted[0].then(|| B::linear_input(dy.clone(), weight)),
    wanted[1].then(|| B::linear_weight(x, dy)),
]);

backward!(
    LinearWithBiasBackward,
    3,
    (FloatTensor<B>, FloatTensor<B>),
    |(x, weight), wanted, dy| {
        let input = wanted[0].then(|| B::linear_input(dy.clone(), weight));
        if wanted[1] || wanted[2] {
            let (weight, bias) = B::linear_weight_and_bias(x, dy);
            [input, Some(weight), Some(bias)]
        } else {
            [input, None, None]
        }
    }
);

backward!(LinearOntoBackward, 3, (FloatTensor<B>, FloatTensor<B>), |(x, weight), wanted, dy| [
    wanted[0].then(|| B::linear_input(dy.clone(), weight)),
    wanted[1].then(|| B::linear_weight(x, dy.clone())),
    Some(dy),
]);

type NormState<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f64);

backward!(NormBackward, 3, NormState<B>, |(x, gain, bias, epsilon), _wanted, dy| {
    let (x, gain, bias) = B::norm_gradients(x, gain, bias, dy, epsilon);
    [Some(x), Some(gain), Some(bias)]
});

type NormOfSumState<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f64);

backward!(
    NormOfSumBackward,
    4,
    NormOfSumState<B>,
    |(x, residual, gain, bias, epsilon), _wanted, dy| {
        let (sum, gain, bias) = B::norm_of_sum_gradients(x, residual, gain, bias, dy, epsilon);
        [Some(sum.clone()), Some(sum), Some(gain), Some(bias)]
    }
);

backward!(
    RmsNormBackward,
    2,
    (FloatTensor<B>, FloatTensor<B>, f64),
    |(x, gain, epsilon), _wanted, dy| {
        let (x, gain) = B::rms_norm_gradients(x, gain, dy, epsilon);
        [Some(x), Some(gain)]
    }
);

type ModulatedState<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f64);

backward!(
    ModulatedNormBackward,
    5,
    ModulatedState<B>,
    |(x, gain, bias, modulation, epsilon), _wanted, dy| {
        let (x, gain, bias, modulation) =
            B::modulated_norm_gradients(x, gain, bias, modulation, dy.clone(), epsilon);
        [Some(x), Some(gain), Some(bias), Some(modulation), Some(dy)]
    }
);

backward!(GeluBackward, 1, FloatTensor<B>, |x, _wanted, dy| [Some(B::exact_gelu_gradient(x, dy))]);

backward!(
    GatedGeluBackward,
    1,
    (FloatTensor<B>, FloatTensor<B>, DropRule),
    |(x, seed, drop), _wanted, dy| [Some(B::gated_gelu_gradient(x, seed, dy, drop))]
);

type SelfAttentionState<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Attention);

backward!(
    SelfAttentionBackward,
    1,
    SelfAttentionState<B>,
    |(qkv, bias, seed, attention), _wanted, dy| [Some(B::self_attention_gradient(
        qkv, bias, seed, dy, attention
    ))]
);

type CrossAttentionState<B> =
    (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Attention);

backward!(
    CrossAttentionBackward,
    2,
    CrossAttentionState<B>,
    |(query, key, bias, seed, attention), _wanted, dy| {
        let (query, key) = B::cross_attention_gradients(query, key, bias, seed, dy, attention);
        [Some(query), Some(key)]
    }
);

/// Runs `$forward` on the inner backend and registers `$backward`, which keeps `$state`.
macro_rules! tracked {
    ($backward:ident, $strategy:ty, [$($input:ident),+], $state:expr, $forward:expr) => {{
        let prepared = $backward
            .prepare::<$strategy>([$($input.node()),+])
            .compute_bound()
            .stateful();
        $(let $input = $input.into_primitive();)+
        match prepared {
            OpsKind::Tracked(prepared) => {
                let state = $state;
                prepared.finish(state, $forward)
            }
            OpsKind::UnTracked(prepared) => prepared.finish($forward),
        }
    }};
}

impl<B: FusedOps + FusedGradients, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked!(LinearBackward, C, [x, weight], (x.clone(), weight.clone()), B::product(x, weight))
    }

    fn product_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        tracked!(
            LinearWithBiasBackward,
            C,
            [x, weight, bias],
            (x.clone(), weight.clone()),
            B::product_with_bias(x, weight, bias)
        )
    }

    fn product_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        added: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        tracked!(
            LinearOntoBackward,
            C,
            [x, weight, added],
            (x.clone(), weight.clone()),
            B::product_onto(x, weight, added)
        )
    }

    fn norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        tracked!(
            NormBackward,
            C,
            [x, gain, bias],
            (x.clone(), gain.clone(), bias.clone(), epsilon),
            B::norm(x, gain, bias, epsilon)
        )
    }

    fn norm_of_sum(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        tracked!(
            NormOfSumBackward,
            C,
            [x, residual, gain, bias],
            (x.clone(), residual.clone(), gain.clone(), bias.clone(), epsilon),
            B::norm_of_sum(x, residual, gain, bias, epsilon)
        )
    }

    fn rms_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        tracked!(
            RmsNormBackward,
            C,
            [x, gain],
            (x.clone(), gain.clone(), epsilon),
            B::rms_norm(x, gain, epsilon)
        )
    }

    fn modulated_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale_and_shift: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        tracked!(
            ModulatedNormBackward,
            C,
            [x, gain, bias, scale_and_shift, residual],
            (x.clone(), gain.clone(), bias.clone(), scale_and_shift.clone(), epsilon),
            B::modulated_norm(x, gain, bias, scale_and_shift, residual, epsilon)
        )
    }

    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked!(GeluBackward, C, [x], x.clone(), B::exact_gelu(x))
    }

    fn gated_gelu(
        x: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        drop: DropRule,
    ) -> FloatTensor<Self> {
        let seed = seed.into_primitive();
        tracked!(
            GatedGeluBackward,
            C,
            [x],
            (x.clone(), seed.clone(), drop),
            B::gated_gelu(x, seed, drop)
        )
    }

    fn self_attention(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self> {
        let (bias, seed) = (bias.into_primitive(), seed.into_primitive());
        tracked!(
            SelfAttentionBackward,
            C,
            [qkv],
            (qkv.clone(), bias.clone(), seed.clone(), attention),
            B::self_attention(qkv, bias, seed, attention)
        )
    }

    fn cross_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self> {
        let (bias, seed) = (bias.into_primitive(), seed.into_primitive());
        tracked!(
            CrossAttentionBackward,
            C,
            [query, key],
            (query.clone(), key.clone(), bias.clone(), seed.clone(), attention),
            B::cross_attention(query, key, bias, seed, attention)
        )
    }
}
