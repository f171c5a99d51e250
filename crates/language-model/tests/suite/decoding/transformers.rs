//! Texts and their scores, for every family and every setting.

use std::collections::HashMap;

use latent_text_language_model::GeneratedText;

use super::fixture::{Case, FAMILIES, Family, Source, read};

/// Checks every case of a family.
fn check(name: &str) {
    let family: Family = read(name);
    let source = Source::with(name, &family.prompts, None);
    let mut largest: f64 = 0.0;
    let mut wrong = Vec::new();
    for case in &family.cases {
        let with_its_ends =
            case.eos.as_ref().map(|eos| Source::with(name, &family.prompts, Some(eos)));
        let source = with_its_ends.as_ref().unwrap_or(&source).rows(&case.rows);
        let texts = source.generate(&case.config);
        let differing = differing(case, &texts);
        if let Some(&first) = differing.first() {
            wrong.push(format!(
                "{}: {} of {} texts; the {first}th is {:?} instead of {:?}",
                case.name,
                differing.len(),
                case.texts.len(),
                texts[first].ids,
                case.texts[first],
            ));
        } else {
            largest = largest.max(score_error(case, &texts));
        }
    }
    println!("{name}: {} cases, scores off by up to {largest:e}", family.cases.len());
    assert!(wrong.is_empty(), "{name}\n{}", wrong.join("\n"));
    assert!(largest < 1e-4);
}

/// The texts that aren't the expected ones.
fn differing(case: &Case, texts: &[GeneratedText]) -> Vec<usize> {
    assert_eq!(texts.len(), case.rows.len() * case.config.returns, "{}", case.name);
    assert_eq!(texts.len(), case.texts.len(), "{}", case.name);
    let sources = texts.iter().map(|text| text.source);
    assert!(sources.eq((0..texts.len()).map(|text| text / case.config.returns)));
    (0..texts.len()).filter(|&text| texts[text].ids != case.texts[text]).collect()
}

/// Relative to the score, where that is beyond 1: it is a sum of as many log-probabilities.
fn score_error(case: &Case, texts: &[GeneratedText]) -> f64 {
    let Some(expected) = &case.scores else {
        assert!(texts.iter().all(|text| text.score.is_none()));
        return 0.0;
    };
    let errors = texts.iter().zip(expected).map(|(text, expected)| {
        let off = (text.score.unwrap() - expected).abs() / expected.abs().max(1.0);
        assert!(!off.is_nan());
        off
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn bart_writes_what_it_does_in_transformers() {
    check("bart");
}

#[test]
fn mbart_writes_what_it_does_in_transformers() {
    check("mbart");
}

#[test]
fn t5_writes_what_it_does_in_transformers() {
    check("t5");
}

#[test]
fn flan_t5_writes_what_it_does_in_transformers() {
    check("flan");
}

#[test]
fn mt5_writes_what_it_does_in_transformers() {
    check("mt5");
}

#[test]
fn fixtures_cover_every_setting_with_enough_prompts() {
    let processors = [
        "no_repeat_1",
        "no_repeat_2",
        "no_repeat_3",
        "penalty_1.2",
        "penalty_0.8",
        "bad_tokens",
        "bad_words",
        "min_length",
        "forced_first",
        "forced_end",
        "forced_last",
        "nothing_forced",
        "prefix",
        "prefix_no_repeat",
        "several_ends",
        "several_ends_min_length",
        "everything",
        "everything_behind_a_prefix",
    ];
    let of_both = |setting: &str| ["greedy", "beam"].map(|kind| format!("{kind}_{setting}"));
    let settings = processors.into_iter().flat_map(of_both);
    let settings: Vec<String> =
        settings.chain(["greedy", "beam", "ld4lg"].map(String::from)).collect();
    for name in FAMILIES {
        let family: Family = read(name);
        for setting in &settings {
            let case = family.cases.iter().find(|case| case.name == *setting).unwrap();
            assert!(case.rows.len() >= 200, "{name}: {setting}");
        }
        assert!(family.cases.len() >= 58);
    }
}

#[test]
fn every_setting_of_the_fixtures_matters() {
    for name in FAMILIES {
        let family: Family = read(name);
        let case = |case: &str| family.cases.iter().find(|known| known.name == case).unwrap();
        for kind in ["greedy", "beam"] {
            for setting in [
                "no_repeat_1",
                "no_repeat_2",
                "no_repeat_3",
                "penalty_1.2",
                "penalty_0.8",
                "bad_tokens",
                "bad_words",
                "min_length",
                "forced_first",
                "forced_end",
                "prefix",
                "several_ends",
                "everything",
            ] {
                let with = case(&format!("{kind}_{setting}"));
                assert!(changed(case(kind), with) > 10, "{name}: {kind}, {setting}");
            }
        }
        for [a, b] in [
            ["length_penalty_1_heuristic", "length_penalty_1_first"],
            ["length_penalty_1_heuristic", "length_penalty_1_never"],
            ["length_penalty_2_heuristic", "length_penalty_2_first"],
            ["length_penalty_1_heuristic", "length_penalty_0.6_heuristic"],
            ["length_penalty_1_heuristic", "length_penalty_2_heuristic"],
        ] {
            let [first, second] = [a, b].map(|setting| case(&format!("beam_{setting}")));
            assert!(changed(first, second) > 0, "{name}: {a} and {b}");
        }
        assert!(changed(case("greedy"), case("beam")) > 100, "{name}");
    }
}

/// The number of prompts for which two cases with as many returns have other texts.
fn changed(a: &Case, b: &Case) -> usize {
    let returns = a.config.returns;
    assert_eq!(returns, b.config.returns);
    let texts = |case: &Case| -> HashMap<usize, Vec<Vec<u32>>> {
        let texts = case.texts.chunks(returns).map(<[_]>::to_vec);
        case.rows.iter().copied().zip(texts).collect()
    };
    let (a, b) = (texts(a), texts(b));
    a.iter().filter(|(row, texts)| b.get(row).is_some_and(|other| other != *texts)).count()
}
