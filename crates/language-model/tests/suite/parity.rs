//! The network against `transformers`, on fixtures of `fixtures/make_fixtures.py`.

use crate::common::{bart, computes_in_bf16, load, prompts, tensors};
use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType, Int, Tensor};
use latent_text_language_model::{Bart, BartConfig, cross_entropy, shift_right};
use latent_text_nn::cast_module;
use latent_text_nn::weights::TensorFile;
use latent_text_testing::{distance, fixture, values};

fn logits(bart: &Bart, file: &TensorFile, device: &Device) -> Tensor<3> {
    let prompts = prompts(file, device);
    let states = bart.encode(prompts.ids, Some(prompts.mask.clone()));
    let labels = file.ints("labels", device).unwrap();
    bart.decode(shift_right(labels, 2), states, Some(prompts.mask))
}

/// Where the padding of a fixture is, no states are compared: nothing ever looks at them.
fn real_states(states: Tensor<3>, file: &TensorFile, device: &Device) -> Tensor<3> {
    let real = file.bools::<2>("mask", device).unwrap();
    let [batch, length, width] = states.dims();
    let padding = real.bool_not().unsqueeze_dim::<3>(2).expand([batch, length, width]);
    states.mask_fill(padding, 0.0)
}

#[test]
fn encoder_states_are_those_of_transformers() {
    let device = Device::default();
    for folder in ["bart", "bare"] {
        let bart = load(folder, &device);
        let name = if folder == "bart" { "forward" } else { folder };
        let file = tensors(&format!("{name}.safetensors"));
        let prompts = prompts(&file, &device);

        let states = bart.encode(prompts.ids.clone(), Some(prompts.mask));
        let expected = file.tensor("encoder_states", &device).unwrap();
        let masked =
            distance(real_states(states, &file, &device), real_states(expected, &file, &device));
        let states = bart.encode(prompts.ids, None);
        let unmasked = distance(states, file.tensor("encoder_states_unmasked", &device).unwrap());

        println!("{folder}: masked {masked:e}, unmasked {unmasked:e}");
        assert!(masked < 1e-4 && unmasked < 1e-4);
    }
}

#[test]
fn logits_and_loss_are_those_of_transformers() {
    let device = Device::default();
    for (folder, file) in [("bart", "forward.safetensors"), ("bare", "bare.safetensors")] {
        let bart = load(folder, &device);
        let file = tensors(file);
        let logits = logits(&bart, &file, &device);
        let expected = file.tensor("logits", &device).unwrap();
        let off = distance(logits.clone(), expected);
        println!("{folder}: logits {off:e}");
        assert!(off < 1e-4);

        let labels = file.ints("labels", &device).unwrap();
        let counted = file.bools("counted", &device).unwrap();
        let loss = cross_entropy(logits, labels, counted);
        let off = distance(loss, file.tensor("loss", &device).unwrap());
        println!("{folder}: loss {off:e}");
        assert!(off < 1e-5);
    }
}

#[test]
fn padding_changes_nothing_for_a_text() {
    let device = Device::default();
    let bart = bart(&device);
    let ids = Tensor::<2, Int>::from_ints([[0, 50, 60, 70, 2]], &device);
    let padded = Tensor::<2, Int>::from_ints([[0, 50, 60, 70, 2, 1, 1]], &device);
    let mask = padded.clone().not_equal_elem(1);
    let states = bart.encode(padded, Some(mask)).narrow(1, 0, 5);
    assert!(distance(bart.encode(ids, None), states) < 1e-5);
}

#[test]
fn bf16_parameters_give_bf16_states_near_the_f32_ones() {
    if !computes_in_bf16() {
        return;
    }
    let device = Device::default();
    let bart = bart(&device);
    let file = tensors("forward.safetensors");
    let exact = logits(&bart, &file, &device);
    let rounded = logits(&cast_module(bart, FloatDType::BF16), &file, &device);
    assert_eq!(rounded.dtype(), DType::BF16);

    let squares = |x: Tensor<3>| values(x.square().mean())[0];
    let error = squares(exact.clone() - rounded.cast(FloatDType::F32)) / squares(exact);
    println!("bf16: relative square error {error:e}");
    assert!(error < 3e-3);
}

#[test]
fn a_loss_over_nothing_is_zero() {
    let device = Device::default();
    let logits = Tensor::ones([1, 2, 5], &device);
    let labels = Tensor::<2, Int>::from_ints([[1, 1]], &device);
    let loss = cross_entropy(logits, labels.clone(), labels.equal_elem(0));
    assert_eq!(values(loss), [0.0]);
}

#[test]
fn loss_of_huge_logits_is_finite() {
    let device = Device::default();
    let logits = Tensor::<3>::from_floats([[[3e4, -3e4, 0.0]]], &device);
    let labels = Tensor::<2, Int>::from_ints([[2]], &device);
    let loss = cross_entropy(logits, labels.clone(), labels.equal_elem(2));
    assert_eq!(values(loss), [3e4]);
}

#[test]
fn labels_are_shifted_behind_the_start_token() {
    let device = Device::default();
    let labels = Tensor::<2, Int>::from_ints([[5, 6, 7], [8, 2, 1]], &device);
    let shifted = shift_right(labels.clone(), 2).try_into_vec_as::<i64>().unwrap();
    assert_eq!(shifted, [2, 5, 6, 2, 8, 2]);
    let shortest = shift_right(labels.narrow(1, 0, 1), 2).try_into_vec_as::<i64>().unwrap();
    assert_eq!(shortest, [2, 2]);
}

#[test]
fn a_text_beyond_the_position_table_is_refused_in_words() {
    let device = Device::default();
    let ids = Tensor::<2, Int>::ones([1, 65], &device);
    let refused = std::panic::catch_unwind(|| bart(&device).encode(ids, None)).unwrap_err();
    let message = refused.downcast_ref::<String>().unwrap();
    assert_eq!(message, "a text of 65 tokens does not fit into 64 positions");
}

#[test]
fn fresh_weights_have_the_deviation_of_the_configuration() {
    let device = Device::default();
    device.seed(1);
    let config = BartConfig { init_std: 0.1, ..BartConfig::from_folder(&fixture("bart")).unwrap() };
    let bart = config.init(&device);
    // As `transformers` counts the fixture's.
    assert_eq!(bart.num_params(), 20_512);
    let logits = bart.decode(
        Tensor::<2, Int>::from_ints([[2, 0, 9]], &device),
        Tensor::zeros([1, 1, 16], &device),
        None,
    );
    // Post-norm states have unit variance, so logits have that of 16 products with the table.
    let deviation = values(logits.square().mean())[0].sqrt();
    assert!((deviation - 0.4).abs() < 0.06, "{deviation}");
}
