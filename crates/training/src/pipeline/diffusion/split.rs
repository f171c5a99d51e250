use std::fs;

use latent_text_conditioning::{ClassLabels, LengthDistribution};

use super::models::FrozenModels;
use crate::TrainingError;
use crate::data::Record;
use crate::latents::{LatentSet, LatentSource, cache_path, cached_latents};
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::{Pipeline, PipelineStage};
use crate::source::SourceSet;
use crate::stage::DiffusionSet;

/// Names of the splits, and of the files that keep their latents.
pub(super) const TRAIN: &str = "train";
pub(super) const VALIDATION: &str = "validation";

/// The texts of a split.
pub(super) struct Split {
    pub(super) set: DiffusionSet,
    /// The source of each text, if there are sources.
    pub(super) sources: Vec<String>,
}

impl Split {
    /// How many latents its texts have, of `max` at most.
    pub(super) fn lengths(&self, max: usize) -> Result<LengthDistribution, TrainingError> {
        let latents = &self.set.latents;
        let lengths = (0..latents.len()).map(|text| latents.length(text));
        Ok(LengthDistribution::from_lengths(lengths, max)?)
    }
}

impl Pipeline<'_> {
    /// The texts of a split that are short enough, with their latents, classes and sources.
    pub(super) fn split(
        &self,
        name: &str,
        models: &FrozenModels,
        records: Vec<Record>,
        labels: &Option<ClassLabels>,
    ) -> Result<Split, TrainingError> {
        let texts: Vec<String> = records.iter().map(|record| record.text.clone()).collect();
        let tokenizer = &models.autoencoder.language_model.tokenizer;
        let (tokens, kept) = self.tokens(&format!("diffusion, {name} texts"), tokenizer, &texts)?;
        if name == TRAIN {
            self.check_labels_fit(&records, &kept)?;
        }
        let classes = match labels {
            None => Vec::new(),
            Some(labels) => kept
                .iter()
                .map(|&index| match &records[index].label {
                    Some(label) => Ok(labels.index_of(label)?),
                    None => Ok(labels.null()),
                })
                .collect::<Result<_, TrainingError>>()?,
        };
        let sources: Vec<String> =
            kept.iter().filter_map(|&index| records[index].source.clone()).collect();
        let source_set = match &models.sources {
            None => None,
            Some(encoder) => {
                let texts: Vec<&str> = sources.iter().map(String::as_str).collect();
                let multiple = self.config.pad_to_multiple;
                Some(SourceSet::new(encoder.reader.clone(), &texts, multiple)?)
            }
        };
        let latents = self.latents(name, models, &tokens, classes)?;
        Ok(Split { set: DiffusionSet { latents, sources: source_set }, sources })
    }

    /// Latents of a split, from its cache where that still fits.
    fn latents(
        &self,
        split: &str,
        models: &FrozenModels,
        tokens: &[Vec<u32>],
        classes: Vec<usize>,
    ) -> Result<LatentSet, TrainingError> {
        let folder = self.folder(PipelineStage::Diffusion);
        fs::create_dir_all(&folder).map_err(TrainingError::file("create", &folder))?;
        let fingerprint = Fingerprint::new().autoencoder(&models.autoencoder_folder)?;
        let training = match self.config.autoencoder.training() {
            Some(autoencoder) => &autoencoder.training,
            None => &self.config.diffusion.training,
        };
        let source = LatentSource {
            autoencoder: &models.autoencoder,
            fingerprint: fingerprint.tokens(tokens).finish(),
            tokens,
            classes,
            batch_size: training.batch_size,
            padding: self.config.padding(),
            precision: self.config.precision,
        };
        cached_latents(&cache_path(&folder, split), source, self.device, self.stop)
    }
}
