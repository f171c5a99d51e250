/// Sub-layers of one layer, which LD4LG's published code numbers flat.
const SUB_LAYERS: usize = 2;

/// Our modules and the published code's, outside the layers.
const OUTER: [(&str, &str); 10] = [
    ("time.hidden", "time_mlp.1"),
    ("time.output", "time_mlp.3"),
    ("class_embedding.table", "class_embedding.0"),
    ("class_embedding.projection", "class_embedding.1"),
    ("input_projection", "input_proj"),
    ("positions", "pos_emb.emb"),
    ("time_projection", "time_pos_embed_mlp.1"),
    ("transformer.dense_connections", "encoder.dense_projections"),
    ("output_norm", "norm"),
    ("output_projection", "output_proj"),
];

/// Our modules inside a layer, the sub-layer they belong to, and their name in it.
const INNER: [(&str, usize, &str); 10] = [
    ("attention.norm", 0, "0.0"),
    ("attention.query", 0, "1.to_q"),
    ("attention.key", 0, "1.to_k"),
    ("attention.value", 0, "1.to_v"),
    ("attention.output", 0, "1.to_out"),
    ("feed_forward.norm", 1, "0.0"),
    ("feed_forward.output_norm", 1, "0.1"),
    ("feed_forward.value_and_gate", 1, "1.ff.0.proj"),
    ("feed_forward.output", 1, "1.ff.3"),
    ("feed_forward.scale_and_shift", 1, "2.scale_shift.time_mlp.1"),
];

/// The name that LD4LG's published code gives to the parameter at `path` of a
/// [`Denoiser`](crate::Denoiser) without cross-attention.
///
/// A path that no denoiser has is returned as it is.
///
/// ```
/// # use latent_text_denoiser::reference_name;
/// assert_eq!(
///     reference_name("transformer.layers.2.attention.query.weight"),
///     "encoder.layers.4.1.to_q.weight",
/// );
/// ```
pub fn reference_name(path: &str) -> String {
    if path == "initial_estimate" {
        return "init_self_cond".to_string();
    }
    inner_name(path).or_else(|| outer_name(path)).unwrap_or_else(|| path.to_string())
}

fn inner_name(path: &str) -> Option<String> {
    let (layer, path) = path.strip_prefix("transformer.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    INNER.iter().find_map(|(ours, sub_layer, theirs)| {
        let parameter = path.strip_prefix(ours)?.strip_prefix('.')?;
        let index = SUB_LAYERS * layer + sub_layer;
        Some(format!("encoder.layers.{index}.{theirs}.{parameter}"))
    })
}

fn outer_name(path: &str) -> Option<String> {
    OUTER.iter().find_map(|(ours, theirs)| {
        let parameter = path.strip_prefix(ours)?.strip_prefix('.')?;
        Some(format!("{theirs}.{parameter}"))
    })
}
