//! Class labels: lookup, the null class, dropping, and files.

use burn::tensor::Device;
use latent_text_conditioning::{ClassLabels, InvalidLabels};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn labels() -> ClassLabels {
    ClassLabels::new(["world", "sports", "business", "sci/tech"]).unwrap()
}

#[test]
fn a_label_is_its_index_and_the_null_class_comes_last() {
    let labels = labels();
    for (index, name) in labels.names().iter().enumerate() {
        assert_eq!(labels.index_of(name), Ok(index));
    }
    assert_eq!(labels.null(), 4);
}

#[test]
fn an_unknown_label_is_answered_with_the_known_ones() {
    let error = labels().index_of("Sports").unwrap_err();
    assert_eq!(error.label, "Sports");
    assert_eq!(
        error.to_string(),
        "the model has no class `Sports`; it knows `world`, `sports`, `business`, `sci/tech`"
    );
}

#[test]
fn labels_must_exist_and_differ() {
    assert_eq!(ClassLabels::new(Vec::<String>::new()), Err(InvalidLabels::None));
    let repeated = ClassLabels::new(["a", "b", "a"]);
    assert_eq!(repeated, Err(InvalidLabels::Repeated { label: "a".into() }));
}

#[test]
fn classes_are_dropped_one_by_one_at_the_asked_rate() {
    let labels = labels();
    let classes: Vec<usize> = (0..20_000).map(|index| index % 4).collect();
    let dropped = labels.drop_per_sample(&classes, 0.1, &mut ChaCha8Rng::seed_from_u64(1));
    assert!(dropped.iter().zip(&classes).all(|(new, old)| new == old || *new == labels.null()));
    for class in 0..4 {
        let gone = (0..20_000).filter(|&i| classes[i] == class && dropped[i] == labels.null());
        // 5,000 draws at 0.1: 500 expected, with a standard deviation of 21.
        let gone = gone.count();
        assert!((400..600).contains(&gone), "class {class}: {gone}");
    }
    let again = labels.drop_per_sample(&classes, 0.1, &mut ChaCha8Rng::seed_from_u64(1));
    assert_eq!(dropped, again);
    let other = labels.drop_per_sample(&classes, 0.1, &mut ChaCha8Rng::seed_from_u64(2));
    assert_ne!(dropped, other);
}

#[test]
fn the_probabilities_0_and_1_are_exact() {
    let labels = labels();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let classes = [0, 1, 2, 3].repeat(100);
    assert_eq!(labels.drop_per_sample(&classes, 0.0, &mut rng), classes);
    assert_eq!(labels.drop_per_sample(&classes, 1.0, &mut rng), [4].repeat(400));
}

#[test]
fn the_tensor_holds_the_indices() {
    let tensor = labels().tensor(&[3, 0, 4], &Device::default());
    assert_eq!(tensor.try_into_vec_as::<i64>().unwrap(), [3, 0, 4]);
}

#[test]
#[should_panic(expected = "class 5 of 4 and the null class")]
fn a_class_beyond_the_null_class_is_a_mistake() {
    labels().tensor(&[5], &Device::default());
}

#[test]
fn files_hold_the_names_and_are_checked() {
    let text = serde_json::to_string(&labels()).unwrap();
    assert_eq!(text, r#"{"names":["world","sports","business","sci/tech"]}"#);
    assert_eq!(serde_json::from_str::<ClassLabels>(&text).unwrap(), labels());
    for refused in [r#"{"names":[]}"#, r#"{"names":["a","a"]}"#, r#"{"names":["a"],"count":1}"#] {
        assert!(serde_json::from_str::<ClassLabels>(refused).is_err(), "{refused}");
    }
}
