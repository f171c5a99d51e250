//! Either denoiser behind one type.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Int, Tensor};
use latent_text_denoiser::{
    Conditions, DenoiserConfig, DenoiserError, DenoisingNetwork, DenoisingNetworkConfig,
    EncoderSpaceDenoiserConfig, NetworkTime,
};
use latent_text_nn::weights::named_shapes;
use latent_text_testing::distance;
use serde_json::json;

fn latent() -> DenoiserConfig {
    DenoiserConfig {
        latent_dim: 4,
        max_latents: 6,
        dim: 8,
        depth: 2,
        head_dim: 4,
        dense_connections: 1,
        dropout: 0.0,
        ..Default::default()
    }
}

fn encoder_space() -> EncoderSpaceDenoiserConfig {
    EncoderSpaceDenoiserConfig {
        latent_dim: 4,
        max_latents: 6,
        dim: 8,
        depth: 2,
        head_dim: 4,
        ..Default::default()
    }
}

/// The module with all parameters drawn anew, as fresh denoisers return zeros.
fn randomised<M: Module>(module: M) -> M {
    struct Draw;

    impl ModuleMapper for Draw {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.random_like(Distribution::Normal(0.0, 0.5)))
        }
    }

    module.map(&mut Draw)
}

#[test]
fn settings_name_their_kind() {
    let read = |text: serde_json::Value| serde_json::from_value::<DenoisingNetworkConfig>(text);
    let plain = serde_json::to_value(latent()).unwrap();
    assert!(plain.get("kind").is_none());
    assert_eq!(read(plain.clone()).unwrap(), latent().into());
    assert_eq!(serde_json::to_value(DenoisingNetworkConfig::from(latent())).unwrap(), plain);
    assert_eq!(read(json!({"kind": "latent"})).unwrap(), DenoisingNetworkConfig::default());

    let config = DenoisingNetworkConfig::from(encoder_space());
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(written["kind"], "encoder_space");
    assert_eq!(read(written).unwrap(), config);
    for (wrong, expected) in [
        (json!({"kind": "v3"}), "unknown variant `v3`"),
        (json!({"kind": "encoder_space", "skips": "symmetric"}), "unknown field `skips`"),
        (json!({"relative_buckets": 8}), "unknown field `relative_buckets`"),
        (json!({"depth": "deep"}), "invalid type"),
    ] {
        let message = read(wrong).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn settings_are_those_of_the_network() {
    let config = DenoisingNetworkConfig::from(latent()).conditioned(Some(3), Some(5)).unwrap();
    assert_eq!(config, DenoiserConfig { classes: Some(3), source_dim: Some(5), ..latent() }.into());
    assert_eq!((config.classes(), config.source_dim()), (Some(3), Some(5)));
    assert_eq!((config.latent_dim(), config.max_latents()), (4, 6));
    assert!(!config.is_told_steps());
    let config = DenoisingNetworkConfig::from(encoder_space()).conditioned(Some(3), None).unwrap();
    assert_eq!((config.classes(), config.source_dim()), (Some(3), None));
    assert_eq!((config.latent_dim(), config.max_latents()), (4, 6));
    assert!(config.is_told_steps());
    assert_eq!(config.conditioned(None, None).unwrap(), encoder_space().into());
    let refused = DenoisingNetworkConfig::from(encoder_space()).conditioned(None, Some(5));
    assert!(matches!(refused, Err(DenoiserError::Setting { setting: "source_dim", .. })));
    let broken = EncoderSpaceDenoiserConfig { relative_buckets: 6, ..encoder_space() };
    let refused = DenoisingNetworkConfig::from(broken).validate();
    assert!(matches!(refused, Err(DenoiserError::Setting { setting: "relative_buckets", .. })));
}

#[test]
fn parameters_keep_their_names() {
    let device = Device::default();
    let latent_network = DenoisingNetworkConfig::from(latent()).init(&device);
    assert_eq!(named_shapes(&latent_network), named_shapes(&latent().init(&device)));
    let network = DenoisingNetworkConfig::from(encoder_space()).init(&device);
    assert_eq!(named_shapes(&network), named_shapes(&encoder_space().init(&device)));
    let config = DenoisingNetworkConfig::from(encoder_space());
    for (path, _) in named_shapes(&network) {
        assert_eq!(config.reference_name(&path), encoder_space().reference_name(&path));
    }
}

#[test]
fn each_network_is_told_its_own_time() {
    let device = Device::default();
    let z = Tensor::<3>::random([2, 5, 4], Distribution::Normal(0.0, 1.0), &device);
    let alpha = Tensor::from_floats([0.3, 0.8], &device);
    let step = Tensor::<1, Int>::from_ints([700, 20], &device);
    let time = NetworkTime { alpha: alpha.clone(), step: Some(step.clone()) };

    let denoiser = randomised(latent().init(&device));
    let expected = denoiser.forward(z.clone(), alpha.clone(), Conditions::default());
    let found = DenoisingNetwork::from(denoiser.clone());
    let output = found.forward(z.clone(), time.clone(), Conditions::default());
    assert_eq!(distance(output, expected.clone()), 0.0);
    let alone = NetworkTime { alpha, step: None };
    assert_eq!(distance(found.forward(z.clone(), alone, Conditions::default()), expected), 0.0);

    let denoiser = randomised(encoder_space().init(&device));
    let expected = denoiser.forward(z.clone(), step, Conditions::default());
    let found = DenoisingNetwork::from(denoiser);
    let output = found.forward(z.clone(), time.clone(), Conditions::default());
    assert_eq!(distance(output, expected.clone()), 0.0);
    let second = found.forward(z.slice(1..2), time.samples(1..2), Conditions::default());
    assert!(distance(second, expected.slice(1..2)) < 1e-5);
}

#[test]
fn embedded_levels_give_the_same_as_levels() {
    let device = Device::default();
    let z = Tensor::<3>::random([2, 5, 4], Distribution::Normal(0.0, 1.0), &device);
    let classes = || Tensor::<1, Int>::from_ints([2, 0], &device);
    let step = Tensor::<1, Int>::from_ints([700, 20], &device);
    let alpha = Tensor::from_floats([0.3, 0.8], &device);
    let time = NetworkTime { alpha, step: Some(step) };
    let plain = DenoisingNetworkConfig::from(latent());
    let other = DenoisingNetworkConfig::from(encoder_space());
    for config in [plain, other] {
        for given in [None, Some(3)] {
            let network =
                randomised(config.clone().conditioned(given, None).unwrap().init(&device));
            let told = || Conditions { classes: given.map(|_| classes()), ..Default::default() };
            let embedded = network.embed(time.clone());

            let expected = network.forward(z.clone(), time.clone(), told());
            let found = network.forward_embedded(z.clone(), embedded.clone(), told());
            assert!(distance(found, expected) < 1e-5, "a level for each sample, {config:?}");

            for level in 0..2 {
                let alone = time.clone().samples(level..level + 1);
                let expected = network.forward(z.clone(), alone, told());
                let found = network.forward_embedded(z.clone(), embedded.level(level), told());
                assert!(distance(found, expected) < 1e-5, "level {level}, {config:?}");
            }
        }
    }
}
