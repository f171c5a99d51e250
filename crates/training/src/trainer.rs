//! The step loop that all stages share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::Module;
use burn::tensor::{Device, FloatDType, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::checkpoint::{Checkpoint, CheckpointFolder, CheckpointState};
use crate::optimisation::{
    AdamWConfig, AdamWOptimizer, Ema, EmaConfig, FlatLayout, LearningRateConfig,
};
use crate::order::generator;
use crate::prefetch::Prefetch;
use crate::report::{MetricsLog, ReportError, TrainingProgress, plot_loss};
use crate::samples::SampleLog;

const METRICS_FILE: &str = "metrics.jsonl";
const SAMPLES_FILE: &str = "samples.txt";

/// Number format of the forward and backward pass. The master copy, the optimiser and the average
/// are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Brain floating point; norms, softmax and losses stay f32.
    Bf16,
}

impl Precision {
    /// The dtype of parameters and activations.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }
}

/// How a stage is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Optimiser steps; default 10,000.
    pub steps: u64,
    /// Samples in a batch; default 64.
    pub batch_size: usize,
    /// Batches whose gradients are averaged for one step; default 1.
    pub accumulation: u64,
    /// Learning rate over the steps.
    pub learning_rate: LearningRateConfig,
    /// AdamW and gradient clipping.
    pub optimizer: AdamWConfig,
    /// Running average of the parameters, which validation and the result then use; default none.
    pub ema: Option<EmaConfig>,
    /// Steps between two lines of the metrics file, for which the device is waited on; default 50.
    pub log_every: u64,
    /// Steps between two validations; default 1,000.
    pub validate_every: u64,
    /// Steps between two checkpoints; default 1,000.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept; default 2.
    pub keep_checkpoints: usize,
    /// Sample texts shown at each validation; default 4.
    pub samples: usize,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            steps: 10_000,
            batch_size: 64,
            accumulation: 1,
            learning_rate: LearningRateConfig::default(),
            optimizer: AdamWConfig::default(),
            ema: None,
            log_every: 50,
            validate_every: 1000,
            checkpoint_every: 1000,
            keep_checkpoints: 2,
            samples: 4,
        }
    }
}

impl TrainerConfig {
    /// Checks the settings; `section` names them in the error.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for a count of 0 where one is needed, or a number out of its range.
    pub fn check(&self, section: &str) -> Result<(), TrainingError> {
        let counts = [
            ("steps", self.steps),
            ("batch_size", self.batch_size as u64),
            ("accumulation", self.accumulation),
            ("log_every", self.log_every),
            ("validate_every", self.validate_every),
            ("checkpoint_every", self.checkpoint_every),
        ];
        for (name, value) in counts {
            if value == 0 {
                return Err(TrainingError::setting(
                    format!("{section}.{name}"),
                    "must be at least 1",
                ));
            }
        }
        let peak = self.learning_rate.peak;
        if !(peak.is_finite() && peak > 0.0) {
            return Err(TrainingError::setting(
                format!("{section}.learning_rate.peak"),
                format!("is {peak}, must be a positive number"),
            ));
        }
        self.optimizer.check(section)?;
        self.ema.iter().try_for_each(|ema| ema.check(section))
    }
}

/// What a stage trains, on which batches, towards which loss.
pub trait Stage {
    /// The module whose parameters are trained.
    type Model: Module;
    /// A batch on the host, made ahead of time on another thread.
    type Batch: Send + 'static;

    /// Its name in files and messages.
    fn name(&self) -> &'static str;

    /// What its classes are called, in their order, if it has classes; a checkpoint made under other
    /// names is refused. Default none.
    fn class_names(&self) -> Option<&[String]> {
        None
    }

    /// Makes batch number `k` of the training, a function of the seed and `k` alone.
    fn batches(&self) -> Box<dyn FnMut(u64) -> Self::Batch + Send>;

    /// The mean loss of a batch, as a tensor of one element with a graph to the model's parameters.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Tensor<1>;

    /// Measures the model, which comes without autodiff.
    ///
    /// # Errors
    /// What decoding sample texts answers.
    fn validate(&self, model: &Self::Model, samples: usize) -> Result<Validation, TrainingError>;
}

/// What a validation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// Figures by name; `loss` among them goes into the plot.
    pub values: Vec<(String, f64)>,
    /// Texts for a human to read.
    pub texts: Vec<String>,
}

/// Where and under which circumstances a stage runs.
pub struct Run<'a> {
    /// Folder of the stage: checkpoints, metrics, plot, samples.
    pub folder: &'a Path,
    /// The device, without autodiff.
    pub device: &'a Device,
    /// Number format of the passes.
    pub precision: Precision,
    /// Seed of every generator of the stage.
    pub seed: u64,
    /// Fingerprint of the settings; a checkpoint made under another one is refused.
    pub fingerprint: String,
    /// Set from outside (say by Ctrl-C) to save and stop after the current step.
    pub stop: &'a AtomicBool,
}

/// How a stage ended.
pub enum Outcome<M> {
    /// All steps are taken; the model holds the running average if there is one, in f32.
    Finished(M),
    /// It was asked to stop, and can be resumed.
    Interrupted {
        /// Steps taken.
        step: u64,
        /// The checkpoint that was written.
        checkpoint: PathBuf,
    },
}

impl<M> Outcome<M> {
    /// The same outcome with what `make` makes of a finished model.
    pub fn map<N>(self, make: impl FnOnce(M) -> N) -> Outcome<N> {
        match self {
            Self::Finished(model) => Outcome::Finished(make(model)),
            Self::Interrupted { step, checkpoint } => Outcome::Interrupted { step, checkpoint },
        }
    }
}

/// Trains `model` as `stage` says, going on from the newest checkpoint in the run's folder.
///
/// On a deterministic backend a resumed training ends with the very numbers of an uninterrupted one.
///
/// # Errors
/// [`TrainingError::NotFinite`] if the loss is no number any more; otherwise what reading and writing
/// files answers.
pub fn train<S: Stage>(
    stage: &S,
    model: S::Model,
    config: &TrainerConfig,
    run: &Run<'_>,
) -> Result<Outcome<S::Model>, TrainingError> {
    config.check(stage.name())?;
    let mut trainer = Trainer::new(stage, model, config, run)?;
    trainer.resume()?;
    trainer.run_steps()
}

struct Trainer<'a, S: Stage> {
    stage: &'a S,
    config: &'a TrainerConfig,
    run: &'a Run<'a>,
    checkpoints: CheckpointFolder,
    layout: FlatLayout,
    model: S::Model,
    parameters: Tensor<1>,
    optimizer: AdamWOptimizer,
    ema: Option<Ema>,
    step: u64,
}

impl<'a, S: Stage> Trainer<'a, S> {
    fn new(
        stage: &'a S,
        model: S::Model,
        config: &'a TrainerConfig,
        run: &'a Run<'a>,
    ) -> Result<Self, TrainingError> {
        std::fs::create_dir_all(run.folder).map_err(TrainingError::file("create", run.folder))?;
        let layout = FlatLayout::of(&model);
        let parameters = layout.gather(&model);
        Ok(Self {
            stage,
            config,
            run,
            checkpoints: CheckpointFolder::new(
                run.folder.join("checkpoints"),
                config.keep_checkpoints,
            ),
            model: layout.scatter(model, &parameters, run.precision.dtype(), true),
            optimizer: config.optimizer.init(&layout, run.device),
            ema: config.ema.clone().map(|ema| Ema::new(ema, parameters.clone())),
            parameters,
            layout,
            step: 0,
        })
    }

    fn resume(&mut self) -> Result<(), TrainingError> {
        let Some(checkpoint) = self.checkpoints.load_newest(self.run.device)? else {
            return Ok(());
        };
        let state = checkpoint.state;
        let expected = self.state(&checkpoint.optimizer.as_ref().map(|optimizer| optimizer.time));
        for (differs, what) in [
            (state.stage != expected.stage, "it belongs to another stage"),
            (state.layout != expected.layout, "its model has other parameters"),
            (state.seed != expected.seed, "it was made with another seed"),
            (state.fingerprint != expected.fingerprint, "it was made with other settings"),
            (
                state.class_names.is_some() && state.class_names != expected.class_names,
                "its data had other labels",
            ),
            (
                checkpoint.average.is_some() != self.ema.is_some(),
                "only one of it and the settings has a running average",
            ),
        ] {
            if differs {
                return Err(TrainingError::Checkpoint {
                    path: self.run.folder.join("checkpoints"),
                    problem: format!(
                        "{what}; resume with the configuration it was made with, or train into another folder"
                    ),
                });
            }
        }
        self.step = state.step;
        self.parameters = checkpoint.parameters;
        self.optimizer.restore(checkpoint.optimizer);
        if let (Some(ema), Some(average)) = (&mut self.ema, checkpoint.average) {
            ema.average = average;
            ema.updates = state.average_updates;
        }
        self.spread_parameters();
        Ok(())
    }

    fn run_steps(mut self) -> Result<Outcome<S::Model>, TrainingError> {
        let first = self.step * self.config.accumulation;
        let last = self.config.steps * self.config.accumulation;
        let batches = Prefetch::start(first, last, self.stage.batches())
            .map_err(TrainingError::file("start a thread for", self.run.folder))?;
        let mut log = MetricsLog::resume(&self.run.folder.join(METRICS_FILE), self.step)?;
        let samples = SampleLog::resume(&self.run.folder.join(SAMPLES_FILE), self.step)?;
        let mut progress = TrainingProgress::new(self.stage.name(), self.step, self.config.steps);
        let mut window = LossWindow::new(self.step);

        while self.step < self.config.steps {
            if self.run.stop.load(Ordering::Relaxed) {
                window.read(self.stage.name(), self.step)?;
                let checkpoint = self.save()?;
                self.plot()?;
                return Ok(Outcome::Interrupted { step: self.step, checkpoint });
            }
            let (loss, gradient_norm) = self.take_step(&batches);
            window.add(loss, gradient_norm);
            let done = self.step;
            let at_end = done == self.config.steps;
            let mut shown = None;
            if done.is_multiple_of(self.config.log_every) || at_end {
                let (loss, gradient_norm) = window.read(self.stage.name(), done)?;
                let rate = self.config.learning_rate.at(done - 1, self.config.steps);
                log.write(
                    done,
                    self.stage.name(),
                    &[("loss", loss), ("gradient_norm", gradient_norm), ("learning_rate", rate)],
                )?;
                shown = Some(loss);
            }
            progress.update(done, shown);
            let validates = done.is_multiple_of(self.config.validate_every) || at_end;
            let saves = done.is_multiple_of(self.config.checkpoint_every) || at_end;
            if validates || saves {
                window.check(self.stage.name(), done)?;
            }
            if validates {
                self.validate(&mut log, &samples, &mut progress)?;
            }
            if saves {
                self.save()?;
            }
        }
        progress.finish();
        self.plot()?;
        let values = self.result().clone();
        Ok(Outcome::Finished(self.layout.scatter(self.model, &values, FloatDType::F32, false)))
    }

    /// One optimiser step; returns its loss and gradient norm, still on the device.
    fn take_step(&mut self, batches: &Prefetch<S::Batch>) -> (Tensor<1>, Tensor<1>) {
        let accumulation = self.config.accumulation;
        let mut gradient: Option<Tensor<1>> = None;
        let mut total: Option<Tensor<1>> = None;
        for micro in 0..accumulation {
            let index = self.step * accumulation + micro;
            // Dropout and noise on the device are drawn from a generator that only the seed and the
            // batch decide, so that its state need not be saved.
            self.run.device.seed(generator(self.run.seed, index).next_u64());
            let loss = self.stage.loss(&self.model, batches.next_batch());
            let scaled = loss.clone() / accumulation as f32;
            let gradients = self.layout.gather_gradients(&self.model, scaled.backward());
            gradient = Some(match gradient {
                None if accumulation == 1 => gradients,
                None => gradients.cast(FloatDType::F32),
                Some(sum) => sum + gradients.cast(FloatDType::F32),
            });
            let loss = scaled.inner();
            total = Some(match total {
                None => loss,
                Some(sum) => sum + loss,
            });
        }
        let rate = self.config.learning_rate.at(self.step, self.config.steps);
        let (Some(gradient), Some(loss)) = (gradient, total) else {
            unreachable!("the settings were checked: a step has at least one batch");
        };
        // Taken and not cloned: a vector that nobody else holds is written in place.
        let nothing = Tensor::empty([1], self.run.device);
        let parameters = std::mem::replace(&mut self.parameters, nothing);
        let (parameters, norm) = self.optimizer.step(rate, parameters, gradient, self.ema.as_mut());
        self.parameters = parameters;
        self.spread_parameters();
        self.step += 1;
        (loss, norm)
    }

    fn spread_parameters(&mut self) {
        let dtype = self.run.precision.dtype();
        self.model = self.layout.scatter(self.model.clone(), &self.parameters, dtype, true);
    }

    /// The parameters that count: the running average if there is one.
    fn result(&self) -> &Tensor<1> {
        self.ema.as_ref().map_or(&self.parameters, |ema| &ema.average)
    }

    fn validate(
        &self,
        log: &mut MetricsLog,
        samples: &SampleLog,
        progress: &mut TrainingProgress,
    ) -> Result<(), TrainingError> {
        let dtype = self.run.precision.dtype();
        let model = self.layout.scatter(self.model.clone(), self.result(), dtype, false);
        // The measure is the same at each validation: its noise does not depend on the step.
        self.run.device.seed(self.run.seed);
        let validation = self.stage.validate(&model, self.config.samples)?;
        let named: Vec<(String, f64)> = validation
            .values
            .into_iter()
            .map(|(name, value)| (format!("validation_{name}"), value))
            .collect();
        let borrowed: Vec<(&str, f64)> =
            named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        log.write(self.step, self.stage.name(), &borrowed)?;
        let figures: Vec<String> =
            borrowed.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        progress.print(&format!(
            "{} step {}: {}",
            self.stage.name(),
            self.step,
            figures.join(", ")
        ));
        for text in &validation.texts {
            progress.print(&format!("  {text}"));
        }
        samples.append(self.step, &validation.texts)?;
        self.plot()
    }

    fn plot(&self) -> Result<(), TrainingError> {
        match plot_loss(&self.run.folder.join(METRICS_FILE), &self.run.folder.join("loss.svg")) {
            // Stopped before the first line of metrics.
            Err(ReportError::NoLoss { .. }) => Ok(()),
            drawn => Ok(drawn?),
        }
    }

    fn save(&self) -> Result<PathBuf, TrainingError> {
        let optimizer = self.optimizer.snapshot();
        let state = self.state(&optimizer.as_ref().map(|optimizer| optimizer.time));
        self.checkpoints.save(Checkpoint {
            state,
            parameters: self.parameters.clone(),
            average: self.ema.as_ref().map(|ema| ema.average.clone()),
            optimizer,
        })
    }

    fn state(&self, optimizer_time: &Option<usize>) -> CheckpointState {
        CheckpointState {
            stage: self.stage.name().to_string(),
            step: self.step,
            batches: self.step * self.config.accumulation,
            seed: self.run.seed,
            optimizer_time: optimizer_time.unwrap_or(0),
            average_updates: self.ema.as_ref().map_or(0, |ema| ema.updates),
            fingerprint: self.run.fingerprint.clone(),
            class_names: self.stage.class_names().map(<[String]>::to_vec),
            layout: self.layout.clone(),
        }
    }
}

/// Loss and gradient norm since the last look, summed on the device so that no step waits for it.
struct LossWindow {
    from: u64,
    steps: u64,
    sums: Option<(Tensor<1>, Tensor<1>)>,
}

impl LossWindow {
    fn new(from: u64) -> Self {
        Self { from, steps: 0, sums: None }
    }

    fn add(&mut self, loss: Tensor<1>, gradient_norm: Tensor<1>) {
        self.sums = Some(match self.sums.take() {
            None => (loss, gradient_norm),
            Some((losses, norms)) => (losses + loss, norms + gradient_norm),
        });
        self.steps += 1;
    }

    /// Stops the training if the loss or the gradient is no number.
    fn check(&self, stage: &str, to: u64) -> Result<(f64, f64), TrainingError> {
        let Some((losses, norms)) = &self.sums else { return Ok((0.0, 0.0)) };
        let both = Tensor::cat(vec![losses.clone(), norms.clone()], 0)
            .try_into_vec_as::<f32>()
            .map_err(|error| TrainingError::Device(error.to_string()))?;
        let [loss, norm] = [both[0], both[1]].map(|sum| f64::from(sum) / self.steps as f64);
        if loss.is_finite() && norm.is_finite() {
            Ok((loss, norm))
        } else {
            let worse = if loss.is_finite() { norm } else { loss };
            Err(TrainingError::NotFinite {
                stage: stage.to_string(),
                loss: worse,
                from: self.from,
                to,
            })
        }
    }

    /// The means, after which a new window begins.
    fn read(&mut self, stage: &str, to: u64) -> Result<(f64, f64), TrainingError> {
        let means = self.check(stage, to)?;
        *self = Self::new(to);
        Ok(means)
    }
}
