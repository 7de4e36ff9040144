//! Prefetching: threads make items before they are needed, in an order that does not depend on the
//! threads.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// How many batches are made before they are needed. It changes when a batch is made, but not its
/// content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// The number of threads that make batches. With 0, a batch is made when it is needed.
    pub threads: usize,
    /// The number of finished batches per thread.
    pub depth: usize,
}

impl Default for Prefetch {
    /// Two threads with two batches each are enough: a training step takes far longer than making a
    /// batch.
    fn default() -> Self {
        Self { threads: 2, depth: 2 }
    }
}

/// The items `make(next), make(next + 1), ..., make(end - 1)`, in this order.
///
/// Thread `k` of `n` makes items `k, k + n, k + 2n, ...` and sends them through its own bounded
/// channel; the iterator reads the channels in turn, so the order needs no sorting. Dropping the
/// iterator closes the channels, and every thread ends after its current item.
pub(crate) struct Prefetched<T, F> {
    make: Arc<F>,
    channels: Vec<Receiver<T>>,
    /// The number of items that were taken; it decides which channel is next.
    taken: usize,
    next: usize,
    end: usize,
}

impl<T, F> Prefetched<T, F>
where
    T: Send + 'static,
    F: Fn(usize) -> T + Send + Sync + 'static,
{
    pub(crate) fn new(range: std::ops::Range<usize>, prefetch: Prefetch, make: F) -> Self {
        let make = Arc::new(make);
        let threads = prefetch.threads.min(range.len());
        let channels = (0..threads)
            .map(|thread| {
                let (sender, receiver) = sync_channel(prefetch.depth);
                let items = (range.start + thread..range.end).step_by(threads);
                spawn(items, make.clone(), sender);
                receiver
            })
            .collect();
        Self { make, channels, taken: 0, next: range.start, end: range.end }
    }
}

/// Starts a thread that makes `items`. If the system has no more threads, the sender is dropped
/// here, and the iterator makes the items itself.
fn spawn<T, F>(
    items: impl Iterator<Item = usize> + Send + 'static,
    make: Arc<F>,
    sender: SyncSender<T>,
) where
    T: Send + 'static,
    F: Fn(usize) -> T + Send + Sync + 'static,
{
    let work = move || {
        for item in items {
            if sender.send(make(item)).is_err() {
                break;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("prefetch".into()).spawn(work) {
        tracing::warn!(%error, "no thread to prefetch batches with");
    }
}

impl<T, F: Fn(usize) -> T> Iterator for Prefetched<T, F> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next >= self.end {
            return None;
        }
        let channel = self.channels.get(self.taken % self.channels.len().max(1));
        // A closed channel means that its thread did not start or has panicked. Making the item
        // here gives the same item, or the same panic in the caller's thread.
        let item = channel
            .and_then(|channel| channel.recv().ok())
            .unwrap_or_else(|| (self.make)(self.next));
        self.taken += 1;
        self.next += 1;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.saturating_sub(self.next);
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_order_does_not_depend_on_threads_or_depth() {
        for threads in [0, 1, 2, 3, 8] {
            for depth in [0, 1, 4] {
                let make = |item: usize| {
                    // Some items take longer than their successors.
                    thread::sleep(Duration::from_micros(((item * 7) % 5) as u64 * 200));
                    item
                };
                let items = Prefetched::new(3..20, Prefetch { threads, depth }, make);
                assert_eq!(items.size_hint(), (17, Some(17)));
                assert!(items.eq(3..20), "{threads} threads, depth {depth}");
            }
        }
    }

    #[test]
    fn no_more_is_made_ahead_than_the_depth_allows() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let make = move |_| counter.fetch_add(1, Ordering::SeqCst);
        let items = Prefetched::new(0..1000, Prefetch { threads: 2, depth: 3 }, make);
        // Each thread has three finished items and a current one.
        let deadline = Instant::now() + Duration::from_secs(10);
        while made.load(Ordering::SeqCst) < 8 && Instant::now() < deadline {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(made.load(Ordering::SeqCst), 8);
        drop(items);
    }

    #[test]
    fn threads_end_when_the_iterator_is_dropped() {
        let held = Arc::new(());
        let make = {
            let held = held.clone();
            move |item: usize| (item, Arc::strong_count(&held)).0
        };
        let mut items = Prefetched::new(0..1_000_000, Prefetch { threads: 3, depth: 1 }, make);
        assert_eq!(items.next(), Some(0));
        drop(items);
        let deadline = Instant::now() + Duration::from_secs(10);
        while Arc::strong_count(&held) > 1 {
            assert!(Instant::now() < deadline, "threads still run");
            thread::yield_now();
        }
    }

    #[test]
    #[should_panic(expected = "item 5")]
    fn a_panic_in_a_thread_reaches_the_user() {
        let make = |item: usize| assert!(item != 5, "item 5");
        Prefetched::new(0..10, Prefetch::default(), make).for_each(drop);
    }
}
