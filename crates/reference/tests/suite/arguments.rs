//! Arguments of runs that say too little, contradict their checkpoint, or ask for what is not known.

use std::fs;

use latent_text_reference::{ReferenceError, ReferenceModel};
use serde_json::{Value, json};

use crate::support::{Runs, assert_refused, refusal};

const DIFFUSION: &str = "roc/diffusion";
const AUTOENCODER: &str = "roc/autoencoder";

fn with(run: &str, argument: &str, value: Value) -> (Runs, ReferenceModel) {
    let runs = Runs::new(&["bart", "roc"]);
    runs.edit(run, |arguments| {
        arguments.insert(argument.to_string(), value);
    });
    let model = runs.model("roc", "roc");
    (runs, model)
}

#[test]
fn needed_arguments_are_named() {
    for (run, argument) in [
        (DIFFUSION, "objective"),
        (DIFFUSION, "train_schedule"),
        (DIFFUSION, "scale"),
        (AUTOENCODER, "l2_normalize_latents"),
    ] {
        let runs = Runs::new(&["bart", "roc"]);
        runs.edit(run, |arguments| assert!(arguments.remove(argument).is_some()));
        let (error, message) = refusal(&runs.model("roc", "roc"));
        assert!(matches!(error, ReferenceError::NoArgument { .. }), "{message}");
        assert!(message.contains(run) && message.contains(argument), "{message}");
    }
}

#[test]
fn whether_latents_were_standardised_must_be_told_where_they_may_be() {
    let runs = Runs::new(&["bart", "flan", "xsum"]);
    runs.edit("xsum/diffusion", |arguments| {
        assert!(arguments.remove("normalize_latent").is_some());
    });
    let model = ReferenceModel { language_model: runs.path("flan"), ..runs.model("xsum", "xsum") };
    assert_refused(&model, &["xsum/diffusion", "lacks `normalize_latent`", "standardised"]);
}

#[test]
fn arguments_that_can_not_be_used_are_named() {
    for (run, argument, value, reason) in [
        (DIFFUSION, "objective", json!("pred_flow"), "`pred_v`, `pred_x0` or `pred_noise`"),
        (DIFFUSION, "objective", json!(3), "expected a string"),
        (DIFFUSION, "train_schedule", json!("linear"), "`cosine`, `simple_linear`"),
        (DIFFUSION, "scale", json!(0.0), "scale"),
        (DIFFUSION, "scale", json!("big"), "expected f64"),
        (DIFFUSION, "sampler", json!("euler"), "`ddpm`, `ddim` or `dpmpp`"),
        (DIFFUSION, "sampling_timesteps", json!(0), "at least 1"),
        (DIFFUSION, "scale_shift", json!(false), "scaled and shifted"),
        (DIFFUSION, "self_condition", json!(false), "previous estimate"),
        (DIFFUSION, "normalize_latent", json!(true), "l2-normalised already"),
        (DIFFUSION, "tx_dim", json!(768), "the checkpoint beside it has 16"),
        (DIFFUSION, "tx_depth", json!(12), "the checkpoint beside it has 4"),
        (DIFFUSION, "num_dense_connections", json!(0), "the checkpoint beside it has 2"),
        (AUTOENCODER, "num_encoder_latents", json!(32), "the checkpoint beside it has 5"),
        (AUTOENCODER, "dim_ae", json!(64), "the checkpoint beside it has 8"),
        (AUTOENCODER, "num_layers", json!(3), "the checkpoint beside it has 2"),
        (AUTOENCODER, "max_seq_len", json!(25), "only 24 positions"),
        (AUTOENCODER, "max_seq_len", json!(-1), "invalid value"),
    ] {
        let (_runs, model) = with(run, argument, value.clone());
        let (error, message) = refusal(&model);
        assert!(matches!(error, ReferenceError::Argument { .. }), "{message}");
        for part in [run, argument, reason] {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

#[test]
fn sizes_need_not_be_told() {
    let runs = Runs::new(&["bart", "roc"]);
    runs.edit(DIFFUSION, |arguments| {
        let kept = ["objective", "train_schedule", "scale"];
        arguments.retain(|argument, _| kept.contains(&argument.as_str()));
    });
    runs.edit(AUTOENCODER, |arguments| {
        arguments.retain(|argument, _| argument == "l2_normalize_latents");
    });
    let whole = Runs::new(&["bart", "roc"]);
    let config = |runs: &Runs| crate::support::load(&runs.model("roc", "roc")).0.model.config;
    assert_eq!(config(&runs), config(&whole));
}

#[test]
fn files_that_hold_no_arguments_are_refused() {
    let runs = Runs::new(&["bart", "roc"]);
    let path = runs.path(DIFFUSION).join("args.json");
    for (content, reason) in [("{\"tx_dim\": 16", "EOF"), ("[1, 2]", "expected a map"), ("", "EOF")]
    {
        fs::write(&path, content).unwrap();
        assert_refused(&runs.model("roc", "roc"), &["args.json", "does not hold", reason]);
    }
    fs::remove_file(&path).unwrap();
    assert_refused(&runs.model("roc", "roc"), &["cannot read", "args.json"]);
}

#[test]
fn sources_need_an_encoder_and_a_length() {
    let runs = Runs::new(&["bart", "roc", "qqp"]);
    runs.edit("qqp/diffusion", |arguments| {
        arguments.insert("enc_dec_model".to_string(), "facebook/bart-large".into());
    });
    let other = &["`facebook/bart-large`", "`facebook/bart-base`", "give the folder"];
    assert_refused(&runs.model("qqp", "roc"), other);
    runs.edit("qqp/diffusion", |arguments| {
        arguments.insert("dataset_name".to_string(), "own".into());
    });
    assert_refused(&runs.model("qqp", "roc"), &["`own`", "give the most tokens of a source"]);
    runs.edit("qqp/diffusion", |arguments| {
        arguments.insert("enc_dec_model".to_string(), "facebook/bart-base".into());
    });
    let told = ReferenceModel { source_max_tokens: Some(9), ..runs.model("qqp", "roc") };
    let (converted, _) = crate::support::load(&told);
    assert_eq!(converted.model.config.source.unwrap().max_tokens, 9);
}
