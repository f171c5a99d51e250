use std::fs;
use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::support::{assert_mentions, example, files, refused, succeeded};

/// A training of a few steps for each stage, on texts of two classes.
const CONFIG: &str = r#"
seed = 1
max_tokens = 24

[language_model]
vocabulary = 300
data = [{ path = "texts.csv" }]
validation = [{ path = "texts.csv", limit = 8 }]

[language_model.model]
d_model = 16
encoder_layers = 1
decoder_layers = 1
heads = 2
ffn_dim = 32

[language_model.training]
steps = 3
batch_size = 4
validate_every = 2
checkpoint_every = 2
samples = 1

[autoencoder]
data = [{ path = "texts.csv" }]
validation = [{ path = "texts.csv", limit = 8 }]

[autoencoder.model]
latents = 4
latent_dim = 8
layers = 1
head_dim = 8

[autoencoder.training]
steps = 3
batch_size = 4
samples = 1

[diffusion]
data = [{ path = "texts.csv", label_column = "kind" }]
validation = [{ path = "texts.csv", label_column = "kind", limit = 8 }]
sampling = { steps = 4 }
decoding = { max_length = 24 }

[diffusion.model]
latent_dim = 8
max_latents = 4
dim = 16
depth = 2
head_dim = 8
dense_connections = 1

[diffusion.training]
steps = 3
batch_size = 4
ema = { decay = 0.9 }
samples = 1
"#;

/// A folder with `config.toml` and `texts.csv`.
fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
    let mut texts = "kind,text\n".to_string();
    for (name, kind, place) in [
        ("The Vaults", "pub", "near the river"),
        ("The Mill", "cafe", "in the city centre"),
        ("Green Man", "pub", "near Cafe Rouge"),
        ("Zizzi", "cafe", "by the sea"),
    ] {
        for price in ["cheap", "moderate", "expensive"] {
            texts.push_str(&format!("{kind},{name} is a {price} {kind} {place}.\n"));
        }
    }
    fs::write(folder.path().join("texts.csv"), texts).unwrap();
    folder
}

fn train(project: &Path) -> Command {
    let mut command = example("train");
    command.current_dir(project).args(["--config", "config.toml", "--output", "run"]);
    command
}

/// Refuses to train, changes nothing in the project, and says why.
#[track_caller]
fn refuses(project: &Path, command: &mut Command, expected: &[&str]) {
    let before = files(project);
    assert_mentions(&refused(command, 1), expected);
    assert_eq!(files(project), before);
}

fn edited(from: &str, to: &str) -> TempDir {
    let project = project();
    assert!(CONFIG.contains(from));
    fs::write(project.path().join("config.toml"), CONFIG.replacen(from, to, 1)).unwrap();
    project
}

#[test]
fn raw_text_becomes_a_model_that_generates() {
    let project = project();
    succeeded(&mut train(project.path()));
    let model = project.path().join("run/model");

    let arguments = ["--count", "3", "--label", "cafe"];
    let (texts, _) = succeeded(example("generate").arg("--model").arg(&model).args(arguments));
    assert_eq!(texts.lines().count(), 3);
    let mut reconstruct = example("reconstruct");
    let (lines, _) = succeeded(reconstruct.arg("--model").arg(&model).write_stdin("A pub.\n"));
    assert_eq!(lines.lines().count(), 1);
    let unknown = ["--label", "bar"];
    let message = refused(example("generate").arg("--model").arg(&model).args(unknown), 1);
    assert_mentions(&message, &["`cafe`", "`pub`"]);

    let trained = files(project.path());
    for file in [
        "language-model/metrics.jsonl",
        "language-model/loss.svg",
        "language-model/samples.txt",
        "autoencoder/metrics.jsonl",
        "diffusion/metrics.jsonl",
        "diffusion/loss.svg",
        "diffusion/samples.txt",
    ] {
        assert!(trained.contains_key(&Path::new("run").join(file)), "{file} is missing");
    }
    // An output folder in use is left alone, and a finished training is not taken up again.
    refuses(project.path(), &mut train(project.path()), &["already holds a training", "--resume"]);
    succeeded(train(project.path()).arg("--resume"));
    assert_eq!(files(project.path()), trained);
}

#[test]
fn a_finished_model_s_autoencoder_learns_to_write_for_sources() {
    let project = project();
    succeeded(&mut train(project.path()));
    let texts = fs::read_to_string(project.path().join("texts.csv")).unwrap();
    let rows = texts.lines().skip(1).map(|row| {
        let (kind, text) = row.split_once(',').unwrap();
        format!("\"name[{}], kind[{kind}]\",{text}\n", text.split(" is ").next().unwrap())
    });
    let pairs: String = std::iter::once("mr,text\n".to_string()).chain(rows).collect();
    fs::write(project.path().join("pairs.csv"), pairs).unwrap();
    let (_, diffusion) = CONFIG.split_once("[diffusion]").unwrap();
    let diffusion = diffusion
        .replace("texts.csv", "pairs.csv")
        .replace("label_column = \"kind\"", "source_column = \"mr\"");
    let head =
        "seed = 1\nmax_tokens = 24\nautoencoder = { folder = \"run/model\" }\n\n[diffusion]\n";
    let source = "source = { max_tokens = 24 }";
    let write = |head: &str, source: &str| {
        let config = format!("{head}{source}{diffusion}");
        fs::write(project.path().join("config.toml"), config).unwrap();
    };
    let train = || {
        let mut command = example("train");
        command.current_dir(project.path()).args(["--config", "config.toml", "--output", "pairs"]);
        command
    };
    write(&head.replace("run/model", "run/modell"), source);
    refuses(project.path(), &mut train(), &["run/modell", "autoencoder.folder"]);
    write(head, "");
    refuses(project.path(), &mut train(), &["diffusion.source", "source_column"]);
    write(head, "source = { max_tokens = 25 }");
    refuses(project.path(), &mut train(), &["max_tokens", "25", "24"]);
    write(head, source);
    refuses(project.path(), train().args(["--stage", "autoencoder"]), &["autoencoder.folder"]);

    succeeded(&mut train());
    fs::remove_dir_all(project.path().join("run")).unwrap();
    let model = project.path().join("pairs/model");
    let generate = |source: &str| {
        let mut command = example("generate");
        command.arg("--model").arg(&model).args(["--source", source, "--format", "jsonl"]);
        command
    };
    let long = "name[The Mill], kind[cafe], near[the river and the old bridge of stone]";
    assert_mentions(&refused(&mut generate(long), 1), &["tokens", "24 at most"]);
    succeeded(generate(long).arg("--truncate-sources"));
    let (lines, _) = succeeded(&mut generate("name[The Mill], kind[cafe]"));
    assert_eq!(lines.lines().count(), 1);
    assert_mentions(&lines, &["\"source\":\"name[The Mill], kind[cafe]\""]);
    let samples = fs::read_to_string(project.path().join("pairs/diffusion/samples.txt")).unwrap();
    assert_mentions(&samples, &["name[The Vaults], kind[pub] -> "]);
}

#[test]
fn stages_one_by_one_are_the_whole_training() {
    let (whole, parts) = (project(), project());
    succeeded(&mut train(whole.path()));
    for stage in ["language-model", "autoencoder", "diffusion"] {
        succeeded(train(parts.path()).args(["--stage", stage]));
        let again = &["already holds a training", stage];
        refuses(parts.path(), train(parts.path()).args(["--stage", stage]), again);
    }
    let model = |project: &TempDir| files(&project.path().join("run/model"));
    assert!(!model(&whole).is_empty());
    assert_eq!(model(&parts), model(&whole));
}

#[test]
fn a_stage_needs_the_one_before() {
    for (stage, needed) in [("autoencoder", "language-model"), ("diffusion", "autoencoder")] {
        let project = project();
        let mut command = train(project.path());
        refuses(project.path(), command.args(["--stage", stage]), &[needed, "earlier stages"]);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_saves_and_goes_on_only_as_it_began() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let long = "steps = 1000000\nlog_every = 1";
    let project = edited("steps = 3", long);
    let mut training = Command::new(crate::support::example_path("train"))
        .current_dir(project.path())
        .args(["--config", "config.toml", "--output", "run"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = project.path().join("run/language-model/metrics.jsonl");
    let start = Instant::now();
    while fs::read(&metrics).map_or(true, |lines| lines.is_empty()) {
        assert!(start.elapsed() < Duration::from_secs(120), "no step was taken");
        assert_eq!(training.try_wait().unwrap(), None, "the training ended by itself");
        std::thread::sleep(Duration::from_millis(50));
    }
    let killed = Command::new("kill").args(["-INT", &training.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = training.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_mentions(&stderr, &["saved stage language-model", "--resume"]);

    let again = &["already holds a training"];
    refuses(project.path(), &mut train(project.path()), again);
    let other = CONFIG.replacen("steps = 3", "steps = 1000000\nbatch_size = 5", 1);
    let other = other.replacen("batch_size = 4\n", "", 1);
    fs::write(project.path().join("config.toml"), other).unwrap();
    refuses(project.path(), train(project.path()).arg("--resume"), &["cannot resume"]);
}

#[test]
fn data_that_can_not_be_used_are_errors() {
    for (content, expected) in [
        (&b""[..], "texts.csv"),
        (b"kind,text\n", "no texts"),
        (b"kind,text\npub,A pub.\npub,\xff\xfe\n", "line 3: not UTF-8"),
        (b"kind,text\npub,A pub.\nA pub.\n", "line 3"),
        (b"kind,line\npub,A pub.\n", "no column `text`"),
    ] {
        let project = project();
        fs::write(project.path().join("texts.csv"), content).unwrap();
        refuses(project.path(), &mut train(project.path()), &["texts.csv", expected]);
    }
    let project = project();
    fs::remove_file(project.path().join("texts.csv")).unwrap();
    refuses(project.path(), &mut train(project.path()), &["texts.csv", "cannot open"]);
}

#[test]
fn a_configuration_that_makes_no_sense_is_an_error() {
    for (from, to, expected) in [
        ("seed = 1", "sead = 1", "unknown field `sead`"),
        ("heads = 2", "head = 2", "unknown field `head`"),
        ("ema = { decay = 0.9 }", "ema = { rate = 0.9 }", "unknown field `rate`"),
        ("{ path = \"texts.csv\" }", "{ file = \"texts.csv\" }", "unknown field `file`"),
        ("seed = 1", "seed = ", "line 2"),
        ("heads = 2", "heads = 3", "divide d_model"),
        ("batch_size = 4", "batch_size = 0", "language_model.training.batch_size"),
        ("max_tokens = 24", "max_tokens = 2", "max_tokens"),
        ("vocabulary = 300", "vocabulary = 100", "vocab"),
        ("dim = 16\ndepth", "dim = 20\ndepth", "`dim`"),
        ("max_latents = 4", "max_latents = 3", "diffusion.model"),
        ("[{ path = \"texts.csv\" }]", "[]", "name a text set"),
    ] {
        let project = edited(from, to);
        refuses(project.path(), &mut train(project.path()), &[expected]);
    }
    let project = project();
    fs::write(project.path().join("config.toml"), [0xff, 0xfe]).unwrap();
    refuses(project.path(), &mut train(project.path()), &["config.toml", "UTF-8"]);
    fs::remove_file(project.path().join("config.toml")).unwrap();
    refuses(project.path(), &mut train(project.path()), &["config.toml"]);
}

#[test]
fn wrong_arguments_are_errors() {
    let project = project();
    let device = ["--device", "abacus"];
    refuses(project.path(), train(project.path()).args(device), &["`abacus`"]);
    refused(train(project.path()).args(["--stage", "vocoder"]), 2);
    refused(example("train").current_dir(project.path()).arg("--resume"), 2);
    assert_eq!(files(project.path()).len(), 2);
}
