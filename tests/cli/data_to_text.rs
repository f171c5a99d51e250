//! The example `data_to_text` on the model that the repository ships for it.

use assert_cmd::Command;
use latent_text::conditioning::coverage;

use crate::support::{assert_mentions, example, refused, root, succeeded};

fn data_to_text() -> Command {
    let mut command = example("data_to_text");
    command.current_dir(root());
    command
}

#[test]
fn a_text_says_what_its_meaning_says() {
    let meanings =
        "food[Italian], name[The Vaults], eatType[pub]\n\nname[Cotto], area[riverside]\n";
    let (texts, _) = succeeded(data_to_text().args(["--seed", "1"]).write_stdin(meanings));
    let texts: Vec<&str> = texts.lines().collect();
    assert_eq!(texts.len(), 2);
    for (text, words) in
        texts.iter().zip([&["The Vaults", "pub", "Italian"][..], &["Cotto", "river"]])
    {
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    let first = "name[The Vaults], eatType[pub], food[Italian]";
    let (alone, _) = succeeded(data_to_text().args(["--seed", "1", first]));
    assert_eq!(alone.lines().collect::<Vec<_>>(), texts[..1]);
}

#[test]
fn the_text_is_the_candidate_that_says_most_of_its_meaning() {
    let meaning = "name[The Mill], eatType[pub], priceRange[cheap]";
    let choose = ["--candidates", "3", "--steps", "30", meaning];
    let (chosen, _) = succeeded(data_to_text().args(choose));
    let mut generate = example("generate");
    generate.current_dir(root()).args(["--model", "models/e2e-data-to-text", "--with-candidates"]);
    let (all, _) = succeeded(generate.args(["--source", meaning]).args(&choose[..4]));
    let all: Vec<&str> = all.lines().skip(1).map(str::trim).collect();
    assert_eq!(all.len(), 3);
    let best = all
        .iter()
        .rev()
        .max_by(|one, other| coverage(meaning, one).total_cmp(&coverage(meaning, other)));
    assert_eq!(Some(&chosen.trim()), best, "{all:?}");
}

#[test]
fn nothing_gives_nothing() {
    for lines in ["", "\n \n"] {
        let (out, errors) = succeeded(data_to_text().write_stdin(lines));
        assert_eq!((out.as_str(), errors.as_str()), ("", ""));
    }
}

#[test]
fn what_is_no_meaning_is_an_error_that_says_why() {
    for (meanings, problem) in [
        (&["A cheap pub."][..], "slot[value]"),
        (&["name[The Vaults"], "slot[value]"),
        (&["name[The Vaults], wheels[four]"], "`wheels`"),
        (&["name[]"], "`name` is empty"),
        (&["name[A], name[B]"], "twice"),
        (&["name[A]", " "], "meaning 2"),
    ] {
        let message = refused(data_to_text().args(meanings), 1);
        assert_mentions(&message, &[problem, "write it as name[The Vaults], food[Italian]"]);
    }
    let lines = "name[The Vaults]\nA cheap pub.\n";
    let message = refused(data_to_text().write_stdin(lines), 1);
    assert_mentions(&message, &["meaning 2", "slot[value]"]);
    let message = refused(data_to_text().args(["--candidates", "0", "name[A]"]), 1);
    assert_mentions(&message, &["candidates"]);
}
