//! The predictor of lengths: gradients, what it learns, padding, bad input.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, Device, Gradients, Int, Tensor};
use latent_text_conditioning::{ConditioningError, LengthPredictor, LengthPredictorConfig};
use latent_text_testing::{Along, FiniteDifferences, filled, noise, values};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const WIDTH: usize = 6;
const MAX: usize = 5;

fn config(source: bool, classes: bool) -> LengthPredictorConfig {
    LengthPredictorConfig {
        source_dim: source.then_some(WIDTH),
        classes: classes.then_some(2),
        hidden: 8,
        max_length: MAX,
    }
}

/// One step of gradient descent.
struct Descend<'a> {
    gradients: &'a Gradients,
    rate: f64,
}

impl ModuleMapper for Descend<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let gradient = tensor.grad(self.gradients).expect("every parameter has a gradient");
            let device = tensor.device();
            let moved = tensor.inner() - gradient * self.rate;
            Tensor::from_data(moved.into_data(), &device).require_grad()
        })
    }
}

/// Sources of 2, 4 and 3 tokens, and their masks.
fn sources(device: &Device) -> (Tensor<3>, Tensor<2, Bool>) {
    let real = [[true, true, false, false], [true, true, true, true], [true, true, true, false]];
    (noise(50, [3, 4, WIDTH], device), Tensor::from_data(real, device))
}

fn classes(device: &Device) -> Tensor<1, Int> {
    Tensor::from_data([1, 2, 0], device)
}

fn loss(model: &LengthPredictor, config: &LengthPredictorConfig, device: &Device) -> Tensor<1> {
    let (states, mask) = sources(device);
    let logits = model.forward(
        config.source_dim.map(|_| (&states, &mask)),
        config.classes.map(|_| classes(device)),
    );
    model.loss(logits, &[2, 5, 1]).expect("lengths in range")
}

#[test]
fn gradients_match_finite_differences() {
    let differences = FiniteDifferences {
        along: Along::EveryValue,
        absolute: 1e-4,
        relative: 5e-3,
        telling: 0.5,
    };
    for (source, class) in [(true, true), (true, false), (false, true)] {
        let config = config(source, class);
        let model = filled(config.init(&Device::default().autodiff()), 0);
        let without = differences.check(&model, |model, device| loss(model, &config, device));
        assert_eq!(without, 0);
    }
}

#[test]
fn the_loss_is_the_cross_entropy() {
    let device = Device::default();
    let model = config(false, true).init(&device);
    let logits = [[0.5, -1.0, 2.0, 0.0, 1.0], [3.0, 0.0, 0.0, -2.0, 0.5]];
    let loss = model.loss(Tensor::from_data(logits, &device), &[3, 5]).expect("in range");
    let expected = [(logits[0], 2), (logits[1], 4)].map(|(row, place): ([f64; 5], usize)| {
        row.iter().map(|logit| logit.exp()).sum::<f64>().ln() - row[place]
    });
    let expected = (expected[0] + expected[1]) / 2.0;
    assert!((f64::from(values(loss)[0]) - expected).abs() < 1e-5);
    // A fresh predictor thinks all lengths equally likely.
    let fresh = model.forward(None, Some(classes(&device)));
    let loss = values(model.loss(fresh, &[1, 2, 5]).expect("in range"))[0];
    assert!((f64::from(loss) - (MAX as f64).ln()).abs() < 1e-6, "{loss}");
}

#[test]
fn padding_of_sources_has_no_influence() {
    let device = Device::default();
    let config = config(true, true);
    let model = filled(config.init(&device), 0);
    let (states, mask) = sources(&device);
    let run = |states: &Tensor<3>, mask: &Tensor<2, Bool>| {
        values(model.forward(Some((states, mask)), Some(classes(&device))))
    };
    let expected = run(&states, &mask);
    let hidden = mask.clone().bool_not().unsqueeze_dim::<3>(2).expand(states.dims());
    for junk in [7.0, f32::NAN, f32::INFINITY] {
        assert_eq!(run(&states.clone().mask_fill(hidden.clone(), junk), &mask), expected);
    }
    // Nor has its amount.
    for (row, tokens) in [(0, 2), (1, 4), (2, 3)] {
        let states = states.clone().slice([row..row + 1, 0..tokens]);
        let mask = mask.clone().slice([row..row + 1, 0..tokens]);
        let class = classes(&device).slice(row..row + 1);
        let alone = values(model.forward(Some((&states, &mask)), Some(class)));
        for (a, b) in alone.iter().zip(&expected[row * MAX..]) {
            assert!((a - b).abs() < 1e-5, "{a} against {b}");
        }
    }
    let other = run(&(states.clone() * -1.0), &mask);
    assert!(other.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-2));
}

#[test]
fn it_learns_the_distribution_of_each_condition() {
    // Class 0 has lengths 2 (1 of 4) and 5, class 1 only 3, texts without a class 1 and 4.
    let lengths = [2, 5, 5, 5, 3, 3, 3, 3, 1, 4, 1, 4];
    let device = Device::default().autodiff();
    let config = config(false, true);
    let mut model = config.init(&device);
    let classes = || Tensor::<1, Int>::from_data([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], &device);
    for _ in 0..3000 {
        let logits = model.forward(None, Some(classes()));
        let gradients = model.loss(logits, &lengths).expect("in range").backward();
        model = model.map(&mut Descend { gradients: &gradients, rate: 0.5 });
    }
    let model = model.valid();
    let device = device.without_autodiff();
    let expected =
        [[0.0, 0.25, 0.0, 0.0, 0.75], [0.0, 0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5, 0.0]];
    let classes = Tensor::from_data([0, 1, 2], &device);
    let logits = model.forward(None, Some(classes));
    let null = values(model.forward(None, None));
    let all = values(logits.clone());
    assert_eq!(null, all[2 * MAX..], "the null class stands for no class");
    for (row, expected) in all.chunks(MAX).zip(&expected) {
        let total: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
        for (logit, expected) in row.iter().zip(expected) {
            let probability = f64::from(*logit).exp() / total;
            assert!((probability - expected).abs() < 0.02, "{row:?} against {expected}");
        }
    }

    // Draws follow the learnt probabilities.
    const DRAWS: usize = 4000;
    let logits = logits.slice(0..1).expand([DRAWS, MAX]);
    let mut rngs: Vec<ChaCha8Rng> = (0..DRAWS as u64).map(ChaCha8Rng::seed_from_u64).collect();
    let drawn = LengthPredictor::draw(logits, &mut rngs).expect("lengths");
    let share = drawn.iter().filter(|&&length| length == 5).count() as f64 / DRAWS as f64;
    // Learnt to 0.02, and four standard errors.
    assert!((share - 0.75).abs() < 0.02 + 4.0 * (0.1875 / DRAWS as f64).sqrt(), "{share}");
}

#[test]
fn a_source_can_tell_the_length() {
    let device = Device::default().autodiff();
    let config = config(true, false);
    let mut model = config.init(&device);
    let (states, mask) = sources(&device);
    for _ in 0..400 {
        let logits = model.forward(Some((&states, &mask)), None);
        let gradients = model.loss(logits, &[4, 1, 3]).expect("in range").backward();
        model = model.map(&mut Descend { gradients: &gradients, rate: 0.5 });
    }
    let (states, mask) = (states.inner(), mask.inner());
    let logits = model.valid().forward(Some((&states, &mask)), None);
    let mut rngs: Vec<ChaCha8Rng> = (0..3).map(ChaCha8Rng::seed_from_u64).collect();
    assert_eq!(LengthPredictor::draw(logits, &mut rngs).expect("lengths"), [4, 1, 3]);
}

#[test]
fn a_draw_is_the_generator_s_and_no_other_row_s() {
    let device = Device::default();
    let logits = noise(9, [3, MAX], &device) * 2.0;
    let draw = |rows: std::ops::Range<usize>| {
        let mut rngs: Vec<ChaCha8Rng> =
            rows.clone().map(|row| ChaCha8Rng::seed_from_u64(row as u64)).collect();
        let draws: Vec<Vec<usize>> = (0..50)
            .map(|_| {
                let logits = logits.clone().slice(rows.clone());
                LengthPredictor::draw(logits, &mut rngs).expect("lengths")
            })
            .collect();
        draws
    };
    let all = draw(0..3);
    assert_eq!(all, draw(0..3));
    let alone: Vec<usize> = draw(1..2).into_iter().flatten().collect();
    assert_eq!(alone, all.iter().map(|row| row[1]).collect::<Vec<_>>());
    assert!(all.iter().flatten().all(|length| (1..=MAX).contains(length)));
}

#[test]
fn bad_input_is_refused_by_name() {
    let good = config(true, true);
    for (change, words) in [
        (LengthPredictorConfig { source_dim: None, classes: None, ..good.clone() }, "nothing"),
        (LengthPredictorConfig { source_dim: Some(0), ..good.clone() }, "`source_dim`"),
        (LengthPredictorConfig { classes: Some(0), ..good.clone() }, "`classes`"),
        (LengthPredictorConfig { hidden: 0, ..good.clone() }, "`hidden`"),
        (LengthPredictorConfig { max_length: 0, ..good.clone() }, "`max_length`"),
    ] {
        let error = change.validate().expect_err(words);
        assert!(matches!(error, ConditioningError::LengthPredictor { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let device = Device::default();
    let model = good.init(&device);
    assert_eq!(model.max_length(), MAX);
    for length in [0, MAX + 1] {
        let error = model.loss(noise(1, [2, MAX], &device), &[1, length]).expect_err("a length");
        let expected = matches!(error, ConditioningError::LengthRange { index: 1, max: MAX, .. });
        assert!(expected, "{error}");
    }
    for broken in [f32::NAN, f32::INFINITY] {
        let logits = Tensor::from_data([[0.0, 0.0], [broken, 0.0]], &device);
        let mut rngs: Vec<ChaCha8Rng> = (0..2).map(ChaCha8Rng::seed_from_u64).collect();
        let error = LengthPredictor::draw(logits, &mut rngs).expect_err("no number");
        assert!(matches!(error, ConditioningError::LengthLogits { index: 1 }), "{error}");
    }
    for text in [r#"{"max_length": 3, "clases": 2}"#, r#"{"classes": 2}"#] {
        assert!(serde_json::from_str::<LengthPredictorConfig>(text).is_err(), "{text}");
    }
    let read: LengthPredictorConfig =
        serde_json::from_str(r#"{"classes": 2, "max_length": 3}"#).expect("settings");
    assert_eq!((read.hidden, read.source_dim), (256, None));
}

#[test]
#[should_panic(expected = "was given none")]
fn a_missing_source_is_not_passed_over() {
    let device = Device::default();
    config(true, true).init(&device).forward(None, Some(classes(&device)));
}
