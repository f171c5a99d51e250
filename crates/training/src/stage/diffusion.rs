use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData};
use latent_text_conditioning::{ClassLabels, kept_per_sample};
use latent_text_denoiser::{Conditions, Denoiser, SelfCondition, Source};
use latent_text_diffusion::{
    LossKind, LossWeight, NoiseLevel, NoiseSchedule, Prediction, TimeSampler, TimeSampling,
    add_noise, loss, rescale_norm, weighted_loss,
};
use serde::{Deserialize, Serialize};

use super::mean;
use crate::TrainingError;
use crate::latents::LatentSet;
use crate::order::{BatchOrder, EpochPermutation, generator};
use crate::source::SourceSet;
use crate::trainer::{Stage, Validation};

/// What the denoiser is trained towards (LD4LG, sections 3.2 and 3.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionObjective {
    /// Distance between output and target; default L2. LD4LG has L1 for models with sources.
    pub loss: LossKind,
    /// How much each noise level counts; default uniform, as in LD4LG.
    #[serde(skip_serializing_if = "is_default")]
    pub weight: LossWeight,
    /// How the times, and so the noise levels, of a batch are drawn; default uniform, as in LD4LG.
    /// Importance sampling can't be used: batches are made ahead of the losses that it needs.
    #[serde(skip_serializing_if = "is_default")]
    pub times: TimeSampling,
    /// Share of each batch that is given an estimate of the clean latents; default 0.5.
    ///
    /// The rows of a batch are in random order, so the share is met exactly, sample by sample, and
    /// the estimating pass runs on that share alone.
    pub self_conditioning: f64,
    /// Probability with which a sample's class is replaced by the null class; default 0.1.
    pub class_dropout: f64,
    /// Probability with which a sample's source is replaced by the null source, which guidance needs;
    /// default 0.1.
    #[serde(skip_serializing_if = "is_usual_dropout")]
    pub source_dropout: f64,
}

const USUAL_DROPOUT: f64 = 0.1;

// Settings that a training can do without are left out of what checkpoints are compared by, so that
// those made before there were such settings can still be resumed.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_usual_dropout(value: &f64) -> bool {
    *value == USUAL_DROPOUT
}

impl Default for DiffusionObjective {
    fn default() -> Self {
        Self {
            loss: LossKind::L2,
            weight: LossWeight::Uniform,
            times: TimeSampling::Uniform,
            self_conditioning: 0.5,
            class_dropout: USUAL_DROPOUT,
            source_dropout: USUAL_DROPOUT,
        }
    }
}

impl DiffusionObjective {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for a share outside 0..=1 or a way to draw times that can't be used,
    /// [`TrainingError::Diffusion`] for a parameter of the loss, its weight or the times out of range.
    pub fn check(&self) -> Result<(), TrainingError> {
        self.loss.check()?;
        self.weight.check()?;
        if self.times.init()?.needs_losses() {
            return Err(TrainingError::setting(
                "diffusion.objective.times",
                "can't be importance, as batches are made before the losses that it needs are known; \
                 use uniform, low_discrepancy or logit_normal",
            ));
        }
        for (name, value) in [
            ("self_conditioning", self.self_conditioning),
            ("class_dropout", self.class_dropout),
            ("source_dropout", self.source_dropout),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(TrainingError::setting(
                    format!("diffusion.objective.{name}"),
                    format!("is {value}, must lie in 0..=1"),
                ));
            }
        }
        Ok(())
    }
}

/// Turns sampled latents into texts for the log: given a denoiser and a number of samples.
pub type SampleDecoder =
    dyn Fn(&Denoiser, usize) -> Result<Vec<String>, TrainingError> + Send + Sync;

/// Texts as the denoiser is trained on them.
pub struct DiffusionSet {
    /// Their latents and classes.
    pub latents: LatentSet,
    /// What they are written for, one source for each, if the model is to have sources.
    pub sources: Option<SourceSet>,
}

/// Trains the denoiser on latents that were computed beforehand.
pub struct DiffusionStage {
    /// The objective.
    pub objective: DiffusionObjective,
    /// The noise schedule.
    pub schedule: NoiseSchedule,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Whether estimates are rescaled to norm `sqrt(dim)`, as l2-normalised latents have it.
    pub rescale_estimate: bool,
    /// The classes, if the model is class-conditional.
    pub labels: Option<ClassLabels>,
    /// Draws the times of a batch.
    pub times: TimeSampler,
    /// Training texts.
    pub train: Arc<DiffusionSet>,
    /// Validation texts.
    pub validation: Arc<DiffusionSet>,
    /// Samples in a batch.
    pub batch_size: usize,
    /// Seed of order, times and dropout of conditions.
    pub seed: u64,
    /// The device, without autodiff.
    pub device: Device,
    /// Decodes samples for the log.
    pub decode_samples: Box<SampleDecoder>,
}

/// Which latents, at which noise level, under which class, with or without their source.
pub struct DiffusionBatch {
    indices: Vec<i32>,
    times: Vec<f64>,
    classes: Option<Vec<i32>>,
    /// Which samples keep their source; none if all do.
    with_source: Option<Vec<bool>>,
}

/// The probabilities with which conditions are left away.
#[derive(Clone, Copy)]
struct ConditionDropout {
    class: f64,
    source: f64,
}

impl ConditionDropout {
    const NONE: Self = Self { class: 0.0, source: 0.0 };
}

/// Validation never reads more batches than this.
const VALIDATION_BATCHES: u64 = 4;

impl Stage for DiffusionStage {
    type Model = Denoiser;
    type Batch = DiffusionBatch;

    fn name(&self) -> &'static str {
        "diffusion"
    }

    fn batches(&self) -> Box<dyn FnMut(u64) -> DiffusionBatch + Send> {
        let DiffusionObjective { class_dropout, source_dropout, .. } = self.objective;
        let dropout = ConditionDropout { class: class_dropout, source: source_dropout };
        self.batch_maker(&self.train, dropout)
    }

    fn loss(&self, model: &Denoiser, batch: DiffusionBatch) -> Tensor<1> {
        let noisy = self.noisy(&self.train, &batch);
        let estimate = self.estimate(&model.valid(), &noisy);
        let device = self.device.clone().autodiff();
        let conditions = Conditions {
            self_cond: estimate.map(|estimate| estimate.on_autodiff(&device)),
            classes: noisy.classes.map(|classes| classes.autodiff()),
            source: noisy.source.map(|source| model.read_source(source.on_autodiff(&device))),
            ..Conditions::default()
        };
        let output = model.forward(noisy.z.autodiff(), noisy.alpha.autodiff(), conditions);
        let weights = noisy.weights.map(|weights| weights.autodiff());
        self.batch_loss(output, noisy.target.autodiff(), weights)
    }

    fn validate(&self, model: &Denoiser, samples: usize) -> Result<Validation, TrainingError> {
        let mut make = self.batch_maker(&self.validation, ConditionDropout::NONE);
        let mut losses = Vec::new();
        for index in 0..VALIDATION_BATCHES {
            let noisy = self.noisy(&self.validation, &make(index));
            let estimate = self.estimate(model, &noisy);
            let conditions = Conditions {
                self_cond: estimate.map(Estimate::on_plain),
                classes: noisy.classes,
                source: noisy.source.map(|source| model.read_source(source.on_plain())),
                ..Conditions::default()
            };
            let output = model.forward(noisy.z, noisy.alpha, conditions);
            losses.push(self.batch_loss(output, noisy.target, noisy.weights));
        }
        let texts = if samples > 0 { (self.decode_samples)(model, samples)? } else { Vec::new() };
        Ok(Validation { values: vec![("loss".to_string(), mean(losses)?)], texts })
    }
}

/// A noised batch on the device.
struct Noisy {
    z: Tensor<3>,
    alpha: Tensor<1>,
    classes: Option<Tensor<1, Int>>,
    source: Option<NoisySource>,
    target: Tensor<3>,
    /// What each sample's loss counts; none if all count the same.
    weights: Option<Tensor<1>>,
}

/// The sources of a batch, and which samples keep theirs.
#[derive(Clone)]
struct NoisySource {
    states: Tensor<3>,
    mask: Tensor<2, Bool>,
    present: Option<Vec<bool>>,
}

impl NoisySource {
    fn on_plain(self) -> Source {
        let device = self.states.device();
        let present = self.present.map(|present| bools(&present, &device));
        Source { states: self.states, mask: Some(self.mask), present }
    }

    fn on_autodiff(self, device: &Device) -> Source {
        let present = self.present.map(|present| bools(&present, device));
        Source { states: self.states.autodiff(), mask: Some(self.mask.autodiff()), present }
    }

    fn first(self, rows: usize) -> Self {
        Self {
            states: self.states.slice(0..rows),
            mask: self.mask.slice(0..rows),
            present: self.present.map(|present| present[..rows].to_vec()),
        }
    }
}

/// Estimates of the clean latents for the first rows of a batch; zeros in the others.
struct Estimate {
    x0: Tensor<3>,
    present: Vec<bool>,
}

impl Estimate {
    fn on_plain(self) -> SelfCondition {
        let device = self.x0.device();
        SelfCondition { present: Some(bools(&self.present, &device)), estimate: self.x0 }
    }

    fn on_autodiff(self, device: &Device) -> SelfCondition {
        SelfCondition { estimate: self.x0.autodiff(), present: Some(bools(&self.present, device)) }
    }
}

fn bools(values: &[bool], device: &Device) -> Tensor<1, Bool> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

impl DiffusionStage {
    fn batch_maker(
        &self,
        set: &DiffusionSet,
        dropout: ConditionDropout,
    ) -> Box<dyn FnMut(u64) -> DiffusionBatch + Send> {
        let latents = &set.latents;
        let order = BatchOrder::new(latents.len(), self.batch_size, self.seed);
        let classes =
            self.labels.as_ref().map(|labels| (labels.clone(), latents.classes().to_vec()));
        let drops_sources = set.sources.is_some() && dropout.source > 0.0;
        let (seed, times) = (self.seed, self.times.clone());
        let mut permutation = EpochPermutation::default();
        Box::new(move |batch| {
            let indices = order.indices(batch, &mut permutation).to_vec();
            // Apart from the order of the samples and the noise on the device.
            let mut rng = generator(seed ^ 0x7469_6d65, batch);
            let times = times.draw(indices.len(), &mut rng).times;
            let classes = classes.as_ref().map(|(labels, classes)| {
                let chosen: Vec<usize> = indices.iter().map(|&index| classes[index]).collect();
                let kept = labels.drop_per_sample(&chosen, dropout.class, &mut rng);
                kept.into_iter().map(|class| class as i32).collect()
            });
            let with_source =
                drops_sources.then(|| kept_per_sample(indices.len(), dropout.source, &mut rng));
            DiffusionBatch {
                indices: indices.into_iter().map(|index| index as i32).collect(),
                times,
                classes,
                with_source,
            }
        })
    }

    fn batch_loss(
        &self,
        output: Tensor<3>,
        target: Tensor<3>,
        weights: Option<Tensor<1>>,
    ) -> Tensor<1> {
        match weights {
            None => loss(self.objective.loss, output, target),
            Some(weights) => weighted_loss(self.objective.loss, output, target, weights),
        }
    }

    /// The weights of the samples' noise levels; none if they are all 1.
    fn weights(&self, times: &[f64]) -> Option<Tensor<1>> {
        if self.objective.weight == LossWeight::Uniform {
            return None;
        }
        let levels: Vec<NoiseLevel> = times.iter().map(|&time| self.schedule.level(time)).collect();
        Some(self.objective.weight.weights(&levels, self.prediction, &self.device))
    }

    fn noisy(&self, set: &DiffusionSet, batch: &DiffusionBatch) -> Noisy {
        let rows = batch.indices.len();
        let ints = |values: &[i32]| {
            Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [rows]), &self.device)
        };
        let alphas: Vec<f32> =
            batch.times.iter().map(|&time| self.schedule.alpha(time) as f32).collect();
        let alpha = Tensor::from_floats(alphas.as_slice(), &self.device);
        let x0 = set.latents.select(ints(&batch.indices));
        let eps = x0.random_like(Distribution::Normal(0.0, 1.0));
        Noisy {
            z: add_noise(x0.clone(), eps.clone(), alpha.clone()),
            target: self.prediction.target(x0, eps, alpha.clone()),
            classes: batch.classes.as_ref().map(|classes| ints(classes)),
            source: set.sources.as_ref().map(|sources| {
                let (states, mask) = sources.read(&batch.indices);
                NoisySource { states, mask, present: batch.with_source.clone() }
            }),
            weights: self.weights(&batch.times),
            alpha,
        }
    }

    /// The network's own estimate for the share of rows that get one, without a graph.
    fn estimate(&self, model: &Denoiser, noisy: &Noisy) -> Option<Estimate> {
        let [rows, latents, dim] = noisy.z.dims();
        let given = (self.objective.self_conditioning * rows as f64).round() as usize;
        if given == 0 {
            return None;
        }
        let z = noisy.z.clone().slice(0..given);
        let alpha = noisy.alpha.clone().slice(0..given);
        let classes = noisy.classes.clone().map(|classes| classes.slice(0..given));
        let source = noisy.source.clone().map(|source| source.first(given).on_plain());
        let source = source.map(|source| model.read_source(source));
        let conditions = Conditions { classes, source, ..Conditions::default() };
        let output = model.forward(z.clone(), alpha.clone(), conditions);
        let mut x0 = self.prediction.to_x0(z, alpha, output);
        if self.rescale_estimate {
            x0 = rescale_norm(x0);
        }
        if given < rows {
            let rest = Tensor::zeros([rows - given, latents, dim], &self.device);
            x0 = Tensor::cat(vec![x0, rest], 0);
        }
        Some(Estimate { x0, present: (0..rows).map(|row| row < given).collect() })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::FloatDType;
    use latent_text_denoiser::DenoiserConfig;
    use latent_text_diffusion::NoiseScheduleConfig;

    use super::*;
    use crate::optimisation::FlatLayout;
    use crate::source::tests::{SOURCES, device_turn, reader};

    const TEXTS: usize = 12;
    const ROWS: usize = 6;
    const LATENTS: usize = 4;
    const DIM: usize = 8;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().expect("a float tensor")
    }

    fn stage(objective: DiffusionObjective, prediction: Prediction) -> DiffusionStage {
        let device = Device::default();
        device.seed(1);
        let latents = Tensor::random([TEXTS, LATENTS, DIM], Distribution::Default, &device);
        let latents = LatentSet::of(latents, (0..TEXTS).map(|text| text % 3).collect());
        let set = Arc::new(DiffusionSet { latents, sources: None });
        DiffusionStage {
            objective,
            schedule: NoiseScheduleConfig::default().init().expect("a schedule"),
            prediction,
            rescale_estimate: true,
            labels: Some(ClassLabels::new(["a", "b", "c"]).expect("labels")),
            times: TimeSampling::Uniform.init().expect("times"),
            train: set.clone(),
            validation: set,
            batch_size: ROWS,
            seed: 3,
            device,
            decode_samples: Box::new(|_, _| Ok(Vec::new())),
        }
    }

    /// A denoiser whose parameters are all random, as fresh ones return zeros.
    fn denoiser(trained: bool) -> Denoiser {
        denoiser_for(trained, None)
    }

    fn denoiser_for(trained: bool, source_dim: Option<usize>) -> Denoiser {
        let device = Device::default();
        let config = DenoiserConfig {
            latent_dim: DIM,
            max_latents: LATENTS,
            dim: 16,
            depth: 2,
            head_dim: 8,
            ff_mult: 2,
            time_dim_mult: 1,
            dense_connections: 1,
            dropout: 0.0,
            classes: Some(3),
            source_dim,
            ..DenoiserConfig::default()
        };
        let denoiser = config.init(&device);
        let layout = FlatLayout::of(&denoiser);
        device.seed(2);
        let random = Tensor::random([layout.len()], Distribution::Normal(0.0, 0.3), &device);
        layout.scatter(denoiser, &random, FloatDType::F32, trained)
    }

    /// The loss of batch 5 by its formula, on the host but for the network.
    fn expected_loss(stage: &DiffusionStage, share: usize, prediction: Prediction) -> f64 {
        expected_losses(stage, share, prediction).iter().sum::<f64>() / ROWS as f64
    }

    fn expected_losses(stage: &DiffusionStage, share: usize, prediction: Prediction) -> Vec<f64> {
        let device = &stage.device;
        let model = denoiser(false);
        let batch = (stage.batches())(5);
        let texts = Tensor::<1, Int>::arange(0..TEXTS as i64, device);
        let all = values(stage.train.latents.select(texts));
        let size = LATENTS * DIM;
        device.seed(9);
        let shape = [ROWS, LATENTS, DIM];
        let eps = values(Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.0), device));
        let mut x0 = Vec::new();
        for &index in &batch.indices {
            x0.extend_from_slice(&all[index as usize * size..][..size]);
        }
        let alphas: Vec<f64> = batch.times.iter().map(|&time| stage.schedule.alpha(time)).collect();
        // sqrt(alpha) a + sign sqrt(1 - alpha) b
        let mix = |a: &[f32], b: &[f32], sign: f64| -> Vec<f32> {
            let mixed = (0..ROWS * size).map(|at| {
                let alpha = alphas[at / size];
                let (signal, noise) = (alpha.sqrt(), sign * (1.0 - alpha).sqrt());
                (signal * f64::from(a[at]) + noise * f64::from(b[at])) as f32
            });
            mixed.collect()
        };
        let tensor =
            |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, shape), device);
        let z = mix(&x0, &eps, 1.0);
        let target = match prediction {
            Prediction::X0 => x0.clone(),
            Prediction::Eps => eps.clone(),
            _ => mix(&eps, &x0, -1.0),
        };
        let alpha: Vec<f32> = alphas.iter().map(|&alpha| alpha as f32).collect();
        let alpha = Tensor::<1>::from_floats(alpha.as_slice(), device);
        let classes = batch.classes.expect("classes");
        let classes = Tensor::<1, Int>::from_data(TensorData::new(classes, [ROWS]), device);
        let forward = |self_cond: Option<SelfCondition>| {
            let classes = Some(classes.clone());
            let conditions = Conditions { self_cond, classes, ..Conditions::default() };
            model.forward(tensor(z.clone()), alpha.clone(), conditions)
        };
        let plain = values(forward(None));
        // Of v, the estimate is sqrt(alpha) z - sqrt(1 - alpha) v; brought to norm sqrt(dim).
        let mut estimate = mix(&z, &plain, -1.0);
        for vector in estimate.chunks_mut(DIM) {
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|x| *x *= (DIM as f32).sqrt() / norm);
        }
        let informed =
            values(forward(Some(SelfCondition { estimate: tensor(estimate), present: None })));
        let square = |at: usize| {
            let output = if at / size < share { informed[at] } else { plain[at] };
            f64::from(output - target[at]).powi(2)
        };
        let of_row = |row: usize| (row * size..(row + 1) * size).map(square).sum::<f64>();
        (0..ROWS).map(|row| of_row(row) / size as f64).collect()
    }

    fn loss_of(stage: &DiffusionStage) -> f64 {
        let batch = (stage.batches())(5);
        let model = denoiser(true);
        stage.device.seed(9);
        f64::from(values(stage.loss(&model, batch).inner())[0])
    }

    #[test]
    fn the_loss_is_that_of_the_formula() {
        let _turn = device_turn();
        for prediction in [Prediction::V, Prediction::Eps, Prediction::X0] {
            let objective =
                DiffusionObjective { self_conditioning: 0.0, ..DiffusionObjective::default() };
            let stage = stage(objective, prediction);
            let (loss, expected) = (loss_of(&stage), expected_loss(&stage, 0, prediction));
            assert!((loss / expected - 1.0).abs() < 1e-5, "{prediction:?}: {loss}, {expected}");
        }
    }

    #[test]
    fn the_estimate_reaches_its_share_of_the_rows_and_no_other() {
        let _turn = device_turn();
        let mut losses = Vec::new();
        for (self_conditioning, share) in [(0.0, 0), (0.2, 1), (0.5, 3), (0.6, 4), (1.0, ROWS)] {
            let objective =
                DiffusionObjective { self_conditioning, ..DiffusionObjective::default() };
            let stage = stage(objective, Prediction::V);
            let (loss, expected) = (loss_of(&stage), expected_loss(&stage, share, Prediction::V));
            assert!((loss / expected - 1.0).abs() < 1e-5, "share {share}: {loss}, {expected}");
            losses.push(loss);
        }
        assert!(losses.windows(2).all(|pair| (pair[0] - pair[1]).abs() > 1e-4), "{losses:?}");
    }

    #[test]
    fn noise_levels_count_by_their_weight() {
        let _turn = device_turn();
        let weight = LossWeight::MinSnr { gamma: 2.0 };
        let objective =
            DiffusionObjective { self_conditioning: 0.0, weight, ..DiffusionObjective::default() };
        let stage = stage(objective, Prediction::V);
        let batch = (stage.batches())(5);
        let weights = batch
            .times
            .iter()
            .map(|&time| weight.weight(stage.schedule.level(time), Prediction::V));
        let losses = expected_losses(&stage, 0, Prediction::V);
        let expected = weights.zip(losses).map(|(weight, loss)| weight * loss).sum::<f64>();
        let (loss, expected) = (loss_of(&stage), expected / ROWS as f64);
        assert!((loss / expected - 1.0).abs() < 1e-4, "{loss}, {expected}");
    }

    #[test]
    fn classes_are_dropped_with_their_probability() {
        let _turn = device_turn();
        for probability in [0.0, 0.1, 0.3, 1.0] {
            let objective =
                DiffusionObjective { class_dropout: probability, ..DiffusionObjective::default() };
            let stage = stage(objective, Prediction::V);
            let mut make = stage.batches();
            let (mut dropped, mut drawn) = (0, 0);
            for index in 0..1000 {
                let batch = make(index);
                for (class, text) in batch.classes.expect("classes").iter().zip(batch.indices) {
                    drawn += 1;
                    if *class == 3 {
                        dropped += 1;
                    } else {
                        assert_eq!(*class, text % 3);
                    }
                }
            }
            let share = f64::from(dropped) / f64::from(drawn);
            let deviation = (probability * (1.0 - probability) / f64::from(drawn)).sqrt();
            assert!((share - probability).abs() <= 4.0 * deviation, "{share} for {probability}");
        }
    }

    /// The same stage with a source for each text, and the share of samples that lose theirs.
    fn with_sources(stage: DiffusionStage, dropout: f64) -> DiffusionStage {
        let all = Tensor::<1, Int>::arange(0..TEXTS as i64, &stage.device);
        let classes = stage.train.latents.classes().to_vec();
        let latents = LatentSet::of(stage.train.latents.select(all), classes);
        let texts: Vec<&str> = SOURCES.into_iter().cycle().take(TEXTS).collect();
        let sources = SourceSet::new(reader(&stage.device), &texts, 8).expect("sources");
        let set = Arc::new(DiffusionSet { latents, sources: Some(sources) });
        let objective = DiffusionObjective { source_dropout: dropout, ..stage.objective.clone() };
        DiffusionStage { objective, train: set.clone(), validation: set, ..stage }
    }

    #[test]
    fn sources_reach_the_network_unless_they_are_dropped() {
        let _turn = device_turn();
        for self_conditioning in [0.0, 0.5] {
            let plain = || {
                let objective =
                    DiffusionObjective { self_conditioning, ..DiffusionObjective::default() };
                stage(objective, Prediction::V)
            };
            let measured = |stage: &DiffusionStage| {
                let model = denoiser_for(true, Some(16));
                let batch = (stage.batches())(5);
                stage.device.seed(9);
                f64::from(values(stage.loss(&model, batch).inner())[0])
            };
            // Without sources the network takes the null source everywhere.
            let null = measured(&plain());
            let dropped = measured(&with_sources(plain(), 1.0));
            assert!((dropped / null - 1.0).abs() < 1e-5, "{dropped}, {null}");
            let told = measured(&with_sources(plain(), 0.0));
            assert!((told / null - 1.0).abs() > 1e-3, "{told}, {null}");
        }
    }

    #[test]
    fn sources_are_dropped_with_their_probability() {
        let _turn = device_turn();
        for probability in [0.1, 0.3] {
            let stage =
                with_sources(stage(DiffusionObjective::default(), Prediction::V), probability);
            let mut make = stage.batches();
            let kept: Vec<bool> =
                (0..1000).flat_map(|index| make(index).with_source.expect("a draw")).collect();
            let count = kept.len() as f64;
            let share = kept.iter().filter(|kept| !**kept).count() as f64 / count;
            let deviation = (probability * (1.0 - probability) / count).sqrt();
            assert!((share - probability).abs() <= 4.0 * deviation, "{share} for {probability}");
        }
    }

    #[test]
    fn times_are_uniform_and_a_function_of_the_batch() {
        let _turn = device_turn();
        let stage = stage(DiffusionObjective::default(), Prediction::V);
        let mut make = stage.batches();
        let times: Vec<f64> = (0..500).flat_map(|index| make(index).times).collect();
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let second = times.iter().map(|time| time * time).sum::<f64>() / count;
        assert!(times.iter().all(|time| (0.0..1.0).contains(time)));
        // Four standard errors of the moments 1/2 and 1/3.
        assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / count).sqrt(), "{mean}");
        assert!((second - 1.0 / 3.0).abs() < 4.0 * (4.0 / 45.0 / count).sqrt(), "{second}");
        assert_eq!((stage.batches())(17).times, times[17 * ROWS..18 * ROWS]);
    }

    #[test]
    fn validation_leaves_classes_alone_and_is_repeatable() {
        let _turn = device_turn();
        let objective = DiffusionObjective { class_dropout: 1.0, ..DiffusionObjective::default() };
        let stage = stage(objective, Prediction::V);
        let kept = DiffusionStage {
            objective: DiffusionObjective { class_dropout: 0.0, ..stage.objective.clone() },
            ..self::stage(DiffusionObjective::default(), Prediction::V)
        };
        let measured = |stage: &DiffusionStage| {
            stage.device.seed(4);
            stage.validate(&denoiser(false), 0).expect("a validation").values
        };
        assert_eq!(measured(&stage), measured(&kept));
    }
}
