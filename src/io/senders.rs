//! The senders of queues that are on the loop of one core.

use std::cell::RefCell;

use crate::base::time::Millis;
use crate::io::link::EndpointId;
use crate::io::queue::turning::Near;

/// They.
#[derive(Default)]
pub struct Senders(RefCell<Vec<Near>>);

impl Senders {
    /// One begins.
    pub fn add(&self, near: Near) {
        self.0.borrow_mut().push(near);
    }

    /// This one has ended. Its endpoint may have another already.
    pub fn remove(&self, near: &Near) {
        self.0.borrow_mut().retain(|other| other != near);
    }

    /// Has the newest of this endpoint look for something to be sent. Whether there is one here.
    pub fn turn(&self, endpoint: EndpointId) -> bool {
        let near = self.0.borrow().iter().rfind(|near| near.is_of(endpoint)).cloned();
        near.as_ref().map(Near::turn).is_some()
    }

    /// Each looks for something to be sent, and at what is late. To be called at each beat of the core.
    pub fn on_beat(&self) {
        let all = self.0.borrow().clone();
        all.iter().for_each(Near::on_beat);
    }

    /// All are to end by then.
    pub fn stop(&self, deadline: Millis) {
        self.0.borrow().iter().for_each(|near| near.stop(deadline));
    }

    /// Whether none is left.
    pub fn are_gone(&self) -> bool {
        self.0.borrow().is_empty()
    }
}
