//! Whether the parts of a model fit each other.

use latent_text_autoencoder::AutoencoderConfig;
use latent_text_conditioning::{LengthPredictorConfig, SourceReader};
use latent_text_denoiser::DenoisingNetworkConfig;
use latent_text_diffusion::ScheduleKind;

use crate::{GenerationError, ModelConfig};

/// Checks a configuration against the autoencoder and what reads sources.
pub(crate) fn check(
    config: &ModelConfig,
    autoencoder: &AutoencoderConfig,
    reader: Option<&SourceReader>,
) -> Result<(), GenerationError> {
    check_denoiser("the denoiser", &config.denoiser, config, autoencoder, reader)?;
    check_statistics(config, autoencoder.latent_dim())?;
    check_lengths(config, autoencoder)
}

/// Checks a denoiser, which errors call `name`, against all the rest.
pub(crate) fn check_denoiser(
    name: &str,
    denoiser: &DenoisingNetworkConfig,
    config: &ModelConfig,
    autoencoder: &AutoencoderConfig,
    reader: Option<&SourceReader>,
) -> Result<(), GenerationError> {
    check_latents(name, denoiser, autoencoder)?;
    check_schedule(name, denoiser, config)?;
    check_labels(name, denoiser, config)?;
    check_source(name, denoiser, reader)
}

fn check_latents(
    name: &str,
    denoiser: &DenoisingNetworkConfig,
    autoencoder: &AutoencoderConfig,
) -> Result<(), GenerationError> {
    let (latents, dim) = (autoencoder.max_latents(), autoencoder.latent_dim());
    let (most, width) = (denoiser.max_latents(), denoiser.latent_dim());
    if width != dim || most < latents {
        return inconsistent(format!(
            "the autoencoder makes {latents} x {dim} latents, {name} takes up to {most} x {width}"
        ));
    }
    Ok(())
}

fn check_statistics(config: &ModelConfig, dim: usize) -> Result<(), GenerationError> {
    let mean = config.statistics.mean.len();
    if mean != dim {
        return inconsistent(format!(
            "the latents have {dim} dimensions, the mean in their statistics has {mean}"
        ));
    }
    Ok(())
}

fn check_lengths(
    config: &ModelConfig,
    autoencoder: &AutoencoderConfig,
) -> Result<(), GenerationError> {
    let most = autoencoder.max_latents();
    match (autoencoder.has_varying_lengths(), &config.lengths) {
        (true, None) => inconsistent(
            "texts have latents in varying number, but nothing says in which (`lengths`)"
                .to_string(),
        ),
        (false, Some(_)) => inconsistent(format!(
            "there are `lengths`, but the autoencoder makes {most} latents of every text"
        )),
        (true, Some(lengths)) if lengths.max() > most => inconsistent(format!(
            "the `lengths` go up to {}, but texts have at most {most} latents",
            lengths.max()
        )),
        _ => Ok(()),
    }
}

pub(crate) fn check_predictor(
    predictor: &LengthPredictorConfig,
    config: &ModelConfig,
    max_length: usize,
    reader: Option<&SourceReader>,
) -> Result<(), GenerationError> {
    predictor.validate()?;
    if predictor.max_length > max_length {
        return inconsistent(format!(
            "lengths of up to {} are predicted, but texts have at most {max_length} latents",
            predictor.max_length
        ));
    }
    let labels = config.labels.as_ref().map(|labels| labels.names().len());
    if predictor.classes.is_some() && predictor.classes != labels {
        return inconsistent(format!(
            "lengths are predicted from {} classes, there are {} labels",
            predictor.classes.unwrap_or(0),
            labels.unwrap_or(0)
        ));
    }
    match (predictor.source_dim, reader.map(SourceReader::dim)) {
        (None, _) => Ok(()),
        (Some(expected), Some(found)) if expected == found => Ok(()),
        (Some(expected), found) => inconsistent(format!(
            "lengths are predicted from sources of width {expected}, the model's have width {}",
            found.map_or("none".to_string(), |width| width.to_string())
        )),
    }
}

fn check_schedule(
    name: &str,
    denoiser: &DenoisingNetworkConfig,
    config: &ModelConfig,
) -> Result<(), GenerationError> {
    let discrete = matches!(config.schedule.kind, ScheduleKind::Table(_));
    if denoiser.is_told_steps() && !discrete {
        return inconsistent(format!(
            "{name} is told the steps of a discrete noise schedule, but `schedule` is not a `table`"
        ));
    }
    Ok(())
}

fn check_labels(
    name: &str,
    denoiser: &DenoisingNetworkConfig,
    config: &ModelConfig,
) -> Result<(), GenerationError> {
    let labels = config.labels.as_ref().map_or(0, |labels| labels.names().len());
    let classes = denoiser.classes().unwrap_or(0);
    if labels != classes {
        return inconsistent(format!("{name} has {classes} classes, there are {labels} labels"));
    }
    Ok(())
}

fn check_source(
    name: &str,
    denoiser: &DenoisingNetworkConfig,
    reader: Option<&SourceReader>,
) -> Result<(), GenerationError> {
    match (denoiser.source_dim(), reader.map(SourceReader::dim)) {
        (None, None) => Ok(()),
        (Some(expected), Some(found)) if expected == found => Ok(()),
        (Some(expected), Some(found)) => inconsistent(format!(
            "{name} attends to sources of width {expected}, their encoder has width {found}"
        )),
        (Some(_), None) => inconsistent(format!(
            "{name} attends to sources, but nothing says what reads them (`source`)"
        )),
        (None, Some(_)) => {
            inconsistent(format!("sources are read, but {name} does not attend to any"))
        }
    }
}

fn inconsistent(problem: String) -> Result<(), GenerationError> {
    Err(GenerationError::Inconsistent(problem))
}
