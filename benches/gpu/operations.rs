//! Whether the fused operations of a device compute what Burn's own operations do on the same device:
//! results and gradients of each, in every number format, at the shapes of the networks.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use latent_text_kernels::{
    AttentionSettings, cross_attention, gated_gelu, is_fused, linear, linear_onto, modulated_norm,
    norm, plain, self_attention,
};

use crate::arguments::NumberFormat;

const EPSILON: f64 = 1e-5;
const HEADS: usize = 4;

type Inputs<'a> = &'a [Tensor<2>];

/// The largest error relative to the largest value. Both ways round each result to the format, and what
/// is in between at other places; Burn's products of f32 may be in TF32.
fn tolerance(format: NumberFormat) -> f32 {
    match format {
        NumberFormat::F32 => 4e-3,
        NumberFormat::Bf16 => 3e-2,
    }
}

pub fn run(device: &Device, formats: &[NumberFormat]) -> Result<()> {
    if !is_fused(device) {
        println!("this device has no fused operations");
        return Ok(());
    }
    for &format in formats {
        let check = Check { device: device.clone(), format };
        check.products()?;
        check.norms()?;
        check.gated_gelu()?;
        check.attentions()?;
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

    fn gated_gelu(&self) -> Result<()> {
        self.compare(
            "gated GELU",
            &self.random(&[[64, 6144]]),
            |it| gated_gelu(it[0].clone(), None),
            |it| plain::gated_gelu(it[0].clone(), None),
        )
    }

    fn attentions(&self) -> Result<()> {
        let settings = AttentionSettings { heads: HEADS, scale: 0.125, bias: None, dropout: None };
        let (batch, dim) = (3, 64 * HEADS);
        for (queries, keys) in [(32, 32), (32, 20), (64, 64), (5, 33)] {
            let shaped = |x: &Tensor<2>, length: usize| {
                let width = x.dims()[1];
                x.clone().reshape([batch, length, width])
            };
            let flat = |x: Tensor<3>| x.reshape([batch * queries, dim]);
            self.compare(
                &format!("self-attention of {queries}"),
                &self.random(&[[batch * queries, 3 * dim]]),
                |it| flat(self_attention(shaped(&it[0], queries), &settings)),
                |it| flat(plain::self_attention(shaped(&it[0], queries), &settings)),
            )?;
            self.compare(
                &format!("cross-attention of {queries} to {keys}"),
                &self.random(&[[batch * queries, dim], [batch * keys, 2 * dim]]),
                |it| {
                    let (query, key) = (shaped(&it[0], queries), shaped(&it[1], keys));
                    flat(cross_attention(query, key, &settings))
                },
                |it| {
                    let (query, key) = (shaped(&it[0], queries), shaped(&it[1], keys));
                    flat(plain::cross_attention(query, key, &settings))
                },
            )?;
        }
        Ok(())
    }

    fn random(&self, shapes: &[[usize; 2]]) -> Vec<Tensor<2>> {
        let normal = |shape: &[usize; 2]| {
            let values: Tensor<2> =
                Tensor::random(*shape, Distribution::Normal(0.0, 1.0), &self.device);
            values.cast(self.format.dtype())
        };
        shapes.iter().map(normal).collect()
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
        let mut worst = error(found.clone().inner(), expected.clone().inner())?;
        let weights = &self.random(&[found.dims()])[0];
        let found = (found * weights.clone().autodiff()).sum().backward();
        let expected = (expected * weights.clone().autodiff()).sum().backward();
        for (one, other) in one.iter().zip(&other) {
            let (Some(found), Some(expected)) = (one.grad(&found), other.grad(&expected)) else {
                anyhow::bail!("{what}: an input has no gradient")
            };
            worst = larger(worst, error(found, expected)?);
        }
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
fn half(tensor: &Tensor<2>) -> Tensor<2> {
    let width = tensor.dims()[1] / 2;
    tensor.clone().slice_dim(1, 0..width)
}

/// The largest difference, relative to the largest expected value.
fn error(found: Tensor<2>, expected: Tensor<2>) -> Result<f32> {
    let [found, expected] =
        [found, expected].map(|tensor| tensor.cast(FloatDType::F32).try_into_vec_as::<f32>());
    let (found, expected) = (found?, expected?);
    let scale = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let differences = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
    Ok(differences.fold(0.0, larger) / scale)
}

/// Not `max`, which passes over what is no number.
fn larger(most: f32, next: f32) -> f32 {
    if next > most || next.is_nan() { next } else { most }
}
