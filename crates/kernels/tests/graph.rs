//! Runs of graphs against plain calls of their closures, on the default device. Where that records nothing,
//! both are the same.

#![recursion_limit = "256"]

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Bool, DType, Device, Distribution, Int, Tensor, TensorData};
use latent_text_kernels::{
    Graph, Past, PastAttention, Reading, attend_to_past, gated_gelu, linear, norm,
};

const TOLERANCE: f32 = 1e-5;

/// One graph is recorded at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn device() -> Device {
    Device::default()
}

fn records() -> bool {
    let name = format!("{:?}", device()).to_lowercase();
    !name.contains("ndarray") && !name.contains("flex")
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&device(), DType::F32))
}

fn ints<const N: usize>(values: [i32; N]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::from(values), (&device(), DType::I32))
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().try_into_vec_as::<f32>().expect("values")
}

fn int_values<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i32> {
    tensor.clone().try_into_vec_as::<i32>().expect("values")
}

fn assert_close<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    for (found, expected) in values(found).iter().zip(values(expected)) {
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(error < TOLERANCE, "{what}: {found} for {expected}");
    }
}

/// Some layers, with kernels of this crate and of Burn, and things for Burn's fusion to join.
fn network() -> impl Fn(Tensor<2>) -> Tensor<2> {
    let (up, down) = (random([16, 64]) * 0.2, random([32, 16]) * 0.2);
    let (gain, bias) = (random([16]), random([16]));
    move |x| {
        let y = norm(x.clone(), gain.clone(), bias.clone(), 1e-5);
        let y = gated_gelu(linear(y, up.clone(), None), None);
        let y = (linear(y, down.clone(), Some(bias.clone())) * 0.5).tanh() + x;
        y.clone() / y.powi_scalar(2).sum_dim(1).add_scalar(1.0).sqrt()
    }
}

#[test]
fn a_graph_gives_what_its_closure_gives_and_earlier_outputs_stay() {
    let _turn = turn();
    let network = network();
    let mut graph = Graph::new(&device(), &network);
    let inputs: Vec<_> = (0..6).map(|_| random([24, 16])).collect();
    let mut found = Vec::new();
    for (run, x) in inputs.iter().enumerate() {
        assert_eq!(graph.is_recorded(), run >= 2 && records(), "before run {run}");
        found.push(graph.run(x.clone()));
    }
    for (run, (x, found)) in inputs.into_iter().zip(&found).enumerate() {
        assert_close(found, &network(x), &format!("run {run}"));
    }
}

#[test]
fn outputs_outlive_their_graph() {
    let _turn = turn();
    let network = network();
    let x = random([24, 16]);
    let mut graph = Graph::new(&device(), &network);
    let found: Vec<_> = (0..4).map(|_| graph.run(x.clone())).collect();
    drop(graph);
    let others: Vec<_> = (0..8).map(|_| random([24, 16])).collect();
    found.iter().for_each(|found| assert_close(found, &network(x.clone()), "an output"));
    drop(others);
}

#[test]
fn a_chain_of_runs_is_right() {
    let _turn = turn();
    let network = network();
    let mut graph = Graph::new(&device(), &network);
    let (mut found, mut expected) = (random([24, 16]), None);
    for _ in 0..10 {
        expected = Some(network(expected.unwrap_or_else(|| found.clone())));
        found = graph.run(found);
    }
    assert_close(&found, &expected.expect("several runs"), "the last output");
}

#[test]
fn inputs_of_another_form_are_right_too() {
    let _turn = turn();
    let network = network();
    let mut graph = Graph::new(&device(), &network);
    let recorded = |graph: &Graph<'_, _, _>| graph.is_recorded();
    for (rows, then_recorded) in [
        (24, false),
        (24, true),
        (24, true),
        (8, false),
        (24, true),
        (8, false),
        (8, true),
        (8, true),
        (24, false),
        (24, true),
    ] {
        let x = random([rows, 16]);
        assert_close(&graph.run(x.clone()), &network(x), &format!("{rows} rows"));
        assert_eq!(recorded(&graph), then_recorded && records(), "after {rows} rows");
    }
}

#[test]
fn two_graphs_feed_each_other() {
    let _turn = turn();
    let networks = [network(), network()];
    let mut graphs = networks.each_ref().map(|network| Graph::new(&device(), network));
    let (mut found, mut expected) = (random([24, 16]), None);
    for run in 0..12 {
        let which = run % 2;
        let x = expected.unwrap_or_else(|| found.clone());
        expected = Some(networks[which](x));
        found = graphs[which].run(found);
    }
    assert_close(&found, &expected.expect("several runs"), "the last output");
    assert!(graphs.iter().all(|graph| graph.is_recorded() == records()));
}

type Mixed = (Vec<Tensor<2>>, Option<Tensor<1, Int>>, [Tensor<2, Bool>; 1], ());

#[test]
fn structures_of_all_kinds_of_tensors_go_in_and_out() {
    let _turn = turn();
    let closure = |(floats, rows, [mask], ()): Mixed| {
        let sum = floats.iter().cloned().reduce(|a, b| a + b).expect("a tensor");
        let picked = rows.clone().map(|rows| sum.clone().select(0, rows));
        (sum.mask_fill(mask.clone(), 7.0), picked, (mask.bool_not(), rows.map(|rows| rows + 1)))
    };
    let mut graph = Graph::new(&device(), closure);
    for run in 0..6_i32 {
        let floats = vec![random([4, 6]), random([4, 6])];
        let rows = (run != 5).then(|| ints([run % 4, 3, (run + 1) % 4]));
        let mask = random([4, 6]).greater_elem(0.0);
        let inputs: Mixed = (floats, rows, [mask], ());
        let (sum, picked, (unmasked, next)) = graph.run(inputs.clone());
        let (sum_too, picked_too, (unmasked_too, next_too)) = closure(inputs);
        assert_close(&sum, &sum_too, "floats");
        assert_close(&unmasked.float(), &unmasked_too.float(), "bools");
        assert_eq!(picked.is_some(), run != 5);
        if let (Some(picked), Some(picked_too)) = (picked, picked_too) {
            assert_close(&picked, &picked_too, "rows");
        }
        assert_eq!(next.as_ref().map(int_values), next_too.as_ref().map(int_values));
        assert_eq!(graph.is_recorded(), (1..5).contains(&run) && records());
    }
}

#[test]
fn views_go_in_and_out() {
    let _turn = turn();
    let closure = |x: Tensor<2>| (x.clone().transpose(), x.clone().narrow(1, 1, 3), x);
    let mut graph = Graph::new(&device(), closure);
    let mut all = Vec::new();
    for _ in 0..5 {
        let x = random([6, 5]).swap_dims(0, 1).narrow(0, 1, 4);
        all.push((x.clone(), graph.run(x)));
    }
    for (x, (transposed, narrow, same)) in &all {
        let (transposed_too, narrow_too, same_too) = closure(x.clone());
        assert_close(transposed, &transposed_too, "transposed");
        assert_close(narrow, &narrow_too, "narrowed");
        assert_close(same, &same_too, "the same");
    }
}

#[test]
fn a_state_is_kept_and_can_change_places() {
    let _turn = turn();
    let closure = |(a, b, count): (Tensor<2>, Tensor<2>, Tensor<1, Int>), x: Tensor<2>| {
        let sum = a.clone() + x * count.clone().float().unsqueeze_dim(0);
        ((b, sum.tanh(), count + 1), a)
    };
    let start = || (random([3, 4]), random([3, 4]), ints([1]));
    let mut expected = start();
    let mut graph = Graph::with_state(&device(), expected.clone(), closure);
    for run in 0..14 {
        if run == 7 {
            expected = start();
            graph.set_state(expected.clone());
        }
        // With a plain call in between.
        let x = if run == 9 { random([1, 4]) } else { random([3, 4]) };
        let before = graph.state();
        let found = graph.run(x.clone());
        assert_close(&before.0, &expected.0, &format!("the state before run {run}"));
        let output;
        (expected, output) = closure(expected, x);
        assert_close(&found, &output, &format!("the output of run {run}"));
        let state = graph.state();
        assert_close(&state.0, &expected.0, &format!("a after run {run}"));
        assert_close(&state.1, &expected.1, &format!("b after run {run}"));
        assert_eq!(int_values(&state.2), int_values(&expected.2));
        assert_eq!(graph.is_recorded(), ![0, 9].contains(&run) && records(), "run {run}");
    }
}

#[test]
fn a_state_can_be_changed_for_one_of_another_form() {
    let _turn = turn();
    type State = (Tensor<2>, Tensor<1, Int>);
    fn changed(run: usize, (sum, rows): State) -> State {
        match run {
            3 => (sum.narrow(0, 1, 2), rows.narrow(0, 1, 2)),
            _ => (sum * 2.0, rows),
        }
    }

    let closure = |(sum, rows): State, x: Tensor<2>| {
        let sum = sum + x.select(0, rows.clone());
        ((sum.clone(), rows), sum.tanh())
    };
    let mut expected = (random([3, 4]), ints([2, 0, 1]));
    let mut graph = Graph::with_state(&device(), expected.clone(), closure);
    for run in 0..12 {
        if run % 4 == 3 {
            expected = changed(run, expected);
            graph.change_state(|state| changed(run, state));
            assert!(!graph.is_recorded());
        }
        let x = random([3, 4]);
        let found = graph.run(x.clone());
        let output;
        (expected, output) = closure(expected, x);
        assert_close(&found, &output, &format!("the output of run {run}"));
        assert_eq!(graph.is_recorded(), ![0, 3, 7, 11].contains(&run) && records(), "run {run}");
    }
    assert_close(&graph.state().0, &expected.0, "the last state");
}

#[test]
fn a_state_that_changes_its_form_is_not_recorded() {
    let _turn = turn();
    let closure = |seen: Tensor<2>, x: Tensor<2>| {
        let seen = Tensor::cat(vec![seen, x], 0);
        (seen.clone(), seen.sum_dim(0))
    };
    let mut graph = Graph::with_state(&device(), random([1, 4]), closure);
    for run in 0..5 {
        graph.run(random([1, 4]));
        assert_eq!(graph.state().dims(), [run + 2, 4]);
        assert!(!graph.is_recorded());
    }
}

#[test]
fn a_past_is_written_in_place() {
    let _turn = turn();
    let (texts, capacity, dim) = (3, 12, 32);
    let attention = PastAttention { heads: 4, scale: 0.3, distance_bias: None };
    let on = (&device(), DType::F32);
    let past = || Past::new(texts, capacity, dim, on);
    let closure = |past: Past, (qkv, reading): (Tensor<3>, Reading)| {
        let (seen, past) = attend_to_past(qkv, past, &reading, &attention);
        (past, seen)
    };
    // Burn's own operations take the length from the host.
    let mut graph = Graph::with_state(&device(), past(), closure).recorded_if(records());
    let (mut expected, mut reading) = (past(), Reading::new(texts, capacity, &device()));
    for token in 0..capacity {
        reading.advance();
        let qkv = random([texts, 1, 3 * dim]);
        let found = graph.run((qkv.clone(), reading.clone()));
        let seen;
        (expected, seen) = closure(expected, (qkv, reading.clone()));
        assert_close(&found, &seen, &format!("token {token}"));
    }
    assert_eq!(graph.is_recorded(), records());
}

#[test]
fn what_is_not_to_be_recorded_is_called() {
    let _turn = turn();
    let network = network();
    let x = random([24, 16]);
    let mut graph = Graph::new(&device(), &network).recorded_if(false);
    for _ in 0..4 {
        assert_close(&graph.run(x.clone()), &network(x.clone()), "an output");
        assert!(!graph.is_recorded());
    }
}

#[test]
fn autodiff_goes_through_a_graph() {
    let _turn = turn();
    let network = network();
    let mut graph = Graph::new(&device().autodiff(), |x: Tensor<2>| x.powi_scalar(2));
    for _ in 0..4 {
        let x = network(random([24, 16])).autodiff().require_grad();
        let gradients = graph.run(x.clone()).sum().backward();
        let gradient = x.grad(&gradients).expect("a gradient");
        assert_close(&gradient, &(x.inner() * 2.0), "the gradient");
        assert!(!graph.is_recorded());
    }
}

/// CUDA records the upload of a constant, WebGPU refuses to.
#[test]
fn what_can_not_be_recorded_is_called() {
    let _turn = turn();
    let network = network();
    let closure = |x: Tensor<2>| {
        let constant = TensorData::from([[1.0_f32, 2.0, 3.0, 4.0]; 2]);
        let constant = Tensor::<2>::from_data(constant, (&device(), DType::F32));
        network(x) + constant.reshape([1, 8]).repeat_dim(1, 2)
    };
    let mut graph = Graph::new(&device(), closure);
    for run in 0..5 {
        let x = random([24, 16]);
        assert_close(&graph.run(x.clone()), &closure(x), &format!("run {run}"));
    }
    // The device still records what can be recorded.
    let mut graph = Graph::new(&device(), &network);
    for run in 0..4 {
        let x = random([24, 16]);
        assert_close(&graph.run(x.clone()), &network(x), &format!("run {run} of another"));
    }
    assert_eq!(graph.is_recorded(), records());
}

/// CUDA can't record a tensor of another thread, WebGPU no upload.
#[test]
fn a_thread_that_can_not_record_stops_trying() {
    let _turn = turn();
    let shift = random([24, 16]);
    let in_thread = move || {
        let network = network();
        let recorded_after_four = |closure: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let mut graph = Graph::new(&device(), closure);
            for run in 0..4 {
                let x = random([24, 16]);
                assert_close(&graph.run(x.clone()), &closure(x), &format!("run {run}"));
            }
            graph.is_recorded()
        };
        let unrecordable = |x| {
            let uploaded = Tensor::<1>::from_data([1.5_f32; 16], (&device(), DType::F32));
            network(x) + uploaded.unsqueeze_dim(0) + shift.clone()
        };
        assert_eq!(recorded_after_four(&network), records());
        for _ in 0..3 {
            assert!(!recorded_after_four(&unrecordable));
        }
        assert!(!recorded_after_four(&network));
    };
    std::thread::spawn(in_thread).join().expect("no panic");
    let other_thread = || {
        let network = network();
        let mut graph = Graph::new(&device(), &network);
        let runs = (0..4).map(|_| graph.run(random([24, 16]))).count();
        assert_eq!((runs, graph.is_recorded()), (4, records()));
    };
    std::thread::spawn(other_thread).join().expect("no panic");
}

#[test]
fn a_closure_that_panics_leaves_the_device_as_it_was() {
    let _turn = turn();
    let network = network();
    let calls = std::cell::Cell::new(0);
    let x = random([24, 16]);
    let mut graph = Graph::new(&device(), |x| {
        calls.set(calls.get() + 1);
        assert!(calls.get() < 4, "on purpose");
        network(x)
    });
    let run = std::panic::AssertUnwindSafe(|| (0..5).map(|_| graph.run(x.clone())).count());
    assert!(std::panic::catch_unwind(run).is_err());
    let mut graph = Graph::new(&device(), &network);
    for _ in 0..4 {
        assert_close(&graph.run(x.clone()), &network(x.clone()), "an output of another");
    }
    assert_eq!(graph.is_recorded(), records());
}
