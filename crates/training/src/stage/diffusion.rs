use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData};
use latent_text_conditioning::ClassLabels;
use latent_text_denoiser::{Conditions, Denoiser, SelfCondition};
use latent_text_diffusion::{LossKind, NoiseSchedule, Prediction, add_noise, loss, rescale_norm};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::mean;
use crate::TrainingError;
use crate::latents::LatentSet;
use crate::order::{BatchOrder, EpochPermutation, generator};
use crate::trainer::{Stage, Validation};

/// What the denoiser is trained towards (LD4LG, sections 3.2 and 3.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionObjective {
    /// Distance between output and target; default L2.
    pub loss: LossKind,
    /// Share of each batch that is given an estimate of the clean latents; default 0.5.
    ///
    /// The rows of a batch are in random order, so the share is met exactly, sample by sample, and
    /// the estimating pass runs on that share alone.
    pub self_conditioning: f64,
    /// Probability with which a sample's class is replaced by the null class; default 0.1.
    pub class_dropout: f64,
}

impl Default for DiffusionObjective {
    fn default() -> Self {
        Self { loss: LossKind::L2, self_conditioning: 0.5, class_dropout: 0.1 }
    }
}

impl DiffusionObjective {
    /// Checks that both settings are shares.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn check(&self) -> Result<(), TrainingError> {
        for (name, value) in
            [("self_conditioning", self.self_conditioning), ("class_dropout", self.class_dropout)]
        {
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
    /// Training latents.
    pub train: Arc<LatentSet>,
    /// Validation latents.
    pub validation: Arc<LatentSet>,
    /// Samples in a batch.
    pub batch_size: usize,
    /// Seed of order, times and class dropout.
    pub seed: u64,
    /// The device, without autodiff.
    pub device: Device,
    /// Decodes samples for the log.
    pub decode_samples: Box<SampleDecoder>,
}

/// Which latents, at which noise level, under which class.
pub struct DiffusionBatch {
    indices: Vec<i32>,
    times: Vec<f64>,
    classes: Option<Vec<i32>>,
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
        self.batch_maker(&self.train, self.objective.class_dropout)
    }

    fn loss(&self, model: &Denoiser, batch: DiffusionBatch) -> Tensor<1> {
        let noisy = self.noisy(&self.train, &batch);
        let estimate = self.estimate(&model.valid(), &noisy);
        let device = self.device.clone().autodiff();
        let conditions = Conditions {
            self_cond: estimate.map(|estimate| estimate.on_autodiff(&device)),
            classes: noisy.classes.map(|classes| classes.autodiff()),
            ..Conditions::default()
        };
        let output = model.forward(noisy.z.autodiff(), noisy.alpha.autodiff(), conditions);
        loss(self.objective.loss, output, noisy.target.autodiff())
    }

    fn validate(&self, model: &Denoiser, samples: usize) -> Result<Validation, TrainingError> {
        let mut make = self.batch_maker(&self.validation, 0.0);
        let mut losses = Vec::new();
        for index in 0..VALIDATION_BATCHES {
            let noisy = self.noisy(&self.validation, &make(index));
            let estimate = self.estimate(model, &noisy);
            let conditions = Conditions {
                self_cond: estimate.map(Estimate::on_plain),
                classes: noisy.classes,
                ..Conditions::default()
            };
            let output = model.forward(noisy.z, noisy.alpha, conditions);
            losses.push(loss(self.objective.loss, output, noisy.target));
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
    target: Tensor<3>,
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
        latents: &LatentSet,
        class_dropout: f64,
    ) -> Box<dyn FnMut(u64) -> DiffusionBatch + Send> {
        let order = BatchOrder::new(latents.len(), self.batch_size, self.seed);
        let classes =
            self.labels.as_ref().map(|labels| (labels.clone(), latents.classes().to_vec()));
        let seed = self.seed;
        let mut permutation = EpochPermutation::default();
        Box::new(move |batch| {
            let indices = order.indices(batch, &mut permutation).to_vec();
            // Apart from the order of the samples and the noise on the device.
            let mut rng = generator(seed ^ 0x7469_6d65, batch);
            let times = indices.iter().map(|_| rng.random::<f64>()).collect();
            let classes = classes.as_ref().map(|(labels, classes)| {
                let chosen: Vec<usize> = indices.iter().map(|&index| classes[index]).collect();
                let kept = labels.drop_per_sample(&chosen, class_dropout, &mut rng);
                kept.into_iter().map(|class| class as i32).collect()
            });
            DiffusionBatch {
                indices: indices.into_iter().map(|index| index as i32).collect(),
                times,
                classes,
            }
        })
    }

    fn noisy(&self, latents: &LatentSet, batch: &DiffusionBatch) -> Noisy {
        let rows = batch.indices.len();
        let ints = |values: &[i32]| {
            Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [rows]), &self.device)
        };
        let alphas: Vec<f32> =
            batch.times.iter().map(|&time| self.schedule.alpha(time) as f32).collect();
        let alpha = Tensor::from_floats(alphas.as_slice(), &self.device);
        let x0 = latents.select(ints(&batch.indices));
        let eps = x0.random_like(Distribution::Normal(0.0, 1.0));
        Noisy {
            z: add_noise(x0.clone(), eps.clone(), alpha.clone()),
            target: self.prediction.target(x0, eps, alpha.clone()),
            classes: batch.classes.as_ref().map(|classes| ints(classes)),
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
        let conditions = Conditions { classes, ..Conditions::default() };
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
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use burn::tensor::FloatDType;
    use latent_text_denoiser::DenoiserConfig;
    use latent_text_diffusion::NoiseScheduleConfig;

    use super::*;
    use crate::optimisation::FlatLayout;

    const TEXTS: usize = 12;
    const ROWS: usize = 6;
    const LATENTS: usize = 4;
    const DIM: usize = 8;

    /// The device's generator is shared by all threads.
    fn device_turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().expect("a float tensor")
    }

    fn stage(objective: DiffusionObjective, prediction: Prediction) -> DiffusionStage {
        let device = Device::default();
        device.seed(1);
        let latents = Tensor::random([TEXTS, LATENTS, DIM], Distribution::Default, &device);
        let set = Arc::new(LatentSet::of(latents, (0..TEXTS).map(|text| text % 3).collect()));
        DiffusionStage {
            objective,
            schedule: NoiseScheduleConfig::default().init().expect("a schedule"),
            prediction,
            rescale_estimate: true,
            labels: Some(ClassLabels::new(["a", "b", "c"]).expect("labels")),
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
        let device = &stage.device;
        let model = denoiser(false);
        let batch = (stage.batches())(5);
        let texts = Tensor::<1, Int>::arange(0..TEXTS as i64, device);
        let all = values(stage.train.select(texts));
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
        let squares = (0..ROWS * size).map(|at| {
            let output = if at / size < share { informed[at] } else { plain[at] };
            f64::from(output - target[at]).powi(2)
        });
        squares.sum::<f64>() / (ROWS * size) as f64
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
