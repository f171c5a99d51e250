use std::fs;
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use burn::tensor::{Device, FloatDType, Int, Tensor};
use latent_text_autoencoder::{LanguageAutoencoder, LatentNorm};
use latent_text_denoiser::{Conditions, Denoiser, SelfCondition};
use latent_text_diffusion::{DenoiserInput, SampleNoise, SamplerPlan, StepReport, sample};
use latent_text_language_model::GenerationConfig;
use latent_text_nn::{weights, write_atomically};

use crate::{FORMAT_VERSION, Generated, GenerationError, ModelConfig, Request, StepPreview};

/// The file that describes a model folder. It is written last, so a folder without it is not whole.
pub const MODEL_CONFIG_FILE: &str = "config.json";
/// The file with the denoiser's weights.
pub const DENOISER_FILE: &str = "denoiser.safetensors";

/// A text diffusion model: an autoencoder between texts and latents, and a denoiser of latents.
pub struct LatentText {
    /// What the model is.
    pub config: ModelConfig,
    /// Text to latents and back.
    pub autoencoder: LanguageAutoencoder,
    /// The network that predicts clean latents.
    pub denoiser: Denoiser,
    device: Device,
}

impl LatentText {
    /// Puts a model together from its parts, which must be on `device`.
    ///
    /// # Errors
    /// [`GenerationError::Inconsistent`] if the denoiser's latents or classes, or the width of the
    /// statistics, are not those of the autoencoder and the labels.
    pub fn new(
        config: ModelConfig,
        autoencoder: LanguageAutoencoder,
        denoiser: Denoiser,
        device: &Device,
    ) -> Result<Self, GenerationError> {
        let latents = &autoencoder.config;
        if config.denoiser.latent_dim != latents.latent_dim
            || config.denoiser.max_latents < latents.latents
        {
            return Err(GenerationError::Inconsistent(format!(
                "the autoencoder makes {} x {} latents, the denoiser takes up to {} x {}",
                latents.latents,
                latents.latent_dim,
                config.denoiser.max_latents,
                config.denoiser.latent_dim
            )));
        }
        let mean = config.statistics.mean.len();
        if mean != latents.latent_dim {
            return Err(GenerationError::Inconsistent(format!(
                "the latents have {} dimensions, the mean in their statistics has {mean}",
                latents.latent_dim
            )));
        }
        let labels = config.labels.as_ref().map_or(0, |labels| labels.names().len());
        let classes = config.denoiser.classes.unwrap_or(0);
        if labels != classes {
            return Err(GenerationError::Inconsistent(format!(
                "the denoiser has {classes} classes, there are {labels} labels"
            )));
        }
        Ok(Self { config, autoencoder, denoiser, device: device.clone() })
    }

    /// Reads a model folder onto `device`.
    ///
    /// # Errors
    /// [`GenerationError::NoModel`] if the folder is missing or half-written; otherwise what its files
    /// answer when they are damaged or do not fit.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, GenerationError> {
        let config = read_config(folder)?;
        let denoiser_path = folder.join(DENOISER_FILE);
        if !denoiser_path.exists() {
            return Err(not_whole(folder, DENOISER_FILE));
        }
        let autoencoder = LanguageAutoencoder::load(folder, device)?;
        config.denoiser.validate()?;
        let denoiser = config.denoiser.init(device);
        let denoiser = weights::load(denoiser, &denoiser_path, &|name| name.to_string())?;
        Self::new(config, autoencoder, denoiser, device)
    }

    /// Writes the model to `folder`, its weights as `dtype`; `config.json` comes last.
    ///
    /// # Errors
    /// What writing answers.
    pub fn save(&self, folder: &Path, dtype: FloatDType) -> Result<(), GenerationError> {
        fs::create_dir_all(folder).map_err(|source| GenerationError::File {
            action: "create",
            path: folder.to_path_buf(),
            source,
        })?;
        self.autoencoder.save(folder, dtype)?;
        weights::save(&self.denoiser, &folder.join(DENOISER_FILE), dtype, &|name| {
            name.to_string()
        })?;
        let path = folder.join(MODEL_CONFIG_FILE);
        let text = serde_json::to_string_pretty(&self.config)
            .map_err(|source| GenerationError::Config { path: path.clone(), source })?;
        write_atomically(&path, |file| writeln!(file, "{text}"))
            .map_err(|source| GenerationError::File { action: "write", path, source })
    }

    /// Samples latents for the request and decodes them; text `i` of a seed is the same whatever the
    /// count.
    ///
    /// `on_step` sees every denoising step and stops the generation by returning
    /// [`ControlFlow::Break`].
    ///
    /// # Errors
    /// [`GenerationError::Request`] for a number out of its range, an unknown label, settings that no
    /// sampler can follow, or `DiffusionError::Stopped`.
    pub fn generate(
        &self,
        request: &Request,
        mut on_step: impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerationError> {
        request.check()?;
        let classes = self.classes_in_turn(&request.labels)?;
        let plan = self.plan(request)?;
        let decoding = request.decoding.as_ref().unwrap_or(&self.config.decoding);
        let mut generated = Vec::new();
        for first in (0..request.count).step_by(request.batch_size) {
            let texts = request.batch_size.min(request.count - first);
            let indices = first..first + texts;
            let batch_classes = classes.as_ref().map(|turn| {
                indices.clone().map(|index| turn[index % turn.len()]).collect::<Vec<usize>>()
            });
            let latents =
                self.sample(&plan, request.seed, indices.clone(), batch_classes, &mut on_step)?;
            let seeds: Vec<u64> = indices.map(|index| text_seed(request.seed, index)).collect();
            let decoded = self.autoencoder.decode_latents(latents, decoding, &seeds)?;
            for (text, decoded) in decoded.into_iter().enumerate() {
                let index = first + text;
                let label = (!request.labels.is_empty())
                    .then(|| request.labels[index % request.labels.len()].clone());
                generated.push(Generated { index, text: decoded, label, seed: request.seed });
            }
        }
        Ok(generated)
    }

    /// Texts through encoder, latents and decoder.
    ///
    /// # Errors
    /// What the tokenizer answers.
    pub fn reconstruct(&self, texts: &[&str]) -> Result<Vec<String>, GenerationError> {
        let latents = self.autoencoder.encode_texts(texts)?;
        let seeds = vec![0; texts.len()];
        Ok(self.autoencoder.decode_latents(latents, &self.config.decoding, &seeds)?)
    }

    /// The latents of texts, `[texts, latents, dim]`, as the autoencoder makes them.
    ///
    /// # Errors
    /// What the tokenizer answers.
    pub fn encode(&self, texts: &[&str]) -> Result<Tensor<3>, GenerationError> {
        Ok(self.autoencoder.encode_texts(texts)?)
    }

    /// The texts of latents in the space that the diffusion runs in, `[texts, latents, dim]`.
    ///
    /// # Errors
    /// What the tokenizer answers.
    pub fn decode(
        &self,
        x0: Tensor<3>,
        decoding: &GenerationConfig,
        seeds: &[u64],
    ) -> Result<Vec<String>, GenerationError> {
        Ok(self.autoencoder.decode_latents(self.denormalise(x0), decoding, seeds)?)
    }

    /// The device that the model is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn plan(&self, request: &Request) -> Result<SamplerPlan, GenerationError> {
        let sampling = &self.config.sampling;
        let schedule = self.config.schedule.init()?;
        let plan = SamplerPlan::new(
            &schedule,
            request.sampler.unwrap_or(sampling.sampler),
            self.config.prediction,
            request.steps.unwrap_or(sampling.steps),
        )?;
        Ok(plan.rescale_x0(request.rescale_x0.unwrap_or(sampling.rescale_x0)))
    }

    /// The class indices that texts take in turn: the labels', the null class without labels, none for
    /// a model without classes.
    fn classes_in_turn(&self, labels: &[String]) -> Result<Option<Vec<usize>>, GenerationError> {
        match (&self.config.labels, labels) {
            (None, []) => Ok(None),
            (None, [label, ..]) => Err(GenerationError::NotConditional(label.clone())),
            (Some(known), []) => Ok(Some(vec![known.null()])),
            (Some(known), labels) => {
                let classes: Result<Vec<usize>, _> =
                    labels.iter().map(|label| known.index_of(label)).collect();
                Ok(Some(classes?))
            }
        }
    }

    fn sample(
        &self,
        plan: &SamplerPlan,
        seed: u64,
        indices: Range<usize>,
        classes: Option<Vec<usize>>,
        on_step: &mut impl FnMut(StepPreview<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<3>, GenerationError> {
        let shape = &self.autoencoder.config;
        let (first, texts) = (indices.start, indices.len());
        let mut noise = SampleNoise::new(seed, indices.map(|index| index as u64));
        let classes: Option<Tensor<1, Int>> = classes
            .zip(self.config.labels.as_ref())
            .map(|(classes, labels)| labels.tensor(&classes, &self.device));
        let x0 = sample(
            plan,
            [texts, shape.latents, shape.latent_dim],
            &mut noise,
            &self.device,
            |DenoiserInput { z, alpha, self_cond, .. }| {
                let self_cond = self_cond.map(|estimate| SelfCondition { estimate, present: None });
                let classes = classes.clone();
                let conditions = Conditions { self_cond, classes, ..Conditions::default() };
                self.denoiser.forward(z, alpha, conditions)
            },
            |report: StepReport<'_>| {
                on_step(StepPreview {
                    first,
                    texts,
                    step: report.step,
                    steps: report.steps,
                    x0: report.x0,
                })
            },
        )?;
        Ok(self.denormalise(x0))
    }

    fn denormalise(&self, x0: Tensor<3>) -> Tensor<3> {
        match self.autoencoder.config.latent_norm {
            LatentNorm::L2 => x0,
            LatentNorm::None => self.config.statistics.denormalise(x0),
        }
    }
}

/// The seed of one text's decoding, apart from its neighbours'.
fn text_seed(seed: u64, text: usize) -> u64 {
    seed.wrapping_add((text as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn read_config(folder: &Path) -> Result<ModelConfig, GenerationError> {
    let path = folder.join(MODEL_CONFIG_FILE);
    if !path.exists() {
        return Err(not_whole(folder, MODEL_CONFIG_FILE));
    }
    let text = fs::read_to_string(&path).map_err(|source| GenerationError::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let understood = |source| GenerationError::Config { path: path.clone(), source };
    let json: serde_json::Value = serde_json::from_str(&text).map_err(understood)?;
    if let Some(found) = json.get("format_version").and_then(serde_json::Value::as_u64)
        && found != u64::from(FORMAT_VERSION)
    {
        return Err(GenerationError::FormatVersion {
            path: path.clone(),
            found,
            known: FORMAT_VERSION,
        });
    }
    serde_json::from_value(json).map_err(understood)
}

fn not_whole(folder: &Path, missing: &str) -> GenerationError {
    let (missing, hint) = if folder.is_dir() {
        (
            missing,
            "; the folder may be half-written: copy it again, or end its training with --resume",
        )
    } else {
        ("the folder itself", "; check the path")
    };
    GenerationError::NoModel { folder: folder.to_path_buf(), missing: missing.to_string(), hint }
}
