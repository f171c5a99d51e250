use std::io::{Write, stdout};

use anyhow::{Context, Result};
use burn::module::Module;
use latent_text::language_model::{BartFamily, EncoderDecoderConfig, LanguageModel, T5Family};

pub fn run(model: &LanguageModel) -> Result<()> {
    let lines = [
        ("family", family(&model.config).to_string()),
        ("parameters", model.model.num_params().to_string()),
        ("width", model.config.d_model().to_string()),
        ("layers", layers(&model.config)),
        ("vocabulary", vocabulary(model)),
        ("longest text", longest(model)),
        ("special tokens", special_tokens(model)),
        ("generation", serde_json::to_string(&model.generation)?),
    ];
    let mut out = stdout().lock();
    for (name, value) in lines {
        writeln!(out, "{name:14}  {value}").context("cannot write to stdout")?;
    }
    out.flush().context("cannot write to stdout")
}

fn family(config: &EncoderDecoderConfig) -> &'static str {
    match config {
        EncoderDecoderConfig::Bart(config) => match config.model_type {
            BartFamily::Bart => "BART",
            BartFamily::Mbart => "mBART",
        },
        EncoderDecoderConfig::T5(config) => match config.model_type {
            T5Family::T5 => "T5",
            T5Family::Mt5 => "mT5",
        },
    }
}

fn layers(config: &EncoderDecoderConfig) -> String {
    let (encoder, decoder) = match config {
        EncoderDecoderConfig::Bart(config) => (config.encoder_layers, config.decoder_layers),
        EncoderDecoderConfig::T5(config) => {
            (config.num_layers, config.num_decoder_layers.unwrap_or(config.num_layers))
        }
    };
    format!("{encoder} in the encoder, {decoder} in the decoder")
}

fn vocabulary(model: &LanguageModel) -> String {
    let (of_model, of_tokenizer) = (model.config.vocab_size(), model.tokenizer.vocab_size());
    format!("{of_model} ids, {of_tokenizer} of them in the tokenizer")
}

fn longest(model: &LanguageModel) -> String {
    match model.config.max_positions() {
        Some(tokens) => format!("{tokens} tokens"),
        None => "any".to_string(),
    }
}

fn special_tokens(model: &LanguageModel) -> String {
    let special = model.tokenizer.special_tokens();
    let ends: Vec<u32> = model.config.eos_token_id().iter().collect();
    let of_tokenizer = [
        ("begin", special.bos),
        ("end", Some(special.eos)),
        ("pad", Some(special.pad)),
        ("unknown", special.unk),
        ("mask", special.mask),
    ];
    let mut shown: Vec<String> =
        of_tokenizer.into_iter().filter_map(|(name, id)| Some(format!("{name} {}", id?))).collect();
    shown.push(format!("the decoder starts with {}", model.config.decoder_start_token_id()));
    shown.push(format!("texts end at {ends:?}"));
    shown.join(", ")
}
