use std::ops::Range;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Gradients, Tensor};
use latent_text_kernels::{DecayRanges, Joiner, Place, Splitter};
use latent_text_nn::weights;
use serde::{Deserialize, Serialize};

/// Numbers of a stretch of memory that a GPU lets begin anywhere: 512 bytes in half precision.
const ALIGNED: usize = 256;

/// One parameter in the flat vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterEntry {
    /// Its path in the module.
    pub name: String,
    /// Its shape, as weight files give it.
    pub shape: Vec<usize>,
}

impl ParameterEntry {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Biases, gains and other vectors are not decayed.
    fn is_decayed(&self) -> bool {
        self.shape.len() >= 2
    }
}

/// The places of a module's float parameters in one flat vector. Those that are not to be trained (see
/// [`Module::no_grad`]) have no place in it.
///
/// Parameters of odd sizes come last: all others then begin where a GPU can use them in the vector itself,
/// without a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatLayout {
    /// In the order of the vector.
    entries: Vec<ParameterEntry>,
    /// The place in `entries` of each parameter, in the module's order.
    #[serde(default)]
    places: Vec<usize>,
}

impl FlatLayout {
    /// The layout of `module`.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut lister = TrainedLister(Vec::new());
        module.visit(&mut lister);
        let found: Vec<ParameterEntry> = weights::parameter_shapes(module)
            .into_iter()
            .zip(lister.0)
            .filter(|(_, trained)| *trained)
            .map(|((name, shape), _)| ParameterEntry { name, shape })
            .collect();
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by_key(|&parameter| !found[parameter].len().is_multiple_of(ALIGNED));
        let mut places = vec![0; found.len()];
        for (place, &parameter) in order.iter().enumerate() {
            places[parameter] = place;
        }
        Self { entries: order.iter().map(|&parameter| found[parameter].clone()).collect(), places }
    }

    /// Where each parameter begins, in the module's order.
    fn offsets(&self) -> Vec<usize> {
        let starts: Vec<usize> = self.ranges().map(|(_, range)| range.start).collect();
        self.places.iter().map(|&place| starts[place]).collect()
    }

    /// Every parameter and its elements, in the order of the vector.
    fn ranges(&self) -> impl Iterator<Item = (&ParameterEntry, Range<usize>)> {
        self.entries.iter().scan(0, |end, entry| {
            let start = *end;
            *end += entry.len();
            Some((entry, start..*end))
        })
    }

    /// How many numbers the vector holds.
    pub fn len(&self) -> usize {
        self.entries.iter().map(ParameterEntry::len).sum()
    }

    /// Whether the module has no float parameter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where weight decay acts: on parameters of two or more dimensions.
    pub fn decayed(&self, device: &Device) -> DecayRanges {
        let decayed = self.ranges().filter(|(entry, _)| entry.is_decayed());
        DecayRanges::new(decayed.map(|(_, range)| range), device)
    }

    /// All parameters of `module` in f32, without a graph; shape `[len]`.
    pub fn gather<M: Module>(&self, module: &M) -> Tensor<1> {
        self.joined(module, None).cast(FloatDType::F32)
    }

    /// The gradients of all parameters of `module`, in their dtype; shape `[len]`.
    ///
    /// A parameter that took no part in the loss has gradient zero.
    pub fn gather_gradients<M: Module>(&self, module: &M, gradients: Gradients) -> Tensor<1> {
        self.joined(module, Some(gradients))
    }

    fn joined<M: Module>(&self, module: &M, gradients: Option<Gradients>) -> Tensor<1> {
        let joiner = Joiner::default();
        let mut gatherer = Gatherer { joiner, places: self.places.iter(), gradients };
        module.visit(&mut gatherer);
        gatherer.joiner.join()
    }

    /// `module` with its parameters taken from `values` (shape `[len]`), cast to `dtype`; as leaves
    /// of a new graph if `trained`, else without autodiff. Those without a place in the vector stay as
    /// they are, in their own dtype, so that nothing of them is lost on the way.
    ///
    /// # Panics
    /// If `module` or `values` does not have this layout.
    pub fn scatter<M: Module>(
        &self,
        module: M,
        values: &Tensor<1>,
        dtype: FloatDType,
        trained: bool,
    ) -> M {
        assert_eq!(values.dims()[0], self.len(), "the vector does not have the module's layout");
        let shapes = ParameterShapes::of(&module);
        let starts = self.offsets().into_iter();
        let places = starts.zip(shapes).map(|(start, shape)| Place { start, shape }).collect();
        let values = Splitter::new(values.clone().cast(dtype), places);
        module.map(&mut Scatterer { values, trained })
    }
}

/// The shapes of all parameters that are trained, as the module has them.
struct ParameterShapes(Vec<Vec<usize>>);

impl ParameterShapes {
    fn of<M: Module>(module: &M) -> Vec<Vec<usize>> {
        let mut shapes = Self(Vec::new());
        module.visit(&mut shapes);
        shapes.0
    }
}

impl ModuleVisitor for ParameterShapes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if is_trained(param) {
            self.0.push(param.lazy_shape().to_vec());
        }
    }
}

/// Whether a parameter is to be trained.
fn is_trained<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    // `train` brings back what was configured, also where tensors are without autodiff.
    param.val().is_require_grad() || param.valid().train().val().is_require_grad()
}

struct TrainedLister(Vec<bool>);

impl ModuleVisitor for TrainedLister {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(is_trained(param));
    }
}

struct Gatherer<'a> {
    joiner: Joiner,
    /// Those of the parameters that are still to come.
    places: std::slice::Iter<'a, usize>,
    gradients: Option<Gradients>,
}

impl ModuleVisitor for Gatherer<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !is_trained(param) {
            return;
        }
        let value = param.val();
        let piece = match &mut self.gradients {
            None => value.inner(),
            Some(gradients) => {
                value.grad_remove(gradients).unwrap_or_else(|| value.inner().zeros_like())
            }
        };
        let Some(&place) = self.places.next() else {
            panic!("the module has more parameters than the layout")
        };
        self.joiner.push(place, piece);
    }
}

struct Scatterer {
    values: Splitter,
    trained: bool,
}

impl ModuleMapper for Scatterer {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !is_trained(&param) {
            return param.map(|value| {
                let value = value.inner();
                if self.trained { value.autodiff() } else { value }
            });
        }
        let value = self.values.next_tensor();
        let value = if self.trained { value.autodiff().require_grad() } else { value };
        let (id, _, mapper) = param.consume();
        Param::from_mapped_value(id, value, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::tensor::{DType, Device};

    use super::*;

    #[test]
    fn constants_keep_every_digit_through_passes_in_bf16() {
        const CONSTANT: f32 = 0.1;
        let device = Device::default();
        let mut layer = LinearConfig::new(2, 1).init(&device);
        layer.bias = layer.bias.map(|bias| bias.map(|bias| bias.zeros_like() + CONSTANT).no_grad());
        let layout = FlatLayout::of(&layer);
        let values = layout.gather(&layer);

        let passes = layout.scatter(layer, &values, FloatDType::BF16, true);
        assert_eq!(passes.weight.dtype(), DType::BF16);
        let finished = layout.scatter(passes, &values, FloatDType::F32, false);
        let bias = finished.bias.expect("a bias").val();
        assert_eq!(bias.try_into_vec_as::<f32>().expect("one value"), [CONSTANT]);
    }
}
