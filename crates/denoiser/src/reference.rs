/// Modules and parameters outside the layers that all denoisers have: ours and the published code's.
const SHARED_NAMES: [(&str, &str); 7] = [
    ("time.hidden", "time_mlp.1"),
    ("time.output", "time_mlp.3"),
    ("input_projection", "input_proj"),
    ("positions", "pos_emb.emb"),
    ("time_projection", "time_pos_embed_mlp.1"),
    ("output_norm", "norm"),
    ("output_projection", "output_proj"),
];

/// Those of a [`Denoiser`](crate::Denoiser), v2 of the published code.
pub(crate) const LATENT_NAMES: [(&str, &str); 6] = [
    ("initial_estimate", "init_self_cond"),
    ("class_embedding.table", "class_embedding.0"),
    ("class_embedding.projection", "class_embedding.1"),
    ("source.projection", "seq2seq_proj"),
    ("source.null", "null_embedding_seq2seq.weight"),
    ("transformer.dense_connections", "encoder.dense_projections"),
];

/// Those of an [`EncoderSpaceDenoiser`](crate::EncoderSpaceDenoiser), v1 of the published code.
pub(crate) const ENCODER_SPACE_NAMES: [(&str, &str); 3] = [
    ("initial_estimate", "null_embedding.weight"),
    ("estimate_projection", "context_proj"),
    ("transformer.relative_positions", "encoder.rel_pos.relative_attention_bias"),
];

/// The sub-layers of a layer in their order; the published code numbers those of all layers in a row.
#[derive(Clone, Copy)]
enum SubLayer {
    Attention,
    CrossAttention,
    FeedForward,
}

/// Our modules of a layer, the sub-layer they are of, and their name in it.
const LAYER_NAMES: [(&str, SubLayer, &str); 15] = [
    ("attention.norm", SubLayer::Attention, "0.0"),
    ("attention.query", SubLayer::Attention, "1.to_q"),
    ("attention.key", SubLayer::Attention, "1.to_k"),
    ("attention.value", SubLayer::Attention, "1.to_v"),
    ("attention.output", SubLayer::Attention, "1.to_out"),
    ("cross_attention.norm", SubLayer::CrossAttention, "0.0"),
    ("cross_attention.query", SubLayer::CrossAttention, "1.to_q"),
    ("cross_attention.key", SubLayer::CrossAttention, "1.to_k"),
    ("cross_attention.value", SubLayer::CrossAttention, "1.to_v"),
    ("cross_attention.output", SubLayer::CrossAttention, "1.to_out"),
    ("feed_forward.norm", SubLayer::FeedForward, "0.0"),
    ("feed_forward.output_norm", SubLayer::FeedForward, "0.1"),
    ("feed_forward.value_and_gate", SubLayer::FeedForward, "1.ff.0.proj"),
    ("feed_forward.output", SubLayer::FeedForward, "1.ff.3"),
    ("feed_forward.scale_and_shift", SubLayer::FeedForward, "2.scale_shift.time_mlp.1"),
];

/// The published code's name of the parameter at `path`; `own` are the names that only this kind of
/// denoiser has.
pub(crate) fn reference_name(path: &str, cross_attention: bool, own: &[(&str, &str)]) -> String {
    let outside = || SHARED_NAMES.iter().chain(own).find_map(|&names| renamed(path, names));
    layer_name(path, cross_attention).or_else(outside).unwrap_or_else(|| path.to_string())
}

fn layer_name(path: &str, cross_attention: bool) -> Option<String> {
    let (layer, path) = path.strip_prefix("transformer.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    LAYER_NAMES.iter().find_map(|&(ours, sub_layer, theirs)| {
        let name = renamed(path, (ours, theirs))?;
        let index = sub_layer.index(layer, cross_attention);
        Some(format!("encoder.layers.{index}.{name}"))
    })
}

/// `path` with their name in the place of ours, if it is or starts with ours.
fn renamed(path: &str, (ours, theirs): (&str, &str)) -> Option<String> {
    let rest = path.strip_prefix(ours)?;
    (rest.is_empty() || rest.starts_with('.')).then(|| format!("{theirs}{rest}"))
}

impl SubLayer {
    fn index(self, layer: usize, cross_attention: bool) -> usize {
        let first = layer * if cross_attention { 3 } else { 2 };
        first
            + match self {
                Self::Attention => 0,
                Self::CrossAttention => 1,
                Self::FeedForward => 1 + usize::from(cross_attention),
            }
    }
}
