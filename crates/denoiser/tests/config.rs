//! Settings: what is refused, how they are written, and what they make.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use latent_text_denoiser::{Denoiser, DenoiserConfig, DenoiserError, SkipRule, reference_name};
use latent_text_nn::weights::named_shapes;

fn small() -> DenoiserConfig {
    DenoiserConfig { latent_dim: 16, dim: 64, depth: 6, ..Default::default() }
}

#[test]
fn the_parameter_counts_are_the_papers() {
    let device = Device::default();
    let count = |config: DenoiserConfig| config.init(&device).num_params();
    assert_eq!(count(DenoiserConfig::default()), 187_928_960);
    let classes = DenoiserConfig { classes: Some(4), ..Default::default() };
    assert_eq!(count(classes), 190_295_168);
}

#[test]
fn every_parameter_has_its_own_reference_name() {
    let device = Device::default();
    let config = DenoiserConfig { classes: Some(4), ..Default::default() };
    let shapes: Vec<_> = named_shapes(&config.init(&device))
        .into_iter()
        .map(|(path, shape)| (reference_name(&path), shape))
        .collect();
    let mut names: Vec<_> = shapes.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 212 + 3);
    let has = |name: &str, shape: &[usize]| {
        shapes.iter().any(|(found, dims)| found == name && dims == shape)
    };
    assert!(has("init_self_cond", &[1, 64]));
    assert!(has("class_embedding.0.weight", &[5, 768]));
    assert!(has("class_embedding.1.weight", &[3072, 768]));
    assert!(has("encoder.layers.22.1.to_out.weight", &[768, 768]));
    assert!(has("encoder.layers.23.2.scale_shift.time_mlp.1.weight", &[1536, 3072]));
    assert!(has("encoder.layers.23.1.ff.0.proj.weight", &[6144, 768]));
    assert!(has("encoder.dense_projections.2.weight", &[768, 1536]));
    assert!(has("time_pos_embed_mlp.1.weight", &[768, 3072]));
}

#[test]
fn settings_that_fit_no_denoiser_are_refused_by_name() {
    let refused = |config: DenoiserConfig| match config.validate() {
        Err(DenoiserError::Setting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(DenoiserConfig { dim: 100, ..small() }), "dim");
    assert_eq!(refused(DenoiserConfig { dim: 3, head_dim: 3, ..small() }), "dim");
    assert_eq!(refused(DenoiserConfig { dim: 2, head_dim: 1, ..small() }), "dim");
    assert_eq!(refused(DenoiserConfig { depth: 5, ..small() }), "dense_connections");
    assert_eq!(refused(DenoiserConfig { depth: 0, ..small() }), "depth");
    assert_eq!(refused(DenoiserConfig { classes: Some(0), ..small() }), "classes");
    assert_eq!(refused(DenoiserConfig { dropout: 1.0, ..small() }), "dropout");
    assert_eq!(refused(DenoiserConfig { dropout: f64::NAN, ..small() }), "dropout");
    assert_eq!(refused(DenoiserConfig { head_dim: 0, ..small() }), "head_dim");
    assert_eq!(refused(DenoiserConfig { ff_mult: usize::MAX, ..small() }), "ff_mult");
    assert!(DenoiserConfig { depth: 6, dense_connections: 3, ..small() }.validate().is_ok());
}

#[test]
fn settings_survive_json_and_misspelt_ones_are_refused() {
    let config = DenoiserConfig {
        skips: SkipRule::ReferenceStack,
        classes: Some(4),
        dropout: 0.0,
        ..small()
    };
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains(r#""skips":"reference_stack""#), "{text}");
    assert_eq!(serde_json::from_str::<DenoiserConfig>(&text).unwrap(), config);
    let partial: DenoiserConfig = serde_json::from_str(r#"{"depth": 8}"#).unwrap();
    assert_eq!(partial, DenoiserConfig { depth: 8, ..Default::default() });
    assert!(serde_json::from_str::<DenoiserConfig>(r#"{"deepth": 8}"#).is_err());
}

fn inputs(device: &Device) -> (Tensor<3>, Tensor<1>) {
    let z = Tensor::random([2, 8, 16], Distribution::Normal(0.0, 1.0), device);
    (z, Tensor::from_data([0.1, 0.8], device))
}

#[test]
fn a_fresh_denoiser_returns_zeros() {
    let device = Device::default();
    let (z, alpha) = inputs(&device);
    let output = small().init(&device).forward(z, alpha, None, None);
    assert_eq!(output.dims(), [2, 8, 16]);
    assert_eq!(output.abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
#[should_panic(expected = "an unconditional denoiser was given classes")]
fn an_unconditional_denoiser_takes_no_classes() {
    let device = Device::default();
    let (z, alpha) = inputs(&device);
    let classes = Tensor::from_data([0, 1], &device);
    small().init(&device).forward(z, alpha, None, Some(classes));
}

#[test]
fn fresh_parameters_are_spread_as_in_pytorch() {
    let device = Device::default();
    let config = DenoiserConfig { classes: Some(4), ..small() };
    let spread = |path: &str| {
        let values = values_of(&config.init(&device), path);
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let square: f32 = values.iter().map(|value| value * value).sum();
        (largest, (square / values.len() as f32).sqrt())
    };
    // U(-b, b) with b = 1/sqrt(fan_in): never beyond b, and a deviation of b / sqrt(3).
    for (path, fan_in) in [
        ("input_projection.weight", 32.0_f32),
        ("input_projection.bias", 32.0),
        ("time.output.weight", 256.0),
        ("time.output.bias", 256.0),
        ("transformer.layers.0.feed_forward.output.weight", 256.0),
        ("transformer.layers.0.feed_forward.value_and_gate.bias", 64.0),
        ("transformer.dense_connections.0.weight", 128.0),
    ] {
        let bound = fan_in.powf(-0.5);
        let (largest, deviation) = spread(path);
        assert!(largest <= bound && largest > 0.8 * bound, "{path}: {largest} of {bound}");
        let expected = bound / 3.0_f32.sqrt();
        assert!((deviation / expected - 1.0).abs() < 0.25, "{path}: {deviation}");
    }
    for (path, expected) in [("positions.weight", 1.0), ("class_embedding.table.weight", 1.0)] {
        let (_, deviation) = spread(path);
        assert!((deviation / expected - 1.0).abs() < 0.25, "{path}: {deviation}");
    }
    let (_, deviation) = spread("initial_estimate");
    assert!((0.005..0.05).contains(&deviation), "{deviation}");
    for path in
        ["transformer.layers.1.feed_forward.scale_and_shift.weight", "output_projection.bias"]
    {
        assert_eq!(spread(path).0, 0.0, "{path}");
    }
}

/// All values of the parameter with this path.
fn values_of(denoiser: &Denoiser, path: &str) -> Vec<f32> {
    struct Finder<'a> {
        path: Vec<String>,
        wanted: &'a str,
        values: Vec<f32>,
    }
    impl burn::module::ModuleVisitor for Finder<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            if self.path.join(".") == self.wanted {
                self.values = param.val().try_into_vec_as().unwrap();
            }
        }
    }
    let mut finder = Finder { path: Vec::new(), wanted: path, values: Vec::new() };
    denoiser.visit(&mut finder);
    assert!(!finder.values.is_empty(), "no parameter {path}");
    finder.values
}
