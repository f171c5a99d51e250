use latent_text_conditioning::kept_per_sample;

use super::{DiffusionSet, DiffusionStage};
use crate::order::{BatchOrder, EpochPermutation, generator};

/// Which latents, at which noise level, under which class, with or without their source.
pub struct DiffusionBatch {
    pub(super) indices: Vec<i32>,
    pub(super) times: Vec<f64>,
    /// The entries of the discrete schedule at these times; none if the network is not told them.
    pub(super) steps: Option<Vec<i32>>,
    pub(super) classes: Option<Vec<i32>>,
    /// Which samples keep their source; none if all do.
    pub(super) with_source: Option<Vec<bool>>,
}

/// The probabilities with which conditions are left away.
#[derive(Clone, Copy)]
pub(super) struct ConditionDropout {
    pub(super) class: f64,
    pub(super) source: f64,
}

impl ConditionDropout {
    pub(super) const NONE: Self = Self { class: 0.0, source: 0.0 };
}

impl DiffusionStage {
    pub(super) fn batch_maker(
        &self,
        set: &DiffusionSet,
        dropout: ConditionDropout,
    ) -> Box<dyn FnMut(u64) -> DiffusionBatch + Send> {
        let latents = &set.latents;
        let order = BatchOrder::new(latents.len(), self.batch_size, self.seed);
        let classes =
            self.labels.as_ref().map(|labels| (labels.clone(), latents.classes().to_vec()));
        let drops_sources = set.sources.is_some() && dropout.source > 0.0;
        let (seed, times, entries) = (self.seed, self.times.clone(), self.steps);
        let mut permutation = EpochPermutation::default();
        Box::new(move |batch| {
            let indices = order.indices(batch, &mut permutation).to_vec();
            // Apart from the order of the samples and the noise on the device.
            let mut rng = generator(seed ^ 0x7469_6d65, batch);
            let drawn = times.draw(indices.len(), &mut rng).times;
            let (times, steps) = on_entries(drawn, entries);
            let classes = classes.as_ref().map(|(labels, classes)| {
                let chosen: Vec<usize> = indices.iter().map(|&index| classes[index]).collect();
                let kept = labels.drop_per_sample(&chosen, dropout.class, &mut rng);
                kept.into_iter().map(|class| class as i32).collect()
            });
            let with_source =
                drops_sources.then(|| kept_per_sample(indices.len(), dropout.source, &mut rng));
            DiffusionBatch {
                indices: indices.into_iter().map(|index| index as i32).collect(),
                times,
                steps,
                classes,
                with_source,
            }
        })
    }
}

/// Times brought to the entries of a discrete schedule, which entry `i` of `n` has at `i / (n - 1)`: of
/// times that are uniform, each entry is as likely as the others.
fn on_entries(times: Vec<f64>, entries: Option<usize>) -> (Vec<f64>, Option<Vec<i32>>) {
    let Some(entries) = entries else { return (times, None) };
    let last = entries - 1;
    let steps: Vec<usize> =
        times.iter().map(|&time| ((time * entries as f64) as usize).min(last)).collect();
    let times = steps.iter().map(|&step| step as f64 / last as f64).collect();
    (times, Some(steps.into_iter().map(|step| step as i32).collect()))
}
