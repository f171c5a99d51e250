//! Checkpoints that are not what they should be.

use latent_text_language_model::LanguageModelError;
use latent_text_nn::weights::WeightsError;
use latent_text_reference::{ReferenceError, ReferenceModel};

use crate::support::{Runs, assert_refused, refusal};

#[track_caller]
fn assert_mismatch(model: &ReferenceModel, problems: &[&str]) {
    let (error, message) = refusal(model);
    assert!(
        matches!(
            error,
            ReferenceError::Weights(WeightsError::Mismatch { .. })
                | ReferenceError::LanguageModel(LanguageModelError::Weights(
                    WeightsError::Mismatch { .. }
                ))
        ),
        "{message}"
    );
    for problem in problems {
        assert!(message.contains(problem), "`{problem}` is not in: {message}");
    }
}

#[test]
fn tensors_of_the_denoiser_that_are_missing_or_left_over_are_named() {
    let runs = Runs::new(&["bart", "roc"]);
    runs.replace(
        "roc/diffusion/model.pt",
        "time_pos_embed_mlp.1.bias",
        "time_pos_embed_mlp.1.bibs",
    );
    let missing = "missing: ema_model.diffusion_model.time_pos_embed_mlp.1.bias";
    let left_over = "unexpected: ema_model.diffusion_model.time_pos_embed_mlp.1.bibs";
    assert_mismatch(&runs.model("roc", "roc"), &[missing, left_over]);
}

#[test]
fn tensors_of_the_autoencoder_that_are_missing_or_left_over_are_named() {
    let runs = Runs::new(&["bart", "roc"]);
    runs.replace(
        "roc/autoencoder/model.pt",
        "perceiver_decoder.final_norm.bias",
        "perceiver_decoder.final_norm.bibs",
    );
    let missing = "missing: perceiver_ae.perceiver_decoder.final_norm.bias";
    let left_over = "unexpected: perceiver_ae.perceiver_decoder.final_norm.bibs";
    assert_mismatch(&runs.model("roc", "roc"), &[missing, left_over]);

    let runs = Runs::new(&["bart", "roc"]);
    let name = "model.encoder.layers.0.fc1.bias";
    runs.replace("roc/autoencoder/model.pt", name, "model.encoder.layers.0.fc3.bias");
    assert_mismatch(&runs.model("roc", "roc"), &[&format!("missing: {name}"), "fc3.bias"]);
}

#[test]
fn tensors_of_the_source_encoder_that_are_missing_or_left_over_are_named() {
    let runs = Runs::new(&["bart", "flan", "xsum"]);
    runs.replace(
        "xsum/diffusion/best_model.pt",
        "final_layer_norm.weight",
        "final_layer_norm.weighs",
    );
    let model = ReferenceModel { language_model: runs.path("flan"), ..runs.model("xsum", "xsum") };
    let missing = "missing: ema_model.context_encoder.final_layer_norm.weight";
    let left_over = "unexpected: ema_model.context_encoder.final_layer_norm.weighs";
    assert_mismatch(&model, &[missing, left_over]);
}

#[test]
fn a_checkpoint_for_sources_must_have_their_encoder() {
    let runs = Runs::new(&["bart", "roc", "qqp"]);
    runs.replace(
        "qqp/diffusion/best_model.pt",
        "ema_model.context_encoder",
        "ema_model.context_endoder",
    );
    let missing = "missing: ema_model.context_encoder.embed_positions.weight";
    assert_mismatch(&runs.model("qqp", "roc"), &[missing]);
}

#[test]
fn another_language_model_is_refused() {
    let runs = Runs::new(&["bart", "flan", "roc"]);
    let model = ReferenceModel { language_model: runs.path("flan"), ..runs.model("roc", "roc") };
    assert_mismatch(&model, &["lm_head.weight has shape [384, 16]", "missing: encoder.block.0"]);
}

#[test]
fn runs_of_the_wrong_kind_are_refused() {
    let runs = Runs::new(&["bart", "roc"]);
    let exchanged = ReferenceModel {
        autoencoder: Some(runs.path("roc/diffusion")),
        ..runs.model("roc", "roc")
    };
    assert_refused(&exchanged, &["lacks the tensor `perceiver_ae.perceiver_encoder.latents`"]);
    let exchanged =
        ReferenceModel { diffusion: runs.path("roc/autoencoder"), ..runs.model("roc", "roc") };
    assert_refused(&exchanged, &["one entry `ema`, but has only `step`, `model`, `opt`, `scaler`"]);
    let alone = ReferenceModel { autoencoder: None, ..runs.model("roc", "roc") };
    assert_refused(&alone, &["second version", "give the autoencoder's run folder"]);
}

#[test]
fn a_second_perceiver_is_refused() {
    let runs = Runs::new(&["bart", "roc"]);
    let file = "roc/autoencoder/model.pt";
    runs.replace(file, "perceiver_encoder.latents", "perceiver_decoder.latents");
    assert_refused(&runs.model("roc", "roc"), &[file, "reconstructs with a second Perceiver"]);
}

#[test]
fn what_a_checkpoint_has_no_use_for_is_told() {
    let runs = Runs::new(&["bart", "roc"]);
    let plain = runs.model("roc", "roc");
    for (model, what) in [
        (ReferenceModel { labels: Some(vec!["a".to_string()]), ..plain.clone() }, "labels"),
        (
            ReferenceModel { source_encoder: Some(runs.path("bart")), ..plain.clone() },
            "an encoder of sources",
        ),
        (ReferenceModel { source_max_tokens: Some(5), ..plain.clone() }, "a length of sources"),
    ] {
        let (error, message) = refusal(&model);
        assert!(matches!(error, ReferenceError::Needless(_)), "{message}");
        assert!(message.contains(what), "{message}");
    }
}

#[test]
fn a_width_of_heads_that_does_not_fit_is_refused() {
    let runs = Runs::new(&["bart", "roc"]);
    let model = ReferenceModel { head_dim: 64, ..runs.model("roc", "roc") };
    assert_refused(&model, &["`dim` = 16", "a multiple of `head_dim` = 64"]);
}

#[test]
fn damaged_checkpoints_are_refused() {
    let runs = Runs::new(&["bart", "roc"]);
    for file in ["roc/diffusion/model.pt", "roc/autoencoder/model.pt"] {
        let path = runs.path(file);
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 100, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_refused(&runs.model("roc", "roc"), &[file, "not a whole PyTorch state dict"]);
        }
        std::fs::remove_file(&path).unwrap();
        assert_refused(&runs.model("roc", "roc"), &["cannot read", file]);
        std::fs::write(&path, &whole).unwrap();
    }
}
