//! Settings: what is refused, how they are written, and what they make.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use latent_text_denoiser::{
    Conditions, DenoiserConfig, DenoiserError, EncoderSpaceDenoiserConfig, SkipRule, Source,
};
use latent_text_nn::weights::named_shapes;

fn small() -> DenoiserConfig {
    DenoiserConfig { latent_dim: 16, dim: 64, depth: 6, ..Default::default() }
}

/// Shapes are counted, no parameter is made.
#[test]
fn the_parameter_counts_are_the_papers() {
    let device = Device::default();
    let count = |config: DenoiserConfig| config.init(&device).num_params();
    let default = DenoiserConfig::default;
    assert_eq!(count(default()), 187_928_960);
    assert_eq!(count(DenoiserConfig { classes: Some(4), ..default() }), 190_295_168);
    assert_eq!(count(DenoiserConfig { source_dim: Some(768), ..default() }), 216_850_304);
    let translation = DenoiserConfig { source_dim: Some(2048), max_latents: 128, ..default() };
    assert_eq!(count(translation), 217_882_496);

    let count = |classes| {
        EncoderSpaceDenoiserConfig { classes, ..Default::default() }.init(&device).num_params()
    };
    assert_eq!(count(None), 214_342_272);
    assert_eq!(count(Some(2)), 214_344_576);
    assert_eq!(count(Some(4)), 214_346_112);
}

/// The published code's name and the shape of every parameter.
struct Named(Vec<(String, Vec<usize>)>);

impl Named {
    fn of<M: Module>(module: &M, name_of: impl Fn(&str) -> String) -> Self {
        let shapes = named_shapes(module).into_iter();
        let named: Vec<_> = shapes.map(|(path, shape)| (name_of(&path), shape)).collect();
        let mut names: Vec<_> = named.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), named.len());
        Self(named)
    }

    #[track_caller]
    fn has(&self, name: &str, shape: &[usize]) {
        let found = self.0.iter().find(|(found, _)| found == name);
        assert_eq!(found.map(|(_, shape)| shape.as_slice()), Some(shape), "{name}");
    }
}

#[test]
fn every_parameter_has_its_own_reference_name() {
    let config = DenoiserConfig { classes: Some(4), ..Default::default() };
    let named = Named::of(&config.init(&Device::default()), |path| config.reference_name(path));
    assert_eq!(named.0.len(), 212 + 3);
    named.has("init_self_cond", &[1, 64]);
    named.has("class_embedding.0.weight", &[5, 768]);
    named.has("class_embedding.1.weight", &[3072, 768]);
    named.has("encoder.layers.22.1.to_out.weight", &[768, 768]);
    named.has("encoder.layers.23.2.scale_shift.time_mlp.1.weight", &[1536, 3072]);
    named.has("encoder.layers.23.1.ff.0.proj.weight", &[6144, 768]);
    named.has("encoder.dense_projections.2.weight", &[768, 1536]);
    named.has("time_pos_embed_mlp.1.weight", &[768, 3072]);
    assert_eq!(config.reference_name("positions_of.weight"), "positions_of.weight");
}

#[test]
fn every_parameter_with_sources_has_its_own_reference_name() {
    let config = DenoiserConfig { source_dim: Some(1024), ..Default::default() };
    let named = Named::of(&config.init(&Device::default()), |path| config.reference_name(path));
    assert_eq!(named.0.len(), 287);
    named.has("null_embedding_seq2seq.weight", &[1, 768]);
    named.has("seq2seq_proj.weight", &[768, 1024]);
    named.has("seq2seq_proj.bias", &[768]);
    named.has("encoder.layers.33.1.to_q.weight", &[768, 768]);
    named.has("encoder.layers.34.0.0.weight", &[768]);
    named.has("encoder.layers.34.1.to_out.weight", &[768, 768]);
    named.has("encoder.layers.35.1.ff.3.weight", &[768, 3072]);
}

#[test]
fn every_parameter_in_encoder_space_has_its_own_reference_name() {
    let config = EncoderSpaceDenoiserConfig { classes: Some(2), ..Default::default() };
    let named = Named::of(&config.init(&Device::default()), |path| config.reference_name(path));
    assert_eq!(named.0.len(), 281 + 1);
    named.has("encoder.rel_pos.relative_attention_bias.weight", &[32, 12]);
    named.has("null_embedding.weight", &[1, 768]);
    named.has("context_proj.weight", &[768, 768]);
    named.has("class_embedding.weight", &[3, 768]);
    named.has("input_proj.weight", &[768, 768]);
    named.has("output_proj.weight", &[768, 768]);
    named.has("encoder.layers.34.1.to_v.weight", &[768, 768]);
    named.has("encoder.layers.35.2.scale_shift.time_mlp.1.bias", &[1536]);
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
    assert_eq!(refused(DenoiserConfig { source_dim: Some(0), ..small() }), "source_dim");
    assert!(DenoiserConfig { depth: 6, dense_connections: 3, ..small() }.validate().is_ok());
}

#[test]
fn settings_that_fit_no_encoder_space_denoiser_are_refused_by_name() {
    let default = EncoderSpaceDenoiserConfig::default;
    let refused = |config: EncoderSpaceDenoiserConfig| match config.validate() {
        Err(DenoiserError::Setting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    let config = EncoderSpaceDenoiserConfig { relative_buckets: 30, ..default() };
    assert_eq!(refused(config), "relative_buckets");
    let config = EncoderSpaceDenoiserConfig { relative_buckets: 0, ..default() };
    assert_eq!(refused(config), "relative_buckets");
    let config = EncoderSpaceDenoiserConfig { relative_distance: 8, ..default() };
    assert_eq!(refused(config), "relative_distance");
    assert_eq!(refused(EncoderSpaceDenoiserConfig { dim: 100, ..default() }), "dim");
    assert_eq!(refused(EncoderSpaceDenoiserConfig { head_dim: 0, ..default() }), "head_dim");
    assert_eq!(refused(EncoderSpaceDenoiserConfig { dropout: -0.1, ..default() }), "dropout");
    assert_eq!(refused(EncoderSpaceDenoiserConfig { classes: Some(0), ..default() }), "classes");
    assert!(default().validate().is_ok());
}

#[test]
fn settings_survive_json_and_misspelt_ones_are_refused() {
    let config = DenoiserConfig {
        skips: SkipRule::ReferenceStack,
        classes: Some(4),
        source_dim: Some(32),
        dropout: 0.0,
        ..small()
    };
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains(r#""skips":"reference_stack""#), "{text}");
    assert_eq!(serde_json::from_str::<DenoiserConfig>(&text).unwrap(), config);
    let partial: DenoiserConfig = serde_json::from_str(r#"{"depth": 8}"#).unwrap();
    assert_eq!(partial, DenoiserConfig { depth: 8, ..Default::default() });
    assert!(serde_json::from_str::<DenoiserConfig>(r#"{"deepth": 8}"#).is_err());

    let config = EncoderSpaceDenoiserConfig { classes: Some(2), ..Default::default() };
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<EncoderSpaceDenoiserConfig>(&text).unwrap(), config);
    assert!(serde_json::from_str::<EncoderSpaceDenoiserConfig>(r#"{"skips": 1}"#).is_err());
}

fn inputs(device: &Device) -> (Tensor<3>, Tensor<1>) {
    let z = Tensor::random([2, 8, 16], Distribution::Normal(0.0, 1.0), device);
    (z, Tensor::from_data([0.1, 0.8], device))
}

#[test]
fn a_fresh_denoiser_returns_zeros() {
    let device = Device::default();
    let (z, alpha) = inputs(&device);
    let output = small().init(&device).forward(z, alpha, Conditions::default());
    assert_eq!(output.dims(), [2, 8, 16]);
    assert_eq!(output.abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
#[should_panic(expected = "an unconditional denoiser was given classes")]
fn an_unconditional_denoiser_takes_no_classes() {
    let device = Device::default();
    let (z, alpha) = inputs(&device);
    let classes = Some(Tensor::from_data([0, 1], &device));
    let conditions = Conditions { classes, ..Conditions::default() };
    small().init(&device).forward(z, alpha, conditions);
}

#[test]
#[should_panic(expected = "a denoiser without cross-attention was given sources")]
fn a_denoiser_without_cross_attention_reads_no_sources() {
    let device = Device::default();
    let source = Source { states: Tensor::zeros([2, 3, 8], &device), mask: None, present: None };
    small().init(&device).read_source(source);
}

#[test]
#[should_panic(expected = "9 latents are too many for a denoiser of 8")]
fn more_latents_than_positions_are_refused() {
    let device = Device::default();
    let config = DenoiserConfig { max_latents: 8, ..small() };
    let z = Tensor::zeros([1, 9, 16], &device);
    let alpha = Tensor::from_data([0.5], &device);
    config.init(&device).forward(z, alpha, Conditions::default());
}

#[test]
#[should_panic(expected = "3 contexts do not fit a batch of 2 samples")]
fn sources_must_be_as_many_as_samples() {
    let device = Device::default();
    let (z, alpha) = inputs(&device);
    let denoiser = DenoiserConfig { source_dim: Some(8), ..small() }.init(&device);
    let states = Tensor::zeros([3, 4, 8], &device);
    let source = denoiser.read_source(Source { states, mask: None, present: None });
    denoiser.forward(z, alpha, Conditions { source: Some(source), ..Conditions::default() });
}
