//! Network calls that are recorded and replayed against plain ones, on a tiny model with random parameters.
//! Where the device records nothing, as a CPU, all calls are plain ones, and only this is checked: that
//! requests of several batches go through, and that `graphs` changes nothing in them. Whether a call is
//! recorded where that is possible is checked in `src/networks.rs`.

mod common;

use std::ops::ControlFlow;

use latent_text_diffusion::{GuidanceConfig, SamplerKind};
use latent_text_generation::{LatentText, Lengths, Request, SourceEncoder};

/// Enough for a recording.
const STEPS: usize = 24;

fn latents(model: &LatentText, request: &Request) -> Vec<f32> {
    let texts = model.generate(request, |_| ControlFlow::Continue(())).unwrap();
    texts.into_iter().flat_map(|text| text.latents.unwrap().concat()).collect()
}

/// Of two full batches and one that is not.
fn request() -> Request {
    Request {
        count: 8,
        seed: 5,
        guidance: Some(GuidanceConfig::ClassifierFree { scale: 2.0 }),
        sampler: Some(SamplerKind::Ddim),
        steps: Some(STEPS),
        batch_size: 3,
        with_latents: true,
        ..Request::default()
    }
}

#[track_caller]
fn assert_same(model: &LatentText, request: Request) {
    let found = latents(model, &request);
    let expected = latents(model, &Request { graphs: false, ..request });
    assert_eq!(found.len(), expected.len());
    let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error < 1e-3, "{error}");
}

#[test]
fn graphs_give_the_latents_of_plain_calls() {
    let labels = vec!["inn".into(), "pub".into()];
    assert_same(&common::conditional(), Request { labels, ..request() });
}

#[test]
fn graphs_see_every_batchs_sources() {
    let sources = ["kika momu late", "momu", "late late kika", "kika", "momu late"];
    let sources = sources.map(str::to_string).to_vec();
    let labels = vec!["cafe".into()];
    let request = Request { labels, sources, ..request() };
    assert_same(&common::for_sources(SourceEncoder::Own), request);
}

#[test]
fn graphs_see_every_batchs_padding() {
    let lengths = Some(Lengths::Given(vec![3, 6, 4, 5, 6, 2, 1]));
    let request = Request { lengths, guidance: None, ..request() };
    assert_same(&common::encoder_space(None), request.clone());
    let sources = vec!["kika momu".into()];
    assert_same(&common::bart_diffusion(), Request { sources, ..request });
}
