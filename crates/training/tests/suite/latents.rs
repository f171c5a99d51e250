use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use latent_text_autoencoder::{LanguageAutoencoder, LatentNorm, LatentSpace, PerceiverConfig};
use latent_text_language_model::TokenBatch;
use latent_text_testing::{device_turn, tiny_bart};
use latent_text_training::latents::{LatentSet, LatentSource, cached_latents};
use latent_text_training::{Padding, Precision, TrainingError};

use crate::common::{largest_difference, values};

const MAX_TOKENS: usize = 24;
const TEXTS: [&str; 7] = [
    "The Mill is a cheap pub.",
    "The Eagle is a quiet place near the river.",
    "A pub.",
    "Come to the Vaults for cheap food.",
    "The Punter is cheap.",
    "There is no river near the Mill.",
    "Quiet, cheap and near.",
];

fn autoencoder(seed: u64, device: &Device) -> LanguageAutoencoder {
    let perceiver = PerceiverConfig {
        dim_lm: 16,
        latents: 4,
        latent_dim: 6,
        layers: 1,
        head_dim: 8,
        ff_mult: 2,
        max_tokens: MAX_TOKENS,
        latent_norm: LatentNorm::None,
        ..PerceiverConfig::default()
    };
    device.seed(seed);
    let bart = tiny_bart(16, MAX_TOKENS);
    let language_model = latent_text_testing::language_model(TEXTS, 300, bart, device);
    let space = LatentSpace::Perceiver { perceiver: perceiver.init(device), config: perceiver };
    let made = LanguageAutoencoder::new(language_model, space);
    let made = made.expect("an autoencoder");
    // Parameters are drawn when they are first used.
    direct(&made, &tokens(&made), device);
    made
}

fn tokens(autoencoder: &LanguageAutoencoder) -> Vec<Vec<u32>> {
    autoencoder.language_model.tokenizer.encode_batch(&TEXTS, MAX_TOKENS).expect("tokens").ids
}

/// The latents of each text alone, without padding.
fn direct(autoencoder: &LanguageAutoencoder, tokens: &[Vec<u32>], device: &Device) -> Vec<f32> {
    let language_model = &autoencoder.language_model;
    let pad_id = language_model.tokenizer.pad_id();
    tokens
        .iter()
        .flat_map(|row| {
            let (ids, mask) =
                TokenBatch { ids: vec![row.clone()], pad_id }.tensors(row.len(), device);
            values(&autoencoder.encode_tokens(ids, mask).values)
        })
        .collect()
}

struct Setting<'a> {
    autoencoder: &'a LanguageAutoencoder,
    tokens: &'a [Vec<u32>],
    fingerprint: &'a str,
    device: &'a Device,
}

impl Setting<'_> {
    fn latents(&self, path: &Path, stop: bool) -> Result<LatentSet, TrainingError> {
        let source = LatentSource {
            autoencoder: self.autoencoder,
            tokens: self.tokens,
            classes: (0..self.tokens.len()).collect(),
            batch_size: 3,
            padding: Padding { max_tokens: MAX_TOKENS, multiple: 8 },
            precision: Precision::F32,
            fingerprint: self.fingerprint.to_string(),
        };
        cached_latents(path, source, self.device, &AtomicBool::new(stop))
    }
}

fn all(set: &LatentSet) -> Vec<f32> {
    let texts: Vec<i32> = (0..set.len() as i32).collect();
    values(&set.select(&texts).values)
}

#[test]
fn latents_and_statistics_are_those_of_a_direct_computation() {
    let _turn = device_turn();
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let autoencoder = autoencoder(1, &device);
    let tokens = tokens(&autoencoder);
    let setting =
        Setting { autoencoder: &autoencoder, tokens: &tokens, fingerprint: "a", device: &device };
    let set = setting.latents(&folder.path().join("latents"), false).expect("latents");
    let expected = direct(&autoencoder, &tokens, &device);
    let difference = largest_difference(&all(&set), &expected);
    assert!(difference < 1e-5, "{difference}");
    assert_eq!(set.len(), TEXTS.len());
    assert_eq!(set.classes(), [0, 1, 2, 3, 4, 5, 6]);

    let statistics = set.statistics().clone();
    let vectors: Vec<&[f32]> = expected.chunks(6).collect();
    assert_eq!(statistics.count, 28);
    let means: Vec<f64> = (0..6)
        .map(|dim| vectors.iter().map(|vector| f64::from(vector[dim])).sum::<f64>() / 28.0)
        .collect();
    for (mean, expected) in statistics.mean.iter().zip(&means) {
        assert!((f64::from(*mean) - expected).abs() < 1e-5);
    }
    let variance = vectors
        .iter()
        .flat_map(|vector| {
            vector.iter().zip(&means).map(|(x, mean)| (f64::from(*x) - mean).powi(2))
        })
        .sum::<f64>()
        / (28.0 * 6.0);
    assert!((f64::from(statistics.scale) - variance.sqrt()).abs() < 1e-5);

    let picked = set.select(&[5, 0, 5]).values;
    assert_eq!(picked.dims(), [3, 4, 6]);
    let rows: Vec<f32> =
        [5, 0, 5].iter().flat_map(|row| &expected[row * 24..][..24]).copied().collect();
    assert!(largest_difference(&values(&picked), &rows) < 1e-5);

    let normalised: Vec<f64> =
        all(&set.normalised(&statistics)).iter().map(|&value| value.into()).collect();
    let squares = normalised.iter().map(|value| value * value).sum::<f64>();
    assert!((squares / normalised.len() as f64 - 1.0).abs() < 1e-4);
    for dim in 0..6 {
        let mean = normalised.iter().skip(dim).step_by(6).sum::<f64>() / 28.0;
        assert!(mean.abs() < 1e-5, "{mean}");
    }
}

#[test]
fn latents_are_computed_once_for_each_source() {
    let _turn = device_turn();
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latents.safetensors");
    let (first, second) = (autoencoder(1, &device), autoencoder(2, &device));
    let tokens = tokens(&first);
    let setting =
        Setting { autoencoder: &first, tokens: &tokens, fingerprint: "first", device: &device };
    let computed = all(&setting.latents(&path, false).expect("latents"));
    let written = fs::read(&path).expect("the cache");
    let modified =
        |path: &Path| fs::metadata(path).and_then(|data| data.modified()).expect("a time");
    let time = modified(&path);

    // Another autoencoder under the same fingerprint shows that nothing is computed; nor is
    // anything written.
    let reading = Setting { autoencoder: &second, ..setting };
    assert_eq!(all(&reading.latents(&path, true).expect("the cache")), computed);
    assert!(fs::read(&path).expect("the cache") == written);
    assert_eq!(modified(&path), time);

    let other = Setting { fingerprint: "second", ..reading };
    let recomputed = all(&other.latents(&path, false).expect("latents"));
    assert!(largest_difference(&recomputed, &computed) > 1e-2);
    assert!(fs::read(&path).expect("the cache") != written);

    let fewer = Setting { tokens: &tokens[..5], ..other };
    assert_eq!(fewer.latents(&path, false).expect("latents").len(), 5);
}

#[test]
fn a_damaged_cache_is_replaced() {
    let _turn = device_turn();
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latents.safetensors");
    let autoencoder = autoencoder(1, &device);
    let tokens = tokens(&autoencoder);
    let setting =
        Setting { autoencoder: &autoencoder, tokens: &tokens, fingerprint: "a", device: &device };
    let computed = all(&setting.latents(&path, false).expect("latents"));
    let whole = fs::read(&path).expect("the cache");
    for keep in [0, 3, 8, 60, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..keep]).expect("writing");
        let set = setting.latents(&path, false).unwrap_or_else(|error| panic!("{keep}: {error}"));
        assert_eq!(all(&set), computed, "cut after {keep} bytes");
        assert!(fs::read(&path).expect("the cache") == whole);
    }
}

#[test]
fn a_stop_leaves_no_cache() {
    let _turn = device_turn();
    let device = Device::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latents.safetensors");
    let autoencoder = autoencoder(1, &device);
    let tokens = tokens(&autoencoder);
    let setting =
        Setting { autoencoder: &autoencoder, tokens: &tokens, fingerprint: "a", device: &device };
    let error = setting.latents(&path, true).err().expect("it is stopped");
    assert!(matches!(error, TrainingError::Interrupted), "{error:?}");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
}
