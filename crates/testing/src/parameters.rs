use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

use crate::finite_differences::Along;
use crate::noise;

/// The module with a value for every parameter that is not special, of the size of usual initial values:
/// the same ones on every run. Modules with other `seed`s have others, if these are further apart than
/// the modules have parameters.
pub fn filled<M: Module>(module: M, seed: usize) -> M {
    module.map(&mut Fill { index: seed })
}

struct Fill {
    index: usize,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.index += 1;
        param.map(|tensor| {
            let scale = if D == 1 { 0.5 } else { 1.5 / (tensor.dims()[0] as f32).sqrt() };
            let tracked = tensor.is_require_grad();
            let values = noise(self.index, tensor.dims(), &tensor.device()) * scale;
            values.set_require_grad(tracked)
        })
    }
}

/// The derivative of the loss along a direction of every parameter; none where there is no gradient.
pub fn slopes<M: Module>(module: &M, gradients: &Gradients) -> Vec<Option<f32>> {
    let slopes = slopes_along(module, gradients, Along::OneDirection);
    slopes.into_iter().map(|of_parameter| of_parameter.map(|slopes| slopes[0])).collect()
}

/// The derivatives along every direction of every parameter.
pub(crate) fn slopes_along<M: Module>(
    module: &M,
    gradients: &Gradients,
    along: Along,
) -> Vec<Option<Vec<f32>>> {
    let mut visitor = Slopes { gradients, along, found: Vec::new() };
    module.visit(&mut visitor);
    visitor.found
}

struct Slopes<'a> {
    gradients: &'a Gradients,
    along: Along,
    found: Vec<Option<Vec<f32>>>,
}

impl ModuleVisitor for Slopes<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let parameter = self.found.len();
        let slopes = param.val().grad(self.gradients).map(|gradient| {
            let count = self.along.directions(gradient.shape().num_elements());
            let slope = |place| {
                let direction =
                    self.along.direction(parameter, place, gradient.dims(), &gradient.device());
                (gradient.clone() * direction).sum().into_scalar::<f32>()
            };
            (0..count).map(slope).collect()
        });
        self.found.push(slopes);
    }
}

/// The module with one parameter moved by `amount` along one of its directions.
pub(crate) fn shifted<M: Module>(
    module: M,
    along: Along,
    (parameter, place): (usize, usize),
    amount: f32,
) -> M {
    module.map(&mut Shift { along, parameter, place, amount, index: 0 })
}

struct Shift {
    along: Along,
    parameter: usize,
    place: usize,
    amount: f32,
    index: usize,
}

impl ModuleMapper for Shift {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let index = self.index;
        self.index += 1;
        if index != self.parameter {
            return param;
        }
        param.map(|tensor| {
            let direction =
                self.along.direction(index, self.place, tensor.dims(), &tensor.device());
            tensor + direction * self.amount
        })
    }
}
