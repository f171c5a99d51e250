//! The networks that make the predictions of a sampling run.

use std::rc::Rc;

use burn::tensor::{Bool, Device, Tensor};
use latent_text_denoiser::{Conditions, DenoisingNetwork, EmbeddedTime, SelfCondition};
use latent_text_diffusion::{DenoiserInput, NoisePoint};
use latent_text_kernels::Graph;

use crate::conditions::BatchConditions;
use crate::levels::Levels;
use crate::masking::masked;
use crate::sampling::Run;
use crate::{GenerationError, LatentText};

/// From so many network calls for a text on it pays to record one.
const CALLS_WORTH_A_RECORDING: usize = 20;

/// What makes the conditional prediction, and what makes the one that guidance leads away from: a weaker
/// denoiser under the same conditions, or the denoiser without any.
pub(crate) struct Networks<'a> {
    pub(crate) first: Network<'a>,
    pub(crate) second: Network<'a>,
}

/// A network and what it is told in every step.
pub(crate) struct Network<'a> {
    denoiser: &'a DenoisingNetwork,
    /// Whether it is told class and source.
    conditioned: bool,
    levels: Rc<Levels>,
    /// A call under the batch's conditions.
    call: Graph<'a, CallInputs, Tensor<3>, Conditions>,
}

type CallInputs = (Tensor<3>, EmbeddedTime, Option<SelfCondition>);

impl LatentText {
    /// The networks of a run, whose calls are recorded where that pays, if they may be.
    pub(crate) fn networks(
        &self,
        run: &Run<'_>,
        may_record: bool,
    ) -> Result<Networks<'_>, GenerationError> {
        let entries = self.config.schedule.init()?.table_len();
        let records = may_record && run.plan.calls() >= CALLS_WORTH_A_RECORDING;
        let levels = |denoiser| Rc::new(Levels::new(&run.plan, denoiser, entries, self.device()));
        let network = |denoiser, conditioned, levels| Network {
            denoiser,
            conditioned,
            levels,
            call: graph_of(denoiser, self.device(), records),
        };
        let first = network(&self.denoiser, true, levels(&self.denoiser));
        let weaker = self.weaker_denoiser.as_ref().filter(|_| run.guidance.by_weaker());
        let second = match weaker {
            Some(weaker) => network(weaker, true, levels(weaker)),
            None => network(&self.denoiser, false, Rc::clone(&first.levels)),
        };
        Ok(Networks { first, second })
    }
}

impl Networks<'_> {
    /// Goes on to a batch under these conditions, whose latents are real where `mask` says.
    pub(crate) fn tell(&mut self, conditions: &BatchConditions, mask: Option<&Tensor<2, Bool>>) {
        self.first.tell(conditions, mask);
        self.second.tell(conditions, mask);
    }
}

impl Network<'_> {
    fn tell(&mut self, conditions: &BatchConditions, mask: Option<&Tensor<2, Bool>>) {
        let BatchConditions { classes, source } = conditions;
        let told = Conditions { mask: mask.cloned(), ..Conditions::default() };
        let told = match self.conditioned {
            false => told,
            true => Conditions {
                classes: classes.clone(),
                source: source.clone().map(|source| self.denoiser.read_source(source)),
                ..told
            },
        };
        self.call.set_state(told);
    }

    /// The prediction, with zeros where there is padding.
    pub(crate) fn predict(&mut self, input: DenoiserInput) -> Tensor<3> {
        let DenoiserInput { z, level, time, self_cond, .. } = input;
        let self_cond = self_cond.map(|estimate| SelfCondition { estimate, present: None });
        self.call.run((z, self.levels.at(NoisePoint { time, level }), self_cond))
    }
}

/// A call of a denoiser.
fn graph_of<'a>(
    denoiser: &'a DenoisingNetwork,
    device: &Device,
    records: bool,
) -> Graph<'a, CallInputs, Tensor<3>, Conditions> {
    let call = |conditions: Conditions, (z, time, self_cond): CallInputs| {
        let told = Conditions { self_cond, ..conditions.clone() };
        let output = masked(denoiser.forward_embedded(z, time, told), conditions.mask.as_ref());
        (conditions, output)
    };
    Graph::with_state(device, Conditions::default(), call)
        .recorded_if(records && denoiser.is_recordable())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use latent_text_denoiser::{DenoiserConfig, DenoisingNetworkConfig, NetworkTime};

    use super::*;

    #[test]
    fn a_call_is_recorded_wherever_the_device_records() {
        let device = Device::default();
        let name = format!("{device:?}").to_lowercase();
        let can_record = !name.contains("ndarray") && !name.contains("flex");
        let config = DenoiserConfig {
            latent_dim: 8,
            max_latents: 4,
            dim: 16,
            depth: 2,
            head_dim: 8,
            ff_mult: 2,
            time_dim_mult: 1,
            dense_connections: 1,
            ..DenoiserConfig::default()
        };
        let denoiser = DenoisingNetworkConfig::from(config).init(&device);
        let alpha = Tensor::from_floats([0.5], &device);
        let time = denoiser.embed(NetworkTime { alpha, step: None });
        let mut call = graph_of(&denoiser, &device, true);
        for _ in 0..4 {
            let z = Tensor::random([2, 4, 8], Distribution::Default, &device);
            let self_cond = Some(SelfCondition { estimate: z.clone(), present: None });
            call.run((z, time.clone(), self_cond));
        }
        assert_eq!(call.is_recorded(), can_record, "on {name}");
    }
}
