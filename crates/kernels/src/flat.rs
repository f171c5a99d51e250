//! Many tensors in one vector, and out of it again: what an optimiser does with a network's parameters.
//! On a GPU this is a handful of operations instead of two for every tensor.

use burn::tensor::{DType, Device, Tensor};

/// Puts tensors into one vector.
#[derive(Default)]
pub struct Joiner {
    pieces: Vec<(usize, fused::Piece)>,
    /// Of the first tensor, and of the vector.
    kind: Option<(DType, Device)>,
}

/// Where a tensor is in a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first element.
    pub start: usize,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Tensors of one vector, one after another.
pub struct Splitter {
    values: Tensor<1>,
    pieces: std::vec::IntoIter<fused::Split>,
}

impl Joiner {
    /// Takes a tensor without a graph, which is to come behind those of smaller `order`.
    pub fn push<const D: usize>(&mut self, order: usize, tensor: Tensor<D>) {
        self.kind.get_or_insert_with(|| (tensor.dtype(), tensor.device()));
        self.pieces.push((order, fused::piece(tensor)));
    }

    /// All elements, `[len]`.
    ///
    /// # Panics
    /// If there is no tensor.
    pub fn join(mut self) -> Tensor<1> {
        let Some((dtype, device)) = self.kind else { panic!("there are no tensors to join") };
        self.pieces.sort_by_key(|(order, _)| *order);
        let pieces = self.pieces.into_iter().map(|(_, piece)| piece).collect();
        fused::join(pieces, dtype, &device)
    }
}

impl Splitter {
    /// The tensors of `values`, `[len]`, at these places.
    pub fn new(values: Tensor<1>, places: Vec<Place>) -> Self {
        let pieces = fused::split(&values, places).into_iter();
        Self { values, pieces }
    }

    /// The next tensor.
    ///
    /// # Panics
    /// If there is none left, or if it has another number of dimensions.
    pub fn next_tensor<const D: usize>(&mut self) -> Tensor<D> {
        let Some(piece) = self.pieces.next() else {
            panic!("there is no tensor left to split off")
        };
        fused::tensor(piece, &self.values)
    }
}

impl Place {
    /// One behind its last element.
    pub fn end(&self) -> usize {
        self.start + self.shape.iter().product::<usize>()
    }
}

/// A part of a vector as a tensor.
fn slice<const D: usize>(values: &Tensor<1>, place: &Place) -> Tensor<D> {
    let shape: [usize; D] = std::array::from_fn(|dim| place.shape[dim]);
    values.clone().slice(place.start..place.end()).reshape(shape)
}

/// Vectors of one device, one after another.
fn joined(vectors: Vec<Tensor<1>>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if vectors.iter().all(crate::is_fused_for) {
        return crate::flex::joined(vectors);
    }
    Tensor::cat(vectors, 0)
}

#[cfg(feature = "cube")]
mod fused {
    use burn::backend::{Dispatch, DispatchTensor};
    use burn::tensor::{DType, Device, Tensor};

    use super::{Place, joined, slice};
    use crate::Kernels;
    use crate::ops::{FlatOps, WIDTH};

    pub(super) enum Piece {
        Own(DispatchTensor, usize),
        Burn(Tensor<1>),
    }

    pub(super) enum Split {
        Own(DispatchTensor),
        Burn(Place),
    }

    pub(super) fn piece<const D: usize>(tensor: Tensor<D>) -> Piece {
        let len = tensor.shape().num_elements();
        match Kernels::of(&tensor.device()) {
            Kernels::Cube => Piece::Own(tensor.into_dispatch(), len),
            _ => Piece::Burn(tensor.reshape([len])),
        }
    }

    pub(super) fn join(pieces: Vec<Piece>, dtype: DType, device: &Device) -> Tensor<1> {
        let mut others = Vec::new();
        let mut own = Vec::new();
        let mut len = 0;
        for piece in pieces {
            match piece {
                Piece::Burn(tensor) => others.push(tensor),
                Piece::Own(tensor, count) => {
                    own.push((tensor, len));
                    len += count;
                }
            }
        }
        if own.is_empty() {
            return joined(others);
        }
        let mut flat = Tensor::<1>::empty([len], (device, dtype)).into_dispatch();
        for group in own.chunks(WIDTH) {
            // What is missing in the last group is its last tensor, put in its place once more.
            let at = |i: usize| &group[i.min(group.len() - 1)];
            let starts = std::array::from_fn(|i| at(i).1);
            let t = |i: usize| at(i).0.clone();
            flat = Dispatch::put(flat, t(0), t(1), t(2), t(3), t(4), t(5), t(6), t(7), starts);
        }
        Tensor::from_dispatch(flat)
    }

    pub(super) fn split(values: &Tensor<1>, places: Vec<Place>) -> Vec<Split> {
        if Kernels::of(&values.device()) != Kernels::Cube {
            return places.into_iter().map(Split::Burn).collect();
        }
        let values = values.clone().into_dispatch();
        let mut pieces = Vec::with_capacity(places.len());
        for group in places.chunks(WIDTH) {
            let padded = std::array::from_fn(|i| group[i.min(group.len() - 1)].clone());
            let (a, b, c, d, e, f, g, h) = Dispatch::take(values.clone(), padded);
            pieces.extend([a, b, c, d, e, f, g, h].into_iter().take(group.len()).map(Split::Own));
        }
        pieces
    }

    pub(super) fn tensor<const D: usize>(piece: Split, values: &Tensor<1>) -> Tensor<D> {
        match piece {
            Split::Own(tensor) => Tensor::from_dispatch(tensor),
            Split::Burn(place) => slice(values, &place),
        }
    }
}

#[cfg(not(feature = "cube"))]
mod fused {
    use burn::tensor::{DType, Device, Tensor};

    use super::{Place, joined, slice};

    pub(super) type Piece = Tensor<1>;
    pub(super) type Split = Place;

    pub(super) fn piece<const D: usize>(tensor: Tensor<D>) -> Piece {
        let len = tensor.shape().num_elements();
        tensor.reshape([len])
    }

    pub(super) fn join(pieces: Vec<Piece>, _dtype: DType, _device: &Device) -> Tensor<1> {
        joined(pieces)
    }

    pub(super) fn split(_values: &Tensor<1>, places: Vec<Place>) -> Vec<Split> {
        places
    }

    pub(super) fn tensor<const D: usize>(place: Split, values: &Tensor<1>) -> Tensor<D> {
        slice(values, &place)
    }
}
