//! Texts from noise.

use std::ops::ControlFlow;

use anyhow::Result;
use latent_text::{LatentText, Request, SamplingDefaults};

use crate::Bench;
use crate::arguments::NumberFormat;
use crate::common::{autoencoder, model};
use crate::timing::{Runs, time};

/// Seconds of what a text is made by.
#[derive(Default)]
pub struct Parts {
    pub sampling: Option<f64>,
    pub greedy: Option<f64>,
}

/// The sum that PyTorch's bench has, and the real thing: `LatentText::generate` also reconstructs the
/// decoder's input from the latents, and makes strings of the tokens.
pub fn run(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let texts = bench.shapes.texts;
    if let Parts { sampling: Some(sampling), greedy: Some(greedy) } = bench.parts {
        let name = format!("texts: sample + greedy decode {format}");
        bench.report.computed(name, sampling + greedy, Some(texts), &format!("b{texts}"));
    }
    let model = bench.model(format)?;
    let request = Request { count: texts, batch_size: texts, ..Request::default() };
    let timing = time(&bench.device, Runs::LONG, || {
        Ok(model.generate(&request, |_| ControlFlow::Continue(()))?)
    })?;
    bench.report.row(format!("texts: generate {format} b{texts}"), &timing, Some(texts));
    Ok(())
}

impl Bench {
    fn model(&self, format: NumberFormat) -> Result<LatentText> {
        let Self { device, shapes, .. } = self;
        let parts = autoencoder(shapes.bart.clone(), shapes.perceiver.clone(), device)?;
        let sampling = SamplingDefaults { steps: shapes.steps, ..SamplingDefaults::default() };
        let denoiser = (shapes.denoiser.clone(), self.denoiser(format).into());
        model(denoiser, parts.cast(format.dtype()), sampling, shapes.tokens, device)
    }
}
