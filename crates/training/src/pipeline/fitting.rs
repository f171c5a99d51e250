use std::collections::BTreeSet;

use latent_text_language_model::TextTokenizer;

use super::Pipeline;
use crate::TrainingError;
use crate::data::Record;
use crate::report::print_line;

impl Pipeline<'_> {
    /// Token ids of the texts that fit into the length limit, and which ones these are; prints how many
    /// don't. `name` is that of the stage and the split.
    pub(super) fn tokens(
        &self,
        name: &str,
        tokenizer: &TextTokenizer,
        texts: &[String],
    ) -> Result<(Vec<Vec<u32>>, Vec<usize>), TrainingError> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoded = tokenizer.encode_batch(&texts, usize::MAX)?.ids;
        let max_tokens = self.config.max_tokens;
        let kept: Vec<usize> =
            (0..encoded.len()).filter(|&index| encoded[index].len() <= max_tokens).collect();
        if kept.is_empty() {
            return Err(TrainingError::setting(
                "max_tokens",
                format!("is {max_tokens}, which none of the texts fits into ({name})"),
            ));
        }
        if kept.len() < encoded.len() {
            print_line(&left_out(name, encoded.len() - kept.len(), encoded.len(), max_tokens));
        }
        let tokens = kept.iter().map(|&index| encoded[index].clone()).collect();
        Ok((tokens, kept))
    }

    /// A class that keeps no text would never be learnt.
    pub(super) fn check_labels_fit(
        &self,
        records: &[Record],
        kept: &[usize],
    ) -> Result<(), TrainingError> {
        let label = |index: usize| records[index].label.as_deref();
        let fitting: BTreeSet<&str> = kept.iter().filter_map(|&index| label(index)).collect();
        match (0..records.len()).filter_map(label).find(|label| !fitting.contains(label)) {
            None => Ok(()),
            Some(label) => {
                let max_tokens = self.config.max_tokens;
                let problem = format!(
                    "is {max_tokens}, which none of the texts with the label `{label}` fits into"
                );
                Err(TrainingError::setting("max_tokens", problem))
            }
        }
    }
}

fn left_out(name: &str, count: usize, of: usize, max_tokens: usize) -> String {
    let (have, are) = if count == 1 { ("has", "is") } else { ("have", "are") };
    format!("{name}: {count} of {of} {have} more than {max_tokens} tokens and {are} left out")
}

#[cfg(test)]
mod tests {
    use super::left_out;

    #[test]
    fn it_is_told_how_many_texts_are_left_out() {
        assert_eq!(
            left_out("diffusion, train texts", 1, 30, 24),
            "diffusion, train texts: 1 of 30 has more than 24 tokens and is left out"
        );
        assert_eq!(
            left_out("autoencoder, validation texts", 3, 9, 80),
            "autoencoder, validation texts: 3 of 9 have more than 80 tokens and are left out"
        );
    }
}
