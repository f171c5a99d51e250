use burn::tensor::Tensor;

/// Enough halvings to tell any two neighbouring f32 values apart that are at least 2^-16 times the
/// upper end of the search.
const HALVINGS: usize = 40;

/// The quantile of every row of `x`, f32 values of at least 0, of shape `[rows, n]`, as `[rows, 1]`:
/// linear interpolation between the two values in question, as `torch.quantile`.
///
/// Where the result is above `relevant`, it may be any number above it.
///
/// Burn sorts on the host for most devices, which would wait for the device at every sampling step.
/// So the value is found by halving an interval and counting the values below its middle.
pub(super) fn quantile_of_rows(x: Tensor<2>, quantile: f64, relevant: Option<f64>) -> Tensor<2> {
    let [_, n] = x.dims();
    let position = quantile * (n - 1) as f64;
    let (below, fraction) = (position.floor(), position.fract());
    let value = order_statistic(x.clone(), below as usize, relevant);
    if fraction == 0.0 {
        return value;
    }
    let next = successor(x, value.clone(), below as usize);
    value.clone() + (next - value) * fraction
}

/// The value at `index` of every row in ascending order, or more than `relevant` if that is more.
fn order_statistic(x: Tensor<2>, index: usize, relevant: Option<f64>) -> Tensor<2> {
    let largest = x.clone().max_dim(1);
    let mut high = match relevant {
        Some(relevant) => largest.clone().clamp_max(relevant),
        None => largest.clone(),
    };
    let too_large = more_than(index, &x, &high).bool_not();
    let mut low = high.zeros_like();
    for _ in 0..HALVINGS {
        // Not (low + high) / 2, which overflows.
        let middle = low.clone() * 0.5 + high.clone() * 0.5;
        let enough = more_than(index, &x, &middle);
        high = high.mask_where(enough.clone(), middle.clone());
        low = middle.mask_where(enough, low);
    }
    let above = x.clone().greater(high.expand(x.dims()));
    x.mask_fill(above, 0.0).max_dim(1).mask_where(too_large, largest)
}

/// The value that follows `value`, the one at `index`, in every row in ascending order.
fn successor(x: Tensor<2>, value: Tensor<2>, index: usize) -> Tensor<2> {
    let again = more_than(index + 1, &x, &value);
    let not_above = x.clone().lower_equal(value.clone().expand(x.dims()));
    let above = x.mask_fill(not_above, f32::MAX).min_dim(1);
    above.mask_where(again, value)
}

/// Whether more than `count` values of a row are at most `bound`, of shape `[rows, 1]`.
fn more_than(count: usize, x: &Tensor<2>, bound: &Tensor<2>) -> Tensor<2, burn::tensor::Bool> {
    let within = x.clone().lower_equal(bound.clone().expand(x.dims()));
    within.int().sum_dim(1).greater_scalar(count as i64)
}
