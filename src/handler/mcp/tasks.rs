//! What the gateway needs of the runtime: to start a task and to wait. Handed in, so that tests
//! run the gateway on a clock of their own without sockets.

use core::fmt;
use core::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// A task of this shard.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Starts tasks and timers on this shard.
#[derive(Clone)]
pub struct Tasks {
    spawn: Rc<dyn Fn(Task)>,
    sleep: Rc<dyn Fn(Duration) -> Task>,
}

impl Tasks {
    /// From what the runtime offers. `spawn` detaches; `sleep` may be dropped before its end.
    pub fn new(spawn: impl Fn(Task) + 'static, sleep: impl Fn(Duration) -> Task + 'static) -> Self {
        Self {
            spawn: Rc::new(spawn),
            sleep: Rc::new(sleep),
        }
    }

    /// Runs a task beside the caller.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        (self.spawn)(Box::pin(task));
    }

    /// Resolves after that time.
    pub fn sleep(&self, time: Duration) -> Task {
        (self.sleep)(time)
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tasks")
    }
}
