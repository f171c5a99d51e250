//! The layers against what they are defined to be.

use burn::nn::{DropoutConfig, LayerNormConfig, LinearConfig};
use burn::tensor::{
    Bool, DType, Device, Distribution, FloatDType, Gradients, Int, Tensor, TensorData, Tolerance,
};
use latent_text_nn::{
    Attention, cast_module, dtype_of, embedding, hiding_bias, layer_norm, linear, unembedding,
};

#[test]
fn linear_on_three_dimensions_equals_the_module() {
    let device = Device::default();
    let layer = LinearConfig::new(6, 4).init(&device);
    let x = Tensor::<3>::random([2, 3, 6], Distribution::Normal(0.0, 1.0), &device);
    let expected = layer.forward(x.clone()).into_data();
    linear(&layer, x).into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
}

/// Enough rows for several parts, not enough for two, and a number that can't be divided.
const ROWS: [usize; 3] = [2048, 1000, 1025];

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn assert_equal<const D: usize>(found: Tensor<D>, expected: Tensor<D>, tolerance: f64) {
    let (found, expected) = (found.into_data(), expected.into_data());
    found
        .assert_approx_eq::<f32>(&expected, Tolerance::relative(tolerance).set_absolute(tolerance));
}

/// The gradients of `(forward(x) * slope).sum()`, that of `x` apart.
fn gradients<const D: usize>(
    forward: impl Fn(Tensor<D>) -> Tensor<D>,
    x: &Tensor<D>,
    slope: &Tensor<D>,
) -> (Tensor<D>, Gradients) {
    let x = x.clone().detach().require_grad();
    let gradients = (forward(x.clone()) * slope.clone()).sum().backward();
    (x.grad(&gradients).unwrap(), gradients)
}

#[test]
fn gradients_of_a_linear_layer_on_many_rows_are_those_of_the_module() {
    let device = Device::default().autodiff();
    for (texts, bias) in [(1, true), (2, false), (41, true)] {
        let layer = LinearConfig::new(6, 4).with_bias(bias).init(&device);
        for rows in ROWS.map(|rows| rows / texts) {
            let (x, slope) = (random([texts, rows, 6], &device), random([texts, rows, 4], &device));
            assert_equal(linear(&layer, x.clone()), layer.forward(x.clone()), 1e-5);
            let (of_x, ours) = gradients(|x| linear(&layer, x), &x, &slope);
            let (of_x_expected, theirs) = gradients(|x| layer.forward(x), &x, &slope);
            assert_equal(of_x, of_x_expected, 1e-5);
            let of_weight = |gradients| layer.weight.grad(gradients).unwrap();
            assert_equal(of_weight(&ours), of_weight(&theirs), 1e-3);
            if let Some(bias) = &layer.bias {
                assert_equal(bias.grad(&ours).unwrap(), bias.grad(&theirs).unwrap(), 1e-3);
            }
        }
    }
}

#[test]
fn gradients_of_a_layer_norm_on_many_rows_are_those_of_the_module() {
    let device = Device::default().autodiff();
    for rows in ROWS {
        let mut norm = LayerNormConfig::new(6).init(&device);
        norm.gamma = norm.gamma.map(|gamma| random(gamma.dims(), &device).require_grad());
        let (x, slope) = (random([rows, 6], &device), random([rows, 6], &device));
        assert_equal(layer_norm(&norm, x.clone()), norm.forward(x.clone()), 1e-5);
        let (of_x, ours) = gradients(|x| layer_norm(&norm, x), &x, &slope);
        let (of_x_expected, theirs) = gradients(|x| norm.forward(x), &x, &slope);
        assert_equal(of_x, of_x_expected, 1e-5);
        let beta = norm.beta.as_ref().unwrap();
        assert_equal(norm.gamma.grad(&ours).unwrap(), norm.gamma.grad(&theirs).unwrap(), 1e-3);
        assert_equal(beta.grad(&ours).unwrap(), beta.grad(&theirs).unwrap(), 1e-3);
    }
}

#[test]
fn an_input_without_rows_gives_an_output_without_rows() {
    let layer = LinearConfig::new(6, 4).init(&Device::default());
    let x = Tensor::<3>::zeros([0, 3, 6], &Device::default());
    assert_eq!(linear(&layer, x).dims(), [0, 3, 4]);
}

#[test]
fn layer_norm_in_bf16_is_computed_in_f32() {
    let device = Device::default();
    let norm = LayerNormConfig::new(64).init(&device);
    // A large offset: in bf16 arithmetic the variance would be lost.
    let x = Tensor::<2>::random([3, 64], Distribution::Normal(0.0, 1.0), &device) + 200.0;
    let half = x.cast(FloatDType::BF16);
    let expected = layer_norm(&norm, half.clone().cast(FloatDType::F32));
    let found = layer_norm(&norm, half);
    assert_eq!(found.dtype(), FloatDType::BF16.into());
    found
        .cast(FloatDType::F32)
        .into_data()
        .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(2e-2));
}

#[test]
fn attention_averages_the_visible_values_when_all_logits_are_equal() {
    let device = Device::default();
    let q = Tensor::<3>::zeros([1, 2, 4], &device);
    let v = Tensor::<3>::from_data([[[1.0f32; 4], [3.0; 4], [100.0; 4]]], &device);
    let k = Tensor::<3>::ones([1, 3, 4], &device);
    let visible = Tensor::<4, Bool>::from_data([[[[true, true, false]]]], &device);
    let found = one_head(Some(hiding_bias(visible))).forward(q, k, v);
    assert_eq!(found.try_into_vec_as::<f32>().unwrap(), vec![2.0; 8]);
}

#[test]
fn a_bias_shifts_the_logits() {
    let device = Device::default();
    let q = Tensor::<3>::zeros([1, 1, 4], &device);
    let k = Tensor::<3>::ones([1, 2, 4], &device);
    let v = Tensor::<3>::from_data([[[1.0f32; 4], [5.0; 4]]], &device);
    let bias = Tensor::<4>::from_data([[[[0.0f32, 3f32.ln()]]]], &device);
    let found = one_head(Some(bias)).forward(q, k, v);
    let expected = TensorData::from([[[0.25f32 * 1.0 + 0.75 * 5.0; 4]]]);
    found.into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
}

#[test]
fn a_hidden_logit_leaves_no_trace() {
    let visible = Tensor::<4, Bool>::from_data([[[[true, false]]]], &Device::default());
    let logits = hiding_bias(visible) + 1e4;
    assert_eq!(logits.try_into_vec_as::<f32>().unwrap(), [1e4, -1e30]);
}

#[test]
fn attention_with_nothing_visible_stays_finite() {
    let device = Device::default();
    let x = Tensor::<3>::random([2, 3, 4], Distribution::Default, &device);
    let visible = Tensor::<4, Bool>::from_data([[[[false, false, false]]]], &device);
    let found = one_head(Some(hiding_bias(visible))).forward(x.clone(), x.clone(), x);
    assert!(found.try_into_vec_as::<f32>().unwrap().iter().all(|value| value.is_finite()));
}

#[test]
fn unembedding_multiplies_few_and_many_states_alike() {
    let device = Device::default();
    let table = Tensor::<2>::random([5, 3], Distribution::Normal(0.0, 1.0), &device);
    for [batch, length] in [[1, 1], [2, 1], [4, 16], [5, 13], [2, 40]] {
        let x = Tensor::<3>::random([batch, length, 3], Distribution::Normal(0.0, 1.0), &device);
        // One product after another.
        let rows = table.clone().reshape([1, 1, 5, 3]);
        let expected = (x.clone().unsqueeze_dim::<4>(2) * rows).sum_dim(3).squeeze_dim::<3>(3);
        let found = unembedding(table.clone(), x);
        assert_eq!(found.dims(), [batch, length, 5]);
        found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
    }
}

#[test]
fn a_modules_dtype_is_that_of_its_parameters() {
    let layer = LinearConfig::new(2, 3).init(&Device::default());
    assert_eq!(dtype_of(&layer), Some(DType::F32));
    assert_eq!(dtype_of(&cast_module(layer, FloatDType::BF16)), Some(DType::BF16));
    assert_eq!(dtype_of(&DropoutConfig::new(0.1).init()), None);
}

#[test]
fn each_head_attends_by_itself() {
    let device = Device::default();
    let random =
        |length| Tensor::<3>::random([2, length, 12], Distribution::Normal(0.0, 1.0), &device);
    let (q, k, v) = (random(3), random(5), random(5));
    let settings = Attention { heads: 3, scale: 0.5, bias: None, dropout: None };
    let found = settings.forward(q.clone(), k.clone(), v.clone());
    let head = |x: &Tensor<3>, at: usize| x.clone().slice_dim(2, 4 * at..4 * (at + 1));
    let alone = Attention { heads: 1, ..settings };
    let heads = (0..3)
        .map(|at| alone.forward(head(&q, at), head(&k, at), head(&v, at)))
        .collect::<Vec<_>>();
    let expected = Tensor::cat(heads, 2);
    found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
}

#[test]
fn attention_with_a_dropout_is_the_same_where_that_does_not_act() {
    let device = Device::default();
    let x = Tensor::<3>::random([2, 3, 8], Distribution::Normal(0.0, 1.0), &device);
    let dropout = DropoutConfig::new(0.5).init();
    let plain = Attention { heads: 2, scale: 0.5, bias: None, dropout: None };
    let dropping = Attention { dropout: Some(&dropout), ..plain.clone() };
    let attended = |settings: &Attention<'_>, x: &Tensor<3>| {
        settings.forward(x.clone(), x.clone(), x.clone()).into_data()
    };
    assert_eq!(attended(&dropping, &x), attended(&plain, &x));
    let tracked = x.autodiff();
    assert_ne!(attended(&dropping, &tracked), attended(&plain, &tracked));
}

fn one_head(bias: Option<Tensor<4>>) -> Attention<'static> {
    Attention { heads: 1, scale: 1.0, bias, dropout: None }
}

/// The gradient of a table of one column whose row 1 is read `times` times.
fn gradient_of_row(times: usize, dtype: FloatDType) -> Vec<f32> {
    let device = Device::default().autodiff();
    let table = Tensor::<2>::from_data([[2.0f32], [3.0], [4.0]], &device).cast(dtype);
    let table = table.detach().require_grad();
    let ids = Tensor::<2, Int>::ones([1, times], &device);
    let read = embedding(table.clone(), ids);
    assert_eq!(read.dims(), [1, times, 1]);
    assert_eq!(read.clone().cast(FloatDType::F32).max().into_scalar::<f32>(), 3.0);
    let gradients = read.sum().backward();
    table.grad(&gradients).unwrap().cast(FloatDType::F32).try_into_vec_as().unwrap()
}

#[test]
fn a_frequent_token_keeps_its_gradient_in_half_precision() {
    assert_eq!(gradient_of_row(4096, FloatDType::F32), [0.0, 4096.0, 0.0]);
    // Added one by one in bf16, the sum would stop at 256.
    assert_eq!(gradient_of_row(4096, FloatDType::BF16), [0.0, 4096.0, 0.0]);
}
