use burn::tensor::{Int, Tensor, TensorData};
use latent_text_conditioning::SourceReader;
use latent_text_denoiser::Source;
use latent_text_diffusion::GuidanceConfig;

use crate::batch::Batch;
use crate::config::is_plain;
use crate::guiding::CheckedGuidance;
use crate::{GenerationError, LatentText, Request};

/// What the texts of a request are conditioned on; text `i` takes entry `i % len` of each list.
#[derive(Debug)]
pub(crate) struct TextConditions<'a> {
    labels: &'a [String],
    sources: Vec<&'a str>,
    /// The classes of `labels`; empty if all texts have the null class.
    classes: Vec<usize>,
}

/// What the rows of a batch are conditioned on.
#[derive(Debug)]
pub(crate) struct BatchConditions {
    /// Their classes, `[rows]`, if the model has classes.
    pub(crate) classes: Option<Tensor<1, Int>>,
    /// Their sources, one for each row or one for all, if they have any.
    pub(crate) source: Option<Source>,
}

impl<'a> TextConditions<'a> {
    /// Whether the texts have any condition.
    pub(crate) fn any(&self) -> bool {
        !self.classes.is_empty() || !self.sources.is_empty()
    }

    pub(crate) fn label(&self, text: usize) -> Option<&'a str> {
        in_turn(self.labels, text).map(String::as_str)
    }

    pub(crate) fn source(&self, text: usize) -> Option<&'a str> {
        in_turn(&self.sources, text).copied()
    }
}

fn in_turn<T>(list: &[T], text: usize) -> Option<&T> {
    list.get(text.checked_rem(list.len())?)
}

impl LatentText {
    /// The conditions that a request asks for.
    pub(crate) fn conditions<'a>(
        &self,
        request: &'a Request,
    ) -> Result<TextConditions<'a>, GenerationError> {
        let classes = self.classes(&request.labels)?;
        let sources = self.sources(request)?;
        Ok(TextConditions { labels: &request.labels, sources, classes })
    }

    fn classes(&self, labels: &[String]) -> Result<Vec<usize>, GenerationError> {
        match (&self.config.labels, labels) {
            (None, []) => Ok(Vec::new()),
            (None, [label, ..]) => Err(GenerationError::NotConditional(label.clone())),
            (Some(_), []) if !self.config.null_trained => Err(GenerationError::NullUntrained {
                needed_by: "the request has no labels; give it some",
            }),
            (Some(known), labels) => {
                labels.iter().map(|label| Ok(known.index_of(label)?)).collect()
            }
        }
    }

    fn sources<'a>(&self, request: &'a Request) -> Result<Vec<&'a str>, GenerationError> {
        let sources: Vec<&str> = request.sources.iter().map(String::as_str).collect();
        let Some(reader) = &self.source_reader else {
            return if sources.is_empty() {
                Ok(sources)
            } else {
                Err(GenerationError::NotForSources)
            };
        };
        match (sources.is_empty(), request.without_source) {
            (true, false) => Err(GenerationError::NoSources),
            (false, true) => Err(GenerationError::Request(
                "it has sources, but also says `without_source`".to_string(),
            )),
            (true, true) if !self.config.null_trained => Err(GenerationError::NullUntrained {
                needed_by: "the request is without sources; give it some",
            }),
            (true, true) => Ok(sources),
            (false, false) => {
                if let Some(index) = sources.iter().position(|source| source.trim().is_empty()) {
                    return Err(GenerationError::Request(format!(
                        "source {index} (counted from 0) is empty; leave it out, or ask for texts \
                         `without_source`"
                    )));
                }
                if !request.truncate_sources {
                    reader.check_lengths(&sources)?;
                }
                Ok(sources)
            }
        }
    }

    /// How the predictions with and without a condition are combined.
    pub(crate) fn guidance(
        &self,
        request: &Request,
        conditioned: bool,
    ) -> Result<CheckedGuidance, GenerationError> {
        let config = request.guidance.as_ref().unwrap_or(&self.config.sampling.guidance);
        let guidance = CheckedGuidance::new(config)?;
        if guidance.by_weaker() {
            return match &self.weaker_denoiser {
                None => Err(GenerationError::NoWeakerDenoiser),
                Some(_) => Ok(guidance),
            };
        }
        if !conditioned && !is_plain(config) {
            // The model's own setting is for texts with a condition; what a request says, it means.
            return match request.guidance {
                None => CheckedGuidance::new(&GuidanceConfig::default()),
                Some(_) => Err(self.nothing_to_guide()),
            };
        }
        if !is_plain(config) && !self.config.null_trained {
            return Err(GenerationError::NullUntrained {
                needed_by: "guidance needs that; leave it out",
            });
        }
        Ok(guidance)
    }

    pub(crate) fn nothing_to_guide(&self) -> GenerationError {
        let possible = self.config.labels.is_some() || self.source_reader.is_some();
        GenerationError::NothingToGuide { possible }
    }

    /// The conditions of a batch on the device.
    pub(crate) fn conditions_of(
        &self,
        batch: Batch,
        conditions: &TextConditions<'_>,
    ) -> Result<BatchConditions, GenerationError> {
        let classes = self.classes_of(batch, conditions);
        Ok(BatchConditions { classes, source: self.sources_of(batch, conditions)? })
    }

    /// The classes of a batch, `[rows]`, for a model that has classes.
    fn classes_of(&self, batch: Batch, conditions: &TextConditions<'_>) -> Option<Tensor<1, Int>> {
        let labels = self.config.labels.as_ref()?;
        let class = |text| in_turn(&conditions.classes, text).copied().unwrap_or(labels.null());
        let classes: Vec<usize> = batch.text_of_rows().map(class).collect();
        Some(labels.tensor(&classes, self.device()))
    }

    /// The sources of a batch, each read once: one for every row, or a single one for all of them.
    fn sources_of(
        &self,
        batch: Batch,
        conditions: &TextConditions<'_>,
    ) -> Result<Option<Source>, GenerationError> {
        let (Some(reader), false) = (&self.source_reader, conditions.sources.is_empty()) else {
            return Ok(None);
        };
        let of_rows: Vec<usize> =
            batch.text_of_rows().map(|text| text % conditions.sources.len()).collect();
        read_sources(reader, &conditions.sources, &of_rows).map(Some)
    }
}

fn read_sources(
    reader: &SourceReader,
    sources: &[&str],
    of_rows: &[usize],
) -> Result<Source, GenerationError> {
    let mut distinct = of_rows.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let texts: Vec<&str> = distinct.iter().map(|&source| sources[source]).collect();
    let (states, mask) = reader.read(&texts)?;
    if distinct.len() == 1 {
        return Ok(Source { states, mask: None, present: None });
    }
    let places =
        of_rows.iter().map(|source| distinct.partition_point(|other| other < source) as i64);
    let places = TensorData::new(places.collect(), [of_rows.len()]);
    let places = Tensor::<1, Int>::from_data(places, &states.device());
    let mask = mask.int().select(0, places.clone()).equal_elem(1);
    Ok(Source { states: states.select(0, places), mask: Some(mask), present: None })
}
