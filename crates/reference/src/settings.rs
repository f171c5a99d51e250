//! What the arguments of a run say about diffusion, sampling and decoding.

use latent_text_diffusion::spacing::Trailing;
use latent_text_diffusion::{
    GuidanceConfig, NoiseScheduleConfig, Prediction, SamplerKind, ScheduleKind, Spacing,
};
use latent_text_generation::SamplingDefaults;
use latent_text_language_model::{BeamSearch, Decoding, GenerationConfig};

use crate::ReferenceError;
use crate::arguments::Arguments;

const STEPS: usize = 250;
/// Guidance of the published code where there is a source.
const GUIDANCE: f64 = 2.0;

const OBJECTIVES: &str = "it must be `pred_v`, `pred_x0` or `pred_noise`";

/// What the network predicts.
pub(crate) fn prediction(arguments: &Arguments) -> Result<Prediction, ReferenceError> {
    let objective: String = arguments.needed("objective", "what the network predicts")?;
    match objective.as_str() {
        "pred_v" => Ok(Prediction::V),
        "pred_x0" => Ok(Prediction::X0),
        "pred_noise" => Ok(Prediction::Eps),
        _ => Err(arguments.refused("objective", objective, OBJECTIVES)),
    }
}

/// The noise schedule of the second version. Its scale belongs to the checkpoint, although the
/// published code forgets it.
pub(crate) fn schedule(arguments: &Arguments) -> Result<NoiseScheduleConfig, ReferenceError> {
    let name: String = arguments.needed("train_schedule", "the noise schedule")?;
    let scale = arguments.needed("scale", "how far the noise schedule is shifted")?;
    let kind = match name.as_str() {
        "cosine" => ScheduleKind::Cosine(Default::default()),
        "simple_linear" => ScheduleKind::SimpleLinear(Default::default()),
        "beta_linear" => ScheduleKind::BetaLinear(Default::default()),
        "sigmoid" => ScheduleKind::Sigmoid(Default::default()),
        _ => {
            let problem = "it must be `cosine`, `simple_linear`, `beta_linear` or `sigmoid`";
            return Err(arguments.refused("train_schedule", name, problem));
        }
    };
    let schedule = NoiseScheduleConfig { kind, scale };
    match schedule.init() {
        Ok(_) => Ok(schedule),
        Err(error) => Err(arguments.refused("scale", scale, error.to_string())),
    }
}

/// How the second version samples. `rescale_x0` and guidance are for sources only, as there.
pub(crate) fn sampling(
    arguments: &Arguments,
    for_sources: bool,
    is_l2_normalised: bool,
    null_trained: bool,
) -> Result<SamplingDefaults, ReferenceError> {
    let sampler = match arguments.given::<String>("sampler")?.as_deref() {
        None | Some("ddpm") => SamplerKind::Ddpm,
        Some("ddim") => SamplerKind::Ddim,
        Some("dpmpp") => SamplerKind::DpmppAsReference,
        Some(other) => {
            let problem = "it must be `ddpm`, `ddim` or `dpmpp`";
            return Err(arguments.refused("sampler", other, problem));
        }
    };
    let guidance = if for_sources && null_trained {
        GuidanceConfig::ClassifierFree { scale: GUIDANCE }
    } else {
        GuidanceConfig::default()
    };
    Ok(SamplingDefaults {
        sampler,
        steps: steps(arguments)?,
        rescale_x0: for_sources && is_l2_normalised,
        guidance,
        ..SamplingDefaults::default()
    })
}

/// How the first version samples: ancestral, with the smaller variance.
pub(crate) fn discrete_sampling(arguments: &Arguments) -> Result<SamplingDefaults, ReferenceError> {
    let sampler = match arguments.given::<f64>("ddim_sampling_eta")?.unwrap_or(1.0) {
        1.0 => SamplerKind::DdpmSmall,
        0.0 => SamplerKind::Ddim,
        eta => {
            let problem = "it must be 0 or 1; choose the sampler in a request";
            return Err(arguments.refused("ddim_sampling_eta", eta, problem));
        }
    };
    Ok(SamplingDefaults {
        sampler,
        steps: steps(arguments)?,
        spacing: Spacing::Trailing(Trailing::default()),
        ..SamplingDefaults::default()
    })
}

/// What the arguments of a run of the second version say and the model doesn't do.
pub(crate) fn notes(arguments: &Arguments) -> Result<Vec<String>, ReferenceError> {
    let mut notes = Vec::new();
    let trained: Option<String> = arguments.given("train_schedule")?;
    if let Some(sampled) = arguments.given::<String>("sampling_schedule")?
        && Some(&sampled) != trained.as_ref()
    {
        notes.push(format!(
            "the run sampled with the schedule `{sampled}`; the model samples with that of its training"
        ));
    }
    Ok(notes)
}

fn steps(arguments: &Arguments) -> Result<usize, ReferenceError> {
    let steps = arguments.given("sampling_timesteps")?.unwrap_or(STEPS);
    if steps == 0 {
        return Err(arguments.refused("sampling_timesteps", steps, "it must be at least 1"));
    }
    Ok(steps)
}

/// How the published code decodes; what it doesn't set comes from the language model's own folder.
pub(crate) fn decoding(of_model: &GenerationConfig, max_length: usize) -> GenerationConfig {
    let search = match of_model.decoding {
        Decoding::Beam(search) => BeamSearch { beams: 4, ..search },
        _ => BeamSearch { beams: 4, ..BeamSearch::default() },
    };
    GenerationConfig {
        max_length,
        min_length: 5,
        decoding: Decoding::Beam(search),
        repetition_penalty: 1.2,
        no_repeat_ngram_size: 3,
        returns: 1,
        ..of_model.clone()
    }
}
