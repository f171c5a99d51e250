use burn::tensor::Device;
use latent_text_diffusion::{Guidance, GuidanceConfig};

use crate::GenerationError;
use crate::batch::Batch;
use crate::real_guidance::RealGuidance;

/// Rows of a batch that are guided together: what tensors have in their first dimension when a guidance
/// of the caller's gets them. All have as many latents, and all latents are real.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuidedRows {
    /// The text of the request that each row is for, as in [`Generated::index`](crate::Generated::index);
    /// each of a text's candidates has a row of its own.
    pub texts: Vec<usize>,
    /// How many latents each row has.
    pub latents: usize,
}

/// What makes a guidance of the caller's out of the request's.
pub(crate) type Wrap<'a> =
    dyn FnMut(Box<dyn Guidance<3>>, &GuidedRows) -> Box<dyn Guidance<3> + 'a> + 'a;

/// Guidance whose settings are right, and which the model can follow.
#[derive(Debug)]
pub(crate) struct CheckedGuidance {
    config: GuidanceConfig,
}

impl CheckedGuidance {
    pub(crate) fn new(config: &GuidanceConfig) -> Result<Self, GenerationError> {
        config.init::<3>()?;
        Ok(Self { config: config.clone() })
    }

    /// Whether its second prediction is the weaker denoiser's, under the same condition.
    pub(crate) fn by_weaker(&self) -> bool {
        is_by_weaker(&self.config)
    }

    /// The guidance of a batch whose rows have these lengths, on `device`: each row's does not depend on
    /// the others' padding.
    pub(crate) fn of_batch<'a>(
        &self,
        batch: Batch,
        lengths: &[usize],
        device: &Device,
        mut wrap: Option<&mut Wrap<'a>>,
    ) -> Result<Box<dyn Guidance<3> + 'a>, GenerationError> {
        let padding_matters = wrap.is_some() || measures_samples(&self.config);
        let mut of_rows = |rows: GuidedRows| -> Result<Box<dyn Guidance<3> + 'a>, GenerationError> {
            let inner = self.config.init()?;
            let Some(wrap) = wrap.as_deref_mut() else { return Ok(inner) };
            let guidance = wrap(inner, &rows);
            guidance.check()?;
            Ok(guidance)
        };
        let texts: Vec<usize> = batch.text_of_rows().collect();
        let longest = lengths.iter().copied().max().unwrap_or(1);
        let padded = lengths.iter().any(|&length| length < longest);
        if !(padded && padding_matters) {
            return of_rows(GuidedRows { texts, latents: longest });
        }
        let real = RealGuidance::new(lengths, device, |rows, latents| {
            of_rows(GuidedRows { texts: rows.iter().map(|&row| texts[row]).collect(), latents })
        });
        Ok(Box::new(real?))
    }
}

/// Whether padding would change what a guidance does: it takes means over all values of a sample. Zeros
/// change no sum, which is what the other kinds take.
fn measures_samples(guidance: &GuidanceConfig) -> bool {
    match guidance {
        GuidanceConfig::Rescaled { .. } => true,
        GuidanceConfig::Interval { inner, .. } => measures_samples(inner),
        _ => false,
    }
}

fn is_by_weaker(guidance: &GuidanceConfig) -> bool {
    match guidance {
        GuidanceConfig::Autoguidance { .. } => true,
        GuidanceConfig::Rescaled { inner, .. } | GuidanceConfig::Interval { inner, .. } => {
            is_by_weaker(inner)
        }
        _ => false,
    }
}
