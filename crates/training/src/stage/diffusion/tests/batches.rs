use super::*;

#[test]
fn classes_are_dropped_with_their_probability() {
    let _turn = device_turn();
    for probability in [0.0, 0.1, 0.3, 1.0] {
        let objective =
            DiffusionObjective { class_dropout: probability, ..DiffusionObjective::default() };
        let stage = stage(objective, Prediction::V);
        let mut make = stage.batches();
        let (mut dropped, mut drawn) = (0, 0);
        for index in 0..1000 {
            let batch = make(index);
            for (class, text) in batch.classes.expect("classes").iter().zip(batch.indices) {
                drawn += 1;
                if *class == 3 {
                    dropped += 1;
                } else {
                    assert_eq!(*class, text % 3);
                }
            }
        }
        let share = f64::from(dropped) / f64::from(drawn);
        let deviation = (probability * (1.0 - probability) / f64::from(drawn)).sqrt();
        assert!((share - probability).abs() <= 4.0 * deviation, "{share} for {probability}");
    }
}

#[test]
fn texts_without_a_label_always_have_the_null_class() {
    let _turn = device_turn();
    const LABELLED: i32 = 5;
    for probability in [0.0, 0.3] {
        let objective =
            DiffusionObjective { class_dropout: probability, ..DiffusionObjective::default() };
        let plain = stage(objective, Prediction::V);
        let classes = (0..TEXTS).map(|text| if (text as i32) < LABELLED { text % 3 } else { 3 });
        let latents = LatentSet::of(plain.train.latents.select(&ALL).values, classes.collect());
        let train = Arc::new(DiffusionSet { latents, sources: None });
        let stage = DiffusionStage { train, ..plain };
        let mut make = stage.batches();
        let (mut dropped, mut labelled) = (0, 0);
        for index in 0..1000 {
            let batch = make(index);
            for (class, text) in batch.classes.expect("classes").into_iter().zip(batch.indices) {
                if text >= LABELLED {
                    assert_eq!(class, 3, "text {text} has no label");
                    continue;
                }
                labelled += 1;
                dropped += i32::from(class == 3);
                assert!(class == 3 || class == text % 3);
            }
        }
        // The unlabelled texts don't count in the dropout of the others.
        let share = f64::from(dropped) / f64::from(labelled);
        let deviation = (probability * (1.0 - probability) / f64::from(labelled)).sqrt();
        assert!((share - probability).abs() <= 4.0 * deviation, "{share} for {probability}");
    }
}

#[test]
fn sources_are_dropped_with_their_probability() {
    let _turn = device_turn();
    for probability in [0.1, 0.3] {
        let stage = with_sources(stage(DiffusionObjective::default(), Prediction::V), probability);
        let mut make = stage.batches();
        let kept: Vec<bool> =
            (0..1000).flat_map(|index| make(index).with_source.expect("a draw")).collect();
        let count = kept.len() as f64;
        let share = kept.iter().filter(|kept| !**kept).count() as f64 / count;
        let deviation = (probability * (1.0 - probability) / count).sqrt();
        assert!((share - probability).abs() <= 4.0 * deviation, "{share} for {probability}");
    }
}

#[test]
fn times_are_uniform_and_a_function_of_the_batch() {
    let _turn = device_turn();
    let stage = stage(DiffusionObjective::default(), Prediction::V);
    let mut make = stage.batches();
    let times: Vec<f64> = (0..500).flat_map(|index| make(index).times).collect();
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let second = times.iter().map(|time| time * time).sum::<f64>() / count;
    assert!(times.iter().all(|time| (0.0..1.0).contains(time)));
    // Four standard errors of the moments 1/2 and 1/3.
    assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / count).sqrt(), "{mean}");
    assert!((second - 1.0 / 3.0).abs() < 4.0 * (4.0 / 45.0 / count).sqrt(), "{second}");
    assert_eq!((stage.batches())(17).times, times[17 * ROWS..18 * ROWS]);
}

#[test]
fn a_network_that_is_told_steps_gets_each_entry_as_often() {
    let _turn = device_turn();
    const ENTRIES: usize = 10;
    let plain = stage(DiffusionObjective::default(), Prediction::X0);
    let stage = DiffusionStage { steps: Some(ENTRIES), ..plain };
    let mut make = stage.batches();
    let mut counts = [0; ENTRIES];
    for index in 0..1000 {
        let batch = make(index);
        let steps = batch.steps.expect("steps");
        for (step, time) in steps.into_iter().zip(batch.times) {
            counts[step as usize] += 1;
            // Where the schedule has its entries.
            assert_eq!(time, f64::from(step) / (ENTRIES - 1) as f64);
        }
    }
    let expected = (1000 * ROWS / ENTRIES) as f64;
    for count in counts {
        // Four standard deviations.
        assert!((f64::from(count) - expected).abs() < 4.0 * (expected * 0.9).sqrt(), "{counts:?}");
    }
}
