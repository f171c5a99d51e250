//! Properties that hold for any settings, tried on random ones.

use std::ops::ControlFlow;

use latent_text_diffusion::spacing::Times;
use latent_text_diffusion::{
    DenoiserInput, Family, NoiseLevel, NoiseScheduleConfig, Prediction, SampleNoise, SamplerKind,
    SamplerPlan, Spacing, add_noise, sample,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{device, normal, values};

const FAMILIES: [Family; 3] =
    [Family::VariancePreserving, Family::VarianceExploding, Family::RectifiedFlow];
const PREDICTIONS: [Prediction; 5] = [
    Prediction::X0,
    Prediction::Eps,
    Prediction::V,
    Prediction::Velocity,
    Prediction::Edm { sigma_data: 0.5 },
];

proptest! {
    #[test]
    fn factors_belong_to_their_family(log_snr in -60.0..60.0_f64) {
        let [vp, ve, flow] = FAMILIES.map(|family| NoiseLevel::new(family, log_snr));
        prop_assert!((vp.signal().powi(2) + vp.noise().powi(2) - 1.0).abs() < 1e-14);
        prop_assert_eq!(ve.signal(), 1.0);
        prop_assert!((flow.signal() + flow.noise() - 1.0).abs() < 1e-14);
        for level in [vp, ve, flow] {
            let found = 2.0 * (level.signal() / level.noise()).ln();
            prop_assert!((found - log_snr).abs() < 1e-9, "{} {}", found, log_snr);
            prop_assert!((level.alpha() - vp.signal().powi(2)).abs() < 1e-14);
        }
    }

    #[test]
    fn conversions_invert_each_other(
        log_snr in -8.0..8.0_f64,
        family in select(&FAMILIES[..]),
        prediction in select(&PREDICTIONS[..]),
        seed in 0..1000_u64,
    ) {
        let level = NoiseLevel::new(family, log_snr);
        let (x0, eps) = (normal(seed, [2, 3, 4]), normal(seed + 1000, [2, 3, 4]));
        let z = add_noise(x0.clone(), eps.clone(), level);
        let output = prediction.target(x0.clone(), eps.clone(), level);
        // f32 rounding of z and of the output, magnified by at most sigma or 1 / sigma.
        let tolerance = 3e-6 * level.sigma().max(1.0 / level.sigma());
        for (found, expected) in [
            (prediction.to_x0(z.clone(), level, output.clone()), x0.clone()),
            (prediction.to_eps(z.clone(), level, output), eps),
        ] {
            for (found, expected) in values(found).into_iter().zip(values(expected)) {
                prop_assert!(f64::from((found - expected).abs()) < tolerance, "{} {}", found, expected);
            }
        }
        let output = prediction.from_x0(z.clone(), level, x0.clone());
        for (found, expected) in values(prediction.to_x0(z, level, output)).into_iter().zip(values(x0)) {
            prop_assert!(f64::from((found - expected).abs()) < tolerance, "{} {}", found, expected);
        }
    }

    #[test]
    fn x0_and_eps_always_add_up_to_z(
        log_snr in -40.0..40.0_f64,
        prediction in select(&PREDICTIONS[2..3]),
        seed in 0..1000_u64,
    ) {
        let level = NoiseLevel::from_log_snr(log_snr);
        let (z, output) = (normal(seed, [2, 3, 4]), normal(seed + 1000, [2, 3, 4]));
        let x0 = prediction.to_x0(z.clone(), level, output.clone());
        let eps = prediction.to_eps(z.clone(), level, output);
        for (sum, z) in values(add_noise(x0, eps, level)).into_iter().zip(values(z)) {
            prop_assert!((sum - z).abs() < 1e-5, "{} {}", sum, z);
        }
    }

    #[test]
    fn any_plan_gives_finite_data_or_an_error(
        sampler in select(SamplerKind::ALL),
        prediction in select(&PREDICTIONS[..]),
        mut times in prop::collection::vec(0.0..1.0_f64, 1..6),
        sorted in any::<bool>(),
    ) {
        if sorted {
            times.sort_by(|x, y| y.total_cmp(x));
        }
        let schedule = NoiseScheduleConfig::default().init().unwrap();
        let steps = times.len();
        let spacing = Spacing::Times(Times { times });
        let plan =
            SamplerPlan::with_sampler(&schedule, sampler.sampler(), prediction, &spacing, steps);
        if let Ok(plan) = plan {
            let network = |input: DenoiserInput| (input.z * 0.8).tanh();
            let mut noise = SampleNoise::new(2, 0..2);
            let go_on = |_: latent_text_diffusion::StepReport<'_>| ControlFlow::Continue(());
            let x = sample(&plan, [2, 3, 4], &mut noise, &device(), network, go_on).unwrap();
            prop_assert!(values(x).iter().all(|x| x.is_finite()));
        }
    }
}
