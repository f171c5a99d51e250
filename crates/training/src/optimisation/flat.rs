use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Gradients, Tensor};
use latent_text_nn::weights;
use serde::{Deserialize, Serialize};

/// One parameter's place in the flat vector.
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

/// The order of a module's float parameters in one flat vector. Those that are not to be trained (see
/// [`Module::no_grad`]) have no place in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatLayout {
    entries: Vec<ParameterEntry>,
}

impl FlatLayout {
    /// The layout of `module`.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut lister = TrainedLister(Vec::new());
        module.visit(&mut lister);
        let entries = weights::named_shapes(module)
            .into_iter()
            .zip(lister.0)
            .filter(|(_, trained)| *trained)
            .map(|((name, shape), _)| ParameterEntry { name, shape })
            .collect();
        Self { entries }
    }

    /// How many numbers the vector holds.
    pub fn len(&self) -> usize {
        self.entries.iter().map(ParameterEntry::len).sum()
    }

    /// Whether the module has no float parameter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// 1 where weight decay acts (parameters of two or more dimensions), else 0; shape `[len]`.
    pub fn decay_mask(&self, device: &Device) -> Tensor<1> {
        let mut mask = Vec::with_capacity(self.len());
        for entry in &self.entries {
            let value = if entry.is_decayed() { 1.0f32 } else { 0.0 };
            mask.extend(std::iter::repeat_n(value, entry.len()));
        }
        Tensor::from_floats(mask.as_slice(), device)
    }

    /// All parameters of `module` in f32, without a graph; shape `[len]`.
    pub fn gather<M: Module>(&self, module: &M) -> Tensor<1> {
        Gatherer { pieces: Vec::new(), gradients: None }.gather(module)
    }

    /// The gradients of all parameters of `module` in f32; shape `[len]`.
    ///
    /// A parameter that took no part in the loss has gradient zero.
    pub fn gather_gradients<M: Module>(&self, module: &M, gradients: Gradients) -> Tensor<1> {
        Gatherer { pieces: Vec::new(), gradients: Some(gradients) }.gather(module)
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
        let values = values.clone().cast(dtype);
        module.map(&mut Scatterer { values, trained, offset: 0 })
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

struct Gatherer {
    pieces: Vec<Tensor<1>>,
    gradients: Option<Gradients>,
}

impl Gatherer {
    /// One cast of the whole, where a cast of each piece would cost as many kernels as parameters.
    fn gather<M: Module>(mut self, module: &M) -> Tensor<1> {
        module.visit(&mut self);
        Tensor::cat(self.pieces, 0).cast(FloatDType::F32)
    }
}

impl ModuleVisitor for Gatherer {
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
        let len = piece.shape().num_elements();
        self.pieces.push(piece.reshape([len]));
    }
}

struct Scatterer {
    values: Tensor<1>,
    trained: bool,
    offset: usize,
}

impl ModuleMapper for Scatterer {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !is_trained(&param) {
            return param.map(|value| {
                let value = value.inner();
                if self.trained { value.autodiff() } else { value }
            });
        }
        let shape = param.lazy_shape();
        let end = self.offset + shape.num_elements();
        let value = self.values.clone().slice(self.offset..end).reshape(shape);
        self.offset = end;
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
