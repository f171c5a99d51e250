//! Texts of full length from random encoder states, as many as there are latents.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use latent_text::language_model::{BeamSearch, Decoding, ForcedToken, GenerationConfig};
use latent_text::nn::cast_module;

use crate::Bench;
use crate::arguments::NumberFormat;
use crate::common::noise;
use crate::shapes::Shapes;
use crate::timing::{Runs, Timing, time};

/// Texts that [`check`] compares.
const CHECKED: usize = 8;

pub fn greedy(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let config = greedy_config(bench.shapes.tokens);
    let timing = bench.decode(&config, format)?;
    bench.decoding_row("greedy", format, &timing);
    bench.parts.greedy.get_or_insert(timing.median);
    Ok(())
}

/// With the settings of LD4LG.
pub fn beam(bench: &mut Bench, format: NumberFormat) -> Result<()> {
    let config = beam_config(bench.shapes.tokens);
    let timing = bench.decode(&config, format)?;
    bench.decoding_row("beam-4", format, &timing);
    Ok(())
}

fn greedy_config(tokens: usize) -> GenerationConfig {
    GenerationConfig {
        max_length: tokens,
        min_length: tokens,
        forced_eos: ForcedToken::None,
        ..GenerationConfig::default()
    }
}

fn beam_config(tokens: usize) -> GenerationConfig {
    GenerationConfig {
        max_length: tokens,
        min_length: tokens - 1,
        decoding: Decoding::Beam(BeamSearch::default()),
        repetition_penalty: 1.2,
        no_repeat_ngram_size: 3,
        ..GenerationConfig::default()
    }
}

/// Whether texts are the same with and without recordings, in every format.
pub fn check(device: &Device, shapes: &Shapes, formats: &[NumberFormat]) -> Result<()> {
    let states: Tensor<3> = noise([CHECKED, shapes.latents, shapes.bart.d_model], device);
    for &format in formats {
        format.choose();
        let model = cast_module(shapes.bart.init(device), format.dtype());
        for (way, config) in
            [("greedy", greedy_config(shapes.tokens)), ("beam-4", beam_config(shapes.tokens))]
        {
            let texts = |graphs: bool| {
                let config = GenerationConfig { graphs, ..config.clone() };
                model.generate(states.clone().cast(format.dtype()), None, &config, &[0; CHECKED])
            };
            let (found, expected) = (texts(true)?, texts(false)?);
            let pairs = found.iter().zip(&expected);
            let different = pairs.filter(|(found, expected)| found.ids != expected.ids).count();
            println!("{format} {way} as a graph: {different} of {CHECKED} texts differ");
            ensure!(different == 0, "recorded decoding gives other texts");
        }
    }
    Ok(())
}

impl Bench {
    fn decode(&self, config: &GenerationConfig, format: NumberFormat) -> Result<Timing> {
        let Self { device, shapes, .. } = self;
        let model = cast_module(shapes.bart.init(device), format.dtype());
        let states = noise([shapes.texts, shapes.latents, shapes.bart.d_model], device);
        let states = states.cast(format.dtype());
        let seeds = vec![0; shapes.texts];
        time(device, Runs::LONG, || {
            let texts = model.generate(states.clone(), None, config, &seeds)?;
            let shortest = texts.iter().map(|text| text.ids.len()).min().unwrap_or(0);
            // Neither the start nor the end token need be among a text's ids.
            ensure!(shortest + 2 >= config.max_length, "a text has {shortest} tokens only");
            Ok(texts)
        })
    }

    fn decoding_row(&mut self, way: &str, format: NumberFormat, timing: &Timing) {
        let (texts, tokens) = (self.shapes.texts, self.shapes.tokens);
        let name = format!("BART {way} {format} b{texts} L{tokens}");
        self.report.row(name, timing, Some(texts));
    }
}
