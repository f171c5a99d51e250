//! T5, FLAN-T5 and mT5 against `transformers`, on fixtures of `fixtures/t5/make_t5_fixtures.py`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{computes_in_bf16, content, prompts, tensors};
use burn::tensor::{Bool, DType, Device, FloatDType, Int, Tensor, TensorData};
use latent_text_language_model::{
    Decoding, GenerationConfig, LanguageModelError, T5, T5Config, T5Family, T5FeedForward,
    cross_entropy, shift_right,
};
use latent_text_nn::cast_module;
use latent_text_nn::weights::{TensorFile, WeightsError, named_shapes};
use latent_text_testing::{Recorded, distance, fixture, values, without_padding};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const EOS: u32 = 1;
const FOLDERS: [&str; 4] = ["t5", "flan", "mt5", "silu"];

struct Case {
    model: T5,
    config: T5Config,
    io: Recorded,
    device: Device,
}

impl Case {
    fn of(folder: &str) -> Self {
        Self::on(folder, Device::default(), |_| ())
    }

    fn on(folder: &str, device: Device, change: impl FnOnce(&mut T5Config)) -> Self {
        let folder = fixture(&format!("t5/{folder}"));
        let mut config = T5Config::from_folder(&folder).unwrap();
        change(&mut config);
        let model = T5::load(&folder, &config, &device).unwrap();
        let io = Recorded::open(&folder.join("expected.safetensors"), &device);
        Self { model, config, io, device }
    }

    fn states(&self) -> Tensor<3> {
        self.model.encode(self.io.ints("input_ids"), Some(self.io.mask("mask")))
    }

    /// The logits of the labels when the decoder looks at `states`.
    fn logits(&self, states: Tensor<3>) -> Tensor<3> {
        let shown = shift_right(self.io.ints("labels"), self.config.decoder_start_token_id);
        self.model.decode(shown, states, Some(self.io.mask("mask")))
    }

    fn loss(&self, states: Tensor<3>) -> Tensor<1> {
        cross_entropy(self.logits(states), self.io.ints("labels"), self.io.mask("counted"))
    }

    /// Where the padding is, no states are compared.
    fn real(&self, states: Tensor<3>) -> Tensor<3> {
        without_padding(states, self.io.mask("mask"))
    }

    fn prompts(&self) -> (Tensor<3>, Tensor<2, Bool>) {
        let mask = self.io.mask("prompt_mask");
        (self.model.encode(self.io.ints("prompt_ids"), Some(mask.clone())), mask)
    }

    fn generate(&self, config: &GenerationConfig) -> Vec<Vec<u32>> {
        let (states, mask) = self.prompts();
        let seeds: Vec<u64> = (0..states.dims()[0] as u64).collect();
        let texts = self.model.generate(states, Some(mask), config, &seeds).unwrap();
        texts.into_iter().map(|text| text.ids).collect()
    }
}

fn greedy(max_length: usize, min_length: usize) -> GenerationConfig {
    GenerationConfig { max_length, min_length, ..GenerationConfig::default() }
}

#[test]
fn encoder_states_are_those_of_transformers() {
    for folder in FOLDERS {
        let case = Case::of(folder);
        let masked =
            distance(case.real(case.states()), case.real(case.io.floats("encoder_states")));
        let states = case.model.encode(case.io.ints("input_ids"), None);
        let unmasked = distance(states, case.io.floats("encoder_states_unmasked"));
        println!("{folder}: masked {masked:e}, unmasked {unmasked:e}");
        assert!(masked < 1e-4 && unmasked < 1e-4);
    }
}

#[test]
fn logits_and_loss_are_those_of_transformers() {
    for folder in FOLDERS {
        let case = Case::of(folder);
        let logits = distance(case.logits(case.states()), case.io.floats("logits"));
        let loss = distance(case.loss(case.states()), case.io.floats("loss"));
        println!("{folder}: logits {logits:e}, loss {loss:e}");
        assert!(logits < 1e-4 && loss < 1e-5);
    }
}

#[test]
fn every_entry_that_shapes_the_computation_counts() {
    type Change = fn(&mut T5Config);
    let changes: [(&str, &str, Change); 7] = [
        ("t5", "max_distance", |config| config.relative_attention_max_distance = 64),
        ("t5", "epsilon", |config| config.layer_norm_epsilon = 1e-2),
        ("t5", "scale", |config| config.tie_word_embeddings = false),
        ("flan", "scale", |config| config.scale_decoder_outputs = Some(true)),
        ("flan", "activation", |config| config.feed_forward_proj = T5FeedForward::GatedSilu),
        ("mt5", "family", |config| {
            config.model_type = T5Family::T5;
            config.tie_word_embeddings = true;
        }),
        ("silu", "start", |config| config.decoder_start_token_id = 0),
    ];
    for (folder, entry, change) in changes {
        let case = Case::on(folder, Device::default(), change);
        let off = distance(case.logits(case.states()), case.io.floats("logits"));
        println!("{folder}, {entry}: {off:e}");
        assert!(off > 1e-3);
    }
}

#[test]
fn greedy_texts_are_those_of_transformers() {
    for folder in FOLDERS {
        let case = Case::of(folder);
        let lengths = case.io.ints::<1>("lengths");
        let lengths = lengths.try_into_vec_as::<u32>().unwrap();
        let config = greedy(lengths[0] as usize, lengths[1] as usize);
        let texts = case.io.ints::<2>("texts");
        let [count, width] = texts.dims();
        let texts = texts.try_into_vec_as::<u32>().unwrap();
        let expected: Vec<_> = texts.chunks(width).map(|row| content(row, EOS)).collect();
        assert_eq!(count, 20);
        assert_eq!(case.generate(&config), expected, "{folder}");
    }
}

#[test]
fn cached_decoding_chooses_what_teacher_forcing_finds_most_probable() {
    for folder in FOLDERS {
        let case = Case::of(folder);
        let (states, mask) = case.prompts();
        // Beyond the cache's first block, and beyond the last bucket of `silu`.
        let texts = case.generate(&greedy(80, 80));
        let ids: Vec<i64> = texts.iter().flatten().map(|&id| i64::from(id)).collect();
        let ids = TensorData::new(ids, [texts.len(), texts[0].len()]);
        let ids = Tensor::<2, Int>::from_data(ids, &case.device);
        let shown = shift_right(ids.clone(), case.config.decoder_start_token_id);
        let logits = case.model.decode(shown, states, Some(mask));
        let [rows, length, _] = logits.dims();
        let without_eos = logits
            .slice_fill([0..rows, 0..length, EOS as usize..EOS as usize + 1], f32::NEG_INFINITY);
        let best = without_eos.clone().max_dim(2).squeeze_dim::<2>(2);
        let chosen = without_eos.gather(2, ids.unsqueeze_dim(2)).squeeze_dim::<2>(2);
        let short_of_best = distance(best, chosen);
        println!("{folder}: {short_of_best:e} short of the best logit");
        assert!(short_of_best < 1e-4);
    }
}

#[test]
fn gradients_of_encoder_states_are_those_of_transformers() {
    for folder in FOLDERS {
        let device = Device::default().autodiff();
        let case = Case::on(folder, device, |config| config.dropout_rate = 0.0);
        let states = case.io.floats::<3>("encoder_states").require_grad();
        let gradients = case.loss(states.clone()).backward();
        let plain = Case::of(folder);
        let expected: Tensor<3> = plain.io.floats("states_gradient");
        let size = values(expected.clone().abs().max())[0];
        let off = distance(states.grad(&gradients).unwrap(), expected);
        println!("{folder}: gradient {off:e} of at most {size:e}");
        assert!(off < 1e-4 && off < 1e-3 * size);
    }
}

#[test]
fn gradients_of_encoder_states_are_those_of_finite_differences() {
    let case = Case::of("flan");
    let gradient: Tensor<3> = case.io.floats("states_gradient");
    let point: Tensor<3> = case.io.floats("encoder_states");
    let mut generator = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..4 {
        let count = point.shape().num_elements();
        let direction: Vec<f32> = (0..count).map(|_| generator.random_range(-1.5..1.5)).collect();
        let direction = TensorData::new(direction, point.dims());
        let direction = Tensor::<3>::from_data(direction, &case.device);
        let analytic = values((gradient.clone() * direction.clone()).sum())[0];
        let at = |step: f32| values(case.loss(point.clone() + direction.clone() * step))[0];
        let numeric = (at(1e-3) - at(-1e-3)) / 2e-3;
        println!("analytic {analytic}, numeric {numeric}");
        assert!((analytic - numeric).abs() < 1e-3 + 1e-2 * numeric.abs());
    }
}

#[test]
fn padding_changes_nothing_for_a_text() {
    let case = Case::of("t5");
    let ids = Tensor::<2, Int>::from_ints([[30, 50, 60, 7, 1]], &case.device);
    let padded = Tensor::<2, Int>::from_ints([[30, 50, 60, 7, 1, 0, 0]], &case.device);
    let mask = padded.clone().not_equal_elem(0);
    let states = case.model.encode(padded, Some(mask)).narrow(1, 0, 5);
    assert!(distance(case.model.encode(ids, None), states) < 1e-5);
}

#[test]
fn a_row_of_a_batch_is_written_as_if_alone() {
    let case = Case::of("flan");
    let nucleus = Decoding::nucleus(0.9, 1.5);
    let config = GenerationConfig { decoding: nucleus, ..greedy(40, 0) };
    let together = case.generate(&config);
    let (states, mask) = case.prompts();
    for row in [0, 7, 19] {
        let states = states.clone().narrow(0, row, 1);
        let mask = mask.clone().narrow(0, row, 1);
        let alone = case.model.generate(states, Some(mask), &config, &[row as u64]).unwrap();
        assert_eq!(alone[0].ids, together[row]);
    }
    assert_ne!(together, case.generate(&greedy(40, 0)));
}

#[test]
fn bf16_parameters_give_bf16_logits_near_the_f32_ones() {
    if !computes_in_bf16() {
        return;
    }
    let case = Case::of("t5");
    let exact = case.logits(case.states());
    let case = Case { model: cast_module(case.model, FloatDType::BF16), ..case };
    let rounded = case.logits(case.states());
    assert_eq!(rounded.dtype(), DType::BF16);
    let squares = |x: Tensor<3>| values(x.square().mean())[0];
    let error = squares(exact.clone() - rounded.cast(FloatDType::F32)) / squares(exact);
    println!("bf16: relative square error {error:e}");
    assert!(error < 1e-2);
}

/// For `fixtures/t5/check_t5_in_transformers.py`, the folders are written below
/// `LATENT_TEXT_WRITTEN_T5` where that is set.
#[test]
fn a_saved_folder_loads_again_with_the_same_logits_and_names() {
    let temporary = tempfile::tempdir().unwrap();
    let above = std::env::var_os("LATENT_TEXT_WRITTEN_T5")
        .map_or(temporary.path().to_path_buf(), PathBuf::from);
    for folder in FOLDERS {
        let case = Case::of(folder);
        let saved = above.join(folder);
        case.model.save(&saved, FloatDType::F32).unwrap();
        case.config.to_folder(&saved, FloatDType::F32, &GenerationConfig::default()).unwrap();
        let config = T5Config::from_folder(&saved).unwrap();
        assert_eq!(config, case.config);
        let model = T5::load(&saved, &config, &case.device).unwrap();
        let logits = case.logits(case.states());
        let again = Case { model, ..case };
        assert_eq!(values(again.logits(again.states())), values(logits));

        let names =
            |path: &Path| TensorFile::open(&path.join("model.safetensors")).unwrap().names();
        let original = names(&fixture(&format!("t5/{folder}")));
        match folder {
            "flan" | "mt5" => assert_eq!(names(&saved), original),
            // Without the copies of the table and what no model uses.
            "t5" => assert_eq!(names(&saved).len(), original.len() - 4),
            _ => assert_eq!(names(&saved).len(), original.len()),
        }
    }
}

#[test]
fn a_fresh_model_has_the_parameters_and_names_of_flan_t5_base() {
    let config = T5Config {
        d_model: 768,
        num_layers: 12,
        num_heads: 12,
        feed_forward_proj: T5FeedForward::GatedGelu,
        tie_word_embeddings: false,
        ..T5Config::default()
    };
    let shapes = named_shapes(&config.init(&Device::default()));
    let count = |shapes: &[(String, Vec<usize>)]| {
        shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()
    };
    assert_eq!(count(&shapes), 247_577_856);
    let tied = T5Config { tie_word_embeddings: true, ..config };
    let shapes = named_shapes(&tied.init(&Device::default()));
    assert_eq!(count(&shapes), 247_577_856 - 32128 * 768);
}

#[test]
fn fresh_weights_have_t5s_deviations() {
    let device = Device::default();
    device.seed(1);
    let model = T5Config { vocab_size: 200, d_model: 64, ..T5Config::default() }.init(&device);
    let ids = Tensor::<2, Int>::from_ints([[9, 8, 7, 6, 5, 4, 3]], &device);
    let states = model.encode(ids.clone(), None);
    let deviation = values(states.clone().square().mean())[0].sqrt();
    assert!((deviation - 1.0).abs() < 1e-3, "{deviation}");
    // Normed states of 64 numbers, divided by the root of 64, times a table of deviation 1.
    let logits = model.decode(ids, states, None);
    let deviation = values(logits.square().mean())[0].sqrt();
    assert!((deviation - 1.0).abs() < 0.2, "{deviation}");
}

/// What is read from a folder with this `config.json`.
fn config_from(config: &str) -> Result<T5Config, LanguageModelError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    T5Config::from_folder(folder.path())
}

#[test]
fn absent_entries_have_the_defaults_of_their_family() {
    assert_eq!(config_from(r#"{"model_type": "t5"}"#).unwrap(), T5Config::default());
    let mt5 = config_from(r#"{"model_type": "mt5", "d_kv": 32, "later": [1]}"#).unwrap();
    assert_eq!(mt5, T5Config { d_kv: 32, ..T5Config::of_family(T5Family::Mt5) });
    assert_eq!((mt5.vocab_size, mt5.d_ff, mt5.num_layers, mt5.num_heads), (250112, 1024, 8, 6));
    assert_eq!(mt5.feed_forward_proj, T5FeedForward::GatedGelu);
}

#[test]
fn faulty_configurations_are_named() {
    for (entries, entry) in [
        (r#""d_kv": 0"#, "d_kv"),
        (r#""num_decoder_layers": 0"#, "num_decoder_layers"),
        (r#""relative_attention_num_buckets": 3"#, "relative_attention_num_buckets"),
        (r#""relative_attention_max_distance": 16"#, "relative_attention_max_distance"),
        (r#""dropout_rate": 1"#, "dropout_rate"),
        (r#""layer_norm_epsilon": -1e-6"#, "layer_norm_epsilon"),
        (r#""vocab_size": 1"#, "eos_token_id"),
        (r#""model_type": "bart""#, "model_type"),
    ] {
        let other = if entry == "model_type" { "" } else { r#""model_type": "t5", "# };
        match config_from(&format!("{{{other}{entries}}}")) {
            Err(LanguageModelError::Config { source, .. }) => assert_eq!(source.entry, entry),
            result => panic!("{entries}: {result:?}"),
        }
    }
    for entries in [r#""feed_forward_proj": "gated-tanh""#, r#""d_model": "wide""#] {
        let result = config_from(&format!(r#"{{"model_type": "t5", {entries}}}"#));
        assert!(matches!(result, Err(LanguageModelError::Json { .. })), "{entries}");
    }
    let missing = T5Config::from_folder(&fixture("t5"));
    assert!(matches!(missing, Err(LanguageModelError::Missing { .. })));
}

#[test]
fn weights_of_another_configuration_are_listed() {
    let folder = fixture("t5/flan");
    let device = Device::default();
    let config = T5Config::from_folder(&folder).unwrap();
    let problems = |config: &T5Config| match T5::load(&folder, config, &device) {
        Err(LanguageModelError::Weights(WeightsError::Mismatch { problems, .. })) => problems,
        result => panic!("{result:?}"),
    };
    let shallow = problems(&T5Config { num_layers: 1, ..config.clone() });
    assert!(shallow.iter().all(|problem| !problem.contains("missing")), "{shallow:?}");
    assert!(shallow.contains(&"unexpected: encoder.block.1.layer.0.SelfAttention.q.weight".into()));
    let plain = problems(&T5Config { feed_forward_proj: T5FeedForward::Relu, ..config.clone() });
    assert!(plain.contains(&"missing: decoder.block.1.layer.2.DenseReluDense.wi.weight".into()));
    let narrow = problems(&T5Config { relative_attention_num_buckets: 16, ..config });
    assert_eq!(narrow.len(), 2, "{narrow:?}");
}

#[test]
fn embedding_tables_of_different_values_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = Case::of("t5").config;
    let source = fs::read(fixture("t5/t5/model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&source).unwrap();
    let (dtype, shape) = {
        let table = file.tensor("shared.weight").unwrap();
        (table.dtype(), table.shape().to_vec())
    };
    let zeros = vec![0; shape.iter().product::<usize>() * 2];
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let changed = name == "decoder.embed_tokens.weight";
        let other = safetensors::tensor::TensorView::new(dtype, shape.clone(), &zeros).unwrap();
        (name, if changed { other } else { view })
    });
    let bytes = safetensors::serialize(tensors, None).unwrap();
    fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let error = T5::load(folder.path(), &config, &Device::default()).unwrap_err().to_string();
    assert!(error.contains("decoder.embed_tokens.weight must be the same"), "{error}");
}

#[test]
fn prompts_of_the_fixtures_have_padding() {
    let device = Device::default();
    for folder in FOLDERS {
        let prompts = prompts(&tensors(&format!("t5/{folder}/expected.safetensors")), &device);
        let padded = prompts.mask.bool_not().any();
        assert!(padded.try_into_scalar::<bool>().unwrap());
    }
}
