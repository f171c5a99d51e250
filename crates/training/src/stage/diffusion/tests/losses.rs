use burn::tensor::Int;
use latent_text_denoiser::{NetworkTime, SelfCondition};
use latent_text_diffusion::LossWeight;

use super::*;

/// The loss of batch 5 by its formula, on the host but for the network.
fn expected_loss(stage: &DiffusionStage, share: usize, prediction: Prediction) -> f64 {
    expected_losses(stage, share, prediction).iter().sum::<f64>() / ROWS as f64
}

fn expected_losses(stage: &DiffusionStage, share: usize, prediction: Prediction) -> Vec<f64> {
    let device = &stage.device;
    let model = denoiser(false);
    let batch = (stage.batches())(5);
    let all = values(stage.train.latents.select(&ALL).values);
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
    let tensor = |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, shape), device);
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
        let time = NetworkTime { alpha: alpha.clone(), step: None };
        model.forward(tensor(z.clone()), time, conditions)
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
        let objective = DiffusionObjective { self_conditioning, ..DiffusionObjective::default() };
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
    let weights =
        batch.times.iter().map(|&time| weight.weight(stage.schedule.level(time), Prediction::V));
    let losses = expected_losses(&stage, 0, Prediction::V);
    let expected = weights.zip(losses).map(|(weight, loss)| weight * loss).sum::<f64>();
    let (loss, expected) = (loss_of(&stage), expected / ROWS as f64);
    assert!((loss / expected - 1.0).abs() < 1e-4, "{loss}, {expected}");
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
