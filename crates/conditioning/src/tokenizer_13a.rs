/// The tokens of `sacrebleu`'s tokenizer 13a, which is that of `mteval-v13a.pl`.
pub(crate) fn tokens_13a(text: &str) -> Vec<String> {
    let text = text.trim_end_matches(is_space);
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&");
    let text = text.replace("&lt;", "<").replace("&gt;", ">");

    let mut line = vec![' '];
    for c in text.chars() {
        if is_symbol(c) { line.extend([' ', c, ' ']) } else { line.push(c) }
    }
    line.push(' ');
    let line =
        rewrite(&line, |a, b| !a.is_ascii_digit() && is_point(b), |a, b| vec![a, ' ', b, ' ']);
    let line =
        rewrite(&line, |a, b| is_point(a) && !b.is_ascii_digit(), |a, b| vec![' ', a, ' ', b]);
    let line = rewrite(&line, |a, b| a.is_ascii_digit() && b == '-', |a, b| vec![a, ' ', b, ' ']);

    let line: String = line.into_iter().collect();
    line.split(is_space).filter(|token| !token.is_empty()).map(str::to_string).collect()
}

/// The line with every two neighbours that match written anew, from the left; what one match has taken
/// is not part of the next.
fn rewrite(
    line: &[char],
    matches: impl Fn(char, char) -> bool,
    written: impl Fn(char, char) -> Vec<char>,
) -> Vec<char> {
    let mut out = Vec::with_capacity(2 * line.len());
    let mut rest = line;
    while let [a, tail @ ..] = rest {
        match tail {
            [b, behind @ ..] if matches(*a, *b) => {
                out.extend(written(*a, *b));
                rest = behind;
            }
            _ => {
                out.push(*a);
                rest = tail;
            }
        }
    }
    out
}

/// ASCII punctuation that is a token of its own wherever it stands.
fn is_symbol(c: char) -> bool {
    c.is_ascii_punctuation() && !['\'', ',', '-', '.'].contains(&c)
}

fn is_point(c: char) -> bool {
    c == '.' || c == ','
}

/// Where Python's `str.split` splits.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
