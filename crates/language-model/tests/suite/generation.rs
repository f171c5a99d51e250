//! Decoding against `transformers`, against itself without a cache, and its sampling.

use std::ops::ControlFlow;

use crate::common::{bart, computes_in_bf16, content, load, prompts, tensors};
use burn::module::Module;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor};
use latent_text_language_model::{
    Bart, BartConfig, BeamSearch, Decoding, EncoderDecoder, ForcedToken, GeneratedText,
    GenerationConfig, LanguageModelError, Sampling, next_token_distributions,
};
use latent_text_nn::cast_module;
use latent_text_testing::fixture;

const EOS: u32 = 2;
const NUCLEUS: Decoding = Decoding::nucleus(0.95, 1.0);

struct Source {
    states: Tensor<3>,
    mask: Tensor<2, Bool>,
}

impl Source {
    fn of_fixture(bart: &Bart, device: &Device) -> Self {
        let prompts = prompts(&tensors("greedy.safetensors"), device);
        let states = bart.encode(prompts.ids, Some(prompts.mask.clone()));
        Self { states, mask: prompts.mask }
    }

    fn rows(&self, first: usize, count: usize) -> Self {
        Self {
            states: self.states.clone().narrow(0, first, count),
            mask: self.mask.clone().narrow(0, first, count),
        }
    }

    fn generate(&self, bart: &Bart, config: &GenerationConfig, seeds: &[u64]) -> Vec<Vec<u32>> {
        let texts = bart.generate(self.states.clone(), Some(self.mask.clone()), config, seeds);
        ids(texts.unwrap())
    }
}

fn ids(texts: Vec<GeneratedText>) -> Vec<Vec<u32>> {
    texts.into_iter().map(|text| text.ids).collect()
}

fn nucleus_distributions(logits: Tensor<2>, top_p: f64, temperature: f64) -> Vec<Vec<(u32, f64)>> {
    let previous = vec![vec![2]; logits.dims()[0]];
    let decoding = Decoding::nucleus(top_p, temperature);
    let config = GenerationConfig { decoding, ..GenerationConfig::default() };
    next_token_distributions(logits, &previous, &config, &[EOS]).unwrap()
}

fn greedy(max_length: usize, min_length: usize) -> GenerationConfig {
    GenerationConfig { max_length, min_length, ..GenerationConfig::default() }
}

#[test]
fn greedy_texts_are_those_of_transformers() {
    let device = Device::default();
    let bart = bart(&device);
    let file = tensors("greedy.safetensors");
    let lengths = file.ints::<1>("lengths", &device).unwrap().try_into_vec_as::<u32>().unwrap();
    let [max_length, min_length] = lengths[..] else { panic!("two lengths") };
    let texts = file.ints::<2>("texts", &device).unwrap();
    let [count, width] = texts.dims();
    let expected: Vec<Vec<u32>> = texts
        .try_into_vec_as::<u32>()
        .unwrap()
        .chunks(width)
        .map(|row| content(row, EOS))
        .collect();
    assert_eq!(count, 50);

    let config = greedy(max_length as usize, min_length as usize);
    let texts = Source::of_fixture(&bart, &device).generate(&bart, &config, &[0; 50]);
    assert_eq!(texts, expected);
}

#[test]
fn cached_decoding_is_uncached_decoding() {
    let device = Device::default();
    let bart = bart(&device);
    let source = Source::of_fixture(&bart, &device).rows(0, 16);
    // Beyond one block of the cache, and no text ends before.
    let config = greedy(60, 60);
    let texts = source.generate(&bart, &config, &[0; 16]);

    let mut ids = Tensor::<2, Int>::full([16, 1], 2, &device);
    ids = Tensor::cat(vec![ids, Tensor::full([16, 1], 0, &device)], 1);
    while ids.dims()[1] < 59 {
        let length = ids.dims()[1];
        let logits = bart.decode(ids.clone(), source.states.clone(), Some(source.mask.clone()));
        let logits = logits.narrow(1, length - 1, 1).slice_fill([0..16, 0..1, 2..3], -1e9);
        let next = logits.argmax(2).squeeze_dim(2);
        ids = Tensor::cat(vec![ids, next], 1);
    }
    let ids = ids.try_into_vec_as::<u32>().unwrap();
    let expected: Vec<Vec<u32>> = ids.chunks(59).map(|row| row[1..].to_vec()).collect();
    assert_eq!(texts, expected);
}

#[test]
fn a_row_does_not_depend_on_its_neighbours() {
    let device = Device::default();
    let bart = bart(&device);
    let source = Source::of_fixture(&bart, &device);
    let seeds: Vec<u64> = (100..150).collect();
    for decoding in [Decoding::Greedy, NUCLEUS] {
        let config = GenerationConfig { decoding, ..greedy(40, 0) };
        let together = source.generate(&bart, &config, &seeds);
        let alone: Vec<Vec<u32>> = (0..50)
            .flat_map(|row| source.rows(row, 1).generate(&bart, &config, &seeds[row..row + 1]))
            .collect();
        assert_eq!(together, alone);
        let lengths: Vec<usize> = together.iter().map(Vec::len).collect();
        // Else rows would never have left the batch at different times.
        assert!(lengths.iter().max() > lengths.iter().min());
    }
}

#[test]
fn nucleus_distributions_are_those_of_transformers() {
    let device = Device::default();
    let file = tensors("nucleus.safetensors");
    let logits = file.tensor::<2>("logits", &device).unwrap();
    let [rows, vocabulary] = logits.dims();
    let settings = file.tensor::<2>("settings", &device).unwrap();
    let settings = settings.try_into_vec_as::<f32>().unwrap();
    for (index, setting) in settings.chunks(2).enumerate() {
        // The shortest decimal of the f32 is the number that the script used.
        let [top_p, temperature] = [0, 1].map(|i| setting[i].to_string().parse().unwrap());
        let expected = file.tensor::<2>(&format!("probabilities.{index}"), &device).unwrap();
        let expected = expected.try_into_vec_as::<f32>().unwrap();
        let kept = nucleus_distributions(logits.clone(), top_p, temperature);
        assert_eq!(kept.len(), rows);
        for (kept, expected) in kept.iter().zip(expected.chunks(vocabulary)) {
            assert_eq!(kept.len(), expected.iter().filter(|&&p| p > 0.0).count());
            for &(id, probability) in kept {
                let off = (probability - f64::from(expected[id as usize])).abs();
                assert!(off < 1e-5, "top_p {top_p}, id {id}: off by {off:e}");
            }
        }
    }
}

#[test]
fn a_nucleus_of_equal_logits_has_the_first_ids() {
    let logits = Tensor::<2>::zeros([1, 10], &Device::default());
    for (top_p, count) in [(0.05, 1), (0.35, 4), (0.95, 10), (1.0, 10)] {
        let kept = nucleus_distributions(logits.clone(), top_p, 1.0).remove(0);
        assert_eq!(
            kept.iter().map(|&(id, _)| id).collect::<Vec<_>>(),
            (0..count).collect::<Vec<_>>()
        );
        assert!(kept.iter().all(|(_, p)| (p - 1.0 / f64::from(count)).abs() < 1e-6));
    }
}

#[test]
fn draws_follow_the_distribution() {
    const DRAWS: usize = 20_000;
    let device = Device::default();
    let bart = bart(&device);
    let source = Source::of_fixture(&bart, &device).rows(1, 1);
    let ids = Tensor::<2, Int>::from_ints([[2, 0]], &device);
    let logits = bart.decode(ids, source.states.clone(), Some(source.mask.clone()));
    let logits = logits.narrow(1, 1, 1).squeeze_dim::<2>(1);
    let expected = nucleus_distributions(logits, 0.8, 1.2).remove(0);

    let many = Source {
        states: source.states.repeat_dim(0, DRAWS),
        mask: source.mask.repeat_dim(0, DRAWS),
    };
    let decoding = Decoding::nucleus(0.8, 1.2);
    let config = GenerationConfig { decoding, ..greedy(4, 0) };
    let seeds: Vec<u64> = (0..DRAWS as u64).collect();
    let texts = many.generate(&bart, &config, &seeds);

    let kept = expected.len();
    let chi_square: f64 = expected
        .iter()
        .map(|&(id, probability)| {
            // An empty text is one whose first free token was the end token.
            let found = texts.iter().filter(|text| *text.get(1).unwrap_or(&EOS) == id).count();
            let wanted = probability * DRAWS as f64;
            (found as f64 - wanted).powi(2) / wanted
        })
        .sum();
    let drawn: usize = texts
        .iter()
        .filter(|text| expected.iter().any(|(id, _)| text.get(1).unwrap_or(&EOS) == id))
        .count();
    assert_eq!(drawn, DRAWS, "something outside the nucleus was drawn");
    // Mean `kept - 1`, deviation `sqrt(2 (kept - 1))`.
    let bound = kept as f64 + 5.0 * (2.0 * kept as f64).sqrt();
    println!("chi-square {chi_square} with {kept} ids");
    assert!(kept > 5 && chi_square < bound, "chi-square {chi_square}, bound {bound}");
}

#[test]
fn seeds_decide_sampled_texts() {
    let device = Device::default();
    let bart = bart(&device);
    let source = Source::of_fixture(&bart, &device).rows(0, 8);
    let config = GenerationConfig { decoding: NUCLEUS, ..greedy(20, 0) };
    let first = source.generate(&bart, &config, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(first, source.generate(&bart, &config, &[1, 2, 3, 4, 5, 6, 7, 8]));
    assert_ne!(first, source.generate(&bart, &config, &[11, 12, 13, 14, 15, 16, 17, 18]));
}

#[test]
fn lengths_are_kept() {
    let device = Device::default();
    let bart = bart(&device);
    let source = Source::of_fixture(&bart, &device);
    for decoding in [Decoding::Greedy, NUCLEUS] {
        let config = GenerationConfig { decoding, ..greedy(12, 9) };
        let texts = source.generate(&bart, &config, &[3; 50]);
        for text in &texts {
            // Start and end token count, but are not returned.
            assert!((8..=10).contains(&text.len()), "{}", text.len());
            assert_eq!(text[0], 0, "the forced first token");
        }
    }
    // No room for anything but the start token and the forced end.
    let shortest = source.rows(0, 2).generate(&bart, &greedy(2, 0), &[0; 2]);
    assert!(shortest.iter().all(Vec::is_empty));
}

#[test]
fn without_forced_tokens_the_model_is_free() {
    let device = Device::default();
    let mut config = BartConfig::from_folder(&fixture("bart")).unwrap();
    config.forced_bos_token_id = None;
    config.forced_eos_token_id = None;
    let free = Bart::load(&fixture("bart"), &config, &device).unwrap();
    let source = Source::of_fixture(&free, &device).rows(0, 4);
    let texts = source.generate(&free, &greedy(5, 5), &[0; 4]);
    assert!(texts.iter().all(|text| text.len() == 4));

    let start = Tensor::<2, Int>::full([4, 1], 2, &device);
    let logits = free.decode(start, source.states, Some(source.mask));
    let logits = logits.slice_fill([0..4, 0..1, 2..3], -1e9);
    let expected = logits.argmax(2).try_into_vec_as::<u32>().unwrap();
    assert_eq!(texts.iter().map(|text| text[0]).collect::<Vec<_>>(), expected);
}

#[test]
fn no_mask_means_that_everything_is_visible() {
    let device = Device::default();
    let bart = bart(&device);
    let states = Source::of_fixture(&bart, &device).rows(0, 4).states;
    let everything = Tensor::<2, Int>::ones([4, 12], &device).equal_elem(1);
    let config = greedy(16, 0);
    let without = bart.generate(states.clone(), None, &config, &[0; 4]).unwrap();
    let with = bart.generate(states, Some(everything), &config, &[0; 4]).unwrap();
    assert_eq!(without, with);
}

#[test]
fn an_empty_batch_gives_no_texts() {
    let device = Device::default();
    let bart = bart(&device);
    let none = Tensor::<3>::empty([0, 3, 16], &device);
    assert!(bart.generate(none, None, &greedy(4, 0), &[]).unwrap().is_empty());
}

#[test]
fn bf16_models_decode() {
    if !computes_in_bf16() {
        return;
    }
    let device = Device::default();
    let bart = cast_module(bart(&device), FloatDType::BF16);
    let source = Source::of_fixture(&bart, &device).rows(0, 4);
    for decoding in [Decoding::Greedy, NUCLEUS] {
        let config = GenerationConfig { decoding, ..greedy(40, 6) };
        let texts = source.generate(&bart, &config, &[1, 2, 3, 4]);
        assert!(texts.iter().all(|text| (5..=38).contains(&text.len())));
    }
}

#[test]
fn bad_settings_are_refused() {
    let device = Device::default();
    let bart = load("bart", &device).valid();
    let source = Source::of_fixture(&bart, &device).rows(0, 2);
    let sampled = |top_p, temperature| GenerationConfig {
        decoding: Decoding::nucleus(top_p, temperature),
        ..greedy(10, 0)
    };
    let beam = |beams| GenerationConfig {
        decoding: Decoding::Beam(BeamSearch { beams, ..BeamSearch::default() }),
        ..greedy(10, 0)
    };
    for (config, seeds, named) in [
        (greedy(1, 0), vec![0; 2], "max_length"),
        (greedy(65, 0), vec![0; 2], "max_length"),
        (greedy(10, 11), vec![0; 2], "min_length"),
        (greedy(10, 0), vec![0; 3], "seeds"),
        (sampled(0.0, 1.0), vec![0; 2], "top_p"),
        (sampled(1.1, 1.0), vec![0; 2], "top_p"),
        (sampled(f64::NAN, 1.0), vec![0; 2], "top_p"),
        (sampled(0.9, 0.0), vec![0; 2], "temperature"),
        (sampled(0.9, f64::INFINITY), vec![0; 2], "temperature"),
        (GenerationConfig { returns: 2, ..greedy(10, 0) }, vec![0; 2], "returns"),
        (GenerationConfig { returns: 0, ..sampled(0.9, 1.0) }, vec![0; 2], "returns"),
        (GenerationConfig { returns: 1 << 40, ..sampled(0.9, 1.0) }, vec![0; 2], "returns"),
        (GenerationConfig { returns: 5, ..beam(4) }, vec![0; 2], "returns"),
        (beam(0), vec![0; 2], "beams"),
        (
            GenerationConfig { repetition_penalty: 0.0, ..greedy(10, 0) },
            vec![0; 2],
            "repetition_penalty",
        ),
        (GenerationConfig { prefix: vec![5; 9], ..greedy(10, 0) }, vec![0; 2], "max_length"),
        (GenerationConfig { prefix: vec![9999], ..greedy(10, 0) }, vec![0; 2], "prefix"),
        (GenerationConfig { bad_words: vec![vec![]], ..greedy(10, 0) }, vec![0; 2], "bad_words"),
        (
            GenerationConfig { bad_words: vec![vec![1, 9999]], ..greedy(10, 0) },
            vec![0; 2],
            "bad_words",
        ),
        (
            GenerationConfig { forced_bos: ForcedToken::Id(9999), ..greedy(10, 0) },
            vec![0; 2],
            "forced_bos",
        ),
    ] {
        let mask = Some(source.mask.clone());
        let refused = bart.generate(source.states.clone(), mask, &config, &seeds).unwrap_err();
        let LanguageModelError::Setting { setting, .. } = refused else { panic!("{refused}") };
        assert_eq!(setting, named);
    }
}

#[test]
fn states_that_are_not_numbers_are_reported() {
    let device = Device::default();
    let bart = bart(&device);
    let states = Tensor::<3>::full([2, 3, 16], f32::NAN, &device);
    let config = GenerationConfig { decoding: NUCLEUS, ..greedy(10, 0) };
    let refused = bart.generate(states, None, &config, &[0; 2]).unwrap_err();
    assert!(matches!(refused, LanguageModelError::NotFinite { row: 0 }), "{refused}");
}

#[test]
fn settings_have_readable_json() {
    let text = r#"{"max_length": 32, "decoding": {"sampling": {"top_p": 0.9, "top_k": 40}}}"#;
    let config: GenerationConfig = serde_json::from_str(text).unwrap();
    let sampling = Sampling { top_p: 0.9, top_k: Some(40), ..Sampling::default() };
    assert_eq!(config.decoding, Decoding::Sampling(sampling));
    assert_eq!((config.max_length, config.min_length), (32, 0));
    let greedy: GenerationConfig = serde_json::from_str(r#"{"decoding": "greedy"}"#).unwrap();
    assert_eq!(greedy, GenerationConfig::default());
    assert!(serde_json::from_str::<GenerationConfig>(r#"{"beams": 4}"#).is_err());
    // Only who switches recordings off has an entry about them in a file.
    let entries = serde_json::to_value(&greedy).unwrap();
    assert!(entries.get("graphs").is_none());
    let plain = GenerationConfig { graphs: false, ..greedy };
    let read_back = serde_json::from_value(serde_json::to_value(&plain).unwrap()).unwrap();
    assert_eq!(plain, read_back);
}

/// The source's texts by themselves, and the tokens that were told of while they were written.
fn streamed(bart: &Bart, source: &Source, config: &GenerationConfig) -> [Vec<Vec<u32>>; 2] {
    let model = EncoderDecoder::from(bart.clone());
    let seeds: Vec<u64> = (0..source.states.dims()[0] as u64).collect();
    let mut told = vec![Vec::new(); seeds.len() * config.returns];
    let (states, mask) = (source.states.clone(), Some(source.mask.clone()));
    let texts = model.stream(states, mask, config, &seeds, |token| {
        told[token.text].push(token.id);
        ControlFlow::Continue(())
    });
    [ids(texts.unwrap()), told]
}

#[test]
fn tokens_are_told_of_as_they_come() {
    let device = Device::default();
    let bart = bart(&device);
    let source = Source::of_fixture(&bart, &device).rows(0, 20);
    let sampling = GenerationConfig { decoding: NUCLEUS, returns: 2, ..greedy(20, 0) };
    for config in [greedy(20, 0), sampling] {
        let [texts, told] = streamed(&bart, &source, &config);
        let seeds: Vec<u64> = (0..20).collect();
        assert_eq!(texts, source.generate(&bart, &config, &seeds));
        for (text, told) in texts.iter().zip(told) {
            assert_eq!(told.last(), Some(&EOS), "forced at the latest at the longest length");
            assert_eq!(text[..], told[..told.len() - 1]);
        }
    }
}

#[test]
fn a_stream_can_be_stopped() {
    let device = Device::default();
    let bart = bart(&device);
    let source = Source::of_fixture(&bart, &device).rows(0, 1);
    let model = EncoderDecoder::from(bart.clone());
    let mut told = 0;
    let texts = model.stream(source.states, Some(source.mask), &greedy(40, 40), &[0], |_| {
        told += 1;
        if told == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((told, texts.unwrap()[0].ids.len()), (5, 5));
}

#[test]
fn a_beam_search_tells_of_no_tokens() {
    let device = Device::default();
    let bart = bart(&device);
    let source = Source::of_fixture(&bart, &device).rows(0, 1);
    let model = EncoderDecoder::from(bart);
    let config =
        GenerationConfig { decoding: Decoding::Beam(BeamSearch::default()), ..greedy(20, 0) };
    let refused = model.stream(source.states, None, &config, &[0], |_| ControlFlow::Continue(()));
    let LanguageModelError::Setting { setting, .. } = refused.unwrap_err() else { panic!() };
    assert_eq!(setting, "decoding");
}

#[test]
fn a_search_that_may_not_go_on_says_so() {
    let device = Device::default();
    let bart = bart(&device);
    let vocabulary = BartConfig::from_folder(&fixture("bart")).unwrap().vocab_size as u32;
    let source = Source::of_fixture(&bart, &device).rows(0, 1);
    let config = GenerationConfig {
        bad_words: (0..vocabulary).map(|id| vec![id]).collect(),
        min_length: 10,
        decoding: Decoding::Beam(BeamSearch::default()),
        ..greedy(20, 0)
    };
    let refused = bart.generate(source.states, None, &config, &[0]).unwrap_err();
    let forbidden = matches!(refused, LanguageModelError::NoContinuation { source_index: 0 });
    assert!(forbidden, "{refused}");
}
