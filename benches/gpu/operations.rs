//! Whether the fused operations of a device compute what Burn's own operations do on the same device:
//! results and gradients (where it has any) of each, in every number format, at the shapes of the networks.

use anyhow::{Result, ensure};
use burn::tensor::{DType, Device, Distribution, Int, Tensor};
use latent_text_kernels::{
    AttentionSettings, Past, PastAttention, Reading, attend_to_past, cross_attention, gated_gelu,
    gelu, is_fused, linear, linear_onto, modulated_norm, norm, norm_of_sum, plain, rms_norm,
    self_attention,
};

use crate::arguments::NumberFormat;
use crate::numbers::{error_of, larger, normal};

const EPSILON: f64 = 1e-5;
const HEADS: usize = 4;

type Inputs<'a> = &'a [Tensor<2>];

/// The largest error relative to the largest value. Both ways round each result to the format, and what
/// is in between at other places; Burn's products of f32 may be in TF32.
fn tolerance(format: NumberFormat) -> f32 {
    match format {
        NumberFormat::Bf16 => 3e-2,
        _ => 4e-3,
    }
}

pub fn run(device: &Device, formats: &[NumberFormat]) -> Result<()> {
    if !is_fused(device) {
        println!("this device has no fused operations");
        return Ok(());
    }
    for &format in formats {
        format.choose();
        let check = Check { device: device.clone(), format };
        check.products()?;
        check.norms()?;
        check.gelus()?;
        check.attentions()?;
        check.few_queries()?;
        check.decoding()?;
    }
    Ok(())
}

struct Check {
    device: Device,
    format: NumberFormat,
}

impl Check {
    fn products(&self) -> Result<()> {
        for [rows, inner, columns] in
            [[1, 768, 1536], [256, 64, 96], [512, 768, 2304], [100, 72, 40]]
        {
            let name = |what: &str| format!("{what} {rows}x{inner}x{columns}");
            let inputs = self.random(&[[rows, inner], [inner, columns], [1, columns]]);
            self.compare(
                &name("product with bias"),
                &inputs,
                |it| linear(it[0].clone(), it[1].clone(), Some(row(&it[2]))),
                |it| plain::linear(it[0].clone(), it[1].clone(), Some(row(&it[2]))),
            )?;
            // Rows of some widths are padded where Burn makes a product.
            self.compare(
                &name("product of texts"),
                &inputs,
                |it| texts(it, |x, weight, bias| linear(x, weight, Some(bias))),
                |it| texts(it, |x, weight, bias| plain::linear(x, weight, Some(bias))),
            )?;
            self.compare(
                &name("product of a slice"),
                &self.random(&[[rows, 2 * inner], [columns, inner]]),
                |it| linear(half(&it[0]), it[1].clone().transpose(), None),
                |it| plain::linear(half(&it[0]), it[1].clone().transpose(), None),
            )?;
            let inputs = self.random(&[[rows, inner], [inner, columns], [rows, columns]]);
            self.compare(
                &name("product onto"),
                &inputs,
                |it| linear_onto(it[0].clone(), it[1].clone(), it[2].clone()),
                |it| it[2].clone() + plain::linear(it[0].clone(), it[1].clone(), None),
            )?;
        }
        Ok(())
    }

    fn norms(&self) -> Result<()> {
        for (samples, length, dim) in [(8, 32, 768), (3, 5, 64)] {
            let rows = samples * length;
            let shapes = [[rows, dim], [1, dim], [1, dim], [samples, 2 * dim], [rows, dim]];
            let inputs = self.random(&shapes);
            self.compare(
                "norm",
                &inputs[..3],
                |it| norm(it[0].clone(), row(&it[1]), row(&it[2]), EPSILON),
                |it| plain::norm(it[0].clone(), row(&it[1]), row(&it[2]), EPSILON),
            )?;
            self.compare(
                "RMS norm",
                &inputs[..2],
                |it| rms_norm(it[0].clone(), row(&it[1]), EPSILON),
                |it| plain::rms_norm(it[0].clone(), row(&it[1]), EPSILON),
            )?;
            let of_sum = |it: Inputs, of: fn(_, _, _, _, f64) -> Tensor<2>| {
                of(it[0].clone(), it[1].clone(), row(&it[2]), row(&it[3]), EPSILON)
            };
            let terms = [0, 4, 1, 2].map(|i| inputs[i].clone());
            self.compare(
                "norm of a sum",
                &terms,
                |it| of_sum(it, norm_of_sum),
                |it| of_sum(it, plain::norm_of_sum),
            )?;
            let apply = |it: Inputs, of: fn(_, _, _, _, _, f64) -> Tensor<2>| {
                of(it[0].clone(), row(&it[1]), row(&it[2]), it[3].clone(), it[4].clone(), EPSILON)
            };
            self.compare(
                "modulated norm",
                &inputs,
                |it| apply(it, modulated_norm),
                |it| apply(it, plain::modulated_norm),
            )?;
        }
        Ok(())
    }

    fn gelus(&self) -> Result<()> {
        self.compare(
            "GELU",
            &self.random(&[[64, 3072]]),
            |it| gelu(it[0].clone()),
            |it| plain::gelu(it[0].clone()),
        )?;
        self.compare(
            "gated GELU",
            &self.random(&[[64, 6144]]),
            |it| gated_gelu(it[0].clone(), None),
            |it| plain::gated_gelu(it[0].clone(), None),
        )
    }

    fn attentions(&self) -> Result<()> {
        let (batch, dim) = (3, 64 * HEADS);
        for (queries, keys) in [(32, 32), (32, 20), (64, 64), (5, 33), (150, 300), (256, 129)] {
            let settings = |keys: usize| AttentionSettings {
                heads: HEADS,
                scale: 0.125,
                bias: (queries > 32).then(|| self.bias([batch, HEADS, queries, keys])),
                dropout: None,
            };
            let (of_self, of_keys) = (settings(queries), settings(keys));
            let shaped = |x: &Tensor<2>, length: usize| {
                let width = x.dims()[1];
                x.clone().reshape([batch, length, width])
            };
            let flat = |x: Tensor<3>| x.reshape([batch * queries, dim]);
            self.compare(
                &format!("self-attention of {queries}"),
                &self.random(&[[batch * queries, 3 * dim]]),
                |it| flat(self_attention(shaped(&it[0], queries), &of_self)),
                |it| flat(plain::self_attention(shaped(&it[0], queries), &of_self)),
            )?;
            self.compare(
                &format!("cross-attention of {queries} to {keys}"),
                &self.random(&[[batch * queries, dim], [batch * keys, 2 * dim]]),
                |it| {
                    let (query, key) = (shaped(&it[0], queries), shaped(&it[1], keys));
                    flat(cross_attention(query, key, &of_keys))
                },
                |it| {
                    let (query, key) = (shaped(&it[0], queries), shaped(&it[1], keys));
                    flat(plain::cross_attention(query, key, &of_keys))
                },
            )?;
        }
        Ok(())
    }

    /// Cross-attention without gradients, which has a kernel of its own.
    fn few_queries(&self) -> Result<()> {
        let (batch, dim) = (3, 64 * HEADS);
        for (queries, keys) in [(1, 32), (1, 512), (8, 300)] {
            let inputs = self.random(&[[batch * queries, dim], [batch * keys, 2 * dim]]);
            let query = inputs[0].clone().reshape([batch, queries, dim]);
            let keys_values = inputs[1].clone().reshape([batch, keys, 2 * dim]);
            let bias = Some(self.bias([1, HEADS, 1, keys]));
            let settings = AttentionSettings { heads: HEADS, scale: 0.125, bias, dropout: None };
            let found = cross_attention(query.clone(), keys_values.clone(), &settings);
            let expected = plain::cross_attention(query, keys_values, &settings);
            let worst = error_of(found, expected)?;
            self.report(&format!("cross-attention of {queries} to {keys} by itself"), worst)?;
        }
        Ok(())
    }

    /// Tokens of a few texts one after another, some of which are dropped half-way.
    fn decoding(&self) -> Result<()> {
        let (texts, dim) = (5, 64 * HEADS);
        for (capacity, biased) in [(64, false), (64, true), (300, true)] {
            let distance_bias = biased.then(|| self.bias([HEADS, capacity]));
            let attention = PastAttention { heads: HEADS, scale: 0.125, distance_bias };
            let dtype = self.format.dtype().into();
            let new_past = || Past::new(texts, capacity, dim, (&self.device, dtype));
            let (mut past, mut plain_past) = (new_past(), new_past());
            let mut reading = Reading::new(texts, capacity, &self.device);
            let mut worst = 0.0;
            while reading.length() < capacity {
                if reading.length() == capacity / 2 {
                    let kept = Tensor::<1, Int>::from_data([3, 1, 1], (&self.device, DType::I32));
                    reading.keep(&kept);
                }
                reading.advance();
                let qkv = &self.random(&[[reading.texts(), 3 * dim]])[0];
                let qkv = qkv.clone().unsqueeze_dim::<3>(1);
                let (found, next) = attend_to_past(qkv.clone(), past, &reading, &attention);
                let (expected, plain_next) =
                    plain::attend_to_past(qkv, plain_past, &reading, &attention);
                (past, plain_past) = (next, plain_next);
                worst = larger(worst, error_of(found, expected)?);
            }
            let bias = if biased { " with a bias" } else { "" };
            self.report(&format!("attention to a past of {capacity}{bias}"), worst)?;
        }
        Ok(())
    }

    fn bias<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&self.device, DType::F32))
    }

    fn random(&self, shapes: &[[usize; 2]]) -> Vec<Tensor<2>> {
        shapes.iter().map(|&shape| normal(shape, &self.device, self.format)).collect()
    }

    /// Compares the results, and the gradients of all inputs under the same random weights.
    fn compare(
        &self,
        what: &str,
        inputs: Inputs,
        fused: impl Fn(Inputs) -> Tensor<2>,
        plain: impl Fn(Inputs) -> Tensor<2>,
    ) -> Result<()> {
        let leaves = || -> Vec<Tensor<2>> {
            inputs.iter().map(|input| input.clone().autodiff().require_grad()).collect()
        };
        let (one, other) = (leaves(), leaves());
        let (found, expected) = (fused(&one), plain(&other));
        let mut worst = error_of(found.clone().inner(), expected.clone().inner())?;
        let weights = &self.random(&[found.dims()])[0];
        let found = (found * weights.clone().autodiff()).sum().backward();
        let expected = (expected * weights.clone().autodiff()).sum().backward();
        for (one, other) in one.iter().zip(&other) {
            let (Some(found), Some(expected)) = (one.grad(&found), other.grad(&expected)) else {
                anyhow::bail!("{what}: an input has no gradient")
            };
            worst = larger(worst, error_of(found, expected)?);
        }
        self.report(what, worst)
    }

    fn report(&self, what: &str, worst: f32) -> Result<()> {
        let limit = tolerance(self.format);
        println!("{} {what}: {worst:.1e} (at most {limit:.0e})", self.format);
        // Written so that a comparison with no number fails.
        ensure!(worst <= limit, "{} {what} is beyond the tolerance", self.format);
        Ok(())
    }
}

fn row(tensor: &Tensor<2>) -> Tensor<1> {
    tensor.clone().reshape([-1])
}

/// The first half of the columns.
/// The product as one of texts of one position each, `[rows, 1, inner]`.
fn texts(
    it: Inputs<'_>,
    product: impl Fn(Tensor<3>, Tensor<2>, Tensor<1>) -> Tensor<3>,
) -> Tensor<2> {
    product(it[0].clone().unsqueeze_dim(1), it[1].clone(), row(&it[2])).squeeze_dim(1)
}

fn half(tensor: &Tensor<2>) -> Tensor<2> {
    let width = tensor.dims()[1] / 2;
    tensor.clone().slice_dim(1, 0..width)
}
