//! Every operation and its gradients against the same by Burn's own operations, on the default device, in
//! f32. Where that has the kernels, it is their test; elsewhere both are the same.

#![recursion_limit = "256"]

use burn::tensor::{DType, Device, Distribution, Int, Tensor};
use latent_text_kernels::{
    AdamWState, AdamWStep, AttentionSettings, DecayRanges, DropoutSeed, Past, PastAttention,
    Reading, adamw, attend_to_past, cross_attention, gated_gelu, gelu, is_fused, linear,
    linear_onto, modulated_norm, norm, norm_of_sum, plain, rms_norm, self_attention,
};

const TOLERANCE: f32 = 2e-5;
const EPSILON: f64 = 1e-5;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&Device::default(), DType::F32))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().expect("values")
}

fn assert_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (values(found), values(expected));
    let largest = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs() / largest;
        assert!(error < TOLERANCE, "{what} at {index}: {found} for {expected}");
    }
}

/// Compares the results of both ways and the gradients of all inputs, under the same random weights.
fn compare<const D: usize>(
    what: &str,
    inputs: &[Tensor<2>],
    fused: impl Fn(&[Tensor<2>]) -> Tensor<D>,
    plain: impl Fn(&[Tensor<2>]) -> Tensor<D>,
) {
    let leaves = || -> Vec<Tensor<2>> {
        inputs.iter().map(|input| input.clone().autodiff().require_grad()).collect()
    };
    let (one, other) = (leaves(), leaves());
    let (found, expected) = (fused(&one), plain(&other));
    assert_close(found.clone().inner(), expected.clone().inner(), what);
    assert_close(fused(inputs), plain(inputs), &format!("{what} without autodiff"));
    let weights = random(found.dims()).autodiff();
    let found = (found * weights.clone()).sum().backward();
    let expected = (expected * weights).sum().backward();
    for (index, (one, other)) in one.iter().zip(&other).enumerate() {
        let (Some(found), Some(expected)) = (one.grad(&found), other.grad(&expected)) else {
            panic!("{what}: input {index} has no gradient")
        };
        assert_close(found, expected, &format!("gradient {index} of {what}"));
    }
}

fn row(tensor: &Tensor<2>) -> Tensor<1> {
    let [_, columns] = tensor.dims();
    tensor.clone().reshape([columns])
}

#[test]
fn all_devices_but_ndarray_have_the_kernels() {
    let device = Device::default();
    let name = format!("{device:?}").to_lowercase();
    let has_them = !name.contains("ndarray");
    assert_eq!(is_fused(&device), has_them, "{name}");
    assert_eq!(is_fused(&device.autodiff()), has_them, "{name} with autodiff");
}

#[test]
fn linear_layers() {
    for [rows, inner, columns] in [[1, 8, 8], [7, 12, 20], [5, 160, 130], [130, 64, 48]] {
        let inputs = [random([rows, inner]), random([inner, columns]), random([1, columns])];
        compare(
            "linear with bias",
            &inputs,
            |it| linear(it[0].clone(), it[1].clone(), Some(row(&it[2]))),
            |it| plain::linear(it[0].clone(), it[1].clone(), Some(row(&it[2]))),
        );
        compare(
            "linear",
            &inputs[..2],
            |it| linear(it[0].clone(), it[1].clone(), None),
            |it| plain::linear(it[0].clone(), it[1].clone(), None),
        );
        let inputs = [random([rows, inner]), random([inner, columns]), random([rows, columns])];
        compare(
            "linear onto",
            &inputs,
            |it| linear_onto(it[0].clone(), it[1].clone(), it[2].clone()),
            |it| it[2].clone() + plain::linear(it[0].clone(), it[1].clone(), None),
        );
    }
}

/// CUDA pads rows of these widths, which must not be taken for numbers.
#[test]
fn linear_layers_of_three_dimensions() {
    const LENGTH: usize = 3;
    let shaped = |it: &Tensor<2>| {
        let [rows, width] = it.dims();
        it.clone().reshape([rows / LENGTH, LENGTH, width])
    };
    for [samples, inner, columns] in [[1, 8, 8], [2, 20, 12], [5, 12, 96], [3, 96, 20], [1, 7, 1]] {
        let rows = samples * LENGTH;
        let inputs = [random([rows, inner]), random([inner, columns]), random([1, columns])];
        compare(
            "linear of three dimensions with bias",
            &inputs,
            |it| linear(shaped(&it[0]), it[1].clone(), Some(row(&it[2]))),
            |it| plain::linear(shaped(&it[0]), it[1].clone(), Some(row(&it[2]))),
        );
        compare(
            "linear of three dimensions",
            &inputs[..2],
            |it| linear(shaped(&it[0]), it[1].clone(), None),
            |it| plain::linear(shaped(&it[0]), it[1].clone(), None),
        );
        let inputs = [random([rows, inner]), random([inner, columns]), random([rows, columns])];
        compare(
            "linear onto three dimensions",
            &inputs,
            |it| linear_onto(shaped(&it[0]), it[1].clone(), shaped(&it[2])),
            |it| shaped(&it[2]) + plain::linear(shaped(&it[0]), it[1].clone(), None),
        );
    }
}

#[test]
fn linear_layers_of_views() {
    let (x, weight) = (random([4, 3 * 20]), random([12, 20]));
    let view = |it: &Tensor<2>| it.clone().reshape([4, 3, 20]).swap_dims(0, 1).slice_dim(2, 4..16);
    compare(
        "linear of a view",
        &[x, weight],
        |it| linear(view(&it[0]), it[1].clone(), None),
        |it| plain::linear(view(&it[0]), it[1].clone(), None),
    );
}

#[test]
#[should_panic(expected = "the last dimension of x must be as long as the weight's first")]
fn linear_layers_have_no_other_input() {
    let _ = linear(random([2, 6]), random([4, 5]), None);
}

#[test]
#[should_panic(expected = "the bias must have an element for each column")]
fn linear_layers_have_no_other_bias() {
    let _ = linear(random([2, 4]), random([4, 5]), Some(random([1, 4]).reshape([4])));
}

#[test]
#[should_panic(expected = "what is added must have the shape of the product")]
fn linear_layers_are_added_to_no_other_shape() {
    let _ = linear_onto(random([2, 4]), random([4, 5]), random([1, 5]));
}

#[test]
#[should_panic(expected = "the weight must have the dtype of x")]
fn linear_layers_have_no_other_dtype() {
    let device = Device::default();
    let another = [DType::F16, DType::F64].into_iter().find(|&dtype| device.supports_dtype(dtype));
    let weight = Tensor::zeros([4, 5], (&device, another.expect("two dtypes")));
    let _ = linear(random([2, 4]), weight, None);
}

#[test]
fn norms() {
    for (rows, dim) in [(1, 32), (3, 64), (70, 96), (33, 256), (8, 768), (5, 40)] {
        let inputs = [random([rows, dim]) * 3.0 + 1.0, random([1, dim]), random([1, dim])];
        compare(
            "norm",
            &inputs,
            |it| norm(it[0].clone(), row(&it[1]), row(&it[2]), EPSILON),
            |it| plain::norm(it[0].clone(), row(&it[1]), row(&it[2]), EPSILON),
        );
    }
}

#[test]
fn modulated_norms() {
    for (samples, length, dim) in [(1, 1, 32), (3, 5, 64), (4, 32, 96), (2, 7, 768), (1, 9, 256)] {
        let rows = samples * length;
        let inputs = [
            random([rows, dim]),
            random([1, dim]),
            random([1, dim]),
            random([samples, 2 * dim]),
            random([rows, dim]),
        ];
        let both =
            |apply: fn(Tensor<2>, Tensor<1>, Tensor<1>, Tensor<2>, Tensor<2>, f64) -> Tensor<2>| {
                move |it: &[Tensor<2>]| {
                    let (gain, bias) = (row(&it[1]), row(&it[2]));
                    apply(it[0].clone(), gain, bias, it[3].clone(), it[4].clone(), EPSILON)
                }
            };
        compare("modulated norm", &inputs, both(modulated_norm), both(plain::modulated_norm));
    }
}

#[test]
fn norms_of_sums() {
    for (rows, dim) in [(1, 32), (3, 64), (70, 96), (33, 256), (8, 768), (5, 40)] {
        let inputs = [
            random([rows, dim]) * 3.0 + 1.0,
            random([rows, dim]),
            random([1, dim]),
            random([1, dim]),
        ];
        let both = |apply: fn(Tensor<2>, Tensor<2>, Tensor<1>, Tensor<1>, f64) -> Tensor<2>| {
            move |it: &[Tensor<2>]| {
                apply(it[0].clone(), it[1].clone(), row(&it[2]), row(&it[3]), EPSILON)
            }
        };
        compare("norm of a sum", &inputs, both(norm_of_sum), both(plain::norm_of_sum));
    }
}

#[test]
fn rms_norms() {
    for (rows, dim) in [(1, 32), (3, 64), (70, 96), (33, 256), (8, 768), (5, 40)] {
        compare(
            "RMS norm",
            &[random([rows, dim]) * 3.0 + 1.0, random([1, dim])],
            |it| rms_norm(it[0].clone(), row(&it[1]), EPSILON),
            |it| plain::rms_norm(it[0].clone(), row(&it[1]), EPSILON),
        );
    }
}

#[test]
fn gelus() {
    for [rows, columns] in [[1, 1], [3, 6], [9, 64], [40, 241]] {
        compare(
            "GELU",
            &[random([rows, columns]) * 2.0],
            |it| gelu(it[0].clone()),
            |it| plain::gelu(it[0].clone()),
        );
    }
}

#[test]
fn gated_gelus() {
    for [rows, inner] in [[1, 1], [3, 6], [9, 64], [40, 24]] {
        compare(
            "gated GELU",
            &[random([rows, 2 * inner]) * 2.0],
            |it| gated_gelu(it[0].clone(), None),
            |it| plain::gated_gelu(it[0].clone(), None),
        );
    }
}

fn settings(heads: usize, bias: Option<Tensor<4>>) -> AttentionSettings {
    AttentionSettings { heads, scale: 0.3, bias, dropout: None }
}

#[test]
fn self_attentions() {
    for (batch, length, heads, head_dim) in [
        (1, 1, 1, 16),
        (2, 5, 3, 32),
        (3, 32, 2, 64),
        (2, 40, 1, 64),
        (1, 33, 2, 16),
        (2, 150, 2, 32),
    ] {
        let width = 3 * heads * head_dim;
        for biased in [None, Some([batch, heads, length, length]), Some([1, heads, 1, length])] {
            let bias = biased.map(random::<4>);
            let shaped = |it: &[Tensor<2>]| it[0].clone().reshape([batch, length, width]);
            compare(
                "self-attention",
                &[random([batch * length, width])],
                |it| self_attention(shaped(it), &settings(heads, bias.clone())),
                |it| plain::self_attention(shaped(it), &settings(heads, bias.clone())),
            );
        }
    }
}

#[test]
fn cross_attentions() {
    for (batch, queries, keys, heads, head_dim) in [
        (1, 3, 1, 1, 16),
        (2, 32, 7, 2, 64),
        (2, 5, 40, 3, 32),
        (1, 70, 33, 2, 16),
        (2, 70, 300, 2, 32),
        (1, 200, 9, 2, 32),
        (2, 33, 129, 1, 128),
    ] {
        let dim = heads * head_dim;
        // The last key is hidden from all queries of the first sample but one is left.
        let bias = (keys > 1).then(|| {
            let hidden = Tensor::full([1, 1, 1, 1], -1e30, (&Device::default(), DType::F32));
            let seen = Tensor::zeros([batch, 1, 1, keys], (&Device::default(), DType::F32));
            seen.slice_assign([0..1, 0..1, 0..1, keys - 1..keys], hidden)
        });
        let apply = |it: &[Tensor<2>]| {
            let query = it[0].clone().reshape([batch, queries, dim]);
            (query, it[1].clone().reshape([batch, keys, 2 * dim]))
        };
        compare(
            "cross-attention",
            &[random([batch * queries, dim]), random([batch * keys, 2 * dim])],
            |it| {
                let (query, keys) = apply(it);
                cross_attention(query, keys, &settings(heads, bias.clone()))
            },
            |it| {
                let (query, keys) = apply(it);
                plain::cross_attention(query, keys, &settings(heads, bias.clone()))
            },
        );
    }
}

#[test]
fn what_is_no_number_is_not_hidden_by_attention() {
    for length in [3, 40, 150] {
        let qkv = random([2, length, 96]);
        let unknown = Tensor::full([1, 1, 1], f32::NAN, (&Device::default(), DType::F32));
        let qkv = qkv.slice_assign([1..2, 1..2, 32..33], unknown);
        let seen = self_attention(qkv, &settings(2, None));
        let [known, unknown] =
            [0, 1].map(|sample| values(seen.clone().slice_dim(0, sample..sample + 1)));
        assert!(known.iter().all(|value| value.is_finite()), "{length}");
        // The key is one of the first head's.
        let of_head = unknown.chunks(32).flat_map(|row| &row[..16]);
        assert!(of_head.clone().all(|value| value.is_nan()), "{length}");
    }
}

#[test]
fn few_queries_attend_to_many_keys() {
    for (batch, queries, keys, heads, head_dim) in [
        (3, 1, 1, 2, 32),
        (2, 1, 65, 3, 64),
        (2, 2, 300, 2, 64),
        (1, 8, 300, 1, 12),
        (2, 1, 64, 1, 256),
    ] {
        let dim = heads * head_dim;
        let shapes = [[batch, heads, queries, keys], [1, heads, 1, keys], [batch, 1, queries, 1]];
        for biased in [None, Some(shapes[0]), Some(shapes[1]), Some(shapes[2])] {
            let settings = settings(heads, biased.map(random::<4>));
            let (query, keys_values) =
                (random([batch, queries, dim]), random([batch, keys, 2 * dim]));
            assert_close(
                cross_attention(query.clone(), keys_values.clone(), &settings),
                plain::cross_attention(query, keys_values, &settings),
                &format!("attention of {queries} to {keys} with a bias of {biased:?}"),
            );
        }
    }
}

/// Both ways through the tokens of some texts, step by step.
struct BothWays {
    fused: (Past, Reading),
    plain: (Past, Reading),
    attention: PastAttention,
    dim: usize,
}

impl BothWays {
    fn new(
        rows: usize,
        texts: usize,
        capacity: usize,
        attention: PastAttention,
        dim: usize,
    ) -> Self {
        let device = Device::default();
        let start = || {
            let past = Past::new(rows, capacity, dim, (&device, DType::F32));
            (past, Reading::new(texts, capacity, &device))
        };
        Self { fused: start(), plain: start(), attention, dim }
    }

    fn read(self, tokens: usize) -> Self {
        (0..tokens).fold(self, |ways, _| ways.read_one())
    }

    fn read_one(self) -> Self {
        let Self { fused: (past, mut reading), plain: (plain_past, mut plain_reading), .. } = self;
        let qkv = random([reading.texts(), 1, 3 * self.dim]);
        reading.advance();
        plain_reading.advance();
        let (found, past) = attend_to_past(qkv.clone(), past, &reading, &self.attention);
        let (expected, plain_past) =
            plain::attend_to_past(qkv, plain_past, &plain_reading, &self.attention);
        assert_close(found, expected, &format!("what token {} sees", reading.length()));
        Self { fused: (past, reading), plain: (plain_past, plain_reading), ..self }
    }

    fn keep<const N: usize>(mut self, texts: [i32; N]) -> Self {
        let device = Device::default();
        let texts = Tensor::<1, Int>::from_data(texts, (&device, DType::I32));
        self.fused.1.keep(&texts);
        self.plain.1.keep(&texts);
        self
    }
}

#[test]
fn tokens_attend_to_what_they_follow() {
    for (capacity, heads, head_dim) in [(5, 3, 32), (64, 2, 64), (300, 1, 20)] {
        for biased in [false, true] {
            let distance_bias = biased.then(|| random([heads, capacity]));
            let attention = PastAttention { heads, scale: 0.3, distance_bias };
            let ways = BothWays::new(6, 4, capacity, attention, heads * head_dim);
            // The longest has more keys than a cube has units.
            let more = capacity / 2 - 1;
            let ways = ways.read(2).keep([3, 1, 1, 0, 3]).read(1).keep([4, 0, 2]).read(more);
            let ways = ways.keep([2, 2, 2, 1, 1, 0]).read(1);
            assert_eq!(ways.fused.1.length(), capacity / 2 + 3);
        }
    }
}

#[test]
fn texts_can_be_as_long_as_there_is_room() {
    let distance_bias = Some(random([5, 4]).transpose());
    let attention = PastAttention { heads: 4, scale: 0.5, distance_bias };
    BothWays::new(3, 3, 5, attention, 64).read(3).keep([2, 0, 1]).read(2);
}

#[test]
fn dropped_gated_gelus_are_zero_or_scaled_and_so_are_their_gradients() {
    const P: f64 = 0.25;
    let device = Device::default().autodiff();
    device.seed(3);
    let seed = DropoutSeed::draw(P, &device).expect("something is dropped");
    let x = random([64, 128]).autodiff().require_grad();
    let whole = plain::gated_gelu(x.clone().inner(), None);
    let y = gated_gelu(x.clone(), Some(&seed.site(1)));
    let gradient = x.grad(&y.clone().sum().backward()).expect("a gradient");
    let (y, whole) = (values(y.inner()), values(whole));
    let gradient = values(gradient.slice_dim(1, 0..64));
    let gates = values(x.inner().slice_dim(1, 64..128));
    let mut dropped = 0;
    for (index, (y, whole)) in y.iter().zip(&whole).enumerate() {
        if *y == 0.0 {
            dropped += 1;
            assert_eq!(gradient[index], 0.0, "gradient of a dropped element");
        } else {
            let scaled = whole / (1.0 - P) as f32;
            assert!((y - scaled).abs() < 1e-5 * scaled.abs().max(1.0), "{y} for {scaled}");
            assert!(gradient[index] != 0.0 || gates[index].abs() < 1e-6);
        }
    }
    let share = dropped as f64 / y.len() as f64;
    // 4096 draws: a standard error of .007.
    assert!((share - P).abs() < 0.03, "{share} are dropped");
}

#[test]
fn a_site_drops_the_same_again_and_another_site_something_else() {
    let device = Device::default().autodiff();
    if !is_fused(&device) {
        // Burn's own dropout draws anew.
        return;
    }
    let seed = DropoutSeed::draw(0.5, &device).expect("something is dropped");
    let x = random([16, 64]).autodiff();
    let dropped = |site: u32| values(gated_gelu(x.clone(), Some(&seed.site(site))).inner());
    assert_eq!(dropped(1), dropped(1));
    assert_ne!(dropped(1), dropped(2));
}

/// Attention is linear in its values: the product of these with their gradient is the loss itself, if both
/// passes drop the same probabilities.
#[test]
fn both_passes_of_attention_drop_the_same() {
    for length in [20, 170] {
        both_passes_drop_the_same(length);
    }
}

fn both_passes_drop_the_same(length: usize) {
    let device = Device::default().autodiff();
    device.seed(5);
    let (batch, heads, head_dim) = (2, 2, 32);
    let dim = heads * head_dim;
    let seed = DropoutSeed::draw(0.3, &device).expect("something is dropped");
    let dropout = Some(seed.site(4));
    let settings = AttentionSettings { dropout, ..settings(heads, None) };
    let qkv = random([batch, length, 3 * dim]).autodiff().require_grad();
    let out = self_attention(qkv.clone(), &settings);
    let whole = values(plain::self_attention(
        qkv.clone().inner(),
        &AttentionSettings { dropout: None, ..settings },
    ));
    assert!(values(out.clone().inner()).iter().zip(&whole).any(|(a, b)| (a - b).abs() > 0.05));
    let weights = random([batch, length, dim]);
    let loss = (out * weights.autodiff()).sum();
    let gradient = qkv.grad(&loss.clone().backward()).expect("a gradient");
    let of_values = |x: Tensor<3>| values(x.slice_dim(2, 2 * dim..3 * dim));
    let (v, dv) = (of_values(qkv.inner()), of_values(gradient));
    let product: f64 = v.iter().zip(&dv).map(|(v, dv)| f64::from(v * dv)).sum();
    let loss = f64::from(values(loss.inner())[0]);
    assert!((product - loss).abs() < 1e-3 * loss.abs().max(10.0), "{product} for {loss}");
}

/// Along a random direction, the gradient is what the loss differs by.
#[test]
fn gradients_of_attention_with_dropout_are_finite_differences() {
    const STEP: f64 = 2e-3;
    let device = Device::default().autodiff();
    if !is_fused(&device) {
        // Burn's own dropout draws anew.
        return;
    }
    device.seed(7);
    let seed = DropoutSeed::draw(0.3, &device).expect("something is dropped");
    for length in [20, 170] {
        let bias = Some(random([2, 1, length, length]));
        let settings = AttentionSettings { dropout: Some(seed.site(2)), ..settings(1, bias) };
        let (qkv, direction) = (random([2, length, 96]), random([2, length, 96]));
        let weights = random([2, length, 32]);
        let loss =
            |qkv: Tensor<3>| (self_attention(qkv, &settings) * weights.clone().autodiff()).sum();
        let leaf = qkv.clone().autodiff().require_grad();
        let gradient = leaf.grad(&loss(leaf.clone()).backward()).expect("a gradient");
        let [ahead, behind] = [STEP, -STEP].map(|step| {
            let moved = qkv.clone() + direction.clone() * step;
            f64::from(values(loss(moved.autodiff()).inner())[0])
        });
        let expected = (ahead - behind) / (2.0 * STEP);
        let found = f64::from(values((gradient * direction).sum())[0]);
        assert!(
            (found - expected).abs() < 2e-2 * expected.abs().max(5.0),
            "{found} for {expected}"
        );
    }
}

#[test]
fn steps_of_adamw() {
    let device = Device::default();
    let len = 1000;
    let decayed = || DecayRanges::new([0..100, 100..300, 700..701, 900..1000], &device);
    let vector = || random([1, len]).reshape([len]);
    for (averaged, clip) in [(false, 0.0), (true, 0.5), (true, 1e6)] {
        let start = AdamWState {
            parameters: vector(),
            moment_1: vector() * 0.1,
            moment_2: vector().square(),
            average: averaged.then(vector),
        };
        let gradient = vector();
        let norm = gradient.clone().square().sum().sqrt();
        let step = AdamWStep {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            learning_rate: 0.01,
            weight_decay: 0.2,
            gradient_clip: clip,
            average_decay: 0.9,
            time: 3,
        };
        let kept = values(start.parameters.clone());
        let found = adamw(start.clone(), gradient.clone(), norm.clone(), &decayed(), step);
        assert_eq!(
            values(start.parameters.clone()),
            kept,
            "a vector that others hold is not changed"
        );
        let expected = plain::adamw(start, gradient, norm, &decayed(), step);
        assert_close(found.parameters, expected.parameters, "parameters");
        assert_close(found.moment_1, expected.moment_1, "first moment");
        assert_close(found.moment_2, expected.moment_2, "second moment");
        assert_eq!(found.average.is_some(), averaged);
        if let (Some(found), Some(expected)) = (found.average, expected.average) {
            assert_close(found, expected, "average");
        }
    }
}
