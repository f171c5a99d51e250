//! Candidates and the choice among them, on a tiny model with random parameters.

mod common;

use std::collections::HashSet;
use std::ops::ControlFlow;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};
use latent_text_autoencoder::LatentNorm;
use latent_text_conditioning::{Similarity, best_of, coverage, minimum_bayes_risk};
use latent_text_generation::{
    Choice, Generated, GenerationError, LatentText, Request, SourceEncoder,
};
use latent_text_language_model::{Decoding, GenerationConfig, shift_right};
use serde_json::json;

fn request() -> Request {
    Request { count: 4, seed: 6, candidates: 5, with_candidates: true, ..Request::default() }
}

fn generate(model: &LatentText, request: &Request) -> Vec<Generated> {
    model.generate(request, |_| ControlFlow::Continue(())).unwrap()
}

fn tensor(model: &LatentText, text: &Generated) -> Tensor<3> {
    let vectors = text.latents.as_ref().unwrap();
    let shape = [1, vectors.len(), vectors[0].len()];
    Tensor::from_data(TensorData::new(vectors.concat(), shape), model.device())
}

#[test]
fn a_candidate_does_not_depend_on_the_number_of_texts_or_candidates() {
    let model = common::conditional();
    let nucleus = GenerationConfig {
        decoding: Decoding::nucleus(0.95, 1.5),
        ..model.config.decoding.clone()
    };
    for decoding in [None, Some(nucleus)] {
        let request = || Request { decoding: decoding.clone(), ..request() };
        let all = generate(&model, &request());
        assert!(all.iter().all(|text| text.candidates.len() == 5));
        let distinct: HashSet<&String> = all.iter().flat_map(|text| &text.candidates).collect();
        assert!(distinct.len() >= 10, "{distinct:?}");
        for (count, candidates, batch_size) in
            [(4, 5, 1), (4, 2, 32), (2, 3, 4), (1, 5, 7), (3, 1, 2)]
        {
            let some = generate(&model, &Request { count, candidates, batch_size, ..request() });
            assert_eq!(some.len(), count);
            for (text, all) in some.iter().zip(&all) {
                assert_eq!(text.candidates, all.candidates[..candidates], "{count}, {candidates}");
            }
        }
    }
}

#[test]
fn the_first_candidate_is_the_only_one() {
    let model = common::conditional();
    let alone = generate(&model, &Request { count: 4, seed: 6, ..Request::default() });
    let all = generate(&model, &request());
    for (alone, all) in alone.iter().zip(&all) {
        assert_eq!(alone.text, all.candidates[0]);
        assert_eq!(alone.text, all.text, "the first is the choice where no other is asked for");
        assert_eq!((alone.score, all.score), (None, None));
        assert!(alone.candidates.is_empty());
    }
}

#[test]
fn candidates_that_nobody_sees_are_not_sampled() {
    let model = common::conditional();
    let rows = |request: &Request| {
        let mut rows = HashSet::new();
        let generated = model.generate(request, |preview| {
            assert_eq!(preview.x0.texts(), preview.texts * preview.candidates);
            rows.insert((preview.first, preview.texts, preview.candidates));
            ControlFlow::Continue(())
        });
        generated.unwrap();
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable();
        rows
    };
    assert_eq!(rows(&Request { with_candidates: false, ..request() }), [(0, 4, 1)]);
    assert_eq!(rows(&request()), [(0, 4, 5)]);
    // Two texts with their candidates fit into a batch of 14.
    assert_eq!(rows(&Request { batch_size: 14, ..request() }), [(0, 2, 5), (2, 2, 5)]);
    assert_eq!(rows(&Request { batch_size: 2, count: 2, ..request() }), [(0, 1, 5), (1, 1, 5)]);
    let choice = Choice::Mbr(Similarity::Bleu);
    let mbr = Request { choice, with_candidates: false, ..request() };
    assert_eq!(rows(&mbr), [(0, 4, 5)]);
}

#[test]
fn minimum_bayes_risk_chooses_the_candidate_most_like_the_others() {
    let model = common::conditional();
    for similarity in [Similarity::Rouge2, Similarity::Bleu] {
        let request = Request { count: 8, choice: Choice::Mbr(similarity), ..request() };
        for text in generate(&model, &request) {
            let scores =
                minimum_bayes_risk(&text.candidates, |one, other| similarity.of(one, other));
            let best = best_of(&scores).unwrap();
            assert_eq!(text.text, text.candidates[best]);
            assert_eq!(text.score, Some(scores[best]));
        }
    }
}

#[test]
fn coverage_chooses_the_candidate_that_says_most_of_its_source() {
    let model = common::for_sources(SourceEncoder::Own);
    // Texts so short are single words; those of the sources are among the ones that the tiny model writes.
    let sources = ["bafu fefe biru", "fega daso fefe", "lolo rubalu bafu"];
    let decoding = GenerationConfig {
        max_length: 3,
        decoding: Decoding::nucleus(0.95, 2.0),
        ..model.config.decoding.clone()
    };
    let request = Request {
        count: 30,
        choice: Choice::Coverage,
        sources: sources.map(str::to_string).to_vec(),
        decoding: Some(decoding),
        ..request()
    };
    let texts = generate(&model, &Request { batch_size: 7, ..request.clone() });
    let mut others = 0;
    for text in &texts {
        let source = &request.sources[text.index % 3];
        let scores: Vec<f64> = text.candidates.iter().map(|one| coverage(source, one)).collect();
        let best = best_of(&scores).unwrap();
        assert_eq!(text.text, text.candidates[best]);
        assert_eq!(text.score, Some(scores[best]));
        others += usize::from(best > 0);
    }
    assert!(others > 0, "the first candidate was always the choice");
}

#[test]
fn coverage_needs_sources() {
    let request = Request { choice: Choice::Coverage, ..request() };
    let refused = common::conditional().generate(&request, |_| ControlFlow::Continue(()));
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("coverage") && message.contains("no sources"), "{message}");
}

#[test]
fn the_callers_similarity_decides() {
    let model = common::conditional();
    let weight = |text: &str| text.bytes().map(f64::from).sum::<f64>();
    let mut calls = 0;
    let lightest = |candidate: &str, _: &str| {
        calls += 1;
        -weight(candidate)
    };
    let texts = model.generate_by_similarity(&request(), lightest, |_| ControlFlow::Continue(()));
    let texts = texts.unwrap();
    assert_eq!(calls, 4 * 5 * 4);
    let mut others = 0;
    for text in texts {
        let light = |one: &&String, other: &&String| weight(one).total_cmp(&weight(other));
        let lightest = text.candidates.iter().min_by(light).unwrap();
        assert_eq!(&text.text, lightest, "{:?}", text.candidates);
        assert_eq!(text.score, Some(-4.0 * weight(lightest)));
        others += usize::from(text.text != text.candidates[0]);
    }
    assert!(others > 0, "the first candidate was always the choice");
}

#[test]
fn the_decoder_chooses_what_it_finds_likeliest() {
    for norm in [LatentNorm::L2, LatentNorm::None] {
        let model = common::model(None, norm);
        let likely =
            Request { choice: Choice::Likelihood, with_latents: true, count: 10, ..request() };
        let mut others = 0;
        for text in generate(&model, &likely) {
            let of_text = model.log_likelihoods(tensor(&model, &text), &[&text.text]).unwrap()[0];
            let score = text.score.unwrap();
            assert!((of_text - score).abs() < 1e-4, "{of_text} and {score}");
            others += usize::from(text.text != text.candidates[0]);
        }
        assert!(others > 0, "the first candidate was always the choice");
        let singles = Request { candidates: 1, with_candidates: false, ..likely.clone() };
        let chosen = generate(&model, &likely);
        for (single, chosen) in generate(&model, &singles).iter().zip(chosen) {
            assert!(chosen.score.unwrap() >= single.score.unwrap() - 1e-4);
        }
    }
}

#[test]
fn the_likelihood_is_the_mean_over_a_texts_tokens() {
    let model = common::model(None, LatentNorm::None);
    let texts = ["ba", "kika momu late", "", "du", "li", "lo", "mo", "ku", "fifa"];
    let x0 = model.encode(&texts).unwrap().values;
    let found = model.log_likelihoods(x0.clone(), &texts).unwrap();
    assert_eq!(found.len(), texts.len());
    let language_model = &model.autoencoder.language_model;
    for (row, text) in texts.iter().enumerate() {
        let ids = &language_model.tokenizer.encode_batch(&[text], 16).unwrap().ids[0];
        let numbers = ids.iter().map(|&id| i64::from(id)).collect();
        let labels = Tensor::<2, burn::tensor::Int>::from_data(
            TensorData::new(numbers, [1, ids.len()]),
            model.device(),
        );
        let latents = model.config.statistics.denormalise(x0.clone().narrow(0, row, 1));
        let (states, _) = model.autoencoder.decoder_states(latents.into());
        let read = shift_right(labels, language_model.config.decoder_start_token_id());
        let logits = language_model.model.decode(read, states, None);
        let vocabulary = logits.dims()[2];
        let values: Vec<f32> = log_softmax(logits, 2).to_data().iter().collect();
        let sum: f32 = ids
            .iter()
            .enumerate()
            .map(|(place, &id)| values[place * vocabulary + id as usize])
            .sum();
        let expected = f64::from(sum) / ids.len() as f64;
        assert!((found[row] - expected).abs() < 1e-4, "{text:?}: {} and {expected}", found[row]);
    }
    let other = model.log_likelihoods(x0.clone().flip([0]), &texts).unwrap();
    assert!(found.iter().zip(&other).any(|(found, other)| (found - other).abs() > 0.1));
    let refused = model.log_likelihoods(x0, &texts[1..]);
    assert!(matches!(refused, Err(GenerationError::Latents(_))), "{refused:?}");
}

#[test]
fn latents_on_request_are_what_was_decoded() {
    for norm in [LatentNorm::L2, LatentNorm::None] {
        let model = common::model(None, norm);
        let choice = Choice::Mbr(Similarity::Bleu);
        let texts = generate(&model, &Request { with_latents: true, choice, ..request() });
        for text in &texts {
            let decoded = model.decode(tensor(&model, text), &model.config.decoding, &[0]).unwrap();
            assert_eq!(decoded[0], text.text);
        }
        assert!(generate(&model, &request()).iter().all(|text| text.latents.is_none()));
    }
}

#[test]
fn encoded_texts_can_be_decoded() {
    for norm in [LatentNorm::L2, LatentNorm::None] {
        let model = common::model(None, norm);
        let texts = ["The Mill is a cafe.", "ba"];
        let latents = model.encode(&texts).unwrap();
        let decoded = model.decode(latents, &model.config.decoding, &[0, 0]).unwrap();
        assert_eq!(decoded, model.reconstruct(&texts).unwrap(), "{norm:?}");
    }
}

#[test]
fn latents_that_no_text_has_are_refused() {
    let model = common::conditional();
    let refused = |latents: Tensor<3>| {
        let seeds = vec![0; latents.dims()[0]];
        match model.decode(latents, &model.config.decoding, &seeds) {
            Err(GenerationError::Latents(problem)) => problem,
            other => panic!("{other:?}"),
        }
    };
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, model.device());
    for shape in [[1, 5, 8], [1, 4, 9]] {
        let message = refused(zeros(shape));
        assert!(message.contains(&format!("{shape:?}")), "{message}");
    }
    for value in [f32::NAN, f32::INFINITY] {
        let mut values = vec![0.0; 3 * 4 * 8];
        values[2 * 4 * 8 - 1] = value;
        let latents = Tensor::from_data(TensorData::new(values, [3, 4, 8]), model.device());
        let message = refused(latents);
        assert!(message.contains("text 1"), "{message}");
    }
}

#[test]
fn candidates_out_of_range_are_refused() {
    for candidates in [0, 1025, usize::MAX] {
        let request = Request { candidates, ..request() };
        let refused = common::conditional().generate(&request, |_| ControlFlow::Continue(()));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(&format!("candidates is {candidates}")), "{message}");
    }
}

#[test]
fn requests_and_results_can_be_written_and_read() {
    let empty: Request = serde_json::from_value(json!({})).unwrap();
    assert_eq!(empty, Request::default());
    let text = json!({
        "count": 3,
        "sources": ["a", "b"],
        "guidance": {"name": "classifier_free", "scale": 2.0},
        "candidates": 5,
        "choice": {"mbr": "rouge2"},
    });
    let request: Request = serde_json::from_value(text).unwrap();
    assert_eq!(request.choice, Choice::Mbr(Similarity::Rouge2));
    let again = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
    assert_eq!(request, again);
    let likely: Request = serde_json::from_value(json!({"choice": "likelihood"})).unwrap();
    assert_eq!(likely.choice, Choice::Likelihood);

    let model = common::conditional();
    let full = Request { with_latents: true, choice: Choice::Likelihood, ..self::request() };
    for request in [full, Request { count: 2, ..Request::default() }] {
        let generated = generate(&model, &request);
        let text = serde_json::to_string(&generated).unwrap();
        let again: Vec<Generated> = serde_json::from_str(&text).unwrap();
        assert_eq!(again.len(), generated.len());
        for (again, generated) in again.iter().zip(&generated) {
            // JSON's shortest form of a number may be one bit off.
            let (one, other) = (again.score.unwrap_or(0.0), generated.score.unwrap_or(0.0));
            assert!((one - other).abs() < 1e-12);
            assert_eq!(&Generated { score: generated.score, ..again.clone() }, generated);
        }
    }
}

#[test]
fn one_model_serves_two_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let model = common::conditional();
    shared(&model);
    let requests = [1, 2].map(|seed| Request { seed, choice: Choice::Likelihood, ..request() });
    let alone = requests.clone().map(|request| generate(&model, &request));
    for _ in 0..3 {
        let together = std::thread::scope(|scope| {
            let threads =
                requests.each_ref().map(|request| scope.spawn(|| generate(&model, request)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(together, alone);
    }
    assert_ne!(alone[0][0].text, alone[1][0].text);
}
