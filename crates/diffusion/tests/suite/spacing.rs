use latent_text_diffusion::schedule::{
    Betas, Edm, Exponential as ExponentialSchedule, Knots, RectifiedFlow, Table,
};
use latent_text_diffusion::spacing::{
    Beta, End, Exponential, Karras, Leading, Linspace, LogSnrs, Times, Trailing, UniformLogSnr,
};
use latent_text_diffusion::{
    DiffusionError, Family, NoiseLevel, NoisePoint, NoiseSchedule, NoiseScheduleConfig,
    ScheduleKind, Spacing,
};
use proptest::prelude::*;
use proptest::sample::select;

fn schedule(kind: ScheduleKind) -> NoiseSchedule {
    NoiseScheduleConfig { kind, scale: 1.0 }.init().unwrap()
}

fn cosine() -> NoiseSchedule {
    schedule(ScheduleKind::default())
}

fn table(len: usize) -> NoiseSchedule {
    schedule(ScheduleKind::Table(Table { len, ..Table::default() }))
}

fn flow() -> NoiseSchedule {
    schedule(ScheduleKind::RectifiedFlow(RectifiedFlow::default()))
}

fn edm() -> NoiseSchedule {
    schedule(ScheduleKind::Edm(Edm::default()))
}

fn zero_terminal() -> NoiseSchedule {
    let table = Table { zero_terminal_snr: true, len: 100, betas: Betas::default() };
    schedule(ScheduleKind::Table(table))
}

fn karras(sigma_min: Option<f64>, sigma_max: Option<f64>) -> Spacing {
    Spacing::Karras(Karras { sigma_min, sigma_max, ..Karras::default() })
}

/// The spacings that need a number of steps only.
fn plain_spacings() -> [Spacing; 8] {
    [
        Spacing::Uniform,
        Spacing::Linspace(Linspace {}),
        Spacing::Leading(Leading::default()),
        Spacing::Trailing(Trailing {}),
        Spacing::Karras(Karras::default()),
        Spacing::Exponential(Exponential::default()),
        Spacing::Beta(Beta::default()),
        Spacing::UniformLogSnr(UniformLogSnr::default()),
    ]
}

/// The entries of a table that the noisy points are at.
fn entries(points: &[NoisePoint], len: usize) -> Vec<usize> {
    let noisy = &points[..points.len() - 1];
    let entries = noisy.iter().map(|point| {
        let entry = point.time * (len - 1) as f64;
        assert!((entry - entry.round()).abs() < 1e-9, "not a whole entry: {entry}");
        entry.round() as usize
    });
    entries.collect()
}

fn sigmas(points: &[NoisePoint]) -> Vec<f64> {
    points[..points.len() - 1].iter().map(|point| point.level.sigma()).collect()
}

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() < 1e-9 * e.abs().max(1e-3), "{actual:?}, not {expected:?}");
    }
}

#[test]
fn every_spacing_falls_to_data() {
    for spacing in plain_spacings() {
        for steps in [1, 2, 7, 50, 1000] {
            let schedule = table(1000);
            let points = spacing.points(&schedule, steps).unwrap();
            assert_eq!(points.len(), steps + 1);
            assert_eq!(points[steps], NoisePoint::DATA);
            for pair in points.windows(2) {
                let (from, to) = (pair[0], pair[1]);
                assert!(from.level.log_snr() < to.level.log_snr(), "{spacing:?} {steps}");
                assert!(from.time >= to.time && from.time.is_finite());
                assert!((0.0..=1.0).contains(&from.time));
            }
            for point in &points[..steps] {
                let there = schedule.log_snr(point.time);
                assert!((there - point.level.log_snr()).abs() < 1e-9, "{spacing:?} {steps}");
            }
        }
    }
}

#[test]
fn uniform_times_are_those_of_the_reference() {
    let schedule = cosine();
    let points = Spacing::default().points(&schedule, 4).unwrap();
    let times: Vec<f64> = points.iter().map(|point| point.time).collect();
    assert_eq!(times, [1.0, 0.75, 0.5, 0.25, 0.0]);
    for point in &points[..4] {
        assert_eq!(point.level, schedule.level(point.time));
    }
    assert_eq!(points[4].level, NoiseLevel::DATA);
}

#[test]
fn table_spacings_pick_the_entries_of_diffusers() {
    let pick =
        |spacing: Spacing, len, steps| entries(&spacing.points(&table(len), steps).unwrap(), len);
    let linspace = || Spacing::Linspace(Linspace {});
    let leading = |offset| Spacing::Leading(Leading { offset });
    let trailing = || Spacing::Trailing(Trailing {});

    assert_eq!(pick(linspace(), 1000, 4), [999, 666, 333, 0]);
    // 4.5 and 1.5 are rounded half to even.
    assert_eq!(pick(linspace(), 10, 7), [9, 8, 6, 4, 3, 2, 0]);
    assert_eq!(pick(linspace(), 1000, 1), [999]);
    assert_eq!(pick(leading(0), 1000, 4), [750, 500, 250, 0]);
    assert_eq!(pick(leading(1), 1000, 3), [667, 334, 1]);
    assert_eq!(pick(trailing(), 1000, 4), [999, 749, 499, 249]);
    assert_eq!(pick(trailing(), 1000, 3), [999, 666, 332]);
    assert_eq!(pick(trailing(), 1000, 1), [999]);

    // 250 of 1000 entries as LD4LG's first version takes them: linspace(-1, 999, 251), reversed.
    let expected: Vec<usize> = (0..250).map(|step| 999 - 4 * step).collect();
    assert_eq!(pick(trailing(), 1000, 250), expected);

    let every: Vec<usize> = (0..1000).rev().collect();
    for spacing in [linspace(), leading(0), trailing()] {
        assert_eq!(pick(spacing, 1000, 1000), every);
    }
}

#[test]
fn sigmas_equal_their_closed_forms() {
    // The seventh roots go from 3 to 1.
    let schedule = schedule(ScheduleKind::Edm(Edm { sigma_min: 1.0, sigma_max: 2187.0, rho: 1.0 }));
    let points = karras(None, None).points(&schedule, 3).unwrap();
    assert_close(&sigmas(&points), &[2187.0, 128.0, 1.0]);
    let times: Vec<f64> = points.iter().map(|point| point.time).collect();
    assert_close(&times, &[1.0, 127.0 / 2186.0, 0.0, 0.0]);

    let exponential = Spacing::Exponential(Exponential::default());
    let points = exponential.points(&schedule, 8).unwrap();
    assert_close(&sigmas(&points), &[2187.0, 729.0, 243.0, 81.0, 27.0, 9.0, 3.0, 1.0]);

    // sin(pi p / 2)^2 is the quantile for alpha = beta = 1/2.
    let beta = Beta { alpha: 0.5, beta: 0.5, sigma_min: Some(2.0), sigma_max: Some(6.0) };
    let points = Spacing::Beta(beta).points(&schedule, 4).unwrap();
    assert_close(&sigmas(&points), &[6.0, 5.0, 3.0, 2.0]);

    let points = karras(None, None).points(&schedule, 1).unwrap();
    assert_close(&sigmas(&points), &[2187.0]);
}

#[test]
fn default_beta_quantiles_equal_scipy() {
    // scipy.stats.beta.ppf(0.75, 0.6, 0.6) of scipy 1.17.1, and symmetry.
    let schedule = edm();
    let beta = Beta { sigma_min: Some(1e-9), sigma_max: Some(1.0), ..Beta::default() };
    let points = Spacing::Beta(beta).points(&schedule, 5).unwrap();
    let actual = sigmas(&points);
    assert!((actual[2] - 0.5).abs() < 1e-8, "{actual:?}");
    assert!((actual[1] + actual[3] - 1.0).abs() < 1e-8, "{actual:?}");
    assert!((actual[1] - 0.824_319_621_347_305).abs() < 1e-8, "{actual:?}");
}

#[test]
fn log_snrs_are_uniform() {
    let ranged = UniformLogSnr { log_snr_min: Some(-6.0), log_snr_max: Some(6.0) };
    for schedule in [cosine(), flow(), edm()] {
        let points = Spacing::UniformLogSnr(ranged).points(&schedule, 5).unwrap();
        let log_snrs: Vec<f64> = points.iter().map(|point| point.level.log_snr()).collect();
        assert_close(&log_snrs[..5], &[-6.0, -3.0, 0.0, 3.0, 6.0]);
        assert_eq!(points[0].level, NoiseLevel::new(schedule.family(), -6.0));
    }
    let points = Spacing::UniformLogSnr(UniformLogSnr::default()).points(&cosine(), 3).unwrap();
    assert_eq!(points[0].level.log_snr(), -15.0);
    assert_eq!((points[0].time, points[2].time), (1.0, 0.0));
    assert!((points[1].time - 0.5).abs() < 1e-12);
}

#[test]
fn flows_count_sigma_as_the_factor_of_the_noise() {
    let schedule = flow();
    let points = karras(Some(0.001), None).points(&schedule, 10).unwrap();
    let (first, last) = (points[0].level, points[9].level);
    assert_eq!((first.noise(), first.signal()), (1.0, 0.0));
    assert!((last.noise() - 0.001).abs() < 1e-15 && (points[9].time - 0.001).abs() < 1e-12);
    let roots: Vec<f64> = points[..10].iter().map(|p| p.level.noise().powf(1.0 / 7.0)).collect();
    for triple in roots.windows(3) {
        assert!((triple[0] - 2.0 * triple[1] + triple[2]).abs() < 1e-12);
    }
    assert_eq!(points[10], NoisePoint::DATA);
}

#[test]
fn the_callers_points_are_taken_as_they_are() {
    let schedule = cosine();
    let times = Spacing::Times(Times { times: vec![1.0, 0.9, 0.1] });
    let points = times.points(&schedule, 3).unwrap();
    assert_eq!(points[1], NoisePoint { time: 0.9, level: schedule.level(0.9) });
    assert_eq!(points[3], NoisePoint::DATA);

    let log_snrs =
        Spacing::LogSnrs(LogSnrs { log_snrs: vec![f64::NEG_INFINITY, -20.0, 0.0, 30.0] });
    let points = log_snrs.points(&schedule, 4).unwrap();
    assert_eq!(points[0].level.noise(), 1.0);
    assert_eq!(points[1].level.log_snr(), -20.0);
    assert_eq!([points[0].time, points[1].time, points[3].time], [1.0, 1.0, 0.0]);
    assert!((points[2].time - 0.5).abs() < 1e-12);
}

#[test]
fn a_run_may_end_at_the_schedules_least_noise() {
    let schedule = table(100);
    for spacing in plain_spacings() {
        // Leading and linspace reach the first entry by themselves.
        let repeats = matches!(spacing, Spacing::Leading(_) | Spacing::Linspace(_));
        match spacing.points_to(End::Schedule, &schedule, 10) {
            Ok(points) => {
                assert_eq!(points.len(), 11, "{spacing:?}");
                let last = points[10];
                assert!((last.level.log_snr() - schedule.log_snr(0.0)).abs() < 1e-9);
                assert_eq!(last.time, 0.0);
                assert!(!repeats);
            }
            Err(DiffusionError::RepeatedNoise { step: 10, .. }) => assert!(repeats),
            Err(error) => panic!("{spacing:?}: {error}"),
        }
    }
    let leading = Spacing::Leading(Leading { offset: 1 });
    let points = leading.points_to(End::Schedule, &schedule, 10).unwrap();
    assert_eq!(points[10], NoisePoint::at_time(&schedule, 0.0));
    let to_data = leading.points_to(End::Data, &schedule, 10).unwrap();
    assert_eq!(to_data, leading.points(&schedule, 10).unwrap());
}

#[test]
fn infinite_ends_are_met_or_refused() {
    for schedule in [flow(), zero_terminal()] {
        let points = Spacing::Uniform.points(&schedule, 10).unwrap();
        assert_eq!((points[0].level.signal(), points[0].level.noise()), (0.0, 1.0));
        let finite = |p: &NoisePoint| p.level.signal().is_finite() && p.level.noise().is_finite();
        assert!(points.iter().all(finite));
    }
    let refused = |spacing: Spacing, schedule: &NoiseSchedule| match spacing
        .points(schedule, 10)
        .unwrap_err()
    {
        DiffusionError::UnboundedNoise { setting, .. } => setting,
        error => panic!("{spacing:?}: {error}"),
    };
    let exponential = Spacing::Exponential(Exponential::default());
    let uniform = || Spacing::UniformLogSnr(UniformLogSnr::default());
    assert_eq!(refused(karras(None, None), &flow()), "sigma_min");
    assert_eq!(refused(exponential.clone(), &flow()), "sigma_min");
    assert_eq!(refused(Spacing::Beta(Beta::default()), &flow()), "sigma_min");
    assert_eq!(refused(karras(None, None), &zero_terminal()), "sigma_max");
    assert_eq!(refused(uniform(), &zero_terminal()), "log_snr_min");
    let from_noise = UniformLogSnr { log_snr_min: Some(-10.0), log_snr_max: None };
    assert_eq!(refused(Spacing::UniformLogSnr(from_noise), &flow()), "log_snr_max");
    let error = exponential.points(&flow(), 10).unwrap_err();
    assert!(error.to_string().contains("set sigma_min of the spacing"), "{error}");
    karras(None, Some(4096.0)).points(&zero_terminal(), 10).unwrap();
}

#[test]
fn wrong_settings_are_errors() {
    let setting_of =
        |spacing: Spacing, schedule: &NoiseSchedule| match spacing.points(schedule, 2).unwrap_err()
        {
            DiffusionError::Setting { setting, .. } => setting,
            error => panic!("{spacing:?}: {error}"),
        };
    let rho = |rho| Spacing::Karras(Karras { rho, ..Karras::default() });
    let beta = |alpha, beta| Spacing::Beta(Beta { alpha, beta, ..Beta::default() });
    let times = |times: &[f64]| Spacing::Times(Times { times: times.to_vec() });
    let from = |log_snr| {
        let spacing = UniformLogSnr { log_snr_min: Some(log_snr), log_snr_max: None };
        Spacing::UniformLogSnr(spacing)
    };
    assert_eq!(setting_of(rho(0.0), &edm()), "rho");
    assert_eq!(setting_of(rho(f64::NAN), &edm()), "rho");
    assert_eq!(setting_of(beta(0.0, 1.0), &edm()), "alpha");
    assert_eq!(setting_of(beta(1.0, f64::INFINITY), &edm()), "beta");
    assert_eq!(setting_of(karras(Some(-1.0), None), &edm()), "sigma_min");
    assert_eq!(setting_of(karras(Some(100.0), None), &edm()), "sigma_min");
    assert_eq!(setting_of(karras(Some(f64::NAN), None), &edm()), "sigma_min");
    assert_eq!(setting_of(karras(None, Some(f64::NAN)), &edm()), "sigma_min");
    assert_eq!(setting_of(karras(Some(0.1), Some(2.0)), &flow()), "sigma_max");
    assert_eq!(setting_of(from(f64::NAN), &edm()), "log_snr_min");
    assert_eq!(setting_of(times(&[1.0, -0.1]), &edm()), "times");
    assert_eq!(setting_of(times(&[1.1, 0.1]), &edm()), "times");
    assert_eq!(setting_of(times(&[f64::NAN, 0.1]), &edm()), "times");
}

#[test]
fn steps_that_cannot_be_placed_are_errors() {
    for spacing in plain_spacings() {
        assert_eq!(spacing.points(&table(100), 0), Err(DiffusionError::NoSteps));
    }
    let over_tables = [
        ("linspace", Spacing::Linspace(Linspace {})),
        ("leading", Spacing::Leading(Leading::default())),
        ("trailing", Spacing::Trailing(Trailing {})),
    ];
    for (spacing, of_table) in over_tables {
        let error = of_table.points(&cosine(), 10).unwrap_err();
        assert_eq!(error, DiffusionError::NotATable { spacing });
        for steps in [101, 100_000] {
            let error = of_table.points(&table(100), steps).unwrap_err();
            assert_eq!(error, DiffusionError::TooManySteps { spacing, steps, len: 100 });
        }
    }
    for offset in [10, usize::MAX] {
        let leading = Spacing::Leading(Leading { offset });
        let error = leading.points(&table(100), 10).unwrap_err();
        assert!(matches!(error, DiffusionError::TooManySteps { .. }), "{error}");
    }
    let error = Spacing::Times(Times { times: vec![1.0] }).points(&cosine(), 2).unwrap_err();
    assert_eq!(error, DiffusionError::GivenPoints { what: "times", given: 1, steps: 2 });
    let error = Spacing::LogSnrs(LogSnrs::default()).points(&cosine(), 2).unwrap_err();
    assert_eq!(error, DiffusionError::GivenPoints { what: "log-SNRs", given: 0, steps: 2 });
}

#[test]
fn noise_that_does_not_fall_is_an_error() {
    let times = |times: &[f64]| Spacing::Times(Times { times: times.to_vec() });
    let log_snrs = |log_snrs: &[f64]| Spacing::LogSnrs(LogSnrs { log_snrs: log_snrs.to_vec() });
    for (spacing, at) in [
        (times(&[1.0, 0.5, 0.5]), 2),
        (times(&[0.2, 0.5, 0.1]), 1),
        (log_snrs(&[-1.0, -1.0, 2.0]), 1),
        (log_snrs(&[-1.0, f64::NAN, 2.0]), 1),
        (log_snrs(&[-1.0, 0.0, f64::INFINITY]), 3),
    ] {
        match spacing.points(&cosine(), 3).unwrap_err() {
            DiffusionError::RepeatedNoise { step, .. } => assert_eq!(step, at, "{spacing:?}"),
            error => panic!("{spacing:?}: {error}"),
        }
    }
    // A rectified flow has no noise at all at time 0, where the end already is.
    let error = times(&[1.0, 0.5, 0.0]).points(&flow(), 3).unwrap_err();
    assert!(matches!(error, DiffusionError::RepeatedNoise { step: 3, .. }), "{error}");
    // So fine that two times lie where the cosine is clamped.
    let error = Spacing::Uniform.points(&cosine(), 10_000).unwrap_err();
    assert!(matches!(error, DiffusionError::RepeatedNoise { step: 1, .. }), "{error}");
}

#[test]
fn noise_beyond_f32_is_an_error() {
    let exploding = schedule(ScheduleKind::Exponential(ExponentialSchedule::default()));
    for log_snr in [f64::NEG_INFINITY, -1e3] {
        let spacing = Spacing::LogSnrs(LogSnrs { log_snrs: vec![log_snr] });
        let error = spacing.points(&exploding, 1).unwrap_err();
        assert_eq!(error, DiffusionError::ExtremeNoise { log_snr });
    }
    // The most extreme knots still fit.
    let knots = Knots { log_snrs: vec![80.0, -80.0], family: Family::VarianceExploding };
    let points = Spacing::Uniform.points(&schedule(ScheduleKind::Knots(knots)), 10).unwrap();
    assert!(points.iter().all(|point| (point.level.noise() as f32).is_finite()));
}

#[test]
fn spacings_are_written_and_read_as_json() {
    let mut spacings = plain_spacings().to_vec();
    spacings.push(karras(Some(0.1), None));
    spacings.push(Spacing::Leading(Leading { offset: 1 }));
    spacings.push(Spacing::Times(Times { times: vec![1.0, 0.5] }));
    spacings.push(Spacing::LogSnrs(LogSnrs { log_snrs: vec![-1.0, 0.5] }));
    for spacing in spacings {
        let written = serde_json::to_value(&spacing).unwrap();
        assert!(written["name"].is_string());
        assert_eq!(serde_json::from_value::<Spacing>(written.clone()).unwrap(), spacing);

        let mut unknown = written;
        unknown["colour"] = 1.into();
        let error = serde_json::from_value::<Spacing>(unknown).unwrap_err();
        assert!(error.to_string().contains("colour"), "{spacing:?}: {error}");
    }
    let read: Spacing = serde_json::from_str(r#"{"name": "karras", "rho": 5.0}"#).unwrap();
    assert_eq!(read, Spacing::Karras(Karras { rho: 5.0, ..Karras::default() }));
    let read: Spacing = serde_json::from_str(r#"{"name": "uniform"}"#).unwrap();
    assert_eq!(read, Spacing::Uniform);
    assert_eq!(serde_json::to_string(&End::Schedule).unwrap(), r#""schedule""#);
}

proptest! {
    #[test]
    fn any_points_fall_and_are_finite_or_an_error(
        spacing in select(plain_spacings().to_vec()),
        schedule in select(vec![cosine(), table(60), zero_terminal(), flow(), edm()]),
        end in select(vec![End::Data, End::Schedule]),
        steps in 0..130_usize,
    ) {
        let Ok(points) = spacing.points_to(end, &schedule, steps) else { return Ok(()) };
        prop_assert_eq!(points.len(), steps + 1);
        for pair in points.windows(2) {
            prop_assert!(pair[0].level.log_snr() < pair[1].level.log_snr());
            prop_assert!(pair[0].time >= pair[1].time);
        }
        for point in points {
            prop_assert!(point.level.signal().is_finite() && point.level.noise().is_finite());
        }
    }

    #[test]
    fn any_settings_give_points_or_an_error(
        rho in -1.0..120.0_f64,
        alpha in 0.0..20.0_f64,
        beta in 0.0..20.0_f64,
        sigma_min in -0.1..1.0_f64,
        sigma_max in 0.5..1e4_f64,
        steps in 1..40_usize,
    ) {
        let (sigma_min, sigma_max) = (Some(sigma_min), Some(sigma_max));
        for spacing in [
            Spacing::Karras(Karras { rho, sigma_min, sigma_max }),
            Spacing::Beta(Beta { alpha, beta, sigma_min, sigma_max }),
        ] {
            let Ok(points) = spacing.points(&edm(), steps) else { continue };
            let noises: Vec<f64> = points.iter().map(|point| point.level.noise()).collect();
            prop_assert!(noises.is_sorted_by(|a, b| a > b && a.is_finite()), "{:?}", noises);
        }
    }
}
