use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Prepares batches on a thread of its own, ahead of the training step.
pub struct Prefetch<B> {
    batches: Receiver<B>,
}

/// How many batches wait ready.
const AHEAD: usize = 4;

impl<B: Send + 'static> Prefetch<B> {
    /// Calls `prepare` for `first`, `first + 1`, ... until `end` or until the receiver is dropped.
    pub fn start(
        first: u64,
        end: u64,
        mut prepare: impl FnMut(u64) -> B + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, batches) = sync_channel(AHEAD);
        thread::Builder::new().name("batches".into()).spawn(move || {
            for index in first..end {
                if sender.send(prepare(index)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { batches })
    }

    /// The next batch.
    ///
    /// # Panics
    /// If more batches are asked for than were ordered, or if preparing one panicked.
    pub fn next_batch(&self) -> B {
        self.batches.recv().expect("the preparing thread runs until its last batch is taken")
    }
}
