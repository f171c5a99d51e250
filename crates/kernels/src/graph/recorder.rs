//! When something is recorded, replayed or called.

use std::sync::Once;

use burn::tensor::Device;

use super::recording::{Recording, RecordingError, record};
use super::tensors::{Form, same};
use super::{Run, Step, Tensors, failures};

/// Records a closure when two runs in a row have inputs of the same form.
pub(super) struct Recorder<I, O> {
    device: Device,
    /// Whether something may be recorded, or replayed.
    records: bool,
    recording: Option<Recording<I, O>>,
    /// That of the last run's inputs.
    last: Option<Form>,
}

impl<I, O> Recorder<I, O> {
    pub(super) fn new(device: &Device) -> Self {
        Self { device: device.clone(), records: true, recording: None, last: None }
    }

    /// Closures are called from now on.
    pub(super) fn stop(&mut self) {
        self.records = false;
        self.recording = None;
    }

    /// Nothing is recorded any more, and there has been no run.
    pub(super) fn forget(&mut self) {
        self.recording = None;
        self.last = None;
    }

    /// Whether another run like the last one is a replay.
    pub(super) fn is_recorded(&self) -> bool {
        self.last.as_ref().is_some_and(|last| self.has(last))
    }

    fn has(&self, form: &Form) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.is_of(form))
    }

    /// Says, the first time, why something is not recorded, and stops.
    fn give_up(&mut self, error: &RecordingError) {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            eprintln!("{error}; its operations are launched one by one, which can be slower");
        });
        self.stop();
    }
}

impl<I: Tensors, O: Tensors> Recorder<I, O> {
    /// Replays a step if it is recorded, if need be from now on.
    pub(super) fn run<S: Tensors>(
        &mut self,
        step: &Step<'_, I, O, S>,
        state: S,
        inputs: I,
    ) -> Run<I, O, S> {
        if !self.records {
            return Run::ToDo { state, inputs };
        }
        let form = Form::of(&inputs);
        let state = match self.last == Some(form.clone()) && !self.has(&form) {
            true => self.record(step, state, &inputs, &form),
            false => state,
        };
        let run = match self.has(&form) {
            true => self.replay(state, inputs),
            false => self.call(step, state, inputs),
        };
        self.last = Some(form);
        run
    }

    /// Records a step if that is possible, and gives the state back as the recording's own.
    fn record<S: Tensors>(
        &mut self,
        step: &Step<'_, I, O, S>,
        state: S,
        inputs: &I,
        form: &Form,
    ) -> S {
        // Gives its memory back.
        self.recording = None;
        if failures::are_too_many(&self.device) {
            self.stop();
            return state;
        }
        match record(&self.device, step, &state, inputs, form) {
            Ok(Some((recording, own))) => {
                failures::clear(&self.device);
                self.recording = Some(recording);
                own
            }
            Ok(None) => state,
            Err(error) => {
                if let RecordingError::Record(_) = error {
                    failures::add(&self.device);
                }
                self.give_up(&error);
                state
            }
        }
    }

    fn replay<S>(&mut self, state: S, inputs: I) -> Run<I, O, S> {
        let Some(recording) = &mut self.recording else { return Run::ToDo { state, inputs } };
        match recording.replay(&inputs) {
            Ok(outputs) => Run::Done { state, outputs },
            Err(error) => {
                self.give_up(&error);
                Run::ToDo { state, inputs }
            }
        }
    }

    /// Sees to it that the closure is called; where there is a recording, its state stays with it.
    fn call<S: Tensors>(&mut self, step: &Step<'_, I, O, S>, state: S, inputs: I) -> Run<I, O, S> {
        let Some(recording) = &self.recording else { return Run::ToDo { state, inputs } };
        if Form::of(&state).is_empty() {
            return Run::ToDo { state, inputs };
        }
        let (state, outputs) = recording.call(step, &state, inputs).unwrap_or_else(|called| {
            self.recording = None;
            called
        });
        Run::Done { state, outputs }
    }

    /// A state that stays as it is from the recording's own.
    pub(super) fn outside<S: Tensors>(&self, own: &S) -> S {
        self.recording.as_ref().map_or_else(|| same(own), |recording| recording.state(own))
    }

    /// A state as the recording's own, which was `own`.
    pub(super) fn inside<S: Tensors>(&mut self, own: S, state: S) -> S {
        match &self.recording {
            Some(recording) if Form::of(&own) == Form::of(&state) => {
                recording.overwrite(&own, &state)
            }
            _ => {
                self.recording = None;
                state
            }
        }
    }
}
