//! A computation that is recorded once and then run by a single call of the device.

#[cfg(feature = "cube")]
mod failures;
#[cfg(feature = "cube")]
mod ops;
#[cfg(feature = "cube")]
mod recorder;
#[cfg(not(feature = "cube"))]
#[path = "graph/no_recorder.rs"]
mod recorder;
#[cfg(feature = "cube")]
mod recording;
mod tensors;

use std::marker::PhantomData;

use burn::tensor::Device;

#[cfg(feature = "cube")]
pub(crate) use ops::BufferOps;
pub use tensors::{Mapping, Tensors};

use recorder::Recorder;

/// A closure over tensors of fixed shapes, recorded where a device can do that (CUDA, and what WebGPU runs
/// on) and run there as one call instead of one for each kernel; elsewhere it is simply called.
///
/// A run is recorded when its inputs have the shapes and dtypes of the run before, in front of which there
/// must have been none of them: the first run is a plain call, in which kernels are compiled and tuned, the
/// second takes about three times as long and makes the recording, and from then on inputs are copied into
/// the recording's own, it is replayed, and its outputs are copied out, so that they stay as they are. A run
/// with inputs of other forms is a plain call; if the next one has them too, they are recorded instead of the
/// first.
///
/// When something can't be recorded, this is said once in a process, and the graph calls its closure from then
/// on. Each graph finds it out for itself, which takes as long as three calls; but where three recordings in a
/// row have failed on a thread, that thread records nothing more on the device.
///
/// With [`with_state`](Self::with_state) there are tensors that stay in the recording: the closure takes the
/// state and gives the next one. What it writes in place, like [`Past`](crate::Past), is not copied.
///
/// A recording keeps its memory, and while it is there no one else gets any of the pages that it lies in;
/// drop the graph when it has done its work.
///
/// # What a closure must not do
/// A replay runs the kernels of the closure, not the closure. So it must
/// - do the same operations in every run, on the same parameters: what comes from the host is recorded as it
///   was, be it a number, the condition of an `if` or a random number, which would be the same in every run.
///   If a tensor in a captured cell (`RefCell`, `Mutex`) is swapped for another one, replays go on with the
///   memory of the old one; what changes belongs into the inputs or the state;
/// - not read a tensor's values (`into_data`, `into_scalar`), nor wait for the device;
/// - not make tensors of values from the host (`from_data`, `from_floats`): make them before, outside of the
///   closure. Constants like `zeros`, `full` or `arange` are kernels and are fine;
/// - take no part in autodiff, and run no other graph;
/// - use tensors only that were made on the thread that runs it, parameters included: load a model on the
///   thread that runs its graphs. CUDA can't record others, and then the closure is called instead.
///
/// The first three can't be noticed on every device: check a closure with a test that compares runs of its
/// graph to plain calls.
///
/// # Threads
/// A graph belongs to the thread that it was made on. While it records, for about as long as a plain call takes,
/// no other thread should work on the device: CUDA then refuses new memory to the whole process, so that what
/// other threads compute can fail, and so can the recording. No two graphs record at a time, one of them makes a
/// plain call; but nothing keeps other work away. Where several threads compute at any time, record nothing
/// ([`recorded_if`](Self::recorded_if)), or record before they begin.
pub struct Graph<'a, I, O, S = ()> {
    step: Box<Step<'a, I, O, S>>,
    /// None only while it is in use.
    state: Option<S>,
    recorder: Recorder<I, O>,
    /// Work goes to the stream of a thread, which a recording is a part of.
    _of_its_thread: PhantomData<*const ()>,
}

type Step<'a, I, O, S> = dyn Fn(S, I) -> (S, O) + 'a;

impl<'a, I: Tensors, O: Tensors> Graph<'a, I, O> {
    /// A graph of a closure without state, for tensors on this device.
    pub fn new(device: &Device, closure: impl Fn(I) -> O + 'a) -> Self {
        Self::with_state(device, (), move |(), inputs| ((), closure(inputs)))
    }
}

impl<'a, I: Tensors, O: Tensors, S: Tensors> Graph<'a, I, O, S> {
    /// A graph of a closure that takes a state, first `state`, and inputs to the next state and outputs.
    ///
    /// States must all have the same form to be recorded.
    pub fn with_state(device: &Device, state: S, step: impl Fn(S, I) -> (S, O) + 'a) -> Self {
        Self {
            step: Box::new(step),
            state: Some(state),
            recorder: Recorder::new(device),
            _of_its_thread: PhantomData,
        }
    }

    /// The same, but never recorded if not `wanted`.
    #[must_use]
    pub fn recorded_if(mut self, wanted: bool) -> Self {
        if !wanted {
            self.recorder.stop();
        }
        self
    }

    /// Whether another run with inputs of the same form as the last one's is a replay.
    pub fn is_recorded(&self) -> bool {
        self.recorder.is_recorded()
    }

    /// What the closure makes of these inputs.
    ///
    /// # Panics
    /// If the closure panicked in an earlier run.
    pub fn run(&mut self, inputs: I) -> O {
        let state = self.take_state();
        let (state, outputs) = match self.recorder.run(&*self.step, state, inputs) {
            Run::Done { state, outputs } => (state, outputs),
            Run::ToDo { state, inputs } => (self.step)(state, inputs),
        };
        self.state = Some(state);
        outputs
    }

    /// The state after the runs so far; a copy, if it belongs to a recording.
    ///
    /// # Panics
    /// If the closure panicked in an earlier run.
    pub fn state(&self) -> S {
        let Some(state) = &self.state else { panic!("{PANICKED}") };
        self.recorder.outside(state)
    }

    /// Puts another state in the place of the present one.
    ///
    /// # Panics
    /// If the closure panicked in an earlier run.
    pub fn set_state(&mut self, state: S) {
        let own = self.take_state();
        self.state = Some(self.recorder.inside(own, state));
    }

    /// Puts what `change` makes of the present state in its place, without copying the state: a recording is
    /// dropped for that, and the next runs make another as the first ones did.
    ///
    /// # Panics
    /// If the closure panicked in an earlier run.
    pub fn change_state(&mut self, change: impl FnOnce(S) -> S) {
        self.recorder.forget();
        let own = self.take_state();
        self.state = Some(change(own));
    }

    fn take_state(&mut self) -> S {
        let Some(state) = self.state.take() else { panic!("{PANICKED}") };
        state
    }
}

const PANICKED: &str = "a graph can't be used after its closure has panicked";

/// What a recorder has done with a run.
enum Run<I, O, S> {
    /// It is done.
    #[cfg_attr(not(feature = "cube"), expect(dead_code, reason = "nothing is recorded"))]
    Done { state: S, outputs: O },
    /// The closure is to be called.
    ToDo { state: S, inputs: I },
}
