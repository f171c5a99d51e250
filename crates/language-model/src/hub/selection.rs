//! Which of a repository's files a model is loaded from.

pub(super) const CONFIG: &str = "config.json";

/// Read where they are present.
const OPTIONAL: [&str; 3] =
    ["generation_config.json", "tokenizer_config.json", "special_tokens_map.json"];

/// The files that a tokenizer is in; the first that are there count.
const TOKENIZERS: [&[&str]; 3] =
    [&["tokenizer.json"], &["vocab.json", "merges.txt"], &["spiece.model"]];

/// The files that weights are in, and whether they name others that have them; the first that is there
/// counts.
const WEIGHTS: [(&str, bool); 4] = [
    ("model.safetensors", false),
    ("model.safetensors.index.json", true),
    ("pytorch_model.bin", false),
    ("pytorch_model.bin.index.json", true),
];

/// All files that a model may be loaded from, but for those that an index names.
pub(super) fn known_files() -> impl Iterator<Item = &'static str> {
    let tokenizers = TOKENIZERS.iter().flat_map(|files| files.iter().copied());
    let weights = WEIGHTS.iter().map(|(file, _)| *file);
    std::iter::once(CONFIG).chain(OPTIONAL).chain(tokenizers).chain(weights)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub files: Vec<&'static str>,
    /// The one of them that names the files with the weights, if one does.
    pub index: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unselectable {
    /// Nobody knows whether a file is there.
    Unknown,
    /// What none of the files is.
    Lacks(&'static str),
}

/// Chooses from the files that `has` says are there; none where it does not know.
pub(super) fn select(has: &dyn Fn(&str) -> Option<bool>) -> Result<Selection, Unselectable> {
    let has = |file: &str| has(file).ok_or(Unselectable::Unknown);
    if !has(CONFIG)? {
        return Err(Unselectable::Lacks("config.json"));
    }
    let mut files = vec![CONFIG];
    for file in OPTIONAL {
        if has(file)? {
            files.push(file);
        }
    }
    let tokenizer = first(TOKENIZERS, |tokenizer| all(tokenizer, &has))?;
    files.extend(tokenizer.ok_or(Unselectable::Lacks(
        "tokenizer.json, vocab.json with merges.txt, or spiece.model",
    ))?);
    let weights = first(WEIGHTS, |(file, _)| has(file))?;
    let (weights, is_index) =
        weights.ok_or(Unselectable::Lacks("model.safetensors or pytorch_model.bin"))?;
    files.push(weights);
    Ok(Selection { files, index: is_index.then_some(weights) })
}

fn first<T: Copy, const N: usize>(
    candidates: [T; N],
    fits: impl Fn(T) -> Result<bool, Unselectable>,
) -> Result<Option<T>, Unselectable> {
    for candidate in candidates {
        if fits(candidate)? {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

fn all(
    files: &[&str],
    has: &dyn Fn(&str) -> Result<bool, Unselectable>,
) -> Result<bool, Unselectable> {
    for file in files {
        if !has(file)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{Unselectable, known_files, select};

    fn of(files: &[&str]) -> Result<Vec<&'static str>, Unselectable> {
        select(&|file| Some(files.contains(&file))).map(|selection| selection.files)
    }

    #[test]
    fn one_tokenizer_and_one_kind_of_weights_are_chosen() {
        let all: Vec<&str> = known_files().collect();
        let chosen = [
            "config.json",
            "generation_config.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "model.safetensors",
        ];
        assert_eq!(of(&all).unwrap(), chosen);
        let old =
            ["config.json", "merges.txt", "vocab.json", "spiece.model", "pytorch_model.bin", "x"];
        let chosen = ["config.json", "vocab.json", "merges.txt", "pytorch_model.bin"];
        assert_eq!(of(&old).unwrap(), chosen);
        let without_merges = ["config.json", "vocab.json", "spiece.model", "pytorch_model.bin"];
        assert_eq!(of(&without_merges).unwrap()[1], "spiece.model");
    }

    #[test]
    fn an_index_goes_before_old_weights() {
        let files = [
            "config.json",
            "spiece.model",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "model.safetensors.index.json",
        ];
        let chosen = select(&|file| Some(files.contains(&file))).unwrap();
        assert_eq!(chosen.index, Some("model.safetensors.index.json"));
        assert_eq!(chosen.files, ["config.json", "spiece.model", "model.safetensors.index.json"]);
    }

    #[test]
    fn what_is_lacking_is_named() {
        for (files, lacks) in [
            (&["model.safetensors"][..], "config.json"),
            (&["config.json", "model.safetensors"], "tokenizer.json"),
            (&["config.json", "vocab.json", "model.safetensors"], "tokenizer.json"),
            (&["config.json", "tokenizer.json", "flax_model.msgpack"], "model.safetensors"),
        ] {
            let Err(Unselectable::Lacks(what)) = of(files) else { panic!("{files:?}") };
            assert!(what.starts_with(lacks), "{files:?}: {what}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        let present = ["config.json", "tokenizer.json", "model.safetensors"];
        let unknown = select(&|file| present.contains(&file).then_some(true));
        assert_eq!(unknown, Err(Unselectable::Unknown));
    }
}
