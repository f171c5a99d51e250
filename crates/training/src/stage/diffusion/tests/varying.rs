//! Latents in varying number, and a network that is told steps.

use burn::tensor::Int;
use latent_text_denoiser::{EncoderSpaceDenoiserConfig, NetworkTime};
use latent_text_diffusion::schedule::Table;
use latent_text_diffusion::{LossKind, LossWeight, ScheduleKind};

use super::*;
use crate::padding::Padding;
use crate::stage::diffusion::noisy::Noisy;

const LENGTHS: [usize; TEXTS] = [1, 4, 2, 3, 4, 4, 1, 2, 3, 1, 2, 4];
const ENTRIES: usize = 50;

/// LD4LG's second version and its first.
fn networks(trained: bool) -> [DenoisingNetwork; 2] {
    let told_steps = EncoderSpaceDenoiserConfig {
        latent_dim: DIM,
        max_latents: LATENTS,
        dim: 16,
        depth: 2,
        head_dim: 8,
        ff_mult: 2,
        time_dim_mult: 1,
        classes: Some(3),
        ..EncoderSpaceDenoiserConfig::default()
    };
    [denoiser(trained), randomised(told_steps.into(), trained)]
}

fn varying(objective: DiffusionObjective) -> DiffusionStage {
    let device = Device::default();
    device.seed(1);
    let vectors = LENGTHS.iter().sum::<usize>();
    let vectors = Tensor::<2>::random([vectors, DIM], Distribution::Default, &device);
    let padding = Padding { max_tokens: LATENTS, multiple: 1 };
    let classes = (0..TEXTS).map(|text| text % 3).collect();
    let latents = LatentSet::of_lengths(vectors, &LENGTHS, padding, classes);
    let set = Arc::new(DiffusionSet { latents, sources: None });
    let schedule = NoiseScheduleConfig {
        kind: ScheduleKind::Table(Table { len: ENTRIES, ..Table::default() }),
        ..NoiseScheduleConfig::default()
    };
    DiffusionStage {
        schedule: schedule.init().expect("a schedule"),
        rescale_estimate: false,
        steps: Some(ENTRIES),
        train: set.clone(),
        validation: set,
        ..stage(objective, Prediction::X0)
    }
}

fn objective(self_conditioning: f64) -> DiffusionObjective {
    DiffusionObjective { loss: LossKind::L1, self_conditioning, ..DiffusionObjective::default() }
}

#[test]
fn texts_are_padded_to_the_longest_of_their_batch() {
    let _turn = device_turn();
    let stage = varying(objective(0.0));
    let set = &stage.train.latents;
    for texts in [&[0, 6, 9][..], &[2, 0], &[11], &[3, 8, 5, 1]] {
        let lengths: Vec<usize> = texts.iter().map(|&text| LENGTHS[text as usize]).collect();
        let longest = lengths.iter().copied().max().expect("a text");
        let latents = set.select(texts);
        assert_eq!(latents.values.dims(), [texts.len(), longest, DIM]);
        assert_eq!(latents.lengths().expect("lengths"), lengths);
        let all = values(latents.values.clone());
        for (row, real) in latents.real_values().expect("values").into_iter().enumerate() {
            assert_eq!(real, values(set.select(&texts[row..row + 1]).values));
            let padded = &all[row * longest * DIM..(row + 1) * longest * DIM];
            assert_eq!(padded[..real.len()], real);
            assert!(padded[real.len()..].iter().all(|&value| value == 0.0));
        }
    }
    // All texts are there, one behind the other.
    let all = set.select(&ALL).real_values().expect("values").concat();
    assert_eq!(all.len(), LENGTHS.iter().sum::<usize>() * DIM);
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn the_loss_is_the_mean_over_texts_of_that_over_their_real_latents() {
    let _turn = device_turn();
    for (network, trained) in networks(false).into_iter().zip(networks(true)) {
        for weight in [LossWeight::Uniform, LossWeight::MinSnr { gamma: 2.0 }] {
            let stage = varying(DiffusionObjective { weight, ..objective(0.0) });
            let batch = (stage.batches())(5);
            stage.device.seed(9);
            let noisy = stage.noisy(&stage.train, &batch);
            let clean = stage.train.latents.select(&batch.indices).real_values().expect("values");
            let steps = batch.steps.clone().expect("steps");
            // Each text alone, without padding.
            let losses = (0..ROWS).map(|row| {
                let length = LENGTHS[batch.indices[row] as usize];
                let z = noisy.z.clone().slice([row..row + 1, 0..length]);
                let alpha = stage.schedule.alpha(batch.times[row]) as f32;
                let time = NetworkTime {
                    alpha: Tensor::from_floats([alpha], &stage.device),
                    step: Some(Tensor::<1, Int>::from_ints([steps[row]], &stage.device)),
                };
                let class = batch.classes.as_ref().expect("classes")[row];
                let conditions = Conditions {
                    classes: Some(Tensor::from_ints([class], &stage.device)),
                    ..Conditions::default()
                };
                let output = values(network.forward(z, time, conditions));
                let errors = output.iter().zip(&clean[row]).map(|(a, b)| f64::from((a - b).abs()));
                let mean = errors.sum::<f64>() / (length * DIM) as f64;
                mean * weight.weight(stage.schedule.level(batch.times[row]), Prediction::X0)
            });
            let expected = losses.sum::<f64>() / ROWS as f64;
            stage.device.seed(9);
            let loss = f64::from(values(stage.loss(&trained, (stage.batches())(5)).inner())[0]);
            assert!((loss / expected - 1.0).abs() < 1e-5, "{loss}, {expected}");
        }
    }
}

/// The same batch with two more latents of padding in each text.
fn padded(noisy: Noisy, junk: f32) -> Noisy {
    let ([rows, _, dim], device) = (noisy.z.dims(), noisy.z.device());
    let more = || Tensor::full([rows, 2, dim], junk, &device);
    let hidden = Tensor::<2>::zeros([rows, 2], &device).bool();
    Noisy {
        z: Tensor::cat(vec![noisy.z, more()], 1),
        target: Tensor::cat(vec![noisy.target, more()], 1),
        mask: noisy.mask.map(|mask| Tensor::cat(vec![mask, hidden], 1)),
        ..noisy
    }
}

#[test]
fn more_padding_changes_no_loss() {
    let _turn = device_turn();
    let stage = varying(objective(1.0));
    for network in networks(false) {
        let short = DiffusionBatch { indices: vec![0, 6, 2, 0, 9, 7], ..(stage.batches())(5) };
        let noisy = || {
            stage.device.seed(9);
            stage.noisy(&stage.train, &short)
        };
        let loss = |noisy: Noisy| {
            let estimate = stage.estimate(&network, &noisy).expect("an estimate");
            let conditions = Conditions {
                self_cond: Some(estimate.on_plain()),
                classes: noisy.classes,
                mask: noisy.mask.clone(),
                ..Conditions::default()
            };
            let output = network.forward(noisy.z, noisy.time, conditions);
            values(stage.batch_loss(output, noisy.target, noisy.mask, None))[0]
        };
        assert_eq!(noisy().z.dims(), [ROWS, 2, DIM]);
        let expected = loss(noisy());
        for junk in [0.0, 3.0] {
            let loss = loss(padded(noisy(), junk));
            assert!((loss / expected - 1.0).abs() < 1e-5, "{loss} against {expected}");
        }
    }
}

#[test]
fn estimates_reach_the_network() {
    let _turn = device_turn();
    for network in networks(true) {
        let measured = |share: f64| {
            let stage = varying(objective(share));
            let batch = (stage.batches())(5);
            stage.device.seed(9);
            f64::from(values(stage.loss(&network, batch).inner())[0])
        };
        let losses = [measured(0.0), measured(0.5), measured(1.0)];
        assert!(losses.windows(2).all(|pair| (pair[0] - pair[1]).abs() > 1e-4), "{losses:?}");
    }
}

#[test]
fn validation_is_over_real_latents_too() {
    let _turn = device_turn();
    let stage = varying(objective(0.0));
    for network in networks(false) {
        stage.device.seed(4);
        let measured = stage.validate(&network, 0).expect("a validation").values[0].1;
        stage.device.seed(4);
        let mut make = stage.batch_maker(&stage.validation, ConditionDropout::NONE);
        let losses = (0..VALIDATION_BATCHES).map(|index| {
            let Noisy { z, time, mask, classes, target, .. } =
                stage.noisy(&stage.validation, &make(index));
            // Noise beyond the real latents has no influence.
            let mask = mask.expect("a mask");
            let hidden = mask.clone().bool_not().unsqueeze_dim::<3>(2).expand(z.dims());
            let z = z.mask_fill(hidden, 0.0);
            let conditions =
                Conditions { classes, mask: Some(mask.clone()), ..Conditions::default() };
            let output = network.forward(z, time, conditions);
            f64::from(values(stage.batch_loss(output, target, Some(mask), None))[0])
        });
        let expected = losses.sum::<f64>() / VALIDATION_BATCHES as f64;
        assert!((measured / expected - 1.0).abs() < 1e-5, "{measured} against {expected}");
    }
}
