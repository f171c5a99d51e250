//! Reading of data sets: every format, and every way in which a file can be wrong.

use std::error::Error as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use latent_text_training::data::{DataError, DatasetConfig, Record, read_texts};
use tempfile::TempDir;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn read_file(
    name: &str,
    bytes: &[u8],
    change: impl FnOnce(&mut DatasetConfig),
) -> Result<Vec<Record>, DataError> {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join(name), bytes).expect("written");
    let mut config = DatasetConfig::new(name);
    change(&mut config);
    read_texts(&config, folder.path())
}

fn texts(name: &str, bytes: &[u8]) -> Vec<String> {
    let records = read_file(name, bytes, |_| {}).expect("readable");
    assert!(records.iter().all(|record| record.label.is_none()));
    records.into_iter().map(|record| record.text).collect()
}

fn labelled(name: &str, bytes: &[u8]) -> Result<Vec<(String, String)>, DataError> {
    let records = read_file(name, bytes, |config| config.label_column = Some("label".into()))?;
    Ok(records.into_iter().map(|r| (r.text, r.label.expect("a label"))).collect())
}

fn error(name: &str, bytes: &[u8]) -> DataError {
    read_file(name, bytes, |_| {}).expect_err("an error")
}

/// The message names the file and, where given, the line.
fn assert_names(error: &DataError, name: &str, line: Option<u64>) {
    let message = error.to_string();
    assert!(message.contains(name), "{message}");
    if let Some(line) = line {
        assert!(message.contains(&format!("line {line}:")), "{message}");
    }
}

#[test]
fn plain_text_has_one_text_a_line() {
    let file = "\u{feff}  One \t two\u{a0} three. \r\n\r\n \nZwölf £5\nlast";
    assert_eq!(texts("a.txt", file.as_bytes()), ["One two three.", "Zwölf £5", "last"]);
    assert_eq!(texts("a.TXT.gz", &gzip(file.as_bytes())), texts("a.txt", file.as_bytes()));
}

#[test]
fn csv_has_quotes_and_line_ends_in_fields() {
    let file =
        "\u{feff}id,text,label\r\n1,plain,x\r\n2,\"a, \"\"b\"\"\r\n c\",\" y \"\r\n\r\n3,é,z\r\n";
    let expected = [("plain", "x"), ("a, \"b\" c", "y"), ("é", "z")];
    let expected = expected.map(|(text, label)| (text.to_owned(), label.to_owned()));
    assert_eq!(labelled("a.csv", file.as_bytes()).expect("readable"), expected);
    assert_eq!(labelled("a.csv.gz", &gzip(file.as_bytes())).expect("readable"), expected);
    let unix = file.replace("\r\n", "\n");
    assert_eq!(labelled("a.csv", unix.trim_end().as_bytes()).expect("readable"), expected);
    assert_eq!(texts("a.csv", file.as_bytes()), ["plain", "a, \"b\" c", "é"]);
}

#[test]
fn csv_header_may_be_quoted() {
    let file = b"\"mr\",\"ref\"\n\"name[A], food[B]\",\"The A.\"\n";
    let records = read_file("a.csv", file, |config| {
        config.text_column = "ref".into();
        config.label_column = Some("mr".into());
    });
    let label = Some("name[A], food[B]".into());
    let expected = Record { text: "The A.".into(), label, source: None };
    assert_eq!(records.expect("readable"), [expected]);
}

#[test]
fn jsonl_has_strings_and_integer_labels() {
    let file = "\u{feff}{\"text\": \"a\\n b\", \"label\": \"x\"}\r\n\n{\"label\": 3, \"text\": \"\\u00e9\"}";
    let expected = [("a b".to_owned(), "x".to_owned()), ("é".to_owned(), "3".to_owned())];
    assert_eq!(labelled("a.jsonl", file.as_bytes()).expect("readable"), expected);
    assert_eq!(labelled("a.jsonl.gz", &gzip(file.as_bytes())).expect("readable"), expected);
}

#[test]
fn gzip_files_may_have_several_members() {
    let mut bytes = gzip(b"one\ntw");
    bytes.extend(gzip(b"o\nthree\n"));
    bytes.extend(gzip(b""));
    assert_eq!(texts("a.txt.gz", &bytes), ["one", "two", "three"]);
}

#[test]
fn repetitions_without_bound_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("texts.txt"), "a\nb\n").expect("a file");
    for repeat in [latent_text_training::data::MOST_REPEATED / 2 + 1, usize::MAX] {
        let config = DatasetConfig { repeat, ..DatasetConfig::new("texts.txt") };
        let error = read_texts(&config, folder.path()).expect_err("too many");
        assert!(matches!(error, DataError::TooManyRecords { records: 2, .. }), "{error:?}");
        assert!(error.to_string().contains("`repeat`"), "{error}");
    }
}

#[test]
fn limit_and_repeat() {
    let read = |limit, repeat| {
        let records = read_file("a.txt", b"a\nb\nc\n", |config| {
            config.limit = limit;
            config.repeat = repeat;
        });
        records.map(|records| records.into_iter().map(|r| r.text).collect::<String>())
    };
    assert_eq!(read(None, 1).expect("readable"), "abc");
    assert_eq!(read(Some(2), 1).expect("readable"), "ab");
    assert_eq!(read(Some(9), 1).expect("readable"), "abc");
    assert_eq!(read(Some(2), 3).expect("readable"), "ababab");
    for (error, setting) in [(read(Some(0), 1), "limit"), (read(None, 0), "repeat")] {
        let error = error.expect_err("out of range");
        assert!(matches!(error, DataError::InvalidSetting { .. }));
        assert!(error.to_string().contains(setting), "{error}");
    }
}

#[test]
fn skip_and_limit_share_a_file_out() {
    for (name, bytes) in [
        ("a.txt", &b"a\n\nb\nc\nd\n"[..]),
        ("a.csv", b"text,label\na,x\nb,x\nc,\nd,\n"),
        (
            "a.jsonl",
            b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"c\"}\n{\"text\": \"d\"}\n",
        ),
    ] {
        let read = |skip, limit, repeat| {
            let records = read_file(name, bytes, |config| {
                config.skip = skip;
                config.limit = limit;
                config.repeat = repeat;
            });
            records.map(|records| records.into_iter().map(|r| r.text).collect::<String>())
        };
        assert_eq!(read(0, Some(2), 1).expect("readable"), "ab", "{name}");
        assert_eq!(read(2, None, 1).expect("readable"), "cd", "{name}");
        assert_eq!(read(1, Some(2), 1).expect("readable"), "bc", "{name}");
        assert_eq!(read(3, Some(9), 2).expect("readable"), "dd", "{name}");
        for skip in [4, 5, usize::MAX] {
            let error = read(skip, Some(1), 1).expect_err("nothing is left");
            assert!(matches!(error, DataError::AllSkipped { records: 4, .. }), "{error}");
            assert!(error.to_string().contains(&format!("`skip` is {skip}")), "{error}");
        }
    }
}

#[test]
fn skipped_records_may_lack_what_is_not_asked_for_but_not_be_malformed() {
    let file = b"text,label\na,x\nb,\n";
    let first = read_file("a.csv", file, |config| {
        config.label_column = Some("label".into());
        config.limit = Some(1);
    });
    assert_eq!(first.expect("readable")[0].label.as_deref(), Some("x"));
    let rest = read_file("a.csv", file, |config| config.skip = 1).expect("readable");
    assert_eq!((rest.len(), rest[0].label.as_deref()), (1, None));
    let error = read_file("a.jsonl", b"nonsense\n{\"text\": \"a\"}\n", |config| config.skip = 1);
    let error = error.expect_err("a malformed record");
    assert!(matches!(error, DataError::MalformedJson { line: 1, .. }), "{error}");
}

#[test]
fn lines_after_the_limit_are_not_looked_at() {
    let records = read_file("a.jsonl", b"{\"text\": \"a\"}\nnonsense\n", |c| c.limit = Some(1));
    assert_eq!(records.expect("readable").len(), 1);
}

#[test]
fn config_has_defaults_and_refuses_unknown_settings() {
    let config: DatasetConfig = serde_json::from_str(r#"{"path": "a.txt"}"#).expect("valid");
    assert_eq!(config, DatasetConfig::new("a.txt"));
    assert_eq!((config.text_column.as_str(), config.repeat), ("text", 1));
    assert!(serde_json::from_str::<DatasetConfig>(r#"{"path": "a", "colunm": "b"}"#).is_err());
    assert!(serde_json::from_str::<DatasetConfig>("{}").is_err());
}

#[test]
fn missing_file_and_folder() {
    let config = DatasetConfig::new("none.txt");
    let error = read_texts(&config, Path::new("nowhere")).expect_err("missing");
    assert!(matches!(error, DataError::Open { .. }));
    assert_names(&error, "none.txt", None);
    assert!(error.source().is_some());

    let folder = TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("d.txt")).expect("made");
    let error = read_texts(&DatasetConfig::new("d.txt"), folder.path()).expect_err("a folder");
    assert!(matches!(error, DataError::Open { .. }), "{error}");
}

#[test]
fn absolute_paths_leave_the_base_folder() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("a.txt");
    fs::write(&path, "a").expect("written");
    let records = read_texts(&DatasetConfig::new(path), Path::new("elsewhere"));
    assert_eq!(records.expect("readable").len(), 1);
}

#[test]
fn unknown_extensions() {
    for name in ["a.json", "a.gz", "a", "a.txt.zip", "txt"] {
        let error = error(name, b"a");
        assert!(matches!(error, DataError::UnknownExtension { .. }), "{name}: {error}");
        assert_names(&error, name, None);
    }
}

#[test]
fn missing_columns_list_those_present() {
    for (name, bytes, line) in
        [("a.csv", &b"id,ref\n1,a\n"[..], 1), ("a.jsonl", b"\n{\"id\": 1, \"ref\": \"a\"}\n", 2)]
    {
        let error = error(name, bytes);
        assert_names(&error, name, Some(line));
        let message = error.to_string();
        assert!(message.contains("`text`") && message.contains("id, ref"), "{message}");
    }
    let error = labelled("a.csv", b"text\na\n").expect_err("no label column");
    assert!(matches!(error, DataError::MissingColumn { column, .. } if column == "label"));
    let error = labelled("a.jsonl", b"{\"text\": \"a\"}\n").expect_err("no label");
    assert!(matches!(error, DataError::MissingColumn { column, .. } if column == "label"));
}

#[test]
fn plain_text_has_no_labels() {
    let error = labelled("a.txt", b"a\n").expect_err("no columns");
    assert!(matches!(error, DataError::LabelsInPlainText { .. }));
}

#[test]
fn sources_stand_beside_texts_and_labels() {
    let expected = Record {
        text: "The A.".into(),
        label: Some("x".into()),
        source: Some("name[A], food[B]".into()),
    };
    let csv = b"kind,text,mr\nx,The A.,\"name[A],  food[B]\"\n";
    let jsonl = br#"{"mr": "name[A],  food[B]", "text": "The A.", "kind": "x"}"#;
    for (name, bytes) in [("a.csv", &csv[..]), ("a.jsonl", &jsonl[..])] {
        let records = read_file(name, bytes, |config| {
            config.label_column = Some("kind".into());
            config.source_column = Some("mr".into());
        });
        assert_eq!(records.expect("readable"), std::slice::from_ref(&expected));
    }
}

#[test]
fn sources_that_can_not_be_read_are_named() {
    let with_sources = |name: &str, bytes: &[u8]| {
        read_file(name, bytes, |config| config.source_column = Some("mr".into()))
            .expect_err("no source")
    };
    assert!(matches!(with_sources("a.txt", b"a\n"), DataError::SourcesInPlainText { .. }));
    let error = with_sources("a.csv", b"text\na\n");
    assert!(matches!(&error, DataError::MissingColumn { column, .. } if column == "mr"), "{error}");
    let error = with_sources("a.csv", b"text,mr\na,b\na, \n");
    assert!(matches!(&error, DataError::Empty { line: 3, .. }), "{error}");
    let error = with_sources("a.jsonl", b"{\"text\": \"a\", \"mr\": 3}\n");
    assert!(matches!(&error, DataError::WrongType { column, .. } if column == "mr"), "{error}");
}

#[test]
fn bytes_that_are_not_utf8() {
    for (name, bytes, line) in [
        ("a.txt", &b"fine\nbad \xff\n"[..], 2),
        ("a.csv", b"text\nfine\n\"two\nlines\"\nbad \xff\n", 5),
        ("a.csv", b"text,\xff\nfine,b\n", 1),
        ("a.jsonl", b"{\"text\": \"fine\"}\n\n{\"text\": \"\xe9\"}\n", 3),
    ] {
        let error = error(name, bytes);
        assert!(matches!(error, DataError::NotUtf8 { .. }), "{name}: {error}");
        assert_names(&error, name, Some(line));
    }
}

#[test]
fn malformed_json() {
    for line in ["{\"text\": \"a\"", "[\"a\"]", "\"a\"", "{\"text\": \"a\"} x", "{'text': 'a'}"] {
        let file = format!("{{\"text\": \"fine\"}}\n{line}\n");
        let error = error("a.jsonl", file.as_bytes());
        assert!(matches!(error, DataError::MalformedJson { .. }), "{line}: {error}");
        assert_names(&error, "a.jsonl", Some(2));
        assert!(error.source().is_some());
    }
}

#[test]
fn csv_rows_of_another_length() {
    for (row, fields) in [("b", 1), ("b,c,d", 3)] {
        let error = error("a.csv", format!("text,id\n\"a\na\",1\n{row}\n").as_bytes());
        assert!(matches!(error, DataError::UnequalFields { .. }), "{error}");
        assert_names(&error, "a.csv", Some(4));
        assert!(error.to_string().contains(&format!("{fields} fields")));
    }
}

#[test]
fn csv_quotes_that_are_never_closed() {
    for file in ["text\nfine\n\"open\nmore\n", "text,id\nfine,1\na,\"open\nmore,2\n"] {
        let error = error("a.csv", file.as_bytes());
        assert!(matches!(error, DataError::UnclosedQuote { .. }), "{error}");
        assert_names(&error, "a.csv", Some(3));
    }
}

#[test]
fn values_of_another_type() {
    for (value, found) in [
        ("3", "a number"),
        ("null", "null"),
        ("true", "true or false"),
        ("[]", "an array"),
        ("{}", "an object"),
    ] {
        let error = error("a.jsonl", format!("{{\"text\": {value}}}\n").as_bytes());
        assert!(matches!(error, DataError::WrongType { .. }), "{error}");
        assert_names(&error, "a.jsonl", Some(1));
        assert!(error.to_string().contains(found), "{error}");
    }
    for value in ["1.5", "null", "[]"] {
        let file = format!("{{\"text\": \"a\", \"label\": {value}}}\n");
        let error = labelled("a.jsonl", file.as_bytes()).expect_err("a wrong label");
        assert!(matches!(error, DataError::WrongType { .. }), "{error}");
    }
}

#[test]
fn empty_texts_and_labels() {
    for (name, bytes, line) in [
        ("a.jsonl", &b"{\"text\": \"a\"}\n{\"text\": \" \\n\"}\n"[..], 2),
        ("a.csv", b"id,text\n1,a\n2,\" \"\n", 3),
        ("a.csv", b"id,text\n1,\n", 2),
    ] {
        let error = error(name, bytes);
        assert!(matches!(error, DataError::Empty { .. }), "{name}: {error}");
        assert_names(&error, name, Some(line));
    }
    let error = labelled("a.csv", b"text,label\na,\n").expect_err("an empty label");
    assert!(matches!(error, DataError::Empty { column, .. } if column == "label"));
}

#[test]
fn files_without_texts() {
    for (name, bytes) in [
        ("a.txt", &b""[..]),
        ("a.txt", b" \n\r\n\n"),
        ("a.csv", b""),
        ("a.csv", b"id,text\n"),
        ("a.jsonl", b"\xef\xbb\xbf"),
    ] {
        let error = error(name, bytes);
        assert!(matches!(error, DataError::NoTexts { .. }), "{name}: {error}");
        let error = self::error(&format!("{name}.gz"), &gzip(bytes));
        assert!(matches!(error, DataError::NoTexts { .. }), "{name}: {error}");
    }
}

#[test]
fn gzip_data_that_are_cut_off() {
    let lines: String = (0..2000).map(|i| format!("{{\"text\": \"{}\"}}\n", i * i % 997)).collect();
    for (name, file) in [
        ("a.txt.gz", lines.clone()),
        ("a.jsonl.gz", lines.clone()),
        ("a.csv.gz", lines.replace("{\"text\": ", "").replace('}', "").replacen('0', "text", 1)),
    ] {
        let bytes = gzip(file.as_bytes());
        for length in [bytes.len() / 2, bytes.len() - 1, 5] {
            let error = error(name, &bytes[..length]);
            assert!(matches!(error, DataError::TruncatedGzip { .. }), "{name} {length}: {error}");
            assert_names(&error, name, None);
        }
    }
}

#[test]
fn gzip_data_that_are_damaged() {
    let mut bytes = gzip(b"one\ntwo\n");
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    for bytes in [&bytes[..], b"this is no gzip file"] {
        let error = error("a.txt.gz", bytes);
        assert!(matches!(error, DataError::Read { .. }), "{error}");
        assert_names(&error, "a.txt.gz", None);
        assert!(error.source().is_some());
    }
}

#[test]
fn committed_data_sets_can_be_read() {
    let data = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../data");
    for (name, lines, labels) in [
        ("e2e/train.jsonl.gz", 42_061, 8),
        ("e2e/valid.jsonl.gz", 4_672, 3),
        ("e2e/test.jsonl.gz", 4_693, 8),
        ("fairytales/train.jsonl.gz", 21_296, 0),
        ("dbpedia/train.jsonl.gz", 14_000, 14),
        ("scitldr/train.jsonl.gz", 3_981, 0),
        ("tatoeba/train.jsonl.gz", 131_759, 0),
    ] {
        let mut config = DatasetConfig::new(name);
        config.label_column = (labels > 0).then(|| "label".into());
        let records = read_texts(&config, &data).expect("readable");
        assert_eq!(records.len(), lines, "{name}");
        let distinct: std::collections::BTreeSet<_> =
            records.iter().filter_map(|record| record.label.as_deref()).collect();
        assert_eq!(distinct.len(), labels, "{name}: {distinct:?}");
    }
}
