//! The autoencoder on given language models of every family, and what it can be trained towards, on
//! texts of the E2E data set.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, FloatDType, Int, Tensor};
use latent_text_autoencoder::{LanguageAutoencoder, LatentSpace, Perceiver, PerceiverConfig};
use latent_text_denoiser::DenoiserConfig;
use latent_text_generation::{LatentText, Request};
use latent_text_language_model::{
    BartConfig, BartFamily, EncoderDecoderConfig, LanguageModel, T5Config, T5Family, TextTokenizer,
    TokenBatch, cross_entropy, shift_language_first, shift_right,
};
use latent_text_nn::weights::TensorFile;
use latent_text_testing::device_turn;
use latent_text_training::report::read_metrics;
use latent_text_training::stage::{AutoencoderInputs, AutoencoderObjective, AutoencoderStage};
use latent_text_training::{
    Padding, Pipeline, PipelineStage, Precision, Progress, Stage, TrainingConfig, TrainingError,
};
use tempfile::TempDir;

use crate::common::{assert_same, copy, files};

/// The repository, read when the test runs: checkouts may share one target folder.
fn repository() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..")
}

fn fixture(name: &str) -> PathBuf {
    repository().join("crates/language-model/tests/fixtures").join(name)
}

const MAX_TOKENS: usize = 64;

fn text_of(folder: &Path, shape: &str, objective: &str, training: &str) -> String {
    let folder = folder.display();
    let sets = r#"data = [{ path = "data/e2e/valid.jsonl.gz", limit = 400 }]
validation = [{ path = "data/e2e/valid.jsonl.gz", limit = 40 }]"#;
    format!(
        r#"
seed = 7
max_tokens = {MAX_TOKENS}

[language_model]
folder = "{folder}"

[autoencoder]
{sets}
model = {{ {shape} }}
objective = {{ {objective} }}
training = {{ {training} }}

[diffusion]
{sets}
model = {{ latent_dim = 64, max_latents = 32, dim = 16, depth = 2, head_dim = 8, ff_mult = 2, time_dim_mult = 1, dense_connections = 1 }}
sampling = {{ steps = 3 }}
decoding = {{ max_length = 24 }}
training = {{ steps = 4, batch_size = 4, ema = {{}}, samples = 1 }}
"#
    )
}

const SHAPE: &str = "latents = 4, latent_dim = 16, layers = 1, head_dim = 8, ff_mult = 2";

/// `steps` steps at a rate that suits tiny models.
fn steps(steps: u64) -> String {
    format!(
        "steps = {steps}, batch_size = 16, learning_rate = {{ peak = 1e-2, warmup_steps = 5 }}, \
         log_every = 1, validate_every = {steps}, checkpoint_every = 10, keep_checkpoints = 100, samples = 1"
    )
}

/// A language model's folder, and space for outputs.
struct Workshop {
    folder: TempDir,
    config: TrainingConfig,
    device: Device,
}

impl Workshop {
    /// With a copy of the language model in `folder`.
    fn with_copy(folder: &Path, shape: &str, objective: &str, training: &str) -> Self {
        let workshop = tempfile::tempdir().expect("a folder");
        let model = workshop.path().join("model");
        copy(folder, &model);
        Self::on(workshop, shape, objective, training)
    }

    fn with_model(model: &LanguageModel, shape: &str, objective: &str, training: &str) -> Self {
        let workshop = tempfile::tempdir().expect("a folder");
        model.save(&workshop.path().join("model"), FloatDType::F32).expect("a model");
        Self::on(workshop, shape, objective, training)
    }

    fn on(folder: TempDir, shape: &str, objective: &str, training: &str) -> Self {
        let text = text_of(&folder.path().join("model"), shape, objective, training);
        let mut config: TrainingConfig = toml::from_str(&text).expect("a configuration");
        let shape = config.autoencoder.training().expect("it is trained").model.clone();
        let denoiser =
            text.replace("latent_dim = 64", &format!("latent_dim = {}", shape.latent_dim));
        let whole: TrainingConfig = toml::from_str(&denoiser).expect("a configuration");
        config.diffusion = whole.diffusion;
        Self { folder, config, device: Device::default() }
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    fn result(&self) -> PathBuf {
        self.output().join("autoencoder/result")
    }

    fn run(
        &self,
        output: &Path,
        only: Option<PipelineStage>,
        resume: bool,
        stop: bool,
    ) -> Result<Progress, TrainingError> {
        self.device.seed(output.as_os_str().len() as u64);
        let pipeline = Pipeline {
            config: &self.config,
            data_root: &repository(),
            output,
            device: &self.device,
            stop: &AtomicBool::new(stop),
        };
        pipeline.run(only, resume)
    }

    /// Trains the autoencoder and returns what came of it.
    fn autoencoder(&self) -> LanguageAutoencoder {
        let only = Some(PipelineStage::Autoencoder);
        let progress = self.run(&self.output(), only, false, false).expect("a training");
        assert_eq!(progress, Progress::Finished(self.result()));
        LanguageAutoencoder::load(&self.result(), &self.device).expect("an autoencoder")
    }

    /// The values of a figure by step.
    fn logged(&self, name: &str) -> Vec<f64> {
        let lines =
            read_metrics(&self.output().join("autoencoder/metrics.jsonl")).expect("metrics");
        lines.iter().filter_map(|line| *line.values.get(name)?).collect()
    }

    /// Mean loss of the first and of the last five steps.
    fn losses(&self) -> (f64, f64) {
        let losses = self.logged("loss");
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        (mean(&losses[..5]), mean(&losses[losses.len() - 5..]))
    }

    #[track_caller]
    fn refuses(&self, expected: &[&str]) {
        let error = self.run(&self.output(), None, false, false).expect_err("it can't be trained");
        let message = error.to_string();
        for words in expected {
            assert!(message.contains(words), "{message} lacks {words}");
        }
    }
}

fn tokenizer_of_t5() -> TextTokenizer {
    TextTokenizer::from_folder(&fixture("tokenizer/small")).expect("a tokenizer")
}

/// A T5 of any family with fresh weights.
fn t5(model_type: T5Family, device: &Device) -> LanguageModel {
    let tokenizer = tokenizer_of_t5();
    let config = T5Config {
        vocab_size: tokenizer.vocab_size(),
        d_model: 32,
        d_kv: 8,
        d_ff: 64,
        num_layers: 1,
        num_heads: 4,
        ..T5Config::of_family(model_type)
    };
    fresh(LanguageModel::new(config, tokenizer, device).expect("a model"), device)
}

fn mbart(start: u32, device: &Device) -> LanguageModel {
    let bart = LanguageModel::load(&fixture("bart"), device).expect("a model");
    let EncoderDecoderConfig::Bart(config) = bart.config else { panic!("it is a BART") };
    let config = BartConfig {
        model_type: BartFamily::Mbart,
        decoder_start_token_id: start,
        scale_embedding: true,
        ..config
    };
    fresh(LanguageModel::new(config, bart.tokenizer, device).expect("a model"), device)
}

/// Draws the weights, which are else drawn when they are first used.
fn fresh(model: LanguageModel, device: &Device) -> LanguageModel {
    device.seed(5);
    let folder = tempfile::tempdir().expect("a folder");
    model.save(folder.path(), FloatDType::F32).expect("a model");
    LanguageModel::load(folder.path(), device).expect("a model")
}

/// The tensors of a model folder whose values differ from those of the same name in another one.
fn changed(one: &Path, other: &Path) -> Vec<String> {
    let open =
        |folder: &Path| TensorFile::open(&folder.join("model.safetensors")).expect("weights");
    let (one, other) = (open(one), open(other));
    assert_eq!(one.names(), other.names());
    let differs =
        |name: &String| one.floats(name).expect("values") != other.floats(name).expect("values");
    one.names().iter().map(|name| name.to_string()).filter(differs).collect()
}

/// The reconstruction loss in nats per token of the first validation texts, from the latents of each or
/// from those of the text before it.
fn loss_from_latents(autoencoder: &LanguageAutoencoder, texts: &[&str], own: bool) -> f32 {
    let model = &autoencoder.language_model;
    let device = Device::default();
    let tokens = model.tokenizer.encode_batch(texts, MAX_TOKENS).expect("tokens");
    let (ids, mask) = tokens.tensors(tokens.longest(), &device);
    let latents = autoencoder.encode_tokens(ids.clone(), mask.clone());
    let latents = if own { latents } else { latents.map(|values| values.roll_dim(1, 0)) };
    let (states, visible) = autoencoder.decoder_states(latents);
    let start = model.config.decoder_start_token_id();
    let logits = model.model.decode(shift_right(ids.clone(), start), states, visible);
    crate::common::values(&cross_entropy(logits, ids, mask))[0]
}

#[test]
fn a_frozen_bart_stays_as_it_is_while_its_autoencoder_learns() {
    let _turn = device_turn();
    let shipped = repository().join("models/e2e-small/language_model");
    let shape = "latents = 8, latent_dim = 32, layers = 1, ff_mult = 2";
    let training = steps(80).replace("peak = 1e-2", "peak = 1e-3");
    let workshop = Workshop::with_copy(&shipped, shape, "", &training);
    let autoencoder = workshop.autoencoder();
    let (first, last) = workshop.losses();
    println!("loss {first} to {last}");
    assert!(last < 0.6 * first, "{first} to {last}");
    assert_eq!(changed(&workshop.model(), &workshop.result().join("language_model")), [""; 0]);
    assert!(autoencoder.is_l2_normalised());
    let texts =
        ["The Mill is a cheap pub near the river.", "Aromi serves Indian food to families."];
    let [own, other] = [true, false].map(|own| loss_from_latents(&autoencoder, &texts, own));
    println!("{own} nats from a text's own latents, {other} from another one's");
    assert!(own < other - 0.25, "{own}, {other}");
}

#[test]
fn t5_families_are_fine_tuned_with_their_autoencoders() {
    let _turn = device_turn();
    let device = Device::default();
    for (family, norm) in [(T5Family::T5, "none"), (T5Family::Mt5, "l2")] {
        let shape = format!("{SHAPE}, latent_norm = \"{norm}\"");
        let objective = r#"language_model_training = "fine_tuned""#;
        let workshop = Workshop::with_model(&t5(family, &device), &shape, objective, &steps(60));
        workshop.autoencoder();
        let (first, last) = workshop.losses();
        println!("{family:?}: loss {first} to {last}");
        assert!(last < 0.6 * first, "{first} to {last}");
        // Everything is trained, the embeddings and both stacks.
        let trained = changed(&workshop.model(), &workshop.result().join("language_model"));
        let all = TensorFile::open(&workshop.model().join("model.safetensors")).expect("weights");
        assert_eq!(trained.len(), all.names().len());
    }
}

#[test]
fn a_frozen_t5_stays_as_it_is_while_its_autoencoder_learns() {
    let _turn = device_turn();
    let model = t5(T5Family::T5, &Device::default());
    let workshop = Workshop::with_model(&model, SHAPE, "language_model_dropout = true", &steps(60));
    workshop.autoencoder();
    let (first, last) = workshop.losses();
    println!("loss {first} to {last}");
    assert!(last < 0.95 * first, "{first} to {last}");
    assert_eq!(changed(&workshop.model(), &workshop.result().join("language_model")), [""; 0]);
}

#[test]
fn a_t5_is_fine_tuned_in_bf16_from_master_weights_in_f32() {
    let _turn = device_turn();
    let device = Device::default();
    let objective = r#"language_model_training = "fine_tuned""#;
    let model = t5(T5Family::Mt5, &device);
    let mut workshop = Workshop::with_model(&model, SHAPE, objective, &steps(40));
    workshop.config.precision = Precision::Bf16;
    workshop.autoencoder();
    let (first, last) = workshop.losses();
    println!("loss {first} to {last}");
    assert!(last < 0.6 * first, "{first} to {last}");
    // Bf16 has no more than 8 significant bits, so most values of the result are none of it.
    let file = workshop.result().join("language_model/model.safetensors");
    let values = TensorFile::open(&file).expect("weights").floats("shared.weight").expect("values");
    let finer = values.iter().filter(|value| value.to_bits() & 0xffff != 0).count();
    assert!(finer * 10 > values.len() * 9, "{finer} of {}", values.len());
}

/// What the decoder of a family is shown of a text's ids.
type Shift = fn(Tensor<2, Int>) -> Tensor<2, Int>;

#[test]
fn the_decoder_of_every_family_is_shown_what_it_was_pretrained_on() {
    let _turn = device_turn();
    let device = Device::default();
    let bart = LanguageModel::load(&fixture("bart"), &device).expect("a model");
    let behind_start: [Shift; 2] = [|ids| shift_right(ids, 2), |ids| shift_right(ids, 0)];
    let language_first: Shift = |ids| shift_language_first(ids, 1);
    // Texts of an mBART end with their language, here with token 9; its decoder starts with that.
    let rows = vec![vec![0, 20, 21, 22, 2, 9], vec![0, 30, 2, 9]];
    for (model, shift, other) in [
        (bart, behind_start[0], behind_start[1]),
        (t5(T5Family::T5, &device), behind_start[1], behind_start[0]),
        (mbart(9, &device), language_first, behind_start[0]),
    ] {
        let config = PerceiverConfig {
            dim_lm: model.config.d_model(),
            latents: 3,
            latent_dim: 8,
            layers: 1,
            head_dim: 8,
            max_tokens: 16,
            ..PerceiverConfig::default()
        };
        let perceiver = config.init(&device);
        let padding = Padding { max_tokens: 16, multiple: 8 };
        let inputs = AutoencoderInputs {
            train: rows.clone(),
            validation: rows.clone(),
            batch_size: 2,
            padding,
            seed: 1,
            precision: Precision::F32,
        };
        let (ids, mask) = padding
            .tensors(&TokenBatch { ids: rows.clone(), pad_id: model.tokenizer.pad_id() }, &device);
        let states = model.model.encode(ids.clone(), Some(mask.clone()));
        let states = perceiver.reconstruct(perceiver.compress(states, Some(mask.clone())));
        let loss = |shift: Shift| {
            let logits = model.model.decode(shift(ids.clone()), states.clone(), None);
            f64::from(crate::common::values(&cross_entropy(logits, ids.clone(), mask.clone()))[0])
        };
        let objective = AutoencoderObjective::default();
        let stage = AutoencoderStage::new(&model, objective, inputs, &device);
        let stage: AutoencoderStage<Perceiver> = stage.expect("a stage");
        let found = stage.validate(&perceiver, 0).expect("a measure").values;
        assert_eq!(found, [("loss".to_string(), loss(shift))]);
        assert!((loss(shift) - loss(other)).abs() > 1e-3, "the other shift would do too");
    }
}

#[test]
fn what_a_bart_holds_as_constant_is_not_fine_tuned() {
    let _turn = device_turn();
    let objective = r#"language_model_training = "fine_tuned""#;
    let workshop = Workshop::with_copy(&fixture("bart"), SHAPE, objective, &steps(20));
    workshop.autoencoder();
    let result = workshop.result().join("language_model");
    let bias = |folder: &Path| {
        let file = TensorFile::open(&folder.join("model.safetensors")).expect("weights");
        file.floats("final_logits_bias").expect("the bias")
    };
    assert!(bias(&workshop.model()).iter().any(|&value| value != 0.0));
    assert_eq!(bias(&workshop.model()), bias(&result));
    let load = |folder: &Path| LanguageModel::load(folder, &workshop.device).expect("a model");
    let (before, after) = (load(&workshop.model()), load(&result));
    let texts = ["The Mill is a pub."];
    let states = |model: &LanguageModel| {
        crate::common::values(&model.encode_texts(&texts, MAX_TOKENS).expect("states").0)
    };
    assert_ne!(states(&before), states(&after));
}

#[test]
fn a_variational_autoencoder_learns_and_encodes_to_the_mean() {
    let _turn = device_turn();
    let device = Device::default();
    let shape = format!("{SHAPE}, latent_norm = \"none\"");
    let run = |kl: f64| {
        let objective = format!("kl = {kl}, language_model_training = \"fine_tuned\"");
        let model = t5(T5Family::T5, &device);
        let workshop = Workshop::with_model(&model, &shape, &objective, &steps(60));
        let autoencoder = workshop.autoencoder();
        let divergence = workshop.logged("validation_kl");
        assert_eq!(divergence.len(), 1);
        (workshop, autoencoder, divergence[0])
    };
    let (workshop, autoencoder, divergence) = run(1e-4);
    let (first, last) = workshop.losses();
    println!("loss {first} to {last}, divergence {divergence}");
    assert!(last < 0.7 * first, "{first} to {last}");
    let settings =
        fs::read_to_string(workshop.result().join("autoencoder.json")).expect("settings");
    assert!(settings.contains("\"gaussian_posterior\": true"), "{settings}");

    // A text has the same latents each time, and they are the mean.
    let encode = || autoencoder.encode_texts(&["The Mill is a pub."]).expect("latents").values;
    let LatentSpace::Perceiver { perceiver, .. } = &autoencoder.space else {
        panic!("it is a Perceiver");
    };
    let (states, mask) = autoencoder
        .language_model
        .encode_texts(&["The Mill is a pub."], MAX_TOKENS)
        .expect("states");
    let posterior = perceiver.posterior(states, Some(mask)).expect("a posterior");
    let first = crate::common::values(&encode());
    assert_eq!(first, crate::common::values(&encode()));
    assert_eq!(first, crate::common::values(&posterior.mean));

    // A larger weight brings the posterior nearer to the prior.
    let (_, _, nearer) = run(1e-1);
    println!("divergence {nearer} at the larger weight");
    assert!(nearer < 0.5 * divergence, "{nearer}, {divergence}");
}

/// All that can be switched on at once.
const EVERYTHING: &str = r#"latent_noise = 0.2, kl = 1e-4, token_dropout = 0.3, token_replacement = "random", language_model_training = "fine_tuned", language_model_dropout = true"#;

#[test]
fn every_objective_resumes_bit_by_bit() {
    let _turn = device_turn();
    let device = Device::default();
    let frozen = EVERYTHING.replace("fine_tuned", "frozen");
    for (objective, model) in [
        (EVERYTHING, t5(T5Family::Mt5, &device)),
        (&frozen, t5(T5Family::T5, &device)),
        (EVERYTHING, mbart(2, &device)),
    ] {
        let shape = format!("{SHAPE}, latent_norm = \"none\"");
        let workshop = Workshop::with_model(&model, &shape, objective, &steps(20));
        workshop.autoencoder();
        let expected = workshop.output();
        let resumed = workshop.folder.path().join("resumed");
        copy(&expected, &resumed);
        fs::remove_dir_all(resumed.join("autoencoder/result")).expect("the result");
        fs::remove_dir_all(resumed.join("autoencoder/checkpoints/step-000000020"))
            .expect("the last");
        let only = Some(PipelineStage::Autoencoder);
        workshop.run(&resumed, only, true, false).expect("a training");
        assert_same(&resumed, &expected, |_| true);
    }
}

#[test]
fn objectives_change_the_training_and_the_defaults_do_not() {
    let _turn = device_turn();
    let device = Device::default();
    let model = t5(T5Family::T5, &device);
    let losses = |objective: &str| {
        let workshop = Workshop::with_model(&model, SHAPE, objective, &steps(3));
        workshop.autoencoder();
        workshop.logged("loss")
    };
    let plain = losses("");
    assert_eq!(losses("kl = 0.0, token_dropout = 0.0, latent_noise = 0.0"), plain);
    for objective in [
        "latent_noise = 0.5",
        "kl = 1e-3",
        "token_dropout = 0.5, token_replacement = \"random\"",
        "language_model_dropout = true",
        "language_model_training = \"fine_tuned\"",
    ] {
        assert_ne!(losses(objective), plain, "{objective}");
    }
    // Fine-tuned without dropout, the first loss is that of the frozen model.
    assert_eq!(losses("language_model_training = \"fine_tuned\"")[0], plain[0]);
}

#[test]
fn any_shape_of_latents_is_trained_and_sampled_from() {
    let _turn = device_turn();
    let device = Device::default();
    let t5 = t5(T5Family::T5, &device);
    let bart = LanguageModel::load(&fixture("bart"), &device).expect("a model");
    for (model, width, layers, latents, dim, norm) in [
        (&t5, 32, 1, 1, 8, "l2"),
        (&t5, 32, 2, 5, 32, "none"),
        (&t5, 32, 3, 4, 64, "none"),
        (&bart, 16, 3, 2, 16, "l2"),
        (&bart, 16, 1, 9, 24, "l2"),
    ] {
        assert_eq!(model.config.d_model(), width);
        let shape = format!(
            "latents = {latents}, latent_dim = {dim}, layers = {layers}, head_dim = 8, ff_mult = 2, \
             latent_norm = \"{norm}\""
        );
        let objective = "latent_noise = 0.1";
        let workshop = Workshop::with_model(model, &shape, objective, &steps(4));
        let progress = workshop.run(&workshop.output(), None, false, false).expect("a training");
        let folder = workshop.output().join("model");
        assert_eq!(progress, Progress::Finished(folder.clone()));
        let model = LatentText::load(&folder, &device).expect("a model");
        assert_eq!(model.config.statistics.mean.len(), dim);
        let request = Request { count: 2, ..Request::default() };
        let texts = model.generate(&request, |_| ControlFlow::Continue(())).expect("texts");
        assert_eq!(texts.len(), 2, "{shape}");
    }
}

#[test]
fn another_language_model_is_refused_on_resume() {
    let _turn = device_turn();
    let workshop =
        Workshop::with_model(&t5(T5Family::T5, &Device::default()), SHAPE, "", &steps(4));
    let only = Some(PipelineStage::Autoencoder);
    workshop.run(&workshop.output(), only, false, true).expect("a start");
    workshop.run(&workshop.output(), only, true, true).expect("the same model");
    let weights = workshop.model().join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("the weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).expect("writing");
    let error = workshop.run(&workshop.output(), only, true, true).expect_err("another model");
    assert!(matches!(error, TrainingError::Checkpoint { .. }), "{error:?}");
    assert!(error.to_string().contains("other settings"), "{error}");
}

#[test]
fn language_models_that_do_not_fit_are_refused_before_anything_is_written() {
    let _turn = device_turn();
    let device = Device::default();
    let t5 = t5(T5Family::T5, &device);
    let with = |model: &LanguageModel, shape: &str, objective: &str| {
        Workshop::with_model(model, shape, objective, &steps(2))
    };

    // The fixture's BART has 64 positions, a T5 any number of them.
    let bart = LanguageModel::load(&fixture("bart"), &device).expect("a model");
    let mut long = with(&bart, SHAPE, "");
    long.config.max_tokens = 65;
    long.refuses(&["`max_tokens`", "65", "64 positions"]);
    with(&t5, &SHAPE.replace("head_dim = 8", "head_dim = 12"), "").refuses(&["`dim_lm`", "12"]);
    let mut narrow = with(&t5, SHAPE, "");
    narrow.config.diffusion.model =
        DenoiserConfig { latent_dim: 8, ..DenoiserConfig::default() }.into();
    narrow.refuses(&["diffusion.model", "latents of 8", "of 16"]);
    let mut prefixed = with(&t5, SHAPE, "");
    let unknown = t5.config.vocab_size() as u32;
    prefixed.config.diffusion.decoding.prefix = vec![unknown];
    prefixed.refuses(&["diffusion.decoding", &format!("no token {unknown}")]);
    for workshop in [&long, &narrow, &prefixed] {
        assert!(!workshop.output().exists());
    }

    with(&t5, SHAPE, "token_dropout = 0.1").refuses(&["token_replacement", "`random`"]);
    // The texts of this tokenizer end with token 2.
    with(&mbart(0, &device), SHAPE, "").refuses(&["decoder_start_token_id", "is 0", "to 2"]);
    let missing = with(&t5, SHAPE, "");
    fs::remove_file(missing.model().join("config.json")).expect("the file");
    missing.refuses(&["config.json"]);
}

#[test]
fn a_given_language_model_has_no_stage_of_its_own() {
    let _turn = device_turn();
    let workshop =
        Workshop::with_model(&t5(T5Family::T5, &Device::default()), SHAPE, "", &steps(2));
    let only = Some(PipelineStage::LanguageModel);
    let error = workshop.run(&workshop.output(), only, false, false).expect_err("no such stage");
    assert!(error.to_string().contains("language_model.folder"), "{error}");
    workshop.autoencoder();
    assert!(!files(&workshop.output()).keys().any(|name| name.starts_with("language-model")));
}
