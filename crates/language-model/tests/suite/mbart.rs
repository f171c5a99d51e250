//! mBART against `transformers`, on fixtures of `fixtures/mbart/make_mbart_fixtures.py`.

use std::path::PathBuf;

use burn::tensor::{Device, FloatDType, Int, Tensor};
use latent_text_language_model::{
    Activation, Bart, BartConfig, BartFamily, GenerationConfig, LanguageModelError, cross_entropy,
    shift_language_first,
};
use latent_text_nn::weights::{TensorFile, WeightsError};
use latent_text_testing::{Recorded, distance, fixture, values, without_padding};

const FOLDERS: [&str; 2] = ["plain", "old"];

struct Case {
    model: Bart,
    config: BartConfig,
    io: Recorded,
    device: Device,
}

impl Case {
    fn of(name: &str) -> Self {
        Self::with(name, |_| ())
    }

    fn with(name: &str, change: impl FnOnce(&mut BartConfig)) -> Self {
        let device = Device::default();
        let mut config = config(name);
        change(&mut config);
        let model = Bart::load(&folder(name), &config, &device).unwrap();
        let io = Recorded::open(&folder(name).join("expected.safetensors"), &device);
        Self { model, config, io, device }
    }

    fn states(&self) -> Tensor<3> {
        self.model.encode(self.io.ints("input_ids"), Some(self.io.mask("mask")))
    }

    /// Where the padding is, no states are compared.
    fn real(&self, states: Tensor<3>) -> Tensor<3> {
        without_padding(states, self.io.mask("mask"))
    }

    fn logits(&self) -> Tensor<3> {
        let shown = shift_language_first(self.io.ints("labels"), self.config.pad_token_id.unwrap());
        self.model.decode(shown, self.states(), Some(self.io.mask("mask")))
    }
}

fn folder(name: &str) -> PathBuf {
    fixture("mbart").join(name)
}

fn config(name: &str) -> BartConfig {
    BartConfig::from_folder(&folder(name)).unwrap()
}

#[test]
fn configurations_are_those_of_the_family() {
    let plain = config("plain");
    assert_eq!(
        (plain.model_type, plain.activation_function),
        (BartFamily::Mbart, Activation::Gelu)
    );
    assert_eq!((plain.decoder_start_token_id, plain.forced_bos_token_id), (2, Some(68)));

    let old = config("old");
    assert_eq!((old.encoder_attention_heads, old.decoder_attention_heads), (5, 2));
    assert_eq!(old.eos_token_id.iter().collect::<Vec<_>>(), [2, 52]);
    // It has no start token: texts begin with `bos_token_id`.
    assert_eq!((old.decoder_start_token_id, old.forced_bos_token_id), (0, None));
    assert_eq!(old.activation_function, Activation::GeluNew);
}

#[test]
fn encoder_states_are_those_of_transformers() {
    for name in FOLDERS {
        let case = Case::of(name);
        let masked =
            distance(case.real(case.states()), case.real(case.io.floats("encoder_states")));
        let states = case.model.encode(case.io.ints("input_ids"), None);
        let unmasked = distance(states, case.io.floats("encoder_states_unmasked"));
        println!("{name}: masked {masked:e}, unmasked {unmasked:e}");
        assert!(masked < 1e-4 && unmasked < 1e-4);
    }
}

#[test]
fn logits_and_loss_are_those_of_transformers() {
    for name in FOLDERS {
        let case = Case::of(name);
        let logits = case.logits();
        let off = distance(logits.clone(), case.io.floats("logits"));
        let loss = cross_entropy(logits, case.io.ints("labels"), case.io.mask("counted"));
        let loss_off = distance(loss, case.io.floats("loss"));
        println!("{name}: logits {off:e}, loss {loss_off:e}");
        assert!(off < 1e-4 && loss_off < 1e-5);
    }
}

#[test]
fn labels_are_shifted_behind_their_language_as_in_transformers() {
    let case = Case::of("plain");
    let ints = |ids: Tensor<2, Int>| ids.try_into_vec_as::<i64>().unwrap();
    let shifted = shift_language_first(case.io.ints("labels"), 1);
    assert_eq!(ints(shifted), ints(case.io.ints("decoder_input_ids")));
    let one = Tensor::<2, Int>::from_ints([[7], [1]], &case.device);
    assert_eq!(ints(shift_language_first(one, 1)), [7, 1]);
}

#[test]
fn greedy_texts_are_those_of_transformers() {
    for name in FOLDERS {
        let case = Case::of(name);
        let lengths = case.io.ints::<1>("lengths");
        let lengths = lengths.try_into_vec_as::<u32>().unwrap();
        let settings = GenerationConfig {
            max_length: lengths[0] as usize,
            min_length: lengths[1] as usize,
            ..GenerationConfig::default()
        };
        let mask = case.io.mask("prompt_mask");
        let states = case.model.encode(case.io.ints("prompt_ids"), Some(mask.clone()));
        let seeds = vec![0; states.dims()[0]];
        let found = case.model.generate(states, Some(mask), &settings, &seeds).unwrap();
        let found: Vec<_> = found.into_iter().map(|text| text.ids).collect();

        let texts = case.io.ints::<2>("texts");
        let [_, width] = texts.dims();
        let texts = texts.try_into_vec_as::<u32>().unwrap();
        let expected: Vec<Vec<u32>> = texts
            .chunks(width)
            .map(|row| {
                let behind_start = row[1..].iter().copied();
                behind_start.take_while(|&id| !case.config.eos_token_id.contains(id)).collect()
            })
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_entry_that_shapes_the_computation_counts() {
    type Change = fn(&mut BartConfig);
    let changes: [(&str, &str, Change); 4] = [
        ("plain", "scale", |config| config.scale_embedding = true),
        ("old", "scale", |config| config.scale_embedding = false),
        ("old", "activation", |config| config.activation_function = Activation::Relu),
        ("old", "heads", |config| config.encoder_attention_heads = 2),
    ];
    for (name, entry, change) in changes {
        let case = Case::with(name, change);
        let off = distance(case.logits(), case.io.floats("logits"));
        println!("{name}, {entry}: {off:e}");
        assert!(off > 1e-3);
    }
}

#[test]
fn weights_of_one_family_are_refused_by_the_other() {
    let device = Device::default();
    let problems = |folder: PathBuf, model_type| {
        let config = BartConfig { model_type, ..BartConfig::from_folder(&folder).unwrap() };
        match Bart::load(&folder, &config, &device) {
            Err(LanguageModelError::Weights(WeightsError::Mismatch { problems, .. })) => problems,
            result => panic!("{result:?}"),
        }
    };
    let found = problems(folder("plain"), BartFamily::Bart);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.contains(&"unexpected: model.encoder.layer_norm.weight".into()), "{found:?}");
    let found = problems(fixture("bart"), BartFamily::Mbart);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.contains(&"missing: model.decoder.layer_norm.bias".into()), "{found:?}");
}

/// For `fixtures/mbart/check_mbart_in_transformers.py`, the folders are written below
/// `LATENT_TEXT_WRITTEN_MBART` where that is set.
#[test]
fn a_written_folder_loads_again_with_the_same_logits_and_names() {
    let temporary = tempfile::tempdir().unwrap();
    let above = std::env::var_os("LATENT_TEXT_WRITTEN_MBART")
        .map_or(temporary.path().to_path_buf(), PathBuf::from);
    for name in FOLDERS {
        let case = Case::of(name);
        let written = above.join(name);
        std::fs::create_dir_all(&written).unwrap();
        case.model.save(&written, FloatDType::F32).unwrap();
        case.config.to_folder(&written, FloatDType::F32, &GenerationConfig::default()).unwrap();
        let config = BartConfig::from_folder(&written).unwrap();
        assert_eq!(config, case.config);
        let logits = values(case.logits());
        let again = Case { model: Bart::load(&written, &config, &case.device).unwrap(), ..case };
        assert_eq!(values(again.logits()), logits);

        let names =
            |path: PathBuf| TensorFile::open(&path.join("model.safetensors")).unwrap().names();
        let original = names(folder(name));
        let written = names(written);
        // Without the copies of the table, and without a bias of zeros.
        match name {
            "old" => assert_eq!(written.len(), original.len() - 3),
            _ => assert_eq!(
                written,
                original.into_iter().filter(|name| name != "final_logits_bias").collect::<Vec<_>>()
            ),
        }
    }
}
