//! Puts a model together from its parts.

use std::path::Path;

use burn::tensor::Device;
use latent_text_autoencoder::LanguageAutoencoder;
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::{DenoisingNetwork, DenoisingNetworkConfig};
use latent_text_diffusion::NoiseScheduleConfig;
use latent_text_generation::{
    FORMAT_VERSION, LatentText, ModelConfig, SamplingDefaults, SourceConfig,
};
use latent_text_language_model::LanguageModel;
use latent_text_nn::weights::TensorFile;

use crate::arguments::Arguments;
use crate::model::LAST;
use crate::run::Run;
use crate::tensors::Tensors;
use crate::{Converted, Part, ReferenceError, ReferenceModel};
use crate::{autoencoder, denoiser, encoder_space, settings, source, statistics};

/// Texts of the published code have so many tokens, with their start token.
const MAX_LENGTH: usize = 64;
const AG_NEWS: [&str; 4] = ["World", "Sports", "Business", "Sci/Tech"];

type Network = (DenoisingNetworkConfig, DenoisingNetwork);

/// All that a model is put together from once its denoiser is there.
pub(crate) struct Parts<'a> {
    pub(crate) given: &'a ReferenceModel,
    pub(crate) arguments: &'a Arguments,
    pub(crate) averages: &'a TensorFile,
    pub(crate) device: &'a Device,
}

impl Parts<'_> {
    /// The model over the latents of an autoencoder, or over the encoder's own states.
    pub(crate) fn model(
        &self,
        network: Network,
        on_part: &mut impl FnMut(Part),
    ) -> Result<Converted, ReferenceError> {
        let over_states = match network.0 {
            DenoisingNetworkConfig::EncoderSpace(_) => true,
            DenoisingNetworkConfig::Latent(_) => {
                self.given.autoencoder.is_none() && self.given.lengths.is_some()
            }
        };
        if over_states {
            return self.over_states(network, on_part);
        }
        let Some(autoencoder) = &self.given.autoencoder else {
            return Err(ReferenceError::NotGiven {
                needed: format!(
                    "{} is of the second version, over the latents of an autoencoder",
                    self.averages.path().display()
                ),
                advice: "give the autoencoder's run folder; if the run had none, the training texts, or \
                         their lengths",
            });
        };
        self.over_autoencoder(autoencoder, network, on_part)
    }

    fn over_autoencoder(
        &self,
        folder: &Path,
        (config, network): Network,
        on_part: &mut impl FnMut(Part),
    ) -> Result<Converted, ReferenceError> {
        self.refuse_needless(self.given.lengths.is_some(), "lengths of texts")?;
        on_part(Part::Autoencoder);
        let run = Run::new(folder, LAST)?;
        let autoencoder = autoencoder::load(&run, &self.given.language_model, self.device)?;

        let for_sources = config.source_dim().is_some();
        let (source, reader) = if for_sources {
            on_part(Part::SourceEncoder);
            let (source, reader) = self.source(&run, &autoencoder)?;
            (Some(source), reader)
        } else {
            self.refuse_sources()?;
            (None, None)
        };
        let mut notes = settings::notes(self.arguments)?;
        let null_trained = self.null_trained(&config, &mut notes)?;
        let sampling = settings::sampling(
            self.arguments,
            for_sources,
            autoencoder.is_l2_normalised(),
            null_trained,
        )?;
        let decoding_length = if for_sources { self.max_seq_len()? } else { MAX_LENGTH };
        let config = ModelConfig {
            schedule: settings::schedule(self.arguments)?,
            sampling,
            source,
            null_trained,
            ..self.shared(&autoencoder, config, decoding_length)?
        };
        let device = self.device;
        let model = match reader {
            None => LatentText::new(config, autoencoder, network, device)?,
            Some(reader) => {
                LatentText::with_source_encoder(config, autoencoder, network, device, reader)?
            }
        };
        Ok(Converted { model, notes })
    }

    fn over_states(
        &self,
        (config, network): Network,
        on_part: &mut impl FnMut(Part),
    ) -> Result<Converted, ReferenceError> {
        self.refuse_needless(self.given.autoencoder.is_some(), "an autoencoder")?;
        self.refuse_sources()?;
        if config.source_dim().is_some() {
            let problem = "reads sources, which only models over an autoencoder's latents do";
            return Err(self.tensors().refused(problem.to_string()));
        }
        let Some(lengths) = &self.given.lengths else {
            return Err(ReferenceError::NotGiven {
                needed: format!(
                    "{} is of the first version, which draws the length of a text before the text; \
                     the checkpoint does not hold those of the training texts",
                    self.averages.path().display()
                ),
                advice: "give the training texts, or their lengths",
            });
        };
        on_part(Part::Autoencoder);
        let folder = &self.given.language_model;
        let autoencoder = encoder_space::autoencoder(&config, folder, self.device)?;
        let lengths = lengths.distribution(&autoencoder.language_model, config.max_latents())?;
        let mut notes = settings::notes(self.arguments)?;
        let null_trained = self.null_trained(&config, &mut notes)?;
        let (schedule, sampling) = if config.is_told_steps() {
            let sampling = settings::discrete_sampling(self.arguments)?;
            (encoder_space::schedule(self.averages)?, sampling)
        } else {
            let sampling = settings::sampling(self.arguments, false, false, null_trained)?;
            (settings::schedule(self.arguments)?, sampling)
        };
        let config = ModelConfig {
            schedule,
            sampling,
            null_trained,
            lengths: Some(lengths),
            ..self.shared(&autoencoder, config, MAX_LENGTH)?
        };
        let model = LatentText::new(config, autoencoder, network, self.device)?;
        Ok(Converted { model, notes })
    }

    fn source(
        &self,
        autoencoder_run: &Run,
        autoencoder: &LanguageAutoencoder,
    ) -> Result<(SourceConfig, Option<LanguageModel>), ReferenceError> {
        let parts = source::Parts {
            arguments: self.arguments,
            averages: self.averages,
            autoencoder: autoencoder_run,
            language_model: &autoencoder.language_model,
            folder: self.given.source_encoder.as_deref(),
            max_tokens: self.given.source_max_tokens,
        };
        parts.read(self.device)
    }

    /// The denoiser's.
    pub(crate) fn tensors(&self) -> Tensors<'_> {
        Tensors { file: self.averages, prefix: denoiser::PREFIX }
    }

    /// What both versions say in the same way.
    fn shared(
        &self,
        autoencoder: &LanguageAutoencoder,
        denoiser: DenoisingNetworkConfig,
        decoding_length: usize,
    ) -> Result<ModelConfig, ReferenceError> {
        let language_model = &autoencoder.language_model;
        let decoding = settings::decoding(&language_model.generation, decoding_length);
        let (positions, ids) =
            (language_model.config.max_positions(), language_model.config.vocab_size());
        decoding.validate(positions, ids)?;
        Ok(ModelConfig {
            format_version: FORMAT_VERSION,
            schedule: NoiseScheduleConfig::default(),
            prediction: settings::prediction(self.arguments)?,
            labels: self.labels(denoiser.classes())?,
            source: None,
            null_trained: true,
            statistics: statistics::read(
                self.arguments,
                self.averages,
                autoencoder.latent_dim(),
                autoencoder.is_l2_normalised(),
            )?,
            lengths: None,
            length_predictor: None,
            weaker_denoiser: None,
            sampling: SamplingDefaults::default(),
            decoding,
            denoiser,
        })
    }

    fn max_seq_len(&self) -> Result<usize, ReferenceError> {
        self.arguments.needed("max_seq_len", "the most tokens of a text")
    }

    /// Whether the denoiser also saw texts without their conditions. Adds to `notes` if the run does not
    /// say.
    fn null_trained(
        &self,
        config: &DenoisingNetworkConfig,
        notes: &mut Vec<String>,
    ) -> Result<bool, ReferenceError> {
        let argument = if config.source_dim().is_some() {
            "seq2seq_unconditional_prob"
        } else if config.classes().is_some() {
            "class_unconditional_prob"
        } else {
            return Ok(true);
        };
        let probability = self.arguments.given::<f64>(argument)?;
        if probability.is_none() {
            notes.push(format!(
                "the run does not say `{argument}`; conditions are taken to have been dropped in \
                 training, as the published code does by default"
            ));
        }
        Ok(probability.is_none_or(|probability| probability > 0.0))
    }

    fn labels(&self, classes: Option<usize>) -> Result<Option<ClassLabels>, ReferenceError> {
        let Some(classes) = classes else {
            self.refuse_needless(self.given.labels.is_some(), "labels")?;
            return Ok(None);
        };
        let dataset: Option<String> = self.arguments.given("dataset_name")?;
        let of_dataset = || match dataset.as_deref() {
            Some("ag_news") => Some(AG_NEWS.map(str::to_string).to_vec()),
            _ => None,
        };
        let needed = match self.given.labels.clone().or_else(of_dataset) {
            Some(labels) if labels.len() == classes => return Ok(Some(ClassLabels::new(labels)?)),
            Some(labels) => format!(
                "the denoiser has {classes} classes, there are {} labels ({})",
                labels.len(),
                labels.join(", ")
            ),
            None => {
                format!("the denoiser has {classes} classes, the checkpoint has no names of them")
            }
        };
        Err(ReferenceError::NotGiven { needed, advice: "give one label for each" })
    }

    fn refuse_sources(&self) -> Result<(), ReferenceError> {
        self.refuse_needless(self.given.source_encoder.is_some(), "an encoder of sources")?;
        self.refuse_needless(self.given.source_max_tokens.is_some(), "a length of sources")
    }

    fn refuse_needless(&self, is_given: bool, what: &str) -> Result<(), ReferenceError> {
        if !is_given {
            return Ok(());
        }
        let checkpoint = self.averages.path().display();
        Err(ReferenceError::Needless(format!("{checkpoint} has no use for {what}; leave it out")))
    }
}
