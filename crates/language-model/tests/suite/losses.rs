//! Teacher-forced losses and their gradients with respect to given encoder states, as a frozen language
//! model behind a trained network has them, against `transformers`
//! (`fixtures/losses/make_loss_fixtures.py`) and against finite differences.

use crate::common::{gelu_slope_is_exact, tensors};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Gradients, Int, Tensor, TensorData};
use latent_text_language_model::{
    EncoderDecoder, EncoderDecoderConfig, cross_entropy, shift_language_first, shift_right,
};
use latent_text_testing::{distance, fixture, values};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PAD_OF_MBART: u32 = 1;

/// As the fixtures are called, with the folder of the model.
const FOLDERS: [(&str, &str); 6] = [
    ("bart", "bart"),
    ("mbart-plain", "mbart/plain"),
    ("mbart-old", "mbart/old"),
    ("t5-t5", "t5/t5"),
    ("t5-flan", "t5/flan"),
    ("t5-mt5", "t5/mt5"),
];

struct Network {
    model: EncoderDecoder,
    config: EncoderDecoderConfig,
}

impl Network {
    fn load(name: &str, device: &Device) -> Self {
        let config = EncoderDecoderConfig::from_folder(&fixture(name)).unwrap();
        Self { model: EncoderDecoder::load(&fixture(name), &config, device).unwrap(), config }
    }

    /// As training code turns a model on a plain device into a part of what it trains.
    fn freeze(self) -> Self {
        Self { model: self.model.freeze().train(), ..self }
    }

    fn decode(
        &self,
        labels: Tensor<2, Int>,
        states: Tensor<3>,
        mask: Tensor<2, Bool>,
    ) -> Tensor<3> {
        let shown = if self.config.shifts_language_first() {
            shift_language_first(labels, PAD_OF_MBART)
        } else {
            shift_right(labels, self.config.decoder_start_token_id())
        };
        self.model.decode(shown, states, Some(mask))
    }

    /// Number of parameters, and of those that have a gradient.
    fn parameters(&self, gradients: &Gradients) -> (usize, usize) {
        let mut count = Count { gradients, all: 0, reached: 0 };
        self.model.visit(&mut count);
        (count.all, count.reached)
    }
}

struct Count<'a> {
    gradients: &'a Gradients,
    all: usize,
    reached: usize,
}

impl ModuleVisitor for Count<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.all += 1;
        self.reached += usize::from(param.val().grad(self.gradients).is_some());
    }
}

/// What a fixture has.
struct Case {
    states: Tensor<3>,
    mask: Tensor<2, Bool>,
    labels: Tensor<2, Int>,
    counted: Tensor<2, Bool>,
    loss: Tensor<1>,
    gradient: Tensor<3>,
}

impl Case {
    fn of(name: &str) -> Self {
        let device = &Device::default();
        let file = tensors(&format!("losses/{name}.safetensors"));
        Self {
            states: file.tensor("states", device).unwrap(),
            mask: file.bools("mask", device).unwrap(),
            labels: file.ints("labels", device).unwrap(),
            counted: file.bools("counted", device).unwrap(),
            loss: file.tensor("loss", device).unwrap(),
            gradient: file.tensor("gradient", device).unwrap(),
        }
    }

    fn loss(&self, network: &Network, states: Tensor<3>) -> Tensor<1> {
        let trained = states.device().is_autodiff();
        let (mut mask, mut labels, mut counted) =
            (self.mask.clone(), self.labels.clone(), self.counted.clone());
        if trained {
            (mask, labels, counted) = (mask.autodiff(), labels.autodiff(), counted.autodiff());
        }
        cross_entropy(network.decode(labels.clone(), states, mask), labels, counted)
    }
}

#[test]
fn losses_and_gradients_are_those_of_transformers_and_leave_a_frozen_model_alone() {
    // Where the device approximates the slope of GELU, that alone is off by 1.1e-4.
    let bound = if gelu_slope_is_exact() { 1e-4 } else { 2e-4 };
    let device = Device::default();
    for (name, folder) in FOLDERS {
        let case = Case::of(name);
        let network = Network::load(folder, &device);
        let plain = distance(case.loss(&network, case.states.clone()), case.loss.clone());

        let network = network.freeze();
        let states = case.states.clone().autodiff().require_grad();
        let loss = case.loss(&network, states.clone());
        let gradients = loss.backward();
        let trained = distance(loss.without_autodiff(), case.loss.clone());
        let gradient = distance(states.grad(&gradients).unwrap(), case.gradient.clone());
        let largest = values(case.gradient.clone().abs().max())[0];
        println!("{name}: loss {plain:e}, {trained:e}, gradient {gradient:e} of {largest}");
        assert!(plain < 1e-4 && trained < 1e-4);
        assert!(gradient < bound && gradient < 1e-3 * largest);
        let (all, reached) = network.parameters(&gradients);
        assert!(all > 30, "{all}");
        assert_eq!(reached, 0);
    }
}

#[test]
fn a_model_that_is_not_frozen_is_trained() {
    for (name, folder) in FOLDERS {
        let case = Case::of(name);
        let network = Network::load(folder, &Device::default().autodiff());
        let loss = case.loss(&network, case.states.clone().autodiff());
        let (all, reached) = network.parameters(&loss.backward());
        println!("{name}: {reached} of {all} parameters have a gradient");
        // The encoder has none.
        assert!(reached * 5 > all * 2 && reached < all);
    }
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    const STEP: f32 = 2e-3;
    let device = Device::default();
    for (name, folder) in FOLDERS {
        let case = Case::of(name);
        let frozen = Network::load(folder, &device).freeze();
        let states = case.states.clone().autodiff().require_grad();
        let gradient = states.grad(&case.loss(&frozen, states.clone()).backward()).unwrap();

        let network = Network::load(folder, &device);
        let at = |point: Tensor<3>| f64::from(values(case.loss(&network, point))[0]);
        let mut generator = ChaCha8Rng::seed_from_u64(9);
        for _ in 0..4 {
            let shape = case.states.dims();
            let random = (0..shape.iter().product()).map(|_| generator.random_range(-1.5_f32..1.5));
            let direction =
                Tensor::from_data(TensorData::new(random.collect::<Vec<_>>(), shape), &device);
            let analytic = f64::from(values((gradient.clone() * direction.clone()).sum())[0]);
            let ahead = at(case.states.clone() + direction.clone() * STEP);
            let behind = at(case.states.clone() - direction * STEP);
            let numeric = (ahead - behind) / (2.0 * f64::from(STEP));
            println!("{name}: analytic {analytic}, numeric {numeric}");
            assert!((analytic - numeric).abs() < 1e-3 + 5e-3 * numeric.abs());
        }
    }
}

#[test]
fn dropout_acts_on_autodiff_devices_and_in_models_that_are_not_frozen_only() {
    // Up to rounding: while one test tunes a product, another may get that product from another kernel.
    const SAME: f32 = 1e-5;
    let device = Device::default();
    for (_, folder) in FOLDERS {
        let plain = Network::load(folder, &device);
        let ids = Tensor::<2, Int>::from_ints([[0, 30, 40, 2]], &device);
        let expected = plain.model.encode(ids.clone(), None);
        assert!(
            distance(plain.model.encode(ids.clone(), None), expected.clone()) < SAME,
            "{folder}"
        );

        let states = |network: &Network| {
            network.model.encode(ids.clone().autodiff(), None).without_autodiff()
        };
        let trained = Network::load(folder, &device.clone().autodiff());
        assert!(distance(states(&trained), states(&trained)) > 1e-2, "{folder}");
        assert!(distance(states(&plain.freeze()), expected) < SAME, "{folder}");
    }
}
