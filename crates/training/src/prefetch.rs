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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn batches_come_in_order_however_long_they_take() {
        let prefetch = Prefetch::start(3, 40, |index| {
            thread::sleep(Duration::from_micros(index * 7919 % 500));
            index
        })
        .expect("a thread");
        let batches: Vec<u64> = (3..40).map(|_| prefetch.next_batch()).collect();
        assert_eq!(batches, (3..40).collect::<Vec<_>>());
    }

    #[test]
    fn only_a_few_batches_are_prepared_ahead() {
        let prepared = Arc::new(AtomicU64::new(0));
        let counter = prepared.clone();
        let prefetch = Prefetch::start(0, u64::MAX, move |index| {
            counter.fetch_add(1, Ordering::SeqCst);
            index
        })
        .expect("a thread");
        for _ in 0..10 {
            prefetch.next_batch();
        }
        thread::sleep(Duration::from_millis(20));
        // Those taken, those waiting, and the one that finds no room.
        assert!(prepared.load(Ordering::SeqCst) <= 10 + AHEAD as u64 + 1);
        // The thread ends with its receiver.
        drop(prefetch);
        thread::sleep(Duration::from_millis(20));
        let last = prepared.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(prepared.load(Ordering::SeqCst), last);
    }
}
