//! The networks that make the predictions of a sampling run.

use burn::tensor::{Bool, Device, Int, Tensor};
use latent_text_denoiser::{Conditions, DenoisingNetwork, NetworkTime, SelfCondition};
use latent_text_diffusion::DenoiserInput;
use latent_text_kernels::Graph;

use crate::conditions::BatchConditions;
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
    /// Number of noise levels of a discrete schedule.
    entries: Option<usize>,
    /// A call under the batch's conditions.
    call: Graph<'a, CallInputs, Tensor<3>, Conditions>,
}

type CallInputs = (Tensor<3>, NetworkTime, Option<SelfCondition>);

impl LatentText {
    /// The networks of a run, whose calls are recorded where that pays, if they may be.
    pub(crate) fn networks(
        &self,
        run: &Run<'_>,
        may_record: bool,
    ) -> Result<Networks<'_>, GenerationError> {
        let entries = self.config.schedule.init()?.table_len();
        let records = may_record && run.plan.calls() >= CALLS_WORTH_A_RECORDING;
        let network = |denoiser, conditioned| Network {
            denoiser,
            conditioned,
            entries,
            call: graph_of(denoiser, self.device(), records),
        };
        let weaker = self.weaker_denoiser.as_ref().filter(|_| run.guidance.by_weaker());
        Ok(Networks {
            first: network(&self.denoiser, true),
            second: network(weaker.unwrap_or(&self.denoiser), weaker.is_some()),
        })
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
        let DenoiserInput { z, alpha, time, self_cond, .. } = input;
        let step = self.entries.map(|entries| nearest_entry(time, entries, &z));
        let self_cond = self_cond.map(|estimate| SelfCondition { estimate, present: None });
        // Equal for all rows, so that one is enough.
        let alpha = alpha.slice(0..1);
        self.call.run((z, NetworkTime { alpha, step }, self_cond))
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
        let output = masked(denoiser.forward(z, time, told), conditions.mask.as_ref());
        (conditions, output)
    };
    Graph::with_state(device, Conditions::default(), call)
        .recorded_if(records && denoiser.is_recordable())
}

/// The entry of a noise table of so many that is nearest to a time, one for all rows of `z`.
fn nearest_entry(time: f64, entries: usize, z: &Tensor<3>) -> Tensor<1, Int> {
    let entry = (time * (entries - 1) as f64).round() as i64;
    Tensor::full([1], entry, &z.device())
}
