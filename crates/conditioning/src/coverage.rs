use std::collections::HashSet;

/// The share of a source's different words that a text contains, from 0 to 1, whatever their case; 1 for a
/// source without words.
///
/// Words are runs of letters and digits. It asks whether a text says all that it was to say, as rerankers
/// of data-to-text systems do (Dušek and Jurčíček 2016, "Sequence-to-Sequence Generation for Spoken
/// Dialogue via Deep Syntax Trees and Strings"), and not whether it says more.
///
/// ```
/// use latent_text_conditioning::coverage;
///
/// assert_eq!(coverage("name[The Mill], food[Thai]", "The Mill is a pub."), 0.4);
/// ```
pub fn coverage(source: &str, text: &str) -> f64 {
    let (source, text) = (source.to_lowercase(), text.to_lowercase());
    let (of_source, of_text) = (words(&source), words(&text));
    if of_source.is_empty() {
        return 1.0;
    }
    of_source.intersection(&of_text).count() as f64 / of_source.len() as f64
}

fn words(text: &str) -> HashSet<&str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_once_whatever_their_case_and_order() {
        let source = "name[Café Rouge], near[Café Sicilia]";
        assert_eq!(coverage(source, "SICILIA near café rouge name"), 1.0);
        assert_eq!(coverage(source, "café, café and café"), 0.2);
        assert_eq!(coverage(source, ""), 0.0);
    }

    #[test]
    fn a_word_within_another_does_not_count() {
        assert_eq!(coverage("pub", "a public house"), 0.0);
    }

    #[test]
    fn what_says_nothing_is_covered() {
        assert_eq!(coverage(" ,[]", "a pub"), 1.0);
    }
}
