//! What must hold whatever the weights are.

use std::collections::HashSet;

use burn::tensor::{Int, Tensor, TensorData, activation};
use latent_text_language_model::{
    BeamSearch, Decoding, EarlyStopping, GeneratedText, GenerationConfig, Sampling,
    next_token_distributions,
};
use latent_text_testing::values;

use super::fixture::{FAMILIES, Source};

const MAX_LENGTH: usize = 20;

fn config(decoding: Decoding) -> GenerationConfig {
    GenerationConfig { max_length: MAX_LENGTH, decoding, ..GenerationConfig::default() }
}

fn beam(length_penalty: f64, early_stopping: EarlyStopping) -> Decoding {
    Decoding::Beam(BeamSearch { beams: 4, length_penalty, early_stopping })
}

fn ids(texts: &[GeneratedText]) -> Vec<&[u32]> {
    texts.iter().map(|text| &text.ids[..]).collect()
}

#[test]
fn one_beam_is_greedy_decoding() {
    let one = Decoding::Beam(BeamSearch { beams: 1, ..BeamSearch::default() });
    for family in FAMILIES {
        let source = Source::of(family, 100);
        for (no_repeat_ngram_size, min_length) in [(0, 0), (2, 0), (0, 9)] {
            let settings = |decoding| GenerationConfig {
                no_repeat_ngram_size,
                min_length,
                ..config(decoding)
            };
            let beam = source.generate(&settings(one));
            let greedy = source.generate(&settings(Decoding::Greedy));
            assert_eq!(ids(&beam), ids(&greedy), "{family}");
        }
    }
}

/// Where nothing is recorded, both are the same.
#[test]
fn recordings_change_no_text() {
    for family in FAMILIES {
        let source = Source::of(family, 100);
        for decoding in [Decoding::Greedy, beam(1.0, EarlyStopping::Heuristic)] {
            let recorded = source.generate(&config(decoding));
            let plain = source.generate(&GenerationConfig { graphs: false, ..config(decoding) });
            assert_eq!(ids(&recorded), ids(&plain), "{family}");
        }
    }
}

#[test]
fn the_texts_of_a_search_come_best_first_and_differ() {
    for family in FAMILIES {
        let source = Source::of(family, 60);
        for early_stopping in [EarlyStopping::Heuristic, EarlyStopping::First, EarlyStopping::Never]
        {
            for length_penalty in [-1.0, 0.0, 1.0, 2.0] {
                let decoding = beam(length_penalty, early_stopping);
                let texts = source.generate(&GenerationConfig { returns: 4, ..config(decoding) });
                for texts in texts.chunks(4) {
                    assert!(texts.iter().all(|text| text.source == texts[0].source));
                    assert!(texts.is_sorted_by(|a, b| a.score.unwrap() >= b.score.unwrap()));
                    assert_eq!(HashSet::<&[u32]>::from_iter(ids(texts)).len(), 4, "{family}");
                }
            }
        }
    }
}

#[test]
fn fewer_returns_are_the_first_of_more() {
    let source = Source::of("flan", 60);
    let decoding = beam(1.0, EarlyStopping::Heuristic);
    let four = source.generate(&GenerationConfig { returns: 4, ..config(decoding) });
    let one = source.generate(&config(decoding));
    let best: Vec<&GeneratedText> = four.iter().step_by(4).collect();
    assert_eq!(one.iter().collect::<Vec<_>>(), best);
}

#[test]
fn a_text_does_not_depend_on_the_other_rows() {
    let sampling = Decoding::Sampling(Sampling { top_k: Some(20), ..Sampling::default() });
    for family in FAMILIES {
        let source = Source::of(family, 24);
        for (decoding, returns) in [
            (Decoding::Greedy, 1),
            (beam(1.0, EarlyStopping::Heuristic), 3),
            (beam(2.0, EarlyStopping::Never), 1),
            (sampling, 3),
        ] {
            let config = GenerationConfig {
                returns,
                no_repeat_ngram_size: 3,
                repetition_penalty: 1.2,
                ..config(decoding)
            };
            let together = source.generate(&config);
            for (row, together) in together.chunks(returns).enumerate() {
                let alone = source.rows(&[row]).generate_with(&config, &[row as u64]);
                assert_eq!(ids(&alone), ids(together), "{family}, row {row}");
            }
        }
    }
}

#[test]
fn forbidden_repeats_and_words_never_come() {
    let sampling = Decoding::Sampling(Sampling { temperature: 1.5, ..Sampling::default() });
    for family in FAMILIES {
        let source = Source::of(family, 60);
        let start = source.config.decoder_start_token_id();
        for decoding in [Decoding::Greedy, beam(1.0, EarlyStopping::Heuristic), sampling] {
            let free = source.generate(&config(decoding));
            for size in 1..=3 {
                let config = GenerationConfig { no_repeat_ngram_size: size, ..config(decoding) };
                let texts = source.generate(&config);
                assert!(texts.iter().all(|text| !repeats(start, text, size)), "{family}");
                if size < 3 {
                    assert!(free.iter().any(|text| repeats(start, text, size)), "{family}");
                }
            }
            let words = frequent_words(&free);
            let texts =
                source.generate(&GenerationConfig { bad_words: words.clone(), ..config(decoding) });
            for word in &words {
                assert!(free.iter().any(|text| has(text, word)));
                assert!(!texts.iter().any(|text| has(text, word)), "{family}: {word:?}");
            }
        }
    }
}

/// Whether a text has the same `size` ids twice.
fn repeats(start: u32, text: &GeneratedText, size: usize) -> bool {
    let all: Vec<u32> = std::iter::once(start).chain(text.ids.iter().copied()).collect();
    let mut seen = HashSet::new();
    all.windows(size).any(|ngram| !seen.insert(ngram))
}

fn has(text: &GeneratedText, word: &[u32]) -> bool {
    text.ids.windows(word.len()).any(|ids| ids == word)
}

/// A pair of ids, and one id, that some texts have; forced first ids are not among them.
fn frequent_words(texts: &[GeneratedText]) -> Vec<Vec<u32>> {
    let most = |length: usize| {
        let runs = texts.iter().flat_map(|text| text.ids.windows(length));
        let runs: Vec<&[u32]> = runs.filter(|run| run.iter().all(|&id| id >= 5)).collect();
        let count = |run: &[u32]| runs.iter().filter(|other| **other == run).count();
        runs.iter().max_by_key(|run| (count(run), **run)).unwrap().to_vec()
    };
    let pair = most(2);
    let single = texts
        .iter()
        .flat_map(|text| &text.ids)
        .find(|&&id| id >= 5 && !pair.contains(&id))
        .unwrap();
    vec![pair, vec![*single]]
}

#[test]
fn scores_are_the_log_probabilities_of_teacher_forcing() {
    // Families without forced tokens, which are sure and not counted.
    for family in ["t5", "flan", "mt5"] {
        let source = Source::of(family, 40);
        for (decoding, per_token) in [
            (Decoding::Greedy, 0.0),
            (Decoding::Sampling(Sampling::default()), 0.0),
            (beam(0.0, EarlyStopping::Heuristic), 0.0),
            (beam(1.0, EarlyStopping::Heuristic), 1.0),
            (beam(-1.0, EarlyStopping::Never), -1.0),
        ] {
            let config = GenerationConfig { with_scores: true, ..config(decoding) };
            let texts = source.generate(&config);
            for (text, expected) in texts.iter().zip(log_probabilities(&source, &texts)) {
                let (sum, count) = expected;
                let expected = sum / f64::powf(count as f64, per_token);
                let off = (text.score.unwrap() - expected).abs();
                assert!(off < 1e-4 * expected.abs().max(1.0), "{family}: off by {off:e}");
            }
        }
    }
}

/// The sum of the log-probabilities of every text's tokens, its end token included, and their number.
fn log_probabilities(source: &Source, texts: &[GeneratedText]) -> Vec<(f64, usize)> {
    let start = source.config.decoder_start_token_id();
    let eos = source.config.eos_token_id().first();
    let chosen: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| {
            let full = text.ids.len() == MAX_LENGTH - 1;
            text.ids.iter().copied().chain((!full).then_some(eos)).collect()
        })
        .collect();
    let shown = |text: &[u32]| {
        let ids =
            std::iter::once(start).chain(text.iter().copied()).chain(std::iter::repeat(start));
        ids.take(MAX_LENGTH).map(i64::from).collect::<Vec<_>>()
    };
    let shown: Vec<i64> = chosen.iter().flat_map(|text| shown(text)).collect();
    let shown = TensorData::new(shown, [texts.len(), MAX_LENGTH]);
    let shown = Tensor::<2, Int>::from_data(shown, &source.states.device());
    let logits = source.model.decode(shown, source.states.clone(), Some(source.mask.clone()));
    let [_, _, vocabulary] = logits.dims();
    let logarithms = values(activation::log_softmax(logits, 2));
    let of_text = |(row, ids): (usize, &Vec<u32>)| {
        let place = |(place, &id): (usize, &u32)| {
            f64::from(logarithms[(row * MAX_LENGTH + place) * vocabulary + id as usize])
        };
        (ids.iter().enumerate().map(place).sum(), ids.len())
    };
    chosen.iter().enumerate().map(of_text).collect()
}

#[test]
fn draws_follow_the_distribution_behind_the_processors() {
    const DRAWS: usize = 20_000;
    let source = Source::of("flan", 3).rows(&[2]);
    let start = source.config.decoder_start_token_id();
    let sampling = Sampling { temperature: 1.3, top_k: Some(30), top_p: 0.9, typical_p: 0.95 };
    let settings = GenerationConfig {
        max_length: 2,
        returns: DRAWS,
        bad_words: vec![vec![9], vec![start, 11]],
        min_length: 2,
        ..config(Decoding::Sampling(sampling))
    };
    let shown = Tensor::<2, Int>::from_ints([[start]], &source.states.device());
    let logits = source.model.decode(shown, source.states.clone(), Some(source.mask.clone()));
    let eos: Vec<u32> = source.config.eos_token_id().iter().collect();
    let expected = next_token_distributions(logits.squeeze_dim(1), &[vec![start]], &settings, &eos);
    let expected = expected.unwrap().remove(0);

    let texts = source.generate_with(&settings, &[77]);
    assert_eq!(texts.len(), DRAWS);
    let mut counts = vec![0; source.config.vocab_size()];
    texts.iter().for_each(|text| counts[text.ids[0] as usize] += 1);
    let drawn: usize = expected.iter().map(|&(id, _)| counts[id as usize]).sum();
    assert_eq!(drawn, DRAWS, "something outside the distribution was drawn");
    let chi_square: f64 = expected
        .iter()
        .map(|&(id, probability)| {
            let wanted = probability * DRAWS as f64;
            (f64::from(counts[id as usize] as u32) - wanted).powi(2) / wanted
        })
        .sum();
    let freedom = (expected.len() - 1) as f64;
    println!("chi-square {chi_square} with {freedom} degrees of freedom");
    // Its mean is `freedom`, its deviation `sqrt(2 freedom)`.
    assert!(freedom > 5.0 && chi_square < freedom + 5.0 * (2.0 * freedom).sqrt());
}

#[test]
fn seeds_decide_all_sampled_texts_of_a_source() {
    let source = Source::of("flan", 8);
    let config = GenerationConfig { returns: 3, ..config(Decoding::Sampling(Sampling::default())) };
    let texts = source.generate(&config);
    assert_eq!(texts.len(), 24);
    assert_eq!(texts, source.generate(&config));
    let sources: Vec<usize> = texts.iter().map(|text| text.source).collect();
    assert_eq!(sources, (0..24).map(|text| text / 3).collect::<Vec<_>>());
    assert!(texts.chunks(3).all(|three| HashSet::<&[u32]>::from_iter(ids(three)).len() > 1));

    let other = source.generate_with(&config, &[100, 1, 2, 3, 4, 5, 6, 7]);
    assert_ne!(ids(&other[..3]), ids(&texts[..3]));
    assert_eq!(ids(&other[3..]), ids(&texts[3..]));

    // More texts don't change the first ones.
    let five = source.generate(&GenerationConfig { returns: 5, ..config });
    for (five, three) in five.chunks(5).zip(texts.chunks(3)) {
        assert_eq!(ids(&five[..3]), ids(three));
    }
}
