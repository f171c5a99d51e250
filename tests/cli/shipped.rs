//! The model that the repository ships.

use burn::tensor::{Device, Tensor, Tolerance};
use latent_text::LatentText;
use latent_text::language_model::LanguageModel;
use latent_text::nn::weights::TensorFile;

use crate::support::{example, root, succeeded};

#[test]
fn the_shipped_model_writes_texts_of_its_labels() {
    let foods = ["Italian", "Chinese"];
    let mut command = example("generate");
    command.current_dir(root()).args(["--count", "4", "--seed", "3"]);
    for food in foods {
        command.args(["--label", food]);
    }
    let (texts, _) = succeeded(&mut command);
    let texts: Vec<&str> = texts.lines().collect();
    assert_eq!(texts.len(), 4);
    for (text, food) in texts.iter().zip(foods.iter().cycle()) {
        assert!(text.contains(food), "{food}: {text}");
    }
}

#[test]
fn the_shipped_model_reconstructs_a_restaurant() {
    let device = Device::default();
    let model = LatentText::load(&root().join("models/e2e-small"), &device).unwrap();
    let text = "The Vaults is a cheap pub near Café Adriatic.";
    assert_eq!(model.reconstruct(&[text]).unwrap(), [text]);
}

#[test]
fn the_shipped_language_model_has_the_logits_of_transformers() {
    let device = Device::default();
    let folder = root().join("models/e2e-small/language_model");
    let model = LanguageModel::load(&folder, &device).unwrap().model;
    let file = TensorFile::open(&root().join("tests/fixtures/shipped_logits.safetensors")).unwrap();
    let mask = file.bools::<2>("mask", &device).unwrap();
    let states = model.encode(file.ints("input_ids", &device).unwrap(), Some(mask.clone()));
    let read = file.ints("decoder_input_ids", &device).unwrap();
    let logits = model.decode(read, states, Some(mask));
    let columns = Tensor::arange_step(0..logits.dims()[2] as i64, 8, &device);
    let expected = file.tensor::<3>("logits", &device).unwrap().into_data();
    logits
        .select(2, columns)
        .into_data()
        .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-4));
}
