use latent_text_autoencoder::LatentStatistics;
use latent_text_nn::weights::TensorFile;

use crate::ReferenceError;
use crate::arguments::Arguments;
use crate::tensors::Tensors;

const PREFIX: &str = "ema_model.";

/// Mean and scale of the latents that the denoiser was trained on; those that change nothing if it saw
/// latents as they are.
pub(crate) fn read(
    arguments: &Arguments,
    averages: &TensorFile,
    latent_dim: usize,
    is_l2_normalised: bool,
) -> Result<LatentStatistics, ReferenceError> {
    if !is_standardised(arguments, is_l2_normalised)? {
        return Ok(LatentStatistics { mean: vec![0.0; latent_dim], scale: 1.0, count: 0 });
    }
    let tensors = Tensors { file: averages, prefix: PREFIX };
    let [found] = tensors.shape("latent_mean")?;
    let [] = tensors.shape("latent_scale")?;
    if found != latent_dim {
        let problem = format!("has a mean of {found} dimensions, but latents of {latent_dim}");
        return Err(tensors.refused(problem));
    }
    let mean = tensors.file.floats(&tensors.full("latent_mean"))?;
    let scale = tensors.file.floats(&tensors.full("latent_scale"))?[0];
    if !mean.iter().chain([&scale]).all(|value| value.is_finite()) || scale < 0.0 {
        return Err(tensors.refused(
            "has a mean or a scale of the latents that makes no sense; its training diverged"
                .to_string(),
        ));
    }
    // The checkpoint does not say how many there were.
    Ok(LatentStatistics { mean, scale, count: 0 })
}

fn is_standardised(arguments: &Arguments, is_l2_normalised: bool) -> Result<bool, ReferenceError> {
    const ARGUMENT: &str = "normalize_latent";
    if !is_l2_normalised {
        return arguments.needed(ARGUMENT, "whether the latents have been standardised");
    }
    if arguments.given(ARGUMENT)?.unwrap_or(false) {
        let problem = "the autoencoder's latents are l2-normalised already";
        return Err(arguments.refused(ARGUMENT, true, problem));
    }
    Ok(false)
}
