//! The noise levels of a sampling plan, as a network is told of them.

use burn::tensor::{Device, Int, Tensor, TensorData};
use latent_text_denoiser::{DenoisingNetwork, EmbeddedTime, NetworkTime};
use latent_text_diffusion::{NoisePoint, SamplerPlan};

/// Where a network is called, embedded once for all calls.
pub(crate) struct Levels {
    points: Vec<NoisePoint>,
    /// Of each point.
    embedded: EmbeddedTime,
}

impl Levels {
    /// Those of a plan for `network`; `entries` is the number of levels of a discrete schedule.
    pub(crate) fn new(
        plan: &SamplerPlan,
        network: &DenoisingNetwork,
        entries: Option<usize>,
        device: &Device,
    ) -> Self {
        let points: Vec<NoisePoint> = plan.stages().iter().map(|stage| stage.at).collect();
        let embedded = network.embed(network_time(&points, entries, device));
        Self { points, embedded }
    }

    /// The one at this point, for all rows of a batch.
    ///
    /// # Panics
    /// If the plan calls no network there.
    pub(crate) fn at(&self, point: NoisePoint) -> EmbeddedTime {
        let Some(index) = self.points.iter().position(|&at| at == point) else {
            panic!("the plan calls no network at {point:?}")
        };
        self.embedded.level(index)
    }
}

fn network_time(points: &[NoisePoint], entries: Option<usize>, device: &Device) -> NetworkTime {
    let alphas: Vec<f32> = points.iter().map(|point| point.level.alpha() as f32).collect();
    let step = entries.map(|entries| {
        let steps = points.iter().map(|point| nearest_entry(point.time, entries)).collect();
        Tensor::<1, Int>::from_data(TensorData::new(steps, [points.len()]), device)
    });
    NetworkTime { alpha: Tensor::from_floats(alphas.as_slice(), device), step }
}

/// The entry of a noise table of so many that is nearest to a time.
fn nearest_entry(time: f64, entries: usize) -> i64 {
    (time * (entries - 1) as f64).round() as i64
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use burn::module::{Module, ModuleMapper, Param};
    use burn::tensor::Distribution;
    use latent_text_denoiser::{Conditions, DenoiserConfig};
    use latent_text_diffusion::sampler::{Churn, Heun};
    use latent_text_diffusion::{
        DenoiserInput, NoiseScheduleConfig, Prediction, SampleNoise, Spacing, StepReport, sample,
    };

    use super::*;

    /// Fresh denoisers return zeros.
    struct Draw;

    impl ModuleMapper for Draw {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.random_like(Distribution::Normal(0.0, 0.5)))
        }
    }

    fn network(device: &Device) -> DenoisingNetwork {
        let config = DenoiserConfig {
            latent_dim: 4,
            dim: 8,
            head_dim: 4,
            depth: 2,
            dense_connections: 1,
            ..DenoiserConfig::default()
        };
        config.init(device).map(&mut Draw).into()
    }

    /// With two calls a step, at levels between the points of the plan too.
    fn plan() -> SamplerPlan {
        let schedule = NoiseScheduleConfig::default().init().unwrap();
        let churn = Churn { amount: 2.0, ..Churn::default() };
        let (sampler, spacing) = (Arc::new(Heun { churn }), Spacing::default());
        SamplerPlan::with_sampler(&schedule, sampler, Prediction::V, &spacing, 4).unwrap()
    }

    #[test]
    fn every_call_of_a_run_gets_its_own_level() {
        let device = Device::default();
        let (network, plan) = (network(&device), plan());
        let levels = Levels::new(&plan, &network, None, &device);
        let mut calls = 0;
        let predict = |DenoiserInput { z, alpha, level, time, .. }| {
            calls += 1;
            let told = NetworkTime { alpha, step: None };
            let expected = network.forward(z.clone(), told, Conditions::default());
            let embedded = levels.at(NoisePoint { time, level });
            let found = network.forward_embedded(z, embedded, Conditions::default());
            let error: f32 = (found - expected.clone()).abs().max().into_scalar();
            assert!(error < 1e-4, "call {calls}: {error}");
            expected
        };
        let go_on = |_: StepReport<'_>| ControlFlow::Continue(());
        let noise = &mut SampleNoise::new(1, [0]);
        sample(&plan, [1, 3, 4], noise, &device, predict, go_on).unwrap();
        assert_eq!(calls, plan.calls());
    }
}
