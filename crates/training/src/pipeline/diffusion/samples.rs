use std::ops::ControlFlow;

use latent_text_denoiser::DenoisingNetwork;
use latent_text_generation::{ModelConfig, Request};

use super::assemble;
use super::models::FrozenModels;
use crate::pipeline::Pipeline;
use crate::stage::SampleDecoder;

impl Pipeline<'_> {
    /// Decodes samples of a half-trained denoiser, for the log; with sources, for the first ones of
    /// `sources` that differ, and of all classes in turn if the denoiser does not learn the null class.
    pub(super) fn sample_decoder(
        &self,
        config: &ModelConfig,
        models: &FrozenModels,
        sources: &[String],
    ) -> Box<SampleDecoder> {
        let (config, device, seed) = (config.clone(), self.device.clone(), self.config.seed);
        let autoencoder = models.autoencoder.cast(self.config.precision.dtype());
        let own = models.sources.as_ref().and_then(|encoder| encoder.own.as_ref());
        let own = own.map(|own| self.for_passes(own));
        let mut sources = sources.to_vec();
        sources.dedup();
        sources.truncate(self.config.diffusion.training.samples);
        let labels = match &config.labels {
            Some(labels) if !config.null_trained => labels.names().to_vec(),
            _ => Vec::new(),
        };
        Box::new(move |denoiser: &DenoisingNetwork, samples: usize| {
            let (config, denoiser) = (config.clone(), denoiser.clone());
            let model = assemble(config, autoencoder.clone(), denoiser, own.clone(), &device)?;
            let request = Request {
                count: samples,
                seed,
                sources: sources.clone(),
                labels: labels.clone(),
                truncate_sources: true,
                ..Request::default()
            };
            let texts = model.generate(&request, |_| ControlFlow::Continue(()))?;
            let lines =
                texts.into_iter().map(|generated| match generated.source.or(generated.label) {
                    None => generated.text,
                    Some(condition) => format!("{condition} -> {}", generated.text),
                });
            Ok(lines.collect())
        })
    }
}
