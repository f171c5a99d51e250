use burn::nn::Dropout;
use burn::tensor::{Bool, FloatDType, Tensor};
use latent_text_kernels::{AttentionSettings, HIDDEN_LOGIT, cross_attention, is_fused_for, plain};

/// How queries attend to keys.
#[derive(Debug, Clone)]
pub struct Attention<'a> {
    /// Number of heads, which divide the last dimension among them.
    pub heads: usize,
    /// Factor of the products of queries and keys.
    pub scale: f64,
    /// Added to the logits: f32, broadcastable to `[batch, heads, queries, keys]`.
    pub bias: Option<Tensor<4>>,
    /// Acts on the probabilities, and only on an autodiff device.
    pub dropout: Option<&'a Dropout>,
}

impl Attention<'_> {
    /// Every query looks at the keys of its sample; softmax in f32.
    ///
    /// # Shapes
    /// - `queries`: `[batch, queries, dim]`
    /// - `keys`, `values`: `[batch, keys, dim]`
    /// - returns `[batch, queries, dim]`
    ///
    /// # Panics
    /// If `dim` is not divisible by the number of heads.
    pub fn forward(&self, queries: Tensor<3>, keys: Tensor<3>, values: Tensor<3>) -> Tensor<3> {
        let [_, _, dim] = queries.dims();
        assert_eq!(dim % self.heads, 0, "width {dim} is not divisible into {} heads", self.heads);
        if is_fused_for(&queries) && !self.drops(&queries) {
            return cross_attention(queries, Tensor::cat(vec![keys, values], 2), &self.settings());
        }
        plain::attention([queries, keys, values], &self.settings(), |probabilities| {
            match self.dropout {
                Some(dropout) => dropout.forward(probabilities),
                None => probabilities,
            }
        })
    }

    fn drops(&self, queries: &Tensor<3>) -> bool {
        self.dropout.is_some_and(|dropout| dropout.prob > 0.0) && queries.device().is_autodiff()
    }

    fn settings(&self) -> AttentionSettings {
        let (heads, scale, bias) = (self.heads, self.scale, self.bias.clone());
        AttentionSettings { heads, scale, bias, dropout: None }
    }
}

/// The bias that hides what is not `visible`: 0 or a logit far below any other, in f32.
///
/// Added to a logit it leaves nothing of it, so that a query with nothing to see looks at all keys
/// alike. It is small where filling hidden logits would need a mask of the logits' size.
pub fn hiding_bias(visible: Tensor<4, Bool>) -> Tensor<4> {
    visible.bool_not().float().cast(FloatDType::F32) * HIDDEN_LOGIT
}
