/// Our modules and the names that LD4LG's published code has for them, outside the layers.
const OUTER: [(&str, &str); 6] = [
    ("compression.latents", "perceiver_encoder.latents"),
    ("compression.positions.table.weight", "perceiver_encoder.pos_emb.emb.weight"),
    ("compression.final_norm", "perceiver_encoder.final_norm"),
    ("reconstruction.input", "perceiver_decoder.input_proj"),
    ("reconstruction.positions.table.weight", "perceiver_decoder.pos_emb.emb.weight"),
    ("reconstruction.final_norm", "perceiver_decoder.final_norm"),
];

const COMPRESSION_LAYER: [(&str, &str); 11] = [
    ("attention.text_norm", "0.norm"),
    ("attention.latent_norm", "0.norm_latents"),
    ("attention.query", "0.to_q"),
    ("attention.text_key_value", "0.to_kv"),
    ("attention.latent_key_value", "0.latent_to_kv"),
    ("attention.query_norm.gain", "0.query_norm.gamma"),
    ("attention.key_norm.gain", "0.key_norm.gamma"),
    ("attention.output", "0.to_out.0"),
    ("feed_forward.norm", "1.0"),
    ("feed_forward.hidden", "1.1"),
    ("feed_forward.output", "1.4"),
];

const RECONSTRUCTION_LAYER: [(&str, &str); 10] = [
    ("attention.norm", "0.norm"),
    ("attention.query", "0.to_q"),
    ("attention.key", "0.to_k"),
    ("attention.value", "0.to_v"),
    ("attention.query_norm.gain", "0.query_norm.gamma"),
    ("attention.key_norm.gain", "0.key_norm.gamma"),
    ("attention.output", "0.to_out"),
    ("feed_forward.norm", "1.0"),
    ("feed_forward.hidden", "1.1"),
    ("feed_forward.output", "1.4"),
];

/// The name that LD4LG's published code gives to the parameter at `path` of a
/// [`Perceiver`](crate::Perceiver), without that code's common prefix `perceiver_ae.`.
///
/// A path that no Perceiver has is returned as it is.
///
/// ```
/// # use latent_text_autoencoder::reference_name;
/// assert_eq!(
///     reference_name("compression.layers.1.attention.output.bias"),
///     "perceiver_encoder.layers.1.0.to_out.0.bias",
/// );
/// ```
pub fn reference_name(path: &str) -> String {
    layer_name(path, "compression", "perceiver_encoder", &COMPRESSION_LAYER)
        .or_else(|| layer_name(path, "reconstruction", "perceiver_decoder", &RECONSTRUCTION_LAYER))
        .or_else(|| renamed(path, &OUTER))
        .unwrap_or_else(|| path.to_string())
}

fn layer_name(path: &str, ours: &str, theirs: &str, names: &[(&str, &str)]) -> Option<String> {
    let path = path.strip_prefix(ours)?.strip_prefix(".layers.")?;
    let (layer, path) = path.split_once('.')?;
    Some(format!("{theirs}.layers.{layer}.{}", renamed(path, names)?))
}

/// `path` with the entry that it is or begins with replaced.
fn renamed(path: &str, names: &[(&str, &str)]) -> Option<String> {
    names.iter().find_map(|(ours, theirs)| {
        let rest = path.strip_prefix(ours)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{theirs}{rest}"))
    })
}
