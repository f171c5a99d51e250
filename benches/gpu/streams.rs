//! Whether matrix products of several threads are those of one. Every thread has a stream of its own on a
//! GPU, and one must wait for another where it takes what that has computed.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor};
use latent_text_kernels::linear;

use crate::arguments::NumberFormat;
use crate::numbers::{normal, numbers};

const THREADS: usize = 4;
const ROUNDS: usize = 24;
/// Of rows in each thread, so that each has products of its own form.
const ROWS: [usize; THREADS] = [64, 256, 100, 512];
const DIM: usize = 768;

/// What a thread passes on to the next: whose start it was, and what has become of it.
type Passed = (usize, Tensor<2>);

/// What has become of a start, and gradients of `x` and weight there.
struct Found {
    origin: usize,
    last: Tensor<2>,
    gradients: [Tensor<2>; 2],
}

pub fn run(device: &Device, formats: &[NumberFormat]) -> Result<()> {
    for &format in formats {
        let layer = Layer::new(device, format);
        let starts = ROWS.map(|rows| normal([rows, DIM], device, format));
        let expected: Vec<Found> = starts
            .iter()
            .enumerate()
            .map(|(origin, start)| {
                let last = (0..ROUNDS).fold(start.clone(), |x, _| layer.forward(x));
                layer.found((origin, last))
            })
            .collect();
        let mut compared = 0;
        for found in layer.of_threads(starts)? {
            let expected = &expected[found.origin];
            compared += equal(found.last, expected.last.clone())?;
            for (found, expected) in found.gradients.into_iter().zip(&expected.gradients) {
                compared += equal(found, expected.clone())?;
            }
        }
        println!("{format} products on {THREADS} threads: all {compared} numbers those of one");
    }
    Ok(())
}

/// A linear layer that keeps the size of numbers about as it is.
struct Layer {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Layer {
    fn new(device: &Device, format: NumberFormat) -> Self {
        let weight = normal([DIM, DIM], device, format) / (DIM as f64).sqrt();
        Self { weight, bias: normal([1, DIM], device, format).squeeze_dim(0) }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = linear(x, self.weight.clone(), Some(self.bias.clone()));
        // Between two products, so that their kernels are not all of one kind.
        y.tanh()
    }

    /// With gradients that need no arithmetic but the products': for a sum weighted by `last`.
    fn found(&self, (origin, last): Passed) -> Found {
        let [x, weight] =
            [last.clone(), self.weight.clone()].map(|leaf| leaf.autodiff().require_grad());
        let y = linear(x.clone(), weight.clone(), Some(self.bias.clone().autodiff()));
        let gradients = (y * last.clone().autodiff()).sum().backward();
        let gradients =
            [x, weight].map(|leaf| leaf.grad(&gradients).expect("a leaf has a gradient"));
        Found { origin, last, gradients }
    }

    /// Where each start has got to, and gradients at it. In every round a thread takes what the one before
    /// it has computed.
    fn of_threads(&self, starts: [Tensor<2>; THREADS]) -> Result<Vec<Found>> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
        let mut next = senders;
        next.rotate_left(1);
        let ends = next.into_iter().zip(receivers);
        thread::scope(|scope| {
            let threads: Vec<_> = starts
                .into_iter()
                .enumerate()
                .zip(ends)
                .map(|(start, (next, last))| scope.spawn(|| self.of_thread(start, next, last)))
                .collect();
            let found = threads.into_iter().map(|thread| {
                thread.join().map_err(|_| anyhow::anyhow!("a thread with products has panicked"))?
            });
            found.collect()
        })
    }

    fn of_thread(
        &self,
        start: Passed,
        next: Sender<Passed>,
        last: Receiver<Passed>,
    ) -> Result<Found> {
        let mut held = start;
        for _ in 0..ROUNDS {
            let (origin, x) = held;
            next.send((origin, self.forward(x))).context("the next thread has ended")?;
            held = last.recv().context("the thread before has ended")?;
        }
        Ok(self.found(held))
    }
}

/// How many numbers two tensors have, all of which must be the same.
fn equal(found: Tensor<2>, expected: Tensor<2>) -> Result<usize> {
    let (found, expected) = (numbers(found)?, numbers(expected)?);
    let different = found.iter().zip(&expected).filter(|(found, expected)| found != expected);
    let different = different.count();
    let all = expected.len();
    ensure!(different == 0, "{different} of {all} numbers of a product differ between threads");
    Ok(all)
}
