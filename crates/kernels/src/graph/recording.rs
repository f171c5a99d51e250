//! The only file that records and replays.

use std::sync::{Mutex, TryLockError};

use burn::backend::fusion::FusionBackend;
use burn::backend::fusion::client::GlobalFusionClient;
use burn::backend::{
    Backend, Dispatch, DispatchDevice, DispatchGraph, DispatchTensor, ExecutionError,
};
use burn::tensor::Device;
use burn_cubecl::CubeBackend;
use cubecl_environment::stream::StreamId;

use super::ops::{copied, copied_from_elsewhere, overwrite};
use super::tensors::{Form, flat, map, same};
use super::{Step, Tensors};
use crate::Kernels;

/// Runs before the recorded one, in which Burn's fusion finds out what it can join, and memory comes to lie
/// ready for what the recorded run needs, in which none can be allocated.
const WARM_UPS: usize = 2;

/// What a device has recorded, and the tensors that it reads and writes.
pub(super) struct Recording<I, O> {
    device: Device,
    graph: DispatchGraph,
    /// What the work of the recording is ordered on.
    stream: StreamId,
    form: Form,
    inputs: I,
    outputs: O,
}

/// A recording and its own state.
type Recorded<I, O, S> = (Recording<I, O>, S);

/// Why there is no recording, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordingError {
    #[error("a computation can't be recorded: {0:?}")]
    Record(ExecutionError),
    #[error("a recorded computation can't be replayed: {0:?}")]
    Replay(ExecutionError),
    #[error("a computation can't be recorded, since its state does not keep its form")]
    State,
    #[error("a recorded computation can't be replayed on another stream")]
    Stream,
}

/// Records a step from `state` on inputs of this form, and gives the recording's own state, which is that
/// of `state`; none where there is nothing to record, or if another thread is about to record.
pub(super) fn record<I: Tensors, O: Tensors, S: Tensors>(
    device: &Device,
    step: &Step<'_, I, O, S>,
    state: &S,
    inputs: &I,
    form: &Form,
) -> Result<Option<Recorded<I, O, S>>, RecordingError> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    let recordable = Kernels::of(device) == Kernels::Cube
        && !device.is_autodiff()
        && form.is_plain_on(device)
        && Form::of(state).is_plain_on(device);
    if !recordable {
        return Ok(None);
    }
    let _turn = match ONE_AT_A_TIME.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Ok(turn) => turn,
    };
    let inputs = map(inputs, copied);
    let own = map(state, copied);
    let pass = || {
        let next = step(same(&own), same(&inputs));
        settle(device, &own, next).map_err(|_| RecordingError::State)
    };
    let window = Window::prepare(device)?;
    for _ in 0..WARM_UPS {
        let kept = pass()?;
        // Nobody computes what nobody holds.
        Dispatch::sync(device.as_dispatch()).map_err(RecordingError::Record)?;
        drop(kept);
    }
    let window = window.open()?;
    let (kept, outputs) = pass()?;
    let graph = window.close()?;
    drop(kept);
    let own = overwrite_all(&own, state);
    let (device, stream, form) = (device.clone(), StreamId::current(), form.clone());
    Ok(Some((Recording { device, graph, stream, form, inputs, outputs }, own)))
}

impl<I, O> Recording<I, O> {
    /// Whether it is one for inputs of this form.
    pub(super) fn is_of(&self, form: &Form) -> bool {
        self.form == *form
    }
}

impl<I: Tensors, O: Tensors> Recording<I, O> {
    /// Runs what is recorded on these inputs, which have its form.
    pub(super) fn replay(&mut self, inputs: &I) -> Result<O, RecordingError> {
        if StreamId::current() != self.stream {
            return Err(RecordingError::Stream);
        }
        self.inputs = overwrite_all(&self.inputs, inputs);
        // SAFETY: the graph reads and writes buffers of the tensors that its closure made, captured or was
        // given. The inputs and outputs are in `self`, the state in the `Graph` that `self` is a part of, and
        // so is the closure, which outlives `self` with all that it captured. Buffers of what it made and
        // dropped lie in pages that CubeCL keeps for the graph alone. Nobody else has a tensor of inputs,
        // outputs and state, since what comes in and goes out is copied, and what the closure captured is
        // written by nobody, for Burn writes in place only what has one holder. All of them are used on this
        // stream only: it was compared above, and `Graph` is not `Send`. A tensor that was swapped out of a
        // captured cell may be gone or be written: replays then read what lies in its memory, which is still
        // theirs, since CubeCL keeps every page that the recorded kernels use for the graph.
        unsafe { Dispatch::graph_replay(self.device.as_dispatch(), &self.graph) }
            .map_err(RecordingError::Replay)?;
        Ok(map(&self.outputs, copied))
    }

    /// Calls the closure on other inputs. The state is the recording's own again, unless it has another form
    /// now.
    pub(super) fn call<S: Tensors>(
        &self,
        step: &Step<'_, I, O, S>,
        own: &S,
        inputs: I,
    ) -> Result<(S, O), (S, O)> {
        settle(&self.device, own, step(same(own), inputs))
    }

    /// A copy of the recording's state.
    pub(super) fn state<S: Tensors>(&self, own: &S) -> S {
        let state = map(own, copied);
        // Before it can be overwritten.
        launch_queued(&self.device);
        state
    }

    /// The recording's own state with the values of another.
    pub(super) fn overwrite<S: Tensors>(&self, own: &S, state: &S) -> S {
        overwrite_all(own, state)
    }
}

/// Leaves the next state in `own`, which is given back with the outputs in buffers of their own; what was
/// given if the next state has another form. Both must be kept until the work is launched.
///
/// Burn's fusion does not know that a buffer changes and may change the order of operations, so that all
/// that read it must be launched before.
fn settle<O: Tensors, S: Tensors>(
    device: &Device,
    own: &S,
    (state, outputs): (S, O),
) -> Result<(S, O), (S, O)> {
    let form = Form::of(own);
    if Form::of(&state) != form {
        return Err((state, outputs));
    }
    let outputs = map(&outputs, copied);
    if form.is_empty() {
        return Ok((state, outputs));
    }
    let mut places = flat(own).into_iter();
    let state = map(&state, |tensor| match places.next() {
        Some(place) => copied_from_elsewhere(tensor, place),
        None => tensor,
    });
    launch_queued(device);
    Ok((overwrite_all(own, &state), outputs))
}

/// `own` with the values of `with`, which has the same form.
fn overwrite_all<T: Tensors>(own: &T, with: &T) -> T {
    let mut values: std::vec::IntoIter<DispatchTensor> = flat(with).into_iter();
    map(own, |tensor| match values.next() {
        Some(value) => overwrite(tensor, value),
        None => tensor,
    })
}

/// Launches what Burn's fusion has queued, without waiting for it.
fn launch_queued(device: &Device) {
    if let DispatchDevice::Cube(device) = device.as_dispatch() {
        GlobalFusionClient::<<CubeBackend as FusionBackend>::FusionRuntime>::load(device)
            .sync(|| ());
    }
}

/// A recording under way, which ends with it whatever happens.
struct Window<'a> {
    device: &'a Device,
    under_way: bool,
}

impl<'a> Window<'a> {
    /// Begins the warm-up.
    fn prepare(device: &'a Device) -> Result<Self, RecordingError> {
        Dispatch::graph_prepare(device.as_dispatch()).map_err(RecordingError::Record)?;
        Ok(Self { device, under_way: true })
    }

    /// Records from now on.
    fn open(self) -> Result<Self, RecordingError> {
        Dispatch::graph_start_capture(self.device.as_dispatch()).map_err(RecordingError::Record)?;
        Ok(self)
    }

    /// What has been recorded.
    fn close(mut self) -> Result<DispatchGraph, RecordingError> {
        self.under_way = false;
        Dispatch::graph_stop_capture(self.device.as_dispatch()).map_err(RecordingError::Record)
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        if self.under_way {
            // Gives the stream back, also when nothing was recorded; there is nothing else to do about an
            // error.
            let _ = Dispatch::graph_stop_capture(self.device.as_dispatch());
        }
    }
}
