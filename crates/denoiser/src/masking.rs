use burn::tensor::{Bool, Tensor};
use latent_text_nn::hiding_bias;

/// What is added to attention logits so that real queries see real keys only, broadcastable to
/// `[batch, heads, queries, keys]`, in f32; none where all are real. `true` in a mask is real.
///
/// The logits of a query that is not real are all the same then, as in LD4LG.
pub(crate) fn mask_bias(
    queries: Option<Tensor<2, Bool>>,
    keys: Option<Tensor<2, Bool>>,
) -> Option<Tensor<4>> {
    let queries = queries.map(|mask| mask.unsqueeze_dim::<3>(1).unsqueeze_dim::<4>(3));
    let keys = keys.map(|mask| mask.unsqueeze_dim::<3>(1).unsqueeze_dim::<4>(1));
    let visible = match (queries, keys) {
        (None, None) => return None,
        (Some(one), None) | (None, Some(one)) => one,
        (Some(queries), Some(keys)) => {
            let [batch, _, length, _] = queries.dims();
            let [_, _, _, seen] = keys.dims();
            let shape = [batch, 1, length, seen];
            queries.expand(shape).bool_and(keys.expand(shape))
        }
    };
    Some(hiding_bias(visible))
}
