//! What fresh parameters are drawn from.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use latent_text_denoiser::{DenoiserConfig, EncoderSpaceDenoiserConfig};

/// The largest value and the root mean square of the parameter at `path`.
fn spread<M: Module>(module: &M, path: &str) -> (f32, f32) {
    let values = values_of(module, path);
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let square: f32 = values.iter().map(|value| value * value).sum();
    (largest, (square / values.len() as f32).sqrt())
}

#[test]
fn fresh_parameters_are_spread_as_in_pytorch() {
    let config = DenoiserConfig {
        latent_dim: 16,
        dim: 64,
        depth: 6,
        classes: Some(4),
        source_dim: Some(48),
        ..Default::default()
    };
    let denoiser = config.init(&Device::default());
    // U(-b, b) with b = 1/sqrt(fan_in): never beyond b, and a deviation of b / sqrt(3).
    for (path, fan_in) in [
        ("input_projection.weight", 32.0_f32),
        ("input_projection.bias", 32.0),
        ("time.output.weight", 256.0),
        ("time.output.bias", 256.0),
        ("source.projection.weight", 48.0),
        ("transformer.layers.0.cross_attention.key_value.weight", 64.0),
        ("transformer.layers.0.feed_forward.output.weight", 256.0),
        ("transformer.layers.0.feed_forward.value_and_gate.bias", 64.0),
        ("transformer.dense_connections.0.weight", 128.0),
    ] {
        let bound = fan_in.powf(-0.5);
        let (largest, deviation) = spread(&denoiser, path);
        assert!(largest <= bound && largest > 0.8 * bound, "{path}: {largest} of {bound}");
        let expected = bound / 3.0_f32.sqrt();
        assert!((deviation / expected - 1.0).abs() < 0.25, "{path}: {deviation}");
    }
    for path in ["positions.weight", "class_embedding.table.weight", "source.null"] {
        let (_, deviation) = spread(&denoiser, path);
        assert!((deviation - 1.0).abs() < 0.3, "{path}: {deviation}");
    }
    let (_, deviation) = spread(&denoiser, "initial_estimate");
    assert!((0.005..0.05).contains(&deviation), "{deviation}");
    for path in
        ["transformer.layers.1.feed_forward.scale_and_shift.weight", "output_projection.bias"]
    {
        assert_eq!(spread(&denoiser, path).0, 0.0, "{path}");
    }
}

#[test]
fn fresh_tables_in_encoder_space_are_normal() {
    let config = EncoderSpaceDenoiserConfig {
        latent_dim: 16,
        dim: 64,
        depth: 2,
        head_dim: 4,
        classes: Some(4),
        ..Default::default()
    };
    let denoiser = config.init(&Device::default());
    for path in [
        "positions.weight",
        "class_embedding.weight",
        "initial_estimate",
        "transformer.relative_positions.weight",
    ] {
        let (_, deviation) = spread(&denoiser, path);
        assert!((deviation - 1.0).abs() < 0.3, "{path}: {deviation}");
    }
    assert_eq!(spread(&denoiser, "output_projection.weight").0, 0.0);
}

/// All values of the parameter with this path.
fn values_of<M: Module>(module: &M, path: &str) -> Vec<f32> {
    struct Finder<'a> {
        path: Vec<String>,
        wanted: &'a str,
        values: Vec<f32>,
    }
    impl ModuleVisitor for Finder<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.path.join(".") == self.wanted {
                self.values = param.val().try_into_vec_as().unwrap();
            }
        }
    }
    let mut finder = Finder { path: Vec::new(), wanted: path, values: Vec::new() };
    module.visit(&mut finder);
    assert!(!finder.values.is_empty(), "no parameter {path}");
    finder.values
}
